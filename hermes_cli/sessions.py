"""Which stored session a person means, what is told of it, and what going on with it needs."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agent.errors import HermesError
from agent.messages import Message, ToolCall, unanswered_calls
from agent.records import Session, SessionStore
from agent.reports import is_report
from agent.steps import is_handover
from hermes_cli.text import count, place

MOST = 500
"""Sessions that a picker offers before something is searched for."""

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which session to begin with. `which` is what was typed: "" to pick one; `here` asks for this directory's last.

    `stay`: the directory was chosen by hand, so that of the session does not count; `model` likewise.
    """

    which: str = ""
    here: bool = False
    stay: bool = False
    own_model: bool = False


def find(store: SessionStore, text: str) -> list[Session]:
    """The sessions that are meant: one, or several that fit equally well. Raises: HermesError when there is none.

    An id and a title name any session; "latest" is the last that a terminal had.
    """
    if text.strip().casefold() == "latest" and (own := own_sessions(store)):
        return own[:1]
    if one := store.find_session(text):
        return [one]
    found = store.find_sessions(text)
    if not found:
        raise HermesError(f"No session fits {text!r}.", hint="Type an id or its beginning, a title, or latest.")
    return found


def the_one(store: SessionStore, wanted: Wanted, cwd: Path) -> Session:
    """For whoever cannot ask: what print mode said counts like what a terminal did, so that scripts can go on.

    Raises: HermesError when there is none, or several.
    """
    if wanted.here:
        found = last_in(store, cwd, sources=("terminal", "print"))
        if found is None:
            raise HermesError(f"There is no session to continue in {cwd}.", hint="hermes sessions list shows all.")
        return found
    which = wanted.which or "latest"
    latest = store.find_session(which) if which.casefold() == "latest" else None
    several = [latest] if latest else find(store, which)
    if len(several) > 1:
        names = ", ".join(f"{session.id} ({session.title})" for session in several[:3])
        raise HermesError(f"Several sessions fit {wanted.which!r}: {names}.", hint="Give an id.")
    return several[0]


def last_in(store: SessionStore, cwd: Path, *, sources: Sequence[str] = ("terminal",)) -> Session | None:
    """The last conversation of these sources in this directory."""
    found = [one for source in sources for one in own_sessions(store, cwd, source=source)]
    return max(found, key=lambda session: session.updated, default=None)


def offered(store: SessionStore, cwd: Path) -> list[Session]:
    """What to pick from: the terminal's own, this directory's first, each part newest first."""
    here = own_sessions(store, cwd)
    known = {session.id for session in here}
    return [*here, *(session for session in own_sessions(store) if session.id not in known)]


def own_sessions(store: SessionStore, cwd: Path | None = None, *, source: str = "terminal") -> list[Session]:
    """The newest first, without those in which nobody said anything yet: a system message at most."""
    found = store.sessions(cwd=str(cwd) if cwd else None, source=source, limit=MOST)
    return [session for session in found if session.messages > 1]


def directory(session: Session, cwd: Path) -> Path | None:
    """Where the session worked; None when that is gone."""
    place = Path(session.cwd) if session.cwd else cwd
    return place if place.is_dir() else None


def cut_off(messages: Sequence[Message]) -> bool:
    """Whether the last turn did not come to its end."""
    while messages and is_report(messages[-1].content):
        messages = messages[:-1]
    if not messages or messages[-1].role == "system":
        return False
    return messages[-1].role != "assistant" or bool(unanswered_calls(list(messages)))


def settled(messages: Sequence[Message]) -> Sequence[Message]:
    """Without a last step whose calls are not all answered: for a copy, in which none of them may run again."""
    if unanswered_calls(list(messages)):
        last = max(number for number, message in enumerate(messages) if message.tool_calls)
        return messages[:last]
    return messages


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a person said, and how the agent's turn ended. `at` is the prompt's place in the history, from 0."""

    at: int
    prompt: str
    answer: str = ""
    calls: tuple[ToolCall, ...] = ()


def exchanges(messages: Sequence[Message]) -> list[Exchange]:
    """Oldest first."""
    found: list[Exchange] = []
    for number, message in enumerate(messages):
        if message.role == "user" and not is_report(message.content) and not is_handover(message):
            found.append(Exchange(number, message.content))
        elif message.role == "assistant" and found:
            last = found[-1]
            answer, calls = message.content or last.answer, (*last.calls, *message.tool_calls)
            found[-1] = replace(last, answer=answer, calls=calls)
    return found


def about(call: ToolCall) -> str:
    """What a stored call was about: the first of its arguments that is text."""
    try:
        given = json.loads(call.arguments)
    except ValueError:
        return ""
    return next((value for value in given.values() if isinstance(value, str)), "") if isinstance(given, dict) else ""


# -- words -----------------------------------------------------------------------------------------


def title(session: Session) -> str:
    return session.title or "(nothing was said)"


def age(at: float, now: float | None = None) -> str:
    """How long ago: now, 5m ago, 3h ago, 12d ago; a date after two months."""
    spent = (time.time() if now is None else now) - at
    if spent > 60 * 86_400:
        return time.strftime("%Y-%m-%d", time.localtime(at))
    for size, unit in _UNITS:
        if spent >= size:
            return f"{int(spent // size)}{unit} ago"
    return "now"


def details(session: Session, cwd: Path) -> Iterator[str]:
    """What tells a session from others with the same title."""
    yield age(session.updated)
    # The system prompt is stored as the first, and nobody said it.
    said = max(session.messages - 1, 0)
    yield f"{count(said)} message{'' if said == 1 else 's'}"
    if session.cwd != str(cwd):
        yield place(session.cwd)
    if session.source != "terminal":
        yield session.source
