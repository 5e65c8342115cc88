"""A gateway that serves: every message is stored before it is dealt with, chats do not wait for each other.

Messages of one chat are dealt with in order, each quickly: turns run on a pool's threads, and nobody waits here.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from agent.cancel import CancelToken
from agent.chats import ChatStore, Inbound
from agent.commands import Parsed, Unknown, parse
from agent.errors import HermesError, StoreError
from agent.events import ApprovalRequested, Event, TaskChanged, TurnFinished, TurnSuspended
from agent.protocols import Decision, Sink, Store, Task
from agent.records import IsAlive, Lease
from agent.task_runs import WAITING, RunTask
from agent.tasks import TaskPool
from gateway.config import Platform
from gateway.conversations import CHAT, TURN, Busy, Conversations, key_of
from gateway.live import LiveAnswer
from gateway.media import take_in
from gateway.outbox import Letter, Outbox
from gateway.platforms.base import Adapter, CanReact, DeliveryError, MessageEvent
from gateway.session import Chat, chat_of
from gateway.telling import Telling

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

PATIENCE = 5.0
"""Seconds a turn's thread waits for the event loop to show something."""

STORE_THREADS = 8


class GatewayStore(Store, ChatStore, Protocol):
    """What a served gateway keeps."""


class Obey(Protocol):
    """Carries out a command and gives the answer, "" for none. Raises: HermesError for what is told as an error."""

    def __call__(self, event: MessageEvent, parsed: Parsed, /, *, key: str) -> Awaitable[str]: ...


@dataclass(slots=True)
class _Line:
    """What waits to be dealt with in one conversation, and what waits for its turn to be over."""

    coming: deque[tuple[MessageEvent, Inbound]] = field(default_factory=deque)
    held: deque[tuple[MessageEvent, Inbound]] = field(default_factory=deque)
    worker: asyncio.Task[None] | None = None


