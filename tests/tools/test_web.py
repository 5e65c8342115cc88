"""Pages over HTTP: what is asked, what is not, and what comes of it."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from agent.cancel import CancelToken
from agent.errors import Cancelled, ToolError
from agent.protocols import ToolContext, ToolResult
from agent.tools import default_tools, web
from agent.tools.web import host_of, is_public, request
from agent.tools.web_fetch import WebFetch
from agent.tools.web_search import PROVIDERS, WebSearch, configured

ARTICLE = "<p>" + "The quick brown fox jumps over the lazy dog. " * 20 + "</p>"
HTML = (
    f"<html><head><script>evil()</script></head><body><nav>Menu</nav><article><h1>Title</h1>{ARTICLE}</article></body>"
)


class Site(BaseHTTPRequestHandler):
    """Answers by path."""

    def do_GET(self) -> None:
        port = self.server.server_address[1]
        match self.path:
            case "/page":
                self.reply(HTML.encode(), "text/html; charset=utf-8")
            case "/latin":
                self.reply("é\x1b[31m".encode("latin-1"), "text/plain; charset=latin-1")
            case "/gzip":
                self.reply(gzip.compress(b"packed"), "text/plain", **{"Content-Encoding": "gzip"})
            case "/bomb":
                self.reply(gzip.compress(bytes(50_000_000)), "text/plain", **{"Content-Encoding": "gzip"})
            case "/image":
                self.reply(b"\x89PNG", "image/png")
            case "/here":
                self.reply(b"", "", status=302, Location="/latin")
            case "/there":
                self.reply(b"", "", status=302, Location=f"http://localhost:{port}/latin")
            case "/loop":
                self.reply(b"", "", status=302, Location="/loop")
            case "/file":
                self.reply(b"", "", status=302, Location="file:///etc/passwd")
            case "/slow":
                time.sleep(30)
            case "/drip":
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                with suppress(OSError):
                    for number in range(300):
                        self.wfile.write(f"X-{number}: y\r\n".encode())
                        time.sleep(0.1)
            case "/wiki/M%C3%BCnchen?q=%C3%A4":
                self.reply(b"eine Stadt", "text/plain")
            case path if path.startswith("/search?format=json&q=a+cat"):
                self.reply(json.dumps({"results": [{"title": "T", "url": "u", "content": "c " * 5}]}).encode(), "a/b")
            case _:
                self.reply(b"no", "text/plain", status=404)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = [{"title": self.headers["Authorization"], "url": asked["query"], "content": asked["max_results"]}]
        self.reply(json.dumps({"results": found}).encode(), "application/json")

    def reply(self, body: bytes, media_type: str, *, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": media_type, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def fetch(url: str, context: ToolContext, *, private: bool = True, **more: object) -> ToolResult:
    tool = WebFetch(private=private)
    args = msgspec.convert({"url": url, **more}, tool.arguments)
    tool.plan(args, context)
    return tool.run(args, context, CancelToken())


def test_the_readable_text_of_a_page(site: str, context: ToolContext) -> None:
    text = fetch(f"{site}/page", context).content
    assert text.startswith(f"[{site}/page]\n")
    assert "The quick brown fox" in text
    assert "evil()" not in text


def test_a_long_page_is_read_in_pieces(site: str, tmp_path) -> None:
    context = ToolContext(tmp_path, output_limit=1000)
    first = fetch(f"{site}/page", context).content
    assert "go on with start=600]" in first
    assert fetch(f"{site}/page", context, start=600).content


def test_text_is_decoded_unpacked_and_harmless(site: str, context: ToolContext) -> None:
    assert fetch(f"{site}/latin", context).display == "é"
    assert fetch(f"{site}/gzip", context).display == "packed"


def test_bounds_of_size_and_time(site: str, context: ToolContext, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ToolError, match="no text"):
        fetch(f"{site}/bomb", context)
    page = request(f"{site}/bomb", private=True, cancel=CancelToken())
    assert (len(page.body), page.cut) == (web.LARGEST, True)
    with pytest.raises(ToolError, match="took too long"):
        request(f"{site}/slow", private=True, cancel=CancelToken(), seconds=0.3)
    begun = time.monotonic()
    with pytest.raises(ToolError, match="took too long"):
        request(f"{site}/drip", private=True, cancel=CancelToken(), seconds=0.5)
    assert time.monotonic() - begun < 10


def test_letters_of_every_language_may_be_in_an_address(site: str, context: ToolContext) -> None:
    assert fetch(f"{site}/wiki/München?q=ä#top", context).display == "eine Stadt"
    assert host_of("https://Bücher.example/") == "xn--bcher-kva.example"


def test_what_is_no_text_and_what_is_not_there(site: str, context: ToolContext) -> None:
    with pytest.raises(ToolError, match="no text but image/png"):
        fetch(f"{site}/image", context)
    assert fetch(f"{site}/gone", context).content == f"[{site}/gone answers with status 404]"
    with pytest.raises(ToolError, match="cannot be fetched"):
        fetch("http://127.0.0.1:1/", context)


def test_redirects_stay_on_their_host(site: str, context: ToolContext) -> None:
    assert fetch(f"{site}/here", context).display == "é"
    port = site.rpartition(":")[2]
    assert fetch(f"{site}/there", context).content.endswith(f"redirects to http://localhost:{port}/latin; fetch that]")
    with pytest.raises(ToolError, match="more than 5 times"):
        fetch(f"{site}/loop", context)
    with pytest.raises(ToolError, match="is no address that begins with http"):
        fetch(f"{site}/file", context)


def test_cancelling_does_not_wait_for_the_network(site: str) -> None:
    cancel = CancelToken()
    threading.Timer(0.2, cancel.cancel).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        request(f"{site}/slow", private=True, cancel=cancel)
    assert time.monotonic() - began < 10


# -- what is not asked -----------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "0.0.0.0"])
def test_this_machine_is_not_asked(site: str, context: ToolContext, host: str) -> None:
    with pytest.raises(ToolError, match=r"of this machine or network, and is not asked|is not known"):
        fetch(f"http://{host}:{site.rpartition(':')[2]}/page", context, private=False)


@pytest.mark.parametrize(
    "address",
    ["10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "255.255.255.255", "::", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
     "64:ff9b::a00:1",
     "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.2.1", "198.18.0.1", "240.0.0.1",
     "192.0.0.192", "192.88.99.1", "3fff::1"],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


def test_addresses_that_are() -> None:
    assert all(
        map(is_public, ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8", "64:ff9b::808:808"])
    )


def test_a_name_that_changes_its_mind_is_asked_once_and_all_its_addresses_count(
    site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resolver is the boundary: first a public address, then one of this machine."""
    asked: list[str] = []
    port = int(site.rpartition(":")[2])

    def resolve(host: str, *args: object, **more: object) -> list[object]:
        asked.append(host)
        addresses = ["93.184.216.34", "127.0.0.1"] if host == "mixed.example" else ["127.0.0.1"]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for host in ("mixed.example", "inside.example"):
        with pytest.raises(ToolError, match=r"127\.0\.0\.1, an address of this machine"):
            request(f"http://{host}:{port}/page", private=False, cancel=CancelToken())
    # What is connected to is the checked address, not the name.
    asked.clear()
    assert request(f"http://named.example:{port}/latin", private=True, cancel=CancelToken()).status == 200
    assert set(asked) <= {"named.example", "127.0.0.1"}
    assert asked.count("named.example") == 1


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/",
        "file:///etc/passwd",
        "http://",
        "http://u:p@x/",
        "http://x:99999/",
        "http://x/\r\nA: b",
        "x",
        "http://[/",
        "http://ｅxample.com/",
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ToolError):
        host_of(url)


