"""Telegram, by long polling or a webhook, with python-telegram-bot.

The SDK's own updater acknowledges what it has queued; this one acknowledges what was stored. So updates are asked for
here, and the SDK does the rest: requests, types, errors.
"""

import asyncio
import contextlib
import hmac
import json
import logging
import re
import time
import warnings
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import telegram
from aiohttp import web
from telegram import error as faults
from telegram.request import HTTPXRequest

from agent.commands import CommandDef
from agent.errors import ConfigError
from gateway.config import Platform, PlatformConfig, checked, secret
from gateway.formatting import Dialect, split
from gateway.logs import keep_out
from gateway.markup import TELEGRAM, shown_by_telegram
from gateway.platforms.base import (
    NONSENSE,
    Attachment,
    Buttons,
    ChatMoved,
    FullAdapter,
    MessageEvent,
    OutgoingFile,
    Receive,
    Refused,
    RetryAfter,
    SendResult,
    Unavailable,
    Unreadable,
    cause,
)
from gateway.platforms.pace import backoff
from gateway.platforms.telegram_updates import WANTED, event_of
from gateway.platforms.web import Listener
from gateway.session import Chat

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

_CAPTION = Dialect(render=TELEGRAM.render, measure=TELEGRAM.measure, limit=1024)
_HASTY = 0.05
"""Seconds: a server that answers sooner with nothing does not wait as it was asked to, and is not asked in a loop."""

