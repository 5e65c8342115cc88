"""Messages of chats: kept before they are used, sent in order, never lost."""

from pathlib import Path
from typing import Protocol

import pytest

from agent.chats import ChatStore
from agent.errors import StoreError
from agent.protocols import Store, Task
from agent.store.sqlite import SqliteStore
from tests.store.conftest import lease

ME, OTHER = lease("me"), lease("other", pid=2)
LATER = 1e12


def posted(store: ChatStore, *texts: str, chat: str = "c") -> list[int]:
    ids = [store.post(chat, text) for text in texts]
    return [id_ for id_ in ids if id_ is not None]


def test_a_message_that_came_before_is_known(store: ChatStore) -> None:
    assert store.receive("telegram", "1", "c", "{}")
    assert not store.receive("telegram", "1", "c", '{"edited": true}')
    assert store.receive("discord", "1", "c", "{}")


def test_what_nobody_has_dealt_with_stays_in_order(store: ChatStore) -> None:
    for number in ("2", "1", "3"):
        store.receive("telegram", number, "c", f'"{number}"')
    store.dealt_with("telegram", "1")
    assert [one.message_id for one in store.received()] == ["2", "3"]
    assert not store.receive("telegram", "1", "c", "{}")


def test_it_is_known_which_conversations_were_heard_of_last(store: ChatStore) -> None:
    for number, chat in enumerate(("a", "b", "a", "c", "b")):
        store.receive("telegram", str(number), chat, "{}")
    store.receive("discord", "9", "d", "{}")
    found = store.last_received("telegram", limit=2)
    assert set(found) <= {"a", "b", "c"}
    assert len(found) == 2
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert set(store.last_received("telegram", limit=9)) == {"a", "b", "c"}


def test_a_chat_is_told_in_order_one_at_a_time(store: ChatStore) -> None:
    first, second = posted(store, "first", "second")
    taken = store.take_outbound("c", ME, LATER)
    assert taken is not None
    assert (taken.id, taken.payload, taken.attempts, taken.repeat) == (first, "first", 1, False)
    assert store.take_outbound("c", OTHER, LATER) is None
    store.mark_sent(first, "m1")
    after = store.take_outbound("c", OTHER, LATER)
    assert after is not None
    assert after.id == second


def test_chats_do_not_wait_for_each_other(store: ChatStore) -> None:
    posted(store, "a", chat="c")
    posted(store, "b", chat="d")
    store.take_outbound("c", ME, LATER)
    other = store.take_outbound("d", ME, LATER)
    assert other is not None
    assert other.payload == "b"
    assert [one.payload for one in store.unsent("d")] == ["b"]


def test_what_is_postponed_holds_the_chat_until_it_is_due(store: ChatStore) -> None:
    first, _ = posted(store, "first", "second")
    store.take_outbound("c", ME, LATER)
    store.postpone(first, LATER + 10, "slow down")
    assert store.take_outbound("c", ME, LATER) is None
    again = store.take_outbound("c", ME, LATER + 11)
    assert again is not None
    assert (again.id, again.attempts, again.error, again.repeat) == (first, 2, "slow down", False)


def test_what_may_have_arrived_is_tried_again_as_a_possible_repeat(store: ChatStore) -> None:
    (first,) = posted(store, "first")
    store.take_outbound("c", ME, LATER)
    store.postpone(first, 0.0, "cut off", repeat=True)
    store.take_outbound("c", ME, LATER)
    store.postpone(first, 0.0, "slow down")
    again = store.take_outbound("c", ME, LATER)
    assert again is not None
    assert again.repeat


def test_a_refused_message_lets_the_next_one_through(store: ChatStore) -> None:
    first, second = posted(store, "first", "second")
    store.take_outbound("c", ME, LATER)
    store.refuse(first, "blocked")
    assert [(one.id, one.error) for one in store.refused()] == [(first, "blocked")]
    assert [one.id for one in store.unsent()] == [second]


