"""What Telegram says happened, as a MessageEvent."""

import re
from collections.abc import Iterator

import telegram

from gateway.config import Platform
from gateway.platforms.base import Attachment, MessageEvent
from gateway.session import SessionSource

WANTED = ["message", "edited_message", "callback_query"]
"""The updates that are asked for."""


def event_of(update: telegram.Update, bot_id: int, bot_name: str) -> MessageEvent | None:
    """None for what is nobody's message to the bot: other bots, service messages, channels."""
    event_id = str(update.update_id)
    if update.callback_query is not None:
        return _press(update.callback_query, event_id)
    message = update.message or update.edited_message
    if message is not None and (moved := _moved(message, event_id)) is not None:
        return moved
    if message is None or message.chat.type == "channel" or _is_bot(message):
        return None
    if update.edited_message is not None and message.location is not None:
        return None  # a location that is shared live moves every few seconds
    text = message.text or message.caption or _in_words(message)
    attachments = tuple(_attachments(message))
    if not text and not attachments:
        return None
    answered = _answered(message)
    return MessageEvent(
        text=_without_mention(text, bot_name),
        source=_source(message, _author(message)),
        message_id=str(message.message_id),
        event_id=event_id,
        kind="edit" if update.message is None else "message",
        addressed=message.chat.type == "private" or _is_addressed(message, answered, bot_id, bot_name),
        forwarded=message.forward_origin is not None,
        reply_to=str(answered.message_id) if answered else "",
        quoted=message.quote.text if message.quote else _quoted(answered) if answered else "",
        attachments=attachments,
        album=message.media_group_id or "",
    )


def _quoted(message: telegram.Message) -> str:
    """What somebody answers: also a file, of which the agent has the name only."""
    files = (f"(a {one.kind} named {one.name})" if one.name else f"(a {one.kind})" for one in _attachments(message))
    return message.text or message.caption or _in_words(message) or " ".join(files)


def _in_words(message: telegram.Message) -> str:
    """What is neither text nor a file, as the agent can read it."""
    if sticker := message.sticker:
        return f"(a sticker: {sticker.emoji or sticker.set_name or 'without a sign'})"
    if place := message.location:
        return f"(a location: {place.latitude}, {place.longitude})"
    if person := message.contact:
        return f"(a contact: {' '.join(filter(None, (person.first_name, person.last_name)))}, {person.phone_number})"
    return ""


def _moved(message: telegram.Message, event_id: str) -> MessageEvent | None:
    """A group became a supergroup, which has another id. Both of them say so."""
    old, new = message.chat.id, message.migrate_to_chat_id
    if message.migrate_from_chat_id is not None:
        old, new = message.migrate_from_chat_id, message.chat.id
    if new is None:
        return None
    source = SessionSource(platform=Platform.TELEGRAM, chat_id=str(old), is_group=True)
    return MessageEvent(text="", source=source, event_id=event_id, kind="moved", data=str(new))


def _press(query: telegram.CallbackQuery, event_id: str) -> MessageEvent | None:
    message = query.message
    if message is None or not isinstance(query.data, str):
        return None
    source = _source(message, query.from_user)
    return MessageEvent(
        text="",
        source=source,
        message_id=str(message.message_id),
        event_id=event_id,
        kind="press",
        addressed=True,
        data=query.data,
    )


def _author(message: telegram.Message) -> telegram.User | None:
    """None for whoever writes in the name of a chat: those share one account, which is nobody's."""
    return None if message.sender_chat is not None else message.from_user


def _is_bot(message: telegram.Message) -> bool:
    return message.sender_chat is None and (message.from_user is None or message.from_user.is_bot)


def _source(message: telegram.MaybeInaccessibleMessage, user: telegram.User | None) -> SessionSource:
    in_topic = isinstance(message, telegram.Message) and message.is_topic_message
    return SessionSource(
        platform=Platform.TELEGRAM,
        chat_id=str(message.chat.id),
        user_id=str(user.id) if user else "",
        user_name=user.full_name if user else "",
        thread_id=str(message.message_thread_id) if isinstance(message, telegram.Message) and in_topic else "",
        is_group=message.chat.type != "private",
    )


def _answered(message: telegram.Message) -> telegram.Message | None:
    """The message replied to. In a topic every message hangs on the one that opened it, which is no reply."""
    answered = message.reply_to_message
    return None if answered is None or answered.forum_topic_created is not None else answered


def _is_addressed(message: telegram.Message, answered: telegram.Message | None, bot_id: int, bot_name: str) -> bool:
    if answered is not None and answered.from_user is not None and answered.from_user.id == bot_id:
        return True
    entities = message.parse_entities() or message.parse_caption_entities()
    return any(_names_bot(entity, text, bot_id, bot_name.lower()) for entity, text in entities.items())


def _names_bot(entity: telegram.MessageEntity, text: str, bot_id: int, bot_name: str) -> bool:
    match entity.type:
        case "mention":
            return text.lower() == f"@{bot_name}"
        case "text_mention":
            return entity.user is not None and entity.user.id == bot_id
        case "bot_command":
            return entity.offset == 0 and text.lower().partition("@")[2] in ("", bot_name)
    return False


def _without_mention(text: str, bot_name: str) -> str:
    """The text without the bot's name at its beginning or end, where it only says who is meant."""
    name = re.escape(f"@{bot_name}")
    return re.sub(rf"(?i)^\s*{name}\b[\s,:]*|\s*{name}\s*$", "", text) if bot_name else text


def _attachments(message: telegram.Message) -> Iterator[Attachment]:
    if message.photo:
        photo = message.photo[-1]  # The sizes are in order; the last is the largest.
        yield Attachment(kind="image", handle=photo.file_id, mime="image/jpeg", size=photo.file_size or 0)
    if message.voice:
        yield Attachment(
            kind="voice",
            handle=message.voice.file_id,
            mime=message.voice.mime_type or "audio/ogg",
            size=message.voice.file_size or 0,
        )
    if message.video_note:
        note = message.video_note
        yield Attachment(kind="video", handle=note.file_id, mime="video/mp4", size=note.file_size or 0)
    if file := message.document or message.audio or message.video:
        yield Attachment(
            kind="document" if message.document else "audio" if message.audio else "video",
            handle=file.file_id,
            name=file.file_name or "",
            mime=file.mime_type or "",
            size=file.file_size or 0,
        )
