"""Rows of the bench, and the table that is printed of them."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Unit = Literal["s", "ms", "MB", "MB/task"]
HEADINGS = ("measure", "hermes", "floor", "ratio", "target", "")


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement of Hermes beside its floor, both in `unit`.

    `target` is the ratio that must not be passed; None when the figure is for information only. Without a
    `floor`, there is no ratio, and `limit` (in `unit`) takes the target's place.
    """

    name: str
    hermes: float
    floor: float | None = None
    unit: Unit = "ms"
    target: float | None = None
    limit: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.hermes / self.floor if self.floor else None

    @property
    def verdict(self) -> str:
        if self.target is not None and self.ratio is not None:
            return "ok" if self.ratio <= self.target else "MISS"
        if self.limit is not None:
            return "ok" if self.hermes <= self.limit else "MISS"
        return ""

    def cells(self) -> tuple[str, ...]:
        target = f"≤ {self.target:.2f}" if self.target is not None else ""
        if self.limit is not None:
            target = f"≤ {_number(self.limit, self.unit)}"
        floor = "" if self.floor is None else _number(self.floor, self.unit)
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return (self.name, _number(self.hermes, self.unit), floor, ratio, target, self.verdict)


def _number(value: float, unit: Unit) -> str:
    digits = {"s": 3, "ms": 2, "MB": 1, "MB/task": 3}[unit]
    return f"{value:.{digits}f} {unit}"


def table(rows: Iterable[Row]) -> str:
    """The rows as text, one a line under the headings; numbers to the right."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        f"{line[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
        for line in lines
    )


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def p99(values: Sequence[float]) -> float:
    """The value that one in a hundred exceeds (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * 99 // 100) - 1)]
