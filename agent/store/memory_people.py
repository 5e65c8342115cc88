"""Who was let in to chats, in memory."""

from dataclasses import replace

from agent.errors import HermesError
from agent.people import (
    ASK_AGAIN,
    CODE_LIFE,
    LOCKED_FOR,
    MOST_PENDING,
    WRONG_TRIES,
    Person,
    Telling,
    code_hash,
    new_code,
)
from agent.store.memory_chats import MemoryChats
from agent.store.text import cleaned


class MemoryPeople(MemoryChats):
    """The `PeopleStore` part of the store."""

    def __init__(self) -> None:
        super().__init__()
        self._people: dict[tuple[str, str], tuple[Person, str]] = {}
        self._wrong_codes: list[tuple[str, float]] = []

    def ask_to_pair(self, platform: str, user_id: str, name: str, *, now: float, tell: Telling | None = None) -> str:
        with self._lock:
            before = self._people.get((platform, user_id))
            open_ = [one for one, _ in self._people.values() if one.state == "pending" and one.at > now - CODE_LIFE]
            others = [one for one in open_ if one.platform == platform and one.user_id != user_id]
            if before and (before[0].state == "allowed" or before[0].at > now - ASK_AGAIN):
                return ""
            if len(others) >= MOST_PENDING:
                return ""
            code = new_code()
            if tell is not None:
                self.post(*tell(code))
            person = Person(platform, user_id, cleaned(name), "pending", now)
            self._people[platform, user_id] = person, code_hash(platform, code)
            return code

    def approve_pairing(self, platform: str, code: str, *, now: float) -> Person | None:
        with self._lock:
            self._wrong_codes = [(where, at) for where, at in self._wrong_codes if at > now - LOCKED_FOR]
            if sum(where == platform for where, _ in self._wrong_codes) >= WRONG_TRIES:
                raise HermesError(
                    f"Too many wrong codes for {platform}.", hint="Codes are taken again within the hour."
                )
            for key, (person, hashed) in self._people.items():
                fresh = person.state == "pending" and person.at > now - CODE_LIFE
                if fresh and person.platform == platform and hashed == code_hash(platform, code):
                    allowed = replace(person, state="allowed", at=now)
                    self._people[key] = allowed, ""
                    return allowed
            self._wrong_codes.append((platform, now))
            return None

    def people(self, platform: str = "") -> list[Person]:
        with self._lock:
            found = [person for person, _ in self._people.values() if platform in ("", person.platform)]
            return sorted(found, key=lambda person: (person.platform, person.at))

    def revoke(self, platform: str, user_id: str) -> bool:
        with self._lock:
            return self._people.pop((platform, user_id), None) is not None
