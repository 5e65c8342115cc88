"""Who speaks, and where."""

from dataclasses import dataclass

from gateway.config import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSource:
    """One speaker in one place. Ids are the platform's own stable ones; `user_name` is for showing, never for trust."""

    platform: Platform
    chat_id: str
    user_id: str = ""
    user_name: str = ""
    thread_id: str = ""
