"""Tool calls: what the model reads back, whatever it asked for."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.approvals import Gatekeeper, Policy, nobody
from agent.cancel import CancelToken
from agent.config import ApprovalMode
from agent.errors import ToolError
from agent.events import ApprovalRequested, ToolFinished, ToolStarted
from agent.messages import Message, ToolCall
from agent.models.scripted import Call
from agent.protocols import Action, Decision, Sink, ToolContext
from agent.redact import Redactor
from agent.store.memory import MemoryStore
from agent.tools import default_tools
from agent.toolset import Toolset, _denial, bounded
from tests.support.turns import SESSION, Bench, Note, NoteArguments, check_stream


def answers(*calls: Call, tools: Any = None, **fields: Any) -> list[str]:
    """What the tools answer to the calls of one step."""
    bench = Bench(tools=[Note()] if tools is None else tools, **fields)
    bench.turn("x", [list(calls), "ok"])
    check_stream(bench.events)
    return bench.results()


def answer(call: Call, **fields: Any) -> str:
    (only,) = answers(call, **fields)
    return only


# -- calls that cannot be done ---------------------------------------------------------------------


def test_an_unknown_tool_gets_the_nearest_name() -> None:
    assert answer(Call("notes")) == "There is no tool called 'notes'. Did you mean note?"


def test_an_unknown_tool_that_is_like_none_gets_all_names() -> None:
    text = answer(Call("browser"), tools=[Note("read"), Note("write")])
    assert "read, write" in text


@pytest.mark.parametrize(
    "arguments", ["{", "not json", '{"text": "a"} trailing', "{'text': 'a'}", '{"text": "\\ud800"}']
)
def test_arguments_that_are_not_json_get_the_place_of_the_mistake(arguments: str) -> None:
    assert "not valid JSON" in answer(Call.raw("note", arguments))


def test_arguments_nested_without_end_are_refused_like_any_others() -> None:
    assert "arguments of note" in answer(Call.raw("note", "[" * 100_000))


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ('{"times": "three"}', "$.times"),
        ('{"text": 5}', "$.text"),
        ('{"colour": "red"}', "colour"),
        ("[]", "object"),
        ("null", "object"),
    ],
)
def test_arguments_that_do_not_fit_get_the_reason_and_the_schema(arguments: str, wrong: str) -> None:
    text = answer(Call.raw("note", arguments))
    assert wrong in text
    assert '"properties"' in text


@pytest.mark.parametrize("arguments", ["", "  ", "{}"])
def test_no_arguments_at_all_are_the_defaults(arguments: str) -> None:
    assert answer(Call.raw("note", arguments)) == "noted "


@pytest.mark.parametrize("error", [ToolError("No such note."), OSError("no disk"), ValueError("embedded null byte")])
def test_a_call_that_cannot_be_planned_is_a_value_the_model_reads(error: Exception) -> None:
    class Picky(Note):
        def plan(self, args: NoteArguments, context: ToolContext) -> Action:
            raise error

    tool = Picky()
    assert str(error) in answer(Call("note"), tools=[tool])
    assert tool.runs == []


def test_a_loop_of_links_is_a_value_the_model_reads(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for call in (Call("read_file", path="loop"), Call("write_file", path="loop/x", content="x")):
        assert answer(call, tools=default_tools(), cwd=tmp_path)


@pytest.mark.parametrize("error", [ToolError("Full."), OSError("no disk"), ZeroDivisionError("division by zero")])
def test_a_tool_that_fails_is_a_value_the_model_reads(error: Exception) -> None:
    def work(args: NoteArguments, cancel: CancelToken) -> str:
        raise error

    bench = Bench(tools=[Note(work=work)])
    bench.turn("x", [Call("note"), "ok"])
    assert str(error) in bench.results()[0]
    finished = next(event for event in bench.events if isinstance(event, ToolFinished))
    assert not finished.ok


def test_a_refusal_tells_the_reason_and_that_it_did_not_run() -> None:
    tool = Note(kind="write")
    text = answer(Call("note"), tools=[tool], gate=Gatekeeper(Policy("ask"), nobody, session_id=SESSION))
    assert text.startswith("Not run.")
    assert "nobody is there" in text
    assert tool.runs == []


# -- approvals -------------------------------------------------------------------------------------


class Answering:
    """A gate with one answer that does something before it gives it."""

    def __init__(self, allowed: bool, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.allowed = allowed
        self.meanwhile = meanwhile

    def review(self, call: ToolCall, action: Action, context: ToolContext, **_: Any) -> Decision:
        self.meanwhile()
        return Decision(self.allowed)


@pytest.mark.parametrize("name", ["secrets.txt", "secrest.txt", "nowhere/secrets.txt", "", "pipe", "binary"])
@pytest.mark.parametrize("through", ["{outside}", "../outside", "link"])
@pytest.mark.parametrize(
    ("tool", "more"),
    [
        ("read_file", {}),
        ("write_file", {"content": "x"}),
        ("edit_file", {"old": "pasword = hunter", "new": "x"}),
        ("edit_file", {"old": "password", "new": "x"}),
        ("search_files", {"pattern": "x"}),
    ],
)
def test_of_what_lies_outside_nothing_is_told_before_somebody_agreed(
    name: str, through: str, tool: str, more: dict[str, str], tmp_path: Path
) -> None:
    cwd, outside = tmp_path / "work", tmp_path / "outside"
    cwd.mkdir()
    outside.mkdir()
    (outside / "secrets.txt").write_text("password = hunter2\npassword = hunter3\n")
    (outside / "binary").write_bytes(b"\0\x89")
    os.mkfifo(outside / "pipe")
    (cwd / "link").symlink_to(outside)
    path = f"{through.format(outside=outside)}/{name}"
    text = answer(Call(tool, path=path, **more), tools=default_tools(), cwd=cwd, gate=Answering(False))
    assert text.startswith("Not run. The answer was no.")
    for told in ("secrets", "hunter", "password", "exist", "directory", "outside"):
        assert told not in text


def test_what_lies_outside_is_explained_to_whoever_may_see_it(tmp_path: Path) -> None:
    cwd = tmp_path / "work"
    cwd.mkdir()
    (tmp_path / "secrets.txt").write_text("password = hunter2\n")
    calls = [
        Call("read_file", path="../secrest.txt"),
        Call("search_files", path="../nowhere", pattern="x"),
        Call("edit_file", path="../secrets.txt", old="pasword = hunter", new="x"),
        Call("edit_file", path="../secrets.txt", old="hunter2", new="hunter3"),
    ]
    missing, nowhere, unlike, edited = answers(*calls, tools=default_tools(), cwd=cwd, gate=Answering(True))
    assert "Similar names there: secrets.txt" in missing
    assert "does not exist" in nowhere
    assert "password = hunter2" in unlike
    assert edited.startswith("Edited")


@pytest.mark.parametrize("tool", ["read_file", "write_file", "edit_file", "search_files"])
def test_a_link_that_is_swapped_while_somebody_thinks_is_noticed(tool: str, tmp_path: Path) -> None:
    for name in ("shown", "other"):
        (tmp_path / name).write_text(f"text of {name}\n")
    link = tmp_path / "link"
    link.symlink_to("shown")

    def swap() -> None:
        link.unlink()
        link.symlink_to("other")

    more = {
        "write_file": {"content": "x"}, "edit_file": {"old": "text", "new": "x"}, "search_files": {"pattern": "text"},
    }.get(tool, {})  # fmt: skip
    call = Call(tool, path="link", **more)
    text = answer(call, tools=default_tools(), cwd=tmp_path, gate=Answering(True, swap))
    assert text == "Not run: it changed while waiting for the answer; try again."
    assert (tmp_path / "other").read_text() == "text of other\n"


def test_a_command_that_changed_meanwhile_does_not_run() -> None:
    class Fickle(Note):
        def plan(self, args: NoteArguments, context: ToolContext) -> Action:
            plans.append(args.text)
            return Action("execute", "x", command=f"x {len(plans)}")

    plans: list[str] = []
    tool = Fickle()
    assert "changed while waiting" in answer(Call("note"), tools=[tool], gate=Answering(True))
    assert tool.runs == []


@pytest.mark.parametrize(("mode", "shown"), [("ask", 1), ("plan", 0), ("yolo", 0)])
def test_only_what_somebody_is_asked_for_is_looked_at_before_it_runs(mode: Any, shown: int) -> None:
    class Looking(Note):
        def preview(self, args: NoteArguments, context: ToolContext) -> str:
            looks.append(args.text)
            return "x"

    looks: list[str] = []
    gate = Gatekeeper(Policy(mode), nobody, session_id=SESSION)
    answer(Call("note"), tools=[Looking(kind="write")], gate=gate)
    assert len(looks) == shown


def test_a_preview_that_is_not_possible_is_a_value_the_model_reads_and_nobody_is_asked() -> None:
    class Picky(Note):
        def preview(self, args: NoteArguments, context: ToolContext) -> str:
            raise OSError("no disk")

    tool = Picky(kind="write")
    gate = Gatekeeper(Policy("ask"), nobody, session_id=SESSION)
    assert answer(Call("note"), tools=[tool], gate=gate) == "note cannot do that: OSError: no disk."


def test_a_change_that_became_another_meanwhile_does_not_run() -> None:
    class Fickle(Note):
        def preview(self, args: NoteArguments, context: ToolContext) -> str:
            looks.append(args.text)
            return f"change {len(looks)}"

    def yes(request: ApprovalRequested, **_: Any) -> Decision:
        return Decision(request.preview == "change 1")

    looks: list[str] = []
    tool = Fickle(kind="write")
    text = answer(Call("note"), tools=[tool], gate=Gatekeeper(Policy("ask"), yes, session_id=SESSION))
    assert "changed while waiting" in text
    assert tool.runs == []


# -- results ---------------------------------------------------------------------------------------


def test_a_tool_that_says_nothing_still_gets_an_answer() -> None:
    assert answer(Call("note"), tools=[Note(work=lambda args, cancel: "")]) == "(no output)"


def test_a_long_result_keeps_its_head_and_its_tail() -> None:
    text = answer(Call("note"), tools=[Note(work=lambda args, cancel: f"head{'x' * 5000}tail")], output_limit=300)
    assert text.startswith("head")
    assert text.endswith("tail")
    assert "4,708 characters left out" in text
    assert len(text) < 400


@pytest.mark.parametrize("length", [0, 1, 99, 100, 101, 5000])
def test_bounded_text_is_never_much_longer_than_its_limit(length: int) -> None:
    text = bounded("x" * length, 100)
    assert len(text) <= 150
    assert (text == "x" * length) == (length <= 100)


def test_secrets_are_taken_out_of_results_failures_and_displays() -> None:
    def work(args: NoteArguments, cancel: CancelToken) -> str:
        if args.text:
            raise ToolError("cannot use hunter2hunter2")
        return "the key is hunter2hunter2"

    bench = Bench(tools=[Note(work=work)], redact=Redactor(["hunter2hunter2"]))
    bench.turn("x", [[Call("note"), Call("note", text="hunter2hunter2")], "ok"])
    assert bench.results() == ["the key is [redacted]", "cannot use [redacted]"]
    assert "hunter2" not in "".join(event.display for event in bench.events if isinstance(event, ToolFinished))


def test_secrets_are_taken_out_of_what_a_front_end_is_told_of_a_call() -> None:
    bench = Bench(tools=[Note()], redact=Redactor(["hunter2hunter2"]))
    bench.turn("x", [[Call("note", text="hunter2hunter2"), Call("hunter2hunter2")], "ok"])
    told = [event for event in bench.events if isinstance(event, ToolStarted | ToolFinished)]
    assert [event.title for event in told] == ["note [redacted]"] * 2 + [""] * 2
    assert not any("hunter2" in event.summary for event in told if isinstance(event, ToolFinished))


# -- several at once -------------------------------------------------------------------------------


def test_neighbouring_reads_run_at_the_same_time_and_answer_in_order() -> None:
    everyone_is_here = threading.Barrier(4, timeout=10)
    turn_of = {text: threading.Event() for text in "abcd"}
    turn_of["d"].set()

    def work(args: NoteArguments, cancel: CancelToken) -> str:
        everyone_is_here.wait()
        assert turn_of[args.text].wait(10)  # the last one ends first
        if args.text != "a":
            turn_of[chr(ord(args.text) - 1)].set()
        return args.text

    assert answers(*(Call("note", text=text) for text in "abcd"), tools=[Note(work=work)]) == list("abcd")


def test_a_write_waits_for_the_reads_before_it_and_the_reads_after_it_wait_for_it() -> None:
    log: list[str] = []
    lock = threading.Lock()

    def work(args: NoteArguments, cancel: CancelToken) -> str:
        with lock:
            log.append(args.text)
        return args.text

    calls = [("read", "1"), ("read", "1"), ("write", "2"), ("write", "3"), ("read", "4"), ("read", "4")]
    tools = [Note("read", "read", work), Note("write", "write", work)]
    assert answers(*(Call(name, text=text) for name, text in calls), tools=tools) == [text for _, text in calls]
    assert log == sorted(log)


def test_a_call_that_cannot_be_done_does_not_disturb_its_neighbours_nor_the_order() -> None:
    calls = [Call("note", text="1"), Call("nothing"), Call.raw("note", "{"), Call("note", text="4")]
    texts = answers(*calls)
    assert (texts[0], texts[3]) == ("noted 1", "noted 4")
    assert "no tool" in texts[1]
    assert "JSON" in texts[2]


def test_one_read_that_fails_leaves_the_others_alone() -> None:
    def work(args: NoteArguments, cancel: CancelToken) -> str:
        if args.text == "b":
            raise RuntimeError("boom")
        return args.text

    texts = answers(*(Call("note", text=text) for text in "abc"), tools=[Note(work=work)])
    assert (texts[0], texts[2]) == ("a", "c")
    assert "boom" in texts[1]


def ask_nobody(request: ApprovalRequested, *, emit: Sink, cancel: CancelToken) -> Decision:
    raise AssertionError(f"asked about {request.title}")


@pytest.mark.parametrize("mode", ["yolo", "ask"])
def test_a_call_that_began_before_is_neither_run_nor_asked_about_again(mode: ApprovalMode) -> None:
    tool, store, events = Note(), MemoryStore(), list[object]()
    store.create_session(SESSION, source="test")
    assert store.mark_begun(SESSION, "call_1")
    toolset = Toolset(
        [tool], context=ToolContext(Path("/")), gate=Gatekeeper(Policy(mode), ask_nobody, session_id=SESSION)
    )
    call = ToolCall("call_1", "note", '{"text": "a"}')
    found = list(toolset.run([call], store=store, session_id=SESSION, emit=events.append, cancel=CancelToken()))
    assert found == [Message("tool", "interrupted; outcome unknown", tool_call_id="call_1")]
    assert tool.runs == []
    started, finished = events
    assert isinstance(started, ToolStarted)
    assert isinstance(finished, ToolFinished)
    assert (started.title, finished.title, finished.refused) == ("note a", "note a", False)


def test_a_reason_that_ends_a_sentence_is_followed_by_one_full_stop() -> None:
    assert _denial("None can be asked.").startswith("Not run. The answer was no: None can be asked. Do not try")