def test_a_message_is_posted_once_for_its_key(store: ChatStore) -> None:
    first = store.post("c", "answer", key="turn:1")
    assert store.post("c", "answer", key="turn:1") is None
    found = store.posted("turn:1")
    assert found is not None
    assert found.id == first
    assert store.posted("turn:2") is None


def test_what_a_dead_process_was_sending_is_a_possible_repeat(store: ChatStore) -> None:
    first, _ = posted(store, "first", "second")
    store.take_outbound("c", OTHER, LATER)
    assert store.reclaim_outbound(lambda _lease: True) == []
    again = store.reclaim_outbound(lambda teller: teller.worker != "other")
    assert [(one.id, one.repeat) for one in again] == [(first, True)]
    taken = store.take_outbound("c", ME, LATER)
    assert taken is not None
    assert taken.repeat


def test_a_live_message_is_sent_only_when_it_is_whole_and_after_what_came_before(store: ChatStore) -> None:
    live = store.post("c", "", key="turn:1", live=True)
    assert live is not None
    store.set_live(live, "m7")
    (reply,) = posted(store, "reply to /status")
    assert [one.id for one in store.unsent()] == [reply]
    store.complete(live, "the answer")
    store.complete(live, "not twice")
    assert [(one.id, one.payload, one.message_id) for one in store.unsent()] == [
        (reply, "reply to /status", ""),
        (live, "the answer", "m7"),
    ]


def test_what_is_over_is_forgotten_after_a_while_and_nothing_else(store: ChatStore) -> None:
    store.receive("telegram", "1", "c", "{}")
    store.receive("telegram", "2", "c", "{}")
    store.dealt_with("telegram", "1")
    first, second = posted(store, "first", "second")
    store.take_outbound("c", ME, LATER)
    store.mark_sent(first, "m1")
    assert store.forget_chats(before=LATER) == 2
    assert [one.message_id for one in store.received()] == ["2"]
    assert [one.id for one in store.unsent()] == [second]


def test_several_messages_are_received_at_once_and_known_each(store: ChatStore) -> None:
    rows = [("telegram", number, "c", "{}") for number in ("1", "2", "1")]
    assert store.receive_all(rows) == [True, True, False]
    assert [one.message_id for one in store.received()] == ["1", "2"]


def test_chats_that_wait_are_known_without_their_messages(store: ChatStore) -> None:
    posted(store, "one", "two")
    assert store.waiting_chats() == ["c"]
    store.take_outbound("c", ME, LATER)
    assert store.waiting_chats() == ["c"]


def test_notes_are_kept_by_name_and_forgotten(store: ChatStore) -> None:
    store.note("home:telegram", "telegram:1")
    store.note("home:slack", "slack:C1")
    store.note("homer", "x")
    store.note("home:slack", "slack:C2")
    assert store.notes("home:") == {"home:slack": "slack:C2", "home:telegram": "telegram:1"}
    store.note("home:slack", "")
    assert store.notes("home:") == {"home:telegram": "telegram:1"}


class Chats(Store, ChatStore, Protocol):
    """Both halves."""


@pytest.fixture
def chats(store: Chats) -> Chats:
    return store


