"""Every command of docs/sessions.md is run, on a store that holds a few conversations."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "sessions.md").read_text("utf-8")
HERMES = Path(sys.executable).with_name("hermes")
SHELL = re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)
SLASH = [line for row in re.findall(r"^\| (`/.*?) \|", PAGE, re.MULTILINE) for line in re.findall(r"`(.*?)`", row)]


@pytest.fixture
def env(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    env = {
        "PATH": f"{HERMES.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "HERMES_HOME": str(home / "hermes"),
        "HERMES_PROVIDER": "offline",
        "LANG": "C.UTF-8",
    }
    for prompt in ("fix the cart", "timeout"):
        run(["hermes", "-p", prompt], env)
    return env


def run(command: list[str] | str, env: dict[str, str], lines: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=env, input=lines, shell=isinstance(command, str), capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("command", SHELL)
def test_a_command_of_the_shell_does_what_the_page_says(command: str, env: dict[str, str]) -> None:
    done = run(command, env)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_slash_commands_of_the_page_work(env: dict[str, str]) -> None:
    assert len(SLASH) > 8
    talk = [*(f"say {number}" for number in range(6)), *SLASH]
    done = run(["hermes", "--plain"], env, "".join(f"{line}\n" for line in talk))
    assert (done.returncode, done.stderr) == (0, "")
    assert "✗" not in done.stdout, done.stdout
    for words in ("Back to before", "This is a branch", "Title: the cart", "Resumed: fix the cart", "Written:"):
        assert words in done.stdout
