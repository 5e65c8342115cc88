"""A git repository outside of the project that holds files as they were. Only git's plumbing is used.

Neither the project's own repository nor the person's git settings are touched or read, but for `.gitignore` files.
"""

import contextlib
import hashlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent import programs
from agent.errors import HermesError

LARGEST_FILE = 10_000_000
"""Bytes; larger files are not saved, and named."""
MOST_FILES = 20_000
MOST_BYTES = 300_000_000
"""New or changed in one snapshot; beyond this none is made."""
SNAPSHOT_SECONDS = 10.0
MOST_FOLDERS = 500
"""Empty folders that are remembered."""

_WIDE = 0o444
"""A file that everybody may read is not remembered for who may."""

_LEFT_OUT = ".git\nnode_modules/\n__pycache__/\n.venv/\n.tox/\n.nox/\n.mypy_cache/\n.pytest_cache/\n.ruff_cache/\n"
_AS_IT_IS = "* -text -eol -ident -filter -working-tree-encoding -crlf\n"
_SETTINGS = (
    "core.autocrlf=false", "core.safecrlf=false", "core.fsync=none", "core.loosecompression=1", "core.symlinks=true",
    "core.quotepath=false", "core.filemode=true", "gc.auto=0",
)  # fmt: skip


FOLDER = "checkpoints"
"""Below the state directory: the repositories of all workspaces."""


class ShadowError(HermesError):
    """Nothing was saved, or could be read; the text says why, for a person."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A file as it was. `mode` is git's: 100644, 100755 or 120000 for a link. `bits` says who might do what with it, 0
    where that is not known; two that differ only there count as the same.
    """

    mode: str
    blob: str
    bits: int = field(default=0, compare=False)


