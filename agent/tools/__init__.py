"""The built-in tools: one file a tool, and beside it the prose that tells the model of it."""

import os
from typing import TYPE_CHECKING

from agent.config import Settings
from agent.errors import did_you_mean
from agent.protocols import Tool

if TYPE_CHECKING:
    from agent.tools.bench import Workbench

NAMES = (
    "terminal", "process", "read_file", "write_file", "edit_file", "apply_patch", "search_files", "web_fetch",
    "todo", "ask_user", "web_search", "tasks", "session_search", "memory", "delegate",
)  # fmt: skip
"""Every tool there is. The last four see what is kept, or send others; an agent may have no use for them."""


def similar(name: str) -> str:
    """What to say of a tool that there is not."""
    return did_you_mean(name, NAMES, f"There are: {', '.join(NAMES)}.")


def summary(name: str) -> str:
    """The first sentence that the model is told of a tool."""
    from pathlib import Path

    from agent.tools.prose import prose

    return prose(str(Path(__file__).with_name(f"{name}.py"))).split("\n")[0].split(". ")[0].rstrip(".:")


def default_tools(bench: "Workbench | None" = None, settings: Settings | None = None) -> tuple[Tool, ...]:
    """The tools every agent has, in the order in which the model is told of them. They share the session's `bench`.

    `web_search` is among them where somebody is set up to search.

    They are imported here and not above, so that a start pays for them only when an agent is built.
    """
    from agent.tools.apply_patch import ApplyPatch
    from agent.tools.ask_user import AskUser
    from agent.tools.bench import Workbench
    from agent.tools.edit_file import EditFile
    from agent.tools.process import Process
    from agent.tools.read_file import ReadFile
    from agent.tools.search_files import SearchFiles
    from agent.tools.terminal import Terminal
    from agent.tools.todo import Todo
    from agent.tools.web_fetch import WebFetch
    from agent.tools.web_search import configured
    from agent.tools.write_file import WriteFile

    bench, settings = bench or Workbench(), settings or Settings()
    search = configured(settings.web_search, settings.web_search_url, os.environ)
    return (
        Terminal(bench),
        Process(bench),
        ReadFile(bench),
        WriteFile(bench),
        EditFile(bench),
        ApplyPatch(bench),
        SearchFiles(),
        WebFetch(private=settings.web_private),
        Todo(),
        AskUser(),
        *([search] if search else ()),
    )
