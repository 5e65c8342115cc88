"""What the test servers of the chat platforms share: requests are recorded, and the next ones fail as a test says.

They run on a free port of 127.0.0.1, in the test's own event loop.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True)
class Call:
    """A request to one of the platform's methods. `files` are name → content, as they were uploaded."""

    method: str
    params: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Status:
    """An error answer; `after` is the pause in seconds that it asks for."""

    status: int
    text: str = "scripted failure"
    after: float = 0.0


@dataclass(frozen=True)
class Cut:
    """The connection is closed without an answer. `done` when the request was carried out before."""

    done: bool = False


@dataclass(frozen=True)
class Nonsense:
    """An answer that says yes, and is not in the platform's shape."""


Fault = Status | Cut | Nonsense


class WebServer:
    """A server that remembers. Sub-classes add the routes."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._changed = asyncio.Condition()
        self.app = web.Application(client_max_size=100_000_000)
        self._runner = web.AppRunner(self.app, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def port(self) -> int:
        return int(self._runner.addresses[0][1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def of(self, method: str) -> list[dict[str, Any]]:
        """The parameters of the calls of one method, in order."""
        return [call.params for call in self.calls if call.method == method]

    def fail_next(self, method: str, *faults: Fault) -> None:
        self._faults[method].extend(faults)

    def next_fault(self, method: str) -> Fault | None:
        return self._faults[method].popleft() if self._faults[method] else None

    async def record(self, call: Call) -> None:
        self.calls.append(call)
        await self.tell()

    async def tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, met: Callable[[], object], seconds: float = 10.0) -> None:
        """Return when a condition on the server holds. Raises: TimeoutError."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(met)

    @staticmethod
    def cut(request: web.Request) -> web.Response:
        """Close the connection; what is returned is never sent."""
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)
