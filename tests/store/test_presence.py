"""Which front ends are there, who takes over from those that are gone, and the lines a task has to read."""

from dataclasses import replace

from agent.messages import Message
from agent.protocols import Store, Task
from tests.store.conftest import lease

A, B = "terminal:a", "terminal:b"


def queue(store: Store, owner: str = A) -> Task:
    return store.create_task(prompt="do it", owner=owner, settings="{}")


def finish(store: Store, task: Task, state: str = "done") -> None:
    store.update_task(task.id, state=state)


# -- front ends ------------------------------------------------------------------------------------


def test_a_front_end_is_present_until_it_departs(store: Store) -> None:
    store.enter(A, lease("a", 1))
    store.enter(B, lease("b", 2))
    assert {owner: one.pid for owner, one in store.present().items()} == {A: 1, B: 2}
    store.enter(A, lease("again", 3))
    store.depart(B)
    assert {owner: one.pid for owner, one in store.present().items()} == {A: 3}
    store.depart("terminal:unknown")


def test_only_one_that_lives_is_present_alone(store: Store) -> None:
    alive = {"a", "b"}
    assert store.enter_alone("gateway:x", lease("a", 1), lambda one: one.worker in alive) is None
    assert store.enter_alone("gateway:x", lease("a", 1), lambda one: one.worker in alive) is None
    other = store.enter_alone("gateway:x", lease("b", 2), lambda one: one.worker in alive)
    assert other is not None
    assert other.pid == 1
    alive.remove("a")
    assert store.enter_alone("gateway:x", lease("b", 2), lambda one: one.worker in alive) is None
    assert store.present()["gateway:x"].pid == 2


def test_what_reported_to_a_front_end_that_is_gone_reports_to_its_heir(store: Store) -> None:
    store.enter(A, lease("a", 1))
    live, untold, told, stopped = (queue(store) for _ in range(4))
    for task, state in ((untold, "done"), (told, "done"), (stopped, "cancelled")):
        finish(store, task, state)
    store.mark_told(told.id, A)
    adopted = store.adopt_tasks(B, lambda lease: lease.pid == 2)
    assert [task.id for task in adopted] == [live.id, untold.id]
    assert [task.id for task in store.tasks(owner=B)] == [live.id, untold.id]
    assert [owed.task_id for owed in store.undelivered(B)] == [untold.id]
    assert store.undelivered(A) == []
    assert A not in store.present()
    finish(store, live)
    assert [owed.task_id for owed in store.undelivered(B)] == [untold.id, live.id]


def test_what_reports_to_a_front_end_that_lives_stays_its_own(store: Store) -> None:
    store.enter(A, lease("a", 1))
    store.enter(B, lease("b", 2))
    queue(store)
    assert store.adopt_tasks(B, lambda lease: True) == []
    assert len(store.tasks(owner=A)) == 1


def test_a_front_end_that_departed_leaves_its_tasks_to_the_next(store: Store) -> None:
    store.enter(A, lease("a", 1))
    task = queue(store)
    store.depart(A)
    assert store.adopt_tasks(B, lambda lease: True) == [replace(task, owner=B)]
    assert store.adopt_tasks("terminal:c", lambda lease: False) == [replace(task, owner="terminal:c")]


def test_a_terminal_adopts_nothing_from_a_chat(store: Store) -> None:
    queue(store, "telegram:1:2")
    queue(store, "me")
    assert store.adopt_tasks(B, lambda lease: False) == []


# -- claims of one owner ---------------------------------------------------------------------------


def test_a_front_end_takes_up_only_what_reports_to_it(store: Store) -> None:
    queue(store, A)
    mine = queue(store, B)
    claimed = store.claim_task(lease("w"), owner=B)
    assert claimed is not None
    assert claimed.id == mine.id
    assert store.claim_task(lease("w"), owner=B) is None
    assert store.claim_task(lease("w")) is not None


