"""How much a task may cost before it is parked and a person is asked."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from agent.config import Settings
from agent.messages import Usage
from agent.money import dollars
from agent.records import Store, Task, TaskOptions
from agent.task_rows import options_of


@dataclass(frozen=True, slots=True)
class _Limit:
    """`spent` gives US dollars. `allowed` is how many times `most` was allowed when the run began."""

    whose: str
    most: float
    spent: Callable[[], float]
    allowed: int

    def reason(self) -> str:
        spent = self.spent()
        if math.floor(spent / self.most) <= self.allowed:
            return ""
        return f"{self.whose} budget of {dollars(self.most)} is used up ({dollars(spent)})"


def used_up(store: Store, settings: Settings, task: Task) -> str:
    """What was spent that may not be, whoever goes on with the task; "" where it is within all budgets."""
    options = options_of(task)
    rows = _limits(store, settings, task, options)
    return next((reason for limit in rows if (reason := limit.reason())), "")


def _limits(store: Store, settings: Settings, task: Task, options: TaskOptions, *, again: bool = False) -> list[_Limit]:
    """The budgets of a task. `again`: as much as was used of each is allowed once more."""

    def of_task() -> float:
        row = store.task(task.id)
        return (row and row.usage.cost) or 0.0

    def of_owner() -> float:
        return sum(row.usage.cost or 0.0 for row in store.tasks(owner=task.owner))

    def of_today() -> float:
        return sum(row.usage.cost or 0.0 for row in store.usage(since=time.strftime("%Y-%m-%d")))

    rows = (
        ("the task's", options.max_cost or settings.task_budget, of_task),
        ("the session's", settings.session_budget, of_owner),
        ("the day's", settings.daily_budget, of_today),
    )
    return [
        _Limit(whose, most, spent, math.floor(spent() / most) if again else 0) for whose, most, spent in rows if most
    ]


class Budgets:
    """The budgets that hold for one run of a task.

    A run that a person resumed beyond a budget may use as much again; a task that never ran starts within all of them.
    """

    def __init__(
        self, store: Store, settings: Settings, task: Task, options: TaskOptions, *, free: Callable[[], bool]
    ) -> None:
        """`free` says whether the task's model costs nothing, so that it need not be known what it costs."""
        new = task.lease is None or task.started == task.lease.heartbeat
        own = options.max_cost or settings.task_budget

        def unknown() -> str:
            used = row.usage if (row := store.task(task.id)) is not None else Usage()
            if used == Usage() or used.cost is not None or free():
                return ""
            return f"what its model costs is not known, so its budget of {dollars(own)} cannot be kept"

        # Whoever resumes it knows by then.
        self._unknown = unknown if own and new else str
        self._limits = _limits(store, settings, task, options, again=not new)

    def reason(self) -> str:
        """Why the task is to be parked, "" when it may go on."""
        return next((reason for limit in self._limits if (reason := limit.reason())), "") or self._unknown()
