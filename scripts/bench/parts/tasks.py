"""200 background tasks with a model of two seconds: total time against the ideal, and memory a task."""

import math
from collections.abc import Iterator

import msgspec
from harness.bench import FOLDER, Bench, python
from harness.report import Row

TASKS = 200
MODEL_SECONDS = 2.0
TARGET = 1.10


class Figures(msgspec.Struct):
    """What `pool.py` prints: seconds, and MB in all."""

    seconds: float
    submitted: float
    running: float
    kept: float


def run(bench: Bench) -> Iterator[Row]:
    if bench.self_check:
        return  # the floor is arithmetic
    for threads in (4, 32, 200):
        tasks = 40 if bench.quick and threads == 4 else TASKS
        yield from pool(bench, threads, tasks, "")
    yield from pool(bench, 200, TASKS, bench.base_url)
    ours = measure(bench, 200, TASKS, bench.base_url)
    bare = float(bench.run(bench.floor("client_pool", "200", str(TASKS))).output)
    yield Row(f"{TASKS} tasks, 200 threads, over HTTP: total / bare client", ours.seconds, bare, "s", target=TARGET)


def measure(bench: Bench, threads: int, tasks: int, base_url: str) -> Figures:
    arguments = (str(FOLDER / "pool.py"), str(threads), str(tasks), *([base_url] if base_url else []))
    return msgspec.json.decode(bench.run(python(*arguments)).output, type=Figures)


def pool(bench: Bench, threads: int, tasks: int, base_url: str) -> Iterator[Row]:
    figures = measure(bench, threads, tasks, base_url)
    ideal = math.ceil(tasks / threads) * MODEL_SECONDS
    name = f"{tasks} tasks, {threads} threads{', over HTTP' if base_url else ''}"
    # Over HTTP the client library's own share of the processor is more than a tenth: see the floor below.
    yield Row(f"{name}: total / ideal", figures.seconds, ideal, "s", target=None if base_url else TARGET)
    yield Row(f"{name}: resident a task, at the peak", figures.running / tasks, unit="MB/task")
    yield Row(f"{name}: resident a task, afterwards", figures.kept / tasks, unit="MB/task")
