"""`hermes tasks`: the tasks of every terminal, from any process."""

import json
from pathlib import Path

import pytest

from agent.approvals import decision_key
from agent.config import directories
from agent.events import (
    ApprovalRequested,
    StepFinished,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnResumed,
    TurnStarted,
    TurnSuspended,
)
from agent.messages import Message, Usage
from agent.protocols import Task
from agent.records import Receipt
from agent.store.leases import new_lease
from agent.store.sqlite import SqliteStore
from agent.task_rows import counted, encoded
from hermes_cli.seats import Seats
from hermes_cli.step_log import StepLog
from tests.cli.conftest import Run

OWNER = "terminal:20260101_000000_abcdef"


@pytest.fixture
def store(home: Path) -> SqliteStore:
    store = SqliteStore(directories({"HERMES_HOME": str(home / "hermes-home")}).database)
    # Its terminal lives, so no worker has to be started.
    store.enter(OWNER, new_lease())
    return store


def finished(store: SqliteStore, prompt: str, **changes: object) -> Task:
    task = store.create_task(prompt=prompt, owner=OWNER, settings="{}")
    events = [
        TurnStarted(prompt),
        StepFinished(1, "I look.", Usage(11, 7, cost=0.02)),
        ToolStarted("c", "terminal", "ls", '{"command": "ls", "timeout": 5}'),
        ToolFinished("c", "terminal", "ls", True, "exit 0", "a.txt\nb.txt", 0.1, 0),
        TurnFinished("done", "Two files.", Usage(11, 7, cost=0.02), 1, 2.0),
    ]
    for event in events:
        store.append_event(task.id, event)
    receipt = encoded(counted(Receipt(), events[3]))
    store.update_task(task.id, state="running", started=1.0, receipt=receipt)
    done = store.update_task(task.id, state="done", result="Two files.", finished=3.0, told=True, **changes)
    assert done is not None
    return done


def waiting(store: SqliteStore) -> tuple[Task, ApprovalRequested]:
    task = store.create_task(prompt="make it", owner=OWNER, settings="{}")
    request = ApprovalRequested("r1", "c1", "terminal", "execute", "touch made", "touch made", "/tmp", "touch *")
    store.append_event(task.id, request)
    store.update_task(task.id, state="waiting")
    return task, request


def test_a_question_is_answered_in_words(sub_command: Run, store: SqliteStore) -> None:
    task = store.create_task(prompt="set it up", owner=OWNER, settings="{}")
    asked = ApprovalRequested(
        "r1", "c1", "ask_user", "ask", "Which?", "Which?\n1. a\n2. b", "/", "", choices=("a", "b")
    )
    store.append_event(task.id, asked)
    store.update_task(task.id, state="waiting")
    assert "The agent asks:\nWhich?" in sub_command("tasks", "show", "1").stdout
    assert "answer 1" in sub_command("tasks", "approve", "1").stderr
    assert sub_command("tasks", "answer", "1", "neither", "of", "them").stdout == "Answered for #1: Which?\n"
    decision = store.decision(task.session_id, decision_key("r1"))
    assert decision is not None
    assert (decision.allowed, decision.reason) == (True, "neither of them")


def test_what_is_ordered_of_all_tasks_leaves_those_of_chats_alone(sub_command: Run, store: SqliteStore) -> None:
    task = store.create_task(prompt="look", owner="chat:telegram:1", settings="{}")
    assert "No task is running" in sub_command("tasks", "stop", "all").stderr
    store.update_task(task.id, state="done", finished=1.0, told=True)
    assert sub_command("tasks", "prune", "--yes").stdout == "Forgot 0 tasks.\n"


def test_a_chat_s_task_is_listed_with_its_chat_and_a_turn_is_found_by_its_number(
    sub_command: Run, store: SqliteStore
) -> None:
    task = store.create_task(prompt="look", owner="chat:telegram:7", settings="{}")
    turn = store.create_task(prompt="hello", owner="turn:telegram:7", settings="{}")
    (line,) = sub_command("tasks").stdout.splitlines()
    assert line.startswith("#1 ")
    assert line.endswith("[telegram:7] look")
    assert task.id in sub_command("tasks", "show", task.id[:12]).stdout
    assert sub_command("tasks", "stop", "2").stdout == "Stopped #2.\n"
    assert turn.id in sub_command("tasks", "show", "2").stdout


def test_no_worker_is_started_for_a_chat_s_task(sub_command: Run, store: SqliteStore, home: Path) -> None:
    task = store.create_task(prompt="look", owner="chat:telegram:7", settings="{}")
    store.update_task(task.id, state="parked", held=True)
    resumed = sub_command("tasks", "resume", "1")
    assert (resumed.stdout, resumed.stderr) == ("#1 goes on.\n", "No gateway runs now; the next one goes on with it.\n")
    assert not (home / "hermes-home" / "state" / "worker.log").exists()
    store.enter("gateway:telegram", new_lease())
    store.update_task(task.id, state="parked", held=True)
    assert sub_command("tasks", "resume", "1").stderr == ""


