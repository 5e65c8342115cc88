"""Requests are prefix-stable: each begins with the bytes of the one before, so that the provider's cache hits."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from agent.approvals import Gatekeeper, Policy, nobody
from agent.config import ModelChoice, Settings
from agent.events import Compacted, Event, TurnFinished
from agent.store.sqlite import SqliteStore
from run_agent import AIAgent
from tests.support.openai_server import OpenAIServer, Recorded, Step, Stream, Tool, say

WINDOW = 12_000


def is_summary(request: Recorded) -> bool:
    return request.body["messages"][0]["content"].startswith("You write the handover")


def as_bytes(request: Recorded) -> bytes:
    """Tools and messages, up to where the next message would be."""
    return (json.dumps(request.body["tools"]) + json.dumps(request.body["messages"])[:-1]).encode()


def head(request: Recorded) -> bytes:
    return json.dumps([request.body["tools"], request.body["messages"][0]]).encode()


def answer(request: Recorded) -> Step:
    """Two calls at once, then one, then an answer with reasoning; ids begin anew in each reply."""
    if is_summary(request):
        return "Goals: look around. Ünïcode: 日本語."
    messages = request.body["messages"]
    last = max(index for index, message in enumerate(messages) if message["role"] == "user")
    match sum(message["role"] == "assistant" for message in messages[last:]):
        case 0:
            listing = Tool("search_files", '{"path": ".", "glob": "*.txt"}', id="call_0")
            reading = Tool("read_file", '{"path":"a.txt"}', id="call_1")
            return Stream(text=("Looking…",), tools=(listing, reading), reasoning=("hm",))
        case 1:
            return Stream(tools=(Tool("terminal", '{"command": "seq 1 1200; cat a.txt"}', id="call_0"),))
        case _:
            return say("Däs ist ", "alles.", reasoning=("so",))


class Session:
    """One conversation that is opened anew, from the file, whenever it is asked to."""

    def __init__(self, server: OpenAIServer, tmp_path: Path, **settings: object) -> None:
        self.path, self.work = tmp_path / "state.db", tmp_path / "work"
        self.work.mkdir()
        (self.work / "a.txt").write_text("ä line\nand another\n" * 20)
        (self.work / "AGENTS.md").write_text("Use tabs.")
        self.choice = ModelChoice(provider="custom", model="test-model", base_url=server.base_url, api_key="x")
        self.settings = Settings(checkpoints=False, **settings)  # type: ignore[arg-type]
        self.moves: list[Compacted] = []
        self.session_id = ""
        self.open()

    def open(self) -> None:
        self.store = SqliteStore(self.path)
        self.agent = AIAgent(
            choice=self.choice,
            settings=self.settings,
            store=self.store,
            session_id=self.session_id,
            cwd=self.work,
            gate=Gatekeeper(Policy("yolo"), nobody, session_id="s"),
        )

    def reopen(self) -> None:
        self.session_id = self.agent.session_id
        self.agent.close()
        self.store.close()
        self.open()

    def say(self, text: str | None, *, steering: str = "") -> None:
        lines = [steering] if steering else []

        def inbox() -> list[str]:
            # Beside the results of the first step.
            return [lines.pop()] if lines and self.store.messages(self.agent.session_id)[-1].role == "tool" else []

        def emit(event: Event) -> None:
            if isinstance(event, Compacted):
                self.moves.append(event)

        end = self.agent.run_turn(text, emit=emit, inbox=inbox)
        assert isinstance(end, TurnFinished)
        assert (end.outcome, end.error) == ("done", "")


def breaks(requests: list[Recorded]) -> list[tuple[Recorded, Recorded]]:
    """Neighbours of which the second does not begin with the first."""
    return [(first, second) for first, second in pairwise(requests) if not as_bytes(second).startswith(as_bytes(first))]


@pytest.mark.parametrize("told", ["the window is known", "the server refuses"])
def test_a_long_session_changes_the_beginning_of_its_requests_only_where_it_is_compacted(
    tmp_path: Path, told: str
) -> None:
    window = {"context_window": WINDOW} if told == "the window is known" else {}
    with OpenAIServer(default=answer, window=WINDOW) as server:
        session = Session(server, tmp_path, **window)
        for number in range(16):
            session.say(f"Look around, #{number} 日本", steering="use täbs" if number % 3 == 1 else "")
            if number % 2:
                session.reopen()
            # What would be built now is not what the session began with.
            (session.work / "AGENTS.md").write_text(f"Use spaces, {number}.")
        posted = [request for request in server.requests if request.method == "POST"]
        talk = [request for request in posted if not is_summary(request)]
        assert len(talk) > 24
        assert len({head(request) for request in talk}) == 1
        assert len(session.moves) >= 2
        assert (server.refused > 0) == (told == "the server refuses")
        changed = breaks(talk)
        assert len(changed) == len(session.moves)
        for _before, after in changed:
            assert after.body["messages"][1]["content"].startswith("[Hermes: to fit the model's window")
        assert any({"role": "user", "content": "use täbs"} in request.body["messages"] for request in talk)
        session.agent.close()
        session.store.close()
