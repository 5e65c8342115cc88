"""A process of its own that works on a store: `writer.py MODE PATH NAME [SECONDS]`. It begins when a line comes in.

What it did is one line of JSON on stdout; mode `talk` prints a line for each message that is stored.
"""

import json
import sys
import time
from pathlib import Path

from agent.events import Steered
from agent.messages import Message
from agent.records import Lease
from agent.store.sqlite import SqliteStore


def mix(store: SqliteStore, name: str, seconds: float) -> None:
    """A bit of everything, as fast as it goes."""
    messages, numbers, events = 0, list[int](), 0
    store.create_session(name, source="test")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for session in (name, "shared"):
            store.append(session, Message("user", f"{name} {messages}"))
        messages += 1
        if messages % 4 == 0:
            task = store.create_task(prompt="x", owner=name, settings="{}")
            numbers.append(task.number)
            store.claim_task(Lease(name, 1, 1.0, 0.0), owner=name)
            store.append_event(task.id, Steered(name))
            store.update_task(task.id, state="done", result=name)
            events += 1
        if messages % 16 == 0:
            store.search(name, limit=3)
            store.heartbeat(name)
    sys.stdout.write(json.dumps({"messages": messages, "numbers": numbers, "events": events}))


def claim(store: SqliteStore, name: str, _seconds: float) -> None:
    claimed = list[str]()
    while task := store.claim_task(Lease(name, 1, 1.0, 0.0)):
        claimed.append(task.id)
    sys.stdout.write(json.dumps(claimed))


def talk(store: SqliteStore, name: str, _seconds: float) -> None:
    store.create_session(name, source="test")
    number = len(store.messages(name))
    while True:
        store.append(name, Message("user", f"{number} {'x' * 3_000}"))
        store.update_task(store.create_task(prompt=str(number), owner=name, settings="{}").id, state="done")
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        number += 1


if __name__ == "__main__":
    mode, path, name, *rest = sys.argv[1:]
    opened = SqliteStore(Path(path))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    {"mix": mix, "claim": claim, "talk": talk}[mode](opened, name, float(rest[0]) if rest else 0.0)
    opened.close()
