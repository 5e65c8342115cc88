"""What a turn has said stays in its chat, once, wherever the process dies and whatever comes between."""

import asyncio
import errno
import threading
from pathlib import Path

import pytest

from agent.errors import HermesError, RefusedError, StoreError
from agent.events import TaskChanged, TurnFinished
from agent.models.scripted import Answer, Call, Fail, Say, ScriptedModel, Until
from agent.protocols import Task
from agent.store.memory import MemoryStore
from agent.tasks import orders
from gateway.config import Platform
from gateway.home import Hearers
from gateway.lines import Item
from gateway.pages import whole, with_shown
from gateway.platforms.base import SendResult, Unavailable
from gateway.session import Chat
from tests.gateway.test_service import House, reads_nothing, served, showing

QUESTION = Call("ask_user", question="Which one?", choices=["a", "b"])
HERE = Chat(platform=Platform.MEMORY, chat_id="1")


def times(house: House, words: str) -> int:
    return sum(text.count(words) for text in house.platform.texts("1"))


async def nothing(event: TaskChanged, said: str = "") -> None:
    """As where the process dies before anything is told."""
    del event, said


async def asked(house: House) -> None:
    await house.shows(lambda: any(shown.buttons for shown in house.platform.shown))


async def again(before: House, *answers: Answer) -> House:
    """The next process, on the same store and in the same chat."""
    house = House(ScriptedModel(list(answers)), before.folder, before.store, "two")
    house.platform.shown[:] = before.platform.shown
    return await house.open()


@pytest.mark.parametrize(
    ("told", "texts", "result", "expected"),
    [
        ([], [], "", ""),
        ([], [], "shorter", "shorter"),
        ([], ["A"], "A", "A"),
        ([], ["A", "I look.", "B"], "A\n\nB", "A\n\nI look.\n\nB"),
        ([], ["A"], "A \n\n\nB, cut", "A\n\nB, cut"),
        ([], ["I look."], "cut", "I look.\n\ncut"),
        ([], ["I"], "In fact", "I\n\nIn fact"),
        ([], ["OK"], "OK\n\nIt is not OK yet, but", "OK\n\nIt is not OK yet, but"),
        (["A"], [], "A", ""),
        (["A"], ["B"], "A\n\nC", "B\n\nC"),
        (["A"], ["B"], "A\n\nB", "B"),
        ([], ["B"], "A\n\nB", "A\n\nB"),  # the log has A no more
    ],
)
def test_what_came_of_a_turn_and_all_that_it_said_are_joined_once(
    told: list[str], texts: list[str], result: str, expected: str
) -> None:
    assert whole(told, texts, result) == expected


@pytest.mark.parametrize(
    ("texts", "shown", "expected"),
    [
        (["A"], "A\n\nhalf", "A\n\nhalf"),
        (["A", "B"], "B\n\nhalf", "A\n\nB\n\nhalf"),
        (["A"], "half", "A\n\nhalf"),
        ([], "half", "half"),
        (["A"], "", "A"),
    ],
)
def test_what_is_shown_holds_the_last_of_what_was_said_or_comes_after_it(
    texts: list[str], shown: str, expected: str
) -> None:
    assert with_shown(texts, shown) == expected


async def test_text_between_two_answers_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("alpha")
    said = threading.Event()
    script = [[Say("Answer A.\n"), Until(said)], [Say("I look."), Call("read_file", path="a.txt")], "Answer B."]
    async with served(tmp_path, script) as house:
        await house.platform.say("go")
        await house.shows(showing(house, "Answer A."))
        await house.platform.say("more")
        await house.quiet_lines()
        said.set()
        await house.shows(showing(house, "Answer B."))
        await house.quiet()
        assert [times(house, words) for words in ("Answer A.", "I look.", "Answer B.")] == [1, 1, 1]


