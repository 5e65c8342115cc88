"""`hermes sessions` and `hermes backup`: what is kept, from the shell."""

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from agent.config import directories
from agent.messages import Message
from agent.outputs import Outputs, sessions
from agent.records import TASK_SOURCE
from agent.store.sqlite import SqliteStore
from hermes_cli.seats import Seats

Sub = Callable[..., CompletedProcess[str]]


@pytest.fixture
def store() -> SqliteStore:
    store = SqliteStore(directories().database)
    for id_, prompt, answer in (("20260101_a", "fix the cart", "It is fixed."), ("20260102_b", "cook", "Rice, then.")):
        store.create_session(id_, source="terminal", cwd="/src", model="m")
        store.append(id_, Message("user", prompt))
        store.append(id_, Message("assistant", answer))
    return store


def test_sessions_are_listed_the_newest_first(sub_command: Sub, store: SqliteStore) -> None:
    lines = sub_command("sessions", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["20260102_b", "20260101_a"]
    assert "fix the cart" in lines[1]
    rows = json.loads(sub_command("sessions", "list", "--json", "--limit", "1").stdout)
    assert [(row["id"], row["title"], row["messages"]) for row in rows] == [("20260102_b", "cook", 2)]
    assert json.loads(sub_command("sessions", "list", "--here", "--json").stdout) == []


def test_a_session_is_shown_searched_renamed_and_exported(sub_command: Sub, store: SqliteStore, tmp_path: Path) -> None:
    assert "It is fixed." in sub_command("sessions", "show", "fix the").stdout
    assert json.loads(sub_command("sessions", "show", "20260102", "--json").stdout)["title"] == "cook"
    assert "20260101_a" in sub_command("sessions", "search", "FIXED").stdout
    assert json.loads(sub_command("sessions", "search", "rice", "--json").stdout)[0]["session_id"] == "20260102_b"
    sub_command("sessions", "rename", "cook", "the", "kitchen")
    assert sub_command("sessions", "export", "the kitchen", "-").stdout.startswith("# the kitchen")
    page = tmp_path / "page.html"
    sub_command("sessions", "export", "latest", str(page))
    assert "<!doctype html>" in page.read_text()


def test_what_was_done_to_a_session_is_told_to_programs(sub_command: Sub, store: SqliteStore, tmp_path: Path) -> None:
    def told(*arguments: str) -> dict[str, str]:
        found: dict[str, str] = json.loads(sub_command("sessions", *arguments, "--json").stdout)
        return found

    assert told("rename", "cook", "the kitchen")["title"] == "the kitchen"
    page = tmp_path / "page.html"
    assert told("export", "the kitchen", str(page)) == {"id": "20260102_b", "format": "html", "path": str(page)}
    assert told("delete", "20260102_b", "--yes") == {"deleted": "20260102_b"}


def test_several_words_are_found_however_a_shell_hands_on_their_quotes(sub_command: Sub, store: SqliteStore) -> None:
    for words in ("is fixed", '"is fixed"', '"It is" fixed.'):
        assert "20260101_a" in sub_command("sessions", "search", words).stdout
    assert "Nothing" in sub_command("sessions", "search", '"fixed is"').stderr


def test_nothing_is_deleted_unless_somebody_says_yes(sub_command: Sub, store: SqliteStore) -> None:
    refused = sub_command("sessions", "delete", "cook")
    assert refused.returncode != 0
    assert "--yes" in refused.stderr
    assert store.session("20260102_b") is not None
    sub_command("sessions", "delete", "cook", "--yes")
    assert store.session("20260102_b") is None


def test_pruning_tells_first_what_would_go(sub_command: Sub, store: SqliteStore) -> None:
    told = sub_command("sessions", "prune", "--older-than", "0d", "--dry-run").stdout
    assert told == "Would delete 2 sessions with 4 messages, and 0 tasks.\n"
    assert store.stats().sessions == 2
    assert "0 sessions" in sub_command("sessions", "prune", "--older-than", "90d", "--yes").stdout
    done = json.loads(sub_command("sessions", "prune", "--older-than", "0h", "--yes", "--json").stdout)
    assert (done["sessions"], done["dry_run"]) == (2, False)
    assert store.stats().sessions == 0


def test_what_a_terminal_has_open_is_neither_deleted_nor_pruned(sub_command: Sub, store: SqliteStore) -> None:
    here = Seats(store)
    here.take("20260102_b")
    refused = sub_command("sessions", "delete", "cook", "--yes")
    assert refused.returncode != 0
    assert f"20260102_b is open in another terminal (process {os.getpid()}" in refused.stderr
    assert "/new" in refused.stderr
    pruned = sub_command("sessions", "prune", "--older-than", "0d", "--yes")
    assert "Deleted 1 sessions" in pruned.stdout
    assert "Kept, open in another terminal" in pruned.stderr
    assert "cook" in pruned.stderr
    assert [session.id for session in store.sessions()] == ["20260102_b"]
    here.close()
    sub_command("sessions", "delete", "cook", "--yes")
    assert store.session("20260102_b") is None


def test_the_earlier_parts_of_what_a_terminal_has_open_stay_with_it(sub_command: Sub, store: SqliteStore) -> None:
    on = store.continue_session("20260102_b", [Message("user", "shorter")])
    here = Seats(store)
    here.take(on)
    refused = sub_command("sessions", "delete", "20260102_b", "--yes")
    assert refused.returncode != 0
    assert f"20260102_b went on as {on}, which is open in another terminal" in refused.stderr
    assert "Deleted 1 sessions" in sub_command("sessions", "prune", "--older-than", "0d", "--yes").stdout
    assert store.session("20260102_b") is not None
    here.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "nonsense"), "No session fits"),
        (("show", "20260"), "Several sessions fit"),
        (("prune", "--older-than", "soon"), "no duration"),
        (("export", "cook", "--format", "pdf"), "no format"),
        (("export", "cook", "-", "--json"), "-f json"),
    ],
)
def test_what_cannot_be_done_is_explained(
    sub_command: Sub, store: SqliteStore, arguments: tuple[str, ...], words: str
) -> None:
    done = sub_command("sessions", *arguments)
    assert done.returncode != 0
    assert words in done.stderr


