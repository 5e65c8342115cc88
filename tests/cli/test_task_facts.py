"""Figures of tasks as lists show them."""

import time
from dataclasses import replace

import pytest

from agent.protocols import Task
from agent.records import Receipt
from agent.store.memory import MemoryStore
from agent.task_rows import encoded, receipt_of
from agent.tasks import TaskPool
from hermes_cli.task_facts import ran

TASK = Task("bg_1", 1, "x", "terminal:a", "s", "{}", created=1.0, receipt=encoded(Receipt(seconds=0.2)))


@pytest.mark.parametrize("state", ["queued", "running", "waiting", "parked"])
def test_what_is_not_over_has_an_age(state: str) -> None:
    assert ran(replace(TASK, state=state, created=time.time() - 100)) == pytest.approx(100, abs=30)  # type: ignore[arg-type]


def test_what_is_over_took_the_time_it_worked() -> None:
    assert ran(replace(TASK, state="done", finished=101.0)) == 0.2


def test_what_went_aside_took_the_time_before_that_too() -> None:
    store = MemoryStore()
    pool = TaskPool(store, _never, notify=lambda _change: None, workers=0)
    task = pool.submit("x", owner="terminal:a", ran=6.25)
    assert receipt_of(task).seconds == 6.25
    pool.close()


def _never(*_: object, **__: object) -> None:
    raise AssertionError("no worker runs here")
