"""`hermes worker`: runs background tasks of terminals without a terminal, until none is left for a while."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from agent.approvals import load_policy
from agent.config import Config, Directories, load_config, read_keys
from agent.errors import HermesError, StoreError
from agent.events import TaskChanged
from agent.protocols import Store
from agent.records import OF_TERMINALS
from agent.redact import Redactor, secret_values
from agent.store.database import identity
from agent.store.leases import is_alive, new_lease
from agent.store.sqlite import SqliteStore
from agent.task_runner import TaskRunner
from agent.task_runs import LOOK
from agent.tasks import TaskPool
from agent.tools.bench import close_all, close_bench
from hermes_cli.setup import exit_within, start_log

IDLE = 60.0
"""Seconds without a task after which a worker leaves."""

SERVES = "worker:"
"""What the owner begins with under which a worker is present in the store; its own name follows."""

PATIENCE = 5.0
"""Seconds a task has to reach a step boundary when the worker is told to leave."""


def log_file(dirs: Directories) -> Path:
    """Where a worker that was started aside writes."""
    return dirs.state / "worker.log"


def ensure(store: Store, dirs: Directories, env: Mapping[str, str] = os.environ) -> None:
    """See that a worker runs what waits in the store: one that is there, or a new one. Raises: HermesError."""
    if not any(is_alive(lease) for owner, lease in store.present().items() if owner.startswith(SERVES)):
        _start(dirs, env)


def _start(dirs: Directories, env: Mapping[str, str]) -> int:
    """Start a worker that outlives this process and its terminal, and give its pid. Raises: HermesError."""
    path = log_file(dirs)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise HermesError(f"{path} cannot be written: {error.strerror}.") from error
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "hermes_cli.main", "worker"],
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        ).pid
    except OSError as error:
        raise HermesError(f"No worker could be started: {error.strerror}.") from error
    finally:
        os.close(log)


def work(*, idle: float = IDLE, once: bool = False) -> int:
    """Run tasks until there were none for `idle` seconds, or with `once` until there are none. SIGTERM parks them.

    Returns the exit code. Raises: ConfigError, StoreError.
    """
    gc.enable()
    config = load_config()
    redact = Redactor([*secret_values(os.environ), *read_keys(config.dirs).values()])
    start_log(config.dirs, redact)
    store = SqliteStore(config.dirs.database)
    pool = _pool(config, store, redact)
    leaving = threading.Event()
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda _number, _frame: leaving.set())
    _say(f"worker {os.getpid()} looks for tasks in {config.dirs.database}")
    import_module("agent.models.openai")  # before several tasks want it at once
    pool.open()
    there = identity(store.path)
    _serve(pool, store, leaving, idle=0.0 if once else idle, is_there=lambda: identity(store.path) == there)
    pool.close(park=True, wait=PATIENCE)
    _say(f"worker {os.getpid()} leaves")
    exit_within(2.0)
    close_all()
    store.close()
    return 0


def _pool(config: Config, store: SqliteStore, redact: Redactor) -> TaskPool:
    def told(event: TaskChanged) -> None:
        _say(f"#{event.number} {event.state}")

    # The mode of each task is the one in which it was sent.
    policy = load_policy(config.dirs, "yolo")
    return TaskPool(
        store,
        TaskRunner(config, store, policy=policy, redact=redact),
        notify=told,
        workers=config.values.background_workers,
        # Those of chats belong to the process that speaks with the chats.
        kind=OF_TERMINALS,
        new_lease=lambda: new_lease("worker"),
        is_alive=is_alive,
        forget=close_bench,
        redact=redact,
    )


def _serve(
    pool: TaskPool, store: Store, leaving: threading.Event, *, idle: float, is_there: Callable[[], bool]
) -> None:
    """Until it is told to leave, nothing was to do for so long, or the store is gone: what it did would be lost."""
    name, present = f"{SERVES}{pool.lease.worker}", False
    busy = time.monotonic()
    _forget_dead(store)
    try:
        while not leaving.is_set():
            if not is_there():
                _say("The store was deleted, moved or replaced. What runs is let go of.")
                return
            try:
                if not present:
                    store.enter(name, pool.lease)
                    present = True
                if pool.look():
                    busy = time.monotonic()
                elif time.monotonic() >= busy + idle:
                    # In this order: whoever saw us has stored by now what is left to us.
                    store.depart(name)
                    present = False
                    if not pool.look():
                        return
            except StoreError as error:
                _say(error.explain())
            leaving.wait(LOOK)
    finally:
        with contextlib.suppress(StoreError):
            store.depart(name)


def _forget_dead(store: Store) -> None:
    """Workers that were killed stand in the store still."""
    with contextlib.suppress(StoreError):
        for owner, lease in store.present().items():
            if owner.startswith(SERVES) and not is_alive(lease):
                store.depart(owner)


def _say(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads any more
        sys.stdout.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        sys.stdout.flush()
