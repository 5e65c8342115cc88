"""Functions that run when something happens in the gateway.

A hook is a folder in `hooks/` of the configuration directory:

    hooks/notify/HOOK.toml     events = ["agent:end", "command:*"]
    hooks/notify/handler.py    async def handle(event, facts): ...

The events: gateway:startup, session:start, session:reset, session:end, agent:start, agent:step, agent:end, and
command:<name> for each command that somebody gave.
"""

import asyncio
import importlib.util
import inspect
import logging
import os
import stat
import threading
import time
import tomllib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TypeVar

from agent.commands import commands_for
from gateway.logs import TOLD

_log = logging.getLogger(__name__)

Hook = Callable[[str, Mapping[str, object]], Awaitable[None]]
"""Takes the event's name and what is known about it."""

EVENTS = (
    "gateway:startup",
    *("session:start", "session:reset", "session:end"),
    *("agent:start", "agent:step", "agent:end"),
    *(f"command:{command.name}" for command in commands_for("gateway")),
)

TIMEOUT = 10.0
"""Seconds after which a hook is given up."""

MOST_WAITING = 1000
"""Events that wait for slow hooks; what comes beyond is not told."""


class HookRegistry:
    """Hooks by event name; a name that ends in `:*` covers every event that begins so."""

    def __init__(self) -> None:
        self._hooks: dict[str, list[tuple[str, Hook]]] = {}
        self._rooms: list[_Room] = []
        self._waiting = 0
        self._loading: asyncio.Future[None] | None = None
        self._in_order = asyncio.Lock()

    def register(self, event: str, hook: Hook, *, name: str = "") -> None:
        """`name` is for the log."""
        self._hooks.setdefault(event, []).append((name or getattr(hook, "__qualname__", "hook"), hook))

    def load_soon(self, folder: Path) -> None:
        """`load` while the loop goes on. What happens meanwhile is told when it is done."""

        def load() -> None:
            if loaded := self.load(folder):
                _log.info("hooks: %s", ", ".join(loaded))

        self._loading = asyncio.wrap_future(_aside(load))

    def load(self, folder: Path) -> list[str]:
        """Register what is in the hooks folder; gives the names. What cannot be loaded is told and left out.

        Blocks, for `TIMEOUT` at most, while the handlers' modules run, each on a thread of its own.
        """
        loaded: list[str] = []
        found = sorted(path for path in folder.glob("*") if (path / "HOOK.toml").is_file())
        reading = [(path, _aside(partial(_read, folder, path))) for path in found]
        end = time.monotonic() + TIMEOUT
        for path, future in reading:
            try:
                events, handle = future.result(max(end - time.monotonic(), 0))
            except BaseException as error:  # noqa: BLE001  (hooks are other people's code, and may even exit)
                what = str(error) if isinstance(error, Exception) else f"it ends the process: {error!r}"
                if not future.done():
                    what = f"handler.py took longer than {TIMEOUT} s"
                TOLD.error("hook %s is not loaded: %s", path.name, what)
                continue
            for event in events:
                if not any(_covers(event, known) for known in EVENTS):
                    TOLD.warning("hook %s: no event is called %r", path.name, event)
            self._rooms.append(room := _Room(handle))
            for event in events:
                self.register(event, room.run, name=path.name)
            loaded.append(path.name)
        return loaded

    def hears(self, event: str) -> bool:
        """Whether there is a hook for it, or may be one."""
        return self._loads() or any(True for _ in self._for(event))

    def _loads(self) -> bool:
        return self._loading is not None and not self._loading.done()

    async def emit(self, event: str, facts: Mapping[str, object]) -> None:
        """Run the hooks of an event. One that raises or hangs is logged, and holds up no other."""
        async with self._in_order:
            if self._loading is not None and self._loads():
                await asyncio.wait([self._loading])
        await asyncio.gather(*(self._run(name, hook, event, facts) for name, hook in self._for(event)))

    async def emit_soon(self, event: str, facts: Mapping[str, object]) -> None:
        """The same; left out when hooks are so slow that too much waits for them."""
        if self._waiting >= MOST_WAITING:
            _log.warning("hooks are too slow: %s is not told", event)
            return
        self._waiting += 1
        try:
            await self.emit(event, facts)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
        for room in self._rooms:
            room.close()

    def _for(self, event: str) -> Iterator[tuple[str, Hook]]:
        for name, hooks in list(self._hooks.items()):
            if _covers(name, event):
                yield from hooks

    async def _run(self, name: str, hook: Hook, event: str, facts: Mapping[str, object]) -> None:
        try:
            await asyncio.wait_for(hook(event, facts), TIMEOUT)
        except _Hangs:
            _log.warning("hook %s hangs still, and is not told of %s", name, event)
        except TimeoutError:
            _log.warning("hook %s took longer than %s s for %s", name, TIMEOUT, event)
        except Exception:  # noqa: BLE001  (hooks are other people's code)
            _log.exception("hook %s failed for %s", name, event)


class _Hangs(Exception):  # noqa: N818  (says what it does)
    """It was given up before, and has not let go of its thread since."""


class _Room:
    """A loop on a thread of its own for one hook, so that one that blocks holds up itself only. Begins with the first
    run.
    """

    def __init__(self, handle: Hook) -> None:
        self._handle = handle
        self._loop: asyncio.AbstractEventLoop | None = None
        self._free: Future[None] | None = None

    async def run(self, event: str, facts: Mapping[str, object]) -> None:
        """Raises: _Hangs; then it was not run."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, daemon=True, name="hook").start()
        if self._free is not None and not self._free.done():
            raise _Hangs

        async def awaited() -> None:
            try:
                await self._handle(event, facts)
            except SystemExit as error:  # else it would end the hook's thread, and nobody would hear of it
                raise RuntimeError(f"it ends the process: {error!r}") from error

        try:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(awaited(), self._loop))
        except asyncio.CancelledError:
            self._free = free = Future[None]()
            self._loop.call_soon_threadsafe(free.set_result, None)
            raise

    def close(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)


def _covers(name: str, event: str) -> bool:
    return name == event or (name.endswith(":*") and event.startswith(name[:-1]))


_Result = TypeVar("_Result")


def _aside(work: Callable[[], _Result]) -> Future[_Result]:
    """On a thread that nobody has to wait for."""
    future = Future[_Result]()
    future.set_running_or_notify_cancel()  # from now on it cannot be cancelled: nobody can stop the thread

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  (whoever asks for the result gets it)
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="hook").start()
    return future


def _read(folder: Path, path: Path) -> tuple[list[str], Hook]:
    """Raises: whatever is wrong with it."""
    handler = path / "handler.py"
    for one in (folder, path, path / "HOOK.toml", handler):
        _trusted(one)
    events = tomllib.loads((path / "HOOK.toml").read_text("utf-8")).get("events")
    if not isinstance(events, list) or not events or not all(isinstance(event, str) for event in events):
        raise ValueError('HOOK.toml needs a list of events, such as events = ["agent:end"]')
    spec = importlib.util.spec_from_file_location(f"hermes_hook_{path.name}", handler)
    if spec is None or spec.loader is None:
        raise ImportError(f"{handler} cannot be read")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handle = getattr(module, "handle", None)
    if not inspect.iscoroutinefunction(handle):
        raise TypeError("handler.py needs `async def handle(event, facts)`")
    return events, handle


def _trusted(path: Path) -> None:
    """Only what belongs to the person and nobody else can change is run. Raises: PermissionError."""
    if os.name == "nt":
        return
    found = path.stat()
    if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{path} must belong to you, and be writable by nobody else (chmod go-w)")
