"""What tests of the agent share: a turn run to its end, what must hold of any turn, tools that count."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agent.allowance import Allowance
from agent.approvals import Gatekeeper, Policy, nobody
from agent.cancel import CancelToken
from agent.events import (
    ActionKind,
    Event,
    StepFinished,
    StepStarted,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnResumed,
    TurnStarted,
    TurnSuspended,
)
from agent.loop import Inbox, run_turn
from agent.messages import Message
from agent.models.scripted import Script, ScriptedModel
from agent.protocols import Action, ChatModel, Gate, Redact, Store, Tool, ToolContext, ToolResult, Verbatim
from agent.store.memory import MemoryStore
from agent.toolset import Toolset

SESSION = "20260101_000000_abcdef"


class NoteArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str = ""
    times: int = 1


@dataclass
class Note:
    """A tool that writes down each of its runs. `work` is what it does then."""

    name: str = "note"
    kind: ActionKind = "read"
    work: Callable[[NoteArguments, CancelToken], str] = lambda args, cancel: f"noted {args.text}"
    runs: list[str] = field(default_factory=list)
    description: str = "Writes a note."
    arguments: type = NoteArguments

    def plan(self, args: NoteArguments, context: ToolContext) -> Action:
        command = f"note {args.text}" if self.kind == "execute" else ""
        return Action(self.kind, f"note {args.text}", (context.cwd / "notes",), command=command)

    def preview(self, args: NoteArguments, context: ToolContext) -> str:
        return f"would note {args.text}"

    def run(self, args: NoteArguments, context: ToolContext, cancel: CancelToken) -> ToolResult:
        self.runs.append(context.call_id)
        return ToolResult(self.work(args, cancel), "done", display=args.text, own=True)


@dataclass
class Bench:
    """One session, and turns on it."""

    store: Store = field(default_factory=MemoryStore)
    tools: Sequence[Tool] = ()
    gate: Gate | None = None
    cwd: Path = Path("/")
    events: list[Event] = field(default_factory=list)
    redact: Redact = Verbatim()
    output_limit: int = 30_000

    def __post_init__(self) -> None:
        self.store.create_session(SESSION, source="test")

    @property
    def history(self) -> list[Message]:
        return self.store.messages(SESSION)

    def turn(
        self,
        prompt: str | None,
        script: Script | ChatModel,
        *,
        cancel: CancelToken | None = None,
        inbox: Inbox = tuple,
        max_steps: int = 20,
        max_cost: float = 0.0,
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> TurnFinished | TurnSuspended:
        def emit(event: Event) -> None:
            self.events.append(event)
            on_event(event)

        gate = self.gate or Gatekeeper(Policy("yolo"), nobody, session_id=SESSION)
        return run_turn(
            prompt,
            self.history,
            model=ScriptedModel(script) if isinstance(script, Sequence) or callable(script) else script,
            toolset=Toolset(
                self.tools, context=ToolContext(self.cwd, self.output_limit, redact=self.redact), gate=gate
            ),
            store=self.store,
            session_id=SESSION,
            emit=emit,
            cancel=cancel or CancelToken(),
            inbox=inbox,
            max_steps=max_steps,
            allowance=Allowance(max_steps, max_cost),
        )

    def results(self) -> list[str]:
        """What the tools answered, in the order of the history."""
        return [message.content for message in self.history if message.role == "tool"]


def check_stream(events: Sequence[Event]) -> None:
    """The law of the stream, for the events of one turn, from its start to its end or its suspension."""
    kinds = [type(event) for event in events]
    assert kinds[0] in (TurnStarted, TurnResumed)
    assert kinds[-1] in (TurnFinished, TurnSuspended)
    assert kinds.count(TurnStarted) + kinds.count(TurnResumed) == 1
    assert kinds.count(TurnFinished) + kinds.count(TurnSuspended) == 1
    open_calls: list[str] = []
    open_step = 0
    for event in events:
        match event:
            case StepStarted(step):
                assert step == open_step + 1
                assert not open_calls
                open_step = step
            case StepFinished(step):
                assert step == open_step
            case ToolStarted(call_id):
                open_calls.append(call_id)
            case ToolFinished(call_id):
                open_calls.remove(call_id)
    assert not open_calls, "a tool call that started has not finished"


def check_history(messages: Sequence[Message]) -> None:
    """A provider would take this history: each call is answered, once, before anybody else speaks."""
    expected: list[str] = []
    seen: set[str] = set()
    for message in messages:
        if message.role == "tool":
            assert message.tool_call_id in expected
            expected.remove(message.tool_call_id)
        else:
            assert not expected, f"calls without a result: {expected}"
            expected = [call.id for call in message.tool_calls]
            assert len(set(expected)) == len(expected)
            assert not seen.intersection(expected)
            seen.update(expected)
    assert not expected, f"calls without a result: {expected}"


def wait_until(
    met: Callable[[], bool], *, seconds: float = 10.0, what: Callable[[], str] = lambda: "the condition"
) -> None:
    """Return when `met` is true. Raises: AssertionError after so many seconds."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.005)):
        if met():
            return
        pause.wait(0.005)
    raise AssertionError(f"{what()} did not come within {seconds} s")


__all__ = [
    "SESSION",
    "Bench",
    "Note",
    "NoteArguments",
    "check_history",
    "check_stream",
    "wait_until",
]
