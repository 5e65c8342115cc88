"""Leaving with work under way: kept running by a worker, waited for, or stopped.

Everything here runs on the UI loop's thread.
"""

import logging
from typing import TYPE_CHECKING

from agent.commands import preview
from agent.errors import HermesError
from hermes_cli.questions import Question

if TYPE_CHECKING:
    from hermes_cli.chat import Chat

_log = logging.getLogger(__name__)

PARK_WITHIN = 1.2
"""Seconds that tasks have to reach a step boundary when the person leaves; then they are cut."""

SHOWN = 6


class Leaving:
    """How a session ends. `waits`: when all is over; `keeps`: what runs goes on without us."""

    def __init__(self, chat: "Chat") -> None:
        self._chat = chat
        self.waits = False
        self.keeps = False

    def ask(self) -> None:
        """Leave; with work under way, ask first."""
        unfinished = self.unfinished()
        if not unfinished:
            self._chat.screen.leave()
            return
        options = {"w": "wait, then leave", "s": "stop and leave", "n": "stay"}
        default = "n"
        if self._chat.background.live() or self._chat.turn:
            options, default = {"k": "keep running and leave", **options}, "k"
        more = [f"  and {len(unfinished) - SHOWN} more"] if len(unfinished) > SHOWN else []
        lines = ["Not everything is over:", *unfinished[:SHOWN], *more]
        self._chat.ask(Question(lines, options, default, self._settle, about="leave"))

    def unfinished(self) -> list[str]:
        """What leaving would cut off, a line each."""
        chat = self._chat
        turns = [*([chat.turn] if chat.turn else []), *chat.detached]
        turn = [f"  the turn: {preview(turn.prompt, 50)}" for turn in turns]
        shell = ["  a shell command"] if chat.shell else []
        unsaved = [f"  {chat.store.unsaved} messages are not on the disk yet"] if chat.store.unsaved else []
        tasks = (f"  #{task.number} {task.state}  {preview(task.prompt, 50)}" for task in chat.background.live())
        return [*unsaved, *turn, *shell, *tasks]

    def if_over(self) -> None:
        """Leave, if the person waits for that and nothing is left to be done or told."""
        if self.waits and not self.unfinished() and not self._chat.background.untold():
            self._chat.screen.leave()

    def hang_up(self) -> None:
        """The terminal is gone, or we are told to end: nobody can be asked, so nothing is given up."""
        self.keep()

    def keep(self) -> None:
        """Leave; tasks and the turn go on without us."""
        self._chat.detach()
        self.keeps = True
        self._chat.screen.leave()

    def hand_over(self) -> None:
        """After the tasks were parked: have a worker go on with them."""
        from hermes_cli.worker import start

        if not any(not task.held and task.state != "waiting" for task in self._chat.background.live()):
            return
        try:
            start(self._chat.config.dirs, self._chat.env)
        except HermesError as error:
            _log.warning("%s The next hermes takes the tasks up.", error)

    def _settle(self, key: str, _words: str) -> None:
        chat = self._chat
        self.waits = key == "w"
        match key:
            case "s":
                chat.screen.leave()
            case "k":
                self.keep()
            case "w" if chat.store.unsaved:
                chat.aside(chat.store.flush, lambda _: self.if_over())
            case _:
                self.if_over()
