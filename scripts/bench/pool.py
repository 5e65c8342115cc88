"""Run many background tasks in this process, and print what they took, as one line of JSON.

    pool.py THREADS TASKS [BASE_URL]

The pool, the agent and the store are the ones a session in a terminal uses. Each model call takes two seconds:
a scripted model's, or with BASE_URL the answer of the bench's server in its mode `slow2s`.
"""

import json
import os
import sys
import threading
from pathlib import Path
from time import perf_counter

import psutil

from agent.approvals import Gatekeeper, Mailbox, Policy
from agent.cancel import CancelToken
from agent.config import ModelChoice
from agent.events import TaskChanged, TurnFinished, TurnSuspended
from agent.models.scripted import Say, ScriptedModel, Wait
from agent.protocols import Sink, Store, Task
from agent.redact import Redactor, secret_values
from agent.store.memory import MemoryStore
from agent.tasks import TaskPool
from run_agent import AIAgent

SECONDS = 2.0
SAMPLE = 0.02
THIS = psutil.Process()
REDACT = Redactor(secret_values(os.environ))
"""Shared, as the front end shares its own among its tasks."""


def fresh_agent(store: Store, session_id: str, choice: ModelChoice | None) -> AIAgent:
    """A fresh agent, as the front end makes one for each task."""
    return AIAgent(
        choice=choice,
        model=None if choice else ScriptedModel(lambda _messages: [Wait(SECONDS), Say("done")]),
        store=store,
        session_id=session_id,
        source="task",
        cwd=Path.cwd(),
        gate=Gatekeeper(Policy("ask"), Mailbox(store, session_id), session_id=session_id),
        redact=REDACT,
    )


def main(threads: int, tasks: int, base_url: str) -> dict[str, float]:
    choice = ModelChoice(provider="custom", model="slow2s", base_url=base_url, api_key="x") if base_url else None
    store = MemoryStore()
    finished = threading.Semaphore(0)

    def run(task: Task, *, emit: Sink, cancel: CancelToken) -> TurnFinished | TurnSuspended:
        return fresh_agent(store, task.session_id, choice).run_turn(task.prompt, emit=emit, cancel=cancel)

    def notify(event: TaskChanged) -> None:
        if event.state in ("done", "failed", "cancelled"):
            finished.release()

    # One task first: the imports are not the pool's doing.
    warm = TaskPool(store, run, notify=notify, workers=1)
    warm.submit("warm", owner="bench")
    finished.acquire()
    warm.close()  # it would run some of the tasks, and announce all of them
    before = peak = THIS.memory_info().rss

    pool = TaskPool(store, run, notify=notify, workers=threads)
    began = perf_counter()
    for number in range(tasks):
        pool.submit(f"task {number}", owner="bench")
    submitted = perf_counter() - began
    left = tasks
    while left:
        if finished.acquire(timeout=SAMPLE):
            left -= 1
        else:
            peak = max(peak, THIS.memory_info().rss)
    seconds = perf_counter() - began
    after = THIS.memory_info().rss
    if failed := [task for task in store.tasks() if task.state != "done"]:
        raise SystemExit(f"{len(failed)} tasks did not get done; the first: {failed[0]}")
    return {
        "seconds": seconds,
        "submitted": submitted,
        "running": (max(peak, after) - before) / 1e6,
        "kept": (after - before) / 1e6,
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "")), flush=True)
    os._exit(0)
