"""`start` runs the real `hermes` in a pseudo-terminal, away from the settings and files of whoever runs the tests."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.openai_server import OpenAIServer
from tests.support.screen import Terminal

Start = Callable[..., Terminal]

HERMES = Path(sys.executable).with_name("hermes")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The working directory."""
    place = tmp_path / "work"
    place.mkdir()
    return place


def end_workers(home: Path) -> None:
    """Kill the workers that were started for this HERMES_HOME."""
    for process in psutil.process_iter(["cmdline"]):
        if "worker" in (process.info["cmdline"] or ())[-1:]:
            with contextlib.suppress(psutil.Error):
                if process.environ().get("HERMES_HOME") == str(home):
                    process.kill()


@pytest.fixture
def start(tmp_path: Path, folder: Path) -> Iterator[Start]:
    """Starts `hermes` and waits for its prompt. Without a server it talks to the offline model.

    Afterwards: no traceback was shown or logged, and nothing asked the terminal a question.
    """
    running: list[Terminal] = []
    home = tmp_path / "home"
    home.mkdir()

    def start(
        server: OpenAIServer | str | None = None,
        *arguments: str,
        program: tuple[str | Path, ...] = (HERMES,),
        env: dict[str, str] | None = None,
        ready: bool = True,
        **options: int | bool,
    ) -> Terminal:
        base_url = server.base_url if isinstance(server, OpenAIServer) else server
        endpoint = {
            "HERMES_PROVIDER": "custom",
            "HERMES_BASE_URL": base_url or "",
            "HERMES_MODEL": "test-model",
            "OPENAI_API_KEY": "x",
        }
        environment = {
            "PATH": f"{HERMES.parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "HERMES_HOME": str(tmp_path / "hermes"),
            "TMPDIR": str(tmp_path),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "SHELL": "/bin/sh",
            **(endpoint if server else {"HERMES_PROVIDER": "offline"}),
            **(env or {}),
        }
        terminal = Terminal([*program, *arguments], env=environment, cwd=folder, **options)
        running.append(terminal)
        if ready:
            terminal.wait_for(lambda seen: seen.draft is not None, why="a prompt")
        return terminal

    yield start
    for terminal in running:
        terminal.close()
    end_workers(tmp_path / "hermes")
    for terminal in running:
        assert b"Traceback" not in terminal.raw, terminal.picture()
        assert b"could not show" not in terminal.raw, terminal.picture()
        assert b"\x1b[6n" not in terminal.raw
    log = tmp_path / "hermes" / "state" / "hermes.log"
    if log.exists():
        assert "Traceback" not in log.read_text(), log.read_text()
