"""Measure Hermes against what it is built on, in one run, and print the ratios.

    scripts/bench/run.py [names…] [--quick] [--self-check]

Each figure stands beside its floor: the least program that does the same with the same libraries, measured in
turn with Hermes, so that a slow or busy machine slows both. Only 127.0.0.1 is spoken to.
"""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import NoReturn

from harness.bench import Bench
from harness.process import ProgramError
from harness.report import Row, table
from harness.terminal import TerminalError

PARTS = ("first_prompt", "print_mode", "key_echo", "first_text", "stream", "tasks", "large_store")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help=f"what to measure (default: all): {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--self-check", action="store_true", help="floors against themselves: shows the noise")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, _stop)
    failed = False
    rows: list[Row] = []
    try:
        with Bench(quick=arguments.quick, self_check=arguments.self_check) as bench:
            for name in arguments.names or PARTS:
                print(f"… {name}", file=sys.stderr, flush=True)
                try:
                    rows.extend(measure(name, bench))
                except (TerminalError, ProgramError) as error:
                    failed = True
                    print(f"{name} failed: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        print(f"\nPython {sys.version.split()[0]}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}\n")
        print(table(rows))
    return 1 if failed else 0


def measure(name: str, bench: Bench) -> Iterator[Row]:
    yield from importlib.import_module(f"parts.{name}").run(bench)


def _stop(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
