"""Slack, over Socket Mode or HTTP, with slack-bolt.

Bolt checks signatures, finds out what a request is, and acknowledges it when its listener has returned: here, when the
event was stored. An exception leaves it unacknowledged, and Slack sends it again.
"""

import asyncio
import contextlib
import logging
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.response import BoltResponse
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.signature import SignatureVerifier
from slack_sdk.web.async_client import AsyncWebClient

from gateway.config import Platform, PlatformConfig, checked, secret
from gateway.formatting import split
from gateway.logs import keep_out
from gateway.markup import SLACK
from gateway.platforms.base import (
    MISSED,
    NONSENSE,
    Adapter,
    Attachment,
    Buttons,
    CanAsk,
    CanEdit,
    CanReact,
    DeliveryError,
    HasThreads,
    Heard,
    MessageEvent,
    OutgoingFile,
    Receive,
    Refused,
    RetryAfter,
    SendResult,
    SendsFiles,
    TakesFiles,
    Unavailable,
    Unreadable,
    cause,
    heard_nothing,
)
from gateway.platforms.slack_events import COMMAND, PATH, event_of_action, event_of_command, event_of_message, plain
from gateway.platforms.web import Listener
from gateway.session import Chat

_log = logging.getLogger(__name__)

QUOTE_WITHIN = 3.0
"""Seconds that Slack has to say what a thread is about."""

CATCH_UP_WITHIN = 20.0
"""Seconds for all that was missed."""

THREADS_KNOWN = 1000
"""Threads of which it is known that they were quoted."""

ARROWS_KNOWN = 1000
"""Messages whose link to what they answer is put back when they are edited."""

_DOWN = frozenset({"internal_error", "fatal_error", "service_unavailable", "request_timeout"})
_SIGNS = {
    "👀": "eyes", "✅": "white_check_mark", "❌": "x", "⏳": "hourglass_flowing_sand", "👍": "thumbsup",
    "👎": "thumbsdown", "🔄": "arrows_counterclockwise", "⚠️": "warning", "🛑": "octagonal_sign", "🎉": "tada",
}  # fmt: skip


_NOISE = ("(or SLACK_BOT_TOKEN env variable)", "`token` will be unused", "Unhandled request")


def _is_news(record: logging.LogRecord) -> bool:
    """Bolt warns of a token that it does not need, at each start, and explains how to handle what nobody asked for."""
    return not any(noise in str(record.msg) for noise in _NOISE)


