"""Which files a search leaves out: what `.gitignore` files name, and what nobody means."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pathspec

ALWAYS = frozenset(
    {".git", ".hg", ".svn", ".jj", "node_modules", "__pycache__", ".venv", ".tox", ".nox", ".mypy_cache",
     ".pytest_cache", ".ruff_cache", ".DS_Store"}
)  # fmt: skip
"""Names of version control, dependencies and caches, left out also where no .gitignore says so."""


@dataclass(frozen=True, slots=True)
class _Rules:
    """One ignore file. `base` is its directory with a slash at the end."""

    base: str
    spec: pathspec.GitIgnoreSpec
    any_line: re.Pattern[str]

    def verdict(self, path: str) -> bool | None:
        """True to ignore, False to keep, None when no line of the file matches."""
        relative = path[len(self.base) :]
        # Most paths match nothing, and one expression finds that out many times as fast as one a line.
        return self.spec.check_file(relative).include if self.any_line.match(relative) else None


@dataclass(frozen=True, slots=True)
class Ignore:
    """The ignore files in force in a directory, outermost first. The innermost that has an opinion decides."""

    rules: tuple[_Rules, ...] = ()

    @classmethod
    def above(cls, root: Path) -> Ignore:
        """The rules that directories above `root` lay down, as far up as its repository goes.

        A directory that is itself ignored was asked for by name: then they do not count.
        """
        top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), None)
        if top is None:
            return cls()
        ignore = cls(_read(str(top), str(top / ".git" / "info" / "exclude")))
        for folder in reversed([folder for folder in root.parents if folder == top or top in folder.parents]):
            ignore = ignore.inside(str(folder))
        asked = next((part for part in (root, *root.parents) if part != top and ignore.names(str(part), True)), None)
        return cls() if asked is not None and asked.is_relative_to(top) else ignore

    def inside(self, folder: str) -> Ignore:
        """The rules with those of the folder's own .gitignore."""
        own = _read(folder, f"{folder}/.gitignore")
        return Ignore((*self.rules, *own)) if own else self

    def names(self, path: str, is_dir: bool) -> bool:
        """Whether an ignore file names this path."""
        marked = f"{path}/" if is_dir else path
        for rules in reversed(self.rules):
            if path.startswith(rules.base) and (verdict := rules.verdict(marked)) is not None:
                return verdict
        return False

    def __call__(self, path: str, name: str, is_dir: bool) -> bool:
        return name in ALWAYS or self.names(path, is_dir)


def _read(folder: str, file: str) -> tuple[_Rules, ...]:
    try:
        lines = Path(file).read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    base = f"{folder.rstrip('/')}/"
    spec = pathspec.GitIgnoreSpec.from_lines(lines)
    expressions = [pattern.regex.pattern for pattern in spec.patterns if pattern.regex is not None]
    if not expressions:
        return ()
    unnamed = [re.sub(r"\?P<\w+>", "?:", expression) for expression in expressions]
    return (_Rules(base, spec, re.compile("|".join(f"(?:{item})" for item in unnamed))),)


def compile_globs(glob: str) -> Callable[[str], bool]:
    """A test of relative paths, with the rules of .gitignore: without a slash a name at any depth. `{a,b}` works."""
    spec = pathspec.GitIgnoreSpec.from_lines(_escaped(item) for item in _braces(glob))
    return spec.match_file


def _escaped(glob: str) -> str:
    return f"\\{glob}" if glob.startswith(("!", "#")) else glob


def _braces(glob: str) -> list[str]:
    if not (found := re.search(r"\{([^{}]*)\}", glob)):
        return [glob]
    before, after = glob[: found.start()], glob[found.end() :]
    return [item for choice in found[1].split(",") for item in _braces(f"{before}{choice}{after}")]
