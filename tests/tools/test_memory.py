"""What the agent notes for later: after asking, within bounds, and for the person at this machine only."""

import stat
from pathlib import Path

import msgspec
import pytest

from agent import memory
from agent.approvals import Gatekeeper, Policy, nobody
from agent.cancel import CancelToken
from agent.config import directories
from agent.errors import ToolError
from agent.models.scripted import Call, ScriptedModel
from agent.protocols import Action, Approved, Decision, ToolContext, ToolResult
from agent.redact import Redactor
from agent.store.memory import MemoryStore
from agent.tools.memory import Memory, MemoryArguments
from run_agent import AIAgent


@pytest.fixture
def folder() -> Path:
    return directories().config


def note(folder: Path, *, secrets: tuple[str, ...] = (), preview: str = "", **arguments: str) -> ToolResult:
    tool, args = Memory(folder), msgspec.convert(arguments, MemoryArguments)
    context = ToolContext(Path.cwd(), redact=Redactor(secrets))
    action = tool.plan(args, context)
    return tool.run(args, context.for_call("c", Approved(action, preview)), CancelToken())


def test_lines_are_added_replaced_and_removed_in_a_private_file(folder: Path) -> None:
    note(folder, file="MEMORY.md", new="Tests run with make test.")
    result = note(folder, file="MEMORY.md", new="\x1b[31mUse tabs.\n")
    path = folder / "MEMORY.md"
    assert path.read_text() == "Tests run with make test.\nUse tabs.\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "+Use tabs.\n" in result.display
    assert "36 of 4,000 characters" in result.content
    note(folder, file="MEMORY.md", old="tabs", new="spaces")
    note(folder, file="MEMORY.md", old="Tests run with make test.\n")
    assert path.read_text() == "Use spaces.\n"
    assert not (folder / "USER.md").exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"new": " "}, "nothing to note"),
        ({"new": "the key is hunter2-hunter2"}, "holds a secret"),
        ({"old": "not there", "new": "x"}, "0 times in USER.md, which holds now:\nb b"),
        ({"old": "b", "new": "x"}, "2 times"),
        ({"new": "x" * 2_000}, r"would hold 2,005 of 2,000 characters"),
    ],
)
def test_what_cannot_be_noted_is_refused_and_changes_nothing(folder: Path, arguments: dict[str, str], why: str) -> None:
    note(folder, file="USER.md", new="b b")
    with pytest.raises(ToolError, match=why):
        note(folder, file="USER.md", secrets=("hunter2-hunter2",), **arguments)
    assert (folder / "USER.md").read_text() == "b b\n"


def test_a_file_that_a_person_made_too_long_is_cut_for_the_model_and_can_be_shortened(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "USER.md").write_text("a line\n" + "x" * 3_000)
    assert "only 2,000 characters are read" in memory.for_prompt(folder)
    note(folder, file="USER.md", old="a line\n")
    with pytest.raises(ToolError, match="shorten it first"):
        note(folder, file="USER.md", new="more")


def test_another_change_than_the_one_that_was_shown_is_not_made(folder: Path) -> None:
    with pytest.raises(ToolError, match="changed while waiting"):
        note(folder, file="USER.md", new="x", preview="another diff")


class Answering:
    """A person who says yes, and keeps what was shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def __call__(self, request, *, emit, cancel) -> Decision:
        self.shown.append(request.preview)
        return Decision(True)


def test_a_person_is_asked_and_the_next_session_knows(tmp_path: Path) -> None:
    person, policy = Answering(), Policy("edits", dirs=directories())
    call = Call("memory", file="USER.md", new="Likes short answers.")
    gate = Gatekeeper(policy, person, session_id="s")
    with AIAgent(model=ScriptedModel([call, "Noted."]), cwd=tmp_path, gate=gate) as agent:
        agent.run_turn("remember that")
    assert "+Likes short answers." in person.shown[0]
    model = ScriptedModel(["Hello."])
    with AIAgent(model=model, cwd=tmp_path) as later:
        later.run_turn("hello")
    assert "USER.md:\nLikes short answers." in model.requests[0].messages[0].content


def test_where_nobody_can_be_asked_nothing_is_noted(tmp_path: Path, folder: Path) -> None:
    call = Call("memory", file="USER.md", new="Likes short answers.")
    gate = Gatekeeper(Policy("ask", dirs=directories()), nobody, session_id="s")
    with AIAgent(model=ScriptedModel([call, "No."]), cwd=tmp_path, gate=gate) as agent:
        agent.run_turn("remember that")
    assert not (folder / "USER.md").exists()


def test_no_other_tool_and_no_link_reaches_the_settings(tmp_path: Path, folder: Path) -> None:
    policy = Policy("edits", dirs=directories())

    def verdict(tool: str, name: str) -> str:
        return policy.verdict(tool, Action("write", name, (folder.resolve() / name,)), tmp_path).verdict

    assert verdict("memory", "MEMORY.md") == "ask"
    assert verdict("write_file", "MEMORY.md") == "deny"
    assert verdict("memory", "policy.toml") == "deny"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MEMORY.md").symlink_to(folder / "policy.toml")
    action = Memory(folder).plan(MemoryArguments("MEMORY.md", new="x"), ToolContext(tmp_path))
    assert policy.verdict("memory", action, tmp_path).verdict == "deny"


def test_a_chat_neither_has_the_tool_nor_hears_what_is_noted(tmp_path: Path, folder: Path) -> None:
    note(folder, file="USER.md", new="Lives in Ghent.")
    model = ScriptedModel(["Hello."])
    with AIAgent(model=model, store=MemoryStore(), cwd=tmp_path, source="telegram:1") as agent:
        agent.run_turn("hello")
    assert "Ghent" not in model.requests[0].messages[0].content
    assert "memory" not in [tool.name for tool in agent.tool_specs]
