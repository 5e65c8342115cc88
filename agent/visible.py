"""Text that somebody decides about, with a sign for whatever would not be seen in it. Nothing is ever left out."""

import re

_FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
"""Letters and marks that show nothing, though their categories say otherwise."""
_LONG = 80
"""Blanks in a row that could push what comes after them out of sight."""
_HIDDEN = re.compile(r"[^\x20-\x7e\n\t]")
_BLANKS = re.compile(rf" {{{_LONG},}}")


def visible(text: str) -> str:
    """The text with control characters, marks that reorder it and blanks without a width as signs: `␛`, `<U+202E>`.

    New lines, tabs and ordinary blanks stay as they are, but for a long row of blanks, which is counted. What it gives
    holds no control character but those two.
    """
    if " " * _LONG in text:
        text = _BLANKS.sub(lambda match: f" <{len(match[0])} blanks> ", text)
    return text if text.isascii() and text.isprintable() else _HIDDEN.sub(_sign, text)


def _sign(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    shown = character.isprintable() and character not in _FILLERS and not _is_selector(code)
    return character if shown else f"<U+{code:04X}>"


def _is_selector(code: int) -> bool:
    """Marks that choose the form of the character before them."""
    return 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF or 0x180B <= code <= 0x180F


def both_ends(text: str, most: int, ellipsis: str = "…") -> str:
    """Both ends of a text longer than `most`, and how much is between them: neither may hide what it does."""
    left_out = len(text) - most
    if left_out <= 0:
        return text
    part = most // 2
    return f"{text[:part]} {ellipsis} {left_out} more characters {ellipsis} {text[-part:]}"
