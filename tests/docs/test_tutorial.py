"""Every example of the guides is run, and gives what it says. `…` stands for anything."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

GUIDES = [Path(__file__).parents[2] / "docs" / name for name in ("tutorial.md", "background.md")]
HERMES = Path(sys.executable).with_name("hermes")


def fences(guide: Path) -> Iterator[tuple[str, str]]:
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", guide.read_text("utf-8"), re.DOTALL | re.MULTILINE):
        yield found[1], found[2]


EXAMPLES = [(guide, kind, text) for guide in GUIDES for kind, text in fences(guide) if kind in ("hermes", "console")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guide: Path) -> Path:
    place = tmp_path / "shop"
    place.mkdir()
    for kind, text in fences(guide):
        if kind == "files":
            for line in text.splitlines():
                name, _, content = line.partition(": ")
                with (place / name).open("a", encoding="utf-8") as file:
                    file.write(f"{content}\n")
    monkeypatch.chdir(place)
    return place


def environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT") if name in os.environ}
    path = f"{HERMES.parent}{os.pathsep}{kept.pop('PATH', '')}"
    return {
        **kept,
        "PATH": path,
        "HOME": str(home),
        "HERMES_HOME": str(home / "hermes"),
        # The tutorial is written for a machine on which no local model answers.
        "HERMES_PROVIDER": "offline",
        "PYTHONIOENCODING": "utf-8",
        "COLUMNS": "100",
    }


def squeezed(text: str) -> str:
    """Without the boxes that the prompt draws, for here the lines are plain."""
    return re.sub(r"[\s╭╮╰╯─│]+", " ", text).strip()


def assert_shows(output: str, expected: str) -> None:
    """The expected text, spacing aside, with anything in the place of `…`; its parts in this order."""
    rest = squeezed(output)
    for part in filter(None, map(squeezed, expected.split("…"))):
        assert part in rest, f"{part!r} is not in:\n{output}"
        rest = rest[rest.index(part) + len(part) :]


@pytest.mark.parametrize(
    ("guide", "kind", "text"), EXAMPLES, ids=[f"{guide.stem}-{kind}-{n}" for n, (guide, kind, _) in enumerate(EXAMPLES)]
)
def test_the_example_does_what_it_shows(kind: str, text: str, folder: Path, tmp_path: Path) -> None:
    env = environment(tmp_path)
    if kind == "hermes":
        lines = [line.removeprefix("› ") for line in text.splitlines() if line.startswith("› ")]
        done = subprocess.run(
            [HERMES, "--plain"],
            input="\n".join(lines) + "\n",
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert_shows(done.stdout, text)
        return
    for command, expected in console(text):
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert_shows(done.stdout + done.stderr, expected)


def console(text: str) -> Iterator[tuple[str, str]]:
    """Each `$ command` with what stands below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected
