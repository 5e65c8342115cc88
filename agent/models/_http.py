"""SDK clients whose every wait ends when the work is cancelled: resolving, connecting, headers, body, back-off.

A blocked `recv` is woken by shutting its socket down, and before the headers have come no response object
exists that could be asked for its socket. So the sockets are watched where they are read: a network backend (httpcore's
own seam) tells the `Work` of the calling thread which stream it is about to wait for.

Import this module after `_sdk.load()`; it needs the SDK.
"""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from ssl import SSLContext
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore2
import httpx2
from openai import OpenAI

from agent.cancel import CancelToken
from agent.errors import Cancelled, ConfigError

_T = TypeVar("_T")

CONNECT_SECONDS = 15.0

TOLD_SECONDS = 1.0
"""A wait between two attempts that a person should hear of."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]

_thread = threading.local()
_clients: dict[tuple[str, str], OpenAI] = {}
_clients_lock = threading.Lock()


def client_for(base_url: str, api_key: str) -> OpenAI:
    """The one SDK client of this endpoint and key, shared by all threads: it owns the connections."""
    with _clients_lock:
        if (client := _clients.get((base_url, api_key))) is None:
            client = _clients[base_url, api_key] = new_client(base_url, api_key, http_client(base_url))
        return client


def new_client(base_url: str, api_key: str, http: httpx2.Client) -> OpenAI:
    # The SDK insists on a key. Servers without keys ignore it, as they do with the stock clients.
    return _Client(base_url=base_url, api_key=api_key or "none", http_client=http)


def http_client(base_url: str) -> httpx2.Client:
    return httpx2.Client(transport=_Transport(_pool(base_url)), follow_redirects=True)


def timeout(seconds: float) -> httpx2.Timeout:
    """`seconds` between two pieces of an answer; a connection is made sooner than that or not at all."""
    return httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))


class Work:
    """One request as seen by a cancel token. Network waits inside `with work:` belong to it.

    Give `stop` to `cancel.closing`. Any wait that `stop` ends raises Cancelled.
    """

    def __init__(self, cancel: CancelToken) -> None:
        self._cancel = cancel
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._outer: Work | None = None
        self.patience: float | None = None
        """Seconds a read may take from now on, when that is less than the request allows."""

    def __enter__(self) -> None:
        self._outer, _thread.work = getattr(_thread, "work", None), self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        _thread.work = self._outer

    def stop(self) -> None:
        """Wake the thread that waits. Never raises, never blocks."""
        with self._lock:
            if self._socket is not None:
                _shut_down(self._socket)

    def pull(self, items: Iterator[_T]) -> Iterator[_T]:
        """`items`, each fetched as part of this work, whatever the consumer does in between."""
        while True:
            with self:
                self._cancel.raise_if_cancelled()
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def wait_for(self, connection: socket.socket, action: Callable[[], _T]) -> _T:
        """Do something that blocks on `connection`."""
        with self._lock:
            self._socket = connection
        try:
            self._cancel.raise_if_cancelled()
            result = action()
        except (httpcore2.NetworkError, httpcore2.TimeoutException, OSError, ValueError):
            self._cancel.raise_if_cancelled()
            raise
        finally:
            # The connection may go back to the pool now, and to another thread.
            with self._lock:
                self._socket = None
        self._cancel.raise_if_cancelled()
        return result

    def sleep(self, seconds: float) -> None:
        if self._cancel.wait(seconds):
            raise Cancelled

    def connect(self, connect: Callable[[], httpcore2.NetworkStream]) -> httpcore2.NetworkStream:
        """Connect on a thread of its own: resolving a name cannot be interrupted, only left behind."""
        outcome: SimpleQueue[httpcore2.NetworkStream | Exception | None] = SimpleQueue()

        def run() -> None:
            try:
                stream = connect()
            except Exception as error:  # noqa: BLE001  (it is raised by the thread that waits)
                outcome.put(error)
                return
            outcome.put(stream)
            if self._cancel.cancelled:
                stream.close()

        threading.Thread(target=run, name="connect", daemon=True).start()
        with self._cancel.closing(lambda: outcome.put(None)):
            result = outcome.get()
        if isinstance(result, httpcore2.NetworkStream) and self._cancel.cancelled:
            result.close()
        self._cancel.raise_if_cancelled()
        if isinstance(result, Exception):
            raise result
        assert result is not None
        return result


class LongWait(Exception):  # noqa: N818  (a request to wait, caught where it can be told)
    """The SDK is to wait `seconds` before it tries again, and `retries` attempts are left then."""

    def __init__(self, seconds: float, retries: int, status: int | None) -> None:
        super().__init__(seconds)
        self.seconds, self.retries, self.status = seconds, retries, status


class _Client(OpenAI):
    """The SDK's client, with its back-off between two attempts cut short by a cancel.

    It still decides whether and how long to wait. A long wait is raised, as `LongWait`: from in here nobody could be
    told of it.
    """

    def _sleep_for_retry(self, *, retries_taken: int, max_retries: int, options: Any, response: Any) -> None:
        work: Work | None = getattr(_thread, "work", None)
        if work is None:
            return super()._sleep_for_retry(
                retries_taken=retries_taken, max_retries=max_retries, options=options, response=response
            )
        headers, left = None if response is None else response.headers, max_retries - retries_taken
        seconds = self._calculate_retry_timeout(left, options, headers)
        if seconds >= TOLD_SECONDS:
            raise LongWait(seconds, left - 1, None if response is None else response.status_code)
        return work.sleep(seconds)


# -- transport -------------------------------------------------------------------------------------


class _Transport(httpx2.BaseTransport):
    """httpx's own transport over a pool of our making. (Its constructor takes no network backend.)"""

    def __init__(self, pool: httpcore2.ConnectionPool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        assert isinstance(request.stream, httpx2.SyncByteStream)
        url = httpcore2.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        with _translated(request):
            response = self._pool.handle_request(
                httpcore2.Request(
                    request.method,
                    url,
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        assert isinstance(response.stream, Iterable)
        body = _Body(response.stream, request)
        return httpx2.Response(response.status, headers=response.headers, stream=body, extensions=response.extensions)

    def close(self) -> None:
        self._pool.close()


class _Body(httpx2.SyncByteStream):
    def __init__(self, stream: Iterable[bytes], request: httpx2.Request) -> None:
        self._stream = stream
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        with _translated(self._request):
            yield from self._stream

    def close(self) -> None:
        if isinstance(self._stream, httpcore2.ConnectionInterface) or hasattr(self._stream, "close"):
            self._stream.close()


@contextmanager
def _translated(request: httpx2.Request) -> Iterator[None]:
    """Raise httpx's exception for httpcore's; they bear the same names."""
    try:
        yield
    except (
        httpcore2.TimeoutException,
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        httpcore2.ProxyError,
        httpcore2.UnsupportedProtocol,
    ) as error:
        kind = getattr(httpx2, type(error).__name__, httpx2.TransportError)
        raise kind(str(error), request=request) from error


def _pool(base_url: str) -> httpcore2.ConnectionPool:
    """No limit on connections: a wait for a free one could not be cancelled, and tasks are bounded elsewhere.

    For https one context is built for all connections. For http none is, which saves reading the certificate store;
    should such a server redirect to https, httpcore builds a verifying one then.
    """
    options: dict[str, Any] = {
        "ssl_context": _ssl_context() if base_url.startswith("https:") else None,
        "max_connections": None,
        "max_keepalive_connections": 32,
        "keepalive_expiry": 60.0,
        "network_backend": _Backend(),
    }
    if (proxy := _proxy_for(base_url)) is None:
        return httpcore2.ConnectionPool(**options)
    parts = urlsplit(proxy)
    if parts.scheme not in ("http", "https"):
        raise ConfigError(
            f"The proxy {parts.scheme}://{parts.hostname} is not supported.",
            hint="Set HTTPS_PROXY to an http:// proxy.",
        )
    auth = (parts.username or "", parts.password or "") if parts.username else None
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return httpcore2.HTTPProxy(address, proxy_auth=auth, **options)


def _ssl_context() -> SSLContext:
    return httpcore2.default_ssl_context()


def _proxy_for(base_url: str) -> str | None:
    parts = urlsplit(base_url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or parts.hostname is None or parts.hostname in _LOOPBACK or proxy_bypass(parts.hostname):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


# -- sockets ---------------------------------------------------------------------------------------


class _Backend(httpcore2.NetworkBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[_SocketOption] | None = None,
    ) -> httpcore2.NetworkStream:
        connect = partial(httpcore2.SyncBackend().connect_tcp, host, port, timeout, local_address, socket_options)
        work: Work | None = getattr(_thread, "work", None)
        return _Stream(connect() if work is None else work.connect(connect))


class _Stream(httpcore2.NetworkStream):
    """A connection that tells the work of the calling thread whenever it may block."""

    def __init__(self, inner: httpcore2.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        work: Work | None = getattr(_thread, "work", None)
        if work is not None and work.patience is not None:
            timeout = work.patience if timeout is None else min(timeout, work.patience)
        return self._wait(partial(self._inner.read, max_bytes, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._wait(partial(self._inner.write, buffer, timeout))

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        # Wrapping a socket takes its descriptor away, so a copy of the descriptor is kept to shut it down by.
        plain = self._socket()
        with closing(socket.fromfd(plain.fileno(), plain.family, plain.type)) as copy:
            handshake = partial(self._inner.start_tls, ssl_context, server_hostname, timeout)
            return _Stream(self._wait(handshake, copy))

    def close(self) -> None:
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def _wait(self, action: Callable[[], _T], connection: socket.socket | None = None) -> _T:
        work: Work | None = getattr(_thread, "work", None)
        return action() if work is None else work.wait_for(connection or self._socket(), action)

    def _socket(self) -> socket.socket:
        connection = self._inner.get_extra_info("socket")
        assert isinstance(connection, socket.socket)
        return connection


def _shut_down(connection: socket.socket) -> None:
    # Not the method of an SSL socket, which would drop its state under the thread that reads.
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
