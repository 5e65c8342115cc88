"""May this call run? The policy, who is asked, and what is remembered."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.approvals import (
    UNATTENDED,
    Desk,
    Gatekeeper,
    Mailbox,
    Policy,
    Ruling,
    decision_key,
    load_policy,
    nobody,
    pattern_for,
)
from agent.cancel import CancelToken
from agent.config import Directories, directories
from agent.errors import ApprovalPending, Cancelled, ConfigError
from agent.events import ApprovalRequested, ApprovalSettled, Event
from agent.messages import ToolCall
from agent.protocols import Action, Decision, ToolContext
from agent.rules import Rule, load_rules, save_rule
from agent.store.memory import MemoryStore
from tests.support.turns import SESSION, wait_until

CALL = ToolCall("call_1", "tool", "{}")


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def reading(path: Path) -> Action:
    return Action("read", f"read {path}", (path,))


def writing(path: Path) -> Action:
    return Action("write", f"write {path}", (path,))


def beside(policy_file: Path) -> Directories:
    """The folders of somebody whose policy file this is."""
    return Directories(policy_file.parent, policy_file.parent / "state", policy_file.parent / "cache")


def running(command: str) -> Action:
    return Action("execute", command, command=command)


# -- the matrix ------------------------------------------------------------------------------------

ACTIONS = {
    "read inside": lambda cwd: reading(cwd / "a.txt"),
    "read outside": lambda cwd: reading(cwd.parent / "a.txt"),
    "read nowhere known": lambda cwd: Action("read", "read something"),
    "write inside": lambda cwd: writing(cwd / "a.txt"),
    "write outside": lambda cwd: writing(cwd.parent / "a.txt"),
    "write to .git": lambda cwd: writing(cwd / ".git" / "hooks" / "pre-commit"),
    "write to .GIT": lambda cwd: writing(cwd / ".GIT" / "hooks" / "pre-commit"),
    "write to .hermes": lambda cwd: writing(cwd / ".hermes" / "config.toml"),
    "write inside and outside": lambda cwd: Action("write", "move", (cwd / "a", cwd.parent / "b")),
    "plain command": lambda cwd: running("ls"),
    "other command": lambda cwd: running("make"),
}

MATRIX = {
    # what                        ask      edits    plan     yolo
    "read inside": ("allow", "allow", "allow", "allow"),
    "read outside": ("ask", "ask", "ask", "allow"),
    "read nowhere known": ("ask", "ask", "ask", "allow"),
    "write inside": ("ask", "allow", "deny", "allow"),
    "write outside": ("ask", "ask", "deny", "allow"),
    "write to .git": ("ask", "ask", "deny", "allow"),
    "write to .GIT": ("ask", "ask", "deny", "allow"),
    "write to .hermes": ("ask", "ask", "deny", "allow"),
    "write inside and outside": ("ask", "ask", "deny", "allow"),
    "plain command": ("allow", "allow", "allow", "allow"),
    "other command": ("ask", "ask", "deny", "allow"),
}


@pytest.mark.parametrize("what", MATRIX)
@pytest.mark.parametrize("column", range(4), ids=["ask", "edits", "plan", "yolo"])
def test_the_mode_decides_what_runs_unasked(what: str, column: int, cwd: Path) -> None:
    mode: Any = ("ask", "edits", "plan", "yolo")[column]
    ruling = Policy(mode).verdict("tool", ACTIONS[what](cwd), cwd)
    assert ruling.verdict == MATRIX[what][column]
    assert ruling.why or ruling.verdict != "deny"


def test_a_working_directory_reached_through_a_link_counts_as_where_it_leads(cwd: Path) -> None:
    alias = cwd.parent / "alias"
    alias.symlink_to(cwd)
    assert Policy("ask").verdict("tool", reading(cwd / "a.txt"), alias).verdict == "allow"


@pytest.mark.parametrize(
    ("line", "inside"),
    [
        ("cd {config}/.. && rm -rf hermes", False),
        ("cd {config}/..; cd hermes; rm -rf .", False),
        ("(cd {config} && rm policy.toml)", False),
        ("pushd {config} && rm -rf *", False),
        ("echo x > policy.toml", True),
        ("rm policy.toml", True),
        ("rm -rf *", True),
        ("cd / && rm -rf *", False),
        ("cd / && rm -rf usr", False),
    ],
)
def test_the_floor_holds_wherever_a_line_or_the_shell_is(line: str, inside: bool, cwd: Path) -> None:
    dirs = beside(cwd.parent / "home" / "hermes" / "policy.toml")
    dirs.config.mkdir(parents=True)
    text = line.format(config=dirs.config)
    action = Action("execute", text, command=text, directory=dirs.config if inside else None)
    assert Policy("ask", dirs=dirs).verdict("terminal", action, cwd).verdict == "deny"
    assert Policy("ask", dirs=dirs).verdict("terminal", running("cd src && rm -rf hermes"), cwd).verdict == "ask"


def test_a_task_changes_what_it_likes_in_its_own_working_copy_only(cwd: Path) -> None:
    dirs = directories({"HERMES_HOME": str(cwd.parent / "hermes")})
    copy = dirs.state / "worktrees" / "bg_1"
    copy.mkdir(parents=True)
    policy = Policy("edits", dirs=dirs)
    assert policy.verdict("write_file", writing(copy / "a.py"), copy).verdict == "allow"
    assert policy.verdict("terminal", running(f"python {copy}/a.py"), copy).verdict == "ask"
    for other in (copy.parent / "bg_2" / "a.py", dirs.state / "state.db"):
        assert policy.verdict("write_file", writing(other), copy).verdict == "deny"
        assert policy.verdict("terminal", running(f"rm {other}"), copy).verdict == "deny"


@pytest.mark.parametrize("folder", ["chats", "chats/telegram-1"])
def test_a_chat_works_in_its_folder_in_the_state_directory_and_in_no_other(folder: str, cwd: Path) -> None:
    dirs = directories({"HERMES_HOME": str(cwd.parent / "hermes")})
    here = dirs.state / folder
    here.mkdir(parents=True)
    policy = Policy("edits", dirs=dirs)
    assert policy.verdict("write_file", writing(here / "a.py"), here).verdict == "allow"
    assert policy.verdict("read_file", Action("read", "x", (here / "a.py",)), here).verdict == "allow"
    assert policy.verdict("terminal", running("ls; cat a.py"), here).verdict == "allow"
    others = [dirs.state / "state.db", dirs.policy_file]
    others += [here.parent / "telegram-2" / "a.py"] if here.name != "chats" else []
    for other in others:
        assert policy.verdict("write_file", writing(other), here).verdict == "deny"
        assert policy.verdict("read_file", Action("read", "x", (other,)), here).verdict == "ask"


def test_hermes_own_files_are_not_read_unasked_where_they_lie_inside_the_working_directory(cwd: Path) -> None:
    dirs = beside(cwd / ".config" / "hermes" / "policy.toml")
    policy = Policy("ask", dirs=dirs)
    read = Action("read", "x", (dirs.credentials_file,))
    ruling = policy.verdict("read_file", read, cwd)
    assert (ruling.verdict, "Hermes's own files" in ruling.why) == ("ask", True)
    assert policy.verdict("read_file", Action("read", "x", (cwd / "a", dirs.database)), cwd).verdict == "ask"
    assert policy.verdict("terminal", running("cat .config/hermes/credentials.toml"), cwd).verdict == "ask"
    assert policy.verdict("terminal", running("cat a.txt .config/other"), cwd).verdict == "allow"
    allowed = Policy("ask", [Rule("read_file", str(dirs.credentials_file), "allow")], dirs=dirs)
    assert allowed.verdict("read_file", read, cwd).verdict == "allow"


# -- rules -----------------------------------------------------------------------------------------


def verdict(action: Action, cwd: Path, *rules: Rule, mode: Any = "ask", tool: str = "tool") -> str:
    return Policy(mode, list(rules)).verdict(tool, action, cwd).verdict


def test_a_rule_for_a_command_covers_it_with_other_arguments(cwd: Path) -> None:
    rule = Rule("tool", "pytest *", "allow")
    assert verdict(running("pytest -q"), cwd, rule) == "allow"
    assert verdict(running("pytest; rm x"), cwd, rule) == "ask"
    assert verdict(running("pytest -q"), cwd, rule, tool="other") == "ask"


def test_a_rule_for_a_folder_covers_what_is_below_it_but_not_its_guarded_folders(cwd: Path) -> None:
    rule = Rule("tool", f"{cwd}/*", "allow")
    assert verdict(writing(cwd / "src" / "a.py"), cwd, rule) == "allow"
    assert verdict(writing(cwd / ".git" / "config"), cwd, rule) == "ask"
    assert verdict(writing(cwd / ".Git" / "config"), cwd, rule) == "ask"
    assert verdict(writing(cwd.parent / "work2" / "a.py"), cwd, rule) == "ask"


def test_a_rule_must_cover_every_path_of_an_action(cwd: Path) -> None:
    rule = Rule("tool", f"{cwd}/*", "allow")
    assert verdict(Action("write", "move", (cwd / "a", cwd.parent / "b")), cwd, rule) == "ask"
    assert verdict(Action("write", "something"), cwd, rule) == "ask"


def test_a_rule_that_denies_says_so(cwd: Path) -> None:
    policy = Policy("edits", [Rule("tool", f"{cwd}/a.txt", "deny")])
    assert policy.verdict("tool", writing(cwd / "a.txt"), cwd) == Ruling("deny", f"a rule forbids {cwd}/a.txt")
    assert policy.verdict("tool", writing(cwd / "b.txt"), cwd) == Ruling("allow")


def test_the_last_rule_that_covers_wins(cwd: Path) -> None:
    allow, deny = Rule("tool", "make *", "allow"), Rule("tool", "make *", "deny")
    assert verdict(running("make"), cwd, allow, deny) == "deny"
    assert verdict(running("make"), cwd, deny, allow) == "allow"


def test_a_rule_may_ask_for_what_is_free_otherwise(cwd: Path) -> None:
    assert verdict(running("ls src"), cwd, Rule("tool", "ls *", "ask")) == "ask"


def test_plan_mode_is_read_only_whatever_the_rules_allow(cwd: Path) -> None:
    assert verdict(running("make"), cwd, Rule("tool", "make *", "allow"), mode="plan") == "deny"


def test_a_standing_answer_covers_the_folder_inside_and_the_file_elsewhere(cwd: Path) -> None:
    assert pattern_for(writing(cwd / "src" / "a.py"), cwd) == f"{cwd}/*"
    assert pattern_for(writing(cwd.parent / "b.py"), cwd) == str(cwd.parent / "b.py")
    assert pattern_for(writing(cwd / ".git" / "config"), cwd) == str(cwd / ".git" / "config")
    assert pattern_for(running("pytest -q"), cwd) == "pytest *"
    assert pattern_for(Action("write", "something"), cwd) == ""


# -- rules that forbid -----------------------------------------------------------------------------

NO_CAT = Rule("terminal", "cat *", "deny")


@pytest.mark.parametrize("mode", ["ask", "edits", "plan", "yolo"])
@pytest.mark.parametrize("line", ["cat a", "cat a | head", "head a; cat b", "ls && /bin/cat b"])
def test_a_forbidden_command_is_forbidden_anywhere_in_a_line_and_in_every_mode(mode: Any, line: str, cwd: Path) -> None:
    assert verdict(running(line), cwd, NO_CAT, mode=mode, tool="terminal") == "deny"


def test_a_line_that_is_not_understood_gets_no_free_pass_where_a_command_is_forbidden(cwd: Path) -> None:
    odd = running('"$x" a')
    assert verdict(odd, cwd, mode="yolo", tool="terminal") == "allow"
    assert verdict(odd, cwd, NO_CAT, mode="yolo", tool="terminal") == "ask"
    exactly = Rule("terminal", odd.command, "allow")
    assert verdict(odd, cwd, exactly, NO_CAT, tool="terminal") == "ask"
    assert verdict(odd, cwd, NO_CAT, exactly, tool="terminal") == "allow"
    assert verdict(running("ls"), cwd, NO_CAT, tool="terminal") == "allow"


FILE_TOOLS = {"read_file": reading, "search_files": reading, "write_file": writing, "edit_file": writing}


@pytest.mark.parametrize("tool", FILE_TOOLS)
@pytest.mark.parametrize("pattern", ["{cwd}/sub/*", "{cwd}/sub", "{cwd}/SUB/*", "{cwd}/link/*", "sub/*"])
@pytest.mark.parametrize("mode", ["ask", "edits", "yolo"])
def test_a_forbidden_folder_is_forbidden_to_every_file_tool(tool: str, pattern: str, mode: Any, cwd: Path) -> None:
    (cwd / "sub").mkdir()
    (cwd / "link").symlink_to("sub")
    rule = Rule("read_file", pattern.format(cwd=cwd), "deny")
    for path in (cwd / "sub", cwd / "sub" / "a.txt", cwd / "sub" / ".git" / "config"):
        assert verdict(FILE_TOOLS[tool](path), cwd, rule, mode=mode, tool=tool) == "deny"
    assert verdict(reading(cwd / "submarine"), cwd, rule, mode=mode, tool="read_file") == "allow"


@pytest.mark.parametrize("mode", ["ask", "edits", "yolo"])
def test_a_search_above_a_forbidden_folder_is_asked_for(mode: Any, cwd: Path) -> None:
    deny, allow = Rule("read_file", f"{cwd}/sub/*", "deny"), Rule("search_files", f"{cwd}/*", "allow")
    for rules in ([deny], [allow, deny]):
        assert verdict(reading(cwd), cwd, *rules, mode=mode, tool="search_files") == "ask"


def test_of_two_rules_in_the_file_the_later_decides(cwd: Path) -> None:
    deny, allow = Rule("read_file", f"{cwd}/sub/*", "deny"), Rule("read_file", f"{cwd}/*", "allow")
    assert verdict(reading(cwd / "sub" / "a"), cwd, deny, allow, tool="read_file") == "allow"
    assert verdict(reading(cwd / "sub" / "a"), cwd, allow, deny, tool="read_file") == "deny"


def test_a_yes_for_a_folder_leaves_what_is_forbidden_inside_it_forbidden(cwd: Path) -> None:
    """An answer is put before what a person forbade, whatever it covers."""
    policy = Policy("ask", [Rule("write_file", f"{cwd}/sub/*", "deny")])
    gate = Gatekeeper(policy, Answering(Decision(True, scope="session")), session_id=SESSION)

    def ask(action: Action) -> Decision:
        call = ToolCall("call_1", "write_file", "{}")
        return gate.review(call, action, ToolContext(cwd), preview=str, emit=lambda event: None, cancel=CancelToken())

    assert ask(writing(cwd / "a")).allowed
    assert policy.granted == [Rule("write_file", f"{cwd}/*", "allow")]
    assert not ask(writing(cwd / "sub" / "a")).allowed


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        ("{cwd}/src/*", "src/a/b.py", True),
        ("{cwd}/src/*.py", "src/b.py", True),
        ("{cwd}/src/*.py", "src/a/b.py", False),
        ("{cwd}/**/*.py", "src/a/b.py", True),
        ("{cwd}/**/*.py", "b.py", True),
        ("{cwd}/**/*.py", ".git/b.py", False),
        ("src/*", "src/b.py", True),
        ("{cwd}/a?", "ab", True),
        ("{cwd}/a", "a/b", False),
    ],
)
def test_a_pattern_of_a_path_may_hold_wildcards(pattern: str, path: str, covered: bool, cwd: Path) -> None:
    rule = Rule("write_file", pattern.format(cwd=cwd), "allow")
    assert verdict(writing(cwd / path), cwd, rule, tool="write_file") == ("allow" if covered else "ask")


def test_a_pattern_with_wildcards_forbids_what_lies_below_too_and_asks_for_folders_that_may_hold_it(cwd: Path) -> None:
    rule = Rule("read_file", "**/.env*", "deny")
    assert verdict(reading(cwd / "a" / ".env"), cwd, rule, tool="read_file") == "deny"
    assert verdict(reading(cwd / ".env.d" / "x"), cwd, rule, tool="read_file") == "deny"
    assert verdict(running("cat .env"), cwd, rule, tool="terminal") == "ask"
    assert verdict(reading(cwd), cwd, rule, tool="search_files") == "ask"
    assert verdict(reading(cwd / "a"), cwd, rule, tool="read_file") == "allow"


def test_a_rule_may_be_about_a_machine(cwd: Path) -> None:
    fetch = Action("read", "https://docs.python.org/3/", host="docs.python.org")
    assert verdict(fetch, cwd, tool="web_fetch") == "ask"
    assert verdict(fetch, cwd, Rule("web_fetch", "*.python.org", "allow"), tool="web_fetch") == "allow"
    assert verdict(fetch, cwd, Rule("web_fetch", "python.org", "allow"), tool="web_fetch") == "ask"
    assert pattern_for(fetch, cwd) == "docs.python.org"


def test_a_rule_says_why(cwd: Path) -> None:
    rule = Rule("terminal", "git push *", "deny", "Releases are made by the build machine.")
    assert Policy("yolo", [rule]).verdict("terminal", running("git add . && git push -f"), cwd) == Ruling(
        "deny", "Releases are made by the build machine."
    )


def test_a_rule_about_commands_is_none_about_files(cwd: Path) -> None:
    assert verdict(writing(cwd / "a"), cwd, Rule("terminal", "*", "deny"), mode="edits", tool="write_file") == "allow"
    assert verdict(running("ls"), cwd, Rule("terminal", "*", "deny"), tool="terminal") == "deny"


def test_what_may_not_be_written_may_be_read(cwd: Path) -> None:
    rule = Rule("write_file", f"{cwd}/sub/*", "deny")
    assert verdict(reading(cwd / "sub" / "a"), cwd, rule, tool="read_file") == "allow"
    assert verdict(running("cat sub/a"), cwd, rule, tool="terminal") == "allow"
    assert verdict(writing(cwd / "sub" / "a"), cwd, rule, tool="edit_file", mode="edits") == "deny"


@pytest.mark.parametrize("line", ["cat sub/a", "ls", "grep -rn x .", "find . -name a", "head a | cat - sub/a"])
def test_a_plain_command_that_would_read_what_is_forbidden_is_asked_for(line: str, cwd: Path) -> None:
    rule = Rule("read_file", f"{cwd}/sub/*", "deny")
    assert verdict(running(line), cwd, tool="terminal") == "allow"
    assert verdict(running(line), cwd, rule, tool="terminal") == "ask"
    assert verdict(running("cat a.txt; date"), cwd, rule, tool="terminal") == "allow"


# -- the gate --------------------------------------------------------------------------------------


class Answering:
    """An asker with a fixed answer that keeps what it was asked."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.asked: list[ApprovalRequested] = []

    def __call__(self, request: ApprovalRequested, **_: Any) -> Decision:
        self.asked.append(request)
        return self.decision


