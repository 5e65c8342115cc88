"""The prompt history: read and written on one thread of its own, so that neither delays a key."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit.history import History

from agent.errors import StoreError

if TYPE_CHECKING:
    from agent.store.prompts import PromptLog

_log = logging.getLogger(__name__)

CLOSE_WITHIN = 1.0
"""Seconds that leaving waits for the database."""

MOST = 1_000
"""Lines the arrow keys reach."""


class SharedHistory(History):
    """History in the shared database. Who goes back in it from an empty draft sees what other running copies added.

    Without a usable database it goes on in memory, and tells `warn` once.
    """

    def __init__(self, database: Path, *, fold: Callable[[str], str], warn: Callable[[str], None]) -> None:
        super().__init__()
        self._database = database
        self._fold = fold
        self._warn = warn
        self._warned = False
        self._own: list[str] = []
        self._log: PromptLog | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")

    async def load(self) -> AsyncGenerator[str, None]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._thread, self._read)
        except StoreError as error:
            self._complain(error)
            found = list(reversed(self._own))
        for text in found:
            yield self._fold(text)

    def append_string(self, string: str) -> None:
        self._own.append(string)
        loop = asyncio.get_running_loop()
        written = self._thread.submit(self._write, string)

        def done(_future: object) -> None:
            if isinstance(error := written.exception(), StoreError):
                loop.call_soon_threadsafe(self._complain, error)

        written.add_done_callback(done)

    # The two below are what the base class wants; with `load` and `append_string` as they are, it calls neither.

    def load_history_strings(self) -> Iterable[str]:
        return self._read()

    def store_string(self, string: str) -> None:
        self._write(string)

    def close(self) -> None:
        """Let what was typed last reach the disk, if that does not take long."""
        last = self._thread.submit(lambda: self._log.close() if self._log is not None else None)
        self._thread.shutdown(wait=False)
        with contextlib.suppress(TimeoutError, StoreError):
            last.result(CLOSE_WITHIN)

    def _read(self) -> list[str]:
        return self._open().newest(MOST)

    def _write(self, string: str) -> None:
        self._open().add(string)

    def _open(self) -> "PromptLog":
        from agent.store.prompts import PromptLog

        if self._log is None:
            self._log = PromptLog(self._database)
        return self._log

    def _complain(self, error: StoreError) -> None:
        if not self._warned:
            self._warned = True
            self._warn(f"History is kept in memory only. {error.explain()}")
