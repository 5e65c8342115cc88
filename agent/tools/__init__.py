"""The built-in tools: one file a tool, and beside it the prose that tells the model of it."""

from typing import TYPE_CHECKING

from agent.protocols import Tool

if TYPE_CHECKING:
    from agent.tools.bench import Workbench


def default_tools(bench: "Workbench | None" = None) -> tuple[Tool, ...]:
    """The tools every agent has, in the order in which the model is told of them. They share the session's `bench`.

    They are imported here and not above, so that a start pays for them only when an agent is built.
    """
    from agent.tools.apply_patch import ApplyPatch
    from agent.tools.bench import Workbench
    from agent.tools.edit_file import EditFile
    from agent.tools.process import Process
    from agent.tools.read_file import ReadFile
    from agent.tools.search_files import SearchFiles
    from agent.tools.terminal import Terminal
    from agent.tools.write_file import WriteFile

    bench = bench or Workbench()
    return (
        Terminal(bench),
        Process(bench),
        ReadFile(bench),
        WriteFile(bench),
        EditFile(bench),
        ApplyPatch(bench),
        SearchFiles(),
    )
