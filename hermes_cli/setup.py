"""What every front end needs before it starts: directory, settings, policy; and a bound on leaving."""

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.config import Config, Directories, load_config
from agent.errors import ConfigError

if TYPE_CHECKING:
    from agent.approvals import Policy
    from hermes_cli.options import Request

_NEARER = {"environment": 1, "command line": 2}
"""Where a setting for one run comes from; what is said nearer counts."""

LOG_SIZE = 1_000_000
"""Bytes after which the log is moved to `hermes.log.1` at the next start."""


LoadPolicy = Callable[[], "Policy"]


def prepare(request: "Request") -> tuple[Config, LoadPolicy, Path]:
    """Enter the directory, read the settings; the policy is read on call, or now if there are rules to check.

    Raises: ConfigError.
    """
    if place := request.text("cd"):
        try:
            os.chdir(Path(place).expanduser())
        except OSError as error:
            raise ConfigError(f"Cannot work in {place}: {error.strerror}.") from error
    try:
        cwd = Path.cwd()
    except OSError as error:
        raise ConfigError("This folder does not exist any more.", hint="cd to another, or use -C FOLDER.") from error
    config = _with_its_provider(load_config(request.settings(), cwd=cwd))
    # Nothing but the front end may write to the terminal, the logging and the warnings of libraries included.
    import logging

    logging.getLogger().addHandler(logging.NullHandler())
    logging.captureWarnings(capture=True)

    def policy() -> "Policy":
        from agent.approvals import load_policy

        return load_policy(config.dirs, config.values.approvals)

    if config.dirs.policy_file.exists():
        policy()
    return config, policy, cwd


def _with_its_provider(config: Config) -> Config:
    """A model named for this run may bring its provider along, as `/model` takes it: `groq:llama`, `offline`."""
    model, provider = (_NEARER.get(config.origins[name], 0) for name in ("model", "provider"))
    if not config.values.model or model <= provider:
        return config
    from agent.models import catalog

    return replace(config, values=catalog.asked_for(config.values.model, config.values, None))


def start_log(dirs: Directories, redact: Callable[[str], str]) -> None:
    """Send warnings, once a process, to a file only its owner can read, secrets taken out.

    What the file cannot take is dropped: a full disk must not write over the prompt.
    """
    import logging

    logging.raiseExceptions = False
    if any(isinstance(handler, logging.FileHandler) for handler in logging.getLogger().handlers):
        return
    path = dirs.state / "hermes.log"
    try:
        dirs.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists() and path.stat().st_size > LOG_SIZE:
            path.replace(path.with_suffix(".log.1"))
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError:
        return

    class Redacting(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return redact(super().format(record))

    handler.setFormatter(Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.WARNING)


def exit_within(seconds: float) -> None:
    """Let threads end by themselves, but not for ever."""
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()
