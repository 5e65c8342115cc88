import os
import stat
from pathlib import Path

import msgspec
import pytest

from agent.cancel import CancelToken
from agent.errors import Cancelled, ToolError
from agent.protocols import Approved
from agent.tools import files
from tests.tools.conftest import TOOLS

# -- read_file -------------------------------------------------------------------------------------


def test_reading_shows_the_text_exactly_under_a_header(call, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ttwo\nthree\n")
    result = call("read_file", path="a.txt")
    assert result.content == "[a.txt, lines 1–3 of 3]\none\n\ttwo\nthree\n"
    assert (result.summary, result.display) == ("3 lines", "one\n\ttwo\nthree\n")


@pytest.mark.parametrize(
    ("start", "end", "header", "body"),
    [
        (2, 3, "2–3", "l2\nl3\n"),
        (4, None, "4–5", "l4\nl5"),
        (5, 99, "5–5", "l5"),
        (1, 1, "1–1", "l1\n"),
    ],
)
def test_a_range_of_lines(call, tmp_path: Path, start, end, header, body) -> None:
    (tmp_path / "a.txt").write_text("l1\nl2\nl3\nl4\nl5")
    result = call("read_file", path="a.txt", start_line=start, end_line=end)
    assert result.content == f"[a.txt, lines {header} of 5]\n{body}"


def test_a_range_that_is_not_there(call, plan, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n")
    with pytest.raises(ToolError, match="has 1 lines; start_line 2 is past its end"):
        call("read_file", path="a.txt", start_line=2)
    with pytest.raises(ToolError, match="end_line 1 is before start_line 5"):
        plan("read_file", path="a.txt", start_line=5, end_line=1)


def test_an_empty_file(call, tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    assert call("read_file", path="a.txt").content == "[a.txt is empty]"


def test_a_long_file_is_cut_at_a_line_with_a_note_where_to_go_on(call, tmp_path: Path) -> None:
    numbered = [f"line {number}\n" for number in range(1, 100_001)]
    (tmp_path / "big.txt").write_text("".join(numbered))
    result = call("read_file", path="big.txt", limit=2000)
    assert len(result.content) <= 2000
    header, *body, note = result.content.splitlines()
    assert header == f"[big.txt, lines 1–{len(body)} of 100000]"
    assert note.endswith(f"go on with start_line={len(body) + 1}]")
    following = call("read_file", path="big.txt", limit=2000, start_line=len(body) + 1)
    assert following.content.splitlines()[1] == f"line {len(body) + 1}"


def test_one_endless_line_is_cut_without_tearing_a_character(call, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("é" * 300_000 + "\nnext\n")
    result = call("read_file", path="long.txt", limit=3000)
    assert "�" not in result.content
    assert "line 1 is too long" in result.content
    assert "start_line=2" in result.content
    assert call("read_file", path="long.txt", limit=3000, start_line=2).content.endswith("\nnext\n")


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"PK\x03\x04\0\0", "ZIP archive"), (b"caf\xe9 au lait\n", "not UTF-8 text"), (b"a\0b", "3 bytes")],
)
def test_binary_files_are_refused_with_type_and_size(call, tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ToolError, match=said):
        call("read_file", path="x")


def test_windows_line_ends_are_named_and_read_as_newlines(call, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo\r\n")
    assert call("read_file", path="a.txt").content == "[a.txt, lines 1–2 of 2, CRLF line ends]\none\ntwo\n"


def test_a_missing_file_names_the_nearest(call, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").touch()
    with pytest.raises(ToolError, match=r"setings\.toml does not exist\. Similar names there: settings\.toml"):
        call("read_file", path="setings.toml")
    with pytest.raises(ToolError, match="no 'nowhere' in"):
        call("read_file", path="nowhere/deep/file.txt")


def test_a_directory_says_how_to_list_it(call, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    with pytest.raises(ToolError, match=r"src is a directory.*search_files"):
        call("read_file", path="src")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(call, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ToolError, match="no ordinary file"):
        call("read_file", path="pipe")


@pytest.mark.parametrize("path", ["a\0b", "~nobody-of-this-name/x"])
def test_paths_that_cannot_be(plan, path: str) -> None:
    with pytest.raises(ToolError, match="not a usable path"):
        plan("read_file", path=path)


def test_the_plan_names_the_file_behind_a_link(plan, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside.txt"
    outside.write_text("x")
    (tmp_path / "link").symlink_to(outside)
    action = plan("read_file", path="link")
    assert (action.kind, action.paths) == ("read", (outside.resolve(),))
    assert str(outside) in action.title


def test_reading_stops_when_cancelled(call, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x\n" * 10)
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        call("read_file", path="a.txt", start_line=5, cancel=cancel)


# -- write_file ------------------------------------------------------------------------------------


def test_writing_a_new_file_creates_its_directories(call, plan, preview, tmp_path: Path) -> None:
    action = plan("write_file", path="a/b/c.txt", content="one\ntwo\n")
    assert (action.kind, action.title, action.paths) == ("write", "a/b/c.txt (whole file)", (tmp_path / "a/b/c.txt",))
    diff = preview("write_file", path="a/b/c.txt", content="one\ntwo\n")
    assert diff == "--- /dev/null\n+++ b/a/b/c.txt\n@@ -0,0 +1,2 @@\n+one\n+two\n"
    assert not (tmp_path / "a").exists()
    result = call("write_file", path="a/b/c.txt", content="one\ntwo\n")
    assert (tmp_path / "a/b/c.txt").read_text() == "one\ntwo\n"
    assert (result.summary, result.files_changed) == ("+2 −0", (str(tmp_path / "a/b/c.txt"),))
    assert result.content == "Created a/b/c.txt (2 lines, +2 −0)."
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["c.txt"]


def test_overwriting_shows_the_difference_and_keeps_the_mode(call, preview, tmp_path: Path) -> None:
    target = tmp_path / "run.sh"
    target.write_text("one\ntwo\n")
    target.chmod(0o755)
    call("read_file", path="run.sh")
    assert "-two\n+2\n\\ No newline at end of file\n" in preview("write_file", path="run.sh", content="one\n2")
    assert call("write_file", path="run.sh", content="one\n2").summary == "+1 −1"
    assert target.read_text() == "one\n2"
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def test_writing_through_a_link_keeps_the_link(call, tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    call("read_file", path="real.txt")
    call("write_file", path="link.txt", content="new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_writing_the_same_again_changes_nothing(call, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("same\n")
    before = (tmp_path / "a.txt").stat().st_ino
    result = call("write_file", path="a.txt", content="same\n")
    assert (result.summary, result.files_changed) == ("unchanged", ())
    assert (tmp_path / "a.txt").stat().st_ino == before


def test_an_empty_new_file_is_written(call, tmp_path: Path) -> None:
    assert call("write_file", path="__init__.py", content="").files_changed
    assert (tmp_path / "__init__.py").read_text() == ""


def test_what_cannot_be_written(preview, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ToolError, match="is a directory"):
        preview("write_file", path="folder", content="")
    with pytest.raises(ToolError, match="file is a file"):
        preview("write_file", path="file/inside.txt", content="")
    with pytest.raises(ToolError, match="UTF-8"):
        preview("write_file", path="x.txt", content="\ud800")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everything")
def test_a_read_only_file_is_left_alone(preview, tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch(0o444)
    with pytest.raises(ToolError, match="read-only"):
        preview("write_file", path="a.txt", content="x")


def test_replacing_a_binary_file_is_said_in_the_preview(preview, bench, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG\0\0")
    bench.seen.note(tmp_path / "x.png")
    assert "PNG image" in preview("write_file", path="x.png", content="text\n")


def test_a_huge_change_is_told_in_one_line(preview, bench, tmp_path: Path) -> None:
    (tmp_path / "big.txt").write_text("a\n" * 15_000)
    bench.seen.note(tmp_path / "big.txt")
    shown = preview("write_file", path="big.txt", content="b\n" * 15_000)
    assert shown == "big.txt: 15000 lines become 15000; too long to show line by line.\n"


@pytest.mark.parametrize(("data", "start"), [(b"caf\xe9\n", 1), (b"a\0b\n", 1), (b"one\n", 9)])
def test_what_could_not_be_read_is_not_overwritten(call, tmp_path: Path, data: bytes, start: int) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(ToolError):
        call("read_file", path="a.txt", start_line=start)
    with pytest.raises(ToolError, match="has not been read"):
        call("write_file", path="a.txt", content="new\n")
    assert (tmp_path / "a.txt").read_bytes() == data


def test_what_was_not_read_is_not_overwritten(call, preview, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("precious\n")
    for way in (call, preview):
        with pytest.raises(ToolError, match=r"a\.txt exists and has not been read"):
            way("write_file", path="a.txt", content="new\n")
    call("read_file", path="a.txt")
    call("write_file", path="a.txt", content="new\n")
    call("write_file", path="a.txt", content="newer\n")
    call("edit_file", path="a.txt", old="newer", new="newest")
    (tmp_path / "a.txt").write_text("the person's\n")
    with pytest.raises(ToolError, match="has changed since it was last read"):
        call("write_file", path="a.txt", content="x")
    assert (tmp_path / "a.txt").read_text() == "the person's\n"


def test_an_edit_does_not_make_a_file_known(call, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\nthat no other test has shown\n")
    call("edit_file", path="a.txt", old="one", new="1")
    with pytest.raises(ToolError, match="not been read"):
        call("write_file", path="a.txt", content="x")


# -- edit_file -------------------------------------------------------------------------------------


def test_an_edit_replaces_the_one_place(call, plan, preview, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f():\n    return 1\n")
    arguments = {"path": "a.py", "old": "return 1", "new": "return 2"}
    action = plan("edit_file", **arguments)
    assert (action.kind, action.title) == ("write", "a.py")
    assert "-    return 1\n+    return 2\n" in (diff := preview("edit_file", **arguments))
    result = call("edit_file", **arguments)
    assert (tmp_path / "a.py").read_text() == "def f():\n    return 2\n"
    assert result.content == "Edited a.py: 1 replacement, +1 −1."
    assert (result.summary, result.display) == ("+1 −1", diff)
    assert result.files_changed == (str(tmp_path / "a.py"),)


def test_a_text_that_is_there_twice_needs_more_context_or_replace_all(call, preview, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x = 1\ny = 2\nx = 1\n")
    with pytest.raises(ToolError, match=r"2 times \(lines 1, 3\).*replace_all"):
        preview("edit_file", path="a.txt", old="x = 1", new="x = 3")
    assert "2 replacements" in call("edit_file", path="a.txt", old="x = 1", new="x = 3", replace_all=True).content
    assert (tmp_path / "a.txt").read_text() == "x = 3\ny = 2\nx = 3\n"


def test_a_text_that_is_not_there_shows_the_nearest_lines(preview, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import os\n\ndef greet(name):\n    print(name)\n")
    with pytest.raises(
        ToolError, match=r"not in a\.py\. The nearest lines are:\n<untrusted \w+>\n3: def greet\(name\):\n4:     print"
    ):
        preview("edit_file", path="a.py", old="def greet(nam):\n    print(nam)", new="x")
    with pytest.raises(ToolError, match="Read the file again"):
        preview("edit_file", path="a.py", old="zzzzzzzzzz", new="x")


def test_several_edits_are_made_together_or_not_at_all(call, preview, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\nthree\n")
    more = [{"old": "two", "new": "2"}, {"old": "2\nthree", "new": "2\n3"}]
    assert "+1\n+2\n+3\n" in preview("edit_file", path="a.txt", old="one", new="1", more=more)
    with pytest.raises(ToolError, match="Replacement 3 of 3, nothing was changed: The text to replace is not in"):
        call("edit_file", path="a.txt", old="one", new="1", more=[more[0], {"old": "four", "new": "4"}])
    assert (tmp_path / "a.txt").read_text() == "one\ntwo\nthree\n"
    assert "3 replacements, +3 −3" in call("edit_file", path="a.txt", old="one", new="1", more=more).content
    assert (tmp_path / "a.txt").read_text() == "1\n2\n3\n"


def test_a_difference_in_white_space_is_named(preview, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("if x:\n\treturn  1\n")
    with pytest.raises(ToolError, match=r"differ from it in white space only:\n<untrusted \w+>\n2: \treturn  1"):
        preview("edit_file", path="a.py", old="    return 1", new="x")


def test_windows_line_ends_survive_an_edit(call, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo\r\nthree\r\n")
    result = call("edit_file", path="a.txt", old="one\ntwo", new="1\n2\n2b")
    assert (tmp_path / "a.txt").read_bytes() == b"1\r\n2\r\n2b\r\nthree\r\n"
    assert "\r" not in result.display


def test_edits_that_make_no_sense(preview, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ToolError, match="same text"):
        preview("edit_file", path="a.txt", old="x", new="x")
    with pytest.raises(ToolError, match="does not exist"):
        preview("edit_file", path="b.md", old="x", new="y")
    (tmp_path / "x.bin").write_bytes(b"\0x")
    with pytest.raises(ToolError, match="binary"):
        preview("edit_file", path="x.bin", old="x", new="y")


def test_an_edit_looks_again_when_it_runs(context, tmp_path: Path) -> None:
    from agent.tools.edit_file import EditFile, EditFileArguments

    (tmp_path / "a.txt").write_text("old\n")
    args = EditFileArguments("a.txt", "old", "new")
    EditFile().plan(args, context)
    (tmp_path / "a.txt").write_text("somebody else was here\n")
    with pytest.raises(ToolError, match=r"not in a\.txt"):
        EditFile().run(args, context, CancelToken())
    assert (tmp_path / "a.txt").read_text() == "somebody else was here\n"


def test_a_failed_replace_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(TypeError):
        files.replace(target, "text where bytes belong", tmp_path)  # type: ignore[arg-type]
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


# -- outside of the working directory --------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "more"),
    [
        ("read_file", {}),
        ("search_files", {"pattern": "x"}),
        ("write_file", {"content": "a\nb"}),
        ("edit_file", {"old": "a\nb", "new": "c"}),
    ],
)
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_a_plan_is_made_from_the_arguments_alone(plan, tmp_path, tool, more, there, inside) -> None:
    path = tmp_path / "there" if inside else tmp_path.parent / f"{tmp_path.name}-elsewhere"
    before = plan(tool, path=str(path), **more)
    if there:
        path.mkdir()
    assert plan(tool, path=str(path), **more) == before
    assert before.paths == (path,)
    assert path.name in before.title


def test_a_change_outside_is_shown_to_the_person_who_is_asked(preview, bench, tmp_path: Path) -> None:
    path = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    path.write_text("old\n")
    bench.seen.note(path)
    assert "-old\n+new\n" in preview("write_file", path=str(path), content="new\n")
    assert "-old\n+new\n" in preview("edit_file", path=str(path), old="old", new="new")


@pytest.mark.parametrize(
    ("tool", "more", "lines"),
    [("write_file", {"content": "a\nb"}, "+a\n+b\n"), ("edit_file", {"old": "a\nb", "new": "c"}, "-a\n-b\n+c\n")],
)
def test_why_a_change_outside_is_not_possible_stays_unsaid_until_it_is_allowed(
    preview, tmp_path, tool, more, lines
) -> None:
    path = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    path.mkdir()
    shown = preview(tool, path=str(path), **more)
    assert shown == f"--- {path}\n+++ {path}\n@@ not possible on the file as it is now @@\n{lines}"


@pytest.mark.parametrize("tool", ["write_file", "edit_file"])
def test_what_runs_is_what_was_shown_or_nothing(context, preview, plan, bench, tmp_path: Path, tool: str) -> None:
    """Also when the file changes after the last look before the run."""
    (tmp_path / "a.txt").write_text("old\n")
    bench.seen.note(tmp_path / "a.txt")
    more = {"content": "new\n"} if tool == "write_file" else {"old": "old", "new": "new"}
    approved = Approved(plan(tool, path="a.txt", **more), preview(tool, path="a.txt", **more))
    (tmp_path / "a.txt").write_text("old\nand more\n")
    args = msgspec.convert({"path": "a.txt", **more}, TOOLS[tool].arguments)
    with pytest.raises(ToolError, match="changed while waiting"):
        TOOLS[tool].run(args, context.for_call("call_1", approved), CancelToken())
    assert (tmp_path / "a.txt").read_text() == "old\nand more\n"


@pytest.mark.parametrize("tool", ["read_file", "write_file", "edit_file"])
@pytest.mark.parametrize("part", ["sub", "sub/a.txt"])
def test_a_link_that_comes_after_the_last_look_is_not_followed(context, plan, tmp_path, tool: str, part: str) -> None:
    more = {"read_file": {}, "write_file": {"content": "x"}, "edit_file": {"old": "text", "new": "x"}}[tool]
    for folder in ("sub", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(f"text of {folder}\n")
    approved = Approved(plan(tool, path="sub/a.txt", **more))
    (tmp_path / part).rename(tmp_path / "moved")
    (tmp_path / part).symlink_to(tmp_path / part.replace("sub", "other"))
    args = msgspec.convert({"path": "sub/a.txt", **more}, TOOLS[tool].arguments)
    with pytest.raises(ToolError):
        TOOLS[tool].run(args, context.for_call("call_1", approved), CancelToken())
    assert (tmp_path / "other" / "a.txt").read_text() == "text of other\n"
