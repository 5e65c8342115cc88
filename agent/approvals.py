"""May this call run? One policy, one gate; only who is asked differs between front ends."""

import fnmatch
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from agent.cancel import CancelToken
from agent.config import ApprovalMode, Directories
from agent.errors import ApprovalPending, ConfigError, HermesError
from agent.events import ApprovalRequested, ApprovalSettled
from agent.floor import below_floor, beyond_wall, only_by_a_person
from agent.messages import ToolCall
from agent.own_places import OwnPlaces
from agent.protocols import Action, Decision, Sink, Store, ToolContext, nothing
from agent.reading import only_reads, places, read_by, unsettled, written_by
from agent.rules import (
    Rule,
    Verdict,
    covers_command,
    covers_line,
    covers_paths,
    is_guarded,
    load_rules,
    pattern_for_line,
    place_for,
    restricts_paths,
    save_rule,
)
from agent.shell import Command, Line, parse

UNATTENDED = "nobody is there to approve it; run with --yolo, or add a rule to policy.toml"
NOBODY_ANSWERS = "nobody is there to answer"
NO_ANSWER = "-"
"""What a person types who does not want to answer a question."""

_STRICTNESS: dict[Verdict, int] = {"allow": 0, "ask": 1, "deny": 2}

_PRIVATE = "it reads Hermes's own files: settings, credentials, other conversations"

_Found = tuple[Rule, Verdict] | None
"""The rule that decides so far, and what it says."""

