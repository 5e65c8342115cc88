"""Run many background tasks through one process and one store on disk: what is left of them in memory, threads, files.

    leak.py [--tasks N] [--after M]

Prints the process after M tasks, after half of N and after N: threads, open files, Python's objects, resident memory.
Between the first two the caches of the store fill; from then on nothing may grow. Each task has a step that
runs a shell command and one that answers, through the pool, the runner and the agent that a terminal uses.
"""

import argparse
import gc
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from agent.approvals import Policy
from agent.cancel import CancelToken
from agent.config import Config, Settings, directories
from agent.messages import Message
from agent.models.scripted import Answer, Call, Say, ScriptedModel
from agent.protocols import ModelOutput, ToolSpec
from agent.records import TaskOptions
from agent.store.leases import is_alive, new_lease
from agent.store.sqlite import SqliteStore
from agent.task_runner import TaskRunner
from agent.tasks import TaskPool

OWNER = "terminal:leak"
MORE = 1.05
"""What counts as the same level of objects and memory: allocators breathe a little."""


@dataclass(frozen=True)
class Level:
    tasks: int
    threads: int
    files: int
    objects: int
    memory: int

    def __str__(self) -> str:
        counts = f"{self.threads:>4} threads  {self.files:>4} files  {self.objects:>7} objects"
        return f"{self.tasks:>6} tasks  {counts}  {self.memory / 1e6:>7.1f} MB"


class Forgetful:
    """A scripted model that keeps no record of its requests, which would be the leak."""

    name = "scripted"

    def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, cancel: CancelToken
    ) -> Iterator[ModelOutput]:
        return ScriptedModel(answer).stream(messages, tools, cancel=cancel)


def answer(messages: Sequence[Message]) -> Answer:
    if messages[-1].role == "user":
        return [Say("Looking."), Call("terminal", command="echo something")]
    return Say("done")


def level(tasks: int) -> Level:
    """How it stands once the pool is idle."""
    time.sleep(1.5)
    gc.collect()
    process = psutil.Process()
    return Level(tasks, threading.active_count(), process.num_fds(), len(gc.get_objects()), process.memory_info().rss)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--after", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        store = SqliteStore(home / "state.db")
        config = Config(Settings(), {}, directories({"HERMES_HOME": folder}))
        runner = TaskRunner(config, store, policy=Policy("yolo"), owner=OWNER, env={}, model=Forgetful())
        pool = TaskPool(
            store, runner, notify=lambda _: None, owner=OWNER, new_lease=new_lease, is_alive=is_alive, workers=4
        )
        began, done, levels = time.monotonic(), 0, list[Level]()
        for upto in (arguments.after, arguments.tasks // 2, arguments.tasks):
            while done < upto:
                # As many at a time as before the first look: what a longer queue takes is no leak.
                batch = min(arguments.after, upto - done)
                for number in range(done, done + batch):
                    pool.submit(f"task {number}", options=TaskOptions(approvals="yolo"), cwd=folder)
                while pool.live():
                    time.sleep(0.05)
                done += batch
            levels.append(level(done))
            print(levels[-1], flush=True)
        failed = [task for task in store.tasks() if task.state != "done"]
        pool.close()
        store.close()
    print(f"{time.monotonic() - began:.0f} s; {len(failed)} not done")
    first, half, last = levels
    grown = (
        last.threads > first.threads
        or last.files > half.files
        or last.objects > first.objects * MORE
        or last.memory > half.memory * MORE
    )
    return 1 if failed or grown else 0


if __name__ == "__main__":
    sys.exit(main())
