"""`!cmd`: a shell command the person runs as themselves. The model never sees it."""

import codecs
import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from hermes_cli.text import harmless

if TYPE_CHECKING:
    from hermes_cli.chat import Chat

MOST_OUTPUT = 200_000
"""Bytes of output shown; what comes after is counted and thrown away."""

PIECE = 65_536
"""Bytes read at once."""

DRAIN = 0.3
"""Seconds for the last output once the command has ended."""


def run_as_person(chat: "Chat", command: str) -> None:
    """Run it aside and show its output; one at a time, Ctrl+C stops it."""
    if chat.shell is not None:
        chat.complain("A shell command is still running.", "Ctrl+C stops it.")
        return
    chat.screen.show(f"\n! {command}\n")
    shell = os.environ.get("SHELL", "/bin/sh") if sys.platform != "win32" else None
    try:
        process = subprocess.Popen(
            command,
            shell=True,
            executable=shell,
            cwd=chat.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        chat.complain(f"The shell could not be started: {error}.")
        return
    chat.shell = process
    threading.Thread(target=_watch, args=(chat, process), daemon=True, name="shell").start()


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask it to end."""
    _signal(process, "SIGTERM")


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End it now, whatever it does with SIGTERM."""
    _signal(process, "SIGKILL")


def _signal(process: "subprocess.Popen[bytes]", name: str) -> None:
    with contextlib.suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.terminate()
        else:
            os.killpg(process.pid, getattr(signal, name))


def _watch(chat: "Chat", process: "subprocess.Popen[bytes]") -> None:
    """On a thread: until the command ends, and a moment for what it wrote last."""
    reader = threading.Thread(target=_pass_on, args=(chat, process), daemon=True, name="shell output")
    reader.start()
    code = process.wait()
    # Something it left in the background may hold the pipe open for ever.
    reader.join(DRAIN)

    def over() -> None:
        chat.shell = None
        if code:
            chat.complain(_ended(code))
        chat.screen.refresh()

    chat.post(over)


def _ended(code: int) -> str:
    number = -code
    named = f" ({signal.Signals(number).name})" if number in set(signal.Signals) else ""
    return f"ended by signal {number}{named}" if code < 0 else f"exit {code}"


def _pass_on(chat: "Chat", process: "subprocess.Popen[bytes]") -> None:
    """On a thread: output as it comes, in bounded pieces."""
    assert process.stdout is not None
    decoder, shown, rest = codecs.getincrementaldecoder("utf-8")("replace"), 0, ""
    while data := os.read(process.stdout.fileno(), PIECE):
        shown += len(data)
        if shown > MOST_OUTPUT:
            continue
        *lines, rest = (rest + decoder.decode(data)).split("\n")
        if len(rest) > PIECE:
            lines, rest = [*lines, rest], ""
        if lines:
            _show(chat, "\n".join(lines))
    if rest:
        _show(chat, rest)
    if shown > MOST_OUTPUT:
        _show(chat, f"({shown - MOST_OUTPUT} more bytes are not shown)")


def _show(chat: "Chat", text: str) -> None:
    text = harmless(text, keep_colours=True)
    reset = "\x1b[0m" if "\x1b" in text else ""
    chat.post(lambda: chat.screen.show(f"{text}{reset}\n"))
