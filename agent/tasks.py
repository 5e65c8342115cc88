"""Background tasks: a turn that runs aside, taken up by whoever has a worker for it.

A task's row exists before it starts, and everything a run needs is read from the store, so what is submitted here may
be run, stopped, steered and answered by any process that shares the store. `agent/task_runs.py` has the running.
"""

import contextlib
import logging
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import reduce

from agent import task_rows
from agent.approvals import answer_to, decision_key, mark_of
from agent.errors import HermesError, StoreError
from agent.events import (
    ApprovalRequested,
    ApprovalSettled,
    Event,
    TaskChanged,
    TurnFinished,
    TurnResumed,
    TurnStarted,
    TurnSuspended,
)
from agent.messages import Message
from agent.protocols import LIVE_STATES, Decision, Store, Task
from agent.records import OF_TERMINALS, Limits, Receipt, Session, TaskOptions, is_held, stricter
from agent.task_runs import CUT, PARKED, PARKED_BY_HAND, QUEUED, RUNNING, TaskRuns

_log = logging.getLogger(__name__)

RECENT = 40
"""Events at the end of a log among which an open question mostly is; it is looked for in the rest only then."""


class TaskPool(TaskRuns):
    """Submits, runs, watches and stops tasks. Safe to call from any thread; what writes to the store may block.

    `run` does the work; `notify` hears of each change of state, in order, on whatever thread made or noticed it, after
    it is stored. With an `owner` the pool is a front end's and runs what reports there; without, it runs everybody's,
    or that of one `kind` of owners (`terminal:`). Without `workers` it gives orders and watches, and runs nothing.
    `forget` is called with the session of a task that was suspended here and will not go on here.
    `redact` takes out of what escapes from a run the secrets that `run` knows, by default the environment's.
    `new_lease` and `is_alive` are those of `agent.store.leases` wherever other processes share the store.
    """

    # -- orders ------------------------------------------------------------------------------------

    def open(self) -> list[Task]:
        """Say that this front end is there, and take up what was left by processes that died.

        Gives the tasks of front ends that are gone, which report here from now on. Raises: StoreError.
        """
        self._enter()
        self._store.reclaim_dead(time.time(), self._is_alive)
        self._store.reclaim_deliveries(self._is_alive)
        adopted = self._store.adopt_tasks(self._owner, self._is_alive) if self._owner is not None else []
        self.look()
        return adopted

    def submit(
        self,
        prompt: str,
        *,
        owner: str = "",
        settings: str = "{}",
        options: TaskOptions = TaskOptions(),  # noqa: B008  (frozen)
        cwd: str = "",
        session_id: str = "",
        source: str = "",
        parent: str = "",
        history: Sequence[Message] = (),
        log: Iterable[Event] = (),
        ran: float = 0.0,
    ) -> Task:
        """Store a task and queue it. `session_id` names a session whose turn it goes on with, `source` whose it is.

        That turn's `log` is the beginning of the task's, as are the seconds for which it `ran`, and what the session
        has running here the task takes over.

        A session of its own may begin with a `history` that came from `parent`: see `reports.context_for`.

        Raises: StoreError, or HermesError after `close` and for a name that another one has; then nothing was started.
        """
        if self._closing.is_set():
            raise HermesError("No task can be started: Hermes is leaving.")
        self._enter()
        owner = owner or self._owner or ""
        begun = list(log)
        receipt = reduce(task_rows.counted, begun, Receipt(seconds=round(ran, 3)))
        with self._lock:
            self._require_free(options.name, owner)
            task = self._store.create_task(
                prompt=prompt,
                owner=owner,
                settings=settings,
                options=task_rows.options_text(replace(options, sender=owner, taken=len(history))),
                name=options.name,
                cwd=cwd,
                session_id=session_id,
                source=source,
                parent=parent,
                history=history,
                log=begun,
                receipt=task_rows.encoded(receipt) if receipt != Receipt() else "{}",
            )
            if session_id:
                self._suspended[task.id] = session_id
            self._announce(task)
        self._wake()
        return task

    def _require_free(self, name: str, owner: str) -> None:
        """A name means one live task, of all that may be commanded from the same place. Raises: HermesError."""
        beside = self.live(OF_TERMINALS if owner.startswith(OF_TERMINALS) else owner) if name else ()
        if other := next((task for task in beside if task.name == name), None):
            hint = "Choose another --name, or leave it out."
            raise HermesError(f"There is a live task named {name}: #{other.number}.", hint=hint)

    def retry(self, task_id: str, *, event: str = "", limits: Limits | None = None) -> Task:
        """Submit a task that is over once more, as a new one, for the message `event` of somebody with these `limits`.

        Raises: HermesError.
        """
        task = self._store.task(task_id)
        if task is None or task.state in LIVE_STATES:
            raise HermesError("There is no such task." if task is None else f"#{task.number} is not over.")
        options, session = task_rows.options_of(task), self._first_session(task)
        return self.submit(
            task.prompt,
            owner=task.owner if self._owner is None else self._owner,
            settings=task.settings,
            # A turn of a conversation begins one of its own, and answers no message but the one that asks for it now.
            options=replace(options, history=0, event=event, limits=stricter(options.limits, limits)),
            cwd=session.cwd if session else "",
            parent=session.parent if session and options.taken else "",
            history=self._store.messages(session.id)[: options.taken] if session else (),
        )

    def _first_session(self, task: Task) -> Session | None:
        """The session that the task began in: it may have been compacted into others since."""
        session = self._store.session(task.session_id)
        while session and (parent := self._store.session(session.parent)) and parent.created >= task.created:
            session = parent
        return session

    def stop(self, task_id: str, *, why: str = "", chat: str = "") -> Task | None:
        """Cancel a live task: its row says so at once, its work is dead within a second. None when it was over.

        `why` is what its row says that it did last. `chat` is the one that orders it, if one does; any other chat that
        it reports to is still to be told.
        """
        before = self._store.task(task_id)
        told = before is None or task_rows.key_of(before.owner) in ("", chat)
        task = self._change(task_id, LIVE_STATES, state="cancelled", finished=time.time(), activity=why, told=told)
        with self._lock:
            cancel = self._cancels.get(task_id)
        if task is not None and cancel is not None:
            cancel.cancel()
        return task

    def steer(self, task_id: str, text: str) -> bool:
        """Have the task read a line before its next step, wherever it runs. False when it is over."""
        return self._store.steer_task(task_id, text)

    def park(self, task_id: str | None = None) -> bool:
        """Let go of a task at its next step boundary, until `resume`. False when it neither runs nor is queued.

        One that another process runs is marked, and that process lets go of it when it looks next.
        Without `task_id`: of all that run here, and whoever has a worker may go on with them.
        """
        with self._lock:
            tokens = [token for id_, token in self._cancels.items() if task_id in (None, id_)]
            for token in tokens:
                token.park("" if task_id is None else PARKED_BY_HAND)
            if tokens or task_id is None:
                return bool(tokens)
            if self._change(task_id, QUEUED, state="parked", held=True, activity=PARKED_BY_HAND):
                return True
            return self._store.update_task(task_id, expect=RUNNING, held=True) is not None

    def resume(self, task_id: str) -> Task | None:
        """Queue a parked task again. None when it is not parked."""
        task = self._change(task_id, PARKED, state="queued", held=False, activity="")
        if task is not None:
            self._wake()
        return task

    def open_request(self, task_id: str) -> ApprovalRequested | None:
        """What the task waits for, if it waits."""
        task = self._store.task(task_id)
        if task is None or task.state not in LIVE_STATES:
            return None
        for most in (RECENT, None):
            settled = set[str]()
            for entry in reversed(self._store.log(task_id, last=most)):
                match entry.event:
                    case ApprovalSettled(request_id=request_id):
                        settled.add(request_id)
                    case ApprovalRequested() as request if request.request_id not in settled:
                        if self._store.decision(task.session_id, decision_key(request.request_id)) is None:
                            return request
                    case TurnStarted() | TurnResumed():
                        return None  # whatever is still open was asked again since
        return None

    def answered(self, task_id: str) -> tuple[ApprovalRequested, Decision] | None:
        """The last question that the task asked, and the answer. None where there is none."""
        task = self._store.task(task_id)
        for entry in reversed(self._store.log(task_id, last=RECENT)) if task is not None else ():
            if task is not None and isinstance(request := entry.event, ApprovalRequested):
                decision = self._store.decision(task.session_id, decision_key(request.request_id))
                return None if decision is None else (request, decision)
        return None

    def answer(self, task_id: str, decision: Decision, *, mark: str = "", via: str = "") -> ApprovalRequested | None:
        """Settle what the task waits for and queue it again.

        None when it waits for nothing, or somebody else was first. `mark` is that of the request the person saw
        (`approvals.mark_of`); without one whatever is open is answered. `via` is where the person is, by default where
        the pool is.

        Raises: HermesError, when another one is open by now, which nobody has seen yet, or a plain yes is no answer.
        """
        task, request = self._store.task(task_id), self.open_request(task_id)
        if task is None or request is None:
            return None
        if mark and mark != mark_of(request):
            raise HermesError(
                f"That question is over: #{task.number} asks another one by now.",
                hint=f"Look at what it asks: /tasks show {task.number}",
            )
        if request.kind == "ask" and decision.allowed and not decision.reason:
            raise HermesError(
                f"#{task.number} asks a question: {request.title}", hint=f"/tasks answer {task.number} <answer>"
            )
        decision = replace(decision, via=via or self._via)
        is_first = self._store.record_decision(task.session_id, decision_key(request.request_id), decision)
        self._requeue(task_id)
        return request if is_first else None

    @property
    def _via(self) -> str:
        """A gateway's pools answer for nobody in particular: it is said where the person is."""
        return "terminal" if self._whose is None or self._whose.startswith("terminal:") else ""

    def reply(self, task_id: str, text: str, *, mark: str = "", via: str = "") -> ApprovalRequested | None:
        """Answer the task's question in words, and queue it again; as `answer`. Raises: HermesError."""
        request = self.open_request(task_id)
        if request is None:
            return None
        return self.answer(task_id, answer_to(request, text), mark=mark or mark_of(request), via=via)

    def live(self, owner: str | None = None) -> list[Task]:
        """Tasks that are not over, oldest first."""
        return self._store.tasks(owner=owner, states=LIVE_STATES)

    def close(self, *, park: bool = False, wait: float = 0.0) -> None:
        """Stop the owner's live tasks that are not held and that nobody else works on, or `park`: let go of what runs
        here, for others to go on with.

        Does not wait, unless runs are to be parked: they have `wait` seconds to reach a step boundary, then they are
        cut. A tool that is cut has an unknown outcome, and the model is told so.
        """
        self._closing.set()
        if park:
            self._park_all(wait)
        else:
            self._stop_all()
        if self._owner is not None and self._entered:
            with contextlib.suppress(StoreError):  # then it is found dead
                self._store.depart(self._owner)
        self._executor.shutdown(wait=False, cancel_futures=True)

    def cut(self) -> bool:
        """Park what runs here without waiting for the step: its outcome is unknown. Nothing is taken up any more.

        False when nothing runs.
        """
        self.drain()
        with self._lock:
            left = list(self._cancels.values())
        for token in left:
            token.cancel()
        return bool(left)

    def _stop_all(self) -> None:
        """What cannot be stored must not keep the rest from being stopped. Held tasks stay: a person has them wait."""
        try:
            for task in self.live(self._whose):
                if not is_held(task) and not self.runs_elsewhere(task):
                    self.stop(task.id)
        except StoreError as error:
            _log.warning("stopping the tasks: %s", error)
        with self._lock:
            left = list(self._cancels.values())
        for token in left:
            token.cancel()

    def _park_all(self, wait: float) -> None:
        self.park()
        with self._lock:
            self._let_go.wait_for(lambda: not self._cancels, wait)
        if self.cut():
            with self._lock:
                self._let_go.wait_for(lambda: not self._cancels, CUT)


def orders(store: Store) -> TaskPool:
    """A pool that gives orders about the tasks of that store, and runs none."""

    def run(task: Task, **_: object) -> TurnFinished | TurnSuspended:
        raise AssertionError(f"{task.id} was to run in a process that only looks")

    def ignore(change: TaskChanged) -> None:
        del change

    return TaskPool(store, run, notify=ignore, workers=0, executor=Executor())
