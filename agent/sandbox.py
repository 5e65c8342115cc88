"""A wall around commands: what they may write, whether they reach the network, and which means there is for it here.

Bubblewrap where it works, Landlock where only that does (both Linux), Seatbelt on macOS. A command is put behind the
wall by words in front of it. Whether a means works is found out by using it, once a process.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from agent import guards, landlock, programs
from agent.config import Directories, SandboxMode, Settings
from agent.records import Limits

Backend = Literal["bubblewrap", "landlock", "seatbelt"]
BACKENDS: tuple[Backend, ...] = ("bubblewrap", "landlock", "seatbelt")

SECRET_PLACES = (
    ".ssh .gnupg .aws .azure .kube .docker .netrc .npmrc .pypirc .git-credentials .password-store .config/gcloud "
    ".config/gh .config/op .mozilla .config/google-chrome .config/chromium Library/Keychains"
).split()
"""Below a home: what no command behind the wall may read."""

KNOWN_GAPS: dict[Backend, frozenset[str]] = {
    "bubblewrap": frozenset(),
    "landlock": frozenset({"change a file's mode outside"}),
    "seatbelt": frozenset(),
}
"""What a means cannot prevent, by the names of the attempts in `agent/breakout.py`."""

SCRATCH = ("/tmp", "/var/tmp")
"""Commands may write there, whatever the mode, and in /dev/shm."""
_DEVICES = "/dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/pts /dev/ptmx /dev/shm".split()
_PROBE_SECONDS = 5
_FILTER = "9"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What commands may do. `hidden` are places that they may not even read. What it `must` hold nobody may let out."""

    mode: SandboxMode
    network: bool = False
    hidden: tuple[Path, ...] = ()
    must: bool = False

    @property
    def works(self) -> bool:
        """Whether there is a means for it here."""
        return backend() is not None

    @property
    def told(self) -> str:
        """What a model should know of it."""
        writes = "the working directory and /tmp" if self.mode == "workspace-write" else "/tmp"
        network = "" if self.network else ", without network"
        own = ", and each finds /tmp empty" if backend() == "bubblewrap" else ""
        leave = "" if self.must else " The person may let one `outside`."
        return f"- Commands run in a sandbox{network}: they write in {writes} only{own}.{leave}"

    @property
    def confines(self) -> bool:
        """Whether a command behind this wall, which may not leave it, need not be asked for."""
        return not self.network and self.works

    def guard(self, workspace: Path) -> guards.Guard | None:
        """To be settled when a command is over that may write in the workspace."""
        return guards.Guard.of(workspace.resolve()) if self.mode == "workspace-write" else None

    def masks(self, workspace: Path) -> set[Path]:
        """Folders of the workspace that a command leaves behind empty: they were held shut before they were there."""
        masked = guards.missing(workspace.resolve()) if self.mode == "workspace-write" else {}
        return {place for place, is_folder in masked.items() if is_folder}

    def prefix(
        self, workspace: Path, cwd: Path, *, pty: bool = False, keep: bool = False, means: Backend | None = None
    ) -> list[str]:
        """The words to put in front of a command, by the means there is or the one that is given.

        `pty`: it has a terminal. `keep`: it may outlive Hermes.
        Raises: LookupError when there is none.
        """
        match means or backend():
            case "bubblewrap":
                return self._bubblewrap(workspace.resolve(), cwd, pty=pty, keep=keep)
            case "landlock":
                return self._landlock(workspace.resolve())
            case "seatbelt":
                return ["/usr/bin/sandbox-exec", "-p", self.seatbelt_profile(workspace.resolve())]
        raise LookupError("no sandbox works here")

    def _bubblewrap(self, workspace: Path, cwd: Path, *, pty: bool, keep: bool) -> list[str]:
        words = [*self._without_sockets(), "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
        words += [] if keep else ["--die-with-parent"]
        words += [] if self.network else ["--unshare-net"]
        words += ["--cap-drop", "ALL", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
        words += ["--bind", "/dev/pts", "/dev/pts"] if pty else []
        for scratch in SCRATCH:
            words += ["--tmpfs", scratch] if Path(scratch).is_dir() else []
        for place in self._hidden():
            words += ["--tmpfs", str(place)] if place.is_dir() else ["--ro-bind", "/dev/null", str(place)]
        words += ["--bind" if self.mode == "workspace-write" else "--ro-bind", str(workspace), str(workspace)]
        for place in self._hidden(within=workspace):
            words += ["--tmpfs", str(place)] if place.is_dir() else ["--ro-bind", "/dev/null", str(place)]
        if self.mode == "workspace-write":
            words += _guarding(workspace)
        return [*words, "--chdir", str(cwd), "--"]

    def _without_sockets(self) -> list[str]:
        """Bubblewrap, with a filter of system calls where the network is off.

        It takes one from a descriptor, and words can carry none: a shell opens it, in this process.
        """
        if self.network or (filter_ := _kept_filter()) is None:
            return [_bwrap()]
        return [
            "/bin/sh",
            "-c",
            f'exec "$@" {_FILTER}</proc/{os.getpid()}/fd/{filter_}',
            "sh",
            _bwrap(),
            "--seccomp",
            _FILTER,
        ]

    def _landlock(self, workspace: Path) -> list[str]:
        hidden, mine = self._hidden(), self._hidden(within=workspace)
        readable = [*_all_but("/", hidden), *_all_but(str(workspace), mine)]
        write, there = [*_DEVICES], [workspace]
        if self.mode == "workspace-write":
            # Landlock allows a folder with all that is below or not at all: beside what is guarded nothing new can be
            # made, only what is in the folders that are there.
            guarded = [workspace / ".git", workspace / ".hermes", *guards.shut(workspace)]
            there = [place for place in guarded if os.path.lexists(place)]
            write += _all_but(str(workspace), [*there, *mine])
        for scratch in SCRATCH:
            write += _all_but(scratch, [*there, *hidden])
        plan = {"write": write, "read": readable, "list": ["/"], "network": self.network}
        return [sys.executable, "-I", "-S", landlock.__file__, json.dumps(plan)]

    def seatbelt_profile(self, workspace: Path) -> str:
        """The rules in Seatbelt's language; of two that are about the same thing the later counts."""
        rules = ["(version 1)", "(allow default)", "(deny file-write*)"]
        scratch = [*SCRATCH, "/private/tmp", "/private/var/tmp", "/private/var/folders", "/dev"]
        writable = [*scratch, *([str(workspace)] if self.mode == "workspace-write" else [])]
        rules += [f"(allow file-write* (subpath {json.dumps(place)}))" for place in writable]
        rules += [f"(deny file* (subpath {json.dumps(str(place))}))" for place in self._hidden()]
        if any(workspace.is_relative_to(place) for place in self._hidden()):
            seen = "file*" if self.mode == "workspace-write" else "file-read*"
            rules += [f"(allow {seen} (subpath {json.dumps(str(workspace))}))"]
            rules += [f"(deny file* (subpath {json.dumps(str(place))}))" for place in self._hidden(within=workspace)]
        always = (workspace / ".git" / "hooks", workspace / ".git" / "config", workspace / ".hermes")
        guarded = dict.fromkeys([*always, *guards.shut(workspace), *guards.missing(workspace)])
        rules += [f"(deny file-write* (subpath {json.dumps(str(place))}))" for place in guarded]
        rules += [] if self.network else ["(deny network*)"]
        return "\n".join(rules)

    def _hidden(self, *, within: Path | None = None) -> list[Path]:
        """The hidden places that are there; of those `within` a workspace only."""
        found = sorted({place.resolve() for place in self.hidden if place.exists()})
        return [place for place in found if within is None or (place.is_relative_to(within) and place != within)]


def _bwrap() -> str:
    return programs.of_system("bwrap") or "/usr/bin/bwrap"


def sandbox_for(settings: Settings, dirs: Directories, limits: Limits | None = None) -> Sandbox | None:
    """The wall that the settings or the limits ask for; None for none."""
    if limits is not None:
        return wall_of(settings, dirs, limits)
    if settings.sandbox == "off":
        return None
    return Sandbox(settings.sandbox, settings.sandbox_network, _secret(dirs))


def wall_of(settings: Settings, dirs: Directories, limits: Limits) -> Sandbox:
    """The wall that limits ask for, stricter where the settings are. It must hold."""
    mode: SandboxMode = "read-only" if settings.sandbox == "read-only" else "workspace-write"
    return Sandbox(mode, limits.network, (*_secret(dirs), *map(Path, limits.hidden)), must=True)


def _secret(dirs: Directories) -> tuple[Path, ...]:
    return (*(Path.home() / place for place in SECRET_PLACES), dirs.config, dirs.state)


def _guarding(workspace: Path) -> list[str]:
    """Words for bubblewrap that shut what is guarded in a workspace, and mask what is missing."""
    words: list[str] = []
    for folder in guards.git_folders(workspace):
        if folder.is_relative_to(workspace) and folder != workspace:
            # As a place of its own it cannot be moved away and another put there.
            words += ["--bind", str(folder), str(folder)]
    for place in guards.shut(workspace):
        words += ["--ro-bind", str(place), str(place)]
    for place, is_folder in guards.missing(workspace).items():
        empty = ["--tmpfs", str(place), "--remount-ro", str(place)]
        words += empty if is_folder else ["--ro-bind", "/dev/null", str(place)]
    return words


def _all_but(folder: str, hidden: Iterable[Path]) -> list[str]:
    """Everything in a folder, folder by folder where that is needed to leave out what is hidden."""
    within = [place for place in hidden if place.is_relative_to(folder)]
    if not within:
        return [folder]
    found: list[str] = []
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.path for entry in entries if not entry.is_symlink())
    except OSError:
        return []
    for path in names:
        if Path(path) not in within:
            found += _all_but(path, within)
    return found


# -- what works here -------------------------------------------------------------------------------


@cache
def backend() -> Backend | None:
    """The means that is used here: the first that works."""
    return next((means for means in BACKENDS if not problem(means)), None)


@cache
def problem(means: Backend) -> str:
    """Why a means cannot be used; "" when it works."""
    home: dict[Backend, str] = {"bubblewrap": "linux", "landlock": "linux", "seatbelt": "darwin"}
    if sys.platform != home[means]:
        return f"for {'macOS' if means == 'seatbelt' else 'Linux'} only"
    if means == "bubblewrap" and programs.of_system("bwrap") is None:
        return "bwrap is not installed"
    if means == "landlock" and not landlock.abi():
        return "this kernel has no Landlock"
    return _tried(Sandbox("read-only").prefix(Path("/"), Path("/"), means=means))


@cache
def _kept_filter() -> int | None:
    """A descriptor of the filter that leaves a network of its own, and nothing else; None where there is none."""
    if not (text := landlock.socket_filter(landlock.INTERNET)):
        return None
    descriptor = os.memfd_create("hermes-filter")
    os.write(descriptor, text)
    return descriptor


def _tried(prefix: Sequence[str]) -> str:
    command = [*prefix, programs.of_system("true") or "/usr/bin/true"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else (lines[-1] if lines else f"it failed with {done.returncode}")
