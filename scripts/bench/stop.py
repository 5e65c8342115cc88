"""How long it takes from `/tasks stop` until all is gone, when another process runs the task.

    stop.py [--times N]

A `hermes worker` runs three tasks at once: a shell that sleeps for 600 s with children, a reply that streams for ever,
and one that waits for an approval. This process stops them. Gone means: no process of the command is left, the stream's
connection is closed, the task is over and its run has ended.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from agent.protocols import Task
from agent.records import TaskOptions
from agent.store.leases import is_alive, new_lease
from agent.store.sqlite import SqliteStore
from agent.task_rows import options_text
from agent.tasks import TaskPool
from tests.support.openai_server import OpenAIServer, Recorded, Step, call, say

SLEEP = "600.125"
"""Seconds that nothing else on this machine sleeps."""

COMMAND = f"sleep {SLEEP} & (sleep {SLEEP} & sleep {SLEEP}) & setsid sleep {SLEEP} & sleep {SLEEP}"
SLEEPERS = 5
KINDS = ("sleep", "stream", "approval")
LIMIT = 1.0
OWNER = "terminal:stop"


def answer(request: Recorded) -> Step:
    match request.body["messages"][-1]["content"]:
        case "stream":
            return say(*["word "] * 100_000, pause=0.005)
        case "sleep":
            return call("terminal", command=COMMAND)
        case _:
            return call("terminal", command="touch made")


def sleepers() -> list[int]:
    return [one.pid for one in psutil.process_iter(["cmdline"]) if SLEEP in (one.info["cmdline"] or [])[-1:]]


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def await_(met: Callable[[], bool], what: str, within: float = 30.0) -> float:
    """When it came true. Raises: SystemExit."""
    deadline = time.monotonic() + within
    while not met():
        if time.monotonic() > deadline:
            raise SystemExit(f"never: {what}")
        time.sleep(0.004)
    return time.monotonic()


class Bench:
    """A store, a worker on it, and a pool that only gives orders."""

    def __init__(self, folder: Path, server: OpenAIServer) -> None:
        # Nobody is asked about Hermes' own folder: that is a no.
        home, self.work = folder / "home", folder / "work"
        self.work.mkdir()
        self.port = int(server.base_url.split(":")[2].split("/")[0])
        env = os.environ | {
            "HERMES_HOME": str(home),
            "HERMES_PROVIDER": "custom",
            "HERMES_MODEL": "test-model",
            "OPENAI_BASE_URL": server.base_url,
            "OPENAI_API_KEY": "none",
        }
        self.store = SqliteStore(home / "state" / "state.db")
        command = [sys.executable, "-m", "hermes_cli.main", "worker", "--idle", "600"]
        self.process = subprocess.Popen(command, env=env, cwd=Path(__file__).parent.parent.parent, stdout=-3)
        self.worker = psutil.Process(self.process.pid)
        self.pool = TaskPool(
            self.store, self._nothing, notify=lambda _: None, workers=0, new_lease=new_lease, is_alive=is_alive
        )

    @staticmethod
    def _nothing(*_arguments: object, **_fields: object) -> None:
        raise AssertionError("this process runs nothing")

    def send(self, kind: str) -> Task:
        options = options_text(TaskOptions(approvals="ask" if kind == "approval" else "yolo"))
        return self.store.create_task(prompt=kind, owner=OWNER, settings="{}", options=options, cwd=str(self.work))

    def state(self, task: Task) -> str:
        row = self.store.task(task.id)
        return row.state if row else ""

    def connections(self) -> int:
        """Open ones to the server; those that wait for the next request among them."""
        found = self.worker.net_connections()
        return sum(one.status == psutil.CONN_ESTABLISHED and one.raddr.port == self.port for one in found if one.raddr)

    def round(self) -> dict[str, float]:
        """Seconds until each kind was gone."""
        tasks = {kind: self.send(kind) for kind in KINDS}
        await_(lambda: len(sleepers()) == SLEEPERS, "the sleepers")
        await_(lambda: self.state(tasks["approval"]) == "waiting", "the approval")
        await_(lambda: self.state(tasks["stream"]) == "running", "the stream")
        time.sleep(0.3)
        pids, connections = sleepers(), self.connections()
        gone: dict[str, float] = {}
        for kind, task in tasks.items():
            began = time.monotonic()
            self.pool.stop(task.id)
            over: dict[str, Callable[[], bool]] = {
                "sleep": lambda: not any(runs(pid) for pid in pids),
                "stream": lambda: self.connections() < connections,
                "approval": lambda task=task: self.state(task) == "cancelled",  # type: ignore[misc]
            }
            gone[kind] = await_(over[kind], f"the end of {kind}") - began
        return gone


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=100)
    arguments = parser.parse_args()
    taken: defaultdict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, OpenAIServer(default=answer) as server:
        bench = Bench(Path(folder), server)
        try:
            for _ in range(arguments.times):
                for kind, seconds in bench.round().items():
                    taken[kind].append(seconds)
        finally:
            bench.process.terminate()
            bench.process.wait(20)
    print(f"{'stop to all gone':<20} median     p99     most")
    worst = 0.0
    for kind, all_seconds in taken.items():
        ranked = sorted(all_seconds)
        p99 = ranked[min(len(ranked) - 1, int(len(ranked) * 0.99))]
        worst = max(worst, p99)
        print(f"{kind:<20} {ranked[len(ranked) // 2]:.3f} s  {p99:.3f} s  {ranked[-1]:.3f} s")
    return 1 if worst > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
