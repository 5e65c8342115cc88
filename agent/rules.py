"""A person's standing answers: rules in order, what they match, and the file that keeps them."""

import fnmatch
import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from agent.errors import ConfigError
from agent.own_files import changing, write_private
from agent.own_places import is_below
from agent.reading import steers_nothing
from agent.shell import Command, Word, parse

Verdict = Literal["allow", "ask", "deny"]

_GUARDED_NAMES = frozenset(
    ".git .hermes .ssh .gnupg .aws .kube .docker .cargo .gradle .m2 .gem .vim .emacs.d .oh-my-zsh .ipython "
    ".jupyter .bashrc .bash_profile .bash_login .bash_logout .bash_aliases .bash_completion .profile .login "
    ".logout .zshrc .zshenv .zprofile .zlogin .zlogout .kshrc .mkshrc .cshrc .tcshrc .shrc .xprofile .xinitrc "
    ".xserverrc .xsession .xsessionrc .xresources .xdefaults .pam_environment .inputrc .gitconfig .hgrc .vimrc "
    ".gvimrc .exrc .nanorc .emacs .screenrc .tmux.conf .gdbinit .lldbinit .pythonrc .pythonrc.py .pypirc .pip "
    ".npmrc .yarnrc .yarnrc.yml .pnpmrc .irbrc .pryrc .rprofile .renviron .psqlrc .sqliterc .my.cnf .mailrc "
    ".muttrc .mailcap .forward .procmailrc .lesskey .lessfilter .ripgreprc .wgetrc .curlrc .netrc _netrc .rhosts "
    ".shosts .crontab launchagents launchdaemons autostart crontabs cron.d cron.hourly cron.daily cron.weekly "
    "cron.monthly profile.d sudoers.d".split()
)
"""Files and folders that make other programs run commands, or let others in. Compared without regard to case."""
_GUARDED_PLACES = re.compile(
    r"^/(?:etc|var/spool)/|"
    # In Hermes's own lie the worktrees of tasks, and the floor keeps the rest.
    r"(?:^|/)(?:\.config(?!/hermes(?:/|$))|\.local/(?:bin|share/(?:applications|systemd|dbus-1)))(?:/|$)"
)
"""The same, as places."""

WRITERS = frozenset({"write_file", "edit_file", "apply_patch"})
"""What is forbidden to these may still be read; what is forbidden to any other file tool is forbidden to all."""

RUNNERS = frozenset({"terminal", "process"})
"""Tools whose rules are about command lines, never about paths."""

_HEAD = re.compile(r"\s*\[\[\s*rule\s*\]\]")

_WHOLE_PROGRAMS = frozenset(
    "black ctest eslint flake8 jest mocha mypy phpunit prettier pylint pyright pytest rspec ruff tsc vitest".split()
)
"""What a person may trust with any arguments: it checks the project, running at most the project's own code."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A standing answer: `verdict` for what `pattern` covers, and the reason to give.

    For a tool that runs commands the pattern is a command, word by word, with wildcards in them (`npm run test:*`); a
    last word `*` covers any more of them. A line of several commands is covered whole, if at all. For a tool that
    speaks to a machine it is that machine's name, wildcards as well. For all others it is a path: `/src/*` covers
    everything below, `*` and `**` elsewhere stand for a part and for any parts.
    """

    tool: str
    pattern: str
    verdict: Verdict
    reason: str = ""

    @property
    def why(self) -> str:
        """What is told when it decides."""
        verb = {"deny": "forbids", "ask": "asks for", "allow": "allows"}[self.verdict]
        return self.reason or f"a rule {verb} {self.pattern}"

    def is_for(self, tool: str) -> bool:
        return fnmatch.fnmatchcase(tool, self.tool)

    def is_about_files(self, *, written: bool) -> bool:
        """Whether what it restricts is restricted to every file tool."""
        return self.tool not in RUNNERS and (written or self.tool not in WRITERS)


# -- commands --------------------------------------------------------------------------------------


def covers_line(rule: Rule, text: str) -> bool:
    """Whether the pattern is exactly this line."""
    return rule.pattern in (text, glob.escape(text))


