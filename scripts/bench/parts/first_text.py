"""From exec to the first text of the first answer; and from Enter to the first text of later ones."""

from collections.abc import Iterator

from harness.bench import PROMPT, Bench, Program
from harness.report import Row, median
from harness.terminal import Terminal
from responses import WORD

WARM_LIMIT_MS = 20.0


def run(bench: Bench) -> Iterator[Row]:
    floor = bench.floor("prompt_client")
    hermes = bench.subject(floor=floor)
    first: tuple[list[float], list[float]] = ([], [])
    for program in (hermes, floor):
        first_answer(bench, program)
    for _ in range(bench.repeat(10)):
        for program, into in zip((hermes, floor), first, strict=True):
            into.append(first_answer(bench, program))
    yield Row("exec → first text of the first answer", median(first[0]), median(first[1]), "s", target=1.15)

    later: tuple[list[float], list[float]] = ([], [])
    with bench.at_prompt(hermes) as ours, bench.at_prompt(floor) as bare:
        for turn in range(bench.repeat(20) + 1):
            for terminal, into in zip((ours, bare), later, strict=True):
                took = ask(terminal)
                if turn:
                    into.append(took * 1e3)
    yield Row("Enter → first text, warm", median(later[0]), median(later[1]), "ms", limit=WARM_LIMIT_MS)


def first_answer(bench: Bench, program: Program) -> float:
    """The question is typed as soon as there is a prompt to type it at."""
    with bench.terminal(program) as terminal:
        terminal.until(PROMPT)
        terminal.press("hi\r", WORD.encode())
        return terminal.last_read - terminal.started


def ask(terminal: Terminal) -> float:
    terminal.write("hi")
    terminal.settle(0.1)
    took = terminal.press("\r", WORD.encode())
    terminal.settle(0.2)
    terminal.forget()
    return took
