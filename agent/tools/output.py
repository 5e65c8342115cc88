"""The output of a command, however much of it there is."""

import codecs
import re
import signal
import threading

_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|\x1b[\]PX^_][^\x07\x1b]{0,2000}(?:\x07|\x1b\\)"  # titles, links
    r"|\x1b[ -/]*[0-~]"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)


class BoundedOutput:
    """Keeps the first and the last half of `limit` bytes, and counts what falls out between.

    `add` and `text` may be called from different threads.
    """

    def __init__(self, limit: int) -> None:
        self._half = max(limit // 2, 1)
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0
        self._lock = threading.Lock()

    def add(self, chunk: bytes) -> None:
        with self._lock:
            room = self._half - len(self._head)
            self._head += chunk[:room]
            self._tail += chunk[room:]
            # Trimmed in bulk: cutting at every chunk would copy the tail each time.
            if len(self._tail) > 4 * self._half:
                self._trim()

    def after(self, position: int) -> tuple[str, int]:
        """What came since `position` bytes, as far as it is kept, and the position of now."""
        with self._lock:
            tail_start = len(self._head) + self._dropped
            total = tail_start + len(self._tail)
            head, tail = self._head[position:], self._tail[max(position - tail_start, 0) :]
            lost = tail_start - max(position, len(self._head))
        note = f"\n[… {lost:,} bytes left out …]\n" if lost > 0 else ""
        return head.decode(errors="replace") + note + tail.decode(errors="replace"), total

    def text(self) -> str:
        """What was kept, as text; undecodable bytes become `�`."""
        with self._lock:
            self._trim()
            if not self._dropped:
                return (self._head + self._tail).decode(errors="replace")
            head, tail = _decoded_start(bytes(self._head)), _decoded_end(bytes(self._tail))
            return f"{head}\n[… {self._dropped:,} bytes left out …]\n{tail}"

    def _trim(self) -> None:
        if (excess := len(self._tail) - self._half) > 0:
            del self._tail[:excess]
            self._dropped += excess


def printable(text: str) -> str:
    """The text without escape sequences and control characters, which would act on a person's terminal.

    A lone carriage return becomes a newline: what a progress bar overwrote stays readable.
    """
    return _CONTROL.sub("", text).replace("\r\n", "\n").replace("\r", "\n")


def described_exit(status: int) -> tuple[int, str]:
    """The exit code as a shell gives it, and words for it. Signals are named. `status` is as `Popen.returncode`."""
    number = -status if status < 0 else status - 128
    code = 128 + number if status < 0 else status
    if 0 < number < signal.NSIG and number in set(signal.Signals):
        killed = f"killed by {signal.Signals(number).name}"
        return code, f"{killed}, exit {code}"
    return code, f"exit {code}"


def _decoded_start(data: bytes) -> str:
    """Decode without the character that the cut tore apart at the end."""
    return codecs.getincrementaldecoder("utf-8")(errors="replace").decode(data)


def _decoded_end(data: bytes) -> str:
    """Decode without the rest of a character at the beginning."""
    skip = next((index for index, byte in enumerate(data[:4]) if byte & 0xC0 != 0x80), 0)
    return data[skip:].decode(errors="replace")
