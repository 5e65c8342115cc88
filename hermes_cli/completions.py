"""What the arguments of commands complete from. Everything here is in memory already, or quickly read."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from agent.commands import ArgumentSource, commands_for
from agent.config import setting_fields
from agent.config import summary as about_setting

if TYPE_CHECKING:
    from hermes_cli.chat import Chat
    from hermes_cli.commands import ArgumentValues

MOST_SESSIONS = 200
"""Titles that complete; others are found by typing them."""

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

    def tasks(kind: str) -> Iterable[tuple[str, str]]:
        from hermes_cli.task_facts import KINDS, title

        for task in reversed(session().background.seen()):
            if KINDS[kind](task):
                yield (str(task.number), f"{task.state}  {title(task, 40)}")

    def tools(*, on: bool) -> Iterable[tuple[str, str]]:
        from agent.tools import NAMES, summary

        off = session().config.values.tools_off
        return ((name, summary(name)) for name in NAMES if (name in off) != on)

    def sessions() -> Iterable[tuple[str, str]]:
        from hermes_cli.sessions import details, own_sessions

        chat = session()
        for one in own_sessions(chat.store)[:MOST_SESSIONS]:
            if one.title and one.id != chat.conversation:
                yield (one.title, ", ".join(details(one, chat.cwd)))

    return {
        "session": sessions,
        "format": lambda: (("markdown", "to read on"), ("json", "all of it"), ("html", "a page of its own")),
        "model": models,
        "task": lambda: tasks("task"),
        "live task": lambda: tasks("live task"),
        "waiting task": lambda: tasks("waiting task"),
        "parked task": lambda: tasks("parked task"),
        "finished task": lambda: tasks("finished task"),
        "command": lambda: ((command.name, command.summary) for command in commands_for("terminal")),
        "setting": lambda: ((name, about_setting(name)) for name in setting_fields()),
        "effort": lambda: ((effort, "") for effort in _EFFORTS),
        "mode": lambda: (("ask", "ask first"), ("edits", "accept edits"), ("plan", "read only")),
        "on/off": lambda: (("on", ""), ("off", "")),
        "tool that is on": lambda: tools(on=True),
        "tool that is off": lambda: tools(on=False),
    }
