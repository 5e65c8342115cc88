"""What every store promises of tasks: who works on them, what happened, who was told."""

import threading
import time
from typing import get_args

import pytest

from agent.events import (
    ApprovalRequested,
    ApprovalSettled,
    Compacted,
    Compacting,
    Event,
    ReasoningDelta,
    Steered,
    StepFinished,
    StepRestarted,
    StepStarted,
    TextDelta,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnResumed,
    TurnStarted,
    TurnSuspended,
)
from agent.messages import Message, Usage
from agent.protocols import LIVE_STATES, Store, Task, TaskState
from agent.records import Lease
from agent.store.rules import EVENTS_PER_TASK
from tests.store.conftest import lease


def queue(store: Store, owner: str = "me", **fields: str) -> Task:
    return store.create_task(prompt="x", owner=owner, settings="{}", **fields)


def row(store: Store, task: Task) -> Task:
    found = store.task(task.id)
    assert found is not None
    return found


def finish(store: Store, task: Task, state: TaskState = "done") -> Task:
    done = store.update_task(task.id, state=state, finished=time.time())
    assert done is not None
    return done


# -- rows ------------------------------------------------------------------------------------------


def test_a_task_keeps_its_name_options_and_receipt(store: Store) -> None:
    task = queue(store, name="tests", options='{"worktree":true}')
    assert (task.name, task.options, task.receipt, task.attempts) == ("tests", '{"worktree":true}', "{}", 0)
    changed = store.update_task(task.id, receipt='{"commands":[]}', held=True, usage=Usage(1, 2, 3, 4, 0.1))
    assert changed == row(store, task)
    assert changed is not None
    assert (changed.receipt, changed.held, changed.usage) == ('{"commands":[]}', True, Usage(1, 2, 3, 4, 0.1))


def test_a_task_may_go_on_in_a_session_that_exists(store: Store) -> None:
    store.create_session("s", source="terminal", cwd="/src")
    task = queue(store, session_id="s")
    session = store.session(task.session_id)
    assert session is not None
    assert (session.id, session.source, session.cwd) == ("s", "terminal", "/src")


def test_tasks_are_listed_by_state(store: Store) -> None:
    tasks = [queue(store) for _ in range(3)]
    finish(store, tasks[1])
    assert [task.number for task in store.tasks(states=LIVE_STATES)] == [1, 3]
    assert [task.number for task in store.tasks(owner="me", states=frozenset({"done"}))] == [2]
    assert store.tasks(owner="you", states=LIVE_STATES) == []


def test_a_task_is_found_by_its_number_within_its_kind(store: Store) -> None:
    tasks = [queue(store) for _ in range(3)]
    assert store.tasks(number=2) == [tasks[1]]
    assert store.tasks(owner="me", number=2) == [tasks[1]]
    assert store.tasks(owner="you", number=2) == store.tasks(number=9) == []


def test_the_end_of_a_log_can_be_read_alone(store: Store) -> None:
    task = queue(store)
    for number in range(5):
        store.append_event(task.id, Steered(str(number)))
    assert [entry.number for entry in store.log(task.id, last=2)] == [4, 5]
    assert [entry.number for entry in store.log(task.id, after=1, last=9)] == [2, 3, 4, 5]
    assert [entry.number for entry in store.log(task.id, after=3)] == [4, 5]
    assert store.log(task.id, last=0) == []


def test_an_unknown_field_is_a_mistake_and_changes_nothing(store: Store) -> None:
    task = queue(store)
    with pytest.raises(TypeError):
        store.update_task(task.id, state="done", colour="red")
    assert row(store, task) == task


# -- who works -------------------------------------------------------------------------------------


def test_a_claimed_task_runs_under_its_workers_name(store: Store) -> None:
    task = queue(store)
    claimed = store.claim_task(lease("w1", 42))
    assert claimed is not None
    assert claimed == row(store, task)
    assert (claimed.state, claimed.attempts) == ("running", 1)
    assert claimed.lease is not None
    assert (claimed.lease.worker, claimed.lease.pid, claimed.lease.started) == ("w1", 42, 1.0)
    assert claimed.created <= claimed.started <= claimed.lease.heartbeat
    assert store.claim_task(lease("w2")) is None


@pytest.mark.parametrize("state", ["waiting", "done", "failed", "cancelled"])
def test_what_waits_or_is_over_is_not_taken(store: Store, state: TaskState) -> None:
    task = queue(store)
    store.update_task(task.id, state=state)
    assert store.claim_task(lease()) is None