def review(policy: Policy, asker: Any, action: Action, cwd: Path) -> tuple[Decision, list[Event]]:
    events: list[Event] = []
    gate = Gatekeeper(policy, asker, session_id=SESSION)
    context = ToolContext(cwd)
    return gate.review(CALL, action, context, preview=str, emit=events.append, cancel=CancelToken()), events


def test_what_the_policy_decides_is_asked_of_nobody(cwd: Path) -> None:
    asker = Answering(Decision(False))
    decision, events = review(Policy("ask"), asker, running("ls"), cwd)
    assert decision.allowed
    assert (asker.asked, events) == ([], [])


def test_a_request_says_exactly_what_would_run_and_where(cwd: Path) -> None:
    asker = Answering(Decision(True))
    decision, events = review(Policy("ask"), asker, running("make all"), cwd)
    assert decision.allowed
    (request,) = asker.asked
    assert (request.preview, request.directory, request.kind) == ("make all", str(cwd), "execute")
    assert request.request_id.startswith(f"{SESSION}:call_1:")
    assert events == [ApprovalSettled(request.request_id, True)]


def test_an_unattended_run_is_refused_with_the_way_out(cwd: Path) -> None:
    decision, _events = review(Policy("ask"), nobody, running("make"), cwd)
    assert decision == Decision(False, UNATTENDED)
    assert "--yolo" in decision.reason


