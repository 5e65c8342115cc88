"""From exec to a prompt that echoes a key; memory then and later; what being idle costs."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from harness.bench import PROMPT, Bench, Program, python
from harness.process import cpu_seconds, resident
from harness.report import Row, median

KEY = "Q"
IDLE_SECONDS = 5.0
IDLE_LIMIT_MS = 10.0
"""Processor time in five idle seconds that still counts as none: 0.2 %."""


@dataclass(slots=True)
class Starts:
    """Figures of one program's starts: seconds, and MB."""

    echo: list[float] = field(default_factory=list)
    painted: list[float] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)


def run(bench: Bench) -> Iterator[Row]:
    floor = bench.floor("bare_prompt")
    hermes = bench.subject(floor=floor)
    ours, bare = Starts(), Starts()
    for program in (hermes, floor):
        start(bench, program, Starts())  # once unmeasured: compiled files, disk cache
    for _ in range(bench.repeat(12)):
        start(bench, hermes, ours)
        start(bench, floor, bare)
    yield Row("exec → prompt echoes a key", median(ours.echo), median(bare.echo), "s", target=1.3)
    yield Row("exec → prompt is drawn", median(ours.painted), median(bare.painted), "s")
    yield Row("resident at the first paint", median(ours.resident), median(bare.resident), "MB", target=1.6)
    yield from idle(bench, hermes, floor)
    yield from version(bench)


def start(bench: Bench, program: Program, into: Starts) -> None:
    with bench.terminal(program) as terminal:
        painted = terminal.until(PROMPT)
        into.resident.append(resident(terminal.pid))
        terminal.press(KEY, KEY.encode())
        into.echo.append(terminal.last_read - terminal.started)
        into.painted.append(painted - terminal.started)


def idle(bench: Bench, hermes: Program, floor: Program) -> Iterator[Row]:
    """Both at once, each five seconds after its start."""
    with bench.at_prompt(hermes) as ours, bench.at_prompt(floor) as bare:
        ours.listen(IDLE_SECONDS)
        before = cpu_seconds(ours.pid), cpu_seconds(bare.pid)
        ours.listen(IDLE_SECONDS)
        used = cpu_seconds(ours.pid) - before[0], cpu_seconds(bare.pid) - before[1]
        memory = resident(ours.pid), resident(bare.pid)
        yield Row("resident, all loaded and idle", *memory, "MB", target=2.5)
        yield Row("processor time in 5 s idle", used[0] * 1e3, used[1] * 1e3, "ms", limit=IDLE_LIMIT_MS)


def version(bench: Bench) -> Iterator[Row]:
    floor = python("-c", "pass")
    hermes = bench.subject("--version", floor=floor)
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(bench.repeat(20)):
        ours.append(bench.run(hermes).wall)
        bare.append(bench.run(floor).wall)
    yield Row("--version, against python -c pass", median(ours), median(bare), "s", target=2.5)
