"""Searching the web, where somebody set up who is to search."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import msgspec
from msgspec import Meta

from agent.cancel import CancelToken
from agent.errors import ToolError
from agent.protocols import Action, ToolContext, ToolResult
from agent.tools.output import printable
from agent.tools.prose import prose


@dataclass(frozen=True, slots=True)
class SearchProvider:
    """Who searches. `url` takes the query at its end; with `body` it is sent as JSON instead.

    `results` is the way to the list in the answer; `fields` are its items' title, address and text. `header` is how the
    key is sent.
    """

    name: str
    key_variable: str
    url: str
    results: tuple[str, ...]
    fields: tuple[str, str, str]
    header: Callable[[str], Mapping[str, str]] = lambda key: {}
    body: Callable[[str, int], Mapping[str, Any]] | None = None


PROVIDERS = (
    SearchProvider("searxng", "", "/search?format=json&q=", ("results",), ("title", "url", "content")),
    SearchProvider(
        "brave",
        "BRAVE_API_KEY",
        "https://api.search.brave.com/res/v1/web/search?q=",
        ("web", "results"),
        ("title", "url", "description"),
        lambda key: {"X-Subscription-Token": key},
    ),
    SearchProvider(
        "tavily",
        "TAVILY_API_KEY",
        "https://api.tavily.com/search",
        ("results",),
        ("title", "url", "content"),
        lambda key: {"Authorization": f"Bearer {key}"},
        lambda query, count: {"query": query, "max_results": count},
    ),
)


class WebSearchArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    query: Annotated[str, Meta(min_length=1, max_length=400, description="What to look for.")]
    count: Annotated[int, Meta(ge=1, le=20, description="Most results.")] = 8


class WebSearch:
    """Asks one provider. `base` is the address of one's own, for providers that have no fixed one."""

    name = "web_search"
    arguments = WebSearchArguments

    def __init__(self, provider: SearchProvider, *, key: str = "", base: str = "") -> None:
        self._provider = provider
        self._key = key
        self._url = base.rstrip("/") + provider.url if base else provider.url
        self._own = bool(base)

    @property
    def description(self) -> str:
        return prose(__file__)

    def plan(self, args: WebSearchArguments, context: ToolContext) -> Action:
        del context
        from agent.tools.web import host_of

        return Action("read", args.query, host=host_of(self._url))

    def preview(self, args: WebSearchArguments, context: ToolContext) -> str:
        del context
        return f"{self._provider.name}: {args.query}"

    def run(self, args: WebSearchArguments, context: ToolContext, cancel: CancelToken) -> ToolResult:
        from agent.tools.web import request

        headers = {"Accept": "application/json", **self._provider.header(self._key)}
        if self._provider.body:
            content = msgspec.json.encode(self._provider.body(args.query, args.count))
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
            page = request(self._url, private=self._own, cancel=cancel, method="POST", headers=headers, content=content)
        else:
            url = self._url.removesuffix("q=") + urlencode({"q": args.query})
            page = request(url, private=self._own, cancel=cancel, headers=headers)
        if page.status != 200:
            raise ToolError(f"The search answers with status {page.status}.")
        found = context.redact(printable("\n\n".join(self._results(page.body, args.count))))
        count = found.count("\n\n") + 1 if found else 0
        return ToolResult(found or "[nothing was found]", summary=f"{count} results", display=found, own=not found)

    def _results(self, body: bytes, count: int) -> list[str]:
        """Raises: ToolError."""
        try:
            items: Any = msgspec.json.decode(body)
            for name in self._provider.results:
                items = items[name]
            title, url, text = self._provider.fields
            return [f"{one.get(title)}\n{one.get(url)}\n{_short(one.get(text))}" for one in items[:count]]
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
            raise ToolError(f"{self._provider.name} answers in no known form.") from error


def _short(text: object) -> str:
    line = " ".join(str(text or "").split())
    return line if len(line) <= 400 else f"{line[:399]}…"


def configured(name: str, url: str, keys: Mapping[str, str]) -> WebSearch | None:
    """The tool, or None when nobody is set up to search: `name` and `url` are settings, `keys` the environment."""
    for provider in PROVIDERS:
        if name and provider.name != name:
            continue
        key = keys.get(provider.key_variable, "") if provider.key_variable else ""
        if key or (url and not provider.key_variable):
            return WebSearch(provider, key=key, base="" if provider.key_variable else url)
    return None


if TYPE_CHECKING:
    from agent.protocols import Tool

    _: Tool = WebSearch(PROVIDERS[0])
