"""`hermes gateway …` and `hermes pairing …`. What is slow to import is imported where it is used."""

import contextlib
import json
import os
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.config import directories, load_config
from agent.errors import ConfigError, HermesError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent.config import Config
    from agent.findings import Finding
    from agent.people import Person
    from agent.store.sqlite import SqliteStore
    from gateway.config import Platform, PlatformConfig
    from gateway.outbox import Letter

gateway_app = typer.Typer(help="serve the agent to chats", rich_markup_mode=None)
pairing_app = typer.Typer(help="let people into chats, by code", rich_markup_mode=None, no_args_is_help=True)
APPS = {"gateway": gateway_app, "pairing": pairing_app}

LOG = "gateway.log"

FOLLOW = 0.25
"""Seconds between two looks at a log that is followed."""

SEND_WITHIN = 15.0
"""Seconds that `send` waits for the gateway to send."""

CAPTION = 500
"""Characters of a text that goes under a file; every platform has room for them."""

Json = Annotated[bool, typer.Option("--json", help="as JSON")]


@gateway_app.callback(invoke_without_command=True)
def main(context: typer.Context) -> None:
    """Serve the platforms that are set up, until it is stopped."""
    if context.invoked_subcommand is not None:
        return
    import asyncio

    from gateway.logs import log_to, tell_on
    from gateway.serve import serve

    log_to(directories().state / LOG)
    tell_on(sys.stderr)
    asyncio.run(serve())


@gateway_app.command(help="what is connected, what waits to be sent, what was refused")
def status(as_json: Json = False) -> None:
    from gateway.standing import lines, standing

    found = standing(_store())
    typer.echo(json.dumps(found) if as_json else "\n".join(lines(found, now=time.time())))


@gateway_app.command(help="send a message to a chat: --to telegram:123")
def send(
    text: Annotated[str, typer.Argument(help="the text; - for standard input")] = "",
    to: Annotated[str, typer.Option("--to", help="platform:chat, or platform:chat/thread")] = "",
    file: Annotated[Path | None, typer.Option("--file", help="a file to send", exists=True, dir_okay=False)] = None,
) -> None:
    from gateway.outbox import address, encode
    from gateway.serve import settings_of
    from gateway.session import chat_of
    from gateway.standing import standing

    try:
        chat = chat_of(to)
    except ValueError as error:
        raise ConfigError(
            f"{to!r} is no chat.", hint="Write --to platform:chat, for example telegram:12345."
        ) from error
    body = sys.stdin.read() if text == "-" else text
    if not body.strip() and file is None:
        raise ConfigError("There is nothing to send.", hint='hermes gateway send --to telegram:123 "text"')
    if chat.platform not in settings_of(load_config())[1]:
        name = chat.platform.value
        raise ConfigError(f"{name} is not set up.", hint=f"hermes gateway setup {name}")
    if file is not None and not file.is_file():
        raise ConfigError(f"{file} is a device or a pipe.", hint="Put what it gives into a file, and send that.")
    store = _store()
    if not (letters := list(_letters(chat.platform, body, file))):
        raise ConfigError("There is nothing to show in this text.")
    posted = {store.post(address(chat), encode(letter)) for letter in letters}
    running = any(one["platform"] == chat.platform.value for one in standing(store)["gateways"])
    end = time.monotonic() + (SEND_WITHIN if running else 0)
    while any(one.id in posted for one in store.unsent(address(chat))) and time.monotonic() < end:
        time.sleep(0.1)
    if refused := next((one for one in store.refused() if one.id in posted), None):
        raise HermesError(f"It was refused: {refused.error}")
    if not any(one.id in posted for one in store.unsent(address(chat))):
        typer.echo("Sent.")
    else:
        typer.echo("Kept; it is sent when the gateway can." if running else "Kept; it is sent when a gateway runs.")


