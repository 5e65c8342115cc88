"""Messages to chats: kept before they are sent, in order, tried until they arrive."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agent.chats import Outbound
from agent.errors import StoreError
from agent.records import Lease
from agent.store.memory import MemoryStore
from gateway.config import Platform
from gateway.formatting import Dialect
from gateway.outbox import REPEAT, Letter, Outbox, address
from gateway.platforms.base import Button, ChatMoved, DeliveryError, Refused, RetryAfter, Unavailable, Unreadable
from gateway.platforms.memory import MemoryPlatform
from gateway.session import Chat
from tests.store.conftest import lease

HERE = Chat(platform=Platform.MEMORY, chat_id="1")
THERE = Chat(platform=Platform.MEMORY, chat_id="2")

SMALL = Dialect(render=str, measure=len, limit=80)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def platform() -> MemoryPlatform:
    return MemoryPlatform()


@pytest.fixture
async def outbox(store: MemoryStore, platform: MemoryPlatform) -> AsyncIterator[Outbox]:
    outbox = made(store, platform)
    yield outbox
    await outbox.close()


def made(
    store: MemoryStore, platform: MemoryPlatform, *, refused: Callable[[Outbound], None] = lambda _: None
) -> Outbox:
    return Outbox(
        store, {Platform.MEMORY: platform}, lease=lease("me"), is_alive=lambda one: one.worker == "me", refused=refused
    )


async def met(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_what_is_posted_arrives_in_order(outbox: Outbox, platform: MemoryPlatform) -> None:
    for number in range(20):
        await outbox.post(HERE, Letter(text=f"message {number}"))
    await outbox.idle()
    assert platform.texts("1") == [f"message {number}" for number in range(20)]


async def test_a_key_is_posted_once(outbox: Outbox, platform: MemoryPlatform) -> None:
    await outbox.post(HERE, Letter(text="the answer"), key="turn:1")
    await outbox.post(HERE, Letter(text="the answer"), key="turn:1")
    await outbox.idle()
    assert platform.texts("1") == ["the answer"]


async def test_flood_control_is_obeyed_and_holds_only_its_own_chat(
    store: MemoryStore, outbox: Outbox, platform: MemoryPlatform
) -> None:
    platform.fail_next(RetryAfter(0.2))
    await outbox.post(HERE, Letter(text="first"))
    await outbox.post(HERE, Letter(text="second"))
    await met(lambda: store.unsent()[0].error != "")
    await outbox.post(THERE, Letter(text="other"))
    await outbox.idle()
    assert [shown.text for shown in platform.shown] == ["other", "first", "second"]


async def test_what_may_have_arrived_is_sent_again_and_marked(
    outbox: Outbox, platform: MemoryPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.outbox.FIRST_PAUSE", 0.01)
    platform.fail_next(Unavailable("cut off", uncertain=True))
    await outbox.post(HERE, Letter(text="hello"))
    await outbox.idle()
    assert platform.texts("1") == ["hello", f"{REPEAT}hello"]


async def test_where_the_answer_cannot_be_read_a_message_is_repeated_once(
    store: MemoryStore, outbox: Outbox, platform: MemoryPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.outbox.FIRST_PAUSE", 0.01)
    platform.fail_next(*(Unreadable("Memory", TypeError()) for _ in range(20)))
    await outbox.post(HERE, Letter(text="hello"), key="k")
    await outbox.idle()
    assert platform.texts("1") == ["hello", f"{REPEAT}hello"]
    left = store.posted("k")
    assert left is not None
    assert left.state == "refused"
    assert left.error == "Memory's answer makes no sense: TypeError. It may have arrived all the same."


async def test_what_may_have_arrived_each_time_is_tried_in_ever_longer_pauses(
    store: MemoryStore, outbox: Outbox, platform: MemoryPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.outbox.FIRST_PAUSE", 0.002)
    platform.fail_next(*(Unavailable("cut off", uncertain=True) for _ in range(20)))
    await outbox.post(HERE, Letter(text="hello"))
    await met(lambda: bool(store.unsent()) and store.unsent()[0].attempts == 3 and store.unsent()[0].error != "")
    await met(lambda: store.unsent()[0].state == "pending")
    assert platform.texts("1") == ["hello", f"{REPEAT}hello", f"{REPEAT}hello"]
    assert 0.3 < store.unsent()[0].due - time.time() < 0.002 * 5 * 8**2 * 1.2
    await outbox.close()


async def test_what_was_not_sent_is_sent_again_without_a_mark(
    outbox: Outbox, platform: MemoryPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.outbox.FIRST_PAUSE", 0.01)
    platform.fail_next(Unavailable("no route"), Unavailable("no route"))
    await outbox.post(HERE, Letter(text="hello"))
    await outbox.idle()
    assert platform.texts("1") == ["hello"]


async def test_a_refusal_is_reported_and_lets_the_next_message_through(
    store: MemoryStore, platform: MemoryPlatform
) -> None:
    told: list[Outbound] = []
    outbox = made(store, platform, refused=told.append)
    platform.fail_next(Refused("blocked by the user"))
    await outbox.post(HERE, Letter(text="first"))
    await outbox.post(HERE, Letter(text="second"))
    await outbox.idle()
    assert platform.texts("1") == ["second"]
    assert [(one.chat, one.error) for one in told] == [(address(HERE), "blocked by the user")]
    await outbox.close()


async def test_what_a_dead_process_left_is_sent_at_the_start(store: MemoryStore, platform: MemoryPlatform) -> None:
    store.post(address(HERE), '{"text": "under way"}')
    store.post(address(HERE), '{"text": "waiting"}')
    store.take_outbound(address(HERE), lease("dead"), 1e12)
    outbox = made(store, platform)
    await outbox.start()
    await outbox.idle()
    assert platform.texts("1") == [f"{REPEAT}under way", "waiting"]
    await outbox.close()


class Unwilling(MemoryStore):
    """Will not hear, so many times, what became of a message."""

    faults = 2

    def _listen(self) -> None:
        if self.faults:
            self.faults -= 1
            raise StoreError("the disk is full")

    def mark_sent(self, outbound_id: int, message_id: str) -> None:
        self._listen()
        super().mark_sent(outbound_id, message_id)

    def postpone(self, outbound_id: int, due: float, error: str, *, repeat: bool = False) -> None:
        self._listen()
        super().postpone(outbound_id, due, error, repeat=repeat)

    def refuse(self, outbound_id: int, error: str) -> None:
        self._listen()
        super().refuse(outbound_id, error)

    def move_chat(self, old: str, new: str) -> None:
        self._listen()
        super().move_chat(old, new)


@pytest.mark.parametrize(
    ("failure", "shown"),
    [
        (None, {"1": ["first", "second"], "2": []}),
        (Unavailable("no route"), {"1": ["first", "second"], "2": []}),
        (Refused("blocked"), {"1": ["second"], "2": []}),
        (ChatMoved("2"), {"1": [], "2": ["first", "second"]}),
    ],
)
async def test_what_became_of_a_message_is_told_to_the_store_until_it_hears_it(
    platform: MemoryPlatform,
    monkeypatch: pytest.MonkeyPatch,
    failure: DeliveryError | None,
    shown: dict[str, list[str]],
) -> None:
    """Else the message counts as under way, and its chat waits for it until the next start."""
    monkeypatch.setattr("gateway.outbox.FIRST_PAUSE", 0.01)
    store = Unwilling()

    async def moved(chat: Chat, chat_id: str) -> None:
        store.move_chat(address(chat), address(Chat(platform=chat.platform, chat_id=chat_id)))

    outbox = Outbox(store, {Platform.MEMORY: platform}, lease=lease("me"), is_alive=lambda one: True, moved=moved)
    if failure is not None:
        platform.fail_next(failure)
    await outbox.post(HERE, Letter(text="first"))
    await outbox.post(HERE, Letter(text="second"))
    await met(lambda: {chat: platform.texts(chat) for chat in "12"} == shown and store.unsent() == [])
    assert store.faults == 0
    await outbox.close()


async def test_a_store_that_hears_nothing_holds_up_nobody_who_leaves(
    platform: MemoryPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.outbox.FIRST_PAUSE", 60.0)
    store = Unwilling()
    outbox = made(store, platform)
    await outbox.post(HERE, Letter(text="hello"))
    await met(lambda: store.faults == 1)
    async with asyncio.timeout(10):
        await outbox.close(seconds=60.0)
    store.faults = 0
    outbox = Outbox(store, {Platform.MEMORY: platform}, lease=lease("next"), is_alive=lambda one: False)
    await outbox.start()
    await outbox.idle()
    assert platform.texts("1") == ["hello", f"{REPEAT}hello"]
    await outbox.close()


async def test_a_long_message_goes_in_parts_with_the_buttons_under_the_last(store: MemoryStore) -> None:
    platform = MemoryPlatform(dialect=SMALL)
    outbox = made(store, platform)
    text = "\n".join(f"line {number}" for number in range(40))
    await outbox.post(HERE, Letter(text=text, buttons=((Button(label="Yes", data="y"),),)), key="k")
    await outbox.idle()
    assert "\n".join(platform.texts("1")) == text
    assert [bool(shown.buttons) for shown in platform.shown] == [False] * (len(platform.shown) - 1) + [True]
    await outbox.close()


async def test_a_live_message_is_completed_by_an_edit(outbox: Outbox, platform: MemoryPlatform) -> None:
    live = await outbox.open_live(HERE, "turn:1")
    assert live is not None
    sent = await platform.send(HERE, "The ans")
    await outbox.set_live(live.id, sent.message_id)
    await outbox.complete(HERE, Letter(text="The answer."), key="turn:1")
    await outbox.idle()
    assert platform.texts("1") == ["The answer."]
    assert await outbox.open_live(HERE, "turn:1") is None


async def test_a_live_message_that_was_deleted_is_sent_anew(outbox: Outbox, platform: MemoryPlatform) -> None:
    live = await outbox.open_live(HERE, "turn:1")
    assert live is not None
    await outbox.set_live(live.id, "gone")
    await outbox.complete(HERE, Letter(text="The answer."), key="turn:1")
    await outbox.idle()
    assert platform.texts("1") == ["The answer."]


async def test_a_file_goes_with_its_name(outbox: Outbox, platform: MemoryPlatform, tmp_path: Path) -> None:
    path = tmp_path / "report.txt"
    path.write_text("figures")
    await outbox.post(HERE, Letter(text="here", file=str(path), file_name="report.txt"))
    await outbox.post(HERE, Letter(text="gone", file=str(tmp_path / "gone"), file_name="gone"))
    await outbox.post(HERE, Letter(text="after"))
    await outbox.idle()
    assert [(shown.text, shown.file_name, shown.file) for shown in platform.shown] == [
        ("here", "report.txt", b"figures"),
        ("after", "", b""),
    ]


async def test_a_file_that_the_platform_does_not_take_is_not_even_read(
    outbox: Outbox, platform: MemoryPlatform, store: MemoryStore, tmp_path: Path
) -> None:
    path = tmp_path / "film.mp4"
    with path.open("wb") as file:
        file.truncate(platform.file_limit + 1)
    await outbox.post(HERE, Letter(text="", file=str(path), file_name="film.mp4"))
    await outbox.idle()
    assert not platform.shown
    assert [one.error for one in store.refused()] == ["It is larger than 1 MB, the most that can be sent there."]


async def test_what_has_no_end_is_not_read(
    outbox: Outbox, platform: MemoryPlatform, store: MemoryStore, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        await outbox.post(HERE, Letter(text="", file=str(path), file_name=path.name))
    await outbox.post(HERE, Letter(text="after"))
    await outbox.idle()
    assert [one.text for one in platform.shown] == ["after"]
    assert ["no file with an end" in one.error for one in store.refused()] == [True, True]


async def test_no_link_on_the_way_leads_another_file_out(
    outbox: Outbox, platform: MemoryPlatform, store: MemoryStore, tmp_path: Path
) -> None:
    for folder in ("mine", "others"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(folder)
    platform.fail_next(RetryAfter(0.3))
    await outbox.post(HERE, Letter(text="first"))
    await outbox.post(HERE, Letter(text="", file=str(tmp_path / "mine" / "a.txt"), file_name="a.txt"))
    (tmp_path / "mine").rename(tmp_path / "gone")
    (tmp_path / "mine").symlink_to(tmp_path / "others")
    await outbox.idle()
    await met(lambda: bool(store.refused()))
    assert [one.file_name for one in platform.shown] == [""]
    assert "not the file any more" in store.refused()[0].error


async def test_closing_leaves_what_waits_for_the_next_process(store: MemoryStore, platform: MemoryPlatform) -> None:
    platform.fail_next(RetryAfter(60))
    outbox = made(store, platform)
    await outbox.post(HERE, Letter(text="later"))
    await met(lambda: bool(store.unsent()) and store.unsent()[0].error != "")
    await outbox.close()
    assert [one.state for one in store.unsent()] == ["pending"]


def test_a_text_for_a_platform_that_another_process_serves_is_split_as_that_takes_it() -> None:
    """It is sent by a process that serves the platform, as it stands."""
    outbox = Outbox(MemoryStore(), {}, lease=Lease("one", 1, 1.0, 0.0), is_alive=lambda _: True)
    chat = Chat(platform=Platform.DISCORD, chat_id="7")
    found = outbox.parts(chat, Letter(text="word " * 900))
    assert len(found) > 1
    assert all(len(part.text) <= 2000 for part in found)