@pytest.mark.parametrize(("scope", "asked"), [("once", 2), ("session", 1), ("always", 1)])
@pytest.mark.parametrize("allowed", [True, False])
def test_an_answer_holds_as_long_as_it_was_given_for(scope: Any, asked: int, allowed: bool, cwd: Path) -> None:
    saved: list[Rule] = []
    policy, asker = Policy("ask", save=saved.append), Answering(Decision(allowed, scope=scope))
    for command in ("pytest -q", "pytest -x"):
        decision, _events = review(policy, asker, running(command), cwd)
        assert decision.allowed == allowed
    assert len(asker.asked) == asked
    assert len(saved) == (1 if scope == "always" else 0)


@pytest.mark.parametrize(("scope", "asked"), [("session", 1), ("always", 0)])
def test_an_answer_for_a_session_frees_nothing_in_another_one(scope: Any, asked: int, cwd: Path) -> None:
    policy = Policy("ask")
    review(policy.under("ask", "one"), Answering(Decision(True, scope=scope)), running("make"), cwd)
    for session_id, expected in (("one", 0), ("two", asked)):
        asker = Answering(Decision(False))
        review(policy.under("ask", session_id), asker, running("make"), cwd)
        assert len(asker.asked) == expected, session_id


def test_an_answer_counts_even_when_its_rule_cannot_be_saved(cwd: Path) -> None:
    def save(rule: Rule) -> None:
        raise ConfigError("the disk is full")

    decision, _events = review(
        Policy("ask", save=save), Answering(Decision(True, scope="always")), running("make"), cwd
    )
    assert decision.allowed
    assert "not saved: the disk is full" in decision.reason


