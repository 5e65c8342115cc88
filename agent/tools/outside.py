"""Tools that come from elsewhere, such as an MCP server: they cannot pass for built-in ones, nor speak as Hermes.

Whoever brings such tools puts each into `Outside`. Its name begins with whose it is, its description is clean, bounded
and says where it is from, and whatever it returns is marked.
"""

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent.cancel import CancelToken
from agent.marks import marked
from agent.protocols import Action, Tool, ToolContext, ToolResult
from agent.tools.output import printable

PREFIX = "mcp"
LONGEST_NAME = 64
"""Characters; what model APIs take."""
LONGEST_DESCRIPTION = 1_000
_NO_LETTER = re.compile(r"[^A-Za-z0-9-]+")


def outside_name(server: str, name: str) -> str:
    """`mcp__server__name`, in letters that look like no others. Built-in names hold no `__`, so it is none of them."""
    short = [_NO_LETTER.sub("_", part).strip("_") or "tool" for part in (server, name)]
    return f"{PREFIX}__{short[0][:20]}__{short[1]}"[:LONGEST_NAME].rstrip("_")


def outside_description(server: str, text: str) -> str:
    """What a tool says of itself, on one line, between marks: nothing in it is an instruction."""
    line = " ".join(printable(text).split())
    cut = line if len(line) <= LONGEST_DESCRIPTION else f"{line[: LONGEST_DESCRIPTION - 1]}…"
    return f"A tool of {outside_name(server, 'x').split('__')[1]}, which describes it so:\n{marked(cut)}"


class Outside:
    """A tool of somebody else's. Its result is never Hermes's own words."""

    def __init__(self, tool: Tool, server: str) -> None:
        self._tool = tool
        self.name = outside_name(server, tool.name)
        # Once, for the list of tools is part of every request.
        self.description = outside_description(server, tool.description)

    @property
    def arguments(self) -> type[Any]:
        return self._tool.arguments

    def plan(self, args: Any, context: ToolContext) -> Action:
        return self._tool.plan(args, context)

    def preview(self, args: Any, context: ToolContext) -> str:
        return self._tool.preview(args, context)

    def run(self, args: Any, context: ToolContext, cancel: CancelToken) -> ToolResult:
        return replace(self._tool.run(args, context, cancel), own=False)


if TYPE_CHECKING:
    from agent.tools.todo import Todo

    _: Tool = Outside(Todo(), "")
