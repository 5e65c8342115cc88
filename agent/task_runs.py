"""How tasks are run: claimed, worked on, let go of; and how a process notices what others do with them.

A run claims a task, which gives it a lease; every change of the row after that names the lease, so whoever lost the
task meanwhile (a person stopped it, its process was thought dead) changes nothing and announces nothing. An executor
is only ever given as many runs as there are workers: each takes the next task itself, until there is none.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from secrets import token_hex
from typing import Any, Protocol

from agent import task_rows
from agent.approvals import decision_key
from agent.cancel import CancelToken
from agent.errors import HermesError, StoreError
from agent.events import (
    Event,
    StepFinished,
    StepRestarted,
    StepStarted,
    TaskChanged,
    TextDelta,
    TurnFinished,
    TurnSuspended,
)
from agent.protocols import LIVE_STATES, Sink, Store, Task, TaskState
from agent.records import IsAlive, Lease, Standing
from agent.redact import Redactor, secret_values

_log = logging.getLogger(__name__)

QUEUED: frozenset[TaskState] = frozenset({"queued"})
RUNNING: frozenset[TaskState] = frozenset({"running"})
WAITING: frozenset[TaskState] = frozenset({"waiting"})
PARKED: frozenset[TaskState] = frozenset({"parked"})

LOOK, LOOK_IDLE = 0.2, 1.0
"""Seconds between two looks at the store: while tasks run or are queued, and while all wait for a person."""

BEAT = 2.0
"""Seconds between two heartbeats, and between two looks for workers that died."""

STALE = 60.0
"""Seconds without a heartbeat after which a worker counts as hung, though its process is there."""

AWAKE = 10.0
"""Seconds between two looks of which a longer gap means that this machine slept: then all heartbeats are old."""

CUT = 1.0
"""Seconds a run has to let go once it is cut."""

WRITING = 4_000
"""Characters of an unfinished answer that are kept to be looked at, the last ones."""

PARKED_BY_HAND = "parked by you"


class RunTask(Protocol):
    """Runs a task's turn, or resumes it when it has messages already, and returns the event that ended the run."""

    def __call__(self, task: Task, *, emit: Sink, cancel: CancelToken) -> TurnFinished | TurnSuspended: ...


def alone() -> Lease:
    """The lease of a process that shares its store with no other."""
    return Lease(f"alone-{os.getpid()}-{token_hex(3)}", os.getpid(), started=0.0, heartbeat=0.0)


