"""Background tasks: a turn that runs aside, on a bounded executor.

A task's row exists before it starts, and everything a run needs is read from the store, so the pool only ever
hands a task's id to the executor. Every change of state is one `update_task` that names the states it may leave:
whoever comes second (a worker finishing what a person just stopped) changes nothing and announces nothing.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Protocol

from agent.approvals import decision_key
from agent.cancel import CancelToken
from agent.errors import HermesError
from agent.events import (
    ApprovalRequested,
    ApprovalSettled,
    Event,
    ReasoningDelta,
    StepFinished,
    StepStarted,
    TaskChanged,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnSuspended,
)
from agent.protocols import LIVE_STATES, Decision, Sink, Store, Task, TaskState

_log = logging.getLogger(__name__)

QUEUED: frozenset[TaskState] = frozenset({"queued"})
RUNNING: frozenset[TaskState] = frozenset({"running"})
WAITING: frozenset[TaskState] = frozenset({"waiting"})


class RunTask(Protocol):
    """Runs a task's turn, or resumes it when it has messages already, and returns the event that ended the run."""

    def __call__(self, task: Task, *, emit: Sink, cancel: CancelToken) -> TurnFinished | TurnSuspended: ...


class TaskPool:
    """Submits, watches and stops tasks. Safe to call from any thread.

    `run` does the work; `notify` hears of each change of state, on whatever thread made it, after it is stored.
    """

    def __init__(
        self,
        store: Store,
        run: RunTask,
        *,
        notify: Callable[[TaskChanged], None],
        workers: int = 4,
        executor: Executor | None = None,
    ) -> None:
        self._store = store
        self._run = run
        self._notify = notify
        self._executor = executor or ThreadPoolExecutor(workers, thread_name_prefix="task")
        self._lock = threading.Lock()
        self._cancels: dict[str, CancelToken] = {}
        self._closed = False

    def submit(self, prompt: str, *, owner: str, settings: str = "{}") -> Task:
        """Store a task and queue it. Raises: StoreError, or HermesError after `close`; then nothing was started."""
        if self._closed:
            raise HermesError("No task can be started: Hermes is leaving.")
        task = self._store.create_task(prompt=prompt, owner=owner, settings=settings)
        self._announce(task)
        self._executor.submit(self.run_task, task.id)
        return task

    def run_task(self, task_id: str) -> None:
        """Run a queued task until it ends or has to wait. Does nothing when it is not queued any more."""
        cancel = CancelToken()
        with self._lock:
            self._cancels[task_id] = cancel
        try:
            task = self._change(task_id, QUEUED, state="running", started=time.time(), activity="starting")
            if task is not None:
                self._run_to_end(task, cancel)
        finally:
            with self._lock:
                if self._cancels.get(task_id) is cancel:
                    del self._cancels[task_id]

    def stop(self, task_id: str) -> Task | None:
        """Cancel a live task: its row says so at once, its work is dead within a second. None when it was over."""
        task = self._change(task_id, LIVE_STATES, state="cancelled", finished=time.time(), activity="", told=True)
        with self._lock:
            cancel = self._cancels.get(task_id)
        if task is not None and cancel is not None:
            cancel.cancel()
        return task

    def open_request(self, task_id: str) -> ApprovalRequested | None:
        """What the task waits for, if it waits."""
        task = self._store.task(task_id)
        if task is None or task.state not in LIVE_STATES:
            return None
        for event in reversed(self._store.events(task_id)):
            match event:
                case ApprovalSettled():
                    return None
                case ApprovalRequested():
                    answered = self._store.decision(task.session_id, decision_key(event.request_id))
                    return None if answered else event
        return None

    def answer(self, task_id: str, decision: Decision) -> ApprovalRequested | None:
        """Settle what the task waits for and queue it again. None when it waits for nothing."""
        task, request = self._store.task(task_id), self.open_request(task_id)
        if task is None or request is None:
            return None
        self._store.record_decision(task.session_id, decision_key(request.request_id), decision)
        self._requeue(task_id)
        return request

    def live(self, owner: str | None = None) -> list[Task]:
        """Tasks that are not over, oldest first."""
        return [task for task in self._store.tasks(owner=owner) if task.state in LIVE_STATES]

    def close(self) -> None:
        """Stop every task of this pool and let its threads end. Does not wait for them."""
        self._closed = True
        for task in self.live():
            self.stop(task.id)
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _run_to_end(self, task: Task, cancel: CancelToken) -> None:
        try:
            end = self._run(task, emit=lambda event: self._record(task.id, event), cancel=cancel)
        except Exception as surprise:  # noqa: BLE001  (a task must end, whatever happened)
            _log.exception("task %s", task.id)
            end = TurnFinished("failed", "", error=f"internal error: {type(surprise).__name__}: {surprise}")
        match end:
            case TurnSuspended():
                if self._change(task.id, RUNNING, state="waiting", activity="needs you"):
                    # The answer may have come before the row said that it is waited for.
                    self._requeue(task.id, only_if_answered=end.request_id)
            case TurnFinished(outcome="done" | "limit" | "failed" | "cancelled" as outcome):
                state = {"done": "done", "cancelled": "cancelled"}.get(outcome, "failed")
                error = f"{end.error} {end.hint}".strip()
                done = {"result": end.text, "error": error, "finished": time.time(), "activity": ""}
                self._change(task.id, RUNNING, state=state, **done)

    def _requeue(self, task_id: str, *, only_if_answered: str = "") -> None:
        task = self._store.task(task_id)
        if only_if_answered and task is not None:
            key = decision_key(only_if_answered)
            if self._store.decision(task.session_id, key) is None:
                return
        if self._change(task_id, WAITING, state="queued", activity=""):
            with contextlib.suppress(RuntimeError):  # the pool is closing; the row stays queued
                self._executor.submit(self.run_task, task_id)

    def _record(self, task_id: str, event: Event) -> None:
        match event:
            case TextDelta() | ReasoningDelta():
                return
            case StepStarted(step):
                self._doing(task_id, f"thinking (step {step})")
            case StepFinished(usage=usage):
                task = self._store.task(task_id)
                if task is not None:
                    self._store.update_task(task_id, steps=task.steps + 1, usage=task.usage + usage)
            case ToolStarted(name=name, title=title):
                self._doing(task_id, f"{name} {title}")
            case ToolFinished():
                self._doing(task_id, "thinking")
        self._store.append_event(task_id, event)

    def _doing(self, task_id: str, activity: str) -> None:
        self._store.update_task(task_id, expect=RUNNING, activity=activity)

    def _change(self, task_id: str, expect: frozenset[TaskState], **changes: Any) -> Task | None:
        task = self._store.update_task(task_id, expect=expect, **changes)
        if task is not None:
            self._announce(task)
        return task

    def _announce(self, task: Task) -> None:
        self._notify(TaskChanged(task.id, task.number, task.state))
