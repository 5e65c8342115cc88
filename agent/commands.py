"""The slash commands, once, as data. Dispatch, /help, completion, menus and docs are views of this table."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Category = Literal["Session", "Configuration", "Tools & Skills", "Info", "Exit"]
Surface = Literal["terminal", "gateway"]
ArgumentSource = Literal["", "model", "task", "command", "setting", "effort", "mode", "on/off"]

TERMINAL: frozenset[Surface] = frozenset({"terminal"})
EVERYWHERE: frozenset[Surface] = frozenset({"terminal", "gateway"})


@dataclass(frozen=True, slots=True)
class SubCommand:
    """A first word that a command knows."""

    name: str
    arguments: str
    summary: str
    source: ArgumentSource = ""


@dataclass(frozen=True, slots=True)
class CommandDef:
    """One command. `source` names what its first argument completes from; `busy` allows it during a turn.

    `asks` is the question asked first, for a command that destroys something.
    """

    name: str
    category: Category
    summary: str
    aliases: tuple[str, ...] = ()
    arguments: str = ""
    subcommands: tuple[SubCommand, ...] = ()
    source: ArgumentSource = ""
    surfaces: frozenset[Surface] = TERMINAL
    busy: bool = True
    asks: str = ""
    example: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)

    @property
    def usage(self) -> str:
        return f"/{self.name} {self.arguments}".strip()


_TASKS = (
    SubCommand("list", "", "what runs, waits and has ended"),
    SubCommand("show", "N", "the result, and what was done for it", "task"),
    SubCommand("log", "N", "the events, in order", "task"),
    SubCommand("stop", "N|all", "stop it, and everything it started", "task"),
    SubCommand("approve", "N [session|always]", "yes to what it asks", "task"),
    SubCommand("deny", "N [reason]", "no to what it asks", "task"),
)

COMMAND_TABLE: tuple[CommandDef, ...] = (
    CommandDef(
        "new",
        "Session",
        "start a new conversation",
        ("reset",),
        busy=False,
        asks="Start over? This conversation cannot be brought back.",
    ),
    CommandDef("clear", "Session", "clear the screen; the conversation stays"),
    CommandDef("history", "Session", "show this conversation again", arguments="[N]", example="/history 5"),
    CommandDef(
        "background",
        "Session",
        "send a prompt to the background",
        ("bg",),
        arguments="<prompt>",
        surfaces=EVERYWHERE,
        example="/background find every place that catches Exception and list them",
    ),
    CommandDef(
        "tasks",
        "Session",
        "list, read, stop and answer background tasks",
        ("agents",),
        arguments="[list|show|log|stop|approve|deny] [N]",
        subcommands=_TASKS,
        example="/tasks show 1",
    ),
    CommandDef(
        "queue",
        "Session",
        "send a prompt when the turn is over",
        arguments="<prompt>",
        example="/queue now run the tests",
    ),
    CommandDef(
        "steer",
        "Session",
        "tell the agent something before its next step",
        arguments="<text>",
        example="/steer use tabs",
    ),
    CommandDef("stop", "Session", "interrupt the turn that runs"),
    CommandDef("status", "Session", "model, directory, turn and tasks"),
    CommandDef("config", "Configuration", "settings, and where each comes from", arguments="[name]", source="setting"),
    CommandDef(
        "model",
        "Configuration",
        "show or switch the model",
        arguments="[model | provider:model]",
        source="model",
        busy=False,
        example="/model openai:gpt-5-mini",
    ),
    CommandDef(
        "reasoning",
        "Configuration",
        "how long a reasoning model thinks",
        arguments="[none|minimal|low|medium|high|xhigh|default]",
        source="effort",
        busy=False,
    ),
    CommandDef("verbose", "Configuration", "show each tool's output", arguments="[on|off]", source="on/off"),
    CommandDef(
        "approvals", "Configuration", "what the agent may do unasked", arguments="[ask|edits|plan]", source="mode"
    ),
    CommandDef(
        "yolo", "Configuration", "approve everything, until switched off", arguments="[on|off]", source="on/off"
    ),
    CommandDef("tools", "Tools & Skills", "what the agent can do"),
    CommandDef(
        "help",
        "Info",
        "commands by category",
        arguments="[command | word]",
        source="command",
        surfaces=EVERYWHERE,
        example="/help tasks",
    ),
    CommandDef("usage", "Info", "tokens and cost of this session"),
    CommandDef("version", "Info", "version of Hermes and what it runs on"),
    CommandDef("doctor", "Info", "check this installation"),
    CommandDef("copy", "Info", "copy the last answer to the clipboard"),
    CommandDef("quit", "Exit", "leave", ("exit",)),
)

_BY_NAME = {name: command for command in COMMAND_TABLE for name in command.names}


@dataclass(frozen=True, slots=True)
class Parsed:
    """A command and what was written after it, stripped."""

    command: CommandDef
    arguments: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A line that looks like a command and is none. `near` are the names it may have meant."""

    name: str
    near: tuple[str, ...]

    def explain(self) -> str:
        advice = f"Did you mean {' or '.join(f'/{name}' for name in self.near)}?" if self.near else "See /help."
        return f"There is no command /{self.name}. {advice}"


