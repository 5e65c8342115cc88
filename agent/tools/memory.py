"""Noting something for later sessions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from agent import differences, memory
from agent.cancel import CancelToken
from agent.errors import ConfigError, ToolError
from agent.own_files import changing, write_private
from agent.protocols import Action, ToolContext, ToolResult
from agent.tools import files
from agent.tools.output import printable
from agent.tools.prose import prose


class MemoryArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    file: Annotated[Literal["MEMORY.md", "USER.md"], Meta(description="Of the work, or of the person.")]
    old: Annotated[str, Meta(description="The text to replace; empty to add at the end.")] = ""
    new: Annotated[str, Meta(description="The text to put there; empty to remove the old one.")] = ""


class Memory:
    """Changes the two files of `folder`, the config directory. What they hold is in the instructions."""

    name = "memory"
    arguments = MemoryArguments

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def description(self) -> str:
        return prose(__file__)

    def plan(self, args: MemoryArguments, context: ToolContext) -> Action:
        if not (args.old or args.new.strip()):
            raise ToolError("There is nothing to note: give new, or old to remove.")
        text = printable(args.new)
        if context.redact(text) != text:
            raise ToolError("That holds a secret, which is never noted.")
        verb = "replace in" if args.old and text else "remove from" if args.old else "add to"
        return Action("write", f"{verb} {args.file}", (files.resolve(str(self._folder / args.file), context.cwd),))

    def preview(self, args: MemoryArguments, context: ToolContext) -> str:
        return self._change(args, context)[1].diff

    def run(self, args: MemoryArguments, context: ToolContext, cancel: CancelToken) -> ToolResult:
        cancel.raise_if_cancelled()
        path = files.target(str(self._folder / args.file), context)
        try:
            with changing(path):
                text, change = self._change(args, context)
                files.require_agreed(change.diff, context)
                write_private(path, text)
        except ConfigError as error:
            raise ToolError(str(error)) from error
        size = f"{len(text):,} of {memory.LIMITS[args.file]:,} characters"
        content = f"Noted in {args.file} ({size}). Sessions read it when they begin."
        return ToolResult(content, summary=change.stat, display=change.diff, files_changed=(str(path),), own=True)

    def _change(self, args: MemoryArguments, context: ToolContext) -> tuple[str, differences.Change]:
        """The file's text to be, and the change. Raises: ToolError."""
        path = files.target(str(self._folder / args.file), context)
        try:
            before = memory.read(path)
        except OSError as error:
            raise ToolError(f"{args.file} cannot be read: {error.strerror}.") from error
        new = printable(args.new)
        if args.old:
            if (count := before.count(args.old)) != 1:
                raise ToolError(f"`old` is {count} times in {args.file}, which holds now:\n{context.redact(before)}")
            after = before.replace(args.old, new)
        else:
            after = f"{before.rstrip()}\n{new.strip()}\n".lstrip()
        limit = memory.LIMITS[args.file]
        if len(after) > max(limit, len(before) - 1):
            raise ToolError(f"{args.file} would hold {len(after):,} of {limit:,} characters: shorten it first.")
        return after, differences.compare(before, after, args.file, new=not before)


if TYPE_CHECKING:
    from agent.protocols import Tool

    _: Tool = Memory(Path())