# -- the desk --------------------------------------------------------------------------------------


def request(name: str = "r1") -> ApprovalRequested:
    return ApprovalRequested(name, f"call of {name}", "terminal", "execute", "make", "make", "/", "make")


def ask_aside(desk: Desk, asked: ApprovalRequested, cancel: CancelToken, events: list[Event]) -> tuple[Any, list[Any]]:
    """Ask on a thread; the list gets the decision or the exception."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(desk(asked, emit=events.append, cancel=cancel))
        except Cancelled as signal:
            outcome.append(signal)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def test_the_desk_waits_until_somebody_answers() -> None:
    desk, events = Desk(), list[Event]()
    thread, outcome = ask_aside(desk, request(), CancelToken(), events)
    wait_until(lambda: bool(events))
    assert desk.pending() == [request()] == events
    assert desk.settle("r1", Decision(False, "not now"))
    thread.join(10)
    assert outcome == [Decision(False, "not now")]
    assert desk.pending() == []


def test_only_the_first_answer_counts() -> None:
    desk, events = Desk(), list[Event]()
    thread, outcome = ask_aside(desk, request(), CancelToken(), events)
    wait_until(lambda: bool(events))
    assert desk.settle("r1", Decision(True))
    assert not desk.settle("r1", Decision(False))
    thread.join(10)
    assert outcome == [Decision(True)]


def test_an_answer_to_a_question_nobody_asked_is_refused() -> None:
    assert not Desk().settle("r1", Decision(True))


def test_an_answer_given_while_the_question_is_being_told_is_not_lost() -> None:
    desk = Desk()

    def answer_at_once(event: Event) -> None:
        if isinstance(event, ApprovalRequested):
            assert desk.settle(event.request_id, Decision(True))

    assert desk(request(), emit=answer_at_once, cancel=CancelToken()) == Decision(True)


def test_cancelling_wakes_whoever_waits_for_an_answer() -> None:
    desk, events, cancel = Desk(), list[Event](), CancelToken()
    thread, outcome = ask_aside(desk, request(), cancel, events)
    wait_until(lambda: bool(events))
    cancel.cancel()
    thread.join(10)
    assert isinstance(outcome[0], Cancelled)
    assert events == [request(), ApprovalSettled("r1", False, "cancelled")]
    assert desk.pending() == []
    assert not desk.settle("r1", Decision(True))


def test_open_questions_are_listed_oldest_first() -> None:
    desk, events, cancel = Desk(), list[Event](), CancelToken()
    threads = []
    for number in range(3):
        threads.append(ask_aside(desk, request(f"r{number}"), cancel, events)[0])
        wait_until(lambda number=number: len(events) > number)
    assert [open_.request_id for open_ in desk.pending()] == ["r0", "r1", "r2"]
    cancel.cancel()
    for thread in threads:
        thread.join(10)


def test_a_question_that_nobody_answers_in_time_is_a_no() -> None:
    desk, events = Desk(timeout=0.01), list[Event]()
    decision = desk(request(), emit=events.append, cancel=CancelToken())
    assert (decision.allowed, decision.reason) == (False, "nobody answered within 0.01 s")
    assert desk.pending() == []
    assert not desk.settle("r1", Decision(True))


ASKED_FOR = [running("make"), running("rm x"), running("$x"), reading(Path("/etc/passwd")), writing(Path("/etc/x"))]
FREE_OR_FORBIDDEN = {"ls": True, "rm -rf /": False}


@pytest.mark.parametrize("front_end", ["foreground", "background", "unattended"])
def test_one_gate_stands_before_every_kind_of_run(front_end: str, cwd: Path) -> None:
    """Foreground; tasks and workers; headless, pipes and chats: only who is asked differs."""
    desk, store = Desk(timeout=0.01), MemoryStore()
    asker = {"foreground": desk, "background": Mailbox(store, SESSION), "unattended": nobody}[front_end]
    policy = Policy("ask")
    for action in ASKED_FOR:
        try:
            decision, _events = review(policy, asker, action, cwd)
        except ApprovalPending:
            assert front_end == "background"
        else:
            assert not decision.allowed
            assert front_end != "background"
    for command, allowed in FREE_OR_FORBIDDEN.items():
        decision, events = review(policy, asker, running(command), cwd)
        assert (decision.allowed, events) == (allowed, [])


# -- the mailbox -----------------------------------------------------------------------------------


def test_a_mailbox_asks_and_lets_go_of_its_thread_until_an_answer_is_stored() -> None:
    store, events = MemoryStore(), list[Event]()
    mailbox, asked = Mailbox(store, SESSION), request()
    with pytest.raises(ApprovalPending) as pending:
        mailbox(asked, emit=events.append, cancel=CancelToken())
    assert pending.value.request_id == "r1"
    assert events == [asked]
    store.record_decision(SESSION, decision_key(asked.request_id), Decision(True, scope="session"))
    assert mailbox(asked, emit=events.append, cancel=CancelToken()) == Decision(True, scope="session")
    assert events == [asked]


def test_an_answer_is_not_an_answer_to_anything_else(cwd: Path) -> None:
    """The same call may mean another file by the time a task goes on."""
    store, events = MemoryStore(), list[Event]()
    gate = Gatekeeper(Policy("ask"), Mailbox(store, SESSION), session_id=SESSION)

    def ask(action: Action, preview: str = "+x") -> Decision:
        context = ToolContext(cwd)
        return gate.review(CALL, action, context, preview=lambda: preview, emit=events.append, cancel=CancelToken())

    first = writing(cwd / "a.txt")
    with pytest.raises(ApprovalPending) as pending:
        ask(first)
    store.record_decision(SESSION, decision_key(pending.value.request_id), Decision(True))
    assert ask(first).allowed
    others = [
        writing(cwd / "b.txt"),
        replace(first, host="example.org"),
        replace(first, kind="read", paths=(cwd.parent / "a.txt",)),
        replace(first, kind="execute", command="make"),
    ]
    for other in others:
        with pytest.raises(ApprovalPending):
            ask(other)
    with pytest.raises(ApprovalPending):
        ask(first, "-x")


# -- the policy file -------------------------------------------------------------------------------


def test_without_a_policy_file_there_are_no_rules(tmp_path: Path) -> None:
    assert load_policy(beside(tmp_path / "none" / "policy.toml"), "ask").rules == []


def test_always_writes_a_rule_that_the_next_start_reads_and_keeps_what_a_person_wrote(
    tmp_path: Path, cwd: Path
) -> None:
    path = tmp_path / "hermes" / "policy.toml"
    path.parent.mkdir()
    path.write_text('# mine\n[[rule]]\ntool = "terminal" # why\npattern = "make *"\nverdict = "deny"\n')
    policy = load_policy(beside(path), "ask")
    review(policy, Answering(Decision(True, scope="always")), running("pytest -q"), cwd)
    assert "# mine" in path.read_text()
    assert "# why" in path.read_text()
    again = load_policy(beside(path), "ask")
    assert again.rules == [Rule("tool", "pytest *", "allow"), Rule("terminal", "make *", "deny")]
    assert again.verdict("tool", running("pytest -x"), cwd).verdict == "allow"


def test_a_new_policy_file_is_readable_by_its_owner_only(tmp_path: Path, cwd: Path) -> None:
    path = tmp_path / "hermes" / "policy.toml"
    review(load_policy(beside(path), "ask"), Answering(Decision(False, scope="always")), running("make"), cwd)
    assert load_policy(beside(path), "ask").rules == [Rule("tool", "make", "deny")]
    assert path.stat().st_mode & 0o777 == 0o600


def test_rules_written_as_a_list_in_one_line_can_be_added_to(tmp_path: Path, cwd: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('rule = [{tool = "terminal", pattern = "ls", verdict = "deny"}]\n')
    review(load_policy(beside(path), "ask"), Answering(Decision(True, scope="always")), running("pytest"), cwd)
    assert len(load_policy(beside(path), "ask").rules) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[rule]]\ntool = "terminal"\npattern = \n', "line 3"),
        ("[[rule]\n", "line 1"),
        ('[[rule]]\ntool = "terminal"\npattern = "x"\nverdict = "maybe"\n', "policy.toml, line 1: "),
        ('[[rule]]\ntool = "t"\npattern = "x"\nverdict = "deny"\n[[rule]]\ntool = "t"\n', "policy.toml, line 5: "),
        ('rule = [{tool = "t", pattern = "x", verdict = "deny"}, {odd = 1}]\n', "policy.toml, rule 2: "),
        ('[[rules]]\ntool = "t"\npattern = "x"\nverdict = "deny"\n', "rules"),
        ("rule = 5\n", "rule"),
        ('[rule]\ntool = "t"\npattern = "x"\nverdict = "deny"\n', "rule"),
        ("deny = true\n", "deny"),
    ],
)
def test_a_policy_file_that_is_not_understood_stops_the_program_and_says_where(
    text: str, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_policy(beside(path), "ask")
    assert told in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_a_policy_file_in_another_encoding_stops_the_program(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigError):
        load_policy(beside(path), "ask")


def test_a_policy_file_broken_while_the_program_runs_is_not_overwritten(tmp_path: Path, cwd: Path) -> None:
    path = tmp_path / "policy.toml"
    policy = load_policy(beside(path), "ask")
    path.write_text("[[rule]\n")
    decision, _events = review(policy, Answering(Decision(True, scope="always")), running("make"), cwd)
    assert decision.allowed
    assert "not saved" in decision.reason
    assert path.read_text() == "[[rule]\n"


def test_rules_that_are_saved_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    rules = [Rule("terminal", f"make {number}", "deny") for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda rule: save_rule(path, rule), rules))
    assert sorted(rule.pattern for rule in load_rules(path)) == sorted(rule.pattern for rule in rules)
