"""Work of a session that may wait for the disk: done aside, in order, and what follows from it here."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from agent.errors import HermesError
from hermes_cli.screen import nothing

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")


class Asides:
    """Call it on the UI loop's thread. `post` runs something there; `settled` is called when no work is left.

    `complain` shows an error and what to do about it to the person; `folder` is where the log is.
    """

    def __init__(
        self,
        post: Callable[[Callable[[], None]], None],
        complain: Callable[[str, str], None],
        *,
        settled: Callable[[], None],
        folder: Path,
    ) -> None:
        self._post, self._complain, self._told, self._folder = post, complain, settled, folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="aside")
        self._settled = asyncio.Event()
        self._settled.set()
        self.left = 0
        """Pieces of work that are not done, or of which nothing has followed yet."""

    def __call__(
        self,
        work: Callable[[], _Result],
        then: Callable[[_Result], None] = lambda _result: None,
        *,
        failed: Callable[[], None] = nothing,
    ) -> None:
        """Run `work` on a thread, in the order of the calls, then `then` with its result here.

        An error, of either, is shown to the person; `failed` is called after it.
        """

        def done(finished: "Future[_Result]") -> None:
            self._post(lambda: self._arrived(finished, then, failed))

        with contextlib.suppress(RuntimeError):  # we are leaving
            self._thread.submit(work).add_done_callback(done)
            self.left += 1
            self._settled.clear()

    def _arrived(
        self, finished: "Future[_Result]", then: Callable[[_Result], None], failed: Callable[[], None]
    ) -> None:
        self.left -= 1
        try:
            then(finished.result())
        except HermesError as error:
            self._complain(str(error), error.hint)
            failed()
        except Exception as fault:  # noqa: BLE001
            # A fault aside must not end the prompt.
            _log.exception("aside")
            self._complain(f"{type(fault).__name__}: {fault}", f"More is in {self._folder / 'hermes.log'}.")
            failed()
        if not self.left:
            self._settled.set()
        self._told()

    async def settle(self, seconds: float) -> None:
        """Wait until what is done aside is done, and what follows from it. No longer than so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), seconds)

    def close(self) -> None:
        self._thread.shutdown(wait=False)
