"""Creating a file, or replacing the whole of one."""

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
from agent.tools.prose import prose


class WriteFileArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: Annotated[str, Meta(min_length=1, description="The file, relative to the working directory or absolute.")]
    content: Annotated[str, Meta(description="The whole new text of the file.")]


class WriteFile:
    """Writes a text file in one move."""

    name = "write_file"
    arguments = WriteFileArguments

    def __init__(self, bench: Workbench | None = None) -> None:
        self._seen = (bench or Workbench()).seen

    @property
    def description(self) -> str:
        return prose(__file__)

    def plan(self, args: WriteFileArguments, context: ToolContext) -> Action:
        path = files.resolve(args.path, context.cwd)
        files.encoded(args.content)
        return Action("write", f"{files.shown(path, context.cwd)} (whole file)", (path,))

    def preview(self, args: WriteFileArguments, context: ToolContext) -> str:
        path = files.target(args.path, context)
        try:
            files.check_writable(path, context.cwd)
            self._require_known(path, args, context)
            return _change(path, args.content, context.cwd).diff
        except ToolError:
            if files.is_inside(path, context.cwd):
                raise
            return files.unseen(str(path), "", args.content)

    def run(self, args: WriteFileArguments, context: ToolContext, cancel: CancelToken) -> ToolResult:
        cancel.raise_if_cancelled()
        path = files.target(args.path, context)
        existed = path.exists()
        change = _change(path, args.content, context.cwd)
        files.require_agreed(change.diff, context)
        name = files.shown(path, context.cwd)
        if existed and not change.diff:
            self._seen.note(path)
            return ToolResult(f"{name} already has exactly this content.", summary="unchanged", own=True)
        self._require_known(path, args, context)
        files.replace(path, files.encoded(args.content), context.cwd)
        self._seen.note(path)
        count = len(differences.lines(args.content))
        return ToolResult(
            f"{'Replaced' if existed else 'Created'} {name} ({count} line{'s' * (count != 1)}, {change.stat}).",
            summary=change.stat,
            display=change.diff,
            files_changed=(str(path),),
            lines_changed=((change.added, change.removed),),
            own=True,
        )

    def _require_known(self, path: Path, args: WriteFileArguments, context: ToolContext) -> None:
        """Nobody overwrites what they have not seen. Raises: ToolError."""
        if not self._seen.knows(path) and files.content(path) != files.encoded(args.content):
            self._seen.require(path, files.shown(path, context.cwd))


def _change(path: Path, content: str, cwd: Path) -> differences.Change:
    """The change against the file as it is now; what is there need not be text."""
    name = files.shown(path, cwd)
    if not path.exists():
        return differences.compare("", content, name, new=True)
    try:
        return differences.compare(files.read_text(path, cwd), content, name)
    except ToolError as error:
        count = len(differences.lines(content))
        return differences.Change(f"{error} It would be replaced by {count} lines of text.\n", count, 0)


if TYPE_CHECKING:
    from agent.protocols import Tool

    _: Tool = WriteFile()
