"""A conversation that outgrows the model's window goes on in a shorter one, and nothing is lost."""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.approvals import Gatekeeper, Mailbox, Policy, decision_key
from agent.cancel import CancelToken
from agent.compaction import TRIES, limit_in
from agent.config import Settings
from agent.context import Gauge, estimated, size
from agent.errors import ContextFullError, HermesError, UnavailableError
from agent.events import Compacted, Compacting, Event, TurnFinished, TurnSuspended
from agent.messages import ImagePart, Message, ToolCall, Usage, unanswered_calls
from agent.models.scripted import Answer, Call, Fail, Finish, Say, ScriptedModel, Until
from agent.protocols import Decision, Store
from agent.steps import is_handover, shortened, steps_of, transcript
from agent.store.memory import MemoryStore
from agent.tools.bench import bench_of
from run_agent import AIAgent
from tests.support.turns import Note, NoteArguments, check_history, check_stream, wait_until

WINDOW = 4_000


def is_summary_request(messages: Sequence[Message]) -> bool:
    return messages[0].content.startswith("You write the handover")


@dataclass
class Small:
    """A model that takes 4,000 tokens, counted as the program estimates them, and plays `answers`."""

    answers: list[Answer]
    summary: Answer = "Goals: keep going. Files: /src/a.py."
    words: str = f"This model's maximum context length is {WINDOW} tokens."
    asked: list[tuple[Message, ...]] = field(default_factory=list)
    summarised: list[tuple[Message, ...]] = field(default_factory=list)
    refused: int = 0

    def __call__(self, messages: Sequence[Message]) -> Answer:
        if size(messages) > WINDOW:
            self.refused += 1
            return Fail(ContextFullError(self.words))
        if is_summary_request(messages):
            self.summarised.append(tuple(messages))
            return self.summary
        self.asked.append(tuple(messages))
        return self.answers.pop(0)


@dataclass
class Talk:
    """An agent with one tool and a small model."""

    model: Small
    store: Store = field(default_factory=MemoryStore)
    window: int = WINDOW
    compact: bool = True
    output: Callable[[NoteArguments], str] = lambda args: f"noted {args.text}"
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tool = Note(work=lambda args, cancel: self.output(args))
        self.agent = AIAgent(
            model=ScriptedModel(self.model),
            settings=Settings(context_window=self.window, compact=self.compact),
            store=self.store,
            cwd=Path("/"),
            tools=[self.tool],
        )
        self.first = self.agent.session_id

    def say(self, text: str | None, *, cancel: CancelToken | None = None) -> TurnFinished:
        events: list[Event] = []
        end = self.agent.run_turn(text, emit=events.append, cancel=cancel)
        check_stream(events)
        self.events += events
        assert isinstance(end, TurnFinished)
        return end

    @property
    def history(self) -> list[Message]:
        return self.store.messages(self.agent.session_id)

    @property
    def moves(self) -> list[Compacted]:
        return [event for event in self.events if isinstance(event, Compacted)]


def words(count: int) -> str:
    """About so many tokens."""
    return "abc " * count


# -- between turns and within one ------------------------------------------------------------------


def test_a_long_talk_goes_on_with_a_summary_in_a_new_session() -> None:
    model = Small([f"answer {number} {words(400)}" for number in range(12)])
    talk = Talk(model)
    for number in range(12):
        assert talk.say(f"question {number} {words(100)}").outcome == "done"
    assert talk.moves
    assert model.refused == 0
    system = talk.store.messages(talk.first)[0]
    parent = talk.first
    for move in talk.moves:
        session = talk.store.session(move.session_id)
        assert session is not None
        assert (session.parent, move.parent, move.how) == (parent, parent, "summary")
        assert move.after < move.before * 0.7
        assert talk.store.messages(move.session_id)[0] == system
        assert "Files: /src/a.py." in talk.store.messages(move.session_id)[1].content
        parent = move.session_id
    assert talk.agent.session_id == parent
    check_history(talk.history)
    assert talk.first in [hit.session_id for hit in talk.store.search("question 0 abc", limit=100)]


