"""How long to wait before trying again."""

import random


def backoff(failures: int, *, least: float = 0.5, most: float = 60.0) -> float:
    """Seconds before the next try after so many in a row that failed, 1 or more: doubling, and never twice the same."""
    ceiling = min(most, least * 2.0 ** min(failures - 1, 30))
    return random.uniform(ceiling / 2, ceiling)
