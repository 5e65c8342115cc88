"""What goes over the wire: messages and tools into a request, events of a stream into a reply.

The structs are lenient. Servers that call themselves compatible leave fields out, send null, and disagree about
the rest; what is not understood here is ignored, and what is missing has a default.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from agent.messages import ImagePart, Message, ToolCall, Usage
from agent.models._images import with_images
from agent.protocols import ModelOutput, ReasoningChunk, Reply, TextChunk, ToolSpec

# -- to the server ---------------------------------------------------------------------------------


def message_to_wire(message: Message) -> dict[str, object]:
    """The same message gives the same bytes, always: the provider's prompt cache depends on it."""
    wire: dict[str, object] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        wire["content"] = message.content or None
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments_to_wire(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        wire["tool_call_id"] = message.tool_call_id
    return wire


def messages_to_wire(messages: Sequence[Message], *, images: bool = True) -> list[dict[str, object]]:
    """A conversation. Images that a tool returned follow in a message of their own: results hold only text.

    Without `images` a note stands in the place of each.
    """
    wire: list[dict[str, object]] = []
    returned: list[ImagePart] = []

    def show_returned() -> None:
        if returned:
            wire.append(with_images("The images that the tools returned:", returned, shown=images))
            returned.clear()

    for message in messages:
        if message.role != "tool":
            show_returned()
        item = message_to_wire(message)
        if message.images and message.role == "user":
            item = with_images(message.content, message.images, shown=images)
        returned += message.images if message.role == "tool" else ()
        wire.append(item)
    show_returned()
    return wire


def tool_to_wire(tool: ToolSpec) -> dict[str, object]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _arguments_to_wire(arguments: str) -> str:
    # Many servers parse what they are sent back, and a conversation that holds broken JSON would fail for ever.
    try:
        msgspec.json.decode(arguments or "{}", type=dict[str, Any])
    except msgspec.DecodeError:
        return msgspec.json.encode({"malformed_arguments": arguments}).decode()
    return arguments or "{}"


# -- from the server -------------------------------------------------------------------------------


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _ToolDelta(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Part(msgspec.Struct):
    text: str | None = None
    thinking: "str | list[_Part] | None" = None


class _Delta(msgspec.Struct):
    content: str | list[_Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolDelta] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek's name for cached_tokens
    cost: float | None = None  # OpenRouter


class Failure(msgspec.Struct):
    """An error as a server describes it; `code` may be a word or an HTTP status."""

    message: str | None = None
    code: str | int | None = None
    type: str | None = None

    @property
    def words(self) -> str:
        """Everything that may hold a clue, in lower case."""
        return f"{self.code or ''} {self.type or ''} {self.message or ''}".lower()


class Chunk(msgspec.Struct):
    """An event of a stream, or a whole answer, or an error."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Failure | str | None = None
    message: str | None = None
    detail: Any = None
    code: str | int | None = None
    type: str | None = None

    @property
    def failure(self) -> Failure | None:
        """The error this is, if it is one."""
        match self.error:
            case Failure():
                return self.error
            case str() if self.error:
                return Failure(self.error, self.code, self.type)
        text = self.message or (str(self.detail) if self.detail else "")
        return Failure(text, self.code, self.type) if text and not self.choices else None


class _Model(msgspec.Struct):
    """The servers' names for the window; what is really loaded before what the model could do."""

    id: str = ""
    loaded_context_length: Any = None  # LM Studio
    max_model_len: Any = None  # vLLM
    context_window: Any = None  # Groq
    context_length: Any = None  # OpenRouter, Together
    max_context_length: Any = None  # Mistral

    @property
    def window(self) -> int:
        told = (self.loaded_context_length, self.max_model_len, self.context_window, self.context_length)
        return next(
            (tokens for tokens in (*told, self.max_context_length) if isinstance(tokens, int) and tokens > 0), 0
        )


class _Models(msgspec.Struct):
    data: list[_Model] | None = None


_chunk = msgspec.json.Decoder(Chunk, strict=False)
_models = msgspec.json.Decoder(_Models | list[_Model])


def decode_chunk(data: bytes | str) -> Chunk:
    """Raises: msgspec.DecodeError."""
    return _chunk.decode(data)


def decode_failure(text: str) -> Failure:
    """What the body of an error answer says; all of it when it is in no known shape."""
    try:
        return _chunk.decode(text).failure or Failure(text)
    except msgspec.DecodeError:
        return Failure(text)


def decode_models(data: bytes) -> dict[str, int]:
    """The ids in the list's order, each with its window in tokens, 0 where it is not told.

    Raises: msgspec.DecodeError.
    """
    found: Any = _models.decode(data)
    models = (found.data or []) if isinstance(found, _Models) else found
    return {model.id: model.window for model in models if model.id}


def event_data(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The data of each server-sent event, from bytes cut anywhere."""
    rest = b""
    data: list[bytes] = []
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[5:].strip())
            elif data and not line.strip():
                yield b"\n".join(data)
                data.clear()
    if rest.startswith(b"data:"):
        data.append(rest[5:].strip())
    if data:
        yield b"\n".join(data)


# -- putting a reply together ----------------------------------------------------------------------


@dataclass(slots=True)
class _Call:
    index: int | None
    id: str = ""
    name: str = ""
    arguments: str = ""

    @property
    def whole(self) -> bool:
        try:
            msgspec.json.decode(self.arguments)
        except msgspec.DecodeError:
            return False
        return True


@dataclass(slots=True)
class Assembly:
    """A reply in the making. `taken` holds the ids of earlier tool calls, which a new call may not bear again."""

    taken: set[str] = field(default_factory=set)
    finish_reason: str = ""
    _text: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)
    _calls: list[_Call] = field(default_factory=list)
    _usage: Usage = Usage()

    def add(self, chunk: Chunk) -> Iterator[ModelOutput]:
        if chunk.usage is not None:
            self._usage = _to_usage(chunk.usage)
        for choice in (chunk.choices or [])[:1]:
            if (delta := choice.delta or choice.message) is not None:
                yield from self._add_delta(delta)
            self.finish_reason = choice.finish_reason or self.finish_reason

    @property
    def empty(self) -> bool:
        return not self._calls and not "".join(self._text).strip()

    def reply(self) -> Reply:
        calls = tuple(self._finished(call) for call in self._calls)
        reason = self.finish_reason or "stop"
        if calls and reason in ("stop", "function_call"):
            reason = "tool_calls"
        message = Message("assistant", "".join(self._text), calls, reasoning="".join(self._reasoning))
        return Reply(message, self._usage, reason)

    def _add_delta(self, delta: _Delta) -> Iterator[ModelOutput]:
        text, thinking = _split_content(delta.content)
        if reasoning := delta.reasoning_content or delta.reasoning or thinking:
            self._reasoning.append(reasoning)
            yield ReasoningChunk(reasoning)
        if text := text or delta.refusal or "":
            self._text.append(text)
            yield TextChunk(text)
        for fragment in delta.tool_calls or ():
            self._add_fragment(fragment)

    def _add_fragment(self, fragment: _ToolDelta) -> None:
        function = fragment.function or _Function()
        name = function.name or ""
        call = self._call_for(fragment, name)
        call.id = call.id or fragment.id or ""
        if name != call.name:
            call.name += name
        if isinstance(function.arguments, dict):
            call.arguments += msgspec.json.encode(function.arguments).decode()
        else:
            call.arguments += function.arguments or ""

    def _call_for(self, fragment: _ToolDelta, name: str) -> _Call:
        """The call a fragment belongs to, new or begun.

        The index decides, where there is one. But some servers give every call the index 0, and only a new id beside
        a name tells them apart; some send a new id with every fragment, and no name. Without index and id, a name
        after complete arguments begins a call.
        """
        known = [call for call in self._calls if fragment.index is None or call.index == fragment.index]
        if fragment.id and (same := [call for call in known if call.id == fragment.id]):
            return same[-1]
        call = known[-1] if known else None
        if call is None or (name and _begins_anew(call, fragment, name)):
            call = _Call(fragment.index)
            self._calls.append(call)
        return call

    def _finished(self, call: _Call) -> ToolCall:
        if not call.id or call.id in self.taken:
            call.id = f"call_{uuid.uuid4().hex[:24]}"
        self.taken.add(call.id)
        return ToolCall(call.id, call.name or "unknown", call.arguments)


def _begins_anew(call: _Call, fragment: _ToolDelta, name: str) -> bool:
    if fragment.id and call.id:
        return True
    return bool(call.arguments) and (name != call.name or (fragment.index is None and call.whole))


def _split_content(content: str | list[_Part] | None) -> tuple[str, str]:
    """Text and thinking; Mistral sends both as a list of parts."""
    if content is None or isinstance(content, str):
        return content or "", ""
    text, thinking = [], []
    for part in content:
        text.append(part.text or "")
        if isinstance(part.thinking, str):
            thinking.append(part.thinking)
        else:
            thinking.extend(inner.text or "" for inner in part.thinking or ())
    return "".join(text), "".join(thinking)


def _to_usage(usage: _Usage) -> Usage:
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else None
    details = usage.completion_tokens_details
    return Usage(
        input_tokens=usage.prompt_tokens or 0,
        output_tokens=usage.completion_tokens or 0,
        cached_tokens=cached or usage.prompt_cache_hit_tokens or 0,
        reasoning_tokens=(details.reasoning_tokens if details else None) or 0,
        cost=usage.cost,
    )


def request_body(
    *,
    model: str,
    messages: Sequence[Message],
    tools: Sequence[ToolSpec],
    effort: str,
    routing: Mapping[str, Any],
    images: bool = True,
) -> dict[str, object]:
    """The body of a request, without what concerns streaming; keys always in this order."""
    body: dict[str, object] = {"model": model, "messages": messages_to_wire(messages, images=images)}
    if tools:
        body["tools"] = [tool_to_wire(tool) for tool in tools]
    if effort:
        body["reasoning_effort"] = effort
    if routing:
        body["provider"] = dict(routing)
    return body