def _letters(platform: "Platform", text: str, file: Path | None) -> "Iterator[Letter]":
    """A text in as many messages as the platform needs, and a file; a short text stands under its file."""
    from dataclasses import replace

    from gateway.formatting import PLAIN, split
    from gateway.markup import DIALECTS
    from gateway.outbox import REPEAT, Letter

    dialect = DIALECTS.get(platform, PLAIN)
    room = replace(dialect, limit=dialect.limit - len(REPEAT))  # for the mark of a repeat
    under_file = file is not None and len(text) <= CAPTION
    if not under_file and text.strip():
        yield from (Letter(text=part) for part in split(text, room))
    if file is not None:
        yield Letter(text=text if under_file else "", file=str(file.resolve()), file_name=file.name)


@gateway_app.command(help="set a platform up: token, people, next step")
def setup(platform: Annotated[str, typer.Argument(help="telegram, discord or slack")] = "") -> None:
    from gateway.setting_up import set_up

    set_up(directories(), platform)


@gateway_app.command(help="have the system start the gateway (systemd user unit, launchd agent)")
def install() -> None:
    from gateway.install import write_unit

    done = write_unit(load_config())
    typer.echo(f"Wrote {done.path}.\nNow: {done.start}\nTo take it away: {done.remove}")
    for note in done.notes:
        typer.echo(note)


@gateway_app.command(help="the end of the gateway's log")
def logs(
    lines: Annotated[int, typer.Option("-n", "--lines", min=1)] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="and what is added, until Ctrl+C")] = False,
) -> None:
    path = directories().state / LOG
    if not path.exists():
        raise HermesError("There is no log yet.", hint="`hermes gateway` writes it.")
    for line in _log_lines(path, lines, follow=follow):
        typer.echo(line)


def _log_lines(path: Path, last: int, *, follow: bool) -> "Iterator[str]":
    """The last lines of a log, and then those that are added, also when another file takes its place."""
    file = path.open("rb")
    yield from (line.decode("utf-8", "replace").rstrip("\n") for line in deque(file, last))
    begun = b""
    while follow:
        for line in file:
            begun += line
            if begun.endswith(b"\n"):
                yield begun.decode("utf-8", "replace").rstrip("\n")
                begun = b""
        with contextlib.suppress(OSError):  # between two files there is none
            there, here = path.stat(), os.fstat(file.fileno())
            if here.st_size < file.tell():
                file.seek(0)  # it was emptied
                continue
            if there.st_ino != here.st_ino and here.st_size == file.tell():
                file.close()
                file = path.open("rb")
                continue
        time.sleep(FOLLOW)
    file.close()


@gateway_app.command("slack-manifest", help="the manifest of the Slack app, from the command table")
def slack_manifest(
    address: Annotated[str, typer.Option("--address", help="public address, for HTTP instead of Socket Mode")] = "",
) -> None:
    from gateway.platforms import slack_manifest as manifest

    if address and not address.startswith("https://"):
        raise ConfigError(f"{address!r} is no public address.", hint="It begins with https://")
    typer.echo(json.dumps(manifest.slack_manifest(address=address), indent=2))


# -- for `hermes doctor` ---------------------------------------------------------------------------


def findings(config: "Config") -> "Iterator[Finding]":
    """Whether each platform that is set up has somebody to serve and knows its token.

    One that a gateway serves is not connected to once more: some platforms would end the other connection.
    """
    if not config.values.gateway:
        return
    from agent.findings import Finding
    from gateway.serve import check, settings_of
    from gateway.setting_up import try_out
    from gateway.standing import standing

    try:
        _settings, platforms = settings_of(config)
        store = _store()
        served = {one["platform"]: one for one in standing(store)["gateways"]}
    except HermesError as error:
        yield Finding(False, f"gateway: {error}", error.hint)
        return
    for platform, one in platforms.items():
        try:
            check(one, store)
            if (here := served.get(platform.value)) is None:
                try_out(one)
                yield Finding(True, f"{platform.value} knows the token; no gateway serves it now")
            else:
                said = f"{platform.value} is served: {here['state']} {here['problem']}".rstrip()
                yield Finding(not here["problem"], said, "See `hermes gateway logs`.")
        except HermesError as error:
            yield Finding(False, f"{platform.value}: {error}", error.hint or "Run `hermes gateway setup` again.")
    yield from _walls(platforms.values())