def test_the_host_is_what_is_asked_about(context: ToolContext) -> None:
    tool = WebFetch()
    action = tool.plan(msgspec.convert({"url": "https://Docs.Example.com:444/x"}, tool.arguments), context)
    assert (action.kind, action.host) == ("read", "docs.example.com")


# -- searching -------------------------------------------------------------------------------------


def test_without_anybody_who_searches_there_is_no_such_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in PROVIDERS:
        monkeypatch.delenv(provider.key_variable or "NONE", raising=False)
    assert "web_search" not in [tool.name for tool in default_tools()]
    monkeypatch.setenv("BRAVE_API_KEY", "k")
    assert "web_search" in [tool.name for tool in default_tools()]


def test_who_is_set_up_to_search() -> None:
    assert configured("", "", {}) is None
    assert configured("tavily", "http://own", {"BRAVE_API_KEY": "k"}) is None
    assert configured("searxng", "http://own", {}) is not None


def search(tool: WebSearch, context: ToolContext, query: str) -> str:
    args = msgspec.convert({"query": query}, tool.arguments)
    assert tool.plan(args, context).host == "127.0.0.1"
    return tool.run(args, context, CancelToken()).display


def test_results_of_two_kinds_of_providers(site: str, context: ToolContext) -> None:
    searxng, _brave, tavily = PROVIDERS
    assert search(WebSearch(searxng, base=site), context, "a cat") == "T\nu\nc c c c c"
    own = WebSearch(replace(tavily, url="/post"), key="key", base=site)
    assert search(own, context, "dogs") == "Bearer key\ndogs\n8"
    with pytest.raises(ToolError, match="status 404"):
        search(WebSearch(searxng, base=site), context, "other")
