"""The prompt_toolkit application, and what terminals do that it does not handle by itself."""

import asyncio
import base64
import errno
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from prompt_toolkit.application import Application
from prompt_toolkit.data_structures import Point
from prompt_toolkit.input import Input
from prompt_toolkit.input.ansi_escape_sequences import ANSI_SEQUENCES
from prompt_toolkit.key_binding import KeyBindingsBase, KeyPress
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import Layout
from prompt_toolkit.output import Output

_log = logging.getLogger(__name__)

FOCUS_IN, FOCUS_OUT = Keys.F24, Keys.F23
"""Stand-ins: prompt_toolkit has no keys for focus reports, and nobody's keyboard sends these two."""

_ERASE_ROW_AND_BELOW = "\x1b7\x1b[K\x1b[B\x1b[J\x1b8"
"""Remembers the cursor, which stands at the start of a row."""

_RESIZE_PAUSE = 0.06
"""Seconds without a further change of size before the screen is drawn again."""


def teach_sequences() -> None:
    """Focus reports, and Shift+Enter from terminals that can tell it."""
    ANSI_SEQUENCES["\x1b[I"] = FOCUS_IN
    ANSI_SEQUENCES["\x1b[O"] = FOCUS_OUT
    new_line = (Keys.Escape, Keys.ControlM)
    ANSI_SEQUENCES["\x1b[13;2u"] = new_line
    ANSI_SEQUENCES["\x1b[27;2;13~"] = new_line


def keyboard() -> Input | None:
    """Where keys come from; None for what prompt_toolkit takes by itself."""
    if sys.platform == "win32":
        return None
    import fcntl
    import struct
    import termios

    from prompt_toolkit.input.vt100 import Vt100Input

    class Keyboard(Vt100Input):
        """The terminal turned each Enter typed before it was in raw mode into Ctrl+J; here it is Enter again."""

        _typed_ahead = 0

        def attach(self, input_ready_callback: Callable[[], None]) -> AbstractContextManager[None]:
            waiting = fcntl.ioctl(self.fileno(), termios.FIONREAD, bytes(4))
            self._typed_ahead = struct.unpack("i", waiting)[0]
            return super().attach(input_ready_callback)

        def read_keys(self) -> list[KeyPress]:
            if self._typed_ahead:
                text = self.stdin_reader.read(self._typed_ahead)
                self._typed_ahead = 0
                self.vt100_parser.feed(text.replace("\n", "\r"))
            return super().read_keys()

    return Keyboard(sys.stdin)


