"""The built-in tools: one file a tool, and beside it the prose that tells the model of it."""

from agent.protocols import Tool


def default_tools() -> tuple[Tool, ...]:
    """The tools every agent has, in the order in which the model is told of them.

    They are imported here and not above, so that a start pays for them only when an agent is built.
    """
    from agent.tools.edit_file import EditFile
    from agent.tools.read_file import ReadFile
    from agent.tools.search_files import SearchFiles
    from agent.tools.terminal import Terminal
    from agent.tools.write_file import WriteFile

    return (Terminal(), ReadFile(), WriteFile(), EditFile(), SearchFiles())
