"""The sandbox matrix: every way out, tried behind every means there is on this machine, as a Markdown table.

    .venv/bin/python scripts/bench/sandbox.py [FOLDER]

FOLDER (default: the home directory) is where the scene is set, and taken away again; it may not lie in /tmp.
"""

import sys
from pathlib import Path

from agent.breakout import ATTEMPTS, MADE, WORK, attempts
from agent.config import Settings, directories
from agent.sandbox import BACKENDS, Backend, problem, sandbox_for


def column(means: Backend, home: Path) -> dict[str, str]:
    """What came of each attempt behind one means."""
    sandbox = sandbox_for(Settings(sandbox="workspace-write"), directories())
    assert sandbox is not None
    marks = {True: "held", False: "**out**", None: "nothing to try"}
    return {
        done.name: ("works" if done.held else "**fails**") if done.name in WORK else marks[done.held]
        for done in attempts(sandbox, home, means=means)
    }


def main() -> None:
    home = Path(sys.argv[1] if len(sys.argv) > 1 else Path.home()).expanduser()
    found = {means: problem(means) for means in BACKENDS}
    for means, why in found.items():
        print(f"{means}: {why or 'works here'}")
    columns = {means: column(means, home) for means, why in found.items() if not why}
    print(f"\n| attempt | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|")
    for name in [*WORK, *ATTEMPTS, *MADE]:
        print(f"| {name} | {' | '.join(rows[name] for rows in columns.values())} |")


if __name__ == "__main__":
    main()
