"""A gateway that serves: every message is stored before it is dealt with, chats do not wait for each other.

Messages of one chat are dealt with in order, each quickly: turns run on a pool's threads, and nobody waits here.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from agent import images
from agent.cancel import CancelToken
from agent.chats import ChatStore, Inbound, Outbound
from agent.commands import Parsed, Unknown, parse
from agent.config import Directories
from agent.errors import HermesError, StoreError
from agent.events import Event, StepFinished, TaskChanged, TurnFinished, TurnStarted, TurnSuspended
from agent.models import catalog, portable
from agent.models.audio import Audio
from agent.people import PeopleStore
from agent.protocols import Decision, Sink, Store, Task
from agent.records import OF_CHATS, OF_TURNS, IsAlive, Lease, Limits
from agent.task_rows import key_of
from agent.task_runs import RunTask
from agent.tasks import TaskPool
from agent.tools.bench import close_bench
from gateway.arrivals import Arrivals
from gateway.config import Platform
from gateway.conversations import Busy, Conversations, Folders
from gateway.home import Homes
from gateway.lines import Item, Lines
from gateway.live import LiveAnswer, Lives
from gateway.media import Received, as_image, as_prompt, as_said, take_in
from gateway.outbox import Letter, Outbox, address, always, letter_of
from gateway.platforms.base import Adapter, CanReact, MessageEvent
from gateway.preparing import Preparing, passes
from gateway.session import Chat, SessionSource, chat_of
from gateway.telling import Telling, button_data, reply_key
from gateway.voice import Voices

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

STORE_THREADS = 8

PATIENT_THREADS = 16
"""For what waits until a stopped turn has let go of its conversation."""

RETRY = 1.0
"""Seconds before something is told again that the store would not hear of."""

LEFT = "(What came with it was not looked at.)"

WORDS = {"yes": "ok", "y": "ok", "no": "no", "n": "no"}
"""The buttons under "May I?" that plain words stand for."""


def own_words(event: MessageEvent) -> str:
    """What a person wrote in a message that is nothing else; "" where there is more to it, or others' words."""
    is_plain = event.kind == "message" and not event.forwarded and not event.attachments
    return event.text.strip() if is_plain else ""


class GatewayStore(Store, ChatStore, PeopleStore, Protocol):
    """What a served gateway keeps."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a command has the agent told. `busy` says what becomes of it while a turn runs; None: as of any message.

    `answer` are a person's own words, which answer the question of the turn, if it asks one.
    """

    text: str
    busy: Busy | None = None
    answer: str = ""


class Obey(Protocol):
    """Carries out a command and gives the answer, "" for none. Raises: HermesError for what is told as an error."""

    def __call__(self, event: MessageEvent, parsed: Parsed, /, *, key: str) -> Awaitable[str | Prompt]: ...


Happened = Callable[[str, Mapping[str, object]], None]
"""Hears of what hooks may want to know, by name, with what is known of it. Quick, on any thread."""


def nobody_hears(name: str, facts: Mapping[str, object]) -> None:
    """Where there are no hooks."""


Hears = Callable[[MessageEvent], Awaitable[bool]]
"""Whether whoever wrote a message may speak, by the rules of now."""


async def everybody(event: MessageEvent) -> bool:
    """Where nobody is judged."""
    del event
    return True


May = Callable[[MessageEvent, str], Awaitable[bool]]
"""Whether whoever wrote a message may give this command."""


async def nobody_may(event: MessageEvent, command: str) -> bool:
    """Where nobody is known."""
    del event, command
    return False


LimitsOf = Callable[[MessageEvent], Awaitable[Limits | None]]
"""Gives what the agent may not do for whoever wrote a message."""


