"""What a tool put out beyond what the model saw is kept aside, and named."""

import os
from pathlib import Path

import pytest

from agent import outputs
from agent.approvals import Gatekeeper, Policy, nobody
from agent.config import Settings, directories
from agent.errors import ContextFullError
from agent.models.scripted import Call, Fail, ScriptedModel
from agent.outputs import Outputs, forget, named_in, prune
from agent.redact import Redactor
from agent.store.memory import MemoryStore
from run_agent import AIAgent
from tests.support.turns import Note

SECRET = "hunter2hunter2hunter2"


def kept_in(content: str) -> Path:
    line = named_in(content)
    assert line, content[-200:]
    return Path(line.removeprefix("[All of it is in ").removesuffix(": read_file]"))


def results(agent: AIAgent) -> list[str]:
    return [message.content for message in agent.store.messages(agent.session_id) if message.role == "tool"]


def agent(tmp_path: Path, script: object, **fields: object) -> AIAgent:
    return AIAgent(
        model=ScriptedModel(script),  # type: ignore[arg-type]
        settings=Settings(output_limit=1_000, checkpoints=False),
        gate=Gatekeeper(Policy("yolo"), nobody, session_id="s"),
        cwd=tmp_path,
        redact=Redactor([SECRET]),
        **fields,  # type: ignore[arg-type]
    )


def test_the_whole_of_a_commands_output_is_kept_for_its_owner_without_secrets_and_can_be_read(tmp_path: Path) -> None:
    shown: list[Path] = []

    def script(messages: object) -> object:
        found = results(one)
        if not found:
            return [Call("terminal", command=f"seq 1 3000; echo {SECRET}; seq 3001 6000")]
        if len(found) == 1:
            shown.append(kept_in(found[0]))
            return [Call("read_file", path=str(shown[0]), start_line=2990, end_line=3010)]
        return "done"

    one = agent(tmp_path, script)
    one.run_turn("go")
    cut, read = results(one)
    assert len(cut) < 1_300
    assert "left out" in cut
    (path,) = shown
    assert path.is_relative_to(directories().state / "outputs" / one.session_id)
    whole = path.read_text()
    assert whole.startswith("1\n2\n")
    assert "\n2999\n3000\n" in whole
    assert SECRET not in whole
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert "\n3000\n" in read


def test_what_any_tool_puts_out_beyond_the_limit_is_kept(tmp_path: Path) -> None:
    one = agent(tmp_path, [[Call("note", text="x")], "done"], tools=[Note(work=lambda args, cancel: "y" * 5_000)])
    one.run_turn("go")
    (content,) = results(one)
    assert kept_in(content).read_text() == "y" * 5_000


def test_a_short_output_is_kept_nowhere(tmp_path: Path) -> None:
    one = agent(tmp_path, [[Call("terminal", command="seq 1 10")], "done"])
    one.run_turn("go")
    assert named_in(results(one)[0]) == ""
    assert not (directories().state / "outputs").exists()


def test_an_output_that_cannot_be_kept_is_cut_as_ever(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("in the way")
    assert Outputs(tmp_path).keep("s", "c", "text") == ""


@pytest.mark.parametrize("call", ["../../../etc/passwd", "", "..", "a" * 500, "a/b\0c"])
def test_the_id_of_a_call_leads_nowhere_else(tmp_path: Path, call: str) -> None:
    assert kept_in(Outputs(tmp_path).keep("s", call, "text")).resolve().parent == tmp_path / "outputs" / "s"


def test_what_is_too_long_loses_its_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "LARGEST", 1_000)
    text = kept_in(Outputs(tmp_path).keep("s", "c", "a" * 2_000 + "b" * 2_000)).read_text()
    assert text == "a" * 500 + "\n[… 3,000 characters left out …]\n" + "b" * 500


def test_the_oldest_go_first_and_what_is_very_old_always(tmp_path: Path) -> None:
    paths = [kept_in(Outputs(tmp_path).keep(f"s{number}", "c", "x" * 100)) for number in range(4)]
    for number, path in enumerate(paths):
        os.utime(path, (path.stat().st_mtime - (4 - number) * 1_000,) * 2)
    prune(tmp_path / "outputs", most=250)
    assert [path.exists() for path in paths] == [False, False, True, True]
    prune(tmp_path / "outputs", older_than=1_500)
    assert [path.exists() for path in paths] == [False, False, False, True]
    assert not paths[0].parent.exists()
    forget(tmp_path, "s3")
    assert not paths[3].parent.exists()


def test_a_conversation_reads_its_own_unasked_also_after_a_compaction_and_nobody_elses(tmp_path: Path) -> None:
    store, kept = MemoryStore(), Outputs(directories().state)
    store.create_session("old", source="terminal")
    store.create_session("other", source="terminal")
    child = store.continue_session("old", [])

    def allowed(session_id: str) -> list[bool]:
        """Whether these are read unasked: what is kept of "old", of "other", of all; the store; a way around."""
        old, other = (kept_in(kept.keep(session, "c", "text")) for session in ("old", "other"))
        paths = [old, other, other.parent.parent, directories().state / "state.db", old.parent / ".." / "other/c.txt"]
        calls = [Call("read_file", path=str(path)) for path in paths]
        one = AIAgent(model=ScriptedModel([calls, "done"]), store=store, session_id=session_id, cwd=tmp_path)
        one.run_turn("go")
        return [not content.startswith("Not run.") for content in results(one)[-len(paths) :]]

    assert allowed("old") == allowed(child) == [True, False, False, False, False]
    assert allowed("other") == [False, True, False, False, True]


def test_what_another_session_put_out_is_refused_where_nobody_can_be_asked(tmp_path: Path) -> None:
    path = kept_in(Outputs(directories().state).keep("somebody", "c", "their secret plan"))
    one = AIAgent(model=ScriptedModel([[Call("read_file", path=str(path))], "done"]), cwd=tmp_path)
    one.run_turn("go")
    (content,) = results(one)
    assert content.startswith("Not run.")
    assert "secret plan" not in content


def test_a_compaction_that_trims_an_output_still_names_the_whole(tmp_path: Path) -> None:
    def script(messages: tuple[object, ...]) -> object:
        if "You write the handover" in str(messages[0]):
            return Fail(ContextFullError("too long"))
        return [Call("note", text=str(len(tool.runs)))] if len(tool.runs) < 8 else "done"

    tool = Note(work=lambda args, cancel: f"{args.text} " + "y" * 9_000)
    one = AIAgent(
        model=ScriptedModel(script),  # type: ignore[arg-type]
        settings=Settings(context_window=4_000, output_limit=3_000, checkpoints=False),
        store=MemoryStore(),
        cwd=tmp_path,
        tools=[tool],
    )
    first = one.session_id
    one.run_turn("go")
    assert one.session_id != first
    for content in results(one):
        assert len(kept_in(content).read_text()) > 9_000
    assert min(map(len, results(one))) < 1_000