def test_what_the_person_asked_and_the_last_steps_stay_word_for_word() -> None:
    model = Small([[Call("note", text=f"n{number}")] for number in range(14)] + ["all done"])
    talk = Talk(model, output=lambda args: f"result of {args.text} {words(250)}")
    end = talk.say("Rename foo to bar everywhere, tabs only.")
    assert (end.outcome, end.text) == ("done", "all done")
    assert talk.moves
    assert talk.tool.runs == [f"call_{number}" for number in range(1, 15)]
    child = talk.store.messages(talk.moves[0].session_id)
    assert [message.role for message in child[:3]] == ["system", "user", "user"]
    assert is_handover(child[1])
    assert child[2] == Message("user", "Rename foo to bar everywhere, tabs only.")
    before = talk.store.messages(talk.first)
    assert child[3] in before
    assert child[3:5] == before[before.index(child[3]) : before.index(child[3]) + 2]
    check_history(talk.history)


def test_the_second_summary_is_made_of_the_first() -> None:
    talk = Talk(Small([words(600) for _ in range(14)]))
    for number in range(14):
        talk.say(f"question {number}")
    assert len(talk.moves) > 1
    record = talk.model.summarised[1][1].content
    assert "Goals: keep going" in record
    assert sum(map(is_handover, talk.history)) == 1


def test_the_summariser_reads_goals_and_tools_and_is_given_none() -> None:
    model = Small([[Call("note", text="look")], words(2500), "fine"])
    talk = Talk(model, output=lambda args: words(700))
    talk.say("Find the culprit.")
    talk.say("And now?")
    instructions, record = model.summarised[0]
    assert "Open ends" in instructions.content
    assert "Find the culprit." in record.content
    assert 'calls note {"text": "look"}' in record.content


def test_the_summary_is_paid_for_in_the_turn_and_in_the_accounts() -> None:
    model = Small([words(3500), [Say("ok"), Finish(Usage(100, 10))]], summary=[Say("S"), Finish(Usage(50, 5))])
    talk = Talk(model)
    talk.say("one")
    end = talk.say("two")
    assert end.usage == Usage(150, 15)
    [row] = talk.store.usage()
    assert (row.session_id, row.requests, row.usage) == (talk.agent.session_id, 2, Usage(150, 15))


# -- without a summary -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "summary",
    [Fail(UnavailableError("down")), Say("   "), [Call("note", text="no")], Fail(ContextFullError("too long"))],
    ids=["error", "empty", "a tool call", "does not fit"],
)
def test_a_model_that_cannot_summarise_loses_tool_outputs_first(summary: Answer) -> None:
    steps: list[Answer] = [[Call("note", text=f"n{number}")] for number in range(5)]
    model = Small([*steps, "looked", "done"], summary=summary)
    talk = Talk(model, output=lambda args: f"begin {args.text} {words(640)} end {args.text}")
    talk.say("look around")
    assert talk.say("go on").outcome == "done"
    assert [move.how for move in talk.moves] == ["trimmed"]
    history = talk.history
    check_history(history)
    assert [message.content for message in history if message.role == "user"] == ["look around", "go on"]
    trimmed = [message.content for message in history if message.role == "tool"]
    assert all("characters left out" in content for content in trimmed[:3])
    assert trimmed[0].startswith("begin n0")
    assert "end n0" in trimmed[0]


def test_when_outputs_are_not_enough_the_oldest_turns_go_with_a_note() -> None:
    talk = Talk(Small([words(450) for _ in range(9)], summary=Fail(UnavailableError("down"))))
    for number in range(9):
        assert talk.say(f"question {number}").outcome == "done"
    assert len(talk.moves) >= 1
    history = talk.history
    assert is_handover(history[1])
    assert "left out" in history[1].content
    assert talk.moves[-1].parent in history[1].content
    assert sum(map(is_handover, history)) == 1
    assert history[-2].content == "question 8"


# -- a server that refuses -------------------------------------------------------------------------