def covers_command(rule: Rule, command: Command) -> bool | None:
    """Whether the pattern covers one command of a line; None when that is known only when it runs.

    A rule that allows covers a program by the name it has there, and with no variables set for it that may make it do
    something else, but for those that the pattern names. One that restricts covers it wherever it lies, and anyhow.
    """
    wanted, assigned = _words(rule.pattern)
    if not wanted or not command.words:
        return False
    if rule.verdict == "allow" and wanted != ("*",):
        further = [(name, value) for name, value in command.assigned if (name, value) not in assigned]
        if not all(steers_nothing(name, value) for name, value in further):
            return False
    first = command.words[0]
    names = {first.text} if rule.verdict == "allow" else {first.text, PurePosixPath(first.text).name}
    said = {_match(wanted, (Word(name, first.kind), *command.words[1:])) for name in names}
    return True if True in said else None if None in said else False


def _words(pattern: str) -> tuple[tuple[str, ...], tuple[tuple[str, Word], ...]]:
    """The words of a pattern, each a wildcard of its own, and what it sets; none when it is about several commands."""
    line = parse(pattern)
    if not line.understood or len(line.commands) != 1 or line.commands[0].writes:
        return ("*",) if pattern.strip() == "*" else (), ()
    (command,) = line.commands
    words = tuple(word.text if word.kind == "glob" else glob.escape(word.text) for word in command.words)
    return words, command.assigned


def _match(wanted: tuple[str, ...], words: Sequence[Word]) -> bool | None:
    open_ended = bool(wanted) and wanted[-1] == "*"
    fixed = wanted[:-1] if open_ended else wanted
    if len(words) < len(fixed) or (len(words) > len(fixed) and not open_ended):
        # A word that is known only when it runs may become several, or none.
        return None if any(word.kind != "text" for word in words) and not open_ended else False
    said = [
        fnmatch.fnmatchcase(word.text, part) if word.kind == "text" else word.text == part or None
        for part, word in zip(fixed, words, strict=False)
    ]
    return False if False in said else None if None in said else True


def pattern_for_line(text: str) -> str:
    """What "always" would cover: a known checker with any arguments, anything else word for word."""
    line = parse(text)
    if line.understood and len(line.commands) == 1:
        (command,) = line.commands
        plain = not (command.assigned or command.reads or command.writes) and command.words[0].kind == "text"
        if plain and command.name in _WHOLE_PROGRAMS:
            return f"{command.name} *"
    return glob.escape(text)


# -- paths -----------------------------------------------------------------------------------------


def covers_paths(rule: Rule, paths: Sequence[Path], cwd: Path) -> bool:
    """Whether an allowing pattern covers every path. What is guarded is not covered by a folder above it."""
    return bool(paths) and all(_covers_path(rule.pattern, path, cwd) for path in paths)


def restricts_paths(rule: Rule, paths: Sequence[Path], cwd: Path) -> Verdict | None:
    """What a restricting pattern says of the paths: "ask" for a folder that holds, or may hold, what it names."""
    if _has_wildcards(rule.pattern):
        matcher, start = _matcher(rule.pattern, cwd), _start(rule.pattern, cwd)
        if any(matcher.match(str(parent)) for path in paths for parent in (path, *path.parents)):
            return rule.verdict
        return "ask" if any(path.is_dir() and is_below(start, path) for path in paths) else None
    places = _places(rule.pattern, cwd)
    if any(is_below(path, place) for path in paths for place in places):
        return rule.verdict
    return "ask" if any(is_below(place, path) for path in paths for place in places) else None


def is_guarded(path: Path) -> bool:
    """Whether a file is none that is written unasked, wherever the workspace is."""
    folded = path.as_posix().casefold()
    return not _GUARDED_NAMES.isdisjoint(folded.split("/")) or bool(_GUARDED_PLACES.search(folded))


def _covers_path(pattern: str, path: Path, cwd: Path) -> bool:
    if _has_wildcards(pattern):
        return bool(_matcher(pattern, cwd).fullmatch(str(path))) and not is_guarded(path)
    if pattern.endswith("/*"):
        folder = _absolute(pattern.removesuffix("/*"), cwd)
        return path.is_relative_to(folder) and not is_guarded(path.relative_to(folder))
    return path == _absolute(pattern, cwd)


