"""A task between a terminal and a chat: two pools over one database, and what is answered first counts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.approvals import Policy, decision_key
from agent.config import Config
from agent.events import TaskChanged
from agent.models.scripted import Call, Say, ScriptedModel
from agent.protocols import Decision
from agent.store.leases import is_alive, new_lease
from agent.store.sqlite import SqliteStore
from agent.task_runner import TaskRunner
from agent.tasks import TaskPool
from tests.gateway.test_serve import Serving, configured, serving  # noqa: F401  (one is a fixture)
from tests.support.shell import in_the_shell

HOUSE = '[gateway.memory]\nallow = ["7"]\nadmins = ["9"]\n'
MINE = "terminal:1"


@dataclass
class Both:
    """A gateway whose admin (9) is in chat 1, and the pool of a terminal with a store of its own on the same file."""

    serve: Serving
    pool: TaskPool
    store: SqliteStore
    changes: list[TaskChanged]

    async def until(self, met: Callable[[], object]) -> None:
        async with asyncio.timeout(15):
            while not met():
                await asyncio.sleep(0.01)

    def state(self, task_id: str) -> str:
        task = self.store.task(task_id)
        return task.state if task else ""


@pytest.fixture
async def both(configured: Callable[[str], Config]) -> AsyncIterator[Both]:  # noqa: F811
    config = configured(HOUSE)
    store, changes = SqliteStore(config.dirs.database), list[TaskChanged]()
    model = ScriptedModel(
        lambda messages: Say("Done.") if messages[-1].role == "tool" else Call("terminal", command="touch x")
    )
    run = TaskRunner(config, store, policy=Policy("ask"), owner=MINE, model=model)
    pool = TaskPool(store, run, notify=changes.append, owner=MINE, new_lease=new_lease, is_alive=is_alive)
    pool.open()
    async with serving(config) as serve:
        # The chat's own tasks ask, too.
        serve.gateway.service._run = TaskRunner(config, serve.gateway.store, policy=Policy("ask"), model=model)
        yield Both(serve, pool, store, changes)
        await asyncio.to_thread(pool.close)
    store.close()


async def test_a_task_of_the_terminal_is_watched_and_answered_in_the_chat(both: Both, tmp_path: Path) -> None:
    task = both.pool.submit("look", cwd=str(tmp_path))
    await both.until(lambda: both.state(task.id) == "waiting")
    await both.serve.platform.say("/tasks", user_id="9")
    await both.serve.shows(f"#{task.number} waiting [terminal]  needs you: terminal touch x")
    await both.serve.platform.say(f"/approve {task.id}", user_id="9")
    await both.serve.shows("Approved: terminal touch x")
    await both.until(lambda: both.state(task.id) == "done")
    answered = both.pool.answered(task.id)
    assert answered is not None
    assert answered[1] == Decision(True, via="memory")
    await both.until(lambda: [one.state for one in both.changes][-1] == "done")


async def test_a_chat_s_question_that_the_terminal_answers_says_so(both: Both) -> None:
    await both.serve.platform.say("/background look", user_id="9")
    await both.serve.platform.until(lambda: any(one.buttons for one in both.serve.platform.shown), 15)
    (task,) = both.store.tasks(owner="chat:")
    assert both.pool.answer(task.id, Decision(False, "not now")) is not None
    await both.serve.shows("❌ Denied in the terminal: terminal touch x (not now)")
    question = next(one for one in both.serve.platform.shown if "Denied" in one.text)
    assert question.buttons == ()
    await both.serve.platform.press(question, f"ok:{task.id}:x", user_id="9")


async def test_who_comes_second_hears_what_was_answered(both: Both) -> None:
    await both.serve.platform.say("/background look", user_id="9")
    await both.serve.platform.until(lambda: any(one.buttons for one in both.serve.platform.shown), 15)
    (task,) = both.store.tasks(owner="chat:")
    question = next(one for one in both.serve.platform.shown if one.buttons)
    request = both.pool.open_request(task.id)
    assert request is not None
    yes = question.buttons[0][0].data
    both.pool.answer(task.id, Decision(False, "no"))
    await both.serve.platform.press(question, yes, user_id="9")
    await both.serve.shows("answered already: ❌ Denied in the terminal")
    await both.until(lambda: both.state(task.id) == "done")
    decision = both.pool.answered(task.id)
    assert decision is not None
    assert not decision[1].allowed


async def test_a_task_of_a_chat_is_watched_and_answered_in_the_shell(both: Both) -> None:
    await both.serve.platform.say("/background look", user_id="9")
    await both.serve.platform.until(lambda: any(one.buttons for one in both.serve.platform.shown), 15)
    (task,) = both.store.tasks(owner="chat:")
    listed = await in_the_shell("tasks")
    assert f"#{task.number}" in listed
    assert "[memory:1] look" in listed
    assert "terminal wants to run" in await in_the_shell("tasks", "show", str(task.number))
    assert await in_the_shell("tasks", "approve", task.id) == f"Approved for #{task.number}: terminal touch x\n"
    await both.serve.shows("✅ Approved in the terminal: terminal touch x")
    await both.until(lambda: both.state(task.id) == "done")


def test_of_two_that_answer_at_once_one_does(tmp_path: Path) -> None:
    store, other = SqliteStore(tmp_path / "s.db"), SqliteStore(tmp_path / "s.db")
    store.create_session("s", source="task")
    first = [
        one.record_decision("s", decision_key("r"), Decision(True, via=via))
        for one, via in ((store, "terminal"), (other, "slack"))
    ]
    assert first == [True, False]
    assert other.decision("s", decision_key("r")) == Decision(True, via="terminal")
    store.close()
    other.close()


async def test_either_side_stops_it_and_the_other_sees_it(both: Both, tmp_path: Path) -> None:
    mine = both.pool.submit("look", cwd=str(tmp_path))
    await both.until(lambda: both.state(mine.id) == "waiting")
    await both.serve.platform.say(f"/tasks stop {mine.number}", user_id="9")
    await both.serve.shows(f"Stopped #{mine.number}.")
    await both.until(lambda: both.changes[-1].state == "cancelled")

    await both.serve.platform.say("/background look", user_id="9")
    await both.serve.platform.until(lambda: any(one.buttons for one in both.serve.platform.shown), 15)
    await both.until(lambda: not both.store.unsent())
    (theirs,) = both.store.tasks(owner="chat:")
    assert both.pool.stop(theirs.id) is not None
    await both.serve.shows(f"⏹ #{theirs.number} was stopped: look")
    await both.serve.shows("⏹ Not asked any more")


async def test_the_chat_that_stops_its_own_task_is_told_once(both: Both) -> None:
    await both.serve.platform.say("/background look", user_id="9")
    await both.serve.platform.until(lambda: any(one.buttons for one in both.serve.platform.shown), 15)
    await both.until(lambda: not both.store.unsent())
    (task,) = both.store.tasks(owner="chat:")
    await both.serve.platform.say(f"/tasks stop {task.number}", user_id="9")
    await both.serve.shows("⏹ Not asked any more")
    await both.until(lambda: not both.store.unsent())
    assert sum("topped" in text for text in both.serve.platform.texts("1")) == 1
    await both.serve.platform.say(f"/tasks stop {task.number}", user_id="9")
    await both.serve.shows("is over already")


async def test_who_is_no_admin_sees_nothing_of_the_terminal(both: Both, tmp_path: Path) -> None:
    task = both.pool.submit("secret plans", cwd=str(tmp_path))
    for text, answer in (
        (f"/tasks show {task.id}", "There is no task"),
        ("/tasks", "No background tasks"),
        (f"/tasks stop {task.number}", "no task"),
    ):
        await both.serve.platform.say(text, chat_id="2", user_id="7")
        await both.serve.shows(answer, "2")
    assert not any("secret" in text for text in both.serve.platform.texts("2"))
