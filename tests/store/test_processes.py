"""One file, several processes: nobody fails, nothing is lost, and what is killed leaves no half of anything."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.messages import Message
from agent.store.sqlite import SqliteStore

ROOT = Path(__file__).parents[2]


@contextmanager
def writers(mode: str, path: Path, names: list[str], *more: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that wait for a line on their stdin, and have opened the file already."""
    program = [sys.executable, str(ROOT / "tests/store/writer.py"), mode, str(path)]
    started = [
        subprocess.Popen(
            [*program, name, *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        )
        for name in names
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate()[1]
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def outcome(process: subprocess.Popen[str]) -> Any:
    out, err = process.communicate(timeout=50)
    assert process.returncode == 0, err
    assert err == ""
    return json.loads(out)


def test_eight_processes_write_at_once_and_nothing_is_lost(disk: SqliteStore) -> None:
    names = [f"p{number}" for number in range(8)]
    disk.create_session("shared", source="test")
    with writers("mix", disk.path, names, "1.2") as processes:
        for process in processes:
            go(process)
        did = {name: outcome(process) for name, process in zip(names, processes, strict=True)}
    assert all(done["messages"] for done in did.values()), did
    for name, done in did.items():
        expected = [f"{name} {number}" for number in range(done["messages"])]
        assert [message.content for message in disk.messages(name)] == expected
        shared = [message.content for message in disk.messages("shared") if message.content.startswith(f"{name} ")]
        assert shared == expected
        mine = disk.tasks(owner=name)
        assert [(task.number, task.result) for task in mine] == [(number, name) for number in done["numbers"]]
        assert sum(len(disk.events(task.id)) for task in mine) == done["events"]
    numbers = [number for done in did.values() for number in done["numbers"]]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert disk.integrity_check() == []


def test_of_several_processes_one_gets_a_task(disk: SqliteStore) -> None:
    tasks = [disk.create_task(prompt="x", owner=f"o{number % 7}", settings="{}") for number in range(100)]
    with writers("claim", disk.path, ["a", "b", "c"]) as processes:
        for process in processes:
            go(process)
        claimed = [task_id for process in processes for task_id in outcome(process)]
    assert sorted(claimed) == sorted(task.id for task in tasks)


def test_a_new_file_can_be_opened_by_several_at_once(tmp_path: Path) -> None:
    with writers("claim", tmp_path / "new" / "state.db", ["a", "b", "c", "d"]) as processes:
        for process in processes:
            go(process)
        assert [outcome(process) for process in processes] == [[]] * 4


@pytest.mark.parametrize("after", [1, 2, 5, 20, 37])
def test_a_killed_writer_leaves_all_it_said_and_no_half_of_anything(disk: SqliteStore, after: int) -> None:
    disk.create_session("s", source="test")
    disk.append("s", Message("user", "0"))
    with writers("talk", disk.path, ["s"]) as (process,):
        go(process)
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(after)][-1]
        process.kill()
    assert disk.integrity_check() == []
    session, stored = disk.session("s"), disk.messages("s")
    assert session is not None
    assert session.messages == len(stored) > said
    assert [int(message.content.split()[0]) for message in stored] == list(range(len(stored)))
    tasks = disk.tasks(owner="s")
    assert [task.number for task in tasks] == list(range(1, len(tasks) + 1))
    assert len(tasks) >= after
    assert len(disk.undelivered("s")) == sum(task.state == "done" for task in tasks)
    assert all(disk.session(task.session_id) for task in tasks)
    disk.append("s", Message("user", "and on"))
