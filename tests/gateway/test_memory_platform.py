"""The shipped double behaves as the platforms do, bad days included."""

from pathlib import Path

import pytest

from gateway.config import Platform
from gateway.platforms.base import Button, MessageEvent, OutgoingFile, Refused, RetryAfter, Unavailable
from gateway.platforms.memory import MemoryPlatform
from gateway.session import Chat

HERE = Chat(platform=Platform.MEMORY, chat_id="1")


class Inbox:
    """Stores events, unless it is `broken`."""

    def __init__(self) -> None:
        self.events: list[MessageEvent] = []
        self.broken = False

    async def __call__(self, event: MessageEvent) -> None:
        if self.broken:
            raise OSError("the disk is full")
        self.events.append(event)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
async def chats(inbox: Inbox) -> MemoryPlatform:
    platform = MemoryPlatform()
    await platform.connect(inbox)
    return platform


async def test_what_is_said_is_received_and_what_is_sent_is_shown(chats: MemoryPlatform, inbox: Inbox) -> None:
    event = await chats.say("hello", user_id="9")
    sent = await chats.send(event.source.chat, "hi", reply_to=event.message_id)
    await chats.edit(HERE, sent.message_id, "hi there")
    assert inbox.events == [event]
    assert event.addressed
    assert chats.texts("1") == ["hi there"]
    assert chats.shown[0].edits == ["hi"]


async def test_an_event_that_was_not_stored_comes_again(chats: MemoryPlatform, inbox: Inbox) -> None:
    inbox.broken = True
    event = await chats.say("hello")
    inbox.broken = False
    await chats.redeliver()
    assert inbox.events == [event]
    assert not chats.unstored


async def test_faults_come_in_their_order_and_an_uncertain_one_was_shown(chats: MemoryPlatform) -> None:
    chats.fail_next(RetryAfter(3), Refused("blocked"), Unavailable("cut", uncertain=True))
    for fault in (RetryAfter, Refused, Unavailable):
        with pytest.raises(fault):
            await chats.send(HERE, fault.__name__)
    assert chats.texts("1") == ["Unavailable"]


async def test_a_dropped_connection_keeps_what_people_wrote(chats: MemoryPlatform, inbox: Inbox) -> None:
    chats.drop()
    await chats.say("are you there?")
    with pytest.raises(Unavailable):
        await chats.send(HERE, "yes")
    assert (chats.problem, inbox.events) == ("connection lost", [])
    await chats.restore()
    assert [event.text for event in inbox.events] == ["are you there?"]


async def test_a_press_carries_the_data_of_the_button(chats: MemoryPlatform, inbox: Inbox) -> None:
    await chats.ask(HERE, "May I?", [[Button(label="Yes", data="y1")]])
    await chats.press(chats.shown[0], "y1")
    assert (inbox.events[0].kind, inbox.events[0].data, inbox.events[0].message_id) == (
        "press",
        "y1",
        chats.shown[0].message_id,
    )


async def test_files_go_both_ways_within_bounds(chats: MemoryPlatform, tmp_path: Path) -> None:
    attachment = chats.upload("a.txt", b"12345")
    assert await chats.fetch(attachment, tmp_path / "in", limit=5) == 5
    with pytest.raises(Refused):
        await chats.fetch(attachment, tmp_path / "other", limit=4)
    await chats.send_file(HERE, OutgoingFile(data=(tmp_path / "in").read_bytes(), name="b.txt"), caption="here")
    assert (chats.shown[0].file_name, chats.shown[0].file) == ("b.txt", b"12345")


async def test_what_is_too_long_is_refused(chats: MemoryPlatform) -> None:
    with pytest.raises(Refused):
        await chats.send(HERE, "x" * (chats.dialect.limit + 1))


async def test_an_end_for_good_is_raised_to_whoever_waits(chats: MemoryPlatform) -> None:
    chats.end(Refused("the token was revoked"))
    with pytest.raises(Refused, match="revoked"):
        await chats.wait()