class Shadow:
    """The repository of one workspace, with an index for each session."""

    def __init__(self, folder: Path, workspace: Path, *, index: str) -> None:
        self._git_dir = folder / hashlib.sha256(str(workspace).encode(errors="surrogateescape")).hexdigest()[:24]
        self._workspace, self._above = workspace, frozenset(workspace.parents)
        self._index = self._git_dir / f"{index}.index"
        self._modes = self._git_dir / f"{index}.modes"
        self._ready = False

    @classmethod
    def all(cls, folder: Path) -> "Iterator[Shadow]":
        """Those of every workspace, to look at and drop what they keep."""
        for git_dir in folder.glob("*/HEAD"):
            found = cls(folder, folder, index="")
            found._git_dir, found._ready = git_dir.parent, True
            yield found

    # -- single files ------------------------------------------------------------------------------

    def keep(self, path: Path) -> Kept | None:
        """Save a file; None when it is not there, or a folder stands there.

        Raises: ShadowError when it is too large or cannot be read.
        """
        try:
            if self._is_elsewhere(path):
                return None
            if path.is_symlink():
                return Kept("120000", self._hash(os.fsencode(path.readlink())))
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                return None
            if not stat.S_ISREG(status.st_mode):
                raise ShadowError(f"{path} is no ordinary file")
            if status.st_size > LARGEST_FILE:
                raise ShadowError(f"{path} is larger than {LARGEST_FILE:,} bytes")
            mode = "100755" if status.st_mode & 0o100 else "100644"
            return Kept(mode, self._hash(path.read_bytes()), status.st_mode & 0o777)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ShadowError(f"{path}: {error.strerror}") from error

    def _hash(self, data: bytes) -> str:
        return self._git("hash-object", "-w", "--stdin", "--no-filters", data=data).decode().strip()

    def same(self, path: Path, kept: Kept | None) -> bool:
        """Whether the file is now what was kept. A folder in its place is no file."""
        try:
            if self._is_elsewhere(path):
                return kept is None
            if path.is_symlink():
                data, mode = os.fsencode(path.readlink()), "120000"
            else:
                data, mode = path.read_bytes(), "100755" if path.stat().st_mode & 0o100 else "100644"
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return kept is None
        except OSError:
            return False
        name = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        return kept == Kept(mode, name)

    def _is_elsewhere(self, path: Path) -> bool:
        """Whether a link on the way leads to another file than the one that had this name."""
        inside = path.is_relative_to(self._workspace)
        return inside and any(
            parent.is_symlink() for parent in path.parents if parent != self._workspace and parent not in self._above
        )

    def content(self, kept: Kept) -> bytes:
        """Raises: ShadowError."""
        return self._git("cat-file", "blob", kept.blob)

    def restore(self, path: Path, kept: Kept | None) -> None:
        """Make the file what was kept; folders that this leaves empty go, too. Raises: ShadowError."""
        try:
            if kept is None:
                path.unlink(missing_ok=True)
                self._remove_empty(path.parent)
                return
            if self._is_elsewhere(path):
                raise ShadowError(f"{path}: a link stands where its folder was")
            data = self.content(kept)
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir() and not path.is_symlink():
                for folder, _folders, _files in os.walk(path, topdown=False):
                    Path(folder).rmdir()
            temporary = path.with_name(f".{os.urandom(6).hex()}.hermes-tmp")
            if kept.mode == "120000":
                temporary.symlink_to(os.fsdecode(data))
            else:
                with os.fdopen(
                    os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, kept.bits or 0o666), "wb"
                ) as file:
                    file.write(data)
                temporary.chmod(_mode(kept, path if path.is_file() and not path.is_symlink() else temporary))
            temporary.replace(path)
        except OSError as error:
            raise ShadowError(f"{path}: {error.strerror}") from error

    def _remove_empty(self, folder: Path) -> None:
        while folder != self._workspace and folder.is_relative_to(self._workspace):
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent

    # -- the whole workspace -----------------------------------------------------------------------

    def snapshot(self) -> tuple[str, list[str]]:
        """Save every file that is not ignored. Gives the tree's name, and the files that were left out.

        Raises: ShadowError when there is too much, or it takes too long.
        """
        modes = self.modes()
        listed = self._git("ls-files", "--others", "--exclude-standard", "-z", work=True)
        changed = self._git("diff-files", "--name-only", "-z", work=True)
        # Beyond a link that came since, other files have these names.
        moved = {name for name in changed.split(b"\0") if self._is_elsewhere(self._workspace / os.fsdecode(name))}
        names = [name for name in {*listed.split(b"\0"), *changed.split(b"\0")} if name]
        if len(names) > MOST_FILES:
            raise ShadowError(f"{len(names):,} files are too many to save")
        wanted, gone, left_out, total = list[bytes](), list[bytes](), list[str](), 0
        for name in names:
            modes.pop(os.fsdecode(name), None)
            try:
                status = os.lstat(os.path.join(os.fsencode(self._workspace), name))  # noqa: PTH118  (bytes)
            except OSError:
                gone.append(name)
                continue
            size, mode = status.st_size, status.st_mode
            if name in moved or (stat.S_ISDIR(mode) and not name.endswith(b"/")):
                gone.append(name)
            elif size > LARGEST_FILE or name.endswith(b"/"):
                left_out.append(os.fsdecode(name))
                gone += [] if name.endswith(b"/") else [name]  # What it was before it grew is not what it is now.
            else:
                wanted.append(name)
                total += size
                if stat.S_ISREG(mode) and mode & _WIDE != _WIDE:
                    modes[os.fsdecode(name)] = mode & 0o777
        if total > MOST_BYTES:
            raise ShadowError(f"{total:,} bytes are too many to save")
        # What is gone goes first: a file may stand where a folder was, or a folder where a file was.
        for how, changed_names in (("--force-remove", gone), ("--add", wanted)):
            if changed_names:
                data = b"\0".join(changed_names) + b"\0"
                self._git("update-index", "-z", "--replace", "--remove", how, "--stdin", data=data, work=True)
        self._note_modes(modes)
        return self._git("write-tree", work=True).decode().strip(), sorted(left_out)

    def modes(self) -> dict[str, int]:
        """The files that not everybody could read at the last snapshot of this session, and who could do what."""
        try:
            found = json.loads(self._modes.read_bytes())
        except (OSError, ValueError):
            return {}
        return {name: mode for name, mode in found.items() if isinstance(mode, int)}

    def _note_modes(self, modes: Mapping[str, int]) -> None:
        try:
            if modes or self._modes.exists():
                self._modes.write_text(json.dumps(modes))
        except OSError as error:
            raise ShadowError(f"{self._modes}: {error.strerror}") from error

    def empty_folders(self) -> list[str]:
        """The folders that held nothing at the last snapshot, but for those that are ignored. Raises: ShadowError."""
        listed = self._git("ls-files", "--others", "--directory", "--exclude-standard", "-z", work=True).split(b"\0")
        found = [os.fsdecode(name[:-1]) for name in listed if name.endswith(b"/")]
        return [name for name in found if self.is_empty(name)][:MOST_FOLDERS]

    def is_empty(self, name: str) -> bool:
        try:
            return not any((self._workspace / name).iterdir())
        except OSError:
            return False

    def make_folder(self, name: str) -> None:
        """Raises: ShadowError."""
        try:
            if not self._is_elsewhere(self._workspace / name):
                (self._workspace / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ShadowError(f"{name}: {error.strerror}") from error

    def differences(self, before: str, after: str) -> Iterator[tuple[Path, Kept | None, Kept | None]]:
        """Each file that differs between two trees, as it was and as it became."""
        fields = self._git("diff-tree", "-r", "-z", "--no-renames", before, after).split(b"\0")
        for head, name in zip(fields[::2], fields[1::2], strict=False):
            old_mode, new_mode, old, new, _status = head.decode().lstrip(":").split()
            old_kept = Kept(old_mode, old) if old_mode.startswith("1") else None
            new_kept = Kept(new_mode, new) if new_mode.startswith("1") else None
            yield self._workspace / os.fsdecode(name), old_kept, new_kept

    def at(self, tree: str, path: Path) -> Kept | None:
        """A file as it is in a snapshot, None when it is not in it."""
        found = self._git("ls-tree", "-z", "--full-tree", tree, "--", path.relative_to(self._workspace).as_posix())
        mode, _, rest = found.decode(errors="surrogateescape").partition(" ")
        return Kept(mode, rest.split()[1].partition("\t")[0]) if rest.startswith("blob") else None

    def ignored(self) -> list[str]:
        """The ignored files, and the folders of which all is, with a slash at the end. Raises: ShadowError."""
        listed = self._git("ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z", work=True)
        home = self._git_dir.parent.parent
        return [
            name
            for name in map(os.fsdecode, filter(None, listed.split(b"\0")))
            if not home.is_relative_to(self._workspace / name)
        ]

    def blobs(self, tree: str) -> frozenset[str]:
        """What is in the files of a snapshot, by name. Raises: ShadowError."""
        listed = self._git("ls-tree", "-r", "-z", tree).decode(errors="surrogateescape").split("\0")
        return frozenset(line.split(None, 3)[2] for line in listed if line)

    # -- what is referred to stays -----------------------------------------------------------------

    def put(self, ref: str, record: bytes, blobs: Iterable[str], trees: Iterable[str]) -> None:
        """Keep a record with all that it names."""
        lines = [f"100644 blob {self._hash(record)}\trecord"]
        lines += [f"100644 blob {blob}\tb{number}" for number, blob in enumerate(dict.fromkeys(blobs))]
        lines += [f"040000 tree {tree}\tt{number}" for number, tree in enumerate(dict.fromkeys(trees))]
        tree = self._git("mktree", data="\n".join([*lines, ""]).encode()).decode().strip()
        self._git("update-ref", f"refs/hermes/{ref}", tree)

    def records(self, prefix: str = "") -> Mapping[str, bytes]:
        """The records by their names, oldest first."""
        if not self._git_dir.exists():
            return {}
        names = self._git("for-each-ref", "--format=%(refname)", f"refs/hermes/{prefix}").decode().split()
        names.sort()
        answer = self._git("cat-file", "--batch", data="".join(f"{name}:record\n" for name in names).encode())
        found: dict[str, bytes] = {}
        for name in names:
            head, _, answer = answer.partition(b"\n")
            size = int(head.split()[2])
            found[name.removeprefix("refs/hermes/")], answer = answer[:size], answer[size + 1 :]
        return found

    def names(self) -> list[str]:
        """Those of every session, oldest first."""
        listed = self._git("for-each-ref", "--sort=refname", "--format=%(refname)", "refs/hermes/").decode().split()
        return [name.removeprefix("refs/hermes/") for name in listed]

    def drop(self, names: Iterable[str]) -> None:
        lines = "".join(f"delete refs/hermes/{name}\n" for name in names)
        if lines:
            self._git("update-ref", "--stdin", data=lines.encode())

    def forget(self, sessions: Collection[str]) -> bool:
        """Drop all that is kept of some sessions. False when there is nothing. Raises: ShadowError."""
        names = [name for name in self.names() if name.partition("/")[0] in sessions]
        self.drop(names)
        for session in sessions:
            for ending in ("index", "modes"):
                self._git_dir.joinpath(f"{session}.{ending}").unlink(missing_ok=True)
        return bool(names)

    def tidy(self) -> None:
        """Pack what is kept and delete what nothing names; recent objects stay, for they may be about to be named."""
        self._git("gc", "--quiet", "--prune=1.hour.ago", seconds=120)

    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self._git_dir.rglob("*") if path.is_file())

    # -- git ---------------------------------------------------------------------------------------

    def _git(self, *arguments: str, data: bytes = b"", work: bool = False, seconds: float = SNAPSHOT_SECONDS) -> bytes:
        """What git says. Raises: ShadowError."""
        if not self._ready and arguments[0] != "init":
            self._prepare()
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        env |= {"GIT_DIR": str(self._git_dir), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
        env |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
        if work:
            env |= {"GIT_WORK_TREE": str(self._workspace), "GIT_INDEX_FILE": str(self._index)}
        settings = [part for setting in _SETTINGS for part in ("-c", setting)]
        try:
            if (program := programs.find("git", self._workspace)) is None:
                raise ShadowError("git is not installed")
            done = subprocess.run(
                [program, *settings, *arguments],
                input=data,
                capture_output=True,
                cwd=self._workspace if work else self._git_dir.parent,
                env=env,
                timeout=seconds,
                check=False,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise ShadowError("git is not installed") from error
        except subprocess.TimeoutExpired as error:
            self._index.with_name(f"{self._index.name}.lock").unlink(missing_ok=True)
            raise ShadowError(f"git took longer than {seconds:g} seconds") from error
        except OSError as error:
            raise ShadowError(f"git could not be run: {error.strerror}") from error
        if done.returncode:
            raise ShadowError(done.stderr.decode(errors="replace").strip()[:300] or f"git {arguments[0]} failed")
        return done.stdout

    def _prepare(self) -> None:
        try:
            self._git_dir.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._git_dir.exists():
                self._make()
        except OSError as error:
            raise ShadowError(f"{self._git_dir}: {error.strerror}") from error
        self._ready = True

    def _make(self) -> None:
        """Make the repository, aside: of several that begin at once, in this process or another, one puts it there."""
        aside = self._git_dir.with_name(f"{self._git_dir.name}.{os.urandom(6).hex()}")
        try:
            self._git("init", "--quiet", "--bare", str(aside))
            info = aside / "info"
            info.mkdir(exist_ok=True)
            (info / "attributes").write_text(_AS_IT_IS)
            home = self._git_dir.parent.parent
            inside = f"/{home.relative_to(self._workspace)}/\n" if home.is_relative_to(self._workspace) else ""
            (info / "exclude").write_text(_LEFT_OUT + inside)
            with contextlib.suppress(OSError):  # somebody else was quicker
                aside.rename(self._git_dir)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _mode(kept: Kept, like: Path) -> int:
    """The mode of a file that is put back: its own, where that is known, else that of the file `like`."""
    mode = kept.bits or like.stat().st_mode & 0o777
    return mode | (mode & 0o444) >> 2 if kept.mode == "100755" else mode & ~0o111
