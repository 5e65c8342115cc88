"""A second model answers when the first fails, and only then."""

import pytest

from agent.cancel import CancelToken
from agent.errors import Cancelled, ContextFullError, RefusedError, UnavailableError
from agent.messages import Message
from agent.models.fallback import REST, FallbackModel
from agent.models.scripted import Fail, Script, ScriptedModel
from agent.protocols import ModelOutput, Reply, Restarted, TextChunk


def ask(first: Script, second: Script) -> list[ModelOutput]:
    model = FallbackModel(ScriptedModel(first, "big"), ScriptedModel(second, "small"))
    assert model.name == "big"
    return list(model.stream([Message("user", "hi")], [], cancel=CancelToken()))


def test_the_second_is_not_asked_when_the_first_answers() -> None:
    assert ask(["fine"], []) == [TextChunk("fine"), Reply(Message("assistant", "fine"))]


def test_the_second_answers_for_a_first_that_failed_midway() -> None:
    assert ask([["half", Fail(UnavailableError("It is down."))]], ["whole"]) == [
        TextChunk("half"),
        Restarted("big failed: It is down; asking small"),
        TextChunk("whole"),
        Reply(Message("assistant", "whole")),
    ]


def test_the_failure_of_the_second_is_the_failure() -> None:
    with pytest.raises(RefusedError, match="no credit"):
        ask([Fail(UnavailableError("down"))], [Fail(RefusedError("no credit"))])


@pytest.mark.parametrize("error", [ContextFullError("too long"), Cancelled(), ZeroDivisionError()])
def test_other_ends_are_not_passed_on(error: Exception) -> None:
    with pytest.raises(type(error)):
        ask([Fail(error)], ["never"])


class Asked:
    """A fallback with a clock of its own, asked once a call."""

    def __init__(self, first: Script, second: Script) -> None:
        self.now = 0.0
        self.model = FallbackModel(ScriptedModel(first, "big"), ScriptedModel(second, "small"), clock=lambda: self.now)

    def __call__(self) -> str:
        try:
            outputs = list(self.model.stream([Message("user", "hi")], [], cancel=CancelToken()))
        except UnavailableError as error:
            return str(error)
        reply = outputs[-1]
        assert isinstance(reply, Reply)
        return reply.message.content


DOWN = Fail(UnavailableError("down"))


def test_the_name_is_that_of_the_one_that_answered() -> None:
    ask_it = Asked([DOWN, "first"], ["second"])
    assert (ask_it.model.name, ask_it(), ask_it.model.name) == ("big", "second", "small")
    ask_it.now = REST
    assert (ask_it(), ask_it.model.name) == ("first", "big")


def test_a_first_that_could_not_be_reached_rests() -> None:
    ask_it = Asked([DOWN, "first"], ["one", "two"])
    assert [ask_it(), ask_it()] == ["one", "two"]
    ask_it.now = REST
    assert ask_it() == "first"


def test_a_first_that_refused_one_request_is_asked_the_next() -> None:
    ask_it = Asked([Fail(RefusedError("not this")), "first"], ["second"])
    assert [ask_it(), ask_it()] == ["second", "first"]


def test_a_first_that_rests_is_tried_again_when_the_second_fails_too() -> None:
    ask_it = Asked([DOWN, "first"], ["second", DOWN])
    assert [ask_it(), ask_it(), ask_it()] == ["second", "down", "first"]
