"""A handler a terminal command, found by the command's name and imported when first used."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from hermes_cli.chat import Chat

Handler = Callable[["Chat", str], None]
"""Takes the session and what was typed after the command. Raises: HermesError, which is shown."""

_MODULES = {
    "session": ("new", "clear", "queue", "steer", "stop", "status", "quit"),
    "history": ("history", "title", "search", "save", "export"),
    "branching": ("undo", "rewind", "retry", "branch", "resume"),
    "background": ("background", "detach"),
    "tasks": ("tasks",),
    "configuration": ("config", "model", "reasoning", "verbose", "approvals", "yolo"),
    "context": ("context", "usage", "compress"),
    "info": ("help", "version", "doctor", "copy"),
    "abilities": ("tools", "memory", "paste", "init"),
    "undo": ("diff", "rollback"),
    "handing": ("handoff",),
    "beside": ("btw",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def preload() -> None:
    """Import every handler now, on a thread, so that the first command does not wait for it."""
    for module in _MODULES:
        import_module(f"hermes_cli.handlers.{module}")


def find(name: str) -> Handler:
    """The handler of a command of the table. Each is a function of that name in its module."""
    module = import_module(f"hermes_cli.handlers.{_MODULE_OF[name]}")
    return cast(Handler, getattr(module, name))
