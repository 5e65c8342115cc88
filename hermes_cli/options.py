"""The options of `hermes` itself, once, as data: read here without a library, shown by typer in --help."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from agent.errors import HermesError, did_you_mean

if TYPE_CHECKING:
    from hermes_cli.sessions import Wanted

Kind = Literal["flag", "text", "number", "amount", "format", "optional"]
"""An `optional` one may stand without a value, which is then ""."""

FORMATS = ("text", "json", "stream-json")

SUBCOMMANDS = {
    "model": "pick a model and store it as the default",
    "config": "show and change settings",
    "tasks": "list, read, stop, steer and answer background tasks",
    "tools": "list the agent's tools, switch them on and off",
    "worker": "run background tasks without a terminal, until none is left",
    "sessions": "list, read, search, export and delete what was said",
    "backup": "copy everything that is kept into a file",
    "gateway": "serve the agent to chats",
    "pairing": "let people into chats, by code",
    "doctor": "check this installation",
    "completion": "print the completion script of a shell",
}


IN_THE_PROMPT = ("open", "join")
"""What `hermes tasks` knows that needs a conversation: it begins one, or goes on with this directory's last."""


class UsageError(HermesError):
    """The command line is wrong. Exit code 2."""


@dataclass(frozen=True, slots=True)
class Option:
    """`setting` is the name of the setting it overrides, "" when it is none."""

    name: str
    flags: tuple[str, ...]
    kind: Kind
    summary: str
    setting: str = ""


OPTIONS: tuple[Option, ...] = (
    Option("print", ("-p", "--print"), "flag", "answer on stdout and leave; standard input is added to the prompt"),
    Option("output_format", ("--output-format",), "format", "with -p: text, json or stream-json"),
    Option("last", ("-c", "--continue"), "flag", "go on with the last session of this directory (-p: of its own, too)"),
    Option(
        "resume",
        ("-r", "--resume"),
        "optional",
        "go on with a session: an id or its beginning, a title, or latest; without a value, pick one",
    ),
    Option("model", ("-m", "--model"), "text", "model id, or provider:model", "model"),
    Option("provider", ("--provider",), "text", "provider name", "provider"),
    Option("max_steps", ("--max-steps",), "number", "model replies in one turn", "max_steps"),
    Option("max_cost", ("--max-cost",), "amount", "US dollars one turn may cost", "max_cost"),
    Option("cd", ("-C", "--cd"), "text", "work in this directory"),
    Option("worktree", ("--worktree",), "flag", "work in a git worktree and branch of its own, from the last commit"),
    Option("yolo", ("--yolo",), "flag", "approve everything"),
    Option("plain", ("--plain",), "flag", "plain lines: no cursor movement, no colours"),
    Option("version", ("-V", "--version"), "flag", "print the version and leave"),
)

_BY_FLAG = {flag: option for option in OPTIONS for flag in option.flags}


@dataclass(slots=True)
class Request:
    """The command line, read. `values` holds what was given, by option name; `subcommand` is where typer takes over."""

    prompt: str | None = None
    values: dict[str, str | bool] = field(default_factory=dict)
    subcommand: str = ""
    help: bool = False

    def flag(self, name: str) -> bool:
        return bool(self.values.get(name))

    def text(self, name: str, default: str = "") -> str:
        return str(self.values.get(name, default))

    def wanted(self) -> "Wanted | None":
        """The session to go on with, if any."""
        if "resume" not in self.values and not self.flag("last"):
            return None
        from hermes_cli.sessions import Wanted

        own_model = "model" in self.values or "provider" in self.values
        which = self.text("resume")
        return Wanted(which, here="resume" not in self.values, stay="cd" in self.values, own_model=own_model)

    def settings(self) -> dict[str, object]:
        """The settings this command line overrides."""
        found: dict[str, object] = {
            option.setting: self.values[option.name]
            for option in OPTIONS
            if option.setting and option.name in self.values
        }
        return {**found, "approvals": "yolo"} if self.flag("yolo") else found


def read(arguments: Sequence[str]) -> Request:
    """Read the command line up to a sub-command. Words that are no option are the prompt.

    Raises: UsageError with the nearest option or sub-command.
    """
    request, words, rest = Request(), list[str](), list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            words += rest
            break
        if word in ("-h", "--help"):
            request.help = True
            return request
        if word.startswith("-") and word != "-":
            _take_option(word, rest, request)
        elif word in SUBCOMMANDS and not words and not request.flag("print"):
            if word == "tasks" and rest[:1] and rest[0] in IN_THE_PROMPT and not {"-h", "--help"} & set(rest):
                return _in_the_prompt(rest, request)
            request.subcommand = word
            return request
        else:
            words.append(word)
    else:
        if not request.flag("print"):
            _refuse_near_miss(words)
    request.prompt = " ".join(words) if words else None
    return request


def _in_the_prompt(words: list[str], request: Request) -> Request:
    order, *which = words
    if len(which) != 1:
        raise UsageError(f"Usage: hermes tasks {order} N", hint="`hermes tasks` lists the numbers.")
    request.prompt = f"/tasks {order} {which[0]}"
    if order == "join":
        request.values["last"] = True
    return request


def _take_option(word: str, rest: list[str], request: Request) -> None:
    flag, equals, value = word.partition("=") if word.startswith("--") else (word[:2], "", word[2:])
    option = _BY_FLAG.get(flag)
    if option is None:
        raise UsageError(f"No option {flag}.", hint=did_you_mean(flag, _BY_FLAG, "See `hermes --help`."))
    if option.kind == "flag":
        if equals:
            raise UsageError(f"{flag} takes no value.")
        request.values[option.name] = True
        if value:
            _take_option(f"-{value}", rest, request)
        return
    if option.kind == "optional" and not value:
        follows = bool(rest) and not rest[0].startswith("-")
        request.values[option.name] = rest.pop(0) if follows and not equals else ""
        return
    if not (equals or value):
        if not rest:
            raise UsageError(f"{flag} needs a value: {option.summary}.")
        value = rest.pop(0)
    if option.kind == "format" and value not in FORMATS:
        raise UsageError(f"{flag} is one of {', '.join(FORMATS)}, not {value!r}.")
    if option.kind == "number" and not value.isdecimal():
        raise UsageError(f"{flag} is a number, not {value!r}.")
    if option.kind == "amount" and not value.replace(".", "", 1).isdecimal():
        raise UsageError(f"{flag} is an amount in US dollars, not {value!r}.", hint=f"Example: {flag} 0.50")
    request.values[option.name] = value


def _refuse_near_miss(words: list[str]) -> None:
    """One word that almost names a sub-command is a slip, not a prompt."""
    if len(words) == 1 and " " not in words[0]:
        import difflib

        near = difflib.get_close_matches(words[0], SUBCOMMANDS, 1, 0.8)
        if near:
            hint = f"Did you mean `hermes {near[0]}`? To send it as a prompt: `hermes -- {words[0]}`."
            raise UsageError(f"There is no sub-command {words[0]!r}.", hint=hint)
