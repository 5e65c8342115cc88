"""The task browser: what it shows, what its keys do, and that the prompt beneath comes back as it was."""

import json
from pathlib import Path

import pytest

from agent.approvals import decision_key
from agent.config import directories
from agent.events import ApprovalRequested
from agent.protocols import Decision
from agent.store.sqlite import SqliteStore
from tests.support.openai_server import OpenAIServer, Stream, Tool, call, say
from tests.support.screen import Terminal

from .conftest import Start
from .test_background import by_prompt, send_aside, shell


def browse(hermes: Terminal) -> Terminal:
    return hermes.press("ctrl+t").wait_for(lambda seen: seen.emulator.on_other_screen, why="the other screen")


def back(hermes: Terminal) -> Terminal:
    return hermes.wait_for(lambda seen: not seen.emulator.on_other_screen, why="the prompt's screen")


def row(hermes: Terminal, text: str) -> str:
    return next((line for line in hermes.visible if text in line), "")


@pytest.mark.parametrize("key", ["q", "esc", "ctrl+t"])
def test_the_draft_comes_back_byte_for_byte(start: Start, key: str) -> None:
    with OpenAIServer(default=Stream(delay=30)) as server:
        hermes = start(server)
        send_aside(hermes, "look")
        draft = 'and who   calls "it"? 漢字\n  two'
        hermes.type(draft.replace("\n", "\x1b\r")).press("left", "left").wait_for(lambda seen: seen.draft == draft)
        hermes.wait_for("▶ 1 task").settle()
        before, cursor = hermes.lines, hermes.cursor
        browse(hermes).wait_for("Tasks · 1 live of 1")
        if key == "q":
            hermes.type("q")
        else:
            hermes.press(key)
        back(hermes).wait_for(lambda seen: seen.draft == draft).settle()
        assert (hermes.draft, hermes.cursor) == (draft, cursor)
        assert hermes.lines[:-1] == before[:-1]
        hermes.type("!").wait_for(lambda seen: seen.draft == 'and who   calls "it"? 漢字\n  t!wo')


def test_the_log_follows_while_the_task_works(start: Start) -> None:
    steps = [Stream(text=("Looking.",), tools=(Tool("terminal", json.dumps({"command": "seq 3"}), id="one"),))]
    steps += [Stream(text=("I have seen it.",), delay=1.0)]
    with OpenAIServer(default=by_prompt(count=steps)) as server:
        hermes = start(server, columns=80, rows=24)
        hermes.send("/yolo")
        send_aside(hermes, "count to three")
        browse(hermes).wait_for("tool      terminal seq 3").wait_for("result    exit 0")
        hermes.wait_for("I have seen it.").wait_for(lambda seen: "✓" in row(seen, "› #1"))
        assert len(hermes.visible) == 24
        hermes.press("tab").wait_for(lambda seen: "result · done" in seen.text)
        hermes.type("q")
        back(hermes).wait_for("#1 done · count to three")


def test_what_the_model_writes_is_seen_while_it_writes(start: Start) -> None:
    words = Stream(text=("Half an ans", "wer is", " here."), pause=0.0, end="hang")
    with OpenAIServer(default=by_prompt(count=[words])) as server:
        hermes = start(server, columns=90, rows=24)
        send_aside(hermes, "count to three")
        browse(hermes).wait_for("writes    Half an answer is here.")
        hermes.press("tab").wait_for("no result yet").press("tab").wait_for("writes    Half an answer is here.")


def test_a_line_steers_the_task(start: Start) -> None:
    with OpenAIServer([shell("sleep 1"), "as you wish"]) as server:
        hermes = start(server)
        hermes.send("/yolo")
        send_aside(hermes, "work").wait_for(lambda seen: seen.runs("sleep 1"))
        browse(hermes).type("s").wait_for("tell #1:").send("use tabs").wait_for("#1 reads that before its next step.")
        hermes.wait_for("steered   use tabs").wait_for("as you wish")
        assert "use tabs" in json.dumps(server.bodies[1])


