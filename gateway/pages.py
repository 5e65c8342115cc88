"""What a turn says in its chat: a message that grows, and messages that stay before each question and restart.

All of it is in the turn's log. A note says up to which entry of the log messages that stay hold it, so that whatever
process goes on with the turn, and whenever the last one died, says neither too little nor anything twice.
"""

from collections.abc import Sequence
from typing import Protocol

from agent.chats import ChatStore
from agent.events import StepFinished, TurnSuspended
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

    def outcome(self, task: Task) -> str:
        """All that the turn said and no message holds which stays, and what came of it beyond. Raises: StoreError."""
        told, texts, _ = self._texts(task)
        return whole(told, texts, task.result)

    def said(self, task: Task) -> list[str]:
        """The texts that no message holds which stays. Raises: StoreError."""
        return self._texts(task)[1]

    def close(self, task: Task, shown: str = "", *, suspended: bool = True) -> str:
        """Have what was said so far stay in a message of its own: what comes later is another one. Gives the text.

        It is what was said until the turn was `suspended`, or all. Where nothing was said, a message that shows
        something stays as well, with what is `shown`. Raises: StoreError.
        """
        key = turn_key(task)
        with self._store.together():
            _, texts, last = self._texts(task, suspended=suspended)
            text = "\n\n".join(texts)
            if text or shown:
                letter = Letter(text=text or shown, reply_to=options_of(task).reply_to)
                chat = chat_of(key_of(task.owner))
                self._outbox.put_closed(chat, letter, key=key, closed=f"{key}:before:{last}", only_live=not text)
                self._store.note(f"{PAGE}{task.id}", str(last))
        return text

    def told(self, task: Task) -> None:
        """Its outcome was told. Raises: StoreError."""
        with self._store.together():
            self._store.mark_told(task.id, task.owner)
            self.forget(task)

    def forget(self, task: Task) -> None:
        """Nothing more comes of it. Raises: StoreError."""
        if self._upto(task):
            self._store.note(f"{PAGE}{task.id}", "")

    def _texts(self, task: Task, *, suspended: bool = False) -> tuple[list[str], list[str], int]:
        """The texts that messages hold which stay, those after them, and the entry of the log up to which these are."""
        upto = last = self._upto(task)
        told, texts, open_ = list[str](), list[str](), list[str]()
        for entry in self._store.log(task.id):
            if isinstance(entry.event, StepFinished) and (text := entry.event.text.strip()):
                (told if entry.number <= upto else open_).append(text)
            if entry.number > upto and (not suspended or isinstance(entry.event, TurnSuspended)):
                texts, last = [*texts, *open_], entry.number
                open_.clear()
        return told, texts, last

    def _upto(self, task: Task) -> int:
        note = f"{PAGE}{task.id}"
        return int(self._store.notes(note).get(note, "0"))


def turn_key(task: Task) -> str:
    """Of the message in which a turn's text grows."""
    return f"turn:{task.id}"


def whole(told: Sequence[str], texts: Sequence[str], result: str) -> str:
    """All the `texts` that a turn said, and what the `result` holds beyond them and what was `told`: words that were
    cut off, what it did without a step, or texts that its log has no more.
    """
    beyond = result.strip()
    for text in (*told, *texts):
        if (rest := _after(beyond, text)) is not None:
            beyond = rest
    if texts and beyond.endswith(texts[-1]):
        return "\n\n".join([beyond.removesuffix(texts[-1]).strip(), *texts]).strip()
    return "\n\n".join([*texts, beyond]).strip()


def with_shown(texts: Sequence[str], shown: str) -> str:
    """All that a turn said, where its chat shows the last of it, and what is being written."""
    for number in range(len(texts)):
        if _after(shown, "\n\n".join(texts[number:])) is not None:
            return "\n\n".join([*texts[:number], shown]).strip()
    return "\n\n".join([*texts, shown]).strip()


def _after(text: str, beginning: str) -> str | None:
    """What comes after a text that another one begins with as a paragraph; None where it does not."""
    rest = text.removeprefix(beginning)
    if rest == text or not (not rest.strip() or rest.lstrip(" \t").startswith("\n")):
        return None
    return rest.strip()
