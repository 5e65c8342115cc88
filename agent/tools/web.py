"""Getting a page over HTTP, only from addresses that may be asked, within bounds of size and time.

A name is resolved once, every address it has is checked, and the connection goes to a checked one: a name that changes
its mind between the check and the connection gains nothing. Redirects to another host are not followed but told.

Where the environment names a proxy, it is the proxy that resolves and connects. What is known here to be private is not
asked for through it either; of a name that only the proxy knows, the proxy decides. See docs/tools.md.
"""

import ipaddress
import os
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import unquote, urljoin, urlsplit

import httpcore2

from agent.cancel import CancelToken
from agent.errors import ToolError

LARGEST = 5_000_000
"""Bytes of a body, unpacked."""
SECONDS = 30.0
"""For all of it."""
LOOKUP = 2.0
"""For finding out here what a name means that a proxy is asked for."""
_REDIRECTS = 5
_INNER = (".local", ".internal", ".localhost", ".lan", ".home.arpa", ".intranet", ".corp")
"""Ends of names that mean a machine nearby, whoever resolves them."""
_NOT_ASKED = "and is not asked. A person may allow that with the setting web_private."
_NOT_FOR_ALL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20", "5f00::/16")))
"""What some versions of Python hold for public: addresses of protocols, among them a cloud's own, and of documents."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Page:
    """What came back. `cut`: there was more."""

    url: str
    status: int
    media_type: str
    charset: str
    body: bytes
    cut: bool = False
    moved_to: str = ""


def host_of(url: str) -> str:
    """The host an address names. Raises: ToolError when it is no http address, or names a user."""
    return urlsplit(as_sent(url)).hostname or ""


def as_sent(url: str) -> str:
    """An address as it is sent: in ASCII, without what is for the reader only. Raises: ToolError, like `host_of`."""
    import httpx2

    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
        sent = str(httpx2.URL(url).copy_with(fragment=None))
    except (ValueError, httpx2.InvalidURL) as error:
        raise ToolError(f"{url!r} is no address: {error}.") from error
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise ToolError(f"{url!r} is no address that begins with http:// or https://.")
    if parts.username is not None or parts.password is not None:
        raise ToolError("An address that holds a user name or password is not asked.")
    return sent


def request(
    url: str,
    *,
    private: bool,
    cancel: CancelToken,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    content: bytes = b"",
    seconds: float = SECONDS,
) -> Page:
    """Ask for a page. `private` allows addresses of this machine and this network.

    Raises: ToolError; Cancelled at once, whatever the network does.
    """
    exchange = _Exchange(private=private, deadline=time.monotonic() + seconds)

    def follow() -> Page:
        here = as_sent(url)
        for _ in range(_REDIRECTS + 1):
            page = exchange.ask(method, here, headers or {}, content)
            if not page.moved_to or _other_place(here, page.moved_to):
                return page
            here = as_sent(page.moved_to)
        raise ToolError(f"{url} redirects more than {_REDIRECTS} times.")

    return _on_a_thread(follow, cancel, exchange.abort, seconds, url)


def _other_place(old: str, new: str) -> bool:
    before, after = urlsplit(old), urlsplit(new)
    return host_of(old) != host_of(new) or (before.scheme == "https" and after.scheme != "https")


def _on_a_thread(
    work: Callable[[], _T], cancel: CancelToken, abort: Callable[[], None], seconds: float, url: str
) -> _T:
    """Resolving a name cannot be interrupted, only left behind; and a server may send a byte now and then for ever.

    Raises: what `work` raises; Cancelled; ToolError after `seconds`.
    """
    done, outcome = threading.Event(), list[_T | BaseException]()

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001  (it is raised by the thread that waits)
            outcome.append(error)
        done.set()

    threading.Thread(target=run, name="web", daemon=True).start()
    with cancel.closing(done.set):
        in_time = done.wait(seconds)
    if cancel.cancelled or not in_time:
        abort()
        cancel.raise_if_cancelled()
        raise ToolError(f"{url} took too long.")
    result = outcome[0]
    if isinstance(result, BaseException):
        raise result
    return result


class _Exchange:
    """One request and the redirects it leads to."""

    def __init__(self, *, private: bool, deadline: float) -> None:
        self._deadline = deadline
        self._backend = _Guarded(private=private)
        self._to_proxy = _Backend()

    def abort(self) -> None:
        self._backend.abort()
        self._to_proxy.abort()

    def ask(self, method: str, url: str, headers: Mapping[str, str], content: bytes) -> Page:
        """Raises: ToolError."""
        left = max(self._deadline - time.monotonic(), 0.1)
        sent: list[tuple[bytes | str, bytes | str]] = list(
            {
                "Host": urlsplit(url).netloc,
                "User-Agent": "hermes",
                "Accept-Encoding": "gzip",
                **headers,
            }.items()
        )
        limits = dict.fromkeys(("connect", "read", "write", "pool"), left)
        proxy = proxy_for(url, os.environ)
        if proxy is not None:
            self._backend.require_allowed(host_of(url))
        try:
            with (
                httpcore2.ConnectionPool(
                    network_backend=self._to_proxy if proxy else self._backend, proxy=proxy
                ) as pool,
                pool.stream(method, url, headers=sent, content=content, extensions={"timeout": limits}) as response,
            ):
                found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                moved = found.get("location", "") if response.status in (301, 302, 303, 307, 308) else ""
                if moved:
                    moved = urljoin(url, moved)
                    as_sent(moved)
                    return Page(url, response.status, "", "", b"", moved_to=moved)
                body, cut = self._body(response.iter_stream(), found.get("content-encoding", ""), url)
        except httpcore2.TimeoutException as error:
            raise ToolError(f"{url} took too long.") from error
        except httpcore2.ProxyError as error:
            raise ToolError(f"{url} cannot be fetched: the proxy says {error}.") from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError, ValueError, zlib.error) as error:
            raise ToolError(f"{url} cannot be fetched: {error or type(error).__name__}.") from error
        media_type, _, rest = found.get("content-type", "").partition(";")
        charset = rest.lower().partition("charset=")[2].strip(" \"';")
        return Page(url, response.status, media_type.strip().lower(), charset, body, cut)

    def _body(self, chunks: Iterable[bytes], encoding: str, url: str) -> tuple[bytes, bool]:
        unpack = zlib.decompressobj(47) if encoding.lower() in ("gzip", "deflate") else None
        body = bytearray()
        for chunk in chunks:
            if time.monotonic() > self._deadline:
                raise ToolError(f"{url} took too long.")
            body += unpack.decompress(chunk, LARGEST + 1) if unpack else chunk
            if len(body) > LARGEST:
                return bytes(body[:LARGEST]), True
        return bytes(body), False


class _Backend(httpcore2.NetworkBackend):
    """Connects where it is told to, and lets go at once when it is to."""

    def __init__(self) -> None:
        self._inner = httpcore2.SyncBackend()
        self._stream: httpcore2.NetworkStream | None = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[_SocketOption] | None = None,
    ) -> httpcore2.NetworkStream:
        address = self._address(host, port)
        self._stream = self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
        return self._stream

    def abort(self) -> None:
        if self._stream is not None and (connection := self._stream.get_extra_info("socket")) is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _address(self, host: str, port: int) -> str:
        del port
        return host


class _Guarded(_Backend):
    """Connects to checked addresses only."""

    def __init__(self, *, private: bool) -> None:
        super().__init__()
        self._private = private

    def require_allowed(self, host: str) -> None:
        """Before a proxy is asked for it. Raises: ToolError for what is known here to be of this machine or network."""
        self._require_public(host, _known_here(host))
        if not self._private and ("." not in host.strip(".") or host.rstrip(".").endswith(_INNER)) and ":" not in host:
            raise ToolError(f"{host} is the name of a machine in this network, {_NOT_ASKED}")

    def _address(self, host: str, port: int) -> str:
        """Raises: ToolError when any address of the host may not be asked."""
        try:
            addresses = _addresses(host, port)
        except (OSError, UnicodeError) as error:
            raise ToolError(f"{host} is not known: {error}.") from error
        self._require_public(host, addresses)
        return addresses[0]

    def _require_public(self, host: str, addresses: Sequence[str]) -> None:
        if not self._private and (inside := next((one for one in addresses if not is_public(one)), None)):
            raise ToolError(f"{host} is {inside}, an address of this machine or network, {_NOT_ASKED}")


def _addresses(host: str, port: int) -> list[str]:
    """Raises: OSError, UnicodeError."""
    return [str(item[4][0]) for item in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _known_here(host: str) -> list[str]:
    """A host's addresses, as far as this machine knows them: behind a proxy often none, and only after long."""
    found: list[str] = []

    def look() -> None:
        with suppress(OSError, UnicodeError):
            found.extend(_addresses(host, 0))

    looking = threading.Thread(target=look, name="web", daemon=True)
    looking.start()
    looking.join(LOOKUP)
    return list(found)


