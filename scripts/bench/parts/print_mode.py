"""`hermes -p "hi"` against the bare client asking the same of a server without delay."""

from collections.abc import Iterator
from operator import attrgetter

from harness.bench import Bench
from harness.process import Finished
from harness.report import Row, Unit, median
from responses import WORD

FIGURES: tuple[tuple[str, str, Unit, float | None], ...] = (
    ("-p: wall", "wall", "s", 1.15),
    ("-p: peak memory", "peak", "MB", 1.15),
    ("-p: processor time", "cpu", "s", None),
    ("-p: exec → first text", "seen", "s", None),
)


def run(bench: Bench) -> Iterator[Row]:
    floor = bench.floor("bare_client", "hi")
    hermes = bench.subject("-p", "hi", floor=floor)
    ours: list[Finished] = []
    bare: list[Finished] = []
    for program in (hermes, floor):
        bench.run(program)
    for _ in range(bench.repeat(12)):
        ours.append(bench.run(hermes, WORD.encode()))
        bare.append(bench.run(floor, WORD.encode()))
    for name, field, unit, target in FIGURES:
        figure = attrgetter(field)
        yield Row(name, median([figure(one) for one in ours]), median([figure(one) for one in bare]), unit, target)
