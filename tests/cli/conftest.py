"""`hermes` as a process of its own, as a shell would start it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.errors import HermesError
from tests.support.openai_server import MODEL, OpenAIServer

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., "subprocess.Popen[str]"]
ROOT = Path(__file__).parent.parent.parent
COMMAND = (sys.executable, "-m", "hermes_cli.main")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The working directory of the process."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def shell_env(home: Path) -> dict[str, str]:
    """Little but what is needed; without a network's address, the built-in model answers."""
    return {
        "HOME": str(home),
        "HERMES_HOME": str(home / "hermes-home"),
        "HERMES_PROVIDER": "offline",
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
    }


@pytest.fixture
def at() -> Callable[[OpenAIServer], dict[str, str]]:
    """The variables that send a process to this server."""

    def at(server: OpenAIServer) -> dict[str, str]:
        return {
            "HERMES_PROVIDER": "custom",
            "HERMES_MODEL": MODEL,
            "OPENAI_BASE_URL": server.base_url,
            "OPENAI_API_KEY": "sk-test-0123456789",
        }

    return at


@pytest.fixture
def run(work: Path, shell_env: dict[str, str]) -> Run:
    """Run `hermes` to its end. `input` None: nothing on standard input."""

    def run(
        *arguments: str, input: str | None = None, env: dict[str, str] | None = None, timeout: float = 30
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=work,
            env=shell_env | (env or {}),
            input="" if input is None else input,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def sub_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a sub-command in this process, with failures told as `hermes` tells them: it is ten times as quick."""

    def sub_command(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        from gateway.cli import APPS
        from hermes_cli.cli import run

        stderr = ""
        with monkeypatch.context() as patched:
            for name, value in {"HERMES_PROVIDER": "offline", **(env or {})}.items():
                patched.setenv(name, value)
            try:
                code = run(arguments, APPS)
            except HermesError as error:
                code, stderr = 1, error.explain()
        captured = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, captured.out, captured.err + stderr)

    return sub_command


@pytest.fixture
def start(work: Path, shell_env: dict[str, str]) -> Iterator[Start]:
    """Start `hermes` and leave it running; whatever is left of it at the end of the test is killed."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str, env: dict[str, str] | None = None) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=work,
            env=shell_env | (env or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
