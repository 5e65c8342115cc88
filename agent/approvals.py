"""May this call run? One policy, one gate; only who is asked differs between front ends."""

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from agent import shell
from agent.cancel import CancelToken
from agent.config import ApprovalMode
from agent.errors import ApprovalPending, ConfigError
from agent.events import ApprovalRequested, ApprovalSettled
from agent.messages import ToolCall
from agent.protocols import Action, Decision, Sink, Store, ToolContext

Verdict = Literal["allow", "ask", "deny"]

UNATTENDED = "nobody is there to approve it; run with --yolo, or add a rule to policy.toml"

_GUARDED = frozenset({".git", ".hermes"})
"""Folders inside a workspace whose files can make other programs run commands. Compared without regard to case."""

_WRITERS = frozenset({"write_file", "edit_file"})
"""What is forbidden to these may still be read; what is forbidden to any other file tool is forbidden to all."""

_RUNNERS = frozenset({"terminal"})
"""Tools whose rules are about command lines, never about paths."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A person's standing answer.

    `pattern` is a command line (`pytest *` covers any arguments) or an absolute path (`/src/shop/*`
    covers everything below).
    """

    tool: str
    pattern: str
    verdict: Verdict

    @property
    def width(self) -> int:
        """How much the pattern fixes: words of a command or parts of a path. A whole line or file fixes the most."""
        parts = self.pattern.split() if not self.pattern.startswith("/") else self.pattern.strip("/").split("/")
        return len(parts) - 1 if self.pattern.endswith("*") else 1_000

    def says(self, tool: str, action: Action, cwd: Path) -> Verdict | None:
        """The verdict on an action, None when the rule is not about it.

        A rule that forbids says "ask" where it cannot tell: of a command line that is not understood, and of an
        action on a folder that holds what is forbidden.
        """
        if self.verdict == "deny":
            return self._forbids(tool, action, cwd)
        return self.verdict if self._covers(tool, action) else None

    def outweighs(self, later: "Rule", said: Verdict | None, verdict: Verdict) -> bool:
        """Whether this rule, which said `said`, stands although `later` says `verdict`."""
        if later.verdict == "deny":
            return said == "deny" and verdict == "ask"
        return self.verdict == "deny" and self.width > later.width

    def _covers(self, tool: str, action: Action) -> bool:
        if tool != self.tool:
            return False
        if action.kind == "execute":
            return shell.matches(self.pattern, action.command)
        return bool(action.paths) and all(_path_matches(self.pattern, path) for path in action.paths)

    def _forbids(self, tool: str, action: Action, cwd: Path) -> Verdict | None:
        if action.kind != "execute":
            return self._forbids_paths(action.paths, cwd) if self._is_about(action) else None
        if tool == self.tool:
            verdicts: dict[bool | None, Verdict | None] = {True: "deny", None: "ask", False: None}
            return verdicts[shell.may_match(self.pattern, action.command)]
        # A command that runs unasked because it only reads must not read what is forbidden to the file tools.
        read = shell.paths_read(action.command, action.directory or cwd) if self._is_about(action) else None
        return "ask" if read and self._forbids_paths(tuple(read), cwd) else None

    def _is_about(self, action: Action) -> bool:
        return self.tool not in _RUNNERS and (action.kind == "write" or self.tool not in _WRITERS)

    def _forbids_paths(self, paths: tuple[Path, ...], cwd: Path) -> Verdict | None:
        forbidden = _places(self.pattern, cwd)
        if any(_is_below(path, place) for path in paths for place in forbidden):
            return "deny"
        return "ask" if any(_is_below(place, path) for path in paths for place in forbidden) else None