def test_a_parked_task_is_taken_up_by_whoever_comes_next_unless_it_is_held(store: Store) -> None:
    parked, held = queue(store), queue(store)
    store.update_task(parked.id, state="parked")
    store.update_task(held.id, state="parked", held=True)
    next_one = store.claim_task(lease())
    assert next_one is not None
    assert next_one.id == parked.id
    assert store.claim_task(lease()) is None
    store.update_task(held.id, state="queued", held=False)
    assert store.claim_task(lease())


def test_owners_take_turns_and_each_is_served_in_order(store: Store) -> None:
    for owner in ["a", "a", "a", "b", "b", "c"]:
        queue(store, owner)
    order = []
    while task := store.claim_task(lease()):
        order.append((task.owner, task.number))
    assert order == [("a", 1), ("b", 4), ("c", 6), ("a", 2), ("b", 5), ("a", 3)]


def test_of_many_workers_one_gets_a_task(store: Store) -> None:
    tasks = [queue(store) for _ in range(20)]
    ready, claimed = threading.Barrier(6), list[str]()

    def work(worker: str) -> None:
        ready.wait(10)
        while task := store.claim_task(lease(worker)):
            claimed.append(task.id)

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(claimed) == sorted(task.id for task in tasks)


def test_a_worker_that_stops_beating_loses_its_task_and_learns_of_it(store: Store) -> None:
    task = queue(store)
    store.claim_task(lease("old"))
    assert store.reclaim_dead(time.time(), lambda lease: True, stale=time.time() - 60) == []
    assert store.heartbeat("old") == [task.id]
    assert store.reclaim_dead(time.time(), lambda lease: True, stale=time.time() + 1)
    taken = store.claim_task(lease("new"))
    assert taken is not None
    assert (taken.id, taken.attempts) == (task.id, 2)
    assert store.heartbeat("old") == []
    assert store.heartbeat("new") == [task.id]
    assert store.update_task(task.id, holder="old", state="done") is None
    assert row(store, task).state == "running"
    assert store.update_task(task.id, holder="new", state="done") is not None


def test_a_heartbeat_is_seen(store: Store) -> None:
    task = queue(store)
    claimed = store.claim_task(lease("w"))
    store.heartbeat("w")
    beating = row(store, task)
    assert claimed is not None
    assert claimed.lease is not None
    assert beating.lease is not None
    assert beating.lease.heartbeat > claimed.lease.heartbeat


@pytest.mark.parametrize("state", ["queued", "parked", "waiting"])
def test_letting_go_in_good_order_is_no_failed_attempt(store: Store, state: TaskState) -> None:
    task = queue(store)
    for _ in range(5):
        store.claim_task(lease("w"))
        released = store.update_task(task.id, holder="w", state=state)
        assert released is not None
        assert (released.state, released.lease, released.attempts) == (state, None, 0)
        store.update_task(task.id, state="queued")


def test_the_tasks_of_the_dead_are_queued_again_and_those_of_the_living_are_not(store: Store) -> None:
    dead, alive, bare = queue(store), queue(store), queue(store)
    store.claim_task(lease("dead", 1))
    store.claim_task(lease("alive", 2))
    store.update_task(bare.id, state="running")
    changed = store.reclaim_dead(time.time(), lambda lease: lease.pid == 2)
    assert [(task.id, task.state, task.lease) for task in changed] == [
        (dead.id, "queued", None),
        (bare.id, "queued", None),
    ]
    assert row(store, alive).state == "running"
    assert store.reclaim_dead(time.time(), lambda lease: lease.pid == 2) == []


def test_a_task_that_came_back_to_life_meanwhile_is_left_alone(store: Store) -> None:
    task = queue(store)
    store.claim_task(lease("w"))

    def beats_now(_lease: Lease) -> bool:
        store.heartbeat("w")
        return False

    assert store.reclaim_dead(time.time(), beats_now) == []
    assert row(store, task).state == "running"


def test_a_task_that_kills_its_workers_is_given_up_and_its_owner_told(store: Store) -> None:
    task = queue(store)
    for _ in range(3):
        assert store.claim_task(lease("w"))
        store.update_task(task.id, activity="terminal make test")
        changed = store.reclaim_dead(50.0, lambda lease: False)
    (failed,) = changed
    assert failed == row(store, task)
    assert (failed.state, failed.attempts, failed.finished, failed.activity) == ("failed", 3, 50.0, "")
    assert "after 3 attempts" in failed.error
    assert "terminal make test" in failed.error
    assert [delivery.task_id for delivery in store.undelivered("me")] == [task.id]


def test_a_task_that_ends_holds_no_lease(store: Store) -> None:
    task = queue(store)
    store.claim_task(lease("w"))
    assert finish(store, task).lease is None
    assert store.heartbeat("w") == []


# -- what happened ---------------------------------------------------------------------------------


