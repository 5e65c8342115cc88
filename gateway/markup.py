"""Markdown as each platform writes it: Telegram's HTML, Slack's mrkdwn, Discord's own Markdown.

One walk over the parsed text, one `Writer` for each platform. What comes out is always whole: every tag that is opened
is closed, and nothing that was written as text turns into markup.
"""

import html
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Literal, Protocol

from gateway.config import Platform
from gateway.formatting import Dialect

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.tree import SyntaxTreeNode

Style = Literal["strong", "em", "s"]

_LANGUAGE = re.compile(r"[\w+#.-]{1,30}", re.ASCII)

_APART = "\u200b"
"""A zero-width space: keeps two signs from meaning something together, and parts a sign from the word it touches."""


class Writer(Protocol):
    """How one platform writes each thing. Arguments that are `markup` are written already, `text` is not."""

    touching: bool
    """Whether a style may begin or end within a word."""
    bullet: str

    def text(self, text: str) -> str: ...
    def styled(self, style: Style, markup: str) -> str: ...
    def code(self, text: str) -> str: ...
    def link(self, markup: str, address: str) -> str: ...
    def block(self, text: str, language: str) -> str: ...
    def quote(self, markup: str) -> str: ...
    def heading(self, markup: str, level: int) -> str: ...


# -- the walk --------------------------------------------------------------------------------------


@cache
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    # Indented code is off: in what a model writes, four spaces are a nested list, or half of one that was split.
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("code")


def render(markdown: str, writer: Writer) -> str:
    """The text in the writer's markup, without blank lines around it."""
    from markdown_it.tree import SyntaxTreeNode

    # Lone halves of a surrogate pair cannot be sent at all; NUL and its like are refused by some platforms.
    clean = "".join("\ufffd" if "\ud800" <= sign <= "\udfff" else sign for sign in markdown.replace("\0", ""))
    return _blocks(SyntaxTreeNode(_parser().parse(clean)).children, writer).strip("\n")


def _blocks(nodes: Sequence["SyntaxTreeNode"], writer: Writer, *, between: str = "\n\n") -> str:
    return between.join(written for node in nodes if (written := _block(node, writer)))


def _block(node: "SyntaxTreeNode", writer: Writer) -> str:
    match node.type:
        case "heading":
            title = _inlines(node.children, writer, frozenset({"strong"}))
            return writer.heading(title, int(node.tag[1])) if title.strip() else ""
        case "fence" | "code_block":
            code, language = node.content.rstrip("\n"), [*node.info.split(), ""][0]
            return writer.block(code, language) if code.strip() else ""
        case "blockquote":
            quoted = _blocks(_flat_quote(node.children), writer)
            return writer.quote(quoted) if quoted.strip() else ""
        case "bullet_list" | "ordered_list":
            return _list(node, writer)
        case "table":
            return writer.block(_table(node), "")
        case "hr":
            return writer.text("———")
        case _:
            return _inlines(node.children, writer)


def _flat_quote(nodes: Iterable["SyntaxTreeNode"]) -> list["SyntaxTreeNode"]:
    """No platform shows a quote within a quote."""
    flat: list[SyntaxTreeNode] = []
    for node in nodes:
        flat += _flat_quote(node.children) if node.type == "blockquote" else [node]
    return flat


def _list(node: "SyntaxTreeNode", writer: Writer, depth: int = 0) -> str:
    first = int(node.attrs.get("start", 1))
    markers = (f"{number}." if node.type == "ordered_list" else writer.bullet for number in itertools.count(first))
    return "\n".join(_item(marker, item, writer, depth) for marker, item in zip(markers, node.children, strict=False))


def _item(marker: str, item: "SyntaxTreeNode", writer: Writer, depth: int) -> str:
    """An item under its marker. Its text and its lists are indented; its code is not, for there the spaces count."""
    indent = "  " * depth
    written: list[str] = []
    for node in item.children:
        match node.type:
            case "bullet_list" | "ordered_list":
                written.append(_list(node, writer, depth + 1))
            case "paragraph" | "heading":
                lead = f"{indent}  " if written else f"{indent}{marker} "
                written.append(lead + _block(node, writer).replace("\n", f"\n{indent}  "))
            case _:
                written.append(_block(node, writer))
        if len(written) == 1 and node.type not in ("paragraph", "heading"):
            written.insert(0, f"{indent}{marker}")
    return "\n".join(part for part in written if part) or f"{indent}{marker}"


