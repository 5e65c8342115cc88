"""Hermes's own small files: several processes change them at once, and none loses what another wrote."""

import subprocess
import sys
from pathlib import Path

import pytest

from agent.config import Directories, load_config, read_keys
from agent.errors import ConfigError
from agent.own_files import changing
from agent.rules import load_rules

ROOT = Path(__file__).parents[2]
MANY = 6

SETTINGS = "set_value(dirs, name, '7')"
KEYS = "store_key(dirs, name, 'sk-' + name)"
RULES = "save_rule(dirs.policy_file, Rule('terminal', name, 'allow'))"


def change_at_once(home: Path, what: str, names: list[str]) -> None:
    """A process for each name, all waiting for the same word; each does `what`."""
    code = (
        "import sys; from pathlib import Path; from agent.config import Directories, set_value, store_key\n"
        "from agent.rules import Rule, save_rule\n"
        "import tomlkit\n"
        "home, name = Path(sys.argv[1]), sys.argv[2]; dirs = Directories(home, home / 'state', home / 'cache')\n"
        f"print('ready', flush=True); sys.stdin.readline(); {what}\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(home), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for name in names
    ]  # fmt: skip
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        assert [process.wait(50) for process in started] == [0] * len(started)
    finally:
        for process in started:
            process.kill()
            process.communicate()


@pytest.fixture
def dirs(tmp_path: Path) -> Directories:
    home = tmp_path / "home"
    return Directories(home, home / "state", home / "cache")


def test_processes_that_set_settings_at_once_lose_none(dirs: Directories) -> None:
    names = ["max_steps", "context_window", "task_budget", "task_timeout", "session_budget", "daily_budget"]
    change_at_once(dirs.config, SETTINGS, names)
    found = load_config(env={"HERMES_HOME": str(dirs.config)}).values
    assert [getattr(found, name) for name in names] == [7] * MANY


def test_processes_that_store_keys_at_once_lose_none(dirs: Directories) -> None:
    names = [f"provider{number}" for number in range(MANY)]
    change_at_once(dirs.config, KEYS, names)
    assert read_keys(dirs) == {name: f"sk-{name}" for name in names}
    assert dirs.credentials_file.stat().st_mode & 0o777 == 0o600


def test_processes_that_write_rules_at_once_lose_none(dirs: Directories) -> None:
    names = [f"tool{number}" for number in range(MANY)]
    change_at_once(dirs.config, RULES, names)
    assert sorted(rule.pattern for rule in load_rules(dirs.policy_file)) == names


def test_a_process_that_dies_with_the_lock_holds_nobody_up(dirs: Directories) -> None:
    code = (
        "import os, sys; from pathlib import Path; from agent.own_files import changing\n"
        "with changing(Path(sys.argv[1])): print('mine', flush=True); sys.stdin.readline()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(dirs.config_file)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "mine\n"
    holder.kill()
    holder.communicate()
    with changing(dirs.config_file):
        pass


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="Cannot write"), changing(tmp_path / "file" / "config.toml"):
        pass
