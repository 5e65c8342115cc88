"""Kill a gateway with SIGKILL at random moments under load, and count messages and answers that were lost or repeated.

    gateway_crash.py [--runs 100] [--seed N] [--chats 8] [--messages 3] [--kills 2]

The chat platform lives in this process: it keeps what people wrote until the gateway has acknowledged it, delivers the
rest again to the next gateway, and shows what it is sent. Each run has a gateway killed once to `--kills` times, then
lets one finish. Every message must then have its answer, in order within its chat, or, where three processes died with
its turn, the word that nobody tries any more; what is shown twice must be marked as a possible repeat.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import random
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.approvals import Policy
from agent.config import load_config
from agent.messages import Message
from agent.models.scripted import Answer, Say, ScriptedModel, Wait
from agent.redact import Redactor
from agent.store.sqlite import SqliteStore
from agent.task_runner import TaskRunner
from gateway.config import Platform
from gateway.formatting import PLAIN
from gateway.outbox import REPEAT
from gateway.platforms.base import MessageEvent, Receive, SendResult, Unavailable
from gateway.serve import Gateway, _prepare
from gateway.session import Chat, SessionSource

GIVEN_UP = "Gave up after"
"""How the end of a turn is told that three processes died with."""

# -- in the gateway's process ----------------------------------------------------------------------


class Wire:
    """An adapter that speaks with the platform in the other process, a line of JSON a request."""

    platform, dialect = Platform.MEMORY, PLAIN
    edit_interval, problem = 0.05, ""

    def __init__(self, path: str) -> None:
        self._path = path
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self._number = 0
        self._writer: asyncio.StreamWriter | None = None
        self._gone = asyncio.Event()

    async def connect(self, receive: Receive) -> None:
        self._reader, self._writer = await asyncio.open_unix_connection(self._path)
        self._reading = asyncio.create_task(self._read(receive))

    async def wait(self) -> None:
        await self._gone.wait()

    async def disconnect(self) -> None:
        self._gone.set()

    async def send(self, chat: Chat, content: str, *, reply_to: str = "") -> SendResult:
        return SendResult(message_id=await self._ask({"do": "send", "chat": chat.chat_id, "text": content}))

    async def edit(self, chat: Chat, message_id: str, content: str) -> None:
        await self._ask({"do": "edit", "chat": chat.chat_id, "text": content, "id": message_id})

    async def _ask(self, order: dict[str, str]) -> str:
        if self._writer is None:
            raise Unavailable("not connected yet")
        self._number += 1
        found = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        self._tell({**order, "n": self._number})
        try:
            async with asyncio.timeout(5):
                return await found
        except TimeoutError as error:
            raise Unavailable("no answer", uncertain=True) from error

    def _tell(self, what: Mapping[str, object]) -> None:
        assert self._writer is not None
        self._writer.write(f"{json.dumps(what)}\n".encode())

    async def _read(self, receive: Receive) -> None:
        taking: set[asyncio.Task[None]] = set()
        while line := await self._reader.readline():
            found = json.loads(line)
            if "n" in found:
                self._waiting.pop(found["n"]).set_result(found["id"])
            else:
                task = asyncio.create_task(self._take(found, receive))
                taking.add(task)
                task.add_done_callback(taking.discard)

    async def _take(self, found: dict[str, str], receive: Receive) -> None:
        source = SessionSource(platform=Platform.MEMORY, chat_id=found["chat"], user_id="7")
        with contextlib.suppress(Exception):  # not stored: it comes again
            await receive(MessageEvent(text=found["text"], source=source, event_id=found["event"], addressed=True))
            self._tell({"do": "ack", "event": found["event"]})


async def serve(path: str) -> None:
    config = load_config()
    store = SqliteStore(config.dirs.database)

    def answer(messages: Sequence[Message]) -> Answer:
        text = messages[-1].content
        return [Wait(0.05), Say(f"re {text}"), Wait(0.05), Say(".")]

    model = ScriptedModel(answer)
    runner = TaskRunner(config, store, policy=Policy("ask"), model=model, redact=Redactor(), tools=[])
    parts = _prepare(config, store, {Platform.MEMORY: Wire(path)})
    await Gateway(config, store, dataclasses.replace(parts, run=runner)).run(asyncio.Event())


# -- the platform ----------------------------------------------------------------------------------


class People:
    """The chat platform, and whoever writes there: the next message when the last one was taken."""

    def __init__(self, chats: int, messages: int) -> None:
        self.unacknowledged = {
            f"{chat}.{number}": (str(chat), f"{chat}.{number}") for number in range(messages) for chat in range(chats)
        }
        self.every = list(self.unacknowledged)
        self.shown: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.numbers = iter(range(1, 1_000_000))
        self.under_way: set[str] = set()
        self.writer: asyncio.StreamWriter | None = None

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.under_way.clear()
        self.deliver()
        with contextlib.suppress(ConnectionError, ValueError):
            while line := await reader.readline():
                self.take(json.loads(line), writer)

    def take(self, order: dict[str, str], writer: asyncio.StreamWriter) -> None:
        if order["do"] == "ack":
            chat, _ = self.unacknowledged.pop(order["event"], ("", ""))
            self.under_way.discard(chat)
            self.deliver()
            return
        message_id = order.get("id") or str(next(self.numbers))
        self.shown[order["chat"]][message_id] = order["text"]
        writer.write(f"{json.dumps({'n': order['n'], 'id': message_id})}\n".encode())

    def deliver(self) -> None:
        """One at a time in each chat."""
        for event, (chat, text) in self.unacknowledged.items():
            if chat not in self.under_way and self.writer is not None:
                self.under_way.add(chat)
                self.writer.write(f"{json.dumps({'chat': chat, 'text': text, 'event': event})}\n".encode())

    def is_over(self) -> bool:
        said = [text.removeprefix(REPEAT) for texts in self.shown.values() for text in texts.values()]
        given_up = sum(GIVEN_UP in text for text in said)
        missing = sum(f"re {event}." not in said for event in self.every)
        return not self.unacknowledged and missing == given_up


async def run(home: Path, chance: random.Random, people: People, most: int, counts: Counter[str]) -> None:
    path = str(home / "platform")
    server = await asyncio.start_unix_server(people.connected, path)
    (home / "config.toml").write_text(
        '[gateway]\nbusy = "queue"\nturn_workers = 16\n[gateway.memory]\neveryone = true\n', "utf-8"
    )
    env = {**os.environ, "HERMES_HOME": str(home), "HERMES_PROVIDER": "offline"}
    kills = chance.randint(1, most)
    for life in range(kills + 1):
        process = await asyncio.create_subprocess_exec(sys.executable, __file__, "--serve", path, env=env)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60 if life == kills else chance.uniform(0.7, 2.5)):
                while not people.is_over() and process.returncode is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        if process.returncode is None:
            counts["gateways killed"] += life < kills
            process.send_signal(signal.SIGKILL)
        await process.wait()
    server.close()
    check(people, counts)


def check(people: People, counts: Counter[str]) -> None:
    counts["messages"] += len(people.every)
    counts["inbound messages lost"] += len(people.unacknowledged)
    for chat in {event.partition(".")[0] for event in people.every}:
        whole = {f"re {event}." for event in people.every}
        texts = [text for text in people.shown[chat].values() if text.removeprefix(REPEAT) in whole]
        wanted = [event for event in people.every if event.partition(".")[0] == chat]
        first = list(dict.fromkeys(text.removeprefix(REPEAT) for text in texts))
        missing = {f"re {event}." for event in wanted} - set(first)
        given_up = sum(GIVEN_UP in text for text in people.shown[chat].values())
        if len(missing) > given_up:
            print(f"missing: {missing}, shown: {people.shown[chat]}", file=sys.stderr)
        counts["answers lost"] += max(0, len(missing) - given_up)
        counts["turns given up, and said so"] += given_up
        counts["chats out of order"] += first != [f"re {event}." for event in wanted if f"re {event}." in first]
        unmarked = Counter(text for text in texts if not text.startswith(REPEAT))
        counts["repeats without a mark"] += sum(times - 1 for times in unmarked.values())
        counts["repeats with a mark"] += sum(text.startswith(REPEAT) for text in texts)


async def runs(number: int, seed: int, chats: int, messages: int, kills: int) -> int:
    counts, chance = Counter[str](), random.Random(seed)
    for _ in range(number):
        with tempfile.TemporaryDirectory() as home:
            await run(Path(home), chance, People(chats, messages), kills, counts)
    counts["runs"] = number
    bad = ("inbound messages lost", "answers lost", "chats out of order", "repeats without a mark")
    for name in ("runs", "gateways killed", "messages", *bad, "repeats with a mark", "turns given up, and said so"):
        print(f"{counts[name]:6d}  {name}")
    return sum(counts[name] for name in bad)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chats", type=int, default=8)
    parser.add_argument("--messages", type=int, default=3)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--serve", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.serve))
    else:
        sys.exit(asyncio.run(runs(given.runs, given.seed, given.chats, given.messages, given.kills)) > 0)


if __name__ == "__main__":
    main()
