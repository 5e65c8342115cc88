"""A turn: its events, its history, and every way it can end."""

import threading
from pathlib import Path

import pytest

from agent.cancel import CancelToken
from agent.errors import AuthenticationError, Cancelled, UnavailableError
from agent.events import (
    ReasoningDelta,
    Steered,
    StepFinished,
    StepRestarted,
    StepStarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnStarted,
)
from agent.messages import INTERRUPTED, Message, ToolCall, Usage
from agent.models.scripted import Call, Fail, Finish, Restart, Say, ScriptedModel, Think, Until, Wait
from agent.protocols import Reply
from agent.store.memory import MemoryStore
from agent.tools import default_tools
from tests.support.turns import SESSION, Bench, Note, NoteArguments, check_history, check_stream


def kinds(bench: Bench) -> list[str]:
    return [type(event).__name__ for event in bench.events]


def roles(bench: Bench) -> list[str]:
    return [message.role for message in bench.history]


# -- how it goes -----------------------------------------------------------------------------------


def test_an_answer_is_streamed_stored_and_returned() -> None:
    bench = Bench()
    end = bench.turn("hi", [[Think("hm"), Say("Hel", "lo"), Finish(Usage(3, 2))]])
    assert end == bench.events[-1]
    assert isinstance(end, TurnFinished)
    assert (end.outcome, end.text, end.steps, end.usage) == ("done", "Hello", 1, Usage(3, 2))
    assert bench.events[:-1] == [
        TurnStarted("hi"),
        StepStarted(1),
        ReasoningDelta("hm"),
        TextDelta("Hel"),
        TextDelta("lo"),
        StepFinished(1, "Hello", Usage(3, 2), "stop"),
    ]
    assert bench.history == [Message("user", "hi"), Message("assistant", "Hello", reasoning="hm")]


