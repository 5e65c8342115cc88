import itertools
import os
import threading
import time
from pathlib import Path

import pytest

from agent.cancel import CancelToken
from agent.errors import Cancelled, ToolError
from agent.tools import unlinked


@pytest.fixture(autouse=True)
def tree(tmp_path: Path) -> Path:
    for name, text in {
        "README.md": "# Title\nTODO: write\n",
        "src/app.py": "import os\n\ndef main():\n    todo = 1  # TODO later\n",
        "src/lib/util.py": "def util(): ...\n",
        "src/lib/style.css": "a { }\n",
        ".github/ci.yml": "on: push\n",
        ".git/config": "TODO\n",
        "node_modules/x/index.js": "TODO\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def names(result) -> list[str]:
    return result.display.splitlines()


def test_all_files_without_version_control_and_dependencies(call) -> None:
    result = call("search_files")
    assert names(result) == [
        ".github/ci.yml", "README.md", "src/app.py", "src/lib/style.css", "src/lib/util.py",
    ]  # fmt: skip
    assert result.summary == "5 files"
    assert result.content.endswith("\n[5 files]")


def test_one_level_with_its_folders(call) -> None:
    assert names(call("search_files", depth=1)) == [".github/", "README.md", "src/"]
    assert names(call("search_files", path="src", depth=1)) == ["src/app.py", "src/lib/"]


@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("*.py", ["src/app.py", "src/lib/util.py"]),
        ("src/*.py", ["src/app.py"]),
        ("src/**/*.py", ["src/app.py", "src/lib/util.py"]),
        ("**/*.md", ["README.md"]),
        ("*.{css,md}", ["README.md", "src/lib/style.css"]),
        ("lib", ["src/lib/style.css", "src/lib/util.py"]),
        ("!x", []),
    ],
)
def test_names_by_glob(call, glob: str, found: list[str]) -> None:
    assert names(call("search_files", glob=glob)) == found


def test_lines_by_pattern(call) -> None:
    result = call("search_files", pattern=r"TODO|util\(")
    assert names(result) == [
        "README.md:2: TODO: write",
        "src/app.py:4:     todo = 1  # TODO later",
        "src/lib/util.py:1: def util(): ...",
    ]
    assert result.summary == "3 matches"
    assert "[3 matches in 3 files; 5 files read]" in result.content


def test_pattern_with_glob_path_and_case(call) -> None:
    assert names(call("search_files", pattern="^DEF", ignore_case=True, glob="*.py", path="src/lib")) == [
        "src/lib/util.py:1: def util(): ..."
    ]
    assert names(call("search_files", pattern="Title", path="README.md")) == ["README.md:1: # Title"]


@pytest.mark.parametrize("pattern", [r"\A\s*todo", "[^x]+later$", "(?!.*zzz)todo", r"\s{4}todo"])
def test_every_kind_of_pattern_works_line_by_line(call, pattern: str) -> None:
    assert names(call("search_files", pattern=pattern)) == ["src/app.py:4:     todo = 1  # TODO later"]


def test_nothing_found_is_an_answer(call) -> None:
    result = call("search_files", pattern="nowhere to be seen")
    assert (result.ok, result.summary, result.display) == (True, "no matches", "")


def test_gitignore_nested_and_negated(call, tree: Path) -> None:
    (tree / ".gitignore").write_text("*.log\n/build/\n!keep.log\n# a comment\n\n")
    (tree / "src/.gitignore").write_text("lib/\n!important.log\n")
    for name in ("a.log", "keep.log", "build/out.txt", "src/build/kept.txt", "src/important.log", "src/b.log"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).touch()
    assert names(call("search_files")) == [
        ".github/ci.yml", ".gitignore", "README.md", "keep.log", "src/.gitignore", "src/app.py",
        "src/build/kept.txt", "src/important.log",
    ]  # fmt: skip


def test_rules_from_above_hold_below_but_an_ignored_folder_may_be_asked_for(call, tree: Path) -> None:
    (tree / ".gitignore").write_text("build/\n*.tmp\n")
    for name in ("build/out.txt", "src/x.tmp"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).touch()
    assert "src/x.tmp" not in names(call("search_files", path="src"))
    assert names(call("search_files", path="build")) == ["build/out.txt"]


def test_the_private_exclude_file_counts(call, tree: Path) -> None:
    (tree / ".git/info").mkdir()
    (tree / ".git/info/exclude").write_text("*.css\n")
    assert "src/lib/style.css" not in names(call("search_files"))


def test_binary_files_have_no_lines(call, tree: Path) -> None:
    (tree / "x.bin").write_bytes(b"TODO\0")
    assert not any(line.startswith("x.bin") for line in names(call("search_files", pattern="TODO")))


def test_links_are_neither_walked_nor_read(call, tree: Path) -> None:
    outside = tree.parent / f"{tree.name}-secret.txt"
    outside.write_text("TODO outside\n")
    (tree / "src/loop").symlink_to(tree)
    (tree / "src/out.txt").symlink_to(outside)
    assert "outside" not in call("search_files", pattern="TODO").content
    assert "src/loop" in names(call("search_files"))


