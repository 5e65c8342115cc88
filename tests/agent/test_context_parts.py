"""How the model's window is shared out among what takes it."""

from agent.context import Gauge, parts
from agent.messages import Message, Usage

TALK = [Message("system", "be good " * 500), Message("user", "hi " * 50), Message("assistant", "hello")]


def test_a_provider_that_counts_little_leaves_room_for_the_conversation() -> None:
    gauge = Gauge(tools=3_000)
    gauge.saw(TALK[:2], TALK[2], Usage(400, 20))
    found = {part.name: part.tokens for part in parts(TALK, gauge, own="be good " * 400, window=1_000)}
    assert found["conversation"] > 0
    assert found["tools"] > found["system"] > found["project files"] > 0
    assert sum(found.values()) == 1_000
    assert found["free"] == 580


def test_nothing_said_takes_nothing() -> None:
    assert {part.tokens for part in parts([], Gauge(), own="", window=0)} == {0}
