"""What chats are told of turns and tasks: answers, outcomes and questions, each once."""

import logging
import re
import time
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import unquote

from agent.approvals import decision_key, mark_of
from agent.commands import preview
from agent.config import Directories
from agent.errors import StoreError
from agent.events import ApprovalRequested, TaskChanged
from agent.own_places import OwnPlaces
from agent.protocols import Decision, Task
from agent.quoting import as_code, fenced, literal
from agent.records import OF_TURNS, Lease
from agent.secret_files import has_secret_name, holds_secret
from agent.store.rules import MAX_ATTEMPTS
from agent.task_rows import key_of, options_of
from agent.visible import both_ends, visible
from gateway.home import Hearers, anybody
from gateway.outbox import LARGEST_WHOLE, UNKNOWN, Letter, Outbox, address
from gateway.pages import Pages, PagesStore, turn_key, with_shown
from gateway.platforms.base import Button, MediaKind
from gateway.session import Chat, chat_of, user_of

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")


class Aside(Protocol):
    """Runs what waits for the store or the disk, off the loop."""

    def __call__(self, work: Callable[[], _Result], /) -> Awaitable[_Result]: ...


PREVIEW = 1500
"""Characters of what exactly would run, in a question; where there is more, all of it is sent before as a file."""
TITLE = 200
ANSWER = 500
"""Characters of an answer in words, where the question stood: it must fit one message."""

MOST_FILES = 10

NOBODY_TO_ASK = "Only an admin of this gateway can allow that, and none can be asked."
SET_HOME = "An admin can change that: /sethome, in a chat of theirs."

_CODE = re.compile(r"(?ms)^[ \t]*(`{3,}|~{3,}).*?(?:^[ \t]*\1|\Z)|`[^`\n]*`")
_NAMED = re.compile(
    r"""!?\[[^\]\n]*\]\((?:<(?:file://)?([^<>\n]+)>|(?:file://)?((?:[^()\s]|\([^()\s]*\))+))(?:\s+(?:"[^"\n]*"|'[^'\n]*'))?\)"""
    r"|^MEDIA:\s*(\S.*?)\s*$",
    re.MULTILINE,
)
"""Links, in angle brackets where a name has spaces, and lines of their own."""

