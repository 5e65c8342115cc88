"""TaskRunner: a background task's run, from nothing but its row. Every front end and every worker runs tasks so."""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import run_agent
from agent import task_rows
from agent.approvals import Gatekeeper, Mailbox, Policy
from agent.budgets import Budgets
from agent.cancel import CancelToken
from agent.config import Config, ModelChoice, Settings, convert, read_keys
from agent.errors import Cancelled, HermesError
from agent.events import (
    Compacted,
    Event,
    Steered,
    StepFinished,
    TextDelta,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnResumed,
    TurnStarted,
    TurnSuspended,
)
from agent.git import GitError
from agent.models import catalog, portable, prices
from agent.protocols import ChatModel, Redact, Sink, Store, Task, Tool
from agent.records import OF_TURNS, TASK_SOURCE, TaskOptions
from agent.redact import Redactor, secret_values
from agent.sandbox import wall_of
from agent.worktree import Worktree, of_task

if TYPE_CHECKING:
    from agent.task_runs import RunTask

PROCESSES = Path("/proc")
"""What commands behind a wall see only their own of: Hermes's environment is in there."""

_log = logging.getLogger(__name__)

NO_CHOICE = "{}"
"""`Task.settings` of a task that was sent before a model was known: it takes the one in force."""


def at_once() -> None:
    """The pace of a process that shows nothing: no text waits for a keyboard."""


