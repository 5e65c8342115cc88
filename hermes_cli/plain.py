"""Plain lines: for pipes, dumb terminals and screen readers. The same session and commands, no cursor movement.

On a terminal the sign of the prompt stands while it is the person's turn to type. Lines are taken at any time, also
while a turn runs.
"""

import asyncio
import contextlib
import errno
import os
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import __version__
from agent.approvals import NOBODY_ANSWERS, Policy
from agent.config import Config
from agent.errors import HermesError, StoreError
from agent.messages import ImagePart
from agent.store.kept import open_store
from agent.visible import visible
from hermes_cli import clipboard
from hermes_cli import glyphs as glyph_sets
from hermes_cli.chat import Chat
from hermes_cli.courtesy import KeyboardFirst
from hermes_cli.questions import Question
from hermes_cli.resuming import begin, resume
from hermes_cli.screen import TWICE, nothing
from hermes_cli.sessions import Wanted, the_one
from hermes_cli.setup import exit_within
from hermes_cli.text import clip, harmless, place, wrap

if TYPE_CHECKING:
    from hermes_cli.picker import Picker
    from hermes_cli.render import Renderer


MOST_PICKED = 20
"""Choices of a list; whoever wants another one names it."""

CLOSED = "(the list is closed)"

SLOW = 0.5
"""Seconds after which it is told what goes on, where nothing else has shown it."""

LOOK = 0.05
"""Seconds between two looks whether the sign is due."""

KEY_HELP = (
    ("Enter", "send; in a turn: tell the agent"),
    ("\\ Enter", "new line"),
    ("Ctrl+C", "interrupt, then twice to leave"),
    ("Ctrl+D", "leave"),
    ("!cmd", "run a shell command yourself"),
    ("@path", "name a file"),
    ("?", "these keys"),
    ("/help", "lists the commands"),
)

LEAVE_WITHIN, SETTLED_WITHIN, STOPPED_WITHIN = 4.0, 1.0, 1.5
"""Seconds after which leaving waits for nothing any more, and seconds it waits for a turn that was stopped."""


