"""The `git` program, run for a task: it asks nothing, signs nothing, runs no hooks, and gets no keys."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from agent import programs
from agent.errors import HermesError
from agent.redact import scrubbed_environment


class GitError(HermesError):
    """Git refused, or was not asked because what is wanted would lose something. Nothing was changed."""


_CONFIG = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.quotePath": "false",
    "commit.gpgSign": "false",
    "gc.auto": "0",
    "color.ui": "false",
    "submodule.recurse": "false",
    "merge.verifySignatures": "false",
}
"""The person's own settings that ask, sign, run programs or colour have no place in a task."""
_STRANGE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_NAMESPACE")
"""Where Hermes was started by a hook, these point somewhere else."""
_QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_EDITOR": "true", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}


def _run(words: tuple[str, ...], cwd: Path, env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    settings = [word for name, value in _CONFIG.items() for word in ("-c", f"{name}={value}")]
    inherited = {name: value for name, value in scrubbed_environment(os.environ).items() if name not in _STRANGE}
    try:
        return subprocess.run(
            [programs.find("git", cwd) or "git-is-not-installed", *settings, *words],
            cwd=cwd, env={**inherited, **_QUIET, **env}, capture_output=True, stdin=subprocess.DEVNULL,
            encoding="utf-8", errors="surrogateescape", check=False,
        )  # fmt: skip
    except OSError as error:
        raise GitError(f"git cannot run in {cwd}: {error.strerror or error}.") from error


def author(cwd: Path) -> dict[str, str]:
    """Who commits, where the person has told git no name."""
    ours = {"name": "Hermes", "email": "hermes@localhost"}
    return {
        f"GIT_{role}_{what.upper()}": value
        for what, value in ours.items()
        for role in ("AUTHOR", "COMMITTER")
        if not attempt("config", f"user.{what}", cwd=cwd)
    }


def git(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """The output of a git command that must succeed."""
    done = _run(words, cwd, env or {})
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or f"exit {done.returncode}"
        raise GitError(f"git {next(word for word in words if not word.startswith('-'))}: {said}")
    return done.stdout


def attempt(*words: str, cwd: Path) -> str | None:
    """Its output, stripped; None when it fails."""
    done = _run(words, cwd, {})
    return None if done.returncode else done.stdout.strip()


def names_of(*words: str, cwd: Path) -> list[str]:
    """The names that a command with `-z` gives."""
    return [name for name in git(*words, cwd=cwd).split("\0") if name]
