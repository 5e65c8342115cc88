"""What takes the model's window, what it costs, and a conversation that is made shorter."""

import re
from pathlib import Path

import pytest

from tests.support.openai_server import Hang, OpenAIServer, Recorded, Step, call, say
from tests.support.screen import Terminal

from .conftest import Start
from .test_sessions import idle, kill, leave, said

COUNT = call("terminal", command="seq 1 2000")
"""A call whose output is 2,200 tokens."""


def is_summary(body: dict[str, object]) -> bool:
    return "You write the handover" in str(body["messages"])


def row(hermes: Terminal, name: str) -> str:
    """The newest line of a table that begins with `name`."""
    return [line for line in hermes.lines if line.strip().startswith(name)][-1]


def test_an_endpoint_that_names_no_model_shows_the_one_it_uses(start: Start) -> None:
    with OpenAIServer(models=["served-model"]) as server:
        hermes = start(server, env={"HERMES_MODEL": ""})
        hermes.wait_for(lambda seen: "served-model" in seen.lines[-1], why="the model in the status line")
        hermes.send("/status").wait_for("served-model (custom)")


def test_before_the_first_message_the_commands_say_so(start: Start) -> None:
    with OpenAIServer() as server:
        hermes = start(server)
        hermes.send("/context").wait_for("The conversation begins with the first message.")
        hermes.send("/usage").wait_for("this session")
        hermes.send("/compress").wait_for("There is nothing to compress.")
        assert server.bodies == []


def test_context_shows_what_takes_the_window_the_server_names(start: Start, folder: Path) -> None:
    (folder / "AGENTS.md").write_text("Use tabs. " * 400)
    with OpenAIServer([COUNT, "counted"], window=20_000) as server:
        server.tells_window = True
        hermes = start(server, "--yolo", env={"HERMES_COMPACT_AT": "0.5"})
        # The question whether the folder's instructions may be read comes first.
        hermes.send("hello").wait_for("Do you trust")
        hermes.send("y").wait_for("counted")
        idle(hermes).send("/context").wait_for("of 20K tokens")
        for name in ("system", "project files", "tools", "memory", "conversation", "free"):
            assert row(hermes, name)
        assert "~1" in row(hermes, "project files")
        assert "~2" in row(hermes, "conversation")
        hermes.wait_for("summarised by itself at 10K")


def test_usage_adds_up_and_goes_along_into_the_shorter_conversation(start: Start) -> None:
    with OpenAIServer([COUNT, "counted", "Goals: the cart.", "fine"], window=20_000) as server:
        hermes = start(server, "--yolo")
        idle(hermes.send("question 0").wait_for("counted"))
        hermes.send("/compress the cart").wait_for("Conversation summarised")
        idle(hermes).send("and now?").wait_for("fine")
        idle(hermes).send("/usage").wait_for("this session").wait_for("test-model")
        assert row(hermes, "this session").split()[2:4] == row(hermes, "today").split()[1:3]
        assert "the cart" in server.bodies[2]["messages"][0]["content"]
        assert "Goals: the cart." in said(server)[0]
        assert "question 0" not in str(said(server)[:1])
        leave(hermes)

        again = start(server, "-c")
        server.steps = ["still here"]
        again.send("are you there?").wait_for("still here")
        assert said(server)[:1] == said(server, 3)[:1]
        assert said(server)[-1] == "are you there?"
        idle(again).send("/context").wait_for("conversation")


def test_esc_stops_compress_and_what_was_typed_meanwhile_is_sent(start: Start) -> None:
    slow = say("Goals", ": never ", "read", pause=30)
    with OpenAIServer([COUNT, "counted", slow, "fine"], window=20_000) as server:
        hermes = start(server, "--yolo")
        idle(hermes.send("question 0").wait_for("counted"))
        hermes.send("/compress").wait_for("summarising the conversation")
        hermes.send("are you there?").press("esc").wait_for("Not compressed").wait_for("fine")
        assert said(server)[-1] == "are you there?"
        assert said(server)[0] == "question 0"
        assert is_summary(server.bodies[2])


def test_a_resumed_conversation_is_measured_before_anything_is_asked(start: Start) -> None:
    with OpenAIServer(["fine"], window=20_000) as server:
        leave(start(server).send("hello").wait_for("fine"))
        hermes = start(server, "-c").wait_for("Resumed")
        hermes.send("/context").wait_for("~ estimated")
        assert re.fullmatch(r"~[1-9][.0-9]*K", row(hermes, "tools").split()[1])


def test_a_server_that_refuses_at_4000_tokens_is_worked_with(start: Start) -> None:
    """Tools and instructions take about half of it, and its calls always have the same id."""

    def answer(request: Recorded) -> Step:
        if is_summary(request.body):
            return "Goals: count."
        asked = [message["content"] for message in request.body["messages"] if message["role"] == "user"]
        return COUNT if request.body["messages"][-1]["role"] == "user" else f"That was {asked[-1]}."

    with OpenAIServer(default=answer, window=4_000) as server:
        hermes = start(server, "--yolo")
        for number in range(5):
            hermes.send(f"count {number}").wait_for(f"That was count {number}.")
            idle(hermes)
        assert server.refused == 1, "the window that the refusal names is remembered"
        hermes.wait_for("Conversation summarised")
        assert "✗" not in hermes.text
        assert "count 4" in said(server)


@pytest.mark.parametrize("when", ["while it is summarised", "in the new session"])
def test_killed_around_a_compaction_the_turn_goes_on_and_no_call_runs_again(
    start: Start, folder: Path, when: str
) -> None:
    count = call("terminal", command="echo ran >> ran.txt; seq 1 6000")
    steps = [count, Hang()] if when == "while it is summarised" else [count, "Goals: count.", Hang()]
    env = {"HERMES_CONTEXT_WINDOW": "24000", "HERMES_COMPACT_AT": "0.6"}
    with OpenAIServer([call("terminal", command="seq 1 6000"), "Hello.", *steps], window=24_000) as server:
        hermes = start(server, "--yolo", env=env)
        idle(hermes.send("my name is Ada").wait_for("Hello."))
        hermes.send("count it")
        hermes.wait_for(lambda _: len(server.bodies) == 2 + len(steps))
        kill(hermes)
        assert is_summary(server.bodies[3])
        server.default = lambda request: "Goals: count." if is_summary(request.body) else "All is counted."
        again = (
            start(server, "-c", "--yolo", env=env).wait_for("did not come to its end").wait_for("a letter, then Enter")
        )
        again.send("y").wait_for("All is counted.")
        assert (folder / "ran.txt").read_text() == "ran\n"
        assert "count it" in said(server)
        assert "Goals: count." in said(server)[0]
        roles = [message["role"] for message in server.bodies[-1]["messages"]]
        assert roles == ["system", "user", "user", "assistant", "tool"]