_HEADER = "X-Telegram-Bot-Api-Secret-Token"


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[gateway.telegram]`. With `webhook_url` Telegram calls there; a proxy hands that on to `webhook_listen`."""

    base_url: str = "https://api.telegram.org/bot"
    base_file_url: str = "https://api.telegram.org/file/bot"
    webhook_url: str = ""
    webhook_listen: str = "127.0.0.1:8443"
    poll_timeout: int = 50
    local_server: bool = False


def open_adapter(config: PlatformConfig) -> "Telegram":
    """Raises: ConfigError."""
    options = checked(Options, config.options, config.platform)
    token = secret(config, "bot_token", "the token that @BotFather gives")
    if not re.fullmatch(r"\d{3,20}:[\w-]{10,100}", token, re.ASCII):
        raise ConfigError(
            "telegram: that is no bot token.", hint="It looks like 123456789:AAE… and comes from @BotFather."
        )
    if not options.base_url.endswith("/bot") or not options.base_file_url.endswith("/file/bot"):
        raise ConfigError(
            "telegram: base_url ends with /bot, and base_file_url with /file/bot.",
            hint="Example: http://127.0.0.1:8081/bot and http://127.0.0.1:8081/file/bot",
        )
    webhook_secret = ""
    if options.webhook_url:
        webhook_secret = secret(config, "webhook_secret", "a secret for its webhook")
        if not re.fullmatch(r"[\w-]{16,256}", webhook_secret, re.ASCII):
            raise ConfigError("telegram: the webhook's secret is 16 to 256 letters, digits, _ and -.")
    return Telegram(token, options, webhook_secret=webhook_secret)


class _Bot(telegram.Bot):
    """The SDK's bot, and updates as they came: one that does not parse is not the end of all others."""

    async def raw_updates(self, offset: int, wait: int) -> list[Any]:
        data = {"offset": offset, "timeout": wait, "allowed_updates": WANTED}
        found = await self._post("getUpdates", data, read_timeout=wait + 15)
        return found if isinstance(found, list) else []


class Telegram:
    """One bot."""

    platform = Platform.TELEGRAM
    dialect = TELEGRAM
    edit_interval = 2.0
    typing_interval = 5.0
    file_limit = 50_000_000

    def __init__(self, token: str, options: Options, *, webhook_secret: str = "") -> None:
        self._options, self._secret = options, webhook_secret
        self._redact = keep_out([token, token.partition(":")[2], webhook_secret])
        request = HTTPXRequest(connect_timeout=10, read_timeout=20, write_timeout=20, pool_timeout=20)
        self._bot = _Bot(
            token,
            base_url=options.base_url,
            base_file_url=options.base_file_url,
            local_mode=options.local_server,
            request=request,
        )
        self._receive: Receive | None = None
        self._work: asyncio.Task[None] | None = None
        self._listener: Listener | None = None
        self._one_at_a_time = asyncio.Lock()
        self._ended = asyncio.Event()
        self._fatal: Exception | None = None
        self._problem = ""
        self._albums: deque[str] = deque(maxlen=100)

    # -- the connection ----------------------------------------------------------------------------

    @property
    def problem(self) -> str:
        return self._problem

    @property
    def webhook_port(self) -> int:
        """Where the webhook listens, 0 when it does not."""
        return self._listener.port if self._listener is not None else 0

    async def connect(self, receive: Receive) -> None:
        self._receive, self._fatal = receive, None
        self._ended.clear()
        try:
            with self._translated(connecting=True):
                await self._bot.initialize()
                if self._options.webhook_url:
                    await self._listen()
                else:
                    await self._bot.delete_webhook()
        except BaseException:
            await self.disconnect()
            raise
        if not self._options.webhook_url:
            self._work = asyncio.create_task(self._poll(), name="telegram")

    async def wait(self) -> None:
        await self._ended.wait()
        if self._fatal is not None:
            raise self._fatal

    async def disconnect(self) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
            self._work = None
        if self._listener is not None:
            await self._listener.stop()
            self._listener = None
        with contextlib.suppress(faults.TelegramError, httpx.HTTPError):
            await self._bot.shutdown()
        self._ended.set()

    async def _poll(self) -> None:
        offset, failures = 0, 0
        while True:
            try:
                asked = time.monotonic()
                updates = await self._updates(offset)
                for update in updates:
                    await self._take(update)
                    offset = int(update["update_id"]) + 1
                self._problem, failures = "", 0
                if not updates and time.monotonic() - asked < _HASTY:
                    await asyncio.sleep(_HASTY)
            except faults.InvalidToken as error:
                self._fatal = Refused(
                    "Telegram does not take the token any more.", hint="Ask @BotFather for a new one."
                )
                self._problem = str(self._fatal)
                _log.error("telegram: %s", error)
                return self._ended.set()
            except Exception as error:  # noqa: BLE001  (nothing may end the polling: what was not stored comes again)
                failures += 1
                self._problem = self._redact(f"{type(error).__name__}: {error}")
                _log.warning("telegram: receiving failed %d times: %s", failures, self._problem)
                await asyncio.sleep(_pause_after(error, failures))

    async def _updates(self, offset: int) -> Sequence[dict[str, Any]]:
        found = await self._bot.raw_updates(offset, self._options.poll_timeout)
        return [update for update in found if isinstance(update, dict) and isinstance(update.get("update_id"), int)]

    async def _take(self, raw: Mapping[str, Any]) -> None:
        """Store one update. What cannot be read is logged and done with; what cannot be stored raises."""
        try:
            update = telegram.Update.de_json(dict(raw), self._bot)
            event = event_of(update, self._bot.id, self._bot.username or "")
        except Exception:  # noqa: BLE001  (whatever the SDK stumbles on would otherwise come again for ever)
            _log.exception("telegram: update %s cannot be read", raw.get("update_id"))
            return
        if event is None or self._receive is None:
            return
        event = self._addressed_album(event)
        async with self._one_at_a_time:
            await self._receive(event)
        if update.callback_query is not None:
            with contextlib.suppress(faults.TelegramError):  # The sign of waiting goes away by itself.
                await self._bot.answer_callback_query(update.callback_query.id)

    def _addressed_album(self, event: MessageEvent) -> MessageEvent:
        """In a group only one part of an album mentions the bot, or is a reply to it."""
        if event.album and event.addressed and event.album not in self._albums:
            self._albums.append(event.album)
        return replace(event, addressed=event.addressed or event.album in self._albums)

    async def _listen(self) -> None:
        async def called(request: web.Request) -> web.Response:
            if not hmac.compare_digest(request.headers.get(_HEADER, "").encode(), self._secret.encode()):
                return web.Response(status=403)
            try:
                update = json.loads(await request.read())
            except ValueError:
                return web.Response(status=400)
            if not isinstance(update, dict) or not isinstance(update.get("update_id"), int):
                return web.Response(status=400)
            try:
                await self._take(update)
            except Exception:  # noqa: BLE001  (Telegram repeats what it gets no 200 for)
                _log.exception("telegram: update %s could not be stored", update["update_id"])
                return web.Response(status=503)
            return web.Response()

        path = httpx.URL(self._options.webhook_url).path or "/"
        self._listener = Listener(self._options.webhook_listen, path, called)
        await self._listener.start()
        # One connection: with more, two messages of a chat may overtake each other.
        await self._bot.set_webhook(
            self._options.webhook_url, secret_token=self._secret, allowed_updates=WANTED, max_connections=1
        )

    # -- sending -----------------------------------------------------------------------------------

    async def send(self, chat: Chat, content: str, *, reply_to: str = "") -> SendResult:
        return await self._send_text(chat, content, reply_to, None)

    async def ask(self, chat: Chat, content: str, buttons: Buttons, *, reply_to: str = "") -> SendResult:
        rows = [
            [telegram.InlineKeyboardButton(button.label, callback_data=button.data) for button in row]
            for row in buttons
        ]
        return await self._send_text(chat, content, reply_to, telegram.InlineKeyboardMarkup(rows))

    async def _send_text(
        self, chat: Chat, content: str, reply_to: str, markup: telegram.InlineKeyboardMarkup | None
    ) -> SendResult:
        async def send(text: str, mode: str | None) -> telegram.Message:
            return await self._bot.send_message(
                _chat_id(chat),
                text,
                parse_mode=mode,
                message_thread_id=_number(chat.thread_id),
                reply_parameters=_reply(reply_to),
                reply_markup=markup,
                link_preview_options=telegram.LinkPreviewOptions(is_disabled=True),
            )

        with self._translated():
            message = await _formatted(send, self.dialect.render(content))
        return SendResult(message_id=str(message.message_id))

    async def edit(self, chat: Chat, message_id: str, content: str) -> None:
        async def edit(text: str, mode: str | None) -> object:
            return await self._bot.edit_message_text(
                text,
                _chat_id(chat),
                _number(message_id),
                parse_mode=mode,
                link_preview_options=telegram.LinkPreviewOptions(is_disabled=True),
            )

        with self._translated():
            try:
                await _formatted(edit, self.dialect.render(content))
            except faults.BadRequest as error:
                if "not modified" not in str(error):
                    raise

    async def typing(self, chat: Chat) -> None:
        with self._translated():
            await self._bot.send_chat_action(_chat_id(chat), "typing", message_thread_id=_number(chat.thread_id))

    async def send_file(self, chat: Chat, file: OutgoingFile, *, caption: str = "", reply_to: str = "") -> SendResult:
        short = next(iter(split(caption, _CAPTION)), "")
        more: dict[str, Any] = {
            "caption": TELEGRAM.render(short) or None,
            "parse_mode": "HTML",
            "message_thread_id": _number(chat.thread_id),
            "reply_parameters": _reply(reply_to),
        }
        with self._translated():
            try:
                message = await self._send_media(_chat_id(chat), file, more)
            except faults.BadRequest:
                if file.kind == "document":
                    raise
                # A picture too large to be shown, a sound in another format: as a document it arrives.
                message = await self._bot.send_document(_chat_id(chat), file.data, filename=file.name, **more)
        return SendResult(message_id=str(message.message_id))

    async def _send_media(self, chat_id: int, file: OutgoingFile, more: dict[str, Any]) -> telegram.Message:
        match file.kind:
            case "image":
                return await self._bot.send_photo(chat_id, file.data, filename=file.name, **more)
            case "voice":
                return await self._bot.send_voice(chat_id, file.data, filename=file.name, **more)
            case "audio":
                return await self._bot.send_audio(chat_id, file.data, filename=file.name, **more)
            case "video":
                return await self._bot.send_video(chat_id, file.data, filename=file.name, **more)
            case "document":
                return await self._bot.send_document(
                    chat_id, file.data, filename=file.name, disable_content_type_detection=True, **more
                )

    async def fetch(self, attachment: Attachment, to: Path, *, limit: int) -> int:
        if attachment.size > limit:
            raise Refused(f"The file is larger than {limit} bytes.")
        with self._translated():
            file = await self._bot.get_file(attachment.handle)
            if (file.file_size or 0) > limit:
                raise Refused(f"The file is larger than {limit} bytes.")
            data = await file.download_as_bytearray(read_timeout=120)
        if len(data) > limit:
            raise Refused(f"The file is larger than {limit} bytes.")
        await asyncio.to_thread(to.write_bytes, data)
        return len(data)

    async def open_thread(self, chat: Chat, title: str, *, message_id: str = "") -> Chat:
        with self._translated():
            topic = await self._bot.create_forum_topic(_chat_id(chat), title[:128] or "Hermes")
        return Chat(platform=chat.platform, chat_id=chat.chat_id, thread_id=str(topic.message_thread_id))

    async def react(self, chat: Chat, message_id: str, sign: str) -> None:
        with self._translated():
            await self._bot.set_message_reaction(_chat_id(chat), _needed(message_id), sign or None)

    async def publish(self, commands: Sequence[CommandDef]) -> None:
        menu = [
            telegram.BotCommand(command.name, command.summary[:256])
            for command in commands
            if re.fullmatch(r"[a-z0-9_]{1,32}", command.name)
        ]
        with self._translated():
            await self._bot.set_my_commands(menu[:100])

    # -- errors ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _translated(self, *, connecting: bool = False) -> Iterator[None]:
        """The SDK's errors as the gateway's; texts without the token, and without the chain that holds it.

        A token that is not taken refuses the connection, but no message: that waits for the new token.
        """
        try:
            yield
        except faults.RetryAfter as error:
            raise RetryAfter(_seconds(error)) from None
        except faults.InvalidToken:
            if connecting:
                raise Refused("Telegram does not know this bot token.", hint="Ask @BotFather for it.") from None
            raise Unavailable("Telegram does not take the token any more.") from None
        except faults.ChatMigrated as error:
            raise ChatMoved(str(error.new_chat_id)) from None
        except (faults.Forbidden, faults.BadRequest) as error:
            text = self._redact(f"Telegram refused: {error}.")
            # A webhook's host, say, may be found again.
            raise Unavailable(text) if connecting else Refused(text) from None
        except faults.TelegramError as error:
            if "too large" in str(error).lower():
                raise Refused("Telegram takes nothing that large.") from None
            raise Unavailable(
                self._redact(f"Telegram cannot be reached: {cause(error)}."), uncertain=_uncertain(error)
            ) from None
        except NONSENSE as error:
            raise Unreadable("Telegram", error) from error


async def _formatted(send: Callable[[str, str | None], Awaitable[_Result]], markup: str) -> _Result:
    """Send HTML; where Telegram does not understand it, the text without it."""
    if not shown_by_telegram(markup).strip():
        raise Refused("There is nothing to show in this message.")
    try:
        return await send(markup, "HTML")
    except faults.BadRequest as error:
        if "parse entities" not in str(error):
            raise
        _log.warning("telegram: sent as plain text: %s", error)
        return await send(shown_by_telegram(markup), None)


def _uncertain(error: faults.TelegramError) -> bool:
    """Whether the request may have arrived: no answer came, and it was not the connecting that failed."""
    never_sent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
    return isinstance(error.__cause__, httpx.HTTPError) and not isinstance(error.__cause__, never_sent)


def _pause_after(error: Exception, failures: int) -> float:
    return max(_seconds(error), backoff(failures)) if isinstance(error, faults.RetryAfter) else backoff(failures)


def _seconds(error: faults.RetryAfter) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        after = error.retry_after
    return float(after) if isinstance(after, int) else after.total_seconds()


def _chat_id(chat: Chat) -> int:
    return _needed(chat.chat_id)


def _needed(text: str) -> int:
    number = _number(text)
    if number is None:
        raise Refused("That is no id of Telegram's.")
    return number


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?\d{1,19}", text, re.ASCII) else None


def _reply(message_id: str) -> telegram.ReplyParameters | None:
    number = _number(message_id)
    return telegram.ReplyParameters(number, allow_sending_without_reply=True) if number else None


_: type[FullAdapter] = Telegram
