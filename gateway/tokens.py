"""One gateway for each token, also where two have homes of their own: a platform gives each message to one of them."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from agent.errors import HermesError
from agent.own_files import hold
from gateway.config import PlatformConfig

_log = logging.getLogger(__name__)

TOKEN = "bot_token"
"""The secret by which a platform knows the bot."""


@contextlib.contextmanager
def alone_with(configs: Iterable[PlatformConfig]) -> Iterator[None]:
    """Within, no other process of this person serves with one of these tokens.

    The lock is on a file that is named by a digest of the token, and goes with the process. Where no such file can be
    had there is none, which the log says. Raises: HermesError, when another process serves already.
    """
    held: list[int] = []
    try:
        for config in configs:
            if token := config.secrets.get(TOKEN):
                held.extend(_take(config, token))
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)


def _take(config: PlatformConfig, token: str) -> Iterator[int]:
    path = directory() / f"gateway-{hashlib.sha256(token.encode()).hexdigest()[:24]}.lock"
    try:
        descriptor = hold(path)
    except OSError as error:
        _log.warning("Whether another gateway serves with the token for %s cannot be known: %s", config.platform, error)
        return
    if descriptor is None:
        raise HermesError(
            f"Another gateway serves {config.platform.value} with this token{_whose(path)}.",
            hint="Stop that one first, or give this one a token of its own: two would answer in turns.",
        )
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, str(os.getpid()).encode())
    yield descriptor


def _whose(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return f" (process {int(path.read_text('utf-8'))})"
    return ""


def directory() -> Path:
    """One for all of this person's processes: HERMES_HOME has no say in it."""
    import warnings

    import platformdirs

    with warnings.catch_warnings(action="ignore"):  # where nobody is logged in it lies among the temporary files
        return platformdirs.user_runtime_path("hermes", appauthor=False)
