"""Kill processes that run background tasks, at labelled points and at random moments, and count what went wrong.

    crash.py [--runs N] [--seed N]

Each run stores a few tasks, forks a front end that runs and tells them (and often a worker beside it), kills one or
both with SIGKILL, sometimes the next front end too, and lets a last one finish. Then every task must be done, no tool
call executed twice, no outcome told twice unless marked as a possible repeat, and the database sound. The points are
in this program's own store and tool; the product has none.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import agent.task_runs
from agent.approvals import Policy
from agent.cancel import CancelToken
from agent.config import Config, Settings, directories
from agent.messages import Message
from agent.models.scripted import Answer, Call, Say, ScriptedModel, Wait
from agent.protocols import Action, Task, ToolContext, ToolResult
from agent.records import Delivery, Lease, TaskOptions
from agent.store.leases import is_alive, new_lease
from agent.store.sqlite import SqliteStore
from agent.task_rows import options_text
from agent.task_runner import TaskRunner
from agent.tasks import TaskPool

POINTS = ("claimed", "reply stored", "tool begun", "tool done", "result stored", "ended", "telling", "told")
ONCE_A_TASK = ("claimed", "ended", "telling", "told")
TASKS, STEPS, PAUSE = 4, 3, 0.002
DEATHS = 2
"""Processes that may die with one task; a third would rightly end it."""
ALLOWED = options_text(TaskOptions(approvals="yolo"))

agent.task_runs.LOOK = agent.task_runs.LOOK_IDLE = 0.01
agent.task_runs.BEAT = 0.05


@dataclass
class Fate:
    """Dies at the `count`-th passing of `point`; never when it is ""."""

    point: str = ""
    count: int = 1

    def passes(self, point: str) -> None:
        if point == self.point:
            self.count -= 1
            if self.count <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)


class Arguments(msgspec.Struct):
    text: str


@dataclass(frozen=True)
class Mark:
    """A tool whose executions are counted: a line in a file for each."""

    file: Path
    fate: Fate
    name: str = "mark"
    description: str = "Leaves a mark."
    arguments: type[Any] = Arguments

    def plan(self, args: Arguments, context: ToolContext) -> Action:
        return Action("write", f"mark {args.text}", (context.cwd / "marks",))

    def preview(self, args: Arguments, context: ToolContext) -> str:
        del context
        return args.text

    def run(self, args: Arguments, context: ToolContext, cancel: CancelToken) -> ToolResult:
        write_line(self.file, f"{args.text} {context.call_id}")
        cancel.wait(PAUSE)
        self.fate.passes("tool done")
        return ToolResult("marked")


class PointedStore(SqliteStore):
    """The store, with the points between its calls."""

    def __init__(self, path: Path, fate: Fate) -> None:
        super().__init__(path)
        self.fate = fate

    def append(self, session_id: str, message: Message) -> None:
        super().append(session_id, message)
        if message.role in ("assistant", "tool"):
            self.fate.passes({"assistant": "reply stored", "tool": "result stored"}[message.role])

    def mark_begun(self, session_id: str, call_id: str) -> bool:
        begun = super().mark_begun(session_id, call_id)
        self.fate.passes("tool begun")
        return begun

    def claim_task(self, lease: Lease, **which: Any) -> Task | None:
        task = super().claim_task(lease, **which)
        if task is not None:
            self.fate.passes("claimed")
        return task

    def update_task(self, task_id: str, **changes: Any) -> Task | None:
        task = super().update_task(task_id, **changes)
        if changes.get("state") == "done":
            self.fate.passes("ended")
        return task

    def claim_delivery(self, task_id: str, surface: str, teller: Lease) -> Delivery | None:
        delivery = super().claim_delivery(task_id, surface, teller)
        self.fate.passes("telling")
        return delivery


def answer(messages: Sequence[Message]) -> Answer:
    """Two marks a step, then an end. A mark's text is the task's and never comes again."""
    task = next(message.content for message in messages if message.role == "user")
    done = sum(message.role == "assistant" for message in messages)
    if done == STEPS:
        return [Wait(PAUSE), Say(f"{task} is done")]
    return [Wait(PAUSE), Say("Marking."), *(Call("mark", text=f"{task}.{done}.{twin}") for twin in "ab")]


def write_line(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


# -- a process ---------------------------------------------------------------------------------------


def serve(home: Path, fate: Fate, *, front_end: bool) -> None:
    """In a forked child: run what there is, tell what is to be told, until nothing is left."""
    store = PointedStore(home / "state.db", fate)
    config = Config(Settings(), {}, directories({"HERMES_HOME": str(home)}))
    runner = TaskRunner(
        config, store, policy=Policy("yolo"), env={}, model=ScriptedModel(answer), tools=[Mark(home / "marks", fate)]
    )
    owner = f"terminal:{os.getpid()}-{time.monotonic_ns()}" if front_end else None
    pool = TaskPool(
        store,
        runner,
        notify=lambda event: None,
        workers=2,
        owner=owner,
        kind="terminal:",
        new_lease=new_lease,
        is_alive=is_alive,
    )
    pool.open()
    while pool.look() or (owner is not None and store.undelivered(owner)):
        for delivery in store.undelivered(owner) if owner is not None else ():
            claimed = store.claim_delivery(delivery.task_id, delivery.surface, pool.lease)
            if claimed is not None:
                write_line(home / "told", f"{claimed.task_id} {'repeat' if claimed.repeat else 'first'}")
                fate.passes("told")
                store.mark_told(claimed.task_id, claimed.surface)
        time.sleep(0.002)
    pool.close(park=True, wait=5)


def forked(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    except BaseException as fault:  # noqa: BLE001  (a forked child must not go on as its parent)
        sys.stderr.write(f"{type(fault).__name__}: {fault}\n")
        os._exit(1)


def end_of(pid: int, within: float) -> int | None:
    """The exit status, None when it still runs."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.001)
    return None


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