def test_without_tasks_it_says_so(sub_command: Run) -> None:
    assert sub_command("tasks").stdout == "No background tasks.\n"
    assert json.loads(sub_command("tasks", "list", "--json").stdout) == []


def test_tasks_are_listed_and_shown_to_people_and_to_programs(sub_command: Run, store: SqliteStore) -> None:
    task = finished(store, "count the files")
    assert sub_command("tasks").stdout.split()[:3] == ["#1", "done", "2.0s"]
    shown = sub_command("tasks", "show", "1").stdout
    assert all(text in shown for text in ("#1 count the files", "Two files.", "ls  exit 0", task.id))
    (row,) = json.loads(sub_command("tasks", "list", "--json").stdout)
    assert (row["number"], row["state"], row["result"]) == (1, "done", "Two files.")
    assert json.loads(sub_command("tasks", "--json").stdout) == [row]
    whole = json.loads(sub_command("tasks", "show", task.id[:10], "--json").stdout)
    assert whole["receipt"]["commands"] == [{"command": "ls", "exit_code": 0}]


def test_a_log_has_everything_in_order(sub_command: Run, store: SqliteStore) -> None:
    finished(store, "count the files")
    assert sub_command("tasks", "log", "1", "-f").stdout.splitlines() == [
        "prompt    count the files",
        "step 1    11 in, 7 out, $0.02",
        "          I look.",
        "tool      terminal ls",
        "          timeout: 5",
        "result    exit 0  0.1s",
        "          a.txt",
        "          b.txt",
        "done      2.0s, 11 in, 7 out, $0.02",
    ]
    rows = [json.loads(line) for line in sub_command("tasks", "log", "1", "--json").stdout.splitlines()]
    assert [row["type"] for row in rows][:2] == ["TurnStarted", "StepFinished"]
    assert rows[0]["number"] == 1
    assert (rows[-1]["type"], rows[-1]["state"]) == ("TaskOver", "done")


def test_the_end_of_a_log_counts_all_of_a_turn_that_was_resumed(sub_command: Run, store: SqliteStore) -> None:
    task = store.create_task(prompt="x", owner=OWNER, settings="{}")
    step = StepFinished(1, "", Usage(11, 7, cost=0.02))
    ends = TurnFinished("done", "", Usage(11, 7, cost=0.02), 1, 2.0)
    for event in (TurnStarted("x"), step, TurnSuspended(), TurnResumed(), step, TurnResumed(), step, ends):
        store.append_event(task.id, event)
    assert sub_command("tasks", "log", "1").stdout.splitlines()[-1] == "done      2.0s, 33 in, 21 out, $0.06"


@pytest.mark.parametrize("follow", [["-f"], []])
def test_a_log_says_that_somebody_stopped_the_task(sub_command: Run, store: SqliteStore, follow: list[str]) -> None:
    waiting(store)
    assert sub_command("tasks", "log", "1").stdout.splitlines()[-1] == "asks      terminal touch made"
    sub_command("tasks", "stop", "1")
    assert sub_command("tasks", "log", "1", *follow).stdout.splitlines()[-1] == "cancelled"
    last = json.loads(sub_command("tasks", "log", "1", "--json", *follow).stdout.splitlines()[-1])
    assert (last["type"], last["state"]) == ("TaskOver", "cancelled")


def test_orders_reach_the_store(sub_command: Run, store: SqliteStore) -> None:
    task, request = waiting(store)
    assert "touch made" in sub_command("tasks", "show", "1").stdout
    assert sub_command("tasks", "steer", "1", "use", "tabs").returncode == 0
    assert sub_command("tasks", "approve", "1", "session").stdout == "Approved for #1: terminal touch made\n"
    decision = store.decision(task.session_id, decision_key(request.request_id))
    assert decision is not None
    assert (decision.allowed, decision.scope) == (True, "session")
    assert store.task(task.id).state == "queued"  # type: ignore[union-attr]
    assert sub_command("tasks", "stop", "all").stdout == "Stopped #1.\n"
    assert store.task(task.id).state == "cancelled"  # type: ignore[union-attr]
    assert sub_command("tasks", "retry", "1").stdout.startswith("#2 bg_")
    assert store.tasks()[1].prompt == "make it"


