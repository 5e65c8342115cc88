"""Changing a part of a file by exact replacement."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from agent.cancel import CancelToken
from agent.errors import ToolError
from agent.protocols import Action, ToolContext, ToolResult
from agent.tools import files
from agent.tools.prose import prose

SEARCHED_LINES = 20_000
"""Lines of a file that are looked at for something like a text that was not found."""


class EditFileArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: Annotated[str, Meta(min_length=1, description="The file, relative to the working directory or absolute.")]
    old: Annotated[str, Meta(min_length=1, description="The exact text to replace.")]
    new: Annotated[str, Meta(description="The text to put there.")]
    replace_all: Annotated[bool, Meta(description="Replace every occurrence, not a single one.")] = False


@dataclass(frozen=True, slots=True)
class Edit:
    """A replacement that is possible: `after` is the file's whole new text."""

    path: Path
    after: str
    count: int
    change: files.Change


class EditFile:
    """Replaces a text that occurs once, or says why that cannot be done."""

    name = "edit_file"
    arguments = EditFileArguments

    @property
    def description(self) -> str:
        return prose(__file__)

    def plan(self, args: EditFileArguments, context: ToolContext) -> Action:
        _require_change(args)
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
            return files.unseen(str(path), args.old, args.new)

    def run(self, args: EditFileArguments, context: ToolContext, cancel: CancelToken) -> ToolResult:
        cancel.raise_if_cancelled()
        edit = _prepare(args, files.target(args.path, context), context)
        files.require_agreed(edit.change.diff, context)
        files.replace(edit.path, files.encoded(edit.after), context.cwd)
        times = f"{edit.count} replacement{'s' * (edit.count != 1)}"
        return ToolResult(
            f"Edited {files.shown(edit.path, context.cwd)}: {times}, {edit.change.stat}.",
            summary=edit.change.stat,
            display=edit.change.diff,
            files_changed=(str(edit.path),),
        )


def _require_change(args: EditFileArguments) -> None:
    """Raises: ToolError."""
    if args.old == args.new:
        raise ToolError("old and new are the same text: there is nothing to change.")


def _prepare(args: EditFileArguments, path: Path, context: ToolContext) -> Edit:
    """Raises: ToolError when the file cannot be changed or the text is not there exactly once."""
    cwd = context.cwd
    name = files.shown(path, cwd)
    before = files.read_text(path, cwd)
    files.check_writable(path, cwd)
    old, new = _with_line_ends_of(before, args)
    count = before.count(old)
    if not count:
        raise ToolError(f"The text to replace is not in {name}. {_nearest(context.redact(before), args.old)}")
    if count > 1 and not args.replace_all:
        raise ToolError(
            f"The text to replace is in {name} {count} times (lines {_line_numbers(before, old)}). "
            "Add lines around it to make it unique, or set replace_all."
        )
    after = before.replace(old, new)
    change = files.compare(before.replace("\r\n", "\n"), after.replace("\r\n", "\n"), name)
    if not change.diff:
        change = files.compare(before, after, name)
    return Edit(path, after, count, change)


def _with_line_ends_of(text: str, args: EditFileArguments) -> tuple[str, str]:
    """The two texts with the line ends of the file: a model is shown, and writes, plain newlines."""
    if files.uses_crlf(text) and "\r\n" not in args.old:
        return files.with_crlf(args.old), files.with_crlf(args.new)
    return args.old, args.new


def _line_numbers(text: str, wanted: str) -> str:
    found: list[str] = []
    position = text.find(wanted)
    while position >= 0 and len(found) < 10:
        found.append(str(text.count("\n", 0, position) + 1))
        position = text.find(wanted, position + len(wanted))
    return ", ".join(found) + (", …" if position >= 0 else "")


def _nearest(text: str, wanted: str) -> str:
    """What the file holds instead: the lines most like the wanted ones, with their numbers."""
    there = [line.rstrip("\r\n") for line in files.lines(text)[:SEARCHED_LINES]]
    target = [line for line in wanted.splitlines() if line.strip()]
    if not target:
        return "It is white space only: take in some text around it."
    start = _most_like(there, target[0])
    if start is None:
        return "No line in it is like the first line of that text. Read the file again."
    shown = there[start : start + min(len(wanted.splitlines()), 10)]
    excerpt = "\n".join(f"{number}: {line[:300]}" for number, line in enumerate(shown, start + 1))
    same = [" ".join(line.split()) for line in shown] == [" ".join(line.split()) for line in wanted.splitlines()]
    reason = "These lines differ from it in white space only" if same else "The nearest lines are"
    return f"{reason}:\n{excerpt}"


def _most_like(there: list[str], line: str) -> int | None:
    """The index of the line most like `line`, white space at its ends aside."""
    import difflib

    stripped = [item.strip() for item in there]
    if line.strip() in stripped:
        return stripped.index(line.strip())
    near = difflib.get_close_matches(line.strip(), dict.fromkeys(stripped), 1, 0.6)
    return stripped.index(near[0]) if near else None


if TYPE_CHECKING:
    from agent.protocols import Tool

    _: Tool = EditFile()