class PromptApplication(Application[None]):
    """An application in the terminal's own scrollback that survives resizing, and text printed above it.

    `reflows` says whether the terminal wraps old lines anew when it gets narrower (most do; xterm does not).
    """

    def __init__(self, *, reflows: bool, **options: Any) -> None:
        super().__init__(**options)
        self._reflows = reflows
        self._resize_timer: asyncio.TimerHandle | None = None
        self._prompt: tuple[Layout, KeyBindingsBase | None] | None = None

    @property
    def full(self) -> bool:
        """Whether something has the whole screen; then nothing may be printed above the prompt."""
        return self._prompt is not None

    def take_screen(self, layout: Layout, keys: KeyBindingsBase) -> None:
        """Give the whole screen, the terminal's other one, and the keyboard to another layout."""
        with self._frame():
            self._erase()
            self._prompt = self.layout, self.key_bindings
            self.layout, self.key_bindings = layout, keys
            self.renderer.full_screen = True
            super()._redraw()

    def give_back_screen(self) -> None:
        """Show the prompt again, where it was."""
        if self._prompt is None:
            return
        with self._frame():
            self.renderer.erase()
            self.renderer.full_screen = False
            (self.layout, self.key_bindings), self._prompt = self._prompt, None
            super()._redraw()

    def print_above(self, text: str) -> None:
        """Put finished text above the prompt in one go: erase the prompt, write, draw it again."""
        with self._frame():
            self._erase()
            self.output.write_raw(text.replace("\n", "\r\n"))
            super()._redraw()

    @contextmanager
    def _frame(self) -> Iterator[None]:
        """Terminals that know synchronized output show what is drawn inside as one; the others ignore the marks."""
        self.output.write_raw("\x1b[?2026h")
        yield
        self.output.write_raw("\x1b[?2026l")
        self.output.flush()

    def _redraw(self, render_as_done: bool = False) -> None:
        if self.is_running and not self._running_in_terminal:
            if self._resize_timer is not None and not render_as_done:
                return
            with self._frame():
                # The size may have changed before the signal has told of it.
                if self.renderer._last_size not in (None, self.output.get_size()):
                    self._erase()
                super()._redraw(render_as_done)
        else:
            super()._redraw(render_as_done)

    def _erase(self) -> None:
        if self.full:
            # Nothing wraps anew on the other screen, and wherever the cursor is now, the drawing begins at the top.
            self.renderer.reset(leave_alternate_screen=False)
            self.output.erase_screen()
            self.output.cursor_goto(0, 0)
            return
        self._climb_over_reflow()
        self._erase_rows()
        self.renderer.erase(leave_alternate_screen=False)

    def _erase_rows(self) -> None:
        """From the first row down, that row by itself.

        When a whole screen is erased at once tmux keeps what it held, and old drawings would stand in its history.
        """
        cursor = self.renderer._cursor_pos
        self.output.cursor_backward(cursor.x)
        self.output.cursor_up(cursor.y)
        self.output.write_raw(_ERASE_ROW_AND_BELOW)
        self.renderer._cursor_pos = Point(0, 0)

    def _handle_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A fault in a callback or a background task is for the log: no traceback over the draft, no key to press."""
        fault = context.get("exception")
        if isinstance(fault, OSError) and fault.errno == errno.EIO:
            _log.warning("the terminal has gone")
        else:
            _log.error("%s", context.get("message", "event loop"), exc_info=fault)

    def _on_resize(self) -> None:
        loop = asyncio.get_running_loop()
        if self._resize_timer is not None:
            self._resize_timer.cancel()
        self._resize_timer = loop.call_later(_RESIZE_PAUSE, self._resized)

    def _resized(self) -> None:
        self._resize_timer = None
        if not self.is_running or self._running_in_terminal:
            return
        with self._frame():
            self._erase()
            super()._redraw()

    def _climb_over_reflow(self) -> None:
        """Move up by the rows that the old drawing gained when the terminal wrapped its lines anew.

        The renderer believes the cursor to be as many rows below its first row as when it drew; without this,
        the rows pushed up by the wrapping would stay behind as ghosts.
        """
        screen, drawn, width = self.renderer._last_screen, self.renderer._last_size, self.output.get_size().columns
        if screen is None or drawn is None or not self._reflows or width >= drawn.columns:
            return
        cursor = self.renderer._cursor_pos
        gained = 0
        for row in range(cursor.y + 1):
            cells = screen.data_buffer[row]
            used = max((x for x, cell in cells.items() if cell.char.strip()), default=-1) + 1
            if row == cursor.y:
                used = min(used, cursor.x + 1)
            gained += max(0, (used - 1) // width)
        if gained:
            self.output.cursor_up(gained)


def reflows(env: Mapping[str, str] = os.environ) -> bool:
    """xterm and the Linux console cut long lines off where others wrap them; inside tmux, tmux decides."""
    if "TMUX" in env or "STY" in env:
        return True
    return "XTERM_VERSION" not in env and env.get("TERM") != "linux"


def copy_sequence(text: str) -> str:
    """OSC 52: the terminal puts the text on the clipboard, over SSH too."""
    return f"\x1b]52;c;{base64.b64encode(text.encode()).decode()}\x07"


def ring(output: Output, message: str) -> None:
    """The bell, and a desktop notice for terminals that know OSC 9 or OSC 777."""
    output.write_raw(f"\x1b]9;{message}\x1b\\\x1b]777;notify;Hermes;{message}\x1b\\")
    output.bell()
    output.flush()
