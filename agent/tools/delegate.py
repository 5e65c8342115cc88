"""Sending agents to work on parts of a turn. Each has a session of its own, and is found there again after a break.

The turn's own agent makes them (`Hire`): they get its model, its folder, its gate and no more than its tools.
"""

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Protocol

import msgspec
from msgspec import Meta

from agent.allowance import Allowance
from agent.cancel import CancelToken
from agent.commands import preview
from agent.errors import ApprovalPending, HermesError, Parked, ToolError
from agent.events import (
    ApprovalRequested,
    ApprovalSettled,
    Compacted,
    Event,
    StepFinished,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnSuspended,
)
from agent.messages import Usage
from agent.protocols import Action, Sink, ToolContext, ToolResult
from agent.reports import quoted
from agent.tools.prose import prose
from agent.toolset import bounded

MOST_TASKS = 8
AT_ONCE = 8
"""Agents of one turn that work at the same time; further ones wait."""
STEPS = 30
"""Steps of one agent, unless it is told otherwise."""
NEVER = frozenset({"delegate", "tasks"})
"""Tools that are never given away."""


class DelegateTask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    prompt: Annotated[str, Meta(min_length=1, max_length=20_000, description="All that the agent is told.")]
    title: Annotated[str, Meta(max_length=60, description="A few words for the person.")] = ""


class DelegateArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tasks: Annotated[tuple[DelegateTask, ...], Meta(min_length=1, max_length=MOST_TASKS, description="One an agent.")]
    tools: Annotated[tuple[str, ...], Meta(description="Only these of your tools.")] = ()
    max_steps: Annotated[int, Meta(ge=1, le=1_000, description="Model replies of each.")] = STEPS
    max_tokens: Annotated[int, Meta(ge=0, description="Tokens of each, in and out; 0: no limit.")] = 0
    max_cost: Annotated[float, Meta(ge=0, description="US dollars of each; 0: no limit.")] = 0.0


class Child(Protocol):
    """An agent that was sent. `run_turn` with None goes on with the turn that its session holds."""

    def run_turn(self, text: str | None, *, emit: Sink, cancel: CancelToken) -> TurnFinished | TurnSuspended: ...


@dataclass(frozen=True, slots=True)
class Order:
    """An agent that is wanted. `who` it is for people; `names` are the tools it may have."""

    session_id: str
    who: str
    names: tuple[str, ...]


class Office(Protocol):
    """Where a turn's agents come from."""

    @property
    def allowance(self) -> Allowance: ...

    @property
    def tool_names(self) -> Sequence[str]:
        """The tools of the agent that sends."""
        ...

    def session_for(self, call_id: str, number: int) -> str:
        """The session of the agent with this number of a call, the same each time it is asked for."""
        ...

    def steps_taken(self, session_id: str) -> int:
        """What an agent did before a break: its steps; -1 when it has not begun."""
        ...

    def hire(self, order: Order, *, steps: int) -> Child: ...


@dataclass(slots=True)
class Job:
    """One agent's work, and what is known of it. `before` are the steps that it took before a break."""

    number: int
    title: str
    prompt: str
    session_id: str
    state: str = "done"
    report: str = ""
    usage: Usage = field(default_factory=Usage)
    steps: int = 0
    before: int = 0
    files: dict[str, None] = field(default_factory=dict)
    signal: ApprovalPending | Parked | None = None

    @property
    def part(self) -> str:
        return f"{self.number} {self.title}"

    @property
    def head(self) -> str:
        steps, tokens = self.before + self.steps, self.usage.input_tokens + self.usage.output_tokens
        known = [self.part, self.state, f"{steps} step{'' if steps == 1 else 's'}"]
        known += [f"{tokens:,} tokens"] if tokens and not self.before else []
        known += [f"changed {', '.join(self.files)}"] if self.files else []
        return " · ".join(known)


