"""Discord end to end: the real SDK against a gateway and a REST API of our own."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from discord.utils import time_snowflake

from agent import commands
from agent.errors import ConfigError
from gateway.config import Platform, PlatformConfig
from gateway.platforms.base import Attachment, Button, OutgoingFile, Refused, RetryAfter, Unavailable, Unreadable
from gateway.platforms.discord import Discord
from gateway.platforms.registry import open_adapter
from gateway.session import Chat
from tests.support.discord_server import ANN, BOT, CHANNEL, DM, ME, THREAD, TOKEN, DiscordServer
from tests.support.inbox import Inbox
from tests.support.web_server import Cut, Nonsense, Status

HERE = Chat(platform=Platform.DISCORD, chat_id=DM)


def opened(server: DiscordServer) -> Discord:
    options = {"api_url": server.api_url, "gateway_url": server.gateway_url}
    adapter = open_adapter(PlatformConfig(platform=Platform.DISCORD, options=options, secrets={"bot_token": TOKEN}))
    assert isinstance(adapter, Discord)
    return adapter


@pytest.fixture
async def server() -> AsyncIterator[DiscordServer]:
    async with DiscordServer() as server:
        yield server


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
async def bot(server: DiscordServer, inbox: Inbox) -> AsyncIterator[Discord]:
    adapter = opened(server)
    await adapter.connect(inbox)
    yield adapter
    await adapter.disconnect()


# -- what was missed --------------------------------------------------------------------------------


async def test_what_was_written_while_nobody_listened_comes_first_and_says_whether_the_bot_was_meant(
    server: DiscordServer, inbox: Inbox
) -> None:
    def number(seconds: float) -> str:
        return str(time_snowflake(datetime.now(UTC) - timedelta(seconds=seconds)))

    async def heard() -> Mapping[Chat, float]:
        since = time.time() - 100
        return {HERE: since, Chat(platform=Platform.DISCORD, chat_id=CHANNEL): since}

    await server.says("heard before", id=number(200))
    await server.says("are you there?", id=number(50))
    await server.says("among others", channel=CHANNEL, id=number(40))
    await server.says("hello?", id=number(30))
    adapter = opened(server)
    adapter.heard = heard
    await adapter.connect(inbox)
    await server.says("now")
    await inbox.first(4)
    await adapter.disconnect()
    assert inbox.texts == ["are you there?", "hello?", "among others", "now"]
    assert [event.addressed for event in inbox.events] == [True, True, False, True]
    assert [event.source.is_group for event in inbox.events] == [False, False, True, False]


async def test_a_place_that_is_gone_keeps_nothing_else_from_being_heard(server: DiscordServer, inbox: Inbox) -> None:
    async def heard() -> Mapping[Chat, float]:
        return {HERE: 0.0}

    server.fail_next("messages.list", Status(403, text="Missing Access"))
    adapter = opened(server)
    adapter.heard = heard
    await adapter.connect(inbox)
    await server.says("now")
    assert (await inbox.first()).text == "now"
    await adapter.disconnect()


async def test_what_was_missed_holds_up_neither_an_interaction_nor_for_long_what_comes_now(
    server: DiscordServer, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.platforms.discord.CATCH_UP_WITHIN", 3.0)

    async def heard() -> Mapping[Chat, float]:
        await asyncio.Event().wait()
        return {}

    adapter = opened(server)
    adapter.heard = heard
    await adapter.connect(inbox)
    await server.says("now")
    await server.interacts(3, {"custom_id": "yes:1", "component_type": 2}, message_id="55")
    assert (await inbox.first()).kind == "press"
    assert (await inbox.first(2)).text == "now"
    await server.interacts(3, {"custom_id": "yes:2", "component_type": 2}, message_id="55")
    assert (await inbox.first(3)).data == "yes:2"
    await adapter.disconnect()


# -- in --------------------------------------------------------------------------------------------


async def test_a_direct_message_arrives(server: DiscordServer, inbox: Inbox, bot: Discord) -> None:
    message_id = await server.says("hello")
    event = await inbox.first()
    assert (event.text, event.message_id, event.event_id, event.addressed) == ("hello", message_id, message_id, True)
    assert (event.source.chat_id, event.source.user_id, event.source.user_name) == (DM, "7", "Ann")
    assert not event.source.is_group


async def test_a_channel_message_says_whether_the_bot_is_meant(
    server: DiscordServer, inbox: Inbox, bot: Discord
) -> None:
    def answer_to(author: dict[str, Any]) -> dict[str, Any]:
        before = server._message("55", CHANNEL, "before") | {"author": author}
        return {
            "message_reference": {"message_id": "55", "channel_id": CHANNEL},
            "referenced_message": before,
            "type": 19,
        }

    await server.says("just talking", channel=CHANNEL)
    await server.says(f"<@{ME}> what now?", channel=CHANNEL, mentions=[BOT])
    await server.says("<@8> what now?", channel=CHANNEL)
    await server.says("yes", channel=CHANNEL, **answer_to(BOT))
    await server.says("yes", channel=CHANNEL, **answer_to(ANN))
    await server.says("@everyone", channel=CHANNEL, mention_everyone=True)
    await server.says("in my thread", channel=THREAD)
    await inbox.first(7)
    assert [event.addressed for event in inbox.events] == [False, True, False, True, False, False, True]
    assert inbox.texts[1] == "what now?"
    assert (inbox.events[3].reply_to, inbox.events[3].quoted) == ("55", "before")
    assert all(event.source.is_group for event in inbox.events)


async def test_a_thread_belongs_to_its_channel(server: DiscordServer, inbox: Inbox, bot: Discord) -> None:
    await server.says("hello", channel=THREAD)
    source = (await inbox.first()).source
    assert (source.chat_id, source.thread_id) == (CHANNEL, THREAD)


async def test_an_edit_is_told_as_such_and_a_preview_is_none(server: DiscordServer, inbox: Inbox, bot: Discord) -> None:
    preview = server._message("77", DM, "https://x.example") | {"author": ANN}
    await server.dispatch("MESSAGE_UPDATE", preview)
    await server.says("corrected", edited=True)
    await inbox.first()
    assert [(event.text, event.kind) for event in inbox.events] == [("corrected", "edit")]
    assert inbox.events[0].event_id != inbox.events[0].message_id


async def test_bots_webhooks_and_notices_are_not_heard(server: DiscordServer, inbox: Inbox, bot: Discord) -> None:
    await server.says("beep", author={**ANN, "bot": True})
    await server.says("hook", webhook_id="9")
    await server.says("pinned", type=6)
    await server.says("hello")
    await inbox.first()
    assert inbox.texts == ["hello"]


async def test_a_forwarded_message_is_marked(server: DiscordServer, inbox: Inbox, bot: Discord) -> None:
    inner = {
        "content": "/approve",
        "timestamp": "2025-01-01T00:00:00+00:00",
        "edited_timestamp": None,
        "mentions": [],
        "attachments": [],
        "embeds": [],
        "type": 0,
        "flags": 0,
        "components": [],
    }
    reference = {"type": 1, "message_id": "55", "channel_id": DM}
    await server.says("", message_snapshots=[{"message": inner}], message_reference=reference)
    event = await inbox.first()
    assert (event.text, event.forwarded) == ("/approve", True)


async def test_a_press_is_stored_and_then_answered(server: DiscordServer, inbox: Inbox, bot: Discord) -> None:
    event_id = await server.interacts(3, {"custom_id": "yes:1", "component_type": 2}, message_id="55")
    event = await inbox.first()
    await server.until(lambda: server.of("interaction.callback"))
    assert (event.kind, event.data, event.message_id, event.event_id) == ("press", "yes:1", "55", event_id)
    assert server.of("interaction.callback")[0]["type"] == 6


async def test_an_application_command_is_as_if_it_were_typed(server: DiscordServer, inbox: Inbox, bot: Discord) -> None:
    options = [{"name": "arguments", "type": 3, "value": "write a poem"}]
    await server.interacts(2, {"id": "1", "name": "background", "type": 1, "options": options}, channel=CHANNEL)
    event = await inbox.first()
    await server.until(lambda: server.of("interaction.callback"))
    assert (event.text, event.addressed, event.source.chat_id) == ("/background write a poem", True, CHANNEL)
    answer = server.of("interaction.callback")[0]
    assert (answer["type"], answer["data"]["content"], answer["data"]["flags"]) == (4, "`/background write a poem`", 64)


async def test_what_cannot_be_stored_is_tried_again_in_order(server: DiscordServer, inbox: Inbox, bot: Discord) -> None:
    inbox.failures = 1
    await server.says("one")
    await server.says("two")
    await inbox.first(2)
    assert (inbox.texts, inbox.refused) == (["one", "two"], 1)


async def test_files_come_with_messages(server: DiscordServer, inbox: Inbox, bot: Discord, tmp_path: Path) -> None:
    server.uploads["a.txt"] = b"12345"
    url = f"{server.url}/cdn/a.txt"
    file = {
        "id": "1",
        "filename": "../a.txt",
        "size": 5,
        "url": url,
        "proxy_url": url,
        "content_type": "text/plain; charset=utf-8",
    }
    await server.says("look", attachments=[file, {**file, "content_type": "image/png", "filename": "b.png"}])
    first, picture = (await inbox.first()).attachments
    assert (first.kind, first.name, first.mime, first.size) == ("document", "../a.txt", "text/plain", 5)
    assert picture.kind == "image"
    assert await bot.fetch(first, tmp_path / "in", limit=5) == 5
    assert (tmp_path / "in").read_bytes() == b"12345"
    with pytest.raises(Refused, match="larger"):
        await bot.fetch(first, tmp_path / "other", limit=4)
    with pytest.raises(Refused, match="any more"):
        await bot.fetch(Attachment(kind="document", handle=f"{server.url}/cdn/gone"), tmp_path / "other", limit=4)


# -- out -------------------------------------------------------------------------------------------


async def test_markdown_goes_to_the_thread_and_nobody_is_pinged(server: DiscordServer, bot: Discord) -> None:
    chat = Chat(platform=Platform.DISCORD, chat_id=CHANNEL, thread_id=THREAD)
    result = await bot.send(chat, "#### **Done** @everyone", reply_to="55")
    [call] = server.of("message.create")
    assert (call["content"], call["path"]) == ("**Done @everyone**", f"channels/{THREAD}/messages")
    assert call["allowed_mentions"] == {"parse": []}
    assert call["message_reference"]["message_id"] == 55
    assert call["enforce_nonce"]
    assert result.message_id in server.messages


async def test_an_edit_replaces_text_and_buttons(server: DiscordServer, bot: Discord) -> None:
    sent = await bot.ask(
        HERE, "May I?", [[Button(label="Yes", data="y1", style="good"), Button(label="No", data="n1")]]
    )
    [row] = server.of("message.create")[0]["components"]
    assert [(button["label"], button["custom_id"], button["style"]) for button in row["components"]] == [
        ("Yes", "y1", 3),
        ("No", "n1", 2),
    ]
    await bot.edit(HERE, sent.message_id, "Yes.")
    assert server.messages[sent.message_id] == "Yes."
    assert server.of("message.edit")[0]["components"] == []


async def test_typing_reactions_threads_and_the_menu(server: DiscordServer, bot: Discord) -> None:
    channel = Chat(platform=Platform.DISCORD, chat_id=CHANNEL)
    await bot.typing(HERE)
    await bot.react(HERE, "55", "👀")
    await bot.react(HERE, "55", "")
    thread = await bot.open_thread(channel, "A task")
    under = await bot.open_thread(channel, "A task", message_id="55")
    with pytest.raises(Refused):
        await bot.open_thread(HERE, "A task")
    await bot.publish(commands.commands_for("gateway"))
    assert [len(server.of(method)) for method in ("typing", "reaction.add", "reaction.remove")] == [1, 1, 1]
    assert thread.chat_id == CHANNEL
    assert under.thread_id.isdigit()
    rows = {row["name"]: row for row in server.of("commands")[0]["rows"]}
    assert rows["background"]["options"][0]["name"] == "arguments"
    assert rows["help"]["description"] == "commands by category"


async def test_a_file_is_sent(server: DiscordServer, bot: Discord, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"data")
    await bot.send_file(HERE, OutgoingFile(data=(tmp_path / "f").read_bytes(), name="a.bin"), caption="**here**")
    await bot.send_file(HERE, OutgoingFile(data=(tmp_path / "f").read_bytes(), name="b.bin"))
    assert [call.files for call in server.calls[-2:]] == [{"a.bin": b"data"}, {"b.bin": b"data"}]
    assert server.calls[-2].params["content"] == "**here**"


# -- bad days --------------------------------------------------------------------------------------


async def test_a_short_flood_is_waited_out_and_a_long_one_told(server: DiscordServer, bot: Discord) -> None:
    server.fail_next("message.create", Status(429, after=0.01))
    await bot.send(HERE, "hi")
    server.fail_next("message.create", Status(429, after=31))
    with pytest.raises(RetryAfter) as caught:
        await bot.send(HERE, "hi")
    assert caught.value.seconds == 31


async def test_a_server_that_fell_over_is_unavailable(server: DiscordServer, bot: Discord) -> None:
    server.fail_next("message.create", Status(503))
    with pytest.raises(Unavailable) as caught:
        await bot.send(HERE, "hi")
    assert not caught.value.uncertain


async def test_a_cut_in_mid_send_leaves_it_uncertain(server: DiscordServer, bot: Discord) -> None:
    server.fail_next("message.create", Cut(done=True))
    with pytest.raises(Unavailable) as caught:
        await bot.send(HERE, "hi")
    assert caught.value.uncertain


async def test_an_answer_that_makes_no_sense_leaves_it_uncertain(server: DiscordServer, bot: Discord) -> None:
    server.fail_next("message.create", Nonsense())
    with pytest.raises(Unreadable) as caught:
        await bot.send(HERE, "hi")
    assert caught.value.uncertain


@pytest.mark.parametrize(
    ("status", "text"), [(403, "Missing Access"), (404, "Unknown Channel"), (400, "Invalid Form Body")]
)
async def test_a_chat_that_is_gone_is_refused(server: DiscordServer, bot: Discord, status: int, text: str) -> None:
    server.fail_next("message.create", Status(status, text))
    with pytest.raises(Refused, match=text):
        await bot.send(HERE, "hi")


async def test_after_a_dropped_connection_the_session_goes_on_with_what_was_missed(
    server: DiscordServer, inbox: Inbox, bot: Discord
) -> None:
    await server.says("before")
    await inbox.first()
    server.drop()
    await server.says("meanwhile")
    await inbox.first(2)
    await server.until(lambda: not bot.problem)
    assert inbox.texts == ["before", "meanwhile"]
    assert server.sessions == {"new": 1, "resumed": 1}


async def test_a_server_that_is_down_is_unavailable(inbox: Inbox) -> None:
    async with DiscordServer() as server:
        bot = opened(server)
    with pytest.raises(Unavailable) as caught:
        await bot.connect(inbox)
    assert not caught.value.uncertain


async def test_a_token_that_is_not_known_is_refused(server: DiscordServer, inbox: Inbox) -> None:
    server.token = "other"
    with pytest.raises(Refused, match="token"):
        await opened(server).connect(inbox)


async def test_a_bot_that_may_not_read_messages_is_told_what_to_switch_on(server: DiscordServer, inbox: Inbox) -> None:
    server.intents_allowed = False
    with pytest.raises(Refused) as caught:
        await opened(server).connect(inbox)
    assert "Message Content Intent" in caught.value.explain()


async def test_a_token_that_is_revoked_ends_the_connection(server: DiscordServer, inbox: Inbox, bot: Discord) -> None:
    await server.close(4004)
    with pytest.raises(Refused, match="4004"):
        await bot.wait()
    assert bot.problem


async def test_an_answer_to_a_press_that_makes_no_sense_is_not_the_end_of_hearing(
    server: DiscordServer, inbox: Inbox, bot: Discord
) -> None:
    server.fail_next("interaction.callback", Nonsense())
    await server.interacts(2, {"id": "1", "name": "help", "type": 1})
    await server.says("am I heard?")
    await inbox.first(2)
    assert inbox.texts == ["/help", "am I heard?"]


async def test_a_token_that_is_revoked_refuses_no_message(server: DiscordServer, inbox: Inbox, bot: Discord) -> None:
    server.token = "other"
    with pytest.raises(Unavailable, match="token"):
        await bot.send(HERE, "hi")


async def test_the_token_is_in_no_log(server: DiscordServer, inbox: Inbox, caplog: pytest.LogCaptureFixture) -> None:
    adapter = opened(server)
    for name in ("discord", "aiohttp", ""):
        caplog.set_level(logging.DEBUG, name)
    await adapter.connect(inbox)
    logging.getLogger("discord").error("the payload was %s", {"token": TOKEN})
    server.fail_next("message.create", Status(400, f"no such token {TOKEN}"))
    with pytest.raises(Refused) as caught:
        await adapter.send(HERE, "hi")
    await adapter.disconnect()
    assert "has connected to Gateway" in caplog.text
    assert TOKEN not in f"{caplog.text} {caught.value}"


def test_without_a_token_it_is_said_where_to_put_it() -> None:
    with pytest.raises(ConfigError) as caught:
        open_adapter(PlatformConfig(platform=Platform.DISCORD))
    assert "DISCORD_BOT_TOKEN" in caught.value.explain()
