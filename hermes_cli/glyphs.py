"""The few signs of the chrome, in two sets. All are one column wide in every terminal."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Glyphs:
    prompt: str
    answer: str
    tool: str
    running: str
    waiting: str
    done: str
    failed: str
    ellipsis: str
    dot: str
    full: str
    empty: str
    bar: str
    spinner: tuple[str, ...]


UNICODE = Glyphs("›", "●", "┊", "▶", "⏸", "✓", "✗", "…", "·", "▰", "▱", "│", tuple("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"))
ASCII = Glyphs(">", "*", "|", ">", "!", "+", "x", "...", "-", "#", ".", "|", tuple("|/-\\"))

PLAIN = ("C", "POSIX")
COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
"""What Python takes in the place of a plain locale."""


def choose(env: Mapping[str, str] = os.environ, encoding: str | None = None) -> Glyphs:
    """ASCII when `HERMES_ASCII` says so or the output cannot take UTF-8."""
    if env.get("HERMES_ASCII", "") not in ("", "0"):
        return ASCII
    # Where the locale is plain, Python sets LC_CTYPE to UTF-8 for itself; the terminal has not been asked.
    own = env.get("LC_CTYPE") in COERCED and env.get("LANG", "") in PLAIN
    locale = env.get("LC_ALL") or (not own and env.get("LC_CTYPE")) or env.get("LANG") or "utf-8"
    if "utf" not in locale.lower():
        return ASCII
    encoding = encoding or getattr(sys.stdout, "encoding", None) or "ascii"
    return UNICODE if "utf" in encoding.lower() else ASCII