_STRICTEST_FIRST: tuple[ApprovalMode, ...] = ("plan", "ask", "edits", "yolo")


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the policy says, and why: told to the model for a "deny", to the person for an "ask"."""

    verdict: Verdict
    why: str = ""


@dataclass(slots=True)
class Policy:
    """The mode and the rules in force, shared by every agent of the process.

    Of the rules that are about an action the last decides. A line of several commands is judged command by command, and
    the strictest verdict counts. Below all of it lies the floor (`agent/floor.py`), which only the mode "yolo" passes;
    what a rule forbids no mode allows. `dirs` are the folders that hold Hermes's own files.

    `rules` are the standing ones, `granted` the answers for a session; `sessions` has those of each that was split off.
    Where somebody is kept to their folder `hidden` has what even an answer does not open.
    """

    mode: ApprovalMode = "ask"
    rules: list[Rule] = field(default_factory=list)
    save: Callable[[Rule], None] = lambda rule: None
    dirs: Directories | None = None
    granted: list[Rule] = field(default_factory=list)
    sessions: dict[str, list[Rule]] = field(default_factory=dict)
    hidden: tuple[Path, ...] | None = None

    def verdict(self, tool: str, action: Action, cwd: Path, *, owns: Callable[[Path], bool] = nothing) -> Ruling:
        """May this run in the workspace `cwd`? What the conversation `owns` elsewhere it may read."""
        if action.kind == "ask":
            return Ruling("ask")  # in every mode: the question is the call
        line = parse(action.command) if action.kind == "execute" else Line(())
        start = action.directory or cwd
        if self.mode != "yolo" and (why := below_floor(tool, action, line, cwd, self.dirs)):
            return Ruling("deny", f"{why}; no rule allows that")
        if self.hidden is not None and (why := beyond_wall(action, cwd, self.hidden, owns)):
            return Ruling("deny", f"{why}; nobody can allow that here")
        rulings = list(self._of_line(tool, action, line, cwd) if action.kind == "execute" else ())
        ruling = max(rulings, key=_strictness) if rulings else self._of_action(tool, action, cwd, owns)
        if ruling.verdict == "deny" or self.mode != "plan":
            return ruling
        if action.kind == "read" or (action.kind == "execute" and only_reads(line, start, cwd)):
            return ruling
        return Ruling("deny", "plan mode is read only; describe the change instead")

    def under(self, mode: ApprovalMode, session_id: str) -> "Policy":
        """The same standing rules, in the stricter of both modes. What is granted for a session stays in it."""
        stricter = min(self.mode, mode, key=_STRICTEST_FIRST.index)
        return replace(self, mode=stricter, granted=self.sessions.setdefault(session_id, []))

    def remember(self, request: ApprovalRequested, decision: Decision) -> None:
        """Keep an answer given for the session or for always. Raises: ConfigError when it cannot be saved."""
        if decision.scope == "once":
            return
        rule = Rule(request.tool, request.pattern, "allow" if decision.allowed else "deny")
        if decision.scope == "session":
            self.granted.append(rule)
            return
        self.rules.insert(place_for(rule, self.rules), rule)
        self.save(rule)

    def _in_force(self) -> list[Rule]:
        """The standing rules with what was granted, each where it lifts nothing that is forbidden."""
        rules = list(self.rules)
        for rule in list(self.granted):
            rules.insert(place_for(rule, rules), rule)
        return rules

    # -- lines -------------------------------------------------------------------------------------

    def _of_line(self, tool: str, action: Action, line: Line, cwd: Path) -> Iterator[Ruling]:
        """A ruling for each command, for each file a redirection writes, and for what is not understood."""
        whole = [rule for rule in self._in_force() if rule.is_for(tool) and covers_line(rule, action.command)]
        for (command, folders), open_ended in zip(places(line, action.directory or cwd), unsettled(line), strict=True):
            read = None if open_ended else read_by(command, folders, cwd)
            ruling = self._of_command(tool, command, read, cwd, whole, confined=action.confined)
            if ruling.verdict == "allow" and self.mode != "yolo" and not whole and not action.confined:
                why = only_by_a_person(command, line, folders, cwd, self.dirs)
                ruling = Ruling("ask", why) if why else ruling
            yield ruling
            yield from self._of_writes(command, folders, cwd, whole, confined=action.confined)
        if line.doubt:
            yield self._of_doubt(tool, line, whole)
        if action.outside:
            yield self._decided(_last(whole), Ruling("ask", "it would run outside of the sandbox"))

    def _of_command(
        self, tool: str, command: Command, read: frozenset[Path] | None, cwd: Path, whole: list[Rule], *, confined: bool
    ) -> Ruling:
        """The ruling for a command that reads no more than `read`; None where that is not known."""
        found: _Found = None
        for rule in self._in_force():
            said = rule.verdict if rule in whole else _on_command(rule, tool, command, read, cwd)
            found = (rule, said) if said else found
        if confined:
            return self._decided(found, Ruling("allow"))
        if read is not None:
            private = any(map(OwnPlaces.of(self.dirs, cwd).holds, read))
            return self._decided(found, Ruling("ask", _PRIVATE) if private else Ruling("allow"))
        return self._decided(found, Ruling("ask", f"{command.name or 'it'} may do more than read in this folder"))

    def _of_writes(
        self, command: Command, folders: frozenset[Path], cwd: Path, whole: list[Rule], *, confined: bool
    ) -> Iterator[Ruling]:
        written = written_by(command, folders)
        if written is None and not confined:
            yield self._decided(_last(whole), Ruling("ask", "where it writes is not known before it runs"))
        for path in written or ():
            if whole:
                yield self._decided(_last(whole), Ruling("ask"))
            elif not (confined and _is_inside((path,), cwd) and not is_guarded(path)):
                ruling = self._of_action("write_file", Action("write", str(path), (path,)), cwd)
                yield Ruling(ruling.verdict, ruling.why or f"it writes to {path}")

    def _of_doubt(self, tool: str, line: Line, whole: list[Rule]) -> Ruling:
        """A line that is not understood may hold anything: it is asked for where anything is forbidden or asked for."""
        found: _Found = None
        for rule in self._in_force():
            if rule in whole:
                found = (rule, rule.verdict)
            elif rule.verdict != "allow" and rule.is_for(tool):
                found = (rule, "ask")
        if found is not None and found[1] == "ask":
            found = (replace(found[0], reason=line.doubt), "ask")
        return self._decided(found, Ruling("ask", line.doubt))

    # -- everything else ---------------------------------------------------------------------------

    def _of_action(self, tool: str, action: Action, cwd: Path, owns: Callable[[Path], bool] = nothing) -> Ruling:
        found: _Found = None
        for rule in self._in_force():
            if said := _on_action(rule, tool, action, cwd):
                found = (rule, said)
        return self._decided(found, self._by_place(action, cwd, owns))

    def _decided(self, found: _Found, default: Ruling) -> Ruling:
        """The ruling of the rule that decides, or the default; in the mode "yolo" only what is forbidden counts."""
        if found is not None and (self.mode != "yolo" or found[0].verdict == "deny"):
            rule, said = found
            return Ruling(said, rule.why if said != "allow" else "")
        return Ruling("allow") if self.mode == "yolo" else default

    def _by_place(self, action: Action, cwd: Path, owns: Callable[[Path], bool]) -> Ruling:
        inside = _is_inside(action.paths, cwd)
        if action.kind != "read":
            free = self.mode == "edits" and inside and not any(is_guarded(path) for path in action.paths)
            return Ruling("allow" if free else "ask")
        if action.paths and all(map(owns, action.paths)):
            return Ruling("allow")
        if any(map(OwnPlaces.of(self.dirs, cwd).holds, action.paths)):
            return Ruling("ask", _PRIVATE)
        return Ruling("allow" if inside else "ask")


def _on_command(rule: Rule, tool: str, command: Command, read: frozenset[Path] | None, cwd: Path) -> Verdict | None:
    """What a rule says of one command of a line."""
    if rule.is_for(tool):
        said = covers_command(rule, command)
        if said or (said is None and rule.verdict != "allow"):
            return rule.verdict if said else "ask"
    if rule.verdict == "deny" and read and rule.is_about_files(written=False):
        # A command that runs unasked because it only reads must not read what is forbidden to the file tools.
        return "ask" if restricts_paths(rule, sorted(read), cwd) else None
    return None


def _on_action(rule: Rule, tool: str, action: Action, cwd: Path) -> Verdict | None:
    if action.host:
        return rule.verdict if rule.is_for(tool) and fnmatch.fnmatchcase(action.host, rule.pattern) else None
    if rule.verdict == "allow":
        return "allow" if rule.is_for(tool) and covers_paths(rule, action.paths, cwd) else None
    if rule.is_for(tool) or (rule.verdict == "deny" and rule.is_about_files(written=action.kind == "write")):
        return restricts_paths(rule, action.paths, cwd)
    return None


def _last(rules: list[Rule]) -> _Found:
    return (rules[-1], rules[-1].verdict) if rules else None


def _strictness(ruling: Ruling) -> int:
    return _STRICTNESS[ruling.verdict]


def _is_inside(paths: tuple[Path, ...], cwd: Path) -> bool:
    return bool(paths) and all(path.is_relative_to(cwd.resolve()) for path in paths)


def pattern_for(action: Action, cwd: Path) -> str:
    """What a standing answer to this action would cover."""
    if action.kind == "execute":
        return pattern_for_line(action.command)
    if action.host:
        return action.host
    if not action.paths:
        return ""
    path, inside = action.paths[0], cwd.resolve()
    if path.is_relative_to(inside) and not is_guarded(path):
        return f"{inside}/*"
    return str(path)


def identity(tool: str, action: Action, preview: str) -> str:
    """What an answer is an answer to: the same for the same tool, kind, paths, command, host and preview only."""
    where = [str(path) for path in action.paths]
    asked = [tool, action.kind, where, action.command, action.host, preview, str(action.directory), action.outside]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]


def decision_key(request_id: str) -> str:
    """The key under which the store keeps the answer to a request: the call and what it would do.

    The session it was asked in is left out: it may have gone on in another one since.
    """
    return request_id.partition(":")[2]


def mark_of(request: ApprovalRequested) -> str:
    """A short name of one request, for an answer to say what it is an answer to: it fits in the data of a button."""
    return hashlib.sha256(decision_key(request.request_id).encode()).hexdigest()[:12]


# -- who is asked ----------------------------------------------------------------------------------


class Asker(Protocol):
    """Gets an answer from somebody, or says that there is none. Raises: Cancelled, ApprovalPending."""

    def __call__(self, request: ApprovalRequested, *, emit: Sink, cancel: CancelToken) -> Decision: ...


class Gatekeeper:
    """The gate of one session: the policy first, then whoever `ask` asks."""

    def __init__(self, policy: Policy, ask: Asker, *, session_id: str, child: str = "", who: str = "") -> None:
        self._policy = policy
        self._ask = ask
        self._session_id = session_id
        self._child = child
        self._who = who

    def for_child(self, session_id: str, who: str) -> "Gatekeeper":
        """The gate of an agent that this one's has sent: the same policy and the same person, who is told who asks."""
        return Gatekeeper(self._policy, self._ask, session_id=self._session_id, child=f"{session_id}:", who=who)

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
        ruling = self._policy.verdict(call.name, action, context.cwd, owns=context.owns)
        if ruling.verdict != "ask":
            return Decision(ruling.verdict == "allow", ruling.why)
        shown = preview()
        request = ApprovalRequested(
            request_id=f"{self._session_id}:{self._child}{call.id}:{identity(call.name, action, shown)}",
            call_id=call.id,
            tool=call.name,
            kind=action.kind,
            title=f"{self._who}: {action.title}" if self._who else action.title,
            preview=shown or action.command or action.title,
            directory=str(action.directory or context.cwd),
            pattern=pattern_for(action, context.cwd),
            why=ruling.why,
            choices=action.choices,
            who=self._who,
        )
        decision = self._ask(request, emit=emit, cancel=cancel)
        try:
            self._policy.remember(request, decision)
        except ConfigError as error:
            decision = Decision(decision.allowed, f"{decision.reason} (the rule was not saved: {error})".strip())
        # What was answered to a question, the call's own result tells.
        said = "" if decision.allowed and request.kind == "ask" else decision.reason
        emit(ApprovalSettled(request.request_id, decision.allowed, said))
        return decision


