"""Questions beside the conversation."""

from tests.support.openai_server import OpenAIServer, Recorded, Step, Stream, say

from .conftest import Start


def last(request: Recorded) -> str:
    return str(request.body["messages"][-1]["content"])


def answering(request: Recorded) -> Step:
    if "which file" in last(request):
        return say("It was **cart.py**.")
    return Stream(text=("Working on it, ", "and done."), delay=1.5) if "slow" in last(request) else say("ok")


def test_a_question_beside_a_turn_is_answered_while_it_runs_and_is_no_part_of_the_conversation(start: Start) -> None:
    with OpenAIServer(default=answering) as server:
        hermes = start(server)
        hermes.send("a slow thing").wait_for(lambda _: len(server.bodies) == 1, why="the turn's request")
        hermes.send("/btw which file was it?").wait_for("by the way · which file was it?").wait_for("It was cart.py.")
        hermes.wait_for("and done.")
        hermes.send("next").wait_for("● ok")
        asked, beside, following = server.bodies[0], server.bodies[1], server.bodies[-1]
        assert beside["messages"][: len(asked["messages"])] == asked["messages"]
        assert beside["tools"] == asked["tools"]
        assert "which file" not in str(following["messages"])


def test_a_question_that_is_taken_back_is_stopped(start: Start) -> None:
    with OpenAIServer(default=say("too late", delay=30)) as server:
        hermes = start(server)
        hermes.send("/btw").wait_for("Usage: /btw <question>")
        hermes.send("/btw which file was it?").wait_for(lambda _: len(server.bodies) == 1, why="the question")
        hermes.press("esc").wait_for("The question was taken back.")
        server.wait_for_hangups()
