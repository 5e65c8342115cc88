"""Pools of several processes on one store: each has a lease of its own here, as if it were another process."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agent.approvals import Gatekeeper, Mailbox, Policy
from agent.cancel import CancelToken
from agent.errors import HermesError
from agent.events import Steered, TaskChanged, TurnFinished, TurnSuspended
from agent.messages import INTERRUPTED, Message
from agent.models.scripted import Call, Say, Script, ScriptedModel, Until
from agent.protocols import Decision, Sink, Store, Task
from agent.records import Lease, TaskOptions
from agent.store.memory import MemoryStore
from agent.store.sqlite import SqliteStore
from agent.task_runs import alone
from agent.tasks import TaskPool
from run_agent import AIAgent
from tests.support.turns import Note, NoteArguments, check_history, wait_until

HERE, THERE = "terminal:here", "terminal:there"


class Process(TaskPool):
    """A pool as another process would have it. `dead` leases are those of processes that were killed."""

    dead: set[str]

    def __init__(self, store: Store, script: Script, dead: set[str], **fields: Any) -> None:
        self.dead, self.store = dead, store
        self.model = ScriptedModel(script)
        self.tool = Note(kind="write")
        self.told: list[TaskChanged] = []
        self.policy = Policy("yolo")
        fields = {"workers": 2, "new_lease": alone, "is_alive": self._lives, **fields}
        self.forgotten: list[str] = []
        super().__init__(store, self._turn, notify=self.told.append, forget=self.forgotten.append, **fields)

    def _lives(self, lease: Lease) -> bool:
        return lease.worker not in self.dead

    def die(self) -> None:
        """As `kill -9`: nothing is stored or announced any more, and nobody notices but by asking."""
        self.dead.add(self.lease.worker)
        self._closing.set()
        self._store = MemoryStore()

    def _turn(self, task: Task, *, emit: Sink, cancel: CancelToken) -> TurnFinished | TurnSuspended:
        gate = Gatekeeper(self.policy, Mailbox(self.store, task.session_id), session_id=task.session_id)
        agent = AIAgent(
            model=self.model, store=self.store, session_id=task.session_id, cwd=Path("/"), gate=gate, tools=[self.tool]
        )
        begun = any(message.role == "user" for message in self.store.messages(task.session_id))
        return agent.run_turn(
            None if begun else task.prompt,
            emit=emit,
            cancel=cancel,
            inbox=lambda: self.store.take_steering(task.id, task.session_id),
        )

    def row(self, task: Task) -> Task:
        found = self.store.task(task.id)
        assert found is not None
        return found

    def wait(self, task: Task, state: str) -> Task:
        wait_until(lambda: self.row(task).state == state, what=lambda: f"{state} of {self.row(task)}")
        return self.row(task)

    def states(self, task: Task) -> list[str]:
        return [change.state for change in self.told if change.task_id == task.id]


Start = Callable[..., Process]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store: MemoryStore | SqliteStore = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "s.db")
    yield store
    if isinstance(store, SqliteStore):
        store.close()


@pytest.fixture
def start(store: Store) -> Iterator[Start]:
    made: list[Process] = []
    dead: set[str] = set()

    def start(script: Script, **fields: Any) -> Process:
        made.append(Process(store, script, dead, **fields))
        return made[-1]

    yield start
    for pool in made:
        pool.close(park=True)


def inside(pool: Process) -> threading.Event:
    """Make the pool's tool wait for its cancel. The event says that it runs."""
    running = threading.Event()

    def work(args: NoteArguments, cancel: CancelToken) -> str:
        running.set()
        cancel.wait(20)
        cancel.raise_if_cancelled()
        return "late"

    pool.tool.work = work
    return running


# -- one store, several processes ------------------------------------------------------------------


def test_a_task_sent_here_is_run_by_whoever_has_a_worker_and_announced_here(start: Start) -> None:
    here, there = start([], owner=HERE, workers=0), start(["done there"])
    task = here.submit("x", cwd="/")
    there.look()
    assert here.wait(task, "done").result == "done there"
    wait_until(lambda: here.states(task)[-1] == "done")
    assert here.model.requests == []


def test_a_stop_from_another_process_ends_the_work_within_a_second(start: Start) -> None:
    here, there = start([], owner=HERE, workers=0), start([Call("note"), "never"])
    running = inside(there)
    task = here.submit("x", cwd="/")
    there.look()
    assert running.wait(10)
    here.stop(task.id)
    wait_until(lambda: not there._cancels, seconds=1.0)
    assert here.row(task).state == "cancelled"
    wait_until(lambda: "cancelled" in there.states(task))
    assert "done" not in there.states(task)


