"""What every store promises: conversations, calls, tasks and their events."""

import threading

import pytest

from agent.errors import StoreError
from agent.events import Steered, TurnStarted
from agent.messages import Message, ToolCall, Usage
from agent.protocols import LIVE_STATES, Decision, Store
from agent.store.memory import EVENTS_PER_TASK, new_session_id, new_task_id

# -- conversations ---------------------------------------------------------------------------------


def test_messages_come_back_as_they_were_and_in_order(store: Store) -> None:
    messages = [
        Message("system", "be good"),
        Message("user", "hi 😀 ünïcode"),
        Message(
            "assistant", "", (ToolCall("a", "note", '{"x": 1}'), ToolCall("b", "note", "not json")), reasoning="hm"
        ),
        Message("tool", "result", tool_call_id="a"),
    ]
    store.create_session("s", source="test")
    for message in messages:
        store.append("s", message)
    assert store.messages("s") == messages


def test_sessions_know_nothing_of_each_other(store: Store) -> None:
    for session in ("one", "two"):
        store.create_session(session, source="test")
        store.append(session, Message("user", session))
    assert store.messages("one") == [Message("user", "one")]


def test_making_a_session_again_keeps_what_it_holds(store: Store) -> None:
    store.create_session("s", source="test")
    store.append("s", Message("user", "hi"))
    store.create_session("s", source="test")
    assert store.messages("s") == [Message("user", "hi")]


def test_nothing_can_be_said_in_a_session_that_does_not_exist(store: Store) -> None:
    assert store.messages("nobody") == []
    with pytest.raises(StoreError):
        store.append("nobody", Message("user", "hi"))


def test_what_was_handed_out_does_not_change_the_store(store: Store) -> None:
    store.create_session("s", source="test")
    store.messages("s").append(Message("user", "not really"))
    assert store.messages("s") == []


# -- calls and answers -----------------------------------------------------------------------------


def test_a_call_begins_once(store: Store) -> None:
    store.create_session("s", source="test")
    store.create_session("t", source="test")
    assert store.mark_begun("s", "call_1")
    assert not store.mark_begun("s", "call_1")
    assert store.mark_begun("s", "call_2")
    assert store.mark_begun("t", "call_1")


def test_of_many_who_want_to_begin_a_call_one_may(store: Store) -> None:
    store.create_session("s", source="test")
    ready, begun = threading.Barrier(8), list[bool]()

    def begin() -> None:
        ready.wait(10)
        begun.append(store.mark_begun("s", "call_1"))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(begun) == [False] * 7 + [True]


def test_the_first_answer_to_a_request_stays(store: Store) -> None:
    store.create_session("s", source="test")
    assert store.decision("s", "call_1") is None
    store.record_decision("s", "call_1", Decision(False, "why", "session"))
    store.record_decision("s", "call_1", Decision(True))
    assert store.decision("s", "call_1") == Decision(False, "why", "session")


# -- tasks -----------------------------------------------------------------------------------------


def test_a_new_task_is_queued_and_has_a_session_of_its_own(store: Store) -> None:
    task = store.create_task(prompt="do it", owner="me", settings='{"a": 1}')
    assert (task.number, task.prompt, task.owner, task.settings) == (1, "do it", "me", '{"a": 1}')
    assert (task.state, task.told, task.usage) == ("queued", False, Usage())
    assert task.created > 0
    assert store.messages(task.session_id) == []
    store.append(task.session_id, Message("user", "do it"))
    assert store.task(task.id) == task


def test_tasks_are_listed_oldest_first_and_by_owner(store: Store) -> None:
    mine = [store.create_task(prompt="x", owner="me", settings="{}") for _ in range(3)]
    other = store.create_task(prompt="y", owner="you", settings="{}")
    assert store.tasks(owner="me") == mine
    assert store.tasks() == [*mine, other]
    assert [task.number for task in store.tasks()] == [1, 2, 3, 4]
    assert store.task("bg_000000_000000") is None


def test_a_row_changes_only_from_the_states_that_were_expected(store: Store) -> None:
    task = store.create_task(prompt="x", owner="me", settings="{}")
    running = store.update_task(task.id, expect=frozenset({"queued"}), state="running", steps=2, usage=Usage(1, 2))
    assert running is not None
    assert (running.state, running.steps, running.usage, running.prompt) == ("running", 2, Usage(1, 2), "x")
    assert store.update_task(task.id, expect=frozenset({"queued"}), state="done") is None
    assert store.task(task.id) == running
    assert store.update_task("bg_000000_000000", state="done") is None


def test_of_many_who_want_to_end_a_task_one_does(store: Store) -> None:
    task = store.create_task(prompt="x", owner="me", settings="{}")
    ready, ended = threading.Barrier(8), list[object]()

    def end(number: int) -> None:
        ready.wait(10)
        ended.append(store.update_task(task.id, expect=LIVE_STATES, state="done", result=str(number)))

    threads = [threading.Thread(target=end, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    (winner,) = filter(None, ended)
    assert store.task(task.id) == winner


def test_events_of_a_task_come_back_in_order_and_do_not_grow_for_ever(store: Store) -> None:
    task = store.create_task(prompt="x", owner="me", settings="{}")
    assert store.events(task.id) == []
    store.append_event(task.id, TurnStarted("x"))
    for number in range(EVENTS_PER_TASK + 10):
        store.append_event(task.id, Steered(str(number)))
    events = store.events(task.id)
    assert len(events) <= EVENTS_PER_TASK
    assert events[-1] == Steered(str(EVENTS_PER_TASK + 9))
    texts = [int(event.text) for event in events if isinstance(event, Steered)]
    assert texts == sorted(texts)


def test_ids_say_when_and_are_not_repeated() -> None:
    import re

    assert re.fullmatch(r"\d{8}_\d{6}_[0-9a-f]{6}", new_session_id())
    assert re.fullmatch(r"bg_\d{6}_[0-9a-f]{6}", new_task_id())
    assert len({new_task_id() for _ in range(50)}) == 50


def test_whether_a_call_has_begun_can_be_asked(store: Store) -> None:
    store.create_session("s", source="test")
    assert not store.has_begun("s", "a")
    store.mark_begun("s", "a")
    assert store.has_begun("s", "a")
    assert not store.has_begun("t", "a")