# -- a run -------------------------------------------------------------------------------------------


def run(home: Path, number: int, chance: random.Random, counts: Counter[str]) -> None:
    store = SqliteStore(home / "state.db")
    tasks = [
        store.create_task(
            prompt=f"task{number}.{index}", owner="terminal:gone", settings="{}", options=ALLOWED, cwd=str(home)
        )
        for index in range(TASKS)
    ]
    store.close()  # no connection may be open in a process that forks
    left = DEATHS
    for _ in range(chance.choice((1, 1, 2))):
        left -= killed(home, number, chance, counts, most=left) if left else 0
    last = forked(lambda: serve(home, Fate(), front_end=True))
    if end_of(last, 60) != 0:
        counts["last process failed"] += 1
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            kill(last)
    check(home, [task.id for task in tasks], counts)


def killed(home: Path, number: int, chance: random.Random, counts: Counter[str], *, most: int) -> int:
    """A front end, and maybe a worker beside it, that die: at a point in turn, or at random. Gives how many."""
    at_point = number % 3 != 0
    point = POINTS[number % len(POINTS)]
    times = TASKS if point in ONCE_A_TASK else TASKS * STEPS
    fate = Fate(point, chance.randint(1, times)) if at_point else Fate()
    pids = [forked(lambda: serve(home, fate, front_end=True))]
    if chance.random() < 0.4 and most > 1:
        pids.append(forked(lambda: serve(home, Fate(), front_end=False)))
    status = end_of(pids[0], 5.0 if at_point else chance.uniform(0, 0.5))
    for pid in pids if status is None else pids[1:]:
        # A worker may have ended by itself.
        if os.waitpid(pid, os.WNOHANG)[0] == 0:
            kill(pid)
            status = signal.SIGKILL
    counts["processes killed"] += status == signal.SIGKILL
    if at_point and status == signal.SIGKILL:
        counts[f"killed at {fate.point!r}"] += 1
    return len(pids)


def check(home: Path, ids: list[str], counts: Counter[str]) -> None:
    store = SqliteStore(home / "state.db")
    rows = [store.task(task_id) for task_id in ids]
    lost = [row for row in rows if row is None or row.state != "done" or row.result != f"{row.prompt} is done"]
    counts["tasks"] += len(ids)
    counts["tasks lost"] += len(lost)
    for row in lost:
        print(f"lost: {row}", file=sys.stderr)
    marks = Counter((home / "marks").read_text("utf-8").split("\n")[:-1])
    counts["tool calls"] = len(marks)
    counts["tool calls executed twice"] = sum(times - 1 for times in marks.values())
    told = [line.split() for line in (home / "told").read_text("utf-8").splitlines()]
    first = Counter(task_id for task_id, how in told if how == "first")
    counts["told twice"] = sum(times - 1 for times in first.values())
    counts["told again, marked as a possible repeat"] = sum(how == "repeat" for _, how in told)
    counts["not told"] += len(set(ids) - {task_id for task_id, _ in told})
    counts["databases not sound"] += bool(store.integrity_check())
    store.close()


FAULTS = (
    "tasks lost",
    "tool calls executed twice",
    "told twice",
    "not told",
    "databases not sound",
    "last process failed",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chance, counts, began = random.Random(arguments.seed), Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("marks", "told"):
            (Path(folder) / name).touch()
        for number in range(arguments.runs):
            run(Path(folder), number, chance, counts)
    print(f"{arguments.runs} runs, {time.monotonic() - began:.0f} s")
    for name in sorted({*counts, *FAULTS}, key=lambda name: (name in FAULTS, name)):
        print(f"{counts[name]:>6}  {name}")
    return 1 if any(counts[name] for name in FAULTS) else 0


if __name__ == "__main__":
    sys.exit(main())
