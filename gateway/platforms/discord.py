"""Discord, over its gateway, with discord.py.

Discord asks for no acknowledgement of messages: what the gateway cannot store at once is tried again here, in order.
The SDK reconnects by itself, and gets what it missed while the session lives; what was written before a session
began is fetched from the places that were heard of before.
"""

import asyncio
import contextlib
import io
import itertools
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import discord
import msgspec
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from agent.commands import CommandDef
from gateway.config import Platform, PlatformConfig, checked, secret
from gateway.formatting import split
from gateway.logs import keep_out
from gateway.markup import DISCORD
from gateway.platforms.base import (
    MISSED,
    NONSENSE,
    Attachment,
    Button,
    Buttons,
    FullAdapter,
    Heard,
    MessageEvent,
    OutgoingFile,
    Receive,
    Refused,
    RetryAfter,
    SendResult,
    Unavailable,
    Unreadable,
    cause,
    heard_nothing,
)
from gateway.platforms.discord_events import command_rows, event_of_command, event_of_message, event_of_press
from gateway.platforms.pace import backoff
from gateway.session import Chat

_log = logging.getLogger(__name__)

_LONGEST_WAIT = 30.0
"""Seconds of flood control that the SDK waits by itself, the least it takes; more is raised."""

CATCH_UP_WITHIN = 20.0
"""Seconds for what was missed while no session was open."""

_STYLES = {"": discord.ButtonStyle.secondary, "good": discord.ButtonStyle.success, "bad": discord.ButtonStyle.danger}

discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False  # Nobody speaks here.

