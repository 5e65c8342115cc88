"""The background tasks that report to a session in a terminal: submitted, found, told.

Everything here runs on the UI loop's thread, except where a docstring says otherwise. What writes to the store does so
aside, for another process may hold it.
"""

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from agent.cancel import CancelToken
from agent.errors import HermesError, StoreError
from agent.events import ApprovalRequested, ApprovalSettled, Event, TaskChanged, TurnFinished, TurnSuspended
from agent.messages import Message
from agent.protocols import Sink, Task
from agent.records import LIVE_STATES, OF_TERMINALS, Delivery, Standing, TaskOptions
from agent.reports import is_report
from agent.store.leases import is_alive, new_lease
from agent.task_orders import STOPPED_IN
from agent.task_runs import PARKED, RunTask
from agent.tasks import TaskPool
from agent.tools.bench import close_bench
from hermes_cli.step_log import StepLog
from hermes_cli.task_facts import needs_person, of_chats, settled, title
from hermes_cli.text import count

if TYPE_CHECKING:
    from hermes_cli.chat import Chat

_log = logging.getLogger(__name__)

FOLLOW = 0.25
"""Seconds between two looks at a log that is followed."""

TAKE_UP = 5.0
"""Seconds between two looks for what terminals have left that are gone."""

MOST_NAMED = 12
"""Parked tasks that the start names."""

TOGETHER = 0.15
"""Seconds within which tasks that end come as one notice."""


