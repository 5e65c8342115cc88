"""The image on the clipboard, by whatever program the machine has for it: found when it is asked for."""

import base64
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from agent import images, programs
from agent.errors import HermesError
from agent.messages import ImagePart
from agent.redact import scrubbed_environment

WITHIN = 5.0
"""Seconds that such a program may take: one asks another, which may hang."""

_KINDS = ("image/png", "image/jpeg", "image/webp", "image/gif")
_APPLE = "get the clipboard as «class PNGf»"
_WINDOWS = (
    "Add-Type -AssemblyName System.Windows.Forms, System.Drawing; "
    "$image = [Windows.Forms.Clipboard]::GetImage(); if ($image) { $bytes = New-Object IO.MemoryStream; "
    "$image.Save($bytes, [Drawing.Imaging.ImageFormat]::Png); [Convert]::ToBase64String($bytes.ToArray()) }"
)

Run = Callable[..., bytes]
"""Runs a program with arguments and gives what it wrote, b"" when it failed."""


def keep_image(folder: Path, env: Mapping[str, str], *, system: str = sys.platform) -> ImagePart:
    """Keep the clipboard's image in `folder`. Blocks for a moment.

    Raises: HermesError when there is none, no program to get it by, or it is nothing that models take.
    """
    candidates = _candidates(env, system)
    readers = [read for name, read in candidates if programs.find(name, Path.cwd(), path=env.get("PATH"))]
    if not readers:
        wanted = " or ".join(name for name, _ in candidates)
        raise HermesError(
            f"There is no program here that reads images off the clipboard ({wanted}).",
            hint="Save the image, and name the file: @shot.png. Over SSH the clipboard is on the other machine.",
        )

    def run(program: str, *arguments: str) -> bytes:
        command = [programs.find(program, Path.cwd(), path=env.get("PATH")) or program, *arguments]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=WITHIN,
                env=scrubbed_environment(env),
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return b""
        return done.stdout if done.returncode == 0 else b""

    data = next((found for read in readers if (found := read(run))), b"")
    if not data:
        raise HermesError("There is no image on the clipboard.", hint="Text is pasted with the terminal's own key.")
    return images.keep(data, f"pasted, {len(data) / 1000:,.0f} KB", folder)


def mention(part: ImagePart) -> str:
    """How a prompt names a kept image."""
    return f'@"{part.file}"'


def _candidates(env: Mapping[str, str], system: str) -> list[tuple[str, Callable[[Run], bytes]]]:
    """Programs, and how each is asked; the best first."""
    if system == "darwin":
        return [("pngpaste", lambda run: run("pngpaste", "-")), ("osascript", _from_apple)]
    if system == "win32":
        return [("powershell", lambda run: _from_windows(run, "powershell"))]
    wayland, x11 = ("wl-paste", _from_wayland), ("xclip", _from_x11)
    first = [wayland, x11] if env.get("WAYLAND_DISPLAY") else [x11, wayland]
    # Below Windows, in WSL.
    return [*first, ("powershell.exe", lambda run: _from_windows(run, "powershell.exe"))]


def _from_wayland(run: Run) -> bytes:
    kind = _kind(run("wl-paste", "--list-types"))
    return run("wl-paste", "--no-newline", "--type", kind) if kind else b""


def _from_x11(run: Run) -> bytes:
    kind = _kind(run("xclip", "-selection", "clipboard", "-t", "TARGETS", "-o"))
    return run("xclip", "-selection", "clipboard", "-t", kind, "-o") if kind else b""


def _kind(listed: bytes) -> str:
    there = listed.decode(errors="replace").split()
    return next((kind for kind in _KINDS if kind in there), "")


def _from_apple(run: Run) -> bytes:
    found = re.search(rb"PNGf((?:[0-9A-F]{2})+)", run("osascript", "-e", _APPLE))
    return bytes.fromhex(found[1].decode()) if found else b""


def _from_windows(run: Run, program: str) -> bytes:
    text = run(program, "-NoProfile", "-STA", "-Command", _WINDOWS)
    try:
        return base64.b64decode(text.strip(), validate=True)
    except ValueError:
        return b""