_Happened = discord.Message | discord.Interaction


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[gateway.discord]`. The addresses are for proxies and tests."""

    api_url: str = ""
    gateway_url: str = ""


def open_adapter(config: PlatformConfig) -> "Discord":
    """Raises: ConfigError."""
    options = checked(Options, config.options, config.platform)
    return Discord(secret(config, "bot_token", "the token of its bot"), options)


class _Client(discord.Client):
    """Hands on what happened, in the order in which it did."""

    def __init__(
        self, happened: Callable[[_Happened, bool], None], told: Callable[[str], None], began: Callable[[], None]
    ) -> None:
        intents = discord.Intents(guilds=True, guild_messages=True, dm_messages=True, message_content=True)
        super().__init__(
            intents=intents,
            max_messages=None,
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            allowed_mentions=discord.AllowedMentions.none(),
            max_ratelimit_timeout=_LONGEST_WAIT,
            guild_ready_timeout=0.0,
        )
        self._happened, self._told, self._began = happened, told, began

    async def on_connect(self) -> None:
        """A session begins: of what was before it Discord tells nothing."""
        self._began()
        self._told("")

    async def on_resumed(self) -> None:
        self._told("")

    async def on_disconnect(self) -> None:
        self._told("The connection is lost; reconnecting.")

    async def on_message(self, message: discord.Message) -> None:
        self._happened(message, False)

    async def on_raw_message_edit(self, edit: discord.RawMessageUpdateEvent) -> None:
        if edit.message.edited_at is not None:  # Without it, Discord only added a preview.
            self._happened(edit.message, True)

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        self._happened(interaction, False)


class Discord:
    """One bot."""

    platform = Platform.DISCORD
    dialect = DISCORD
    edit_interval = 1.2
    typing_interval = 9.0
    file_limit = 10_000_000

    def __init__(self, token: str, options: Options) -> None:
        self._token = token
        self._redact = keep_out([token])
        # The SDK knows its addresses as constants of its classes.
        if options.api_url:
            Route.BASE = options.api_url.rstrip("/")
        if options.gateway_url:
            DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(options.gateway_url)
        self._client: _Client | None = None
        self._work: list[asyncio.Task[None]] = []
        self._inbox: asyncio.Queue[tuple[_Happened | None, bool]] = asyncio.Queue()
        self._urgent: asyncio.Queue[tuple[_Happened | None, bool]] = asyncio.Queue()
        self._missing = 0  # catches up that are to be made or under way
        self.heard: Heard = heard_nothing
        self._first = asyncio.Event()
        self._ended = asyncio.Event()
        self._fatal: Exception | None = None
        self._problem = ""

    # -- the connection ----------------------------------------------------------------------------

    @property
    def problem(self) -> str:
        return self._problem

    async def connect(self, receive: Receive) -> None:
        self._ended.clear()
        self._first.clear()
        self._fatal = None
        client = self._client = _Client(self._put, self._told, lambda: self._put(None))
        try:
            with self._translated():
                await client.login(self._token)
            self._work = [
                asyncio.create_task(self._stay(client), name="discord"),
                asyncio.create_task(self._take_all(self._inbox, receive), name="discord events"),
                asyncio.create_task(self._take_all(self._urgent, receive), name="discord interactions"),
            ]
            await self._connected()
        except BaseException:
            await self.disconnect()
            raise

    async def _connected(self) -> None:
        ended, first = asyncio.create_task(self._ended.wait()), asyncio.create_task(self._first.wait())
        try:
            await asyncio.wait([ended, first], timeout=60, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            first.cancel()
        if self._fatal is not None:
            raise self._fatal
        if not self._first.is_set():
            raise Unavailable("Discord's gateway does not answer.")

    async def _stay(self, client: _Client) -> None:
        try:
            with self._translated():
                await client.connect()
        except Exception as error:  # noqa: BLE001  (whoever waits gets it)
            self._fatal, self._problem = error, self._redact(str(error))
        self._ended.set()

    def _told(self, problem: str) -> None:
        self._problem = problem
        if not problem:
            self._first.set()

    async def wait(self) -> None:
        await self._ended.wait()
        if self._fatal is not None:
            raise self._fatal

    async def disconnect(self) -> None:
        if self._client is not None:
            with contextlib.suppress(discord.DiscordException, aiohttp.ClientError, OSError):
                await self._client.close()
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        self._work = []
        self._ended.set()

    def _put(self, what: _Happened | None, edited: bool = False) -> None:
        """None: a session began. Interactions, which want an answer in 3 seconds, pass by what was missed."""
        self._missing += what is None
        passes = self._missing and isinstance(what, discord.Interaction)
        (self._urgent if passes else self._inbox).put_nowait((what, edited))

    async def _take_all(self, inbox: asyncio.Queue[tuple[_Happened | None, bool]], receive: Receive) -> None:
        while True:
            what, edited = await inbox.get()
            try:
                await self._take(what, receive, edited=edited)
            except Exception:  # noqa: BLE001  (one thing that cannot be dealt with is not the end of all others)
                _log.exception("discord: %s", f"message or interaction {what.id}" if what else "what was missed")

    async def _take(self, what: _Happened | None, receive: Receive, *, edited: bool) -> None:
        if what is None:
            try:
                return await self._catch_up(receive)
            finally:
                self._missing -= 1
        if (event := await self._event(what, edited=edited)) is None:
            return None
        await self._store(receive, event)
        if isinstance(what, discord.Interaction):
            await _acknowledge(what, event)
        return None

    async def _catch_up(self, receive: Receive) -> None:
        """Hand on what was written while no session was open. What cannot be had, or not soon, is left."""
        try:
            async with asyncio.timeout(CATCH_UP_WITHIN):
                await self._hand_on_missed(receive)
        except TimeoutError:
            _log.warning("discord: what was missed could not be had within %.0f seconds", CATCH_UP_WITHIN)

    async def _hand_on_missed(self, receive: Receive) -> None:
        assert self._client is not None
        try:
            places = await self.heard()
        except Exception:  # noqa: BLE001  (what comes now is to be heard all the same)
            _log.exception("discord: what was heard before cannot be known")
            return
        for chat, since in places.items():
            after = discord.Object(discord.utils.time_snowflake(datetime.fromtimestamp(since, UTC)))
            try:
                channel: Any = await self._client.fetch_channel(_number(chat.thread_id or chat.chat_id))
                async for message in channel.history(limit=MISSED, after=after, oldest_first=True):
                    if (event := await self._event(message, edited=False)) is not None:
                        await self._store(receive, event)
            except (discord.DiscordException, Refused, aiohttp.ClientError, OSError, *NONSENSE) as error:
                _log.warning("discord: what was missed in %s: %s", chat.chat_id, self._redact(str(error)))

    async def _store(self, receive: Receive, event: MessageEvent) -> None:
        for failures in itertools.count(1):
            try:
                await receive(event)
                return
            except Exception as error:  # noqa: BLE001  (Discord would not send it again)
                _log.warning("discord: an event could not be stored, %d times: %s", failures, error)
                await asyncio.sleep(backoff(failures, most=10))

    async def _event(self, what: _Happened, *, edited: bool) -> MessageEvent | None:
        assert self._client is not None
        me = self._client.user.id if self._client.user is not None else 0
        if isinstance(what, discord.Message):
            channel: Any = what.channel
            if isinstance(channel, discord.PartialMessageable) and what.guild is not None:
                channel = await self._client.fetch_channel(channel.id)
            return event_of_message(what, channel, me, edited=edited)
        if what.type == discord.InteractionType.component:
            return event_of_press(what)
        return event_of_command(what) if what.type == discord.InteractionType.application_command else None

    # -- sending -----------------------------------------------------------------------------------

    def _place(self, chat: Chat) -> discord.PartialMessageable:
        if self._client is None:
            raise Unavailable("Discord is not connected.")
        return self._client.get_partial_messageable(_number(chat.thread_id or chat.chat_id))

    async def send(self, chat: Chat, content: str, *, reply_to: str = "") -> SendResult:
        return await self._send(chat, content, reply_to=reply_to)

    async def ask(self, chat: Chat, content: str, buttons: Buttons, *, reply_to: str = "") -> SendResult:
        return await self._send(chat, content, reply_to=reply_to, view=_view(buttons))

    async def send_file(self, chat: Chat, file: OutgoingFile, *, caption: str = "", reply_to: str = "") -> SendResult:
        short = next(iter(split(caption, DISCORD)), "")
        return await self._send(
            chat, short, reply_to=reply_to, file=discord.File(io.BytesIO(file.data), filename=file.name), blank=True
        )

    async def _send(self, chat: Chat, content: str, *, reply_to: str, blank: bool = False, **more: Any) -> SendResult:
        text = DISCORD.render(content)
        if not text.strip() and not blank:
            raise Refused("There is nothing to show in this message.")
        place = self._place(chat)
        if reply_to.isdigit():
            more["reference"] = place.get_partial_message(int(reply_to)).to_reference(fail_if_not_exists=False)
        with self._translated():
            message = await place.send(text, suppress_embeds=True, **more)
        return SendResult(message_id=str(message.id))

    async def edit(self, chat: Chat, message_id: str, content: str) -> None:
        text = DISCORD.render(content)
        if not text.strip():
            raise Refused("There is nothing to show in this message.")
        with self._translated():
            await self._place(chat).get_partial_message(_number(message_id)).edit(content=text, view=None)

    async def typing(self, chat: Chat) -> None:
        with self._translated():
            await self._place(chat).typing()

    async def fetch(self, attachment: Attachment, to: Path, *, limit: int) -> int:
        """The handle is the address that Discord gave."""
        data = bytearray()
        with self._translated():
            async with aiohttp.ClientSession() as session, session.get(attachment.handle) as answer:
                if answer.status in (403, 404, 410):
                    raise Refused("Discord does not have the file any more.")
                answer.raise_for_status()
                async for piece in answer.content.iter_chunked(65_536):
                    data += piece
                    if len(data) > limit:
                        raise Refused(f"The file is larger than {limit} bytes.")
        await asyncio.to_thread(to.write_bytes, data)
        return len(data)

    async def open_thread(self, chat: Chat, title: str, *, message_id: str = "") -> Chat:
        name = title[:100] or "Hermes"
        if self._client is None:
            raise Unavailable("Discord is not connected.")
        with self._translated():
            channel = await self._client.fetch_channel(_number(chat.chat_id))
            if not isinstance(channel, discord.TextChannel):
                raise Refused("Only text channels of a server can have threads.")
            if message_id:
                thread = await channel.get_partial_message(_number(message_id)).create_thread(name=name)
            else:
                thread = await channel.create_thread(name=name, type=discord.ChannelType.public_thread)
        return Chat(platform=chat.platform, chat_id=chat.chat_id, thread_id=str(thread.id))

    async def react(self, chat: Chat, message_id: str, sign: str) -> None:
        place = self._place(chat)
        with self._translated():
            if sign:
                return await place.get_partial_message(_number(message_id)).add_reaction(sign)
            message = await place.fetch_message(_number(message_id))
            for reaction in message.reactions:
                if reaction.me and self._client is not None and self._client.user is not None:
                    await message.remove_reaction(reaction, self._client.user)
        return None

    async def publish(self, commands: Sequence[CommandDef]) -> None:
        if self._client is None or self._client.application_id is None:
            raise Unavailable("Discord is not connected.")
        with self._translated():
            await self._client.http.bulk_upsert_global_commands(
                self._client.application_id, payload=command_rows(commands)
            )

    # -- errors ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """The SDK's errors as the gateway's; texts without the token."""
        try:
            yield
        except discord.LoginFailure:
            hint = "The developer portal gives a new one: Bot, Reset Token."
            raise Refused("Discord does not know this bot token.", hint=hint) from None
        except discord.PrivilegedIntentsRequired:
            raise Refused(
                "Discord does not let the bot read messages.",
                hint="Switch on the Message Content Intent in the developer portal, under Bot.",
            ) from None
        except discord.RateLimited as error:
            raise RetryAfter(error.retry_after) from None
        except discord.HTTPException as error:
            raise self._refusal(error) from None
        except discord.ConnectionClosed as error:
            hint = "The token may have been changed." if error.code == 4004 else ""
            raise Refused(f"Discord closed the connection: code {error.code}.", hint=hint) from None
        except (discord.GatewayNotFound, aiohttp.ClientError, TimeoutError, OSError) as error:
            uncertain = isinstance(error, aiohttp.ClientError | TimeoutError) and not isinstance(
                error, aiohttp.ClientConnectorError
            )
            text = self._redact(cause(error))
            raise Unavailable(f"Discord cannot be reached: {text}.", uncertain=uncertain) from None
        except NONSENSE as error:
            raise Unreadable("Discord", error) from error

    def _refusal(self, error: discord.HTTPException) -> RetryAfter | Unavailable | Refused:
        if error.status == 429:
            return RetryAfter(_LONGEST_WAIT * 2)
        if error.status == 401:
            # It refuses no message: what is to be sent waits for the new token.
            return Unavailable("Discord does not take the token any more.")
        text = self._redact(error.text or f"status {error.status}")
        if error.status >= 500:
            return Unavailable(f"Discord cannot be reached: status {error.status}.")
        return Refused(f"Discord refused: {text}.")


async def _acknowledge(interaction: discord.Interaction, event: MessageEvent) -> None:
    """Discord wants to hear within 3 seconds that it was taken; who typed a command sees it again."""
    answers: dict[str, Callable[[], Awaitable[object]]] = {
        "press": interaction.response.defer,
        "message": lambda: interaction.response.send_message(
            f"`{event.text.replace('`', chr(39))[:1900]}`", ephemeral=True
        ),
    }
    with contextlib.suppress(discord.DiscordException, aiohttp.ClientError, OSError, *NONSENSE):
        await answers[event.kind]()


def _view(buttons: Buttons) -> discord.ui.View:
    """Buttons for a message. The SDK does not keep the view: presses are read from the interaction itself."""
    view = discord.ui.View(timeout=None)
    for number, row in enumerate(buttons):
        for button in row:
            view.add_item(_button(button, number))
    view.stop()
    return view


def _button(button: Button, row: int) -> discord.ui.Button[discord.ui.View]:
    return discord.ui.Button(label=button.label[:80], custom_id=button.data, style=_STYLES[button.style], row=row)


def _number(text: str) -> int:
    if not re.fullmatch(r"\d{1,20}", text, re.ASCII):
        raise Refused("That is no id of Discord's.")
    return int(text)


_: type[FullAdapter] = Discord
