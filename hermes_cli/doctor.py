"""Is this installation well? What `hermes doctor` and `/doctor` tell."""

import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agent.approvals import load_policy
from agent.config import Config, read_keys
from agent.errors import HermesError
from agent.findings import Finding
from agent.models import catalog
from hermes_cli.text import size

if TYPE_CHECKING:
    from agent.breakout import Attempt
    from agent.sandbox import Backend

BIG = 2_000_000_000
"""Bytes from which on the store is worth pruning."""


def check(config: Config, *, env: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Look at everything Hermes depends on; asks the model's endpoint for its list."""
    version = platform.python_version()
    yield Finding(sys.version_info >= (3, 11), f"Python {version}", "Hermes needs 3.11 or later.")
    yield from _files(config)
    yield from _store(config)
    yield from _policy(config)
    yield from _sandbox(config)
    yield from _model(config, env)


def _files(config: Config) -> Iterator[Finding]:
    dirs = config.dirs
    yield Finding(True, f"settings: {dirs.config_file}{'' if dirs.config_file.exists() else ' (not there; defaults)'}")
    for folder in (dirs.config, dirs.state):
        if (problem := _writable(folder)) is None:
            yield Finding(True, f"writable: {folder}")
        else:
            yield Finding(False, f"{folder}: {problem}", "Mend its permissions, or set HERMES_HOME to another folder.")
    for path in (dirs.credentials_file, dirs.database):
        if path.exists() and sys.platform != "win32" and path.stat().st_mode & 0o077:
            yield Finding(False, f"others can read {path}", f"chmod 600 {path}")


RESTORE = (
    "To restore a backup: leave every Hermes, move {name}, {name}-wal and {name}-shm in {folder} away, "
    "and copy the backup to {name}."
)


def _store(config: Config) -> Iterator[Finding]:
    """The size of what is kept, whether it is sound, and how to get it back when it is not."""
    from agent.store.failures import HOW_BADLY
    from agent.store.sqlite import SqliteStore

    path = config.dirs.database
    if not path.exists():
        yield Finding(None, f"nothing is kept yet in {path}", "The first conversation makes it.")
        return
    restore = RESTORE.format(name=path.name, folder=path.parent)
    try:
        store = SqliteStore(path)
        stats, problems = store.stats(), store.integrity_check()
        store.close()
    except HermesError as error:
        yield Finding(False, str(error), error.hint.removeprefix(HOW_BADLY) or restore)
        return
    yield Finding(True, f"kept: {stats.sessions} sessions, {stats.messages} messages, {size(stats.size)} in {path}")
    if problems:
        yield Finding(False, f"{path} is damaged: {'; '.join(problems[:3])}", restore)
        return
    yield Finding(True, "what is kept is sound")
    if stats.size > BIG:
        yield Finding(None, "that is a lot", "hermes sessions prune --older-than 90d --dry-run says what could go.")
    yield Finding(None, "`hermes backup FILE` copies it", restore)


def _writable(folder: Path) -> str | None:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir():
        return f"{existing} is not a folder"
    return None if os.access(existing, os.W_OK) else "not writable"


def _policy(config: Config) -> Iterator[Finding]:
    path = config.dirs.policy_file
    try:
        rules = len(load_policy(config.dirs, config.values.approvals).rules)
    except HermesError as error:
        yield Finding(False, str(error), error.hint)
        return
    yield Finding(True, f"approvals: {config.values.approvals}, {rules} rule{'' if rules == 1 else 's'} in {path}")


def _sandbox(config: Config) -> Iterator[Finding]:
    """Which wall stands around commands; proved by trying to get out."""
    from agent.sandbox import BACKENDS, backend, problem, sandbox_for

    means, sandbox = backend(), sandbox_for(config.values, config.dirs)
    if sandbox is None:
        would = f"{means} works here: `hermes config set sandbox workspace-write`" if means else "nothing works here"
        yield Finding(None, "sandbox: off", f"Commands are asked for instead; {would}.")
        return
    if means is None:
        why = "; ".join(f"{name}: {problem(name)}" for name in BACKENDS)
        advice = "There is no wall: every command is asked for. Install bubblewrap, or set sandbox = off."
        yield Finding(False, f"sandbox = {sandbox.mode}, but none works here ({why})", advice)
        return
    network = "on" if sandbox.network else "off"
    yield Finding(True, f"sandbox: {sandbox.mode} by {means}, network {network}")
    yield from _breakout(config)


def _breakout(config: Config) -> Iterator[Finding]:
    from agent.breakout import attempts
    from agent.sandbox import SCRATCH, backend, sandbox_for

    sandbox, means = sandbox_for(config.values, config.dirs), backend()
    assert sandbox is not None
    assert means is not None
    # Not in Hermes's own folders: what is hidden altogether proves nothing of what is merely not to be written.
    home = Path.home().resolve()
    if (scratch := next((place for place in SCRATCH if home.is_relative_to(place)), None)) is not None:
        yield Finding(None, f"sandbox: not tried, your home lies in {scratch}", "Commands may write there.")
        return
    yield from judged(list(attempts(sandbox, home)), means)


def judged(done: "Sequence[Attempt]", means: "Backend") -> Iterator[Finding]:
    """What the attempts say of the wall: whether it holds, and whether one can work behind it."""
    from agent.breakout import WORK
    from agent.sandbox import KNOWN_GAPS

    wrong = [attempt.name for attempt in done if attempt.held is False and attempt.should_hold]
    tight = [name for name in wrong if name in WORK]
    known = [name for name in wrong if name in KNOWN_GAPS[means]]
    if bad := [name for name in wrong if name not in (*tight, *known)]:
        yield Finding(False, f"sandbox: it does not hold: {', '.join(bad)}", "Set sandbox = off, and report this.")
    if tight:
        advice = "Hermes's own folders or other hidden ones may lie there; `hermes config path` names them."
        yield Finding(False, f"sandbox: it is too tight, commands cannot: {', '.join(tight)}", advice)
    if not bad and not tight:
        yield Finding(True, f"sandbox: {sum(attempt.held is True for attempt in done)} attempts went as they should")
    if known:
        yield Finding(None, f"sandbox: {means} cannot prevent: {', '.join(known)}", "Bubblewrap can.")


def _model(config: Config, env: Mapping[str, str]) -> Iterator[Finding]:
    try:
        keys = read_keys(config.dirs)
        choice = catalog.in_force(config.values, env=env, keys=keys)
        if choice.provider == "offline":
            advice = "Set OPENAI_API_KEY (or another provider's key), start a local server, or run `hermes model`."
            yield Finding(None, "model: none configured; the built-in offline model answers", advice)
            return
        yield Finding(True, f"model: {choice.model or 'the first one listed'} ({choice.provider}, {choice.base_url})")
        if catalog.needs_key(choice):
            yield Finding(False, f"no key for {choice.provider}", f"hermes model {choice.provider}")
            return
        from agent.models.openai import list_models

        names = list_models(choice, timeout=5.0)
        yield Finding(True, f"endpoint answers: {len(names)} model{'' if len(names) == 1 else 's'}")
        if choice.model and names and choice.model not in names:
            yield Finding(None, f"the endpoint does not list {choice.model}", "It may answer all the same.")
    except HermesError as error:
        yield Finding(False, f"model: {error}", error.hint)
