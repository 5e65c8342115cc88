"""Key to echo: idle, with the completion menu open, and while three background tasks stream."""

import gc
import itertools
import random
from collections.abc import Callable, Iterator, Sequence

from harness import screen
from harness.bench import Bench, Program
from harness.report import Row, median, p99
from harness.terminal import Terminal, TerminalError

KEYS = "QVXWY"
"""Typed when idle: letters that end no escape sequence and are in no text on the screen."""

LINE = 40
"""Keys before the line is emptied again."""

WORDS = ("background", "tasks", "status", "config", "quit", "usage")
"""Command names without the letters that end common escape sequences (h, l, m)."""

GAPS = (0.015, 0.030)
"""Seconds between an echo and the next key, at random, so that no timer is met in step."""

BACKSPACE = "\x7f"
COUNT = 200

Typist = Callable[[Terminal, int], list[float]]


def run(bench: Bench) -> Iterator[Row]:
    floor = bench.floor("bare_prompt")
    hermes = bench.subject(floor=floor)
    rounds = 1 if bench.quick else 3
    with bench.at_prompt(hermes) as ours, bench.at_prompt(floor) as bare:
        check_menu(ours)
        check_menu(bare)
        yield from compare("idle", ours, bare, type_idle, rounds)
        yield from compare("menu open", ours, bare, type_in_menu, rounds)
    if not bench.self_check:
        yield from streaming(bench, hermes, floor, rounds)


def compare(name: str, ours: Terminal, bare: Terminal, typist: Typist, rounds: int) -> Iterator[Row]:
    """Blocks of keys, in turn to one and the other."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds * COUNT // LINE):
        for terminal, into in zip((ours, bare), times, strict=True):
            into.extend(typist(terminal, LINE))
    yield from rows(name, *times, target=1.3)


def rows(name: str, ours: Sequence[float], bare: Sequence[float], *, target: float) -> Iterator[Row]:
    yield Row(f"key → echo, {name}: median", median(ours) * 1e3, median(bare) * 1e3, "ms", target=target)
    yield Row(f"key → echo, {name}: p99", p99(ours) * 1e3, p99(bare) * 1e3, "ms", target=target)


def streaming(bench: Bench, hermes: Program, floor: Program, rounds: int) -> Iterator[Row]:
    """Each round has its own three tasks; the bare prompt, with nothing to stream, is typed at before and after."""
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(rounds):
        with bench.at_prompt(floor) as terminal:
            bare.extend(type_idle(terminal, COUNT // 2))
        with bench.at_prompt(hermes) as terminal:
            for _ in range(3):
                terminal.write("/background fullspeed\r")
                terminal.settle(0.2)
            if not bench.wait_for_streams(3):
                raise TerminalError(f"three tasks do not stream: {bench.stats()}")
            for _ in range(COUNT // LINE):
                ours.extend(type_idle(terminal, LINE))
            if (streaming := bench.stats()["streaming"]) != 3:
                raise TerminalError(f"{streaming} tasks streamed when the 200 keys were typed, not three")
            # What is killed would be taken up again by the next one.
            terminal.write("/tasks stop all\r")
            bench.wait_for_streams(0)
        bench.wait_for_streams(0)
        with bench.at_prompt(floor) as terminal:
            bare.extend(type_idle(terminal, COUNT // 2))
    yield from rows("three tasks streaming", ours, bare, target=2.0)


def check_menu(terminal: Terminal) -> None:
    """The menu opens as one types. Raises: TerminalError."""
    word = WORDS[0]
    for typed in ("/", word[0]):
        terminal.write(typed)
        terminal.settle(0.2)
    seen = screen.lines(terminal.output)
    if not any(word in line for line in seen):
        raise TerminalError("no menu: " + "\n".join(seen))
    terminal.write(BACKSPACE * 2)
    terminal.settle(0.2)


def type_idle(terminal: Terminal, count: int) -> list[float]:
    keys = itertools.cycle(KEYS)
    return type_and_erase(terminal, [next(keys) for _ in range(count)])


def type_in_menu(terminal: Terminal, count: int) -> list[float]:
    """Filter the menu letter by letter; the slash that opens it is not counted."""
    times: list[float] = []
    for word in itertools.cycle(WORDS):
        if len(times) >= count:
            return times[:count]
        terminal.write("/")
        terminal.listen(0.1)
        times += type_and_erase(terminal, word, also=1)
    raise AssertionError("cycle ended")


def type_and_erase(terminal: Terminal, keys: Sequence[str], *, also: int = 0) -> list[float]:
    """Seconds from each key to its echo. Empties the line afterwards (`also`: characters that stood there before)."""
    chance = random.Random(len(keys))
    gc.disable()
    times: list[float] = []
    for key in keys:
        times.append(terminal.press(key, key.encode()))
        terminal.listen(chance.uniform(*GAPS))
    gc.enable()
    terminal.write(BACKSPACE * (len(keys) + also))
    terminal.listen(0.1)
    terminal.forget()
    return times
