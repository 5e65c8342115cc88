"""Commands about what was said: shown, named, searched, written to files."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from agent.errors import HermesError
from agent.messages import DENIED
from agent.records import Hit
from agent.reports import is_report
from agent.store.rules import new_session_id
from hermes_cli import sessions
from hermes_cli.export import FORMATS, format_of
from hermes_cli.export import export as write_to
from hermes_cli.text import harmless

if TYPE_CHECKING:
    from hermes_cli.chat import Chat


def history(chat: "Chat", arguments: str) -> None:
    if arguments and not arguments.isdecimal():
        raise HermesError(f"{arguments!r} is no number.", hint="/history 5 shows the last five exchanges.")
    said = (message for message in chat.store.messages(chat.conversation) if message.role in ("user", "assistant"))
    messages = [message for message in said if message.content or message.tool_calls]
    if not messages:
        chat.screen.show(chat.screen.renderer().note("Nothing was said yet."))
        return
    starts = [number for number, message in enumerate(messages) if message.role == "user"]
    first = starts[-int(arguments) :][0] if arguments and int(arguments) else 0
    renderer = chat.screen.renderer()
    for message in messages[first:]:
        show = renderer.person if message.role == "user" else renderer.answer
        if message.content:
            chat.screen.show((renderer.note if is_report(message.content) else show)(message.content))
        for call in message.tool_calls:
            chat.screen.show(renderer.call(call.name, sessions.about(call)))


def title(chat: "Chat", arguments: str) -> None:
    """Show the title, or give another; a conversation that has not begun may have one, too."""
    if not arguments:
        row = chat.store.session(chat.conversation) if chat.conversation else None
        chat.screen.show(chat.screen.renderer().note(sessions.title(row) if row else "No title yet."))
        return
    now = chat.conversation

    def work() -> str:
        if now:
            chat.store.rename_session(now, arguments)
            return now
        made = new_session_id()
        chat.store.create_session(made, source="terminal", cwd=str(chat.cwd), title=arguments)
        return made

    def then(named: str) -> None:
        if not chat.conversation:
            chat.go_on(named, usage=chat.usage)
        row = chat.store.session(named)
        chat.screen.show(chat.screen.renderer().note(f"Title: {sessions.title(row) if row else arguments}"))

    chat.aside(work, then)


def search(chat: "Chat", arguments: str) -> None:
    if not arguments:
        raise HermesError("Usage: /search <words>", hint='Example: /search "checkout.py" timeout')
    chat.aside(lambda: found(chat, arguments), lambda hits: _show_hits(chat, arguments, hits))


def found(chat: "Chat", words: str) -> list[Hit]:
    """On a thread: what was said anywhere; a passage that a branch copied counts once, where it was said last."""
    hits: dict[tuple[int, str, str], Hit] = {}
    for hit in chat.store.search(words, limit=30):
        if hit.role == "tool" and DENIED in hit.snippet:
            continue  # words of ours for the model
        hits.setdefault((hit.number, hit.role, hit.snippet), hit)
    return list(hits.values())


def _show_hits(chat: "Chat", words: str, hits: list[Hit]) -> None:
    renderer = chat.screen.renderer()
    if not hits:
        chat.screen.show(renderer.note(f"Nobody said {words!r}."))
        return
    for hit in reversed(hits):
        said = {"user": "you", "assistant": "Hermes"}.get(hit.role, hit.role)
        head = Text(f"{hit.title or hit.session_id}", "cyan")
        head.append(f"  {said}, {sessions.age(hit.at)}  /resume {hit.session_id}", "dim")
        chat.screen.show(renderer.text(Text.assemble(head, "\n  ", harmless(hit.snippet))))


def save(chat: "Chat", arguments: str) -> None:
    """A file of this conversation; its name's ending says in which format."""
    ending = Path(arguments).suffix if arguments else ".md"
    format_ = format_of(ending) or "markdown"
    _write(chat, format_, arguments)


def export(chat: "Chat", arguments: str) -> None:
    word, _, name = arguments.partition(" ")
    format_ = format_of(word) if word else "markdown"
    if format_ is None:
        # A name alone: its ending says in which format.
        format_, name = format_of(Path(arguments).suffix), arguments
    if format_ is None:
        hint = f"There are: {', '.join(FORMATS)}. Example: /export html talk.html"
        raise HermesError(f"{word!r} is no format.", hint=hint)
    _write(chat, format_, name.strip())


def _write(chat: "Chat", format_: str, name: str) -> None:
    session_id = chat.conversation
    if not session_id:
        raise HermesError("Nothing was said yet.")
    target, folder = Path(name) if name else None, chat.cwd

    def then(path: Path) -> None:
        where = path.name if path.parent == chat.cwd else str(path)
        chat.screen.show(chat.screen.renderer().note(f"Written: {where}"))

    chat.aside(lambda: write_to(chat.store, session_id, format_, target, folder=folder), then)
