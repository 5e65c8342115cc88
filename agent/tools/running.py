"""A command under way: started, read from, written to, ended with everything it left behind."""

import os
import select
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent import programs, redact
from agent.cancel import CancelToken
from agent.errors import ToolError
from agent.guards import Guard
from agent.tools.output import BoundedOutput
from agent.tools.processes import MARK, ProcessTree
from agent.tools.watcher import WATCHER

DRAIN = 0.2
"""Seconds to wait for output that is still in the pipe when everything that could write is gone."""

KEPT = 1_000_000
"""Bytes of the output of a command that is waited for, however little of it is shown."""

WRITE_SECONDS = 2.0
"""Seconds for a program to take its input."""

QUIET = {
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "MANPAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_EDITOR": "true",
    # A folder that looks like a repository must not have programs run when git only looks.
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "core.fsmonitor",
    "GIT_CONFIG_VALUE_0": "false",
    "GIT_CONFIG_KEY_1": "safe.bareRepository",
    "GIT_CONFIG_VALUE_1": "explicit",
    "SSH_ASKPASS_REQUIRE": "never",
    "TERM": "dumb",
    "NO_COLOR": "1",
}
"""Nobody sits at this shell: no pagers, no editors, no questions, no colours."""
_LOUD = ("FORCE_COLOR", "CLICOLOR_FORCE")
_ADDS_OPTIONS = (
    "RIPGREP_CONFIG_PATH",
    "GREP_OPTIONS",
    "BASH_ENV",
    "ENV",
    "CDPATH",
    "GLOBIGNORE",
    "SHELLOPTS",
    "BASHOPTS",
)
"""Variables that add something to a line which was judged without them."""

_BEFORE = "__line=$1; shift; trap 'pwd -P >&{fd} 2>/dev/null' EXIT; {terminal}eval \"$__line\""
"""Runs the line as it is, and says at its end in which directory. A line that replaces the shell says nothing."""
_TERMINAL = "exec <{tty} >{tty} 2>&1; "
"""The first terminal a new session opens becomes its own."""


@dataclass(frozen=True, slots=True)
class Spawn:
    """How to start a command. `log`: its output goes to this file, for it is to outlive Hermes."""

    command: str
    cwd: Path
    output_limit: int
    pty: bool = False
    writable: bool = False
    log: Path | None = None
    prefix: tuple[str, ...] = ()
    """Words in front of the shell: the sandbox."""
    guard: Guard | None = None
    """What to look at when it is over."""


