"""The output of a command, however much of it there is."""

import codecs
import re
import signal
import threading

from agent.protocols import Redact
from agent.redact import MARGIN

_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|\x1b[\]PX^_][^\x07\x1b]{0,2000}(?:\x07|\x1b\\)"  # titles, links
    r"|\x1b[ -/]*[0-~]"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)


_ENDS_PROGRAMS = frozenset(
    getattr(signal, name)
    for name in "SIGINT SIGILL SIGABRT SIGBUS SIGFPE SIGKILL SIGSEGV SIGPIPE SIGTERM SIGXCPU SIGXFSZ SIGSYS".split()
    if hasattr(signal, name)
)
"""Those that a code above 128 stands for. Left out is SIGHUP: with 129 git says that it was used wrongly."""


class BoundedOutput:
    """Keeps the first and the last half of `limit` bytes, or of `keep` if that is more, and counts the rest.

    A little more is kept, unseen, so that a secret is known as one where the cut goes through it.
    `add` and `text` may be called from different threads.
    """

    def __init__(self, limit: int, *, keep: int = 0) -> None:
        self._shown = max(limit // 2, 1)
        self._half = max(keep // 2, self._shown)
        self._kept = self._half + MARGIN
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0
        self._lock = threading.Lock()

    def add(self, chunk: bytes) -> None:
        with self._lock:
            room = self._kept - len(self._head)
            self._head += chunk[:room]
            self._tail += chunk[room:]
            # Trimmed in bulk: cutting at every chunk would copy the tail each time.
            if len(self._tail) > 4 * self._kept:
                self._trim()

    def after(self, position: int, redact: Redact) -> tuple[str, int]:
        """What came since `position` bytes, as far as it is kept, cleaned; and the position of now.

        The beginning of a secret whose rest has not come yet is not known as one.
        """
        with self._lock:
            head, tail, dropped = bytes(self._head), bytes(self._tail), self._dropped
        total = len(head) + dropped + len(tail)
        if not dropped:
            return cleaned(head + tail, redact, start=position), total
        # Where it was cut, a secret may have begun before.
        start = max(position - len(head) - dropped, MARGIN)
        lost = total - len(tail) + start - max(position, len(head) - MARGIN)
        note = f"\n[… {lost:,} bytes left out …]\n" if lost > 0 else ""
        early = cleaned(head, redact, start=position, end=len(head) - MARGIN) if position < len(head) else ""
        return early + note + cleaned(tail, redact, start=start), total

    def text(self, redact: Redact) -> str:
        """`limit` bytes of it, fit for a terminal and cleaned where it was cut; undecodable bytes become `�`."""
        return self._text(redact, self._shown)

    def whole(self, redact: Redact) -> str:
        """All that is kept, where `text` shows less; else ""."""
        with self._lock:
            more = len(self._head) + self._dropped + len(self._tail) > 2 * self._shown
        return self._text(redact, self._half) if more and self._half > self._shown else ""

    def _text(self, redact: Redact, half: int) -> str:
        with self._lock:
            self._trim()
            kept, dropped = bytes(self._head + self._tail), self._dropped
        left_out = len(kept) + dropped - 2 * half
        if left_out <= 0:
            return cleaned(kept, redact)
        head = cleaned(kept[: half + MARGIN], redact, end=half)
        tail = cleaned(kept[-half - MARGIN :], redact, start=-half)
        return f"{head}\n[… {left_out:,} bytes left out …]\n{tail}"

    def _trim(self) -> None:
        if (excess := len(self._tail) - self._kept) > 0:
            del self._tail[:excess]
            self._dropped += excess


def cleaned(data: bytes, redact: Redact, *, start: int = 0, end: int | None = None) -> str:
    """`data[start:end]` as text fit for a terminal, without the secrets that the whole shows."""
    before, wanted, beyond = data[:start], data[start:end], data[end:] if end is not None else b""
    if before:
        wanted = _whole_start(wanted)
    text = _decoded_start(wanted) if beyond else wanted.decode(errors="replace")
    around = [printable(part[-MARGIN:].decode(errors="replace")) for part in (before, beyond[:MARGIN])]
    text = printable(text)
    return redact.part(around[0] + text + around[1], len(around[0]), len(around[0] + text))


def printable(text: str) -> str:
    """The text without escape sequences and control characters, which would act on a person's terminal.

    A lone carriage return becomes a newline: what a progress bar overwrote stays readable.
    """
    return _CONTROL.sub("", text).replace("\r\n", "\n").replace("\r", "\n")


def described_exit(status: int) -> tuple[int, str]:
    """The exit code as a shell gives it, and words for it. Signals are named. `status` is as `Popen.returncode`.

    A shell tells by its own code that a signal ended what it ran; for some signals programs use that code themselves.
    """
    number = -status if status < 0 else status - 128
    code = 128 + number if status < 0 else status
    if number in (set(signal.Signals) if status < 0 else _ENDS_PROGRAMS):
        return code, f"killed by {signal.Signals(number).name}, exit {code}"
    return code, f"exit {code}"


def _decoded_start(data: bytes) -> str:
    """Decode without the character that the cut tore apart at the end."""
    return codecs.getincrementaldecoder("utf-8")(errors="replace").decode(data)


def _whole_start(data: bytes) -> bytes:
    """The data without the rest of a character at the beginning."""
    return data[next((index for index, byte in enumerate(data[:4]) if byte & 0xC0 != 0x80), 0) :]
