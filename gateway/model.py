"""The model that chats use: the one of the settings, until an admin switches it."""

from collections.abc import Mapping

from agent.chats import ChatStore
from agent.config import ModelChoice, Settings
from agent.models import catalog, portable, windows

MODEL = "model"
"""The note's name."""


class ModelOfChats:
    """What /model shows and switches, for all chats of this gateway. Calls may wait for the store."""

    def __init__(self, values: Settings, store: ChatStore, *, env: Mapping[str, str], keys: Mapping[str, str]) -> None:
        self._values, self._store, self._env, self._keys = values, store, env, keys
        self._usual = portable.dump(catalog.in_force(values, env=env, keys=keys))

    def text(self) -> str:
        """As a task's row keeps it. Raises: StoreError."""
        return self._store.notes(MODEL).get(MODEL) or self._usual

    def name(self) -> str:
        choice = self._choice()
        return f"{choice.model} ({choice.provider})"

    def switch(self, asked: str) -> str:
        """Use another model from the next turn on; "default" is that of the settings. Gives its name.

        Raises: HermesError.
        """
        if asked == "default":
            self._store.note(MODEL, "")
            return self.name()
        found = catalog.named(asked, self._values, self._choice(), env=self._env, keys=self._keys)
        self._store.note(MODEL, portable.dump(found))
        return self.name()

    def window(self) -> int:
        """Tokens that fit it, 0 when nobody knows."""
        return self._values.context_window or windows.known(self._choice())

    def _choice(self) -> ModelChoice:
        return portable.load(self.text(), self._values, env=self._env, keys=self._keys)
