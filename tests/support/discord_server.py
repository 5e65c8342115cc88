"""Discord's REST API and gateway, as far as a bot needs them, misbehaving on request."""

import json
from typing import Any

from aiohttp import WSMsgType, web

from tests.support.web_server import Call, Cut, Nonsense, Status, WebServer

TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4.Gtest1.discord-bot-token-of-the-tests-0000"
ME = 1000
ANN = {"id": "7", "username": "ann", "global_name": "Ann", "discriminator": "0", "avatar": None}
BOT = {"id": str(ME), "username": "hermes", "global_name": None, "discriminator": "0", "avatar": None, "bot": True}
GUILD, CHANNEL, THREAD, DM = "500", "501", "502", "600"

_CHANNELS: dict[str, dict[str, Any]] = {
    CHANNEL: {
        "id": CHANNEL,
        "type": 0,
        "name": "general",
        "guild_id": GUILD,
        "position": 0,
        "permission_overwrites": [],
        "parent_id": None,
        "nsfw": False,
    },
    THREAD: {
        "id": THREAD,
        "type": 11,
        "name": "a thread",
        "guild_id": GUILD,
        "parent_id": CHANNEL,
        "owner_id": str(ME),
        "message_count": 1,
        "member_count": 1,
        "thread_metadata": {
            "archived": False,
            "auto_archive_duration": 60,
            "archive_timestamp": "2025-01-01T00:00:00+00:00",
            "locked": False,
        },
    },
    DM: {"id": DM, "type": 1, "recipients": [ANN], "last_message_id": None},
}
_GUILD = {
    "id": GUILD,
    "name": "Friends",
    "owner_id": "7",
    "roles": [],
    "emojis": [],
    "features": [],
    "members": [],
    "channels": [_CHANNELS[CHANNEL]],
    "threads": [],
    "presences": [],
    "voice_states": [],
    "member_count": 2,
    "verification_level": 0,
    "default_message_notifications": 0,
    "explicit_content_filter": 0,
    "mfa_level": 0,
    "premium_tier": 0,
    "preferred_locale": "en-US",
    "nsfw_level": 0,
    "system_channel_flags": 0,
    "afk_timeout": 0,
}


