"""The model a session asks: found once, switched at will, handed down to its background tasks."""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING

from agent.config import Config, ModelChoice, read_keys
from agent.errors import HermesError
from hermes_cli.setup import start_log

if TYPE_CHECKING:
    from agent.protocols import Redact
    from agent.redact import Redactor

_log = logging.getLogger(__name__)


class _Redact:
    """A redactor for as long as the program runs: it also knows a key that is stored later."""

    def __init__(self, model: "ModelInUse") -> None:
        self._model = model
        self._made: tuple[int, Redactor] | None = None

    def __call__(self, text: str) -> str:
        return self.now()(text)

    def part(self, text: str, start: int, end: int) -> str:
        return self.now().part(text, start, end)

    def now(self) -> "Redactor":
        from agent.redact import Redactor, secret_values

        stamp = self._model.keys_stamp()
        if self._made is None or self._made[0] != stamp:
            self._made = stamp, Redactor([*secret_values(self._model.env), *self._model.keys().values()])
        return self._made[1]


class ModelInUse:
    """`choice` is None until it is found. Every method may be called from any thread.

    `changed` is called, on whatever thread, when there is something new to show.
    """

    def __init__(self, config: Config, env: Mapping[str, str] = os.environ, *, changed: Callable[[], None]) -> None:
        self.choice: ModelChoice | None = None
        self.names: list[str] = []
        self.stepped_in = ""
        """The id of the fallback, while it answers in the place of what was chosen."""
        self._config = config
        self.env = env
        self._changed = changed
        self._choosing = threading.Lock()

    @property
    def name(self) -> str:
        """The model's id, also where the endpoint's first is taken; "" while unknown."""
        chosen = self.choice.model if self.choice else ""
        return chosen or next(iter(self.names), "")

    @property
    def answering(self) -> str:
        """The id of the model that answers, its fallback's where that stepped in; "" while unknown."""
        return self.stepped_in or self.name

    @property
    def window(self) -> int:
        """Tokens that fit the model's context window, 0 while unknown."""
        from agent.models import windows

        return self._config.values.context_window or (windows.known(self.choice) if self.choice else 0)

    @cached_property
    def redact(self) -> "Redact":
        """Takes out the environment's secrets and the keys stored by then. Raises, as its calls do: ConfigError."""
        found = _Redact(self)
        found.now()
        return found

    def keys_stamp(self) -> int:
        """Changes when the stored keys do."""
        try:
            return self._config.dirs.credentials_file.stat().st_mtime_ns
        except OSError:
            return 0

    def keys(self) -> dict[str, str]:
        """Stored keys, by provider. Raises: ConfigError."""
        return read_keys(self._config.dirs)

    def choose(self) -> ModelChoice:
        """The model in force, looked for on first use. Raises: ConfigError."""
        from agent.models import catalog

        with self._choosing:
            if self.choice is None:
                found = catalog.in_force(self._config.values, env=self.env, keys=self.keys())
                # Looking takes a while, and somebody may have chosen since.
                self.choice = self.choice or found
                self._changed()
            return self.choice

    def use(self, choice: ModelChoice) -> None:
        """Ask another model from now on, and find out what else its endpoint has."""
        self.choice, self.names, self.stepped_in = choice, [], ""
        threading.Thread(target=self.load, daemon=True, name="warm").start()

    def load(self) -> None:
        """Everything slow that the first turn needs: imports, the search for a model, its endpoint's list."""
        try:
            start_log(self._config.dirs, self.redact)
            import_module("run_agent")
            from agent.models import catalog, prices

            choice = self.choose()
            catalog.build(choice)
            if choice.base_url:
                from agent.models.openai import list_models

                self.names = list_models(choice)
                self._changed()
            prices.load()
        except HermesError as error:
            _log.info("warming up: %s", error)
        except Exception:  # noqa: BLE001
            # Whatever it is, the turn that needs it will meet it again and report it.
            _log.exception("warming up")

    def inherited(self) -> str:
        """The choice as text without keys, for a task's row. With none yet, the task takes the session's."""
        from agent.models import portable

        return portable.dump(self.choice) if self.choice else portable.NOTHING

    def revived(self, inherited: str) -> ModelChoice:
        """The choice a task inherited, with its keys. Raises: ConfigError."""
        from agent.models import portable

        if inherited == portable.NOTHING:
            return self.choose()
        return portable.load(inherited, self._config.values, env=self.env, keys=self.keys())
