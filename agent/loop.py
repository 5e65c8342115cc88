"""The agent, whole: ask the model, run the tools it wants, until it wants none."""

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from agent.allowance import Allowance
from agent.cancel import CancelToken
from agent.compaction import Compaction
from agent.errors import (
    ApprovalPending,
    BadRequestError,
    Cancelled,
    ContextFullError,
    HermesError,
    ModelError,
    Parked,
    StoreError,
)
from agent.events import (
    Outcome,
    ReasoningDelta,
    Steered,
    StepFinished,
    StepRestarted,
    StepStarted,
    TextDelta,
    TurnFinished,
    TurnResumed,
    TurnStarted,
    TurnSuspended,
)
from agent.messages import INTERRUPTED, ImagePart, Message, ToolCall, Usage, unanswered_calls
from agent.protocols import ChatModel, ReasoningChunk, Reply, Restarted, Sink, Store, TextChunk
from agent.toolset import Toolset

Inbox = Callable[[], Iterable[str]]
"""Gives, and forgets, the lines a person sent since it was last called."""


def run_turn(
    prompt: str | None,
    history: Sequence[Message],
    *,
    model: ChatModel,
    toolset: Toolset,
    store: Store,
    session_id: str,
    emit: Sink,
    cancel: CancelToken,
    inbox: Inbox = tuple,
    compact: Compaction | None = None,
    max_steps: int = 60,
    allowance: Allowance | None = None,
    images: tuple[ImagePart, ...] = (),
    seen: Callable[[str], tuple[ImagePart, ...]] = lambda line: (),
) -> TurnFinished | TurnSuspended:
    """Run one turn to its end, and return the event that ended it.

    `images` belong to the prompt, and `seen` gives those of a line from the `inbox`; `prompt` None resumes the turn
    that `history` ends in. `history` is what the store holds for the session and is not changed; every new message is
    stored before it is used. A failure is an outcome, not an exception. When `cancel` says that the turn is to be
    parked, it is suspended before the model is asked again.
    `allowance` is shared with the agents that the turn sends: what they use counts as the turn's own.
    With `compact` a conversation that would not fit goes on in another session, which `Compacted` names.

    Raises: only what nobody foresaw, after `TurnFinished` was emitted.
    """
    messages, allowance = list(history), allowance or Allowance(max_steps)
    usage, steps, started = Usage(), 0, time.monotonic()
    answers: list[str] = []
    if prompt is None and messages and messages[-1].role == "assistant" and not messages[-1].tool_calls:
        answers.append(messages[-1].content)  # given, and nobody has said yet that the turn is over

    def keep(message: Message) -> None:
        store.append(session_id, message)
        messages.append(message)

    def go_on_elsewhere(refused: ContextFullError | None = None) -> bool:
        nonlocal session_id, usage
        move = compact(session_id, messages, emit=emit, cancel=cancel, refused=refused) if compact else None
        if move is None:
            return False
        session_id, messages[:] = move.session_id, move.messages
        usage += move.usage
        allowance.paid(move.usage)
        return True

    def said() -> str:
        last = _last_text(messages)
        return "\n\n".join(answers if not last or last in answers[-1:] else [*answers, last])

    def finish(outcome: Outcome, text: str, error: BaseException | None = None) -> TurnFinished:
        hint = error.hint if isinstance(error, HermesError) else ""
        kind = type(error).__name__ if error else ""
        seconds = time.monotonic() - started
        sent, used = allowance.sent
        event = TurnFinished(outcome, text, usage + used, steps + sent, seconds, str(error or ""), hint, kind)
        emit(event)
        return event

    def suspend(event: TurnSuspended) -> TurnSuspended:
        emit(event)
        return event

    emit(TurnResumed() if prompt is None else TurnStarted(prompt))
    try:
        if prompt is not None:
            for call in unanswered_calls(messages):
                keep(Message("tool", INTERRUPTED, tool_call_id=call.id))
            keep(Message("user", prompt, images=images))
        while True:
            calls = unanswered_calls(messages)
            for result in toolset.run(calls, store=store, session_id=session_id, emit=emit, cancel=cancel):
                keep(result)
            for line in inbox():
                keep(Message("user", line, images=seen(line)))
                emit(Steered(line))
            if messages[-1].role == "assistant":
                return finish("done", "\n\n".join(answers) or messages[-1].content)
            if (taken := steps + allowance.sent[0]) >= max_steps:
                error = HermesError(
                    f"Stopped after {taken} step{'' if taken == 1 else 's'}.", hint="Say `go on`, or raise max_steps."
                )
                return finish("limit", said(), error)
            if reason := allowance.over():
                error = HermesError(reason, hint="Say `go on`, or change max_cost.")
                return finish("limit", said(), error)
            cancel.raise_if_cancelled()
            if cancel.parked is not None:
                return suspend(TurnSuspended(reason=cancel.parked))
            go_on_elsewhere()
            steps += 1
            allowance.step(steps)
            emit(StepStarted(steps))
            while True:
                try:
                    reply = _ask(model, messages, toolset, keep=keep, emit=emit, cancel=cancel)
                    break
                except ContextFullError as refused:
                    if not go_on_elsewhere(refused):
                        raise
            if compact is not None:
                compact.answered(messages, reply)
            keep(reply.message)
            if reply.message.content and not reply.message.tool_calls:
                # More than one, where a person said something after the first.
                answers.append(reply.message.content)
            usage += reply.usage
            allowance.paid(reply.usage)
            emit(StepFinished(steps, reply.message.content, reply.usage, reply.finish_reason))
    except ApprovalPending as pending:
        return suspend(TurnSuspended(pending.request_id))
    except Parked:
        return suspend(TurnSuspended(reason=cancel.parked or ""))
    except Cancelled:
        if cancel.parked is not None:
            return suspend(TurnSuspended(reason=cancel.parked))
        # A store that fails now must not hide that the turn is over; the next prompt gives these results.
        with contextlib.suppress(StoreError):
            for call in unanswered_calls(messages):
                keep(Message("tool", INTERRUPTED, tool_call_id=call.id))
        return finish("cancelled", said())
    except HermesError as failure:
        return finish("failed", said(), failure)
    except BaseException as surprise:
        finish("failed", said(), surprise)
        raise


