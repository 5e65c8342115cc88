"""A model that says what it was told to say: the double for tests, demos and benchmarks.

A script is a list of answers, one for each request. An answer is a part or a list of parts, played in order:

    ScriptedModel(
        [
            [Say("Let me look."), Call("read_file", path="a.txt"), Call("read_file", path="b.txt")],
            [Wait(0.5), Think("hm"), Say("They are", " the same.")],
            Fail(UnavailableError("overloaded")),
            "Plain text is a Say.",
            lambda messages: Say(f"You said {messages[-1].content!r}."),
        ]
    )

A function may stand for one answer, or for the whole script, and is then asked each time, which suits a model
that several threads share.
"""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from agent.cancel import CancelToken
from agent.errors import BadRequestError
from agent.messages import Message, ToolCall, Usage
from agent.protocols import ChatModel, ModelOutput, ReasoningChunk, Reply, Restarted, TextChunk, ToolSpec

# -- the vocabulary --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, init=False)
class Say:
    """Text of the answer, streamed in the pieces given."""

    chunks: tuple[str, ...]

    def __init__(self, *chunks: str) -> None:
        object.__setattr__(self, "chunks", chunks)


@dataclass(frozen=True, slots=True)
class Think:
    """Reasoning text."""

    text: str


@dataclass(frozen=True, slots=True, init=False)
class Call:
    """A tool call. Its id is `call_1`, `call_2`, … in the order the model makes them."""

    name: str
    arguments: str

    def __init__(self, name: str, /, **arguments: object) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "arguments", json.dumps(arguments))

    @classmethod
    def raw(cls, name: str, arguments: str) -> Self:
        """A call whose arguments are `arguments` to the letter, for JSON that is none."""
        call = cls(name)
        object.__setattr__(call, "arguments", arguments)
        return call


@dataclass(frozen=True, slots=True)
class Wait:
    """A pause; a cancel ends it at once."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Until:
    """A pause until somebody sets the event; a cancel ends it at once."""

    event: threading.Event


@dataclass(frozen=True, slots=True)
class Restart:
    """What was said so far in this answer is taken back."""

    reason: str


@dataclass(frozen=True, slots=True)
class Fail:
    """The request ends with this exception."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Finish:
    """What the answer reports about itself; without it: no tokens, and `stop` or `tool_calls`."""

    usage: Usage = Usage()
    reason: str = ""


Part = str | Say | Think | Call | Wait | Until | Restart | Fail | Finish
Answer = Part | Sequence[Part]
AnswerFor = Callable[[Sequence[Message]], Answer]
Script = Sequence[Answer | AnswerFor] | AnswerFor

# -- the model -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """What the model was asked."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]


class ScriptedModel:
    """Plays a script. Safe to share between threads; `requests` grows with each request, in the order they came."""

    def __init__(self, script: Script, name: str = "scripted") -> None:
        self.name = name
        self.requests: list[Request] = []
        self._script = script
        self._lock = threading.Lock()
        self._calls = 0

    def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, cancel: CancelToken
    ) -> Iterator[ModelOutput]:
        """Play the next answer.

        Raises: Cancelled; whatever the script says; BadRequestError when the script has no more answers.
        """
        cancel.raise_if_cancelled()
        answer = self._next_answer(Request(tuple(messages), tuple(tools)))
        said = _Said()
        for part in [answer] if isinstance(answer, Part) else answer:
            cancel.raise_if_cancelled()
            for output in self._play(part, said, cancel):
                yield output
                cancel.raise_if_cancelled()
        yield said.reply()

    def _next_answer(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
        if callable(self._script):
            return self._script(request.messages)
        if number > len(self._script):
            raise BadRequestError(
                f"The script of {self.name!r} has {len(self._script)} answers, and this is request {number}.",
                hint="Add an answer to the script, or find out why the model was asked again.",
            )
        answer = self._script[number - 1]
        return answer(request.messages) if callable(answer) else answer

    def _play(self, part: Part, said: "_Said", cancel: CancelToken) -> Iterator[ModelOutput]:
        match part:
            case str():
                yield from self._play(Say(part), said, cancel)
            case Say():
                for chunk in part.chunks:
                    said.text += chunk
                    yield TextChunk(chunk)
            case Think():
                said.reasoning += part.text
                yield ReasoningChunk(part.text)
            case Call():
                said.calls += (ToolCall(self._call_id(), part.name, part.arguments),)
            case Wait():
                cancel.wait(part.seconds)
                cancel.raise_if_cancelled()
            case Until():
                while not part.event.wait(0.01):
                    cancel.raise_if_cancelled()
            case Restart():
                said.forget()
                yield Restarted(part.reason)
            case Fail():
                raise part.error
            case Finish():
                said.finish = part

    def _call_id(self) -> str:
        with self._lock:
            self._calls += 1
            return f"call_{self._calls}"


class _Said:
    """What an answer amounts to so far."""

    def __init__(self) -> None:
        self.finish = Finish()
        self.forget()

    def forget(self) -> None:
        self.text = ""
        self.reasoning = ""
        self.calls: tuple[ToolCall, ...] = ()

    def reply(self) -> Reply:
        message = Message("assistant", self.text, tool_calls=self.calls, reasoning=self.reasoning)
        reason = self.finish.reason or ("tool_calls" if self.calls else "stop")
        return Reply(message, self.finish.usage, reason)


if TYPE_CHECKING:
    _: ChatModel = ScriptedModel([])
