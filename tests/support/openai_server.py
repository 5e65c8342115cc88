"""An OpenAI-compatible HTTP server that does what a script says, bad manners included.

    with OpenAIServer([say("Hel", "lo"), Status(429, retry_after=1), "plain text"]) as server:
        ...  # point a client at server.base_url
        assert server.requests[0].body["model"] == "test-model"

Each request to /chat/completions takes the next step; when they run out, `default` answers. A step may be a
function of the request. `rejects` names request fields that get a 400, as from a server that lacks them. With a
`window` a request of more tokens (four bytes each) is refused as too long, uses up no step, and usage is counted.

As a program it prints its port on the first line and runs until it is killed; `--script` is a JSON file with a list
of steps such as `{"type": "Stream", "text": ["a", "b"], "pause": 0.1}`:

    python -m tests.support.openai_server --text "Hello from the server." --pause 0.05
"""

import argparse
import contextlib
import json
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, Self

import msgspec

MODEL = "test-model"
USAGE: dict[str, Any] = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}

# -- steps -----------------------------------------------------------------------------------------


class Tool(msgspec.Struct, frozen=True):
    """A tool call. `arguments` is JSON text, sent in `fragments` pieces."""

    name: str
    arguments: str = "{}"
    id: str = "call_1"
    fragments: int = 3