def _ask(
    model: ChatModel,
    messages: Sequence[Message],
    toolset: Toolset,
    *,
    keep: Callable[[Message], None],
    emit: Sink,
    cancel: CancelToken,
) -> Reply:
    """One reply, streamed. What was already shown of a cut-off answer is kept as the assistant's words."""
    shown: list[str] = []
    try:
        for output in model.stream(messages, toolset.specs, cancel=cancel):
            match output:
                case TextChunk(text):
                    shown.append(text)
                    emit(TextDelta(text))
                case ReasoningChunk(text):
                    emit(ReasoningDelta(text))
                case Restarted(reason):
                    shown.clear()
                    emit(StepRestarted(reason))
                case Reply():
                    return replace(output, message=_with_new_ids(output.message, messages))
    except ContextFullError as refused:
        if shown:
            emit(StepRestarted(str(refused)))
        raise
    except (Cancelled, ModelError):
        # Whoever goes on with a parked turn asks anew.
        parked = cancel.cancelled and cancel.parked is not None
        if (text := "".join(shown)) and not parked:
            keep(Message("assistant", text))
        raise
    raise BadRequestError(
        f"{model.name} ended its answer without a reply.", hint="Try again, or choose another /model."
    )


def _with_new_ids(message: Message, messages: Sequence[Message]) -> Message:
    """Some servers count tool calls from zero in each reply; a call's id must be unique in its session."""
    used = {call.id for earlier in messages for call in earlier.tool_calls} if message.tool_calls else set()
    calls: list[ToolCall] = []
    for call in message.tool_calls:
        name, number = call.id or "call", 1
        while not call.id or call.id in used:
            number += 1
            call = replace(call, id=f"{name}_{number}")
        used.add(call.id)
        calls.append(call)
    return replace(message, tool_calls=tuple(calls))


def _last_text(messages: Sequence[Message]) -> str:
    """What the assistant said since the person last spoke; "" when nothing."""
    for message in reversed(messages):
        if message.role == "user":
            return ""
        if message.role == "assistant" and message.content:
            return message.content
    return ""
