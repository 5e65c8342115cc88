"""What a turn may use, shared with the agents that it sends: their steps and costs are those of the turn."""

import threading

from agent.messages import Usage
from agent.money import dollars


class Allowance:
    """`most` steps and `dollars` (0: no limit) for one turn after the other. Safe to share between threads.

    A part of the steps is promised to an agent before it works, and given back as far as it did not use it.
    """

    def __init__(self, most: int, dollars: float = 0.0) -> None:
        self._most = most
        self._lock = threading.Lock()
        self.begin(dollars)

    def begin(self, dollars: float) -> None:
        """A new turn."""
        with self._lock:
            self._dollars = dollars
            self._own = self._sent = self._promised = 0
            self._usage, self._paid = Usage(), Usage()

    def step(self, number: int) -> None:
        """The turn's own agent takes its step with this number."""
        with self._lock:
            self._own = number

    def paid(self, usage: Usage) -> None:
        """The turn's own agent has used that."""
        with self._lock:
            self._paid += usage

    def over(self) -> str:
        """Why the turn may cost no more, "" while it may. A limit that cannot be kept is reached at once."""
        with self._lock:
            spent, limit = self._paid + self._usage, self._dollars
        if not limit or spent == Usage():
            return ""
        if spent.cost is None:
            return f"What the model costs is not known, so no limit of {dollars(limit)} can be kept."
        return f"Stopped at {dollars(spent.cost)} of {dollars(limit)}." if spent.cost >= limit else ""

    def promise(self, wanted: int, among: int = 1) -> int:
        """Steps for the first of so many agents, `wanted` at most; one is left for the turn itself. May be 0."""
        with self._lock:
            left = self._most - self._own - self._sent - self._promised - 1
            given = max(0, min(wanted, left // among))
            self._promised += given
            return given

    def used(self, usage: Usage, *, steps: int = 1) -> None:
        """An agent that was sent has taken steps of those that it was promised."""
        with self._lock:
            self._sent += steps
            self._promised -= steps
            self._usage += usage

    def give_back(self, steps: int) -> None:
        with self._lock:
            self._promised -= steps

    @property
    def sent(self) -> tuple[int, Usage]:
        """The steps that agents sent by this turn have taken, and what they used."""
        with self._lock:
            return self._sent, self._usage