class TaskRuns:
    """The half of `agent.tasks.TaskPool` that works by itself. Safe to call from any thread."""

    def __init__(
        self,
        store: Store,
        run: RunTask,
        *,
        notify: Callable[[TaskChanged], None],
        workers: int = 4,
        executor: Executor | None = None,
        owner: str | None = None,
        kind: str | None = None,
        new_lease: Callable[[], Lease] = alone,
        is_alive: IsAlive = lambda lease: True,
        forget: Callable[[str], None] = lambda session_id: None,
        redact: Callable[[str], str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._run = run
        self._notify = notify
        self._workers = workers
        self._executor = executor or ThreadPoolExecutor(max(workers, 1), thread_name_prefix="task")
        self._owner = owner
        self._whose = kind if owner is None else owner
        self._new_lease, self._is_alive = new_lease, is_alive
        self._forget = forget
        self._redact = redact
        # Held while a state is stored and announced, so that announcements keep the order of the changes.
        self._lock = threading.RLock()
        self._let_go = threading.Condition(self._lock)
        self._lease: Lease | None = None
        self._entered = False
        self._runs = 0
        self._waiting = False
        self._drains = False
        self._cancels: dict[str, CancelToken] = {}
        self._owners: dict[str, str] = {}
        self._writing: dict[str, str] = {}
        # The sessions of tasks that ran here and may go on here: what they started is still there.
        self._suspended: dict[str, str] = {}
        self._seen: dict[str, TaskState] = {}
        self._watcher: threading.Thread | None = None
        self._beat = 0.0
        self._clock = clock
        self._woke = 0.0
        self._closing = threading.Event()

    @property
    def lease(self) -> Lease:
        """Who this pool is: the holder of its tasks, the teller of their outcomes."""
        if self._lease is None:
            with self._lock:
                self._lease = self._lease or self._new_lease()
        return self._lease

    def idle(self, owner: str, seconds: float) -> bool:
        """Wait until nothing of this owner's runs in this process, stopped tasks too. False when something does."""
        with self._lock:
            return self._let_go.wait_for(lambda: owner not in self._owners.values(), seconds)

    def runs(self) -> bool:
        """Whether anything runs in this process."""
        with self._lock:
            return bool(self._cancels)

    def runs_elsewhere(self, task: Task) -> bool:
        """Whether another process works on it."""
        return task.state == "running" and task.lease is not None and task.lease.worker != self.lease.worker

    def writing(self, task_id: str) -> str:
        """The end of what the model has written in the step under way, where this process runs it; else ""."""
        return self._writing.get(task_id, "")

    def drain(self) -> list[str]:
        """Let go of what runs here at its next step boundary, and take nothing until `take_up`.

        Does not wait: gives the ids of what still runs. May be called again to see how far it is.
        """
        with self._lock:
            self._drains = True
            for token in self._cancels.values():
                token.park()
            return list(self._cancels)

    def take_up(self) -> None:
        """After `drain`: run tasks again; the next look finds those that were let go of."""
        with self._lock:
            self._drains = False

    # -- running -----------------------------------------------------------------------------------

    def _work(self) -> None:
        """A run: take tasks, one after the other, until there is none."""
        while (task := self._take()) is not None:
            self._run_to_end(task)

    def _take(self) -> Task | None:
        """The next task; None ends the run."""
        with self._lock:
            try:
                if self._waiting and not self._drains and not self._closing.is_set():
                    task = self._store.claim_task(self.lease, owner=self._whose)
                    if task is not None and task.id in self._cancels:
                        # Lost to somebody who thought this process hung, and free again: not twice at a time here.
                        self._cancels[task.id].cancel()
                        self._give_back(task, state="queued", attempts=task.attempts - 1)
                    elif task is not None:
                        self._cancels[task.id], self._owners[task.id] = CancelToken(), task.owner
                        self._announce(task)
                        return task
            except StoreError as error:
                _log.warning("taking a task: %s", error)
            # Should there be more after all, the next look finds them.
            self._waiting = False
            self._runs -= 1
            return None

    def _run_to_end(self, task: Task) -> None:
        cancel, worker, began = self._cancels[task.id], self.lease.worker, time.monotonic()

        def emit(event: Event) -> None:
            if isinstance(event, TextDelta):
                self._writing[task.id] = (self._writing.get(task.id, "") + event.text)[-WRITING:]
            if not task_rows.record(self._store, task.id, worker, event):
                cancel.cancel()
            if isinstance(event, StepStarted | StepRestarted | StepFinished):
                self._writing.pop(task.id, None)  # it stands in the log by now, or will come again

        try:
            end = self._run(task, emit=emit, cancel=cancel)
        except HermesError as error:
            end = self._failed(str(error), error.hint)
        except Exception as surprise:  # noqa: BLE001  (a task must end, whatever happened)
            _log.exception("task %s", task.id)
            end = self._failed(f"internal error: {type(surprise).__name__}: {surprise}")
        try:
            ran = time.monotonic() - began
            self._insist(lambda: self._settle(task, end, ran))
        finally:
            with self._lock:
                del self._cancels[task.id], self._owners[task.id]
                self._writing.pop(task.id, None)
                self._let_go.notify_all()

    def _failed(self, error: str, hint: str = "") -> TurnFinished:
        """Of what escaped from a run: a runner cleans what it tells, but here it did not come to that."""
        redact = self._redact or Redactor(secret_values(os.environ))
        return TurnFinished("failed", "", error=redact(error), hint=redact(hint))

    def _insist(self, store: Callable[[], None]) -> None:
        """A run's end must be stored; should the process end before, the run is found dead, and gone on with."""
        while True:
            try:
                return store()
            except StoreError as error:
                _log.warning("ending a task: %s", error)
                if self._closing.wait(1.0):
                    return None

    def _settle(self, task: Task, end: TurnFinished | TurnSuspended, ran: float) -> None:
        """Store how a run ended that took so many seconds."""
        row = self._store.task(task.id) or task
        receipt = task_rows.receipt_text(row, ran=ran)
        if isinstance(end, TurnSuspended):
            self._suspended[task.id] = row.session_id
            self._forget_unless_ours(row, suspended=True)
        match end:
            case TurnSuspended(request_id="", reason=reason):
                self._give_back(task, state="parked", held=bool(reason), activity=reason, receipt=receipt)
            case TurnSuspended():
                # One that waits for a person need not be parked as well.
                if self._give_back(task, state="waiting", held=False, activity="needs you", receipt=receipt):
                    # The answer may have come before the row said that it is waited for.
                    self._requeue(task.id, only_if_answered=end.request_id)
            case TurnFinished(outcome="limit"):
                self._give_back(task, state="parked", held=True, activity=end.error, receipt=receipt)
            case TurnFinished(outcome=outcome):
                state = {"done": "done", "cancelled": "cancelled"}.get(outcome, "failed")
                done = {"error": f"{end.error} {end.hint}".strip(), "finished": time.time(), "activity": ""}
                if not self._give_back(task, state=state, result=end.text, receipt=receipt, **done):
                    # A person stopped it; what it did until then is worth knowing.
                    self._store.update_task(task.id, expect=frozenset({"cancelled"}), receipt=receipt)

    def _give_back(self, task: Task, **changes: Any) -> Task | None:
        return self._change(task.id, RUNNING, holder=self.lease.worker, **changes)

    def _requeue(self, task_id: str, *, only_if_answered: str = "") -> None:
        task = self._store.task(task_id)
        if only_if_answered and task is not None:
            key = decision_key(only_if_answered)
            if self._store.decision(task.session_id, key) is None:
                return
        if self._change(task_id, WAITING, state="queued", activity=""):
            self._wake()

    # -- watching ----------------------------------------------------------------------------------

    def look(self) -> int:
        """Notice and announce what others changed, and let what is queued run. Raises: StoreError.

        Gives how many tasks run or want to: none is left for a worker to do when it is 0.
        """
        with self._lock:
            standings, worker = self._store.standings(self._whose), self.lease.worker
            for task_id, standing in standings.items():
                if standing.state != self._seen.get(task_id):
                    self._announce(self._store.task(task_id))
            for task_id in self._seen.keys() - standings.keys():
                del self._seen[task_id]
                task = self._store.task(task_id)
                if task is not None and task.state not in LIVE_STATES:
                    self._announce(task)
            for task_id, token in self._cancels.items():
                if task_id in standings and standings[task_id].held:
                    token.park(PARKED_BY_HAND)
            lost = [token for id_, token in self._cancels.items() if self._is_lost(id_, standings.get(id_))]
        for token in lost:
            token.cancel()
        self._beat_and_reclaim(any(one.worker not in ("", worker) for one in standings.values()))
        queued = sum(one.state in ("queued", "parked") and not one.held for one in standings.values())
        self._wake(queued)
        return queued + sum(one.state == "running" for one in standings.values())

    def _is_lost(self, task_id: str, standing: Standing | None) -> bool:
        """Whether a task that runs here is not ours to run any more. Where it reports to somebody else by now it is."""
        if standing is not None:
            return standing.worker != self.lease.worker
        row = self._store.task(task_id)
        return row is None or row.state != "running" or row.lease is None or row.lease.worker != self.lease.worker

    def _beat_and_reclaim(self, others: bool) -> None:
        now = self._clock()
        if 0 <= now - self._beat < BEAT:
            return
        if now - self._beat > AWAKE:
            self._woke = now
        self._beat = now
        if self._cancels:
            self._store.heartbeat(self.lease.worker)
        if others:
            # Those that slept along with this process have until then to beat again.
            waited = now - self._woke > AWAKE
            self._store.reclaim_dead(now, self._is_alive, stale=now - STALE if waited else 0.0)

    def _watch(self) -> None:
        """On the pool's own thread, while any task is live."""
        pause = LOOK
        while not self._closing.wait(pause):
            try:
                pause = LOOK if self.look() else LOOK_IDLE
            except StoreError as error:
                _log.warning("looking at the tasks: %s", error)
            with self._lock:
                if not self._seen and not self._cancels:
                    self._watcher = None
                    return

    def _wake(self, tasks: int = 1) -> None:
        """So many tasks may be there to be taken: see that runs are, too."""
        with self._lock:
            if self._closing.is_set():
                return
            self._waiting = self._waiting or tasks > 0
            wanted = 0 if self._drains else max(0, min(tasks, self._workers - self._runs))
            self._runs += wanted
            if self._watcher is None and self._seen:
                self._watcher = threading.Thread(target=self._watch, daemon=True, name="task-poll")
                self._watcher.start()
        with contextlib.suppress(RuntimeError):  # the pool was closed meanwhile
            for _ in range(wanted):
                self._executor.submit(self._work)

    # -- rows --------------------------------------------------------------------------------------

    def _enter(self) -> None:
        if self._owner is None or (self._entered and self._owner in self._store.present()):
            return
        # Also when somebody took us for dead: else whatever is sent from here would be taken over again and again.
        self._store.enter(self._owner, self.lease)
        self._entered = True

    def _change(
        self, task_id: str, expect: frozenset[TaskState], *, holder: str | None = None, **changes: Any
    ) -> Task | None:
        with self._lock:
            task = self._store.update_task(task_id, expect=expect, holder=holder, **changes)
            if task is not None:
                self._announce(task)
            return task

    def _announce(self, task: Task | None) -> None:
        """Say that a task is in another state than when it was last seen. None: it was deleted meanwhile."""
        if task is None:
            return
        if task.state in LIVE_STATES:
            self._seen[task.id] = task.state
        else:
            self._seen.pop(task.id, None)
        self._forget_unless_ours(task)
        self._notify(TaskChanged(task.id, task.number, task.state))

    def _forget_unless_ours(self, task: Task, *, suspended: bool = False) -> None:
        """One that was suspended here and is over, or runs elsewhere, needs nothing here any more."""
        runs = task.state == "running"
        ours = runs and task.lease is not None and task.lease.worker == self.lease.worker
        if (task.state in LIVE_STATES and not runs) or (suspended and ours):
            return
        session_id = self._suspended.pop(task.id, "")
        if session_id and not ours:
            # It waits for processes to end.
            threading.Thread(target=self._forget, args=(session_id,), daemon=True, name="forget").start()
