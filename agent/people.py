"""Who was let in to chats by pairing: a stranger gets a code, the owner of this machine approves it."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Letters and digits that nobody mistakes for one another."""

CODE_LENGTH = 8
CODE_LIFE = 3600.0
"""Seconds for which a code is good."""

ASK_AGAIN = 600.0
"""Seconds before a person gets another code."""

MOST_PENDING = 3
"""Codes that may be open on one platform."""

WRONG_TRIES, LOCKED_FOR = 5, 3600.0
"""After so many wrong codes within these seconds, none is taken until the oldest of them is as old."""


Telling = Callable[[str], tuple[str, str]]
"""Makes the address and the payload of a message (`ChatStore.post`) of a code."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody on a platform, by the platform's stable id. `name` is what they call themselves: for showing only."""

    platform: str
    user_id: str
    name: str
    state: Literal["pending", "allowed"]
    at: float


class PeopleStore(Protocol):
    """Safe to share between threads and processes. `now` is in seconds since the epoch. Raises: StoreError."""

    def ask_to_pair(self, platform: str, user_id: str, name: str, *, now: float, tell: Telling | None = None) -> str:
        """A new code for a stranger; "" when they must wait: they have had one lately, or too many others wait.

        What `tell` makes of the code is kept with it, on its way to the chat, or neither is.
        """
        ...

    def approve_pairing(self, platform: str, code: str, *, now: float) -> Person | None:
        """Let in whoever has this code. None when nobody has.

        Raises: HermesError, while too many wrong codes were tried.
        """
        ...

    def people(self, platform: str = "") -> list[Person]:
        """Those who were let in, and those who wait; of one platform or all."""
        ...

    def revoke(self, platform: str, user_id: str) -> bool:
        """Let somebody in no more. False when they were not."""
        ...


def new_code() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))


def code_hash(platform: str, code: str) -> str:
    """What is stored: who reads the database learns no code."""
    return hashlib.sha256(f"{platform}:{code.strip().upper()}".encode()).hexdigest()
