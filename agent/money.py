"""Sums of money for people."""

from math import floor, log10


def dollars(value: float) -> str:
    """US dollars: $0.06, and $0.0004 or $0.000001 where two places would say nothing."""
    if value >= 0.01 or value == 0:
        return f"${value:.2f}"
    return f"${value:.{max(4, -floor(log10(value)))}f}"
