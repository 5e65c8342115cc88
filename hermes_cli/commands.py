"""Views of the command table for the terminal: dictionaries by name and category, and completion."""

from collections.abc import Callable, Iterable, Mapping

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from agent.commands import ArgumentSource, CommandDef, by_category, commands_for, parse

COMMANDS: dict[str, str] = {
    f"/{name}": command.summary for command in commands_for("terminal") for name in command.names
}

COMMANDS_BY_CATEGORY: dict[str, dict[str, str]] = {
    category: {f"/{name}": command.summary for command in commands for name in command.names}
    for category, commands in by_category("terminal").items()
}

GATEWAY_KNOWN_COMMANDS: frozenset[str] = frozenset(
    name for command in commands_for("gateway") for name in command.names
)

ArgumentValues = Callable[[], Iterable[tuple[str, str]]]
"""Gives values with a description each, for one kind of argument. Must not block: it is called on the UI loop."""


class SlashCommandCompleter(Completer):
    """Completes command names, then sub-commands, then what `values` knows for the argument's kind."""

    def __init__(self, values: Mapping[ArgumentSource, ArgumentValues] | None = None) -> None:
        self._values = values or {}

    def get_completions(self, document: Document, complete_event: CompleteEvent | None) -> Iterable[Completion]:
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        head, space, rest = text.partition(" ")
        if not space:
            yield from _names(head[1:].lower())
        elif (parsed := parse(head, "terminal")) and hasattr(parsed, "command"):
            yield from self._arguments(parsed.command, rest)

    def _arguments(self, command: CommandDef, text: str) -> Iterable[Completion]:
        if command.source == "session":
            # Titles are words with spaces between.
            yield from _matching(text, self._known(command.source))
            return
        first, space, rest = text.partition(" ")
        if not space:
            subcommands = ((sub.name, sub.summary) for sub in command.subcommands)
            options = ((option.name, option.summary) for option in command.options if first.startswith("-"))
            yield from _matching(first, [*subcommands, *options, *self._known(command.source)])
            return
        if command.options and first.startswith("--"):
            yield from self._options(command, text)
        for sub in command.subcommands:
            if sub.name == first and " " not in rest:
                extra = [("all", "every live task")] if "all" in sub.arguments else []
                yield from _matching(rest, [*self._known(sub.source), *extra])

    def _options(self, command: CommandDef, text: str) -> Iterable[Completion]:
        """Further options, or the last one's value, while nothing but options has been typed."""
        *words, last = text.split(" ")
        takes = {option.name: option for option in command.options}
        for before, word in zip(["", *words], words, strict=False):
            if not word.startswith("--") and not (before in takes and takes[before].arguments):
                return
        option = takes.get(words[-1])
        if option is not None and option.arguments:
            yield from _matching(last, self._known(option.source))
        elif last.startswith("-"):
            yield from _matching(last, [(name, option.summary) for name, option in takes.items() if name not in words])

    def _known(self, source: ArgumentSource) -> Iterable[tuple[str, str]]:
        return self._values[source]() if source in self._values else ()


def _names(typed: str) -> Iterable[Completion]:
    for command in commands_for("terminal"):
        for name in command.names:
            if name.startswith(typed):
                hint = f" {command.arguments}" if command.arguments and name == command.name else ""
                meta = command.summary if name == command.name else f"{command.summary} (/{command.name})"
                yield Completion(f"/{name}", -len(typed) - 1, display=f"/{name}{hint}", display_meta=meta)


def _matching(typed: str, values: Iterable[tuple[str, str]]) -> Iterable[Completion]:
    """Values that begin with what was typed, then those that contain it."""
    low = typed.lower()
    found = [(value, meta) for value, meta in values if low in value.lower()]
    found.sort(key=lambda pair: not pair[0].lower().startswith(low))
    for value, meta in found[:50]:
        yield Completion(value, -len(typed), display=value, display_meta=meta)
