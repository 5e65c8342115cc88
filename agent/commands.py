"""The slash commands, once, as data. Dispatch, /help, completion, menus and docs are views of this table."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from agent.errors import HermesError

if TYPE_CHECKING:
    from agent.records import TaskOptions

Category = Literal["Session", "Configuration", "Tools & Skills", "Info", "Exit"]
Surface = Literal["terminal", "gateway"]
ArgumentSource = Literal[
    "",
    "model",
    "task",
    "live task",
    "waiting task",
    "parked task",
    "finished task",
    "command",
    "setting",
    "effort",
    "mode",
    "on/off",
    "tool that is on",
    "tool that is off",
    "session",
    "format",
]

TERMINAL: frozenset[Surface] = frozenset({"terminal"})
CHATS: frozenset[Surface] = frozenset({"gateway"})
EVERYWHERE: frozenset[Surface] = TERMINAL | CHATS


@dataclass(frozen=True, slots=True)
class SubCommand:
    """A first word that a command knows."""

    name: str
    arguments: str
    summary: str
    source: ArgumentSource = ""


@dataclass(frozen=True, slots=True)
class TaskOption:
    """What may stand before a background prompt. `arguments` is "" for one that takes no value."""

    name: str
    arguments: str
    summary: str
    source: ArgumentSource = ""

    @property
    def field(self) -> str:
        """Of `TaskOptions`."""
        return self.name.removeprefix("--").replace("-", "_")


@dataclass(frozen=True, slots=True)
class CommandDef:
    """One command. `source` names what its first argument completes from; `busy` allows it during a turn."""

    name: str
    category: Category
    summary: str
    aliases: tuple[str, ...] = ()
    arguments: str = ""
    subcommands: tuple[SubCommand, ...] = ()
    options: tuple[TaskOption, ...] = ()
    source: ArgumentSource = ""
    surfaces: frozenset[Surface] = TERMINAL
    busy: bool = True
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
    SubCommand("log", "N [-f]", "all it did, in order; -f goes on as it works", "task"),
    SubCommand("stop", "N|all", "stop it, and everything it started", "live task"),
    SubCommand("steer", "N <text>", "tell it something before its next step", "live task"),
    SubCommand("approve", "N [session|always]", "yes to what it asks", "waiting task"),
    SubCommand("deny", "N [reason]", "no to what it asks", "waiting task"),
    SubCommand(
        "answer", "N <answer>", "answer its question: the number of a choice, or your own words", "waiting task"
    ),
    SubCommand("open", "N", "go on with it here, as the conversation", "task"),
    SubCommand("retry", "N", "send its prompt again, as a new task", "finished task"),
    SubCommand("resume", "N", "go on with a parked task; a budget it reached is granted again", "parked task"),
    SubCommand("join", "N", "put its result into this conversation, quoted", "finished task"),
    SubCommand("diff", "N", "what it has changed in its worktree, or in your folder", "task"),
    SubCommand("rollback", "N [file]", "put back what it has changed in your folder", "finished task"),
    SubCommand("merge", "N", "merge the branch of its worktree into yours", "finished task"),
    SubCommand("prune", "[DAYS]", "forget finished tasks (older than so many days) and merged worktrees"),
)

_TOOLS = (
    SubCommand("on", "NAME…", "give a tool back, from the next conversation on", "tool that is off"),
    SubCommand("off", "NAME…", "take a tool away, from the next conversation on", "tool that is on"),
)

_MEMORY = (SubCommand("edit", "[memory|user]", "open a file in $VISUAL or $EDITOR; read when the next session begins"),)

_BACKGROUND = (
    TaskOption("--context", "", "take a copy of this conversation along"),
    TaskOption("--worktree", "", "let it work in a git worktree and branch of its own"),
    TaskOption("--model", "MODEL", "another model, as /model takes it", "model"),
    TaskOption("--max-steps", "N", "park it after so many model replies"),
    TaskOption("--max-cost", "DOLLARS", "park it when it has cost so much"),
    TaskOption("--timeout", "TIME", "park it after so long: 90s, 30m, 2h"),
    TaskOption("--name", "WORD", "a name to call it by"),
)

COMMAND_TABLE: tuple[CommandDef, ...] = (
    CommandDef(
        "new",
        "Session",
        "start a new conversation",
        ("reset",),
        busy=False,
        surfaces=EVERYWHERE,
    ),
    CommandDef("clear", "Session", "clear the screen; the conversation stays"),
    CommandDef(
        "history", "Session", "show this conversation again", arguments="[N]", example="/history 5", surfaces=EVERYWHERE
    ),
    CommandDef(
        "save",
        "Session",
        "write this conversation to a file",
        arguments="[file]",
        example="/save talk.md",
    ),
    CommandDef(
        "retry",
        "Session",
        "send the last prompt again, or another in its place",
        arguments="[prompt]",
        busy=False,
        example="/retry and be brief",
        surfaces=EVERYWHERE,
    ),
    CommandDef(
        "undo",
        "Session",
        "take back the last prompt, or the last N",
        arguments="[N]",
        busy=False,
        example="/undo 2",
        surfaces=EVERYWHERE,
    ),
    CommandDef(
        "rewind",
        "Session",
        "go back to before a prompt: conversation, files, or both",
        arguments="[N]",
        busy=False,
        example="/rewind 2",
    ),
    CommandDef(
        "title",
        "Session",
        "show or change this conversation's title",
        arguments="[title]",
        example="/title the cart",
        surfaces=EVERYWHERE,
    ),
    CommandDef(
        "branch",
        "Session",
        "go on in a copy of this conversation",
        ("fork",),
        arguments="[title]",
        busy=False,
        example="/branch without a database",
    ),
    CommandDef(
        "resume",
        "Session",
        "go on with another conversation",
        ("sessions",),
        arguments="[id | title | latest]",
        source="session",
        busy=False,
        example="/resume the cart",
        surfaces=EVERYWHERE,
    ),
    CommandDef(
        "search",
        "Session",
        "find what was said in any conversation",
        arguments="<words>",
        example='/search timeout "checkout.py"',
    ),
    CommandDef(
        "export",
        "Session",
        "write this conversation as Markdown, JSON or a web page",
        arguments="[markdown|json|html] [file]",
        source="format",
        example="/export html",
    ),
    CommandDef(
        "background",
        "Session",
        "send a prompt to the background",
        ("bg",),
        arguments="<prompt>",
        options=_BACKGROUND,
        surfaces=EVERYWHERE,
        example="/background --max-steps 20 find every place that catches Exception and list them",
    ),
    CommandDef("detach", "Session", "let the turn that runs go on as a task"),
    CommandDef(
        "tasks",
        "Session",
        "list, read, stop, steer and answer background tasks",
        ("agents",),
        arguments="[list|show|log|stop|…] [N]",
        subcommands=_TASKS,
        example="/tasks log 1 -f",
        surfaces=EVERYWHERE,
    ),
    CommandDef(
        "btw",
        "Session",
        "ask beside the conversation, also while a turn runs",
        arguments="<question>",
        example="/btw which file was that in?",
    ),
    CommandDef(
        "queue",
        "Session",
        "send a prompt when the turn is over",
        arguments="<prompt>",
        example="/queue now run the tests",
        surfaces=EVERYWHERE,
    ),
    CommandDef(
        "steer",
        "Session",
        "tell the agent something before its next step",
        arguments="<text>",
        example="/steer use tabs",
        surfaces=EVERYWHERE,
    ),
    CommandDef(
        "compress",
        "Session",
        "summarise this conversation, so that it takes less room",
        ("compact",),
        arguments="[what matters]",
        busy=False,
        example="/compress the failing test in tests/cart",
        surfaces=EVERYWHERE,
    ),
    CommandDef("stop", "Session", "interrupt the turn that runs", surfaces=EVERYWHERE),
    CommandDef("status", "Session", "model, directory, turn and tasks", surfaces=EVERYWHERE),
    CommandDef("approve", "Session", "yes to what is asked", arguments="[N] [session|always]", surfaces=CHATS),
    CommandDef("deny", "Session", "no to what is asked", arguments="[N] [reason]", surfaces=CHATS),
    CommandDef(
        "handoff",
        "Session",
        "go on with this conversation in a chat, or a terminal",
        arguments="[platform[:chat] | terminal]",
        busy=False,
        example="/handoff telegram",
        surfaces=EVERYWHERE,
    ),
    CommandDef(
        "voice",
        "Configuration",
        "voice messages written down, answers spoken",
        arguments="[on|off|tts|status]",
        example="/voice tts",
        surfaces=CHATS,
    ),
    CommandDef("sethome", "Configuration", "notices and open questions come to this chat", surfaces=CHATS),
    CommandDef("config", "Configuration", "settings, and where each comes from", arguments="[name]", source="setting"),
    CommandDef(
        "model",
        "Configuration",
        "show or switch the model",
        arguments="[model | provider:model]",
        source="model",
        busy=False,
        example="/model openai:gpt-5-mini",
        surfaces=EVERYWHERE,
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
    CommandDef(
        "tools",
        "Tools & Skills",
        "what the agent can do; switch tools off and on",
        arguments="[on|off NAME]",
        subcommands=_TOOLS,
        example="/tools off web_fetch",
    ),
    CommandDef(
        "memory",
        "Tools & Skills",
        "what the agent noted for later sessions, and where",
        arguments="[edit [user]]",
        subcommands=_MEMORY,
        example="/memory edit",
    ),
    CommandDef(
        "paste",
        "Tools & Skills",
        "take the image on the clipboard along, as Ctrl+V does",
        arguments="[prompt]",
        example="/paste what is wrong here?",
    ),
    CommandDef(
        "init",
        "Tools & Skills",
        "have the agent write or mend AGENTS.md for this project",
        arguments="[what matters]",
        busy=False,
        example="/init say how the tests are run",
    ),
    CommandDef(
        "diff",
        "Tools & Skills",
        "what the last turns changed in files",
        arguments="[N | session]",
        example="/diff session",
    ),
    CommandDef(
        "rollback",
        "Tools & Skills",
        "put files back as they were before the last turn",
        arguments="[N] [file]",
        busy=False,
        example="/rollback 2 src/cart.py",
    ),
    CommandDef(
        "help",
        "Info",
        "commands by category",
        arguments="[command | word]",
        source="command",
        surfaces=EVERYWHERE,
        example="/help tasks",
    ),
    CommandDef("start", "Info", "what this is, and how to use it", surfaces=CHATS),
    CommandDef("usage", "Info", "tokens and cost so far", surfaces=EVERYWHERE),
    CommandDef("context", "Info", "what takes up the model's window", surfaces=EVERYWHERE),
    CommandDef("version", "Info", "version of Hermes and what it runs on", surfaces=EVERYWHERE),
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
        if not self.near:
            return f"There is no command /{self.name}. See /help."
        *others, last = (f"/{name}" for name in self.near)
        meant = f"{', '.join(others)} or {last}" if others else last
        return f"There is no command /{self.name}. Did you mean {meant}?"


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


def help_lines(surface: Surface, may: Callable[[str], bool] = lambda name: True) -> Iterator[str]:
    """Plain help, a line a command under a line a category: for chats and for plain terminals.

    Of commands by name only those that one `may` give.
    """
    for category, commands in by_category(surface).items():
        mine = [command for command in commands if may(command.name)]
        yield from [category] if mine else ()
        for command in mine:
            yield f"  {command.usage}{alias_note(command)} - {command.summary}"


def alias_note(command: CommandDef) -> str:
    return f" ({', '.join(f'/{alias}' for alias in command.aliases)})" if command.aliases else ""


TASK_WORDS = frozenset({sub.name for sub in _TASKS} | {"ls", "logs", "kill", "cancel", "status"})
"""First words after /background that are somebody looking for /tasks."""


def background_prompt(arguments: str) -> tuple[str, bool]:
    """The prompt of a /background line, and whether the person rather looks for /tasks (then it is their words).

    `-- words` sends the words literally.
    """
    word, _, rest = arguments.partition(" ")
    if word == "--":
        return rest.strip(), False
    bare = rest.removesuffix("-f").strip().lstrip("#")
    return arguments, word.lower() in TASK_WORDS and (not bare or bare.isdecimal() or bare == "all")


def task_options(arguments: str) -> "tuple[TaskOptions, str]":
    """The options at the beginning of a /background line, and the rest of it. `--` ends them, and stays.

    Raises: HermesError, which names the options.
    """
    from agent.records import TaskOptions

    found: dict[str, str | int | float | bool] = {}
    rest = arguments.lstrip()
    while rest.startswith("--") and not rest.startswith("-- ") and rest != "--":
        word, rest = _word(rest)
        name, equals, value = word.partition("=")
        option = next((option for option in _BACKGROUND if option.name == name), None)
        if option is None:
            raise HermesError(f"/background has no option {name}.", hint=_OPTIONS_HINT)
        if option.arguments and not equals:
            value, rest = _word(rest)
        if bool(option.arguments) != bool(value):
            needs = f"needs a value: {option.summary}" if option.arguments else "takes no value"
            raise HermesError(f"{name} {needs}.", hint=_OPTIONS_HINT)
        found[option.field] = _value(option, value)
    return TaskOptions(**found), rest  # type: ignore[arg-type]


_OPTIONS_HINT = (
    f"There are: {', '.join(f'{option.name} {option.arguments}'.strip() for option in _BACKGROUND)}."
    " A prompt that begins with two dashes: /background -- <prompt>"
)


def _word(text: str) -> tuple[str, str]:
    """The first word, which may have a part in quotes, without them, and the rest."""
    import re

    found = re.match(r"""\s*((?:"[^"]*"|'[^']*'|[^\s"'])+)\s*""", text)
    if found is None:
        return text.strip(), ""
    return re.sub(r"""["']""", "", found[1]), text[found.end() :]


def _value(option: TaskOption, text: str) -> str | int | float | bool:
    """Raises: HermesError."""
    kind = option.field
    try:
        match kind:
            case "max_steps":
                value: float = int(text)
            case "max_cost":
                value = float(text.removeprefix("$"))
            case "timeout":
                value = duration(text)
            case "name" if text.removeprefix("#").isdecimal():
                raise ValueError
            case _:
                return text or True
        if 0 < value < 1e9:
            return value
    except ValueError:
        pass
    example = {"max_steps": "20", "max_cost": "0.50", "timeout": "30m", "name": "tests"}[kind]
    raise HermesError(f"{option.name} cannot be {text!r}: for example {option.name} {example}.", hint=_OPTIONS_HINT)


def duration(text: str) -> float:
    """Seconds from `90`, `90s`, `30m`, `2h` or `7d`. Raises: ValueError."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    unit = units.get(text[-1:].lower())
    return float(text[:-1]) * unit if unit else float(text)


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

    return None, tuple(beginnings or difflib.get_close_matches(name, known, 3, 0.6))


def _is_path(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False
