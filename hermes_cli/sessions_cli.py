"""`hermes sessions` and `hermes backup`: what is kept, from the shell. Imported for sub-commands only."""

import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent import leftovers
from agent.config import directories
from agent.errors import HermesError
from agent.lineage import earlier
from hermes_cli.confirming import Yes, confirm
from hermes_cli.options import SUBCOMMANDS, UsageError
from hermes_cli.seats import open_sessions

if TYPE_CHECKING:
    from agent.records import Session
    from agent.store.sqlite import SqliteStore

sessions_app = typer.Typer(help=SUBCOMMANDS["sessions"], rich_markup_mode=None, no_args_is_help=True)

_UNITS = {"h": 3_600, "d": 86_400, "w": 7 * 86_400}


def titles(incomplete: str) -> list[str]:
    """Titles and ids that a shell completes."""
    try:
        found = _store().sessions(limit=200)
    except HermesError:
        return []
    names = [name for one in found for name in (one.title, one.id) if name]
    return [name for name in names if incomplete.lower() in name.lower()]


Which = Annotated[str, typer.Argument(help="an id or its beginning, a title, or latest", autocompletion=titles)]
AsJson = Annotated[bool, typer.Option("--json", help="as JSON")]


@sessions_app.command("list", help="the newest first")
def list_sessions(
    here: Annotated[bool, typer.Option("--here", help="of this directory only")] = False,
    archived: Annotated[bool, typer.Option("--archived", help="those that others went on from")] = False,
    limit: Annotated[int, typer.Option(help="how many", min=1)] = 30,
    as_json: AsJson = False,
) -> None:
    found = _store().sessions(cwd=str(Path.cwd()) if here else None, archived=archived, limit=limit)
    if as_json:
        _print_json([_row(session) for session in found])
        return
    if not found:
        typer.echo("No sessions yet.", err=True)
    for session in found:
        typer.echo(_line(session))


@sessions_app.command("show", help="what was said, as Markdown")
def show(which: Which, as_json: AsJson = False) -> None:
    from hermes_cli.export import WRITERS
    from hermes_cli.text import harmless

    store = _store()
    session = _one(store, which)
    text = WRITERS["json" if as_json else "markdown"](session, store.messages(session.id))
    typer.echo((harmless(text) if sys.stdout.isatty() else text).rstrip("\n"))


@sessions_app.command("search", help="what was said anywhere, the newest first")
def search(
    words: Annotated[list[str], typer.Argument(help='all of them, in any case; "several words" in quotes adjoin')],
    limit: Annotated[int, typer.Option(help="how many", min=1)] = 20,
    as_json: AsJson = False,
) -> None:
    from hermes_cli.sessions import age
    from hermes_cli.text import harmless

    # The shell has taken the quotes of several words, unless they were quoted twice.
    query = " ".join(f'"{word}"' if " " in word and '"' not in word else word for word in words)
    hits = _store().search(query, limit=limit)
    if as_json:
        _print_json([asdict(hit) for hit in hits])
        return
    if not hits:
        typer.echo("Nothing was found.", err=True)
    for hit in hits:
        typer.echo(harmless(f"{hit.session_id}  {age(hit.at):<10}  {hit.title}\n    {hit.role}: {hit.snippet}"))


@sessions_app.command("rename", help="give a session another title")
def rename(
    which: Which, title: Annotated[list[str], typer.Argument(help="the title")], as_json: AsJson = False
) -> None:
    store = _store()
    renamed = store.rename_session(_one(store, which).id, " ".join(title))
    if renamed is None:
        raise HermesError("It is gone.")
    if as_json:
        _print_json(_row(renamed))
    else:
        typer.echo(_line(renamed))


@sessions_app.command("export", help="write a session to a file, or to stdout with -")
def export_session(
    which: Which,
    file: Annotated[str, typer.Argument(help="by default named after the title")] = "",
    format_: Annotated[str, typer.Option("--format", "-f", help="markdown, json or html")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="tell where it is as JSON")] = False,
) -> None:
    from hermes_cli.export import FORMATS, WRITERS, export, format_of

    chosen = format_of(format_) if format_ else format_of(Path(file).suffix) or "markdown"
    if chosen is None:
        raise UsageError(f"{format_!r} is no format.", hint=f"There are: {', '.join(FORMATS)}.")
    if file == "-" and as_json:
        raise UsageError("--json tells where the file is, and - makes none.", hint="As JSON on stdout: -f json")
    store = _store()
    session = _one(store, which)
    if file == "-":
        typer.echo(WRITERS[chosen](session, store.messages(session.id)).rstrip("\n"))
        return
    path = export(store, session.id, chosen, Path(file) if file else None, folder=Path.cwd())
    if as_json:
        _print_json({"id": session.id, "format": chosen, "path": str(path)})
    else:
        typer.echo(path)