class TaskRunner:
    """Callable as `agent.task_runs.RunTask`, on any thread. A fresh agent for each run, on the task's own session.

    Whoever is `owner` sent tasks under `policy` and keeps them under it, as it changes; others' tasks are run in the
    stricter of its mode and theirs. `pace` gives what a run calls before each piece of text. `model` and `tools` stand
    in for those that the row and the settings name.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        *,
        policy: Policy,
        owner: str = "",
        env: Mapping[str, str] = os.environ,
        redact: Redact | None = None,
        pace: Callable[[], Callable[[], None]] = lambda: at_once,
        model: ChatModel | None = None,
        tools: Sequence[Tool] | None = None,
    ) -> None:
        self._config = config
        self._store = store
        self._policy = policy
        self._owner = owner
        self._env = env
        self._redact = redact
        self._pace = pace
        self._model = model
        self._tools = tools

    def __call__(self, task: Task, *, emit: Sink, cancel: CancelToken) -> TurnFinished | TurnSuspended:
        """What escapes, because the task cannot even begin or by a fault, ends it without telling a secret."""
        try:
            return self._run(task, emit=emit, cancel=cancel)
        except HermesError as error:
            said, hint = str(error), error.hint
        except Exception as fault:  # noqa: BLE001  (a task must end, whatever happened)
            _log.exception("task %s", task.id)
            said, hint = f"internal error: {type(fault).__name__}: {fault}", ""
        redact = self._redact or self._known_secrets()
        return TurnFinished("failed", "", error=redact(said), hint=redact(hint))

    def _known_secrets(self) -> Redact:
        """As `_clean`, also where the file of keys is why nothing works."""
        try:
            return self._clean
        except HermesError:
            return Redactor(secret_values(self._env))

    def _run(self, task: Task, *, emit: Sink, cancel: CancelToken) -> TurnFinished | TurnSuspended:
        options = task_rows.options_of(task)
        budgets = Budgets(
            self._store, self._config.values, task, options, free=lambda: self._costs_nothing(task, options)
        )
        if reason := budgets.reason():
            emit(suspended := TurnSuspended(reason=reason))
            return suspended
        agent = self._agent(task, options)
        pace = self._pace()

        def listening(event: Event) -> None:
            if isinstance(event, TextDelta):
                pace()
            emit(event)
            if isinstance(event, StepFinished | ToolProgress) and (reason := budgets.reason()):
                cancel.park(reason)

        if options.compresses:
            return _compressed(agent, task, emit=emit, cancel=cancel)
        with _time_limit(options.timeout or self._config.values.task_timeout, cancel), agent.dismissed():
            end = agent.run_turn(
                None if self._begun(task, options) else task.prompt,
                emit=listening,
                cancel=cancel,
                inbox=lambda: self._store.take_steering(task.id, agent.session_id),
            )
            if isinstance(end, TurnFinished):
                # A chat shows what a turn of it said before; a task has its outcome alone.
                before = [] if task.owner.startswith(OF_TURNS) else _answers_before(self._store.events(task.id))
                end = replace(end, text="\n\n".join([*before, end.text]).strip())
                task_rows.add_files(self._store, task.id, self._changed(task, options, agent))
            return end

    def _changed(
        self, task: Task, options: TaskOptions, agent: "run_agent.AIAgent"
    ) -> Mapping[str, tuple[int, int] | None]:
        """The files that it has changed, by its commands too, and the lines where they are known."""
        if tree := self._worktree(task, options):
            try:
                return tree.stat()
            except GitError as error:
                _log.warning("what task %s has changed: %s", task.id, error)
                return {}
        return dict.fromkeys(agent.checkpoints.changed() if agent.checkpoints else ())

    def _begun(self, task: Task, options: TaskOptions) -> bool:
        """Whether the session holds the prompt already, so that the turn goes on."""
        messages = self._store.messages(task.session_id)
        session = self._store.session(task.session_id)
        if options.history and session and session.parent and session.created > task.created:
            # It was compacted since: other messages stand there now, and the prompt is one of them if there was one.
            return task.steps > 0 or any(one.role == "user" and one.content == task.prompt for one in messages)
        return any(one.role == "user" for one in messages[options.history :])

    @cached_property
    def _keys(self) -> Mapping[str, str]:
        return read_keys(self._config.dirs)

    @cached_property
    def _clean(self) -> Redact:
        return self._redact or Redactor([*secret_values(self._env), *self._keys.values()])

    def _agent(self, task: Task, options: TaskOptions) -> "run_agent.AIAgent":
        return run_agent.AIAgent(
            choice=self._choice(task, options) if self._model is None else None,
            model=self._model,
            settings=self._settings(task, options),
            store=self._store,
            session_id=task.session_id,
            source=TASK_SOURCE,
            cwd=self._folder(task),
            gate=Gatekeeper(
                self._policy_for(task, options), Mailbox(self._store, task.session_id), session_id=task.session_id
            ),
            tools=self._tools,
            redact=self._clean,
            price=prices.priced,
            worktree=self._worktree(task, options),
            # A conversation that was taken along goes on with the tools that it had.
            owner=task.owner if options.context else "",
            limits=options.limits,
            chat=task_rows.key_of(task.owner).partition(":")[0],
        )

    def _worktree(self, task: Task, options: TaskOptions) -> Worktree | None:
        if not options.worktree:
            return None
        if options.limits is not None:
            raise HermesError("No worktree: git would run what the folder names, and no wall is around it.")
        return of_task(task, str(self._folder(task)), self._config.dirs.state)

    def _choice(self, task: Task, options: TaskOptions) -> ModelChoice:
        values = self._config.values
        if task.settings == NO_CHOICE:
            inherited = catalog.in_force(values, env=self._env, keys=self._keys)
        else:
            inherited = portable.load(task.settings, values, env=self._env, keys=self._keys)
        if not options.model:
            return inherited
        return catalog.named(options.model, values, inherited, env=self._env, keys=self._keys)

    def _costs_nothing(self, task: Task, options: TaskOptions) -> bool:
        return self._model is None and catalog.costs_nothing(self._choice(task, options))

    def _settings(self, task: Task, options: TaskOptions) -> Settings:
        """Those of the process, with the steps that are left: each time they are used up a person allows as many."""
        most = options.max_steps or self._config.values.max_steps
        return replace(self._config.values, max_steps=most - task.steps % most)

    def _policy_for(self, task: Task, options: TaskOptions) -> Policy:
        if options.sender and options.sender == self._owner:
            return self._policy
        mode = options.approvals or self._config.values.approvals
        policy = self._policy.under(convert("approvals", mode, "the task"), task.session_id)
        if (limits := options.limits) is None:
            return policy
        # The file tools reach no further, and ask no more, than commands would, which a wall keeps to this folder and
        # mostly lets write in it unasked, for without the network nothing of it gets further. Where there is no wall
        # there are no commands.
        wall = wall_of(self._config.values, self._config.dirs, limits)
        unasked = not limits.network and wall.mode == "workspace-write" and policy.mode == "ask"
        return replace(policy, hidden=(*wall.hidden, PROCESSES), mode="edits" if unasked else policy.mode)

    def _folder(self, task: Task) -> Path:
        session = self._store.session(task.session_id)
        folder = Path(session.cwd) if session and session.cwd else Path.cwd()
        if not folder.is_dir():
            raise HermesError(f"The folder {folder} does not exist any more.", hint="Make it again, then retry.")
        return folder


def _answers_before(events: Sequence[Event]) -> list[str]:
    """What was answered before the run began that is the last one: a person said something more, and it went on."""
    answers, since = list[str](), list[str]()
    text = ""
    for event in events:
        match event:
            case TurnStarted():
                answers, since = [], []
            case TurnResumed():
                answers, since = [*answers, *since], []
            case StepFinished(text=said):
                text = said
            case ToolStarted():
                text = ""
            case Steered() if text.strip():
                since.append(text)
                text = ""
    return answers


def _compressed(
    agent: "run_agent.AIAgent", task: Task, *, emit: Sink, cancel: CancelToken
) -> TurnFinished | TurnSuspended:
    """Make the conversation shorter, and say by how much. Raises: HermesError when that is of no use."""
    said: list[str] = []

    def listening(event: Event) -> None:
        if isinstance(event, Compacted):
            said.append(f"The conversation is shorter: from about {event.before:,} tokens to {event.after:,}.")
        emit(event)

    with agent.dismissed():
        try:
            agent.compress(task.prompt, emit=listening, cancel=cancel)
        except Cancelled:
            return TurnFinished("cancelled", "") if cancel.parked is None else TurnSuspended(reason=cancel.parked)
    return TurnFinished("done", " ".join(said))


@contextmanager
def _time_limit(seconds: float, cancel: CancelToken) -> Iterator[None]:
    """Park the task when its time is up, whatever it does then."""
    if not seconds:
        yield
        return

    def cut() -> None:
        cancel.park(f"it has run for {seconds:g} s")
        cancel.cancel()

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


if TYPE_CHECKING:

    def _runs_tasks(runner: TaskRunner) -> RunTask:
        return runner
