"""Slack end to end: the real SDK against a Web API and Socket Mode of our own."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import commands
from agent.errors import ConfigError
from gateway.config import Platform, PlatformConfig
from gateway.platforms.base import Attachment, Button, OutgoingFile, Refused, RetryAfter, Unavailable, Unreadable
from gateway.platforms.registry import open_adapter
from gateway.platforms.slack import Slack
from gateway.platforms.slack_manifest import slack_manifest
from gateway.session import Chat
from tests.support.inbox import Inbox
from tests.support.slack_server import ANN, APP_TOKEN, BOT_TOKEN, CHANNEL, DIRECT, ME, SIGNING_SECRET, SlackServer
from tests.support.web_server import Cut, Nonsense, Status

HERE = Chat(platform=Platform.SLACK, chat_id=DIRECT)
SECRETS = {"bot_token": BOT_TOKEN, "app_token": APP_TOKEN, "signing_secret": SIGNING_SECRET}


def opened(server: SlackServer, **options: Any) -> Slack:
    options = {"base_url": server.base_url, "ping_interval": 0.2, **options}
    adapter = open_adapter(PlatformConfig(platform=Platform.SLACK, options=options, secrets=SECRETS))
    assert isinstance(adapter, Slack)
    return adapter


@pytest.fixture
async def server() -> AsyncIterator[SlackServer]:
    async with SlackServer() as server:
        yield server


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
async def bot(server: SlackServer, inbox: Inbox) -> AsyncIterator[Slack]:
    adapter = opened(server)
    await adapter.connect(inbox)
    await server.until(lambda: server.sockets)
    yield adapter
    await adapter.disconnect()


@pytest.fixture
async def web(server: SlackServer, inbox: Inbox) -> AsyncIterator[Slack]:
    adapter = opened(server, mode="http", listen="127.0.0.1:0")
    await adapter.connect(inbox)
    yield adapter
    await adapter.disconnect()


# -- in --------------------------------------------------------------------------------------------


async def test_what_was_written_while_nobody_listened_is_fetched_oldest_first(
    server: SlackServer, inbox: Inbox
) -> None:
    since = time.time() - 100

    def wrote(text: str, after: float, **more: str) -> None:
        message = {"type": "message", "user": ANN, "text": text, "ts": f"{since + after:.6f}", "channel": DIRECT}
        server.missed.append({**message, **more})

    async def heard() -> Mapping[Chat, float]:
        return {HERE: since, replace(HERE, thread_id="5.5"): since}

    wrote("heard before", -10)
    wrote("are you there?", 10)
    wrote("mine", 15, user=ME)
    wrote("hello?", 20)
    wrote("in a thread", 30, thread_ts="5.5")
    adapter = opened(server)
    adapter.heard = heard
    await adapter.connect(inbox)
    await adapter.disconnect()
    assert inbox.texts == ["are you there?", "hello?", "in a thread"]
    assert inbox.events[0].event_id == f"{DIRECT}:{since + 10:.6f}"
    assert inbox.events[2].source.thread_id == "5.5"


async def test_a_direct_message_arrives(server: SlackServer, inbox: Inbox, bot: Slack) -> None:
    ts = await server.says("hello &lt;you&gt; &amp; <https://x.example/a|the site>")
    event = await inbox.first()
    assert (event.text, event.message_id, event.addressed) == ("hello <you> & the site (https://x.example/a)", ts, True)
    assert (event.source.chat_id, event.source.user_id, event.source.is_group) == (DIRECT, ANN, False)


async def test_a_channel_message_says_whether_the_bot_is_meant(server: SlackServer, inbox: Inbox, bot: Slack) -> None:
    await server.says("just talking", channel=CHANNEL)
    await server.says(f"<@{ME}> what now?", channel=CHANNEL)
    await server.says("<@U0BOT2> what now?", channel=CHANNEL)
    await server.says("yes", channel=CHANNEL, thread_ts="5.1", parent_user_id=ME)
    await server.says("yes", channel=CHANNEL, thread_ts="5.1", parent_user_id=ANN)
    await inbox.first(5)
    assert [event.addressed for event in inbox.events] == [False, True, False, True, False]
    assert inbox.texts[1] == "what now?"
    assert [event.source.thread_id for event in inbox.events] == ["", "", "", "5.1", "5.1"]
    assert all(event.source.is_group for event in inbox.events)


async def test_a_mention_that_comes_twice_is_one_event(server: SlackServer, inbox: Inbox, bot: Slack) -> None:
    payload = server.message(f"<@{ME}> hello", channel=CHANNEL)
    mention = {name: value for name, value in payload["event"].items() if name != "channel_type"} | {
        "type": "app_mention"
    }
    await server.envelope("events_api", payload)
    await server.envelope("events_api", server.event(mention))
    await inbox.first(2)
    assert inbox.events[0] == inbox.events[1]


async def test_an_edit_is_told_as_such_and_a_preview_is_none(server: SlackServer, inbox: Inbox, bot: Slack) -> None:
    def changed(**message: Any) -> dict[str, Any]:
        return server.event(
            {
                "type": "message",
                "subtype": "message_changed",
                "channel": DIRECT,
                "ts": "9.1",
                "message": {"user": ANN, "ts": "5.1", **message},
            }
        )

    await server.envelope("events_api", changed(text="https://x.example"))
    await server.envelope("events_api", changed(text="corrected", edited={"user": ANN, "ts": "6.1"}))
    event = await inbox.first()
    assert [(event.text, event.kind, event.message_id, event.event_id)] == [
        ("corrected", "edit", "5.1", f"{DIRECT}:5.1/6.1")
    ]
    assert len(inbox.events) == 1


async def test_bots_and_notices_are_not_heard(server: SlackServer, inbox: Inbox, bot: Slack) -> None:
    await server.says("beep", bot_id="B9")
    await server.says("joined", subtype="channel_join")
    await server.says("myself", user=ME)
    await server.says("hello")
    await inbox.first()
    assert inbox.texts == ["hello"]


async def test_a_press_is_stored_and_then_acknowledged(server: SlackServer, inbox: Inbox, bot: Slack) -> None:
    envelope = await server.envelope("interactive", server.press("yes:1", thread_ts="5.1"))
    event = await inbox.first()
    await server.until(lambda: envelope in server.acknowledged)
    assert (event.kind, event.data, event.message_id, event.source.user_id) == ("press", "yes:1", "55.1", ANN)
    assert event.source.thread_id == "5.1"


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("background write a poem", "/background write a poem"),
        ("", "/help"),
        ("what is this?", "what is this?"),
        ("statsu", "/statsu"),
        ("statsu of what?", "statsu of what?"),
        ("zzz", "zzz"),
    ],
)
async def test_a_slash_command_is_as_if_it_were_typed(
    server: SlackServer, inbox: Inbox, bot: Slack, text: str, means: str
) -> None:
    envelope = await server.envelope("slash_commands", server.command(text))
    event = await inbox.first()
    await server.until(lambda: envelope in server.acknowledged)
    assert (event.text, event.addressed, event.source.chat_id) == (means, True, CHANNEL)
    assert server.acknowledged[envelope] == {"text": f"`{means}`"}


async def test_an_envelope_is_acknowledged_only_when_it_was_stored(
    server: SlackServer, inbox: Inbox, bot: Slack
) -> None:
    inbox.failures = 1
    payload = server.message("one")
    await server.send_envelope("events_api", payload, "e1")
    await inbox.until(lambda: inbox.refused)
    await server.envelope("events_api", server.message("two"))
    await server.until(lambda: server.acknowledged)
    assert "e1" not in server.acknowledged
    await server.send_envelope("events_api", payload, "e1")
    await server.until(lambda: "e1" in server.acknowledged)
    assert inbox.texts == ["two", "one"]


async def test_files_come_with_messages_and_the_token_goes_to_slack_alone(
    server: SlackServer, inbox: Inbox, bot: Slack, tmp_path: Path
) -> None:
    server.uploads["F9"] = b"12345"
    file = {
        "id": "F9",
        "name": "../a.txt",
        "mimetype": "text/plain",
        "size": 5,
        "url_private": f"{server.url}/files/F9",
        "mode": "hosted",
    }
    elsewhere = {**file, "mode": "external", "url_private": "https://drive.example/x"}
    await server.says("look", subtype="file_share", files=[file, elsewhere, {**file, "mimetype": "image/png"}])
    first, picture = (await inbox.first()).attachments
    assert (first.kind, first.name, first.size, picture.kind) == ("document", "../a.txt", 5, "image")
    assert await bot.fetch(first, tmp_path / "in", limit=5) == 5
    assert (tmp_path / "in").read_bytes() == b"12345"
    assert server.fetched_with == [f"Bearer {BOT_TOKEN}"]
    with pytest.raises(Refused, match="larger"):
        await bot.fetch(first, tmp_path / "other", limit=4)
    for handle in (
        "https://drive.example/x",
        "http://files.slack.com/x",
        "https://evilslack.com/x",
        f"{server.url}/files/gone",
    ):
        with pytest.raises(Refused):
            await bot.fetch(Attachment(kind="document", handle=handle), tmp_path / "other", limit=4)


# -- over HTTP -------------------------------------------------------------------------------------


async def test_http_requests_with_a_right_signature_are_taken(server: SlackServer, inbox: Inbox, web: Slack) -> None:
    body = json.dumps(server.message("hello"))
    assert (await server.call(web.http_port, body, server.signed(body)))[0] == 200
    form = server.form(server.command("what now?"))
    assert await server.call(web.http_port, form, server.signed(form), form=True) == (200, "`what now?`")
    pressed = server.form({"payload": json.dumps(server.press("yes:1"))})
    assert (await server.call(web.http_port, pressed, server.signed(pressed), form=True))[0] == 200
    assert [event.text or event.data for event in inbox.events] == ["hello", "what now?", "yes:1"]


async def test_the_address_is_verified(server: SlackServer, inbox: Inbox, web: Slack) -> None:
    body = json.dumps({"type": "url_verification", "challenge": "c123", "token": "t"})
    status, answer = await server.call(web.http_port, body, server.signed(body))
    assert (status, json.loads(answer)) == (200, {"challenge": "c123"})


async def test_requests_that_slack_did_not_sign_are_turned_away(server: SlackServer, inbox: Inbox, web: Slack) -> None:
    body = json.dumps(server.message("let me in"))
    good = server.signed(body)
    attempts: list[tuple[str | bytes, dict[str, str]]] = [
        (body, {}),
        (body, {**good, "X-Slack-Signature": ""}),
        (body, {**good, "X-Slack-Signature": "v0=" + "0" * 64}),
        (body, server.signed(body, secret="another secret")),
        (body + " ", good),
        (body, server.signed(body, at=time.time() - 600)),  # a replayed request
        (body, server.signed(body, at=time.time() + 600)),
        (body, {**good, "X-Slack-Request-Timestamp": "soon"}),
        (body, {**good, "X-Slack-Signature": "v0=é"}),
        (server.form({"ssl_check": "1", "payload": body}), {}),
        (b"\xff\xfe", {}),
    ]
    statuses = [(await server.call(web.http_port, *attempt))[0] for attempt in attempts]
    assert statuses == [401] * len(attempts)
    assert inbox.events == []


@pytest.mark.parametrize("body", ["{", "[]", "null", ""])
async def test_what_is_signed_and_makes_no_sense_breaks_nothing(
    server: SlackServer, inbox: Inbox, web: Slack, body: str
) -> None:
    assert (await server.call(web.http_port, body, server.signed(body)))[0] in (400, 404)
    assert inbox.events == []


async def test_a_request_that_was_not_stored_is_not_acknowledged(server: SlackServer, inbox: Inbox, web: Slack) -> None:
    inbox.failures = 1
    body = json.dumps(server.message("hello"))
    assert (await server.call(web.http_port, body, server.signed(body)))[0] == 500
    assert (await server.call(web.http_port, body, server.signed(body)))[0] == 200
    assert inbox.texts == ["hello"]


# -- out -------------------------------------------------------------------------------------------


async def test_markdown_goes_as_mrkdwn_into_its_thread(server: SlackServer, bot: Slack) -> None:
    result = await bot.send(Chat(platform=Platform.SLACK, chat_id=CHANNEL, thread_id="5.1"), "**Done**: a < b")
    shown = server.messages[result.message_id]
    assert (shown["text"], shown["channel"], shown["thread_ts"]) == ("*Done*: a &lt; b", CHANNEL, "5.1")


async def test_an_edit_replaces_text_and_buttons(server: SlackServer, bot: Slack) -> None:
    rows = [[Button(label="Yes", data="y1", style="good"), Button(label="No", data="n1")]]
    sent = await bot.ask(HERE, "May I?", rows)
    section, actions = server.messages[sent.message_id]["blocks"]
    assert section["text"] == {"type": "mrkdwn", "text": "May I?"}
    assert [(item["text"]["text"], item["value"], item.get("style")) for item in actions["elements"]] == [
        ("Yes", "y1", "primary"),
        ("No", "n1", None),
    ]
    await bot.edit(HERE, sent.message_id, "**Yes.**")
    assert (server.messages[sent.message_id]["text"], server.messages[sent.message_id]["blocks"]) == ("*Yes.*", [])
    with pytest.raises(Refused, match="message_not_found"):
        await bot.edit(HERE, "1.1", "x")


async def test_reactions_and_threads(server: SlackServer, bot: Slack) -> None:
    await bot.react(HERE, "5.1", "👀")
    await bot.react(HERE, "5.1", "")
    assert server.of("reactions.add")[0]["name"] == server.of("reactions.remove")[0]["name"] == "eyes"
    server.fail_next("reactions.add", Status(200, "already_reacted"))
    await bot.react(HERE, "5.1", "👀")
    with pytest.raises(Refused):
        await bot.react(HERE, "5.1", "🦆")
    assert (await bot.open_thread(HERE, "A task", message_id="5.1")).thread_id == "5.1"
    thread = await bot.open_thread(HERE, "A task")
    assert server.messages[thread.thread_id]["text"] == "A task"


async def test_a_file_is_sent(server: SlackServer, bot: Slack, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"data")
    await bot.send_file(HERE, OutgoingFile(data=(tmp_path / "f").read_bytes(), name="a.bin"), caption="**here**")
    [done] = server.of("files.completeUploadExternal")
    assert b"data" in server.uploads["F1"]
    assert (done["channel_id"], done["initial_comment"]) == (DIRECT, "*here*")
    assert server.of("files.getUploadURLExternal")[0]["filename"] == "a.bin"


# -- bad days --------------------------------------------------------------------------------------


async def test_flood_control_says_how_long_to_wait(server: SlackServer, bot: Slack) -> None:
    server.fail_next("chat.postMessage", Status(429, after=17))
    with pytest.raises(RetryAfter) as caught:
        await bot.send(HERE, "hi")
    assert caught.value.seconds == 17


@pytest.mark.parametrize("fault", [Status(500), Status(503), Status(200, "internal_error"), Cut(done=True)])
async def test_a_server_that_fell_over_is_unavailable(server: SlackServer, bot: Slack, fault: Status | Cut) -> None:
    server.fail_next("chat.postMessage", fault)
    with pytest.raises(Unavailable) as caught:
        await bot.send(HERE, "hi")
    assert caught.value.uncertain == (not isinstance(fault, Status) or fault.status == 200)
    assert len(server.of("chat.postMessage")) == 1


async def test_an_answer_that_makes_no_sense_leaves_it_uncertain(server: SlackServer, bot: Slack) -> None:
    server.fail_next("chat.postMessage", Nonsense())
    with pytest.raises(Unreadable) as caught:
        await bot.send(HERE, "hi")
    assert caught.value.uncertain


@pytest.mark.parametrize("code", ["channel_not_found", "not_in_channel", "is_archived", "msg_too_long"])
async def test_a_chat_that_is_gone_is_refused(server: SlackServer, bot: Slack, code: str) -> None:
    server.fail_next("chat.postMessage", Status(200, code))
    with pytest.raises(Refused, match=code):
        await bot.send(HERE, "hi")


async def test_after_a_dropped_connection_it_connects_again(server: SlackServer, inbox: Inbox, bot: Slack) -> None:
    server.drop()
    await server.until(lambda: server.connections == 2)
    await server.says("still there?")
    await inbox.first()
    assert not bot.problem


async def test_slack_may_ask_for_a_new_connection(server: SlackServer, inbox: Inbox, bot: Slack) -> None:
    await server.sockets[0].send_json({"type": "disconnect", "reason": "refresh_requested"})
    await server.until(lambda: server.connections == 2)
    await server.says("still there?")
    await inbox.first()


async def test_a_server_that_is_down_is_unavailable(inbox: Inbox) -> None:
    async with SlackServer() as server:
        bot = opened(server)
    with pytest.raises(Unavailable) as caught:
        await bot.connect(inbox)
    assert not caught.value.uncertain


@pytest.mark.parametrize("token", ["bot_token", "app_token"])
async def test_a_token_that_is_not_known_is_refused(server: SlackServer, inbox: Inbox, token: str) -> None:
    setattr(server, token, "other")
    with pytest.raises(Refused, match="invalid_auth"):
        await opened(server).connect(inbox)


async def test_a_token_that_is_not_known_refuses_no_message(server: SlackServer) -> None:
    server.bot_token = "other"
    with pytest.raises(Unavailable, match="token"):
        await opened(server).send(HERE, "hi")


async def test_no_token_is_in_a_log(server: SlackServer, inbox: Inbox, caplog: pytest.LogCaptureFixture) -> None:
    adapter = opened(server)
    for name in ("slack_sdk", "slack_bolt", "aiohttp", ""):
        caplog.set_level(logging.DEBUG, name)
    await adapter.connect(inbox)
    await server.until(lambda: server.sockets)
    logging.getLogger("slack_sdk").error("headers: %s", {"Authorization": f"Bearer {APP_TOKEN}"})
    server.fail_next("chat.postMessage", Status(200, f"bad_{BOT_TOKEN}"))
    with pytest.raises(Refused) as caught:
        await adapter.send(HERE, "hi")
    await adapter.disconnect()
    assert "Received the following response" in caplog.text
    for token in (BOT_TOKEN, APP_TOKEN, SIGNING_SECRET):
        assert token not in f"{caplog.text} {caught.value}"


# -- set-up ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "missing"),
    [({}, "bot_token"), ({}, "app_token"), ({"mode": "http"}, "signing_secret"), ({"mode": "carrier pigeon"}, "")],
)
def test_a_set_up_that_cannot_work_is_told_so(options: dict[str, Any], missing: str) -> None:
    secrets = {name: value for name, value in SECRETS.items() if name != missing}
    with pytest.raises(ConfigError) as caught:
        open_adapter(PlatformConfig(platform=Platform.SLACK, options=options, secrets=secrets))
    assert (f"SLACK_{missing}".upper() if missing else "mode") in caught.value.explain()


def test_the_manifest_is_made_from_the_table() -> None:
    manifest = slack_manifest()
    [command] = manifest["features"]["slash_commands"]
    assert all(
        name in command["usage_hint"] for name in [command.name for command in commands.commands_for("gateway")][:3]
    )
    assert manifest["settings"]["socket_mode_enabled"]
    for address in ("https://bot.example", "https://bot.example/", "https://bot.example/slack/events"):
        over_http = slack_manifest(address=address)
        assert not over_http["settings"]["socket_mode_enabled"]
        assert over_http["settings"]["event_subscriptions"]["request_url"] == "https://bot.example/slack/events"


# -- threads, and tokens that are revoked ----------------------------------------------------------


async def test_the_first_message_in_a_thread_brings_what_it_is_about(
    server: SlackServer, inbox: Inbox, bot: Slack
) -> None:
    root = (await bot.send(Chat(platform=Platform.SLACK, chat_id=CHANNEL), "The build is red.")).message_id
    await server.says("why?", channel=CHANNEL, thread_ts=root, parent_user_id=ME)
    await server.says("and since when?", channel=CHANNEL, thread_ts=root, parent_user_id=ME)
    await server.says("not for you", channel=CHANNEL, thread_ts="7.7", parent_user_id=ANN)
    await inbox.first(3)
    assert [event.quoted for event in inbox.events] == ["The build is red.", "", ""]
    assert [event.reply_to for event in inbox.events] == [root, root, "7.7"]
    assert len(server.of("conversations.replies")) == 1


async def test_a_thread_that_cannot_be_read_stops_no_message(server: SlackServer, inbox: Inbox, bot: Slack) -> None:
    server.fail_next("conversations.replies", Status(200, "missing_scope"))
    await server.says("why?", channel=CHANNEL, thread_ts="5.1", parent_user_id=ME)
    assert (await inbox.first()).text == "why?"


@pytest.mark.parametrize("code", ["token_revoked", "account_inactive", "invalid_auth"])
async def test_a_revoked_token_ends_the_connection_and_loses_no_message(
    server: SlackServer, bot: Slack, code: str
) -> None:
    server.fail_next("chat.postMessage", Status(200, code))
    with pytest.raises(Unavailable, match="does not take the token"):
        await bot.send(HERE, "hi")
    with pytest.raises(Refused, match=code) as caught:
        await bot.wait()
    assert "hermes gateway setup slack" in caught.value.hint
    assert code in bot.problem


async def test_an_app_token_that_is_revoked_is_not_asked_with_for_ever(server: SlackServer, bot: Slack) -> None:
    server.app_token = "xapp-another"
    server.drop()
    with pytest.raises(Refused, match="invalid_auth"):
        await asyncio.wait_for(bot.wait(), 15)
    await bot.disconnect()
    asked = len(server.of("apps.connections.open"))
    await asyncio.sleep(1.5)
    assert len(server.of("apps.connections.open")) == asked


async def test_in_a_channel_an_answer_points_at_its_message_and_keeps_doing_so(server: SlackServer, bot: Slack) -> None:
    channel = Chat(platform=Platform.SLACK, chat_id=CHANNEL)
    sent = await bot.send(channel, "Working…", reply_to="17.000200")
    arrow = f"<https://x.slack.com/archives/{CHANNEL}/p17000200|↩> "
    assert server.messages[sent.message_id]["text"] == f"{arrow}Working…"
    await bot.edit(channel, sent.message_id, "**Done**")
    assert server.messages[sent.message_id]["text"] == f"{arrow}*Done*"
    thread = await bot.send(Chat(platform=Platform.SLACK, chat_id=CHANNEL, thread_id="5.1"), "hi", reply_to="17.000200")
    assert server.messages[thread.message_id]["text"] == "hi"


async def test_what_nobody_asked_for_leaves_no_advice_in_the_log(
    server: SlackServer, bot: Slack, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("slack_bolt.AsyncApp")
    logger.addHandler(caplog.handler)
    try:
        await server.envelope("events_api", server.event({"type": "im_open"}))
        await server.says("hello")
        await inbox.until(lambda: inbox.events)
    finally:
        logger.removeHandler(caplog.handler)
    assert "Suggestion" not in caplog.text