@sessions_app.command("delete", help="delete a session with all that was said in it")
def delete(which: Which, yes: Yes = False, as_json: AsJson = False) -> None:
    store = _store()
    session = _one(store, which)
    _refuse_open(store, session)
    confirm(f"Delete {_line(session)}?", yes)
    with leftovers.going(directories().state, store):
        store.delete_session(session.id)
    if as_json:
        _print_json({"deleted": session.id})
    else:
        typer.echo(f"Deleted {session.id}.")


@sessions_app.command("prune", help="delete sessions and finished tasks that nobody has touched for long")
def prune(
    older_than: Annotated[str, typer.Option("--older-than", help="90d, 12w or 48h")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be deleted")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    before, store = time.time() - _duration(older_than), _store()
    seats = open_sessions(store)
    kept = [one for one in map(store.session, seats) if one and one.updated < before]
    for session in kept:
        typer.echo(f"Kept, open in {seats[session.id]}: {_line(session)}", err=True)
    doomed = store.prune(before=before, dry_run=True, besides=list(seats))
    what = f"{doomed.sessions} sessions with {doomed.messages} messages, and {doomed.tasks} tasks"
    if not dry_run:
        if doomed.sessions or doomed.tasks:
            confirm(f"Delete {what}?", yes)
        besides = [*_unmerged(store, before), *open_sessions(store)]
        with leftovers.going(directories().state, store):
            doomed = store.prune(before=before, besides=besides)
        what = f"{doomed.sessions} sessions with {doomed.messages} messages, and {doomed.tasks} tasks"
    if as_json:
        _print_json({**asdict(doomed), "dry_run": dry_run, "open": [session.id for session in kept]})
    else:
        typer.echo(f"{'Would delete' if dry_run else 'Deleted'} {what}.")


@sessions_app.command("stats", help="how much is kept")
def stats(as_json: AsJson = False) -> None:
    from hermes_cli.text import size

    store = _store()
    found = store.stats()
    if as_json:
        _print_json({**asdict(found), "path": str(store.path)})
        return
    typer.echo(f"{store.path}")
    typer.echo(f"{found.sessions} sessions, {found.messages} messages, {found.tasks} tasks")
    typer.echo(f"{size(found.size)} on disk, {size(found.free)} of it free")


def backup(file: Annotated[Path, typer.Argument(help="a file that does not exist yet")]) -> None:
    """While others write, too."""
    from hermes_cli.text import size

    _store().backup(file.absolute())
    typer.echo(f"{file} ({size(file.stat().st_size)}). To restore, see `hermes doctor`.")


def _unmerged(store: "SqliteStore", before: float) -> list[str]:
    """The old tasks whose worktree holds what is nowhere else; those of the others are removed."""
    from hermes_cli.task_facts import prunable, without_worktree

    return without_worktree(store, prunable(store.tasks(), before), directories().state)


# -- parts -----------------------------------------------------------------------------------------


def _refuse_open(store: "SqliteStore", session: "Session") -> None:
    """Raises: HermesError, when somebody has it open, or what it went on as."""
    for open_, who in open_sessions(store).items():
        if open_ == session.id or (session.archived and session.id in earlier(store, open_)):
            went_on = "" if open_ == session.id else f" went on as {open_}, which"
            raise HermesError(f"{session.id}{went_on} is open in {who}.", hint="Leave it there first: /new, or Ctrl+D.")


def _store() -> "SqliteStore":
    """Raises: StoreError."""
    from agent.store.sqlite import SqliteStore

    return SqliteStore(directories().database)


def _one(store: "SqliteStore", which: str) -> "Session":
    from hermes_cli.sessions import Wanted, the_one

    return the_one(store, Wanted(which), Path.cwd())


def _line(session: "Session") -> str:
    from hermes_cli.sessions import age, title
    from hermes_cli.text import harmless, place

    return harmless(f"{session.id}  {age(session.updated):<10}  {title(session)}  ({place(session.cwd)})")


def _row(session: "Session") -> dict[str, Any]:
    row = asdict(session)
    del row["settings"]
    return row


def _print_json(value: dict[str, Any] | Sequence[dict[str, Any]]) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def _duration(text: str) -> float:
    """Seconds. Raises: UsageError."""
    match = re.fullmatch(r"(\d+)\s*([hdw])", text.strip().lower())
    if match is None:
        raise UsageError(f"{text!r} is no duration.", hint="Examples: 90d, 12w, 48h.")
    return int(match[1]) * _UNITS[match[2]]
