"""Files as they were before a turn: saved, compared, put back."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent import leftovers, shadow
from agent.checkpoints import Checkpoints
from agent.protocols import Action
from agent.unsaved import is_older, made_at
from tests.support.turns import wait_until
from tests.support.undo import Undone, Unsaved, contents

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def kept(tmp_path: Path, work: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "state", "20260101_000000_abcdef", work)


def writing(*paths: Path) -> Action:
    return Action("write", "w", tuple(path.resolve() for path in paths))


def running(command: str = "make") -> Action:
    return Action("execute", command, command=command)


def turn(kept: Checkpoints, action: Action, change: Callable[[], object], *, message: int = 0) -> str:
    kept.begin("do it", message)
    note = kept.before(action)
    change()
    kept.after(action)
    kept.end()
    return note


def test_a_turn_of_edits_is_undone(kept: Checkpoints, work: Path) -> None:
    (work / "a.txt").write_bytes(b"one\r\ntwo\n")
    (work / "a.txt").chmod(0o755)
    before = contents(work)

    def change() -> None:
        (work / "a.txt").write_bytes(b"1\n")
        (work / "new" / "deep").mkdir(parents=True)
        (work / "new" / "deep" / "b.txt").write_text("b\n")

    turn(kept, writing(work / "a.txt", work / "new/deep/b.txt"), change)
    assert "--- a/a.txt\n+++ b/a.txt\n" in kept.diff(1)
    assert "--- /dev/null\n+++ b/new/deep/b.txt\n" in kept.diff()
    assert set(kept.roll_back(kept.plan())) == {work / "a.txt", work / "new/deep/b.txt"}
    assert contents(work) == before
    assert not (work / "new").exists()
    assert kept.turns() == []


def test_whatever_a_command_does_is_undone(kept: Checkpoints, work: Path) -> None:
    (work / "keep.txt").write_text("keep\n")
    (work / "gone.txt").write_text("gone\n")
    (work / "odd \n näme.bin").write_bytes(bytes(range(256)))
    (work / ".gitattributes").write_text("*.txt text eol=crlf ident\n")
    (work / "id.txt").write_text("$Id$\r\n")
    (work / "link").symlink_to("keep.txt")
    before = contents(work)

    def change() -> None:
        (work / "gone.txt").unlink()
        (work / "odd \n näme.bin").write_bytes(b"x")
        (work / "link").unlink()
        (work / "link").symlink_to("elsewhere")
        (work / "id.txt").write_text("other")
        (work / "build").mkdir()
        (work / "build" / "out").write_text("out")
        (work / "keep.txt").chmod(0o755)

    assert turn(kept, running(), change) == ""
    assert len(kept.turns()[0].files) == 6
    assert str(work / "build" / "out") in kept.changed()
    assert str(work / ".gitattributes") not in kept.changed()
    kept.roll_back(kept.plan())
    assert contents(work) == before


def test_a_file_without_a_line_is_shown_as_what_it_is(kept: Checkpoints, work: Path) -> None:
    for name in ("gone", "script"):
        (work / name).write_text("")

    def change() -> None:
        (work / "new").write_text("")
        (work / "gone").unlink()
        (work / "script").chmod(0o755)

    turn(kept, running(), change)
    assert kept.diff() == "gone: gone; it was empty\nnew: new, and empty\nscript: its mode changed\n"
    turn(kept, running("true"), lambda: None)
    assert kept.changed() == []


def test_a_command_that_only_reads_costs_nothing(kept: Checkpoints, work: Path) -> None:
    turn(kept, running("ls"), lambda: None)
    turn(kept, Action("read", "r", (work,)), lambda: None)
    assert kept.turns() == []


def test_what_a_person_edited_since_is_not_overwritten_unasked(kept: Checkpoints, work: Path) -> None:
    for name in ("a", "b", "c"):
        (work / name).write_text("old\n")
    turn(kept, running(), lambda: [(work / name).write_text("agent\n") for name in ("a", "b", "c")])
    (work / "a").write_text("person\n")
    (work / "b").unlink()
    plan = kept.plan()
    assert {restore.path.name for restore in plan.edited} == {"a", "b"}
    assert kept.roll_back(plan) == [work / "c"]
    assert contents(work) == {"a": (b"person\n", False), "c": (b"old\n", False)}
    kept.roll_back(kept.plan(), overwrite=True)
    assert {content for content, _ in contents(work).values()} == {b"old\n"}


def test_an_edit_between_two_turns_counts_as_one(kept: Checkpoints, work: Path) -> None:
    def write(text: str) -> Callable[[], object]:
        return lambda: (work / "a").write_text(text)

    turn(kept, writing(work / "a"), write("1"))
    (work / "a").write_text("person")
    turn(kept, writing(work / "a"), write("2"))
    assert not kept.plan(1).edited
    assert kept.plan(2).edited


def test_a_file_edited_after_a_command_of_the_same_turn(kept: Checkpoints, work: Path) -> None:
    (work / ".gitignore").write_text("ignored\n")
    (work / "a").write_text("0")
    (work / "ignored").write_text("0")
    before = contents(work)
    kept.begin("x", 0)
    kept.before(running())
    (work / "a").write_text("1")
    (work / "made").write_text("1")
    for name in ("a", "made", "ignored"):
        kept.before(writing(work / name))
        (work / name).write_text("2")
        kept.after(writing(work / name))
    kept.end()
    kept.roll_back(kept.plan())
    assert contents(work) == before


def test_one_file_or_folder_of_several(kept: Checkpoints, work: Path) -> None:
    (work / "src").mkdir()
    turn(kept, running(), lambda: [(work / name).write_text("x") for name in ("a", "src/b", "src/c")])
    kept.roll_back(kept.plan(file="src/b"))
    assert sorted(contents(work)) == ["a", "src/c"]
    kept.roll_back(kept.plan(file="src"))
    assert sorted(contents(work)) == ["a"]
    assert len(kept.turns()) == 1


def test_back_to_a_message(kept: Checkpoints, work: Path) -> None:
    for number in range(1, 5):
        turn(kept, writing(work / "a"), lambda number=number: (work / "a").write_text(str(number)), message=number * 10)
    kept.roll_back(kept.plan(since={"20260101_000000_abcdef": 30}))
    assert (work / "a").read_text() == "2"
    assert [record.message for record in kept.turns()] == [10, 20]


def test_a_turn_that_was_cut_goes_on_in_another_process(tmp_path: Path, work: Path) -> None:
    (work / "a").write_text("0")
    one = Checkpoints(tmp_path / "state", "s", work)
    one.begin("x", 0)
    one.before(running())
    (work / "a").write_text("1")
    other = Checkpoints(tmp_path / "state", "s", work)
    other.begin(None, 5)
    other.before(writing(work / "a"))
    (work / "a").write_text("2")
    other.after(writing(work / "a"))
    other.end()
    (record,) = other.turns()
    assert (record.turn, record.message, record.open) == (1, 0, False)
    other.roll_back(other.plan())
    assert (work / "a").read_text() == "0"


def test_large_files_are_named_and_too_much_is_said_once(
    kept: Checkpoints, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow, "LARGEST_FILE", 100)
    (work / "big").write_bytes(bytes(101))
    turn(kept, running(), lambda: (work / "a").write_text("x"))
    assert kept.plan().skipped == ("big is large, or a repository of its own",)
    assert "larger than 100 bytes" in turn(kept, writing(work / "big"), lambda: None)
    monkeypatch.setattr(shadow, "MOST_FILES", 3)
    for number in range(5):
        (work / f"f{number}").touch()
    kept.begin("y", 0)
    assert kept.before(running()) == "no checkpoint: 6 files are too many to save"
    assert kept.before(running()) == ""


def test_without_git_it_says_so(kept: Checkpoints, work: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert turn(kept, writing(work / "a"), lambda: None) == "no checkpoint: git is not installed"


def test_the_projects_own_repository_is_left_alone(kept: Checkpoints, work: Path) -> None:
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com"]
    (work / "a").write_text("0")
    for arguments in (["init", "-q"], ["add", "a"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *arguments], cwd=work, check=True)
    inside = {path: path.read_bytes() for path in (work / ".git").rglob("*") if path.is_file()}
    turn(kept, running(), lambda: (work / "a").write_text("1"))
    kept.roll_back(kept.plan())
    assert {path: path.read_bytes() for path in (work / ".git").rglob("*") if path.is_file()} == inside


def test_the_state_directory_inside_of_the_workspace_is_not_saved(work: Path) -> None:
    kept = Checkpoints(work / ".state", "s", work)
    turn(kept, running(), lambda: (work / "a").write_text("1"))
    assert list(kept.turns()[0].files) == [str(work / "a")]


@pytest.mark.parametrize("seed", range(2))
def test_turns_and_rollbacks_at_random(tmp_path: Path, seed: int) -> None:
    """The short version of `scripts/bench/undo.py`."""
    Undone(tmp_path, random.Random(seed)).run(25)


def test_two_sessions_share_a_workspace(tmp_path: Path, work: Path) -> None:
    one, other = (Checkpoints(tmp_path / "state", name, work) for name in ("one", "other"))
    turn(one, running(), lambda: (work / "a").write_text("1"))
    turn(other, running(), lambda: (work / "b").write_text("1"))
    one.roll_back(one.plan())
    assert sorted(os.listdir(work)) == ["b"]  # noqa: PTH208


def test_turns_that_begin_at_once_in_one_folder_make_one_repository(tmp_path: Path, work: Path) -> None:
    (work / "a.txt").write_text("a")
    several = [Checkpoints(tmp_path / "state", f"20260101_000000_{number:06}", work) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda one: one.begin(None, 0), several):
            pass
        notes = list(pool.map(lambda one: one.before(writing(work / "a.txt")), several))
    assert notes == [""] * 8
    assert len(list((tmp_path / "state" / "checkpoints").iterdir())) == 1


def test_a_turn_goes_on_where_no_checkpoint_can_be_made(tmp_path: Path, work: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    kept = Checkpoints(tmp_path / "state", "20260101_000000_abcdef", work)
    kept.begin(None, 0)
    assert "no checkpoint" in kept.before(writing(work / "a.txt"))


def test_what_is_kept_of_a_session_goes_with_it(tmp_path: Path, work: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for place, session in ((work, "gone"), (other, "gone"), (work, "stays")):
        (place / "a.txt").write_text(f"{session}\n")
        kept = Checkpoints(tmp_path / "state", session, place)
        turn(kept, running(), lambda place=place: (place / "a.txt").write_text("changed\n"))  # type: ignore[misc]
    assert leftovers.sessions(tmp_path / "state") == {"gone", "stays"}
    leftovers.forget(tmp_path / "state", ["gone"])
    assert leftovers.sessions(tmp_path / "state") == {"stays"}
    assert not list((tmp_path / "state").rglob("gone*"))
    assert Checkpoints(tmp_path / "state", "stays", work).diff(1)


def _files(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{name}\n")


def _swap(work: Path, to: str) -> None:
    place = work / "it"
    shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()
    match to:
        case "file":
            place.write_text("now a file\n")
        case "folder":
            _files(work, "it/a", "it/in/b")
        case _:
            place.symlink_to("other")


@pytest.mark.parametrize("start", ["file", "folder", "link"])
@pytest.mark.parametrize("end", ["file", "folder", "link"])
def test_a_file_a_folder_and_a_link_may_take_each_others_place(
    kept: Checkpoints, work: Path, start: str, end: str
) -> None:
    _files(work, "other/a", "other/x")
    (work / "it").write_text("first")
    _swap(work, start)
    _files(work, "same") if start == end else None
    before = contents(work)

    def change() -> None:
        _swap(work, end)
        (work / "more").write_text("more\n")

    assert turn(kept, running(), change) == ""
    middle = contents(work)
    assert turn(kept, running(), lambda: (work / "last").write_text("x")) == ""
    kept.roll_back(kept.plan())
    assert contents(work) == middle
    plan = kept.plan()
    assert not plan.edited
    kept.roll_back(plan)
    assert contents(work) == before


def test_a_folder_with_a_persons_file_is_not_put_out_of_the_way(kept: Checkpoints, work: Path) -> None:
    _files(work, "f")

    def change() -> None:
        (work / "f").unlink()
        _files(work, "f/a")

    turn(kept, running(), change)
    _files(work, "f/mine")
    plan = kept.plan()
    assert [restore.path.name for restore in plan.edited] == ["f"]
    kept.roll_back(plan)
    assert list(contents(work)) == ["f/mine"]


def test_a_checkpoint_that_fails_at_the_end_is_told_once_and_the_next_turn_can_be_undone(
    kept: Checkpoints, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change() -> None:
        _files(work, "a")
        monkeypatch.setattr(shadow, "MOST_FILES", 0)

    assert turn(kept, running(), change) == ""
    monkeypatch.undo()
    assert "too many to save" in kept.plan().skipped[0]
    note = turn(kept, running(), lambda: (work / "b").write_text("b"))
    assert note.startswith("the last turn's commands cannot be undone: ")
    assert turn(kept, running(), lambda: (work / "c").write_text("c")) == ""
    kept.roll_back(kept.plan(2))
    assert list(contents(work)) == ["a"]


def test_ignored_files_that_a_command_changed_are_named(kept: Checkpoints, work: Path) -> None:
    _files(
        work, ".env", "gone.log", "quiet.log", "node_modules/one/a.js", "node_modules/two/b.js", "src/__pycache__/x.pyc"
    )
    (work / ".gitignore").write_text(".env\n*.log\nbuild/\n")

    def change() -> None:
        (work / ".env").write_text("changed")
        (work / "gone.log").unlink()
        _files(work, "build/out/x", "build/y", "node_modules/one/a.js", "src/__pycache__/x.pyc")

    turn(kept, running(), change)
    assert sorted(kept.plan().skipped) == [
        ".env: ignored, and changed",
        "1 file under node_modules: ignored, and changed",
        "2 files under build: ignored, and changed",
        "gone.log: ignored, and gone",
    ]


@pytest.mark.parametrize("action", ["command", "tool"])
def test_a_file_that_few_could_read_does_not_come_back_for_everybody(
    kept: Checkpoints, work: Path, action: str
) -> None:
    for name in ("gone", "loose"):
        (work / name).write_text("secret")
        (work / name).chmod(0o600)
    turn(kept, running(), lambda: (work / "first").write_text("x"))

    def change() -> None:
        (work / "gone").unlink()
        (work / "loose").chmod(0o644)
        (work / "loose").write_text("open")

    turn(kept, running() if action == "command" else writing(work / "gone", work / "loose"), change)
    kept.roll_back(kept.plan())
    assert [(work / name).stat().st_mode & 0o777 for name in ("gone", "loose")] == [0o600, 0o600]
    assert (work / "loose").read_text() == "secret"


def test_a_folder_that_was_empty_is_there_again(kept: Checkpoints, work: Path) -> None:
    for name in ("gone", "filled", "written"):
        (work / name).mkdir()

    def change() -> None:
        (work / "gone").rmdir()
        _files(work, "filled/x")

    turn(kept, running(), change)
    turn(kept, writing(work / "written" / "x"), lambda: _files(work, "written/x"))
    kept.roll_back(kept.plan(2))
    assert {path.name for path in work.iterdir()} == {"gone", "filled", "written"}
    assert kept.turns() == []


def test_a_large_file_that_a_command_makes_small_is_not_deleted(
    kept: Checkpoints, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow, "LARGEST_FILE", 100)
    (work / "huge.bin").write_bytes(bytes(101))
    turn(kept, running(), lambda: [(work / name).write_text("q") for name in ("huge.bin", "new")])
    assert "huge.bin: was there before, and stays as it is" in kept.plan().skipped
    assert "huge.bin" not in kept.diff()
    kept.roll_back(kept.plan())
    assert contents(work) == {"huge.bin": (b"q", False)}


def test_a_file_that_a_command_makes_large_comes_back_on_request(
    kept: Checkpoints, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow, "LARGEST_FILE", 100)
    (work / "a").write_text("small")
    turn(kept, running(), lambda: (work / "a").write_bytes(bytes(101)))
    turn(kept, running(), lambda: (work / "a").write_text("q"))
    kept.roll_back(kept.plan())
    assert (work / "a").read_text() == "q"
    (work / "a").write_bytes(bytes(101))
    assert [one.path.name for one in kept.plan(2).edited] == ["a"]
    kept.roll_back(kept.plan(2), overwrite=True)
    assert (work / "a").read_text() == "small"


@pytest.mark.parametrize("by_tool", [False, True])
@pytest.mark.parametrize("ignored", ["data.txt", "data*/"])
def test_a_file_that_a_command_takes_from_the_ignored_ones_is_not_deleted(
    kept: Checkpoints, work: Path, ignored: str, by_tool: bool
) -> None:
    name = "data.txt" if ignored == "data.txt" else "data/x.txt"
    _files(work, name)
    (work / ".gitignore").write_text(f"{ignored}\n")
    kept.begin("x", 0)
    kept.before(running())
    (work / ".gitignore").write_text("zzz\n")
    (work / name).write_text("changed")
    if by_tool:
        kept.before(writing(work / name))
        (work / name).write_text("again")
        kept.after(writing(work / name))
    kept.end()
    kept.roll_back(kept.plan())
    assert (work / name).read_text() == "changed"
    assert (work / ".gitignore").read_text() == f"{ignored}\n"


def test_what_was_ignored_and_is_moved_is_not_deleted(kept: Checkpoints, work: Path) -> None:
    if made_at(work) is None:
        pytest.skip("the file system does not tell when a file was made")
    _files(work, "ignored.db", ".git/objects/one", "saved.txt")
    (work / ".gitignore").write_text("*.db\n!data.db\n")
    (work / "saved.txt").write_text("saved")
    wait_until(lambda: is_older(work / "saved.txt", time.time()))

    def change() -> None:
        (work / "ignored.db").rename(work / "data.db")
        (work / ".git").rename(work / "old")
        (work / "saved.txt").rename(work / "other.txt")

    turn(kept, running(), change)
    kept.roll_back(kept.plan())
    assert sorted(contents(work)) == [".gitignore", "data.db", "old/objects/one", "saved.txt"]


@pytest.mark.parametrize("seed", range(12))
def test_no_rollback_deletes_what_was_there_before(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "LARGEST_FILE", 1_000)
    Unsaved(tmp_path, random.Random(seed), largest=1_000).run()
