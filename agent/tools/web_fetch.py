"""Reading a web page."""

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from agent.cancel import CancelToken
from agent.errors import ToolError
from agent.protocols import Action, ToolContext, ToolResult
from agent.tools.files import text_limit
from agent.tools.output import printable
from agent.tools.prose import prose

if TYPE_CHECKING:
    from agent.tools.web import Page

_TEXT = ("text/", "application/json", "application/xml", "application/yaml", "application/javascript")
_HTML = ("text/html", "application/xhtml+xml")


class WebFetchArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: Annotated[str, Meta(min_length=1, max_length=2000, description="With http:// or https://.")]
    start: Annotated[int, Meta(ge=0, description="Characters to skip, to go on in a long page.")] = 0


class WebFetch:
    """Fetches a page and gives its readable text. `private` allows addresses of this machine and network."""

    name = "web_fetch"
    arguments = WebFetchArguments

    def __init__(self, *, private: bool = False) -> None:
        self._private = private

    @property
    def description(self) -> str:
        return prose(__file__)

    def plan(self, args: WebFetchArguments, context: ToolContext) -> Action:
        del context
        from agent.tools.web import host_of

        return Action("read", args.url, host=host_of(args.url))

    def preview(self, args: WebFetchArguments, context: ToolContext) -> str:
        del context
        return args.url

    def run(self, args: WebFetchArguments, context: ToolContext, cancel: CancelToken) -> ToolResult:
        from agent.tools.web import LARGEST, request

        page = request(args.url, private=self._private, cancel=cancel)
        if page.moved_to:
            return ToolResult(f"[{page.url} redirects to {page.moved_to}; fetch that]", summary="redirects elsewhere")
        if page.status >= 400:
            return ToolResult(f"[{page.url} answers with status {page.status}]", summary=str(page.status), ok=False)
        text = context.redact(printable(_readable(page, cancel)))
        part = text[args.start : args.start + text_limit(context.output_limit)]
        end = args.start + len(part)
        more = f"\n[characters {args.start}–{end} of {len(text)}; go on with start={end}]" if end < len(text) else ""
        cut = f"\n[the page is longer than {LARGEST:,} bytes and was cut]" if page.cut else ""
        return ToolResult(f"[{page.url}]\n{part}{more}{cut}", summary=f"{len(text):,} characters", display=part)


def _readable(page: "Page", cancel: CancelToken) -> str:
    """Raises: ToolError."""
    if page.body.startswith(b"%PDF-"):
        from agent.tools.documents import pdf_text

        return pdf_text(page.body, page.url, cancel)
    if page.media_type and not page.media_type.startswith(_TEXT) and page.media_type not in _HTML:
        raise ToolError(f"{page.url} is no text but {page.media_type} ({len(page.body):,} bytes).")
    if b"\0" in page.body[:8192]:
        raise ToolError(f"{page.url} is no text ({len(page.body):,} bytes).")
    try:
        text = page.body.decode(page.charset or "utf-8", "replace")
    except LookupError:
        text = page.body.decode("utf-8", "replace")
    return _from_html(text, page.url) if page.media_type in _HTML else text


def _from_html(text: str, url: str) -> str:
    import trafilatura  # a second to import, so only with the first page

    extracted = trafilatura.extract(text, url=url, output_format="markdown", include_links=True, include_tables=True)
    if extracted:
        return str(extracted)
    plain = trafilatura.html2txt(text)
    return str(plain) if plain else "(the page has no readable text)"


if TYPE_CHECKING:
    from agent.protocols import Tool

    _: Tool = WebFetch()
