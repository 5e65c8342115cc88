"""What is kept: the rows, and the seam to whoever keeps them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from agent.events import Event
from agent.messages import Message, Usage

if TYPE_CHECKING:
    from agent.protocols import Decision

TaskState = Literal["queued", "running", "waiting", "parked", "done", "failed", "cancelled"]
LIVE_STATES: frozenset[TaskState] = frozenset({"queued", "running", "waiting", "parked"})
OF_TERMINALS = "terminal:"
"""The kind of owners that people at this machine are."""
OF_CHATS = "chat:"
"""The kind of owners of background tasks that were sent from a chat; the conversation's name follows."""
OF_TURNS = "turn:"
"""The same of a chat's turns, which are tasks on the conversation itself."""
TASK_SOURCE = "task"
"""The source of sessions that belong to background tasks; lists of sessions leave them out unless asked."""


@dataclass(frozen=True, slots=True)
class Session:
    """A stored conversation's row. Times are seconds since the epoch.

    `settings` is the provider's settings as JSON text, without keys. `parent` is the session it was branched or
    compacted from, "" for none. `messages` counts them.
    """

    id: str
    source: str
    title: str = ""
    cwd: str = ""
    model: str = ""
    settings: str = "{}"
    parent: str = ""
    created: float = 0.0
    updated: float = 0.0
    archived: bool = False
    messages: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """Who works on something. `started` is when that process began, so that a reused pid is told from it."""

    worker: str
    pid: int
    started: float
    heartbeat: float


@dataclass(frozen=True, slots=True)
class Task:
    """A background task's row. Times are seconds since the epoch, 0.0 while not reached.

    `owner` is the front end (or chat) that is told the outcome; `session_id` holds the task's own messages.
    `activity` says what it is doing now. `settings` is the model and tools it inherited, `options` what was asked
    for this task alone, `receipt` what it did, each as JSON text. `attempts` counts the times it was taken up since a
    worker last let go of it in good order. A `held` task is parked until a person says otherwise, or is to be
    at its next step boundary.
    """

    id: str
    number: int
    prompt: str
    owner: str
    session_id: str
    settings: str = "{}"
    state: TaskState = "queued"
    activity: str = ""
    created: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    steps: int = 0
    usage: Usage = field(default_factory=Usage)
    result: str = ""
    error: str = ""
    told: bool = False
    name: str = ""
    options: str = "{}"
    receipt: str = "{}"
    attempts: int = 0
    held: bool = False
    lease: Lease | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What is kept from whoever sent a task, though the owner of this machine has it.

    No tool named in `without`; commands only in a sandbox, `network` or not, that shows nothing of what is `hidden`.
    """

    without: tuple[str, ...] = ()
    network: bool = False
    hidden: tuple[str, ...] = ()


def stricter(one: Limits | None, other: Limits | None) -> Limits | None:
    """What both keep from somebody."""
    if one is None or other is None:
        return one or other
    without, hidden = {*one.without, *other.without}, {*one.hidden, *other.hidden}
    return Limits(tuple(sorted(without)), one.network and other.network, tuple(sorted(hidden)))


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """What was asked for one task alone, JSON in `Task.options`. 0, "" and False mean the default.

    `sender` sent it while its approval mode was `approvals`: no process that takes the task up is freer with it.
    `max_cost` is in US dollars, `timeout` in seconds of running; when one is reached, as with `max_steps`, the task is
    parked and asks, and a person who resumes it allows as much again. `history` counts the messages that its session
    held before it; `taken` those that its own session began with, its prompt the last; `event` is the message of a chat
    that it answers; an answer is to point at `reply_to`, its id there. One that `compresses` makes its conversation
    shorter instead of taking a turn in it; its prompt says what matters. `limits` hold in any process; None for none.
    """

    context: bool = False
    worktree: bool = False
    model: str = ""
    max_steps: int = 0
    max_cost: float = 0.0
    timeout: float = 0.0
    name: str = ""
    sender: str = ""
    approvals: str = ""
    history: int = 0
    taken: int = 0
    event: str = ""
    reply_to: str = ""
    compresses: bool = False
    limits: Limits | None = None


@dataclass(frozen=True, slots=True)
class CommandRun:
    """A command a task ran. `exit_code` is None when it was cut off."""

    command: str
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a task did, JSON in `Task.receipt`. `seconds` is how long it has run, without what it was parked or waited.

    `lines` are those added to and removed from a file, all its changes together, where a tool told. `cost` is in US
    dollars, None where no price is known.
    """

    commands: tuple[CommandRun, ...] = ()
    files: tuple[str, ...] = ()
    lines: dict[str, tuple[int, int]] = field(default_factory=dict)
    steps: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How a live task stands: what a poll looks at. `worker` holds it, "" for nobody."""

    state: TaskState
    held: bool = False
    worker: str = ""


def is_held(task: Task) -> bool:
    """Whether it is parked until a person says that it goes on."""
    return task.state == "parked" and task.held


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event of a task. `number` counts from 1; when the first one kept is higher, the older ones were dropped."""

    number: int
    at: float
    event: Event


