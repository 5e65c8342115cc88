"""Images off the clipboard, by programs that are found when they are asked for; here small scripts on the PATH."""

import base64
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.errors import HermesError
from hermes_cli import clipboard
from hermes_cli.clipboard import keep_image, mention
from tests.support.pictures import PNG

Place = Callable[..., dict[str, str]]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Puts programs on a PATH that holds nothing else: each answers by what its arguments hold."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "image").write_bytes(PNG)
    (folder / "hex").write_text(f"«data PNGf{PNG.hex().upper()}»\n")
    (folder / "base64").write_text(base64.b64encode(PNG).decode() + "\r\n")

    def place(**programs: dict[str, str]) -> dict[str, str]:
        for name, answers in programs.items():
            cases = "".join(f"*{shlex.quote(words)}*) {shell};;\n" for words, shell in answers.items())
            script = folder / name.replace("_", "-").replace("-exe", ".exe")
            script.write_text(
                f'#!/bin/sh\nPATH=/bin:/usr/bin; cd {shlex.quote(str(folder))}\ncase "$*" in\n{cases}esac\n'
            )
            script.chmod(0o755)
        return {"PATH": str(folder), "WAYLAND_DISPLAY": "wayland-0", "MY_API_KEY": "hunter2hunter2"}

    return place


WAYLAND = {"--list-types": "printf 'text/plain\\nimage/png\\n'", "--type image/png": "cat image"}
X11 = {"TARGETS": "printf 'TARGETS\\nimage/png\\n'", "-t image/png -o": "cat image"}


@pytest.mark.parametrize(
    ("system", "programs"),
    [
        ("linux", {"wl_paste": WAYLAND}),
        ("linux", {"xclip": X11}),
        ("linux", {"wl_paste": {"--list-types": "exit 1"}, "xclip": X11}),
        ("linux", {"powershell_exe": {"Clipboard": "cat base64"}}),
        ("darwin", {"pngpaste": {"-": "cat image"}}),
        ("darwin", {"osascript": {"PNGf": "cat hex"}}),
        ("darwin", {"pngpaste": {"-": "exit 1"}, "osascript": {"PNGf": "cat hex"}}),
        ("win32", {"powershell": {"Clipboard": "cat base64"}}),
    ],
)
def test_the_image_is_kept_and_named(
    tmp_path: Path, place: Place, system: str, programs: dict[str, dict[str, str]]
) -> None:
    env = place(**programs)
    part = keep_image(tmp_path / "images", env, system=system)
    assert Path(part.file).read_bytes() == PNG
    assert part.media_type == "image/png"
    assert mention(part) == f'@"{part.file}"'


@pytest.mark.parametrize(
    ("system", "programs"),
    [
        ("linux", {"wl_paste": {"--list-types": "echo text/plain"}}),
        ("linux", {"xclip": {"TARGETS": "exit 1"}}),
        ("darwin", {"osascript": {"PNGf": "echo error; exit 1"}}),
        ("win32", {"powershell": {"Clipboard": "echo 'no image!'"}}),
    ],
)
def test_a_clipboard_without_an_image_says_so(
    tmp_path: Path, place: Place, system: str, programs: dict[str, dict[str, str]]
) -> None:
    env = place(**programs)
    with pytest.raises(HermesError, match="no image on the clipboard"):
        keep_image(tmp_path / "images", env, system=system)


def test_a_machine_without_such_a_program_names_those_it_looked_for(tmp_path: Path, place: Place) -> None:
    with pytest.raises(HermesError, match="wl-paste or xclip") as failure:
        keep_image(tmp_path, place())
    assert "@shot.png" in failure.value.hint


def test_a_program_that_hangs_does_not_hang_the_prompt(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipboard, "WITHIN", 0.2)
    with pytest.raises(HermesError, match="no image"):
        keep_image(tmp_path, place(wl_paste={"--list-types": "exec sleep 30"}))


def test_such_a_program_sees_no_secrets_and_what_it_gives_must_be_an_image(tmp_path: Path, place: Place) -> None:
    env = place(wl_paste={"--list-types": "env > seen; echo image/png", "--type": "echo not an image"})
    with pytest.raises(HermesError, match="no image that models take"):
        keep_image(tmp_path / "images", env)
    assert "hunter2" not in (Path(env["PATH"]) / "seen").read_text()