def nobody(request: ApprovalRequested, *, emit: Sink, cancel: CancelToken) -> Decision:
    """The asker of an unattended run: the answer is no."""
    del emit, cancel
    return unattended(request)


def unattended(request: ApprovalRequested) -> Decision:
    """The answer to a request that nobody is there for."""
    return Decision(False, NOBODY_ANSWERS if request.kind == "ask" else UNATTENDED)


def answer_to(request: ApprovalRequested, text: str) -> Decision:
    """What a person typed in answer to a question: the number or the words of a choice, or anything else.

    Raises: HermesError, when that is no answer to what is asked.
    """
    text = text.strip()
    if request.kind != "ask":
        raise HermesError(
            "That asks for your permission, and has no other answer than yes or no.",
            hint="/tasks approve N, or /tasks deny N [reason].",
        )
    if not text:
        raise HermesError("There is no answer in that.", hint=f"{NO_ANSWER} says that you do not want to answer.")
    if text == NO_ANSWER:
        return Decision(False, "the person does not want to answer")
    numbered = {str(number): choice for number, choice in enumerate(request.choices, 1)}
    named = {choice.casefold(): choice for choice in request.choices}
    return Decision(True, numbered.get(text) or named.get(text.casefold()) or text)


class Desk:
    """The asker of a run somebody watches: the thread waits until `settle` is called from any thread.

    After `timeout` seconds, if any, the answer is no. A turn that is to be parked is not asked for: it is suspended.
    """

    def __init__(self, *, timeout: float = 0.0) -> None:
        self._timeout = timeout or None
        self._lock = threading.Lock()
        self._open: dict[str, tuple[ApprovalRequested, CancelToken, list[Decision]]] = {}

    def __call__(self, request: ApprovalRequested, *, emit: Sink, cancel: CancelToken) -> Decision:
        answered, answer = CancelToken(), list[Decision]()
        with self._lock:
            self._open[request.request_id] = (request, answered, answer)
        try:
            if cancel.parked is not None:
                # Whoever goes on with the turn asks anew. After it is on the desk, so that parking it misses nothing.
                raise ApprovalPending(request.request_id)
            with cancel.closing(answered.cancel):
                emit(request)
                answered.wait(self._timeout)
        finally:
            with self._lock:
                self._open.pop(request.request_id, None)
        if not answer and not answered.cancelled and not cancel.cancelled:
            return Decision(False, f"nobody answered within {self._timeout:g} s")
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


def load_policy(dirs: Directories, mode: ApprovalMode) -> Policy:
    """The rules a person saved, in force. Raises: ConfigError with the line."""
    path = dirs.policy_file
    return Policy(mode, load_rules(path), save=lambda rule: save_rule(path, rule), dirs=dirs)
