"""Tool calls: find, validate, approve, run, wrap the result."""

import json
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any

from agent.cancel import CancelToken
from agent.errors import ApprovalPending, Cancelled, Parked, ToolError, did_you_mean
from agent.events import ToolFinished, ToolStarted
from agent.marks import marked
from agent.messages import DENIED, INTERRUPTED, Message, ToolCall
from agent.outputs import Outputs
from agent.protocols import (
    CHANGED,
    Action,
    Approved,
    Decision,
    Gate,
    Keeper,
    NoKeeper,
    Sink,
    Store,
    Tool,
    ToolContext,
    ToolResult,
    ToolSpec,
)

PARALLEL_READS = 8

Begin = Callable[[ToolCall], bool]
"""Records that a call is about to run; False when it had begun before."""


@dataclass(frozen=True, slots=True)
class _Planned:
    """A call that passed validation. `preview` is what a person agreed to, None when nobody was asked.

    `answer` is what they said to a question.
    """

    call: ToolCall
    tool: Tool
    args: object
    action: Action
    preview: str | None = None
    answer: str = ""


class Toolset:
    """The tools of one session. The list never changes, so that the provider's prompt cache keeps hitting."""

    def __init__(
        self,
        tools: Sequence[Tool],
        *,
        context: ToolContext,
        gate: Gate,
        keeper: Keeper | None = None,
        outputs: Outputs | None = None,
    ) -> None:
        self._tools = {tool.name: tool for tool in tools}
        if len(self._tools) != len(tools):
            raise ValueError("Two tools have the same name: one would stand for the other.")
        self._context = context
        self._gate = gate
        self._keeper = keeper or NoKeeper()
        self._outputs = outputs
        self._redact = context.redact

    @cached_property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What the model is told, in a fixed order."""
        return tuple(_spec(tool) for tool in self._tools.values())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._tools)

    def tell(self, specs: tuple[ToolSpec, ...]) -> None:
        """Show the model these, as a session that is resumed did, whatever the tools say of themselves by now."""
        if specs != self.specs:
            self.specs = specs

    def run(
        self, calls: Sequence[ToolCall], *, store: Store, session_id: str, emit: Sink, cancel: CancelToken
    ) -> Iterator[Message]:
        """Results in the order of the calls. Neighbouring calls that only read run at the same time.

        A call that began in an earlier run is not run again: its result says that the outcome is unknown. Only one that
        `GoesOn` does.

        Raises: Cancelled, ApprovalPending, Parked; the calls not yielded by then have no result.
        """
        reads: list[_Planned] = []

        def begin(call: ToolCall) -> bool:
            return store.mark_begun(session_id, call.id) or self._goes_on(call)

        def flush() -> Iterator[Message]:
            if batch := list(reads):
                reads.clear()
                yield from self._run_together(batch, session_id, begin=begin, emit=emit, cancel=cancel)

        for call in calls:
            cancel.raise_if_cancelled()
            title = ""
            if store.has_begun(session_id, call.id) and not self._goes_on(call):
                yield from flush()
                yield self._ended(call, INTERRUPTED, "interrupted", emit, title=self._title(call))
                continue
            try:
                planned = self._plan(call)
                title = planned.action.title
                if planned.action.kind != "read":
                    yield from flush()
                planned, decision = self._review(planned, emit, cancel)
            except ToolError as error:
                yield from flush()
                yield self._refused(
                    call, str(error), "not possible", emit, title=title, display=self._clean(str(error))
                )
                continue
            if not decision.allowed:
                yield from flush()
                asked = planned.action.kind == "ask"
                why = _unanswered(decision.reason) if asked else _denial(decision.reason)
                yield self._refused(call, why, "not answered" if asked else "denied", emit, title=title)
            elif planned.action.kind == "read":
                reads.append(planned)
            else:
                yield from self._run_together([planned], session_id, begin=begin, emit=emit, cancel=cancel)
        yield from flush()

    def _goes_on(self, call: ToolCall) -> bool:
        # As in `GoesOn`.
        return bool(getattr(self._tools.get(call.name), "goes_on", False))

    def _review(self, planned: _Planned, emit: Sink, cancel: CancelToken) -> tuple[_Planned, Decision]:
        """The gate's answer, and the call with what was shown for it. Raises: ToolError, Cancelled, ApprovalPending."""
        shown: list[str] = []

        def preview() -> str:
            shown.append(self._preview(planned))
            return shown[0]

        call, context = planned.call, self._context
        decision = self._gate.review(call, planned.action, context, preview=preview, emit=emit, cancel=cancel)
        answer = decision.reason if planned.action.kind == "ask" and decision.allowed else ""
        return replace(planned, preview=shown[0] if shown else None, answer=answer), decision

    def _plan(self, call: ToolCall) -> _Planned:
        tool = self._tools.get(call.name)
        if tool is None:
            advice = did_you_mean(call.name, self._tools, f"There are: {', '.join(self._tools)}.")
            raise ToolError(f"There is no tool called {call.name!r}. {advice}")
        args = _decode(call, tool)
        with _explaining(call):
            return _Planned(call, tool, args, tool.plan(args, self._context.for_call(call.id)))

    def _preview(self, planned: _Planned) -> str:
        with _explaining(planned.call):
            return planned.tool.preview(planned.args, self._context.for_call(planned.call.id))

    def _run_together(
        self, batch: Sequence[_Planned], session_id: str, *, begin: Begin, emit: Sink, cancel: CancelToken
    ) -> Iterator[Message]:
        open_calls: dict[str, _Planned] = {}
        results: dict[str, Message] = {}
        signals: list[ApprovalPending | Parked] = []

        def finished(planned: _Planned, result: ToolResult, seconds: float) -> None:
            del open_calls[planned.call.id]
            results[planned.call.id] = self._finished(planned, result, seconds, session_id, emit)

        def execute(planned: _Planned) -> Callable[[], None]:
            """Runs it, on any thread; what that gives tells of it, on this one."""
            try:
                result, seconds = self._execute(planned, begin, emit, cancel)
            except (ApprovalPending, Parked) as signal:
                return partial(signals.append, signal)
            return partial(finished, planned, result, seconds)

        for planned in batch:
            open_calls[planned.call.id] = planned
            self._started(planned.call, planned.action.title, emit)
        try:
            if len(batch) == 1:
                execute(batch[0])()
            elif batch:
                with ThreadPoolExecutor(min(len(batch), PARALLEL_READS), thread_name_prefix="read") as pool:
                    for future in as_completed([pool.submit(execute, planned) for planned in batch]):
                        future.result()()
        finally:
            # Whatever broke in, a front end that saw a call start sees it end.
            left = ToolResult(INTERRUPTED, "goes on later" if signals else "interrupted", ok=False, own=True)
            waiting = [planned.call.id for planned in open_calls.values()] if signals else []
            for planned in list(open_calls.values()):
                finished(planned, left, 0.0)
        for planned in batch:
            if planned.call.id not in waiting:
                yield results[planned.call.id]
        if signals:
            raise next((one for one in signals if isinstance(one, Parked)), signals[0])
        if any(message.content == INTERRUPTED for message in results.values()):
            cancel.raise_if_cancelled()

    def _execute(self, planned: _Planned, begin: Begin, emit: Sink, cancel: CancelToken) -> tuple[ToolResult, float]:
        """Raises: ApprovalPending, Parked, of a call that goes on with its turn."""
        started, note = time.monotonic(), ""
        if not begin(planned.call):
            return ToolResult(INTERRUPTED, "interrupted", ok=False, own=True), 0.0
        try:
            self._require_same(planned)
            approved = Approved(planned.action, planned.preview or "", planned.answer)
            note = self._keeper.before(planned.action)
            context = self._context.for_call(planned.call.id, approved, emit)
            result = planned.tool.run(planned.args, context, cancel)
        except (ApprovalPending, Parked):
            raise
        except Cancelled:
            result = ToolResult(INTERRUPTED, "cancelled", ok=False, own=True)
        except ToolError as error:
            result = ToolResult(str(error), "failed", ok=False, own=True)
        except Exception as error:  # noqa: BLE001  (a tool's failure is a value the model reads)
            result = ToolResult(f"{planned.tool.name} failed: {type(error).__name__}: {error}", "failed", ok=False)
        self._keeper.after(planned.action)
        if note:
            result = replace(result, summary=" · ".join(filter(None, (result.summary, note))))
        return result, time.monotonic() - started

    def _require_same(self, planned: _Planned) -> None:
        """Look once more: since the answer a link may lead elsewhere, or the file be another. Raises: ToolError."""
        same = replace(self._plan(planned.call).action, title=planned.action.title) == planned.action
        if not same or (planned.preview is not None and self._preview(planned) != planned.preview):
            raise ToolError(CHANGED)

    def _started(self, call: ToolCall, title: str, emit: Sink) -> None:
        emit(ToolStarted(call.id, call.name, self._redact(title), self._redact(call.arguments)))

    def _finished(self, planned: _Planned, result: ToolResult, seconds: float, session_id: str, emit: Sink) -> Message:
        content = self._content(planned.call, result, session_id) or "(no output)"
        emit(
            ToolFinished(
                planned.call.id,
                planned.tool.name,
                self._redact(planned.action.title),
                result.ok,
                self._redact(result.summary),
                self._clean(result.display),
                seconds,
                result.exit_code,
                result.files_changed,
                result.lines_changed,
            )
        )
        return Message("tool", content, tool_call_id=planned.call.id, images=result.images)

    def _refused(
        self, call: ToolCall, why: str, summary: str, emit: Sink, *, title: str = "", display: str = ""
    ) -> Message:
        return self._ended(call, why, summary, emit, title=title, display=display, refused=True)

    def _ended(
        self,
        call: ToolCall,
        why: str,
        summary: str,
        emit: Sink,
        *,
        title: str = "",
        display: str = "",
        refused: bool = False,
    ) -> Message:
        """The result of a call that is not run now, told like that of one that was."""
        title, why = self._redact(title), self._clean(why)
        self._started(call, title, emit)
        emit(ToolFinished(call.id, call.name, title, False, summary, display, 0.0, refused=refused))
        return Message("tool", why, tool_call_id=call.id)

    def _title(self, call: ToolCall) -> str:
        """What a call that began in an earlier run was about, as far as that can be told."""
        try:
            return self._plan(call).action.title
        except ToolError:
            return ""

    def _content(self, call: ToolCall, result: ToolResult, session_id: str) -> str:
        """What the model gets: bounded, and when it is cut with a line that says where the whole is."""
        content = self._redact(result.content)
        shown = bounded(content, self._context.output_limit)
        shown = shown if result.own or not shown.strip() else marked(shown)
        if self._outputs is None or not (result.whole or len(content) > self._context.output_limit):
            return shown
        line = self._outputs.keep(session_id, call.id, self._redact(result.whole) or content)
        return "\n".join(filter(None, (shown, line)))

    def _clean(self, text: str) -> str:
        return bounded(self._redact(text), self._context.output_limit)


