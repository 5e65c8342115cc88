"""What a message orders is done once, also where the process dies after it was done and before that is stored."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.cancel import CancelToken
from agent.errors import StoreError
from agent.events import TurnFinished, TurnSuspended
from agent.messages import Message
from agent.models.scripted import ScriptedModel
from agent.protocols import LIVE_STATES, Sink, Task
from agent.records import OF_CHATS, OF_TURNS, Lease
from agent.store.memory import MemoryStore
from agent.store.sqlite import SqliteStore
from agent.tasks import TaskPool
from gateway.conversations import Conversations
from gateway.lines import Item
from tests.gateway.test_service import House, served

HERE = "memory:1"


def parks(task: Task, *, emit: Sink, cancel: CancelToken) -> TurnSuspended:
    """Runs until the process leaves."""
    cancel.wait(10)
    return TurnSuspended()


async def dies(house: House, order: str, met: Callable[[], bool]) -> None:
    """The process dies when what was ordered is done, and nobody has heard of it yet."""

    async def never(item: Item, answer: str = "") -> None:
        del item, answer
        await asyncio.Event().wait()

    house.service._settle = never  # type: ignore[method-assign]
    await house.platform.say(order)
    await house.shows(met)


def said(house: House) -> list[str]:
    session = house.service.conversations.session(HERE)
    return [one.content for one in house.store.messages(session) if one.role == "user"]


async def three_turns(house: House) -> None:
    for number, text in enumerate(("first", "second", "third"), 1):
        await house.platform.say(text)
        await house.shows(lambda number=number: len(house.platform.texts("1")) == number)  # type: ignore[misc]
    await house.quiet()


async def test_a_prompt_is_taken_back_once(tmp_path: Path) -> None:
    store = MemoryStore()
    async with served(tmp_path, ["one", "two", "three"], store) as house:
        await three_turns(house)
        await dies(house, "/undo", lambda: said(house) == ["first", "second"])
    async with served(tmp_path, [], store, "two") as house:
        await house.shows(lambda: any("Taken back" in text for text in house.platform.texts("1")))
        assert said(house) == ["first", "second"]
        assert "third" in house.platform.texts("1")[-1]


async def test_a_prompt_is_sent_again_once(tmp_path: Path) -> None:
    store = MemoryStore()
    async with served(tmp_path, ["one", "two", "three"], store) as house:
        await three_turns(house)

        async def dies_before_the_turn(*_: object) -> bool:
            await asyncio.Event().wait()
            return True

        house.service._say = dies_before_the_turn  # type: ignore[method-assign]
        await house.platform.say("/retry")
        await house.shows(lambda: said(house) == ["first", "second"])
    async with served(tmp_path, ["again"], store, "two") as house:
        await house.shows(lambda: "again" in house.platform.texts("1"))
        assert said(house) == ["first", "second", "third"]


async def test_retry_waits_for_what_was_written_before_it(tmp_path: Path) -> None:
    """The turn is over, and nobody has heard so: what is held behind it comes first."""
    go, told = threading.Event(), asyncio.Event()
    async with served(tmp_path, ["one", "two", "three"], busy="queue") as house:
        await house.platform.say("first")
        await house.shows(lambda: house.platform.texts("1") == ["one"])
        await house.quiet()
        await house.shows(lambda: [task.state for task in house.store.tasks()] == ["done"])
        run, changed = house.service._run, house.service.telling.changed

        def held(task: Task, *, emit: Sink, cancel: CancelToken) -> TurnFinished | TurnSuspended:
            go.wait(10)
            return run(task, emit=emit, cancel=cancel)

        async def late(event: object, said: str = "") -> None:
            await told.wait()
            await changed(event, said)  # type: ignore[arg-type]

        house.service._run = held
        await house.platform.say("second")
        await house.shows(lambda: any(task.state == "running" for task in house.store.tasks()))
        await house.platform.say("third")
        await house.quiet_until_held(1)
        await house.shows(lambda: house.service.lines._lines[HERE].worker is None)  # it looks again when it is told
        house.service.telling.changed = late  # type: ignore[method-assign]
        go.set()
        await house.shows(lambda: all(task.state == "done" for task in house.store.tasks()))
        await house.platform.say("/retry")
        await house.shows(lambda: any("waits still" in text for text in house.platform.texts("1")))
        told.set()
        await house.shows(lambda: "three" in house.platform.texts("1"))
        assert said(house) == ["first", "second", "third"]


async def test_a_task_is_started_again_once(tmp_path: Path) -> None:
    store = MemoryStore()

    def tasks() -> int:
        return len(store.tasks(owner=OF_CHATS + HERE))

    async with served(tmp_path, ["one", "two"], store) as house:
        await house.platform.say("/background do it")
        await house.shows(lambda: any("complete" in text for text in house.platform.texts("1")))
        await dies(house, "/tasks retry 1", lambda: tasks() == 2)
    before = house.platform.texts("1")
    async with served(tmp_path, ["two"], store, "two") as house:
        await house.quiet_lines()
        await house.shows(lambda: all(task.state == "done" for task in store.tasks()))
        assert tasks() == 2
        await house.quiet()
        started = [text for text in [*before, *house.platform.texts("1")] if text.startswith("🔄")]
        assert len(started) == 2, "of each task once"


@pytest.mark.parametrize("order", ["pay the bill", "/tasks steer 1 pay the bill"])
async def test_a_line_is_told_to_what_runs_once(tmp_path: Path, order: str) -> None:
    store = MemoryStore()
    async with served(tmp_path, [], store) as house:
        house.service._run = parks
        await house.platform.say("/background work" if order.startswith("/") else "work")
        await house.shows(lambda: any(task.state == "running" for task in store.tasks()))
        (task,) = store.tasks()
        await dies(house, order, lambda: bool(store._inbox[task.id]))
    house = House(ScriptedModel([]), tmp_path, store, "two")
    house.service._run = parks
    await house.open()
    await house.quiet_lines()
    await house.shows(lambda: not house.service.lines)
    assert store.take_steering(task.id, task.session_id) == ["pay the bill"]
    await house.service.close(0.1)


async def test_a_line_is_told_once_where_its_acknowledgement_cannot_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.lines.PAUSE", 0.01)

    class Full(MemoryStore):
        full = False

        def post(self, chat: str, payload: str, **more: object) -> int | None:  # type: ignore[override]
            if self.full:
                self.full = False
                raise StoreError("the disk is full")
            return super().post(chat, payload, **more)  # type: ignore[arg-type]

    store = Full()
    async with served(tmp_path, [], store) as house:
        house.service._run = parks
        await house.platform.say("/background work")
        await house.shows(lambda: any(task.state == "running" for task in store.tasks()))
        await house.quiet()
        store.full = True
        await house.platform.say("/tasks steer 1 pay the bill")
        await house.quiet_lines()
        await house.shows(lambda: not store.full and not house.service.lines)
        (task,) = store.tasks()
        assert store.take_steering(task.id, task.session_id) == ["pay the bill"]


@pytest.mark.parametrize("kind", [MemoryStore, SqliteStore])
def test_what_one_turn_did_not_read_the_next_one_reads_once(
    tmp_path: Path, kind: type[MemoryStore] | type[SqliteStore]
) -> None:
    store = MemoryStore() if kind is MemoryStore else SqliteStore(tmp_path / "db")
    go, read = {"A": threading.Event(), "B": threading.Event()}, list[str]()

    def run(task: Task, *, emit: Sink, cancel: CancelToken) -> TurnFinished:
        del emit, cancel
        store.append(task.session_id, Message("user", task.prompt))
        go[task.prompt].wait(10)
        if task.prompt == "B":
            store.append(task.session_id, Message("assistant", "a step"))
            for line in store.take_steering(task.id, task.session_id):
                store.append(task.session_id, Message("user", line))
                read.append(line)
        return TurnFinished("done", "ok")

    def turns(worker: str) -> tuple[Conversations, TaskPool]:
        lease = Lease(worker, 1, 1.0, 0.0)
        pool = TaskPool(
            store, run, notify=lambda _: None, kind=OF_TURNS, new_lease=lambda: lease, is_alive=lambda _: True
        )
        where = tmp_path / "folder"
        return Conversations(store, pool, is_alive=lambda _: True, workspace=where, settings=lambda: "{}"), pool

    def until(task: Task, *, runs: bool) -> Task:
        for _ in range(1000):
            row = store.task(task.id)
            assert row is not None
            if (row.state == "running") if runs else (row.state not in LIVE_STATES):
                return row
            threading.Event().wait(0.01)
        raise AssertionError(task)

    conversations, pool = turns("one")
    first = conversations.say(HERE, "A", event="in:1").turn
    assert first is not None
    until(first, runs=True)
    assert conversations.say(HERE, "pay the bill", event="in:2").outcome == "steered"
    go["A"].set()
    first = until(first, runs=False)
    # The next message comes before anybody looks after what the first turn left.
    second = conversations.say(HERE, "B", event="in:3").turn
    assert second is not None
    until(second, runs=True)
    conversations.catch_up(first)
    go["B"].set()
    until(second, runs=False)
    assert pool.idle(OF_TURNS + HERE, 10)
    pool.close()
    again, pool = turns("two")
    again.catch_up_all()
    pool.close()
    assert read == ["pay the bill"]
    assert [task.prompt for task in store.tasks(owner=OF_TURNS + HERE)] == ["A", "B"]
    if isinstance(store, SqliteStore):
        store.close()
