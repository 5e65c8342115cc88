"""A second model answers when the first fails, and only then."""

import pytest

from agent.cancel import CancelToken
from agent.errors import Cancelled, ContextFullError, RefusedError, UnavailableError
from agent.messages import Message
from agent.models.fallback import FallbackModel
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
