"""Changing several files at once."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from agent import differences
from agent.cancel import CancelToken
from agent.errors import ToolError
from agent.protocols import Action, ToolContext, ToolResult
from agent.tools import files, patch
from agent.tools.atomic import FileChange, write_all
from agent.tools.bench import Workbench
from agent.tools.prose import prose


class ApplyPatchArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    patch: Annotated[str, Meta(min_length=1, description="From `*** Begin Patch` to `*** End Patch`.")]


class ApplyPatch:
    """Applies a patch to all the files it names, or to none."""

    name = "apply_patch"
    arguments = ApplyPatchArguments

    def __init__(self, bench: Workbench | None = None) -> None:
        self._seen = (bench or Workbench()).seen

    @property
    def description(self) -> str:
        return prose(__file__)

    def plan(self, args: ApplyPatchArguments, context: ToolContext) -> Action:
        items = patch.parse(args.patch)
        paths = tuple(files.resolve(name, context.cwd) for name in _names(items))
        if len(set(paths)) < len(paths):
            raise ToolError("The patch names a file twice. Put all that happens to a file into one section.")
        shown = ", ".join(files.shown(path, context.cwd) for path in paths[:3])
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        return Action("write", f"{shown}{more}", paths)

    def preview(self, args: ApplyPatchArguments, context: ToolContext) -> str:
        items = patch.parse(args.patch)
        paths = _paths(items, context)
        try:
            return _diff(_changes(items, paths, context.cwd), context.cwd)
        except ToolError:
            if all(files.is_inside(path, context.cwd) for path in paths):
                raise
            return f"(not possible on the files as they are now)\n{args.patch}"

    def run(self, args: ApplyPatchArguments, context: ToolContext, cancel: CancelToken) -> ToolResult:
        cancel.raise_if_cancelled()
        items = patch.parse(args.patch)
        changes = _changes(items, _paths(items, context), context.cwd)
        compared = _compared(changes, context.cwd)
        diff = "".join(change.diff for change in compared)
        files.require_agreed(diff, context)
        known = [change.path for change in changes if self._seen.knows(change.path)]
        write_all(changes, context.cwd)
        for path in known:
            self._seen.note(path)
        told = [f"{_verb(change)} {files.shown(change.path, context.cwd)}" for change in changes]
        return ToolResult(
            "\n".join(told),
            summary=f"{len(changes)} file{'s' * (len(changes) != 1)}",
            display=diff,
            files_changed=tuple(str(change.path) for change in changes),
            lines_changed=tuple((change.added, change.removed) for change in compared),
            own=True,
        )


def _names(items: Sequence[patch.FilePatch]) -> list[str]:
    return [name for item in items for name in (item.path, item.target) if name]


def _paths(items: Sequence[patch.FilePatch], context: ToolContext) -> tuple[Path, ...]:
    if context.approved is not None:
        return context.approved.action.paths
    return tuple(files.resolve(name, context.cwd) for name in _names(items))


def _changes(items: Sequence[patch.FilePatch], paths: Sequence[Path], cwd: Path) -> list[FileChange]:
    """What the patch amounts to. Raises: ToolError when any part of it is not possible."""
    there, changes = dict(zip(_names(items), paths, strict=True)), list[FileChange]()
    for item in items:
        path = there[item.path]
        name = files.shown(path, cwd)
        if item.action == "add":
            if path.exists():
                raise ToolError(f"{name} exists already: update it, or delete it first.")
            text = "".join(f"{line}\n" for line in item.lines)
            changes.append(FileChange(path, None, files.encoded(text)))
        elif item.action == "delete":
            files.require_regular(path, cwd)
            before = files.content(path)
            if before is None:
                raise ToolError(f"{name} cannot be read, or is too large; delete it with the terminal.")
            changes.append(FileChange(path, before, None))
        else:
            changes += _updated(item, path, there.get(item.target), cwd)
    return changes


def _updated(item: patch.FilePatch, path: Path, target: Path | None, cwd: Path) -> list[FileChange]:
    text = files.read_text(path, cwd)
    crlf = "\r\n" in text and text.count("\r\n") == text.count("\n")
    after = patch.apply(text.replace("\r\n", "\n") if crlf else text, item.hunks, files.shown(path, cwd))
    before, data = files.encoded(text), files.encoded(files.with_crlf(after) if crlf else after)
    if target is None:
        return [FileChange(path, before, data)]
    if target.exists():
        raise ToolError(f"{files.shown(target, cwd)} exists already: nothing can be moved there.")
    return [FileChange(target, None, data, path.stat().st_mode & 0o7777), FileChange(path, before, None)]


def _diff(changes: Sequence[FileChange], cwd: Path) -> str:
    return "".join(change.diff for change in _compared(changes, cwd))


def _compared(changes: Sequence[FileChange], cwd: Path) -> list[differences.Change]:
    return [_compare(change, files.shown(change.path, cwd)) for change in changes]


def _compare(change: FileChange, name: str) -> differences.Change:
    try:
        before, after = (change.before or b"").decode(), (change.after or b"").decode()
    except UnicodeDecodeError:
        return differences.Change(f"{name}: {len(change.before or b''):,} bytes, not text, go away\n", 0, 0)
    found = differences.compare(before, after, name, new=change.before is None)
    if change.after is None:
        gone = found.diff.replace(f"+++ b/{name}", "+++ /dev/null", 1)
        return replace(found, diff=gone or f"{name} goes away\n")
    return replace(found, diff=found.diff or f"{name}: new and empty\n")


def _verb(change: FileChange) -> str:
    return "Added" if change.before is None else "Deleted" if change.after is None else "Updated"


if TYPE_CHECKING:
    from agent.protocols import Tool

    _: Tool = ApplyPatch()
