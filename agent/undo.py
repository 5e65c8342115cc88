"""What can be undone, and of whom: the files that a conversation's turns changed, or a task's."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agent import lineage
from agent.checkpoints import Checkpoints, Plan
from agent.records import SessionStore, Task
from agent.task_rows import options_of


@dataclass(frozen=True, slots=True)
class Undo:
    """Some of the turns of a conversation: the last ones, or all `since` a message of each of its sessions."""

    checkpoints: Checkpoints
    since: Mapping[str, int] | None = None

    def diff(self, turns: int | None = None) -> str:
        """What they changed, against the files of now. Raises: ShadowError."""
        return self.checkpoints.diff(turns, since=self.since)

    def plan(self, turns: int = 1, *, file: str = "") -> Plan:
        """What going back before them amounts to. Raises: ShadowError."""
        return self.checkpoints.plan(turns, file=file, since=self.since)

    def roll_back(self, plan: Plan, *, overwrite: bool = False) -> list[Path]:
        """Raises: ShadowError; then some files may have been put back."""
        return self.checkpoints.roll_back(plan, overwrite=overwrite)


def checkpoints(store: SessionStore, state: Path, session_id: str, cwd: Path) -> Checkpoints:
    """Those of a conversation, in whichever session it was; `state` is the state directory."""
    return Checkpoints(state, session_id, cwd, earlier=partial(lineage.earlier, store, session_id))


def of_conversation(
    store: SessionStore, state: Path, session_id: str, cwd: Path, *, message: int | None = None
) -> Undo:
    """Its turns; with a `message` those that came with it and after it."""
    since = None if message is None else lineage.since(store, session_id, message)
    return Undo(checkpoints(store, state, session_id, cwd), since)


def of_task(store: SessionStore, state: Path, task: Task) -> Undo | None:
    """All that a task did in the folder it was sent from; None when its conversation is gone."""
    session = store.session(task.session_id)
    if session is None:
        return None
    kept = checkpoints(store, state, session.id, Path(session.cwd or "."))
    options = options_of(task)
    return Undo(kept, lineage.of_task(store, task, begun=options.history or max(options.taken - 1, 0)))