@pytest.mark.parametrize("tail", ["", "/4", "@7", "/4@7"])
def test_what_is_kept_of_a_chat_follows_it(chats: Chats, tail: str) -> None:
    old, new, other = f"telegram:-5{tail}", f"telegram:-1005{tail}", f"telegram:-55{tail}"
    for key in (old, other):
        chats.create_session(f"s{key}", source=key)
        chats.create_session(f"w{key}", source=f"handoff:{key}")
        task = chats.create_task(prompt="x", owner=f"chat:{key}", settings="{}")
        chats.update_task(task.id, state="done")
        chats.create_task(prompt="x", owner=f"turn:{key}", settings="{}")
        chats.receive("telegram", key, key, "{}")
        chats.post(key, "{}", key=key)
        for name in ("voice:", "handoff:", "lent:"):
            chats.note(f"{name}{key}", "tts")
        chats.note(f"home:{key}", key)
    for _ in range(2):
        chats.move_chat("telegram:-5", "telegram:-1005")
    for key, there in ((old, False), (new, True), (other, True)):
        assert bool(chats.sessions(source=key)) == there
        assert bool(chats.sessions(source=f"handoff:{key}")) == there
        assert bool(chats.tasks(owner=f"chat:{key}")) == there
        assert bool(chats.tasks(owner=f"turn:{key}")) == there
        assert bool(chats.undelivered(f"chat:{key}")) == there
        assert any(one.chat == key for one in chats.received()) == there
        assert bool(chats.unsent(key)) == there
        assert [f"{name}{key}" in chats.notes(name) for name in ("voice:", "handoff:", "lent:")] == [there] * 3
        assert (key in chats.notes("home:").values()) == there


def test_the_rows_of_turns_that_ended_are_forgotten_and_their_conversations_are_not(chats: Chats) -> None:
    def ended(owner: str, *, told: bool) -> Task:
        chats.create_session("s", source="c")
        task = chats.create_task(prompt="go", owner=owner, settings="{}", session_id="s")
        chats.claim_task(ME)
        chats.update_task(task.id, state="done", finished=100.0, result="Done.")
        if told:
            chats.mark_told(task.id, owner)
        return task

    old, owed, others = ended("turn:c", told=True), ended("turn:c", told=False), ended("chat:c", told=True)
    live = chats.create_task(prompt="go", owner="turn:c", settings="{}", session_id="s")
    assert chats.forget_chats(before=99.0) == 0
    assert chats.forget_chats(before=101.0) == 1
    assert {task.id for task in chats.tasks()} == {owed.id, others.id, live.id}
    assert chats.task(old.id) is None
    assert chats.session("s") is not None


def test_a_place_is_heard_of_once_however_many_people_speak_there(store: ChatStore) -> None:
    """Each has a conversation of their own in a group, and a busy one must not keep others from being asked."""
    store.receive("discord", "1", "discord:9", "{}")
    for number in range(2, 60):
        store.receive("discord", str(number), f"discord:100/5@{number}", "{}")
    assert set(store.last_received("discord", limit=2)) == {"discord:9", "discord:100/5"}


def test_it_is_known_whether_a_message_was_dealt_with(store: ChatStore) -> None:
    store.receive("telegram", "1", "c", "{}")
    assert not store.is_dealt_with("telegram", "1")
    store.dealt_with("telegram", "1")
    assert store.is_dealt_with("telegram", "1")
    assert not store.is_dealt_with("discord", "1")


def test_what_is_written_together_is_kept_together(tmp_path: Path) -> None:
    store, other = SqliteStore(tmp_path / "db"), SqliteStore(tmp_path / "db")
    store.receive("telegram", "1", "c", "{}")

    def dies() -> None:
        with store.together():
            store.post("c", "one")
            store.dealt_with("telegram", "1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dies()
    assert (store.unsent(), other.is_dealt_with("telegram", "1")) == ([], False)
    with store.together():
        store.post("c", "two")
        store.dealt_with("telegram", "1")
        assert other.unsent() == [], "nobody sees the half of it"
    assert [one.payload for one in other.unsent()] == ["two"]
    assert other.is_dealt_with("telegram", "1")
    store.close()
    other.close()


def test_a_part_that_fails_is_undone_and_the_rest_of_what_is_written_together_kept(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "db")

    def fails() -> None:
        with store._database.write() as connection:
            connection.execute("INSERT INTO notes VALUES ('half', '1')")
            connection.execute("INSERT INTO nowhere VALUES (1)")

    with store.together():
        store.note("whole", "1")
        with pytest.raises(StoreError):
            fails()
    assert store.notes("") == {"whole": "1"}
    store.close()