def test_what_came_of_an_order_is_told_to_programs(sub_command: Run, store: SqliteStore) -> None:
    def told(*arguments: str) -> dict[str, object]:
        row = json.loads(sub_command("tasks", *arguments, "--json").stdout)
        assert "receipt" in row
        return {name: row[name] for name in ("number", "state")}

    waiting(store)
    assert told("steer", "1", "use tabs") == {"number": 1, "state": "waiting"}
    assert told("approve", "1") == {"number": 1, "state": "queued"}
    assert told("stop", "1") == {"number": 1, "state": "cancelled"}
    assert told("retry", "1") == {"number": 2, "state": "queued"}
    waiting(store)
    assert told("deny", "3", "not now") == {"number": 3, "state": "queued"}
    store.update_task(store.tasks(number=3)[0].id, state="parked", held=True)
    assert told("resume", "3") == {"number": 3, "state": "queued"}
    stopped = json.loads(sub_command("tasks", "stop", "all", "--json").stdout)
    assert [(row["number"], row["state"]) for row in stopped] == [(2, "cancelled"), (3, "cancelled")]
    assert json.loads(sub_command("tasks", "diff", "2", "--json").stdout) == {"number": 2, "diff": ""}
    assert json.loads(sub_command("tasks", "prune", "--yes", "--json").stdout) == {
        "forgotten": 3,
        "kept": [],
        "dry_run": False,
    }


def test_what_stays_as_a_conversation_is_named_before_and_not_counted(sub_command: Run, store: SqliteStore) -> None:
    finished(store, "old")
    store.create_session("s", source="terminal")
    store.append("s", Message("user", "hi"))
    task = store.create_task(prompt="detached", owner=OWNER, settings="{}", session_id="s")
    store.update_task(task.id, state="done", finished=3.0, told=True)
    line = "#2 stays: it went on as a conversation."
    assert sub_command("tasks", "prune", "--dry-run").stdout == f"Would forget 1 task.\n{line}\n"
    assert (
        f"Forget 1 finished task of all terminals, with results and logs? {line}"
        in sub_command("tasks", "prune").stderr
    )
    opened = finished(store, "opened as the conversation of a terminal")
    here = Seats(store)
    here.take(opened.session_id)
    line = "#2, #3 stay: they went on as conversations."
    assert sub_command("tasks", "prune", "--yes").stdout == f"Forgot 1 task.\n{line}\n"
    assert [one.number for one in store.tasks()] == [2, 3]
    here.close()


def test_advice_for_a_shell_names_its_own_commands(sub_command: Run, store: SqliteStore) -> None:
    finished(store, "count")
    assert "hermes tasks retry 1 starts it again" in sub_command("tasks", "steer", "1", "x").stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["show", "9"], "There is no task '9'."),
        (["stop", "1"], "#1 is over already."),
        (["steer", "1", "x"], "#1 is over already."),
        (["approve", "1"], "#1 is not waiting for an answer."),
        (["approve", "1", "twice"], "'twice' is no scope."),
        (["resume", "1"], "#1 is done, not parked."),
        (["prune", "--older-than", "soon"], "'soon' is no time."),
    ],
)
def test_what_cannot_be_done_is_said(
    sub_command: Run, store: SqliteStore, arguments: list[str], complaint: str
) -> None:
    finished(store, "count")
    done = sub_command("tasks", *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert complaint in done.stderr


def test_finished_tasks_are_forgotten(sub_command: Run, store: SqliteStore) -> None:
    finished(store, "old")
    waiting(store)
    assert sub_command("tasks", "prune", "--dry-run").stdout == "Would forget 1 task.\n"
    refused = sub_command("tasks", "prune")
    assert (refused.returncode, refused.stdout) == (1, "")
    question = "Forget 1 finished task of all terminals, with results and logs?"
    assert f"{question} Nobody is there to say yes." in refused.stderr
    assert "Add --yes." in refused.stderr
    assert len(store.tasks()) == 2
    assert sub_command("tasks", "prune", "--yes").stdout == "Forgot 1 task.\n"
    assert sub_command("tasks", "prune").stdout == "Forgot 0 tasks.\n"
    assert [task.number for task in store.tasks()] == [2]


def test_the_time_of_a_task_is_what_it_worked(sub_command: Run, store: SqliteStore) -> None:
    task = finished(store, "count the files")
    store.update_task(task.id, finished=500.0, receipt=encoded(Receipt(seconds=2.0)))
    line = sub_command("tasks", "list").stdout
    assert "2.0s" in line
    assert "8m" not in line


def test_what_became_of_a_task_stands_beside_what_it_was_asked(
    sub_command: Run, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    task = store.create_task(prompt="count the files " * 20, owner=OWNER, settings="{}")
    store.update_task(task.id, state="cancelled", activity="went on as session s")
    for command in (("list",), ("show", "1"), ("log", "1")):
        told = sub_command("tasks", *command).stdout
        assert "cancelled" in told
        assert "went on as session s" in told


def test_a_long_log_may_begin_with_its_last_entries(store: SqliteStore) -> None:
    task = finished(store, "count the files")
    log = StepLog(store, task.id, last=2)
    lines = [str(line) for line in log.more()]
    assert lines[0].strip() == "(3 older entries are not shown)"
    assert lines[1].startswith("result")
    store.append_event(task.id, TurnStarted("more"))
    assert [str(line) for line in log.more()] == ["prompt    more"]
