"""Rights are those of now: what was begun with others goes on with no more, or not at all."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from agent.cancel import CancelToken
from agent.config import Config
from agent.events import TurnFinished, TurnSuspended
from agent.messages import Usage
from agent.protocols import Sink, Task
from agent.records import OF_CHATS, Limits, stricter
from agent.task_rows import options_of
from gateway.serve import Gateway
from tests.gateway.test_serve import Serving, configured, serving  # noqa: F401  (a fixture)

ADMIN = '[gateway.memory]\nallow = ["7"]\nadmins = ["7"]\n'
DEMOTED = '[gateway.memory]\nallow = ["7"]\nadmins = ["9"]\n'
REMOVED = '[gateway.memory]\nallow = ["9"]\n'

Configured = Callable[[str], Config]


class Runs:
    """Stands for the agent: what it was to do, with which limits. `parks` goes on until the process leaves."""

    def __init__(self, *, parks: str = "") -> None:
        self.seen: list[tuple[str, Limits | None]] = []
        self.parks = parks

    def __call__(self, task: Task, *, emit: Sink, cancel: CancelToken) -> TurnFinished | TurnSuspended:
        self.seen.append((task.prompt, options_of(task).limits))
        if self.parks and task.prompt.startswith(self.parks):
            cancel.wait(10)
            return TurnSuspended()
        return TurnFinished("done", f"did {task.prompt}")

    def instead(self, serve: Serving) -> "Runs":
        serve.gateway.service._run = self
        return self


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not met():
            await asyncio.sleep(0.01)


def runs(monkeypatch: pytest.MonkeyPatch, agent: Runs) -> None:
    """From the first moment: what is parked goes on at once."""
    begin = Gateway.__init__

    def made(self: Gateway, *arguments: object) -> None:
        begin(self, *arguments)  # type: ignore[arg-type]
        self.service._run = agent

    monkeypatch.setattr(Gateway, "__init__", made)


def test_the_stricter_of_two_keeps_what_either_keeps() -> None:
    one, other = Limits(("a",), True, ("/x",)), Limits(("b",), False, ("/y",))
    assert stricter(one, other) == Limits(("a", "b"), False, ("/x", "/y"))
    assert stricter(None, one) == stricter(one, None) == one
    assert stricter(None, None) is None


async def test_a_task_of_who_was_an_admin_is_retried_with_the_limits_of_now(configured: Configured) -> None:  # noqa: F811
    async with serving(configured(ADMIN)) as serve:
        agent = Runs().instead(serve)
        await serve.platform.say("/background list files", event_id="1")
        await serve.shows("complete")
        assert agent.seen == [("list files", None)]
    async with serving(configured(DEMOTED)) as serve:
        agent = Runs().instead(serve)
        await serve.platform.say("/tasks retry 1", event_id="2")
        await serve.shows("complete")
        ((_, limits),) = agent.seen
        assert limits is not None


@pytest.mark.parametrize("order", ["work", "/background work"])
async def test_what_was_parked_goes_on_with_the_limits_of_now(
    configured: Configured,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    order: str,
) -> None:
    agent = Runs(parks="work")
    runs(monkeypatch, agent)
    async with serving(configured(ADMIN)) as serve:
        await serve.platform.say(order)
        await until(lambda: len(agent.seen) == 1)
    agent.parks = ""
    async with serving(configured(DEMOTED)) as serve:
        await serve.shows("did work")
    assert agent.seen[0] == ("work", None)
    assert agent.seen[1][1] is not None


@pytest.mark.parametrize("order", ["work", "/background work"])
async def test_what_was_parked_of_who_may_speak_no_more_is_stopped(
    configured: Configured,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    order: str,
) -> None:
    agent = Runs(parks="work")
    runs(monkeypatch, agent)
    async with serving(configured(ADMIN)) as serve:
        await serve.platform.say(order)
        await until(lambda: len(agent.seen) == 1)
    agent.parks = ""
    async with serving(configured(REMOVED)) as serve:
        await serve.platform.say("/background other", user_id="9", chat_id="9", event_id="2")
        await until(lambda: any("did other" in text for text in serve.platform.texts("9")))
        (task,) = [one for one in serve.gateway.store.tasks() if one.prompt == "work"]
        assert task.state == "cancelled"
        assert not any("↻" in text or "did work" in text for text in serve.platform.texts("1"))
    assert [prompt for prompt, _ in agent.seen] == ["work", "other"]


async def test_what_is_written_during_compress_has_the_limits_of_who_wrote_it(configured: Configured) -> None:  # noqa: F811
    go, seen = threading.Event(), list[tuple[str, Limits | None]]()

    def run(task: Task, *, emit: Sink, cancel: CancelToken) -> TurnFinished:
        seen.append((task.prompt, options_of(task).limits))
        if options_of(task).compresses:
            go.wait(10)
        return TurnFinished("done", f"did {task.prompt}")

    async with serving(configured(DEMOTED)) as serve:
        serve.gateway.service._run = run
        await serve.platform.say("/compress", event_id="1")
        await until(lambda: len(seen) == 1)
        await serve.platform.say("run it", event_id="2")
        await serve.shows("Noted")
        go.set()
        await serve.shows("did run it")
    assert seen[1][0] == "run it"
    assert seen[1][1] is not None


async def test_no_worktree_for_who_has_a_wall(configured: Configured) -> None:  # noqa: F811
    """Git runs what a folder's settings name, and the folder is the agent's."""
    async with serving(configured(DEMOTED)) as serve:
        agent = Runs().instead(serve)
        await serve.platform.say("/background --worktree look")
        await serve.shows("--worktree is not for you here")
        assert agent.seen == []


@pytest.mark.parametrize(
    ("asked", "most"),
    [("--max-cost 5000", "0.5"), ("--max-steps 999", "7"), ("--timeout 9999", "60")],
)
async def test_who_is_no_admin_gets_no_more_than_the_owner_gives_each_task(
    configured: Configured,  # noqa: F811
    asked: str,
    most: str,
) -> None:
    limits = "task_budget = 0.5\nmax_steps = 7\ntask_timeout = 60\n"
    async with serving(configured(limits + DEMOTED)) as serve:
        agent = Runs().instead(serve)
        await serve.platform.say(f"/background {asked} look", event_id="1")
        await serve.shows(f"is more than {most}, the most here.")
        assert agent.seen == []
        await serve.platform.say("/background --max-cost 0.1 --max-steps 2 --timeout 5 look", event_id="2")
        await serve.shows("did look")
    async with serving(configured(limits + ADMIN)) as serve:
        Runs().instead(serve)
        await serve.platform.say(f"/background {asked} see", event_id="3")
        await serve.shows("did see")


async def test_only_an_admin_goes_on_beyond_a_budget(configured: Configured) -> None:  # noqa: F811
    limits = "task_budget = 0.5\n"

    def spends(task: Task, *, emit: Sink, cancel: CancelToken) -> TurnSuspended:
        store.update_task(task.id, usage=Usage(cost=0.6))
        return TurnSuspended(reason="the task's budget of $0.50 is used up")

    async with serving(configured(limits + DEMOTED)) as serve:
        store = serve.gateway.store
        serve.gateway.service._run = spends
        await serve.platform.say("/background look", event_id="1")
        await serve.shows("is paused")
        Runs().instead(serve)
        await serve.platform.say("/tasks resume 1", event_id="2")
        await serve.shows("used up ($0.60). An admin of this gateway can do it.")
        assert [task.state for task in store.tasks(owner=OF_CHATS)] == ["parked"]
    async with serving(configured(limits + ADMIN)) as serve:
        Runs().instead(serve)
        await serve.platform.say("/tasks resume 1", event_id="3")
        await serve.shows("did look")


async def test_who_has_a_wall_does_not_work_in_a_folder_that_came_from_a_terminal(configured: Configured) -> None:  # noqa: F811
    async with serving(configured(DEMOTED)) as serve:
        agent = Runs().instead(serve)
        # As `/handoff` left it, while this person was an admin.
        serve.gateway.store.create_session("20260101_000000_aaaaaa", source="memory:1", cwd="/opt")
        await serve.platform.say("change it", event_id="1")
        await serve.shows("a folder that is not yours")
        assert agent.seen == []
        await serve.platform.say("/new", event_id="2")
        await serve.platform.say("hello", event_id="3")
        await serve.shows("did hello")


async def test_what_was_parked_in_a_folder_that_came_from_a_terminal_is_stopped_for_who_has_a_wall_now(
    configured: Configured,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = Runs(parks="work")
    runs(monkeypatch, agent)
    async with serving(configured(ADMIN)) as serve:
        serve.gateway.store.create_session("20260101_000000_aaaaaa", source="memory:1", cwd="/opt")
        await serve.platform.say("work")
        await until(lambda: len(agent.seen) == 1)
    async with serving(configured(DEMOTED)) as serve:
        await serve.shows("Stopped")
    assert len(agent.seen) == 1


async def test_what_was_parked_in_a_group_that_is_not_heard_any_more_is_stopped(
    configured: Configured,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = Runs(parks="work")
    runs(monkeypatch, agent)
    shared = ADMIN + 'sessions = "chat"\n'
    async with serving(configured(shared + 'groups = "all"\n')) as serve:
        await serve.platform.say("work", is_group=True)
        await until(lambda: len(agent.seen) == 1)
    async with serving(configured(shared + 'groups = "none"\n')) as serve:
        await serve.shows("Stopped")
    assert len(agent.seen) == 1


async def test_a_task_that_could_cost_more_than_the_owner_gives_is_not_retried_by_who_is_no_admin(
    configured: Configured,  # noqa: F811
) -> None:
    limits = "task_budget = 0.5\n"
    async with serving(configured(limits + ADMIN)) as serve:
        Runs().instead(serve)
        await serve.platform.say("/background --max-cost 5000 look", event_id="1")
        await serve.shows("did look")
    async with serving(configured(limits + DEMOTED)) as serve:
        agent = Runs().instead(serve)
        await serve.platform.say("/tasks retry 1", event_id="2")
        await serve.shows("--max-cost 5000 is more than 0.5")
        assert agent.seen == []
