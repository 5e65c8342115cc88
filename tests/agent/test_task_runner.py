"""What a run of a task makes of its row: limits, model, approvals, folder, receipt."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.approvals import Policy
from agent.cancel import CancelToken
from agent.config import ApprovalMode, Config, Settings, directories
from agent.errors import HermesError
from agent.events import ToolFinished, ToolStarted, TurnFinished
from agent.messages import Message, ToolCall, Usage
from agent.models.scripted import Call, Finish, Say, Script, ScriptedModel
from agent.protocols import Task
from agent.records import CommandRun, Lease, TaskOptions
from agent.reports import context_for
from agent.store.memory import MemoryStore
from agent.store.sqlite import SqliteStore
from agent.task_rows import options_of, options_text, receipt_of, record
from agent.task_runner import TaskRunner
from agent.tasks import TaskPool
from agent.tools import default_tools
from tests.support.turns import Note, NoteArguments, wait_until

ME = "terminal:me"


class Shop:
    """A pool whose runs are TaskRunner's, with a scripted model and a tool that notes."""

    def __init__(self, script: Script, home: Path, *, mode: ApprovalMode = "yolo", owner: str = ME, **settings: Any):
        self.store, self.tool, self.home = MemoryStore(), Note(kind="write"), home
        self.model, self.policy = ScriptedModel(script), Policy(mode)
        config = Config(Settings(**settings), {}, directories({"HERMES_HOME": str(home)}))
        self.runner = TaskRunner(
            config, self.store, policy=self.policy, owner=owner, env={}, model=self.model, tools=[self.tool]
        )
        self.pool = TaskPool(self.store, self.runner, notify=lambda event: None, workers=1)

    def submit(self, **options: Any) -> Task:
        return self.pool.submit("x", owner=ME, options=TaskOptions(**options), cwd=str(self.home))

    def wait(self, task: Task, state: str) -> Task:
        wait_until(lambda: self.row(task).state == state, what=lambda: f"{state} of {self.row(task)}")
        return self.row(task)

    def row(self, task: Task) -> Task:
        found = self.store.task(task.id)
        assert found is not None
        return found


Open = Callable[..., Shop]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Open]:
    made: list[Shop] = []

    def open_(script: Script, **fields: Any) -> Shop:
        made.append(Shop(script, tmp_path, **fields))
        return made[-1]

    yield open_
    for one in made:
        one.pool.close()


def endless(cost: float | None = None) -> Script:
    """A model that never comes to an end."""
    return lambda messages: [Call("note"), Finish(Usage(10, 1, cost=cost))]


# -- limits ----------------------------------------------------------------------------------------


def test_a_task_that_has_used_up_its_money_is_parked_asks_and_goes_on_when_told_to(shop: Open) -> None:
    one = shop(endless(0.2))
    parked = one.wait(one.submit(max_cost=0.5), "parked")
    assert parked.held
    assert "$0.5" in parked.activity
    assert (parked.steps, len(one.tool.runs)) == (3, 3)
    one.pool.resume(parked.id)
    wait_until(lambda: one.row(parked).steps > 3)
    again = one.wait(parked, "parked")
    assert again.steps == 5  # $1.00 is the next half dollar
    assert again.usage.cost == pytest.approx(1.0)


def test_a_budget_that_cannot_be_kept_parks_the_task_once(shop: Open) -> None:
    one = shop(endless())
    parked = one.wait(one.submit(max_cost=0.5), "parked")
    assert "not known" in parked.activity
    assert "$0.5" in parked.activity
    assert parked.steps == 1
    one.pool.resume(parked.id)
    wait_until(lambda: one.row(parked).steps > 3)


def test_an_answer_that_was_paid_for_is_not_parked(shop: Open) -> None:
    one = shop([[Say("42"), Finish(Usage(1, 1, cost=9.0))]])
    assert one.wait(one.submit(max_cost=0.5), "done").result == "42"


def test_the_tasks_of_a_session_share_its_budget(shop: Open) -> None:
    one = shop(endless(0.2), session_budget=0.5)
    first = one.wait(one.submit(), "parked")
    assert "session" in first.activity
    second = one.wait(one.submit(), "parked")
    assert (second.steps, "session" in second.activity) == (0, True)


def test_the_day_has_a_budget_for_turns_and_tasks_together(shop: Open) -> None:
    one = shop(["free"], daily_budget=1.0)
    one.store.add_usage("a turn in the foreground", "m", Usage(1, 1, cost=1.5))
    parked = one.wait(one.submit(), "parked")
    assert "day" in parked.activity
    one.pool.resume(parked.id)
    assert one.wait(parked, "done").result == "free"


