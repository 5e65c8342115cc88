"""Questions of agents that work for people who are no admins: asked where an admin is, and a no where there is none."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agent.approvals import Policy
from agent.config import Config, load_config
from agent.events import TaskChanged
from agent.models.scripted import Call, Say, ScriptedModel
from agent.protocols import Task
from agent.records import Limits, TaskOptions
from agent.store.memory import MemoryStore
from agent.task_runner import TaskRunner
from agent.tasks import TaskPool
from gateway.config import Platform
from gateway.home import Homes
from gateway.platforms.memory import Shown
from gateway.service import STORE_THREADS
from gateway.session import Chat
from tests.gateway.test_serve import Serving, configured, serving  # noqa: F401  (one is a fixture)
from tests.support.turns import wait_until

HOUSE = '[gateway.memory]\nallow = ["7"]\nadmins = ["9"]\ntools = "full"\n'
"""Ann (7) writes in chat 1, the admin (9) in chat 9."""


@pytest.fixture
def table() -> str:
    return HOUSE


@pytest.fixture
async def house(configured: Callable[[str], Config], table: str) -> AsyncIterator[Serving]:  # noqa: F811
    config = configured(table)
    model = ScriptedModel(
        lambda messages: (
            Say(f"It said: {messages[-1].content}")
            if messages[-1].role == "tool"
            else Call("terminal", command="touch x")
        )
    )
    async with serving(config) as serve:
        service = serve.gateway.service
        service._run = TaskRunner(config, serve.gateway.store, policy=Policy("ask"), model=model)
        yield serve


def buttons(house: Serving, chat_id: str) -> list[Shown]:
    return [one for one in house.platform.shown if one.buttons and one.chat.chat_id == chat_id]


async def test_it_is_a_no_at_once_where_no_admin_can_be_asked(house: Serving) -> None:
    await house.platform.say("touch x")
    await house.shows(
        "❌ Denied: terminal touch x\nOnly an admin of this gateway can allow that, and none can be asked."
    )
    await house.shows("It said: ")
    assert "/sethome" in house.platform.texts("1")[-2] + house.platform.texts("1")[-1]
    assert "none can be asked" in next(text for text in house.platform.texts("1") if "It said" in text)
    assert not buttons(house, "1")


async def test_an_admin_is_asked_in_their_direct_chat_where_there_is_no_home(house: Serving) -> None:
    await house.platform.say("/version", chat_id="9", user_id="9")
    await house.platform.say("touch x")
    await house.shows("An admin is asked.")
    await house.shows("For memory:1, who asked: touch x\n/approve", "9")
    assert not buttons(house, "1")
    await house.platform.say("/tasks", chat_id="9", user_id="9")
    await house.shows("waiting [memory:1]  needs you: terminal touch x", "9")
    (question,) = buttons(house, "9")
    await house.platform.press(question, question.buttons[0][0].data, user_id="9")
    await house.shows("It said: ")
    for chat_id in ("1", "9"):
        await house.shows("✅ Approved: terminal touch x", chat_id)


@pytest.mark.parametrize("table", ['[gateway.memory]\neveryone = true\nallow = ["8"]\ntools = "full"\n'])
async def test_where_everyone_is_let_in_only_who_was_named_is_asked(house: Serving) -> None:
    await house.platform.say("touch x")
    await house.shows("❌ Denied: terminal touch x")
    await house.platform.say("touch x", chat_id="8", user_id="8")
    await house.platform.until(lambda: bool(buttons(house, "8")), 15)


async def test_an_admin_answers_what_is_asked_in_a_group_without_its_number(house: Serving) -> None:
    await house.platform.say("touch x", chat_id="-5", is_group=True, addressed=True)
    await house.platform.until(lambda: bool(buttons(house, "-5")), 15)
    await house.platform.say("/approve", chat_id="-5", user_id="9", is_group=True, addressed=True)
    await house.shows("It said: ", "-5")


async def test_an_admin_sees_who_asked_in_a_group(house: Serving) -> None:
    await house.platform.say("/sethome", chat_id="9", user_id="9")
    await house.platform.say("touch x", chat_id="-5", is_group=True, addressed=True)
    await house.shows("For memory:-5, person 7, who asked: touch x", "9")


async def test_where_an_admin_writes_is_known_after_a_restart(house: Serving) -> None:
    await house.platform.say("/version", chat_id="9", user_id="9")
    afterwards = Homes(house.gateway.store, {Platform.MEMORY: frozenset({"9"})})
    here, there = (Chat(platform=Platform.MEMORY, chat_id=number) for number in ("1", "9"))
    await house.platform.until(lambda: afterwards.for_question(here).others == (there,), 15)


async def test_a_message_is_acknowledged_however_busy_the_store_is(house: Serving) -> None:
    release, service = threading.Event(), house.gateway.service
    busy = [asyncio.create_task(service.aside(release.wait)) for _ in range(STORE_THREADS)]
    try:
        await asyncio.wait_for(house.platform.say("hello", chat_id="2"), 5)
    finally:
        release.set()
    await asyncio.gather(*busy)


async def test_it_is_a_no_where_no_admin_can_be_reached(house: Serving) -> None:
    await house.platform.say("/version", chat_id="9", user_id="9")
    await house.shows("hermes", "9")
    house.platform.blocked.add("9")
    await house.platform.say("touch x")
    await house.shows("An admin is asked.")
    await house.shows("❌ Denied: terminal touch x")
    await house.shows("It said: ")


async def test_a_direct_chat_is_one_whatever_the_thread(house: Serving) -> None:
    await house.platform.say("/version")
    await house.platform.say("touch x", thread_id="older")
    await house.shows("❌ Denied: terminal touch x")


async def test_an_admin_answers_where_they_ask(house: Serving) -> None:
    await house.platform.say("touch x", chat_id="9", user_id="9")
    await house.platform.until(lambda: bool(buttons(house, "9")), 15)
    assert "May I? terminal" in house.platform.texts("9")[-1]


@pytest.mark.parametrize(("limits", "state"), [(Limits(), "done"), (Limits(network=True), "waiting")])
def test_the_file_tools_ask_no_more_than_the_commands_that_a_wall_holds(
    tmp_path: Path, limits: Limits, state: str
) -> None:
    store, model = MemoryStore(), ScriptedModel([Call("write_file", path="a.txt", content="x"), "Written."])
    run = TaskRunner(load_config(cwd=tmp_path), store, policy=Policy("ask"), model=model)
    changes = list[TaskChanged]()
    pool = TaskPool(store, run, notify=changes.append)
    options = TaskOptions(limits=limits)
    task: Task = pool.submit("write", owner="chat:memory:1", cwd=str(tmp_path), options=options)
    wait_until(lambda: [one.state for one in changes][-1] in ("done", "waiting", "failed"))
    found = store.task(task.id)
    assert found is not None
    assert found.state == state
    pool.close()
