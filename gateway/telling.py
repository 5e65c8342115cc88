"""What chats are told of turns and tasks: answers, outcomes and questions, each once."""

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from agent.commands import preview
from agent.errors import StoreError
from agent.events import ApprovalRequested, TaskChanged
from agent.protocols import Store, Task
from agent.records import Lease
from gateway.conversations import TURN, key_of
from gateway.outbox import Letter, Outbox
from gateway.platforms.base import Button, MediaKind
from gateway.session import Chat, chat_of

_log = logging.getLogger(__name__)

PREVIEW = 1500
"""Characters of what exactly would run, in a question."""

FILE_LIMIT = 20_000_000
"""Bytes of a file that is sent because the agent named it."""

MOST_FILES = 10

_NAMED = re.compile(r"!?\[[^\]\n]*\]\((?:file://)?([^)\s]+)\)|^MEDIA:\s*(\S.*?)\s*$", re.MULTILINE)
_KINDS: dict[str, MediaKind] = {
    ".png": "image", ".jpg": "image", ".jpeg": "image", ".gif": "image", ".webp": "image",
    ".ogg": "voice", ".mp3": "audio", ".wav": "audio", ".m4a": "audio", ".mp4": "video",
}  # fmt: skip


class Telling:
    """Turns what is stored of turns and tasks into messages. Belongs to one event loop.

    Each outcome is owed once by the store's ledger, and each message has a key, so that whatever is done again after a
    crash is posted once. `request_of` gives what a task waits for. `forbidden` are folders whose files are never sent.
    """

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        *,
        teller: Callable[[], Lease],
        request_of: Callable[[str], ApprovalRequested | None],
        workspace: Path,
        forbidden: tuple[Path, ...] = (),
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._teller = teller
        self._request_of = request_of
        self._workspace, self._forbidden = workspace.resolve(), tuple(path.resolve() for path in forbidden)

    async def changed(self, event: TaskChanged) -> None:
        """A turn or a task came into another state: tell what its chat should know. Raises: StoreError."""
        task = await asyncio.to_thread(self._store.task, event.task_id)
        if task is None or task.state != event.state or not key_of(task.owner):
            return
        match task.state:
            case "waiting":
                await self._ask(task)
            case "done" | "failed":
                await self.outcome(task)
            case "parked" if task.held:
                await self._outbox.post(_chat(task), Letter(text=_paused(task)), key=f"parked:{task.id}:{task.steps}")
            case "cancelled" if task.owner.startswith(TURN):
                await self._stopped(task)

    async def left_over(self) -> None:
        """Tell what an earlier process owed. Raises: StoreError."""
        for delivery in await asyncio.to_thread(self._store.undelivered):
            if key_of(delivery.surface):
                task = await asyncio.to_thread(self._store.task, delivery.task_id)
                if task is not None:
                    await self.outcome(task)
        for task in await asyncio.to_thread(lambda: self._store.tasks(states=frozenset({"waiting"}))):
            if key_of(task.owner):
                await self._ask(task)

    async def outcome(self, task: Task) -> None:
        """Post what became of a turn or a task, unless somebody did or does. Raises: StoreError."""
        claimed = await asyncio.to_thread(self._store.claim_delivery, task.id, task.owner, self._teller())
        if claimed is None:
            return
        try:
            await self._post_outcome(task)
        except StoreError:
            await asyncio.to_thread(self._store.release_delivery, task.id, task.owner)
            raise
        await asyncio.to_thread(self._store.mark_told, task.id, task.owner)

    async def _post_outcome(self, task: Task) -> None:
        chat, key = _chat(task), f"outcome:{task.id}"
        if task.owner.startswith(TURN):
            text = task.result or "(no text)"
            if task.state == "failed":
                text = f"{task.result}\n\n❌ {task.error}".strip()
            await self._outbox.complete(chat, Letter(text=text), key=f"turn:{task.id}")
        else:
            await self._outbox.post(chat, Letter(text=task_outcome(task)), key=key)
        for number, path in enumerate(self.files(task.result)):
            kind = _KINDS.get(path.suffix.lower(), "document")
            await self._outbox.post(
                chat, Letter(file=str(path), file_name=path.name, file_kind=kind), key=f"{key}:file{number}"
            )

    async def _ask(self, task: Task) -> None:
        request = await asyncio.to_thread(self._request_of, task.id)
        if request is None:
            return
        who = "" if task.owner.startswith(TURN) else f"#{task.number} "
        shown = request.preview if len(request.preview) <= PREVIEW else f"{request.preview[:PREVIEW]}\n…"
        lines = [f"⏸ {who}May I? {request.tool}: {request.title}"]
        if shown.strip() and shown.strip() != request.title.strip():
            lines.append(f"```\n{shown.replace('```', '` ` `')}\n```")
        number = "" if task.owner.startswith(TURN) else f" {task.number}"
        lines.append(f"/approve{number} [session|always] · /deny{number} [reason]")
        await self._outbox.post(
            _chat(task), Letter(text="\n".join(lines), buttons=question_buttons(task)), key=f"ask:{request.request_id}"
        )

    async def _stopped(self, task: Task) -> None:
        live = await self._outbox.open_live(_chat(task), f"turn:{task.id}")
        if live is not None:
            await self._outbox.complete(_chat(task), Letter(text="⏹ Stopped."), key=f"turn:{task.id}")

    def files(self, text: str) -> Iterator[Path]:
        """The files that an answer names and that may leave: inside the workspace, no secret, not too large."""
        found: dict[Path, None] = {}
        for match in _NAMED.finditer(text):
            path = self._sendable((match[1] or match[2]).strip())
            if path is not None:
                found[path] = None
        yield from list(found)[:MOST_FILES]

    def _sendable(self, name: str) -> Path | None:
        if "://" in name:
            return None
        try:
            path = (self._workspace / name).resolve()
            inside = path.is_relative_to(self._workspace) and not any(map(path.is_relative_to, self._forbidden))
            hidden = any(part.startswith(".") for part in path.relative_to(self._workspace).parts) if inside else True
            return path if not hidden and path.is_file() and path.stat().st_size <= FILE_LIMIT else None
        except (OSError, ValueError):
            return None


def question_buttons(task: Task) -> tuple[tuple[Button, ...], ...]:
    """The buttons under a question. Their data names the task, so that a press is judged like the command."""
    return (
        (
            Button(label="Approve", data=f"ok:{task.id}", style="good"),
            Button(label="This session", data=f"session:{task.id}"),
            Button(label="Deny", data=f"no:{task.id}", style="bad"),
        ),
    )


def task_outcome(task: Task) -> str:
    """What a chat is told when a background task is over."""
    if task.state == "failed":
        return f"❌ Background task {task.id} failed: {task.error}"
    return f'✅ Background task complete\nPrompt: "{preview(task.prompt)}"\n\n{task.result or "(no text)"}'


def _paused(task: Task) -> str:
    what = "The turn" if task.owner.startswith(TURN) else f"#{task.number}"
    return (
        f"⏸ {what} is paused: {task.activity}. /tasks resume {task.number} goes on, /tasks stop {task.number} ends it."
    )


def _chat(task: Task) -> Chat:
    return chat_of(key_of(task.owner))