class PlainScreen:
    """The screen of a `Chat` on a pair of streams. Lines from a pipe are taken one turn at a time."""

    stop_key = "Ctrl+C"

    def __init__(self, config: Config, load_policy: Callable[[], Policy], *, cwd: Path) -> None:
        self.glyphs = glyph_sets.choose()
        self.keyboard = KeyboardFirst()
        self._interactive = sys.stdin.isatty()
        self._renderer: Renderer | None = None
        self.chat = Chat(config, load_policy(), self, cwd=cwd, store=open_store(config.dirs.database, self._warn))
        self._asked: Question | None = None
        self._list: tuple[Question, Picker[Any]] | None = None
        self._holding = ""
        self._left = asyncio.Event()
        self._idle = asyncio.Event()
        self._last_ctrl_c = -TWICE
        self._activity = ""
        self._slow: asyncio.TimerHandle | None = None
        self._due = threading.Event()
        self._taken = True
        self._reading = False
        self._at_sign = False
        self._fault: OSError | None = None

    def renderer(self) -> "Renderer":
        if self._renderer is None:
            from hermes_cli.render import Look, Renderer

            look = Look(lambda: shutil.get_terminal_size().columns - 1, False, self.glyphs, linear=True)
            self._renderer = Renderer(look, verbose=lambda: self.chat.verbose)
        return self._renderer

    def show(self, text: str) -> None:
        if self._at_sign:
            self._at_sign = False
            text = text if text.startswith("\n") else f"\n{text}"
            # The sign comes back after it.
            self.chat.loop.call_soon(self.refresh)
        self._write(text if text.endswith("\n") else f"{text}\n")

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError as error:
            self._nobody_reads(error)

    def _nobody_reads(self, error: OSError) -> None:
        """Whoever read us has gone, or has no room. Nothing is given up, as when a terminal goes."""
        self._fault = self._fault or error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        self.chat.leaving.hang_up()

    def echo(self, text: str) -> None:
        # A terminal has shown the line already while it was typed.
        if not self._interactive:
            self.show(f"\n{self.glyphs.prompt} {text}\n")

    def pick(self, picker: "Picker[Any]") -> None:
        """A numbered list; the number is the answer, and any other line closes it."""
        self._close_list()
        few = picker.shown[:MOST_PICKED]
        rows = [f"{number}  {c.title}  ({', '.join(c.details)})" for number, c in enumerate(few, 1)]
        options = {str(number): "" for number in range(1, len(few) + 1)}

        def settle(letter: str, _words: str) -> None:
            if letter == "n":
                self.show(CLOSED)
                picker.cancel()
            else:
                picker.selected = int(letter) - 1
                picker.choose()

        lines = [picker.title, *map(harmless, rows), "A number, or n for none of them."]
        question = Question(lines, {**options, "n": ""}, "n", settle, about="pick", listed=True)
        self._list = question, picker
        self.chat.ask(question)

    def _close_list(self) -> bool:
        """Withdraw the open list, so that no later number is taken for an answer to it. False when there is none."""
        shown, self._list = self._list, None
        if shown is None or shown[0] not in self.chat.questions:
            return False
        question, picker = shown
        self.chat.questions.remove(question)
        self.show(CLOSED)
        picker.cancel()
        return True

    def waits(self, text: str, when: str) -> None:
        self.show(
            f"({when}: {clip(harmless(text), self.renderer().look.width() - len(when) - 4, self.glyphs.ellipsis)})"
        )
        self.refresh()

    def draft(self, text: str) -> None:
        self.show(f"(not sent: {harmless(text)})")

    def image(self, part: ImagePart) -> None:
        self.show(f"(kept; name it in a message: {clipboard.mention(part)})")

    def edit_file(self, path: Path, then: Callable[[], None]) -> None:
        del then
        raise HermesError("Plain mode opens no editor.", hint=f"Edit {path} yourself.")

    def moved(self) -> None:
        self.show(f"(working in {self.chat.cwd})")

    def notify(self, notice: Callable[[], str], *, urgent: bool, shown: Callable[[], None] = nothing) -> None:
        if text := notice():
            self.show(text)
        shown()
        if urgent and self._interactive:
            self._write("\a")

    def refresh(self) -> None:
        question = self.chat.questions[0] if self.chat.questions else None
        if question is not None and question is not self._asked:
            width = self.renderer().look.width()
            lines = [row for line in question.lines for row in wrap(line, width)]
            self.show("\n" + "\n".join([*lines, *self._choices(question)]))
            if not self._interactive:
                # Whoever wrote the pipe is not there to answer.
                self.chat.loop.call_soon(self._decline, question)
        self._asked = question
        leaving = self.chat.leaving
        holding = f"{leaving.holding}; Ctrl+C leaves now and cuts it off" if leaving.holding else ""
        if leaving.waits and not holding:
            holding = "leaving when the tasks are over"
        if holding != self._holding:
            self._holding = holding
            self.show(f"({harmless(holding)})" if holding else "")
        if self.chat.turn is None and self.chat.shell is None and not self.chat.held and not self.chat.aside.left:
            self._idle.set()
        else:
            self._idle.clear()
        if self._interactive:
            self._watch_activity()
            self._show_sign()

    def _choices(self, question: Question) -> list[str]:
        """How to answer it, in rows."""
        if question.free:
            return [f"({question.hint})"]
        return [] if question.listed else question.choices(self.renderer().look.width())

    def _show_sign(self) -> None:
        """Have it stand where it is the person's turn: by whoever reads the next line, or here if that is under way."""
        if not self._taken or not (self._idle.is_set() or self.chat.questions) or self._left.is_set():
            self._due.clear()
            return
        self._due.set()
        if self._reading and not self._at_sign:
            self._at_sign = True
            self._write(f"{self.glyphs.prompt} {_typed_so_far()}")

    def _watch_activity(self) -> None:
        """Say what goes on, where it takes long and nothing else shows it."""
        activity = self.chat.turn.activity if self.chat.turn is not None else ""
        if activity == self._activity:
            return
        self._activity = activity
        if self._slow is not None:
            self._slow.cancel()
        self._slow = self.chat.loop.call_later(SLOW, self._say_activity) if activity else None

    def _say_activity(self) -> None:
        if self._activity != "answering" and not self.chat.questions:
            self.show(f"({visible(self._activity)})")

    def copy(self, text: str) -> str:
        del text
        return "Plain mode has no clipboard; the answer stands above."

    def clear(self) -> None:
        self.show("(plain mode clears nothing; /new begins a new conversation)")

    def leave(self) -> None:
        self._left.set()
        self._idle.set()

    async def run(self, first: str = "", wanted: Wanted | None = None) -> None:
        """Until the person leaves, or the input ends and everything it started is over."""
        model = [self.chat.config.values.model] if self.chat.config.values.model else []
        self.show(f" {self.glyphs.dot} ".join([f"hermes {__version__}", *model, place(str(self.chat.cwd)), "/help"]))
        for name, order in (
            ("SIGINT", self._interrupt),
            ("SIGTERM", self.chat.leaving.hang_up),
            ("SIGHUP", self.chat.leaving.hang_up),
        ):
            with contextlib.suppress(AttributeError, NotImplementedError):
                self.chat.loop.add_signal_handler(getattr(signal, name), order)
        threading.Thread(target=self.chat.warm, daemon=True, name="warm").start()
        if not self._interactive:
            # A script's first line may ask for the model.
            with contextlib.suppress(HermesError):
                await asyncio.to_thread(self.chat.model.choose)
        if wanted is not None:
            self._begin_with(wanted)
        if first:
            self.chat.submit(first)
        lines: asyncio.Queue[str | None] = asyncio.Queue()
        threading.Thread(target=self._read, args=(lines,), daemon=True, name="stdin").start()
        reading = asyncio.ensure_future(self._take(lines))
        leaving = asyncio.ensure_future(self._left.wait())
        try:
            await asyncio.wait([reading, leaving], return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
        finally:
            await self.chat.aside.settle(SETTLED_WITHIN)
            exit_within(LEAVE_WITHIN)
            if self._at_sign:
                self.show("")
            reading.cancel()
            leaving.cancel()
            way_back = self.chat.leaving.way_back()
            self.chat.close()
            if self._interactive:
                for words in filter(None, (way_back, self.chat.leaving.last_words())):
                    self.show(words)
            self.chat.wait_until_stopped(STOPPED_WITHIN)
        if self._fault is not None and self._fault.errno not in (errno.EPIPE, errno.EIO):
            raise self._fault

    async def _take(self, lines: "asyncio.Queue[str | None]") -> None:
        while True:
            if not self._interactive:
                await self._until_idle()
            line = await lines.get()
            if self._left.is_set() or (line is None and not self._interactive):
                break
            self._last_ctrl_c = -TWICE
            if line is None:
                self._ctrl_d()
            elif not self.chat.questions or not self.chat.reply(line):
                while line.endswith("\\"):
                    line = f"{line[:-1]}\n{await lines.get() or ''}"
                self._instead(line)
            self._taken = True
            self.refresh()
        await self._until_idle()
        while self._tasks_left() and not self._left.is_set():
            self._give_up_waiting()
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)

    def _instead(self, line: str) -> None:
        """Take a line that answers no question, and say of one that still stands how it is answered."""
        if line.strip():
            self._close_list()
        asked = self._asked
        self._submit(line)
        if asked is not None and asked in self.chat.questions[:1]:
            self.show("\n".join(["(a question above waits for an answer)", *self._choices(asked)]))

    def _submit(self, line: str) -> None:
        if line.strip() == "?":
            self.show("\n" + self.renderer().pairs(KEY_HELP))
        else:
            self.chat.submit(line)

    def _ctrl_d(self) -> None:
        """On a terminal, which goes on: leave, and with work under way ask first. Said twice, it takes the default."""
        self.show("")
        asked = self.chat.questions[0] if self.chat.questions else None
        if asked is None or asked.about != "leave" or not self.chat.reply(""):
            self.chat.leaving.ask()

    def _begin_with(self, wanted: Wanted) -> None:
        if self._interactive:
            begin(self.chat, wanted)
        else:
            # Nobody is there to pick one. Raises: HermesError.
            session = the_one(self.chat.store, wanted, self.chat.cwd)
            resume(self.chat, session, stay=wanted.stay, own_model=wanted.own_model)

    def _tasks_left(self) -> bool:
        background = self.chat.background
        return bool(self.chat.aside.left or background.live() or background.standing or background.untold())

    async def _until_idle(self) -> None:
        self.refresh()
        # What ends one thing may begin another before this goes on.
        while not self._idle.is_set():
            await self._idle.wait()

    def _give_up_waiting(self) -> None:
        """At the end of the input nobody is left to answer a task."""
        from agent.approvals import unattended

        background = self.chat.background
        for task in background.live():
            # Not before it was told what is asked, so that the no has something to stand under.
            if task.state == "waiting" and task.id in background.asked:
                background.asked.remove(task.id)
                if (request := background.pool.open_request(task.id)) is not None:
                    background.pool.answer(task.id, unattended(request))

    def _warn(self, news: StoreError | str) -> None:
        sys.stderr.write(f"{news if isinstance(news, str) else news.explain()}\n")

    def _decline(self, question: Question) -> None:
        if question in self.chat.questions:
            self.chat.questions.remove(question)
            question.settle(question.default, "" if question.free else NOBODY_ANSWERS)

    def _interrupt(self) -> None:
        if self._interactive:
            # The terminal has shown ^C, wherever that was.
            self._at_sign = True
            self.show("")
        if (
            self._close_list()
            or self.chat.leaving.cut()
            or self.chat.background.unfollow()
            or self.chat.stop_shell()
            or self.chat.interrupt()
        ):
            return
        if not self._interactive:
            self.leave()
        elif time.monotonic() - self._last_ctrl_c < TWICE:
            self.chat.leaving.ask()
        else:
            self._last_ctrl_c = time.monotonic()
            self.show("press Ctrl+C again to leave")

    def _read(self, lines: "asyncio.Queue[str | None]") -> None:
        """On a thread: one reader of stdin."""
        loop = self.chat.loop
        goes_on = False
        piped = iter(()) if self._interactive else _lines_of_stdin()
        with contextlib.suppress(RuntimeError, OSError):  # the loop is closed, or the terminal gone: we are leaving
            while True:
                line: str | None
                try:
                    line = self._typed(goes_on) if self._interactive else next(piped, None)
                except EOFError:
                    line = None
                except OSError as error:
                    # The sign could not be written, or the terminal has gone.
                    loop.call_soon_threadsafe(self._nobody_reads, error)
                    return
                loop.call_soon_threadsafe(lines.put_nowait, line)
                if line is None and not self._interactive:
                    return
                if goes_on := (line or "").endswith("\\"):
                    continue
                if line is None:
                    # What has ended once may have ended for good.
                    self._due.wait(1.0)

    def _typed(self, goes_on: bool) -> str:
        """On the reader's thread: the next line of a person, behind the sign where it is due. Raises: EOFError."""
        due = goes_on or self._wait_for_sign()
        self._reading, self._at_sign = True, due
        try:
            return input(f"{self.glyphs.prompt} " if due else "")
        finally:
            self._reading = self._at_sign = self._taken = False
            self._due.clear()

    def _wait_for_sign(self) -> bool:
        """On the reader's thread: until the sign is due. False when a line was typed without it."""
        if sys.platform == "win32":
            return self._due.wait(1.0)
        while not self._due.wait(LOOK):
            if select.select([sys.stdin], [], [], 0)[0]:
                return False
        return True


def _lines_of_stdin() -> Iterator[str]:
    """Not through `sys.stdin`: a thread that waits there holds a lock that the interpreter needs to end."""
    with open(sys.stdin.fileno(), encoding=sys.stdin.encoding, errors=sys.stdin.errors, closefd=False) as stream:
        for line in stream:
            yield line.removesuffix("\n")


def _typed_so_far() -> str:
    """What stands in the line editor, where there is one."""
    editor = sys.modules.get("readline")
    return editor.get_line_buffer() if editor is not None else ""


if sys.platform != "win32" and os.environ.get("TERM", "dumb") != "dumb":
    with contextlib.suppress(ImportError):
        # It gives `input` its line editing.
        import_module("readline")