@pytest.mark.parametrize("trouble", ["none", "pause", "refusal"])
async def test_text_before_a_question_arrives_where_none_of_it_was_shown_yet(tmp_path: Path, trouble: str) -> None:
    async with served(tmp_path, [[Say("I look first."), QUESTION], "Done."]) as house:
        if trouble == "pause":
            house.service.outbox.pause(HERE, 0.3)
        elif trouble == "refusal":
            house.platform.fail_next(Unavailable("down"))
            await house.platform.say("/version")
        await house.platform.say("go")
        await asked(house)
        await house.platform.say("a")
        await house.shows(showing(house, "Done."))
        await house.quiet()
        assert times(house, "I look first.") == 1


async def test_text_before_what_nobody_may_allow_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asks = threading.Event()
    script = [[Say("I look first."), Until(asks), Call("terminal", command="rm -rf x")], "Done."]
    async with served(tmp_path, script) as house:
        monkeypatch.setattr(house.service.telling, "_hearers", lambda chat: Hearers(here=False))
        await house.platform.say("go")
        await house.shows(lambda: house.platform.texts("1") == ["I look first."])
        asks.set()
        await house.shows(showing(house, "Denied", "Done."))
        await house.quiet()
        assert times(house, "I look first.") == 1


async def test_text_before_a_question_stays_where_it_is_answered_before_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = threading.Event()
    async with served(tmp_path, [[Say("I look first."), Until(asks), QUESTION], "Done."]) as house:
        changed = house.service.telling.changed

        async def late(event: TaskChanged, said: str = "") -> None:
            if event.state == "waiting":
                await house.service.aside(lambda: house.service.turns.reply(event.task_id, "a"))
            await changed(event, said)

        monkeypatch.setattr(house.service.telling, "changed", late)
        await house.platform.say("go")
        await house.shows(lambda: house.platform.texts("1") == ["I look first."])
        asks.set()
        await house.shows(showing(house, "Done."))
        await house.quiet()
        assert times(house, "I look first.") == 1


async def test_text_before_a_question_stays_where_the_process_dies_before_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = threading.Event()
    async with served(tmp_path, [[Say("I look first."), Until(asks), QUESTION]]) as house:
        monkeypatch.setattr(house.service.telling, "changed", nothing)
        await house.platform.say("go")
        await house.shows(lambda: house.platform.texts("1") == ["I look first."])
        asks.set()
        await house.shows(lambda: house.store.tasks()[0].state == "waiting")
    next_one = await again(house, "Done.")
    await asked(next_one)
    await next_one.platform.say("a", event_id="again")
    await next_one.shows(showing(next_one, "Done."))
    await next_one.quiet()
    assert times(next_one, "I look first.") == 1
    await next_one.service.close(0.1)


async def test_text_before_a_pause_stays_where_the_process_dies_before_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("alpha")
    go = threading.Event()
    async with served(tmp_path, [[Say("I look first."), Until(go), Call("read_file", path="a.txt")]]) as house:
        monkeypatch.setattr(house.service.telling, "changed", nothing)
        await house.platform.say("go")
        await house.shows(showing(house, "I look first."))
        house.service.turns.park(house.store.tasks()[0].id)
        go.set()
        await house.shows(lambda: house.store.tasks()[0].state == "parked")
    next_one = await again(house, "Done.")
    await next_one.platform.say("/tasks resume 1", event_id="again")
    await next_one.shows(showing(next_one, "Done."))
    await next_one.quiet()
    assert times(next_one, "I look first.") == 1
    await next_one.service.close(0.1)


async def test_both_answers_are_told_where_only_the_end_of_the_turn_was_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = threading.Event()
    async with served(tmp_path, [[Say("Answer A."), Until(said)], "Answer B."]) as house:
        monkeypatch.setattr(house.service.turns, "_settle", lambda *_: None)
        await house.platform.say("go")
        await house.shows(showing(house, "Answer A."))
        await house.platform.say("more")
        await house.quiet_lines()
        said.set()
        await house.shows(showing(house, "Answer B."))
    next_one = await again(house)
    await next_one.shows(lambda: next_one.store.tasks()[0].state == "done")
    await next_one.quiet()
    assert [times(next_one, words) for words in ("Answer A.", "Answer B.")] == [1, 1]
    await next_one.service.close(0.1)


