"""The store without a file: for tests, and for a process whose work need not outlive it."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent.chats import ChatStore
from agent.messages import Message, Usage
from agent.people import PeopleStore
from agent.protocols import Decision
from agent.records import LIVE_STATES, TASK_SOURCE, Hit, Pruned, Session, Store, StoreStats, UsageRow
from agent.store.memory_people import MemoryPeople
from agent.store.memory_presence import MemoryPresence
from agent.store.rules import EVENTS_PER_TASK as EVENTS_PER_TASK
from agent.store.rules import call_ids, check_session_changes, goes_along, listed, match_rank, no_session, task_is_live
from agent.store.rules import new_session_id as new_session_id
from agent.store.rules import new_task_id as new_task_id
from agent.store.text import Query, cleaned, title_from


class MemoryStore(MemoryPresence, MemoryPeople):
    """Everything in dictionaries, behind one lock."""

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
        with self._lock:
            self._make_session(
                Session(session_id, source, title=title, cwd=cwd, model=model, parent=parent, settings=settings)
            )

    def append(self, session_id: str, message: Message) -> None:
        with self._lock:
            session, message = self._existing(session_id), cleaned(message)
            names_it = message.role == "user" and not session.title
            self._add_message(session_id, message, title=title_from(message.content) if names_it else "")

    def messages(self, session_id: str) -> list[Message]:
        with self._lock:
            return list(self._messages.get(session_id, ()))

    def mark_begun(self, session_id: str, call_id: str) -> bool:
        with self._lock:
            if (session_id, call_id) in self._begun:
                return False
            self._begun.add((session_id, call_id))
            return True

    def has_begun(self, session_id: str, call_id: str) -> bool:
        with self._lock:
            return (session_id, call_id) in self._begun

    def record_decision(self, session_id: str, call_id: str, decision: Decision) -> bool:
        with self._lock:
            is_first = (session_id, call_id) not in self._decisions
            self._decisions.setdefault((session_id, call_id), cleaned(decision))
            return is_first

    def decision(self, session_id: str, call_id: str) -> Decision | None:
        with self._lock:
            return self._decisions.get((session_id, call_id))

    def continue_session(self, session_id: str, messages: Sequence[Message]) -> str:
        with self._lock:
            old, child, calls = self._existing(session_id), new_session_id(), call_ids(messages)
            self._make_session(replace(old, id=child, parent=session_id, archived=False, messages=0))
            for message in messages:
                self.append(child, message)
            self._begun |= {
                (child, call) for owner, call in self._begun if owner == session_id and goes_along(call, calls)
            }
            self._decisions |= {
                (child, key): answer
                for (owner, key), answer in self._decisions.items()
                if owner == session_id and goes_along(key, calls)
            }
            for task in list(self._tasks.values()):
                if task.session_id == session_id:
                    self._tasks[task.id] = replace(task, session_id=child)
            for key, row in list(self._usage.items()):
                if row.session_id == session_id:
                    del self._usage[key]
                    self._usage[row.day, row.model, child] = replace(row, session_id=child)
            self._sessions[session_id] = replace(old, archived=True)
            self._sessions[child] = replace(self._sessions[child], title=old.title)
            return child

    def copy_session(self, session_id: str, messages: Sequence[Message], *, title: str, source: str = "") -> str:
        with self._lock:
            old, child = self._existing(session_id), new_session_id()
            row = replace(old, id=child, parent=session_id, title=cleaned(title), archived=False, messages=0)
            row = replace(row, source=cleaned(source) or old.source)
            self._make_session(row)
            for message in messages:
                self._add_message(child, message)
            return child

    def move_session(self, session_id: str, source: str, *, expect: str) -> Session | None:
        with self._lock:
            self._refuse_live(session_id)
            session = self._sessions.get(session_id)
            if session is None or session.archived or session.source != cleaned(expect):
                return None
            self._sessions[session_id] = replace(session, source=cleaned(source), updated=time.time())
            return self._sessions[session_id]

    # -- finding -----------------------------------------------------------------------------------

    def session(self, session_id: str) -> Session | None:
        with self._lock:
            return self._sessions.get(session_id)

    def sessions(
        self, *, cwd: str | None = None, source: str | None = None, archived: bool = False, limit: int = 100
    ) -> list[Session]:
        found = [one for one in self._newest() if listed(one, cwd=cwd, source=source, archived=archived)]
        return found[:limit]

    def find_sessions(self, text: str, *, cwd: str | None = None, limit: int = 20) -> list[Session]:
        return [session for _rank, session in self._ranked(text, cwd=cwd)[:limit]]

    def find_session(self, text: str, *, cwd: str | None = None) -> Session | None:
        ranked = self._ranked(text, cwd=cwd)
        if len(ranked) > 1 and ranked[0][0] == ranked[1][0]:
            return None
        return ranked[0][1] if ranked else None

    def search(self, query: str, *, limit: int = 20, sources: Sequence[str] = (), besides: str = "") -> list[Hit]:
        wanted, hits = Query(query), list[Hit]()
        with self._lock:
            for session_id, number, at in reversed(self._order):
                message = self._messages[session_id][number - 1]
                session = self._sessions[session_id]
                if session_id == besides or (sources and session.source not in sources):
                    continue
                snippet = wanted.snippet(message.content) if message.role != "system" else None
                if snippet is not None and len(hits) < limit:
                    hits.append(Hit(session_id, session.title, number, message.role, at, snippet))
        return hits

    def _newest(self) -> list[Session]:
        with self._lock:
            return sorted(self._sessions.values(), key=lambda session: session.updated)[::-1]

    def _ranked(self, text: str, *, cwd: str | None) -> list[tuple[int, Session]]:
        wanted = text.strip()
        if wanted.casefold() == "latest":
            return list(enumerate(self.sessions(cwd=cwd)))
        if found := self.session(wanted):
            return [(0, found)]
        people = [one for one in self._newest() if listed(one, cwd=None, source=None, archived=one.archived)]
        ranks = [(match_rank(wanted, one.id, one.title, archived=one.archived), one) for one in people if wanted]
        return sorted(((rank, session) for rank, session in ranks if rank is not None), key=lambda pair: pair[0])

    # -- changing ----------------------------------------------------------------------------------

    def update_session(self, session_id: str, **changes: Any) -> Session | None:
        check_session_changes(changes)
        with self._lock:
            session = self._sessions.get(session_id)
            if session is not None:
                self._sessions[session_id] = session = replace(session, **cleaned(changes))
            return session

    def rename_session(self, session_id: str, title: str) -> Session | None:
        return self.update_session(session_id, title=title_from(title))

    def delete_session(self, session_id: str) -> bool:
        with self._lock:
            self._refuse_live(session_id)
            known = session_id in self._sessions
            doomed, of_tasks = {session_id}, self._of_tasks()
            for one in sorted(self._sessions.values(), key=lambda one: one.created):
                if one.parent in doomed and one.source == TASK_SOURCE and one.id not in of_tasks:
                    doomed.add(one.id)
            self._delete(doomed, {task.id for task in self._tasks.values() if task.session_id == session_id})
            return known

    def _of_tasks(self) -> set[str]:
        """The sessions that tasks name, and those which they come from."""
        found, above = set[str](), {task.session_id for task in self._tasks.values()}
        while above:
            found |= above
            above = {self._sessions[one].parent for one in above if one in self._sessions} - found - {""}
        return found

    # -- accounts ----------------------------------------------------------------------------------

    def add_usage(self, session_id: str, model: str, usage: Usage) -> None:
        key = (time.strftime("%Y-%m-%d"), model, session_id)
        with self._lock:
            row = self._usage.get(key) or UsageRow(*key, 0, Usage())
            self._usage[key] = replace(row, requests=row.requests + 1, usage=row.usage + usage)

    def usage(self, *, since: str = "", session_id: str | None = None) -> list[UsageRow]:
        with self._lock:
            rows = [self._usage[key] for key in sorted(self._usage)]
        return [row for row in rows if row.day >= since and session_id in (None, row.session_id)]

    def prune(self, *, before: float, dry_run: bool = False, besides: Sequence[str] = ()) -> Pruned:
        with self._lock:
            owed = {one.task_id for state in ("pending", "sending") for one in self._owed(state)}
            needed = [task for task in self._tasks.values() if task.state in LIVE_STATES or task.id in owed]
            kept = [*needed, *(task for task in self._tasks.values() if task.finished >= before or task.id in besides)]
            busy = {task.session_id for task in kept} | {task.owner for task in needed} | set(besides)
            young = {one.id for one in self._sessions.values() if one.updated >= before}
            stay = self._with_earlier(young | busy)
            doomed = [one for one in self._sessions.values() if one.id not in stay]
            tasks = self._tasks.keys() - {task.id for task in kept}
            if not dry_run:
                self._delete({session.id for session in doomed}, tasks)
            return Pruned(len(doomed), sum(session.messages for session in doomed), len(tasks))

    def _with_earlier(self, sessions: set[str]) -> set[str]:
        """These, and those that they went on from."""
        found, some = set[str](), sessions
        while some:
            found |= some
            above = {self._sessions[one].parent for one in some if one in self._sessions} - found
            some = {one for one in above if one in self._sessions and self._sessions[one].archived}
        return found

    def stats(self) -> StoreStats:
        with self._lock:
            messages = sum(session.messages for session in self._sessions.values())
            return StoreStats(len(self._sessions), messages, len(self._tasks))

    def _refuse_live(self, session_id: str) -> None:
        for task in self._tasks.values():
            if task.session_id == session_id and task.state in LIVE_STATES:
                raise task_is_live(task.number)

    def _existing(self, session_id: str) -> Session:
        session = self._sessions.get(session_id)
        if session is None:
            raise no_session(session_id)
        return session

    def _delete(self, sessions: set[str], tasks: set[str]) -> None:
        for session_id in sessions:
            self._sessions.pop(session_id, None)
            self._messages.pop(session_id, None)
        for task_id in tasks:
            del self._tasks[task_id]
            self._events.pop(task_id, None)
            self._inbox.pop(task_id, None)
        self._order = [entry for entry in self._order if entry[0] not in sessions]
        self._begun = {key for key in self._begun if key[0] not in sessions}
        self._decisions = {key: value for key, value in self._decisions.items() if key[0] not in sessions}
        self._deliveries = {key: value for key, value in self._deliveries.items() if key[0] not in tasks}


if TYPE_CHECKING:
    _: Store = MemoryStore()
    _chats: ChatStore = MemoryStore()
    _people: PeopleStore = MemoryStore()
