"""Files as they were before each turn: saved before the first change, shown as differences, put back on request."""

import contextlib
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import msgspec

from agent.differences import compare
from agent.protocols import Action, Keeper
from agent.reading import only_reads
from agent.shadow import FOLDER, Kept, Shadow, ShadowError
from agent.shell import parse
from agent.unsaved import Watch, covers, is_older, stay

_log = logging.getLogger(__name__)

MOST_TURNS = 300
"""Turns of one workspace whose files are kept."""
MOST_SIZE = 1_000_000_000
"""Bytes on disk of one workspace."""
_TIDY_EVERY = 50


class Touched(msgspec.Struct):
    """A file that a turn changed, as it was before and after; None where it was not there."""

    before: Kept | None
    after: Kept | None


class TurnRecord(msgspec.Struct):
    """What a turn did to files. `message` is how many messages the session had before it; `at` is when it began.

    `tree` is the snapshot before its first command, "" without one. `skipped` names what was not saved, and why.
    `folders` held nothing before, and are gone or hold something now. While the turn is open, `left_out` are the files
    that were there and are not in the snapshot, and the folders of which nothing is, with a slash at the end.
    """

    session: str
    turn: int
    message: int
    prompt: str
    at: float
    files: dict[str, Touched] = {}
    tree: str = ""
    skipped: list[str] = []
    open: bool = True
    folders: list[str] = []
    left_out: list[str] = []

    @property
    def ref(self) -> str:
        return f"{self.session}/{self.turn:06}"


