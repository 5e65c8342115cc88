"""Telegram's rules for HTML in messages, as strict as its server."""

import re

_TAGS = frozenset({"b", "strong", "i", "em", "u", "s", "code", "pre", "a", "blockquote", "tg-spoiler"})
_TOKEN = re.compile(
    r'<(?P<end>/?)(?P<tag>[a-z-]+)(?P<rest>(?: [a-z]+="[^"<>]*")?)>|(?P<entity>&(?:lt|gt|amp|quot|#\d+|#x[0-9a-f]+);)'
)


class BadEntities(Exception):
    """What the server answers 400 to."""


def parsed(markup: str) -> str:
    """The text that is shown. Raises: BadEntities."""
    import html

    text, opened, position = "", [], 0
    for match in _TOKEN.finditer(markup):
        text += _plain(markup[position : match.start()])
        position = match.end()
        if match["entity"]:
            text += html.unescape(match["entity"])
        elif match["tag"] not in _TAGS:
            raise BadEntities(f"can't parse entities: unsupported start tag {match['tag']!r}")
        elif not match["end"]:
            if match["tag"] == "blockquote" and "blockquote" in opened:
                raise BadEntities("can't parse entities: nested blockquote")
            opened.append(match["tag"])
        elif not opened or opened.pop() != match["tag"]:
            raise BadEntities(f"can't parse entities: unexpected end tag {match['tag']!r}")
    text += _plain(markup[position:])
    if opened:
        raise BadEntities(f"can't parse entities: can't find end tag of {opened[-1]!r}")
    return text


def _plain(text: str) -> str:
    if "<" in text:
        raise BadEntities("can't parse entities: unsupported start tag")
    return text


def utf16_length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
