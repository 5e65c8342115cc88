"""Hermes with a store of a million messages against Hermes with an empty one; `-r` on a long conversation."""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import store as filling
from harness.bench import PROMPT, Bench, Program
from harness.report import Row, median

from agent.messages import Message
from agent.store.sqlite import SqliteStore

LONG = 5_000
"""Messages of the conversation that is resumed."""


def run(bench: Bench) -> Iterator[Row]:
    hermes = bench.subject(floor=bench.floor("bare_prompt"))
    homes = {name: bench.scratch / name for name in ("empty", "full")}
    messages, sessions = (100_000, 1_000) if bench.quick else (1_000_000, 10_000)
    _fill(homes["full"], messages, sessions)
    empty, full = (_at(hermes, home) for home in homes.values())
    resumed = _at(hermes, homes["full"], "-r", "long")
    taken: dict[str, list[float]] = {"empty": [], "full": [], "resumed": []}
    for program in (empty, full, resumed):
        _start(bench, program)  # once unmeasured
    for _ in range(bench.repeat(12)):
        for name, program in zip(taken, (empty, full, resumed), strict=True):
            taken[name].append(_start(bench, program))
    yield Row(
        f"to prompt, {messages:,} messages / none", median(taken["full"]), median(taken["empty"]), "s", target=1.2
    )
    yield Row(f"-r, {LONG:,} messages / to prompt", median(taken["resumed"]), median(taken["full"]), "s", target=2.0)


def _at(program: Program, home: Path, *args: str) -> Program:
    settings = {**dict(program.env), "HERMES_HOME": str(home)}
    return Program((*program.argv, *args), tuple(settings.items()))


def _start(bench: Bench, program: Program) -> float:
    with bench.terminal(program) as terminal:
        terminal.until(PROMPT)
        terminal.press("Q", b"Q", timeout=30.0)
        return terminal.last_read - terminal.started


def _fill(home: Path, messages: int, sessions: int) -> None:
    dice = random.Random(1)
    text = filling.texts(dice, filling.words(dice), 4)
    store = SqliteStore(home / "state" / "state.db")
    filling.fill(store, messages, sessions, text)
    store.create_session("20260101_000000_abcdef", source="terminal", title="long", cwd=str(home), model="instant")
    said = itertools.cycle(["user", "assistant"])
    history = [Message("system", "x"), *(Message(next(said), next(text)) for _ in range(LONG))]  # type: ignore[arg-type]
    store.continue_session("20260101_000000_abcdef", history)
    store.close()
