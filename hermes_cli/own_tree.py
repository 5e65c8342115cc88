"""`hermes --worktree`: a session in a git worktree and branch of its own, begun from the last commit."""

import os
import sys
import time
from pathlib import Path
from secrets import token_hex

from agent import trust
from agent.config import Config
from agent.errors import StoreError
from agent.git import GitError
from agent.own_places import WORKTREES
from agent.records import LIVE_STATES
from agent.worktree import Worktree


def enter(cwd: Path, state: Path) -> Worktree:
    """Make a tree and work there; `state` is the state directory. Raises: GitError."""
    name = f"wt_{time.strftime('%Y%m%d_%H%M%S')}_{token_hex(3)}"
    tree = Worktree(name, cwd.absolute(), state / WORKTREES, "Work of a Hermes session")
    lacking = tree.check()
    tree.make()
    if (said := trust.answer(state, cwd)) is not None:
        trust.remember(state, tree.root, said)
    os.chdir(tree.cwd)
    more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
    without = f", without your changes in {', '.join(lacking[:5])}{more}" if lacking else ""
    _say(f"Working in {tree.cwd} on branch {tree.branch}{without}.")
    return tree


def leave(tree: Worktree, config: Config) -> None:
    """Commit what was done there and say where it is. A tree in which nothing was done is removed."""
    os.chdir(tree.source)
    try:
        tree.commit()
        if tree.changed() or _in_use(tree, config):
            _say(f"The work is on branch {tree.branch}. To bring it here:\n  git merge {tree.branch}")
        else:
            tree.remove()
    except (GitError, StoreError) as error:
        _say(f"The work is in {tree.root}. {error}")


def _in_use(tree: Worktree, config: Config) -> bool:
    """Whether a task goes on there. Raises: StoreError."""
    from agent.store.sqlite import SqliteStore

    store = SqliteStore(config.dirs.database)
    try:
        live = (task for task in store.tasks() if task.state in LIVE_STATES)
        folders = [Path(session.cwd) for task in live if (session := store.session(task.session_id))]
        return any(folder.is_relative_to(tree.root) for folder in folders)
    finally:
        store.close()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
