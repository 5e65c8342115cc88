"""What a turn says in its chat: a message that grows, and messages that stay before each question and restart.

All of it is in the turn's log. A note says up to which entry of the log messages that stay hold it, so that whatever
process goes on with the turn, and whenever the last one died, says neither too little nor anything twice.
"""

from collections.abc import Sequence
from typing import Protocol

from agent.chats import ChatStore
from agent.events import StepFinished
from agent.protocols import Store, Task
from agent.task_rows import key_of, options_of
from gateway.outbox import Letter, Outbox
from gateway.session import chat_of

PAGE = "page:"
"""What the note of a turn begins with; its id follows."""


class PagesStore(Store, ChatStore, Protocol):
    """What the texts are read from, and the messages kept in."""


class Pages:
    """The messages of turns. Calls read and write the store: not for the loop."""

    def __init__(self, store: PagesStore, outbox: Outbox) -> None:
        self._store, self._outbox = store, outbox

    def said(self, task: Task) -> list[str]:
        """The texts that no message holds yet which stays. Raises: StoreError."""
        return self._open(task)[0]

    def close(self, task: Task, shown: str = "") -> None:
        """Have what was said so far stay in a message of its own: what comes later is another one.

        Where nothing was said, a message that shows something stays as well, with what is `shown`. Raises: StoreError.
        """
        texts, last = self._open(task)
        text, key = "\n\n".join(texts), turn_key(task)
        if not text and not shown:
            return
        letter = Letter(text=text or shown, reply_to=options_of(task).reply_to)
        with self._store.together():
            chat = chat_of(key_of(task.owner))
            self._outbox.put_closed(chat, letter, key=key, closed=f"{key}:before:{last}", only_live=not text)
            self._store.note(f"{PAGE}{task.id}", str(last))

    def forget(self, task: Task) -> None:
        """Its outcome was told. Raises: StoreError."""
        if self._upto(task):
            self._store.note(f"{PAGE}{task.id}", "")

    def _open(self, task: Task) -> tuple[list[str], int]:
        upto = self._upto(task)
        log = self._store.log(task.id, after=upto)
        texts = [entry.event.text.strip() for entry in log if isinstance(entry.event, StepFinished)]
        return [text for text in texts if text], log[-1].number if log else upto

    def _upto(self, task: Task) -> int:
        note = f"{PAGE}{task.id}"
        return int(self._store.notes(note).get(note, "0"))


def turn_key(task: Task) -> str:
    """Of the message in which a turn's text grows."""
    return f"turn:{task.id}"


def whole(texts: Sequence[str], result: str) -> str:
    """All that a turn said, and what came of it beyond: words that were cut off, or what it did without a step."""
    if not texts:
        return result
    said, last = "\n\n".join(texts), texts[-1]
    if _plain(result) in _plain(said) or _plain(result).endswith(_plain(last)):
        return said
    beyond = result.rpartition(last)[2].strip()
    return f"{said}\n\n{beyond}"


def with_shown(texts: Sequence[str], shown: str) -> str:
    """All that a turn said, where its chat shows some of it, and what is being written."""
    said = "\n\n".join(texts)
    return shown if _plain(said) in _plain(shown) else f"{said}\n\n{shown}".strip()


def _plain(text: str) -> str:
    return " ".join(text.split())
