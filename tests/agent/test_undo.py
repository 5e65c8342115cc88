"""What can be undone of a conversation in whichever session it is, and of a task, and nothing of anybody else."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from agent import undo
from agent.approvals import Gatekeeper, Policy, nobody
from agent.config import Config, Settings, directories
from agent.git import author, git
from agent.lineage import prompts
from agent.messages import Message
from agent.models.scripted import Call, ScriptedModel
from agent.protocols import Task
from agent.records import TaskOptions
from agent.store.memory import MemoryStore
from agent.store.sqlite import SqliteStore
from agent.task_rows import receipt_of
from agent.task_runner import TaskRunner
from agent.tasks import TaskPool
from agent.undo import Undo
from run_agent import AIAgent
from tests.support.turns import wait_until

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


class Talk:
    """A conversation whose every turn writes its number into a file of its own, and into `last`.

    One that is told "long" needs nine steps with long outputs, so that it is compacted on the way.
    """

    def __init__(self, store: MemoryStore | SqliteStore, work: Path, session_id: str = "") -> None:
        self.store, self.work = store, work
        self.agent = AIAgent(
            model=ScriptedModel(self._answer),
            settings=Settings(context_window=12_000),
            store=store,
            session_id=session_id,
            gate=Gatekeeper(Policy("yolo"), nobody, session_id="s"),
            cwd=work,
        )
        self.steps = 0

    def _answer(self, messages: Sequence[Message]) -> object:
        if messages[0].content.startswith("You write the handover"):
            return "Goals: go on."
        if messages[-1].role == "user":
            self.steps, name = 0, messages[-1].content
            return Call("terminal", command=f"printf {name} > {name}; printf {name} > last; seq 300")
        self.steps += 1
        asked = prompts(messages)
        if asked and messages[asked[-1]].content == "long" and self.steps < 9:
            return Call("terminal", command=f"echo {self.steps} >> long; seq 3500")
        return "done"

    def say(self, *words: str) -> "Talk":
        for word in words:
            self.agent.run_turn(word)
        return self

    def undo(self, at: str = "") -> Undo:
        session_id, state = self.agent.session_id, directories().state
        messages = self.store.messages(session_id)
        message = next(place for place in prompts(messages) if messages[place].content == at) if at else None
        return undo.of_conversation(self.store, state, session_id, self.work, message=message)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.work.iterdir() if path.name != "last")

    def back(self, at: str) -> "Talk":
        """Leave for a conversation that ends before a prompt, as /undo and Esc Esc do."""
        messages = self.store.messages(self.agent.session_id)
        place = next(place for place in prompts(messages) if messages[place].content == at)
        return Talk(self.store, self.work, self.store.continue_session(self.agent.session_id, messages[:place]))


@pytest.fixture(params=["memory", "disk"])
def talk(request: pytest.FixtureRequest, work: Path, tmp_path: Path) -> Talk:
    return Talk(MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "state.db"), work)


def test_turns_from_before_a_compaction_are_undone_after_it_and_in_another_process(talk: Talk) -> None:
    talk.say("one", "two", "three")
    old = talk.agent.session_id
    talk.agent.compress()
    assert talk.agent.session_id != old
    talk.say("four")
    again = Talk(talk.store, talk.work, talk.agent.session_id)
    for one in (talk, again):
        assert [record.prompt for record in one.undo().checkpoints.turns()] == ["one", "two", "three", "four"]
    undone = again.say("five").undo()
    assert "+++ b/one" in undone.diff()
    undone.roll_back(undone.plan(3))
    assert again.files() == ["one", "two"]
    undone.roll_back(undone.plan(2))
    assert list(talk.work.iterdir()) == []


def test_a_turn_that_is_compacted_while_it_runs_is_one_turn(talk: Talk) -> None:
    talk.say("short")
    before = talk.agent.session_id
    talk.say("long")
    assert talk.agent.session_id != before
    talk.say("after")
    assert [record.prompt for record in talk.undo().checkpoints.turns()] == ["short", "long", "after"]
    again = Talk(talk.store, talk.work, talk.agent.session_id)
    undone = again.undo("after")
    undone.roll_back(undone.plan())
    assert (again.work / "long").read_text() == "long" + "".join(f"{n}\n" for n in range(1, 9))
    undone = again.undo()
    undone.roll_back(undone.plan(1))
    assert again.files() == ["short"]


def test_a_first_change_after_a_compaction_belongs_to_its_turn_in_the_new_session(work: Path) -> None:
    """Its prompt stands there at another place than where it was said."""

    def answer(messages: Sequence[Message]) -> object:
        if messages[0].content.startswith("You write the handover"):
            return "Goals: go on."
        if messages[-1].role == "user":
            steps.clear()
        steps.append(1)
        if len(steps) < (7 if messages[-1].content == "long" or "long" in str(messages[1:3]) else 1):
            return Call("read_file", path="big")
        return Call("write_file", path=f"made{len(made)}", content="x") if _wants(messages) else "done"

    def _wants(messages: Sequence[Message]) -> bool:
        if messages[-1].role == "tool" and messages[-1].content.startswith("Created"):
            return False
        made.append(1)
        return True

    steps: list[int] = []
    made: list[int] = []
    (work / "big").write_text("word " * 1500)
    store = MemoryStore()
    one = AIAgent(
        model=ScriptedModel(answer),  # type: ignore[arg-type]
        settings=Settings(context_window=12_000),
        store=store,
        gate=Gatekeeper(Policy("yolo"), nobody, session_id="s"),
        cwd=work,
    )
    first = one.session_id
    for prompt in ("long", "next"):
        one.run_turn(prompt)
    assert one.session_id != first
    records = undo.of_conversation(store, directories().state, one.session_id, work).checkpoints.turns()
    said = [store.messages(record.session)[record.message].content for record in records]
    assert said == [record.prompt for record in records] == ["long", "next"]
    assert records[0].session != first


def test_going_back_to_a_prompt_takes_what_came_after_it_whichever_session_it_was_in(talk: Talk) -> None:
    talk.say("one", "two")
    back = talk.back("two").say("three")
    undone = back.undo("three")
    undone.roll_back(undone.plan())
    assert back.files() == ["one", "two"]
    undone = back.undo("one")
    undone.roll_back(undone.plan())
    assert back.files() == []


def test_what_was_said_after_the_conversation_was_left_for_a_branch_is_not_the_branchs(talk: Talk) -> None:
    talk.say("one")
    branch = Talk(talk.store, talk.work, talk.store.continue_session(talk.agent.session_id, talk.agent._history()))
    talk.say("two")
    branch.say("three")
    assert [record.prompt for record in branch.undo().checkpoints.turns()] == ["one", "three"]
    assert [record.prompt for record in talk.undo().checkpoints.turns()] == ["one", "two"]


def test_back_over_a_compaction_to_a_prompt_that_was_kept(talk: Talk) -> None:
    talk.say("one", "go", "two", "go")
    messages = talk.store.messages(talk.agent.session_id)
    kept = prompts(messages)[2]
    child = talk.store.continue_session(talk.agent.session_id, [messages[0], *messages[kept:]])
    later = Talk(talk.store, talk.work, child).say("three")
    undone = later.undo("go")
    undone.roll_back(undone.plan())
    assert later.files() == ["go", "one", "two"]
    assert (later.work / "last").read_text() == "two"
    undone = later.undo("two")
    undone.roll_back(undone.plan())
    assert later.files() == ["go", "one"]
    assert (later.work / "go").read_text() == "go"


# -- tasks -------------------------------------------------------------------------------------------


class Tasks:
    """A pool whose tasks do as `Talk` does, in the same folder."""

    def __init__(self, talk: Talk, home: Path) -> None:
        self.talk = talk
        config = Config(Settings(approvals="yolo"), {}, directories({"HERMES_HOME": str(home)}))
        self.runner = TaskRunner(
            config, talk.store, policy=Policy("yolo"), owner="terminal:me", env={}, model=ScriptedModel(talk._answer)
        )
        self.pool = TaskPool(talk.store, self.runner, notify=lambda event: None, workers=1)

    def run(self, prompt: str, **fields: object) -> Task:
        options = TaskOptions(context=bool(fields.get("history")), worktree=bool(fields.pop("worktree", False)))
        task = self.pool.submit(prompt, owner="terminal:me", options=options, cwd=str(self.talk.work), **fields)  # type: ignore[arg-type]
        wait_until(lambda: self.row(task).state == "done", what=lambda: str(self.row(task)))
        return self.row(task)

    def row(self, task: Task) -> Task:
        found = self.talk.store.task(task.id)
        assert found is not None
        return found

    def undo(self, task: Task) -> Undo:
        found = undo.of_task(self.talk.store, directories().state, self.row(task))
        assert found is not None
        return found


@pytest.fixture
def tasks(talk: Talk, tmp_path: Path) -> "Tasks":
    return Tasks(talk, tmp_path / "home")


def test_a_task_is_undone_and_nothing_else_is(talk: Talk, tasks: Tasks) -> None:
    talk.say("mine")
    one, two = tasks.run("aside"), tasks.run("beside")
    talk.say("later")
    assert "+++ b/aside" in tasks.undo(one).diff()
    assert "+++ b/mine" not in tasks.undo(one).diff()
    plan = tasks.undo(one).plan()
    assert [restore.path.name for restore in plan.edited] == ["last"]
    tasks.undo(one).roll_back(plan)
    assert talk.files() == ["beside", "later", "mine"]
    plan = tasks.undo(two).plan(file="beside")
    tasks.undo(two).roll_back(plan)
    assert talk.files() == ["later", "mine"]


@pytest.mark.parametrize("worktree", [False, True], ids=["in the folder", "in a worktree"])
def test_a_receipt_names_the_files_that_commands_have_changed(talk: Talk, tasks: Tasks, worktree: bool) -> None:
    (talk.work / "last").write_text("")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        git(*words, cwd=talk.work, env=author(talk.work))
    receipt = receipt_of(tasks.run("aside", worktree=worktree))
    assert {Path(name).name for name in receipt.files} == {"aside", "last"}
    assert list(receipt.lines.values()) == ([(1, 0), (1, 0)] if worktree else [])


def test_what_a_person_edited_since_a_task_stays_unless_it_is_to_go(talk: Talk, tasks: Tasks) -> None:
    task = tasks.run("aside")
    (talk.work / "aside").write_text("mine now")
    plan = tasks.undo(task).plan()
    assert [restore.path.name for restore in plan.edited] == ["aside"]
    tasks.undo(task).roll_back(plan)
    assert (talk.work / "aside").read_text() == "mine now"
    tasks.undo(task).roll_back(tasks.undo(task).plan(), overwrite=True)
    assert talk.files() == []


def test_a_task_that_took_a_conversation_along_or_went_on_with_one_is_not_that_conversation(
    talk: Talk, tasks: Tasks
) -> None:
    talk.say("one")
    session = talk.agent.session_id
    history = [*talk.store.messages(session), Message("user", "aside")]
    with_context = tasks.run("aside", parent=session, history=history)
    assert {restore.path.name for restore in tasks.undo(with_context).plan().restores} == {"aside", "last"}
    talk.store.append(session, Message("user", "onward"))
    detached = tasks.run("onward", session_id=session)
    assert {restore.path.name for restore in tasks.undo(detached).plan().restores} == {"onward", "last"}


def test_a_task_whose_conversation_is_gone_has_nothing_to_undo(talk: Talk, tasks: Tasks) -> None:
    task = replace(tasks.run("aside"), session_id="gone")
    assert undo.of_task(talk.store, directories().state, task) is None
