"""A program in a pseudo-terminal, driven and timed from outside.

The driver stands in for a terminal emulator: it answers the queries a program may send (cursor position,
device attributes) and stamps each piece of output when it arrives. It does not draw anything.
"""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, perf_counter
from types import TracebackType
from typing import Self

CURSOR_POSITION = b"\x1b[6n"
DEVICE_ATTRIBUTES = b"\x1b[c"
ANSWERS = {CURSOR_POSITION: b"\x1b[20;1R", DEVICE_ATTRIBUTES: b"\x1b[?62;22c"}
"""The cursor is said to be low on the screen, as in a terminal that has been used for a while."""

COLUMNS, ROWS = 100, 30
LONGEST_QUERY = max(map(len, ANSWERS))


class TerminalError(Exception):
    """The program ended, or did not show what was waited for."""


class Terminal:
    """A running program and everything it wrote since the last `forget`. Use as a context manager.

    `started` is the `perf_counter` time just before the program was forked.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
    ) -> None:
        self.argv = list(argv)
        self.output = bytearray()
        self.last_read = 0.0
        self._answered = 0
        self.started = perf_counter()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            _become(self.argv, env, cwd)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill the program with its process group, and reap it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.close(self._fd)
        os.waitpid(self.pid, 0)

    # -- typing ------------------------------------------------------------------------------------

    def write(self, text: str | bytes) -> None:
        os.write(self._fd, text.encode() if isinstance(text, str) else text)

    def press(self, key: str, expect: bytes, *, timeout: float = 10.0) -> float:
        """Type `key`; seconds until `expect` arrives in what the program writes after that."""
        mark = self.mark()
        began = perf_counter()
        self.write(key)
        return self.until(expect, since=mark, timeout=timeout) - began

    # -- reading -----------------------------------------------------------------------------------

    def mark(self) -> int:
        """A place in the output, for `until(since=…)`. Reads what is there already."""
        while self._pump(0.0):
            pass
        return len(self.output)

    def until(self, needle: bytes, *, since: int = 0, timeout: float = 20.0) -> float:
        """The time (`perf_counter`) at which `needle` had arrived after the place `since`.

        Raises: TerminalError with the end of the output, after `timeout` seconds or when the program ends.
        """
        deadline = monotonic() + timeout
        position = since
        while self.output.find(needle, position) < 0:
            position = max(since, len(self.output) - len(needle) + 1)
            if not self._pump(deadline - monotonic()) and monotonic() >= deadline:
                raise TerminalError(f"{needle!r} did not come within {timeout} s: {self._tail()}")
        return self.last_read

    def listen(self, seconds: float) -> None:
        """Read for so long."""
        deadline = monotonic() + seconds
        while (left := deadline - monotonic()) > 0:
            self._pump(left)

    def settle(self, quiet: float = 0.1, timeout: float = 10.0) -> None:
        """Read until nothing has come for `quiet` seconds (or `timeout` is over)."""
        deadline = monotonic() + timeout
        while self._pump(quiet) and monotonic() < deadline:
            pass

    def forget(self) -> None:
        """Drop the output read so far."""
        self.output.clear()
        self._answered = 0

    def _pump(self, timeout: float) -> bool:
        """Wait for one piece of output; False when none came."""
        if not select.select([self._fd], [], [], max(0.0, timeout))[0]:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError as error:  # EIO: the other side is closed
            raise TerminalError(f"{self.argv[0]} ended: {self._tail()}") from error
        self.last_read = perf_counter()
        if not data:
            raise TerminalError(f"{self.argv[0]} ended: {self._tail()}")
        self.output += data
        self._answer()
        return True

    def _answer(self) -> None:
        for query, answer in ANSWERS.items():
            for _ in range(self.output.count(query, self._answered)):
                os.write(self._fd, answer)
        # A query cut in two by a read is seen whole the next time, and none is seen twice.
        end = len(self.output)
        cut = self.output.rfind(b"\x1b", max(self._answered, end - LONGEST_QUERY + 1))
        tail = bytes(self.output[cut:]) if cut >= 0 else b""
        incomplete = tail and any(query.startswith(tail) and query != tail for query in ANSWERS)
        self._answered = cut if incomplete else end

    def _tail(self) -> str:
        return repr(bytes(self.output[-600:]))


def _become(argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
    """Run the program in this (forked) process; never returns."""
    try:
        os.chdir(cwd)
        os.execve(argv[0], list(argv), dict(env))
    finally:
        os._exit(127)