def test_the_live_tasks_stand_as_their_rows_say(store: Store) -> None:
    running, held, over, others = queue(store), queue(store), queue(store), queue(store, B)
    store.claim_task(lease("w"))
    store.update_task(held.id, state="parked", held=True)
    finish(store, over)
    standings = store.standings(A)
    assert list(standings) == [running.id, held.id]
    assert (standings[running.id].state, standings[running.id].worker) == ("running", "w")
    assert (standings[held.id].state, standings[held.id].held, standings[held.id].worker) == ("parked", True, "")
    assert list(store.standings()) == [running.id, held.id, others.id]


# -- steering --------------------------------------------------------------------------------------


def test_lines_for_a_task_are_read_once_and_in_order(store: Store) -> None:
    task = queue(store)
    for text in ("one", "two"):
        assert store.steer_task(task.id, text)
    assert store.take_steering(task.id, task.session_id) == ["one", "two"]
    for text in ("one", "two"):
        store.append(task.session_id, Message("user", text))
    assert store.steer_task(task.id, "three")
    assert store.take_steering(task.id, task.session_id) == ["three"]


def test_a_line_that_was_taken_by_a_run_that_died_is_given_again(store: Store) -> None:
    task = queue(store)
    for text in ("go", "go"):
        store.steer_task(task.id, text)
    assert store.take_steering(task.id, task.session_id) == ["go", "go"]
    store.append(task.session_id, Message("user", "go"))
    assert store.take_steering(task.id, task.session_id) == ["go"]


def test_a_line_that_arrived_is_not_given_again_in_a_session_that_goes_on(store: Store) -> None:
    task = queue(store)
    store.steer_task(task.id, "one")
    store.take_steering(task.id, task.session_id)
    store.append(task.session_id, Message("user", "one"))
    store.create_session("child", source="task", parent=task.session_id)
    assert store.take_steering(task.id, "child") == []


def test_what_is_over_cannot_be_steered(store: Store) -> None:
    task = queue(store)
    finish(store, task)
    assert not store.steer_task(task.id, "late")
    assert not store.steer_task("bg_000000_000000", "x")
    assert store.take_steering(task.id, task.session_id) == []


# -- a session that is open in one process only ----------------------------------------------------

SEAT = "session:20260101_000000_abcdef"


def test_an_owner_can_be_entered_by_one_that_lives(store: Store) -> None:
    assert store.enter_alone(SEAT, lease("a", 1), lambda _: True) is None
    other = store.enter_alone(SEAT, lease("b", 2), lambda _: True)
    assert other is not None
    assert (other.worker, other.pid) == ("a", 1)
    assert store.enter_alone(SEAT, lease("a", 1), lambda _: True) is None
    store.depart(SEAT)
    assert store.enter_alone(SEAT, lease("b", 2), lambda _: True) is None


def test_what_a_dead_process_had_entered_is_free_and_forgotten(store: Store) -> None:
    store.enter(A, lease("terminal", 1))
    store.enter_alone(SEAT, lease("a", 1), lambda _: True)
    store.enter_alone(f"{SEAT}2", lease("a", 1), lambda _: True)
    assert store.enter_alone(SEAT, lease("b", 2), lambda one: one.pid == 2) is None
    assert {owner: one.pid for owner, one in store.present().items()} == {SEAT: 2, A: 1}


def test_a_copy_of_a_session_points_to_it_and_leaves_it_alone(store: Store) -> None:
    store.create_session("old", source="terminal", cwd="/w", model="m", title="carts")
    for text in ("one", "two"):
        store.append("old", Message("user", text))
    task = store.create_task(prompt="x", owner=A, settings="{}", session_id="old")
    child = store.copy_session("old", store.messages("old")[:1], title="carts (branch)")
    row, old = store.session(child), store.session("old")
    assert row is not None
    assert old is not None
    assert (row.parent, row.title, row.cwd, row.model, row.messages) == ("old", "carts (branch)", "/w", "m", 1)
    assert [one.content for one in store.messages(child)] == ["one"]
    assert (old.archived, old.messages, old.title) == (False, 2, "carts")
    found = store.task(task.id)
    assert found is not None
    assert found.session_id == "old"
