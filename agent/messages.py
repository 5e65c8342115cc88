"""What a conversation is made of. Standard library only; nothing here knows a provider."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]

INTERRUPTED = "interrupted; outcome unknown"
"""The result given to a tool call whose outcome nobody recorded."""
DENIED = "Not run. The answer was no"
"""How the result of a call begins that was not allowed."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to run a tool. `arguments` is JSON text, exactly as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image beside a message's text. `file` is a copy that Hermes keeps and never changes; `name` is for people."""

    file: str
    media_type: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of a conversation; never changed once stored.

    `tool_calls` is set on assistant messages only, `tool_call_id` on tool messages only.
    `reasoning` is what the server sent as reasoning text; it is shown, not sent back. `images` are on user and tool
    messages only.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    reasoning: str = ""
    images: tuple[ImagePart, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider reported them, and US dollars where a price is known.

    `input_tokens` includes `cached_tokens`; `output_tokens` includes `reasoning_tokens`.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: float | None = None

    def __add__(self, other: "Usage") -> "Usage":
        known = [cost for cost in (self.cost, other.cost) if cost is not None]
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            sum(known) if known else None,
        )


def unanswered_calls(history: list[Message]) -> list[ToolCall]:
    """The tool calls of the last assistant message that have no result yet, in their order."""
    answered: set[str] = set()
    for message in reversed(history):
        if message.role == "tool":
            answered.add(message.tool_call_id)
        elif message.role == "assistant":
            return [call for call in message.tool_calls if call.id not in answered]
        else:
            return []
    return []