def parse(line: str, surface: Surface) -> Parsed | Unknown | None:
    """Read a line. None when it is an ordinary message, a path such as `/usr/bin` included."""
    if not line.startswith("/") or line.startswith("//"):
        return None
    word, *rest = line[1:].split(maxsplit=1) if line[1:2].strip() else [""]
    if not word or "/" in word:
        return None
    name = word.lower().partition("@")[0]  # Telegram writes /help@bot.
    command, near = _find(name, surface)
    if command is not None:
        return Parsed(command, rest[0].strip() if rest else "")
    return None if _is_path(f"/{word}") else Unknown(word, near)


def commands_for(surface: Surface) -> list[CommandDef]:
    return [command for command in COMMAND_TABLE if surface in command.surfaces]


def subcommand(command: str, word: str) -> SubCommand | None:
    """The sub-command that a word names, if the command has it."""
    return next((sub for sub in _BY_NAME[command].subcommands if sub.name == word), None)


def by_category(surface: Surface) -> dict[str, list[CommandDef]]:
    """The table's rows, grouped, in the table's order."""
    groups: dict[str, list[CommandDef]] = {}
    for command in commands_for(surface):
        groups.setdefault(command.category, []).append(command)
    return groups


def search(word: str, surface: Surface) -> list[CommandDef]:
    """Commands that have the word in their name, aliases or summary."""
    word = word.lower().lstrip("/")
    return [command for command in commands_for(surface) if word in " ".join((*command.names, command.summary)).lower()]


def help_lines(surface: Surface) -> Iterator[str]:
    """Plain help, a line a command under a line a category: for chats and for plain terminals."""
    for category, commands in by_category(surface).items():
        yield category
        for command in commands:
            yield f"  {command.usage}{alias_note(command)} - {command.summary}"


def alias_note(command: CommandDef) -> str:
    return f" ({', '.join(f'/{alias}' for alias in command.aliases)})" if command.aliases else ""


TASK_WORDS = frozenset({"list", "ls", "show", "log", "logs", "stop", "kill", "cancel", "status", "approve", "deny"})
"""First words after /background that are somebody looking for /tasks."""


def background_prompt(arguments: str) -> tuple[str, bool]:
    """The prompt of a /background line, and whether the person rather looks for /tasks (then it is their words).

    `-- words` sends the words literally.
    """
    word, _, rest = arguments.partition(" ")
    if word == "--":
        return rest.strip(), False
    bare = not rest or rest.lstrip("#").isdecimal() or rest == "all"
    return arguments, word.lower() in TASK_WORDS and bare


def preview(prompt: str, limit: int = 60) -> str:
    """A prompt on one line, cut to `limit` characters and marked with `...` where it was longer."""
    line = " ".join(prompt.split())
    return line if len(line) <= limit else f"{line[:limit]}..."


def _find(name: str, surface: Surface) -> tuple[CommandDef | None, tuple[str, ...]]:
    known = {key: command for key, command in _BY_NAME.items() if surface in command.surfaces}
    if name in known:
        return known[name], ()
    beginnings = [key for key in known if key.startswith(name)]
    if len({known[key].name for key in beginnings}) == 1:
        return known[beginnings[0]], ()
    import difflib

    return None, tuple(_few(beginnings or difflib.get_close_matches(name, known, 3, 0.6)))


def _is_path(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


def _few(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))[:3]
