"""Tools that work in a task's own worktree, which is made when one of them first wants to change something.

Until then what is read is read from the person's tree, as long as that shows the same, under the worktree's names.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cancel import CancelToken
from agent.errors import ToolError
from agent.events import TurnFinished
from agent.git import GitError
from agent.protocols import Action, Tool, ToolContext, ToolResult
from agent.tools.seen import Seen
from agent.worktree import Worktree

_log = logging.getLogger(__name__)


class House:
    """One task's place to work. `cwd` is where its tools are told to be, made or not."""

    def __init__(self, tree: Worktree, seen: Seen) -> None:
        self.tree = tree
        self._seen = seen

    @cached_property
    def cwd(self) -> Path:
        return self.tree.cwd

    @cached_property
    def _source(self) -> Path:
        return self.tree.source.resolve()

    def tools(self, tools: Sequence[Tool]) -> tuple[Tool, ...]:
        return tuple(Housed(tool, self) for tool in tools)

    def renamed(self, text: str) -> str:
        """Text for the model, in which the person's folder has the name that it has here."""
        there = re.compile(rf"{re.escape(str(self.tree.source))}(?![\w.-])")
        return there.sub(lambda _: str(self.cwd), text)

    def leave(self, end: TurnFinished) -> TurnFinished:
        """Commit what was done. The outcome says where it is, or why it is not committed."""
        try:
            self.tree.commit()
        except GitError as error:
            _log.warning("committing the work of %s: %s", self.tree.task_id, error)
            return replace(end, text=f"{end.text}\n\n(Not committed, but kept in {self.tree.root}: {error})".strip())
        return end

    def plan(self, tool: Tool, args: Any, context: ToolContext) -> Action:
        """Raises: ToolError, also when the worktree is needed and cannot be made."""
        try:
            if not self.tree.made and self.tree.is_as_the_person_sees():
                action = tool.plan(args, replace(context, cwd=self._source))
                if action.kind in ("read", "ask") and not any(
                    path.is_relative_to(self.tree.root) for path in action.paths
                ):
                    return self._moved(action, self._source, self.cwd)
            if not self.tree.made:
                self.tree.make()
                self._seen.follow(self._source, self.cwd)
        except GitError as error:
            raise ToolError(f"The task's worktree cannot be made: {error}") from error
        return tool.plan(args, context)

    def where(self, context: ToolContext) -> ToolContext:
        """The context to look and to run in."""
        if self.tree.made:
            return context
        approved = context.approved
        if approved is not None:
            approved = replace(approved, action=self._moved(approved.action, self.cwd, self._source))
        return replace(context, cwd=self._source, approved=approved)

    @staticmethod
    def _moved(action: Action, old: Path, new: Path) -> Action:
        """The action with the paths below one folder put below the other: what they hold is the same."""
        paths = (new / path.relative_to(old) if path.is_relative_to(old) else path for path in action.paths)
        return replace(action, paths=tuple(paths))


class Housed:
    """A tool in a house. What the model is told of it is the same."""

    def __init__(self, tool: Tool, house: House) -> None:
        self._tool = tool
        self._house = house

    @property
    def name(self) -> str:
        return self._tool.name

    @property
    def description(self) -> str:
        return self._tool.description

    @property
    def arguments(self) -> type[Any]:
        return self._tool.arguments

    @property
    def goes_on(self) -> bool:
        return bool(getattr(self._tool, "goes_on", False))

    def plan(self, args: Any, context: ToolContext) -> Action:
        return self._house.plan(self._tool, args, context)

    def preview(self, args: Any, context: ToolContext) -> str:
        return self._tool.preview(args, self._house.where(context))

    def run(self, args: Any, context: ToolContext, cancel: CancelToken) -> ToolResult:
        return self._tool.run(args, self._house.where(context), cancel)


if TYPE_CHECKING:
    from agent.tools.read_file import ReadFile

    _: Tool = Housed(ReadFile(), House(Worktree("", Path(), Path()), Seen()))