def test_every_kind_of_event_comes_back_as_it_was(store: Store) -> None:
    task = queue(store)
    events: list[Event] = [
        Steered("a\0b 😀"),
        ToolFinished("c", "terminal", "ls", False, "exit 1", "x" * 100_000, 0.1 + 0.2, 1, ("a", "b")),
        ApprovalRequested("s:c", "c", "terminal", "execute", "ls", "ls -l", "/", "ls *"),
        StepFinished(1, "text", Usage(1, 2, 3, 4, 0.1)),
        TurnFinished("failed", "", Usage(), 3, 1e-9, "error", "hint", "StoreError"),
        ApprovalSettled("s:c", False, "no"),
        TurnStarted("x"),
        TurnResumed(),
        TurnSuspended("s:c"),
        StepStarted(2),
        StepRestarted("busy"),
        ToolStarted("c", "terminal", "ls"),
        Compacting(9_000),
        Compacted("child", "parent", 9_000, 3_000, "trimmed", Usage(1, 2)),
        ToolProgress(
            "c", "delegate", "1 look", "thinking", Usage(1, 2), 1, ToolFinished("c", "t", "t", True, "", "", 0.0)
        ),
        TextDelta("a"),
        ReasoningDelta("b"),
    ]
    assert {type(event) for event in events} == set(get_args(Event))
    for event in events:
        store.append_event(task.id, event)
    assert store.events(task.id) == events
    store.append_event("bg_000000_000000", Steered("of nobody"))
    assert store.events("bg_000000_000000") == []


def test_a_log_can_be_followed(store: Store) -> None:
    task = queue(store)
    for text in "abc":
        store.append_event(task.id, Steered(text))
    log = store.log(task.id)
    assert [(entry.number, entry.event) for entry in log] == [(1, Steered("a")), (2, Steered("b")), (3, Steered("c"))]
    assert log[0].at <= log[2].at <= time.time()
    assert store.log(task.id, after=2) == log[2:]
    assert store.log(task.id, after=3) == []


def test_a_task_is_queued_with_what_happened_before_it(store: Store) -> None:
    before = [Steered("a"), Steered("\ud800")]
    task = store.create_task(prompt="x", owner="me", settings="{}", log=before, receipt='{"files":["a.py"]}')
    assert task == row(store, task)
    assert task.receipt == '{"files":["a.py"]}'
    store.append_event(task.id, Steered("c"))
    found = [(entry.number, entry.event) for entry in store.log(task.id)]
    assert found == [(1, Steered("a")), (2, Steered("\ufffd")), (3, Steered("c"))]


def test_of_a_long_log_that_a_task_begins_with_the_end_is_kept(store: Store) -> None:
    task = store.create_task(
        prompt="x", owner="me", settings="{}", log=[Steered(str(number)) for number in range(EVENTS_PER_TASK + 5)]
    )
    events = store.events(task.id)
    assert (len(events), events[0], events[-1]) == (EVENTS_PER_TASK, Steered("5"), Steered(str(EVENTS_PER_TASK + 4)))
    store.append_event(task.id, Steered("new"))
    assert store.events(task.id)[-1] == Steered("new")


def test_half_a_character_in_an_event_is_replaced(store: Store) -> None:
    task = queue(store)
    store.append_event(task.id, ToolFinished("c", "t", "t", True, "", "\ud800", 0.0, files_changed=("\udcff",)))
    assert store.events(task.id) == [ToolFinished("c", "t", "t", True, "", "\ufffd", 0.0, files_changed=("\ufffd",))]


# -- who was told ----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["done", "failed"])
def test_the_owner_is_owed_the_outcome_from_the_moment_it_is_stored(store: Store, state: TaskState) -> None:
    task = queue(store)
    assert store.undelivered() == []
    finish(store, task, state)
    (owed,) = store.undelivered("me")
    assert (owed.task_id, owed.surface, owed.state, owed.repeat) == (task.id, "me", "pending", False)
    assert store.undelivered("you") == []
    assert store.undelivered() == [owed]


def test_a_stopped_task_owes_nothing(store: Store) -> None:
    task = queue(store)
    store.add_delivery(task.id, "chat")
    finish(store, task, "cancelled")
    assert store.undelivered() == []
    assert store.claim_delivery(task.id, "chat", lease()) is None
    assert store.claim_delivery(task.id, "me", lease()) is None


def test_an_outcome_is_told_once(store: Store) -> None:
    task = finish(store, queue(store))
    claimed = store.claim_delivery(task.id, "me", lease("w", 7))
    assert claimed is not None
    assert (claimed.state, claimed.repeat) == ("sending", False)
    assert claimed.teller is not None
    assert (claimed.teller.worker, claimed.teller.pid) == ("w", 7)
    assert store.claim_delivery(task.id, "me", lease()) is None
    assert store.undelivered() == []
    assert store.mark_told(task.id, "me")
    assert not store.mark_told(task.id, "me")
    assert store.claim_delivery(task.id, "me", lease()) is None
    assert row(store, task).told


