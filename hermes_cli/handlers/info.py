"""Commands that only tell something."""

import platform
from collections.abc import Iterator
from importlib.metadata import version as installed
from typing import TYPE_CHECKING

from rich.text import Text

import agent
from agent import commands
from agent.errors import HermesError
from agent.findings import Finding
from hermes_cli.text import wrap

if TYPE_CHECKING:
    from hermes_cli.chat import Chat


def help(chat: "Chat", arguments: str) -> None:
    """All commands by category, one command, or those that have a word."""
    renderer = chat.screen.renderer()
    if not arguments:
        for category, found in commands.by_category("terminal").items():
            chat.screen.show(renderer.help_table(category, found))
        keys = "Tab completes · Esc interrupts · Ctrl+C steps back · ? on an empty line shows the keys"
        chat.screen.show("\n" + renderer.note(keys))
        return
    match commands.parse(f"/{arguments.lstrip('/')}", "terminal"):
        case commands.Parsed(command, _):
            chat.screen.show(_explain(chat, command))
        case _ if found := commands.search(arguments, "terminal"):
            chat.screen.show(renderer.help_table(f"Commands about {arguments!r}", found))
        case _:
            raise HermesError(f"No command is about {arguments!r}.", hint="/help lists all of them.")


def _explain(chat: "Chat", command: commands.CommandDef) -> str:
    renderer = chat.screen.renderer()
    usage = renderer.term(f"{command.usage}{commands.alias_note(command)}")
    head = Text.assemble((usage, "bold cyan"), f"\n{command.summary}")
    parts: list[commands.SubCommand | commands.TaskOption] = [*command.subcommands, *command.options]
    rows = [(f"{part.name} {part.arguments}".strip(), part.summary) for part in parts]
    text = "\n" + renderer.text(head) + (renderer.pairs(rows) if rows else "")
    return text + (renderer.note(f"Example: {command.example}") if command.example else "")


def version(chat: "Chat", arguments: str) -> None:
    del arguments
    parts = ", ".join(f"{name} {installed(name)}" for name in ("prompt_toolkit", "rich", "openai"))
    line = f"hermes {agent.__version__} · Python {platform.python_version()} · {platform.system()} · {parts}"
    chat.screen.show(chat.screen.renderer().note(line))


def doctor(chat: "Chat", arguments: str) -> None:
    del arguments
    import threading

    from hermes_cli.doctor import check as findings

    chat.screen.show(chat.screen.renderer().note("Checking …"))

    def check() -> None:
        # Asks the endpoint, so it runs aside.
        width = chat.screen.renderer().look.width()
        rows = [row for finding in findings(chat.config, env=chat.env) for row in _finding_rows(finding, width)]
        chat.post(lambda: chat.screen.show("\n" + "\n".join(rows)))

    threading.Thread(target=check, daemon=True, name="doctor").start()


def _finding_rows(finding: Finding, width: int) -> Iterator[str]:
    """What was found behind its mark, and the advice, as far to the right."""
    for line in finding.line().split("\n"):
        for number, row in enumerate(wrap(line.strip(), width - 10)):
            yield f"  {row}" if number == 0 and not line.startswith(" ") else f"        {row}"


def copy(chat: "Chat", arguments: str) -> None:
    del arguments
    if not chat.answer:
        raise HermesError("There is no answer to copy yet.")
    chat.screen.show(chat.screen.renderer().note(chat.screen.copy(chat.answer)))