async def test_what_stands_there_of_a_turn_that_was_stopped_meanwhile_stays(tmp_path: Path) -> None:
    never = threading.Event()
    async with served(tmp_path, [[Say("Half of it"), Until(never)]]) as house:
        await house.platform.say("go")
        await house.shows(showing(house, "Half of it"))
    orders(house.store).stop(house.store.tasks()[0].id)
    next_one = await again(house)
    await next_one.shows(showing(next_one, "⏹ Stopped."))
    await next_one.quiet()
    assert times(next_one, "Half of it") == 1
    await next_one.service.close(0.1)


async def test_a_file_that_is_named_before_a_question_is_sent(tmp_path: Path) -> None:
    (tmp_path / "chart.txt").write_text("figures")
    async with served(tmp_path, [[Say("Here: [chart](chart.txt)"), QUESTION], "Again: [chart](chart.txt)"]) as house:
        await house.platform.say("go")
        await asked(house)
        await house.platform.say("a")
        await house.shows(showing(house, "Again:"))
        await house.quiet()
        assert [shown.file for shown in house.platform.shown if shown.file] == [b"figures"]


async def test_a_turn_of_a_chat_that_another_process_serves_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("alpha")
    go, store = threading.Event(), MemoryStore()
    script = [[Say("The report."), Call("read_file", path="a.txt")], [Say("And "), Until(go), Say("the rest.")]]
    async with served(tmp_path, script, store) as house:
        await house.platform.say("go")
        await house.shows(showing(house, "And"))
        other = House(ScriptedModel([]), tmp_path, store, "two")
        other.service.adapters.clear()  # type: ignore[attr-defined]
        await other.service.telling.goes_on()
        await house.service.look_after(900)
        go.set()
        await house.shows(showing(house, "the rest."))
        await house.quiet()
        assert times(house, "The report.") == 1
        assert times(house, "↻") == 0
        await other.service.close(0.1)


async def test_a_turn_is_what_it_came_to_also_where_the_store_will_not_be_read_then(tmp_path: Path) -> None:
    class Locked(MemoryStore):
        thread = ""

        def task(self, task_id: str) -> Task | None:
            if self.thread == threading.current_thread().name:
                self.thread = ""
                raise StoreError("database is locked")
            return super().task(task_id)

    store = Locked()

    def run(task: Task, **_: object) -> TurnFinished:
        store.thread = threading.current_thread().name
        return TurnFinished("done", "The answer.")

    async with served(tmp_path, [], store) as house:
        house.service._run = run
        await house.platform.say("go")
        await house.shows(showing(house, "The answer."))
        assert [task.state for task in store.tasks()] == ["done"]


async def test_a_question_whose_message_could_not_be_kept_is_asked_later(tmp_path: Path) -> None:
    class Faulty(MemoryStore):
        faults = 1

        def post(self, chat: str, payload: str, **more: object) -> int | None:  # type: ignore[override]
            if self.faults and str(more.get("key", "")).startswith("ask:"):
                self.faults -= 1
                raise RuntimeError("a fault that nobody thought of")
            return super().post(chat, payload, **more)  # type: ignore[arg-type]

    store = Faulty()
    async with served(tmp_path, [QUESTION, "Done."], store) as house:
        await house.platform.say("go")
        await house.shows(lambda: not store.faults)
        await house.shows(lambda: not house.service._changes)
        await house.service.look_after(900)
        await asked(house)