DeliveryState = Literal["pending", "sending", "told"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """That a surface is to hear a task's outcome. `at` is when it came into its state.

    `repeat`: whoever was telling it died meanwhile, so it may have been told before.
    """

    task_id: str
    surface: str
    state: DeliveryState
    at: float
    repeat: bool = False
    teller: Lease | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that a search found. `number` is its place in the session, from 1; `snippet` is one line of it."""

    session_id: str
    title: str
    number: int
    role: str
    at: float
    snippet: str


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one session used of one model on one day (`YYYY-MM-DD`, local time). `requests` counts the replies."""

    day: str
    model: str
    session_id: str
    requests: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class StoreStats:
    """How much is kept. `size` and `free` are bytes on disk; `free` would be used again before the file grows."""

    sessions: int
    messages: int
    tasks: int
    size: int = 0
    free: int = 0


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was deleted, or would be."""

    sessions: int
    messages: int
    tasks: int


IsAlive = Callable[[Lease], bool]
"""Whether the holder of a lease still works."""


class SessionStore(Protocol):
    """Conversations. Safe to share between threads; every call but `prune` is one transaction.

    Text is kept as it is, but for lone surrogates, which become U+FFFD.

    Raises: StoreError.
    """

    def create_session(
        self,
        session_id: str,
        *,
        source: str,
        cwd: str = "",
        model: str = "",
        parent: str = "",
        title: str = "",
        settings: str = "{}",
    ) -> None:
        """Make a session. One that exists stays as it is."""
        ...

    def append(self, session_id: str, message: Message) -> None:
        """Add to the end. The first message of the user gives a session without a title its title."""
        ...

    def messages(self, session_id: str) -> list[Message]: ...

    def mark_begun(self, session_id: str, call_id: str) -> bool:
        """Record that a tool call is about to run. False when it had begun before: then it must not run."""
        ...

    def has_begun(self, session_id: str, call_id: str) -> bool: ...

    def record_decision(self, session_id: str, call_id: str, decision: "Decision") -> bool:
        """Keep an answer. False, and no change, when there is one: the first one counts."""
        ...

    def decision(self, session_id: str, call_id: str) -> "Decision | None": ...

    def session(self, session_id: str) -> Session | None: ...

    def sessions(
        self, *, cwd: str | None = None, source: str | None = None, archived: bool = False, limit: int = 100
    ) -> list[Session]:
        """The newest first. Those of tasks are left out, unless `source` asks for them."""
        ...

    def continue_session(self, session_id: str, messages: Sequence[Message]) -> str:
        """Go on in a new session that holds only `messages`, and give its id. One transaction.

        Its `parent` is the old one, which is archived as it is. Title, model and folder go along, the tasks that work
        on it, what it used so far, and marks and answers of calls in `messages`. Raises: StoreError when there is no
        such session.
        """
        ...

    def copy_session(self, session_id: str, messages: Sequence[Message], *, title: str, source: str = "") -> str:
        """A new session with these messages, its `parent` the old one, which stays as it is. One transaction.

        Only model and folder go along, and the source unless another is named: `messages` hold no call that may yet
        run. Raises: StoreError when there is no such session.
        """
        ...

    def move_session(self, session_id: str, source: str, *, expect: str) -> Session | None:
        """Give a session that is `expect`'s to another source, where it is the newest. One transaction.

        None, and no change, when it is somebody else's or archived. Raises: StoreError while a task is live on it.
        """
        ...

    def find_sessions(self, text: str, *, cwd: str | None = None, limit: int = 20) -> list[Session]:
        """What a person may mean: "latest" (in `cwd`), an id or its beginning, a title or part of one; best first."""
        ...

    def find_session(self, text: str, *, cwd: str | None = None) -> Session | None:
        """The one session that is meant. None when there is none, or several fit equally well."""
        ...

    def update_session(self, session_id: str, **changes: Any) -> Session | None:
        """Change title, cwd, model, settings, parent or archived. None when there is no such session."""
        ...

    def rename_session(self, session_id: str, title: str) -> Session | None: ...

    def delete_session(self, session_id: str) -> bool:
        """Delete it with all it holds: finished tasks that ran on it, and sessions of agents that it sent.

        Raises: StoreError while a task is live.
        """
        ...

    def search(self, query: str, *, limit: int = 20, sources: Sequence[str] = (), besides: str = "") -> list[Hit]:
        """Messages that hold every word of the query, anywhere and in any case, the newest first.

        In sessions of these sources only, where any are named, and not in the session `besides`.
        """
        ...

    def add_usage(self, session_id: str, model: str, usage: Usage) -> None:
        """Count a reply, for today. The figures outlive the session."""
        ...

    def usage(self, *, since: str = "", session_id: str | None = None) -> list[UsageRow]:
        """By day, oldest first. `since` is a day."""
        ...

    def prune(self, *, before: float, dry_run: bool = False, besides: Sequence[str] = ()) -> Pruned:
        """Delete sessions and finished tasks untouched since `before`; never what is live or was not told.

        Nor what has one of the ids `besides`: a session, or a task with its session. What a session went on from
        (archived sessions before it) stays as long as it does.
        """
        ...

    def stats(self) -> StoreStats: ...


class TaskStore(Protocol):
    """Tasks, who works on them, and who was told. The same promises as `SessionStore`."""

    def create_task(
        self,
        *,
        prompt: str,
        owner: str,
        settings: str,
        name: str = "",
        options: str = "{}",
        cwd: str = "",
        session_id: str = "",
        source: str = "",
        parent: str = "",
        history: Sequence[Message] = (),
        log: Sequence[Event] = (),
        receipt: str = "{}",
    ) -> Task:
        """Queue a task on a session of its own, or on `session_id`. Its number is never used again.

        With a `source` that session must be its own, and not archived: else StoreError, and no task.

        Its own session may begin with a `history`, and have a `parent`, whose model and tools it then is told of. One
        that goes on with work has its `log` and `receipt` before anybody can claim it. All of it is one transaction.
        """
        ...

    def task(self, task_id: str) -> Task | None: ...

    def tasks(
        self, *, owner: str | None = None, states: frozenset[TaskState] | None = None, number: int | None = None
    ) -> list[Task]:
        """Oldest first; of one owner, of a kind of owners (`terminal:`) or of all, in some states or any.

        With a `number` that one, if it is among them; quick.
        """
        ...

    def update_task(
        self, task_id: str, *, expect: frozenset[TaskState] | None = None, holder: str | None = None, **changes: Any
    ) -> Task | None:
        """Change fields of a row. None, and no change, unless its state is one of `expect`, and its worker `holder`.

        A task that stops running loses its lease. One that becomes done or failed, and is not `told`, owes its owner
        a delivery from the same moment on; `told=True` settles all its deliveries.
        """
        ...

    def claim_task(self, lease: Lease, *, owner: str | None = None) -> Task | None:
        """Take up the next task of `owner`'s (see `tasks`): it is running, with this lease, and one attempt more.

        Owners in turn, the oldest of each first. None when there is none to take; held ones are not.
        """
        ...

    def heartbeat(self, worker: str) -> list[str]:
        """Say that the worker lives. Gives the ids it still holds; whatever else it runs, it must drop."""
        ...

    def reclaim_dead(self, now: float, is_alive: IsAlive, *, stale: float = 0.0) -> list[Task]:
        """Queue the running tasks whose worker is gone, or park the held ones; those that have had their attempts fail.

        Gone is a process that ended, and one whose last heartbeat is older than `stale`, in seconds since the epoch: it
        hangs. Gives what changed.
        """
        ...

    def standings(self, owner: str | None = None) -> dict[str, Standing]:
        """The live tasks by id, oldest first; whose, as in `tasks`. Quick, for those who look often."""
        ...

    def steer_task(self, task_id: str, text: str) -> bool:
        """Keep a line for the task to read before its next step. False when it is over, or there is no such task."""
        ...

    def move_steering(self, task_id: str, other_id: str) -> bool:
        """Have another task read what this one did not. False when that one is over, too; then nothing is moved."""
        ...

    def drop_steering(self, task_id: str) -> list[str]:
        """The lines that were not read, in order, and will not be any more: nobody is given them again."""
        ...

    def take_steering(self, task_id: str, session_id: str) -> list[str]:
        """The lines that were not read yet, in order. The caller appends them to the session before anything else.

        What a run took and did not append, because it died, is given again.
        """
        ...

    def append_event(self, task_id: str, event: Event) -> None:
        """Add to the task's log, whose oldest events are dropped beyond a bound. Nothing when there is no such task."""
        ...

    def events(self, task_id: str) -> list[Event]: ...

    def log(self, task_id: str, *, after: int = 0, last: int | None = None) -> list[LoggedEvent]:
        """The events with a higher number than `after`, oldest first; no more than the `last` ones of them."""
        ...

    def add_delivery(self, task_id: str, surface: str) -> bool:
        """Owe this surface the outcome, too. False when it was owed or told already, or there is no such task."""
        ...

    def claim_delivery(self, task_id: str, surface: str, teller: Lease) -> Delivery | None:
        """Take a pending delivery for telling. None when it is not pending: then it must not be told."""
        ...

    def release_delivery(self, task_id: str, surface: str) -> bool:
        """It was certainly not told, and is pending again."""
        ...

    def mark_told(self, task_id: str, surface: str) -> bool:
        """It was told. False when it had been, or was never owed."""
        ...

    def undelivered(self, surface: str | None = None) -> list[Delivery]:
        """The pending ones, of one surface or of all, oldest first."""
        ...

    def reclaim_deliveries(self, is_alive: IsAlive) -> list[Delivery]:
        """Make those pending again, as a possible repeat, whose teller died. Gives what changed."""
        ...


class PresenceStore(Protocol):
    """Which front ends are there. The same promises as `SessionStore`."""

    def enter(self, owner: str, lease: Lease) -> None:
        """Say that the front end works, in the lease's process."""
        ...

    def enter_alone(self, owner: str, lease: Lease, is_alive: IsAlive) -> Lease | None:
        """Enter, unless somebody else who lives did before: then whose lease that is, and no change. One transaction.

        Forgets those of this kind of owner that are dead.
        """
        ...

    def depart(self, owner: str) -> None:
        """Say that the front end has left. What reports to it waits for another one."""
        ...

    def present(self) -> dict[str, Lease]:
        """The front ends that entered and did not depart, dead ones too."""
        ...

    def adopt_tasks(self, owner: str, is_alive: IsAlive) -> list[Task]:
        """Make this front end the owner of what reports to those that are gone: live tasks, and untold outcomes.

        Only between front ends of one kind: the word before the colon of an owner. Of two that adopt, one does.
        Gives the tasks as they are now, oldest first.
        """
        ...


class Store(SessionStore, TaskStore, PresenceStore, Protocol):
    """All that is kept."""
