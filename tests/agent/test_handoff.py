"""A session goes from a terminal to a chat and back, and has one writer at any time."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent.errors import HermesError, StoreError
from agent.handoff import HOME, TERMINAL, Handoffs, HandoffStore, chat_of_source
from agent.messages import Message
from agent.records import Lease
from agent.store.memory import MemoryStore
from agent.store.sqlite import SqliteStore
from gateway.markup import DISCORD, SLACK, TELEGRAM
from gateway.outbox import Letter
from hermes_cli.seats import Seats

HERE, THERE = "terminal:1", "telegram:7"
LIVES, DIED = Lease("t", 1, 1.0, 0.0), Lease("d", 2, 1.0, 0.0)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HandoffStore]:
    kept = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "state.db")
    kept.create_session("s", source=TERMINAL, cwd="/w", title="carts")
    kept.append("s", Message("user", "hello"))
    kept.enter("gateway:telegram", LIVES)
    kept.enter("gateway:slack", DIED)
    kept.enter(HERE, LIVES)
    yield kept
    if isinstance(kept, SqliteStore):
        kept.close()


@pytest.fixture
def handoffs(store: HandoffStore) -> Handoffs:
    return Handoffs(store, lambda one: one.pid == 1)


def sent(handoffs: Handoffs) -> None:
    handoffs.send("s", THERE, terminal=HERE, said="› hello")


def source(store: HandoffStore, session_id: str = "s") -> str:
    row = store.session(session_id)
    assert row is not None
    return row.source


def test_it_waits_in_the_chat_which_is_told(store: HandoffStore, handoffs: Handoffs) -> None:
    sent(handoffs)
    (letter,) = store.unsent(THERE)
    text = msgspec.json.decode(letter.payload, type=Letter).text
    assert "carts" in text
    assert "› hello" in text
    assert chat_of_source(source(store)) == THERE
    assert store.sessions(source=TERMINAL) == []


@pytest.mark.parametrize("words", ["word ", "🙂", "_*x", "- a\n", "x\n", "文"])
def test_what_the_chat_is_shown_fits_one_message_of_any_platform(
    store: HandoffStore, handoffs: Handoffs, words: str
) -> None:
    handoffs.send("s", THERE, terminal=HERE, said=f"› {words * 2000}")
    (letter,) = store.unsent(THERE)
    text = msgspec.json.decode(letter.payload, type=Letter).text
    assert all(dialect.fits(text) for dialect in (DISCORD, SLACK, TELEGRAM))
    assert text.startswith("⇄ From the terminal: carts\n\n› ")
    assert text.endswith("The next message here goes on with it; /handoff terminal gives it back.")


def test_whoever_claims_it_has_it_and_once(store: HandoffStore, handoffs: Handoffs) -> None:
    sent(handoffs)
    waiting = handoffs.waiting(THERE)
    assert waiting is not None
    assert handoffs.claim(waiting, THERE, THERE)
    assert not handoffs.claim(waiting, THERE, "telegram:8")
    assert source(store) == THERE
    assert handoffs.waiting(THERE) is None


def test_the_terminal_that_lives_hears_of_its_return_under_the_id_it_has_then(
    store: HandoffStore, handoffs: Handoffs
) -> None:
    sent(handoffs)
    waiting = handoffs.waiting(THERE)
    assert waiting is not None
    handoffs.claim(waiting, THERE, THERE)
    child = store.continue_session("s", store.messages("s"))
    assert handoffs.give_back(child, THERE)
    assert handoffs.returned(HERE) == {child: THERE}
    assert source(store, child) == TERMINAL
    handoffs.heard(HERE, child)
    assert handoffs.returned(HERE) == {}


def test_nobody_is_told_where_the_terminal_is_gone(store: HandoffStore, handoffs: Handoffs) -> None:
    sent(handoffs)
    waiting = handoffs.waiting(THERE)
    assert waiting is not None
    handoffs.claim(waiting, THERE, THERE)
    store.depart(HERE)
    assert not handoffs.give_back("s", THERE)
    assert store.notes("back:") == {}


def test_a_terminal_takes_back_what_waits_and_what_a_chat_has(store: HandoffStore, handoffs: Handoffs) -> None:
    sent(handoffs)
    handoffs.take("s")
    assert source(store) == TERMINAL
    assert handoffs.waiting(THERE) is None
    store.create_session("c", source=THERE, cwd="/chats/7")
    handoffs.take("c")
    assert source(store, "c") == TERMINAL
    assert "goes on in a terminal" in store.unsent(THERE)[-1].payload
    assert store.sessions(source=THERE, limit=1)[0].cwd == "", "the chat begins a new one"


def test_no_two_write(store: HandoffStore, handoffs: Handoffs) -> None:
    """A chat's turn is stored only on what is the chat's, and what has a live turn does not move."""
    with pytest.raises(StoreError, match="elsewhere"):
        store.create_task(prompt="x", owner=f"turn:{THERE}", settings="{}", session_id="s", source=THERE)
    assert store.tasks() == []
    store.create_session("c", source=THERE, cwd="/chats/7")
    task = store.create_task(prompt="x", owner=f"turn:{THERE}", settings="{}", session_id="c", source=THERE)
    for move in (lambda: handoffs.take("c"), lambda: handoffs.give_back("c", THERE)):
        with pytest.raises(StoreError, match=f"#{task.number} still works"):
            move()
    store.update_task(task.id, state="done", told=True)
    handoffs.take("c")


def test_an_archived_session_moves_nowhere(store: HandoffStore, handoffs: Handoffs) -> None:
    store.continue_session("s", [])
    with pytest.raises(HermesError, match="goes on elsewhere"):
        sent(handoffs)


PLACES = [
    ("discord", "No platform 'discord' is set up", "slack, telegram"),
    ("slack", "No gateway serves slack now", "hermes gateway"),
    ("telegram", "telegram has no home chat", "/sethome"),
    ("telegram:404", "Nobody has written to Hermes in telegram:404", ""),
    ("telegram:../x", "Nobody has written", ""),
    ("", "No platform ''", ""),
]


@pytest.mark.parametrize(("asked", "problem", "advice"), PLACES)
def test_what_cannot_be_says_why(handoffs: Handoffs, asked: str, problem: str, advice: str) -> None:
    with pytest.raises(HermesError, match=problem) as caught:
        handoffs.place(asked, ["telegram", "slack"])
    assert advice in caught.value.hint


def test_the_home_or_a_chat_that_is_known(store: HandoffStore, handoffs: Handoffs) -> None:
    store.note(f"{HOME}telegram", "telegram:-1001")
    store.create_session("c", source="telegram:42", cwd="/chats/42")
    assert handoffs.place("Telegram", ["telegram"]) == "telegram:-1001"
    assert handoffs.place("telegram:42", ["telegram"]) == "telegram:42"


def test_one_at_a_time_waits_in_a_chat(store: HandoffStore, handoffs: Handoffs) -> None:
    sent(handoffs)
    store.create_session("other", source=TERMINAL)
    with pytest.raises(HermesError, match="Another conversation waits"):
        handoffs.send("other", THERE, terminal=HERE, said="")
    assert source(store, "other") == TERMINAL


def test_no_terminal_takes_a_seat_on_what_is_a_chat_s_or_waits_in_one(store: HandoffStore, handoffs: Handoffs) -> None:
    seats = Seats(store)
    assert seats.take("s") == ""
    seats.give_up("s")
    sent(handoffs)
    store.create_session("c", source=THERE, cwd="/chats/7")
    for session_id in ("s", "c"):
        assert seats.take(session_id) == f"the chat {THERE}"
        with pytest.raises(HermesError, match="open in the chat"):
            seats.require(session_id)
    handoffs.take("s")
    assert seats.take("s") == ""
    seats.close()


def test_a_group_in_which_each_has_a_conversation_is_known(store: HandoffStore, handoffs: Handoffs) -> None:
    store.create_session("g", source="telegram:-1002/45@7", cwd="/chats/7")
    store.receive("telegram", "1", "telegram:-1002/45@7", "{}")
    assert handoffs.place("telegram:-1002/45", ["telegram"]) == "telegram:-1002/45"
    with pytest.raises(HermesError, match="Nobody has written"):
        handoffs.place("telegram:-1002", ["telegram"])
