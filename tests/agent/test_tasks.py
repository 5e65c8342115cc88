"""Background tasks: never lost, never told twice, dead when stopped."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from agent import task_orders
from agent.approvals import Gatekeeper, Mailbox, Policy, mark_of
from agent.cancel import CancelToken
from agent.errors import HermesError, StoreError, UnavailableError
from agent.events import ApprovalRequested, Event, TaskChanged, ToolFinished, TurnFinished, TurnStarted, TurnSuspended
from agent.messages import Usage
from agent.models.scripted import Call, Fail, Finish, Say, Script, ScriptedModel, Until
from agent.protocols import Decision, Sink, Task
from agent.redact import Redactor
from agent.store.memory import MemoryStore
from agent.task_rows import receipt_of
from agent.tasks import TaskPool
from run_agent import AIAgent
from tests.store.conftest import lease
from tests.support.turns import Note, NoteArguments, check_history, wait_until


class Watched(TaskPool):
    """A pool of real agents that play a script; `told` is what it announced."""

    def __init__(
        self,
        script: Script,
        *,
        workers: int = 2,
        policy: Policy | None = None,
        executor: Executor | None = None,
        store: MemoryStore | None = None,
        before_return: Callable[[Task, TurnFinished | TurnSuspended], None] = lambda task, end: None,
        redact: Callable[[str], str] | None = None,
    ) -> None:
        self.store = store or MemoryStore()
        self.model = ScriptedModel(script)
        self.told: list[TaskChanged] = []
        self.tool = Note(kind="write")
        self._policy = policy or Policy("yolo")
        self._before_return = before_return
        self.forgotten: list[str] = []
        super().__init__(
            self.store,
            self._agent_turn,
            notify=self.told.append,
            workers=workers,
            executor=executor,
            forget=self.forgotten.append,
            redact=redact,
        )

    def _agent_turn(self, task: Task, *, emit: Sink, cancel: CancelToken) -> TurnFinished | TurnSuspended:
        gate = Gatekeeper(self._policy, Mailbox(self.store, task.session_id), session_id=task.session_id)
        agent = AIAgent(
            model=self.model, store=self.store, session_id=task.session_id, cwd=Path("/"), gate=gate, tools=[self.tool]
        )
        begun = bool(self.store.messages(task.session_id))
        end = agent.run_turn(None if begun else task.prompt, emit=emit, cancel=cancel)
        self._before_return(task, end)
        return end

    def row(self, task: Task) -> Task:
        found = self.store.task(task.id)
        assert found is not None
        return found

    def wait(self, task: Task, state: str) -> Task:
        wait_until(lambda: self.row(task).state == state, what=lambda: f"{state} of {self.row(task)}")
        return self.row(task)

    def states(self, task: Task) -> list[str]:
        return [change.state for change in self.told if change.task_id == task.id]


@pytest.fixture
def pools() -> Iterator[list[Watched]]:
    made: list[Watched] = []
    yield made
    for pool in made:
        pool.close()


@pytest.fixture
def make(pools: list[Watched]) -> Callable[..., Watched]:
    def make(script: Script, **fields: Any) -> Watched:
        pools.append(Watched(script, **fields))
        return pools[-1]

    return make


# -- running ---------------------------------------------------------------------------------------


def test_a_task_runs_aside_and_its_row_tells_what_became_of_it(make: Callable[..., Watched]) -> None:
    pool = make([[Call("note"), Finish(Usage(5, 1))], [Say("Found three."), Finish(Usage(7, 2))]])
    task = pool.submit("look for it", owner="me")
    done = pool.wait(task, "done")
    assert (done.result, done.error, done.steps, done.usage, done.activity) == ("Found three.", "", 2, Usage(12, 3), "")
    assert done.created <= done.started <= done.finished
    wait_until(lambda: pool.states(task) == ["queued", "running", "done"])
    assert any(isinstance(event, ToolFinished) for event in pool.store.events(task.id))


def test_a_tasks_row_exists_before_anything_is_started() -> None:
    class Nobody(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            assert len(store.tasks()) == 1
            return Future()

    store = MemoryStore()
    pool = Watched([], executor=Nobody(), store=store)
    assert pool.submit("x", owner="me").state == "queued"


def test_tasks_have_ids_and_small_numbers_of_their_own(make: Callable[..., Watched]) -> None:
    pool = make(lambda messages: "ok")
    tasks = [pool.submit("x", owner="me") for _ in range(5)]
    assert [task.number for task in tasks] == [1, 2, 3, 4, 5]
    assert len({task.id for task in tasks} | {task.session_id for task in tasks}) == 10
    for task in tasks:
        pool.wait(task, "done")


def test_tasks_beyond_the_workers_wait_in_the_queue_for_their_turn(make: Callable[..., Watched]) -> None:
    gate = threading.Event()
    pool = make(lambda messages: [Until(gate), "ok"], workers=2)
    tasks = [pool.submit("x", owner="me") for _ in range(5)]
    wait_until(lambda: sum(pool.row(task).state == "running" for task in tasks) == 2)
    assert [pool.row(task).state for task in tasks] == ["running"] * 2 + ["queued"] * 3
    assert pool.live("me") == [pool.row(task) for task in tasks]
    assert pool.live("somebody else") == []
    gate.set()
    for task in tasks:
        pool.wait(task, "done")
    assert pool.live() == []


# -- failing ---------------------------------------------------------------------------------------


def test_a_failed_turn_is_a_failed_task_with_its_reason(make: Callable[..., Watched]) -> None:
    pool = make([[Say("so far"), Fail(UnavailableError("No connection.", hint="Try later."))]])
    failed = pool.wait(pool.submit("x", owner="me"), "failed")
    assert (failed.result, failed.error) == ("so far", "No connection. Try later.")


def test_a_surprise_ends_the_task_and_not_the_worker(make: Callable[..., Watched]) -> None:
    pool = make([Fail(ZeroDivisionError("who knows")), "ok"], workers=1)
    failed = pool.wait(pool.submit("x", owner="me"), "failed")
    assert "ZeroDivisionError: who knows" in failed.error
    assert pool.wait(pool.submit("y", owner="me"), "done").result == "ok"


@pytest.mark.parametrize("error", [HermesError("no: hunter2hunter2"), OSError("no: hunter2hunter2")])
def test_what_escapes_from_a_runner_is_kept_without_secrets(
    make: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(task: Task, end: TurnFinished | TurnSuspended) -> None:
        raise error

    monkeypatch.setenv("SOME_API_KEY", "hunter2hunter2")
    pool = make(["ok"], before_return=fail)
    failed = pool.wait(pool.submit("x", owner="me"), "failed")
    assert ("hunter2" in failed.error, "[redacted]" in failed.error) == (False, True)


def test_nor_with_a_secret_that_only_the_runner_knows(make: Callable[..., Watched]) -> None:
    def fail(task: Task, end: TurnFinished | TurnSuspended) -> None:
        raise HermesError("no: hunter2hunter2", hint="not hunter2hunter2")

    pool = make(["ok"], before_return=fail, redact=Redactor(["hunter2hunter2"]))
    failed = pool.wait(pool.submit("x", owner="me"), "failed")
    assert failed.error == "no: [redacted] not [redacted]"


# -- stopping --------------------------------------------------------------------------------------


def test_a_queued_task_that_is_stopped_never_runs(make: Callable[..., Watched]) -> None:
    gate = threading.Event()
    pool = make(lambda messages: [Until(gate), "ok"], workers=1)
    first, second = pool.submit("x", owner="me"), pool.submit("y", owner="me")
    pool.wait(first, "running")
    assert pool.stop(second.id)
    gate.set()
    pool.wait(first, "done")
    pool.wait(pool.submit("z", owner="me"), "done")  # the worker has passed the stopped one by now
    assert pool.states(second) == ["queued", "cancelled"]
    assert pool.store.messages(second.session_id) == []


def test_a_running_task_that_is_stopped_says_so_at_once_and_nothing_later(make: Callable[..., Watched]) -> None:
    inside, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work(args: NoteArguments, cancel: CancelToken) -> str:
        inside.set()
        assert may_end.wait(10)
        return "late"

    pool = make([Call("note"), "late answer"], before_return=lambda task, end: ended.set())
    pool.tool.work = work
    task = pool.submit("x", owner="me")
    assert inside.wait(10)
    stopped = pool.stop(task.id)
    assert stopped is not None
    assert (stopped.state, stopped.told, stopped.activity) == ("cancelled", True, "")
    may_end.set()
    assert ended.wait(10)
    pool.wait(pool.submit("y", owner="me"), "done")
    assert pool.states(task) == ["queued", "running", "cancelled"]
    assert (pool.row(task).state, pool.row(task).result, pool.row(task).activity) == ("cancelled", "", "")
    check_history(pool.store.messages(task.session_id))


def test_stopping_wakes_a_model_that_would_wait_for_ever(make: Callable[..., Watched]) -> None:
    ended = threading.Event()
    pool = make([[Until(threading.Event()), "never"]], before_return=lambda task, end: ended.set())
    task = pool.submit("x", owner="me")
    wait_until(lambda: bool(pool.model.requests))
    pool.stop(task.id)
    assert ended.wait(5)


def test_what_is_over_cannot_be_stopped(make: Callable[..., Watched]) -> None:
    pool = make(["ok"])
    task = pool.submit("x", owner="me")
    pool.wait(task, "done")
    assert pool.stop(task.id) is None
    assert pool.stop("bg_000000_000000") is None
    assert pool.row(task).state == "done"


def test_stopping_and_ending_at_once_is_told_as_one_of_the_two(make: Callable[..., Watched]) -> None:
    pool = make(lambda messages: "ok", workers=4)
    for _ in range(40):
        task = pool.submit("x", owner="me")
        pool.stop(task.id)
        wait_until(lambda task=task: pool.row(task).state in ("done", "cancelled"))
        assert sum(state in ("done", "cancelled", "failed") for state in pool.states(task)) <= 1
    wait_until(lambda: all(pool.states(task)[-1] in ("done", "cancelled") for task in pool.store.tasks()))


def test_closing_stops_everything_but_what_a_person_has_parked_and_does_not_wait(make: Callable[..., Watched]) -> None:
    never = threading.Event()
    pool = make(lambda messages: [Until(never), "x"], workers=1)
    tasks = [pool.submit("x", owner="me") for _ in range(4)]
    pool.wait(tasks[0], "running")
    pool.park(tasks[3].id)
    pool.close()
    assert [pool.row(task).state for task in tasks] == ["cancelled"] * 3 + ["parked"]
    assert pool.live() == [pool.row(tasks[3])]


# -- asking ----------------------------------------------------------------------------------------


def needs_yes(make: Callable[..., Watched], **fields: Any) -> tuple[Watched, Task]:
    pool = make([Call("note", text="a"), "done now", "for another"], policy=Policy("ask"), **fields)
    return pool, pool.submit("x", owner="me")


def test_a_task_that_needs_an_answer_waits_without_a_thread(make: Callable[..., Watched]) -> None:
    pool, task = needs_yes(make, workers=1)
    assert pool.wait(task, "waiting").activity == "needs you"
    request = pool.open_request(task.id)
    assert isinstance(request, ApprovalRequested)
    assert request.title == "note a"
    assert pool.live("me") == [pool.row(task)]
    assert pool.wait(pool.submit("y", owner="me"), "done").result == "done now"  # on the only thread


def test_a_yes_lets_the_call_run_once_and_the_task_goes_on(make: Callable[..., Watched]) -> None:
    pool, task = needs_yes(make)
    pool.wait(task, "waiting")
    pool.store.update_task(task.id, started=1.0)  # it has waited for long; that is no work
    answered = pool.answer(task.id, Decision(True))
    assert answered is not None
    assert pool.wait(task, "done").result == "done now"
    assert len(pool.tool.runs) == 1
    wait_until(lambda: pool.states(task) == ["queued", "running", "waiting", "queued", "running", "done"])
    assert receipt_of(pool.row(task)).seconds < 1_000
    assert pool.open_request(task.id) is None
    check_history(pool.store.messages(task.session_id))


def test_a_no_is_told_to_the_model_with_its_reason(make: Callable[..., Watched]) -> None:
    pool, task = needs_yes(make)
    pool.wait(task, "waiting")
    pool.answer(task.id, Decision(False, "use the other folder"))
    pool.wait(task, "done")
    assert pool.tool.runs == []
    assert "use the other folder" in pool.model.requests[-1].messages[-1].content


def test_only_the_first_of_two_answers_counts(make: Callable[..., Watched]) -> None:
    pool, task = needs_yes(make)
    pool.wait(task, "waiting")
    assert pool.answer(task.id, Decision(False, "no"))
    assert pool.answer(task.id, Decision(True)) is None
    pool.wait(task, "done")
    assert pool.tool.runs == []


def test_an_answer_to_an_earlier_question_does_not_answer_the_next_one(make: Callable[..., Watched]) -> None:
    pool = make([Call("note", text="a"), Call("note", text="b"), "done now"], policy=Policy("ask"))
    task = pool.submit("x", owner="me")
    pool.wait(task, "waiting")
    first = pool.open_request(task.id)
    assert first is not None
    pool.answer(task.id, Decision(True), mark=mark_of(first))
    wait_until(lambda: (now := pool.open_request(task.id)) is not None and now != first)
    with pytest.raises(HermesError, match="asks another one"):
        pool.answer(task.id, Decision(True), mark=mark_of(first))
    assert pool.answer(task.id, Decision(False)) is not None
    pool.wait(task, "done")
    assert len(pool.tool.runs) == 1


def test_a_task_that_waits_for_nothing_takes_no_answer(make: Callable[..., Watched]) -> None:
    pool = make(["ok"])
    task = pool.submit("x", owner="me")
    pool.wait(task, "done")
    assert pool.answer(task.id, Decision(True)) is None
    assert pool.answer("bg_000000_000000", Decision(True)) is None


def test_an_answer_that_comes_before_the_row_says_waiting_is_not_lost(make: Callable[..., Watched]) -> None:
    answered: list[ApprovalRequested | None] = []

    def answer_early(task: Task, end: TurnFinished | TurnSuspended) -> None:
        if isinstance(end, TurnSuspended):
            answered.append(pool.answer(task.id, Decision(True)))

    pool = make([Call("note", text="a"), "done now"], policy=Policy("ask"), before_return=answer_early)
    task = pool.submit("x", owner="me")
    assert pool.wait(task, "done").result == "done now"
    assert len(answered) == 1
    assert answered[0] is not None
    assert len(pool.tool.runs) == 1


def test_answers_that_race_with_the_waiting_state_neither_lose_nor_double_a_call(make: Callable[..., Watched]) -> None:
    pool = make(
        lambda messages: [Call("note")] if messages[-1].role == "user" else "done", policy=Policy("ask"), workers=4
    )
    tasks = [pool.submit("x", owner="me") for _ in range(20)]
    for task in tasks:
        wait_until(lambda task=task: bool(pool.answer(task.id, Decision(True))))
    for task in tasks:
        pool.wait(task, "done")
    assert len(pool.tool.runs) == 20


def test_a_waiting_task_that_is_stopped_takes_no_answer_and_tells_nothing_more(make: Callable[..., Watched]) -> None:
    pool, task = needs_yes(make)
    pool.wait(task, "waiting")
    assert pool.stop(task.id)
    assert pool.answer(task.id, Decision(True)) is None
    assert pool.states(task) == ["queued", "running", "waiting", "cancelled"]
    assert pool.tool.runs == []


def test_a_store_that_refuses_keeps_no_task_from_being_stopped_at_the_end(make: Callable[..., Watched]) -> None:
    class Refusing(MemoryStore):
        refuses = False

        def update_task(self, task_id: str, **changes: Any) -> Task | None:
            if self.refuses:
                raise StoreError("The disk is full.")
            return super().update_task(task_id, **changes)

    store, never = Refusing(), threading.Event()
    pool = make(lambda messages: [Until(never)], store=store)
    tasks = [pool.submit("x", owner="me") for _ in range(2)]
    for task in tasks:
        pool.wait(task, "running")
    wait_until(lambda: len(pool.model.requests) == 2)
    store.refuses = True
    pool.close()
    wait_until(lambda: not pool._cancels)


def test_what_a_waiting_task_left_running_ends_when_it_is_stopped(make: Callable[..., Watched]) -> None:
    pool, task = needs_yes(make)
    pool.wait(task, "waiting")
    assert pool.forgotten == []
    pool.stop(task.id)
    wait_until(lambda: pool.forgotten == [task.session_id])


def test_what_a_waiting_task_left_running_stays_for_its_next_run(make: Callable[..., Watched]) -> None:
    pool, task = needs_yes(make)
    pool.wait(task, "waiting")
    pool.answer(task.id, Decision(True))
    pool.wait(task, "done")
    assert pool.forgotten == []


def test_a_task_that_asks_twice_is_answered_twice(make: Callable[..., Watched]) -> None:
    pool = make([[Call("note", text="a"), Call("note", text="b")], "done"], policy=Policy("ask"))
    task = pool.submit("x", owner="me")
    titles = []
    for _ in range(2):
        pool.wait(task, "waiting")
        request = pool.answer(task.id, Decision(True))
        assert request is not None
        titles.append(request.title)
    pool.wait(task, "done")
    assert titles == ["note a", "note b"]
    assert len(pool.tool.runs) == 2


def test_the_log_of_a_task_holds_no_pieces_of_text(make: Callable[..., Watched]) -> None:
    pool = make([[Say("a", "b", "c")]])
    task = pool.submit("x", owner="me")
    pool.wait(task, "done")
    names = [type(event).__name__ for event in pool.store.events(task.id)]
    assert names == ["TurnStarted", "StepStarted", "StepFinished", "TurnFinished"]


def test_events_of_a_run_that_was_stopped_change_its_row_no_more() -> None:
    emitted: list[Sink] = []

    def run(task: Task, *, emit: Sink, cancel: CancelToken) -> TurnFinished | TurnSuspended:
        emitted.append(emit)
        cancel.wait(10)
        emit(ToolFinished("c", "note", "note", True, "", "", 0.0))
        return TurnFinished("done", "too late")

    store, told = MemoryStore(), list[Event | TaskChanged]()
    pool = TaskPool(store, run, notify=told.append, workers=1)
    task = pool.submit("x", owner="me")
    wait_until(lambda: bool(emitted))
    pool.stop(task.id)
    wait_until(lambda: bool(store.events(task.id)))
    pool.close()
    row = store.task(task.id)
    assert row is not None
    assert (row.state, row.activity, row.result) == ("cancelled", "", "")


def test_what_is_ordered_is_told_alike_wherever_it_is_typed(make: Callable[..., Watched]) -> None:
    gate = threading.Event()
    pool = make(lambda messages: [Until(gate), "ok"])
    task = pool.submit("x", owner="me")
    assert task_orders.steer(pool, task, " hurry ") == "#1 reads that before its next step."
    with pytest.raises(HermesError, match="#1 is queued, not parked"):
        task_orders.resume(pool, task)
    assert task_orders.stop(pool, [task]) == "Stopped #1."
    gate.set()
    for order in (lambda: task_orders.stop(pool, [task]), lambda: task_orders.steer(pool, task, "hurry")):
        with pytest.raises(HermesError, match="#1 is over already"):
            order()
    with pytest.raises(HermesError, match="No task is running"):
        task_orders.stop(pool, [])
    assert task_orders.approval(" Session ") == Decision(True, scope="session")


class QuicklyClaimed(MemoryStore):
    """A worker elsewhere claims a task the moment it is queued."""

    def create_task(self, **fields: Any) -> Task:
        task = super().create_task(**fields)
        self.claimed, self.found = self.claim_task(lease("there")), self.events(task.id)
        return task


def test_a_turn_that_goes_on_aside_has_its_log_and_receipt_before_anybody_can_claim_it(
    make: Callable[..., Watched],
) -> None:
    store = QuicklyClaimed()
    store.create_session("s", source="terminal:me")
    log = [TurnStarted("x"), ToolFinished("c", "write_file", "a.py", True, "", "", 0.1, files_changed=("a.py",))]
    pool = make([], workers=0, store=store)
    task = pool.submit("x", owner="me", session_id="s", log=iter(log))
    assert store.found == store.events(task.id) == log
    assert store.claimed is not None
    assert receipt_of(store.claimed).files == ("a.py",)
