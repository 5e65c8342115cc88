"""What the arguments of commands complete from. Everything here is in memory already."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from agent.commands import ArgumentSource, commands_for, preview
from agent.config import setting_fields, summary

if TYPE_CHECKING:
    from hermes_cli.chat import Chat
    from hermes_cli.commands import ArgumentValues

_EFFORTS = ("default", "none", "minimal", "low", "medium", "high", "xhigh")


def argument_values(session: "Callable[[], Chat]") -> Mapping[ArgumentSource, "ArgumentValues"]:
    """A function for each kind of argument that the table names."""

    def models() -> Iterable[tuple[str, str]]:
        from agent.models import catalog

        chat = session()
        if chat.model.choice is not None:
            yield from ((name, chat.model.choice.provider) for name in chat.model.names)
        for provider in catalog.PROVIDERS:
            yield (provider.name, f"{provider.title}: its default")
            yield from ((f"{provider.name}:{name}", provider.title) for name in provider.models)

    def tasks() -> Iterable[tuple[str, str]]:
        chat = session()
        for task in reversed(chat.background.all()):
            yield (str(task.number), f"{task.state}  {preview(task.prompt, 40)}")

    return {
        "model": models,
        "task": tasks,
        "command": lambda: ((command.name, command.summary) for command in commands_for("terminal")),
        "setting": lambda: ((name, summary(name)) for name in setting_fields()),
        "effort": lambda: ((effort, "") for effort in _EFFORTS),
        "mode": lambda: (("ask", "ask first"), ("edits", "accept edits"), ("plan", "read only")),
        "on/off": lambda: (("on", ""), ("off", "")),
    }