class Service:
    """Takes messages in, runs turns and tasks, and has what comes of them sent. Belongs to one event loop.

    `run` runs a task, `obey` carries out a command, `press` takes the press of a button and gives the answer to it.
    """

    def __init__(
        self,
        store: GatewayStore,
        adapters: Mapping[Platform, Adapter],
        *,
        run: RunTask,
        obey: Obey,
        press: Callable[[MessageEvent, str], Awaitable[str]],
        settings: Callable[[], str],
        workspace: Path,
        new_lease: Callable[[], Lease],
        is_alive: IsAlive,
        busy: Busy = "steer",
        turn_workers: int = 32,
        task_workers: int = 4,
        forbidden: tuple[Path, ...] = (),
        executor: Executor | None = None,
    ) -> None:
        self.store, self.adapters = store, adapters
        self._loop = asyncio.get_running_loop()
        self._run, self._obey, self._press = run, obey, press
        self._threads = executor or ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store")
        pool = partial(TaskPool, store, notify=self._noticed, new_lease=new_lease, is_alive=is_alive)
        self.turns = pool(run=self._run_turn, workers=turn_workers, kind=TURN)
        self.tasks = pool(run=run, workers=task_workers, kind=CHAT)
        self.outbox = Outbox(store, adapters, lease=new_lease(), is_alive=is_alive)
        self.conversations = Conversations(store, self.turns, workspace=workspace, settings=settings, busy=busy)
        self.telling = Telling(
            store,
            self.outbox,
            teller=lambda: self.tasks.lease,
            request_of=self.tasks.open_request,
            workspace=workspace,
            forbidden=forbidden,
        )
        self._lines: dict[str, _Line] = {}
        self._changes: set[asyncio.Task[None]] = set()
        self._closing = False

    async def start(self) -> None:
        """Take up what an earlier process left: messages in and out, turns, tasks, questions. Raises: StoreError."""
        await self.outbox.start()
        await self.aside(self.turns.open)
        await self.aside(self.tasks.open)
        await self.telling.left_over()
        await self.aside(self.conversations.catch_up_all)
        for inbound in await self.aside(self.store.received):
            self._enqueue(msgspec.json.decode(inbound.payload, type=MessageEvent), inbound)

    async def close(self, seconds: float = 5.0) -> None:
        """Take nothing more in, park what runs, and stop sending. What is left is the next process's."""
        self._closing = True
        workers = [line.worker for line in self._lines.values() if line.worker is not None]
        await asyncio.gather(*workers, return_exceptions=True)
        pools = (self.turns, self.tasks)
        parked = [self.aside(partial(pool.close, park=True, wait=seconds)) for pool in pools]
        await asyncio.gather(*parked, return_exceptions=True)
        await asyncio.gather(*self._changes, return_exceptions=True)
        await self.outbox.close()

    async def receive(self, event: MessageEvent, key: str) -> bool:
        """Store a message and have it dealt with. False when it came before.

        Raises: StoreError; then it is not stored.
        """
        if self._closing:
            raise StoreError("The gateway is leaving.")
        payload = msgspec.json.encode(event).decode()
        platform, event_id = event.source.platform.value, event.event_id or event.message_id
        if not await self.aside(lambda: self.store.receive(platform, event_id, key, payload)):
            return False
        self._enqueue(event, Inbound(platform, event_id, key, payload, 0.0))
        return True

    async def aside(self, work: Callable[[], _Result]) -> _Result:
        """Something that waits for the store, off the loop."""
        return await self._loop.run_in_executor(self._threads, work)

    async def say(self, chat: Chat, text: str, *, key: str = "") -> None:
        await self.outbox.post(chat, Letter(text=text), key=key)

    # -- what comes in -----------------------------------------------------------------------------

    def _enqueue(self, event: MessageEvent, inbound: Inbound) -> None:
        line = self._lines.setdefault(inbound.chat, _Line())
        line.coming.append((event, inbound))
        if line.worker is None:
            line.worker = asyncio.create_task(self._work(inbound.chat, line), name=f"chat {inbound.chat}")

    async def _work(self, key: str, line: _Line) -> None:
        try:
            while line.coming and not self._closing:
                event, inbound = line.coming.popleft()
                try:
                    await self._deal_with(event, inbound, line)
                except StoreError as error:
                    # It stays in the store, and is dealt with at the next start.
                    _log.warning("a message of %s could not be dealt with: %s", key, error)
                except Exception:  # noqa: BLE001  (one message must not stop a chat for good)
                    _log.exception("a message of %s", key)
                    await self._settle(event, inbound, "❌ Something went wrong with this message; it is in the log.")
        finally:
            line.worker = None
            if not line.coming and not line.held:
                self._lines.pop(key, None)

    async def _deal_with(self, event: MessageEvent, inbound: Inbound, line: _Line) -> None:
        if event.kind == "press":
            await self._settle(event, inbound, await self._answered(self._press(event, inbound.chat)))
            return
        # What somebody else wrote orders nothing, however it begins.
        match None if event.forwarded else parse(event.text.strip(), "gateway"):
            case Parsed() as command:
                await self._settle(event, inbound, await self._answered(self._obey(event, command, key=inbound.chat)))
            case Unknown() as unknown:
                await self._settle(event, inbound, unknown.explain())
            case None:
                await self._say(event, inbound, line)

    async def _say(self, event: MessageEvent, inbound: Inbound, line: _Line) -> None:
        files = await take_in(self.adapters.get(event.source.platform), event, self.conversations.workspace)
        text = _as_prompt(event, files)
        name = f"in:{inbound.platform}:{inbound.message_id}"
        said = await self.aside(lambda: self.conversations.say(inbound.chat, text, event=name))
        match said.outcome:
            case "started":
                await self._settle(event, inbound)
            case "steered":
                await self._settle(event, inbound, await self._seen(event))
            case "wait":
                line.held.append((event, inbound))
                await self.say(event.source.chat, "Queued: it is next.", key=f"queued:{name}")

    async def _answered(self, answer: Awaitable[str]) -> str:
        try:
            return await answer
        except StoreError:
            raise
        except HermesError as error:
            return error.explain()

    async def _settle(self, event: MessageEvent, inbound: Inbound, answer: str = "") -> None:
        """A message is dealt with: its answer is kept first."""
        if answer:
            await self.say(event.source.chat, answer, key=f"reply:{inbound.platform}:{inbound.message_id}")
        await self.aside(lambda: self.store.dealt_with(inbound.platform, inbound.message_id))

    async def _seen(self, event: MessageEvent) -> str:
        """Acknowledge a message that goes to the turn under way; gives what to say where no sign can be set."""
        adapter: object = self.adapters.get(event.source.platform)
        if isinstance(adapter, CanReact) and event.message_id:
            with contextlib.suppress(DeliveryError):
                await adapter.react(event.source.chat, event.message_id, "👀")
                return ""
        return "Noted: the agent reads it before its next step."

    async def expire(self, seconds: float) -> None:
        """Deny what nobody has answered for so long. Raises: StoreError."""

        def deny_old() -> None:
            for task in self.store.tasks(states=WAITING):
                asked = [one.at for one in self.store.log(task.id) if isinstance(one.event, ApprovalRequested)]
                if key_of(task.owner) and asked and time.time() - asked[-1] > seconds:
                    self.tasks.answer(task.id, Decision(False, f"Nobody answered within {seconds:.0f} seconds."))
                    self.turns.look()

        await self.aside(deny_old)

    # -- what runs ---------------------------------------------------------------------------------

    def _run_turn(self, task: Task, *, emit: Sink, cancel: CancelToken) -> TurnFinished | TurnSuspended:
        """On a pool's thread."""
        live = self._on_loop(self._open_live(task))

        def tell(event: Event) -> None:
            emit(event)
            if live is not None:
                live.take(event)

        try:
            return self._run(task, emit=tell, cancel=cancel)
        finally:
            if live is not None:
                self._on_loop(live.stop())

    def _on_loop(self, work: "Awaitable[_Result]") -> _Result | None:
        """From another thread. None when the loop is over, or does not come to it."""

        async def awaited() -> _Result:
            return await work

        try:
            return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(PATIENCE)
        except (RuntimeError, TimeoutError):
            return None

    async def _open_live(self, task: Task) -> LiveAnswer | None:
        chat = chat_of(key_of(task.owner))
        adapter = self.adapters.get(chat.platform)
        if adapter is None:
            return None
        live = LiveAnswer(self.outbox, adapter, chat, key=f"turn:{task.id}")
        live.start()
        return live

    def _noticed(self, event: TaskChanged) -> None:
        """On any thread."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._change, event)

    def _change(self, event: TaskChanged) -> None:
        change = asyncio.create_task(self._changed(event))
        self._changes.add(change)
        change.add_done_callback(self._changes.discard)

    async def _changed(self, event: TaskChanged) -> None:
        try:
            await self.telling.changed(event)
            if event.state in ("done", "failed", "cancelled"):
                await self._turn_over(event.task_id)
        except StoreError as error:
            # The ledger still owes it: the next start tells it.
            _log.warning("task %s: %s", event.task_id, error)
        except Exception:  # noqa: BLE001  (whatever it was, other chats go on)
            _log.exception("telling of task %s", event.task_id)

    async def _turn_over(self, task_id: str) -> None:
        """What was queued behind a turn comes next; so does what a person said too late for it."""
        task = await self.aside(lambda: self.store.task(task_id))
        if task is None or not task.owner.startswith(TURN):
            return
        key = key_of(task.owner)
        await self.aside(lambda: self.conversations.catch_up(task))
        line = self._lines.get(key)
        if line is not None and line.held:
            event, inbound = line.held.popleft()
            self._enqueue(event, inbound)


def _as_prompt(event: MessageEvent, files: list[str]) -> str:
    """A message as the agent reads it: what is not the person's own words is marked as such."""
    text = event.text
    if event.kind == "edit":
        text = f"(I have changed an earlier message. It now says:)\n{text}"
    if event.forwarded:
        text = f"(I forward what somebody else wrote:)\n{_quoted(text)}"
    if event.quoted:
        text = f"(In answer to:)\n{_quoted(event.quoted)}\n\n{text}"
    return "\n".join([text, *files]).strip()


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.split("\n"))
