"""ripgrep's first look leaves out only what cannot match: with it and without it a search finds the same."""

import os
import re
import shutil
import stat
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.cancel import CancelToken
from agent.errors import Cancelled
from agent.protocols import Approved, ToolContext
from agent.tools.first_look import found_for, words_of
from agent.tools.search_files import SearchFiles, SearchFilesArguments
from tests.support.turns import wait_until

needs_rg = pytest.mark.skipif(shutil.which("rg") is None, reason="ripgrep is not installed")


def search(root: Path, *, cancel: CancelToken | None = None, **arguments: object) -> str:
    tool, args, context = SearchFiles(alone=0), SearchFilesArguments(**arguments), ToolContext(root)  # type: ignore[arg-type]
    action = tool.plan(args, context)
    return tool.run(args, context.for_call("call", Approved(action)), cancel or CancelToken()).content


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `rg` of our own, alone on the PATH; a test writes what it does."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder / "rg"


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\nPATH=/bin:/usr/bin\n{text}\n")
    path.chmod(0o755)


# -- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "flags", "words"),
    [
        ("hello", 0, ("hello",)),
        (r"def \w+_test\(", 0, ("_test(",)),
        ("foo|barfoo", 0, ("foo", "barfoo")),
        ("(?:one|two)three", 0, ("three",)),
        ("(one|three)", 0, ("one", "three")),
        ("(?:abcd)+", 0, ("abcd",)),
        ("(?:abcd)*", 0, ()),
        ("abcd?", 0, ("abc",)),
        ("a.b.c", 0, ()),
        ("foo|a", 0, ()),
        ("[f]oobar", 0, ("foobar",)),
        ("(?=abcd)x", 0, ()),
        ("(?!abcd)wxyz", 0, ("wxyz",)),
        ("(?i:abcd)xyz", 0, ("xyz",)),
        ("größe", 0, ()),
        ("disk", re.IGNORECASE, ()),
        ("workbench", re.IGNORECASE, ("bench",)),
        ("(?i)workbench", 0, ("bench",)),
    ],
)
def test_the_words_that_every_match_holds(pattern: str, flags: int, words: tuple[str, ...]) -> None:
    assert words_of(re.compile(pattern, flags | re.MULTILINE)) == words


PIECES = st.sampled_from(
    ["abc", "def", "xyz", "K", "s", "i", "ß", "\\w", "\\d+", ".", "a+", "(?:abc|xyz)", "(def)?", "[a-c]{2}", "^", "$",
     "\\b", "abc|", "(?i)", "(?=abc)", "(?!x)", " ", "_", "\\.", "\u212a", "ı"]
)  # fmt: skip
TEXTS = st.text(alphabet="abcdefxyzABCDXKkSsİıſ\u212a ._1ß\n", max_size=60)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=5).map("".join), st.booleans(), TEXTS)
def test_what_matches_holds_one_of_the_words(pattern: str, ignore_case: bool, text: str) -> None:
    try:
        compiled = re.compile(pattern, re.MULTILINE | (re.IGNORECASE if ignore_case else 0))
    except re.error:
        return
    words = words_of(compiled)
    if words and compiled.search(text):
        folded = text.encode().lower() if compiled.flags & re.IGNORECASE else text.encode()
        assert any((word.lower() if compiled.flags & re.IGNORECASE else word).encode() in folded for word in words)


# -- with it, and without --------------------------------------------------------------------------

NAMES = st.sampled_from(
    ["a.py", "b.txt", ".hidden", "build/x.py", "build/keep.py", "src/deep/c.py", "-e", "ü.txt", ".git/config"]
)
BYTES = st.one_of(
    TEXTS.map(lambda text: text.encode()),
    st.binary(max_size=40),
    TEXTS.map(lambda text: b"\xff\xfe" + text.encode("utf-16-le")),
    TEXTS.map(lambda text: b"\xff\xfe" + text.encode()),
    TEXTS.map(lambda text: b"\x00" + text.encode()),
)
IGNORED = st.lists(st.sampled_from(["build/", "!build/keep.py", "*.txt", "deep", "/src", "#x", "\\!y"]), max_size=3)


@needs_rg
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(NAMES, BYTES, max_size=8),
    IGNORED,
    st.lists(PIECES, min_size=1, max_size=3).map("".join),
    st.booleans(),
)
def test_a_search_finds_the_same_with_ripgrep_and_without(
    files: dict[str, bytes], ignored: list[str], pattern: str, ignore_case: bool
) -> None:
    try:
        re.compile(pattern)
    except re.error:
        return
    with tempfile.TemporaryDirectory() as made:
        root = Path(made).resolve()
        for name, data in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
        (root / ".gitignore").write_text("\n".join(ignored))
        (root / "link").symlink_to("a.py")
        path, found = os.environ["PATH"], []
        try:
            for places in (path, made):
                os.environ["PATH"] = places
                found.append(search(root, pattern=pattern, ignore_case=ignore_case))
        finally:
            os.environ["PATH"] = path
    assert found[0] == found[1]


def test_files_that_it_does_not_name_are_not_read(program: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("a", "b"):
        (tree / name).write_text("needle\n")
    script(program, f"printf '%s\\0' {tree}/b")
    assert search(tree, pattern="needle").splitlines()[0] == "b:1: needle"
    assert "2 files read" in search(tree, pattern="needle")
    assert search(tree, pattern="ne+d.e").splitlines()[:2] == ["a:1: needle", "b:1: needle"]


@pytest.mark.parametrize("fails", ["exit 2", "kill -9 $$", "exit 127"])
def test_what_it_cannot_tell_is_read(program: Path, tmp_path: Path, fails: str) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_text("needle\n")
    script(program, fails)
    assert search(tmp_path / "tree", pattern="needle").startswith("a:1: needle")


def test_a_program_in_the_workspace_is_not_run(program: Path, tmp_path: Path) -> None:
    script(program, f"touch {tmp_path}/ran")
    (tmp_path / "a").write_text("needle\n")
    assert found_for(re.compile("needle"), tmp_path) is None
    assert "a:1: needle" in search(tmp_path, pattern="needle")
    assert not (tmp_path / "ran").exists()


def test_a_pipe_is_not_given_to_it_and_a_cancelled_search_ends_it(program: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    os.mkfifo(tree / "pipe")
    (tree / "a").write_text("needle\n")
    script(program, f'echo "$*" > {tmp_path}/asked; exec sleep 30')
    cancel = CancelToken()

    def stop() -> None:
        # It is there, empty, before it is written.
        wait_until(lambda: (tmp_path / "asked").exists() and (tmp_path / "asked").read_text().endswith("\n"))
        cancel.cancel()

    threading.Thread(target=stop, daemon=True).start()
    begun = time.monotonic()
    with pytest.raises(Cancelled):
        search(tree, pattern="needle", cancel=cancel)
    assert time.monotonic() - begun < 10
    asked = (tmp_path / "asked").read_text()
    assert "/a" in asked
    assert "/pipe" not in asked
    assert stat.S_ISFIFO((tree / "pipe").stat().st_mode)
