"""The interpreter's pauses: garbage is collected by hand while a gateway serves, and as usual afterwards."""

import asyncio
import gc
import sys
import weakref

from agent.approvals import Policy
from agent.cancel import CancelToken
from agent.config import load_config
from agent.models.scripted import ScriptedModel
from agent.redact import Redactor
from agent.store.memory import MemoryStore
from agent.task_runner import TaskRunner
from gateway.pauses import short_pauses
from run_agent import AIAgent


class Ring:
    def __init__(self) -> None:
        self.itself = self


async def test_rings_of_garbage_go_away_while_the_collector_is_led_by_hand() -> None:
    before = gc.isenabled(), sys.getswitchinterval()
    with short_pauses() as collector:
        assert not gc.isenabled()
        gone = weakref.ref(Ring())
        async with asyncio.timeout(10):
            while gone() is not None:
                await asyncio.sleep(0.01)
        assert collector.sweep(quiet=True)
        assert not collector.sweep(quiet=False)
    assert (gc.isenabled(), sys.getswitchinterval()) == before


def test_a_task_s_agent_leaves_nothing_for_the_collector() -> None:
    config, store = load_config(), MemoryStore()
    runner = TaskRunner(config, store, policy=Policy("ask"), model=ScriptedModel(["Done."]), redact=Redactor())
    gc.collect()
    gc.disable()
    try:
        # Those that other tests left behind are none of ours.
        before = [found for found in gc.get_objects() if isinstance(found, AIAgent)]
        runner(store.create_task(prompt="go", owner="", settings="{}"), emit=lambda event: None, cancel=CancelToken())
        now = [found for found in gc.get_objects() if isinstance(found, AIAgent)]
        assert not [found for found in now if not any(found is one for one in before)]
    finally:
        gc.enable()