async def test_one_question_that_cannot_be_asked_does_not_end_the_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("a fault that nobody thought of")

    async with served(tmp_path, [QUESTION, "Done."]) as house:
        monkeypatch.setattr(house.service.telling, "_hear", fails)
        await house.platform.say("go")
        await house.shows(lambda: [task.state for task in house.store.tasks()] == ["waiting"])
        await house.shows(lambda: not house.service._changes)
        await house.service.look_after(900)
    assert "a fault that nobody thought of" in caplog.text


@pytest.mark.parametrize(("begin", "tell", "stop"), [
    ("work", "also pay the bill", "/stop"),
    ("/background work", "/tasks steer 1 also pay the bill", "/tasks stop 1"),
])  # fmt: skip
async def test_a_line_that_was_not_read_is_told_where_the_process_dies_after_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: str, tell: str, stop: str
) -> None:
    async with served(tmp_path, []) as house:

        async def never(item: Item, answer: str = "") -> None:
            await asyncio.Event().wait()

        house.service._run = reads_nothing
        await house.platform.say(begin)
        await house.shows(lambda: any(task.state == "running" for task in house.store.tasks()))
        await house.platform.say(tell)
        await house.quiet_lines()
        monkeypatch.setattr(house.service.telling, "changed", nothing)
        monkeypatch.setattr(house.service, "_settle", never)
        await house.platform.say(stop)
        await house.shows(lambda: house.store.tasks()[0].state == "cancelled")
    next_one = await again(house)
    await next_one.shows(showing(next_one, "if it still counts:\nalso pay the bill"))
    await next_one.service.close(0.1)


async def test_an_answer_in_words_is_given_once_where_the_process_dies_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    async with served(tmp_path, [QUESTION, [Until(go), Say("x")]]) as house:
        await house.platform.say("go")
        await asked(house)

        async def never(item: Item, answer: str = "") -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(house.service, "_settle", never)
        await house.platform.say("the blue one")
        await house.shows(lambda: len(house.model.requests) == 2)
    next_one = await again(house, "Done.")
    await next_one.shows(showing(next_one, "Done."))
    await next_one.quiet_lines()
    said = [one.content for one in next_one.model.requests[-1].messages]
    assert sum("the blue one" in text for text in said) == 1
    assert len(next_one.model.requests) == 1
    await next_one.service.close(0.1)


async def test_what_was_queued_comes_also_where_what_was_said_too_late_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(over: Task) -> None:
        raise HermesError("This conversation works in a folder that is not yours here.")

    go = threading.Event()
    async with served(tmp_path, [[Until(go), Say("one")], "two"], busy="queue") as house:
        monkeypatch.setattr(house.service.conversations, "catch_up", refuses)
        await house.platform.say("first")
        await house.shows(lambda: bool(house.model.requests))
        await house.platform.say("second")
        await house.quiet_until_held(1)
        go.set()
        await house.shows(showing(house, "one", "two"))


async def test_what_stays_is_not_told_again_when_the_turn_then_fails(tmp_path: Path) -> None:
    async with served(tmp_path, [[Say("I look first."), QUESTION], Fail(RefusedError("no"))]) as house:
        await house.platform.say("go")
        await asked(house)
        await house.platform.say("a")
        await house.shows(showing(house, "❌"))
        await house.quiet()
        assert times(house, "I look first.") == 1


@pytest.mark.parametrize("late_until", ["done", "told"])
async def test_an_answer_is_told_once_where_a_question_before_it_is_told_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late_until: str
) -> None:
    async with served(tmp_path, [[Say("I look first."), QUESTION], "Done."]) as house:
        changed = house.service.telling.changed

        async def late(event: TaskChanged, said: str = "") -> None:
            if event.state == "waiting":
                await house.service.aside(lambda: house.service.turns.reply(event.task_id, "a"))
                await house.shows(lambda: house.store.tasks()[0].state == "done")
                if late_until == "told":
                    await house.service.telling.left_over()
            await changed(event, said)

        monkeypatch.setattr(house.service.telling, "changed", late)
        await house.platform.say("go")
        await house.shows(showing(house, "Done."))
        await house.quiet()
        assert [times(house, words) for words in ("I look first.", "Done.")] == [1, 1]