@contextmanager
def _explaining(call: ToolCall) -> Iterator[None]:
    """Turn whatever a tool stumbles over before it runs into a ToolError."""
    try:
        yield
    except ToolError:
        raise
    except Exception as error:
        raise ToolError(f"{call.name} cannot do that: {type(error).__name__}: {error}.") from error


def bounded(text: str, limit: int) -> str:
    """At most about `limit` characters: the head and the tail, with what was left out counted between."""
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    tail = limit - head
    return f"{text[:head]}\n[… {len(text) - limit:,} characters left out …]\n{text[-tail:]}"


def _denial(reason: str) -> str:
    because = f": {reason.rstrip('.')}" if reason else ""
    return f"{DENIED}{because}. Do not try the same thing another way; ask, or do something else."


def _unanswered(reason: str) -> str:
    return f"Not answered: {reason or 'no reason was given'}. Decide by yourself, and say what you took for granted."


def _decode(call: ToolCall, tool: Tool) -> object:
    import msgspec

    try:
        return msgspec.json.decode(call.arguments.strip() or "{}", type=tool.arguments)
    except msgspec.ValidationError as error:
        expected = json.dumps(_spec(tool).parameters)
        raise ToolError(f"The arguments of {call.name} do not fit: {error}. Expected: {expected}") from error
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise ToolError(f"The arguments of {call.name} are not valid JSON: {error}. Send them again, whole.") from error


