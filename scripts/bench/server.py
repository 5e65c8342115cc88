"""A local model server for the bench: OpenAI Chat Completions over HTTP/1.1, standard library only.

Prints its port, serves 127.0.0.1, and ends when its standard input closes. What it does is chosen by the last
user message when that is the name of a mode, else by the model's name, else it is `instant`:

    instant     a few words at once
    slow2s      the same after two seconds
    stream5000  5,000 chunks of Markdown with code, as quick as the socket takes them
    paced5000   the same, one chunk a millisecond
    fullspeed   chunks of plain words as quick as the socket takes them, for 20 seconds
"""

import asyncio
import json
import socket
import sys

from responses import completion, event, headers, last, long_words, plain_words, short_words, whole

MODES = ("instant", "slow2s", "stream5000", "paced5000", "fullspeed")
FULLSPEED_SECONDS = 20.0
PACE = 0.001

START = headers("text/event-stream")
LAST = last()
SHORT = START + b"".join(map(event, short_words())) + LAST
SHORT_WHOLE = completion("".join(short_words()))
LONG = [event(word) for word in long_words()]
LONG_AT_ONCE = START + b"".join(LONG) + LAST
PLAIN = b"".join(map(event, plain_words())) * 4
MODELS = whole({"object": "list", "data": [{"id": name, "object": "model", "owned_by": "bench"} for name in MODES]})
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class Server:
    """Answers requests, and counts them."""

    def __init__(self) -> None:
        self.requests = 0
        self.streaming = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                body = await reader.readexactly(_content_length(head))
                await self.answer(head.split(b" ", 2)[1], body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went away
        finally:
            writer.close()

    async def answer(self, path: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        match path.rstrip(b"/").rsplit(b"/", 1)[-1]:
            case b"stats":
                writer.write(whole({"requests": self.requests, "streaming": self.streaming}))
            case b"models":
                writer.write(MODELS)
            case b"completions":
                self.requests += 1
                request = json.loads(body)
                await self.complete(_mode(request), writer, stream=bool(request.get("stream")))
            case _:
                writer.write(NOT_FOUND)
        await writer.drain()

    async def complete(self, mode: str, writer: asyncio.StreamWriter, *, stream: bool) -> None:
        if mode == "slow2s":
            await asyncio.sleep(2.0)
        if not stream:
            writer.write(SHORT_WHOLE)
            return
        self.streaming += 1
        try:
            match mode:
                case "stream5000":
                    writer.write(LONG_AT_ONCE)
                    await writer.drain()
                case "paced5000":
                    await self.paced(writer)
                case "fullspeed":
                    await self.fullspeed(writer)
                case _:
                    writer.write(SHORT)
        finally:
            self.streaming -= 1

    async def paced(self, writer: asyncio.StreamWriter) -> None:
        """One chunk each `PACE` seconds, by the clock; several at once after a late wake-up."""
        loop = asyncio.get_running_loop()
        writer.write(START)
        began = loop.time()
        sent = 0
        while sent < len(LONG):
            due = min(len(LONG), int((loop.time() - began) / PACE) + 1)
            for chunk in LONG[sent:due]:
                writer.write(chunk)
            sent = due
            await writer.drain()
            await asyncio.sleep(PACE)
        writer.write(LAST)

    async def fullspeed(self, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        writer.write(START)
        deadline = loop.time() + FULLSPEED_SECONDS
        while loop.time() < deadline:
            writer.write(PLAIN)
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(LAST)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _mode(request: dict[str, object]) -> str:
    messages = request.get("messages")
    texts = (
        [_text(item.get("content")) for item in messages if item.get("role") == "user"]
        if isinstance(messages, list)
        else []
    )
    wished = texts[-1].strip() if texts else ""
    return wished if wished in MODES else str(request.get("model"))


def _text(content: object) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return str(content)


async def main() -> None:
    server = Server()
    listener = await asyncio.start_server(server.connected, "127.0.0.1", 0, backlog=512)
    print(listener.sockets[0].getsockname()[1], flush=True)
    async with listener:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