def test_a_tool_runs_and_its_result_is_what_the_model_sees_next(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("forty-two\n")
    bench = Bench(tools=default_tools(), cwd=tmp_path)
    model = ScriptedModel([Call("read_file", path="a.txt"), "It says forty-two."])
    end = bench.turn("what does a.txt say?", model)
    assert isinstance(end, TurnFinished)
    assert end.text == "It says forty-two."
    assert "forty-two" in model.requests[1].messages[-1].content
    check_stream(bench.events)
    check_history(bench.history)


def test_the_tools_and_the_beginning_of_the_conversation_stay_the_same_in_every_request(tmp_path: Path) -> None:
    bench = Bench(tools=default_tools(), cwd=tmp_path)
    model = ScriptedModel([Call("search_files", pattern="x"), "done", "again"])
    bench.turn("one", model)
    bench.turn("two", model)
    for earlier, later in zip(model.requests, model.requests[1:], strict=False):
        assert later.messages[: len(earlier.messages)] == earlier.messages
        assert later.tools == earlier.tools
    assert [tool.name for tool in model.requests[0].tools] == [tool.name for tool in default_tools()]


def test_tokens_of_all_steps_are_added_up() -> None:
    bench = Bench(tools=[Note()])
    end = bench.turn("x", [[Call("note"), Finish(Usage(10, 1, cost=0.5))], ["ok", Finish(Usage(20, 2))]])
    assert isinstance(end, TurnFinished)
    assert end.usage == Usage(30, 3, cost=0.5)


def test_text_that_was_taken_back_is_not_in_the_answer() -> None:
    bench = Bench()
    end = bench.turn("x", [[Say("wrong"), Restart("overloaded"), Say("right")]])
    assert isinstance(end, TurnFinished)
    assert end.text == "right"
    assert StepRestarted("overloaded") in bench.events
    assert bench.history[-1].content == "right"


def test_the_given_history_is_not_changed() -> None:
    bench = Bench()
    bench.turn("one", ["first"])
    before = bench.history
    copy = list(before)
    bench.turn("two", ["second"])
    assert before == copy


# -- steering --------------------------------------------------------------------------------------


def test_a_line_steered_in_reaches_the_model_before_its_next_step() -> None:
    lines: list[str] = []
    tool = Note(work=lambda args, cancel: str(lines.append("use tabs")))
    bench = Bench(tools=[tool])

    def inbox() -> list[str]:
        taken, lines[:] = list(lines), []
        return taken

    model = ScriptedModel([Call("note"), "With tabs."])
    bench.turn("write it", model, inbox=inbox)
    assert model.requests[1].messages[-1] == Message("user", "use tabs")
    assert Steered("use tabs") in bench.events
    assert roles(bench) == ["user", "assistant", "tool", "user", "assistant"]
    check_stream(bench.events)
    check_history(bench.history)


def test_a_line_steered_in_during_the_last_answer_is_answered_in_the_same_turn() -> None:
    lines = ["and in French?"]

    def inbox() -> list[str]:
        return [lines.pop()] if lines and len(bench.history) > 1 else []

    bench = Bench()
    end = bench.turn("hi", ["Hello.", "Bonjour."], inbox=inbox)
    assert isinstance(end, TurnFinished)
    assert (end.text, end.steps) == ("Hello.\n\nBonjour.", 2)
    check_stream(bench.events)


# -- how it ends -----------------------------------------------------------------------------------


def test_a_failure_of_the_model_is_an_outcome_with_advice() -> None:
    bench = Bench()
    end = bench.turn("x", [Fail(AuthenticationError("The key is wrong.", hint="Set another."))])
    assert isinstance(end, TurnFinished)
    assert (end.outcome, end.error, end.hint) == ("failed", "The key is wrong.", "Set another.")
    assert end.error_kind == "AuthenticationError"
    check_stream(bench.events)
    assert bench.history == [Message("user", "x")]


def test_what_was_shown_of_a_broken_answer_is_kept() -> None:
    bench = Bench()
    end = bench.turn("x", [[Say("The answer is"), Fail(UnavailableError("The stream broke."))]])
    assert isinstance(end, TurnFinished)
    assert (end.outcome, end.text) == ("failed", "The answer is")
    assert bench.history[-1] == Message("assistant", "The answer is")
    check_stream(bench.events)


def test_the_conversation_goes_on_after_a_failure() -> None:
    bench = Bench()
    bench.turn("one", [Fail(UnavailableError("no"))])
    end = bench.turn("two", ["yes"])
    assert isinstance(end, TurnFinished)
    assert end.outcome == "done"
    assert [message.content for message in bench.history] == ["one", "two", "yes"]


def test_a_turn_stops_at_its_limit_of_steps_and_says_how_to_go_on() -> None:
    bench = Bench(tools=[Note()])
    end = bench.turn("x", lambda messages: [Say("step"), Call("note")], max_steps=3)
    assert isinstance(end, TurnFinished)
    assert (end.outcome, end.steps, end.text) == ("limit", 3, "step")
    assert "3 steps" in end.error
    assert "max_steps" in end.hint
    check_stream(bench.events)
    check_history(bench.history)


def test_a_turn_that_is_cancelled_before_it_began_asks_nobody() -> None:
    cancel, model = CancelToken(), ScriptedModel(["never"])
    cancel.cancel()
    bench = Bench()
    end = bench.turn("x", model, cancel=cancel)
    assert isinstance(end, TurnFinished)
    assert end.outcome == "cancelled"
    assert model.requests == []
    check_stream(bench.events)


def test_cancelling_in_the_middle_of_an_answer_keeps_what_was_shown() -> None:
    cancel = CancelToken()
    bench = Bench()

    def stop_at_text(event: object) -> None:
        if isinstance(event, TextDelta):
            threading.Thread(target=cancel.cancel).start()

    end = bench.turn("x", [[Say("Once upon"), Wait(30.0), Say(" a time")]], cancel=cancel, on_event=stop_at_text)
    assert isinstance(end, TurnFinished)
    assert (end.outcome, end.text) == ("cancelled", "Once upon")
    assert end.seconds < 5
    check_stream(bench.events)
    check_history(bench.history)


def test_cancelling_while_a_tool_runs_leaves_a_history_that_can_go_on() -> None:
    cancel = CancelToken()

    def work(args: NoteArguments, token: CancelToken) -> str:
        cancel.cancel()
        token.raise_if_cancelled()
        return "unreachable"

    tool = Note(kind="execute", work=work)
    bench = Bench(tools=[tool])
    end = bench.turn("x", [[Call("note", text="a"), Call("note", text="b")]], cancel=cancel)
    assert isinstance(end, TurnFinished)
    assert end.outcome == "cancelled"
    assert len(tool.runs) == 1
    assert bench.results() == [INTERRUPTED, INTERRUPTED]
    check_stream(bench.events)
    check_history(bench.history)
    bench.events.clear()
    bench.turn("go on", ["ok"])
    assert bench.history[-1].content == "ok"


def test_cancelling_one_of_several_reads_ends_all_of_them_and_keeps_what_was_read() -> None:
    cancel, first_is_done = CancelToken(), threading.Event()

    def work(args: NoteArguments, token: CancelToken) -> str:
        if args.text == "quick":
            first_is_done.set()
            return "quick result"
        assert first_is_done.wait(10)
        cancel.cancel()
        raise Cancelled

    bench = Bench(tools=[Note(work=work)])
    calls = [Call("note", text=text) for text in ("slow", "quick", "slow")]
    end = bench.turn("x", [calls], cancel=cancel)
    assert isinstance(end, TurnFinished)
    assert end.outcome == "cancelled"
    assert bench.results() == [INTERRUPTED, "quick result", INTERRUPTED]
    assert kinds(bench).count("ToolFinished") == 3
    check_stream(bench.events)
    check_history(bench.history)


def test_a_result_that_came_before_the_cancel_was_noticed_is_not_thrown_away() -> None:
    cancel = CancelToken()

    def work(args: NoteArguments, token: CancelToken) -> str:
        cancel.cancel()
        return "finished all the same"

    bench = Bench(tools=[Note(kind="write", work=work)])
    end = bench.turn("x", [Call("note"), "never"], cancel=cancel)
    assert isinstance(end, TurnFinished)
    assert end.outcome == "cancelled"
    assert bench.results() == ["finished all the same"]


def test_a_surprise_travels_after_the_stream_was_closed() -> None:
    bench = Bench()
    with pytest.raises(ZeroDivisionError):
        bench.turn("x", [Fail(ZeroDivisionError("who knows"))])
    end = bench.events[-1]
    assert isinstance(end, TurnFinished)
    assert (end.outcome, end.error, end.error_kind) == ("failed", "who knows", "ZeroDivisionError")
    check_stream(bench.events)


def test_a_surprise_in_a_gate_stops_the_turn_and_nothing_ran() -> None:
    class BrokenGate:
        def review(self, *args: object, **kwargs: object) -> object:
            raise RuntimeError("the policy is broken")

    tool = Note(kind="write")
    bench = Bench(tools=[tool], gate=BrokenGate())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError):
        bench.turn("x", [Call("note")])
    assert tool.runs == []
    check_stream(bench.events)


