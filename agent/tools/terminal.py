"""Running a shell command, and leaving nothing of it behind."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from agent import redact
from agent.cancel import CancelToken
from agent.errors import ToolError
from agent.protocols import Action, ToolContext, ToolResult
from agent.tools.files import text_limit
from agent.tools.output import BoundedOutput, printable
from agent.tools.prose import prose

DRAIN = 0.2
"""Seconds to wait for output that is still in the pipe when everything that could write is gone."""

QUIET = {
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "MANPAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_EDITOR": "true",
    "SSH_ASKPASS_REQUIRE": "never",
    "TERM": "dumb",
    "NO_COLOR": "1",
}
"""Nobody sits at this shell: no pagers, no editors, no questions, no colours."""
_LOUD = ("FORCE_COLOR", "CLICOLOR_FORCE")
_ADDS_OPTIONS = ("RIPGREP_CONFIG_PATH", "GREP_OPTIONS")
"""Variables that add options to a line which was judged without them."""


class TerminalArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    command: Annotated[str, Meta(min_length=1, description="The command line, for bash where there is one.")]
    timeout: Annotated[float, Meta(gt=0, le=86_400, description="Seconds it may take.")] | None = None


class Terminal:
    """Runs one command in a fresh shell with its own process group."""

    name = "terminal"
    arguments = TerminalArguments

    @property
    def description(self) -> str:
        return prose(__file__)

    def plan(self, args: TerminalArguments, context: ToolContext) -> Action:
        if not args.command.strip():
            raise ToolError("The command is empty.")
        if "\0" in args.command:
            raise ToolError("A command cannot hold a NUL character.")
        return Action("execute", _title(args.command), command=args.command)

    def preview(self, args: TerminalArguments, context: ToolContext) -> str:
        del context
        return args.command

    def run(self, args: TerminalArguments, context: ToolContext, cancel: CancelToken) -> ToolResult:
        cancel.raise_if_cancelled()
        seconds = args.timeout or context.command_timeout
        command = _Running(args.command, context)
        finished = command.wait(seconds, cancel)
        stopped = command.stop(leftovers_only=finished)
        cancel.raise_if_cancelled()
        output = command.output.text()
        if not finished:
            summary = f"timed out after {seconds:g}s"
            return _result(output, summary, f"[{summary}; it was stopped, with its child processes]", None)
        code, summary = _describe(command.exit_status)
        also = f"; {stopped} background process{'es' * (stopped != 1)} stopped" if stopped else ""
        return _result(output, summary, f"[{summary}{also}]", code)


class _Running:
    """A command under way, with a thread that reads its output and one that waits for its end.

    Both threads are daemons and end with the process, so that nobody waits for a pipe that a stranger keeps open.
    """

    def __init__(self, command: str, context: ToolContext) -> None:
        from agent.tools.processes import MARK, ProcessTree  # psutil is loaded with the first command, not before

        mark = uuid.uuid4().hex
        self.output = BoundedOutput(text_limit(context.output_limit))
        self._process = _spawn(command, context.cwd, child_environment(os.environ) | {MARK: mark})
        self._tree = ProcessTree(self._process.pid, mark)
        self._wake = threading.Event()
        self._exited = threading.Event()
        self._reader = threading.Thread(target=self._read, name="terminal-output", daemon=True)
        self._reader.start()
        threading.Thread(target=self._await_exit, name="terminal-exit", daemon=True).start()

    @property
    def exit_status(self) -> int:
        """As `Popen.returncode`: negative for a signal."""
        return self._process.returncode

    def wait(self, seconds: float, cancel: CancelToken) -> bool:
        """Until the shell ends, the time is up, or the work is cancelled. True when it ended."""
        with cancel.closing(self._wake.set):
            self._wake.wait(seconds)
        return self._exited.is_set()

    def stop(self, *, leftovers_only: bool) -> int:
        """End every process that is left, and collect the last output. Returns how many there were beside the shell."""
        if leftovers_only:
            # Mostly the pipe is closed by now, and the output complete.
            self._reader.join(DRAIN / 10)
        stopped = self._tree.stop(self._exited)
        self._reader.join(DRAIN)
        return stopped

    def _read(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None
        with pipe:
            while chunk := pipe.read(1 << 16):
                self.output.add(chunk)

    def _await_exit(self) -> None:
        self._process.wait()
        self._exited.set()
        self._wake.set()


def child_environment(env: Mapping[str, str]) -> dict[str, str]:
    """What a command gets to see: no secrets, and settings for a shell without a person."""
    clean = redact.scrubbed_environment(env)
    return {name: value for name, value in clean.items() if name not in (*_LOUD, *_ADDS_OPTIONS)} | QUIET


def _spawn(command: str, cwd: Path, env: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Raises: ToolError."""
    try:
        return subprocess.Popen(
            _shell(command),
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=sys.platform != "win32",
        )
    except OSError as error:
        raise ToolError(f"The command could not be started in {cwd}: {error.strerror or error}.") from error


def _shell(command: str) -> list[str]:
    if sys.platform == "win32":
        return [os.environ.get("COMSPEC", "cmd.exe"), "/c", command]
    return [shutil.which("bash") or "/bin/sh", "-c", command]


def _title(command: str) -> str:
    first, *more = command.strip().splitlines()
    return f"{first[:79]}…" if more or len(first) > 80 else first


def _describe(status: int) -> tuple[int, str]:
    """The exit code as a shell gives it, and words for it. Signals are named."""
    number = -status if status < 0 else status - 128
    code = 128 + number if status < 0 else status
    if 0 < number < signal.NSIG and number in set(signal.Signals):
        killed = f"killed by {signal.Signals(number).name}"
        return code, f"{killed}, exit {code}"
    return code, f"exit {code}"


def _result(output: str, summary: str, trailer: str, code: int | None) -> ToolResult:
    output = printable(output)
    body = output if not output or output.endswith("\n") else f"{output}\n"
    return ToolResult(body + trailer, summary=summary, display=output, ok=code == 0, exit_code=code)


if TYPE_CHECKING:
    from agent.protocols import Tool

    _: Tool = Terminal()
