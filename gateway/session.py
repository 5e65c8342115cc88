"""Who speaks, and where."""

from dataclasses import dataclass
from urllib.parse import quote, unquote

from gateway.config import GroupSessions, Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """An address: what a message can be sent to. `thread_id` is "" outside threads and topics."""

    platform: Platform
    chat_id: str
    thread_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSource:
    """One speaker in one place. Ids are the platform's own stable ones; `user_name` is for showing, never for trust."""

    platform: Platform
    chat_id: str
    user_id: str = ""
    user_name: str = ""
    thread_id: str = ""
    is_group: bool = False

    @property
    def chat(self) -> Chat:
        """Where an answer goes."""
        return Chat(platform=self.platform, chat_id=self.chat_id, thread_id=self.thread_id)


def session_key(source: SessionSource, *, groups: GroupSessions = "user") -> str:
    """The name of the conversation that a message belongs to: `platform:chat[/thread][@user]`.

    Two sources that differ in one of these parts never share a key, whatever characters the parts hold. Names take no
    part in it.
    """
    key = f"{source.platform.value}:{_quoted(source.chat_id)}"
    if source.thread_id:
        key += f"/{_quoted(source.thread_id)}"
    return f"{key}@{_quoted(source.user_id)}" if source.is_group and groups == "user" else key


def chat_of(key: str) -> Chat:
    """Where the conversation with this key takes place. Raises: ValueError for what `session_key` cannot have made."""
    platform, colon, rest = key.partition(":")
    place, _, _ = rest.partition("@")
    chat_id, _, thread_id = place.partition("/")
    if not colon or not chat_id:
        raise ValueError(f"no session key: {key!r}")
    return Chat(platform=Platform(platform), chat_id=_unquoted(chat_id), thread_id=_unquoted(thread_id))


def user_of(key: str) -> str:
    """The id of the person whose own conversation it is, in a group; "" where the key names none."""
    return _unquoted(key.partition("@")[2])


def _quoted(part: str) -> str:
    return quote(part, safe="", errors="surrogatepass")


def _unquoted(part: str) -> str:
    return unquote(part, errors="surrogatepass")
