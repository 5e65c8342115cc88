"""Stopping work, from any thread."""

import threading

import pytest

from agent.cancel import CancelToken
from agent.errors import Cancelled
from tests.support.turns import wait_until


def test_a_fresh_token_stops_nothing() -> None:
    token = CancelToken()
    token.raise_if_cancelled()
    assert not token.cancelled
    assert not token.wait(0)


def test_cancelling_raises_from_then_on() -> None:
    token = CancelToken()
    token.cancel()
    assert token.cancelled
    assert token.wait()
    with pytest.raises(Cancelled):
        token.raise_if_cancelled()


def test_cancelling_wakes_everybody_who_waits() -> None:
    token, woken = CancelToken(), list[bool]()
    threads = [threading.Thread(target=lambda: woken.append(token.wait(30))) for _ in range(5)]
    for thread in threads:
        thread.start()
    token.cancel()
    for thread in threads:
        thread.join(10)
    assert woken == [True] * 5


def test_what_was_handed_over_is_closed_once_however_often_it_is_cancelled() -> None:
    token, closed = CancelToken(), list[str]()
    with token.closing(lambda: closed.append("outer")), token.closing(lambda: closed.append("inner")):
        token.cancel()
        token.cancel()
        assert sorted(closed) == ["inner", "outer"]
    assert len(closed) == 2


def test_what_is_over_is_not_closed_any_more() -> None:
    token, closed = CancelToken(), list[str]()
    with token.closing(lambda: closed.append("x")):
        pass
    token.cancel()
    assert closed == []


def test_what_comes_too_late_is_closed_at_once() -> None:
    token, closed = CancelToken(), list[str]()
    token.cancel()
    with token.closing(lambda: closed.append("late")):
        assert closed == ["late"]


def test_a_closer_may_ask_the_token_itself() -> None:
    token, seen = CancelToken(), list[bool]()
    with token.closing(lambda: seen.append(token.cancelled)):
        token.cancel()
    assert seen == [True]


def test_everything_is_closed_when_handing_over_and_cancelling_race() -> None:
    for _ in range(50):
        token, closed, ready = CancelToken(), list[int](), threading.Barrier(5)

        def hand_over(
            number: int, token: CancelToken = token, closed: list[int] = closed, ready: threading.Barrier = ready
        ) -> None:
            ready.wait(10)
            with token.closing(lambda: closed.append(number)):
                token.wait(10)

        threads = [threading.Thread(target=hand_over, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        ready.wait(10)
        token.cancel()
        for thread in threads:
            thread.join(10)
        wait_until(lambda closed=closed: sorted(closed) == [0, 1, 2, 3])
