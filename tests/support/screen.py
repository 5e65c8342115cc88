"""A real program in a real pseudo-terminal, and what a person would see of it.

    with Terminal(["hermes"], env=env, cwd=folder, columns=100, rows=30) as terminal:
        terminal.wait_for("›")
        terminal.type("/backgro").press("tab")
        terminal.wait_for(lambda seen: seen.draft == "/background ")

A thread reads what the program writes and feeds it to an emulated terminal, so the program never waits for the
test. Every look at the screen takes a lock; every wait has a deadline and shows the screen when it fails.
"""

import contextlib
import copy
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil
import pyte
from pyte.screens import Char

DEADLINE = 15.0
"""Seconds a wait may take; far more than anything needs, so that a busy machine fails no test."""

KEYS = {
    "enter": "\r",
    "tab": "\t",
    "shift+tab": "\x1b[Z",
    "esc": "\x1b",
    "alt+enter": "\x1b\r",
    "shift+enter": "\x1b[13;2u",
    "backspace": "\x7f",
    "delete": "\x1b[3~",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "home": "\x1b[H",
    "end": "\x1b[F",
    "focus in": "\x1b[I",
    "focus out": "\x1b[O",
    **{f"ctrl+{letter}": chr(ord(letter) - 96) for letter in "abcdefghijklmnopqrstuvwxyz"},
}

_BEGIN, _END = b"\x1b[?2026h", b"\x1b[?2026l"

Predicate = Callable[["Terminal"], object]


class Emulator(pyte.Screen):
    """pyte's screen, with scrollback, and with the two ways in which terminals take a new width.

    `reflow`: long lines are wrapped anew (most terminals); without it they are cut off (xterm).
    """

    def __init__(self, columns: int, rows: int, *, reflow: bool) -> None:
        self.scrollback: list[Any] = []
        self.reflow = reflow
        self.title_set = False
        self.bells = 0
        self._in_draw = False
        self._main: tuple[Any, Any] | None = None
        super().__init__(columns, rows)

    # What a plain screen forgets: rows that scroll off, and which rows go on in the next one.

    def draw(self, data: str) -> None:
        self._in_draw = True
        try:
            super().draw(data)
        finally:
            self._in_draw = False

    def linefeed(self) -> None:
        self.buffer[self.cursor.y].wrapped = self._in_draw
        super().linefeed()

    def index(self) -> None:
        if self.margins is None and self.cursor.y == self.lines - 1 and self._main is None:
            self.scrollback.append(self.buffer[0])
        super().index()

    def erase_in_line(self, how: int = 0, private: bool = False) -> None:
        super().erase_in_line(how, private)
        if how != 1:
            self.buffer[self.cursor.y].wrapped = False

    def erase_in_display(self, how: int = 0, *args: Any, **options: Any) -> None:
        super().erase_in_display(how, *args, **options)
        for row in range(self.cursor.y if how == 0 else 0, self.lines):
            self.buffer[row].wrapped = False
        if how == 3:
            self.scrollback.clear()

    # The other screen, which programs that fill the whole terminal draw on.

    @property
    def on_other_screen(self) -> bool:
        return self._main is not None

    def set_mode(self, *modes: int, **options: Any) -> None:
        if options.get("private") and 1049 in modes and self._main is None:
            self._main = copy.copy(self.buffer), copy.copy(self.cursor)
            self.buffer.clear()
        super().set_mode(*modes, **options)

    def reset_mode(self, *modes: int, **options: Any) -> None:
        super().reset_mode(*modes, **options)
        if options.get("private") and 1049 in modes and self._main is not None:
            self.buffer.clear()
            rows, self.cursor = self._main
            self.buffer.update(rows)
            self._main = None
            self.dirty.update(range(self.lines))

    def set_title(self, param: str) -> None:
        self.title_set = True
        super().set_title(param)

    def set_icon_name(self, param: str) -> None:
        self.title_set = True
        super().set_icon_name(param)

    def bell(self, *args: Any) -> None:
        self.bells += 1

    def resize(self, lines: int | None = None, columns: int | None = None) -> None:
        lines, columns = lines or self.lines, columns or self.columns
        if self._main is not None:
            # Each screen gets the new size; only the main one wraps its lines anew.
            (kept, cursor), self._main = self._main, None
            other, place = copy.copy(self.buffer), self.cursor
            self.buffer.clear()
            self.buffer.update(kept)
            self.cursor = cursor
            self.resize(lines, columns)
            self._main = copy.copy(self.buffer), self.cursor
            self.buffer.clear()
            self.buffer.update({number: row for number, row in other.items() if number < lines})
            self.cursor = place
            self.cursor.y, self.cursor.x = min(place.y, lines - 1), min(place.x, columns - 1)
            return
        rows = [*self.scrollback, *(self.buffer[row] for row in range(self.lines))]
        cursor = len(self.scrollback) + self.cursor.y
        last = max([cursor, *(number for number, row in enumerate(rows) if _row_text(row, self.columns).strip())])
        rows, cursor, column = self._fit(rows[: last + 1], cursor, min(self.cursor.x, self.columns - 1), columns)
        top = max(0, len(rows) - lines)
        top = min(top, cursor)
        self.scrollback = rows[:top]
        self.lines, self.columns = lines, columns
        self.buffer.clear()
        for number, row in enumerate(rows[top : top + lines]):
            self.buffer[number] = row
        self.set_margins()
        self.dirty.update(range(lines))
        self.cursor.y, self.cursor.x = cursor - top, min(column, columns - 1)

    def _fit(self, rows: list[Any], cursor: int, column: int, columns: int) -> tuple[list[Any], int, int]:
        """The rows at the new width, and where the cursor is among them."""
        if not self.reflow:
            for row in rows:
                for x in [x for x in row if x >= columns]:
                    del row[x]
            return rows, cursor, column
        fitted: list[Any] = []
        place = (0, 0)
        line: list[Char] = []
        at: int | None = None
        for number, row in enumerate(rows):
            cells = [row[x] for x in range(self.columns)]
            wrapped = getattr(row, "wrapped", False)
            if number == cursor:
                at = len(line) + column
            line += cells
            if wrapped and number + 1 < len(rows):
                continue
            while line and line[-1].data in ("", " ") and (at is None or len(line) > at):
                line.pop()
            new, found = self._wrap(line, columns, at)
            if found is not None:
                place = (len(fitted) + found[0], found[1])
            fitted += new
            line, at = [], None
        return fitted, *place

    def _wrap(self, cells: list[Char], columns: int, at: int | None) -> tuple[list[Any], tuple[int, int] | None]:
        rows, place = [self._row()], None
        x = 0
        for number, cell in enumerate(cells):
            wide = number + 1 < len(cells) and cells[number + 1].data == ""
            if cell.data != "" and x + (2 if wide else 1) > columns:
                rows[-1].wrapped = True
                rows.append(self._row())
                x = 0
            if number == at:
                place = (len(rows) - 1, x)
            rows[-1][x] = cell
            x += 1
        if at is not None and place is None:
            place = (len(rows) - 1, x)
        return rows, place

    def _row(self) -> Any:
        return type(self.buffer[0])(self.default_char)


