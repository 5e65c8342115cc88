"""The task browser (Ctrl+T): tasks left, the log of the chosen one right, on the terminal's other screen.

It is a mode of the prompt's own application: the same reader of the keyboard and writer to the terminal. The draft
waits underneath, untouched. Everything here runs on the UI loop's thread. What it draws is built at each key and when
something has changed, looked for a few times a second, and holds no more than the screen does.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout import BufferControl, ConditionalContainer, FormattedTextControl, HSplit, Layout, Window

from agent import task_orders
from agent.approvals import mark_of
from agent.commands import subcommand
from agent.errors import HermesError
from agent.events import ApprovalRequested
from agent.protocols import Decision
from agent.records import LIVE_STATES, Task
from hermes_cli import browser_view as view
from hermes_cli.keys import browser_bindings
from hermes_cli.step_log import StepLog, unfinished

if TYPE_CHECKING:
    from hermes_cli.chat import Chat
    from hermes_cli.terminal import PromptApplication

LOOK = 0.25
"""Seconds between two looks at the store."""

BUSY_SHARE = 10
"""A look that takes long makes the next one wait so many times as long: keys come first."""

MOST_ENTRIES = 400
"""Entries of a log that are read at once: the keyboard waits for it. `/tasks log` has all of it."""

MOST_LOG = 5_000
"""Lines of a log kept for scrolling; older ones are dropped."""

Ask = tuple[str, str, Callable[[str], None]]
"""What a line that is typed here is for: the words before it, the letters it may be ("" for any text), who takes it."""

_WORDS = {"yes": "y", "session": "s", "always": "a"}


class TaskBrowser:
    """Open from `open` to `close`. `left` is called when it has given the screen back, `watched` with the focus."""

    def __init__(
        self, chat: "Chat", app: "PromptApplication", *, left: Callable[[], None], watched: Callable[[bool], None]
    ) -> None:
        self.watched = watched
        self._chat = chat
        self._app = app
        self._left = left
        self._input = Buffer(multiline=False)
        self._input.on_text_changed += lambda _: self._typed()
        self._body = FormattedTextControl(self._drawn, focusable=True, show_cursor=False)
        self._keys = browser_bindings(self)
        self._timer: object = None
        self._tasks: list[Task] = []
        self._chosen = ""
        self._filter = ""
        self._pane: Literal["log", "result"] = "log"
        self._zoomed = False
        self._asked: Ask | None = None
        self._said = ""
        self._log = view.Rows(MOST_LOG)
        self._steps: StepLog | None = None
        self._picture: StyleAndTextTuples = []
        self._size = (0, 0)
        body = Window(self._body)
        line = Window(BufferControl(self._input), height=1, get_line_prefix=lambda *_: [("bold", self._words())])
        typing = Condition(lambda: self.typing)
        self._windows = body, line
        self._layout = Layout(HSplit([body, ConditionalContainer(line, typing)]), body)

    # -- coming and going --------------------------------------------------------------------------

    @property
    def typing(self) -> bool:
        """Whether a line is being typed: a filter, words for a task, an answer."""
        return self._asked is not None

    @property
    def is_open(self) -> bool:
        return self._timer is not None

    def open(self) -> None:
        self._said, self._filter, self._zoomed, self._pane = "", "", False, "log"
        self._tasks = self._seen()
        urgent = [task for task in self._tasks if task.state == "waiting"]
        live = [task for task in self._tasks if task.state in LIVE_STATES]
        if first := (urgent or live or self._tasks)[-1:]:
            self._choose(first[0].id)
        self._look()
        self._app.take_screen(self._layout, self._keys)

    def close(self) -> None:
        self._cancel_timer()
        self._end_typing()
        self._app.give_back_screen()
        self._left()

    # -- orders from the keyboard ------------------------------------------------------------------

    def move(self, by: int) -> None:
        """Up and down the list; in a log that fills the screen, up and down that."""
        if self._zoomed:
            self.scroll(by)
            return
        shown = self._shown()
        if shown:
            here = next((place for place, task in enumerate(shown) if task.id == self._chosen), 0)
            self._choose(shown[min(max(here + by, 0), len(shown) - 1)].id)
        self.redraw()

    def scroll(self, by: int) -> None:
        self._log.scroll(by, self._plan().log_rows)
        self.redraw()

    def page(self, by: int) -> None:
        self.scroll(by * max(self._plan().log_rows - 1, 1))

    def ends(self, place: Literal["first", "last"]) -> None:
        """The log's first line, or its last, which it then follows."""
        self._log.scroll(-len(self._log) if place == "first" else len(self._log), self._plan().log_rows)
        self.redraw()

    def zoom(self) -> None:
        """The log on the whole screen, or beside the list again."""
        self._zoomed = not self._zoomed
        self._fill()
        self.redraw()

    def switch_pane(self) -> None:
        self._pane = "result" if self._pane == "log" else "log"
        self._fill()
        self.redraw()

    def back(self) -> None:
        """Esc: one step out."""
        if self._asked is not None:
            self._end_typing()
        elif self._zoomed:
            self.zoom()
        elif self._filter:
            self._filter = ""
        else:
            self.close()
            return
        self.redraw()

    def accept(self) -> None:
        """Enter in the line that is typed."""
        if self._asked is None:
            return
        _, letters, take = self._asked
        text = self._input.text.strip()
        letter = _WORDS.get(text.lower(), text.lower())
        self._end_typing()
        if not letters:
            take(text)
        elif len(letter) == 1 and letter in letters:
            take(letter)
        elif letter not in ("n", "no"):
            # Enter alone is a no, and so is whatever was meant for something else.
            self._said = "Left as it was."
        self.redraw()

    def _typed(self) -> None:
        """Where only one letter is a yes, it is no word that Enter would have to end, nor is a no."""
        if self._asked is not None and len(self._asked[1]) == 1 and self._input.text:
            self.accept()

    def filter(self) -> None:
        def take(text: str) -> None:
            self._filter = text
            shown = self._shown()
            if shown and not any(task.id == self._chosen for task in shown):
                self._choose(shown[0].id)

        self._ask("filter: ", "", take, draft=self._filter)

    def steer(self) -> None:
        if (task := self._task()) and task.state in LIVE_STATES:
            self._ask(f"tell #{task.number}: ", "", lambda text: self._order(partial(self._steer, task, text)))

    def stop(self) -> None:
        if (task := self._task()) and task.state in LIVE_STATES:
            self._ask(f"stop #{task.number}? y or n ", "y", lambda _: self._order(partial(self._stop, task)))

    def approve(self) -> None:
        task, request = self._waiting()
        if task is None or request is None:
            return
        self._show_request()
        if request.kind == "ask":
            number = f"{len(request.choices)} choices; a number or words" if request.choices else "words"
            self._ask(
                f"answer #{task.number} ({number}): ",
                "",
                lambda text: self._order(partial(self._reply, task, request, text)),
            )
            return

        def take(letter: str) -> None:
            scope: Literal["once", "session", "always"] = "once"
            match letter:
                case "s":
                    scope = "session"
                case "a":
                    scope = "always"
            self._order(partial(self._answer, task, request, Decision(True, scope=scope)))

        self._ask(f"approve #{task.number}? y once, s session, a always: ", "ysa", take)

    def deny(self) -> None:
        task, request = self._waiting()
        if task is not None and request is not None:
            self._show_request()
            self._ask(
                f"deny #{task.number}, because: ",
                "",
                lambda reason: self._order(partial(self._answer, task, request, Decision(False, reason))),
            )

    def _show_request(self) -> None:
        """What is asked stands at the log's end; nobody should answer without seeing it."""
        if self._pane == "result":
            self.switch_pane()
        if not self._plan().log_width:
            self.zoom()

    def leave_for(self, word: str) -> None:
        """Close, and let `/tasks` do something with the chosen task that shows in the conversation."""
        if (task := self._task()) is None or not self._knows(word):
            return
        if hindrance := self._hindrance(word, task):
            self._said = hindrance
            self.redraw()
            return
        self.close()
        self._chat.submit(f"/tasks {word} {task.number}")

    def _hindrance(self, word: str, task: Task) -> str:
        """Why that cannot be done with the task now, "" when it can."""
        if word == "join" and task.state in LIVE_STATES:
            return f"#{task.number} is not over; what it has done can be joined then."
        if word == "open" and self._chat.turn is not None:
            return "A turn runs in the conversation; a task can be opened when it is over."
        return ""

    # -- what the orders do ------------------------------------------------------------------------

    def _order(self, work: Callable[[], str]) -> None:
        """Do something to a task, aside, and say what became of it."""

        def done(said: str) -> None:
            self._said = said
            if self.is_open:
                self._look()

        def guarded() -> str:
            try:
                return work()
            except HermesError as error:
                return f"{error} {error.hint}".strip()

        self._chat.aside(guarded, done)

    def _stop(self, task: Task) -> str:
        return task_orders.stop(self._chat.background.pool, [task])

    def _steer(self, task: Task, text: str) -> str:
        return task_orders.steer(self._chat.background.pool, task, text) if text else "Nothing was said."

    def _answer(self, task: Task, request: ApprovalRequested, decision: Decision) -> str:
        answered = self._chat.background.pool.answer(task.id, decision, mark=mark_of(request))
        return "It waits for nothing any more." if answered is None else "Approved." if decision.allowed else "Denied."

    def _reply(self, task: Task, request: ApprovalRequested, text: str) -> str:
        answered = self._chat.background.pool.reply(task.id, text, mark=mark_of(request))
        return "It waits for nothing any more." if answered is None else "Answered."

    # -- typing ------------------------------------------------------------------------------------

    def _ask(self, words: str, letters: str, take: Callable[[str], None], *, draft: str = "") -> None:
        self._asked, self._said = (words, letters, take), ""
        self._input.text = draft
        self._input.cursor_position = len(draft)
        self._layout.focus(self._windows[1])
        self.redraw()

    def _end_typing(self) -> None:
        self._asked = None
        self._input.reset()
        self._layout.focus(self._windows[0])

    def _words(self) -> str:
        return f" {self._asked[0]}" if self._asked else ""

    # -- looking and drawing -----------------------------------------------------------------------

    def _look(self) -> None:
        """Read what is new, and draw it if it can be seen."""
        self._cancel_timer()
        began = time.perf_counter()
        self._tasks = self._seen()
        if not self._chosen and self._tasks:
            self._choose(self._tasks[-1].id)
        if self._pane == "result":
            self._fill()
        else:
            self._read_log()
        self.redraw(only_if_changed=True)
        spent = time.perf_counter() - began
        self._timer = self._chat.loop.call_later(max(LOOK, spent * BUSY_SHARE), self._look)

    def _seen(self) -> list[Task]:
        return sorted(self._chat.background.seen(), key=lambda task: task.number)

    def _read_log(self) -> None:
        if self._steps is not None:
            self._log.add(view.log_rows(self._steps.more(), width=self._width()))
            writing = unfinished(self._chat.background.pool.writing(self._chosen))
            self._log.end_with(view.log_rows(writing, width=self._width()))

    def redraw(self, *, only_if_changed: bool = False) -> None:
        picture = self._paint()
        if picture == self._picture and only_if_changed:
            return
        self._picture = picture
        if self._app.full:
            self._app.invalidate()

    def _drawn(self) -> StyleAndTextTuples:
        size = self._app.output.get_size()
        if (size.columns, size.rows) != self._size:
            self._size = size.columns, size.rows
            self._fill()
            self._picture = self._paint()
        return self._picture

    def _paint(self) -> StyleAndTextTuples:
        return view.picture(
            self._plan(),
            tasks=self._shown(),
            chosen=self._task(),
            log=self._log,
            pane=self._pane,
            head=self._head(),
            foot=self._foot(),
            glyphs=self._chat.screen.glyphs,
        )

    def _width(self) -> int:
        """Columns of the log, seen or not."""
        plan = self._plan()
        return plan.log_width or plan.width

    def _plan(self) -> view.Plan:
        size = self._app.output.get_size()
        return view.plan(size.columns, size.rows - (1 if self.typing else 0), zoomed=self._zoomed)

    def _head(self) -> str:
        live = sum(task.state in LIVE_STATES for task in self._tasks)
        waiting = sum(task.state == "waiting" for task in self._tasks)
        parts = [f"{live} live of {len(self._tasks)}", *([f"{waiting} need you"] if waiting else [])]
        if self._chat.questions:
            parts.append("the conversation has a question")
        if self._filter:
            parts.append(f"only {self._filter!r}")
        return f" {self._chat.screen.glyphs.dot} ".join(["Tasks", *parts])

    def _foot(self) -> list[str]:
        """The keys that do something now, the last ones dropped first; or what the last order did."""
        if self._said or self._asked:
            return [self._said]
        task = self._task()
        keys = ["q back", "Enter list" if self._zoomed else "Enter log"]
        if task is not None:
            keys += ["a approve", "d deny"] if task.state == "waiting" else []
            keys += ["s steer", "x stop"] if task.state in LIVE_STATES else []
            words = [(key, word) for key, word in (("j", "join"), ("o", "open")) if self._knows(word)]
            keys += [f"{key} {word}" for key, word in words if not self._hindrance(word, task)]
            keys += ["Tab log" if self._pane == "result" else "Tab result", "v show", "/ filter", "PgUp PgDn scroll"]
        return keys

    def _knows(self, word: str) -> bool:
        return subcommand("tasks", word) is not None

    def _task(self) -> Task | None:
        return next((task for task in self._tasks if task.id == self._chosen), None)

    def _waiting(self) -> tuple[Task | None, ApprovalRequested | None]:
        task = self._task()
        return task, self._chat.background.pool.open_request(task.id) if task else None

    def _shown(self) -> list[Task]:
        """The tasks that pass the filter, the newest first."""
        return [task for task in reversed(self._tasks) if view.matches(task, self._filter)]

    def _choose(self, task_id: str) -> None:
        self._said = ""
        if task_id != self._chosen:
            self._chosen = task_id
            self._fill()

    def _fill(self) -> None:
        """The pane from its beginning: another task, another width, the other pane."""
        task = self._task()
        if task is None:
            return
        width = self._width()
        if self._pane == "result":
            self._log.replace(view.result_rows(self._chat.store, task, width=width))
            return
        self._steps = StepLog(self._chat.store, task.id, last=MOST_ENTRIES)
        self._log.clear()
        self._read_log()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()  # type: ignore[attr-defined]
            self._timer = None
