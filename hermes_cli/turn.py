"""The turn of a session."""

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.cancel import CancelToken
from agent.events import Event
from agent.store.rules import EVENTS_PER_TASK

if TYPE_CHECKING:
    from run_agent import AIAgent


@dataclass(slots=True)
class Turn:
    """The turn that runs in the foreground. `rest`: it goes on with one that the store holds.

    A `detached` one is nobody's any more: at its next step boundary it becomes a task. One that only `compresses` the
    conversation cannot.
    """

    prompt: str
    rest: bool = False
    compresses: bool = False
    cancel: CancelToken = field(default_factory=CancelToken)
    started: float = field(default_factory=time.monotonic)
    activity: str = "thinking"
    thread: threading.Thread | None = None
    detached: bool = False
    steering: deque[str] = field(default_factory=deque)
    """Lines that it reads before its next step."""
    log: deque[Event] = field(default_factory=lambda: deque(maxlen=EVENTS_PER_TASK))
    """What happened in it so far. Belongs to its thread."""
    agent: "AIAgent | None" = None
    session_id: str = ""
    """The conversation that it was sent to, if that had begun."""
