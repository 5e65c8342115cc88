"""A question to the person: who is asked, what counts as an answer, and what the model reads."""

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from agent.approvals import Desk, Gatekeeper, Mailbox, Policy, answer_to, decision_key, nobody
from agent.config import ApprovalMode
from agent.errors import HermesError, ToolError
from agent.events import ApprovalRequested, ApprovalSettled, Event, ToolFinished, TurnSuspended
from agent.models.scripted import Call
from agent.protocols import Action
from agent.tools.ask_user import AskUser
from hermes_cli.glyphs import UNICODE
from hermes_cli.questions import Question, approval_question
from tests.support.turns import SESSION, Bench, check_stream

ASK = Call("ask_user", question="Which database?", choices=["PostgreSQL", "SQLite"])


def desk_that_answers(text: str, bench: Bench) -> Callable[[Event], None]:
    """Answers each question of a desk, as a person would, on another thread."""
    assert isinstance(bench.gate, Gatekeeper)

    def listen(event: Event) -> None:
        if isinstance(event, ApprovalRequested):
            threading.Thread(target=lambda: DESKS[0].settle(event.request_id, answer_to(event, text))).start()

    return listen


DESKS: list[Desk] = []


def bench(tmp_path: Path, mode: ApprovalMode = "ask") -> Bench:
    DESKS[:] = [Desk(timeout=10)]
    return Bench(tools=[AskUser()], gate=Gatekeeper(Policy(mode), DESKS[0], session_id=SESSION), cwd=tmp_path)


@pytest.mark.parametrize("mode", ["ask", "edits", "plan", "yolo"])
@pytest.mark.parametrize(
    ("typed", "answer", "chosen"),
    [
        ("2", "SQLite", True),
        ("postgresql", "PostgreSQL", True),
        ("neither, use DuckDB", "neither, use DuckDB", False),
        ("3", "3", False),
    ],
)
def test_the_answer_comes_back_as_the_person_s_words_in_every_mode(
    tmp_path: Path, mode: ApprovalMode, typed: str, answer: str, chosen: bool
) -> None:
    one = bench(tmp_path, mode)
    one.turn("go", [ASK, "Thanks."], on_event=desk_that_answers(typed, one))
    (told,) = one.results()
    assert "in their own words" in told
    assert told.splitlines()[-1] == answer
    assert ("one of your choices" in told) is chosen
    check_stream(one.events)
    (request,) = [event for event in one.events if isinstance(event, ApprovalRequested)]
    assert request.choices == ("PostgreSQL", "SQLite")
    assert request.preview == "Which database?\n1. PostgreSQL\n2. SQLite"
    assert [event.summary for event in one.events if isinstance(event, ToolFinished)] == [answer]


def test_who_does_not_want_to_answer_leaves_it_to_the_model(tmp_path: Path) -> None:
    one = bench(tmp_path)
    one.turn("go", [ASK, "Well."], on_event=desk_that_answers("-", one))
    assert one.results() == [
        "Not answered: the person does not want to answer. Decide by yourself, and say what you took for granted."
    ]


def test_where_nobody_is_there_the_model_is_told_at_once(tmp_path: Path) -> None:
    one = Bench(tools=[AskUser()], gate=Gatekeeper(Policy("yolo"), nobody, session_id=SESSION), cwd=tmp_path)
    one.turn("go", [ASK, "Well."])
    assert one.results()[0].startswith("Not answered: nobody is there to answer.")


def test_a_task_lets_go_of_its_thread_and_goes_on_with_the_answer(tmp_path: Path) -> None:
    one = Bench(tools=[AskUser()], cwd=tmp_path)
    one.gate = Gatekeeper(Policy("yolo"), Mailbox(one.store, SESSION), session_id=SESSION)
    end = one.turn("go", [ASK])
    assert isinstance(end, TurnSuspended)
    (request,) = [event for event in one.events if isinstance(event, ApprovalRequested)]
    one.store.record_decision(SESSION, decision_key(request.request_id), answer_to(request, "1"))
    one.events.clear()
    one.turn(None, ["Thanks."])
    assert one.results()[0].endswith("PostgreSQL")
    assert next(event for event in one.events if isinstance(event, ApprovalSettled)).allowed


@pytest.mark.parametrize(
    "arguments",
    [
        {"question": " \x1b[31m "},
        {"question": "x", "choices": ["a", "A"]},
        {"question": "x", "choices": ["-", "b"]},
        {"question": "x", "choices": ["\x07"]},
    ],
)
def test_questions_that_cannot_be_asked_are_refused_with_a_reason(tmp_path: Path, arguments: dict[str, object]) -> None:
    one = bench(tmp_path)
    tool = AskUser()
    with pytest.raises(ToolError, match=r"empty|different"):
        tool.plan(msgspec.convert(arguments, tool.arguments), one)  # type: ignore[arg-type]


# -- the person's side -----------------------------------------------------------------------------


def request(kind: str = "ask", choices: tuple[str, ...] = ("PostgreSQL", "SQLite")) -> ApprovalRequested:
    action = Action("ask", "Which database?")
    return ApprovalRequested("s:c:1", "c", "ask_user", kind, action.title, "Which database?", "/", "", choices=choices)  # type: ignore[arg-type]


@pytest.fixture
def answers() -> list[tuple[bool, str]]:
    return []


@pytest.fixture
def question(answers: list[tuple[bool, str]]) -> Question:
    def settle(_request: ApprovalRequested, decision: object) -> None:
        answers.append((decision.allowed, decision.reason))  # type: ignore[attr-defined]

    return approval_question(request(), settle, UNICODE)


@pytest.mark.parametrize("line", ["", "   ", "/tasks", "/nonsense", "!ls"])
def test_enter_alone_and_commands_are_no_answer(question: Question, answers: list[object], line: str) -> None:
    question.asked -= 10
    assert not question.take(line)
    assert answers == []


@pytest.mark.parametrize(
    ("line", "answer"),
    [("1", (True, "PostgreSQL")), ("y", (True, "y")), ("/usr/lib/x is it", (True, "/usr/lib/x is it"))],
)
def test_a_number_and_words_are_an_answer(question: Question, answers: list[object], line: str, answer: object) -> None:
    assert question.take(line)
    assert answers == [answer]


def test_a_permission_is_not_given_in_words() -> None:
    with pytest.raises(HermesError, match="yes or no"):
        answer_to(request("execute"), "1")
    with pytest.raises(HermesError, match="no answer"):
        answer_to(request(), "  ")
