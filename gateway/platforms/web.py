"""A small HTTP server for platforms that call instead of being asked."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from agent.errors import ConfigError

LARGEST = 1_000_000
"""Bytes of a request; what the platforms send is far smaller, and files are fetched."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Listener:
    """Serves POST requests at one path of one address. `listen` is `host:port`; port 0 takes any."""

    def __init__(self, listen: str, path: str, handler: Handler) -> None:
        host, colon, port = listen.rpartition(":")
        if not colon or not port.isdigit():
            raise ConfigError(f"{listen!r} is no address to listen at.", hint="It looks like 127.0.0.1:8443.")
        self._host, self._port = host.strip("[]"), int(port)
        app = web.Application(client_max_size=LARGEST)
        app.router.add_post(path, handler)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)

    @property
    def port(self) -> int:
        """The port in use, once started."""
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Raises: ConfigError when the address is taken."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(f"Cannot listen at {self._host}:{self._port}: {error.strerror}.") from error

    async def stop(self) -> None:
        await self._runner.cleanup()
