"""Conversations with chats: which session one is on, and the turn that runs there.

A turn in a chat is a task on the chat's own session: its row exists before it starts, so it is resumed, parked, stopped
and answered like any other, by this process or the next. Every call here may wait for the store: keep it off the loop.
"""

import contextlib
import glob
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from weakref import WeakValueDictionary

from agent.approvals import answer_to
from agent.errors import HermesError, StoreError
from agent.events import ApprovalRequested
from agent.handoff import Handoffs, HandoffStore, Waiting
from agent.protocols import Store, Task
from agent.records import LIVE_STATES, OF_TURNS, IsAlive, Limits, Session, TaskOptions
from agent.store.rules import new_session_id
from agent.task_rows import key_of, options_of
from agent.tasks import TaskPool

_log = logging.getLogger(__name__)

LATELY = 24 * 3600.0
"""Seconds."""

STOPPING = 3.0
"""Seconds that a stopped turn has to let go of its conversation before the next one begins."""

Busy = Literal["steer", "queue"]
"""What becomes of a message that comes while a turn runs."""

Folders = Literal["chat", "shared"]
"""A folder of its own for each conversation, or the workspace for all."""

NAME_LENGTH = 120

ANSWER = "answer:"
"""What the note of a conversation's last answer begins with; it names the message that gave it."""

CUT = "cut:"
"""What the note of a conversation's last cut begins with; it names the message that ordered it."""


@dataclass(frozen=True, slots=True)
class Said:
    """What became of a person's message. `wait`: it is to be said again when the turn is over."""

    outcome: Literal["started", "steered", "answered", "wait"]
    turn: Task | None = None