def test_a_task_of_another_process_is_parked_after_its_step_and_goes_on_when_told(start: Start) -> None:
    here, there = start([], owner=HERE, workers=0), start([Call("note"), "over"])
    gate, running = threading.Event(), threading.Event()

    def work(args: NoteArguments, cancel: CancelToken) -> str:
        running.set()
        return "noted" if gate.wait(20) else "late"

    there.tool.work = work
    task = here.submit("x", cwd="/")
    there.look()
    assert running.wait(10)
    assert here.park(task.id)
    assert here.row(task).state == "running"
    there.look()
    gate.set()
    assert here.wait(task, "parked").held
    assert len(there.model.requests) == 1
    assert here.resume(task.id)
    there.look()
    assert here.wait(task, "done").result == "over"


def test_a_task_to_be_parked_whose_process_dies_is_parked(start: Start) -> None:
    here, there = start([], owner=HERE, workers=0), start([Call("note"), "over"])
    running = inside(there)
    task = here.submit("x", cwd="/")
    there.look()
    assert running.wait(10)
    assert here.park(task.id)
    there.die()
    here.open()
    assert here.row(task).state == "parked"
    assert here.resume(task.id)


def test_a_task_to_be_parked_that_asks_first_goes_on_with_the_answer(start: Start) -> None:
    here, there = start([], owner=HERE, workers=0), start([[Until(gate := threading.Event()), Call("note")], "over"])
    there.policy.mode = "ask"
    task = here.submit("x", cwd="/")
    there.look()
    wait_until(lambda: bool(there.model.requests))
    assert here.park(task.id)
    gate.set()
    assert not here.wait(task, "waiting").held
    here.answer(task.id, Decision(True))
    there.look()
    assert here.wait(task, "done").result == "over"


def test_a_line_from_another_process_is_read_before_the_next_step(start: Start, store: Store) -> None:
    gate = threading.Event()
    here = start([], owner=HERE, workers=0)
    there = start([[Until(gate), Call("note")], lambda messages: Say(f"heard {messages[-1].content}")])
    task = here.submit("x", cwd="/")
    there.look()
    wait_until(lambda: bool(there.model.requests))
    assert here.steer(task.id, "hurry up")
    gate.set()
    assert here.wait(task, "done").result == "heard hurry up"
    assert Steered("hurry up") in store.events(task.id)
    assert not here.steer(task.id, "too late")


def test_an_answer_from_another_process_lets_the_task_go_on(start: Start) -> None:
    here, there = start([], owner=HERE, workers=0), start([Call("note"), "done"])
    there.policy.mode = "ask"
    task = here.submit("x", cwd="/")
    there.look()
    here.wait(task, "waiting")
    assert here.answer(task.id, Decision(True))
    here.wait(task, "done")
    assert len(there.tool.runs) == 1


def test_what_a_waiting_task_left_running_ends_when_another_process_stops_it(start: Start) -> None:
    here, there = start([], owner=HERE, workers=0), start([Call("note"), "done"])
    there.policy.mode = "ask"
    task = here.submit("x", cwd="/")
    there.look()
    here.wait(task, "waiting")
    here.stop(task.id)
    wait_until(lambda: there.forgotten == [task.session_id])


def test_what_a_parked_task_left_running_ends_when_another_process_goes_on_with_it(start: Start) -> None:
    there = start([Call("note"), "done"])
    there.policy.mode = "ask"
    task = there.submit("x", cwd="/")
    there.wait(task, "waiting")
    there._workers = 0
    here = start([Until(gate := threading.Event()), "over"])
    here.answer(task.id, Decision(True))
    wait_until(lambda: there.forgotten == [task.session_id])
    gate.set()
    here.wait(task, "done")


def test_a_front_end_runs_what_reports_to_it_and_leaves_the_rest(start: Start) -> None:
    here = start(["mine"], owner=HERE)
    other = start([], owner=THERE, workers=0).submit("x", cwd="/")
    task = here.submit("y", cwd="/")
    here.wait(task, "done")
    assert here.row(other).state == "queued"


# -- death -----------------------------------------------------------------------------------------


def test_a_task_whose_process_was_killed_is_taken_up_and_no_tool_runs_twice(start: Start, store: Store) -> None:
    there = start([[Call("note", text="a")], "never"], owner=THERE)
    running = inside(there)
    task = there.submit("x", cwd="/")
    assert running.wait(10)
    there.die()
    here = start([lambda messages: Say(messages[-1].content)], owner=HERE)
    (adopted,) = here.open()
    assert (adopted.id, adopted.owner) == (task.id, HERE)
    done = here.wait(task, "done")
    assert (done.result, done.attempts) == (INTERRUPTED, 2)
    assert (len(there.tool.runs), here.tool.runs) == (1, [])
    check_history(store.messages(task.session_id))
    assert [owed.task_id for owed in store.undelivered(HERE)] == [task.id]