async def test_what_is_being_told_is_not_taken_for_what_was_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look in between, while the first message of the turn is on its way."""
    asks, begun, arrives = threading.Event(), asyncio.Event(), asyncio.Event()
    async with served(tmp_path, [[Say("I look first."), Until(asks), QUESTION], "Done."]) as house:
        send = house.platform.send

        async def slow(chat: Chat, text: str, *, reply_to: str = "") -> SendResult:
            if not begun.is_set():
                begun.set()
                await arrives.wait()
            return await send(chat, text, reply_to=reply_to)

        monkeypatch.setattr(house.platform, "send", slow)
        await house.platform.say("go")
        await begun.wait()
        asks.set()
        await house.shows(lambda: house.store.tasks()[0].state == "waiting")
        await house.service.look_after(900)
        arrives.set()
        await asked(house)
        await house.quiet()
        assert times(house, "I look first.") == 1


async def test_a_file_that_is_changed_after_a_question_is_sent_as_it_is_then(tmp_path: Path) -> None:
    file = tmp_path / "chart.txt"
    file.write_text("draft")
    async with served(tmp_path, [[Say("Here: [chart](chart.txt)"), QUESTION], "Better: [chart](chart.txt)"]) as house:
        await house.platform.say("go")
        await asked(house)
        await house.quiet()
        file.write_text("the final one")
        await house.platform.say("a")
        await house.shows(showing(house, "Better:"))
        await house.quiet()
        assert [shown.file for shown in house.platform.shown if shown.file] == [b"draft", b"the final one"]


async def test_the_same_words_said_again_are_no_answer_once_more(tmp_path: Path) -> None:
    go = threading.Event()
    async with served(tmp_path, [QUESTION, [Until(go), Say("x")]], busy="queue") as house:
        await house.platform.say("go")
        await asked(house)
        await house.platform.say("yes please")
        await house.shows(lambda: len(house.model.requests) == 2)
        await house.quiet_lines()
        await house.platform.say("yes please")
        await house.quiet_until_held(1)
    next_one = await again(house, "First done.", "Second done.")
    await next_one.shows(showing(next_one, "First done.", "Second done."))
    await next_one.service.close(0.1)


async def test_a_folder_that_cannot_be_had_keeps_neither_the_start_nor_a_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_folder(key: str) -> Path:
        raise FileExistsError(errno.EEXIST, "a link that leads nowhere")

    (tmp_path / "a.txt").write_text("alpha")
    never = threading.Event()
    script = [[Say("I look first."), Call("read_file", path="a.txt")], [Until(never), Say("x")]]
    async with served(tmp_path, script) as house:
        await house.platform.say("go")
        await house.shows(lambda: len(house.model.requests) == 2)
    next_one = House(ScriptedModel([[Say("Now."), QUESTION]]), tmp_path, house.store, "two")
    monkeypatch.setattr(next_one.service.telling, "_folder", no_folder)
    await next_one.open()
    await asked(next_one)
    await next_one.service.close(0.1)
    assert "a link that leads nowhere" in caplog.text


async def test_half_a_text_that_was_shown_stays_where_the_turn_was_stopped_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("alpha")
    never = threading.Event()
    script = [[Say("I look."), Call("read_file", path="a.txt")], [Say("Half of it"), Until(never)]]
    async with served(tmp_path, script) as house:
        await house.platform.say("go")
        await house.shows(showing(house, "Half of it"))
        monkeypatch.setattr(house.service.telling, "changed", nothing)
    orders(house.store).stop(house.store.tasks()[0].id)
    next_one = await again(house)
    await next_one.shows(showing(next_one, "⏹ Stopped."))
    await next_one.quiet()
    assert [times(next_one, words) for words in ("I look.", "Half of it")] == [1, 1]
    await next_one.service.close(0.1)