def test_what_happens_meanwhile_is_told_when_it_closes(start: Start) -> None:
    with OpenAIServer(
        default=by_prompt(quick=say("the result", delay=0.5), talk=say("the answer", delay=0.5))
    ) as server:
        hermes = start(server)
        send_aside(hermes, "quick one")
        hermes.send("talk to me")
        browse(hermes).wait_for(lambda seen: "✓" in row(seen, "› #1"))
        hermes.wait_for(lambda _: len(server.bodies) == 2).settle()
        assert "● the answer" not in hermes.text
        hermes.type("q")
        back(hermes).wait_for("● the answer").wait_for("#1 done · quick one").wait_for("the result")
        assert hermes.count("● the answer") == 1


def test_moving_filtering_and_stopping(start: Start) -> None:
    with OpenAIServer(default=Stream(delay=30)) as server:
        hermes = start(server)
        for number, prompt in enumerate(("alpha work", "beta work", "gamma work"), 1):
            send_aside(hermes, prompt, number)
        hermes.wait_for(lambda _: len(server.bodies) == 3, why="three requests")
        browse(hermes).wait_for(lambda seen: row(seen, "› #3"))
        hermes.press("down").wait_for(lambda seen: row(seen, "› #2")).wait_for("prompt    beta work")
        hermes.press("down", "down", "down").wait_for(lambda seen: row(seen, "› #1"))
        hermes.press("up").wait_for(lambda seen: row(seen, "› #2"))
        hermes.type("/gamma").press("enter").wait_for(lambda seen: row(seen, "› #3") and not row(seen, "#1 "))
        hermes.type("x").wait_for("stop #3? y or n").type("n").wait_for("q back")
        hermes.type("x").wait_for("stop #3? y or n").type("y").wait_for("Stopped #3.")
        server.wait_for_hangups(1)
        hermes.press("esc").wait_for(lambda seen: row(seen, "#1 "))
        hermes.type("q")
        back(hermes).wait_for(lambda seen: "▶ 2 tasks" in seen.status)


def test_what_cannot_be_done_yet_is_not_offered_and_said_there(start: Start) -> None:
    with OpenAIServer(default=Stream(delay=30)) as server:
        hermes = start(server)
        send_aside(hermes, "look")
        browse(hermes).wait_for("o open")
        assert "j join" not in hermes.text
        hermes.type("j").wait_for("#1 is not over; what it has done can be joined then.")
        assert hermes.emulator.on_other_screen


def test_a_filter_ends_with_the_browser(start: Start) -> None:
    with OpenAIServer(default=Stream(delay=30)) as server:
        hermes = start(server)
        send_aside(hermes, "look")
        browse(hermes).type("/zzz").press("enter").wait_for("only 'zzz'").type("q")
        back(hermes)
        browse(hermes).wait_for(lambda seen: row(seen, "› #1"))


@pytest.mark.parametrize(("columns", "keys", "made"), [(100, "ay", True), (60, "ay", True), (100, "dnot now", False)])
def test_a_request_is_seen_and_answered(start: Start, folder: object, columns: int, keys: str, made: bool) -> None:
    with OpenAIServer([shell("touch made", delay=0.2), "over"]) as server:
        hermes = start(server, columns=columns)
        send_aside(hermes, "make it").wait_for("#1 needs you")
        browse(hermes).wait_for("1 need you")
        hermes.type(keys[0]).wait_for("asks      terminal touch made")
        hermes.send(keys[1:]).wait_for("Approved." if made else "Denied.")
        hermes.wait_for(lambda seen: "1 need you" not in seen.text)
        hermes.wait_for(lambda _: len(server.bodies) == 2, why="the next step")
        if not made:
            assert "not now" in json.dumps(server.bodies[1])


