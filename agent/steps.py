"""A conversation as the steps it may be cut into, and what each can lose when it has to be shorter."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from agent.context import BYTES_PER_TOKEN, size
from agent.messages import Message
from agent.outputs import named_in
from agent.toolset import bounded

TRIMMED = 400
"""Characters left of a tool's output when it has to shrink; five times as many of other texts."""

HANDOVER = "[Hermes: to fit the model's window, the earlier part of this conversation was "
"""How a message begins that a compaction wrote in the person's place."""


@dataclass(frozen=True, slots=True)
class Step:
    """Messages that stay together: one of the person's, or one of the model's with the results of its calls.

    `pinned`: the person's words of the turn that runs (`last_word`: the newest of them), or a summary.
    """

    messages: tuple[Message, ...]
    pinned: bool = False
    last_word: bool = False

    @property
    def size(self) -> int:
        return size(self.messages)

    def trimmed(self, *, outputs: int, texts: int | None = None) -> "Step":
        """With tool outputs, and where asked other texts and calls' arguments, of at most so many characters."""
        limits = {"tool": outputs, "assistant": texts, "user": None if self.last_word else texts}
        return replace(self, messages=tuple(_trimmed(message, limits.get(message.role)) for message in self.messages))


def steps_of(messages: Sequence[Message]) -> list[Step]:
    """A conversation without its system message, cut where it may be cut."""
    ended = [index for index, message in enumerate(messages) if message.role == "assistant" and not message.tool_calls]
    words = [index for index, message in enumerate(messages) if message.role == "user" and not is_handover(message)]
    asked = [index for index in words if index > (ended[-1] if ended else -1)]
    steps: list[Step] = []
    for index, message in enumerate(messages):
        if message.role == "tool" and steps:
            steps[-1] = replace(steps[-1], messages=(*steps[-1].messages, message))
        else:
            steps.append(Step((message,), index in asked or is_handover(message), index in asked[-1:]))
    return steps


def shortened(steps: Sequence[Step], room: int) -> list[Step]:
    """The steps in at most `room` tokens, as far as that goes: the newest and the person's words lose last.

    The newest step stays, however short it gets: without it the model would do the same again, and again.
    """
    steps = list(steps)
    sizes = [step.size for step in steps]

    def put(number: int, step: Step) -> None:
        steps[number], sizes[number] = step, step.size

    for number in range(len(steps) - 1):
        if sum(sizes) > room:
            put(number, steps[number].trimmed(outputs=TRIMMED))
    if steps and sum(sizes) > room:
        put(-1, steps[-1].trimmed(outputs=_share(steps[-1], room - sum(sizes[:-1]))))
    for number in range(len(steps)):
        if sum(sizes) > room:
            put(number, steps[number].trimmed(outputs=TRIMMED, texts=5 * TRIMMED))
    while sum(sizes) > room and (loose := [number for number, step in enumerate(steps[:-1]) if not step.pinned]):
        del steps[loose[0]], sizes[loose[0]]
    for limit in (TRIMMED, TRIMMED // 4):
        for number in range(len(steps)):
            if sum(sizes) > room:
                put(number, steps[number].trimmed(outputs=limit, texts=limit))
    return steps


def _share(step: Step, room: int) -> int:
    """Characters for each output of a step that may take `room` tokens."""
    outputs = [message for message in step.messages if message.role == "tool"]
    rest = size(message for message in step.messages if message.role != "tool")
    return max(TRIMMED, (room - rest) * BYTES_PER_TOKEN // max(len(outputs), 1) - 200)


def newest(steps: Sequence[Step], room: int) -> list[Step]:
    """The newest steps that fit, at least one."""
    kept: list[Step] = []
    for step in reversed(steps):
        room -= step.size
        if kept and room < 0:
            break
        kept.insert(0, step)
    return kept


def _trimmed(message: Message, limit: int | None) -> Message:
    if limit is None:
        return message
    if message.images:
        named = "".join(f"\n[{image.name or 'image'}: left out; kept in {image.file}]" for image in message.images)
        message = replace(message, content=message.content + named, images=())
    calls = tuple(replace(call, arguments=_shorter(call.arguments, limit)) for call in message.tool_calls)
    message = replace(message, tool_calls=calls) if calls != message.tool_calls else message
    if len(message.content) <= limit * 1.5:
        return message
    where = named_in(message.content)
    content = message.content.removesuffix(where).rstrip("\n") if where else message.content
    return replace(message, content="\n".join(filter(None, (bounded(content, limit), where))))


def _shorter(arguments: str, limit: int) -> str:
    """A call's arguments with long texts cut; still an object in JSON, for providers read it."""
    if len(arguments) <= limit * 1.5:
        return arguments
    try:
        given = json.loads(arguments)
    except (ValueError, RecursionError):
        given = None
    if isinstance(given, dict):
        cut = {name: bounded(value, limit) if isinstance(value, str) else value for name, value in given.items()}
        if len(shorter := json.dumps(cut, ensure_ascii=False)) < len(arguments) / 2:
            return shorter
    return json.dumps({"left_out": f"{len(arguments):,} characters"})


# -- words -----------------------------------------------------------------------------------------


def transcript(steps: Iterable[Step], limit: int) -> str:
    """The record of a conversation for whoever summarises it, in at most about `limit` characters."""
    steps = list(steps)
    text = ""
    for outputs in (2_000, 500, 150):
        text = "\n\n".join(_recorded(steps, outputs))
        if len(text) <= limit:
            break
    return bounded(text, limit)


def _recorded(steps: Sequence[Step], outputs: int) -> Iterator[str]:
    for step in steps:
        for message in step.messages:
            match message.role:
                case "user":
                    images = "".join(f"\n[{image.name or 'image'}: {image.file}]" for image in message.images)
                    yield f"## Person\n{bounded(message.content, outputs * 4)}{images}"
                case "assistant":
                    calls = [f"calls {call.name} {bounded(call.arguments, outputs)}" for call in message.tool_calls]
                    yield "\n".join(["## Agent", *([message.content] if message.content else []), *calls])
                case _:
                    yield f"## Result\n{bounded(message.content, outputs)}"


def is_handover(message: Message) -> bool:
    """Whether a message was written by a compaction, not by the person."""
    return message.role == "user" and message.content.startswith(HANDOVER)
