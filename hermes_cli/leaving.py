"""Leaving with work under way: kept running by a worker, waited for, or stopped.

Everything here runs on the UI loop's thread.
"""

import logging
from typing import TYPE_CHECKING

from agent.commands import preview
from agent.errors import HermesError, StoreError
from agent.records import Task, is_held
from agent.tools.bench import left_running
from hermes_cli.questions import Question
from hermes_cli.text import harmless

if TYPE_CHECKING:
    from hermes_cli.chat import Chat

_log = logging.getLogger(__name__)

PARK_WITHIN = 1.2
"""Seconds that tasks have to reach a step boundary when the person leaves; then they are cut."""

LOOK = 0.1
"""Seconds between two looks at what has not let go yet."""

SHOWN = 6


class Leaving:
    """How a session ends. `waits`: when all is over; `keeps`: what runs goes on without us.

    `holding`: what keeps us from leaving, "" when nothing does.
    """

    def __init__(self, chat: "Chat") -> None:
        self._chat = chat
        self.waits = False
        self.keeps = False
        self.holding = ""
        self._asked = False

    def ask(self) -> None:
        """Leave; with work under way, ask first. Said twice, it waits for nothing that is on its way."""
        impatient, self._asked, self.holding = self._asked, False, ""
        if self._chat.aside.left and not impatient:
            # It may become a task.
            self._asked, self.holding = True, "letting what was sent arrive"
            self._chat.screen.refresh()
            return
        unfinished = self.unfinished()
        if not unfinished:
            self._leave()
            return
        options = {"w": "wait, then leave", "s": "stop and leave", "n": "stay"}
        default = "n"
        if self._standing() or self._chat.turn or self._chat.detached:
            options = {"k": "keep running, leave at its next step", **options}
            # What is not on the disk nobody else can go on with.
            default = "w" if self._chat.store.unsaved else "k"
        more = [f"  and {len(unfinished) - SHOWN} more"] if len(unfinished) > SHOWN else []
        ends = [f"  ends with Hermes: {preview(harmless(command), 50)}" for command in left_running()[:SHOWN]]
        lines = ["Not everything is over:", *unfinished[:SHOWN], *more, *ends]
        self._chat.ask(Question(lines, options, default, self._settle, about="leave"))

    def unfinished(self) -> list[str]:
        """What leaving would cut off, a line each."""
        chat = self._chat
        turns = [*([chat.turn] if chat.turn else []), *chat.detached]
        turn = [f"  the turn: {preview(turn.prompt, 50)}" for turn in turns]
        shell = ["  a shell command"] if chat.shell else []
        unsaved = [f"  {chat.store.unsaved} messages are not on the disk yet"] if chat.store.unsaved else []
        ours = (task for task in self._standing() if not self._chat.background.pool.runs_elsewhere(task))
        tasks = (f"  #{task.number} {task.state}  {preview(task.prompt, 50)}" for task in ours)
        return [*unsaved, *turn, *shell, *tasks]

    def _standing(self) -> list[Task]:
        """The tasks that leaving has to do with: one that is parked until the person says so stays as it is."""
        return [task for task in self._live() if not is_held(task)]

    def _leave(self) -> None:
        """With nothing of ours under way. What another process works on goes on there."""
        self.keeps = bool(self._standing())
        self._chat.screen.leave()

    def way_back(self) -> str:
        """How the conversation goes on another day; "" where there is none."""
        chat = self._chat
        if not (session := chat.conversation):
            return ""
        if not chat.store.is_stored(session):
            return "This conversation was never on the disk: it ends here."
        # Nobody comes by a worktree again.
        here = "" if chat.cwd.is_relative_to(chat.config.dirs.state) else "hermes -c, or from anywhere "
        return f"To go on: {here}hermes -r {session}"

    def last_words(self) -> str:
        """After all was let go of: what goes on without us, and where it is seen; "" when nothing does."""
        pool = self._chat.background.pool
        kept = sum(self.keeps or pool.runs_elsewhere(task) for task in self._standing())
        return f"{kept} task{' goes' if kept == 1 else 's go'} on: hermes tasks" if kept else ""

    def _live(self) -> list[Task]:
        """A store that cannot be read must not keep anybody from leaving."""
        try:
            return self._chat.background.live()
        except StoreError as error:
            _log.warning("leaving: %s", error)
            return []

    def if_settled(self) -> None:
        """Ask, if the person wants to leave and nothing is on its way any more."""
        if self._asked and not self._chat.aside.left:
            self._asked = False
            self.ask()

    def if_over(self) -> None:
        """Leave, if the person waits for that and nothing is left to be done or told."""
        if self.waits and not self.unfinished() and not self._chat.background.untold():
            self._leave()

    def hang_up(self) -> None:
        """The terminal is gone, or we are told to end: nobody can be asked, so nothing is given up."""
        # First, so that the turn, once it is a task, is not taken up here again for a moment.
        self._chat.background.pool.drain()
        self._chat.detach()
        self.keeps = True
        self._chat.screen.leave()

    def keep(self) -> None:
        """Leave as soon as tasks and the turn have come to a step boundary; they go on without us."""
        self.keeps = True
        self._let_go()

    def cut(self) -> bool:
        """Leave now, whatever has not let go yet. False when nothing holds us."""
        if not self.holding:
            return False
        self._chat.screen.leave()
        return True

    def _let_go(self) -> None:
        # Also of what was sent while we wait.
        self._chat.detach()
        self._chat.aside(self._chat.background.pool.drain, self._look)

    def _look(self, running: list[str]) -> None:
        """So many tasks are in a step still: leave, or say so and look again."""
        if not self.keeps:
            return
        chat = self._chat
        rows = [task for id_ in running if (task := chat.store.task(id_)) is not None]
        turns = [*([chat.turn] if chat.turn else []), *chat.detached]
        held = [*(f"the turn: {turn.activity}" for turn in turns), *(f"#{row.number}: {row.activity}" for row in rows)]
        if not held:
            self.holding = ""
            chat.screen.leave()
            return
        more = f" and {len(held) - 1} more" if len(held) > 1 else ""
        self.holding = f"letting go of {held[0]}{more}"
        chat.screen.refresh()
        chat.loop.call_later(LOOK, self._let_go_again)

    def _let_go_again(self) -> None:
        if self.keeps:
            self._let_go()

    def _stay(self) -> None:
        """What was let go of is taken up again."""
        self.keeps, self.holding = False, ""
        self._chat.aside(self._chat.background.pool.take_up)

    def hand_over(self) -> None:
        """After the tasks were parked: have a worker go on with them."""
        from hermes_cli.worker import ensure

        if not any(task.state != "waiting" for task in self._standing()):
            return
        try:
            ensure(self._chat.store, self._chat.config.dirs, self._chat.env)
        except HermesError as error:
            _log.warning("%s The next hermes takes the tasks up.", error)

    def _settle(self, key: str, _words: str) -> None:
        chat = self._chat
        self.waits = key == "w"
        if self.keeps and key != "k":
            self._stay()
        match key:
            case "s":
                chat.screen.leave()
            case "k" if self.cut():
                pass  # the second time
            case "k":
                self.keep()
            case "w" if chat.store.unsaved:
                chat.aside(chat.store.flush, lambda _: self.if_over())
            case _:
                self.if_over()