class Running:
    """A command under way, with a thread that reads its output and one that waits for its end.

    Both threads are daemons and end with the process, so that nobody waits for a pipe that a stranger keeps open.
    """

    def __init__(self, spawn: Spawn) -> None:
        self.spawn = spawn
        self.started = time.time()
        self.output = BoundedOutput(spawn.output_limit, keep=0 if spawn.writable else KEPT)
        self.cwd: Path | None = None
        """Where the shell ended; None while it runs, or when it did not say."""
        self.refused = ""
        """What it made and was taken away, when it is over."""
        self._mark = uuid.uuid4().hex
        self._wake = threading.Event()
        self._exited = threading.Event()
        self._watched = spawn.log is None
        self._adopted = False
        if self._watched:
            # Told of before it is there: a process killed in between leaves nothing.
            WATCHER.watch(self._mark)
        try:
            self._open()
        except OSError as error:
            WATCHER.forget(self._mark)
            where = f" in {spawn.cwd}"
            raise ToolError(f"The command could not be started{where}: {error.strerror or error}.") from error
        if self._watched and self._process.poll() is None:
            WATCHER.watch(self._mark, self._process.pid)
        self._tree = ProcessTree(self._process.pid, self._mark)
        self._reader = threading.Thread(target=self._read, name="terminal-output", daemon=True)
        self._reader.start()
        threading.Thread(target=self._await_exit, name="terminal-exit", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def over(self) -> bool:
        return self._exited.is_set()

    @property
    def exit_status(self) -> int:
        """As `Popen.returncode`: negative for a signal."""
        return self._process.returncode

    def wait(self, seconds: float, cancel: CancelToken) -> bool:
        """Until the shell ends, the time is up, or the work is cancelled. True when it ended."""
        with cancel.closing(self._wake.set):
            self._wake.wait(seconds)
        if not self._exited.is_set():
            self._wake.clear()
        return self._exited.is_set()

    def write(self, data: bytes) -> None:
        """Raises: ToolError when it takes no input (any more)."""
        if self._input is None:
            raise ToolError("It was started without an input.")
        deadline = time.monotonic() + WRITE_SECONDS
        try:
            while data:
                if not select.select([], [self._input], [], max(deadline - time.monotonic(), 0))[1]:
                    raise ToolError(f"It does not read its input: {len(data)} bytes are left.")
                # A little at a time: a pipe that can take something takes at least this much without blocking.
                data = data[os.write(self._input, data[:512]) :]
        except OSError as error:
            raise ToolError(f"It takes no input any more: {error.strerror}.") from error

    def end_input(self) -> None:
        """Nothing more is written; a program that reads to the end goes on. A terminal is sent its end-of-file key."""
        if self.spawn.pty:
            self.write(b"\x04")
        else:
            self._close_input()

    def adopt(self) -> None:
        """Nobody waits for it any more: when it ends, what it left is stopped."""
        self._adopted = True
        if self._exited.is_set():
            self.stop(leftovers_only=True)

    def stop(self, *, leftovers_only: bool) -> int:
        """End every process that is left, and collect the last output. Returns how many there were beside the shell."""
        if leftovers_only:
            # Mostly the pipe is closed by now, and the output complete.
            self._reader.join(DRAIN / 10)
        stopped = self._tree.stop(self._exited)
        self._reader.join(DRAIN)
        WATCHER.forget(self._mark)
        if self._exited.wait(DRAIN):
            self._close_input()
        if self.spawn.guard is not None:
            self.refused = "; ".join(filter(None, (self.refused, self.spawn.guard.settle())))
        return stopped

    # -- starting ----------------------------------------------------------------------------------

    def _open(self) -> None:
        """Raises: OSError."""
        spawn, self._input, self._source = self.spawn, None, -1
        told, tell = os.pipe()
        opened = [tell]
        try:
            if spawn.pty:
                self._source, child = os.openpty()
                opened.append(child)
                self._input = os.dup(self._source)
                terminal = _TERMINAL.format(tty=os.ttyname(child))
                streams = (child, child)
            else:
                terminal = ""
                streams = self._streams(opened)
            env = child_environment(os.environ) | {MARK: self._mark} | ({"TERM": "xterm"} if spawn.pty else {})
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [*spawn.prefix, *_shell(spawn.command, spawn.cwd, tell, terminal)],
                cwd=spawn.cwd,
                env=env,
                bufsize=0,
                start_new_session=sys.platform != "win32",
                pass_fds=() if sys.platform == "win32" else (tell,),
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[1],
            )
        except OSError:
            os.close(told)
            for descriptor in (self._source, self._input):
                if descriptor is not None and descriptor >= 0:
                    os.close(descriptor)
            raise
        finally:
            for descriptor in opened:
                os.close(descriptor)
        self._told = told

    def _streams(self, opened: list[int]) -> tuple[int, int]:
        """What it reads from and writes to: pipes, or a file. What the child holds is added to `opened`."""
        if self.spawn.log is not None:
            self.spawn.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            log = os.open(self.spawn.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            opened.append(log)
            return subprocess.DEVNULL, log
        self._source, out = os.pipe()
        opened.append(out)
        if not self.spawn.writable:
            return subprocess.DEVNULL, out
        into, self._input = os.pipe()
        opened.append(into)
        return into, out

    # -- threads -----------------------------------------------------------------------------------

    def _read(self) -> None:
        if self._source < 0:
            return
        # A terminal whose last user is gone answers with an error, on Linux.
        with suppress(OSError):
            while chunk := os.read(self._source, 1 << 16):
                self.output.add(chunk)
        os.close(self._source)

    def _await_exit(self) -> None:
        self._process.wait()
        os.set_blocking(self._told, False)
        with suppress(OSError):
            said = os.read(self._told, 1 << 14).decode(errors="surrogateescape").splitlines()
            self.cwd = Path(said[-1]) if said else None
        os.close(self._told)
        self._exited.set()
        self._wake.set()
        if self._adopted:
            self.stop(leftovers_only=True)

    def _close_input(self) -> None:
        if self._input is not None:
            with suppress(OSError):
                os.close(self._input)
            self._input = None


def child_environment(env: Mapping[str, str]) -> dict[str, str]:
    """What a command gets to see: no secrets, and settings for a shell without a person."""
    clean = redact.scrubbed_environment(env)
    return {name: value for name, value in clean.items() if name not in (*_LOUD, *_ADDS_OPTIONS)} | QUIET


def _shell(command: str, cwd: Path, fd: int, terminal: str) -> list[str]:
    if sys.platform == "win32":
        return [os.environ.get("COMSPEC", "cmd.exe"), "/c", command]
    if bash := programs.of_system("bash") or programs.find("bash", cwd):
        return [bash, "-c", _BEFORE.format(fd=fd, terminal=terminal), "bash", command]
    # Other shells know descriptors of one digit only.
    before = _BEFORE.format(fd=fd, terminal=terminal).replace(f">&{fd}", f">/dev/fd/{fd}")
    return ["/bin/sh", "-c", before, "sh", command]