def test_a_refusal_is_answered_by_a_shorter_conversation() -> None:
    model = Small([words(1300), words(1300), words(1300), "fine"])
    talk = Talk(model, window=0)
    for text in ("one", "two", "three"):
        talk.say(text)
    end = talk.say("four")
    assert (end.outcome, end.text) == ("done", "fine")
    assert model.refused == 1
    assert len(talk.moves) == 1
    assert talk.history[-2:] == [Message("user", "four"), Message("assistant", "fine")]


def test_the_window_a_refusal_names_is_remembered() -> None:
    model = Small([words(900) for _ in range(20)])
    talk = Talk(model, window=0)
    for number in range(20):
        assert talk.say(f"question {number}").outcome == "done"
    assert model.refused == 1
    assert len(talk.moves) > 2


def test_one_giant_tool_output_is_cut_to_what_fits() -> None:
    for window in (WINDOW, 0):
        talk = Talk(
            Small([[Call("note", text="big")], "done"]),
            window=window,
            output=lambda args: f"begin {'x' * 28_000} end",
        )
        end = talk.say("read it")
        assert (end.outcome, end.text) == ("done", "done")
        [result] = [message.content for message in talk.history if message.role == "tool"]
        assert result.startswith("begin")
        assert result.endswith("end")
        assert 3_000 < len(result) < 12_000
        [whole] = [message.content for message in talk.store.messages(talk.first) if message.role == "tool"]
        assert len(whole) > 28_000


def test_one_giant_message_is_a_clear_error_and_the_talk_goes_on() -> None:
    for window in (WINDOW, 0):
        talk = Talk(Small(["hello", "fine"]), window=window)
        talk.say("hi")
        giant = f"look: {words(6_000)}"
        end = talk.say(giant)
        assert end.outcome == "failed"
        assert end.error_kind == "ContextFullError"
        assert "Your message is about 6,0" in end.error
        assert "4,000" in end.error
        assert "file" in end.hint
        assert Message("user", giant) in talk.history
        end = talk.say("never mind")
        assert (end.outcome, end.text) == ("done", "fine")
        check_history(talk.history)


def test_a_refusal_that_no_number_of_ours_explains_is_told_in_the_servers_words() -> None:
    said = "This model's maximum context length is 4096 tokens."
    agent = AIAgent(model=ScriptedModel(lambda _messages: Fail(ContextFullError(said))), cwd=Path("/"), tools=[])
    end = agent.run_turn("hello")
    assert isinstance(end, TurnFinished)
    assert (end.outcome, end.error) == ("failed", said)


def test_many_small_steps_within_one_turn_never_run_twice_and_end() -> None:
    model = Small([[Call("note", text=str(number))] for number in range(50)] + ["done"])
    for window in (WINDOW, 0):
        model.answers = [*([Call("note", text=str(number))] for number in range(50)), "done"]
        talk = Talk(model, window=window, output=lambda args: words(120))
        assert talk.say("go").outcome == "done"
        assert len(talk.tool.runs) == len(set(talk.tool.runs)) == 50
        assert len(talk.moves) > 1
        check_history(talk.history)


def test_a_server_that_takes_nothing_is_given_up_after_a_few_tries() -> None:
    asked: list[int] = []

    def refuse(messages: Sequence[Message]) -> Answer:
        if is_summary_request(messages):
            return "S"
        asked.append(size(messages))
        return Fail(ContextFullError("The context is full."))

    store = MemoryStore()
    agent = AIAgent(model=ScriptedModel(refuse), store=store, cwd=Path("/"), tools=[])
    store.append(agent.session_id, Message("system", "be good"))
    for number in range(30):
        store.append(agent.session_id, Message("user", f"{number} {words(300)}"))
        store.append(agent.session_id, Message("assistant", words(300)))
    end = agent.run_turn("and?")
    assert isinstance(end, TurnFinished)
    assert (end.outcome, end.error_kind) == ("failed", "ContextFullError")
    assert 2 <= len(asked) <= TRIES + 1
    assert asked == sorted(asked, reverse=True)