def _walls(platforms: "Iterable[PlatformConfig]") -> "Iterator[Finding]":
    """Whether agents of people who are no admins have a shell: behind a wall only."""
    from agent.findings import Finding
    from agent.sandbox import BACKENDS, backend, problem

    if all(one.tools == "full" for one in platforms):
        return
    if means := backend():
        yield Finding(True, f"chats: commands of people who are no admins run behind {means}")
        return
    why = "; ".join(f"{name}: {problem(name)}" for name in BACKENDS)
    yield Finding(
        None, f"chats: no sandbox works here ({why})", "Only admins' agents have a shell. Install bubblewrap."
    )


# -- pairing ---------------------------------------------------------------------------------------


@pairing_app.command(help="let in whoever has this code")
def approve(platform: str, code: str) -> None:
    person = _store().approve_pairing(_platform(platform), code, now=time.time())
    if person is None:
        raise HermesError("Nobody has this code.", hint="Codes are good for an hour, and once.")
    _welcome(person)
    typer.echo(f"{person.name or 'Somebody'} ({person.platform} {person.user_id}) may speak now.")


def _welcome(person: "Person") -> None:
    """Tell them where they asked."""
    from agent.handoff import direct_chats
    from gateway.outbox import Letter, encode

    store = _store()
    if where := direct_chats(store, person.platform).get(person.user_id):
        store.post(where, encode(Letter(text="You are let in. Write what you want done; /help lists the commands.")))


@pairing_app.command("list", help="who was let in, and who waits")
def people(as_json: Json = False) -> None:
    found = _store().people()
    if as_json:
        rows = [{"platform": one.platform, "id": one.user_id, "name": one.name, "state": one.state} for one in found]
        typer.echo(json.dumps(rows))
        return
    for one in found:
        typer.echo(f"{one.platform:<10} {one.user_id:<20} {one.state:<8} {_shown(one.name)}")
    if not found:
        typer.echo("Nobody was let in by code, and nobody waits.")


@pairing_app.command(help="let somebody in no more, and stop what runs for them")
def revoke(platform: str, user_id: str) -> None:
    store, name = _store(), _platform(platform)
    table = load_config().values.gateway.get(name, {})
    if named := next((key for key in ("admins", "allow") if user_id in map(str, table.get(key, ()))), None):
        hint = f"Take the id out of [gateway.{name}] {named}, and start the gateway again."
        raise HermesError(f"{user_id} is let in by config.toml.", hint=hint)
    if not store.revoke(name, user_id):
        raise HermesError(
            f"Nobody on {platform} has the id {user_id}.", hint="`hermes pairing list` shows who there is."
        )
    stopped = _stop_all_of(store, name, user_id)
    typer.echo(f"Revoked, and stopped: {', '.join(stopped)}." if stopped else "Revoked.")


def _stop_all_of(store: "SqliteStore", platform: str, user_id: str) -> list[str]:
    """Stop somebody's turns and tasks, wherever they run: nobody but admins could from now on."""
    from agent.handoff import direct_chats
    from agent.records import OF_CHATS, OF_TURNS
    from agent.task_rows import key_of
    from agent.tasks import orders
    from gateway.home import is_of

    pool, direct = orders(store), direct_chats(store, platform).get(user_id)
    theirs = [
        (task, key)
        for owner in (OF_TURNS, OF_CHATS)
        for task in pool.live(owner)
        if is_of(key := key_of(task.owner), platform, user_id, direct)
    ]
    return [f"#{task.number}" for task, key in theirs if pool.stop(task.id, why="revoked", chat=key)]


def _platform(name: str) -> str:
    from gateway.config import THERE_ARE, Platform

    if name.lower() not in {*Platform}:
        raise ConfigError(f"There is no platform {name!r}.", hint=f"There are {THERE_ARE}.")
    return name.lower()


def _shown(name: str) -> str:
    """A name as somebody chose it, harmless to a terminal."""
    return "".join(character for character in name if character.isprintable())[:60]


def _store() -> "SqliteStore":
    from agent.store.sqlite import SqliteStore

    return SqliteStore(load_config().dirs.database)
