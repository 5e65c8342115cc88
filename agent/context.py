"""How full the model's window is: what the provider reported, and estimates for the rest."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.messages import Message, Usage
from agent.protocols import ToolSpec

BYTES_PER_TOKEN = 4
PER_MESSAGE = 4
"""Tokens a message takes beside its text."""

PER_IMAGE = 1_200
"""Tokens of an image: providers count some hundreds to 1,600, by its size."""

_SCALES = (0.5, 4.0)
"""How far a report may bend the estimates of what comes after it."""


def estimated(text: str) -> int:
    """About how many tokens a text is. Bytes count: of Chinese a character is a token, of English a quarter."""
    return -(-(len(text) if text.isascii() else len(text.encode(errors="replace"))) // BYTES_PER_TOKEN)


def size(messages: Iterable[Message]) -> int:
    """About how many tokens the messages are."""
    return sum(
        PER_MESSAGE
        + estimated(message.content)
        + PER_IMAGE * len(message.images)
        + sum(estimated(call.arguments) + estimated(call.name) + PER_MESSAGE for call in message.tool_calls)
        for message in messages
    )


def size_of_tools(specs: Sequence[ToolSpec]) -> int:
    """About how many tokens the model's list of tools is."""
    for spec in specs:
        if (spec.name, spec.description) not in _tools:
            _tools[spec.name, spec.description] = estimated(spec.name + spec.description + json.dumps(spec.parameters))
    return sum(_tools[spec.name, spec.description] for spec in specs)


_tools: dict[tuple[str, str], int] = {}


@dataclass(frozen=True, slots=True)
class Fill:
    """Tokens in the window. `reported` of them the provider counted, the others are estimated."""

    tokens: int
    reported: int = 0


class Gauge:
    """Measures one conversation, better with each reply. `tools` is what the list of tools takes, in tokens."""

    def __init__(self, tools: int = 0) -> None:
        self.tools = tools
        self._reported = 0
        self._covered: tuple[int, Message] | None = None
        self.scale = 1.0

    def saw(self, messages: Sequence[Message], reply: Message, usage: Usage) -> None:
        """The provider counted a request of `messages`, and its `reply`."""
        if not usage.input_tokens:
            return
        guess = max(size(messages) + self.tools, 1)
        self.scale = min(max(usage.input_tokens / guess, _SCALES[0]), _SCALES[1])
        self._reported = usage.input_tokens + usage.output_tokens
        self._covered = (len(messages), reply)

    def fill(self, messages: Sequence[Message]) -> Fill:
        """How much these messages take, together with the tools."""
        if self._covered is not None:
            count, reply = self._covered
            # The loop may have given the reply's calls other ids; a conversation that was cut has another text there.
            if count < len(messages) and messages[count].content == reply.content:
                return Fill(self._reported + self.scaled(size(messages[count + 1 :])), self._reported)
        return Fill(self.scaled(size(messages) + self.tools))

    def forget(self) -> None:
        """The conversation is another one now; how the provider counts is not forgotten."""
        self._covered = None

    def scaled(self, estimate: int) -> int:
        """An estimate, as the provider of the last reply would count it."""
        return round(estimate * self.scale)


# -- what takes the room ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """A share of the window, in tokens."""

    name: str
    tokens: int
    estimated: bool = True


def parts(messages: Sequence[Message], gauge: Gauge, *, own: str, window: int) -> list[Part]:
    """What takes the window: system, project files, tools, memory, conversation, free.

    `own` is the beginning of the system message that is not from project files. How much is free is known where
    the provider reported the fill; how that is shared out is estimated: each has its part of it.
    """
    fill = gauge.fill(messages)
    prompt = messages[0].content if messages else ""
    guesses = (estimated(own), estimated(prompt[len(own) :]), gauge.tools)
    whole = max(sum(guesses) + size(messages[1:]), 1)
    system, project, tools = (round(fill.tokens * guess / whole) for guess in guesses)
    found = [
        Part("system", system),
        Part("project files", project),
        Part("tools", tools),
        Part("memory", 0, False),
        Part("conversation", max(0, fill.tokens - system - project - tools)),
    ]
    if window:
        found.append(Part("free", max(0, window - fill.tokens), fill.tokens != fill.reported))
    return found