class Stream(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A streamed answer.

    `delay` is in seconds before the headers, `pause` between two events. `end` is how it ends after the last event:
    `done` as it should, `open` with `[DONE]` but without an end to the response, `eof` without finish reason and
    `[DONE]`, `cut` by closing the connection in the middle, `hang` by sending nothing more, `error` with an error
    object in the stream.
    """

    text: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    delay: float = 0.0
    pause: float = 0.0
    finish: str = ""
    usage: dict[str, Any] = msgspec.field(default_factory=lambda: USAGE)
    end: Literal["done", "open", "eof", "cut", "hang", "error"] = "done"


class Plain(msgspec.Struct, frozen=True, tag=True):
    """A whole answer in one JSON object, whether or not a stream was asked for."""

    text: str = ""
    tools: tuple[Tool, ...] = ()
    finish: str = ""
    delay: float = 0.0


class Events(msgspec.Struct, frozen=True, tag=True):
    """Exactly these objects as events of the stream (text is sent as it is), then `[DONE]` if `done`."""

    data: tuple[Any, ...]
    done: bool = True


class Status(msgspec.Struct, frozen=True, tag=True):
    """An error answer. `body` defaults to an error object in OpenAI's shape that holds `message` and `code`."""

    status: int
    message: str = "scripted failure"
    code: str = ""
    retry_after: float | None = None
    body: Any = None
    delay: float = 0.0


class Hang(msgspec.Struct, frozen=True, tag=True):
    """No answer at all, not even headers, until the client goes away."""


Step = str | Stream | Plain | Events | Status | Hang


def say(*text: str, **options: Any) -> Stream:
    """A streamed answer of these pieces of text."""
    return Stream(text=text, **options)


def call(name: str, /, **arguments: object) -> Stream:
    """A streamed answer that calls one tool."""
    return Stream(tools=(Tool(name, json.dumps(arguments)),))


# -- the server ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recorded:
    """A request as it arrived. Header names are in lower case; `body` is {} for a GET."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float = field(default_factory=time.monotonic)


StepFor = Callable[[Recorded], Step]


class OpenAIServer:
    """Runs on a free port of 127.0.0.1 within a `with` block. Safe to read from any thread."""

    def __init__(
        self,
        steps: Sequence[Step | StepFor] = (),
        *,
        default: Step | StepFor | None = None,
        models: Sequence[str] = (MODEL,),
        rejects: Sequence[str] = (),
        window: int = 0,
        port: int = 0,
    ) -> None:
        self.steps = list(steps)
        self.default = default
        self.models = tuple(models)
        self.rejects = tuple(rejects)
        self.window = window
        self.tells_window = False
        self.refused = 0
        self.requests: list[Recorded] = []
        self.hangups = 0
        self.connections = 0
        self.changed = threading.Condition()
        self._http = _HTTPServer(("127.0.0.1", port), _Handler, bind_and_activate=True)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """What was posted, request by request."""
        return [request.body for request in self.requests if request.method == "POST"]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop at once: every open connection is cut."""
        self._http.shutdown()
        self._http.server_close()
        self._http.cut_connections()

    def serve_forever(self) -> None:
        self._http.serve_forever(0.05)

    def wait_for_requests(self, count: int, seconds: float = 5.0) -> None:
        """Return when so many requests have arrived. Raises: TimeoutError."""
        self._wait(lambda: len(self.requests) >= count, f"{count} requests", seconds)

    def wait_for_hangups(self, count: int = 1, seconds: float = 5.0) -> None:
        """Return when so many clients went away in the middle of an answer. Raises: TimeoutError."""
        self._wait(lambda: self.hangups >= count, f"{count} hangups", seconds)

    def _wait(self, met: Callable[[], bool], what: str, seconds: float) -> None:
        with self.changed:
            if not self.changed.wait_for(met, seconds):
                raise TimeoutError(f"No {what} within {seconds} s: {len(self.requests)=}, {self.hangups=}.")

    def record(self, request: Recorded) -> None:
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()

    def record_hangup(self) -> None:
        with self.changed:
            self.hangups += 1
            self.changed.notify_all()

    def next_step(self, request: Recorded) -> Step:
        for name in self.rejects:
            if request.body.get(name):
                return Status(400, f"Unrecognized request argument supplied: {name}")
        asked = tokens(request.body)
        with self.changed:
            if self.window and asked > self.window:
                self.refused += 1
                words = f"This model's maximum context length is {self.window} tokens; you sent {asked}."
                return Status(400, words, "context_length_exceeded")
            step = self.steps.pop(0) if self.steps else self.default
        if step is None:
            return Status(400, "the script of the test server has no more steps")
        step = step(request) if callable(step) else step
        if self.window and isinstance(step, (str, Stream)):
            step = say(step) if isinstance(step, str) else step
            answer = sum(map(len, step.text)) // 4
            usage = {"prompt_tokens": asked, "completion_tokens": answer, "total_tokens": asked + answer}
            return msgspec.structs.replace(step, usage=usage)
        return step


def tokens(body: dict[str, Any]) -> int:
    """What a request takes of the window."""
    texts = [json.dumps(body.get("tools") or "")]
    for message in body.get("messages", ()):
        calls = message.get("tool_calls") or ()
        texts += [message.get("content") or "", *(call["function"]["arguments"] for call in calls)]
    return sum(map(len, texts)) // 4


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512
    owner: OpenAIServer

    def __init__(self, *args: Any, **options: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args, **options)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        self.owner.connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def cut_connections(self) -> None:
        for connection in list(self._open):
            _shutdown(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _HTTPServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._record({})
        if not self.path.endswith("/models"):
            return self._send_json(404, {"error": {"message": f"no such path: {self.path}"}})
        owner = self.server.owner
        told = {"context_length": owner.window} if owner.tells_window else {}
        models = [{"id": name, "object": "model", **told} for name in owner.models]
        return self._send_json(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        request = self._record(body)
        if not self.path.endswith("/chat/completions"):
            return self._send_json(404, {"error": {"message": f"no such path: {self.path}"}})
        try:
            self._answer(self.server.owner.next_step(request), body)
        except ConnectionError:
            self.server.owner.record_hangup()
            self.close_connection = True

    def _record(self, body: dict[str, Any]) -> Recorded:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Recorded(self.command, self.path, headers, body)
        self.server.owner.record(request)
        return request

    def _answer(self, step: Step, body: dict[str, Any]) -> None:
        match step:
            case str():
                self._answer(say(step), body)
            case Stream() if not body.get("stream"):
                self._answer(Plain("".join(step.text), step.tools, step.finish, step.delay), body)
            case Stream():
                self._pause(step.delay)
                self._send_stream(_events(step, usage="stream_options" in body), pause=step.pause)
                self._end(step.end)
            case Events():
                self._send_stream(_encode_all(step.data), pause=0)
                self._end("done" if step.done else "eof")
            case Plain():
                self._pause(step.delay)
                self._send_json(200, _completion(step))
            case Status():
                self._pause(step.delay)
                error = {"message": step.message, "type": "scripted", "param": None, "code": step.code or None}
                retry = {} if step.retry_after is None else {"Retry-After": f"{step.retry_after:g}"}
                self._send_json(step.status, step.body or {"error": error}, retry)
            case Hang():
                self._wait_for_hangup()

    def _send_json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _send_stream(self, events: Iterator[bytes], *, pause: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, event in enumerate(events):
            if number > 1:  # the first event only says who speaks
                self._pause(pause)
            self._send_chunk(event)

    def _send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _end(self, end: str) -> None:
        match end:
            case "cut":
                self.close_connection = True
                _shutdown(self.connection)
            case "hang":
                self._wait_for_hangup()
            case "open":
                self._send_chunk(b"data: [DONE]\n\n")
                self._wait_for_hangup()
            case _:
                if end == "error":
                    self._send_chunk(_encode({"error": {"message": "the backend fell over", "code": 502}}))
                if end == "done":
                    self._send_chunk(b"data: [DONE]\n\n")
                self.wfile.write(b"0\r\n\r\n")

    def _pause(self, seconds: float) -> None:
        if seconds and select.select([self.connection], [], [], seconds)[0]:
            raise ConnectionAbortedError("the client went away")

    def _wait_for_hangup(self) -> None:
        select.select([self.connection], [], [])
        raise ConnectionAbortedError("the client went away")


def _shutdown(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


# -- the wire --------------------------------------------------------------------------------------


def _encode(event: Any) -> bytes:
    text = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
    return f"data: {text}\n\n".encode()


def _encode_all(data: Sequence[Any]) -> Iterator[bytes]:
    return (_encode(event) for event in data)


def chunk(delta: dict[str, Any], finish: str | None = None, **extra: Any) -> dict[str, Any]:
    """One event of a stream, in OpenAI's shape."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": MODEL,
        "choices": [choice],
        **extra,
    }


def _events(step: Stream, *, usage: bool) -> Iterator[bytes]:
    yield _encode(chunk({"role": "assistant", "content": ""}))
    for text in step.reasoning:
        yield _encode(chunk({"reasoning_content": text}))
    for text in step.text:
        yield _encode(chunk({"content": text}))
    for index, tool in enumerate(step.tools):
        yield from (_encode(chunk({"tool_calls": [fragment]})) for fragment in _fragments(index, tool))
    if step.end in ("done", "open"):
        yield _encode(chunk({}, finish=step.finish or ("tool_calls" if step.tools else "stop")))
        if usage:
            yield _encode({**chunk({}), "choices": [], "usage": step.usage})


def _fragments(index: int, tool: Tool) -> Iterator[dict[str, Any]]:
    head = {"index": index, "id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": ""}}
    yield head
    size = max(1, -(-len(tool.arguments) // tool.fragments))
    for start in range(0, len(tool.arguments), size):
        yield {"index": index, "function": {"arguments": tool.arguments[start : start + size]}}


def _completion(step: Plain) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": step.text or None}
    if step.tools:
        message["tool_calls"] = [
            {"id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": tool.arguments}}
            for tool in step.tools
        ]
    finish = step.finish or ("tool_calls" if step.tools else "stop")
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [choice],
        "usage": USAGE,
    }


# -- as a program ----------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="An OpenAI-compatible server that does what a script says.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", type=Path, help="a JSON file with a list of steps, used up one a request")
    parser.add_argument("--text", default="Hello from the test server.", help="the answer when no steps are left")
    parser.add_argument("--chunks", type=int, help="send that text so many times instead of word by word")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two pieces of an answer")
    parser.add_argument("--window", type=int, default=0, help="refuse requests of more tokens")
    options = parser.parse_args(arguments)
    words = tuple(options.text.replace(" ", " \0").split("\0"))
    pieces = (options.text,) * options.chunks if options.chunks else words
    steps = msgspec.json.decode(options.script.read_bytes(), type=list[Step]) if options.script else []
    default = Stream(text=pieces, delay=options.delay, pause=options.pause)
    server = OpenAIServer(steps, default=default, window=options.window, port=options.port)
    print(server.port, flush=True)  # noqa: T201
    server.serve_forever()


if __name__ == "__main__":
    main()