def _watches(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "trap '' HUP INT TERM QUIT" in " ".join(process.cmdline())
    return False


def alive(process: psutil.Process) -> bool:
    """Whether it still runs. A zombie does not: it only waits for somebody to ask how it ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _row_text(row: Any, columns: int) -> str:
    return "".join(row[x].data for x in range(columns)).rstrip()


class Terminal:
    """A program in a pseudo-terminal of so many columns and rows."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        cwd: Path,
        columns: int = 100,
        rows: int = 30,
        reflow: bool = True,
    ) -> None:
        self.emulator = Emulator(columns, rows, reflow=reflow)
        self.cwd = cwd
        self._stream = pyte.ByteStream(self.emulator)
        self.raw = bytearray()
        self._changed = threading.Condition()
        self._ended = False
        self._gone = False
        self._master, slave = pty.openpty()
        self._set_size(columns, rows)
        # The shell opens the terminal as the leader of a new session, which makes it the session's own.
        take_over = 'exec <"$0" >"$0" 2>&1; exec "$@"'
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", take_over, os.ttyname(slave), *map(str, argv)],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(),
        )
        self._slave = slave
        self._pump = threading.Thread(target=self._read, daemon=True, name="terminal")
        self._pump.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what a person sees ------------------------------------------------------------------------

    @property
    def lines(self) -> list[str]:
        """Every row from the first that scrolled off to the last, without the spaces at their ends."""
        with self._changed:
            width = self.emulator.columns
            rows = [*self.emulator.scrollback, *(self.emulator.buffer[row] for row in range(self.emulator.lines))]
            found = [_row_text(row, max(width, *(x + 1 for x in row), 0) if row else width) for row in rows]
        while found and not found[-1]:
            found.pop()
        return found

    @property
    def text(self) -> str:
        """`lines` as one text."""
        return "\n".join(self.lines)

    @property
    def flat(self) -> str:
        """`text` with every run of white space as one space: for sentences that may be wrapped."""
        return " ".join(self.text.split())

    @property
    def visible(self) -> list[str]:
        """The rows on the screen now."""
        with self._changed:
            return [_row_text(self.emulator.buffer[row], self.emulator.columns) for row in range(self.emulator.lines)]

    @property
    def cursor(self) -> tuple[int, int]:
        """Column and row on the screen, from 0."""
        with self._changed:
            return self.emulator.cursor.x, self.emulator.cursor.y

    @property
    def draft(self) -> str | None:
        """What stands after the lowest prompt sign on the screen, further rows joined by new lines."""
        rows = self.visible
        starts = [number for number, row in enumerate(rows) if row.startswith(("› ", "> ")) or row in ("›", ">")]
        if not starts:
            return None
        first, *others = rows[starts[-1] :]
        found = [first[2:]]
        for row in others:
            if not row.startswith("  "):
                break
            found.append(row[2:])
        return "\n".join(found)

    @property
    def status(self) -> str:
        """The lowest row that has text."""
        return next((row for row in reversed(self.visible) if row), "")

    def count(self, text: str) -> int:
        """How many rows, scrolled off or not, have this text."""
        return sum(text in line for line in self.lines)

    # -- what a person does ------------------------------------------------------------------------

    def type(self, text: str) -> Self:
        """Type, all at once."""
        data = text.encode()
        while data:
            data = data[os.write(self._master, data) :]
        return self

    def press(self, *names: str) -> Self:
        """Press keys by name, one after another."""
        for name in names:
            self.type(KEYS[name])
        return self

    def send(self, text: str) -> Self:
        """Type a line and press Enter."""
        return self.type(text).press("enter")

    def paste(self, text: str) -> Self:
        """As a terminal does it: bracketed, lines ended by carriage returns."""
        return self.type("\x1b[200~" + text.replace("\n", "\r") + "\x1b[201~")

    def resize(self, columns: int, rows: int | None = None) -> Self:
        with self._changed:
            rows = rows or self.emulator.lines
            self.emulator.resize(rows, columns)
        self._set_size(columns, rows)
        return self

    # -- waiting -----------------------------------------------------------------------------------

    def wait_for(self, what: str | Predicate, *, within: float = DEADLINE, why: str = "") -> Self:
        """Return once a text is on the screen or in the scrollback, or a condition holds.

        Raises: AssertionError with the screen.
        """
        met: Predicate = (lambda seen: what in seen.text) if isinstance(what, str) else what
        end = time.monotonic() + within
        while not met(self):
            with self._changed:
                left = end - time.monotonic()
                if left <= 0 or self._ended:
                    break
                self._changed.wait(min(left, 0.05))
        else:
            return self
        if met(self):
            return self
        wanted = why or (repr(what) if isinstance(what, str) else "what was waited for")
        ended = " (the program has ended)" if self._ended else ""
        raise AssertionError(f"not within {within} s: {wanted}{ended}\n{self.picture()}")

    def stays(self, what: Predicate, seconds: float, *, why: str = "") -> Self:
        """Check that something is so all the while. Raises: AssertionError with the screen."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not what(self):
                raise AssertionError(f"no longer so: {why or 'what should stay'}\n{self.picture()}")
            with self._changed:
                self._changed.wait(min(left, 0.02))
        return self

    def settle(self, quiet: float = 0.25) -> Self:
        """Return when the program has written nothing for a while: for what must not come."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            with self._changed:
                if not self._changed.wait(quiet):
                    return self
        raise AssertionError(f"the program never stops writing\n{self.picture()}")

    def wait_for_exit(self, within: float = DEADLINE) -> int:
        """The program's exit code. Raises: AssertionError when it does not leave."""
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {within} s\n{self.picture()}") from None
        self._pump.join(2)
        return code

    def picture(self) -> str:
        """The screen for a person who reads a failure."""
        column, row = self.cursor
        frame = "\n".join(f"| {line}" for line in self.lines[-60:])
        return f"cursor at column {column}, row {row}\n{frame}"

    def family(self) -> list[psutil.Process]:
        """The program's living descendants, but for the shell that waits for its end (`agent/tools/watcher.py`)."""
        with contextlib.suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.process.pid).children(recursive=True)
            return [child for child in found if alive(child) and not _watches(child)]
        return []

    def wait_until_gone(self, processes: Sequence[psutil.Process], within: float = 1.0) -> None:
        """Return when none of them is alive. Raises: AssertionError."""
        end = time.monotonic() + within
        while left := [process for process in processes if alive(process)]:
            assert time.monotonic() < end, f"still alive after {within} s: {left}"
            time.sleep(0.01)

    def runs(self, text: str, *, at_least: int = 1) -> bool:
        """Whether so many living descendants have this text in their command lines."""
        found = 0
        for child in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                found += text in " ".join(child.cmdline())
        return found >= at_least

    def hang_up(self) -> Self:
        """What closing the window does."""
        os.close(self._slave)
        self._slave = -1
        self._gone = True
        self._pump.join(5)
        os.close(self._master)
        self._master = -1
        return self

    def close(self) -> None:
        """End the program and everything it started."""
        left = self.family()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for child in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self.process.wait(5)
        self._pump.join(5)
        for descriptor in (self._slave, self._master):
            if descriptor >= 0:
                os.close(descriptor)

    def _read(self) -> None:
        frame = b""
        while not self._gone:
            over = self.process.poll() is not None
            ready, _, _ = select.select([self._master], [], [], 0 if over else 0.1)
            if not ready:
                if over:
                    break
                continue
            try:
                data = os.read(self._master, 65536)
            except OSError:
                break
            # As in a terminal that knows synchronized output, a drawing is seen when it is complete.
            frame += data
            if frame.rfind(_BEGIN) > frame.rfind(_END):
                continue
            data, frame = frame, b""
            with self._changed:
                self.raw += data
                self._stream.feed(data)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _set_size(self, columns: int, rows: int) -> None:
        # The kernel tells the program's process group by itself: this is SIGWINCH.
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
