import os
import stat
import textwrap
from pathlib import Path

import pytest

from agent.errors import ToolError
from agent.tools import unlinked
from agent.tools.patch import apply, parse


def patch(body: str) -> str:
    return f"*** Begin Patch\n{textwrap.dedent(body).strip()}\n*** End Patch\n"


CHANGE = patch(
    """
    *** Update File: src/a.py
    @@ def greet():
    -    print("hi")
    +    print("hello")
    *** Add File: new/b.txt
    +one
    +
    +three
    *** Delete File: old.txt
    *** Update File: run.sh
    *** Move to: bin/run
    @@
    -echo 1
    +echo 2
    """
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.py").write_text('def other():\n    print("hi")\n\n\ndef greet():\n    print("hi")\n')
    (tmp_path / "old.txt").write_text("old\n")
    (tmp_path / "run.sh").write_text("echo 1\n")
    (tmp_path / "run.sh").chmod(0o755)
    return tmp_path


def held(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_adding_changing_deleting_and_moving_at_once(call, plan, preview, tree: Path) -> None:
    action = plan("apply_patch", patch=CHANGE)
    assert (action.kind, action.title) == ("write", "src/a.py, new/b.txt, old.txt and 2 more")
    assert [path.relative_to(tree).as_posix() for path in action.paths] == [
        "src/a.py", "new/b.txt", "old.txt", "run.sh", "bin/run",
    ]  # fmt: skip
    diff = preview("apply_patch", patch=CHANGE)
    assert '-    print("hi")\n+    print("hello")\n' in diff
    assert "--- a/old.txt\n+++ /dev/null\n" in diff
    result = call("apply_patch", patch=CHANGE)
    assert (result.summary, result.display) == ("5 files", diff)
    assert held(tree) == {
        "src/a.py": b'def other():\n    print("hi")\n\n\ndef greet():\n    print("hello")\n',
        "new/b.txt": b"one\n\nthree\n",
        "bin/run": b"echo 2\n",
    }
    assert stat.S_IMODE((tree / "bin/run").stat().st_mode) == 0o755


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("*** Update File: src/a.py\n@@\n-no such line\n+x", "hunk at line 5 of the patch are not there"),
        ('*** Update File: src/a.py\n-    print("hi")\n+x', r"are there 2 times \(lines 2, 6\)"),
        ("*** Update File: src/a.py\n@@ class Missing\n-x\n+y", "'class Missing' after @@ is not there"),
        ("*** Update File: src/a.py\n@@\n+x", "only adds lines"),
        ("*** Update File: gone.py\n@@\n-x\n+y", "gone.py does not exist"),
        ("*** Add File: src/a.py\n+x", "exists already"),
        ("*** Delete File: src", "is a directory"),
        ("*** Update File: old.txt\n*** Move to: run.sh\n@@\n-old\n+new", "nothing can be moved there"),
        ("*** Add File: old.txt/inside\n+x", "old.txt is a file"),
    ],
)
def test_what_is_not_possible_changes_nothing(call, tree: Path, body: str, said: str) -> None:
    before = held(tree)
    with pytest.raises(ToolError, match=said):
        call("apply_patch", patch=patch(f"*** Add File: first.txt\n+x\n{body}"))
    assert held(tree) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--- a/x\n+++ b/x\n", "begins with the line"),
        (patch("hello"), "Line 2 of the patch, 'hello': no file was named yet"),
        (patch("*** Add File: x\nhello"), "each line of a new file begins with +"),
        (patch("*** Update File: x\n@@\nhello"), "begins neither with a blank"),
        (patch("*** Delete File: x\nhello"), "nothing follows"),
        (patch("*** Update File: x"), "and not how"),
        (patch("*** Update File: \n@@\n-x"), "names no file"),
        (patch("*** Add File: x\n+1\n*** Add File: ./x\n+2"), "names a file twice"),
        ("*** Begin Patch\n*** End Patch", "names no file"),
    ],
)
def test_what_is_no_patch_is_explained(plan, text: str, said: str) -> None:
    with pytest.raises(ToolError, match=said):
        plan("apply_patch", patch=text)


def test_a_failure_in_the_middle_undoes_the_beginning(call, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk refuses the third file."""
    before, folders, replace = held(tree), {path for path in tree.rglob("*") if path.is_dir()}, unlinked.replace

    def refusing(path: Path, data: bytes) -> None:
        if path.name == "run":
            raise OSError(28, "No space left on device")
        replace(path, data)

    monkeypatch.setattr(unlinked, "replace", refusing)
    with pytest.raises(ToolError, match="No space left"):
        call("apply_patch", patch=CHANGE)
    assert held(tree) == before
    assert {path for path in tree.rglob("*") if path.is_dir()} == folders
    assert os.access(tree / "run.sh", os.X_OK)


def test_white_space_at_line_ends_and_windows_line_ends_stay_as_they_are(call, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one  \r\ntwo\r\nthree\r\n")
    call("apply_patch", patch=patch("*** Update File: a.txt\n@@\n one\n-two\n+2\n three"))
    assert (tmp_path / "a.txt").read_bytes() == b"one  \r\n2\r\nthree\r\n"


def applied(text: str, body: str) -> str:
    (item,) = parse(patch(f"*** Update File: x\n{body}"))
    return apply(text, item.hunks, "x")


def test_hunks_follow_each_other() -> None:
    text = "a\nb\na\nb\na\n"
    assert applied(text, "@@\n-a\n+1\n b\n-a\n+2\n b\n@@\n-a\n+3") == "1\nb\n2\nb\n3\n"
    assert applied(text, "@@\n-a\n+end\n*** End of File") == "a\nb\na\nb\nend\n"
    assert applied("x\n", "@@\n+y\n*** End of File") == "x\ny\n"
    assert applied("", "+y") == "y\n"
    assert (
        applied("class A:\n  f\nclass B:\n  f\n", "@@ class B:\n@@   f\n+  g") == "class A:\n  f\nclass B:\n  f\n  g\n"
    )
    assert applied("x\n", "@@ -1,1 +1,2 @@\n x\n+y\n\n") == "x\ny\n"