@dataclass(frozen=True, slots=True)
class Restore:
    """A file to be put back. `edited`: somebody else changed it after the agent did."""

    path: Path
    to: Kept | None
    edited: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What going back before the turns `records` amounts to. `skipped` is what was not saved in them.
    `folders` are to be there again, with nothing in them.
    """

    records: tuple[TurnRecord, ...]
    restores: tuple[Restore, ...]
    skipped: tuple[str, ...]
    folders: tuple[str, ...] = ()

    @property
    def edited(self) -> tuple[Restore, ...]:
        return tuple(restore for restore in self.restores if restore.edited)


class Checkpoints:
    """Those of one conversation. A turn runs on one thread; the rest may be called from any.

    New turns are entered under `session_id`. `earlier` gives the sessions that it went on from, and until when (seconds
    since the epoch) what was done in them belongs to it.
    """

    def __init__(
        self, state: Path, session_id: str, workspace: Path, *, earlier: Callable[[], Mapping[str, float]] = dict
    ) -> None:
        self._state, self._given = state, workspace
        self._session = session_id
        self._earlier = earlier
        self._lock = threading.RLock()
        self._record: TurnRecord | None = None
        self._pending: tuple[int, str] | None = None
        self._watch: Watch | None = None
        self._lost = ""
        self._failed = ""

    @cached_property
    def _workspace(self) -> Path:
        return self._given.resolve()

    @cached_property
    def _shadow(self) -> Shadow:
        """Made with the first change: a task that changes nothing need not look at the disk for it."""
        return Shadow(self._state / FOLDER, self._workspace, index=self._session)

    # -- during a turn -----------------------------------------------------------------------------

    def begin(self, prompt: str | None, message: int) -> None:
        """A turn begins, or (None) goes on after a pause, in this process or another."""
        with self._lock:
            self._failed = ""
            if prompt is not None:
                self._record, self._pending = None, (message, prompt)
            elif self._record is None:
                last: list[TurnRecord] = []
                with contextlib.suppress(ShadowError):  # told when something is to be saved
                    last = self.turns()[-1:]
                self._record = last[0] if last and last[0].open else None
                self._pending = (message, "")

    def follow(self, session_id: str, message: int) -> None:
        """The conversation goes on in another session, in which the turn's prompt is the message of that number."""
        with self._lock:
            self._session = session_id
            if self._pending is not None:
                self._pending = (message, self._pending[1])

    def before(self, action: Action) -> str:
        """Save what the action may change. Gives what a person should know: that something was not saved, once."""
        if action.kind in ("read", "ask") or self._only_reads(action):
            return ""
        with self._lock:
            lost, self._lost = self._lost, ""
            try:
                record = self._current()
                note = self._save(record, action.paths) if action.kind == "write" else self._save_all(record)
            except ShadowError as error:
                told, self._failed = self._failed, str(error)
                note = f"no checkpoint: {error}" if told != self._failed else ""
            return " · ".join(filter(None, (lost, note)))

    def _only_reads(self, action: Action) -> bool:
        start = action.directory or self._workspace
        return action.kind == "execute" and only_reads(parse(action.command), start, self._workspace)

    def after(self, action: Action) -> None:
        """The action is over: remember what it made of the files."""
        if action.kind != "write" or self._record is None:
            return
        with self._lock, contextlib.suppress(ShadowError):
            for path in action.paths:
                if (touched := self._record.files.get(str(path))) is not None:
                    touched.after = self._shadow.keep(path)
            self._put(self._record)

    def end(self) -> None:
        """The turn is over (or suspended: then it may go on)."""
        with self._lock:
            record, self._pending = self._record, None
            if record is None:
                return
            try:
                self._finish(record)
                self._bound(record.turn)
            except ShadowError as error:
                _log.warning("checkpoint of %s: %s", record.ref, error)
                self._give_up(record, str(error))

    def changed(self) -> list[str]:
        """The files that the turn which ended last has changed."""
        with self._lock:
            files = self._record.files if self._record else {}
            return [name for name, touched in files.items() if touched.before != touched.after]

    def _give_up(self, record: TurnRecord, why: str) -> None:
        """What the turn's commands changed is not known: the person hears of it, and `/rollback` says so."""
        record.open = False
        record.skipped.append(f"what the commands of “{record.prompt}” changed ({why})")
        self._lost = f"the last turn's commands cannot be undone: {why}"
        with contextlib.suppress(ShadowError):
            self._put(record)

    def _current(self) -> TurnRecord:
        if self._record is None:
            message, prompt = self._pending or (0, "")
            own = self._load(self._session)
            number = own[-1].turn + 1 if own else 1
            title = " ".join(prompt.split())[:80]
            self._record = TurnRecord(self._session, number, message, title, time.time())
        self._record.open = True
        return self._record

    def _save(self, record: TurnRecord, paths: Iterable[Path]) -> str:
        told = ""
        for path in paths:
            if str(path) in record.files:
                continue
            try:
                kept = self._as_before(record, path)
            except ShadowError as error:
                record.skipped.append(str(error))
                told = f"no checkpoint: {error}"
            else:
                record.files[str(path)] = Touched(kept, kept)
                folder = path.parent
                if kept is None and folder.is_relative_to(self._workspace) and self._shadow.is_empty(str(folder)):
                    record.folders.append(folder.relative_to(self._workspace).as_posix())
        self._put(record)
        return told

    def _as_before(self, record: TurnRecord, path: Path) -> Kept | None:
        """The file as it was when the turn began. Raises: ShadowError."""
        if record.tree and path.is_relative_to(self._workspace):
            # A command of this turn may have changed it already.
            kept = self._shadow.at(record.tree, path)
            if kept is not None or not covers(record.left_out, self._name(path)):
                return self._with_bits(kept, path, self._shadow.modes())
        return self._shadow.keep(path)

    def _with_bits(self, kept: Kept | None, path: Path, modes: Mapping[str, int]) -> Kept | None:
        """A file of a snapshot, which does not hold who could read it."""
        return kept and replace(kept, bits=modes.get(self._name(path), 0))

    def _name(self, path: Path) -> str:
        return path.relative_to(self._workspace).as_posix()

    def _save_all(self, record: TurnRecord) -> str:
        if record.tree:
            return ""
        self._watch = Watch.begin(self._shadow, self._workspace)
        record.tree, left_out = self._shadow.snapshot()
        record.left_out = [*sorted(self._watch.names), *left_out]
        record.folders += [name for name in self._shadow.empty_folders() if name not in record.folders]
        record.skipped += [f"{name} is large, or a repository of its own" for name in left_out]
        self._put(record)
        return ""

    def _finish(self, record: TurnRecord) -> None:
        """Find out what commands changed. Raises: ShadowError."""
        if record.tree:
            # A command may have changed again what a tool had written, back to what it was even.
            for name, touched in record.files.items():
                try:
                    touched.after = self._shadow.keep(Path(name))
                except ShadowError as error:
                    record.skipped.append(str(error))
            self._compare(record)
            if self._watch is not None:
                record.skipped += self._watch.changed(record.files)
        record.folders = [name for name in record.folders if not self._shadow.is_empty(name)]
        record.open, record.left_out, self._watch = False, [], None
        self._put(record)

    def _compare(self, record: TurnRecord) -> None:
        """Note what differs from the snapshot before the turn's first command. Raises: ShadowError."""
        modes = self._shadow.modes()
        tree, _left_out = self._shadow.snapshot()
        found = {
            path: Touched(self._with_bits(before, path, modes), after)
            for path, before, after in self._shadow.differences(record.tree, tree)
        }
        there = self._there_before(record, found)
        for path, touched in found.items():
            if path not in there:
                record.files.setdefault(str(path), touched).after = touched.after
        record.skipped += stay([self._name(path) for path in there])

    def _there_before(self, record: TurnRecord, found: Mapping[Path, Touched]) -> list[Path]:
        """Those that only look new, because the snapshot left them out, here or where they were then.

        Going back must not delete them: nobody has what was in them. Raises: ShadowError.
        """
        new = {path: one.after for path, one in found.items() if one.before is None and str(path) not in record.files}
        old = [path for path in new if is_older(path, record.at)]
        saved = self._shadow.blobs(record.tree) if old else frozenset[str]()
        moved = {path for path in old if (after := new[path]) is not None and after.blob not in saved}
        left_out = frozenset(record.left_out)
        return [path for path in new if path in moved or covers(left_out, self._name(path))]

    def _put(self, record: TurnRecord) -> None:
        kept = [item for touched in record.files.values() for item in (touched.before, touched.after) if item]
        trees = [record.tree] if record.tree and record.open else []
        self._shadow.put(record.ref, msgspec.json.encode(record), (item.blob for item in kept), trees)

    def _bound(self, turn: int) -> None:
        if turn % _TIDY_EVERY:
            return
        names = self._shadow.names()
        self._shadow.drop(names[: max(len(names) - MOST_TURNS, 0)])
        if self._shadow.size() > MOST_SIZE:
            self._shadow.drop(names[: len(names) // 2])
        self._shadow.tidy()

    # -- looking and going back --------------------------------------------------------------------

    def turns(self) -> list[TurnRecord]:
        """The turns that changed files and were not undone, oldest first. Raises: ShadowError."""
        with self._lock:
            until = {self._session: math.inf, **self._earlier()}
            found = [record for record in self._load("", among=until) if record.at <= until[record.session]]
            return sorted(
                (one for one in found if one.files or one.skipped or one.folders or one.open), key=lambda one: one.at
            )

    def _load(self, session_id: str, *, among: Collection[str] = ()) -> list[TurnRecord]:
        """Those of one session, or of several; oldest first."""
        found = self._shadow.records(f"{session_id}/" if session_id else "")
        wanted = among or (session_id,)
        return [
            msgspec.json.decode(data, type=TurnRecord)
            for name, data in found.items()
            if name.partition("/")[0] in wanted
        ]

    def _chosen(self, turns: int | None, since: Mapping[str, int] | None) -> list[TurnRecord]:
        every = self.turns()
        if since is not None:
            return [record for record in every if record.message >= since.get(record.session, math.inf)]
        return every if turns is None else every[-turns:]

    def plan(self, turns: int = 1, *, file: str = "", since: Mapping[str, int] | None = None) -> Plan:
        """Going back before the last `turns` turns, or those `since` a message of each session; of one file, or of all.

        Raises: ShadowError.
        """
        with self._lock:
            chosen = self._chosen(turns, since)
            wanted = str((self._workspace / Path(file).expanduser()).absolute()) if file else ""
            restores = list[Restore]()
            for name in dict.fromkeys(name for record in chosen for name in record.files):
                if not wanted or name == wanted or name.startswith(f"{wanted}/"):
                    touches = [record.files[name] for record in chosen if name in record.files]
                    restores.append(self._restore(name, touches))
            skipped = dict.fromkeys(what for record in chosen for what in record.skipped)
            folders = () if file else tuple(dict.fromkeys(name for record in chosen for name in record.folders))
            return Plan(tuple(chosen), self._blocked(restores), tuple(skipped), folders)

    def _blocked(self, restores: Iterable[Restore]) -> tuple[Restore, ...]:
        """Those of which a folder stands in the way, with something in it that stays, count as edited, too."""
        restores = tuple(restores)
        goes = {restore.path for restore in restores if restore.to is None}
        return tuple(
            replace(one, edited=True) if one.to is not None and self._stays(one.path, goes) else one for one in restores
        )

    def _stays(self, path: Path, goes: Collection[Path]) -> bool:
        if path.is_symlink() or not path.is_dir():
            return False
        return any(inner not in goes for inner in path.rglob("*") if inner.is_symlink() or not inner.is_dir())

    def _restore(self, name: str, touches: Sequence[Touched]) -> Restore:
        path = Path(name)
        between = any(one.after != next_.before for one, next_ in itertools.pairwise(touches))
        now = self._shadow.same(path, touches[-1].after)
        return Restore(path, touches[0].before, edited=between or not now)

    def roll_back(self, plan: Plan, *, overwrite: bool = False) -> list[Path]:
        """Put the files back; those somebody edited since only when told to `overwrite`. Gives what was put back.

        Raises: ShadowError; then some may have been.
        """
        with self._lock:
            done = [restore for restore in plan.restores if overwrite or not restore.edited]
            # What was not there goes first: it may stand where a folder or a file was.
            for restore in sorted(done, key=lambda one: one.to is not None):
                if not self._shadow.same(restore.path, restore.to):
                    self._shadow.restore(restore.path, restore.to)
            for name in plan.folders:
                self._shadow.make_folder(name)
            names = {str(restore.path) for restore in done}
            for record in plan.records:
                record.folders = [name for name in record.folders if name not in plan.folders]
                for name in names & record.files.keys():
                    del record.files[name]
            self._shadow.drop(record.ref for record in plan.records if not record.files)
            for record in plan.records:
                if record.files:
                    self._put(record)
            return [restore.path for restore in done]

    def diff(self, turns: int | None = None, *, since: Mapping[str, int] | None = None) -> str:
        """What the last `turns` turns (None: all), or those `since` messages, changed: against the files of now.

        Raises: ShadowError.
        """
        with self._lock:
            chosen = self._chosen(turns, since)
            first: dict[str, Kept | None] = {}
            for record in chosen:
                for name, touched in record.files.items():
                    first.setdefault(name, touched.before)
            return "".join(self._one_diff(Path(name), before) for name, before in sorted(first.items()))

    def _one_diff(self, path: Path, before: Kept | None) -> str:
        if self._shadow.same(path, before):
            return ""
        name = path.relative_to(self._workspace).as_posix() if path.is_relative_to(self._workspace) else str(path)
        try:
            old = (self._shadow.content(before) if before else b"").decode()
            new = (path.read_bytes() if path.exists() else b"").decode()
        except (UnicodeDecodeError, OSError):
            return f"{name}: changed, not shown as text\n"
        change = compare(old, new, name, new=before is None, gone=not path.exists())
        return change.diff or f"{name}: {self._without_lines(path, before)}\n"

    def _without_lines(self, path: Path, before: Kept | None) -> str:
        """What happened to a file of which no line changed."""
        if before is None:
            return "new, and empty"
        return "its mode changed" if path.exists() else "gone; it was empty"


def _keeps(checkpoints: Checkpoints) -> Keeper:
    return checkpoints
