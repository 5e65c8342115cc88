"""5,000 streamed chunks of Markdown with code: processor time, time to the last word, memory."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness.bench import Bench, Program
from harness.process import cpu_seconds, resident
from harness.report import Row, median
from harness.terminal import Terminal
from responses import END

FLAT = 1.1
"""Growth of the resident memory from the second long answer to the last that counts as none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One long answer: seconds until its last word was there, and processor time."""

    seconds: float
    cpu: float


def run(bench: Bench) -> Iterator[Row]:
    for mode, label in (("stream5000", "at once"), ("paced5000", "1 a ms")):
        curl = transfer(bench, mode)
        client = bench.floor("bare_client", mode)
        printing = bench.subject("-p", mode, floor=client)
        found: tuple[list[Answer], ...] = ([], [], [])
        for _ in range(bench.repeat(5)):
            for program, answers in zip((printing, client, curl), found, strict=True):
                finished = bench.run(program, END.encode())
                answers.append(Answer(finished.seen, finished.cpu))
        ours, least, bare = found
        yield from against(f"5,000 chunks {label}, -p", ours, bare, "curl")
        yield from against(f"5,000 chunks {label}, -p", ours, least, "client")
        with bench.at_prompt(bench.subject(floor=bench.floor("prompt_client"))) as terminal:
            yield from in_terminal(terminal, mode, f"5,000 chunks {label}, REPL", bare)


def transfer(bench: Bench, mode: str) -> Program:
    """The same stream with nothing done to it."""
    request = {"model": mode, "stream": True, "messages": [{"role": "user", "content": mode}]}
    curl = shutil.which("curl")
    if curl is None:
        return bench.floor("raw_reader", str(bench.port), json.dumps(request))
    url = f"{bench.base_url}/chat/completions"
    return Program((curl, "-sSN", "-H", "Content-Type: application/json", "-d", json.dumps(request), url))


def against(name: str, ours: list[Answer], floor: list[Answer], against: str) -> Iterator[Row]:
    def middle(of: Callable[[Answer], float]) -> tuple[float, float]:
        return median([of(answer) for answer in ours]), median([of(answer) for answer in floor])

    yield Row(f"{name}: last word / {against}", *middle(lambda answer: answer.seconds), "s")
    yield Row(f"{name}: processor / {against}", *middle(lambda answer: answer.cpu), "s")


def in_terminal(terminal: Terminal, mode: str, name: str, curl: list[Answer]) -> Iterator[Row]:
    """Four times in one session; the first loads what is needed, and is not counted."""
    answers: list[Answer] = []
    memory: list[float] = []
    for _ in range(4):
        terminal.write(mode)
        terminal.settle(0.1)
        cpu = cpu_seconds(terminal.pid)
        took = terminal.press("\r", END.encode(), timeout=60.0)
        terminal.settle(0.5)
        answers.append(Answer(took, cpu_seconds(terminal.pid) - cpu))
        memory.append(resident(terminal.pid))
        terminal.forget()
    yield from against(name, answers[1:], curl, "curl")
    yield Row(f"{name}: resident, 4th / 2nd", memory[3], memory[1], "MB", target=FLAT)
