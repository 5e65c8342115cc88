"""What people order about tasks, from wherever: data in, a sentence out. Every front end says the same."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent.errors import HermesError
from agent.protocols import Decision, Scope, Task

if TYPE_CHECKING:
    from agent.tasks import TaskPool

_SCOPES: dict[str, Scope] = {"": "once", "once": "once", "session": "session", "always": "always"}


STOPPED_IN = "stopped in "
"""What the row of a task begins to say that was stopped from a chat; the platform follows."""


def stop(pool: "TaskPool", tasks: Sequence[Task], *, chat: str = "") -> str:
    """Stop those that are not over, for the `chat` that orders it, if one does. May wait for the store.

    Raises: HermesError when all are.
    """
    why = f"{STOPPED_IN}{chat.partition(':')[0]}" if chat else ""
    stopped = [f"#{task.number}" for task in tasks if pool.stop(task.id, why=why, chat=chat)]
    if not stopped:
        raise HermesError(f"#{tasks[0].number} is over already." if tasks else "No task is running.")
    return f"Stopped {', '.join(stopped)}."


def steer(pool: "TaskPool", task: Task, text: str) -> str:
    """Tell it a line. May wait for the store. Raises: HermesError when it is over, or nothing is said."""
    if not text.strip():
        raise HermesError("Usage: /tasks steer N <text>", hint=f"Example: /tasks steer {task.number} use tabs")
    if not pool.steer(task.id, text.strip()):
        raise HermesError(f"#{task.number} is over already.", hint=f"/tasks retry {task.number} starts it again.")
    return f"#{task.number} reads that before its next step."


def resume(pool: "TaskPool", task: Task) -> str:
    """Go on with a parked one. May wait for the store. Raises: HermesError when it is not parked."""
    if pool.resume(task.id) is None:
        raise HermesError(f"#{task.number} is {task.state}, not parked.")
    return f"#{task.number} goes on."


def approval(scope: str) -> Decision:
    """Yes, for as long as a word says. Raises: HermesError."""
    if (found := _SCOPES.get(scope.strip().lower())) is None:
        raise HermesError(f"{scope.strip()!r} is no scope.", hint="There are: once, session, always.")
    return Decision(True, scope=found)
