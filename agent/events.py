"""Facts about a turn, as they happen.

The order, in begin/end pairs (what stands in brackets may repeat or be absent):

    TurnStarted
      [[Compacting] Compacted]
      [StepStarted
         [ReasoningDelta] [TextDelta] [[Compacting] Compacted] [StepRestarted]
       StepFinished
         [[ApprovalRequested ApprovalSettled] ToolStarted [ToolProgress] ToolFinished]
         [Steered]]
      [ApprovalRequested TurnSuspended … TurnResumed ApprovalSettled]
    TurnFinished                 always, exactly once, and last

A turn that has no thread to wait on (a background task) ends a run with `TurnSuspended` when somebody must
answer first, or when it is parked, and goes on with `TurnResumed` in a later run. While a call runs that has sent other
agents, what these ask comes between its `ToolStarted` and its `ToolFinished`. Events are frozen and hold no live
objects: they can cross threads and processes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from agent.messages import Usage

Outcome = Literal["done", "failed", "cancelled", "limit"]
ActionKind = Literal["read", "write", "execute", "ask"]
"""What a tool call does: looks, changes files, runs a command, or asks the person a question."""


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A turn began with what the person asked."""

    prompt: str


@dataclass(frozen=True, slots=True)
class TurnResumed:
    """A suspended or interrupted turn goes on, from what the store holds."""


@dataclass(frozen=True, slots=True)
class StepStarted:
    """The model is being asked; `step` counts from 1 within the turn."""

    step: int


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Some more of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """Some more of the model's reasoning, where the server sends it."""

    text: str


@dataclass(frozen=True, slots=True)
class StepRestarted:
    """The text of this step so far does not count: the model is asked again (or another one is)."""

    reason: str


@dataclass(frozen=True, slots=True)
class StepFinished:
    """The model's reply is complete and stored. `text` is the whole of it."""

    step: int
    text: str
    usage: Usage
    finish_reason: str = "stop"


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A tool call was read and is under way. `title` is one line for a person, such as `pytest -q`.

    `arguments` is JSON text as the model wrote it, secrets taken out.
    """

    call_id: str
    name: str
    title: str
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A tool call ended. `summary` is a few words (`exit 0`), `display` the details for a person.

    `lines_changed` are the lines added to and removed from each of `files_changed`. One that was `refused` never ran.
    """

    call_id: str
    name: str
    title: str
    ok: bool
    summary: str
    display: str
    seconds: float
    exit_code: int | None = None
    files_changed: tuple[str, ...] = ()
    lines_changed: tuple[tuple[int, int], ...] = ()
    refused: bool = False


@dataclass(frozen=True, slots=True)
class ToolProgress:
    """What a call that takes long is doing: one of several things at once, `part`, and a line about it.

    `usage` and `steps` are what that has used since it was last told, of its own turn's; `text` "" tells nothing else.
    `finished` is a tool call that it has made, without the details.
    """

    call_id: str
    name: str
    part: str
    text: str
    usage: Usage = field(default_factory=Usage)
    steps: int = 0
    finished: "ToolFinished | None" = None


@dataclass(frozen=True, slots=True)
class ApprovalRequested:
    """Somebody must answer before the call `call_id` runs; settle it by `request_id`. `why` it is asked for.

    The answer is a yes or a no; to a question (`kind` is "ask") it is words, which `choices` suggest. `who` asks is ""
    for the turn's own agent, else the name of one that it has sent.
    """

    request_id: str
    call_id: str
    tool: str
    kind: ActionKind
    title: str
    preview: str
    directory: str
    pattern: str
    why: str = ""
    choices: tuple[str, ...] = ()
    who: str = ""


@dataclass(frozen=True, slots=True)
class ApprovalSettled:
    """The request was answered, by a person or by the policy."""

    request_id: str
    allowed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Steered:
    """A line the person sent during the turn has reached the conversation."""

    text: str


@dataclass(frozen=True, slots=True)
class Compacting:
    """The model writes a summary, because the conversation of `tokens` tokens is too long for its window."""

    tokens: int


@dataclass(frozen=True, slots=True)
class Compacted:
    """The conversation goes on in the session `session_id`, shorter; all of it stays in `parent`.

    `before` and `after` are tokens, partly estimated. `how`: by a summary, whose `usage` this is, or without one by
    leaving things out.
    """

    session_id: str
    parent: str
    before: int
    after: int
    how: Literal["summary", "trimmed"] = "summary"
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class TurnSuspended:
    """The run ended before the turn did, which goes on in a later run, from what the store holds.

    Either the approval `request_id` is open, or the turn was parked; then `reason` says why somebody should look at it
    first, "" when anybody may go on with it.
    """

    request_id: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The turn is over.

    `text` is the final answer; `error` and `hint` say what went wrong, for outcome "failed" or "limit".
    `error_kind` is the class name of the HermesError, so that a front end can choose an exit code.
    """

    outcome: Outcome
    text: str
    usage: Usage = field(default_factory=Usage)
    steps: int = 0
    seconds: float = 0.0
    error: str = ""
    hint: str = ""
    error_kind: str = ""


Event = (
    TurnStarted
    | TurnResumed
    | StepStarted
    | TextDelta
    | ReasoningDelta
    | StepRestarted
    | StepFinished
    | ToolStarted
    | ToolProgress
    | ToolFinished
    | ApprovalRequested
    | ApprovalSettled
    | Steered
    | Compacting
    | Compacted
    | TurnSuspended
    | TurnFinished
)

Told = TypeVar("Told", bound=Event)


def cleaned(event: Told, redact: Callable[[str], str]) -> Told:
    """The event without secrets in errors and questions.

    What tools tell was cleaned with their results; words of the person and of the model stay as they are.
    """
    match event:
        case TurnFinished(error=error, hint=hint) if error:
            return replace(event, error=redact(error), hint=redact(hint))
        case StepRestarted(reason):
            return replace(event, reason=redact(reason))
        case ApprovalRequested(title=title, preview=preview, pattern=pattern, why=why):
            title, preview, pattern, why = map(redact, (title, preview, pattern, why))
            choices = tuple(map(redact, event.choices))
            return replace(event, title=title, preview=preview, pattern=pattern, why=why, choices=choices)
        case ApprovalSettled(reason=reason) if reason:
            return replace(event, reason=redact(reason))
        case TurnSuspended(reason=reason) if reason:
            return replace(event, reason=redact(reason))
    return event


@dataclass(frozen=True, slots=True)
class TaskChanged:
    """A background task entered a new state; read its row for everything else."""

    task_id: str
    number: int
    state: str
