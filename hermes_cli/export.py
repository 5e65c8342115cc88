"""A stored conversation as a document: Markdown to read on, JSON to work with, a page that needs nothing else."""

import html
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from agent.errors import HermesError
from agent.marks import unmarked
from agent.messages import Message
from agent.quoting import fenced
from agent.records import Session, SessionStore
from agent.steps import is_handover
from hermes_cli.sessions import title

FORMATS = {"markdown": ".md", "json": ".json", "html": ".html"}
_ALSO = {"md": "markdown", "htm": "html"}
_WHO = {"system": "System prompt", "user": "You", "assistant": "Hermes", "tool": "Result"}

_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem }
header p, h2 { color: GrayText; font-size: .85rem; margin: 0 }
h2 { margin-top: 1.5rem; font-weight: 600 }
.text { white-space: pre-wrap; overflow-wrap: anywhere; margin: .25rem 0 }
.user { border-left: 3px solid; padding-left: .75rem; font-weight: 600 }
pre { overflow-x: auto; border: 1px solid GrayText; border-radius: 4px; padding: .5rem; white-space: pre-wrap }
summary { color: GrayText; cursor: pointer }
"""


def format_of(name: str) -> str | None:
    """The format a person names; None when there is none of that name."""
    name = name.lower().lstrip(".")
    name = _ALSO.get(name, name)
    return name if name in FORMATS else None


def export(store: SessionStore, session_id: str, format_: str, target: Path | None, *, folder: Path) -> Path:
    """Write a session to a new file, by default one named after its title. Raises: HermesError."""
    session = store.session(session_id)
    if session is None:
        raise HermesError(f"There is no session {session_id}.")
    text = WRITERS[format_](session, store.messages(session_id))
    path = folder / target.expanduser() if target else _unused(folder, slug(title(session)), FORMATS[format_])
    try:
        with path.open("x", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except FileExistsError as error:
        raise HermesError(f"{path} exists already.", hint="Choose another name.") from error
    except OSError as error:
        raise HermesError(f"Cannot write {path}: {error.strerror}.") from error
    return path


def slug(words: str) -> str:
    """A title as a name for a file."""
    return re.sub(r"[^\w]+", "-", words.lower()).strip("-")[:50] or "session"


def _unused(folder: Path, name: str, ending: str) -> Path:
    path, number = folder / f"{name}{ending}", 1
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}{ending}"
    return path


# -- formats ---------------------------------------------------------------------------------------


def markdown(session: Session, messages: Sequence[Message]) -> str:
    """Without the system prompt."""
    parts = [f"# {title(session)}", " · ".join(_about(session))]
    for message in messages:
        if message.role == "system":
            continue
        if message.role == "tool":
            parts.append(fenced(unmarked(message.content).rstrip()))
            continue
        if message.content:
            parts.append(f"## {_who(message)}\n\n{message.content}")
        parts += [f"**{call.name}**\n\n{fenced(call.arguments.rstrip())}" for call in message.tool_calls]
    return "\n\n".join(parts) + "\n"


def as_json(session: Session, messages: Sequence[Message]) -> str:
    """All of it, as stored."""
    row = asdict(session)
    row["settings"] = json.loads(session.settings)
    return json.dumps({**row, "messages": [asdict(message) for message in messages]}, ensure_ascii=False, indent=2)


def page(session: Session, messages: Sequence[Message]) -> str:
    """One page that loads nothing and runs nothing: all text is escaped, and the policy forbids the rest."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = html.escape(title(session))
    return (
        f'<!doctype html>\n<html><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{head}</title><style>{_STYLE}</style></head><body>\n"
        f"<header><h1>{head}</h1><p>{html.escape(' · '.join(_about(session)))}</p></header>\n"
        f"{''.join(_section(message) for message in messages)}</body></html>\n"
    )


def _section(message: Message) -> str:
    who, text = (
        _who(message),
        html.escape(unmarked(message.content) if message.role == "tool" else message.content),
    )
    if message.role in ("system", "tool"):
        return f"<details><summary>{who}</summary><pre>{text}</pre></details>\n"
    calls = "".join(
        f"<details><summary>{html.escape(call.name)}</summary><pre>{html.escape(call.arguments)}</pre></details>\n"
        for call in message.tool_calls
    )
    said = f'<h2>{who}</h2><div class="text {message.role}">{text}</div>\n' if text else ""
    return f"{said}{calls}"


def _who(message: Message) -> str:
    return "Summary of what was said before" if is_handover(message) else _WHO[message.role]


def _about(session: Session) -> list[str]:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(session.created))
    return [part for part in (session.id, when, session.model, session.cwd) if part]


WRITERS: dict[str, Callable[[Session, Sequence[Message]], str]] = {
    "markdown": markdown,
    "json": as_json,
    "html": page,
}