def _table(node: "SyntaxTreeNode") -> str:
    """A table in columns, for where it stands in a fixed-width block."""
    from wcwidth import wcswidth

    rows = [[_plain(cell) for cell in row.children] for part in node.children for row in part.children]
    widths = [max(max(wcswidth(cell), 0) for cell in column) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell + " " * (width - max(wcswidth(cell), 0)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _plain(node: "SyntaxTreeNode") -> str:
    if node.type in ("text", "code_inline"):
        return node.content
    if node.type in ("softbreak", "hardbreak"):
        return " "
    return "".join(_plain(child) for child in node.children)


def _inlines(nodes: Sequence["SyntaxTreeNode"], writer: Writer, within: frozenset[str] = frozenset()) -> str:
    """A line of text; a style that is in force already (`within`) is not begun again."""
    whole = ""
    styled_before = False
    for node in nodes:
        written = _inline(node, writer, within)
        styled = node.type in ("strong", "em", "s", "code_inline") and not writer.touching
        if written and whole and ((styled and _binds(whole[-1])) or (styled_before and _binds(written[0]))):
            written = _APART + written
        whole += written
        styled_before = styled if written else styled_before
    return whole


def _binds(sign: str) -> bool:
    """Whether a style's sign next to this one would not be seen as such."""
    return sign.isalnum() or sign in "*_~`"


def _inline(node: "SyntaxTreeNode", writer: Writer, within: frozenset[str]) -> str:
    match node.type:
        case "text":
            return writer.text(node.content)
        case "strong" | "em" | "s" if node.type not in within:
            inner = _inlines(node.children, writer, within | {node.type})
            return _styled(node.type, inner, writer)
        case "code_inline":
            return writer.code(node.content)
        case "softbreak" | "hardbreak":
            return "\n"
        case "link":
            return _link(node, writer, within)
        case "image":
            address = str(node.attrs.get("src", ""))
            return writer.link(writer.text(_plain(node) or address), address)
        case _:
            return _inlines(node.children, writer, within)


def _styled(style: Style, markup: str, writer: Writer) -> str:
    """Line by line, for some platforms end a style with the line."""
    return "\n".join(writer.styled(style, line) if line.strip() else line for line in markup.split("\n"))


def _link(node: "SyntaxTreeNode", writer: Writer, within: frozenset[str]) -> str:
    address = str(node.attrs.get("href", ""))
    shown = _inlines(node.children, writer, within)
    if not re.match(r"(?i)https?://[^\s<>]+$|mailto:[^\s<>]+$", address):
        return f"{shown} ({writer.text(address)})" if address else shown
    return writer.link(shown.replace("\n", " ") or writer.text(address), address)


# -- Telegram --------------------------------------------------------------------------------------


class _TelegramHTML:
    touching, bullet = True, "•"
    _tags: dict[Style, str] = {"strong": "b", "em": "i", "s": "s"}  # noqa: RUF012  (never changed)

    def text(self, text: str) -> str:
        return html.escape(text)

    def styled(self, style: Style, markup: str) -> str:
        return f"<{self._tags[style]}>{markup}</{self._tags[style]}>"

    def code(self, text: str) -> str:
        return f"<code>{html.escape(text)}</code>"

    def link(self, markup: str, address: str) -> str:
        return f'<a href="{html.escape(address)}">{markup}</a>'

    def block(self, text: str, language: str) -> str:
        if not _LANGUAGE.fullmatch(language):
            return f"<pre>{html.escape(text)}</pre>"
        return f'<pre><code class="language-{html.escape(language)}">{html.escape(text)}</code></pre>'

    def quote(self, markup: str) -> str:
        return f"<blockquote>{markup}</blockquote>"

    def heading(self, markup: str, level: int) -> str:
        return f"<b>{markup}</b>"


def utf16(text: str) -> int:
    """The length in UTF-16 code units."""
    return len(text) + sum(sign > "\uffff" for sign in text)


def shown_by_telegram(markup: str) -> str:
    """What is left of the HTML when its entities are parsed: what Telegram counts, and what goes as plain text."""
    return html.unescape(re.sub(r"<[^>]*>", "", markup))


# -- Slack -----------------------------------------------------------------------------------------


class _SlackMrkdwn:
    touching, bullet = False, "•"
    _signs: dict[Style, str] = {"strong": "*", "em": "_", "s": "~"}  # noqa: RUF012  (never changed)

    def text(self, text: str) -> str:
        escaped = html.escape(text, quote=False)
        # A sign that could begin a style is parted from what follows it: mrkdwn has no escape for it.
        return re.sub(r"(?<!\w)([*_~`])(?=\S)", rf"\1{_APART}", escaped)

    def styled(self, style: Style, markup: str) -> str:
        return f"{self._signs[style]}{markup}{self._signs[style]}"

    def code(self, text: str) -> str:
        if "`" in text or not text.strip():
            return self.text(text)
        return f"`{html.escape(text, quote=False)}`"

    def link(self, markup: str, address: str) -> str:
        target = html.escape(address, quote=False).replace("|", "%7C")
        return f"<{target}|{_without_links(markup).replace('|', '¦')}>"

    def block(self, text: str, language: str) -> str:
        del language  # mrkdwn would show it as code
        return f"```\n{_unfenced(html.escape(text, quote=False))}\n```"

    def quote(self, markup: str) -> str:
        return _prefixed("> ", markup)

    def heading(self, markup: str, level: int) -> str:
        return f"*{markup}*" if markup.strip() and "\n" not in markup else markup


def _without_links(markup: str) -> str:
    return re.sub(r"<[^|>]*\|([^>]*)>", r"\1", markup)


# -- Discord ---------------------------------------------------------------------------------------


class _DiscordMarkdown:
    touching, bullet = True, "-"
    _signs: dict[Style, str] = {"strong": "**", "em": "*", "s": "~~"}  # noqa: RUF012  (never changed)

    def text(self, text: str) -> str:
        """Addresses stay as they are: Discord shows an escape within them."""
        parts = re.split(r"(https?://[^\s<>()\[\]*`|]+)", text)
        return "".join(part if number % 2 else self._escaped(part) for number, part in enumerate(parts))

    @staticmethod
    def _escaped(text: str) -> str:
        text = re.sub(r"([\\*_~`|\[\]<])", r"\\\1", text)
        return re.sub(r"^(\s*)(-#|#{1,3}(?=\s)|[>+-])", r"\1\\\2", text)

    def styled(self, style: Style, markup: str) -> str:
        return f"{self._signs[style]}{markup}{self._signs[style]}"

    def code(self, text: str) -> str:
        if "``" in text:
            return self.text(text)
        return f"`` {text} ``" if "`" in text else f"`{text}`"

    def link(self, markup: str, address: str) -> str:
        target = address.replace("(", "%28").replace(")", "%29")
        if markup == target:
            return target  # Discord shows both parts of a link whose text is an address.
        return f"[{markup}]({target})"

    def block(self, text: str, language: str) -> str:
        tag = language if _LANGUAGE.fullmatch(language) else ""
        return f"```{tag}\n{_unfenced(text)}\n```"

    def quote(self, markup: str) -> str:
        return _prefixed("> ", markup)

    def heading(self, markup: str, level: int) -> str:
        return f"{'#' * level} {markup}" if level <= 3 and markup.strip() and "\n" not in markup else f"**{markup}**"


def _unfenced(text: str) -> str:
    """Code in which no fence can end."""
    return text.replace("```", f"`{_APART}`{_APART}`")


def _prefixed(prefix: str, markup: str) -> str:
    return "\n".join(prefix + line for line in markup.split("\n"))


# -- the dialects ----------------------------------------------------------------------------------


def _with(writer: Writer) -> Callable[[str], str]:
    return lambda markdown: render(markdown, writer)


TELEGRAM = Dialect(render=_with(_TelegramHTML()), measure=lambda markup: utf16(shown_by_telegram(markup)), limit=4096)
"""HTML; 4096 UTF-16 code units once its entities are parsed."""

SLACK = Dialect(render=_with(_SlackMrkdwn()), measure=len, limit=3000, command="/hermes ")
"""mrkdwn; the longest text of one section block, which is what has buttons under it."""

DISCORD = Dialect(render=_with(_DiscordMarkdown()), measure=utf16, limit=2000)
"""Discord's Markdown. Its clients count UTF-16 code units and its servers code points: the stricter count fits both."""

DIALECTS = {Platform.TELEGRAM: TELEGRAM, Platform.SLACK: SLACK, Platform.DISCORD: DISCORD}
