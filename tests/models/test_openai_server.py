"""The test server does what its script says; the other tests lean on that."""

import http.client
import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.openai_server import Hang, OpenAIServer, Status, Tool, call, say


def post(port: int, body: dict[str, Any]) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_steps_are_used_up_one_a_request_and_requests_recorded() -> None:
    with OpenAIServer(["one", Status(429, retry_after=2)], default=lambda request: request.body["model"]) as server:
        answers = [post(server.port, {"model": "m"}) for _ in range(3)]
    assert [status for status, _ in answers] == [200, 429, 200]
    assert [json.loads(text).get("choices", [{}])[0].get("message", {}).get("content") for _, text in answers] == [
        "one",
        None,
        "m",
    ]
    assert server.bodies == [{"model": "m"}] * 3


def test_a_stream_ends_with_done_and_carries_usage_when_asked() -> None:
    with OpenAIServer([say("a", "b")]) as server:
        _, text = post(server.port, {"stream": True, "stream_options": {"include_usage": True}})
    events = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["usage"]["prompt_tokens"] == 11


def test_tool_arguments_come_in_fragments() -> None:
    with OpenAIServer([call("ls", path="some/where")]) as server:
        _, text = post(server.port, {"stream": True})
    assert text.count('"arguments"') == 1 + Tool("ls").fragments


def test_a_rejected_field_is_a_400() -> None:
    with OpenAIServer(["ok"], rejects=["tools"]) as server:
        status, text = post(server.port, {"tools": [1]})
    assert (status, "tools" in text) == (400, True)


def test_closing_frees_a_client_that_hangs() -> None:
    with OpenAIServer([Hang()]) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        connection.request("POST", "/v1/chat/completions", "{}")
        server.wait_for_requests(1)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        connection.getresponse()
    connection.close()


def test_it_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "tests.support.openai_server", "--text", "hi there"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        _, text = post(int(program.stdout.readline()), {})
        program.terminate()
    assert json.loads(text)["choices"][0]["message"]["content"] == "hi there"