logging.getLogger("slack_bolt.AsyncApp").addFilter(_is_news)


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[gateway.slack]`. `ping_interval` is in seconds: a lost connection is noticed after about one and a half."""

    mode: Literal["socket", "http"] = "socket"
    listen: str = "127.0.0.1:3000"
    base_url: str = "https://slack.com/api/"
    ping_interval: float = 5.0


def open_adapter(config: PlatformConfig) -> "Slack":
    """Raises: ConfigError."""
    options = checked(Options, config.options, config.platform)
    token = _bot_token(config)
    if options.mode == "http":
        return Slack(token, options, signing_secret=secret(config, "signing_secret", "the app's signing secret"))
    return Slack(token, options, app_token=secret(config, "app_token", "an app-level token for Socket Mode, xapp-…"))


async def try_token(config: PlatformConfig) -> None:
    """Ask Slack whether it knows the bot token. Raises: ConfigError, Refused, RetryAfter, Unavailable."""
    await Slack(_bot_token(config), checked(Options, config.options, config.platform)).identify()


def _bot_token(config: PlatformConfig) -> str:
    return secret(config, "bot_token", "the bot token, xoxb-…")


class Slack:
    """One app in one workspace."""

    platform = Platform.SLACK
    dialect = SLACK
    edit_interval = 1.2
    file_limit = 100_000_000

    def __init__(self, token: str, options: Options, *, app_token: str = "", signing_secret: str = "") -> None:
        self._options, self._token, self._app_token, self._signing_secret = options, token, app_token, signing_secret
        self._redact = keep_out([token, app_token, signing_secret])
        # The SDK repeats a request whose connection broke, and so would send a message twice.
        self._client = AsyncWebClient(token, base_url=options.base_url, timeout=30, retry_handlers=[])
        self._me: AuthorizeResult | None = None
        self._user_id = ""
        self._receive: Receive | None = None
        self._one_at_a_time = asyncio.Lock()
        self._socket: AsyncSocketModeHandler | None = None
        self._listener: Listener | None = None
        self._ended = asyncio.Event()
        self._fatal: Refused | None = None
        self.heard: Heard = heard_nothing
        self._url = ""
        self._arrows: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._quoted: OrderedDict[tuple[str, str], None] = OrderedDict()

    # -- the connection ----------------------------------------------------------------------------

    @property
    def problem(self) -> str:
        if self._fatal is not None:
            return self._fatal.explain()
        if self._socket is None:
            return ""
        session = self._socket.client.current_session
        return "The connection is lost; reconnecting." if session is None or session.closed else ""

    @property
    def http_port(self) -> int:
        """Where HTTP requests arrive, 0 in Socket Mode."""
        return self._listener.port if self._listener is not None else 0

    async def connect(self, receive: Receive) -> None:
        self._receive, self._fatal = receive, None
        self._ended.clear()
        try:
            await self.identify()
            with self._translated(connecting=True):
                await self._catch_up()
                if self._options.mode == "http":
                    self._listener = Listener(self._options.listen, PATH, self._called)
                    self._app = self._make_app()
                    await self._listener.start()
                else:
                    await self._open_socket()
        except BaseException:
            await self.disconnect()
            raise

    async def identify(self) -> None:
        """Learn who the token makes us. Raises: Refused when Slack does not know it, RetryAfter, Unavailable."""
        with self._translated(connecting=True):
            answer = await self._client.auth_test()
            self._user_id = str(answer.get("user_id") or "")
            self._url = str(answer.get("url") or "")
            self._me = AuthorizeResult.from_auth_test_response(
                auth_test_response=answer, bot_token=self._token, user_auth_test_response=None
            )

    async def _catch_up(self) -> None:
        """Hand on what was written while nobody listened: Slack itself tries again for some minutes only.

        What cannot be had, or not soon, is left: newer apps may ask once a minute.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_WITHIN):
                for chat, since in (await self.heard()).items():
                    try:
                        for message in await self._missed(chat, since):
                            found = {**message, "channel": chat.chat_id}
                            await self._take(event_of_message(found, self._user_id), quote=True)
                    except SlackApiError as error:
                        _log.warning("slack: what was missed in %s: %s", chat.chat_id, self._redact(str(error)))
                        if error.response.status_code == 429:
                            return
                    except NONSENSE:
                        _log.exception("slack: what was missed in %s", chat.chat_id)

    async def _missed(self, chat: Chat, since: float) -> list[dict[str, Any]]:
        """The oldest first. Raises: SlackApiError."""
        oldest = f"{since:.6f}"
        if chat.thread_id:
            answer = await self._client.conversations_replies(
                channel=chat.chat_id, ts=chat.thread_id, oldest=oldest, limit=MISSED
            )
        else:
            answer = await self._client.conversations_history(channel=chat.chat_id, oldest=oldest, limit=MISSED)
        found: list[dict[str, Any]] = answer.get("messages") or []
        return sorted((one for one in found if float(one.get("ts", 0)) > since), key=lambda one: float(one["ts"]))

    async def _open_socket(self) -> None:
        # Asked for once by hand: the SDK would ask for ever with a token that is wrong.
        opened = await self._client.apps_connections_open(app_token=self._app_token)
        self._socket = AsyncSocketModeHandler(
            self._make_app(), self._app_token, ping_interval=cast(int, self._options.ping_interval)
        )
        self._socket.client.wss_uri = str(opened["url"])
        ask = self._socket.client.issue_new_wss_url

        async def ask_or_end() -> str:
            # The SDK asks again for ever, also with a token that was revoked.
            try:
                return await ask()
            except SlackApiError as error:
                self._note_revoked(error)
                raise

        self._socket.client.issue_new_wss_url = ask_or_end  # type: ignore[method-assign]
        async with asyncio.timeout(30):
            await self._socket.connect_async()  # type: ignore[no-untyped-call]

    async def wait(self) -> None:
        await self._ended.wait()
        if self._fatal is not None:
            raise self._fatal

    async def disconnect(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                await self._socket.close_async()  # type: ignore[no-untyped-call]
            self._socket = None
        if self._listener is not None:
            await self._listener.stop()
            self._listener = None
        self._ended.set()

    def _make_app(self) -> AsyncApp:
        async def authorize() -> AuthorizeResult:
            assert self._me is not None
            return self._me

        app = AsyncApp(
            name="hermes",  # without one Bolt looks for the caller's file, which holds up the loop
            client=self._client,
            authorize=authorize,
            signing_secret=self._signing_secret or None,
            request_verification_enabled=self._options.mode == "http",
            process_before_response=True,
        )

        async def message(event: dict[str, Any]) -> None:
            await self._take(event_of_message(event, self._user_id), quote=True)

        async def command(body: dict[str, Any], ack: Any) -> BoltResponse:
            taken = event_of_command(body)
            await self._take(taken)
            return cast(BoltResponse, await ack(f"`{taken.text.replace('`', chr(39))[:2900]}`"))

        async def action(body: dict[str, Any], ack: Any) -> BoltResponse:
            await self._take(event_of_action(body))
            return cast(BoltResponse, await ack())

        app.event("message")(message)
        app.event("app_mention")(message)
        app.command(COMMAND)(command)
        app.action(re.compile(""))(action)
        return app

    async def _take(self, event: MessageEvent | None, *, quote: bool = False) -> None:
        if event is not None and self._receive is not None:
            async with self._one_at_a_time:
                await self._receive(await self._with_quote(event) if quote else event)

    async def _with_quote(self, event: MessageEvent) -> MessageEvent:
        """The first message in a thread, with what the thread is about. That is best effort."""
        thread = (event.source.chat_id, event.reply_to)
        if not event.reply_to or not event.addressed or thread in self._quoted:
            return event
        text = ""
        with contextlib.suppress(SlackClientError, aiohttp.ClientError, TimeoutError, OSError, *NONSENSE):
            async with asyncio.timeout(QUOTE_WITHIN):
                found = await self._client.conversations_replies(channel=thread[0], ts=thread[1], limit=1)
            text = plain(str((found.get("messages") or [{}])[0].get("text") or ""))
        self._quoted[thread] = None
        if len(self._quoted) > THREADS_KNOWN:
            self._quoted.popitem(last=False)
        return replace(event, quoted=text)

    async def _called(self, request: web.Request) -> web.StreamResponse:
        """A request over HTTP. Nothing of it is read before its signature was checked."""
        body = await request.read()
        verifier = SignatureVerifier(self._signing_secret)
        try:
            right = verifier.is_valid_request(body, dict(request.headers))
        except (ValueError, TypeError):  # A time that is no number, letters where only digits can be.
            right = False
        if not right:
            return web.Response(status=401)
        try:
            asked = await to_bolt_request(request)
        except (ValueError, AttributeError, TypeError):
            return web.Response(status=400)
        return await to_aiohttp_response(await self._app.async_dispatch(asked))

    # -- sending -----------------------------------------------------------------------------------

    async def send(self, chat: Chat, content: str, *, reply_to: str = "") -> SendResult:
        text, arrow = self._text(content), "" if chat.thread_id else self._arrow(chat, reply_to)
        sent = await self._post(chat, arrow + text)
        if arrow:
            self._arrows[chat.chat_id, sent.message_id] = arrow
            if len(self._arrows) > ARROWS_KNOWN:
                self._arrows.popitem(last=False)
        return sent

    def _arrow(self, chat: Chat, reply_to: str) -> str:
        """A link to the message that is answered: Slack has no replies outside threads."""
        if not self._url or not re.fullmatch(r"\d+\.\d+", reply_to, re.ASCII):
            return ""
        return f"<{self._url}archives/{chat.chat_id}/p{reply_to.replace('.', '')}|↩> "

    async def ask(self, chat: Chat, content: str, buttons: Buttons, *, reply_to: str = "") -> SendResult:
        text = self._text(content)
        return await self._post(chat, text, blocks=[_section(text), *_rows(buttons)])

    async def _post(self, chat: Chat, text: str, **more: Any) -> SendResult:
        with self._translated():
            answer = await self._client.chat_postMessage(
                channel=chat.chat_id,
                text=text,
                thread_ts=chat.thread_id or None,
                unfurl_links=False,
                unfurl_media=False,
                **more,
            )
            if not isinstance(ts := answer.get("ts"), str):
                raise TypeError("no ts")
        return SendResult(message_id=ts)

    async def edit(self, chat: Chat, message_id: str, content: str) -> None:
        text = self._arrows.get((chat.chat_id, message_id), "") + self._text(content)
        with self._translated():
            await self._client.chat_update(channel=chat.chat_id, ts=message_id, text=text, blocks=[])

    async def send_file(self, chat: Chat, file: OutgoingFile, *, caption: str = "", reply_to: str = "") -> SendResult:
        """Slack does not say which message it made of a file."""
        short = next(iter(split(caption, SLACK)), "")
        with self._translated():
            await self._client.files_upload_v2(
                channel=chat.chat_id,
                content=file.data,
                filename=file.name,
                title=file.name,
                initial_comment=SLACK.render(short) or None,
                thread_ts=chat.thread_id or None,
            )
        return SendResult()

    async def fetch(self, attachment: Attachment, to: Path, *, limit: int) -> int:
        """The handle is the address that Slack gave. The token goes to Slack alone, never along with a redirection."""
        if not self._is_slack(attachment.handle):
            raise Refused("The file does not lie with Slack.")
        data = bytearray()
        headers = {"Authorization": f"Bearer {self._token}"}
        with self._translated():
            async with (
                aiohttp.ClientSession() as session,
                session.get(attachment.handle, headers=headers, allow_redirects=False) as answer,
            ):
                if answer.status != 200:
                    raise Refused(f"Slack does not hand out the file: status {answer.status}.")
                async for piece in answer.content.iter_chunked(65_536):
                    data += piece
                    if len(data) > limit:
                        raise Refused(f"The file is larger than {limit} bytes.")
        await asyncio.to_thread(to.write_bytes, data)
        return len(data)

    def _is_slack(self, address: str) -> bool:
        parts, ours = urlsplit(address), urlsplit(self._options.base_url)
        if parts.netloc == ours.netloc and parts.scheme == ours.scheme:
            return True
        return parts.scheme == "https" and (parts.hostname or "").endswith(".slack.com")

    async def open_thread(self, chat: Chat, title: str, *, message_id: str = "") -> Chat:
        """A thread hangs on a message; without one the title becomes it."""
        root = message_id or (await self.send(chat, title or "Hermes")).message_id
        return Chat(platform=chat.platform, chat_id=chat.chat_id, thread_id=root)

    async def react(self, chat: Chat, message_id: str, sign: str) -> None:
        place: dict[str, Any] = {"channel": chat.chat_id, "timestamp": message_id}
        with self._translated():
            if sign:
                if sign not in _SIGNS:
                    raise Refused(f"Slack has no name for {sign}.")
                with _fine("already_reacted"):
                    await self._client.reactions_add(name=_SIGNS[sign], **place)
                return
            found = await self._client.reactions_get(**place)
            message: Mapping[str, Any] = found.get("message") or {}
            for reaction in message.get("reactions", ()):
                if self._user_id in reaction.get("users", ()):
                    with _fine("no_reaction"):
                        await self._client.reactions_remove(name=str(reaction["name"]), **place)

    def _text(self, content: str) -> str:
        text = self.dialect.render(content)
        if not text.strip():
            raise Refused("There is nothing to show in this message.")
        return text

    # -- errors ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _translated(self, *, connecting: bool = False) -> Iterator[None]:
        """The SDK's errors as the gateway's; texts without the tokens.

        A token that is not taken refuses the connection, but no message: that waits for the new token.
        """
        try:
            yield
        except SlackApiError as error:
            raise self._refusal(error, connecting=connecting) from None
        except (SlackClientError, aiohttp.ClientError, TimeoutError, OSError) as error:
            uncertain = isinstance(error, aiohttp.ClientError | TimeoutError) and not isinstance(
                error, aiohttp.ClientConnectorError
            )
            text = self._redact(cause(error))
            raise Unavailable(f"Slack cannot be reached: {text}.", uncertain=uncertain) from None
        except NONSENSE as error:
            raise Unreadable("Slack", error) from error

    def _note_revoked(self, error: SlackApiError) -> bool:
        """Whether Slack does not take a token any more; then the connection is over for good."""
        code = str(error.response.get("error", "")) if error.response is not None else ""
        if code not in _REVOKED:
            return False
        if not self._ended.is_set():
            self._fatal = Refused(f"Slack does not take the token any more: {code}.", hint=_NEW_TOKEN)
            self._ended.set()
        return True

    def _refusal(self, error: SlackApiError, *, connecting: bool) -> DeliveryError:
        answer = error.response
        if not connecting and self._note_revoked(error):
            return Unavailable("Slack does not take the token any more.", hint=_NEW_TOKEN)
        status = int(getattr(answer, "status_code", 0) or getattr(answer, "status", 0))
        data = getattr(answer, "data", None)
        code = str(data.get("error", "")) if isinstance(data, dict) else ""
        if status == 429 or code in ("ratelimited", "rate_limited"):
            return RetryAfter(float(answer.headers.get("Retry-After", 30)))
        if status >= 500 or code in _DOWN or not code:
            return Unavailable(f"Slack cannot be reached: {code or f'status {status}'}.", uncertain=code in _DOWN)
        return Refused(self._redact(f"Slack refused: {code}."), hint=_HINTS.get(code, ""))


_NEW_TOKEN = "Install the app again, then: hermes gateway setup slack, and start the gateway again."
_REVOKED = frozenset(
    {"invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive", "app_uninstalled"}
)

_HINTS = {
    **dict.fromkeys(_REVOKED, f"The token is wrong or was revoked. {_NEW_TOKEN}"),
    "not_in_channel": "Invite the bot to the channel.",
    "missing_scope": "Install the app again with the manifest that `hermes gateway slack-manifest` prints.",
}


@contextlib.contextmanager
def _fine(code: str) -> Iterator[None]:
    """An answer that says there was nothing to do."""
    try:
        yield
    except SlackApiError as error:
        if error.response.get("error") != code:
            raise


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _rows(buttons: Buttons) -> list[dict[str, Any]]:
    styles = {"": {}, "good": {"style": "primary"}, "bad": {"style": "danger"}}
    return [
        {
            "type": "actions",
            "elements": [
                {
                    "type": "button",
                    "action_id": f"hermes-{number}-{place}",
                    "text": {"type": "plain_text", "text": button.label[:75], "emoji": True},
                    "value": button.data,
                    **styles[button.style],
                }
                for place, button in enumerate(row)
            ],
        }
        for number, row in enumerate(buttons)
    ]


class _Able(Adapter, CanEdit, CanAsk, SendsFiles, TakesFiles, HasThreads, CanReact, Protocol):
    """Everything but showing that it types, and a menu: apps of this kind have neither."""


_: type[_Able] = Slack
