"""A turn that is cut anywhere can be picked up from the store, and no tool runs twice."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from agent.cancel import CancelToken
from agent.errors import Cancelled, StoreError
from agent.events import TurnFinished
from agent.messages import INTERRUPTED, Message
from agent.models.scripted import AnswerFor, Call, Say
from agent.store.memory import MemoryStore
from tests.support.turns import SESSION, Bench, Note, check_history, check_stream


class CutStore(MemoryStore):
    """Fails at its call number `at`, and at every one after that, as when the disk is full or the power is gone.

    `stored` says whether the call that failed first had reached the disk.
    """

    def __init__(self, at: int, *, stored: bool = False, error: type[Exception] = StoreError) -> None:
        super().__init__()
        self.calls: list[str] = []
        self._at, self._stored, self._error = at, stored, error

    def append(self, session_id: str, message: Message) -> None:
        self._or_fail(f"append {message.role}", lambda: MemoryStore.append(self, session_id, message))

    def mark_begun(self, session_id: str, call_id: str) -> bool:
        return bool(self._or_fail("begin", lambda: MemoryStore.mark_begun(self, session_id, call_id)))

    def mend(self) -> None:
        self._at = 1_000_000

    def _or_fail(self, what: str, call: Callable[[], Any]) -> Any:
        self.calls.append(what)
        if len(self.calls) < self._at:
            return call()
        if self._stored and len(self.calls) == self._at:
            call()
        raise self._error("the disk is full")


def three_steps(messages: Any) -> Any:
    """What a model would do: look at what it has been told, and take the next of three steps."""
    done = sum(message.role == "assistant" for message in messages)
    return [
        [Say("Looking."), Call("read", text="a"), Call("read", text="b")],
        [Call("write", text="c"), Call("read", text="d"), Call("write", text="e")],
        Say("Done."),
    ][min(done, 2)]


def tools() -> tuple[Note, Note]:
    return Note("read", "read"), Note("write", "write")


STORE_CALLS = 15
"""Of the turn above: user, 3 replies, 5 calls begun, 5 results; one more for good measure."""


@pytest.mark.parametrize("stored", [False, True], ids=["not stored", "just stored"])
@pytest.mark.parametrize("error", [StoreError, RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("at", range(1, STORE_CALLS))
def test_a_turn_cut_at_any_store_call_can_be_resumed_and_runs_no_tool_twice(
    at: int, error: type[Exception], stored: bool
) -> None:
    store, (read, write) = CutStore(at, stored=stored, error=error), tools()
    bench = Bench(store=store, tools=[read, write])
    script: AnswerFor = three_steps
    if error is StoreError:
        end = bench.turn("do it", script)
        assert isinstance(end, TurnFinished)
        assert (end.outcome, end.error_kind) == ("failed", "StoreError")
    else:
        with pytest.raises(error):
            bench.turn("do it", script)
    check_stream(bench.events)

    store.mend()
    bench.events.clear()
    end = bench.turn(None if bench.history else "do it", script)
    assert isinstance(end, TurnFinished)
    assert (end.outcome, end.text) == ("done", "Done.")
    check_stream(bench.events)
    check_history(bench.history)
    runs = Counter(read.runs + write.runs)
    assert all(times == 1 for times in runs.values()), runs
    answers = [message for message in bench.history if message.role == "tool"]
    assert len(answers) == 5
    for message in answers:
        assert message.content != INTERRUPTED or runs[message.tool_call_id] <= 1
        assert message.content == INTERRUPTED or runs[message.tool_call_id] == 1


@pytest.mark.parametrize("at", range(1, STORE_CALLS))
def test_a_turn_cut_at_any_store_call_can_be_followed_by_another_prompt(at: int) -> None:
    store = CutStore(at)
    bench = Bench(store=store, tools=tools())
    bench.turn("do it", three_steps)
    store.mend()
    end = bench.turn("never mind", ["As you wish."])
    assert isinstance(end, TurnFinished)
    assert end.outcome == "done"
    check_history(bench.history)


@pytest.mark.parametrize("at", range(2, 9))
def test_a_cancelled_turn_ends_its_stream_even_if_the_store_fails(at: int) -> None:
    cancel, store = CancelToken(), CutStore(at)

    def work(args: object, token: CancelToken) -> str:
        cancel.cancel()
        raise Cancelled

    bench = Bench(store=store, tools=[Note("read", "read", work), Note("write", "write", work)])
    end = bench.turn("do it", [[Call("write"), Call("read"), Call("read")], "never"], cancel=cancel)
    assert isinstance(end, TurnFinished)
    check_stream(bench.events)
    store.mend()
    bench.turn("go on", ["ok"])
    check_history(bench.history)


def test_every_message_is_stored_before_it_is_used() -> None:
    store = CutStore(1_000_000)
    order = store.calls

    def model(messages: Any) -> Any:
        order.append("model")
        return three_steps(messages)

    def work(args: object, cancel: CancelToken) -> str:
        order.append("tool")
        return "ok"

    bench = Bench(store=store, tools=[Note("read", "read", work), Note("write", "write", work)])
    bench.turn("do it", model)
    assert order[:3] == ["append user", "model", "append assistant"]
    first_step = order[3 : order.index("model", 3)]
    assert first_step[-2:] == ["append tool", "append tool"]
    second_step = order[order.index("model", 3) + 1 : -2]
    assert second_step == ["append assistant", *["begin", "tool", "append tool"] * 3]
    assert order[-2:] == ["model", "append assistant"]
    for number, what in enumerate(order):
        if what == "tool":
            assert order[:number].count("begin") > order[:number].count("tool")
    assert store.messages(SESSION)[-1].content == "Done."
