"""Whatever a model writes: no crash, no write outside of the workspace, nothing that acts on the terminal."""

import re
import tempfile
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.cancel import CancelToken
from agent.errors import ToolError
from agent.protocols import Approved, Tool, ToolContext
from agent.tools.apply_patch import ApplyPatch
from agent.tools.edit_file import EditFile
from agent.tools.output import printable
from agent.tools.write_file import WriteFile
from hermes_cli.text import harmless

few = settings(max_examples=150, deadline=None, derandomize=True)

line = st.sampled_from(["a", "b", "  a", "", "a ", "x\r", "@@", "*** End of File", "é", "\x1b[2J", "+", "-", " "])
names = st.sampled_from(
    [
        "a.txt",
        "./a.txt",
        "sub/b.txt",
        "../out.txt",
        "/tmp/out-of-here.txt",
        "link/x",
        "sub/../../o",
        "~/o",
        "a\0b",
        "new/c",
    ]
)
heads = st.builds("*** {} File: {}".format, st.sampled_from(["Add", "Delete", "Update"]), names)
moves = st.builds("*** Move to: {}".format, names)
body = st.builds("{}{}".format, st.sampled_from(["+", "-", " ", ""]), line)
patches = st.lists(st.one_of(heads, moves, body, st.just("@@"), st.just("@@ a")), max_size=14).map(
    lambda lines: "\n".join(["*** Begin Patch", *lines, "*** End Patch"])
)


def try_in_a_workspace(tool: Tool, arguments: dict[str, object]) -> None:
    """Run a call whose paths lie inside; whatever it does, nothing outside changes."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "work"
        (root / "sub").mkdir(parents=True)
        (root / "a.txt").write_text("a\nb\n  a\n\na \n")
        (root / "sub" / "b.txt").write_bytes(b"a\r\nb\r\n")
        outside = root.parent / "outside"
        outside.mkdir()
        (root / "link").symlink_to(outside)
        context = ToolContext(root)
        try:
            args = msgspec.convert(arguments, tool.arguments)
            action = tool.plan(args, context)
            if not all(path.is_relative_to(root) for path in action.paths):
                # The gate asks about these paths: they are where it would write.
                return
            preview = tool.preview(args, context)
            tool.run(args, context.for_call("c", Approved(action, preview)), CancelToken())
        except (ToolError, msgspec.ValidationError):
            pass
        assert sorted(path.name for path in root.parent.iterdir()) == ["outside", "work"]
        assert not list(outside.iterdir())
        assert not list(root.rglob("*.hermes-tmp"))


@few
@given(patches)
def test_patches(patch: str) -> None:
    try_in_a_workspace(ApplyPatch(), {"patch": patch})


@few
@given(st.text(max_size=200))
def test_what_is_no_patch(text: str) -> None:
    try_in_a_workspace(ApplyPatch(), {"patch": text})


@few
@given(names, st.lists(st.tuples(line, line, st.booleans()), min_size=1, max_size=4))
def test_edits(name: str, edits: list[tuple[str, str, bool]]) -> None:
    first, *more = [{"old": old, "new": new, "replace_all": every} for old, new, every in edits]
    try_in_a_workspace(EditFile(), {"path": name, **first, "more": more})


@few
@given(st.one_of(names, st.text(min_size=1, max_size=60)), st.text(max_size=60))
def test_paths(name: str, content: str) -> None:
    try_in_a_workspace(WriteFile(), {"path": name, "content": content})


CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
sequences = st.lists(
    st.one_of(
        st.text(max_size=5),
        st.sampled_from(
            ["\x1b", "\x1b[", "\x1b]0;", "\x07", "\x9b", "\x9d", "2J", "m", "31", ";", "\x1b\\", "\r", "\b", "P"]
        ),
    ),
    max_size=30,
).map("".join)


@settings(few, max_examples=500)
@given(sequences)
def test_nothing_in_a_text_acts_on_the_terminal(text: str) -> None:
    assert not CONTROLS.search(printable(text))
    assert not CONTROLS.search(harmless(text))