async def no_limits(event: MessageEvent) -> Limits | None:
    """Where nobody is kept from anything."""
    return None


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
        folders: Folders = "chat",
        turn_workers: int = 32,
        task_workers: int = 4,
        dirs: Directories | None = None,
        admins: Mapping[Platform, frozenset[str]] = {},
        known: Mapping[Platform, frozenset[str]] = {},
        happened: Happened = nobody_hears,
        hears: Hears = everybody,
        may: May = nobody_may,
        limits: LimitsOf = no_limits,
        reaches: Callable[[Platform], bool] = always,
        audio: Audio | None = None,
        spoken: Path | None = None,
        redact: Callable[[str], str] | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.store, self.adapters = store, adapters
        self._loop = asyncio.get_running_loop()
        self._run, self._obey, self._press, self.happened = run, obey, press, happened
        self._hears, self._may, self.limits, self.reaches = hears, may, limits, reaches
        self._is_alive = is_alive
        self._threads = executor or ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store")
        pool = partial(
            TaskPool,
            store,
            notify=self._noticed,
            new_lease=new_lease,
            is_alive=is_alive,
            forget=close_bench,
            redact=redact,
        )
        self.turns = pool(run=self._run_turn, workers=turn_workers, kind=OF_TURNS)
        self.tasks = pool(run=self._run_task, workers=task_workers, kind=OF_CHATS)
        self.outbox = Outbox(
            store,
            adapters,
            lease=new_lease(),
            is_alive=is_alive,
            refused=self._refused,
            moved=self.moved,
            reaches=reaches,
        )
        self.conversations = Conversations(
            store,
            self.turns,
            is_alive=is_alive,
            workspace=workspace,
            settings=settings,
            busy=busy,
            folders=folders,
            began=self._began,
        )
        self.voices = Voices(store, audio, spoken or workspace / "spoken")
        self.homes = Homes(store, admins, known)
        self.telling = Telling(
            store,
            self.outbox,
            aside=self.aside,
            teller=lambda: self.tasks.lease,
            request_of=self.tasks.open_request,
            folder=self.conversations.folder,
            dirs=dirs,
            deny=self._denied,
            hearers=self.homes.for_question,
        )
        self._preparing = Preparing(self._fetched, self._look)
        self.lines = Lines(self._deal_with, self._busy, ready=self._preparing.is_ready, passes=passes)
        self._arrivals = Arrivals(store, self._add)
        self._lives = Lives(self.outbox, adapters, self._loop)
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="glance")
        self._patient = ThreadPoolExecutor(PATIENT_THREADS, thread_name_prefix="patient")
        self._changes: set[asyncio.Task[None]] = set()
        self._being_told = Counter[str]()
        self._closing = False

    async def start(self) -> None:
        """Take up what an earlier process left: messages in and out, turns, tasks, questions. Raises: StoreError."""
        await self.outbox.start()
        await self.telling.goes_on()
        # What was owed is posted before a turn may show anything after it.
        await self.aside(lambda: self.store.reclaim_deliveries(self._is_alive))
        await self.telling.left_over()
        await self.telling.stopped_meanwhile()
        await self.aside(self.turns.open)
        await self.aside(self.tasks.open)
        # Those that are given up by now, because too many processes died with them.
        await self.telling.left_over()
        await self.aside(self.conversations.catch_up_all)
        for inbound in await self.aside(self.store.received):
            await self._take_up(inbound)

    async def close(self, seconds: float = 5.0) -> None:
        """Take nothing more in, park what runs, and stop sending. What is left is the next process's."""
        self._closing = True
        await self._arrivals.settled()
        await self._preparing.close()
        await self.lines.close(seconds)
        pools = (self.turns, self.tasks)
        parked = [self.aside(partial(pool.close, park=True, wait=seconds)) for pool in pools]
        await asyncio.gather(*parked, return_exceptions=True)
        await asyncio.sleep(0)  # the last announcements come to the loop
        self.voices.close()
        await asyncio.gather(*self._changes, return_exceptions=True)
        await self._lives.close()
        await self.outbox.close()
        self._arrivals.close()
        for threads in (self._threads, self._readers, self._patient):
            threads.shutdown(wait=False)

    async def cut(self) -> None:
        """Wait for no step that is under way: its outcome is unknown to whoever goes on with it."""
        await asyncio.gather(*(self.glance(pool.cut) for pool in (self.turns, self.tasks)))

    async def receive(self, event: MessageEvent, key: str) -> bool:
        """Store a message and have it dealt with. False when it came before.

        Raises: StoreError; then it is not stored.
        """
        if self._closing:
            raise StoreError("The gateway is leaving.")
        return await self._arrivals.receive(event, key)

    def met(self, source: SessionSource) -> None:
        """Somebody wrote in a direct chat. Nobody waits until that is stored."""
        if self.homes.met(source):
            self._spawn(self.aside(lambda: self.homes.keep(source)))

    async def aside(self, work: Callable[[], _Result]) -> _Result:
        """Something that waits for the store, off the loop."""
        return await self._loop.run_in_executor(self._threads, work)

    async def patiently(self, work: Callable[[], _Result]) -> _Result:
        """`aside`, for what may wait for a turn that was stopped: nobody else waits behind it."""
        return await self._loop.run_in_executor(self._patient, work)

    async def glance(self, look: Callable[[], _Result]) -> _Result:
        """A short look into the store, off the loop, that waits behind nobody who writes."""
        return await self._loop.run_in_executor(self._readers, look)

    async def say(self, chat: Chat, text: str, *, key: str = "", reply_to: str = "") -> None:
        """Say something of our own: commands in it are named as they are given there."""
        await self.outbox.post(chat, Letter(text=self.outbox.commands(chat, text), reply_to=reply_to), key=key)

    async def notice(self, text: str, *, about: Platform, but: Chat | None = None) -> bool:
        """Tell whoever looks after this gateway: in the home of that platform, or of another one; never in `but`.

        False where none can be reached, and nobody is told: the log has it, and later it would be wrong.
        """
        if (home := await self.aside(lambda: self.homes.for_notice(about, self.reaches, but))) is None:
            return False
        await self.say(home, text)
        return True

    async def look_after(self, seconds: float) -> None:
        """What is to be done now and then: send what others posted, tell what others ended, deny what nobody has
        answered for so long. Raises: StoreError.
        """
        await self.outbox.look()
        await self.telling.left_over()
        await self.telling.unasked(self._being_told)
        for task_id in self.telling.unanswered(seconds):
            denial = Decision(False, f"Nobody answered within {seconds:.0f} seconds.")
            await self.aside(partial(self.tasks.answer, task_id, denial))
        await self.aside(self.turns.look)

    def _denied(self, task_id: str, why: str) -> None:
        """Nobody can be asked. May wait for the store."""
        self.tasks.answer(task_id, Decision(False, why))
        self.turns.look()

    def connected(self) -> None:
        """A platform can be reached: send what waits for it."""
        self._spawn(self.outbox.look())

    async def moved(self, chat: Chat, chat_id: str) -> None:
        """A chat has another id: its conversations, tasks, home and files are the new one's. Raises: StoreError."""
        old, new = address(replace(chat, thread_id="")), address(replace(chat, chat_id=chat_id, thread_id=""))
        _log.info("%s is %s by now", old, new)
        await self.aside(lambda: self.store.move_chat(old, new))
        await self.aside(lambda: self.conversations.moved(old, new))
        await self.outbox.look()

    def works(self) -> bool:
        """Whether a turn or a task runs here. May wait for the store: not for the loop."""
        return self.turns.runs() or self.tasks.runs()

    # -- what comes in -----------------------------------------------------------------------------

    async def _take_up(self, inbound: Inbound) -> None:
        """A message that an earlier process stored."""
        if inbound.platform not in {platform.value for platform in self.adapters}:
            return  # another process serves it, or nobody does now
        try:
            event = msgspec.json.decode(inbound.payload, type=MessageEvent)
        except msgspec.MsgspecError:
            _log.exception("message %s of %s cannot be read any more", inbound.message_id, inbound.chat)
            text = "❌ A message of yours could not be read after a restart. Please send it again."
            await self.say(chat_of(inbound.chat), text, key=reply_key(f"{inbound.platform}:{inbound.message_id}"))
            await self.aside(lambda: self.store.dealt_with(inbound.platform, inbound.message_id))
        else:
            self._add(Item(event, inbound, again=True))

    def _look(self, key: str) -> None:
        self.lines.look(key)

    def _add(self, item: Item) -> None:
        if self._preparing.begin(item):
            self.lines.add(item)

    async def _fetched(self, event: MessageEvent, key: str) -> list[str]:
        """Fetch the files of a message; gives a line for each, for the agent."""
        folder = await self.aside(lambda: self.conversations.folder(key).resolve())
        files = await take_in(self.adapters.get(event.source.platform), event, folder, self.aside)
        room = images.MOST
        lines = list[str]()
        for one in files:
            room -= one.is_image
            shown = one.is_image and room >= 0
            lines.append(await self._as_line(one, folder, key, shown=shown, forwarded=event.forwarded))
        if any(one.is_image for one in files) and (blind := self._takes_no_images()):
            text = f"{blind} takes no images: the agent has what you sent as files, and does not see them."
            await self.say(event.source.chat, text, key=f"unseen:{event.source.platform.value}:{event.event_id}")
        return lines

    def _takes_no_images(self) -> str:
        """The name of the model that chats use, if it is known to take none."""
        model = portable.model_name(self.conversations.settings()) or "offline"
        return model if catalog.takes_images(model) is False else ""

    async def _as_line(self, file: Received, folder: Path, key: str, *, shown: bool, forwarded: bool) -> str:
        """What the agent reads of a file: where it is, or what is said in it. An image is `shown` to it."""
        line, session = file.line, await self.aside(lambda: self.store.session(self.conversations.session(key)))
        here = (str(folder), str(self.conversations.folder(key)))
        name = str(file.path.relative_to(folder)) if file.path is not None else ""
        if file.path is not None and session is not None and session.cwd not in here:
            # A conversation that came from a terminal works in its own folder.
            line, name = line.replace(name, str(file.path)), str(file.path)
        if shown and not self._takes_no_images():
            return as_image(line, name)
        if file.path is None or file.attachment.kind != "voice" or not await self.aside(lambda: self.voices.hears(key)):
            return line
        try:
            return as_said(await self.voices.heard(file.path), forwarded=forwarded)
        except HermesError as error:
            _log.warning("%s", error)
            return f"{line} (It could not be written down: {error})"

    async def _busy(self, key: str) -> bool:
        return await self.glance(lambda: self.conversations.turn(key)) is not None

    async def _deal_with(self, item: Item, behind: bool) -> bool:
        try:
            return await self._dealt_with(item, behind)
        except StoreError:
            raise
        except HermesError as error:
            await self._settle(item, error.explain())
        except Exception:  # noqa: BLE001  (one message must not stop a chat for good)
            _log.exception("a message of %s", item.inbound.chat)
            await self._settle(item, "❌ Something went wrong with this message; it is in the log.")
        return True

    async def _dealt_with(self, item: Item, behind: bool) -> bool:
        event, key = item.event, item.inbound.chat
        if item.again and await self.glance(
            partial(self.store.is_dealt_with, item.inbound.platform, item.inbound.message_id)
        ):
            self._preparing.done(item)  # what came of it is stored, and only the answer was not
            return True
        if not await self._hears(event):
            # It waited here, and meanwhile somebody was revoked.
            await self._settle(item, "")
            return True
        press = event if event.kind == "press" else await self._as_press(event, key)
        if press is not None:
            await self._settle(item, await self._press(press, key))
            return True
        await self._claim(event, key)
        event, files = self._preparing.found(item)
        ordered = "\n".join([event.text, *files]).strip()
        # What somebody else wrote orders nothing, however it begins.
        match None if event.forwarded else parse(ordered, "gateway"):
            case Parsed() as command:
                answer = await self._obey(replace(event, text=ordered), command, key=key)
                if isinstance(answer, Prompt):
                    return await self._say(item, behind, answer)
                left = event.attachments and not files
                await self._settle(item, f"{answer}\n{LEFT}".strip() if left else answer)
            case Unknown() as unknown:
                await self._settle(item, unknown.explain())
            case None if prompt := as_prompt(event, files):
                return await self._say(item, behind, Prompt(prompt, answer=own_words(event)))
            case None:
                await self._settle(item, "Yes? Write what you want to know or have done.")
        return True

    async def _as_press(self, event: MessageEvent, key: str) -> MessageEvent | None:
        """A plain yes or no while the turn asks whether it may: the press of the button under the question.

        In a group it is one that is said to the bot. Raises: HermesError where another question is open there, too.
        """
        said = WORDS.get(own_words(event).lower().rstrip(".!"))
        if said is None or (event.source.is_group and not event.addressed):
            return None
        asking = await self.glance(lambda: self.conversations.asks_leave(key))
        if asking is None or not await self._may(event, "approve" if said == "ok" else "deny"):
            return None
        task, request = asking
        if self.telling.asks(event.source.chat) != {task.id}:
            raise HermesError("More than one question is open here.", hint="Press a button, or /approve N, /deny N.")
        return replace(event, kind="press", data=button_data(said, task, request))

    async def _claim(self, event: MessageEvent, key: str) -> None:
        """Go on with what was handed to this chat from a terminal, when somebody writes there who may."""
        where = address(event.source.chat)
        waiting = await self.glance(lambda: self.conversations.handoffs.waiting(where))
        if waiting is None or not await self._may(event, "handoff"):
            return
        if event.source.is_group and "@" not in key:
            # With the conversation everybody there would have its folder.
            text = "⇄ A conversation from the terminal waits here, but all in this group share one."
            key = f"shared:{waiting.session_id}"
            await self.say(event.source.chat, f"{text} /handoff terminal gives it back.", key=key)
            return
        await self.aside(lambda: self.conversations.claim(key, waiting, where))

    async def _say(self, item: Item, behind: bool, prompt: "Prompt") -> bool:
        event = item.event
        limits = await self.limits(event)
        said = await self.patiently(
            lambda: self.conversations.say(
                item.inbound.chat,
                prompt.text,
                event=item.name,
                busy=prompt.busy,
                behind=behind,
                again=item.again,
                answer=prompt.answer,
                reply_to=event.message_id if event.source.is_group else "",
                limits=limits,
                taken=partial(self._taken, item),
            )
        )
        match said.outcome:
            case "started" | "answered":
                await self._settle(item)
            case "steered" if said.turn is not None and said.turn.state == "waiting":
                await self._settle(item, "Noted: the agent reads it when its question above is answered.")
            case "steered" if said.turn is not None and said.turn.state == "parked" and said.turn.held:
                how = f"/tasks resume {said.turn.number} goes on, /stop ends it"
                await self._settle(item, f"Noted, but the turn is paused, and reads it when it goes on: {how}.")
            case "steered":
                await self._settle(item, await self._seen(event))
            case "wait":
                ahead = self.lines.held(item.inbound.chat)
                text = f"Queued: {ahead} before it." if ahead else "Queued: it is next."
                await self.say(event.source.chat, text, key=f"queued:{item.name}")
        return said.outcome != "wait"

    async def _settle(self, item: Item, answer: str = "") -> None:
        """A message is dealt with: its answer is kept first."""
        event = item.event
        if answer:
            reply_to = event.message_id if event.source.is_group and event.kind == "message" else ""
            await self.say(event.source.chat, answer, key=reply_key(item.name), reply_to=reply_to)
        await self.aside(partial(self._taken, item))
        self._preparing.done(item)

    def _taken(self, item: Item) -> None:
        """Store that a message, with all its parts, was dealt with. Raises: StoreError."""
        for part in self._preparing.parts(item):
            self.store.dealt_with(part.inbound.platform, part.inbound.message_id)

    async def _seen(self, event: MessageEvent) -> str:
        """Acknowledge a message that goes to the turn under way; gives what to say where no sign can be set."""
        adapter: object = self.adapters.get(event.source.platform)
        if isinstance(adapter, CanReact) and event.message_id:
            try:
                await adapter.react(event.source.chat, event.message_id, "👀")
            except Exception as error:  # noqa: BLE001  (a sign that could not be set; the message was taken)
                _log.info("no sign could be set: %s", error)
            else:
                return ""
        return "Noted: the agent reads it before its next step."

    # -- what runs ---------------------------------------------------------------------------------

    def _run_turn(self, task: Task, *, emit: Sink, cancel: CancelToken) -> TurnFinished | TurnSuspended:
        """On a pool's thread."""
        if (live := self._lives.of(task)) is None:
            return self._run_task(task, emit=emit, cancel=cancel)
        self._call(self._lives.begin, task.id, live)

        def tell(event: Event) -> None:
            emit(event)
            live.take(event)

        try:
            return self._run_task(task, emit=tell, cancel=cancel)
        finally:
            # It may have been stopped before it began, when there was nothing to take yet.
            with contextlib.suppress(StoreError):  # what the run came to must not be lost for it
                if (row := self.store.task(task.id)) is None or row.state == "cancelled":
                    self._call(self._dark, task.id)

    def _dark(self, task_id: str) -> None:
        if (live := self._lives.take(task_id)) is not None:
            self._spawn(live.stop())

    def _run_task(self, task: Task, *, emit: Sink, cancel: CancelToken) -> TurnFinished | TurnSuspended:
        """On a pool's thread."""
        facts = {"chat": key_of(task.owner), "task": task.id, "session": task.session_id}

        def tell(event: Event) -> None:
            emit(event)
            match event:
                case TurnStarted(prompt=prompt):
                    self.happened("agent:start", {**facts, "prompt": prompt})
                case StepFinished(step=step, text=text):
                    self.happened("agent:step", {**facts, "step": step, "text": text})
                case TurnFinished(outcome=outcome, text=text):
                    self.happened("agent:end", {**facts, "outcome": outcome, "text": text})

        return self._run(task, emit=tell, cancel=cancel)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        """On the loop, in order; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the next process tells it
            self._loop.call_soon_threadsafe(function, *arguments)

    def _began(self, key: str, session_id: str) -> None:
        self.happened("session:start", {"chat": key, "session": session_id})

    def _noticed(self, event: TaskChanged) -> None:
        """On any thread."""
        self._call(self._change, event)

    def _change(self, event: TaskChanged) -> None:
        live = None if event.state in ("queued", "running") else self._lives.take(event.task_id)
        self._being_told[event.task_id] += 1
        earlier = self._lives.endings(live.chat) if live is not None else ()
        change = self._spawn(self._changed(event, live, earlier))
        if live is not None:
            self._lives.end(live.chat, change)

    def _refused(self, one: Outbound) -> None:
        chat, letter = chat_of(one.chat), letter_of(one)
        if one.key.startswith("ask:") and not one.repeat:  # else it may stand there
            self._spawn(self.telling.refused(one.key))
        if letter.file_name:
            self._spawn(self.say(chat, f"📎 {letter.file_name} did not arrive: {one.error}", key=f"refused:{one.id}"))
        if self.homes.is_news(one.chat):
            text = f"⚠ A message to {one.chat} was refused: {one.error} `hermes gateway status` lists what was."
            self._spawn(self._report(one.chat, text, about=chat.platform, but=chat))

    async def _report(self, where: str, text: str, *, about: Platform, but: Chat) -> None:
        if not await self.notice(text, about=about, but=but):
            self.homes.not_told(where)

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        async def awaited() -> None:
            try:
                await work
            except StoreError as error:
                _log.warning("%s", error)
            except Exception:  # noqa: BLE001  (whatever it was, other chats go on)
                _log.exception("telling")

        change = asyncio.create_task(awaited())
        self._changes.add(change)
        change.add_done_callback(self._changes.discard)
        return change

    async def _changed(
        self, event: TaskChanged, live: LiveAnswer | None, earlier: Collection[asyncio.Task[None]] = ()
    ) -> None:
        """Tell a change, after `earlier` ones of the same chat: an answer waits for the one before it."""
        try:
            await self._tell(event, live, earlier)
        finally:
            self._being_told -= Counter([event.task_id])

    async def _tell(self, event: TaskChanged, live: LiveAnswer | None, earlier: Collection[asyncio.Task[None]]) -> None:
        if live is not None:
            await live.stop()
        if earlier:
            await asyncio.wait(earlier)
        while True:
            try:
                await self.telling.changed(event, live.text if live is not None else "")
                if event.state in ("done", "failed", "cancelled"):
                    await self._turn_over(event.task_id)
                return
            except StoreError as error:
                _log.warning("task %s: %s", event.task_id, error)
                if self._closing:
                    return  # the ledger owes it: the next start tells it
                await asyncio.sleep(RETRY)

    async def _turn_over(self, task_id: str) -> None:
        """What was queued behind a turn comes next; so does what a person said too late for it."""
        task = await self.aside(lambda: self.store.task(task_id))
        if task is not None and task.owner.startswith(OF_TURNS):
            try:
                await self.patiently(lambda: self.conversations.catch_up(task))
            finally:
                self.lines.look(key_of(task.owner))
            if task.state == "done" and task.result.strip():
                self._spawn(self._speak(task))

    async def _speak(self, task: Task) -> None:
        """Say an answer aloud where that is wanted. It stands in the chat as text already."""
        key = key_of(task.owner)
        if self._closing or not await self.aside(lambda: self.voices.speaks(key)):
            return
        try:
            path, kind = await self.voices.spoken(task.result, task.id)
            letter = Letter(file=str(path), file_name=path.name, file_kind=kind)
        except HermesError as error:
            letter = Letter(text=f"🔇 {error}")
        await self.outbox.post(chat_of(key), letter, key=f"spoken:{task.id}")