def test_a_model_that_ends_without_a_reply_fails_the_turn() -> None:
    class Mute:
        name = "mute"

        def stream(self, *args: object, **kwargs: object) -> list[object]:
            return []

    bench = Bench()
    end = bench.turn("x", Mute())  # type: ignore[arg-type]
    assert isinstance(end, TurnFinished)
    assert (end.outcome, end.error_kind) == ("failed", "BadRequestError")
    assert "mute" in end.error


# -- calls and their ids ---------------------------------------------------------------------------


class SameIds:
    """A server that numbers its calls from zero in each reply, or not at all."""

    name = "same-ids"

    def __init__(self, *replies: Message) -> None:
        self._replies = list(replies)

    def stream(self, *args: object, **kwargs: object) -> list[Reply]:
        return [Reply(self._replies.pop(0))]


@pytest.mark.parametrize("ids", [("call_0", "call_0"), ("", ""), ("x", "x_2"), ("call_0", "call_1")])
def test_calls_get_ids_that_are_unique_in_the_session(ids: tuple[str, str]) -> None:
    calls = tuple(ToolCall(call_id, "note", f'{{"text": "{number}"}}') for number, call_id in enumerate(ids))
    tool = Note()
    bench = Bench(tools=[tool])
    model = SameIds(
        Message("assistant", "", calls), Message("assistant", "", calls), Message("assistant", "that was it")
    )
    end = bench.turn("x", model)  # type: ignore[arg-type]
    assert isinstance(end, TurnFinished)
    assert end.outcome == "done"
    assert len(set(tool.runs)) == len(tool.runs) == 4
    assert bench.results() == ["noted 0", "noted 1"] * 2
    check_history(bench.history)
    check_stream(bench.events)


