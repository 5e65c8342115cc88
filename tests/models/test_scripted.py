"""The scripted model plays its script, and nothing but its script."""

import threading
import time
from collections.abc import Sequence

import pytest

from agent.cancel import CancelToken
from agent.errors import BadRequestError, Cancelled, UnavailableError
from agent.messages import Message, ToolCall, Usage
from agent.models.scripted import Call, Fail, Finish, Restart, Say, ScriptedModel, Think, Until, Wait
from agent.protocols import ModelOutput, ReasoningChunk, Reply, Restarted, TextChunk, ToolSpec

HELLO = [Message("user", "hello")]


def ask(
    model: ScriptedModel, messages: Sequence[Message] = HELLO, cancel: CancelToken | None = None
) -> list[ModelOutput]:
    return list(model.stream(messages, [], cancel=cancel or CancelToken()))


def test_plain_text_is_streamed_and_then_replied() -> None:
    assert ask(ScriptedModel(["hi"])) == [TextChunk("hi"), Reply(Message("assistant", "hi"))]


def test_say_streams_the_pieces_given() -> None:
    *chunks, reply = ask(ScriptedModel([Say("a", "b", "c")]))
    assert chunks == [TextChunk("a"), TextChunk("b"), TextChunk("c")]
    assert isinstance(reply, Reply)
    assert reply.message.content == "abc"


def test_an_answer_may_think_talk_and_call_tools() -> None:
    usage = Usage(10, 5)
    model = ScriptedModel([[Think("hm"), "Looking.", Call("read_file", path="x"), Call("ls"), Finish(usage)]])
    *chunks, reply = ask(model)
    assert chunks == [ReasoningChunk("hm"), TextChunk("Looking.")]
    calls = (ToolCall("call_1", "read_file", '{"path": "x"}'), ToolCall("call_2", "ls", "{}"))
    assert reply == Reply(
        Message("assistant", "Looking.", tool_calls=calls, reasoning="hm"), usage, finish_reason="tool_calls"
    )


def test_arguments_need_not_be_json() -> None:
    *_, reply = ask(ScriptedModel([Call.raw("read_file", '{"path":')]))
    assert isinstance(reply, Reply)
    assert reply.message.tool_calls[0].arguments == '{"path":'


def test_a_restart_takes_back_what_was_said() -> None:
    outputs = ask(ScriptedModel([["wrong", Restart("cut"), "right"]]))
    assert outputs == [
        TextChunk("wrong"),
        Restarted("cut"),
        TextChunk("right"),
        Reply(Message("assistant", "right")),
    ]


def test_a_failure_is_raised_after_what_came_before() -> None:
    stream = ScriptedModel([["so far", Fail(UnavailableError("cut"))]]).stream(HELLO, [], cancel=CancelToken())
    assert next(stream) == TextChunk("so far")
    with pytest.raises(UnavailableError, match="cut"):
        next(stream)


def test_a_function_answers_one_request_or_all() -> None:
    def echo(messages: Sequence[Message]) -> str:
        return messages[-1].content.upper()

    once, always = ScriptedModel(["first", echo]), ScriptedModel(echo)
    assert [ask(once)[0], ask(once)[0]] == [TextChunk("first"), TextChunk("HELLO")]
    assert [ask(always)[0] for _ in range(3)] == [TextChunk("HELLO")] * 3


def test_requests_are_recorded() -> None:
    model, tool = ScriptedModel(["a"]), ToolSpec("ls", "list", {})
    list(model.stream(HELLO, [tool], cancel=CancelToken()))
    assert [(r.messages, r.tools) for r in model.requests] == [(tuple(HELLO), (tool,))]


def test_a_script_that_runs_out_says_so() -> None:
    model = ScriptedModel(["only"], name="bob")
    ask(model)
    with pytest.raises(BadRequestError, match="'bob' has 1 answers, and this is request 2"):
        ask(model)


@pytest.mark.parametrize("pause", [Wait(30), Until(threading.Event())])
def test_a_cancel_ends_a_pause(pause: Wait | Until) -> None:
    cancel = CancelToken()
    threading.Timer(0.05, cancel.cancel).start()
    begun = time.monotonic()
    with pytest.raises(Cancelled):
        ask(ScriptedModel([[pause, "late"]]), cancel=cancel)
    assert time.monotonic() - begun < 5


def test_a_pause_ends_when_the_test_says_so() -> None:
    go = threading.Event()
    go.set()
    assert ask(ScriptedModel([[Until(go), "on"]]))[0] == TextChunk("on")


def test_many_threads_may_share_it() -> None:
    model = ScriptedModel([str(i) for i in range(50)])
    said: list[str] = []

    def work() -> None:
        for _ in range(10):
            *_, reply = ask(model)
            assert isinstance(reply, Reply)
            said.append(reply.message.content)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said, key=int) == [str(i) for i in range(50)]
