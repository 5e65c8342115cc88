"""Telegram end to end: the real SDK against a Bot API server of our own."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent import commands
from agent.errors import ConfigError
from gateway.config import Platform, PlatformConfig
from gateway.platforms.base import (
    Attachment,
    Button,
    ChatMoved,
    OutgoingFile,
    Refused,
    RetryAfter,
    Unavailable,
    Unreadable,
)
from gateway.platforms.registry import open_adapter
from gateway.platforms.telegram import Telegram
from gateway.session import Chat
from tests.support.inbox import Inbox
from tests.support.telegram_server import ANN, BOT, GROUP, PRIVATE, TOKEN, TelegramServer
from tests.support.web_server import Cut, Nonsense, Status

HERE = Chat(platform=Platform.TELEGRAM, chat_id="7")
SECRET = "0123456789abcdef-SECRET"


def config(server: TelegramServer, **options: Any) -> PlatformConfig:
    return PlatformConfig(
        platform=Platform.TELEGRAM,
        options={"base_url": server.base_url, "base_file_url": server.base_file_url, **options},
        secrets={"bot_token": TOKEN, "webhook_secret": SECRET},
    )


def opened(server: TelegramServer, **options: Any) -> Telegram:
    adapter = open_adapter(config(server, **options))
    assert isinstance(adapter, Telegram)
    return adapter


@pytest.fixture
async def server() -> AsyncIterator[TelegramServer]:
    async with TelegramServer() as server:
        yield server


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
async def bot(server: TelegramServer, inbox: Inbox) -> AsyncIterator[Telegram]:
    adapter = opened(server, poll_timeout=1)
    await adapter.connect(inbox)
    yield adapter
    await adapter.disconnect()


# -- in --------------------------------------------------------------------------------------------


async def test_a_private_message_arrives(server: TelegramServer, inbox: Inbox, bot: Telegram) -> None:
    update_id = server.says("hello")
    event = await inbox.first()
    assert (event.text, event.event_id, event.addressed, event.kind) == ("hello", str(update_id), True, "message")
    assert (event.source.chat_id, event.source.user_id, event.source.user_name) == ("7", "7", "Ann")
    assert not event.source.is_group


def mention(text: str = "@hermes_bot", offset: int = 0) -> dict[str, Any]:
    return {"entities": [{"type": "mention", "offset": offset, "length": len(text)}]}


async def test_a_group_message_says_whether_the_bot_is_meant(
    server: TelegramServer, inbox: Inbox, bot: Telegram
) -> None:
    reply = {"message_id": 5, "date": 1, "chat": GROUP, "from": BOT, "text": "before"}
    command = {"entities": [{"type": "bot_command", "offset": 0, "length": 5}]}
    others = {"entities": [{"type": "bot_command", "offset": 0, "length": 15}]}
    server.says("just talking", chat=GROUP)
    server.says("@hermes_bot what now?", chat=GROUP, **mention())
    server.says("@hermes_bot2 what now?", chat=GROUP, **mention("@hermes_bot2"))
    server.says("yes", chat=GROUP, reply_to_message=reply)
    server.says("yes", chat=GROUP, reply_to_message={**reply, "from": ANN})
    server.says("/help", chat=GROUP, **command)
    server.says("/help@other_bot", chat=GROUP, **others)
    await inbox.first(7)
    assert [event.addressed for event in inbox.events] == [False, True, False, True, False, True, False]
    assert inbox.texts[1] == "what now?"
    assert (inbox.events[3].reply_to, inbox.events[3].quoted) == ("5", "before")
    assert all(event.source.is_group for event in inbox.events)


async def test_a_topic_is_a_thread_and_its_root_is_no_reply(
    server: TelegramServer, inbox: Inbox, bot: Telegram
) -> None:
    root = {
        "message_id": 50,
        "date": 1,
        "chat": GROUP,
        "from": BOT,
        "forum_topic_created": {"name": "x", "icon_color": 0},
    }
    server.says("in a topic", chat=GROUP, message_thread_id=50, is_topic_message=True, reply_to_message=root)
    server.says("a plain reply chain", chat=GROUP, message_thread_id=60)
    await inbox.first(2)
    assert [event.source.thread_id for event in inbox.events] == ["50", ""]
    assert [event.addressed for event in inbox.events] == [False, False]


async def test_what_is_no_text_and_no_file_is_put_into_words(
    server: TelegramServer, inbox: Inbox, bot: Telegram
) -> None:
    size = {"file_unique_id": "s", "width": 1, "height": 1, "is_animated": False, "is_video": False, "type": "regular"}
    server.says(None, sticker={"file_id": "S1", "emoji": "👍", **size})
    server.says(None, location={"latitude": 52.5, "longitude": 13.4})
    server.says(None, contact={"phone_number": "+491234", "first_name": "Bo"})
    await inbox.first(3)
    assert inbox.texts == ["(a sticker: 👍)", "(a location: 52.5, 13.4)", "(a contact: Bo, +491234)"]


async def test_an_edit_is_told_as_such(server: TelegramServer, inbox: Inbox, bot: Telegram) -> None:
    server.says("corrected", kind="edited_message", edit_date=2)
    assert (await inbox.first()).kind == "edit"


async def test_whoever_hides_behind_a_chat_is_nobody(server: TelegramServer, inbox: Inbox, bot: Telegram) -> None:
    """Anonymous admins and channels write from accounts that all of them share."""
    anonymous = {"id": 1087968824, "is_bot": True, "first_name": "Group", "username": "GroupAnonymousBot"}
    server.says("let me in", chat=GROUP, user=anonymous, sender_chat=GROUP)
    assert (await inbox.first()).source.user_id == ""


async def test_other_bots_channels_and_service_messages_are_not_heard(
    server: TelegramServer, inbox: Inbox, bot: Telegram
) -> None:
    server.says("beep", user={**ANN, "is_bot": True})
    server.says("news", kind="channel_post", chat={"id": -5, "type": "channel", "title": "News"})
    server.says(None, new_chat_title="A new title")
    server.says("hello")
    await inbox.first()
    assert inbox.texts == ["hello"]


async def test_a_forwarded_message_is_marked(server: TelegramServer, inbox: Inbox, bot: Telegram) -> None:
    server.says("/approve", forward_origin={"type": "user", "date": 1, "sender_user": ANN})
    assert (await inbox.first()).forwarded


async def test_a_press_is_stored_and_then_answered(server: TelegramServer, inbox: Inbox, bot: Telegram) -> None:
    server.presses(55, "yes:1")
    event = await inbox.first()
    await server.until(lambda: server.of("answerCallbackQuery"))
    assert (event.kind, event.data, event.message_id, event.source.user_id) == ("press", "yes:1", "55", "7")


async def test_what_was_not_stored_comes_again_in_order(server: TelegramServer, inbox: Inbox, bot: Telegram) -> None:
    inbox.failures = 1
    server.says("one")
    server.says("two")
    await inbox.first(2)
    assert (inbox.texts, inbox.refused) == (["one", "two"], 1)


async def test_an_update_is_acknowledged_only_when_it_was_stored(
    server: TelegramServer, inbox: Inbox, bot: Telegram
) -> None:
    inbox.failures = 2
    update_id = server.says("one")
    await inbox.until(lambda: inbox.refused == 2)
    assert all(call.get("offset", 0) <= update_id for call in server.of("getUpdates"))
    await server.until(lambda: any(call.get("offset") == update_id + 1 for call in server.of("getUpdates")))
    assert inbox.texts == ["one"]


async def test_an_update_that_cannot_be_read_does_not_stop_the_next(
    server: TelegramServer, inbox: Inbox, bot: Telegram
) -> None:
    server.push({"message": {"message_id": "?", "chat": 5}})
    server.push({"message": []})
    server.says("hello")
    await inbox.first()
    assert inbox.texts == ["hello"]


async def test_files_come_with_messages(server: TelegramServer, inbox: Inbox, bot: Telegram, tmp_path: Path) -> None:
    server.uploads["F1"] = b"12345"
    document = {
        "file_id": "F1",
        "file_unique_id": "u",
        "file_name": "../../a.txt",
        "mime_type": "text/plain",
        "file_size": 5,
    }
    sizes = [{"file_id": f"P{n}", "file_unique_id": f"p{n}", "width": n, "height": n, "file_size": n} for n in (1, 2)]
    voice = {"file_id": "V1", "file_unique_id": "v", "duration": 1}
    server.says(None, document=document, caption="look")
    server.says(None, photo=sizes)
    server.says(None, voice=voice)
    await inbox.first(3)
    [(first,), (photo,), (sound,)] = [event.attachments for event in inbox.events]
    assert inbox.texts == ["look", "", ""]
    assert (first.kind, first.name, first.size) == ("document", "../../a.txt", 5)
    assert (photo.kind, photo.handle) == ("image", "P2")
    assert (sound.kind, sound.mime) == ("voice", "audio/ogg")
    assert await bot.fetch(first, tmp_path / "in", limit=5) == 5
    assert (tmp_path / "in").read_bytes() == b"12345"
    for attachment in (first, Attachment(kind="document", handle="F1")):  # whatever size was claimed
        with pytest.raises(Refused, match="larger"):
            await bot.fetch(attachment, tmp_path / "other", limit=4)
    with pytest.raises(Refused, match="file_id"):
        await bot.fetch(Attachment(kind="document", handle="gone"), tmp_path / "other", limit=5)
    assert not (tmp_path / "other").exists()


# -- out -------------------------------------------------------------------------------------------


async def test_markdown_goes_as_html_into_the_topic_it_belongs_to(server: TelegramServer, bot: Telegram) -> None:
    chat = Chat(platform=Platform.TELEGRAM, chat_id="-1001", thread_id="50")
    result = await bot.send(chat, "**Done**: a < b", reply_to="5")
    [call] = server.of("sendMessage")
    assert (call["text"], call["parse_mode"], call["chat_id"]) == ("<b>Done</b>: a &lt; b", "HTML", -1001)
    assert call["message_thread_id"] == 50
    assert call["reply_parameters"] == {"message_id": 5, "allow_sending_without_reply": True}
    assert (-1001, int(result.message_id)) in server.messages


async def test_an_edit_replaces_the_text_and_one_that_changes_nothing_is_fine(
    server: TelegramServer, bot: Telegram
) -> None:
    sent = await bot.send(HERE, "one")
    await bot.edit(HERE, sent.message_id, "two")
    await bot.edit(HERE, sent.message_id, "two")
    assert server.messages[7, int(sent.message_id)] == "two"
    with pytest.raises(Refused, match="not found"):
        await bot.edit(HERE, "1", "two")


async def test_html_that_is_refused_goes_as_plain_text(server: TelegramServer, bot: Telegram) -> None:
    server.fail_next("sendMessage", Status(400, "Bad Request: can't parse entities: unsupported start tag"))
    sent = await bot.send(HERE, "**a** < b")
    assert server.messages[7, int(sent.message_id)] == "a < b"
    assert "parse_mode" not in server.of("sendMessage")[1]


async def test_buttons_are_shown(server: TelegramServer, bot: Telegram) -> None:
    await bot.ask(HERE, "May I?", [[Button(label="Yes", data="y1"), Button(label="No", data="n1")]])
    row = [{"text": "Yes", "callback_data": "y1"}, {"text": "No", "callback_data": "n1"}]
    assert server.of("sendMessage")[0]["reply_markup"] == {"inline_keyboard": [row]}


async def test_typing_reactions_topics_and_the_menu(server: TelegramServer, bot: Telegram) -> None:
    await bot.typing(HERE)
    await bot.react(HERE, "5", "👀")
    await bot.react(HERE, "5", "")
    thread = await bot.open_thread(Chat(platform=Platform.TELEGRAM, chat_id="-1001"), "A task")
    await bot.publish(commands.commands_for("gateway"))
    assert server.of("sendChatAction")[0]["action"] == "typing"
    assert server.of("setMessageReaction")[0]["reaction"] == [{"type": "emoji", "emoji": "👀"}]
    assert thread.thread_id.isdigit()
    menu = {row["command"]: row["description"] for row in server.of("setMyCommands")[0]["commands"]}
    assert menu["background"] == "send a prompt to the background"


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("document", "sendDocument"),
        ("image", "sendPhoto"),
        ("voice", "sendVoice"),
        ("audio", "sendAudio"),
        ("video", "sendVideo"),
    ],
)
async def test_files_are_sent_as_what_they_are(
    server: TelegramServer, bot: Telegram, tmp_path: Path, kind: Any, method: str
) -> None:
    (tmp_path / "f").write_bytes(b"data")
    await bot.send_file(
        HERE, OutgoingFile(data=(tmp_path / "f").read_bytes(), name="a.bin", kind=kind), caption="**here**"
    )
    (sent,) = [one for one in server.calls if one.method == method]
    assert (sent.files, sent.params["caption"]) == ({"a.bin": b"data"}, "<b>here</b>")


async def test_a_picture_that_cannot_be_shown_goes_as_a_document(
    server: TelegramServer, bot: Telegram, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"data")
    server.fail_next("sendPhoto", Status(400, "Bad Request: PHOTO_INVALID_DIMENSIONS"))
    await bot.send_file(HERE, OutgoingFile(data=(tmp_path / "f").read_bytes(), name="a.png", kind="image"))
    (sent,) = [one for one in server.calls if one.method == "sendDocument"]
    assert sent.files == {"a.png": b"data"}


# -- bad days --------------------------------------------------------------------------------------


async def test_flood_control_says_how_long_to_wait(server: TelegramServer, bot: Telegram) -> None:
    server.fail_next("sendMessage", Status(429, after=17))
    with pytest.raises(RetryAfter) as caught:
        await bot.send(HERE, "hi")
    assert caught.value.seconds == 17


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_server_that_fell_over_is_unavailable(server: TelegramServer, bot: Telegram, status: int) -> None:
    server.fail_next("sendMessage", Status(status))
    with pytest.raises(Unavailable) as caught:
        await bot.send(HERE, "hi")
    assert not caught.value.uncertain


@pytest.mark.parametrize("text", ["", "Request Entity Too Large"])
async def test_what_is_too_large_is_not_sent_again(server: TelegramServer, bot: Telegram, text: str) -> None:
    server.fail_next("sendMessage", Status(413, text))
    with pytest.raises(Refused, match="takes nothing that large"):
        await bot.send(HERE, "hi")


async def test_a_cut_in_mid_send_leaves_it_uncertain(server: TelegramServer, bot: Telegram) -> None:
    server.fail_next("sendMessage", Cut(done=True))
    with pytest.raises(Unavailable) as caught:
        await bot.send(HERE, "hi")
    assert caught.value.uncertain


async def test_an_answer_that_makes_no_sense_leaves_it_uncertain(server: TelegramServer, bot: Telegram) -> None:
    server.fail_next("sendMessage", Nonsense())
    with pytest.raises(Unreadable) as caught:
        await bot.send(HERE, "hi")
    assert caught.value.uncertain


@pytest.mark.parametrize(
    ("status", "text"),
    [(403, "Forbidden: bot was blocked by the user"), (400, "Bad Request: chat not found")],
)
async def test_a_chat_that_is_gone_is_refused(server: TelegramServer, bot: Telegram, status: int, text: str) -> None:
    server.fail_next("sendMessage", Status(status, text))
    with pytest.raises(Refused, match=text.rpartition(": ")[2][1:]):
        await bot.send(HERE, "hi")


async def test_polling_goes_on_after_errors_and_dropped_connections(
    server: TelegramServer, inbox: Inbox, bot: Telegram
) -> None:
    server.fail_next("getUpdates", Cut(), Status(502), Status(429, after=0))
    await server.until(lambda: not server._faults["getUpdates"])
    server.says("still there?")
    await inbox.first()
    await server.until(lambda: not bot.problem)


async def test_a_server_that_is_down_is_unavailable_and_nothing_was_sent(inbox: Inbox) -> None:
    async with TelegramServer() as server:
        bot = opened(server, poll_timeout=1)
    with pytest.raises(Unavailable) as caught:
        await bot.connect(inbox)
    assert not caught.value.uncertain


async def test_a_token_that_is_not_known_is_refused(server: TelegramServer, inbox: Inbox) -> None:
    server.token = "1:other"
    with pytest.raises(Refused, match="token") as caught:
        await opened(server).connect(inbox)
    assert TOKEN.partition(":")[2] not in f"{caught.value.explain()} {caught.value.__cause__}"


async def test_a_token_that_is_not_known_refuses_no_message(server: TelegramServer) -> None:
    server.token = "1:other"
    with pytest.raises(Unavailable, match="token"):
        await opened(server).send(HERE, "hi")


async def test_a_token_that_is_revoked_ends_the_connection(server: TelegramServer, inbox: Inbox, bot: Telegram) -> None:
    server.token = "1:other"
    with pytest.raises(Refused, match="token"):
        await bot.wait()
    assert "token" in bot.problem


async def test_the_token_is_in_no_log(server: TelegramServer, inbox: Inbox, caplog: pytest.LogCaptureFixture) -> None:
    adapter = opened(server, poll_timeout=1)
    with caplog.at_level(logging.DEBUG):
        for name in ("httpx", "httpcore", "telegram"):
            caplog.set_level(logging.DEBUG, name)
        await adapter.connect(inbox)
        server.says("hello")
        await inbox.first()
        server.fail_next("sendMessage", Status(500, f"proxy error at /bot{TOKEN}/sendMessage"))
        with pytest.raises(Unavailable) as caught:
            await adapter.send(HERE, "hi")
        logging.getLogger("any").exception("with an exception", exc_info=ValueError(f"https://host/bot{TOKEN}/x"))
        await adapter.disconnect()
    assert "HTTP Request" in caplog.text
    assert TOKEN.partition(":")[2] not in f"{caplog.text} {caught.value}"


# -- webhook ---------------------------------------------------------------------------------------


@pytest.fixture
async def hooked(server: TelegramServer, inbox: Inbox) -> AsyncIterator[Telegram]:
    adapter = opened(server, webhook_url="https://bot.example/hook", webhook_listen="127.0.0.1:0")
    await adapter.connect(inbox)
    yield adapter
    await adapter.disconnect()


MESSAGE = {"update_id": 1, "message": {"message_id": 1, "date": 1, "chat": PRIVATE, "from": ANN, "text": "hello"}}


async def test_a_webhook_is_announced_with_its_secret_and_takes_messages(
    server: TelegramServer, inbox: Inbox, hooked: Telegram
) -> None:
    assert (server.webhook["url"], server.webhook["secret_token"]) == ("https://bot.example/hook", SECRET)
    assert await server.call_webhook(hooked.webhook_port, MESSAGE, SECRET) == 200
    assert inbox.texts == ["hello"]


@pytest.mark.parametrize("secret", [None, "", "wrong", SECRET + "x", SECRET[:-1], SECRET.lower()])
async def test_a_call_without_the_secret_is_turned_away(
    server: TelegramServer, inbox: Inbox, hooked: Telegram, secret: str | None
) -> None:
    assert await server.call_webhook(hooked.webhook_port, MESSAGE, secret) == 403
    assert inbox.events == []


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"{", 400), (b"[]", 400), (b'{"update_id": "1"}', 400), (b"\xff\xfe", 400), (b"x" * 2_000_000, 413)],
)
async def test_what_is_no_update_is_turned_away(
    server: TelegramServer, inbox: Inbox, hooked: Telegram, body: bytes, status: int
) -> None:
    assert await server.call_webhook(hooked.webhook_port, body, SECRET) == status
    assert inbox.events == []


async def test_a_webhook_call_that_was_not_stored_is_not_acknowledged(
    server: TelegramServer, inbox: Inbox, hooked: Telegram
) -> None:
    inbox.failures = 1
    assert await server.call_webhook(hooked.webhook_port, MESSAGE, SECRET) == 503
    assert await server.call_webhook(hooked.webhook_port, MESSAGE, SECRET) == 200
    assert inbox.texts == ["hello"]


# -- set-up ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "secrets", "says"),
    [
        ({}, {}, "TELEGRAM_BOT_TOKEN"),
        ({}, {"bot_token": "nonsense"}, "BotFather"),
        ({"webhook_url": "https://x.example/"}, {"bot_token": TOKEN}, "TELEGRAM_WEBHOOK_SECRET"),
        ({"webhook_url": "https://x.example/"}, {"bot_token": TOKEN, "webhook_secret": "short"}, "16"),
        ({"tokn": "x"}, {"bot_token": TOKEN}, "tokn"),
        ({"poll_timeout": "long"}, {"bot_token": TOKEN}, "poll_timeout"),
    ],
)
def test_a_set_up_that_cannot_work_is_told_so(options: dict[str, Any], secrets: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_adapter(PlatformConfig(platform=Platform.TELEGRAM, options=options, secrets=secrets))
    assert says in caught.value.explain()


async def test_the_parts_of_an_album_belong_together_and_to_whoever_one_of_them_names(
    server: TelegramServer, inbox: Inbox, bot: Telegram
) -> None:
    sizes = [{"file_id": "P", "file_unique_id": "p", "width": 9, "height": 9}]
    server.says(None, photo=sizes, chat=GROUP, media_group_id="before")
    caption = "@hermes_bot what are these?"
    named = {"caption": caption, "caption_entities": mention()["entities"]}
    server.says(None, photo=sizes, chat=GROUP, media_group_id="m1", **named)
    server.says(None, photo=sizes, chat=GROUP, media_group_id="m1")
    await inbox.first(3)
    assert [(one.album, one.addressed) for one in inbox.events] == [("before", False), ("m1", True), ("m1", True)]


async def test_a_group_that_becomes_a_supergroup_says_so(server: TelegramServer, inbox: Inbox, bot: Telegram) -> None:
    old, new = {"id": -5, "type": "group", "title": "Friends"}, {"id": -1005, "type": "supergroup", "title": "Friends"}
    server.says(None, chat=old, migrate_to_chat_id=-1005)
    server.says(None, chat=new, migrate_from_chat_id=-5)
    await inbox.first(2)
    assert [(one.kind, one.source.chat_id, one.data) for one in inbox.events] == [("moved", "-5", "-1005")] * 2
    server.migrated[-5] = -1005
    with pytest.raises(ChatMoved) as caught:
        await bot.send(Chat(platform=Platform.TELEGRAM, chat_id="-5"), "hi")
    assert caught.value.chat_id == "-1005"


async def test_a_token_that_is_revoked_loses_no_message(server: TelegramServer, inbox: Inbox, bot: Telegram) -> None:
    server.token = "revoked"
    with pytest.raises(Unavailable, match="does not take the token"):
        await bot.send(HERE, "hi")
    with pytest.raises(Refused, match="does not take the token"):
        await bot.wait()


async def test_a_location_that_moves_is_one_message(server: TelegramServer, inbox: Inbox, bot: Telegram) -> None:
    place = {"latitude": 1.0, "longitude": 2.0, "live_period": 600}
    server.says(None, location=place)
    for step in range(3):
        server.says(None, kind="edited_message", edit_date=2 + step, location={**place, "latitude": 1.0 + step})
    server.says("here")
    await inbox.first(2)
    assert [(event.kind, event.text) for event in inbox.events] == [
        ("message", "(a location: 1.0, 2.0)"),
        ("message", "here"),
    ]
