"""Setting a platform up: what it needs is asked for, tried, and written down."""

import asyncio
import os
from collections.abc import Mapping, Set

import tomlkit
import typer

from agent.config import Directories, load_config, read_keys, store_key
from agent.errors import ConfigError, HermesError
from agent.own_files import changing, write_private
from gateway.config import Platform, PlatformConfig, is_person, of_environment, platform_configs
from gateway.platforms.base import MessageEvent
from gateway.platforms.registry import REGISTRY, open_adapter, try_token

Secrets = tuple[tuple[str, str], ...]
"""Names of secrets, and what each is."""

TOKENS: dict[Platform, Secrets] = {
    Platform.TELEGRAM: (("bot_token", "the bot's token, from @BotFather"),),
    Platform.DISCORD: (("bot_token", "the bot's token, from the developer portal"),),
    Platform.SLACK: (
        ("bot_token", "the bot token (xoxb-…)"),
        ("app_token", "the app-level token for Socket Mode (xapp-…)"),
    ),
}
SLACK_OVER_HTTP: Secrets = (TOKENS[Platform.SLACK][0], ("signing_secret", "the app's signing secret"))
TELEGRAM_WEBHOOK: Secrets = (
    *TOKENS[Platform.TELEGRAM],
    ("webhook_secret", "a secret for the webhook, 16 to 256 letters, digits, _ and -"),
)

CONNECT_WITHIN = 30.0


def set_up(dirs: Directories, name: str) -> None:
    """Ask, try, write. Raises: HermesError; then nothing but secrets that the platform took was written."""
    name = name or typer.prompt(f"Which platform ({', '.join(REGISTRY)})")
    if name.lower() not in {*REGISTRY}:
        raise ConfigError(f"There is no platform {name!r}.", hint=f"There are {', '.join(REGISTRY)}.")
    platform = Platform(name.lower())
    before = _config(dirs, platform, {})  # what is wrong with the table no token mends
    while (problem := _ask_secrets(dirs, platform)) is not None:
        typer.echo(problem.explain(), err=True)
    ids = _people(platform, "Ids of people who may speak (empty: they ask, and you let them in by code)", before.allow)
    # Who sets up a bot for one person is that person; who was let in before is not made one by Enter.
    alone = frozenset(ids) if len(ids) == 1 and not before.allow else frozenset[str]()
    what = "Ids of admins, who answer its questions and may /handoff, /model, /sethome"
    admins = _people(platform, what, before.admins or alone)
    _write(dirs, platform, [one for one in ids if one not in admins], admins)
    typer.echo("Now: hermes gateway")
    if before.everyone:
        typer.echo(f"Whoever writes is let in: [gateway.{platform.value}] says everyone = true.")
    elif not ids and not admins and before.pairing is False:
        typer.echo(f"Nobody may speak: no ids, and pairing = false in [gateway.{platform.value}].", err=True)
    elif not ids and not admins:
        typer.echo("Write to the bot; it answers with a code for `hermes pairing approve`.")
    if not admins:
        typer.echo("Without an admin whoever is let in answers the agent's questions, and no home can be set.")
    if admins:
        typer.echo("Then write /sethome to the bot: notices and open questions come there.")


def _ask_secrets(dirs: Directories, platform: Platform) -> HermesError | None:
    """Ask for what the platform wants in the mode that is chosen, try it, and keep it. Gives what is wrong with it.

    Raises: HermesError, when nothing else was typed than is kept already.
    """
    typed: dict[str, str] = {}
    try:
        wanted = _secrets(platform, load_config().values.gateway.get(platform.value, {}))
        for secret, what in wanted:
            if value := typer.prompt(what, hide_input=True, default="", show_default=False).strip():
                typed[f"{platform.value}_{secret}"] = value
            if secret == "bot_token" and asyncio.run(try_token(_config(dirs, platform, typed))):
                _keep(dirs, typed)
        try_out(_config(dirs, platform, typed))
    except HermesError as error:
        if not typed:
            raise
        return error
    _keep(dirs, typed)
    typer.echo(f"{platform.value} knows the token.")
    names = {f"{platform.value}_{name}" for name, _what in wanted} - read_keys(dirs).keys()
    outside = {name: one for name, one in of_environment(platform.value, os.environ).items() if name in names}
    what = f"Only the environment has {', '.join(map(str.upper, outside))}. Keep it in credentials.toml, for a service"
    if outside and typer.confirm(what, default=True):
        _keep(dirs, outside)
    return None


def _keep(dirs: Directories, secrets: Mapping[str, str]) -> None:
    for name, value in secrets.items():
        store_key(dirs, name, value)


def _secrets(platform: Platform, table: Mapping[str, object]) -> Secrets:
    if platform == Platform.SLACK and table.get("mode") == "http":
        return SLACK_OVER_HTTP
    return TELEGRAM_WEBHOOK if platform == Platform.TELEGRAM and table.get("webhook_url") else TOKENS[platform]


def _people(platform: Platform, what: str, default: Set[str]) -> list[str]:
    while True:
        ids: list[str] = typer.prompt(what, default=", ".join(sorted(default))).replace(",", " ").split()
        wrong = [one for one in ids if not is_person(platform, one)]
        if not wrong:
            return ids
        typer.echo(f"{wrong[0]!r} is no id of a person on {platform.value}. Names are not taken.", err=True)


def _config(dirs: Directories, platform: Platform, typed: Mapping[str, str]) -> PlatformConfig:
    tables = {platform.value: load_config().values.gateway.get(platform.value, {})}
    return platform_configs(tables, {**read_keys(dirs), **typed}, os.environ)[platform]


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
        if ids or "allow" in table:
            table["allow"] = ids
        if admins:
            table["admins"] = admins
        if not ids and not admins and not table.get("everyone"):
            table.setdefault("pairing", True)
        write_private(path, tomlkit.dumps(document))
