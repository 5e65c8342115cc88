"""The model behind an OpenAI-compatible endpoint, against a server that behaves and one that does not."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agent.cancel import CancelToken
from agent.config import ModelChoice
from agent.errors import (
    AuthenticationError,
    BadRequestError,
    Cancelled,
    ContextFullError,
    ModelError,
    RefusedError,
    UnavailableError,
)
from agent.messages import ImagePart, Message, ToolCall, Usage
from agent.models.openai import OpenAIChatModel, list_models
from agent.protocols import ModelOutput, ReasoningChunk, Reply, Restarted, TextChunk, ToolSpec
from tests.support.openai_server import (
    Events,
    Hang,
    OpenAIServer,
    Plain,
    Status,
    Step,
    Stream,
    Tool,
    call,
    chunk,
    say,
)
from tests.support.pictures import PNG

HI = [Message("user", "hi")]
LS = ToolSpec("ls", "list files", {"type": "object", "properties": {"path": {"type": "string"}}})


def choice_for(server: OpenAIServer, **fields: Any) -> ModelChoice:
    return ModelChoice(**{"provider": "custom", "model": "m", "base_url": server.base_url, "api_key": "k"} | fields)


def ask(
    server: OpenAIServer,
    *,
    tools: Sequence[ToolSpec] = (),
    messages: Sequence[Message] = HI,
    max_retries: int = 0,
    **fields: Any,
) -> list[ModelOutput]:
    model = OpenAIChatModel(choice_for(server, **fields), max_retries=max_retries)
    return list(model.stream(messages, tools, cancel=CancelToken()))


def answer(*steps: Step, **options: Any) -> list[ModelOutput]:
    with OpenAIServer(steps) as server:
        return ask(server, **options)


def failure(*steps: Step, **options: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        answer(*steps, **options)
    return caught.value


def reply_of(outputs: list[ModelOutput]) -> Reply:
    reply = outputs[-1]
    assert isinstance(reply, Reply)
    return reply


# -- answers ---------------------------------------------------------------------------------------


def test_text_is_streamed_and_replied_with_its_usage() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert answer(say("Hel", "lo", usage=usage)) == [
        TextChunk("Hel"),
        TextChunk("lo"),
        Reply(Message("assistant", "Hello"), Usage(100, 9, 64, 3), "stop"),
    ]


def test_reasoning_comes_apart_from_the_text() -> None:
    outputs = answer(say("yes", reasoning=("h", "m")))
    assert outputs[:3] == [ReasoningChunk("h"), ReasoningChunk("m"), TextChunk("yes")]
    assert reply_of(outputs).message == Message("assistant", "yes", reasoning="hm")


def test_parallel_tool_calls_are_put_together() -> None:
    step = Stream(text=("Looking.",), tools=(Tool("ls", '{"path": "."}', "a"), Tool("cat", '{"path": "x"}', "b")))
    reply = reply_of(answer(step, tools=[LS]))
    assert reply.message.content == "Looking."
    assert reply.message.tool_calls == (ToolCall("a", "ls", '{"path": "."}'), ToolCall("b", "cat", '{"path": "x"}'))
    assert reply.finish_reason == "tool_calls"


def test_unknown_tools_and_malformed_arguments_are_passed_on() -> None:
    reply = reply_of(answer(Stream(tools=(Tool("no_such_tool", '{"path": '),)), tools=[LS]))
    assert reply.message.tool_calls == (ToolCall("call_1", "no_such_tool", '{"path": '),)


def test_an_id_that_the_conversation_knows_is_not_used_again() -> None:
    history = [*HI, Message("assistant", "", (ToolCall("call_1", "ls", "{}"),)), Message("tool", "a", (), "call_1")]
    reply = reply_of(answer(call("ls"), messages=history))
    assert reply.message.tool_calls[0].id != "call_1"


def test_the_finish_reason_is_the_servers() -> None:
    assert reply_of(answer(say("cut sh", finish="length"))).finish_reason == "length"


@pytest.mark.parametrize("step", [Plain("hi"), Plain(tools=(Tool("ls"),))])
def test_a_server_that_answers_a_stream_with_plain_json(step: Plain) -> None:
    reply = reply_of(answer(step))
    assert (reply.message.content, len(reply.message.tool_calls)) == (step.text, len(step.tools))
    assert reply.usage.input_tokens == 11


def test_a_finish_reason_without_done_is_an_end() -> None:
    assert reply_of(answer(Events((chunk({"content": "hi"}, "stop"),), done=False))).message.content == "hi"


def test_done_without_a_finish_reason_is_an_end() -> None:
    assert reply_of(answer(Events((chunk({"content": "hi"}),)))).finish_reason == "stop"


# -- requests --------------------------------------------------------------------------------------


def test_what_the_server_is_asked() -> None:
    history = [
        Message("system", "be good"),
        *HI,
        Message("assistant", "", (ToolCall("c1", "ls", "{}"),), reasoning="private"),
        Message("tool", "a b", tool_call_id="c1"),
    ]
    with OpenAIServer([say("ok")]) as server:
        ask(server, messages=history, tools=[LS], reasoning_effort="high", routing={"order": ["x"]})
    assert server.requests[0].headers["authorization"] == "Bearer k"
    assert server.bodies == [
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "be good"},
                {"role": "user", "content": "hi"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "ls", "arguments": "{}"}}],
                },
                {"role": "tool", "content": "a b", "tool_call_id": "c1"},
            ],
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "ls", "description": "list files", "parameters": LS.parameters},
                }
            ],
            "reasoning_effort": "high",
            "provider": {"order": ["x"]},
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


@pytest.mark.parametrize("field", ["stream_options", "tools", "stream"])
def test_a_field_the_server_rejects_is_left_out_from_then_on(field: str) -> None:
    with OpenAIServer(["one", "two"], rejects=[field]) as server:
        # What was rejected is remembered by address and model, and a port may come back within a run.
        model = OpenAIChatModel(choice_for(server, model=f"without {field}"), max_retries=0)
        texts = [reply_of(list(model.stream(HI, [LS], cancel=CancelToken()))).message.content for _ in range(2)]
    assert texts == ["one", "two"]
    assert [field in body for body in server.bodies] == [True, False, False]


def test_leaving_out_the_tools_is_told() -> None:
    with OpenAIServer(["one"], rejects=["tools"]) as server:
        outputs = ask(server, tools=[LS], model="told")
    assert outputs[0] == Restarted("the model does not take tools; asking without them")


def test_without_a_model_the_first_of_the_endpoint_is_used() -> None:
    with OpenAIServer(["hi"], models=["first", "second"]) as server:
        model = OpenAIChatModel(choice_for(server, model=""))
        list(model.stream(HI, [], cancel=CancelToken()))
        assert (server.bodies[0]["model"], model.name) == ("first", "first")


def test_the_endpoint_lists_its_models() -> None:
    with OpenAIServer(models=["b", "a"]) as server:
        assert list_models(choice_for(server), 5) == ["b", "a"]


def test_a_list_of_models_that_cannot_be_had() -> None:
    with OpenAIServer() as server:
        choice = choice_for(server)
    with pytest.raises(UnavailableError):
        list_models(choice, 5)


# -- failures --------------------------------------------------------------------------------------


def test_a_missing_key_is_found_out_before_anything_is_sent() -> None:
    choice = ModelChoice(provider="openai", model="m", base_url="https://api.openai.com/v1")
    with pytest.raises(AuthenticationError, match="no key for OpenAI") as caught:
        list(OpenAIChatModel(choice).stream(HI, [], cancel=CancelToken()))
    assert "OPENAI_API_KEY" in caught.value.hint


def test_a_wrong_key_is_never_quoted() -> None:
    error = failure(Status(401, "Incorrect API key provided: sk-very-secret"), api_key="sk-very-secret")
    assert isinstance(error, AuthenticationError)
    assert "very-secret" not in error.explain()
    assert "hermes model" in error.hint


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (Status(400, "too long", code="context_length_exceeded"), ContextFullError),
        (Status(404, "The model `m` does not exist", code="model_not_found"), BadRequestError),
        (Status(400, "filtered", code="content_filter"), RefusedError),
        (Status(402, "pay"), RefusedError),
        (Status(403, "not allowed"), AuthenticationError),
        (Status(422, "odd"), BadRequestError),
        (Status(500, "oops"), UnavailableError),
        (Status(503, body="<html>busy</html>"), UnavailableError),
        (Plain("", finish="content_filter"), RefusedError),
        (Stream(finish="content_filter"), RefusedError),
    ],
)
def test_failures_have_their_kind(step: Step, kind: type[ModelError]) -> None:
    error = failure(step)
    assert type(error) is kind
    assert error.hint


def test_a_way_on_is_named_where_an_image_may_be_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    shown = [Message("user", "look", images=(ImagePart(str(tmp_path / "a.png"), "image/png", "a.png"),))]
    refused = Status(400, "Could not process image", code="invalid_image")
    assert "/undo" in failure(refused, messages=shown).hint
    assert "/undo" not in failure(refused).hint


def test_the_sdk_waits_and_tries_again() -> None:
    with OpenAIServer([Status(429, retry_after=0.1), Status(500, retry_after=0.1), "fine"]) as server:
        outputs = ask(server, max_retries=2)
        assert reply_of(outputs).message.content == "fine"
        first, second, third = (request.at for request in server.requests)
    assert second - first >= 0.1
    assert third - second >= 0.1


def test_a_long_wait_is_told_before_it_begins() -> None:
    with OpenAIServer([Status(429, retry_after=1.2), Status(429, retry_after=1.2), "fine"]) as server:
        outputs = ask(server, max_retries=2)
        assert [output for output in outputs if isinstance(output, Restarted)] == [
            Restarted("the server asks for patience (429): trying again in 1 s")
        ] * 2
        assert reply_of(outputs).message.content == "fine"
        first, second, third = (request.at for request in server.requests)
    assert second - first >= 1.2
    assert third - second >= 1.2


def test_long_waits_use_up_the_retries() -> None:
    with OpenAIServer(default=Status(429, "slow down", retry_after=1)) as server:
        with pytest.raises(UnavailableError):
            ask(server, max_retries=1)
        assert len(server.requests) == 2


def test_when_the_retries_are_used_up_the_wait_is_told() -> None:
    error = failure(Status(429, "slow down", retry_after=30))
    assert isinstance(error, UnavailableError)
    assert error.hint == "Try again in 30 s."


def test_no_server_at_all() -> None:
    with OpenAIServer() as server:
        choice = choice_for(server)
    with pytest.raises(UnavailableError, match=r"Cannot reach 127\.0\.0\.1") as caught:
        list(OpenAIChatModel(choice, max_retries=0).stream(HI, [], cancel=CancelToken()))
    assert caught.value.hint


@pytest.mark.parametrize("step", [Hang(), say("so far", end="hang")])
def test_a_server_that_falls_silent_runs_into_the_timeout(step: Step) -> None:
    error = failure(step, timeout=0.2)
    assert isinstance(error, UnavailableError)
    assert "sent nothing for 0.2 s" in str(error)


# -- broken streams --------------------------------------------------------------------------------

BROKEN = {
    "cut": say("so", end="cut"),
    "eof": say("so", end="eof"),
    "error": say("so", end="error"),
    "garbage": Events((chunk({"content": "so"}), "{no json")),
    "stopped with an error": Events((chunk({"content": "so"}, "error"),)),
}


@pytest.mark.parametrize("step", BROKEN.values(), ids=BROKEN.keys())
def test_a_stream_that_breaks_is_asked_for_again(step: Step) -> None:
    so, restarted, *rest = answer(step, say("whole"))
    assert so == TextChunk("so")
    assert isinstance(restarted, Restarted)
    assert restarted.reason.endswith("; asking again")
    assert rest == [TextChunk("whole"), Reply(Message("assistant", "whole"), Usage(11, 7))]


def test_a_stream_that_breaks_three_times_is_given_up() -> None:
    with OpenAIServer([say("so", end="cut")] * 9) as server:
        with pytest.raises(UnavailableError, match=r"The connection was cut .* \(3 times\)"):
            ask(server)
        assert len(server.bodies) == 3


def test_an_error_in_a_stream_that_will_not_go_away_is_not_repeated() -> None:
    with OpenAIServer([Events(({"error": {"message": "maximum context length is 8", "code": 400}},))]) as server:
        with pytest.raises(ContextFullError):
            ask(server)
        assert len(server.bodies) == 1


def test_an_empty_reply_is_asked_for_once_more() -> None:
    assert reply_of(answer(say(""), say("there"))).message.content == "there"


def test_a_second_empty_reply_is_a_failure_that_says_so() -> None:
    error = failure(say("  "), Plain(), say("never asked"))
    assert isinstance(error, UnavailableError)
    assert str(error) == "The model sent an empty reply (2 times)."


def test_an_empty_reply_for_want_of_tokens_says_so() -> None:
    step = say("", finish="length", reasoning=("hm",))
    assert "reached its limit of tokens" in str(failure(step, step))


# -- cancel ----------------------------------------------------------------------------------------


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 3
    while left := set(threading.enumerate()) - before:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def cancelled_after(server: OpenAIServer, *, requests: int = 1, **fields: Any) -> float:
    """Cancel once the server has so many requests; the seconds until `Cancelled` came."""
    cancel = CancelToken()
    at: list[float] = []

    def stop() -> None:
        server.wait_for_requests(requests)
        cancel.wait(0.05)
        at.append(time.monotonic())
        cancel.cancel()

    thread = threading.Thread(target=stop)
    thread.start()
    model = OpenAIChatModel(choice_for(server, **fields), max_retries=5)
    with pytest.raises(Cancelled):
        list(model.stream(HI, [], cancel=cancel))
    ended = time.monotonic()
    thread.join()
    return ended - at[0]


@pytest.mark.usefixtures("no_thread_left")
@pytest.mark.parametrize(
    "step",
    [Hang(), say("so far", end="hang"), say(*"abcdefgh", pause=0.5)],
    ids=["before the headers", "in the middle", "between two chunks"],
)
def test_a_cancel_closes_the_stream_at_once(step: Step) -> None:
    with OpenAIServer([step]) as server:
        assert cancelled_after(server) < 1
        server.wait_for_hangups()


@pytest.mark.usefixtures("no_thread_left")
def test_a_cancel_ends_the_wait_between_two_attempts() -> None:
    with OpenAIServer([Status(429, retry_after=60)]) as server:
        assert cancelled_after(server) < 1


@pytest.mark.usefixtures("no_thread_left")
def test_a_cancel_ends_the_wait_on_a_connection_used_before() -> None:
    with OpenAIServer(["warm", Hang(), "after"]) as server:
        ask(server)
        assert cancelled_after(server, requests=2) < 1
        assert reply_of(ask(server)).message.content == "after"


@pytest.mark.usefixtures("no_thread_left")
def test_a_cancel_ends_an_attempt_to_connect() -> None:
    # A listener whose queue is full answers no further connection, as a host that drops packets does.
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        cancel = CancelToken()
        threading.Timer(0.1, cancel.cancel).start()
        url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        model = OpenAIChatModel(ModelChoice(provider="custom", model="m", base_url=url, timeout=2))
        begun = time.monotonic()
        with pytest.raises(Cancelled):
            list(model.stream(HI, [], cancel=cancel))
        assert time.monotonic() - begun < 1


def test_a_token_cancelled_before_sends_nothing() -> None:
    with OpenAIServer(["never"]) as server:
        cancel = CancelToken()
        cancel.cancel()
        with pytest.raises(Cancelled):
            next(OpenAIChatModel(choice_for(server)).stream(HI, [], cancel=cancel))
        assert server.requests == []


def test_a_cancel_stops_its_own_stream_and_no_other() -> None:
    with OpenAIServer([say("x", end="hang"), say(*"abcdef", pause=0.1)]) as server:
        model = OpenAIChatModel(choice_for(server))
        cancel = CancelToken()
        doomed = model.stream(HI, [], cancel=cancel)
        assert next(doomed) == TextChunk("x")
        other = model.stream(HI, [], cancel=CancelToken())
        assert next(other) == TextChunk("a")
        cancel.cancel()
        with pytest.raises(Cancelled):
            next(doomed)
        assert reply_of(list(other)).message.content == "abcdef"


def test_an_answer_nobody_reads_on_is_closed() -> None:
    with OpenAIServer([say(*"abc", pause=5)]) as server:
        stream = OpenAIChatModel(choice_for(server)).stream(HI, [], cancel=CancelToken())
        assert isinstance(next(stream), TextChunk)
        stream.close()  # type: ignore[attr-defined]
        server.wait_for_hangups()


# -- clients ---------------------------------------------------------------------------------------


def test_many_threads_share_one_client() -> None:
    from agent.models import _http

    with OpenAIServer(default=lambda request: request.body["messages"][0]["content"]) as server:
        said: list[str] = []

        def work(number: int) -> None:
            outputs = ask(server, messages=[Message("user", str(number))])
            said.append(reply_of(outputs).message.content)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(said, key=int) == [str(number) for number in range(40)]
        assert len([key for key in _http._clients if key[0] == server.base_url]) == 1


def test_a_connection_is_used_again() -> None:
    with OpenAIServer(["one", call("ls"), "three"]) as server:
        for _ in range(3):
            ask(server)
        assert server.connections == 1


def test_a_server_that_does_not_close_its_answer_is_not_waited_for() -> None:
    with OpenAIServer([say("hi", end="open")]) as server:
        assert reply_of(ask(server)).message.content == "hi"
        server.wait_for_hangups()


def test_a_transport_may_be_put_in_the_place_of_the_network() -> None:
    def handle(request: httpx2.Request) -> httpx2.Response:
        assert request.url == "http://nowhere.test/v1/chat/completions"
        return httpx2.Response(200, json={"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]})

    choice = ModelChoice(provider="custom", model="m", base_url="http://nowhere.test/v1")
    model = OpenAIChatModel(choice, http_client=httpx2.Client(transport=httpx2.MockTransport(handle)))
    assert reply_of(list(model.stream(HI, [], cancel=CancelToken()))).message.content == "hi"


def test_plain_http_reads_no_certificates_and_https_does_once() -> None:
    from agent.models import _http

    assert _http._pool("http://127.0.0.1:1/v1")._ssl_context is None
    assert _http._pool("https://example.org/v1")._ssl_context is not None


@pytest.mark.parametrize(
    ("url", "env", "proxy"),
    [
        ("https://api.test/v1", {"https_proxy": "http://proxy:3128"}, "http://proxy:3128"),
        ("https://api.test/v1", {"all_proxy": "proxy:3128"}, "http://proxy:3128"),
        ("https://api.test/v1", {"https_proxy": "http://proxy:3128", "no_proxy": "api.test"}, None),
        ("http://127.0.0.1:1/v1", {"http_proxy": "http://proxy:3128"}, None),
        ("https://api.test/v1", {}, None),
    ],
)
def test_a_proxy_is_taken_from_the_environment(
    url: str, env: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent.models import _http

    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert _http._proxy_for(url) == proxy


def test_requests_go_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenAIServer(["by proxy"]) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        outputs = ask(proxy, base_url="http://api.test/v1")
    assert reply_of(outputs).message.content == "by proxy"
    assert proxy.requests[0].path == "http://api.test/v1/chat/completions"
