"""Platforms reconnect by themselves, and the loop is watched."""

import asyncio
import logging
import time
from collections.abc import Callable

import pytest

from gateway.platforms.base import MessageEvent, Refused, Unavailable
from gateway.platforms.memory import MemoryPlatform
from gateway.supervise import Supervisor, Watchdog


async def met(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def nothing(event: MessageEvent) -> None:
    del event


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.supervise.FIRST_PAUSE", 0.01)


async def test_a_platform_that_is_down_holds_up_no_other_and_is_tried_again() -> None:
    down, up = MemoryPlatform(), MemoryPlatform()
    down.drop("no route")
    supervisor = Supervisor([down, up], nothing)
    supervisor.start()
    await met(lambda: supervisor.links[1].state == "connected" and supervisor.links[0].failures > 1)
    assert "no route" in supervisor.links[0].error or supervisor.links[0].state == "connecting"
    await down.restore()
    await met(lambda: supervisor.links[0].state == "connected")
    await supervisor.stop()
    assert {link.state for link in supervisor.links} == {"stopped"}


async def test_a_connection_that_ends_is_made_again() -> None:
    platform = MemoryPlatform()
    supervisor = Supervisor([platform], nothing)
    supervisor.start()
    await met(lambda: supervisor.links[0].state == "connected")
    platform.end(Unavailable("reset by peer"))
    await met(lambda: supervisor.links[0].failures == 1)
    await met(lambda: supervisor.links[0].state == "connected")
    await supervisor.stop()


async def test_a_platform_that_refuses_the_token_is_not_tried_again() -> None:
    platform = MemoryPlatform()
    supervisor = Supervisor([platform], nothing)
    supervisor.start()
    await met(lambda: supervisor.links[0].state == "connected")
    platform.end(Refused("the token is wrong"))
    await asyncio.wait_for(supervisor.over(), 10)
    assert (supervisor.links[0].state, supervisor.links[0].error) == ("refused", "the token is wrong")


async def test_what_holds_up_the_loop_is_logged_with_its_stack(caplog: pytest.LogCaptureFixture) -> None:
    def a_long_calculation() -> None:
        end = time.monotonic() + 10
        while "held up" not in caplog.text and time.monotonic() < end:
            time.sleep(0.01)

    watchdog = Watchdog()
    with caplog.at_level(logging.WARNING):
        await asyncio.sleep(0.05)
        a_long_calculation()
        await asyncio.sleep(0.05)
    watchdog.close()
    assert "a_long_calculation" in caplog.text
    assert watchdog.worst > 0.1