def test_calls_of_a_turn_that_was_cut_are_answered_before_the_next_prompt() -> None:
    store = MemoryStore()
    bench = Bench(store=store, tools=[Note()])
    store.append(SESSION, Message("user", "one"))
    store.append(SESSION, Message("assistant", "", (ToolCall("a", "note", "{}"), ToolCall("b", "note", "{}"))))
    store.append(SESSION, Message("tool", "first", tool_call_id="a"))
    bench.turn("two", ["fine"])
    assert bench.results() == ["first", INTERRUPTED]
    check_history(bench.history)


def test_a_turn_whose_answer_was_stored_is_over_when_it_is_resumed() -> None:
    bench = Bench()
    bench.turn("x", ["the answer"])
    bench.events.clear()
    model = ScriptedModel([])
    end = bench.turn(None, model)
    assert isinstance(end, TurnFinished)
    assert (end.outcome, end.text) == ("done", "the answer")
    assert model.requests == []
    check_stream(bench.events)


# -- waiting ---------------------------------------------------------------------------------------


def test_lines_that_wait_and_a_model_that_waits_end_with_the_cancel() -> None:
    cancel, never = CancelToken(), threading.Event()
    bench = Bench()

    def stop(event: object) -> None:
        if isinstance(event, StepStarted):
            threading.Thread(target=cancel.cancel).start()

    end = bench.turn("x", [[Until(never), "never"]], cancel=cancel, on_event=stop)
    assert isinstance(end, TurnFinished)
    assert end.outcome == "cancelled"


def test_events_of_tools_say_what_ran_and_how_it_ended(tmp_path: Path) -> None:
    bench = Bench(tools=default_tools(), cwd=tmp_path)
    bench.turn("x", [Call("terminal", command="echo out; exit 3"), "ok"])
    started = next(event for event in bench.events if isinstance(event, ToolStarted))
    finished = next(event for event in bench.events if isinstance(event, ToolFinished))
    assert started.title == finished.title == "echo out; exit 3"
    assert (finished.ok, finished.exit_code, finished.summary) == (False, 3, "exit 3")
    assert finished.display.strip() == "out"


# -- what it costs ---------------------------------------------------------------------------------


def test_a_turn_stops_when_it_has_cost_what_it_may() -> None:
    bench = Bench(tools=[Note()])
    end = bench.turn("x", lambda messages: [Say("step"), Call("note"), Finish(Usage(10, 1, cost=0.2))], max_cost=0.5)
    assert isinstance(end, TurnFinished)
    assert (end.outcome, end.steps, end.error) == ("limit", 3, "Stopped at $0.60 of $0.50.")
    assert "max_cost" in end.hint
    check_history(bench.history)


def test_a_limit_in_money_that_nobody_can_keep_stops_the_turn_after_its_first_step() -> None:
    end = Bench(tools=[Note()]).turn("x", lambda messages: [Call("note"), Finish(Usage(10, 1))], max_cost=0.5)
    assert isinstance(end, TurnFinished)
    assert (end.outcome, end.steps) == ("limit", 1)
    assert "not known" in end.error


def test_an_answer_that_was_paid_for_is_given() -> None:
    end = Bench().turn("x", [[Say("42"), Finish(Usage(1, 1, cost=9.0))]], max_cost=0.5)
    assert isinstance(end, TurnFinished)
    assert (end.outcome, end.text) == ("done", "42")