_KINDS: dict[str, MediaKind] = {
    ".png": "image", ".jpg": "image", ".jpeg": "image", ".gif": "image", ".webp": "image",
    ".ogg": "voice", ".mp3": "audio", ".wav": "audio", ".m4a": "audio", ".mp4": "video",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question that is open since `at`; `copies` has where it can be answered, and the key of the message there."""

    request: ApprovalRequested
    at: float
    copies: Mapping[Chat, str]


class Telling:
    """Turns what is stored of turns and tasks into messages. Belongs to one event loop.

    Each outcome is owed once by the store's ledger, and each message has a key, so that whatever is done again after a
    crash is posted once. `aside` runs what waits for the store. `request_of` gives what a task waits for, `folder`
    where a conversation's files are; of what is Hermes's own (`dirs`) only the conversation's folder is sent from.
    `hearers` says who can answer a question of a chat; where there is nobody, `deny` gives the answer to the task.
    """

    def __init__(
        self,
        store: PagesStore,
        outbox: Outbox,
        *,
        aside: Aside,
        teller: Callable[[], Lease],
        request_of: Callable[[str], ApprovalRequested | None],
        folder: Callable[[str], Path],
        dirs: Directories | None = None,
        deny: Callable[[str, str], None],
        hearers: Callable[[Chat], Hearers] = anybody,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._aside = aside
        self._teller = teller
        self._request_of = request_of
        self._folder, self._dirs = folder, dirs
        self._hearers, self._deny = hearers, deny
        self._open: dict[str, _Asked] = {}
        self._stuck: set[str] = set()
        self._pages = Pages(store, outbox)

    async def changed(self, event: TaskChanged, said: str = "") -> None:
        """A turn or a task came into another state: tell what its chat should know. Raises: StoreError.

        `said` is what the chat shows of it.
        """
        task = await self._aside(lambda: self._store.task(event.task_id))
        if task is None or not key_of(task.owner):
            return
        if event.state in ("waiting", "parked"):
            # Also where it has gone on meanwhile. What is being written when a process leaves is written anew.
            await self._close_page(task, said if event.state == "waiting" or task.held else "")
        if task.state != event.state:
            return
        if task.state != "waiting":
            await self._answered(task)
        match task.state:
            case "waiting":
                await self._ask(task)
            case "done" | "failed":
                await self.outcome(task)
            case "parked" if task.held:
                text = self._outbox.commands(_chat(task), _paused(task))
                letter = Letter(text=text, reply_to=_reply_to(task))
                await self._outbox.post(_chat(task), letter, key=f"parked:{task.id}:{task.steps}")
            case "cancelled":
                await self._stopped(task, said)

    async def left_over(self) -> None:
        """Tell what is owed and nobody tells: another process ended it, or this one could not. Raises: StoreError."""
        owed = [one.task_id for one in await self._aside(self._store.undelivered) if key_of(one.surface)]
        tasks = [await self._aside(partial(self._store.task, one)) for one in dict.fromkeys([*owed, *self._stuck])]
        await self._each([task for task in tasks if task is not None], self.outcome)

    async def _each(self, tasks: Iterable[Task], tell: Callable[[Task], Awaitable[None]]) -> None:
        """One that cannot be told keeps nobody else from being. Raises: StoreError."""
        for task in tasks:
            try:
                await tell(task)
            except StoreError:
                raise
            except Exception:  # noqa: BLE001  (whatever it was, it is this one's)
                _log.exception("telling of task %s", task.id)

    async def unasked(self, told: Container[str] = ()) -> None:
        """Ask what waits for an answer and was not asked here, because telling of it failed; not for those that are
        being `told`. Raises: StoreError.
        """

        async def ask(task: Task) -> None:
            await self._close_page(task)
            await self._ask(task)

        waiting = await self._aside(lambda: self._store.tasks(states=frozenset({"waiting"})))
        missed = (task for task in waiting if task.id not in self._open and task.id not in told)
        await self._each([task for task in missed if self._serves(task)], ask)

    def _serves(self, task: Task) -> bool:
        return bool(key_of(task.owner)) and self._outbox.serves(_chat(task))

    async def stopped_meanwhile(self) -> None:
        """Tell of what was stopped while nobody served its chat. Raises: StoreError."""

        async def tell(task: Task) -> None:
            if not task.told or await self._unread(task):
                await self._stopped(task)

        stopped = await self._aside(lambda: self._store.tasks(states=frozenset({"cancelled"})))
        await self._each([task for task in stopped if self._serves(task)], tell)

    async def goes_on(self) -> None:
        """Say in the chats that what an earlier process left is taken up. Raises: StoreError."""

        def left() -> list[Task]:
            found = self._store.tasks(states=frozenset({"running", "parked", "queued"}))
            given_up = [task for task in found if task.state == "running" and task.attempts >= MAX_ATTEMPTS]
            # One that is queued and has run was queued by a process that found this one's predecessor dead.
            begun = [task for task in found if task.state != "queued" or task.started]
            return [task for task in begun if self._serves(task) and not task.held and task not in given_up]

        def is_over(task: Task) -> bool:
            """Whether the answer is there, and only its end is missing."""
            last = self._store.messages(task.session_id)[-1:]
            return bool(last) and last[0].role == "assistant" and not last[0].tool_calls

        async def close(task: Task) -> None:
            if not await self._aside(partial(is_over, task)):
                await self._close_page(task, suspended=False)

        chats: dict[str, list[Task]] = {}
        for task in (tasks_left := await self._aside(left)):
            chats.setdefault(key_of(task.owner), []).append(task)
        await self._each(tasks_left, close)
        for key, tasks in chats.items():
            what = ["the turn" if one.owner.startswith(OF_TURNS) else f"task #{one.number}" for one in tasks]
            text = f"↻ I was restarted. What was under way goes on: {', '.join(what)}."
            await self._outbox.post(chat_of(key), Letter(text=text), key=f"again:{self._teller().worker}:{key}")

    def shows_answer(self, task_id: str) -> bool:
        """Whether the question of this task will be changed into what was answered."""
        return task_id in self._open

    def asks(self, chat: Chat) -> set[str]:
        """The ids of those whose question is open in that chat, and can be answered there."""
        return {task_id for task_id, one in self._open.items() if chat in one.copies}

    def unanswered(self, seconds: float) -> list[str]:
        """The ids of those that have waited for an answer for so long."""
        return [task_id for task_id, one in self._open.items() if time.time() - one.at > seconds]

    async def outcome(self, task: Task) -> None:
        """Post what became of a turn or a task, unless somebody did or does. Raises: StoreError."""
        claimed = await self._aside(lambda: self._store.claim_delivery(task.id, task.owner, self._teller()))
        if claimed is None and task.id not in self._stuck:
            return
        # What this process has claimed, and neither told nor let go of, is its own still.
        self._stuck.add(task.id)
        try:
            await self._post_outcome(task)
        except Exception:
            await self._aside(lambda: self._store.release_delivery(task.id, task.owner))
            self._stuck.discard(task.id)
            raise
        await self._aside(lambda: self._pages.told(task))
        self._stuck.discard(task.id)

    async def _close_page(self, task: Task, shown: str = "", *, suspended: bool = True) -> None:
        """What a turn said stays where it stands, and what comes later below it. One that is over is told whole."""
        if task.owner.startswith(OF_TURNS) and task.state not in ("done", "failed", "cancelled"):
            text = await self._aside(lambda: self._pages.close(task, shown, suspended=suspended))
            self._outbox.wake(address(_chat(task)))
            await self._send_files(task, text, also_kept=False)

    async def _acknowledge(self, task: Task) -> None:
        """Say first that a task was started, should it be quicker than the answer to the command that started it."""
        event = options_of(task).event
        if event and not task.owner.startswith(OF_TURNS):
            letter = Letter(text=started(task.prompt, task.id), reply_to=_reply_to(task))
            await self._outbox.post(_chat(task), letter, key=reply_key(event))

    async def _post_outcome(self, task: Task) -> None:
        await self._acknowledge(task)
        chat, reply_to, result = _chat(task), _reply_to(task), task.result
        if task.owner.startswith(OF_TURNS):
            # What the chat showed while it came stays.
            result = await self._aside(lambda: self._pages.outcome(task))
            text = result or "(no text)"
            if task.state == "failed":
                text = f"{result}\n\n❌ {task.error}".strip()
            await self._outbox.complete(chat, Letter(text=text, reply_to=reply_to), key=turn_key(task))
        else:
            await self._outbox.post(chat, Letter(text=task_outcome(task), reply_to=reply_to), key=f"outcome:{task.id}")
        await self._send_files(task, result)

    async def _send_files(self, task: Task, text: str, *, also_kept: bool = True) -> None:
        """The files that it names, each once as it is, and why others stay. Raises: StoreError."""
        chat, key = _chat(task), f"outcome:{task.id}"
        try:
            found, kept = await self._aside(lambda: self.files(key_of(task.owner), text))
            versions = [await self._aside(partial(_version, path)) for path in found]
        except OSError as error:  # what is told besides must not be lost for it
            _log.warning("the files of task %s: %s", task.id, error)
            return
        if kept and also_kept:
            said = "\n".join(f"🔒 Not sent, {why}: {', '.join(names)}" for why, names in kept.items())
            await self._outbox.post(chat, Letter(text=said), key=f"{key}:held:{said}")
        for path, version in zip(found, versions, strict=True):
            kind = _KINDS.get(path.suffix.lower(), "document")
            letter = Letter(file=str(path), file_name=path.name, file_kind=kind)
            await self._outbox.post(chat, letter, key=f"{key}:file:{version}")

    async def _ask(self, task: Task) -> None:
        request = await self._aside(lambda: self._request_of(task.id))
        if request is None:
            return
        await self._acknowledge(task)
        hearers = await self._hear(request, _chat(task))
        if not hearers.here and not hearers.others:
            await self._nobody_answers(task, request, key=f"ask:{request.request_id}")
            return
        log = await self._aside(lambda: self._store.log(task.id))
        asked = [one.at for one in log if isinstance(one.event, ApprovalRequested)]
        is_turn = task.owner.startswith(OF_TURNS)
        question, all_of_it = _question(request, "" if is_turn else f"#{task.number} ")
        buttons, key = question_buttons(task, request), f"ask:{request.request_id}"
        copies = {_chat(task): key} if hearers.here else {}
        copies |= {other: f"{key}:also:{address(other)}" for other in hearers.others}
        how = self._outbox.commands(_chat(task), _how_to_answer(request, "" if is_turn else f" {task.number}"))
        # A line right below a list of choices would be the last one's.
        apart = "\n\n" if request.choices else "\n"
        letter = Letter(text=f"{question}{apart}{how}", buttons=buttons, reply_to=_reply_to(task))
        if not hearers.here:
            letter = replace(letter, text=f"{question}{apart}An admin is asked.", buttons=())
        letters = {key: (_chat(task), letter)}
        for other in hearers.others:
            how = self._outbox.commands(other, _how_to_answer(request, f" {task.number}"))
            last = f"{apart}For {_whose(task)}, who asked: {literal(visible(preview(task.prompt)))}\n{how}"
            letters[copies[other]] = other, Letter(text=f"{question}{last}", buttons=buttons)
        # A press that comes at once finds it open.
        self._open[task.id] = _Asked(request, asked[-1] if asked else time.time(), copies)
        try:
            for name, (chat, one) in letters.items():
                if all_of_it.content:
                    await self._outbox.post(chat, all_of_it, key=f"{name}:whole")
                await self._outbox.post(chat, one, key=name)
        except BaseException:
            self._open.pop(task.id, None)  # `unasked` finds it
            raise

    async def refused(self, key: str) -> None:
        """A message was refused for good: with the last copy of a question goes whoever could have answered it."""
        for task_id, asked in list(self._open.items()):
            question = f"ask:{asked.request.request_id}"
            if key.partition("#")[0].partition(":also:")[0] != question:
                continue
            task = await self._aside(partial(self._store.task, task_id))
            if task is None or task.state != "waiting":
                return
            refused = [await self._aside(partial(self._outbox.was_refused, copy)) for copy in asked.copies.values()]
            if all(refused):
                await self._nobody_answers(task, asked.request, key=f"{question}:unheard")

    async def _nobody_answers(self, task: Task, request: ApprovalRequested, *, key: str) -> None:
        await self._aside(lambda: self._deny(task.id, NOBODY_TO_ASK))
        how = self._outbox.commands(_chat(task), SET_HOME)
        text = f"❌ Denied: {request.tool} {literal(visible(request.title))}\n{NOBODY_TO_ASK} {how}"
        await self._outbox.post(_chat(task), Letter(text=text), key=key)

    async def _hear(self, request: ApprovalRequested, chat: Chat) -> Hearers:
        """Whoever may write may answer in words."""
        return Hearers() if request.kind == "ask" else await self._aside(lambda: self._hearers(chat))

    async def _answered(self, task: Task) -> None:
        """Its question, if one is open, has been answered: each chat that was asked sees so, wherever it was."""
        if (found := self._open.pop(task.id, None)) is None:
            return
        request = found.request
        decision = await self._aside(lambda: self._store.decision(task.session_id, decision_key(request.request_id)))
        places = {_chat(task): f"ask:{request.request_id}", **found.copies}
        for chat, of in places.items():
            await self._outbox.change(chat, settled(request, decision, chat), of=of, key=f"{of}:answered")

    async def _stopped(self, task: Task, said: str = "") -> None:
        """Say that it was stopped. A chat that ordered it of a task hears so in the answer to that."""
        if task.owner.startswith(OF_TURNS):
            await self._complete_stopped(task, said)
        elif not task.told:
            text = f"⏹ #{task.number} was stopped: {literal(preview(task.prompt))}"
            await self._outbox.post(_chat(task), Letter(text=text), key=f"stopped:{task.id}")
        if unread := await self._unread(task):
            await self._outbox.post(_chat(task), Letter(text="\n".join(not_read(unread))), key=f"unread:{task.id}")
            await self._aside(lambda: self._store.drop_steering(task.id))
        if not task.told:
            await self._aside(lambda: self._store.update_task(task.id, told=True))
        await self._aside(lambda: self._pages.forget(task))

    async def _unread(self, task: Task) -> list[str]:
        """What it was told and did not come to read."""
        return await self._aside(lambda: self._store.take_steering(task.id, task.session_id))

    async def _complete_stopped(self, task: Task, said: str) -> None:
        live = await self._outbox.open_live(_chat(task), turn_key(task))
        if live is not None:
            is_known = bool(said) or live.message_id in ("", UNKNOWN)
            said = with_shown(await self._aside(lambda: self._pages.said(task)), said) if is_known else ""
            letter = Letter(text=f"{said}\n\n⏹ Stopped.".strip(), reply_to=_reply_to(task))
            if is_known:
                await self._outbox.complete(_chat(task), letter, key=turn_key(task))
                return
            # What stands there is of a process that died in the middle of a step, and nobody knows it.
            await self._aside(lambda: self._store.mark_sent(live.id, live.message_id))
            await self._outbox.post(_chat(task), letter, key=f"stopped:{task.id}")

    def files(self, key: str, text: str) -> tuple[list[Path], dict[str, list[str]]]:
        """The files that an answer names and that may leave, and the names of the others, by why they stay."""
        folder = self._folder(key).resolve()
        own, most = OwnPlaces.of(self._dirs, folder), self._outbox.file_limit(chat_of(key))
        found, kept = list[Path](), dict[str, list[str]]()
        for name in _named_in(text):
            path, why = _sendable(folder, name, own, most)
            if path in found:
                continue
            if not why and len(found) == MOST_FILES:
                why = f"for {MOST_FILES} files are the most"
            if why:
                kept.setdefault(why, []).append(name)
            else:
                found.append(path)
        return found, kept


def _named_in(text: str) -> list[str]:
    """The files that an answer names; neither addresses nor what stands in code."""
    found = ((match[1] or match[2] or match[3]).strip() for match in _NAMED.finditer(_CODE.sub("", text)))
    return list(dict.fromkeys(name for name in found if not re.match(r"#|[a-z][a-z0-9+.-]+:", name, re.IGNORECASE)))


def _sendable(folder: Path, name: str, own: OwnPlaces, most: int) -> tuple[Path, str]:
    """The file, and why it is not sent, "" when it may leave `folder`."""
    try:
        path = (folder / name).resolve()
        if "%" in name and not path.exists():
            path = (folder / unquote(name)).resolve()  # as an address has it
        if not path.is_relative_to(folder):
            return path, "for it is not in this chat's folder"
        if own.holds(path) or any(part.startswith(".") for part in path.relative_to(folder).parts):
            return path, "for hidden files stay"
        if not path.is_file():
            return path, "for there is no such file in this chat's folder"
        if most and path.stat().st_size > most:
            return path, f"for {most / 1e6:g} MB are the most here"
        secret = has_secret_name(path) or holds_secret(path)
        return path, "for it looks like a key or a password" if secret else ""
    except (OSError, ValueError, RuntimeError):  # the last one of links that lead in a circle
        return folder, "for it cannot be read"


def settled(request: ApprovalRequested, decision: Decision | None, chat: Chat) -> str:
    """What a chat is shown of a question that is over, and where it was answered when that was elsewhere."""
    title = literal(both_ends(visible(request.title), TITLE))
    reason = literal(both_ends(decision.reason, ANSWER)) if decision is not None else ""
    if decision is None:
        return f"⏹ Not asked any more: {request.tool} {title}"
    elsewhere = "" if decision.via in ("", chat.platform.value) else f" in {_PLACES.get(decision.via, decision.via)}"
    if request.kind == "ask":
        place = f" (answered{elsewhere})" if elsewhere else ""
        return f"{'💬' if decision.allowed else '❌'} {title}\n→ {reason or 'not answered'}{place}"
    why = f" ({reason})" if reason else ""
    mark = "✅ Approved" if decision.allowed else "❌ Denied"
    return f"{mark}{elsewhere}: {request.tool} {title}{why}"


_PLACES = {"terminal": "the terminal"}


def question_buttons(task: Task, request: ApprovalRequested) -> tuple[tuple[Button, ...], ...]:
    """The buttons under a question."""
    if request.kind == "ask":
        choices = [
            Button(label=f"{number}. {choice}", data=button_data(str(number), task, request))
            for number, choice in enumerate(request.choices, 1)
        ]
        return tuple(tuple(choices[at : at + 2]) for at in range(0, len(choices), 2))
    return (
        (
            Button(label="Approve", data=button_data("ok", task, request), style="good"),
            Button(label="This session", data=button_data("session", task, request)),
            Button(label="Deny", data=button_data("no", task, request), style="bad"),
        ),
    )


def button_data(what: str, task: Task, request: ApprovalRequested) -> str:
    """Names the task and the request, so that a press answers no later question."""
    return f"{what}:{task.id}:{mark_of(request)}"


def _question(request: ApprovalRequested, who: str) -> tuple[str, Letter]:
    """What is asked, and a letter with all of what would run, without content where the question holds it."""
    if request.kind == "ask":
        return f"❓ {who}{both_ends(request.preview, PREVIEW)}", Letter()
    shown = visible(request.preview)
    title = both_ends(" ".join(visible(request.title).split()), TITLE)
    lines = [f"⏸ {who}May I? {request.tool}: {as_code(title)}"]
    if shown.strip() and shown.strip() != title:
        lines.append(fenced(both_ends(shown, PREVIEW)))
    if len(shown) <= PREVIEW:
        return "\n".join(lines), Letter()
    lines.append("All of it is in the file above.")
    whole = both_ends(shown, LARGEST_WHOLE)
    text = f"All of what {request.tool} would do:"
    return "\n".join(lines), Letter(text=text, content=whole, file_name="would-run.txt")


def _how_to_answer(request: ApprovalRequested, number: str) -> str:
    """`number` says which one is meant, "" in the chat whose turn asks."""
    if request.kind == "ask":
        return f"/tasks answer{number} <answer>" if number else "Just write your answer; - for none."
    return f"/approve{number} [session|always] · /deny{number} [reason]"


def task_outcome(task: Task) -> str:
    """What a chat is told when a background task is over."""
    if task.state == "failed":
        return f"❌ Background task {task.id} failed: {task.error}"
    return f'✅ Background task complete\nPrompt: "{literal(preview(task.prompt))}"\n\n{task.result or "(no text)"}'


def _paused(task: Task) -> str:
    what = "The turn" if task.owner.startswith(OF_TURNS) else f"#{task.number}"
    how = f"/tasks resume {task.number} goes on, /tasks stop {task.number} ends it."
    return f"⏸ {what} is paused: {task.activity.rstrip('.')}. {how}"


def _version(path: Path) -> str:
    """A file as it is now. Raises: OSError."""
    found = path.stat()
    return f"{path}:{found.st_mtime_ns}:{found.st_size}"


def not_read(lines: list[str]) -> list[str]:
    """What is said of lines that a turn or a task was told, and that it was stopped before."""
    return (
        ["The agent did not come to read this; send it again if it still counts:", *map(literal, lines)]
        if lines
        else []
    )


def started(prompt: str, task_id: str) -> str:
    """What is answered to /background."""
    return f'🔄 Background task started: "{literal(preview(prompt))}"\nTask ID: {task_id}'


def reply_key(event: str) -> str:
    """The key of the answer to a command, from the name of the message it came in."""
    return f"reply:{event.removeprefix('in:')}"


def _reply_to(task: Task) -> str:
    return options_of(task).reply_to


def _whose(task: Task) -> str:
    """The chat, and in a group the person, by the stable ids that settings and `hermes pairing` have."""
    person = user_of(key_of(task.owner))
    return f"{address(_chat(task))}, person {person}" if person else address(_chat(task))


def _chat(task: Task) -> Chat:
    return chat_of(key_of(task.owner))
