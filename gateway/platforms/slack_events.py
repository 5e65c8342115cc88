"""What Slack says happened, as a MessageEvent."""

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any

from agent import commands
from gateway.config import Platform
from gateway.platforms.base import Attachment, MediaKind, MessageEvent
from gateway.session import SessionSource

COMMAND = "/hermes"

PATH = "/slack/events"
"""Where HTTP requests of all kinds arrive."""

_HEARD = frozenset({"", "file_share", "thread_broadcast", "me_message"})
"""Kinds of messages that people write; all others are notices."""

_LINK = re.compile(r"<(?P<kind>[#@!]?)(?P<target>[^<>|]*)(?:\|(?P<label>[^<>]*))?>")
_KINDS: tuple[MediaKind, ...] = ("image", "audio", "video")


def event_of_message(event: Mapping[str, Any], me: str) -> MessageEvent | None:
    """None for what no person wrote. A mention arrives twice, as a message and as a mention, with one `event_id`."""
    kind = str(event.get("subtype", ""))
    if kind == "message_changed":
        return _edit(event, me)
    if kind not in _HEARD or "bot_id" in event or event.get("user") in (None, "", me):
        return None
    return _message(event, str(event["channel"]), me)


def _edit(event: Mapping[str, Any], me: str) -> MessageEvent | None:
    message = event.get("message") or {}
    if "edited" not in message or "bot_id" in message or message.get("user") in (None, "", me):
        return None  # Without `edited`, Slack only added a preview.
    return _message(message, str(event["channel"]), me, edited=f"/{message['edited'].get('ts', '')}")


def _message(message: Mapping[str, Any], channel: str, me: str, *, edited: str = "") -> MessageEvent | None:
    raw, ts = str(message.get("text") or ""), str(message["ts"])
    attachments = tuple(_attachments(message))
    if not raw and not attachments:
        return None
    return MessageEvent(
        text=plain(_without_mention(raw, me)),
        source=_source(channel, str(message["user"]), "", str(message.get("thread_ts") or "")),
        message_id=ts,
        event_id=f"{channel}:{ts}{edited}",
        kind="edit" if edited else "message",
        addressed=_is_direct(channel)
        or bool(me and f"<@{me}>" in raw)
        or bool(me and message.get("parent_user_id") == me),
        attachments=attachments,
        reply_to=thread if (thread := str(message.get("thread_ts") or "")) != ts else "",
    )


def event_of_command(body: Mapping[str, Any]) -> MessageEvent:
    """`/hermes status` is /status, `/hermes what is this?` a message, `/hermes` alone /help.

    One word that is nearly a command is taken for one, so that whoever gave it hears of the nearest.
    """
    text = plain(str(body.get("text") or "")).strip() or "help"
    parsed = commands.parse(f"/{text}", "gateway")
    is_command = isinstance(parsed, commands.Parsed) or (
        isinstance(parsed, commands.Unknown) and bool(parsed.near) and len(text.split()) == 1
    )
    return MessageEvent(
        text=f"/{text}" if is_command else text,
        source=_source(str(body["channel_id"]), str(body["user_id"]), str(body.get("user_name") or "")),
        event_id=str(body.get("trigger_id") or ""),
        addressed=True,
    )


def event_of_action(body: Mapping[str, Any]) -> MessageEvent | None:
    """None for a button outside a message."""
    user, channel, message = body.get("user") or {}, body.get("channel") or {}, body.get("message") or {}
    pressed = (body.get("actions") or [{}])[0]
    if not channel.get("id") or not message.get("ts") or not isinstance(pressed.get("value"), str):
        return None
    thread = str(message.get("thread_ts") or "")
    return MessageEvent(
        text="",
        source=_source(str(channel["id"]), str(user.get("id") or ""), str(user.get("username") or ""), thread),
        message_id=str(message["ts"]),
        event_id=f"{channel['id']}:{message['ts']}:{pressed.get('action_ts', '')}",
        kind="press",
        addressed=True,
        data=pressed["value"],
    )


def _source(channel: str, user: str, name: str, thread: str = "") -> SessionSource:
    return SessionSource(
        platform=Platform.SLACK,
        chat_id=channel,
        user_id=user,
        user_name=name,
        thread_id=thread,
        is_group=not _is_direct(channel),
    )


def _is_direct(channel: str) -> bool:
    return channel.startswith("D")


def _without_mention(text: str, me: str) -> str:
    """The text without the bot's mention at its beginning or end, where it only says who is meant."""
    return re.sub(rf"^\s*<@{me}>[\s,:]*|\s*<@{me}>\s*$", "", text) if me else text


def plain(text: str) -> str:
    """The text as it was typed: links as their addresses, escapes undone."""
    return html.unescape(_LINK.sub(_written, text))


def _written(match: re.Match[str]) -> str:
    target, label = match["target"], match["label"]
    match match["kind"]:
        case "#":
            return f"#{label or target}"
        case "@":
            return f"@{label or target}"
        case "!":
            return label or f"@{target.partition('^')[0]}"
    address = target.removeprefix("mailto:")
    return address if label in (None, target, address) or address.endswith(f"//{label}") else f"{label} ({address})"


def _attachments(message: Mapping[str, Any]) -> Iterator[Attachment]:
    for file in message.get("files") or ():
        if file.get("mode") in ("external", "tombstone") or not file.get("url_private"):
            continue  # It lies elsewhere, or is gone.
        mime = str(file.get("mimetype") or "")
        kind: MediaKind = next((kind for kind in _KINDS if mime.startswith(f"{kind}/")), "document")
        yield Attachment(
            kind="voice" if file.get("subtype") == "slack_audio" else kind,
            handle=str(file.get("url_private_download") or file["url_private"]),
            name=str(file.get("name") or ""),
            mime=mime,
            size=int(file.get("size") or 0),
        )