def test_where_it_is_switched_off_the_refusal_is_told() -> None:
    talk = Talk(Small([words(3_000), words(1_500)]), compact=False)
    talk.say("one")
    talk.say("two")
    end = talk.say("three")
    assert (end.outcome, end.error_kind, talk.moves) == ("failed", "ContextFullError", [])


# -- by hand ---------------------------------------------------------------------------------------


def test_by_hand_the_summary_dwells_on_what_is_asked() -> None:
    model = Small([words(300) for _ in range(4)])
    talk = Talk(model, window=100_000)
    for number in range(4):
        talk.say(f"question {number}")
    events: list[Event] = []
    talk.agent.compress("the failing test", emit=events.append)
    assert [type(event) for event in events] == [Compacting, Compacted]
    assert "the failing test" in model.summarised[0][0].content
    session = talk.store.session(talk.agent.session_id)
    assert session is not None
    assert session.parent == talk.first


def test_by_hand_a_short_talk_stays_as_it_is() -> None:
    talk = Talk(Small(["hello"]))
    with pytest.raises(HermesError, match="nothing to compress"):
        talk.agent.compress()
    talk.say("hi")
    with pytest.raises(HermesError, match="nothing to compress"):
        talk.agent.compress()
    assert (talk.agent.session_id, talk.model.summarised) == (talk.first, [])


# -- cut in the middle -----------------------------------------------------------------------------


def test_a_turn_stopped_while_the_summary_is_written_stays_where_it_was() -> None:
    never = threading.Event()
    model = Small([words(3_500)], summary=[Until(never)])
    talk = Talk(model)
    talk.say("one")
    cancel = CancelToken()
    stopper = threading.Thread(target=lambda: (wait_until(lambda: bool(model.summarised)), cancel.cancel()))
    stopper.start()
    end = talk.say("two", cancel=cancel)
    stopper.join()
    assert end.outcome == "cancelled"
    assert talk.agent.session_id == talk.first
    assert talk.history[-1] == Message("user", "two")


def test_a_task_goes_on_in_its_new_session_with_its_answers() -> None:
    """An approval asked after the move is found again by the next run, which starts from the row."""
    store = MemoryStore()
    task = store.create_task(prompt="p", owner="me", settings="{}")
    model = Small([[Call("look", text=words(3_000))], [Call("note", text="x")], "done"])
    looked, noted = Note("look"), Note("note", kind="execute")

    def agent(session_id: str) -> AIAgent:
        return AIAgent(
            model=ScriptedModel(model),
            settings=Settings(context_window=WINDOW),
            store=store,
            session_id=session_id,
            source="task",
            cwd=Path("/"),
            tools=[looked, noted],
            gate=Gatekeeper(Policy("ask"), Mailbox(store, session_id), session_id=session_id),
        )

    events: list[Event] = []
    bench = bench_of(task.session_id)
    end = agent(task.session_id).run_turn("p", emit=events.append)
    assert isinstance(end, TurnSuspended)
    moved = store.task(task.id)
    assert moved is not None
    assert moved.session_id != task.session_id
    assert bench_of(moved.session_id) is bench
    store.record_decision(moved.session_id, decision_key(end.request_id), Decision(True))
    end = agent(moved.session_id).run_turn(None)
    assert isinstance(end, TurnFinished)
    assert (end.outcome, end.text) == ("done", "done")
    assert len(noted.runs) == 1


def test_a_call_that_had_begun_is_not_run_again_after_the_move() -> None:
    store, tool = MemoryStore(), Note()
    agent = AIAgent(model=ScriptedModel(Small(["sorry"])), store=store, cwd=Path("/"), tools=[tool])
    for message in (
        Message("system", "be good"),
        *(Message("user", words(200)), Message("assistant", words(200))) * 5,
        Message("user", "do it"),
        Message("assistant", "", (ToolCall("call_9", "note", "{}"),)),
    ):
        store.append(agent.session_id, message)
    store.mark_begun(agent.session_id, "call_9")
    first = agent.session_id
    agent.compress()
    assert agent.session_id != first
    assert [call.id for call in unanswered_calls(store.messages(agent.session_id))] == ["call_9"]
    end = agent.run_turn(None)
    assert isinstance(end, TurnFinished)
    assert end.text == "sorry"
    assert tool.runs == []
    assert store.messages(agent.session_id)[-2].content == "interrupted; outcome unknown"