class DiscordServer(WebServer):
    """One bot's Discord: one server with a channel and a thread, and direct messages. `messages` is id → content."""

    def __init__(self) -> None:
        super().__init__()
        self.token = TOKEN
        self.intents_allowed = True
        self.messages: dict[str, str] = {}
        self.written: list[dict[str, Any]] = []
        """What people wrote, for whoever asks later."""
        self.uploads: dict[str, bytes] = {}
        self.sockets: list[web.WebSocketResponse] = []
        self.sessions = {"new": 0, "resumed": 0}
        self._log: list[dict[str, Any]] = []
        self._last_id = 2000
        add = self.app.router.add_route
        add("GET", "/gateway", self._gateway)
        add("GET", "/cdn/{name}", self._cdn)
        add("*", "/api/{path:.*}", self._api)

    @property
    def api_url(self) -> str:
        return f"{self.url}/api"

    @property
    def gateway_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/gateway"

    # -- as a person -------------------------------------------------------------------------------

    async def says(
        self, content: str, *, channel: str = DM, author: dict[str, Any] = ANN, edited: bool = False, **more: Any
    ) -> str:
        """Write a message, or edit one; `more` are further fields of it. Returns its id."""
        message = self._message(self.new_id(), channel, content) | {"author": author, **more}
        self.written.append(message)
        if edited:
            message["edited_timestamp"] = "2025-01-01T00:00:01.000000+00:00"
        await self.dispatch("MESSAGE_UPDATE" if edited else "MESSAGE_CREATE", message)
        return str(message["id"])

    async def interacts(self, kind: int, data: dict[str, Any], *, channel: str = DM, message_id: str = "") -> str:
        """Press a button (kind 3) or give a command (kind 2)."""
        who = (
            {"user": ANN}
            if channel == DM
            else {
                "member": {
                    "user": ANN,
                    "roles": [],
                    "permissions": "0",
                    "joined_at": None,
                    "flags": 0,
                    "deaf": False,
                    "mute": False,
                },
                "guild_id": GUILD,
            }
        )
        interaction = {
            "id": self.new_id(),
            "application_id": str(ME),
            "type": kind,
            "token": "t",
            "version": 1,
            "data": data,
            "channel_id": channel,
            "channel": _CHANNELS[channel] | {"permissions": "0"},
            "locale": "en-US",
            "entitlements": [],
            "authorizing_integration_owners": {},
            "attachment_size_limit": 1,
            **who,
        }
        if message_id:
            interaction["message"] = self._message(message_id, channel, "?") | {"author": BOT}
        await self.dispatch("INTERACTION_CREATE", interaction)
        return str(interaction["id"])

    async def dispatch(self, name: str, data: dict[str, Any]) -> None:
        """Tell the bot of an event, now or when it resumes its session."""
        event = {"op": 0, "t": name, "s": len(self._log) + 1, "d": data}
        self._log.append(event)
        for socket in list(self.sockets):
            await socket.send_json(event)

    def drop(self) -> None:
        """Cut the gateway's connections."""
        for socket in self.sockets:
            if socket._req is not None and socket._req.transport is not None:
                socket._req.transport.abort()
        self.sockets.clear()

    async def close(self, code: int) -> None:
        for socket in list(self.sockets):
            await socket.close(code=code)

    def new_id(self) -> str:
        self._last_id += 1
        return str(self._last_id)

    # -- as the gateway ----------------------------------------------------------------------------

    async def _gateway(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"op": 10, "d": {"heartbeat_interval": 40_000}})
        async for message in socket:
            if message.type != WSMsgType.TEXT:
                break
            packet = json.loads(message.data)
            match packet["op"]:
                case 1:
                    await socket.send_json({"op": 11})
                case 2 | 6 if packet["d"]["token"] != self.token:
                    await socket.close(code=4004)
                case 2 if not self.intents_allowed:
                    await socket.close(code=4014)
                case 2:
                    await self._begin(socket)
                case 6:
                    await self._resume(socket, int(packet["d"]["seq"] or 0))
        if socket in self.sockets:
            self.sockets.remove(socket)
        await self.tell()
        return socket

    async def _begin(self, socket: web.WebSocketResponse) -> None:
        self._log.clear()
        self.sockets.append(socket)
        self.sessions["new"] += 1
        ready = {
            "v": 10,
            "user": BOT,
            "guilds": [{"id": GUILD, "unavailable": True}],
            "session_id": "s1",
            "resume_gateway_url": self.gateway_url,
            "application": {"id": str(ME), "flags": 0},
        }
        await self.dispatch("READY", ready)
        await self.dispatch("GUILD_CREATE", _GUILD)
        await self.tell()

    async def _resume(self, socket: web.WebSocketResponse, seen: int) -> None:
        for event in self._log[seen:]:
            await socket.send_json(event)
        self.sockets.append(socket)
        self.sessions["resumed"] += 1
        await self.dispatch("RESUMED", {})
        await self.tell()

    # -- as the REST API ---------------------------------------------------------------------------

    async def _api(self, request: web.Request) -> web.StreamResponse:
        params, files = await _body(request)
        params |= dict(request.query)
        method = _name(request.method, request.match_info["path"].split("/"))
        await self.record(Call(method, params | {"path": request.match_info["path"]}, files))
        if request.headers.get("Authorization") != f"Bot {self.token}" and method != "interaction.callback":
            return _json({"message": "401: Unauthorized", "code": 0}, status=401)
        match self.next_fault(method):
            case Status(status=429, after=after):
                body = {"message": "You are being rate limited.", "retry_after": after, "global": False}
                return _json(body, status=429, headers={"Via": "1.1 google"})
            case Status(status=status, text=text):
                return _json({"message": text, "code": 50001}, status=status)
            case Nonsense():
                return _json({"surprise": []})
            case Cut(done=done):
                if done:
                    self._do(method, request.match_info["path"].split("/"), params)
                return self.cut(request)
        found = self._do(method, request.match_info["path"].split("/"), params)
        return web.Response(status=204) if found is None else _json(found)

    def _do(self, method: str, path: list[str], params: dict[str, Any]) -> Any:
        match method:
            case "me":
                return BOT
            case "application":
                return {
                    "id": str(ME),
                    "name": "Hermes",
                    "description": "",
                    "bot_public": True,
                    "bot_require_code_grant": False,
                    "verify_key": "",
                    "icon": None,
                    "team": None,
                    "flags": 0,
                    "owner": ANN,
                    "summary": "",
                }
            case "message.create":
                message_id = self.new_id()
                self.messages[message_id] = params.get("content") or ""
                return self._message(message_id, path[1], self.messages[message_id])
            case "message.edit":
                self.messages[path[3]] = params["content"]
                return self._message(path[3], path[1], params["content"])
            case "message.get":
                mine = {
                    "emoji": {"id": None, "name": "👀"},
                    "count": 1,
                    "me": True,
                    "me_burst": False,
                    "count_details": {"normal": 1, "burst": 0},
                    "burst_colors": [],
                }
                return self._message(path[3], path[1], "") | {"reactions": [mine]}
            case "messages.list":
                after = int(params.get("after", 0))
                found = [one for one in self.written if one["channel_id"] == path[1] and int(one["id"]) > after]
                return [{name: value for name, value in one.items() if name != "guild_id"} for one in found[::-1]]
            case "channel.get":
                return _CHANNELS[path[1]]
            case "thread.create":
                return _CHANNELS[THREAD] | {"id": self.new_id(), "name": params["name"]}
            case "commands":
                return []
        return None

    def _message(self, message_id: str, channel: str, content: str) -> dict[str, Any]:
        guild = {} if channel == DM else {"guild_id": GUILD}
        return {
            "id": message_id,
            "channel_id": channel,
            "author": BOT,
            "content": content,
            "timestamp": "2025-01-01T00:00:00.000000+00:00",
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "attachments": [],
            "embeds": [],
            "pinned": False,
            "type": 0,
            **guild,
        }

    async def _cdn(self, request: web.Request) -> web.Response:
        data = self.uploads.get(request.match_info["name"])
        return web.Response(status=404) if data is None else web.Response(body=data)


