"""A Bot API server that knows enough of Telegram, and misbehaves on request.

async with TelegramServer() as server:
    server.says("hello")                          # a person writes
    ...                                           # a bot at server.base_url answers
    assert server.of("sendMessage")[0]["text"] == "hi"
"""

import json
from typing import Any

import aiohttp
from aiohttp import web

from tests.support.telegram_html import BadEntities, parsed, utf16_length
from tests.support.web_server import Call, Cut, Nonsense, Status, WebServer

TOKEN = "123456789:AAE-test_token-0123456789abcdefghij"
BOT = {"id": 99, "is_bot": True, "first_name": "Hermes", "username": "hermes_bot"}
ANN = {"id": 7, "is_bot": False, "first_name": "Ann", "username": "ann"}
PRIVATE = {"id": 7, "type": "private", "first_name": "Ann"}
GROUP = {"id": -1001, "type": "supergroup", "title": "Friends"}


class Refusal(Exception):
    """A 400."""


class TelegramServer(WebServer):
    """One bot's server. `messages` is what chats show: (chat id, message id) → text."""

    def __init__(self) -> None:
        super().__init__()
        self.updates: list[dict[str, Any]] = []
        self.messages: dict[tuple[int, int], str] = {}
        self.uploads: dict[str, bytes] = {}
        self.webhook: dict[str, Any] = {}
        self.token = TOKEN
        self.migrated: dict[int, int] = {}
        self._last_id = 100
        self.app.router.add_route("*", "/bot{token}/{method}", self._api)
        self.app.router.add_get("/file/bot{token}/{path:.*}", self._file)

    @property
    def base_url(self) -> str:
        return f"{self.url}/bot"

    @property
    def base_file_url(self) -> str:
        return f"{self.url}/file/bot"

    # -- as a person -------------------------------------------------------------------------------

    def says(
        self,
        text: str | None,
        *,
        chat: dict[str, Any] = PRIVATE,
        user: dict[str, Any] = ANN,
        kind: str = "message",
        **more: Any,
    ) -> int:
        """Write a message; `more` are further fields of it. Returns the update's id."""
        message = {"message_id": self._new_id(), "date": 1, "chat": chat, "from": user, **more}
        return self.push({kind: message | ({"text": text} if text is not None else {})})

    def presses(self, message_id: int, data: str, *, chat: dict[str, Any] = PRIVATE, user: dict[str, Any] = ANN) -> int:
        message = {"message_id": message_id, "date": 1, "chat": chat, "from": BOT, "text": "?"}
        query = {"id": "q1", "from": user, "chat_instance": "1", "message": message, "data": data}
        return self.push({"callback_query": query})

    def push(self, update: dict[str, Any]) -> int:
        update_id = self._new_id()
        self.updates.append({"update_id": update_id, **update})
        return update_id

    async def call_webhook(self, port: int, update: dict[str, Any] | bytes, secret: str | None) -> int:
        """Call the webhook as Telegram does; returns the status."""
        headers = {"X-Telegram-Bot-Api-Secret-Token": secret} if secret is not None else {}
        body = update if isinstance(update, bytes) else json.dumps(update).encode()
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://127.0.0.1:{port}/hook", data=body, headers=headers) as answer,
        ):
            return answer.status

    # -- as the server -----------------------------------------------------------------------------

    def _new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    async def _api(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        posted = await request.post()
        params = {name: _value(value) for name, value in posted.items() if isinstance(value, str)}
        files = {value.filename: value.file.read() for value in posted.values() if isinstance(value, web.FileField)}
        await self.record(Call(method, params, files))
        if request.match_info["token"] != self.token:
            return _error(401, "Unauthorized")
        match self.next_fault(method):
            case Status(status=429, after=after):
                return _error(429, "Too Many Requests", {"retry_after": int(after)})
            case Status(status=status, text=text):
                return _error(status, text)
            case Nonsense():
                return web.json_response({"ok": True, "result": {"surprise": []}})
            case Cut(done=done):
                if done:
                    await self._do(method, params)
                return self.cut(request)
        if new := self.migrated.get(int(params.get("chat_id", 0))):
            text = "Bad Request: group chat was upgraded to a supergroup chat"
            return _error(400, text, {"migrate_to_chat_id": new})
        try:
            return web.json_response({"ok": True, "result": await self._do(method, params)})
        except (Refusal, BadEntities) as refusal:
            return _error(400, f"Bad Request: {refusal}")

    async def _do(self, method: str, params: dict[str, Any]) -> Any:
        match method:
            case "getMe":
                return BOT
            case "getUpdates":
                return await self._get_updates(params)
            case "setWebhook" | "deleteWebhook":
                self.webhook = params
                return True
            case "sendMessage":
                return self._show(params, self._checked(params))
            case "sendDocument" | "sendPhoto" | "sendVoice" | "sendAudio" | "sendVideo":
                return self._show(params, params.get("caption", ""))
            case "editMessageText":
                return self._edit(params)
            case "getFile":
                return self._get_file(params)
            case "createForumTopic":
                return {"message_thread_id": self._new_id(), "name": params["name"], "icon_color": 0}
            case _:
                return True

    async def _get_updates(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        self.updates = [update for update in self.updates if update["update_id"] >= params.get("offset", 0)]
        if not self.updates:
            try:
                await self.until(lambda: self.updates, min(params.get("timeout", 0), 0.05))
            except TimeoutError:
                return []
        return self.updates

    def _checked(self, params: dict[str, Any]) -> str:
        text = str(params["text"])
        shown = parsed(text) if params.get("parse_mode") == "HTML" else text
        if not shown.strip():
            raise Refusal("message text is empty")
        if utf16_length(shown) > 4096:
            raise Refusal("message is too long")
        return shown

    def _show(self, params: dict[str, Any], text: str) -> dict[str, Any]:
        chat_id, message_id = int(params["chat_id"]), self._new_id()
        self.messages[chat_id, message_id] = text
        chat = {"id": chat_id, "type": "private" if chat_id > 0 else "supergroup"}
        return {"message_id": message_id, "date": 1, "chat": chat, "from": BOT, "text": text}

    def _edit(self, params: dict[str, Any]) -> dict[str, Any]:
        key = int(params["chat_id"]), int(params["message_id"])
        if key not in self.messages:
            raise Refusal("message to edit not found")
        text = self._checked(params)
        if self.messages[key] == text:
            raise Refusal("message is not modified: specified new message content is exactly the same")
        self.messages[key] = text
        return {"message_id": key[1], "date": 1, "chat": {"id": key[0], "type": "private"}, "from": BOT, "text": text}

    def _get_file(self, params: dict[str, Any]) -> dict[str, Any]:
        data = self.uploads.get(params["file_id"])
        if data is None:
            raise Refusal("wrong file_id or the file is temporarily unavailable")
        return {
            "file_id": params["file_id"],
            "file_unique_id": "u",
            "file_size": len(data),
            "file_path": f"docs/{params['file_id']}",
        }

    async def _file(self, request: web.Request) -> web.Response:
        return web.Response(body=self.uploads[request.match_info["path"].rpartition("/")[2]])


def _error(status: int, text: str, parameters: dict[str, Any] | None = None) -> web.Response:
    body = {"ok": False, "error_code": status, "description": text}
    return web.json_response(body | ({"parameters": parameters} if parameters else {}), status=status)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