def proxy_for(url: str, env: Mapping[str, str]) -> httpcore2.Proxy | None:
    """The proxy that the environment names for an address, by the usual variables. Never for this machine itself.

    Raises: ToolError when it is none that can be used.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    named = {name.lower(): value for name, value in env.items() if name.lower().endswith("_proxy") and value}
    # The small letters count first; large ones may come from a web request where a program is run by a server.
    named |= {name: value for name, value in env.items() if name.islower() and name.endswith("_proxy") and value}
    address = named.get(f"{parts.scheme}_proxy") or named.get("all_proxy")
    if not address or _is_this_machine(host) or _is_excepted(host, parts.port, named.get("no_proxy", "")):
        return None
    try:
        proxy = urlsplit(address if "://" in address else f"http://{address}")
        where, port = proxy.hostname, proxy.port or (443 if proxy.scheme == "https" else 80)
    except ValueError:
        where, port = None, 0
    if not where or proxy.scheme not in ("http", "https"):
        raise ToolError(f"The environment names a proxy that is none of http:// or https:// ({parts.scheme}_proxy).")
    auth = (unquote(proxy.username), unquote(proxy.password or "")) if proxy.username else None
    where = f"[{where}]" if ":" in where else where
    return httpcore2.Proxy(f"{proxy.scheme}://{where}:{port}", auth=auth)


def _is_this_machine(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def _is_excepted(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether NO_PROXY names a host: it, a domain above it, a network, or `*`; with a port only that one."""
    for entry in filter(None, (part.strip().lower() for part in no_proxy.split(","))):
        name, _, only = entry.rpartition(":") if entry.count(":") == 1 else (entry, "", "")
        if only and (not only.isdecimal() or int(only) != port):
            continue
        if name == "*" or host == (domain := name.removeprefix("*").lstrip(".")) or host.endswith(f".{domain}"):
            return True
        with suppress(ValueError):
            if ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False):
                return True
    return False


def is_public(address: str) -> bool:
    """Whether an address is one of the public network, also where it holds another one."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour
        if inner is None and parsed in _NAT64:
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if parsed.teredo or parsed.is_site_local:
            return False
    if any(parsed in network for network in _NOT_FOR_ALL):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved
