"""Slack's Web API and Socket Mode, as far as an app needs them, misbehaving on request."""

import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import WSMsgType, web

from tests.support.web_server import Call, Cut, Nonsense, Status, WebServer

BOT_TOKEN = "xoxb-0123456789-test-bot-token"
APP_TOKEN = "xapp-1-A0TEST-0123456789-test-app-token"
SIGNING_SECRET = "0123456789abcdef0123456789abcdef"
ME, ANN, CHANNEL, DIRECT = "U0BOT", "U0ANN", "C0GENERAL", "D0ANN"


class SlackServer(WebServer):
    """One app's workspace. `messages` is ts → what is shown, `acknowledged` the envelopes that were taken."""

    def __init__(self) -> None:
        super().__init__()
        self.bot_token, self.app_token = BOT_TOKEN, APP_TOKEN
        self.messages: dict[str, dict[str, Any]] = {}
        self.missed: list[dict[str, Any]] = []
        """What people wrote while nobody listened."""
        self.uploads: dict[str, bytes] = {}
        self.acknowledged: dict[str, Any] = {}
        self.sockets: list[web.WebSocketResponse] = []
        self.connections = 0
        self.fetched_with: list[str] = []
        self._last = 100
        self.app.router.add_route("*", "/api/{method}", self._api)
        self.app.router.add_get("/socket", self._socket)
        self.app.router.add_post("/upload/{file}", self._upload)
        self.app.router.add_get("/files/{file}", self._file)

    @property
    def base_url(self) -> str:
        return f"{self.url}/api/"

    # -- as a person -------------------------------------------------------------------------------

    def message(self, text: str, *, channel: str = DIRECT, user: str = ANN, **more: Any) -> dict[str, Any]:
        """The payload of a message event; `more` are further fields of the message."""
        kind = "im" if channel.startswith("D") else "channel"
        return self.event(
            {
                "type": "message",
                "channel": channel,
                "channel_type": kind,
                "user": user,
                "text": text,
                "ts": self.new_ts(),
                **more,
            }
        )

    def event(self, event: dict[str, Any]) -> dict[str, Any]:
        return {
            "token": "t",
            "team_id": "T0",
            "api_app_id": "A0",
            "event": event,
            "type": "event_callback",
            "event_id": f"Ev{self.new_ts()}",
            "event_time": 1,
        }

    async def says(self, text: str, **more: Any) -> str:
        """Write a message; returns its ts."""
        payload = self.message(text, **more)
        await self.envelope("events_api", payload)
        return str(payload["event"]["ts"])

    def command(self, text: str, *, channel: str = CHANNEL) -> dict[str, Any]:
        return {
            "command": "/hermes",
            "text": text,
            "channel_id": channel,
            "channel_name": "general",
            "user_id": ANN,
            "user_name": "ann",
            "team_id": "T0",
            "trigger_id": f"tr{self.new_ts()}",
            "response_url": f"{self.url}/response",
        }

    def press(self, value: str, *, ts: str = "55.1", **message: Any) -> dict[str, Any]:
        action = {
            "type": "button",
            "action_id": "hermes-0-0",
            "value": value,
            "action_ts": self.new_ts(),
            "block_id": "b",
        }
        return {
            "type": "block_actions",
            "user": {"id": ANN, "username": "ann", "team_id": "T0"},
            "team": {"id": "T0"},
            "channel": {"id": CHANNEL},
            "message": {"ts": ts, **message},
            "actions": [action],
            "trigger_id": "x",
        }

    async def envelope(self, kind: str, payload: dict[str, Any]) -> str:
        """Send something through Socket Mode; returns the envelope's id."""
        envelope_id = f"e{self.new_ts()}"
        await self.send_envelope(kind, payload, envelope_id)
        return envelope_id

    async def send_envelope(self, kind: str, payload: dict[str, Any], envelope_id: str) -> None:
        body = {
            "type": kind,
            "envelope_id": envelope_id,
            "payload": payload,
            "accepts_response_payload": kind == "slash_commands",
        }
        for socket in list(self.sockets):
            await socket.send_json(body)

    def drop(self) -> None:
        """Cut the connections."""
        for socket in self.sockets:
            if socket._req is not None and socket._req.transport is not None:
                socket._req.transport.abort()
        self.sockets.clear()

    def new_ts(self) -> str:
        self._last += 1
        return f"1700000{self._last}.000100"

    # -- over HTTP ---------------------------------------------------------------------------------

    @staticmethod
    def signed(body: str, *, secret: str = SIGNING_SECRET, at: float | None = None) -> dict[str, str]:
        """The headers with which Slack signs."""
        stamp = str(int(time.time() if at is None else at))
        mac = hmac.new(secret.encode(), f"v0:{stamp}:{body}".encode(), hashlib.sha256).hexdigest()
        return {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": f"v0={mac}"}

    async def call(
        self, port: int, body: str | bytes, headers: dict[str, str], *, form: bool = False
    ) -> tuple[int, str]:
        """Post to the app as Slack does; returns status and body."""
        kind = "application/x-www-form-urlencoded" if form else "application/json"
        url = f"http://127.0.0.1:{port}/slack/events"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=body, headers={"Content-Type": kind, **headers}) as answer,
        ):
            return answer.status, await answer.text()

    @staticmethod
    def form(fields: dict[str, str]) -> str:
        return urlencode(fields)

    # -- as the server -----------------------------------------------------------------------------

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        self.connections += 1
        await socket.send_json({"type": "hello", "num_connections": 1})
        await self.tell()
        async for message in socket:
            if message.type == WSMsgType.TEXT and (answer := json.loads(message.data)).get("envelope_id"):
                self.acknowledged[answer["envelope_id"]] = answer.get("payload")
                await self.tell()
        if socket in self.sockets:
            self.sockets.remove(socket)
        await self.tell()
        return socket

    async def _api(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        params = await _params(request)
        await self.record(Call(method, params))
        token = self.app_token if method == "apps.connections.open" else self.bot_token
        if request.headers.get("Authorization") != f"Bearer {token}":
            return web.json_response({"ok": False, "error": "invalid_auth"})
        match self.next_fault(method):
            case Status(status=429, after=after):
                return web.json_response(
                    {"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": f"{after:g}"}
                )
            case Status(status=200, text=text):
                return web.json_response({"ok": False, "error": text})
            case Status(status=status):
                return web.Response(status=status, text="<html>down</html>", content_type="text/html")
            case Nonsense():
                return web.json_response({"ok": True})
            case Cut(done=done):
                if done:
                    self._do(method, params)
                return self.cut(request)
        return web.json_response(self._do(method, params))

    def _do(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        match method:
            case "auth.test":
                return {
                    "ok": True,
                    "url": "https://x.slack.com/",
                    "team": "T",
                    "user": "hermes",
                    "team_id": "T0",
                    "user_id": ME,
                    "bot_id": "B0",
                }
            case "apps.connections.open":
                return {"ok": True, "url": f"ws://127.0.0.1:{self.port}/socket?ticket=secret-ticket"}
            case "chat.postMessage":
                if len(params.get("text", "")) > 40_000:
                    return {"ok": False, "error": "msg_too_long"}
                ts = self.new_ts()
                self.messages[ts] = params
                return {"ok": True, "channel": params["channel"], "ts": ts}
            case "conversations.replies":
                root = self.messages.get(params["ts"])
                missed = [one for one in self.missed if one.get("thread_ts") == params["ts"]]
                return {"ok": True, "messages": [*([root] if root else []), *missed]}
            case "conversations.history":
                since, channel = float(params.get("oldest", 0)), params["channel"]
                found = [one for one in self.missed if one["channel"] == channel and "thread_ts" not in one]
                shown = [{name: value for name, value in one.items() if name != "channel"} for one in found[::-1]]
                return {"ok": True, "messages": [one for one in shown if float(one["ts"]) > since]}
            case "chat.update":
                if params["ts"] not in self.messages:
                    return {"ok": False, "error": "message_not_found"}
                self.messages[params["ts"]] = params
                return {"ok": True, "channel": params["channel"], "ts": params["ts"], "text": params["text"]}
            case "files.getUploadURLExternal":
                return {"ok": True, "upload_url": f"{self.url}/upload/F1", "file_id": "F1"}
            case "files.completeUploadExternal":
                return {"ok": True, "files": [{"id": "F1", "title": "t"}]}
            case "reactions.get":
                return {
                    "ok": True,
                    "type": "message",
                    "message": {"reactions": [{"name": "eyes", "users": [ME], "count": 1}]},
                }
            case _:
                return {"ok": True}

    async def _upload(self, request: web.Request) -> web.Response:
        self.uploads[request.match_info["file"]] = await request.read()
        return web.Response(text="OK")

    async def _file(self, request: web.Request) -> web.Response:
        self.fetched_with.append(request.headers.get("Authorization", ""))
        data = self.uploads.get(request.match_info["file"])
        return (
            web.Response(status=302, headers={"Location": "https://elsewhere.example/"})
            if data is None
            else web.Response(body=data)
        )


async def _params(request: web.Request) -> dict[str, Any]:
    found = dict(request.query)
    found |= dict(await request.json()) if request.content_type == "application/json" else dict(await request.post())
    return {
        name: json.loads(value) if name in ("blocks", "files") and isinstance(value, str) else value
        for name, value in found.items()
    }
