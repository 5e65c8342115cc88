"""Load on a whole gateway in one process: many chats at once, on the platform in memory and the store on the disk.

    gateway_load.py [--chats 1000] [--messages 10000] [--seconds 1] [--workers 256]

Each chat writes its next message when the last one was answered. The model takes `--seconds` for a reply. Said at the
end: how soon a message was acknowledged (stored), how many were answered a second, how long the event loop was held
up at most, memory for each chat, and whether an answer was lost, repeated or came in another order.

On a machine with other work the loop waits for a processor, too. Linux counts that, so it is told apart; and another
process does nothing but measure how late an idle loop wakes meanwhile: nothing on this machine can be better.
"""

import argparse
import asyncio
import dataclasses
import logging
import os
import re
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from subprocess import PIPE

import psutil

from agent.approvals import Policy
from agent.config import load_config
from agent.messages import Message
from agent.models.scripted import Answer, Say, ScriptedModel, Wait
from agent.redact import Redactor
from agent.store.sqlite import SqliteStore
from agent.task_runner import TaskRunner
from gateway.config import Platform
from gateway.platforms.base import SendResult
from gateway.platforms.memory import MemoryPlatform, Shown
from gateway.serve import Gateway, _prepare
from gateway.session import Chat

SPREAD = 5.0
"""Seconds within which the chats begin."""

BEAT = 0.005
"""Seconds between two looks at how late the loop is."""


class Place(MemoryPlatform):
    """Finds its messages quickly, and keeps them by chat."""

    edit_interval = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.by_id: dict[str, Shown] = {}
        self.by_chat: defaultdict[str, list[Shown]] = defaultdict(list)
        self.news: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def _show(self, shown: Shown) -> SendResult:
        self.by_id[shown.message_id] = shown
        self.by_chat[shown.chat.chat_id].append(shown)
        self.news[shown.chat.chat_id].set()
        return SendResult(message_id=shown.message_id)

    def _find(self, chat: Chat, message_id: str) -> Shown:
        return self.by_id[message_id]

    async def react(self, chat: Chat, message_id: str, sign: str) -> None: ...

    async def edit(self, chat: Chat, message_id: str, content: str) -> None:
        await super().edit(chat, message_id, content)
        self.news[chat.chat_id].set()


class Model(ScriptedModel):
    """Keeps no requests: they are no part of what a chat takes."""

    def __init__(self, seconds: float) -> None:
        def answer(messages: Sequence[Message]) -> Answer:
            self.requests.clear()
            return [Wait(seconds), Say(f"re {messages[-1].content}")]

        super().__init__(answer)


async def talk(place: Place, name: str, messages: int, acknowledged: list[float], *, after: float = 0.0) -> None:
    await asyncio.sleep(after)
    for number in range(messages):
        began = time.perf_counter()
        await place.say(f"{name}.{number}", chat_id=name)
        acknowledged.append(time.perf_counter() - began)
        while not any(one.text.endswith(f"re {name}.{number}") for one in place.by_chat[name][-1:]):
            await place.news[name].wait()
            place.news[name].clear()


class Stalls:
    """How long the loop that this is made on is held up at most, and for how long where no processor was missing."""

    def __init__(self) -> None:
        self.worst = self.own = 0.0
        path = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._file = path.open("rb", buffering=0) if path.exists() else None
        self._beating = asyncio.create_task(self._beat())

    def close(self) -> None:
        self._beating.cancel()

    def _waited(self) -> float:
        """Seconds that this thread has waited for a processor since it began."""
        return int(os.pread(self._file.fileno(), 100, 0).split()[1]) / 1e9 if self._file else 0.0

    async def _beat(self) -> None:
        before, waited = time.monotonic(), self._waited()
        while True:
            await asyncio.sleep(BEAT)
            now, waits = time.monotonic(), self._waited()
            late = now - before - BEAT
            self.worst, self.own = max(self.worst, late), max(self.own, late - (waits - waited))
            before, waited = now, waits


async def idle() -> None:
    """Say how long an idle loop was held up at most, once nothing more is asked."""
    stalls = Stalls()
    await asyncio.to_thread(sys.stdin.read)
    print(stalls.worst)


async def load(chats: int, messages: int, seconds: float, workers: int) -> int:
    config, store, place = load_config(), SqliteStore(load_config().dirs.database), Place()
    parts = _prepare(config, store, {Platform.MEMORY: place})
    runner = TaskRunner(config, store, policy=Policy("ask"), model=Model(seconds), redact=Redactor(), tools=[])
    gateway = Gateway(config, store, dataclasses.replace(parts, run=runner))
    stop, process = asyncio.Event(), psutil.Process()
    serving = asyncio.create_task(gateway.run(stop))
    await asyncio.sleep(0.5)
    await talk(place, "warm", 3, [])
    before = process.memory_info().rss
    idle_loop = await asyncio.create_subprocess_exec(sys.executable, __file__, "--idle", stdin=PIPE, stdout=PIPE)
    stalls, acknowledged, began = Stalls(), list[float](), time.perf_counter()
    each = messages // chats
    await asyncio.gather(
        *(talk(place, str(number), each, acknowledged, after=number * SPREAD / chats) for number in range(1, chats + 1))
    )
    took = time.perf_counter() - began
    stalls.close()
    floor, _ = await idle_loop.communicate(b"")
    after = process.memory_info().rss
    wrong = 0
    for number in range(1, chats + 1):
        # Who writes before a turn is over has both answers in one message.
        shown = " ".join(one.text for one in place.by_chat[str(number)])
        if re.findall(r"re (\S+)", shown) != [f"{number}.{index}" for index in range(each)]:
            print(f"chat {number} shows: {shown}", file=sys.stderr)
            wrong += 1
    end = time.monotonic() + 30
    while (store.received() or store.unsent() or store.undelivered()) and time.monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    unanswered = len(store.received()) + len(store.unsent()) + len(store.undelivered())
    stop.set()
    await serving
    store.close()
    quantiles = statistics.quantiles(acknowledged, n=100)
    print(f"{chats} chats, {each * chats} messages, model {seconds:g} s, {workers} turns at once")
    print(f"load of the machine: {os.getloadavg()[0]:.0f}")
    print(f"acknowledged: median {quantiles[49] * 1e3:.0f} ms, p99 {quantiles[98] * 1e3:.0f} ms")
    print(f"answered: {each * chats / took:.1f} messages/s, in {took:.0f} s")
    print(f"event loop held up: {stalls.worst * 1e3:.0f} ms at most")
    print(f"the same without waits for a processor: {stalls.own * 1e3:.0f} ms at most")
    print(f"an idle loop in a process of its own: {float(floor) * 1e3:.0f} ms")
    grown = (after - before) / chats / 1e3
    print(f"resident: {before / 1e6:.0f} MB before, {after / 1e6:.0f} MB after: {grown:.1f} KB a chat")
    print(f"chats with an answer lost, repeated or out of order: {wrong}; left in the store: {unanswered}")
    return wrong + unanswered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chats", type=int, default=1000)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=256)
    parser.add_argument("--idle", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.idle:
        return asyncio.run(idle())
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"HERMES_HOME": home, "HERMES_PROVIDER": "offline"}
        table = f"[gateway]\nturn_workers = {given.workers}\n[gateway.memory]\neveryone = true\n"
        Path(home, "config.toml").write_text(table, "utf-8")
        logging.disable(logging.WARNING)
        sys.exit(asyncio.run(load(given.chats, given.messages, given.seconds, given.workers)) > 0)


if __name__ == "__main__":
    main()
