"""Going on with a stored session in a terminal: found or picked, restored, recapped; or left for a branch of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from agent.config import ModelChoice
from agent.errors import HermesError
from agent.handoff import TERMINAL, Handoffs
from agent.messages import Message, ToolCall, Usage
from agent.models import portable
from agent.records import Session
from agent.store.leases import is_alive
from agent.store.text import title_from
from hermes_cli.picker import Choice, Picker
from hermes_cli.questions import UNFINISHED, Question
from hermes_cli.sessions import (
    Wanted,
    about,
    cut_off,
    details,
    directory,
    exchanges,
    find,
    last_in,
    offered,
    settled,
    title,
)
from hermes_cli.text import place

if TYPE_CHECKING:
    from hermes_cli.chat import Chat

Then = Callable[[Message], None]
"""Takes the prompt that was gone back to."""

Unfinished = Literal["ask", "go on", "leave"]
"""What becomes of a last turn that did not come to its end."""

RECAP, RECAP_ROWS, CALLS = 3, 8, 5
"""Exchanges told again when a session is resumed, rows of each of their parts, and tool calls."""


@dataclass(frozen=True, slots=True)
class _Restored:
    """What was read for a session that goes on. `choice` None: the model of now."""

    messages: list[Message]
    usage: Usage
    choice: ModelChoice | None
    problem: HermesError | None


@dataclass(frozen=True, slots=True)
class _Taken:
    """Somebody else has the session: `chat`, where one does."""

    who: str
    chat: str = ""


# -- at the start ----------------------------------------------------------------------------------


def begin(chat: "Chat", wanted: Wanted) -> None:
    """Restore the session that the command line asks for. What is sent meanwhile waits for it."""
    chat.hold()

    def look() -> list[Session]:
        if wanted.here:
            last = last_in(chat.store, chat.cwd)
            return [last] if last else []
        return find(chat.store, wanted.which) if wanted.which else offered(chat.store, chat.cwd)

    def found(sessions: list[Session]) -> None:
        if not sessions:
            chat.screen.show(chat.screen.renderer().note(f"No session to continue in {place(str(chat.cwd))} yet."))
            chat.release(keep=True)
        elif len(sessions) == 1 and (wanted.which or wanted.here):
            resume(chat, sessions[0], stay=wanted.stay, own_model=wanted.own_model)
        else:
            pick(chat, sessions, stay=wanted.stay, own_model=wanted.own_model)

    chat.aside(look, found, failed=_not_there(chat))


def _not_there(chat: "Chat") -> Callable[[], None]:
    """What waited for a conversation that cannot be had becomes a draft again."""
    return partial(chat.release, keep=False)


def pick(chat: "Chat", sessions: Sequence[Session], *, stay: bool = False, own_model: bool = False) -> None:
    """Let the person choose; typing searches titles, and what was said."""

    def rows(some: Sequence[Session]) -> list[Choice[Session]]:
        return [Choice(title(one), tuple(details(one, chat.cwd)), one, one.id) for one in some]

    def settle(session: Session | None) -> None:
        if session is None:
            chat.release(keep=False)
        else:
            resume(chat, session, stay=stay, own_model=own_model)

    def more(typed: str) -> list[Choice[Session]]:
        known: dict[str, Session] = {}
        for hit in chat.store.search(typed):
            if hit.session_id not in known and (session := chat.store.session(hit.session_id)):
                known[hit.session_id] = session
        return rows([*chat.store.find_sessions(typed), *known.values()])

    chat.screen.pick(Picker("Resume which session?", rows(sessions), settle, more=more))


# -- restoring -------------------------------------------------------------------------------------


def resume(
    chat: "Chat", session: Session, *, stay: bool = False, own_model: bool = False, unfinished: Unfinished = "ask"
) -> None:
    """Go on with a session where it was: its folder, its model, its very messages."""
    where = chat.cwd if stay else directory(session, chat.cwd)
    if where is not None:
        _restore(chat, session, where, own_model=own_model, unfinished=unfinished)
        return
    chat.hold()

    def settle(letter: str, _words: str) -> None:
        if letter == "y":
            _restore(chat, session, chat.cwd, own_model=own_model, unfinished=unfinished)
        else:
            chat.release(keep=False)

    lines = [f"{place(session.cwd)} is gone, where this session worked.", f"Go on in {place(str(chat.cwd))}?"]
    chat.ask(Question(lines, {"y": "go on here", "n": "do not resume"}, "n", settle, about="directory"))


def _restore(chat: "Chat", session: Session, where: Path, *, own_model: bool, unfinished: Unfinished = "ask") -> None:
    chat.hold()

    def read() -> _Restored | _Taken:
        if who := chat.seats.take(session.id):
            return _Taken(who, chat.seats.chat_of(session.id))
        messages = chat.store.messages(session.id)
        usage = sum((row.usage for row in chat.store.usage(session_id=session.id)), Usage())
        if own_model or session.settings == portable.NOTHING:
            return _Restored(messages, usage, None, None)
        try:
            return _Restored(messages, usage, chat.model.revived(session.settings), None)
        except HermesError as error:
            return _Restored(messages, usage, None, error)

    def then(restored: _Restored | _Taken) -> None:
        if isinstance(restored, _Taken):
            _offer_a_copy(chat, session, where, restored, own_model=own_model)
            return
        chat.go_on(session.id, usage=restored.usage)
        if where != chat.cwd:
            chat.move(where)
        if restored.choice is not None and restored.choice != chat.model.choice:
            chat.model.use(restored.choice)
        _recap(chat, session, restored.messages)
        if restored.problem is not None:
            chat.complain(f"Its model cannot be used: {restored.problem}", restored.problem.hint)
        if unfinished != "leave" and cut_off(restored.messages):
            said = exchanges(restored.messages)
            _finish(chat, said[-1].prompt if said else title(session), ask=unfinished == "ask")
        chat.release(keep=True)

    chat.aside(read, then, failed=_not_there(chat))


def _offer_a_copy(chat: "Chat", session: Session, where: Path, taken: _Taken, *, own_model: bool) -> None:
    """Two that write into one history would spoil it for both. A chat can be taken what is its own."""

    def copy() -> Session | None:
        messages, name = settled(chat.store.messages(session.id)), f"{title(session)} (branch)"
        child = chat.store.copy_session(session.id, messages, title=name, source=TERMINAL)
        return chat.store.session(child)

    def copied(child: Session | None) -> None:
        if child is not None:
            # The other one goes on with its last turn.
            _restore(chat, child, where, own_model=own_model, unfinished="leave")
        else:
            chat.release(keep=False)

    def take() -> None:
        Handoffs(chat.store, is_alive).take(session.id)

    def took(_none: None) -> None:
        _restore(chat, session, where, own_model=own_model)

    def settle(letter: str, _words: str) -> None:
        match letter:
            case "b":
                chat.aside(copy, copied, failed=_not_there(chat))
            case "t":
                chat.aside(take, took, failed=_not_there(chat))
            case _:
                chat.release(keep=False)

    lines = [f"{title(session)!r} is open in {taken.who}.", "A copy can go on here; the other one does not notice."]
    options = {"b": "branch: go on in a copy", "n": "do not resume"}
    if taken.chat:
        options = {"b": options["b"], "t": "take it: the chat is told, and begins a new one", "n": options["n"]}
    chat.ask(Question(lines, options, "b", settle, about="taken"))


def _recap(chat: "Chat", session: Session, messages: Sequence[Message]) -> None:
    renderer, dot = chat.screen.renderer(), f" {chat.screen.glyphs.dot} "
    said = exchanges(messages)
    head = dot.join([title(session), *details(session, chat.cwd), *([session.model] if session.model else [])])
    earlier = len(said) - RECAP
    more = f"{dot}{earlier} earlier exchange{'' if earlier == 1 else 's'}: /history" if earlier > 0 else ""
    chat.screen.show("\n" + renderer.note(f"Resumed: {head}{more}"))
    for exchange in said[-RECAP:]:
        chat.screen.show(renderer.person(exchange.prompt, RECAP_ROWS))
        show_calls(chat, exchange.calls)
        if exchange.answer:
            chat.screen.show(renderer.answer(exchange.answer, RECAP_ROWS))
    chat.answer = said[-1].answer if said else ""


def show_calls(chat: "Chat", calls: Sequence[ToolCall]) -> None:
    """The last calls of a stored turn, a line each."""
    renderer = chat.screen.renderer()
    if len(calls) > CALLS:
        chat.screen.show(renderer.note(f"{chat.screen.glyphs.ellipsis} {len(calls) - CALLS} earlier calls"))
    for call in calls[-CALLS:]:
        chat.screen.show(renderer.call(call.name, about(call)))


def _finish(chat: "Chat", prompt: str, *, ask: bool) -> None:
    """Go on with the turn of this prompt that did not come to its end."""

    def settle(letter: str, _words: str) -> None:
        if letter == "y" and chat.turn is None:
            chat.finish_turn(prompt)

    if not ask:
        chat.finish_turn(prompt)
        return
    options = {"y": "go on with it", "n": "leave it"}
    chat.ask(Question(["The last turn did not come to its end."], options, "n", settle, about=UNFINISHED))


# -- branches --------------------------------------------------------------------------------------


def back_to(chat: "Chat", at: int, then: Then) -> None:
    """Leave for a conversation that ends before the prompt at `at`, which `then` gets. The old one is archived."""
    old = chat.conversation
    chat.hold()

    def work() -> tuple[str, Message]:
        messages = chat.store.messages(old)
        child = chat.store.continue_session(old, messages[:at])
        chat.seats.take(child)
        row = chat.store.session(child)
        begins_anew = not any(message.role == "user" for message in messages[:at])
        if begins_anew and row is not None and row.title == title_from(messages[at].content):
            chat.store.rename_session(child, "")
        return child, messages[at]

    def done(result: tuple[str, Message]) -> None:
        child, prompt = result
        chat.go_on(child, usage=chat.usage)
        chat.screen.show(chat.screen.renderer().note(f"Back to before that prompt. As it was: /resume {old}"))
        chat.release(keep=True)
        then(prompt)

    chat.aside(work, done, failed=_not_there(chat))


def branch(chat: "Chat", name: str) -> None:
    """Go on in a copy; the old conversation stays in the lists."""
    old = chat.conversation
    chat.hold()

    def work() -> str:
        row = chat.store.session(old)
        child = chat.store.continue_session(old, chat.store.messages(old))
        chat.store.update_session(old, archived=False)
        chat.seats.take(child)
        chat.store.rename_session(child, name or f"{row.title if row else ''} (branch)")
        return child

    def then(child: str) -> None:
        chat.go_on(child, usage=chat.usage)
        chat.screen.show(chat.screen.renderer().note(f"This is a branch now. The other one: /resume {old}"))
        chat.release(keep=True)

    chat.aside(work, then, failed=_not_there(chat))
