"""/background: a prompt that runs aside."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from agent.commands import background_prompt, task_options
from agent.errors import HermesError
from agent.messages import Message
from agent.reports import is_report
from agent.tools.bench import left_running
from hermes_cli.handlers.tasks import say_started, tasks

if TYPE_CHECKING:
    from hermes_cli.chat import Chat


def background(chat: "Chat", arguments: str) -> None:
    """Start a task, and say so at once. A bare `status` or `stop 1` is somebody looking for /tasks."""
    options, arguments = task_options(arguments)
    arguments, for_tasks = background_prompt(arguments)
    if for_tasks:
        renderer = chat.screen.renderer()
        chat.screen.show(renderer.note(f"That is /tasks. To send it as a prompt: /background -- {arguments}"))
        tasks(chat, "" if arguments.lower() in ("status", "ls") else arguments)
        return
    if not arguments:
        raise HermesError("Usage: /background <prompt>", hint="Example: /background run the tests and say what fails")

    def start(prepared: tuple[list[str], list[Message]]) -> None:
        notes, taken = prepared
        if notes:
            chat.screen.show(chat.screen.renderer().note("\n".join(notes)))
        submit = partial(chat.background.submit, arguments, options, context=taken)
        chat.aside(submit, lambda task: say_started(chat, task))

    if options.context or options.worktree or options.max_cost or chat.config.values.task_budget:
        chat.aside(lambda: chat.background.prepare(arguments, options), start)
    else:
        start(([], []))


def detach(chat: "Chat", arguments: str) -> None:
    """The turn that runs goes on as a task, from its next step on; the prompt is free for a new conversation."""
    del arguments
    waiting = [line for line in [*chat.steering, *chat.queued] if not is_report(line)]
    commands = left_running(chat.conversation)
    if not chat.detach():
        raise HermesError("No turn is running.", hint="/background <prompt> starts a task.")
    told = ["It goes on aside after its next step. This is a new conversation. /stop ends it until then."]
    if waiting:
        told.append(f"It is told the {_many(waiting, 'line')} that waited.")
    if commands:
        told.append(f"{_many(commands, 'command')} in the background {'goes' if len(commands) == 1 else 'go'} with it.")
    chat.screen.show(chat.screen.renderer().note("\n".join(told)))


def _many(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