@pytest.mark.parametrize("pattern", ["", "secret"])
def test_a_folder_that_becomes_a_link_while_it_is_searched_is_not_walked(call, tree: Path, pattern: str) -> None:
    """Commands of the same agent may run at the same time, and the answer was about what lay below here."""
    outside = tree.parent / f"{tree.name}-outside"
    outside.mkdir()
    (outside / "diary.txt").write_text("a secret\n")

    class Exchanging(CancelToken):
        """Asked before each folder is listed."""

        def raise_if_cancelled(self) -> None:
            if not (tree / "src.old").exists() and seen.pop(0) == "src":
                (tree / "src").rename(tree / "src.old")
                (tree / "src").symlink_to(outside)

    seen = ["", ".github", "src", ""]
    result = call("search_files", pattern=pattern, cancel=Exchanging())
    assert (tree / "src").is_symlink()
    assert "diary" not in result.content


def test_a_file_below_a_folder_that_became_a_link_is_not_opened(tree: Path) -> None:
    (tree / "src").rename(tree / "elsewhere")
    (tree / "src").symlink_to(tree / "elsewhere")
    os.close(unlinked.opened_again(str(tree / "elsewhere" / "app.py")))
    with pytest.raises(OSError, match=r"symbolic|directory"):
        unlinked.opened_again(str(tree / "src" / "app.py"))


def test_too_many_results_say_so(call, tree: Path) -> None:
    (tree / "many.txt").write_text("match me\n" * 3000)
    result = call("search_files", pattern="match")
    assert len(names(result)) == 200
    assert result.summary == "200 matches, more left out"
    assert "narrow the search" in result.content


def test_a_very_long_line_is_cut_and_searched_quickly(call, tree: Path) -> None:
    (tree / "app.min.js").write_text("x" * 2_000_000)
    (tree / "wide.txt").write_text("needle" + "y" * 2000)
    assert call("search_files", pattern=".*foo.*bar.*").summary == "no matches"
    (line,) = names(call("search_files", pattern="needle"))
    assert len(line) < 400
    assert line.endswith("…")


@pytest.mark.parametrize("pattern", ["(a|aa)+$", "(?i)(a|A|aa)*$"])
def test_a_pattern_that_would_take_for_ever_is_given_up_and_nobody_else_waits(call, tree: Path, pattern: str) -> None:
    (tree / "long.txt").write_text(f"{'a' * 200}!\n")
    beats, over = list[float](), threading.Event()

    def beat() -> None:
        while not over.wait(0.02):
            beats.append(time.monotonic())

    heart = threading.Thread(target=beat)
    heart.start()
    try:
        with pytest.raises(ToolError, match=r"takes too long in long\.txt"):
            call("search_files", pattern=pattern, path="long.txt")
    finally:
        over.set()
        heart.join()
    assert max(after - before for before, after in itertools.pairwise(beats)) < 1.0


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a*)*b", "a*a*a*a*a*a*b$"])
def test_repeats_within_repeats_and_many_of_them_end(call, tree: Path, pattern: str) -> None:
    (tree / "long.txt").write_text(f"{'a' * 200}!\n")
    assert call("search_files", pattern=pattern, path="long.txt").summary == "no matches"


def test_braces_that_repeat_nothing_are_themselves(call, tree: Path) -> None:
    (tree / "fuzzy.txt").write_text("cat cat\ncut cut\n(cat){e<=1} x\n")
    assert names(call("search_files", pattern=r"(cat )+|(cat){e<=1} x+", path="fuzzy.txt")) == [
        "fuzzy.txt:1: cat cat",
    ]
    assert names(call("search_files", pattern=r"\)\{e<=1\} x+|(cat){e<=1}y+", path="fuzzy.txt")) == [
        "fuzzy.txt:3: (cat){e<=1} x",
    ]


@pytest.mark.parametrize("pattern", ["foo[[:digit:]]", "[_[:alpha:]]+", "[^[:space:]]"])
def test_a_class_of_another_kind_of_expression_is_explained(plan, pattern: str) -> None:
    with pytest.raises(ToolError, match=r"write \\d for a digit"):
        plan("search_files", pattern=pattern)


def test_a_wrong_expression_is_explained(plan) -> None:
    with pytest.raises(ToolError, match=r"not a regular expression.*backslash"):
        plan("search_files", pattern="main(")


def test_a_missing_place(call) -> None:
    with pytest.raises(ToolError, match="Similar names there: src"):
        call("search_files", path="scr")


def test_a_plan_is_a_read_of_the_place(plan, tree: Path) -> None:
    action = plan("search_files", pattern="x", path="src")
    assert (action.kind, action.title, action.paths) == ("read", "'x' in files in src", (tree / "src",))


def test_a_search_stops_when_cancelled(call) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        call("search_files", pattern="x", cancel=cancel)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_not_waited_for(call, tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    assert call("search_files", pattern="TODO").summary == "2 matches"