# -- parts -----------------------------------------------------------------------------------------


def test_the_gauge_follows_what_the_provider_counts() -> None:
    gauge = Gauge(100)
    messages = [Message("system", "x" * 400), Message("user", "x" * 400)]
    assert gauge.fill(messages).tokens == 100 + 2 * 104
    reply = Message("assistant", "x" * 40)
    gauge.saw(messages, reply, Usage(616, 20))
    assert gauge.fill([*messages, reply]).tokens == 636
    assert gauge.fill([*messages, reply]).reported == 636
    # Twice as many as estimated, so what follows is taken for twice as many, too.
    assert gauge.fill([*messages, reply, Message("user", "x" * 400)]).tokens == 636 + 208
    assert gauge.fill(messages).reported == 0


def test_chinese_takes_more_tokens_a_character_than_english() -> None:
    assert estimated("abcd" * 10) == 10
    assert estimated("日本語の" * 10) == 30


@pytest.mark.parametrize(
    ("said", "limit"),
    [
        ("This model's maximum context length is 4097 tokens. However, you requested 5120 tokens", 4097),
        ("prompt is too long: 205234 tokens > 200000 maximum", 200_000),
        ("the request exceeds the available context size (4096 tokens), try increasing it", 4096),
        ("context_length_exceeded (400)", 0),
        ("Too long.", 0),
    ],
)
def test_servers_name_their_window_when_they_refuse(said: str, limit: int) -> None:
    assert limit_in(said, 100_000) == limit


def test_the_record_for_the_summariser_is_bounded_whatever_was_said() -> None:
    steps = steps_of([Message("user", "x" * 50_000), Message("assistant", "y" * 50_000)] * 20)
    assert len(transcript(steps, 10_000)) < 10_200


def test_the_persons_words_are_the_last_to_go() -> None:
    calls = (ToolCall("a", "note", "{}"),)
    messages = [
        Message("user", "old " + words(100)),
        Message("assistant", words(100)),
        Message("user", "the wish"),
        Message("assistant", "", calls),
        Message("tool", words(1_000), tool_call_id="a"),
    ]
    wish, asked, result = [message for step in shortened(steps_of(messages), 30) for message in step.messages]
    assert (wish, asked) == (Message("user", "the wish"), messages[3])
    assert "left out" in result.content
    assert len(result.content) < 200


def test_old_images_are_left_out_and_named() -> None:
    image = ImagePart("/kept/1.png", "image/png", "shot.png")
    messages = [
        Message("user", "look", images=(image,)),
        Message("assistant", "I see"),
        Message("user", "and this", images=(image,)),
        Message("assistant", "yes"),
    ]
    assert size(messages) > 2_000
    old, _said, new, _answer = [message for step in shortened(steps_of(messages), 1_500) for message in step.messages]
    assert (old.content, old.images) == ("look\n[shot.png: left out; kept in /kept/1.png]", ())
    assert new.images == (image,)
    assert "/kept/1.png" in transcript(steps_of(messages), 10_000)


def test_what_the_newest_call_was_given_is_cut_when_nothing_else_is_left() -> None:
    """Were the step left out, the model would do it again."""
    given = json.dumps({"path": "/src/a.py", "content": words(5_000)})
    messages = [
        Message("user", "write it"),
        Message(
            "assistant", "", (ToolCall("a", "write_file", given), ToolCall("b", "note", "[" + "1," * 2_000 + "1]"))
        ),
        Message("tool", "written", tool_call_id="a"),
        Message("tool", "noted", tool_call_id="b"),
    ]
    _wish, asked, *results = [message for step in shortened(steps_of(messages), 300) for message in step.messages]
    arguments = json.loads(asked.tool_calls[0].arguments)
    assert arguments["path"] == "/src/a.py"
    assert "left out" in arguments["content"]
    assert json.loads(asked.tool_calls[1].arguments) == {"left_out": "4,003 characters"}
    assert results == messages[2:]