@dataclass(slots=True)
class Policy:
    """The mode and the rules in force, shared by every agent of the process.

    The last rule that is about an action decides, but an "allow" or "ask" does not lift a "deny" that is narrower: a
    yes for a folder leaves what is forbidden inside it forbidden. What a rule forbids no mode allows.
    """

    mode: ApprovalMode = "ask"
    rules: list[Rule] = field(default_factory=list)
    save: Callable[[Rule], None] = lambda rule: None

    def verdict(self, tool: str, action: Action, cwd: Path) -> tuple[Verdict, str]:
        """The verdict and, for a "deny", the reason to give."""
        rule, said = self._ruling(tool, action, cwd)
        if rule is not None and said == "deny":
            return "deny", f"a rule forbids {rule.pattern}"
        if self.mode == "yolo":
            return ("ask" if rule is not None and rule.verdict == "deny" else "allow"), ""
        if self.mode == "plan" and not (action.kind == "read" or _only_reads(action, cwd)):
            return "deny", "plan mode is read only; describe the change instead"
        if said is not None:
            return said, ""
        return ("allow" if self._free(action, cwd) else "ask"), ""

    def _ruling(self, tool: str, action: Action, cwd: Path) -> tuple[Rule | None, Verdict | None]:
        """The rule that decides, and what it says."""
        rule: Rule | None = None
        said: Verdict | None = None
        for later in tuple(self.rules):
            verdict = later.says(tool, action, cwd)
            if verdict is not None and not (rule is not None and rule.outweighs(later, said, verdict)):
                rule, said = later, verdict
        return rule, said

    def remember(self, request: ApprovalRequested, decision: Decision) -> None:
        """Keep an answer given for the session or for always. Raises: ConfigError when it cannot be saved."""
        if decision.scope == "once":
            return
        rule = Rule(request.tool, request.pattern, "allow" if decision.allowed else "deny")
        self.rules.append(rule)
        if decision.scope == "always":
            self.save(rule)

    def _free(self, action: Action, cwd: Path) -> bool:
        if action.kind == "execute":
            return _only_reads(action, cwd)
        inside = bool(action.paths) and all(path.is_relative_to(cwd.resolve()) for path in action.paths)
        if action.kind == "read":
            return inside
        return self.mode == "edits" and inside and not any(_guarded(path) for path in action.paths)


def _only_reads(action: Action, cwd: Path) -> bool:
    """Whether a command plainly only reads, inside the workspace: its shell may have gone elsewhere before."""
    where = (action.directory or cwd).resolve()
    return where.is_relative_to(cwd.resolve()) and shell.only_reads(action.command, where)


def pattern_for(action: Action, cwd: Path) -> str:
    """What a standing answer to this action would cover."""
    if action.kind == "execute":
        return shell.rule_pattern(action.command)
    if not action.paths:
        return ""
    path, inside = action.paths[0], cwd.resolve()
    if path.is_relative_to(inside) and not _guarded(path):
        return f"{inside}/*"
    return str(path)


def identity(tool: str, action: Action, preview: str) -> str:
    """What an answer is an answer to: the same for the same tool, kind, paths, command, host and preview only."""
    asked = [tool, action.kind, [str(path) for path in action.paths], action.command, action.host, preview]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]


def decision_key(request_id: str) -> str:
    """The key under which the store keeps the answer to a request: the call and what it would do.

    The session it was asked in is left out: it may have gone on in another one since.
    """
    return request_id.partition(":")[2]


# -- who is asked ----------------------------------------------------------------------------------


class Asker(Protocol):
    """Gets an answer from somebody, or says that there is none. Raises: Cancelled, ApprovalPending."""

    def __call__(self, request: ApprovalRequested, *, emit: Sink, cancel: CancelToken) -> Decision: ...


class Gatekeeper:
    """The gate of one session: the policy first, then whoever `ask` asks."""

    def __init__(self, policy: Policy, ask: Asker, *, session_id: str) -> None:
        self._policy = policy
        self._ask = ask
        self._session_id = session_id

    def review(
        self,
        call: ToolCall,
        action: Action,
        context: ToolContext,
        *,
        preview: Callable[[], str],
        emit: Sink,
        cancel: CancelToken,
    ) -> Decision:
        verdict, reason = self._policy.verdict(call.name, action, context.cwd)
        if verdict != "ask":
            return Decision(verdict == "allow", reason)
        shown = preview()
        request = ApprovalRequested(
            request_id=f"{self._session_id}:{call.id}:{identity(call.name, action, shown)}",
            call_id=call.id,
            tool=call.name,
            kind=action.kind,
            title=action.title,
            preview=shown or action.command or action.title,
            directory=str(action.directory or context.cwd),
            pattern=pattern_for(action, context.cwd),
        )
        decision = self._ask(request, emit=emit, cancel=cancel)
        try:
            self._policy.remember(request, decision)
        except ConfigError as error:
            decision = Decision(decision.allowed, f"{decision.reason} (the rule was not saved: {error})".strip())
        emit(ApprovalSettled(request.request_id, decision.allowed, decision.reason))
        return decision


def nobody(request: ApprovalRequested, *, emit: Sink, cancel: CancelToken) -> Decision:
    """The asker of an unattended run: the answer is no."""
    del request, emit, cancel
    return Decision(False, UNATTENDED)


