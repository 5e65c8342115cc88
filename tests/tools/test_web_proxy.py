"""Pages through a proxy: it is used as the environment says, and leads to no machine that is known to be private."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from agent.cancel import CancelToken
from agent.errors import ToolError
from agent.tools.web import Page, proxy_for, request

SEEN: list[tuple[str, str, str]] = []


class ProxyServer(BaseHTTPRequestHandler):
    """Answers for every address itself, and says which it was; lets nobody through to https."""

    def do_GET(self) -> None:
        SEEN.append(("GET", self.path, self.headers.get("Proxy-Authorization", "")))
        body = f"the proxy was asked for {self.path}".encode()
        moved = "http://127.0.0.1/secret" if self.path.endswith("/moved") else ""
        self.send_response(302 if moved else 200)
        for name, value in {"Content-Type": "text/plain", "Content-Length": str(len(body)), "Location": moved}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self) -> None:
        SEEN.append(("CONNECT", self.path, self.headers.get("Proxy-Authorization", "")))
        self.send_error(403, "not through here")

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A proxy on this machine, which the environment names; names of example.com are known to it alone."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), ProxyServer)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    SEEN.clear()
    resolve = socket.getaddrinfo

    def known(host: Any, *args: Any, **more: Any) -> Any:
        if host == "inside.example.org":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.1.2.3", 0))]
        if str(host).endswith(("example.com", "example.org", "intranet", ".local")):
            raise socket.gaierror(-2, "Name or service not known")
        return resolve(host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", known)
    address = f"127.0.0.1:{server.server_address[1]}"
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://me:p%40ss-word-1@{address}")
    yield address
    server.shutdown()
    server.server_close()


def get(url: str, *, private: bool = False) -> Page:
    return request(url, private=private, cancel=CancelToken())


def test_a_page_comes_through_the_proxy_which_alone_knows_the_name(proxy: str) -> None:
    page = get("http://shop.example.com/cart?x=1")
    assert page.body == b"the proxy was asked for http://shop.example.com/cart?x=1"
    assert SEEN[0][2].startswith("Basic ")


def test_https_asks_the_proxy_for_a_way_through_and_tells_its_no_without_its_password(proxy: str) -> None:
    with pytest.raises(ToolError, match="the proxy says 403") as refused:
        get("https://shop.example.com/")
    assert SEEN[0][:2] == ("CONNECT", "shop.example.com:443")
    assert "p@ss" not in str(refused.value)
    assert "p%40ss" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "http://[fd00::1]/",
        "http://169.254.169.254/latest/meta-data",
        "https://192.168.1.1/",
        "http://127.0.0.1/",
        "http://localhost/",
        "http://inside.example.org/",
        "http://intranet/",
        "http://printer.local/",
        "http://printer.local./",
    ],
)
def test_what_is_known_to_be_private_is_not_asked_for_through_the_proxy(url: str, proxy: str) -> None:
    with pytest.raises(ToolError, match="and is not asked"):
        get(url)
    assert SEEN == []


def test_a_redirect_by_the_proxy_to_this_machine_is_told_and_not_followed(proxy: str) -> None:
    assert get("http://shop.example.com/moved").moved_to == "http://127.0.0.1/secret"
    assert len(SEEN) == 1


def test_whoever_allows_the_own_network_gets_there_through_the_proxy(proxy: str) -> None:
    assert get("http://intranet/wiki", private=True).status == 200
    assert SEEN[0][1] == "http://intranet/wiki"


def test_a_proxy_that_is_not_there_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://me:p%40ss-word-1@127.0.0.1:1")
    with pytest.raises(ToolError, match="cannot be fetched") as refused:
        get("http://93.184.216.34/")
    assert "ss-word" not in str(refused.value)


@pytest.mark.parametrize(
    ("env", "url", "used"),
    [
        ({}, "http://a.example.com/", None),
        ({"HTTP_PROXY": "p:1"}, "http://a.example.com/", "p:1"),
        ({"HTTP_PROXY": "p:1"}, "https://a.example.com/", None),
        ({"HTTPS_PROXY": "https://p"}, "https://a.example.com/", "p:443"),
        ({"ALL_PROXY": "http://p:3"}, "https://a.example.com/", "p:3"),
        ({"HTTP_PROXY": "p:1", "http_proxy": "q:2"}, "http://a.example.com/", "q:2"),
        ({"HTTP_PROXY": "[::1]:8"}, "http://a.example.com/", "::1:8"),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "example.com"}, "http://a.example.com/", None),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": ".example.com"}, "http://a.example.com/", None),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "ample.com"}, "http://a.example.com/", "p:1"),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "x, a.example.com:8080"}, "http://a.example.com:8080/", None),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "a.example.com:8080"}, "http://a.example.com/", "p:1"),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "10.0.0.0/8"}, "http://10.2.3.4/", None),
        ({"HTTP_PROXY": "p:1", "no_proxy": "*"}, "http://a.example.com/", None),
        ({"HTTP_PROXY": "p:1"}, "http://127.0.0.1:80/", None),
        ({"HTTP_PROXY": "p:1"}, "http://[::1]/", None),
        ({"HTTP_PROXY": "p:1"}, "http://x.localhost/", None),
    ],
)
def test_which_proxy_is_used(env: dict[str, str], url: str, used: str | None) -> None:
    found = proxy_for(url, env)
    where = found and f"{found.url.host.decode()}:{found.url.port}"
    assert where == used


@pytest.mark.parametrize("address", ["socks5://p:1", "http://", "http://p:x", "file:///x"])
def test_a_proxy_that_cannot_be_used_is_told(address: str) -> None:
    with pytest.raises(ToolError, match="http_proxy"):
        proxy_for("http://a.example.com/", {"HTTP_PROXY": address})