class Delegate:
    """Runs agents side by side until the last is done. A call that was cut goes on with those that it had."""

    name = "delegate"
    arguments = DelegateArguments
    goes_on = True

    def __init__(self, office: Office) -> None:
        self._office = office
        self._room = threading.Semaphore(AT_ONCE)

    @property
    def description(self) -> str:
        return prose(__file__)

    def plan(self, args: DelegateArguments, context: ToolContext) -> Action:
        self._given(args)
        titles = " · ".join(_title(task) for task in args.tasks)
        # It does nothing itself: each call of an agent that it sends passes the gate.
        return Action("read", preview(titles, 100), (context.cwd,))

    def preview(self, args: DelegateArguments, context: ToolContext) -> str:
        del args, context
        return ""

    def run(self, args: DelegateArguments, context: ToolContext, cancel: CancelToken) -> ToolResult:
        jobs = [
            Job(number, _title(task), task.prompt, self._office.session_for(context.call_id, number))
            for number, task in enumerate(args.tasks, 1)
        ]
        promised = self._promises(args, jobs)
        with ThreadPoolExecutor(len(jobs), thread_name_prefix="child") as pool:
            for job, steps in zip(jobs, promised, strict=True):
                pool.submit(self._work, job, steps, args, context, cancel)
        if cancel.parked is not None and any(job.signal for job in jobs):
            raise Parked
        cancel.raise_if_cancelled()
        if signal := next((job.signal for job in jobs if job.signal), None):
            raise signal
        return _result(jobs, context)

    def _given(self, args: DelegateArguments) -> tuple[str, ...]:
        """The tools that the agents get. Raises: ToolError."""
        mine = [name for name in self._office.tool_names if name not in NEVER]
        wanted = args.tools or tuple(mine)
        if unknown := [name for name in wanted if name not in mine]:
            raise ToolError(f"{', '.join(unknown)} cannot be given away. There are: {', '.join(mine)}.")
        return tuple(name for name in mine if name in wanted)

    def _promises(self, args: DelegateArguments, jobs: Sequence[Job]) -> list[int]:
        """Steps for each. Raises: ToolError when there are none."""
        promised = []
        for at, job in enumerate(jobs):
            wanted = args.max_steps - max(self._office.steps_taken(job.session_id), 0)
            promised.append(self._office.allowance.promise(wanted, len(jobs) - at))
        if not any(promised) and all(self._office.steps_taken(job.session_id) < 0 for job in jobs):
            raise ToolError("Too few steps are left in this turn to send anybody: do it yourself, or finish.")
        return promised

    def _work(self, job: Job, steps: int, args: DelegateArguments, context: ToolContext, cancel: CancelToken) -> None:
        """On a thread of its own. What goes wrong is the report."""
        allowance = self._office.allowance
        try:
            with self._room, cancel.below() as own:
                if not own.cancelled:
                    self._run(job, steps, args, context, own)
                elif cancel.parked is not None:
                    job.signal = Parked()
        except HermesError as error:
            job.state, job.report = "failed", error.explain()
        except Exception as fault:  # noqa: BLE001  (one agent's fault must not lose what the others found)
            job.state, job.report = "failed", f"{type(fault).__name__}: {fault}"
        finally:
            allowance.give_back(steps - job.steps)
        if job.signal is None and not cancel.cancelled:
            context.emit(ToolProgress(context.call_id, self.name, job.part, job.state))

    def _run(self, job: Job, steps: int, args: DelegateArguments, context: ToolContext, own: CancelToken) -> None:
        taken = self._office.steps_taken(job.session_id)
        if steps <= 0 and taken < 0:
            job.state, job.report = "not begun", "No steps were left for it."
            return
        job.before = max(taken, 0)
        child = self._office.hire(Order(job.session_id, f"agent {job.part}", self._given(args)), steps=steps)
        told = prose(__file__.replace("delegate.py", "delegate_child.py")).format(steps=steps, prompt=job.prompt)
        over: list[str] = []
        context.emit(ToolProgress(context.call_id, self.name, job.part, "thinking"))

        def listen(event: Event) -> None:
            self._heard(event, job, context)
            if isinstance(event, StepFinished) and not over and (reason := self._used_up(job.usage, args)):
                over.append(reason)
                own.park(reason)

        end = child.run_turn(told if taken < 0 else None, emit=listen, cancel=own)
        match end:
            case TurnFinished(outcome="done", text=text):
                job.report = text or "(no text)"
            case TurnFinished(outcome=outcome, text=text, error=error):
                job.state = "out of steps" if outcome == "limit" else outcome
                job.report = "\n\n".join(filter(None, (text, "" if outcome == "limit" else error))) or "(no text)"
            case TurnSuspended(request_id="") if over and end.reason == over[0]:
                job.state, job.report = over[0], job.report or "(no text)"
            case TurnSuspended(request_id=request_id):
                job.signal = ApprovalPending(request_id) if request_id else Parked()

    def _heard(self, event: Event, job: Job, context: ToolContext) -> None:
        """Pass on what the person should see, and count what it costs."""

        def tell(text: str, usage: Usage | None = None, steps: int = 0) -> None:
            context.emit(ToolProgress(context.call_id, self.name, job.part, text, usage or Usage(), steps))

        match event:
            case ToolStarted(name=name, title=title):
                tell(f"{name} {title}")
            case ToolFinished(name=name, title=title, summary=summary):
                job.files.update(dict.fromkeys(event.files_changed))
                done = replace(event, display="")
                context.emit(
                    ToolProgress(context.call_id, self.name, job.part, f"{name} {title}  {summary}", finished=done)
                )
            case StepFinished(usage=usage, text=text):
                job.report = text or job.report
                self._spent(job, usage, 1)
                tell("", usage, 1)
            case Compacted(usage=usage):
                self._spent(job, usage, 0)
                tell("", usage)
            case ApprovalRequested():
                context.emit(event)
                tell("waits for your answer")
            case ApprovalSettled():
                context.emit(event)
                tell("thinking")

    def _used_up(self, usage: Usage, args: DelegateArguments) -> str:
        if args.max_tokens and usage.input_tokens + usage.output_tokens >= args.max_tokens:
            return "out of tokens"
        own = args.max_cost and (usage.cost or 0.0) >= args.max_cost
        return "out of budget" if own or self._office.allowance.over() else ""

    def _spent(self, job: Job, usage: Usage, steps: int) -> None:
        job.usage += usage
        job.steps += steps
        self._office.allowance.used(usage, steps=steps)


