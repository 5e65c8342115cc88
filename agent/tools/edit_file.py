"""Changing parts of a file by exact replacements, all of them or none."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from agent import differences
from agent.cancel import CancelToken
from agent.errors import ToolError
from agent.protocols import Action, ToolContext, ToolResult
from agent.tools import files
from agent.tools.bench import Workbench
from agent.tools.nearest import nearest
from agent.tools.prose import prose


class Replacement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    old: Annotated[str, Meta(min_length=1)]
    new: str
    replace_all: bool = False


class EditFileArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: Annotated[str, Meta(min_length=1, description="The file, relative to the working directory or absolute.")]
    old: Annotated[str, Meta(min_length=1, description="The exact text to replace.")]
    new: Annotated[str, Meta(description="The text to put there.")]
    replace_all: Annotated[bool, Meta(description="Replace every occurrence, not a single one.")] = False
    more: Annotated[
        list[Replacement], Meta(max_length=100, description="Further replacements, made in order after the first.")
    ] = []

    @property
    def replacements(self) -> list[Replacement]:
        return [Replacement(self.old, self.new, self.replace_all), *self.more]


@dataclass(frozen=True, slots=True)
class Edit:
    """A replacement that is possible: `after` is the file's whole new text."""

    path: Path
    after: str
    count: int
    change: differences.Change


class EditFile:
    """Replaces a text that occurs once, or says why that cannot be done."""

    name = "edit_file"
    arguments = EditFileArguments

    def __init__(self, bench: Workbench | None = None) -> None:
        self._seen = (bench or Workbench()).seen

    @property
    def description(self) -> str:
        return prose(__file__)

    def plan(self, args: EditFileArguments, context: ToolContext) -> Action:
        for number, item in enumerate(args.replacements, 1):
            if item.old == item.new:
                raise ToolError(f"{_which(number, args)}old and new are the same text: there is nothing to change.")
        path = files.resolve(args.path, context.cwd)
        every = " (every occurrence)" if args.replace_all else ""
        return Action("write", f"{files.shown(path, context.cwd)}{every}", (path,))

    def preview(self, args: EditFileArguments, context: ToolContext) -> str:
        path = files.target(args.path, context)
        try:
            return _prepare(args, path, context).change.diff
        except ToolError:
            if files.is_inside(path, context.cwd):
                raise
            return "".join(files.unseen(str(path), item.old, item.new) for item in args.replacements)

    def run(self, args: EditFileArguments, context: ToolContext, cancel: CancelToken) -> ToolResult:
        cancel.raise_if_cancelled()
        edit = _prepare(args, files.target(args.path, context), context)
        files.require_agreed(edit.change.diff, context)
        known = self._seen.knows(edit.path)
        files.replace(edit.path, files.encoded(edit.after), context.cwd)
        if known:
            self._seen.note(edit.path)
        times = f"{edit.count} replacement{'s' * (edit.count != 1)}"
        return ToolResult(
            f"Edited {files.shown(edit.path, context.cwd)}: {times}, {edit.change.stat}.",
            summary=edit.change.stat,
            display=edit.change.diff,
            files_changed=(str(edit.path),),
            lines_changed=((edit.change.added, edit.change.removed),),
            own=True,
        )


def _which(number: int, args: EditFileArguments) -> str:
    return f"Replacement {number} of {len(args.replacements)}, nothing was changed: " if args.more else ""


def _prepare(args: EditFileArguments, path: Path, context: ToolContext) -> Edit:
    """Raises: ToolError when the file cannot be changed, or a text is not there exactly once."""
    cwd = context.cwd
    name = files.shown(path, cwd)
    before = files.read_text(path, cwd)
    files.check_writable(path, cwd)
    after, count = before, 0
    for number, item in enumerate(args.replacements, 1):
        try:
            after, times = _replaced(after, item, name, context.redact)
        except ToolError as error:
            raise ToolError(f"{_which(number, args)}{error}") from error
        count += times
    change = differences.compare(before.replace("\r\n", "\n"), after.replace("\r\n", "\n"), name)
    if not change.diff:
        change = differences.compare(before, after, name)
    return Edit(path, after, count, change)


def _replaced(text: str, item: Replacement, name: str, redact: Callable[[str], str]) -> tuple[str, int]:
    """The text with one replacement made, and at how many places. Raises: ToolError."""
    old, new = _with_line_ends_of(text, item)
    count = text.count(old)
    if not count:
        raise ToolError(f"The text to replace is not in {name}. {nearest(redact(text), item.old)}")
    if count > 1 and not item.replace_all:
        raise ToolError(
            f"The text to replace is in {name} {count} times (lines {_line_numbers(text, old)}). "
            "Add lines around it to make it unique, or set replace_all."
        )
    return text.replace(old, new), count


def _with_line_ends_of(text: str, item: Replacement) -> tuple[str, str]:
    """The two texts with the line ends of the file: a model is shown, and writes, plain newlines."""
    if files.uses_crlf(text) and "\r\n" not in item.old:
        return files.with_crlf(item.old), files.with_crlf(item.new)
    return item.old, item.new


def _line_numbers(text: str, wanted: str) -> str:
    found: list[str] = []
    position = text.find(wanted)
    while position >= 0 and len(found) < 10:
        found.append(str(text.count("\n", 0, position) + 1))
        position = text.find(wanted, position + len(wanted))
    return ", ".join(found) + (", …" if position >= 0 else "")


if TYPE_CHECKING:
    from agent.protocols import Tool

    _: Tool = EditFile()
