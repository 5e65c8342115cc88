"""`hermes worker`: real processes on one store."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from agent.config import directories, load_config
from agent.events import TurnFinished
from agent.messages import INTERRUPTED
from agent.protocols import Task
from agent.records import TaskOptions
from agent.redact import Redactor
from agent.store.sqlite import SqliteStore
from agent.task_rows import options_text
from hermes_cli import worker
from tests.support.openai_server import OpenAIServer, call, say
from tests.support.turns import check_history, wait_until


class Desk:
    """A terminal that is gone: what it sent is in the store."""

    def __init__(self, env: dict[str, str], work: Path) -> None:
        self.env, self.work = env, work
        self.store = SqliteStore(directories(env).database)

    def send(self, prompt: str, mode: str = "yolo") -> Task:
        options = options_text(TaskOptions(approvals=mode, sender="terminal:gone"))
        return self.store.create_task(
            prompt=prompt, owner="terminal:gone", settings="{}", options=options, cwd=str(self.work)
        )

    def row(self, task: Task) -> Task:
        found = self.store.task(task.id)
        assert found is not None
        return found

    def wait(self, task: Task, state: str) -> Task:
        wait_until(lambda: self.row(task).state == state, seconds=30, what=lambda: f"{state} of {self.row(task)}")
        return self.row(task)

    @contextmanager
    def worker(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        process = subprocess.Popen(
            [sys.executable, "-m", "hermes_cli.main", "worker", *arguments],
            env=self.env,
            cwd=self.work,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate(timeout=10)


At = Callable[[OpenAIServer], dict[str, str]]
DeskAt = Callable[[OpenAIServer], Desk]


@pytest.fixture
def desk(at: At, work: Path, shell_env: dict[str, str]) -> Iterator[DeskAt]:
    made: list[Desk] = []

    def desk(server: OpenAIServer) -> Desk:
        made.append(Desk(shell_env | at(server), work))
        return made[-1]

    yield desk
    for one in made:
        one.store.close()


def test_a_worker_does_what_is_queued_and_leaves(desk: DeskAt) -> None:
    with OpenAIServer(default=say("done")) as server:
        one = desk(server)
        tasks = [one.send("x") for _ in range(3)]
        with one.worker("--once") as process:
            output, _ = process.communicate(timeout=50)
        assert process.returncode == 0, output
        assert [one.row(task).result for task in tasks] == ["done"] * 3
        assert "#1 running" in output
        assert len(one.store.undelivered("terminal:gone")) == 3


def test_a_task_waits_for_its_answer_and_no_worker_is_freer_than_its_sender(desk: DeskAt) -> None:
    with OpenAIServer([call("terminal", command="touch made"), "done"]) as server:
        one = desk(server)
        task = one.send("x", mode="ask")
        with one.worker("--once") as process:
            process.communicate(timeout=50)
        assert one.row(task).state == "waiting"
        assert not (one.work / "made").exists()


def test_a_stored_key_in_what_escapes_from_a_run_is_not_kept(tmp_path: Path) -> None:
    def fail(task: Task, **_: object) -> TurnFinished:
        raise OSError("no: hunter2hunter2")

    store = SqliteStore(tmp_path / "state.db")
    store.create_task(prompt="x", owner="terminal:gone", settings="{}")
    pool = worker._pool(load_config(env={"HERMES_HOME": str(tmp_path)}), store, Redactor(["hunter2hunter2"]))
    pool._run = fail
    pool.look()
    wait_until(lambda: any(one.state == "failed" for one in store.tasks()), seconds=30, what=lambda: "failed")
    assert [one.error for one in store.tasks()] == ["internal error: OSError: no: [redacted]"]
    pool.close()
    store.close()


def test_told_to_leave_a_worker_parks_and_the_next_goes_on(desk: DeskAt) -> None:
    with OpenAIServer([call("terminal", command="sleep 77"), say("as far as I got")]) as server:
        one = desk(server)
        task = one.send("x")
        with one.worker() as first:
            wait_until(lambda: "sleep 77" in one.row(task).activity, seconds=30)
            first.send_signal(signal.SIGTERM)
            first.communicate(timeout=20)
        parked = one.row(task)
        assert (parked.state, parked.held, parked.attempts) == ("parked", False, 0)
        with one.worker("--once") as second:
            second.communicate(timeout=50)
        assert one.row(task).result == "as far as I got"
        messages = one.store.messages(task.session_id)
        check_history(messages)
        assert [message.content for message in messages if message.role == "tool"] == [INTERRUPTED]


def test_a_killed_workers_task_is_taken_up_and_its_command_is_not_run_again(desk: DeskAt) -> None:
    command = "echo once >> runs; sleep 77"
    with OpenAIServer([call("terminal", command=command), say("carried on")]) as server:
        one = desk(server)
        task = one.send("x")
        with one.worker() as first:
            wait_until(lambda: (one.work / "runs").exists(), seconds=30)
            first.kill()
            first.communicate(timeout=20)
        with one.worker("--once") as second:
            second.communicate(timeout=50)
        done = one.row(task)
        assert (done.state, done.result) == ("done", "carried on")
        assert (one.work / "runs").read_text() == "once\n"
        assert one.store.integrity_check() == []


def test_a_worker_whose_store_was_deleted_leaves_and_says_why(desk: DeskAt) -> None:
    with OpenAIServer(default=say("too late", delay=30)) as server:
        here = desk(server)
        here.send("look")
        with here.worker() as worker:
            server.wait_for_requests(1, seconds=30)
            here.store.path.unlink()
            told, _ = worker.communicate(timeout=20)
            assert "The store was deleted" in told
            assert worker.returncode == 0
            assert "Traceback" not in told


def test_one_worker_at_a_time_is_started(desk: DeskAt) -> None:
    with OpenAIServer(default=say("over")) as server:
        here = desk(server)
        dirs = directories(here.env)

        def present() -> list[int]:
            return [one.pid for owner, one in here.store.present().items() if owner.startswith(worker.SERVES)]

        with here.worker() as first:
            wait_until(lambda: present() == [first.pid])
            before = psutil.Process().children()
            worker.ensure(here.store, dirs, here.env)
            assert psutil.Process().children() == before
            first.send_signal(signal.SIGKILL)
            first.wait()
        # One that was killed stands there still, and counts for nothing.
        assert present() == [first.pid]
        worker.ensure(here.store, dirs, here.env)
        (second,) = (child for child in psutil.Process().children() if child not in before)
        wait_until(lambda: present() == [second.pid])
        second.terminate()
        second.wait()
        assert present() == []
