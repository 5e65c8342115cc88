"""Some hundred shell lines and what becomes of them: nothing dangerous runs unasked, and little else is asked for."""

import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.approvals import Policy
from agent.config import Directories
from agent.protocols import Action

CORPUS = Path(__file__).with_name("corpus.toml")


@dataclass(frozen=True)
class Sample:
    """One line of the corpus."""

    group: str
    harmless: bool
    expected: str
    text: str


def samples() -> Iterator[Sample]:
    for group in tomllib.loads(CORPUS.read_text("utf-8"))["group"]:
        for text in [*group.get("lines", "").strip("\n").split("\n"), *group.get("blocks", [])]:
            if text:
                yield Sample(group["name"], group["harm"] == "none", group["expect"], text)


SAMPLES = list(samples())


@dataclass(frozen=True)
class Place:
    """The folder that the corpus speaks of, and where Hermes's own files lie."""

    cwd: Path
    dirs: Directories

    def verdict(self, text: str, policy: Policy | None = None) -> str:
        text = text.replace("{config}", str(self.dirs.config)).replace("{state}", str(self.dirs.state))
        policy = policy or Policy("ask", dirs=self.dirs)
        return policy.verdict("terminal", Action("execute", text, command=text), self.cwd).verdict


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    top = tmp_path_factory.mktemp("corpus")
    cwd = top / "work"
    for folder in ("src", "tests", ".git/hooks"):
        (cwd / folder).mkdir(parents=True)
    (top / "secret").write_text("secret")
    for name in ("a.txt", "a b.txt", "names", "data.json", "src/b.txt", "src/main.py", "tests/test_main.py"):
        (cwd / name).write_text("text\n")
    (cwd / "src" / "deep").mkdir()
    (cwd / "lin").symlink_to("src/deep")
    (cwd / "link-outside").symlink_to(top)
    (cwd / "loop").symlink_to("loop")
    (cwd / "-x").symlink_to(top / "secret")
    subprocess.run(["git", "init", "-q"], cwd=cwd, check=False)
    home = top / "home" / ".config" / "hermes"
    return Place(cwd, Directories(home, top / "home" / ".local" / "hermes", top / "cache"))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.group}: {sample.text[:60]!r}")
def test_a_line_gets_the_verdict_it_should(sample: Sample, place: Place) -> None:
    assert place.verdict(sample.text) == sample.expected


def test_nothing_that_may_do_harm_runs_unasked_and_little_else_is_asked_for(place: Place) -> None:
    verdicts = [(sample, place.verdict(sample.text)) for sample in SAMPLES]
    assert len({sample.text for sample in SAMPLES}) >= 300
    assert not [sample.text for sample, verdict in verdicts if not sample.harmless and verdict == "allow"]
    harmless = [verdict for sample, verdict in verdicts if sample.harmless]
    assert len(harmless) >= 200
    assert sum(verdict != "allow" for verdict in harmless) <= 0.05 * len(harmless)


@pytest.mark.parametrize("mode", ["edits", "plan"])
def test_no_mode_but_yolo_lets_more_of_the_dangerous_lines_through(mode: str, place: Place) -> None:
    policy = Policy(mode, dirs=place.dirs)  # type: ignore[arg-type]
    let_through = [s.text for s in SAMPLES if not s.harmless and place.verdict(s.text, policy) == "allow"]
    # Accepting edits means accepting that a command's output goes to a file of the workspace.
    assert mode == "edits" or not let_through
    assert all(">" in text for text in let_through)


def test_the_floor_holds_against_every_rule_and_gives_way_to_yolo_only(place: Place) -> None:
    from agent.rules import Rule

    everything = [Rule("terminal", "*", "allow"), Rule("*", "/**", "allow")]
    for sample in SAMPLES:
        if sample.expected == "deny":
            assert place.verdict(sample.text, Policy("edits", everything, dirs=place.dirs)) == "deny"
            assert place.verdict(sample.text, Policy("yolo", dirs=place.dirs)) == "allow"