def test_of_many_who_would_tell_one_does(store: Store) -> None:
    task = finish(store, queue(store))
    ready, claimed = threading.Barrier(8), list[object]()

    def tell(number: int) -> None:
        ready.wait(10)
        claimed.append(store.claim_delivery(task.id, "me", lease(f"w{number}")))

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len([one for one in claimed if one]) == 1


def test_what_was_certainly_not_told_is_pending_again(store: Store) -> None:
    task = finish(store, queue(store))
    assert not store.release_delivery(task.id, "me")
    store.claim_delivery(task.id, "me", lease())
    assert store.release_delivery(task.id, "me")
    (owed,) = store.undelivered("me")
    assert (owed.repeat, owed.teller) == (False, None)
    assert store.claim_delivery(task.id, "me", lease())


def test_what_a_teller_left_when_it_died_may_be_a_repeat(store: Store) -> None:
    first, second = finish(store, queue(store)), finish(store, queue(store))
    store.claim_delivery(first.id, "me", lease("dead", 1))
    store.claim_delivery(second.id, "me", lease("alive", 2))
    (again,) = store.reclaim_deliveries(lambda lease: lease.pid == 2)
    assert (again.task_id, again.state, again.repeat, again.teller) == (first.id, "pending", True, None)
    assert store.reclaim_deliveries(lambda lease: lease.pid == 2) == []
    claimed = store.claim_delivery(first.id, "me", lease())
    assert claimed is not None
    assert claimed.repeat


def test_each_surface_is_told_for_itself(store: Store) -> None:
    task = queue(store)
    assert store.add_delivery(task.id, "chat")
    assert not store.add_delivery(task.id, "chat")
    assert not store.add_delivery("bg_000000_000000", "chat")
    assert store.undelivered() == []
    finish(store, task)
    assert {owed.surface for owed in store.undelivered()} == {"me", "chat"}
    store.mark_told(task.id, "chat")
    assert not row(store, task).told
    store.mark_told(task.id, "me")
    assert row(store, task).told


def test_saying_that_a_task_was_told_settles_all_of_it(store: Store) -> None:
    task = queue(store)
    store.add_delivery(task.id, "chat")
    finish(store, task)
    store.update_task(task.id, told=True)
    assert store.undelivered() == []
    assert not store.mark_told(task.id, "me")


def test_an_outcome_that_was_told_as_it_was_stored_is_owed_to_nobody(store: Store) -> None:
    task = queue(store)
    store.update_task(task.id, state="done", told=True)
    assert store.undelivered() == []


# -- whose ----------------------------------------------------------------------------------------


def test_a_kind_of_owners_is_all_whose_name_begins_so(store: Store) -> None:
    first = store.create_task(prompt="a", owner="turn:telegram:1", settings="{}")
    second = store.create_task(prompt="b", owner="turn:discord:2", settings="{}")
    store.create_task(prompt="c", owner="turning:x", settings="{}")
    other = store.create_task(prompt="d", owner="chat:telegram:1", settings="{}")
    assert [task.id for task in store.tasks(owner="turn:")] == [first.id, second.id]
    assert list(store.standings("turn:")) == [first.id, second.id]
    assert [task.id for task in store.tasks(owner="chat:telegram:1")] == [other.id]


def test_a_worker_takes_only_the_kind_it_asks_for(store: Store) -> None:
    store.create_task(prompt="c", owner="terminal:x", settings="{}")
    wanted = store.create_task(prompt="a", owner="turn:telegram:1", settings="{}")
    taken = store.claim_task(lease(), owner="turn:")
    assert taken is not None
    assert taken.id == wanted.id
    assert store.claim_task(lease(), owner="turn:") is None


def test_a_task_may_begin_with_the_history_of_another_session(store: Store) -> None:
    store.create_session("above", source="terminal", model="m", settings='{"a": 1}', title="t")
    said = [Message("system", "x"), Message("user", "a"), Message("assistant", "b")]
    task = store.create_task(prompt="p", owner="me", settings="{}", cwd="/src", parent="above", history=said)
    session = store.session(task.session_id)
    assert session is not None
    assert (session.parent, session.model, session.settings, session.cwd) == ("above", "m", '{"a": 1}', "/src")
    assert (session.source, session.messages, session.archived) == ("task", 3, False)
    assert store.messages(task.session_id) == said
    store.append(task.session_id, Message("user", "c"))
    assert store.messages(task.session_id)[-1].content == "c"