def test_a_backup_is_whole_and_no_file_is_overwritten(sub_command: Sub, store: SqliteStore, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    sub_command("backup", str(copy))
    found = sqlite3.connect(copy).execute("SELECT count(*) FROM messages").fetchone()
    assert found == (4,)
    assert "exists already" in sub_command("backup", str(copy)).stderr


def test_doctor_tells_the_size_checks_the_file_and_says_how_to_restore(sub_command: Sub, store: SqliteStore) -> None:
    told = sub_command("doctor").stdout
    assert "2 sessions, 4 messages" in told
    assert "what is kept is sound" in told
    assert "To restore a backup" in told
    store.close()
    directories().database.write_bytes(b"garbage " * 1000)
    broken = sub_command("doctor")
    assert broken.returncode == 1
    assert "is damaged" in broken.stdout
    assert "To restore" in broken.stdout
    assert "hermes doctor" not in broken.stdout


def test_sizes_are_told_for_people_and_programs(sub_command: Sub, store: SqliteStore) -> None:
    assert "2 sessions, 4 messages, 0 tasks" in sub_command("sessions", "stats").stdout
    assert json.loads(sub_command("sessions", "stats", "--json").stdout)["messages"] == 4


def test_with_a_session_goes_what_was_kept_of_the_agents_it_sent(sub_command: Sub, store: SqliteStore) -> None:
    outputs = Outputs(directories().state)
    for name in ("asks", "stays"):
        store.create_session(name, source="terminal")
    task = store.create_task(prompt="y", owner="terminal:gone", settings="{}")
    store.update_task(task.id, state="done", finished=1.0, told=True)
    for parent in ("asks", "stays", task.session_id):
        store.create_session(f"sent-by-{parent}", source=TASK_SOURCE, parent=parent)
        for name in (parent, f"sent-by-{parent}"):
            outputs.keep(name, "call", "text")
    sub_command("sessions", "delete", "asks", "--yes")
    sub_command("tasks", "prune", "--yes")
    assert sorted(sessions(directories().state)) == ["sent-by-stays", "stays"]


def test_pruning_spares_a_task_whose_branch_holds_what_is_nowhere_else(sub_command: Sub, store: SqliteStore) -> None:
    outputs = Outputs(directories().state)
    task = store.create_task(prompt="x", owner="o", settings="{}", options='{"worktree": true}', cwd="/no/such/folder")
    plain = store.create_task(prompt="y", owner="o", settings="{}")
    for one in (task, plain):
        store.update_task(one.id, state="done", finished=1.0, told=True)
        outputs.keep(one.session_id, "call", "text")
    sub_command("sessions", "prune", "--older-than", "0h", "--yes")
    assert [one.id for one in store.tasks()] == [task.id]
    assert store.session(task.session_id) is not None
    assert sessions(directories().state) == [task.session_id]
