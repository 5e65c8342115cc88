"""The seams of the agent, on one page. Implementations live on floor 3."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from agent.cancel import CancelToken
from agent.events import ActionKind, Event
from agent.messages import ImagePart, Message, ToolCall, Usage
from agent.records import LIVE_STATES as LIVE_STATES
from agent.records import Store as Store
from agent.records import Task as Task
from agent.records import TaskState as TaskState

# -- models ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model is told of it. `parameters` is a JSON Schema object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TextChunk:
    """Some of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningChunk:
    """Some of the model's reasoning text."""

    text: str


@dataclass(frozen=True, slots=True)
class Restarted:
    """What was streamed so far does not count; the answer begins anew."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer. `finish_reason` is the provider's: stop, tool_calls, length, content_filter."""

    message: Message
    usage: Usage = field(default_factory=Usage)
    finish_reason: str = "stop"


ModelOutput = TextChunk | ReasoningChunk | Restarted | Reply


class ChatModel(Protocol):
    """A language model. Safe to share between threads."""

    @property
    def name(self) -> str:
        """The model's id, as its provider spells it."""
        ...

    def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, cancel: CancelToken
    ) -> Iterator[ModelOutput]:
        """Ask for the next message. Yields chunks, then exactly one `Reply`, which is last.

        Raises: ModelError; Cancelled within a second of `cancel`.
        """
        ...


# -- tools -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Action:
    """What a tool call is about, told from its arguments alone: no file was opened to know it.

    `title` is one line. `paths` are absolute and resolved. `command` is what a shell would be given, in `directory`
    where that is not the session's own; `outside` when it is to leave the sandbox, `confined` when it cannot. `host` is
    the machine that would be spoken to. A question to the person suggests `choices`.
    """

    kind: ActionKind
    title: str
    paths: tuple[Path, ...] = ()
    command: str = ""
    host: str = ""
    directory: Path | None = None
    outside: bool = False
    confined: bool = False
    choices: tuple[str, ...] = ()


CHANGED = "Not run: it changed while waiting for the answer; try again."


@dataclass(frozen=True, slots=True)
class Approved:
    """What was agreed to. `preview` is what the person saw, "" when nobody had to be asked.

    `answer` is what the person said to a question.
    """

    action: Action
    preview: str = ""
    answer: str = ""


class Redact(Protocol):
    """Takes secrets out of text. `agent.redact.Redactor` is the one in use."""

    def __call__(self, text: str) -> str: ...

    def part(self, text: str, start: int, end: int) -> str:
        """`text[start:end]` without its secrets, also those that reach over its edges."""
        ...


class Verbatim:
    """Takes out nothing: for text that is known to hold no secret."""

    def __call__(self, text: str) -> str:
        return text

    def part(self, text: str, start: int, end: int) -> str:
        return text[start:end]


def unheard(event: Event) -> None:
    """Where nobody listens."""
    del event


def nothing(path: Path) -> bool:
    """What a conversation owns that has kept nothing."""
    del path
    return False


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Where a tool works. `cwd` is absolute; `output_limit` is in characters, `command_timeout` in seconds.

    `approved` is there while a call runs: a tool uses its paths and does not look for them a second time.

    `owns` tells the files outside of it that this conversation has kept for itself: it reads them unasked.

    What a call does while it runs it may tell by `emit`, from any thread.

    A tool that cuts text short cuts what `redact` gives, for half a secret is not known as one. What it returns is
    cleaned once more.
    """

    cwd: Path
    output_limit: int = 30_000
    command_timeout: float = 120.0
    call_id: str = ""
    approved: Approved | None = None
    redact: Redact = Verbatim()
    emit: Callable[[Event], None] = unheard
    owns: Callable[[Path], bool] = nothing

    def for_call(
        self, call_id: str, approved: Approved | None = None, emit: Callable[[Event], None] = unheard
    ) -> "ToolContext":
        return replace(self, call_id=call_id, approved=approved, emit=emit)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A tool's two faces: `content` for the model; `summary` (a few words) and `display` for the person.

    Where `content` is only a part, `whole` is what may be kept aside. `lines_changed` are the lines added to and
    removed from each of `files_changed`. `own`: it is all in Hermes's words or the person's; anything else is marked
    for the model as text that strangers may have written.
    """

    content: str
    summary: str = ""
    display: str = ""
    ok: bool = True
    exit_code: int | None = None
    files_changed: tuple[str, ...] = ()
    lines_changed: tuple[tuple[int, int], ...] = ()
    images: tuple[ImagePart, ...] = ()
    whole: str = ""
    own: bool = False


class GoesOn(Protocol):
    """A tool of which `goes_on` says whether its calls keep what they do in the store: one that was cut runs again."""

    @property
    def goes_on(self) -> bool: ...


class Tool(Protocol):
    """One thing the model can do. `arguments` is a msgspec Struct type; the JSON Schema is derived from it.

    A call goes plan → gate → preview, where somebody is asked → run. `plan` names what the call is about from its
    arguments: it opens no file and lists no folder, so that a refusal tells nothing of what is there. `preview` looks,
    changes nothing, and shows exactly what would run or change (a command, a unified diff; "" where the title says it
    all); it is called only when the policy did not refuse. `run` is called only after approval, does what
    `context.approved` holds or raises, and must stop within a second of `cancel`. All raise ToolError with a text the
    model can act on; `run` may raise Cancelled.
    """

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def arguments(self) -> type[Any]: ...

    def plan(self, args: Any, context: ToolContext) -> Action: ...

    def preview(self, args: Any, context: ToolContext) -> str: ...

    def run(self, args: Any, context: ToolContext, cancel: CancelToken) -> ToolResult: ...


# -- approvals -------------------------------------------------------------------------------------

Scope = Literal["once", "session", "always"]


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer to an approval request. `reason` is told to the model when it is a no.

    To a question the yes means that it was answered, and `reason` is the answer. `via` says where it was given
    (`terminal`, a chat's platform), "" when no person gave it.
    """

    allowed: bool
    reason: str = ""
    scope: Scope = "once"
    via: str = ""


class Gate(Protocol):
    """Decides whether a call may run, asking somebody if it must.

    `preview` is called once, and only when somebody is asked.

    Raises: Cancelled, ApprovalPending, what `preview` raises.
    """

    def review(
        self,
        call: ToolCall,
        action: Action,
        context: ToolContext,
        *,
        preview: Callable[[], str],
        emit: "Sink",
        cancel: CancelToken,
    ) -> Decision: ...


class Keeper(Protocol):
    """Saves what a call may change, so that it can be undone. Never raises."""

    def before(self, action: Action) -> str:
        """Before an approved call runs. Gives what a person should know, such as that something was not saved."""
        ...

    def after(self, action: Action) -> None:
        """It has run, well or not."""
        ...


class NoKeeper:
    """Saves nothing."""

    def before(self, action: Action) -> str:
        del action
        return ""

    def after(self, action: Action) -> None:
        del action


# -- store and sink: the store has a page of its own, agent/records.py --------------------------------

Sink = Callable[[Event], None]
"""Takes events on the worker's thread; quick, and never raises."""
