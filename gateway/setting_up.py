"""Setting a platform up: what it needs is asked for, tried, and written down."""

import asyncio

import tomlkit
import typer

from agent.config import Directories, load_config, read_keys, store_key
from agent.errors import ConfigError, HermesError
from agent.own_files import changing, write_private
from gateway.config import Platform, PlatformConfig, is_person, platform_configs
from gateway.platforms.base import MessageEvent
from gateway.platforms.registry import REGISTRY, open_adapter

TOKENS: dict[Platform, tuple[tuple[str, str], ...]] = {
    Platform.TELEGRAM: (("bot_token", "the bot's token, from @BotFather"),),
    Platform.DISCORD: (("bot_token", "the bot's token, from the developer portal"),),
    Platform.SLACK: (
        ("bot_token", "the bot token (xoxb-…)"),
        ("app_token", "the app-level token for Socket Mode (xapp-…)"),
    ),
}

CONNECT_WITHIN = 30.0


def set_up(dirs: Directories, name: str) -> None:
    """Ask, try, write. Raises: HermesError; then nothing but tokens was written."""
    name = name or typer.prompt(f"Which platform ({', '.join(REGISTRY)})")
    if name.lower() not in {*REGISTRY}:
        raise ConfigError(f"There is no platform {name!r}.", hint=f"There are {', '.join(REGISTRY)}.")
    platform = Platform(name.lower())
    for secret, what in TOKENS[platform]:
        if token := typer.prompt(what, hide_input=True, default="", show_default=False).strip():
            store_key(dirs, f"{platform.value}_{secret}", token)
    ids = _people(platform, "Ids of people who may speak (empty: they ask, and you let them in by code)", "")
    # Who sets up a bot for one person is that person.
    alone = ids[0] if len(ids) == 1 else ""
    admins = _people(platform, "Ids of admins, who answer its questions and may /handoff, /model, /sethome", alone)
    try_out(_config(dirs, platform))
    _write(dirs, platform, [one for one in ids if one not in admins], admins)
    typer.echo(f"{platform.value} knows the token. Now: hermes gateway")
    if not ids and not admins:
        typer.echo("Write to the bot; it answers with a code for `hermes pairing approve`.")
    if admins:
        typer.echo("Then write /sethome to the bot: notices and open questions come there.")


def _people(platform: Platform, what: str, default: str) -> list[str]:
    """Raises: ConfigError."""
    ids: list[str] = typer.prompt(what, default=default).replace(",", " ").split()
    if wrong := [one for one in ids if not is_person(platform, one)]:
        raise ConfigError(f"{wrong[0]!r} is no id of a person on {platform.value}.", hint="Names are not taken.")
    return ids


def _config(dirs: Directories, platform: Platform) -> PlatformConfig:
    import os

    tables = {platform.value: load_config().values.gateway.get(platform.value, {})}
    return platform_configs(tables, read_keys(dirs), os.environ)[platform]


def try_out(config: PlatformConfig) -> None:
    """Connect to a platform, and leave it again.

    Raises: HermesError, when the platform does not know the token or cannot be reached."""

    async def connect() -> None:
        async def ignore(event: MessageEvent) -> None:
            raise HermesError(f"{event.source.platform.value} is being set up.")  # so it is delivered again

        adapter = open_adapter(config)
        try:
            await asyncio.wait_for(adapter.connect(ignore), CONNECT_WITHIN)
        except TimeoutError as error:
            raise HermesError(f"{config.platform.value} did not answer within {CONNECT_WITHIN:.0f} s.") from error
        finally:
            await adapter.disconnect()

    asyncio.run(connect())


def _write(dirs: Directories, platform: Platform, ids: list[str], admins: list[str]) -> None:
    path = dirs.config_file
    with changing(path):
        document = tomlkit.parse(path.read_text("utf-8") if path.exists() else "")
        gateway = document.setdefault("gateway", tomlkit.table(is_super_table=True))
        table = gateway.setdefault(platform.value, tomlkit.table())
        if ids:
            table["allow"] = ids
        if admins:
            table["admins"] = admins
        if not ids and not admins:
            table["pairing"] = True
        write_private(path, tomlkit.dumps(document))