class Desk:
    """The asker of a run somebody watches: the thread waits until `settle` is called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[ApprovalRequested, CancelToken, list[Decision]]] = {}

    def __call__(self, request: ApprovalRequested, *, emit: Sink, cancel: CancelToken) -> Decision:
        answered, answer = CancelToken(), list[Decision]()
        with self._lock:
            self._open[request.request_id] = (request, answered, answer)
        try:
            with cancel.closing(answered.cancel):
                emit(request)
                answered.wait()
        finally:
            with self._lock:
                self._open.pop(request.request_id, None)
        if not answer:
            emit(ApprovalSettled(request.request_id, False, "cancelled"))
            cancel.raise_if_cancelled()
        return answer[0]

    def settle(self, request_id: str, decision: Decision) -> bool:
        """Answer a request. False when it is not open any more; the first answer counts."""
        with self._lock:
            found = self._open.pop(request_id, None)
        if found is None:
            return False
        _request, answered, answer = found
        answer.append(decision)
        answered.cancel()
        return True

    def pending(self) -> list[ApprovalRequested]:
        """The open requests, oldest first."""
        with self._lock:
            return [request for request, _answered, _answer in self._open.values()]


class Mailbox:
    """The asker of a background task: no thread waits; the answer is read from the store when the task resumes."""

    def __init__(self, store: Store, session_id: str) -> None:
        self._store = store
        self._session_id = session_id

    def __call__(self, request: ApprovalRequested, *, emit: Sink, cancel: CancelToken) -> Decision:
        del cancel
        decision = self._store.decision(self._session_id, decision_key(request.request_id))
        if decision is None:
            emit(request)
            raise ApprovalPending(request.request_id)
        return decision


# -- the policy file -------------------------------------------------------------------------------


def load_policy(path: Path, mode: ApprovalMode) -> Policy:
    """The rules a person saved. A file that does not parse stops the program: a lost "deny" would be worse.

    Raises: ConfigError with the line.
    """
    import tomllib

    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        found = {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be used: {error}.", hint="Mend that line, or move the file away.") from error
    entries = found.pop("rule", [])
    if found or not isinstance(entries, list):
        # A misspelt table would be a rule that is silently not there.
        wrong = next(iter(found), "rule")
        raise ConfigError(f"{path} cannot be used: {wrong!r} is not a list of rules.", hint="Write each as [[rule]].")
    rules = [_rule(entry, number, path) for number, entry in enumerate(entries, 1)]
    return Policy(mode, rules, save=lambda rule: _save_rule(path, rule))


def _rule(entry: object, number: int, path: Path) -> Rule:
    import msgspec

    try:
        return msgspec.convert(entry, Rule)
    except msgspec.ValidationError as error:
        hint = "A rule has tool, pattern and verdict (allow, ask or deny)."
        raise ConfigError(f"{path}, rule {number}: {error}.", hint=hint) from error


def _save_rule(path: Path, rule: Rule) -> None:
    import tomlkit

    from agent.config import write_private

    try:
        document = tomlkit.parse(path.read_text("utf-8")) if path.exists() else tomlkit.document()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be used: {error}.") from error
    rules = document.setdefault("rule", tomlkit.aot())
    # A person may have written the rules as tables, or as a list in one line.
    entry = tomlkit.table() if isinstance(rules, tomlkit.items.AoT) else tomlkit.inline_table()
    entry.update({"tool": rule.tool, "pattern": rule.pattern, "verdict": rule.verdict})
    rules.append(entry)
    write_private(path, tomlkit.dumps(document))


# -- paths -----------------------------------------------------------------------------------------


def _path_matches(pattern: str, path: Path) -> bool:
    if pattern.endswith("/*"):
        folder = Path(pattern.removesuffix("/*"))
        return path.is_relative_to(folder) and not _guarded(path.relative_to(folder))
    return str(path) == pattern


def _guarded(path: Path) -> bool:
    return not _GUARDED.isdisjoint(part.casefold() for part in path.parts)


def _places(pattern: str, cwd: Path) -> tuple[Path, ...]:
    """What a forbidding pattern names, with everything below: as it is written and where its links lead."""
    try:
        written = cwd / Path(pattern.removesuffix("*")).expanduser()
        return written, written.resolve()
    except (OSError, RuntimeError, ValueError):
        return (cwd / pattern,)


def _is_below(path: Path, folder: Path) -> bool:
    """Whether a path is the folder or inside it. Case does not count: some disks do not know it."""
    there, above = _folded(path), _folded(folder)
    return there[: len(above)] == above


def _folded(path: Path) -> list[str]:
    return [part.casefold() for part in path.parts]