def _name(verb: str, path: list[str]) -> str:
    match verb, path:
        case "GET", ["users", "@me"]:
            return "me"
        case "GET", ["oauth2", *_]:
            return "application"
        case _, ["applications", _, "commands"]:
            return "commands"
        case _, ["interactions", *_]:
            return "interaction.callback"
        case _, ["channels", _, "typing"]:
            return "typing"
        case _, [*_, "threads"]:
            return "thread.create"
        case _, [*_, "reactions", _, "@me"]:
            return "reaction.add" if verb == "PUT" else "reaction.remove"
        case "POST", ["channels", _, "messages"]:
            return "message.create"
        case "PATCH", ["channels", _, "messages", _]:
            return "message.edit"
        case "GET", ["channels", _, "messages", _]:
            return "message.get"
        case "GET", ["channels", _, "messages"]:
            return "messages.list"
        case "GET", ["channels", _]:
            return "channel.get"
    return f"{verb} {'/'.join(path)}"


async def _body(request: web.Request) -> tuple[dict[str, Any], dict[str, bytes]]:
    if not request.can_read_body:
        return {}, {}
    if not request.content_type.startswith("multipart/"):
        found = await request.json()
        return (found if isinstance(found, dict) else {"rows": found}), {}
    posted = await request.post()
    files = {value.filename: value.file.read() for value in posted.values() if isinstance(value, web.FileField)}
    return json.loads(str(posted["payload_json"])), files


def _json(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    # The SDK reads JSON only where the header says so in just these words.
    return web.Response(
        body=json.dumps(body).encode(), status=status, headers={"Content-Type": "application/json", **(headers or {})}
    )
