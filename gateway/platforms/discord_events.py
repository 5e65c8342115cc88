"""What Discord says happened, as a MessageEvent, and the command table as Discord wants it."""

import re
from collections.abc import Sequence
from typing import Any

import discord

from agent.commands import CommandDef
from gateway.config import Platform
from gateway.platforms.base import Attachment, MediaKind, MessageEvent
from gateway.session import SessionSource

_ARGUMENTS = "arguments"
_TEXT_OPTION = 3
_KINDS: tuple[MediaKind, ...] = ("image", "audio", "video")


def event_of_message(message: discord.Message, channel: Any, me: int, *, edited: bool) -> MessageEvent | None:
    """None for what no person wrote: bots, webhooks, notices. `channel` is the message's, known in full."""
    if message.author.bot or message.webhook_id is not None or message.is_system():
        return None
    forwarded = bool(message.message_snapshots)
    content = message.message_snapshots[0].content if forwarded else message.content
    files = (*message.attachments, *(message.message_snapshots[0].attachments if forwarded else ()))
    attachments = tuple(_attachment(file) for file in files)
    text = _without_mention(content, me)
    if not text and not attachments and not content:
        return None
    answered = message.reference.resolved if message.reference is not None and not forwarded else None
    answered = answered if isinstance(answered, discord.Message) else None
    return MessageEvent(
        text=text,
        source=_source(channel, message.author),
        message_id=str(message.id),
        event_id=f"{message.id}/{int(message.edited_at.timestamp() * 1000)}"
        if edited and message.edited_at
        else str(message.id),
        kind="edit" if edited else "message",
        addressed=message.guild is None
        or any(user.id == me for user in message.mentions)
        or (answered is not None and answered.author.id == me)
        or (isinstance(channel, discord.Thread) and channel.owner_id == me),
        forwarded=forwarded,
        reply_to=str(answered.id) if answered is not None else "",
        quoted=answered.content if answered is not None else "",
        attachments=attachments,
    )


def event_of_press(interaction: discord.Interaction) -> MessageEvent | None:
    data: Any = interaction.data
    if interaction.message is None or interaction.channel is None:
        return None
    return MessageEvent(
        text="",
        source=_source(interaction.channel, interaction.user),
        message_id=str(interaction.message.id),
        event_id=str(interaction.id),
        kind="press",
        addressed=True,
        data=str(data["custom_id"]),
    )


def event_of_command(interaction: discord.Interaction) -> MessageEvent | None:
    """An application command as if it had been typed."""
    data: Any = interaction.data
    if interaction.channel is None:
        return None
    options = {option["name"]: str(option.get("value", "")) for option in data.get("options", ())}
    return MessageEvent(
        text=f"/{data['name']} {options.get(_ARGUMENTS, '')}".strip(),
        source=_source(interaction.channel, interaction.user),
        event_id=str(interaction.id),
        addressed=True,
    )


def command_rows(commands: Sequence[CommandDef]) -> list[dict[str, Any]]:
    """Application commands, each with one free argument: what follows is read by the same parser as everywhere."""
    rows = []
    for command in commands:
        argument = {"type": _TEXT_OPTION, "name": _ARGUMENTS, "description": command.arguments[:100], "required": False}
        row = {"name": command.name, "description": command.summary[:100], "type": 1}
        rows.append(row | ({"options": [argument]} if command.arguments else {}))
    return rows[:100]


def _source(channel: Any, user: discord.abc.User) -> SessionSource:
    in_thread = isinstance(channel, discord.Thread)
    return SessionSource(
        platform=Platform.DISCORD,
        chat_id=str(channel.parent_id if in_thread else channel.id),
        user_id=str(user.id),
        user_name=user.display_name,
        thread_id=str(channel.id) if in_thread else "",
        is_group=not isinstance(channel, discord.DMChannel),
    )


def _attachment(file: discord.Attachment) -> Attachment:
    mime = (file.content_type or "").partition(";")[0]
    kind: MediaKind = next((kind for kind in _KINDS if mime.startswith(f"{kind}/")), "document")
    return Attachment(
        kind="voice" if file.is_voice_message() else kind,
        handle=file.url,
        name=file.filename,
        mime=mime,
        size=file.size,
    )


def _without_mention(text: str, me: int) -> str:
    """The text without the bot's mention at its beginning or end, where it only says who is meant."""
    return re.sub(rf"^\s*<@!?{me}>[\s,:]*|\s*<@!?{me}>\s*$", "", text)
