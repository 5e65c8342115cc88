"""Fill a store, and print what opening, writing, reading and searching it take.

    scripts/bench/store.py [--messages 100000] [--sessions 1000] [--shorter 1] [--folder FOLDER]

The text is made of 20,000 made-up words, as common and as rare as words are in a language, with CJK and identifiers
among them. The folder should be on the kind of disk that the figures are to tell of.
"""

import argparse
import itertools
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from agent.events import Steered
from agent.messages import Message
from agent.store.schema import INDEX
from agent.store.sqlite import SqliteStore

LETTERS = "etaoinshrdlucmfwypvbgkqjxz"
LENGTHS = (10, 40, 80, 300)
"""Words of a message; divided by `--shorter`."""
AT_ONCE = 50_000
DIFFERENT = 100_000
"""Texts; a store with more messages holds some of them several times."""


def words(dice: random.Random) -> list[str]:
    latin = ["".join(dice.choices(LETTERS, k=dice.randint(2, 9))) for _ in range(17_000)]
    code = [f"{dice.choice(latin)}_{dice.choice(latin)}()" for _ in range(1_000)]
    cjk = ["".join(chr(dice.randint(0x4E00, 0x6000)) for _ in range(dice.randint(1, 4))) for _ in range(2_000)]
    found = [*latin, *code, *cjk]
    dice.shuffle(found)
    return found


def texts(dice: random.Random, vocabulary: list[str], shorter: int) -> Iterator[str]:
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(vocabulary) + 1)))
    while True:
        yield " ".join(dice.choices(vocabulary, cum_weights=weights, k=max(dice.choice(LENGTHS) // shorter, 3)))


def fill(store: SqliteStore, messages: int, sessions: int, text: Iterator[str]) -> None:
    """In large pieces and without the index, which is built at the end: a conversation never does that."""
    said = list(itertools.islice(text, min(messages, DIFFERENT)))
    with store.database.write(durable=False) as connection:
        connection.execute("DROP TRIGGER IF EXISTS messages_indexed")
        connection.executemany(
            "INSERT INTO sessions VALUES (?, 'terminal', ?, '/src', 'm', '{}', '', ?, ?, 0, 0)",
            ((f"s{number}", f"title of s{number}", float(number), float(number)) for number in range(sessions)),
        )
    each = messages // sessions
    for start in range(0, messages, AT_ONCE):
        rows = (
            (
                f"s{number // each}",
                number % each + 1,
                "assistant" if number % 2 else "user",
                said[number % len(said)],
                float(number),
            )
            for number in range(start, min(start + AT_ONCE, each * sessions))
        )
        with store.database.write(durable=False) as connection:
            connection.executemany(
                "INSERT INTO messages (session_id, number, role, content, tool_calls, tool_call_id, reasoning, at)"
                " VALUES (?, ?, ?, ?, '', '', '', ?)",
                rows,
            )
    with store.database.write() as connection:
        connection.execute("UPDATE sessions SET messages = ?", (each,))
        connection.execute(next(statement for statement in INDEX if "TRIGGER messages_indexed" in statement))
    store.rebuild_index()


def timed(work: Callable[[], object], times: int) -> list[float]:
    """Milliseconds of each run, sorted."""
    taken: list[float] = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1_000)
    return sorted(taken)


def show(what: str, taken: list[float]) -> None:
    p95 = taken[min(len(taken) - 1, int(len(taken) * 0.95))]
    print(f"{what:<44} median {statistics.median(taken):8.2f} ms   p95 {p95:8.2f} ms   max {taken[-1]:8.2f} ms")


def search(store: SqliteStore, what: str, queries: list[str]) -> None:
    remaining = iter(queries * 5)
    show(f"search, {what}", timed(lambda: store.search(next(remaining)), len(queries) * 5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--shorter", type=int, default=1, help="divide the length of messages by this")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure(Path(folder) / "state.db", options.messages, options.sessions, options.shorter)


def measure(path: Path, messages: int, sessions: int, shorter: int) -> None:
    dice = random.Random(1)
    vocabulary = words(dice)
    text = texts(dice, vocabulary, shorter)
    program = (
        "import sys, time; start = time.perf_counter(); from pathlib import Path; "
        "from agent.store.sqlite import SqliteStore; loaded = time.perf_counter(); "
        f"SqliteStore(Path({str(path)!r})).sessions(limit=1); "
        "print((loaded - start) * 1000, (time.perf_counter() - loaded) * 1000)"
    )

    def opening(what: str) -> None:
        """In processes of their own, import apart."""
        runs = [subprocess.check_output([sys.executable, "-c", program], text=True).split() for _ in range(11)]
        show(f"open and list one session, {what}", sorted(float(opened) for _loaded, opened in runs[1:]))

    SqliteStore(path).close()
    opening("empty")
    store = SqliteStore(path)
    start = time.perf_counter()
    fill(store, messages, sessions, text)
    print(f"filled with {messages:,} messages in {sessions:,} sessions: {time.perf_counter() - start:.0f} s")
    stats = store.stats()
    print(f"{stats.size / 1e6:.0f} MB on disk")
    store.close()
    opening("full")

    store = SqliteStore(path)
    store.create_session("mine", source="terminal")
    show("append a message (on the disk)", timed(lambda: store.append("mine", Message("user", next(text))), 1_000))
    task = store.create_task(prompt="x", owner="mine", settings="{}")
    show("append an event", timed(lambda: store.append_event(task.id, Steered("x" * 200)), 1_000))
    show("change a task's activity", timed(lambda: store.update_task(task.id, activity=next(text)[:60]), 1_000))
    show("create a task (on the disk)", timed(lambda: store.create_task(prompt="x", owner="o", settings="{}"), 200))
    show("read a session", timed(lambda: store.messages(f"s{dice.randrange(sessions)}"), 200))
    show("list 100 sessions", timed(store.sessions, 50))
    show("find a session by a part of its title", timed(lambda: store.find_session("of s77"), 50))
    latin = [word for word in vocabulary if word.isascii() and word.isalpha()]
    search(store, "common word", [word for word in latin if len(word) > 2][:20])
    search(store, "rare word", [word for word in latin[10_000:] if len(word) > 4][:20])
    search(store, "identifier", [word for word in vocabulary if "_" in word][:20])
    search(store, "no such word", [f"{word[::-1]}qzx" for word in latin[5_000:5_020]])
    search(store, "two letters", [word for word in latin if len(word) == 2][:20])
    search(store, "two CJK characters", [word for word in vocabulary if ord(word[0]) > 0x4000 and len(word) == 2][-20:])
    search(store, "one CJK character", [word for word in vocabulary if ord(word[0]) > 0x4000 and len(word) == 1][-20:])
    search(store, "two letters that are not there", ["q9", "9q", "#z", "~~"])
    store.close()


if __name__ == "__main__":
    main()
