"""The background tasks that report to a session in a terminal: submitted, found, run, told.

Everything here runs on the UI loop's thread, except where a docstring says otherwise.
"""

import logging
from typing import TYPE_CHECKING

from agent.approvals import Gatekeeper, Mailbox
from agent.cancel import CancelToken
from agent.errors import StoreError
from agent.events import Event, TaskChanged, TextDelta, TurnFinished, TurnSuspended
from agent.protocols import Sink, Task
from agent.store.leases import is_alive, new_lease
from agent.tasks import TaskPool

if TYPE_CHECKING:
    from hermes_cli.chat import Chat

_log = logging.getLogger(__name__)


class Background:
    """The tasks of one `Chat`. `shown` is what the status line counts: those that are not over."""

    def __init__(self, chat: "Chat", *, workers: int) -> None:
        self._chat = chat
        self.shown: list[Task] = []
        self.pool = TaskPool(
            chat.store,
            self._run,
            notify=chat.bridge.emit,
            workers=workers,
            owner=chat.owner,
            new_lease=new_lease,
            is_alive=is_alive,
        )

    def open(self) -> None:
        """From any thread: take up what front ends and workers that died have left."""
        try:
            self.pool.open()
        except StoreError as error:
            _log.warning("taking up tasks: %s", error)

    def submit(self, prompt: str) -> Task:
        """Send a prompt to the background, with the model and settings of now. Raises: StoreError."""
        return self.pool.submit(prompt, owner=self._chat.owner, settings=self._chat.model.inherited())

    def all(self) -> list[Task]:
        """Every task that reports here, oldest first."""
        return self._chat.store.tasks(owner=self._chat.owner)

    def live(self) -> list[Task]:
        """Those that are not over, oldest first."""
        return self.pool.live(self._chat.owner)

    def find(self, text: str) -> Task | None:
        """A task by number (`3`, `#3`) or by a prefix of its id that only one task has."""
        tasks, wanted = self.all(), text.removeprefix("#").strip()
        if wanted.isdecimal():
            return next((task for task in tasks if task.number == int(wanted)), None)
        found = [task for task in tasks if wanted and task.id.startswith(wanted)]
        return found[0] if len(found) == 1 else None

    def changed(self, event: TaskChanged) -> None:
        """A task came into another state: count it, and tell what the person should know, once."""
        from hermes_cli.handlers.tasks import notice

        self.shown = self.live()
        task = self._chat.store.task(event.task_id)
        if task is None or task.state != event.state:
            return
        if task.state in ("done", "failed") and not task.told:
            self._chat.screen.notify(notice(self._chat, task), urgent=False)
            self._chat.store.update_task(task.id, told=True)
        elif task.state == "waiting":
            self._chat.screen.notify(notice(self._chat, task), urgent=True)

    def close(self) -> None:
        self.pool.close()

    def _run(self, task: Task, *, emit: Sink, cancel: CancelToken) -> TurnFinished | TurnSuspended:
        """On a pool thread: a fresh agent on the task's own session."""
        import run_agent
        from agent.models import prices

        chat = self._chat
        agent = run_agent.AIAgent(
            choice=chat.model.revived(task.settings),
            settings=chat.config.values,
            store=chat.store,
            session_id=task.session_id,
            source="task",
            cwd=chat.cwd,
            gate=Gatekeeper(chat.policy, Mailbox(chat.store, task.session_id), session_id=task.session_id),
            redact=chat.model.redact,
            price=prices.priced,
        )
        begun = any(message.role == "user" for message in chat.store.messages(task.session_id))

        pace = chat.screen.keyboard.pace()

        def politely(event: Event) -> None:
            if isinstance(event, TextDelta):
                pace()
            emit(event)

        return agent.run_turn(None if begun else task.prompt, emit=politely, cancel=cancel)
