"""Have several processes write to one store at once, and count what is there afterwards.

    scripts/bench/writers.py [--processes 8] [--seconds 30] [--folder FOLDER]

Each process appends to a session of its own and to one that all share, makes, claims and ends tasks, logs events and
searches, as fast as it can, and counts what the store took. An error is a call that raised; lost is a message that
was taken and is not there, in its place.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from agent.events import Steered
from agent.messages import Message
from agent.records import Lease
from agent.store.sqlite import SqliteStore

SHARED = "shared"


def write(store: SqliteStore, name: str, seconds: float) -> tuple[int, int]:
    """How many messages each of the two sessions got from here, and how many calls failed."""
    count = errors = 0
    store.create_session(name, source="bench")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            for session in (name, SHARED):
                store.append(session, Message("user", f"{name} {count}"))
            count += 1
            if count % 4 == 0:
                task = store.create_task(prompt="x", owner=name, settings="{}")
                store.claim_task(Lease(name, 1, 1.0, 0.0), owner=name)
                store.append_event(task.id, Steered(name))
                store.update_task(task.id, state="done", result=name)
            if count % 16 == 0:
                store.search(name, limit=3)
        except Exception as error:  # noqa: BLE001  (what is counted)
            errors += 1
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
    return count, errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--as-writer", nargs=2, metavar=("FILE", "NAME"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_writer:
        path, name = options.as_writer
        store = SqliteStore(Path(path))
        print(*write(store, name, options.seconds))
        store.close()
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure(Path(folder) / "state.db", [f"p{number}" for number in range(options.processes)], options.seconds)


def measure(path: Path, names: list[str], seconds: float) -> None:
    store = SqliteStore(path)
    store.create_session(SHARED, source="bench")
    program = [sys.executable, __file__, "--seconds", str(seconds), "--as-writer", str(path)]
    running = [subprocess.Popen([*program, name], stdout=subprocess.PIPE, text=True) for name in names]
    wrote, errors, lost = 0, 0, 0
    outcomes = [process.communicate()[0].split() for process in running]
    shared = [message.content for message in store.messages(SHARED)]
    for name, process, outcome in zip(names, running, outcomes, strict=True):
        if process.returncode:
            errors += 1
            continue
        count = int(outcome[0])
        wrote, errors = wrote + 2 * count, errors + int(outcome[1])
        expected = [f"{name} {number}" for number in range(count)]
        own = [message.content for message in store.messages(name)]
        of_shared = [text for text in shared if text.startswith(f"{name} ")]
        lost += sum(len(set(expected) - set(found)) for found in (own, of_shared))
        errors += (own != expected) + (of_shared != expected)
    print(f"{len(names)} processes, {seconds:g} s: {wrote:,} messages, {wrote / seconds:,.0f} a second")
    print(f"errors {errors}, lost messages {lost}, integrity: {store.integrity_check() or 'ok'}")
    store.close()


if __name__ == "__main__":
    main()