def test_a_task_that_kills_its_process_each_time_is_given_up_with_what_it_was_doing(start: Start) -> None:
    script = [Call("note", text="boom"), Call("note", text="boom"), Call("note", text="boom")]
    task = start([], owner=HERE, workers=0).submit("x", cwd="/")
    for _ in range(3):
        victim = start(list(script), workers=1)
        running = inside(victim)
        victim.open()
        assert running.wait(10)
        victim.die()
    last = start([])
    last.open()
    failed = last.wait(task, "failed")
    assert "3 attempts" in failed.error
    assert "note boom" in failed.error


def test_what_ended_unseen_is_told_by_the_next_front_end(start: Start, store: Store) -> None:
    gone = start(["the answer"], owner=THERE)
    task = gone.submit("x", cwd="/")
    gone.wait(task, "done")
    gone.close(park=True)
    here = start([], owner=HERE)
    assert [one.result for one in here.open()] == ["the answer"]
    assert store.claim_delivery(task.id, HERE, here.lease)
    assert start([], owner="terminal:third").open() == []


# -- parking ---------------------------------------------------------------------------------------


def test_a_parked_pool_lets_go_at_a_step_boundary_and_another_goes_on(start: Start, store: Store) -> None:
    gate = threading.Event()
    there = start([[Until(gate), Call("note")], "never"], owner=THERE)
    task = there.submit("x", cwd="/")
    wait_until(lambda: bool(there.model.requests))
    closer = threading.Thread(target=there.close, kwargs={"park": True, "wait": 10})
    closer.start()
    wait_until(lambda: any(token.parked is not None for token in there._cancels.values()))
    gate.set()
    closer.join(10)
    parked = there.row(task)
    assert (parked.state, parked.held, parked.attempts) == ("parked", False, 0)
    assert len(there.tool.runs) == 1
    worker = start([lambda messages: Say(messages[-1].content)])
    worker.open()
    assert worker.wait(task, "done").result == "noted "
    check_history(store.messages(task.session_id))


def test_a_run_that_reaches_no_boundary_in_time_is_cut_and_its_tools_outcome_unknown(start: Start) -> None:
    there = start([[Say("Let me"), Call("note")], "never"], owner=THERE)
    running = inside(there)
    task = there.submit("x", cwd="/")
    assert running.wait(10)
    there.close(park=True)
    assert there.row(task).state == "parked"
    worker = start([lambda messages: Say(messages[-1].content)])
    worker.open()
    assert worker.wait(task, "done").result == INTERRUPTED
    assert worker.tool.runs == []


def test_a_streaming_reply_that_is_cut_for_parking_is_asked_for_anew(start: Start, store: Store) -> None:
    there = start([[Say("half an"), Until(threading.Event())]], owner=THERE)
    task = there.submit("x", cwd="/")
    wait_until(lambda: bool(there.model.requests))
    there.close(park=True)
    assert store.messages(task.session_id)[-1] == Message("user", "x")
    worker = start(["a whole answer"])
    worker.open()
    assert worker.wait(task, "done").result == "a whole answer"


def test_a_task_parked_by_hand_stays_so_until_it_is_resumed(start: Start) -> None:
    gate = threading.Event()
    here = start([[Until(gate), Call("note")], "done"], owner=HERE, workers=1)
    task, queued = here.submit("x", cwd="/"), here.submit("y", cwd="/")
    wait_until(lambda: bool(here.model.requests))
    assert here.park(task.id)
    assert here.park(queued.id)
    gate.set()
    assert here.wait(task, "parked").held
    here.look()
    assert [here.row(one).state for one in (task, queued)] == ["parked", "parked"]
    assert here.resume(task.id)
    assert here.wait(task, "done").result == "done"
    assert here.resume(task.id) is None
    assert not here.park(task.id)


def test_a_name_means_one_live_task(start: Start) -> None:
    gate = threading.Event()
    here = start([[Until(gate), "first"], "second"], owner=HERE)
    task = here.submit("x", cwd="/", options=TaskOptions(name="tests"))
    with pytest.raises(HermesError, match=f"There is a live task named tests: #{task.number}."):
        here.submit("y", cwd="/", options=TaskOptions(name="tests"))
    gate.set()
    here.wait(task, "done")
    here.wait(here.submit("y", cwd="/", options=TaskOptions(name="tests")), "done")


