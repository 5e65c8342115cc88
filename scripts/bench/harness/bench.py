"""What a part is given: the local server, a scratch directory, and how to start Hermes and the floors."""

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from harness.process import Finished, run
from harness.terminal import Terminal

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "scripts" / "bench"
PROMPT = "›".encode()


@dataclass(frozen=True, slots=True)
class Program:
    """How to start something, and with which variables beside the common ones."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()


class Bench:
    """Owns the server and the scratch directory. Use as a context manager.

    `quick` asks for fewer repetitions. With `self_check` each floor stands in for Hermes too, so that every
    ratio shows what the machine's noise makes of 1.
    """

    def __init__(self, *, quick: bool = False, self_check: bool = False) -> None:
        self.quick = quick
        self.self_check = self_check
        self._scratch = tempfile.TemporaryDirectory(prefix="hermes-bench-")
        self.scratch = Path(self._scratch.name)
        self.cwd = self.scratch / "work"
        self.cwd.mkdir()
        self._server = subprocess.Popen(
            [sys.executable, str(FOLDER / "server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._server.stdout is not None
        self.port = int(self._server.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.kill()
        self._server.communicate()
        self._scratch.cleanup()

    # -- the server --------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def stats(self) -> dict[str, Any]:
        """The server's counters: streams open now, requests and chunks so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=10) as reply:
            return msgspec.json.decode(reply.read(), type=dict[str, Any])

    def wait_for_streams(self, count: int, timeout: float = 20.0) -> bool:
        """True as soon as `count` answers are being streamed."""
        deadline = time.monotonic() + timeout
        while self.stats()["streaming"] != count:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    # -- programs ----------------------------------------------------------------------------------

    def subject(self, *args: str, floor: Program) -> Program:
        """Hermes with these arguments; the floor itself in a self check."""
        if self.self_check:
            return floor
        settings = {
            "HERMES_HOME": str(self.scratch / "hermes"),
            "HERMES_BASE_URL": self.base_url,
            "HERMES_PROVIDER": "custom",
            "HERMES_MODEL": "instant",
        }
        return Program((str(Path(sys.executable).with_name("hermes")), *args), tuple(settings.items()))

    def floor(self, name: str, *args: str) -> Program:
        """`floors/<name>.py` on this interpreter."""
        return Program((sys.executable, str(FOLDER / "floors" / f"{name}.py"), *args))

    def environment(self, program: Program) -> dict[str, str]:
        """The same small environment for all, so that nothing from outside is measured."""
        common = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.scratch),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "OPENAI_API_KEY": "x",
            "OPENAI_BASE_URL": self.base_url,
        }
        return {**common, **dict(program.env)}

    def terminal(self, program: Program) -> Terminal:
        return Terminal(program.argv, env=self.environment(program), cwd=self.cwd)

    def at_prompt(self, program: Program) -> Terminal:
        """The program in a terminal, at its prompt, with nothing more coming for a second."""
        terminal = self.terminal(program)
        try:
            terminal.until(PROMPT)
            terminal.settle(1.0)
        except BaseException:
            terminal.__exit__(None, None, None)
            raise
        return terminal

    def run(self, program: Program, awaited: bytes = b"") -> Finished:
        return run(program.argv, env=self.environment(program), cwd=self.cwd, awaited=awaited)

    def repeat(self, full: int) -> int:
        """How often to measure: `full` times, or a third of it when quick."""
        return max(3, full // 3) if self.quick else full


def python(*args: str) -> Program:
    """This interpreter, with nothing of ours."""
    return Program((sys.executable, *args))
