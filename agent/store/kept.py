"""The store as front ends open it: what a disk refuses is kept in memory, said once, and written when it can be.

Only the conversations of people are kept so. A task whose row cannot be written is refused: nobody else could ever
find it again.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from agent.chats import ChatStore
from agent.errors import StoreError
from agent.messages import Message, Usage
from agent.protocols import Decision
from agent.records import TASK_SOURCE, Session, Store, Task
from agent.store.database import BUSY
from agent.store.memory import MemoryStore
from agent.store.rules import call_ids, check_session_changes, goes_along, new_session_id
from agent.store.sqlite import SqliteStore
from agent.store.text import title_from

Tell = Callable[[StoreError | str], None]
"""Shows a person what is wrong with the store, or that it is well again; called on any thread."""

TRY_AGAIN = 10.0
"""Seconds between two attempts to write what is kept."""

PATIENCE = 0.05
"""Seconds that a reader waits for a writer."""

_KEPT = "The conversation goes on in memory, and is written as soon as it can be."
_WRITTEN = "The store can be written to again: the conversation is on the disk."
_MADE_ANEW = "This conversation was deleted meanwhile. It is on the disk again, as far as it is known here."


class KeepingStore(Store, ChatStore, Protocol):
    """A store that may hold messages which are not on the disk yet."""

    @property
    def unsaved(self) -> int:
        """How many messages these are."""
        ...

    def flush(self) -> None:
        """Try to write them now. Never raises."""
        ...

    def is_stored(self, session_id: str) -> bool:
        """Whether the disk has this session of ours, if not all of it."""
        ...


def open_store(path: Path, tell: Tell) -> KeepingStore:
    """The store of this process; never fails. Wants a thread: the disk may be slow, and sqlite is to be imported."""
    try:
        return KeptStore(path, tell)
    except StoreError as error:
        tell(_with_kept(error))
        return UnopenedStore(path, tell)


def _with_kept(error: StoreError) -> StoreError:
    return StoreError(str(error), hint=f"{error.hint} {_KEPT}".strip())


def _title(messages: Sequence[Message]) -> str:
    return next((title_from(message.content) for message in messages if message.role == "user"), "")


class _Again:
    """Calls something every `TRY_AGAIN` seconds, on a thread, until it says that it is done."""

    def __init__(self, work: Callable[[], bool], seconds: float) -> None:
        self._work = work
        self._seconds = seconds
        self._timer: threading.Timer | None = None

    def start(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(self._seconds, self._run)
            self._timer.daemon = True
            self._timer.start()

    def _run(self) -> None:
        self._timer = None
        if not self._work():
            self.start()


@dataclass(slots=True)
class _Copy:
    """A conversation as this process knows it. The first `written` messages are on the disk."""

    row: Session
    messages: list[Message] = field(default_factory=list)
    loaded: bool = False
    made: bool = False
    written: int = 0
    changes: dict[str, Any] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    unmarked: list[str] = field(default_factory=list)
    decided: dict[str, Decision] = field(default_factory=dict)

    @property
    def behind(self) -> bool:
        """Whether the disk lacks something."""
        return not self.made or self.written < len(self.messages) or bool(self.changes or self.unmarked or self.decided)

    def is_gone(self) -> None:
        """The disk has nothing of it any more."""
        self.made, self.written, self.unmarked = False, 0, sorted(self.begun)


class KeptStore(SqliteStore):
    """The store on disk, with a copy of the conversations this process has, for as long as the disk refuses them."""

    def __init__(self, path: Path, tell: Tell, *, busy: float = BUSY, try_again: float = TRY_AGAIN) -> None:
        super().__init__(path, busy=busy)
        self._tell = tell
        self._copies: dict[str, _Copy] = {}
        self._usage: list[tuple[str, str, Usage]] = []
        self._refused = False
        self._writing = threading.RLock()
        self._again = _Again(self._flushed, try_again)

    @property
    def unsaved(self) -> int:
        return sum(len(copy.messages) - copy.written for copy in list(self._copies.values()))

    def flush(self) -> None:
        for copy in list(self._copies.values()):
            self._catch_up(copy)

    def is_stored(self, session_id: str) -> bool:
        copy = self._copies.get(session_id)
        return copy is None or copy.made

    # -- conversations -----------------------------------------------------------------------------

    def create_session(
        self,
        session_id: str,
        *,
        source: str,
        cwd: str = "",
        model: str = "",
        parent: str = "",
        title: str = "",
        settings: str = "{}",
    ) -> None:
        if source == TASK_SOURCE:
            fields = {"cwd": cwd, "model": model, "parent": parent, "title": title, "settings": settings}
            super().create_session(session_id, source=source, **fields)
            return
        row = Session(session_id, source, title=title, cwd=cwd, model=model, parent=parent, settings=settings)
        self._catch_up(self._copies.setdefault(session_id, _Copy(row)))

    def append(self, session_id: str, message: Message) -> None:
        copy = self._copies.get(session_id)
        if copy is None:
            super().append(session_id, message)
            return
        with self._writing:
            if not copy.loaded:
                self._load(copy)
            copy.messages.append(message)
            self._catch_up(copy)

    def messages(self, session_id: str) -> list[Message]:
        copy = self._copies.get(session_id)
        if copy is None:
            return super().messages(session_id)
        # Whoever writes may wait long for a busy disk. Who only reads has the copy, and need not wait as well.
        if self._writing.acquire(timeout=PATIENCE if copy.loaded else -1):
            try:
                self._load(copy)
            finally:
                self._writing.release()
        return list(copy.messages)

    def _load(self, copy: _Copy) -> None:
        """Take over what is on the disk, which others may have added to. Only while no message is being written."""
        if copy.loaded and copy.behind:
            return
        try:
            found = super().messages(copy.row.id)
        except StoreError as error:
            self._refuse(error)
        else:
            if len(found) < copy.written and self._is_gone(copy):
                return
            copy.messages[: copy.written] = found
            copy.written, copy.loaded = len(found), True

    def continue_session(self, session_id: str, messages: Sequence[Message]) -> str:
        old = self._copies.get(session_id)
        if old is None:
            return super().continue_session(session_id, messages)
        self._catch_up(old)
        made = False
        if not old.behind:
            try:
                child, made = super().continue_session(session_id, messages), True
            except StoreError as error:
                self._refuse(error)
        row = old.row
        if not made:
            child, row = new_session_id(), replace(old.row, title=old.row.title or _title(old.messages))
            self.update_session(session_id, archived=True)
        copy = _Copy(replace(row, id=child, parent=session_id, archived=False), list(messages), loaded=True, made=made)
        copy.written = len(messages) if made else 0
        calls = call_ids(messages)
        copy.begun = {call for call in old.begun if goes_along(call, calls)}
        if not made:
            marks, decisions = self._kept_answers(session_id)
            copy.begun |= {call for call in marks if goes_along(call, calls)}
            copy.unmarked = list(copy.begun)
            copy.decided = {key: decision for key, decision in decisions.items() if goes_along(key, calls)}
        self._copies[child] = copy
        if not made:
            self._catch_up(copy)
        return child

    def _kept_answers(self, session_id: str) -> tuple[list[str], dict[str, Decision]]:
        """The marks and the decisions of a session, as far as they can be read: those on the disk, then ours."""
        waiting = self._copies[session_id].decided
        try:
            return self.begun(session_id), {**waiting, **self.decisions(session_id)}
        except StoreError as error:
            self._refuse(error)
            return [], waiting

    def mark_begun(self, session_id: str, call_id: str) -> bool:
        copy = self._copies.get(session_id)
        waiting = copy.messages[copy.written :] if copy is not None else []
        if copy is None or not any(call.id == call_id for message in waiting for call in message.tool_calls):
            # The disk knows of the call. Were it to run without a mark there, it could run twice.
            first = super().mark_begun(session_id, call_id)
            if copy is not None:
                copy.begun.add(call_id)
            return first
        if call_id in copy.begun:
            return False
        copy.begun.add(call_id)
        copy.unmarked.append(call_id)
        self._catch_up(copy)
        return True

    def has_begun(self, session_id: str, call_id: str) -> bool:
        copy = self._copies.get(session_id)
        return (copy is not None and call_id in copy.begun) or super().has_begun(session_id, call_id)

    def decision(self, session_id: str, call_id: str) -> Decision | None:
        copy = self._copies.get(session_id)
        waiting = copy.decided.get(call_id) if copy is not None else None
        return waiting or super().decision(session_id, call_id)

    def session(self, session_id: str) -> Session | None:
        copy = self._copies.get(session_id)
        if copy is None:
            return super().session(session_id)
        if not copy.behind:
            try:
                return super().session(session_id)
            except StoreError as error:
                self._refuse(error)
        return replace(copy.row, title=copy.row.title or _title(copy.messages), messages=len(copy.messages))

    def update_session(self, session_id: str, **changes: Any) -> Session | None:
        copy = self._copies.get(session_id)
        if copy is None:
            return super().update_session(session_id, **changes)
        check_session_changes(changes)
        copy.row = replace(copy.row, **changes)
        copy.changes.update(changes)
        self._catch_up(copy)
        return self.session(session_id)

    def move_session(self, session_id: str, source: str, *, expect: str) -> Session | None:
        copy = self._copies.get(session_id)
        if copy is not None:
            self._catch_up(copy)
            if copy.behind:
                raise StoreError("The conversation is not on the disk yet, so nobody else could go on with it.")
        moved = super().move_session(session_id, source, expect=expect)
        if moved is not None:
            # Others write to it from now on.
            self._copies.pop(session_id, None)
        return moved

    def delete_session(self, session_id: str) -> bool:
        deleted = super().delete_session(session_id)
        self._copies.pop(session_id, None)
        return deleted

    def add_usage(self, session_id: str, model: str, usage: Usage) -> None:
        with self._writing:
            self._usage.append((session_id, model, usage))
            try:
                while self._usage:
                    super().add_usage(*self._usage[0])
                    self._usage.pop(0)
            except StoreError as error:
                self._refuse(error)

    # -- catching up -------------------------------------------------------------------------------

    def _catch_up(self, copy: _Copy) -> None:
        """Write what the disk lacks of a conversation, if it takes it."""
        with self._writing:
            try:
                self._write(copy)
            except StoreError as error:
                self._refuse(error)
                return
            if self._refused and not any(other.behind for other in self._copies.values()):
                self._refused = False
                self._tell(_WRITTEN)

    def _write(self, copy: _Copy) -> None:
        """Raises: StoreError."""
        try:
            self._write_rest(copy)
        except StoreError:
            if not self._is_gone(copy):
                raise
            copy.is_gone()
            self._write_rest(copy)
            self._tell(_MADE_ANEW)

    def _is_gone(self, copy: _Copy) -> bool:
        """Whether somebody has deleted it on the disk."""
        try:
            return copy.made and super().session(copy.row.id) is None
        except StoreError:
            return False

    def _write_rest(self, copy: _Copy) -> None:
        row = copy.row
        if not copy.made:
            fields = {name: getattr(row, name) for name in ("cwd", "model", "parent", "title", "settings")}
            super().create_session(row.id, source=row.source, **fields)
            copy.made = True
        if copy.changes:
            super().update_session(row.id, **copy.changes)
            copy.changes.clear()
        # Before the messages that hold these calls: whoever finds those must know that they began.
        while copy.unmarked:
            super().mark_begun(row.id, copy.unmarked[0])
            copy.unmarked.pop(0)
        for call_id in list(copy.decided):
            super().record_decision(row.id, call_id, copy.decided[call_id])
            del copy.decided[call_id]
        while copy.written < len(copy.messages):
            super().append(row.id, copy.messages[copy.written])
            copy.written += 1

    def _refuse(self, error: StoreError) -> None:
        if not self._refused:
            self._refused = True
            self._tell(_with_kept(error))
        self._again.start()

    def _flushed(self) -> bool:
        self.flush()
        return not self._refused


class UnopenedStore(MemoryStore):
    """In memory, because the file could not be opened; once it can be, conversations are written to it as well."""

    def __init__(self, path: Path, tell: Tell, *, try_again: float = TRY_AGAIN) -> None:
        super().__init__()
        self._path = path
        self._tell = tell
        self._disk: KeptStore | None = None
        self._copied: dict[str, int] = {}
        self._copying = threading.RLock()
        self._again = _Again(self._flushed, try_again)
        self._again.start()

    @property
    def unsaved(self) -> int:
        if self._disk is not None:
            return self._disk.unsaved
        return sum(session.messages for session in self.sessions(limit=1_000_000))

    def flush(self) -> None:
        self._flushed()

    def is_stored(self, session_id: str) -> bool:
        return session_id in self._copied and self._disk is not None and self._disk.is_stored(session_id)

    def append(self, session_id: str, message: Message) -> None:
        super().append(session_id, message)
        if self._disk is not None:
            self._copy(self._disk)

    def create_task(self, **_fields: Any) -> Task:
        """Raises: StoreError, always: a task that only this process knows would be lost with it."""
        where = "has been opened since" if self._disk is not None else "cannot be opened"
        raise StoreError(
            f"No task can be started: {self._path} {where}.",
            hint="Start Hermes again; `hermes -c` goes on with this conversation."
            if self._disk is not None
            else "A task must outlive this terminal. `hermes doctor` says what is wrong with the file.",
        )

    def mark_begun(self, session_id: str, call_id: str) -> bool:
        begun = super().mark_begun(session_id, call_id)
        if begun and self._disk is not None and session_id in self._copied:
            self._disk.mark_begun(session_id, call_id)
        return begun

    def update_session(self, session_id: str, **changes: Any) -> Session | None:
        if self._disk is not None and session_id in self._copied:
            self._disk.update_session(session_id, **changes)
        return super().update_session(session_id, **changes)

    def _flushed(self) -> bool:
        with self._copying:
            if self._disk is not None:
                self._disk.flush()
                return self._copy(self._disk)
            try:
                disk = KeptStore(self._path, self._tell)
            except StoreError:
                return False
            self._disk = disk
            if self._copy(disk) and not disk.unsaved:
                self._tell(_WRITTEN)
                return True
            return False

    def _copy(self, disk: KeptStore) -> bool:
        """Hand over what the disk's store has not heard of. False when it would not take a mark."""
        with self._copying:
            for row in self.sessions(limit=1_000_000):
                fields = {name: getattr(row, name) for name in ("cwd", "model", "parent", "title", "settings")}
                if row.id not in self._copied:
                    disk.create_session(row.id, source=row.source, **fields)
                    with self._lock:
                        begun = [call for session_id, call in self._begun if session_id == row.id]
                    try:
                        for call in begun:
                            disk.mark_begun(row.id, call)
                    except StoreError:
                        self._again.start()
                        return False
                    self._copied[row.id] = 0
                for message in self.messages(row.id)[self._copied[row.id] :]:
                    disk.append(row.id, message)
                    self._copied[row.id] += 1
        return True