@pytest.mark.parametrize("words", ["", "stop it", "annoy", "ya", "?"])
def test_only_the_letters_that_are_named_approve(start: Start, folder: Path, words: str) -> None:
    with OpenAIServer([shell("touch made"), "over"]) as server:
        hermes = start(server)
        send_aside(hermes, "make it").wait_for("#1 needs you")
        browse(hermes).wait_for("1 need you")
        hermes.type("a").wait_for("approve #1? y once").send(words).wait_for("Left as it was.")
        hermes.type("x").wait_for("stop #1? y or n").press("enter").wait_for("Left as it was.")
        hermes.type("a").wait_for("approve #1? y once").send("yes").wait_for("Approved.")
        hermes.wait_for(lambda _: (folder / "made").exists(), why="the file")


def test_sixty_columns_show_the_list_and_enter_opens_the_log(start: Start) -> None:
    with OpenAIServer(default=Stream(delay=30)) as server:
        hermes = start(server, columns=60, rows=20)
        send_aside(hermes, "look into the checkout")
        browse(hermes).wait_for(lambda seen: "running" in row(seen, "› #1"))
        assert "prompt    look" not in hermes.text
        hermes.press("enter").wait_for("prompt    look into the checkout").press("esc")
        hermes.wait_for(lambda seen: row(seen, "› #1") and "prompt    " not in seen.text)
        hermes.resize(100).wait_for("prompt    look into the checkout").resize(60)
        hermes.wait_for(lambda seen: row(seen, "› #1") and "prompt    " not in seen.text).type("q")
        back(hermes).wait_for(lambda seen: seen.draft == "")
        assert hermes.count("hermes 0.1") == 1


def test_a_long_log_scrolls_and_follows_again(start: Start) -> None:
    text = "\n".join(f"line {number}" for number in range(30))
    steps = [
        Stream(text=(text,), tools=(Tool("terminal", json.dumps({"command": f"echo {n}"}), id=f"c{n}"),))
        for n in range(2)
    ]
    with OpenAIServer(default=by_prompt(write=[*steps, say("over")])) as server:
        hermes = start(server, columns=90, rows=20)
        hermes.send("/yolo")
        send_aside(hermes, "write").wait_for("#1 done")
        browse(hermes).wait_for("over").press("home").wait_for("prompt    write").wait_for("log (End follows)")
        hermes.type(" ").wait_for("line 20").press("end").wait_for(lambda seen: "End follows" not in seen.text)


def test_leaving_the_program_from_the_browser_leaves_the_other_screen(start: Start) -> None:
    hermes = start()
    browse(hermes).wait_for("No tasks here.")
    hermes.process.terminate()
    hermes.wait_for_exit()
    assert not hermes.emulator.on_other_screen


def test_a_question_of_a_task_is_answered_there(start: Start) -> None:
    ask = call("ask_user", question="Which database?", choices=["PostgreSQL", "SQLite"])
    with OpenAIServer([ask, "over"]) as server:
        hermes = start(server)
        send_aside(hermes, "set it up").wait_for("#1 needs you")
        browse(hermes).wait_for("2. SQLite").type("a").wait_for("answer #1 (2 choices; a number or words):")
        hermes.type("2").press("enter").wait_for("Answered.").wait_for("over")
        assert server.bodies[1]["messages"][-1]["content"].endswith("SQLite")


def test_the_tasks_of_chats_are_listed_below_and_answered_from_here(start: Start, tmp_path: Path) -> None:
    store = SqliteStore(directories({"HERMES_HOME": str(tmp_path / "hermes")}).database)
    task = store.create_task(prompt="look around", owner="chat:telegram:7", settings="{}")
    request = ApprovalRequested("r1", "c1", "terminal", "execute", "touch made", "touch made", "/tmp", "touch *")
    store.append_event(task.id, request)
    store.update_task(task.id, state="waiting")
    hermes = start()
    hermes.send("/tasks").wait_for("[telegram:7] needs you: terminal touch made")
    browse(hermes).wait_for("[telegram:7] look around").type("q")
    back(hermes).send("/tasks deny 1 not now").wait_for("Denied for #1: terminal touch made")
    assert store.decision(task.session_id, decision_key("r1")) == Decision(False, "not now", via="terminal")
    # A terminal runs no chat's task.
    hermes.send("/tasks").wait_for(lambda seen: "queued" in seen.text)
    store.close()