def test_a_task_out_of_steps_asks_and_is_allowed_as_many_again(shop: Open) -> None:
    one = shop(endless())
    parked = one.wait(one.submit(max_steps=2), "parked")
    assert (parked.steps, parked.held) == (2, True)
    assert "2 steps" in parked.activity
    one.pool.resume(parked.id)
    wait_until(lambda: one.row(parked).steps == 4)
    one.wait(parked, "parked")


def test_a_task_out_of_time_is_cut_wherever_it_is(shop: Open) -> None:
    def work(args: NoteArguments, cancel: CancelToken) -> str:
        assert cancel.wait(20)
        cancel.raise_if_cancelled()
        return "never"

    one = shop(endless())
    one.tool.work = work
    began = time.monotonic()
    parked = one.wait(one.submit(timeout=0.2), "parked")
    assert "0.2 s" in parked.activity
    assert time.monotonic() - began < 10


# -- what the row says -----------------------------------------------------------------------------


def test_a_task_runs_in_its_folder_with_its_model_and_says_so_when_either_is_gone(shop: Open, tmp_path: Path) -> None:
    one = shop(["ok"])
    task = one.pool.submit("x", owner=ME, cwd=str(tmp_path / "gone"))
    failed = one.wait(task, "failed")
    assert "does not exist any more" in failed.error
    config = Config(Settings(), {}, directories({"HERMES_HOME": str(tmp_path)}))
    runner = TaskRunner(config, one.store, policy=Policy(), env={"OPENAI_API_KEY": "k", "GROQ_API_KEY": "g"})
    row = replace(task, settings="{}")
    assert runner._choice(row, TaskOptions()).provider == "openai"
    assert runner._choice(row, TaskOptions(model="groq:llama-x")).model == "llama-x"
    assert runner._choice(row, TaskOptions(model="gpt-x")).model == "gpt-x"
    bare = TaskRunner(config, one.store, policy=Policy(), env={})
    with pytest.raises(HermesError):
        bare._choice(row, TaskOptions(model="nobody-has-this"))


@pytest.mark.parametrize(
    ("sender", "sent", "here", "asks"),
    [
        (ME, "ask", "yolo", False),  # at home the mode of now counts
        ("terminal:other", "ask", "yolo", True),
        ("terminal:other", "yolo", "ask", True),
        ("terminal:other", "yolo", "yolo", False),
        ("terminal:other", "", "yolo", True),  # the settings' mode
    ],
)
def test_no_process_is_freer_with_a_task_than_who_sent_it(
    shop: Open, sender: str, sent: str, here: ApprovalMode, asks: bool
) -> None:
    one = shop([Call("note"), "done"], mode=here, owner=ME)
    task = one.pool.submit("x", owner=sender, options=TaskOptions(approvals=sent), cwd=str(one.home))
    one.wait(task, "waiting" if asks else "done")
    assert options_of(one.row(task)).sender == sender


def test_what_another_release_wrote_into_the_options_does_no_harm() -> None:
    task = Task("id", 1, "x", ME, "s", options='{"colour": "red", "max_steps": 3}')
    assert options_of(task) == TaskOptions(max_steps=3)
    assert json.loads(options_text(TaskOptions(name="a"))) == {"name": "a"}


# -- what is left behind ---------------------------------------------------------------------------


def test_what_escapes_from_a_run_tells_no_secret(shop: Open) -> None:
    one = shop(lambda messages: "x")
    config = Config(Settings(), {}, directories({"HERMES_HOME": str(one.home)}))
    env = {"SOME_API_KEY": "hunter2hunter2"}
    runner = TaskRunner(config, one.store, policy=one.policy, env=env, model=one.model)
    task = one.store.create_task(prompt="x", owner=ME, settings="{}", cwd="/nowhere/hunter2hunter2")
    end = runner(task, emit=lambda event: None, cancel=CancelToken())
    assert isinstance(end, TurnFinished)
    assert (end.outcome, "hunter2" in f"{end.error}{end.hint}", "[redacted]" in end.error) == ("failed", False, True)


def test_a_finished_task_leaves_a_receipt_and_a_log_of_what_it_did(tmp_path: Path) -> None:
    one = Shop(
        [
            [Call("terminal", command="echo hi; exit 3"), Finish(Usage(5, 1, cost=0.25))],
            [Call("write_file", path="a.txt", content="hello"), Finish(Usage(5, 1, cost=0.25))],
            [Say("ok"), Finish(Usage(1, 1))],
        ],
        tmp_path,
    )
    one.runner._tools = default_tools()
    done = one.wait(one.submit(), "done")
    receipt = receipt_of(done)
    assert receipt.commands == (CommandRun("echo hi; exit 3", 3),)
    assert receipt.files == (str(tmp_path / "a.txt"),)
    assert receipt.lines == {str(tmp_path / "a.txt"): (1, 0)}
    assert (receipt.steps, receipt.input_tokens, receipt.output_tokens, receipt.cost) == (3, 11, 3, 0.5)
    assert 0 < receipt.seconds < 60
    started = [event for event in one.store.events(done.id) if isinstance(event, ToolStarted)]
    assert json.loads(started[1].arguments) == {"path": "a.txt", "content": "hello"}
    one.pool.close()


