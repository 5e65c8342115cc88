"""Messages of chats in memory."""

import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from agent.chats import NOTES_OF_CHATS, Inbound, Outbound, OutboundState
from agent.records import LIVE_STATES, IsAlive, Lease
from agent.store.memory_tables import Tables
from agent.store.text import cleaned


class MemoryChats(Tables):
    """The `ChatStore` part of the store."""

    def __init__(self) -> None:
        super().__init__()
        self._inbound: dict[tuple[str, str], Inbound] = {}
        self._dealt_with: dict[tuple[str, str], float] = {}
        self._outbound: dict[int, Outbound] = {}
        self._places: dict[int, int] = {}
        self._counter = itertools.count(1)
        self._notes: dict[str, str] = {}

    def receive(self, platform: str, message_id: str, chat: str, payload: str) -> bool:
        with self._lock:
            key = (platform, cleaned(message_id))
            if key in self._inbound:
                return False
            self._inbound[key] = cleaned(Inbound(platform, message_id, chat, payload, time.time()))
            return True

    def receive_all(self, rows: Sequence[tuple[str, str, str, str]]) -> list[bool]:
        with self._lock:
            return [self.receive(*row) for row in rows]

    def last_received(self, platform: str, *, limit: int) -> dict[str, float]:
        with self._lock:
            found: dict[str, float] = {}
            for one in self._inbound.values():
                if one.platform == platform:
                    place = one.chat.partition("@")[0]
                    found[place] = max(one.at, found.get(place, 0.0))
        return dict(sorted(found.items(), key=lambda item: -item[1])[:limit])

    def received(self) -> list[Inbound]:
        with self._lock:
            return [one for key, one in self._inbound.items() if key not in self._dealt_with]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        with self._lock:
            yield

    def is_dealt_with(self, platform: str, message_id: str) -> bool:
        with self._lock:
            return (platform, cleaned(message_id)) in self._dealt_with

    def dealt_with(self, platform: str, message_id: str) -> None:
        with self._lock:
            self._dealt_with[platform, cleaned(message_id)] = time.time()

    def post(self, chat: str, payload: str, *, key: str = "", live: bool = False, message_id: str = "") -> int | None:
        with self._lock:
            if key and self.posted(key):
                return None
            now, id_ = time.time(), next(self._counter)
            state: OutboundState = "live" if live else "pending"
            self._outbound[id_] = cleaned(Outbound(id_, chat, payload, state, key, message_id, at=now, due=now))
            self._places[id_] = id_
            return id_

    def posted(self, key: str) -> Outbound | None:
        with self._lock:
            return next((one for one in self._outbound.values() if one.key == key), None)

    def set_live(self, outbound_id: int, message_id: str) -> None:
        self._change_letter(outbound_id, message_id=message_id)

    def complete(self, outbound_id: int, payload: str, *, key: str = "") -> None:
        with self._lock:
            if (live := self._outbound[outbound_id]).state == "live":
                changes = {"payload": cleaned(payload), "due": time.time(), "key": key or live.key}
                self._change_letter(outbound_id, state="pending", **changes)
                self._places[outbound_id] = next(self._counter)

    def take_outbound(self, chat: str, sender: Lease, now: float) -> Outbound | None:
        with self._lock:
            first = next(iter(self.unsent(chat)), None)
            if first is None or first.state != "pending" or first.due > now:
                return None
            lease = replace(sender, heartbeat=now)
            self._change_letter(first.id, state="sending", attempts=first.attempts + 1, sender=lease)
            return self._outbound[first.id]

    def mark_sent(self, outbound_id: int, message_id: str) -> None:
        self._change_letter(outbound_id, state="sent", at=time.time(), message_id=message_id, sender=None)

    def postpone(self, outbound_id: int, due: float, error: str, *, repeat: bool = False) -> None:
        with self._lock:
            repeat = repeat or self._outbound[outbound_id].repeat
            self._change_letter(outbound_id, state="pending", due=due, error=cleaned(error), repeat=repeat, sender=None)

    def refuse(self, outbound_id: int, error: str) -> None:
        self._change_letter(outbound_id, state="refused", at=time.time(), error=cleaned(error), sender=None)

    def reclaim_outbound(self, is_alive: IsAlive) -> list[Outbound]:
        with self._lock:
            sending = [one for one in self.unsent() if one.state == "sending"]
            gone = [one.id for one in sending if one.sender is None or not is_alive(one.sender)]
            for id_ in gone:
                self._change_letter(id_, state="pending", repeat=True, sender=None)
            return [self._outbound[id_] for id_ in gone]

    def unsent(self, chat: str | None = None) -> list[Outbound]:
        with self._lock:
            open_ = [one for one in self._outbound.values() if one.state in ("pending", "sending")]
            found = [one for one in open_ if chat is None or one.chat == cleaned(chat)]
            return sorted(found, key=lambda one: self._places[one.id])

    def waiting_chats(self) -> list[str]:
        return list(dict.fromkeys(one.chat for one in self.unsent()))

    def refused(self, *, limit: int = 20) -> list[Outbound]:
        with self._lock:
            found = [one for one in self._outbound.values() if one.state == "refused"]
            return sorted(found, key=lambda one: (one.at, one.id), reverse=True)[:limit]

    def forget_chats(self, before: float) -> int:
        with self._lock:
            old = [key for key, at in self._dealt_with.items() if self._inbound[key].at < before]
            over = [one.id for one in self._outbound.values() if one.state in ("sent", "refused") and one.at < before]
            for key in old:
                del self._inbound[key], self._dealt_with[key]
            for id_ in over:
                del self._outbound[id_], self._places[id_]
            turns = self._old_turns(before)
            for task_id in turns:
                del self._tasks[task_id]
                self._events.pop(task_id, None)
                self._inbox.pop(task_id, None)
            gone = set(turns)
            self._deliveries = {key: one for key, one in self._deliveries.items() if key[0] not in gone}
            return len(old) + len(over) + len(turns)

    def _old_turns(self, before: float) -> list[str]:
        owed = {one.task_id for one in self._deliveries.values() if one.state != "told"}
        return [
            task.id
            for task in self._tasks.values()
            if task.owner.startswith("turn:")
            and task.state not in LIVE_STATES
            and task.finished < before
            and (task.id not in owed or task.state == "cancelled")
        ]

    def move_chat(self, old: str, new: str) -> None:
        def moved(text: str, *leads: str) -> str:
            for lead in leads:
                before = f"{lead}{old}"
                if text == before or text.startswith((f"{before}/", f"{before}@")):
                    return f"{lead}{new}{text.removeprefix(before)}"
            return text

        owner = ("turn:", "chat:")
        with self._lock:
            for session in list(self._sessions.values()):
                self._sessions[session.id] = replace(session, source=moved(session.source, "", "handoff:"))
            for task in list(self._tasks.values()):
                self._tasks[task.id] = replace(task, owner=moved(task.owner, *owner))
            self._deliveries = {
                (task_id, moved(surface, *owner)): replace(one, surface=moved(surface, *owner))
                for (task_id, surface), one in self._deliveries.items()
            }
            self._inbound = {key: replace(one, chat=moved(one.chat, "")) for key, one in self._inbound.items()}
            self._outbound = {key: replace(one, chat=moved(one.chat, "")) for key, one in self._outbound.items()}
            self._notes = {moved(name, *NOTES_OF_CHATS): moved(value, "") for name, value in self._notes.items()}

    def note(self, name: str, value: str) -> None:
        with self._lock:
            if value:
                self._notes[cleaned(name)] = cleaned(value)
            else:
                self._notes.pop(cleaned(name), None)

    def notes(self, lead: str) -> dict[str, str]:
        with self._lock:
            return {name: self._notes[name] for name in sorted(self._notes) if name.startswith(cleaned(lead))}

    def _change_letter(self, outbound_id: int, **changes: Any) -> None:
        with self._lock:
            self._outbound[outbound_id] = replace(self._outbound[outbound_id], **changes)