class Background:
    """The tasks of one `Chat`.

    `standing` is what the status line counts: those that are not over. Of those in `asked` the person was told that
    they wait for an answer.
    """

    def __init__(self, chat: "Chat", *, workers: int) -> None:
        self._chat = chat
        self.standing: list[Standing] = []
        self._counts = False
        self.asked: set[str] = set()
        # Parked until a person says so, and told elsewhere, before this terminal came.
        self._left: set[str] = set()
        self._opened = False
        self._when_open: list[Callable[[], None]] = []
        self._following: asyncio.TimerHandle | None = None
        self._claiming = 0
        self._to_tell: list[Delivery] = []
        self._telling: list[Delivery] = []
        self._told: deque[Delivery] = deque()
        self.pool = TaskPool(
            chat.store,
            self._run,
            notify=chat.bridge.emit,
            workers=workers,
            owner=chat.owner,
            new_lease=new_lease,
            is_alive=is_alive,
            forget=close_bench,
            redact=chat.cleaned,
        )

    def open(self) -> None:
        """From any thread: take up what front ends and workers that died have left, and tell what nobody was told."""
        with contextlib.suppress(StoreError):
            parked = self._chat.store.tasks(owner=OF_TERMINALS, states=PARKED)
            self._left = {task.id for task in parked if needs_person(task)}
        due = self._take_up()
        self._chat.post(lambda: self._open(due))

    def _take_up(self) -> list[Delivery]:
        """On any thread: what is to be told."""
        try:
            self.pool.open()
            due = [self._claim(one.task_id) for one in self._chat.store.undelivered(self._chat.owner)]
        except StoreError as error:
            _log.warning("taking up tasks: %s", error)
            return []
        return [one for one in due if one is not None]

    def _again(self) -> None:
        """Others may die later. On a thread of its own, for nothing is redrawn when there is nothing."""

        def look() -> None:
            due = self._take_up()
            self._chat.post(lambda: arrived(due))

        def arrived(due: list[Delivery]) -> None:
            self._claiming -= 1
            self._taken_up(due)

        self._claiming += 1
        threading.Thread(target=look, daemon=True, name="take-up").start()

    def _taken_up(self, due: list[Delivery]) -> None:
        self._tell(due)
        self._chat.loop.call_later(TAKE_UP, self._again)

    def when_open(self, show: Callable[[], None]) -> None:
        """Once it is known what others have left for this terminal: now, but for the moment after the start."""
        if self._opened:
            show()
        else:
            self._when_open.append(show)

    def _open(self, due: list[Delivery]) -> None:
        self._opened = True
        waiting, self._when_open = self._when_open, []
        for show in waiting:
            show()
        if self._left:
            self._chat.screen.notify(self._parked, urgent=False)
        self._taken_up(due)

    def _parked(self) -> str:
        """One line about what terminals that are gone have left parked."""
        mine = [task for task in self.live() if task.id in self._left]
        numbers = ", ".join(f"#{task.number}" for task in mine[:MOST_NAMED])
        more = f" and {len(mine) - MOST_NAMED} more" if len(mine) > MOST_NAMED else ""
        return self._chat.screen.renderer().note(f"Parked: {numbers}{more} · /tasks resume N") if mine else ""

    def submit(self, prompt: str, options: TaskOptions, *, context: Sequence[Message] = ()) -> Task:
        """From any thread: send a prompt to the background, with the model and settings of now.

        Raises: HermesError.
        """
        chat = self._chat
        options = replace(options, approvals=chat.policy.mode)
        return self.pool.submit(
            prompt,
            settings=chat.model.inherited(),
            options=options,
            cwd=str(chat.cwd),
            parent=chat.conversation if context else "",
            history=context,
        )

    def prepare(self, prompt: str, options: TaskOptions) -> tuple[list[str], list[Message]]:
        """From any thread: what the person should know before it starts, and the conversation it takes along.

        Raises: HermesError when it cannot be started so.
        """
        from agent import context, reports
        from agent.models import portable
        from agent.worktree import Worktree

        chat, notes, taken = self._chat, list[str](), list[Message]()
        if (options.max_cost or chat.config.values.task_budget) and (unknown := self._without_price(options)):
            notes.append(f"What {unknown} costs is not known: it is parked after its first step, and asks.")
        if options.worktree and (lacking := Worktree("", chat.cwd, chat.config.dirs.state).check()):
            more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
            notes.append(f"It starts from the last commit, without your changes in {', '.join(lacking[:5])}{more}.")
        if options.context:
            row = chat.store.session(chat.conversation) if chat.conversation else None
            taken = reports.context_for(chat.store.messages(row.id) if row else [], prompt, moved=options.worktree)
            assert row is not None, "a conversation with messages has a row"
            tokens = context.size(taken) + context.size_of_tools(portable.tools(row.settings))
            notes.append(f"It takes this conversation along: about {count(tokens)} tokens of input.")
        return notes, taken

    def _without_price(self, options: TaskOptions) -> str:
        """The model of a task, where nobody knows what it costs; else "". Raises: HermesError."""
        from agent.models import catalog, prices

        chat = self._chat
        choice = chat.model.choose()
        if options.model:
            choice = catalog.named(options.model, chat.config.values, choice, env=chat.env, keys=chat.model.keys())
        return "" if prices.known(choice) else choice.model or "the model"

    def all(self) -> list[Task]:
        """Every task that reports here, oldest first."""
        return self._chat.store.tasks(owner=self._chat.owner)

    def seen(self) -> list[Task]:
        """These, and below them those of chats."""
        return [*self.all(), *of_chats(self._chat.store)]

    def live(self) -> list[Task]:
        """Those that report here and are not over, oldest first."""
        return self.pool.live(self._chat.owner)

    def untold(self) -> bool:
        """Whether an outcome is about to be told."""
        return bool(self._claiming or self._to_tell)

    def changed(self, event: TaskChanged) -> None:
        """A task came into another state: count it, and tell what the person should know, once."""
        if not self._counts:
            # Many change at once, and are counted together.
            self._counts = True
            self._chat.loop.call_soon(self._count)
        task = self._chat.store.task(event.task_id)
        if task is None or task.state != event.state:
            return
        if task.state != "parked":
            self._left.discard(task.id)
        if task.state in ("done", "failed") and not task.told:
            self._claiming += 1
            self._chat.aside(lambda: self._claim(task.id), self._claimed, failed=lambda: self._claimed(None))
        elif task.state == "cancelled" and task.activity.startswith(STOPPED_IN):
            # Who stops one here sees so.
            said = f"#{task.number} was {task.activity}: {title(task)}"
            self._chat.screen.notify(lambda: self._chat.screen.renderer().note(said), urgent=False)
        elif task.id in self._left and task.state == "parked":
            pass
        elif needs_person(task):
            self._chat.screen.notify(lambda: self._need(task.id), urgent=True)
        elif task.id in self.asked:
            self.asked.discard(task.id)
            self._settled(task)

    def _settled(self, task: Task) -> None:
        """What the person was told to be waiting for them waits no more: where they answered elsewhere, say so."""
        chat = self._chat
        if (found := self.pool.answered(task.id)) is None:
            return
        request, decision = found
        chat.withdraw(request.request_id)
        if decision.via not in ("", "terminal"):
            said = settled(task, request, allowed=decision.allowed)
            chat.screen.notify(lambda: chat.screen.renderer().note(f"In {decision.via}: {said}"), urgent=False)

    def _count(self) -> None:
        self._counts = False
        try:
            self.standing = list(self._chat.store.standings(self._chat.owner).values())
        except StoreError as error:
            _log.warning("counting the tasks: %s", error)
        self._chat.screen.refresh()

    def take_over(
        self,
        prompt: str,
        session_id: str,
        end: TurnFinished | TurnSuspended,
        *,
        unread: Sequence[str] = (),
        log: Iterable[Event] = (),
        ran: float = 0.0,
    ) -> bool:
        """On the thread of a turn that was detached: it goes on as a task, unless it is over. False when it does not.

        It `ran` for so many seconds. What was `unread` the task reads; when there is none it becomes a draft again.
        """
        from hermes_cli.handlers.tasks import detached_notice, say_started

        chat = self._chat
        if isinstance(end, TurnFinished):
            chat.post(lambda: chat.screen.notify(lambda: detached_notice(chat, prompt, end), urgent=False))
            for line in unread:
                if not is_report(line):
                    chat.post(partial(chat.screen.draft, line))
            return False
        options = TaskOptions(approvals=chat.policy.mode)
        try:
            task = self.pool.submit(
                prompt,
                settings=chat.model.inherited(),
                options=options,
                cwd=str(chat.cwd),
                session_id=session_id,
                log=_without_open_questions(log),
                ran=ran,
            )
            for line in unread:
                self.pool.steer(task.id, line)
        except HermesError as error:
            problem = f"The turn cannot go on aside: {error}"
            chat.post(lambda: chat.complain(problem, f"/resume {session_id}"))
            return False
        chat.post(lambda: say_started(chat, task))
        return True

    def close(self, *, park: bool, wait: float) -> None:
        """Stop every task of this terminal, or `park` them, for which they have `wait` seconds."""
        self.pool.close(park=park, wait=wait)

    def finish(self) -> None:
        """The last word is said: what was claimed and is not told is left to the next terminal."""
        self._mark_told()
        for one in [*self._to_tell, *self._telling]:
            with contextlib.suppress(StoreError):  # then it is found in the hands of a dead one
                self._chat.store.release_delivery(one.task_id, one.surface)

    # -- following a log ---------------------------------------------------------------------------

    def follow(self, task: Task, log: StepLog) -> None:
        """Show a task's log as it grows, until it is over or `unfollow` is called; one task at a time."""
        self.unfollow()
        self._follow(task.id, log)

    def unfollow(self) -> bool:
        """False when no log is followed."""
        timer, self._following = self._following, None
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _follow(self, task_id: str, log: StepLog) -> None:
        self._following = None
        task = self._chat.store.task(task_id)
        if lines := log.rest(task) if task else log.more():
            self._chat.screen.show("\n".join(map(str, lines)))
        if task is not None and task.state in LIVE_STATES:
            self._following = self._chat.loop.call_later(FOLLOW, self._follow, task_id, log)

    # -- telling -----------------------------------------------------------------------------------

    def _claim(self, task_id: str) -> Delivery | None:
        """On any thread: whether it is for us to tell, now and nobody else."""
        return self._chat.store.claim_delivery(task_id, self._chat.owner, self.pool.lease)

    def _claimed(self, one: Delivery | None) -> None:
        self._claiming -= 1
        self._tell([one] if one is not None else [])

    def _tell(self, found: list[Delivery]) -> None:
        """Have them told, with those that end at about the same time."""
        first = not self._to_tell
        self._to_tell += found
        if first and found:
            self._chat.loop.call_later(TOGETHER, self._notify)
        self._chat.leaving.if_over()

    def _notify(self) -> None:
        self._chat.screen.notify(self._finished, urgent=False, shown=self._shown)

    def _shown(self) -> None:
        """It stands above the prompt, all that was given to the screen."""
        self._told += self._telling
        self._telling.clear()
        self._chat.aside(self._mark_told)

    def _finished(self) -> str:
        """What ended since the last notice, as one."""
        from hermes_cli.handlers.tasks import finished_notice

        found, self._to_tell = self._to_tell, []
        rows = [(task, one.repeat) for one in found if (task := self._chat.store.task(one.task_id)) is not None]
        self._telling += found
        self._chat.loop.call_soon(self._chat.leaving.if_over)
        return finished_notice(self._chat, rows)

    def _need(self, task_id: str) -> str:
        from hermes_cli.handlers.tasks import need_notice

        task = self._chat.store.task(task_id)
        if task is None or not needs_person(task):
            return ""
        self.asked.add(task_id)
        return need_notice(self._chat, task)

    def _mark_told(self) -> None:
        """On any thread. What could not be marked is told again, by whoever comes after us."""
        while (one := _first(self._told)) is not None:
            try:
                self._chat.store.mark_told(one.task_id, one.surface)
            except StoreError as error:
                _log.warning("a notice: %s", error)

    def _run(self, task: Task, *, emit: Sink, cancel: CancelToken) -> TurnFinished | TurnSuspended:
        """On a pool thread."""
        return self._runner(task, emit=emit, cancel=cancel)

    def configured(self) -> None:
        """The settings have changed: runs that begin from now on read them."""
        self.__dict__.pop("_runner", None)

    @cached_property
    def _runner(self) -> RunTask:
        from agent.task_runner import TaskRunner

        chat = self._chat
        return TaskRunner(
            chat.config,
            chat.store,
            policy=chat.policy,
            owner=chat.owner,
            env=chat.env,
            redact=chat.model.redact,
            pace=chat.screen.keyboard.pace,
        )


def _without_open_questions(log: Iterable[Event]) -> list[Event]:
    """What was not answered here the task asks for again."""
    events = list(log)
    settled = {event.request_id for event in events if isinstance(event, ApprovalSettled)}
    return [one for one in events if not isinstance(one, ApprovalRequested) or one.request_id in settled]


def _first(told: deque[Delivery]) -> Delivery | None:
    """Take it, on any of the threads that do."""
    try:
        return told.popleft()
    except IndexError:
        return None