def test_every_reply_is_counted_in_the_ledger_once(shop: Open) -> None:
    one = shop([[Call("note"), Finish(Usage(5, 1))], [Say("ok"), Finish(Usage(6, 1))]])
    done = one.wait(one.submit(), "done")
    (row,) = one.store.usage()
    assert (row.session_id, row.requests, row.usage) == (done.session_id, 2, done.usage)


def test_a_task_that_died_after_its_session_was_compacted_goes_on_and_is_not_asked_again(shop: Open) -> None:
    one = shop(["done"])
    before = [Message("system", "be good"), Message("user", "hi"), Message("assistant", "hello")]
    one.store.create_session("chat", source="telegram:1")
    for message in before:
        one.store.append("chat", message)
    task = one.store.create_task(
        prompt="x", owner=ME, settings="{}", session_id="chat", options=options_text(TaskOptions(history=3))
    )
    calls = (ToolCall("a", "note", "{}"),)
    noted = [Message("assistant", "", calls), Message("tool", "noted", tool_call_id="a")]
    child = one.store.continue_session(
        "chat", [before[0], Message("user", "[Hermes: …]"), Message("user", "x"), *noted]
    )
    one.pool.open()
    one.wait(task, "done")
    assert [message.content for message in one.store.messages(child) if message.role == "user"] == ["[Hermes: …]", "x"]
    assert one.row(task).session_id == child


def test_a_task_that_took_a_conversation_along_is_retried_with_it(shop: Open) -> None:
    one = shop(["first", "second"])
    one.store.create_session("mine", source="terminal")
    history = context_for([Message("system", "be good"), Message("user", "x"), Message("assistant", "yes")], "x")
    options = TaskOptions(context=True)
    task = one.pool.submit("x", owner=ME, options=options, cwd=str(one.home), parent="mine", history=history)
    over = one.wait(task, "done")
    # It is as well to have been compacted since.
    one.store.continue_session(over.session_id, [history[0], Message("user", "[Hermes: …]")])
    again = one.wait(one.pool.retry(task.id), "done")
    assert again.result == "second"
    assert one.store.messages(again.session_id)[:-1] == history
    session = one.store.session(again.session_id)
    assert session
    assert session.parent == "mine"


def test_a_turn_of_a_conversation_is_retried_in_one_of_its_own_and_asked_once(shop: Open) -> None:
    one = shop(["first", [Call("note")], "second"])
    one.store.create_session("chat", source="telegram:1")
    one.store.append("chat", Message("system", "be good"))
    options = TaskOptions(history=1, event="telegram:7")
    task = one.pool.submit("x", owner=ME, options=options, cwd=str(one.home), session_id="chat")
    one.wait(task, "done")
    again = one.pool.retry(task.id)
    assert (options_of(again).history, options_of(again).event) == (0, "")
    one.wait(again, "done")
    assert [one.role for one in one.store.messages(again.session_id)].count("user") == 1


def test_a_receipt_holds_what_the_log_has_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.store.tasks.EVENTS_PER_TASK", 1)
    store = SqliteStore(tmp_path / "state.db")
    task = store.create_task(prompt="x", owner="o", settings="{}")
    store.claim_task(Lease("w", 1, 1.0, 0.0))
    for number in range(5):
        done = ToolFinished(str(number), "terminal", f"echo {number}", True, "", "", 0.1, 0)
        assert record(store, task.id, "w", done)
    denied = ToolFinished("d", "terminal", "rm -rf /", False, "denied", "", 0.0, refused=True)
    assert record(store, task.id, "w", denied)
    for name, added, removed in (("a.txt", 2, 0), ("b.txt", 1, 1), ("a.txt", 1, 2)):
        done = ToolFinished("e", "edit_file", name, True, "", "", 0.1, None, (name,), ((added, removed),))
        assert record(store, task.id, "w", done)
    row = store.task(task.id)
    assert row is not None
    assert len(store.events(task.id)) == 1
    receipt = receipt_of(row)
    assert receipt.commands == tuple(CommandRun(f"echo {number}", 0) for number in range(5))
    assert receipt.files == ("a.txt", "b.txt")
    assert receipt.lines == {"a.txt": (3, 2), "b.txt": (1, 1)}
    store.close()


def test_a_stopped_task_has_a_receipt_of_what_it_did_until_then(shop: Open) -> None:
    one = shop(endless())
    task = one.submit()
    wait_until(lambda: one.row(task).steps >= 2)
    one.pool.stop(task.id)
    wait_until(lambda: one.row(task).receipt != "{}")
    assert receipt_of(one.row(task)).steps >= 2
    assert one.row(task).state == "cancelled"