class Conversations:
    """All chats' sessions. `settings` gives the model of now, as a row keeps it; `began` hears of new sessions."""

    def __init__(
        self,
        store: HandoffStore,
        turns: TaskPool,
        *,
        is_alive: IsAlive,
        workspace: Path,
        settings: Callable[[], str],
        busy: Busy = "steer",
        folders: Folders = "chat",
        began: Callable[[str, str], None] = lambda key, session_id: None,
    ) -> None:
        self._store = store
        self._turns = turns
        self.handoffs = Handoffs(store, is_alive)
        self.workspace = workspace
        self.settings = settings
        self.busy = busy
        self.folders = folders
        self._began = began
        # One at a time in each conversation, or two threads would both find that no turn runs.
        self._locks = WeakValueDictionary[str, threading.RLock]()  # of those that somebody is at
        self._giving = threading.Lock()

    def folder(self, key: str) -> Path:
        """Where the conversation's agent works, and its files are. It exists."""
        folder = self._place(key)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def _place(self, key: str) -> Path:
        return self.workspace if self.folders == "shared" else self.workspace / _name(key)

    def moved(self, old: str, new: str) -> None:
        """A chat has another address: what is in its folders is found under the new one, too."""
        if self.folders == "shared":
            return
        lead = _name(old)
        for folder in self.workspace.glob(f"{glob.escape(lead)}*"):
            rest = folder.name.removeprefix(lead)
            if folder.is_dir() and (not rest or rest[0] in "@+"):
                # A link: sessions, and turns that run, know the old one.
                with contextlib.suppress(OSError):
                    (self.workspace / f"{_name(new)}{rest}").symlink_to(folder.name, target_is_directory=True)

    def session(self, key: str) -> str:
        """The id of the conversation's session, which is made when there is none."""
        with self._alone(key):
            found = self._store.sessions(source=key, limit=1)
            # One without a folder marks that the last one was taken to a terminal.
            return found[0].id if found and found[0].cwd else self.begin(key)

    def begin(self, key: str) -> str:
        """Start a new session. The old one is kept."""
        session_id = new_session_id()
        self._store.create_session(session_id, source=key, cwd=str(self.folder(key)))
        self._began(key, session_id)
        return session_id

    def sessions(self, key: str, *, limit: int = 20) -> list[Session]:
        """This conversation's own, the newest first; those that others went on from are left out."""
        return [one for one in self._store.sessions(source=key, limit=limit) if one.messages]

    def turn(self, key: str) -> Task | None:
        """The turn that runs, waits for an answer or is to be taken up."""
        found = self._store.tasks(owner=OF_TURNS + key, states=LIVE_STATES)
        return found[0] if found else None

    def say(
        self,
        key: str,
        text: str,
        *,
        event: str,
        busy: Busy | None = None,
        behind: bool = False,
        again: bool = False,
        answer: str = "",
        reply_to: str = "",
        limits: Limits | None = None,
        taken: Callable[[], None] = lambda: None,
    ) -> Said:
        """Take a person's message: tell the turn that runs, or start one. `event` is the message's id, unique for ever.

        `behind`: earlier messages wait, so this one starts nothing. `again`: it may have started a turn already.
        `answer` are the words in it that answer the turn's question, if it asks one. `limits` are those of a turn that
        it starts. `taken` stores, together with a line that the turn is told, that the message was dealt with.

        Raises: StoreError, or HermesError where the conversation's folder is not theirs.
        """
        with self._alone(key):
            if again and (started := started_by(self._store, OF_TURNS + key, event)):
                return Said("started", started)
            if again and answer and (answered := self._was_answered(key, answer, event)):
                return Said("answered", answered)
            while (running := self.turn(key)) is not None:
                asked = self._asks(running) if answer else None
                is_words = asked is not None and asked.kind == "ask"
                if is_words:
                    self._store.note(f"{ANSWER}{key}", event)
                if is_words and self._turns.reply(running.id, answer, via=key.partition(":")[0]):
                    return Said("answered", running)
                if (busy or self.busy) == "queue":
                    return Said("wait", running)
                with self._store.together():
                    if told := self._turns.steer(running.id, text):
                        taken()
                if told:
                    return Said("steered", running)
                # It ended in this moment.
            return Said("wait") if behind else Said("started", self._start(key, text, event, reply_to, limits))

    def _was_answered(self, key: str, words: str, event: str) -> Task | None:
        """The last turn, if its last question was answered with these words, and by this message."""
        if self._store.notes(f"{ANSWER}{key}").get(f"{ANSWER}{key}") != event:
            return None
        last = self._store.tasks(owner=OF_TURNS + key)[-1:]
        found = self._turns.answered(last[0].id) if last else None
        if found is None or found[0].kind != "ask":
            return None
        request, decision = found
        here = decision.via == key.partition(":")[0]
        return last[0] if here and decision.reason == answer_to(request, words).reason else None

    def asks_leave(self, key: str) -> tuple[Task, ApprovalRequested] | None:
        """The turn and what it asks, if it waits for a yes or a no."""
        turn = self.turn(key)
        request = self._asks(turn) if turn is not None else None
        return (turn, request) if turn and request and request.kind != "ask" else None

    def _asks(self, turn: Task) -> ApprovalRequested | None:
        return self._turns.open_request(turn.id) if turn.state == "waiting" else None

    def compress(self, key: str, focus: str, *, event: str, reply_to: str = "", limits: Limits | None = None) -> Task:
        """Make the conversation shorter, as a turn that nobody asked anything in. Raises: HermesError.

        It runs no tools; the `limits` are those of the turn that follows with what is said meanwhile.
        """
        with self._alone(key):
            if started := started_by(self._store, OF_TURNS + key, event):
                return started
            if self.turn(key) is not None:
                raise HermesError("A turn is running.", hint="/stop ends it.")
            return self._start(key, focus, event, reply_to, limits, compresses=True)

    def stop(self, key: str) -> Task | None:
        """Stop the turn. None when none runs."""
        running = self.turn(key)
        return self._turns.stop(running.id) if running is not None else None

    def cut(self, key: str, prompts: int, *, event: str, behind: bool = False) -> str:
        """Go on as if the last so many prompts had not been; gives the text of the first of them.

        The old session is kept as it was. The message `event` does it once, however often it is asked for.

        Raises: HermesError when there are not so many, a turn runs, or it stands `behind` others that wait.
        """
        with self._alone(key):
            note = f"{CUT}{key}"
            by, _, where = self._store.notes(note).get(note, "").partition("\n")
            if by == event:
                before, _, number = where.partition(" ")
                return self._store.messages(before)[int(number)].content
            if behind:
                raise HermesError("Something that you wrote waits still for its turn.", hint="Wait for its answer.")
            if self.turn(key) is not None:
                raise HermesError("A turn is running.", hint="/stop ends it.")
            session_id = self.session(key)
            self._turns.idle(OF_TURNS + key, STOPPING)
            messages = self._store.messages(session_id)
            spoken = [number for number, message in enumerate(messages) if message.role == "user"]
            if not 0 < prompts <= len(spoken):
                raise HermesError("There is nothing so far back in this conversation.")
            at = spoken[-prompts]
            with self._store.together():
                self._store.continue_session(session_id, messages[:at])
                self._store.note(note, f"{event}\n{session_id} {at}")
            return messages[at].content

    def resume(self, key: str, session_id: str) -> str:
        """Go on with an earlier session of this conversation: a new one that begins as that one ended."""
        with self._alone(key):
            return self._store.continue_session(session_id, self._store.messages(session_id))

    def claim(self, key: str, waiting: Waiting, address: str) -> None:
        """Go on with what was handed to this chat, if it waits there still."""
        with self._alone(key):
            if self.turn(key) is None and self.handoffs.claim(waiting, address, key):
                self._began(key, waiting.session_id)

    def give_back(self, key: str, address: str) -> tuple[str, bool]:
        """Let terminals have what waits in the chat, or the conversation's session: then another begins.

        Its id, and whether a terminal hears of it. Raises: HermesError.
        """
        with self._alone(key):
            if waiting := self.handoffs.waiting(address):
                return waiting.session_id, self.handoffs.decline(waiting, address)
            if self.turn(key) is not None:
                raise HermesError("A turn is running.", hint="/stop ends it.")
            session_id = self.session(key)
            self._turns.idle(OF_TURNS + key, STOPPING)
            row = self._store.session(session_id)
            if row is None or row.messages == 0:
                raise HermesError("Nothing was said yet that could be handed over.")
            heard = self.handoffs.give_back(session_id, key)
            self.begin(key)
            return session_id, heard

    def catch_up(self, over: Task) -> None:
        """Start a turn with what a person said to one that ended before it could read it."""
        if over.state in LIVE_STATES or over.state == "cancelled":
            return
        lines = self._store.take_steering(over.id, over.session_id)
        key, late = key_of(over.owner), f"late:{over.id}"
        with self._alone(key):
            if not lines or started_by(self._store, over.owner, late):
                return
            while (running := self.turn(key)) is not None:
                if self._store.move_steering(over.id, running.id):
                    return
            was = options_of(over)
            self._start(key, "\n".join(lines), late, was.reply_to, was.limits)

    def catch_up_all(self) -> None:
        """The same for the turns that ended lately, at the start of a process."""
        for task in self._store.tasks(owner=OF_TURNS, states=frozenset({"done", "failed"})):
            if task.finished > time.time() - LATELY:
                try:
                    self.catch_up(task)
                except StoreError:
                    raise
                except HermesError as error:
                    _log.warning("what was said too late for turn %s: %s", task.id, error)

    @contextlib.contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        with self._giving:
            lock = self._locks.setdefault(key, threading.RLock())
        with lock:
            yield

    def _start(
        self, key: str, text: str, event: str, reply_to: str, limits: Limits | None, *, compresses: bool = False
    ) -> Task:
        session_id = self.session(key)
        if limits is not None and not self.is_here(key, session_id):
            raise HermesError(
                "This conversation works in a folder that is not yours here.",
                hint="/new begins one that works in yours.",
            )
        # A turn that was stopped is over at once in the store, and may write to the session for a moment still.
        self._turns.idle(OF_TURNS + key, STOPPING)
        session = self._store.session(session_id)
        history = session.messages if session else 0
        options = TaskOptions(history=history, event=event, reply_to=reply_to, compresses=compresses, limits=limits)
        return self._turns.submit(
            text,
            owner=OF_TURNS + key,
            session_id=session_id,
            source=key,
            settings=self.settings(),
            options=options,
        )

    def is_here(self, key: str, session_id: str) -> bool:
        """Whether a session works in the chat's own folder, and in none that came with it from a terminal."""
        session = self._store.session(session_id)
        return session is None or Path(session.cwd).resolve() == self._place(key).resolve()


def _name(key: str) -> str:
    """Of a conversation's folder. The parts of a key are quoted: what stands in for its signs is in none of them."""
    name = key.replace(":", "-", 1).replace("/", "+")
    if len(name) > NAME_LENGTH:
        name = f"{name[:40]}+{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    return name


def started_by(store: Store, owner: str, event: str) -> Task | None:
    """What this message started. A process may have started it and died before it could say so."""
    return next((task for task in store.tasks(owner=owner) if options_of(task).event == event), None)