def _title(task: DelegateTask) -> str:
    return " ".join(task.title.split()) or preview(task.prompt, 40)


def _result(jobs: Sequence[Job], context: ToolContext) -> ToolResult:
    """A block for each, quoted, so that no report can pass for another one, or for anybody else."""

    def blocks(limit: int | None) -> str:
        texts = (job.report if limit is None else bounded(job.report, limit) for job in jobs)
        return "\n\n".join(
            "\n".join([f"[Report of agent {job.head}]", *quoted(text)]) for job, text in zip(jobs, texts, strict=True)
        )

    room = max(context.output_limit // len(jobs) - 300, 500)
    cut = any(len(job.report) > room for job in jobs)
    counts = {state: sum(job.state == state for job in jobs) for state in dict.fromkeys(job.state for job in jobs)}
    return ToolResult(
        blocks(room),
        summary=", ".join(f"{count} {state}" for state, count in counts.items()),
        display="\n".join(f"{job.head}\n{bounded(job.report, 1_000)}" for job in jobs),
        ok=all(job.state == "done" for job in jobs),
        files_changed=tuple(dict.fromkeys(name for job in jobs for name in job.files)),
        whole=blocks(None) if cut else "",
        own=True,  # what agents said is quoted, line by line
    )


def session_for(parent: str, call_id: str, number: int) -> str:
    """An id like any other's, that is found again from what the call is."""
    digest = hashlib.sha256(f"{parent}\0{call_id}\0{number}".encode()).hexdigest()
    return f"{parent[:16]}{digest[:6]}" if len(parent) == 22 else f"{parent}_{digest[:6]}"


if TYPE_CHECKING:
    from agent.protocols import GoesOn, Tool

    def _fits(office: Office) -> tuple[Tool, GoesOn]:
        return Delegate(office), Delegate(office)
