"""Which platforms there are: a line for each. An adapter's SDK is imported only when its platform is set up."""

import importlib
from dataclasses import dataclass
from typing import Any, cast

from agent.errors import ConfigError
from gateway.config import Platform, PlatformConfig
from gateway.platforms.base import Adapter


@dataclass(frozen=True, slots=True)
class Entry:
    """A module with `open_adapter(config)`, and what has to be installed for it.

    One whose platform wants more than the bot's token may have `async try_token(config)`, which needs that token alone.
    """

    module: str
    extra: str


REGISTRY: dict[Platform, Entry] = {
    Platform.TELEGRAM: Entry("gateway.platforms.telegram", "telegram"),
    Platform.DISCORD: Entry("gateway.platforms.discord", "discord"),
    Platform.SLACK: Entry("gateway.platforms.slack", "slack"),
}


def open_adapter(config: PlatformConfig) -> Adapter:
    """The adapter of a platform, not connected yet. Needs no network and no running loop.

    Raises: ConfigError when a package or a secret is missing, or an option is wrong.
    """
    return cast(Adapter, _module(config.platform).open_adapter(config))


async def try_token(config: PlatformConfig) -> bool:
    """Ask the platform whether it knows the bot token, whatever else is missing. False where only connecting tells.

    Raises: ConfigError, Refused, Unavailable.
    """
    ask = getattr(_module(config.platform), "try_token", None)
    if ask is None:
        return False
    await ask(config)
    return True


def _module(platform: Platform) -> Any:
    """Raises: ConfigError."""
    entry = REGISTRY.get(platform)
    if entry is None:
        raise ConfigError(f"[gateway.{platform}]: nothing speaks with this platform.")
    try:
        return importlib.import_module(entry.module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("agent", "gateway"):
            raise
        raise ConfigError(
            f"{platform} needs a package that is not installed: {error.name}.",
            hint=f"pip install 'hermes-repl[{entry.extra}]'",
        ) from error