def test_a_task_that_is_over_can_be_sent_once_more_as_a_new_one(start: Start) -> None:
    here = start(["first", "second"], owner=HERE)
    task = here.submit("x", cwd="/")
    here.wait(task, "done")
    again = here.retry(task.id)
    assert here.wait(again, "done").result == "second"
    assert (again.prompt, again.number != task.number) == ("x", True)


# -- the queue -------------------------------------------------------------------------------------


def test_a_thousand_queued_tasks_cost_no_threads(start: Start) -> None:
    gate = threading.Event()
    executor = ThreadPoolExecutor(8, thread_name_prefix="thousand")
    here = start(lambda messages: [Until(gate), "ok"], workers=2, executor=executor)
    for number in range(1000):
        here.submit(str(number), owner=HERE, cwd="/")
    assert sum(thread.name.startswith("thousand") for thread in threading.enumerate()) <= 2
    assert sum(standing.state == "queued" for standing in here.store.standings().values()) >= 998


def test_owners_take_turns_and_each_ones_tasks_keep_their_order(start: Start) -> None:
    gate = threading.Event()
    here = start(lambda messages: [Until(gate), "ok"], workers=1)
    first = here.submit("hold", owner="c", cwd="/")
    here.wait(first, "running")
    for prompt, owner in (("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("b2", "b")):
        last = here.submit(prompt, owner=owner, cwd="/")
    gate.set()
    here.wait(last, "done")
    wait_until(lambda: all(task.state == "done" for task in here.store.tasks()))
    order = sorted(here.store.tasks()[1:], key=lambda task: task.started)
    assert [task.prompt for task in order] == ["a1", "b1", "a2", "b2", "a3"]


def test_nothing_polls_once_everything_is_over(start: Start) -> None:
    here = start(["ok"], owner=HERE)
    here.wait(here.submit("x", cwd="/"), "done")
    wait_until(lambda: here._watcher is None)


# -- a process that hangs, a machine that sleeps -------------------------------------------------------


class Clock:
    """The time, and as much later as a test likes."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def test_a_task_is_taken_from_a_process_that_hangs(start: Start, store: Store) -> None:
    clock = Clock()
    pool = start(["done here"], clock=clock)
    task = store.create_task(prompt="x", owner=THERE, settings="{}", cwd="/")
    store.claim_task(Lease("hung", 1, started=1.0, heartbeat=0.0))
    for clock.ahead in range(0, 55, 5):
        pool.look()
        assert pool.row(task).state == "running"
    for clock.ahead in range(55, 75, 5):
        pool.look()
    assert pool.wait(task, "done").result == "done here"


def test_after_a_machine_slept_each_process_may_beat_before_it_counts_as_hung(start: Start, store: Store) -> None:
    clock = Clock()
    pool = start(["done here"], clock=clock)
    task = store.create_task(prompt="x", owner=THERE, settings="{}", cwd="/")
    store.claim_task(Lease("slept", 1, started=1.0, heartbeat=0.0))
    for clock.ahead in (0.0, 20.0, 3600.0, 3605.0):
        pool.look()
        assert pool.row(task).state == "running"
    for clock.ahead in (3609.0, 3612.0):
        pool.look()
    assert pool.wait(task, "done").result == "done here"


def test_a_run_that_lost_its_task_ends_before_the_same_process_takes_it_again(start: Start, store: Store) -> None:
    pool = start([])
    begun, release, cancels = threading.Event(), threading.Event(), list[CancelToken]()

    def run(_task: Task, *, emit: Sink, cancel: CancelToken) -> TurnFinished:
        cancels.append(cancel)
        begun.set()
        release.wait(20)
        return TurnFinished("done", f"run {len(cancels)}")

    pool._run = run
    task = pool.submit("x", cwd="/")
    assert begun.wait(10)
    store.reclaim_dead(time.time(), lambda lease: False)
    for _ in range(3):
        pool.look()
        wait_until(lambda: pool._runs == 1)
    assert [cancel.cancelled for cancel in cancels] == [True]
    release.set()
    assert pool.wait(task, "done").result == "run 2"


def test_one_that_was_taken_for_dead_goes_on_with_what_it_runs_and_says_again_that_it_is_there(
    store: Store, start: Start
) -> None:
    go = threading.Event()
    first = start(lambda messages: [Until(go), Say("done")], owner=HERE)
    first.open()
    task = first.submit("work")
    first.wait(task, "running")
    assert [one.id for one in store.adopt_tasks(THERE, lambda lease: False)] == [task.id]
    first.look()
    assert first.row(task).state == "running"
    go.set()
    assert first.wait(task, "done").owner == THERE
    first.open()
    assert HERE in store.present()
    again = first.submit("more")
    assert first.wait(again, "done").owner == HERE
