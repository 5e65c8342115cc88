"""/tasks diff, merge and join: what a task has done comes home."""

from typing import TYPE_CHECKING

from agent import reports
from agent.errors import HermesError
from agent.protocols import LIVE_STATES, Task
from hermes_cli.handlers import undo
from hermes_cli.task_facts import worktree_of

if TYPE_CHECKING:
    from agent.worktree import Worktree
    from hermes_cli.chat import Chat

LONGEST_DIFF = 400
"""Lines of a diff that are shown."""


def diff(chat: "Chat", task: Task) -> None:
    """All that the task has changed, while it runs, too: in its worktree, or in the person's folder."""
    if worktree_of(chat.store, task, chat.config.dirs.state) is None:
        undo.diff_of_task(chat, task)
        return
    tree = tree_of(chat, task)

    def show(text: str) -> None:
        lines = text.splitlines()
        more = [f"… {len(lines) - LONGEST_DIFF} more lines: git diff HEAD...{tree.branch}"]
        shown = "\n".join(lines[:LONGEST_DIFF] + (more if len(lines) > LONGEST_DIFF else []))
        renderer = chat.screen.renderer()
        empty = renderer.note(f"#{task.number} has changed nothing that is not here already.")
        chat.screen.show(renderer.answer(f"~~~~~~~~diff\n{shown}\n~~~~~~~~") if text.strip() else empty)

    chat.aside(tree.diff, show)


def rollback(chat: "Chat", task: Task, file: str) -> None:
    """Put back what a task has changed in the person's folder."""
    if worktree_of(chat.store, task, chat.config.dirs.state) is not None:
        hint = "What is not merged changes nothing of yours; /tasks prune removes it once it is merged."
        raise HermesError(f"#{task.number} works in a worktree of its own, not in your folder.", hint=hint)
    undo.roll_back_task(chat, task, file)


def merge(chat: "Chat", task: Task) -> None:
    """Merge the task's branch into the person's, or say why not."""
    tree = tree_of(chat, task)
    _require_over(task, f"/tasks diff {task.number} shows how far it is.")

    def show(files: list[str]) -> None:
        names = "\n".join(f"  {name}" for name in files)
        chat.screen.show(chat.screen.renderer().note(f"Merged {tree.branch}:\n{names}"))

    chat.aside(tree.merge, show)


def join(chat: "Chat", task: Task) -> None:
    """Put the task's report into this conversation: a turn that runs reads it next, otherwise the next one does."""
    _require_over(task, f"/tasks log {task.number} shows how far it is.")
    report = reports.report(task)

    def show(_: None) -> None:
        text = f"The result of #{task.number} is in this conversation now; the agent reads it with your next message."
        chat.screen.show(chat.screen.renderer().note(text))

    if chat.turn is not None:
        chat.steering.append(report)
        chat.screen.refresh()
    else:
        chat.aside(lambda: chat.take_in(report), show)


def tree_of(chat: "Chat", task: Task) -> "Worktree":
    """Raises: HermesError for a task that works in the person's own tree."""
    tree = worktree_of(chat.store, task, chat.config.dirs.state)
    if tree is None:
        raise HermesError(f"#{task.number} has no worktree.", hint="/background --worktree <prompt> gives a task one.")
    return tree


def _require_over(task: Task, hint: str) -> None:
    if task.state in LIVE_STATES:
        raise HermesError(f"#{task.number} is not over.", hint=hint)
