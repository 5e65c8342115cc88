"""What an agent may do for whom: for an admin all that it may at the terminal, for others less."""

from dataclasses import dataclass
from pathlib import Path

from agent.records import Limits
from gateway.authorization import Verdict
from gateway.config import PlatformConfig
from gateway.session import SessionSource

COMMANDS = ("terminal", "process")
"""The tools that run commands. Without a sandbox only those have them who have everything."""

NOT_FOR_CHATS = ("delegate",)
"""Tools that are for those who have everything, because they cost most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What holds for all chats of a gateway: whether a sandbox works here, and what commands in it must not see."""

    walled: bool = False
    hidden: tuple[Path, ...] = ()

    def limits(self, source: SessionSource, verdict: Verdict, config: PlatformConfig | None) -> Limits | None:
        """Those of a turn or a task that this message starts. None: everything.

        A conversation that several people share has the limits of those who have less, whoever writes.
        """
        shared = source.is_group and (config is None or config.sessions == "chat")
        if config is not None and (config.tools == "full" or (verdict.admin and not shared)):
            return None
        without = {*NOT_FOR_CHATS, *(config.tools_off if config else ())} | (set() if self.walled else {*COMMANDS})
        network = config is not None and config.network
        return Limits(tuple(sorted(without)), network, tuple(str(place) for place in self.hidden))
