"""What the agent has: its tools, its notes, and the images it is given."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from agent import images
from agent import memory as notes
from agent.config import Config
from agent.errors import HermesError
from agent.messages import ImagePart
from agent.prompt import prose
from hermes_cli import clipboard, tool_switches

if TYPE_CHECKING:
    from hermes_cli.chat import Chat

_STYLE = {"on": "", "off": "yellow"}


def tools(chat: "Chat", arguments: str) -> None:
    """All of them, or switch some for the conversations to come."""
    if not arguments:
        _list(chat)
        return
    word, *names = arguments.split()
    if word not in ("on", "off"):
        raise HermesError(f"/tools knows no {word!r}.", hint="/tools lists them, /tools off NAME switches one off.")

    def say(config: Config) -> None:
        chat.configure(config)
        line = f"{', '.join(names)}: {word} from the next conversation on (/new). This one goes on as it is."
        chat.screen.show(chat.screen.renderer().note(line))

    chat.aside(lambda: tool_switches.switch(chat.config, names, on=word == "on"), say)


def _list(chat: "Chat") -> None:
    now = chat.agent.tool_names if chat.agent else None
    rows = [
        (Text(row.name, "cyan"), Text(row.state, _STYLE.get(row.state, "dim")), Text(row.summary))
        for row in tool_switches.rows(chat.config, now=now, env=chat.env)
    ]
    renderer = chat.screen.renderer()
    chat.screen.show("\n" + renderer.table(rows))
    chat.screen.show(renderer.note("/tools off NAME and /tools on NAME count from the next conversation on."))


def memory(chat: "Chat", arguments: str) -> None:
    """The files whole, for they are small; or one of them in an editor."""
    word, _, which = arguments.partition(" ")
    if word == "edit":
        _edit(chat, which.strip().lower().removesuffix(".md") or "memory")
        return
    if word:
        raise HermesError(f"/memory knows no {word!r}.", hint="/memory shows the files, /memory edit [user] opens one.")
    renderer = chat.screen.renderer()
    for path in notes.places(chat.config.dirs.config):
        text = _read(path).strip()
        size = f"{len(text):,} of {notes.LIMITS[path.name]:,} characters"
        chat.screen.show("\n" + renderer.note(f"{path} · {size if text else 'nothing is noted'}"))
        for piece in renderer.quote(text) if text else ():
            chat.screen.show(piece)
    chat.screen.show(renderer.note("Read when a session begins: /new after a change. /memory edit changes them."))


def _edit(chat: "Chat", which: str) -> None:
    places = {path.stem.lower(): path for path in notes.places(chat.config.dirs.config)}
    path = places.get(which)
    if path is None:
        raise HermesError(f"There are no notes {which!r}.", hint="/memory edit, or /memory edit user.")
    before = _read(path)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)

    def edited() -> None:
        text, limit = _read(path), notes.LIMITS[path.name]
        if text == before:
            said = f"{path.name} is as it was."
        elif len(text.strip()) > limit:
            raise HermesError(
                f"{path.name} holds {len(text.strip()):,} characters, and only the first {limit:,} are read.",
                hint=f"Nothing is lost; shorten it: /memory edit {which}",
            )
        else:
            said = (
                f"{path.name}: {len(text.strip()):,} of {limit:,} characters. Read when the next session begins (/new)."
            )
        chat.screen.show(chat.screen.renderer().note(said))

    chat.screen.edit_file(path, lambda: chat.guarded(edited))


def _read(path: Path) -> str:
    """Raises: HermesError."""
    try:
        return notes.read(path)
    except OSError as error:
        raise HermesError(f"{path} cannot be read: {error.strerror}.") from error


def init(chat: "Chat", arguments: str) -> None:
    """Have the agent write the project's AGENTS.md."""
    chat.send("\n\n".join(filter(None, (prose("init"), arguments))))


def paste(chat: "Chat", arguments: str) -> None:
    """The clipboard's image, put where the person types, or sent with a prompt."""

    def take(part: ImagePart) -> None:
        if arguments:
            chat.send(f"{clipboard.mention(part)} {arguments}")
        else:
            chat.screen.image(part)

    folder = chat.config.dirs.state / images.FOLDER
    chat.aside(lambda: clipboard.keep_image(folder, chat.env), take)