def _spec(tool: Tool) -> ToolSpec:
    return ToolSpec(tool.name, tool.description, _parameters(tool.arguments))  # type: ignore[arg-type]


@cache
def _parameters(arguments: Hashable) -> dict[str, Any]:
    """The JSON Schema of a tool's arguments; the same object each time, so nobody may change it.

    Without bounds of lengths and empty defaults: each request pays for them, and what does not fit is explained.
    """
    import msgspec

    (schema,), components = msgspec.json.schema_components([arguments])
    name = getattr(arguments, "__name__", "")
    parameters = dict(components.pop(name)) if name in components else dict(schema)
    for noise in ("title", "description"):
        parameters.pop(noise, None)
    if components:
        parameters["$defs"] = components
    return _brief(parameters)


_LENGTHS = ("title", "minLength", "maxLength", "minItems", "maxItems")


def _brief(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without what is not told; names of properties are no keywords."""
    kept = {key: value for key, value in schema.items() if key not in _LENGTHS and (key != "default" or value)}
    for key in ("properties", "$defs"):
        if key in kept:
            kept[key] = {name: _brief(one) for name, one in kept[key].items()}
    if "items" in kept:
        kept["items"] = _brief(kept["items"])
    if "anyOf" in kept:
        kept["anyOf"] = [_brief(one) for one in kept["anyOf"]]
    return kept