def _has_wildcards(pattern: str) -> bool:
    return bool(re.search(r"[*?\[]", pattern.removesuffix("/*")))


def _absolute(pattern: str, cwd: Path) -> Path:
    try:
        return cwd / Path(pattern).expanduser()
    except RuntimeError:
        return cwd / pattern


def _matcher(pattern: str, cwd: Path) -> re.Pattern[str]:
    """A pattern of a path with wildcards; what lies below a match is matched by looking at its parents."""
    written = str(_absolute(pattern, cwd))
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", written)
    return re.compile("".join(parts.get(piece, re.escape(piece)) for piece in pieces) + r"\Z", re.IGNORECASE)


def _start(pattern: str, cwd: Path) -> Path:
    """The part of a pattern before its first wildcard."""
    parts = _absolute(pattern, cwd).parts
    fixed = next((number for number, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts))
    return Path(*parts[:fixed])


def _places(pattern: str, cwd: Path) -> tuple[Path, ...]:
    """What a restricting pattern names, with everything below: as it is written and where its links lead."""
    try:
        written = _absolute(pattern.removesuffix("*"), cwd)
        return written, written.resolve()
    except (OSError, RuntimeError, ValueError):
        return (cwd / pattern,)


# -- the file --------------------------------------------------------------------------------------


def load_rules(path: Path) -> list[Rule]:
    """The rules in their order. A file that does not parse stops the program: a lost "deny" would be worse.

    Raises: ConfigError with the line.
    """
    import tomllib

    text = ""
    try:
        text = path.read_text("utf-8")
        found = tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        found = {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be used: {error}.", hint="Mend that line, or move the file away.") from error
    entries = found.pop("rule", [])
    if found or not isinstance(entries, list):
        # A misspelt table would be a rule that is silently not there.
        wrong = next(iter(found), "rule")
        raise ConfigError(f"{path} cannot be used: {wrong!r} is not a list of rules.", hint="Write each as [[rule]].")
    heads = [number for number, line in enumerate(text.split("\n"), 1) if _HEAD.match(line)]
    # Written as a list, or with a head in a text of several lines, they have no line of their own.
    places = [f"line {head}" for head in heads] if len(heads) == len(entries) else []
    places = places or [f"rule {number}" for number in range(1, len(entries) + 1)]
    return [_rule(entry, f"{path}, {place}") for entry, place in zip(entries, places, strict=True)]


def _rule(entry: object, where: str) -> Rule:
    """Raises: ConfigError that says `where`."""
    import msgspec

    hint = "A rule has tool, pattern, verdict (allow, ask or deny), and may have a reason."
    known = set(Rule.__dataclass_fields__)
    if isinstance(entry, dict) and (odd := next((name for name in entry if name not in known), None)) is not None:
        raise ConfigError(f"{where}: the rule has nothing called {odd!r}.", hint=hint)
    try:
        return msgspec.convert(entry, Rule)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}.", hint=hint) from error


def place_for(rule: Rule, rules: Sequence[Rule]) -> int:
    """Where a new answer goes: one that allows before the first that denies, so that it lifts nothing forbidden."""
    if rule.verdict == "deny":
        return len(rules)
    return next((number for number, other in enumerate(rules) if other.verdict == "deny"), len(rules))


def save_rule(path: Path, rule: Rule) -> None:
    """Write a rule into the file, keeping what a person wrote there. Raises: ConfigError."""
    import tomlkit

    with changing(path):
        place = place_for(rule, load_rules(path))
        document = tomlkit.parse(path.read_text("utf-8")) if path.exists() else tomlkit.document()
        rules = document.setdefault("rule", tomlkit.aot())
        # A person may have written the rules as tables, or as a list in one line.
        entry = tomlkit.table() if isinstance(rules, tomlkit.items.AoT) else tomlkit.inline_table()
        entry.update({"tool": rule.tool, "pattern": rule.pattern, "verdict": rule.verdict})
        if place < len(rules):
            rules.insert(place, entry)
        else:
            rules.append(entry)
        write_private(path, tomlkit.dumps(document))
