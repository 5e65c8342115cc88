"""A working directory, and tools called as the toolset calls them: decode, plan, preview, run."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from agent.cancel import CancelToken
from agent.protocols import Action, Approved, Tool, ToolContext, ToolResult
from agent.tools import default_tools
from agent.tools.bench import Workbench

BENCH = Workbench()
TOOLS: dict[str, Tool] = {tool.name: tool for tool in default_tools(BENCH)}


@pytest.fixture(autouse=True)
def bench(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """What the tools of a test share."""
    BENCH.state = tmp_path_factory.mktemp("state")
    return BENCH


@pytest.fixture
def context(tmp_path: Path) -> ToolContext:
    return ToolContext(tmp_path)


@pytest.fixture
def plan(context: ToolContext) -> Callable[..., Action]:
    def plan(name: str, **arguments: object) -> Action:
        tool = TOOLS[name]
        return tool.plan(msgspec.convert(arguments, tool.arguments), context)

    return plan


@pytest.fixture
def preview(context: ToolContext) -> Callable[..., str]:
    def preview(name: str, **arguments: object) -> str:
        tool = TOOLS[name]
        args = msgspec.convert(arguments, tool.arguments)
        tool.plan(args, context)
        return tool.preview(args, context)

    return preview


@pytest.fixture
def call(context: ToolContext) -> Callable[..., ToolResult]:
    def call(
        name: str, *, limit: int | None = None, cancel: CancelToken | None = None, **arguments: object
    ) -> ToolResult:
        tool = TOOLS[name]
        args = msgspec.convert(arguments, tool.arguments)
        here = context if limit is None else ToolContext(context.cwd, output_limit=limit)
        action = tool.plan(args, here)
        return tool.run(args, here.for_call("call_1", Approved(action)), cancel or CancelToken())

    return call
