"""A turn in the foreground: the answer, its tools, questions, interruptions, and servers that misbehave."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.openai_server import OpenAIServer, Recorded, Status, Step, Stream, Tool, call, say
from tests.support.screen import Terminal

from .conftest import Start

QUESTION = "terminal wants to run"


def messages(server: OpenAIServer, number: int) -> list[dict[str, Any]]:
    """A request's messages after the system prompt."""
    return [message for message in server.bodies[number]["messages"] if message["role"] != "system"]


def settle_with(hermes: Terminal, line: str) -> Terminal:
    """Answer the question that stands, once it stands long enough for Enter to count."""
    hermes.wait_for("a letter, then Enter").stays(lambda seen: QUESTION in seen.text, 0.6)
    return hermes.send(line)


# -- the answer ------------------------------------------------------------------------------------


def test_an_answer_streams_above_the_prompt_and_is_written_once(start: Start) -> None:
    pieces = [
        "# Cart\n\n",
        "The cart is **val",
        "idated** first.\n\n",
        "```python\ndef pay",
        "():\n    return 1\n",
        "```\n\nThat",
        " is all.",
    ]
    with OpenAIServer([say(*pieces, pause=0.25)]) as server:
        hermes = start(server)
        hermes.send("what does it do?").wait_for("The cart is **val").type("my draft")
        hermes.wait_for(lambda seen: seen.draft == "my draft" and "The cart is validated first." in seen.text)
        hermes.wait_for("def pay").wait_for("return 1")
        hermes.wait_for(lambda seen: "That is all." in seen.text and "Esc interrupts" not in seen.text)
        assert hermes.draft == "my draft"
        for words in ("Cart", "validated", "def pay():", "return 1", "That is all.", "my draft", "› what does it do?"):
            assert hermes.count(words) == 1, words
        assert "**" not in hermes.text
        assert "```" not in hermes.text
        rows = hermes.lines
        assert rows[-2] == "› my draft"
        assert rows.index("● Cart") < rows.index("  The cart is validated first.") < rows.index("  That is all.")


def test_a_long_answer_scrolls_and_keeps_every_line_once(start: Start) -> None:
    lines = [f"- point number {number} stands" for number in range(200)]
    with OpenAIServer([say(*(f"{line}\n" for line in lines))]) as server:
        hermes = start(server, rows=20)
        hermes.send("go").wait_for("number 199 stands").wait_for(lambda seen: "Esc interrupts" not in seen.text)
        for number in (0, 1, 59, 60, 61, 100, 198, 199):
            assert hermes.count(f"number {number} stands") == 1


def test_the_next_message_carries_the_conversation(start: Start) -> None:
    with OpenAIServer(["first answer", "second answer"]) as server:
        hermes = start(server)
        hermes.send("one").wait_for("first answer").wait_for(lambda seen: "Esc interrupts" not in seen.text)
        hermes.send("two").wait_for("second answer")
        assert [message["content"] for message in messages(server, 1)] == ["one", "first answer", "two"]


def test_new_forgets_the_conversation(start: Start) -> None:
    with OpenAIServer(default="answered") as server:
        hermes = start(server)
        hermes.send("one").wait_for("● answered").wait_for(lambda seen: "Esc interrupts" not in seen.text)
        hermes.send("/new").wait_for("A new conversation").send("two")
        hermes.wait_for(lambda _: len(server.bodies) == 2, why="the second request")
        assert [message["content"] for message in messages(server, 1)] == ["two"]


def test_wide_characters_in_an_answer_stand_as_they_came(start: Start) -> None:
    with OpenAIServer(default="漢字 and 👍 and é and नमस्ते\n\n| 名前 | x |\n|---|---|\n| 値 | 1 |\n\nthe end") as server:
        hermes = start(server)
        hermes.send("go").wait_for("● 漢字 and 👍 and é and").wait_for("the end").settle()
        assert hermes.draft == ""
        assert hermes.cursor[0] == 2


def test_control_characters_of_a_model_neither_move_the_cursor_nor_set_the_title(start: Start) -> None:
    evil = "safe\x1b]0;evil\x07 \x1b[2J\x1b[1;1Hsound\x1b[31m\x9b5A\rlast\x08\x07 text\u202e!"
    with OpenAIServer([say(evil), call("terminal", command="cat evil"), "over"]) as server:
        hermes = start(server)
        (Path(hermes.cwd) / "evil").write_text(f"tool {evil}\n")
        hermes.send("/verbose on").send("go").wait_for("last text!").wait_for(lambda seen: seen.draft == "")
        hermes.send("again").wait_for("● over").settle()
        assert hermes.lines[0].startswith("hermes ")
        assert not hermes.emulator.title_set
        assert hermes.emulator.bells == 0
        assert b"evil\x07" not in hermes.raw
        assert b"\x1b[2J" not in hermes.raw


# -- tools and approvals ---------------------------------------------------------------------------


def test_a_tool_that_only_reads_runs_unasked_and_leaves_one_line(start: Start, folder: Path) -> None:
    (folder / "a.txt").write_text("alpha\n")
    with OpenAIServer([call("read_file", path="a.txt"), "It says alpha."]) as server:
        hermes = start(server)
        hermes.send("what is in a.txt?").wait_for("● It says alpha.")
        assert hermes.count("read_file") == 1
        assert "alpha" in messages(server, 1)[-1]["content"]


def test_a_command_is_asked_about_and_y_runs_it(start: Start, folder: Path) -> None:
    with OpenAIServer([call("terminal", command="touch made"), "done"]) as server:
        hermes = start(server)
        hermes.send("make it").wait_for(QUESTION).wait_for("touch made").wait_for("y yes, once")
        assert str(folder) in "".join(hermes.text.split())
        assert not (folder / "made").exists()
        settle_with(hermes, "y").wait_for("● done")
        assert (folder / "made").exists()
        assert QUESTION not in "\n".join(hermes.visible)


def test_in_a_tiny_window_a_question_shows_what_is_asked_and_how_to_answer(start: Start, folder: Path) -> None:
    with OpenAIServer([call("terminal", command=f"touch made {'very' * 40}"), "done"]) as server:
        hermes = start(server, columns=26, rows=9)
        hermes.send("make it").wait_for(lambda seen: "a letter, then Enter" in "\n".join(seen.visible))
        shown = "\n".join(hermes.visible)
        assert QUESTION in shown
        assert "touch made" in shown
        assert "y yes" in shown
        assert "N no" in shown
        settle_with(hermes, "y").wait_for("● done")


@pytest.mark.parametrize("size", [(40, 12), (30, 10)])
def test_nothing_is_asked_in_a_small_window_without_showing_what(start: Start, size: tuple[int, int]) -> None:
    command = "rm -rf build && touch some_rather_long_file_name_number_one.txt"
    with OpenAIServer([call("terminal", command=command), "done"]) as server:
        hermes = start(server, columns=size[0], rows=size[1])
        hermes.send("make it").wait_for("y yes")
        for draft in ("", "dr"):
            hermes.type(draft).wait_for(lambda seen, draft=draft: seen.draft == draft)
            shown = "\n".join(hermes.visible)
            assert QUESTION in shown, hermes.picture()
            assert "rm -rf build" in shown, hermes.picture()
            assert "more rows, Ctrl+O" in shown, hermes.picture()
            assert "N no" in shown, hermes.picture()


def test_s_allows_it_for_the_session(start: Start, folder: Path) -> None:
    again = call("terminal", command="echo again >> one")
    steps = [again, replace(again, tools=(replace(again.tools[0], id="call_2"),)), "done"]
    with OpenAIServer(steps) as server:
        hermes = start(server)
        settle_with(hermes.send("make them"), "s").wait_for("● done")
        assert (folder / "one").read_text() == "again\nagain\n"
        assert not list(folder.parent.rglob("policy.toml"))


def test_a_allows_it_for_always(start: Start, folder: Path) -> None:
    with OpenAIServer([call("terminal", command="touch one"), "done"]) as server:
        settle_with(start(server).send("make it"), "a").wait_for("● done")
    assert "touch one" in (folder.parent / "hermes" / "policy.toml").read_text()
    (folder / "one").unlink()
    with OpenAIServer([call("terminal", command="touch one"), "done again"]) as server:
        start(server).send("and again").wait_for("● done again")
    assert (folder / "one").exists()


def test_n_and_a_reason_reach_the_model(start: Start, folder: Path) -> None:
    with OpenAIServer([call("terminal", command="touch made"), "understood"]) as server:
        hermes = start(server)
        settle_with(hermes.send("make it"), "n use a temporary folder").wait_for("● understood")
        assert "use a temporary folder" in messages(server, 1)[-1]["content"]
        assert not (folder / "made").exists()


def test_enter_alone_means_no(start: Start, folder: Path) -> None:
    with OpenAIServer([call("terminal", command="touch made"), "understood"]) as server:
        settle_with(start(server).send("make it"), "").wait_for("● understood")
    assert not (folder / "made").exists()


def test_a_question_does_not_eat_a_draft_and_a_draft_does_not_answer_it(start: Start, folder: Path) -> None:
    step = Stream(tools=(Tool("terminal", json.dumps({"command": "touch made"})),), delay=0.6)
    with OpenAIServer([step, "done"]) as server:
        hermes = start(server)
        hermes.send("make it").wait_for(lambda _: server.bodies, why="the first request")
        hermes.type("y").wait_for(QUESTION)
        assert hermes.draft == "y"
        hermes.wait_for("Ctrl+S sets your draft aside").stays(lambda seen: QUESTION in seen.text, 0.6)
        hermes.press("enter").wait_for("next: y")
        assert QUESTION in hermes.text
        assert not (folder / "made").exists()
        settle_with(hermes, "y").wait_for("● done")
        assert (folder / "made").exists()
        assert [message["content"] for message in messages(server, 1)][-1] == "y"


def test_a_draft_set_aside_makes_room_for_the_answer(start: Start, folder: Path) -> None:
    step = Stream(tools=(Tool("terminal", json.dumps({"command": "touch made"})),), delay=0.6)
    with OpenAIServer([step, "done"]) as server:
        hermes = start(server)
        hermes.send("make it").wait_for("Esc interrupts").type("half a thought").wait_for(QUESTION)
        hermes.press("ctrl+s").wait_for(lambda seen: seen.draft == "")
        settle_with(hermes, "y").wait_for("● done")
        hermes.press("ctrl+s").wait_for(lambda seen: seen.draft == "half a thought")


def test_what_is_asked_is_shown_in_full_however_long_it_is(start: Start) -> None:
    command = "\n".join(f"echo line-{number} > made" for number in range(30))
    with OpenAIServer([call("terminal", command=command), "done"]) as server:
        hermes = start(server)
        hermes.send("make it").wait_for(QUESTION)
        assert all(f"echo line-{number} " in hermes.text for number in range(30))


def test_a_question_too_big_for_the_terminal_shows_both_ends_its_choices_and_the_draft(start: Start) -> None:
    with OpenAIServer([call("terminal", command=f"echo beginning {'x' * 3000} ending > made"), "done"]) as server:
        hermes = start(server, columns=60, rows=20)
        hermes.send("make it").wait_for("y yes, once").type("draft")
        hermes.wait_for(lambda seen: seen.draft == "draft")
        for words in (QUESTION, "echo beginning", "(it writes to", "Ctrl+O shows them", "Esc interrupts"):
            assert words in "\n".join(hermes.visible), hermes.picture()
        hermes.wait_for(lambda seen: "".join(seen.text.split()).count("x" * 3000) == 1)
        hermes.press("ctrl+o").wait_for(lambda seen: "".join(seen.text.split()).count("x" * 3000) == 2)
        hermes.press("ctrl+o").stays(lambda seen: "".join(seen.text.split()).count("x" * 3000) == 2, 0.4)


def test_yolo_asks_nothing_and_shows_it(start: Start, folder: Path) -> None:
    with OpenAIServer([call("terminal", command="touch made"), "done"]) as server:
        hermes = start(server)
        hermes.send("/yolo").wait_for(lambda seen: "yolo" in seen.status)
        hermes.send("make it").wait_for("● done")
        assert (folder / "made").exists()
        hermes.send("/yolo off").wait_for(lambda seen: "yolo" not in seen.status)


def test_shift_tab_goes_through_the_approval_modes(start: Start) -> None:
    hermes = start()
    for words in ("accept edits", "plan"):
        hermes.press("shift+tab").wait_for(lambda seen, words=words: words in seen.status)
    hermes.press("shift+tab").wait_for(lambda seen: "plan" not in seen.status and "edits" not in seen.status)


# -- interrupting ----------------------------------------------------------------------------------


def test_esc_interrupts_within_a_second_and_what_was_said_stays(start: Start) -> None:
    with OpenAIServer([say("this much ", "was said", end="hang"), "second"]) as server:
        hermes = start(server)
        hermes.send("go").wait_for("this much was said").type("draft")
        begun = time.monotonic()
        hermes.press("esc").wait_for("interrupted", within=3)
        server.wait_for_hangups()
        assert time.monotonic() - begun < 1.0
        assert hermes.count("● this much was said") == 1
        assert hermes.draft == "draft"
        hermes.press("ctrl+c").send("and now?").wait_for("● second")


def test_esc_stops_a_command_and_its_children(start: Start) -> None:
    with OpenAIServer([call("terminal", command="sleep 77 & sleep 77"), "done"]) as server:
        hermes = start(server)
        hermes.send("/yolo").send("go")
        hermes.wait_for(lambda seen: seen.runs("sleep 77"))
        hermes.press("esc").wait_for(lambda seen: not seen.family(), within=2)
        hermes.wait_for("interrupted")


def test_ctrl_c_goes_down_one_step_a_press(start: Start) -> None:
    with OpenAIServer([say("talking", end="hang")]) as server:
        hermes = start(server)
        hermes.send("go").wait_for("talking")
        hermes.type("/sto").wait_for("interrupt the turn that runs")
        hermes.press("ctrl+c").wait_for(lambda seen: "interrupt the turn that runs" not in seen.text)
        assert hermes.draft == "/sto"
        hermes.press("ctrl+c").wait_for(lambda seen: seen.draft == "")
        assert "Esc interrupts" in hermes.text
        hermes.press("ctrl+c").wait_for("interrupted").wait_for(lambda seen: "Esc interrupts" not in seen.text)
        hermes.press("ctrl+c").wait_for("press Ctrl+C again to leave")
        hermes.wait_for(lambda seen: "press Ctrl+C again" not in seen.text)
        hermes.press("ctrl+c").wait_for("press Ctrl+C again to leave")
        hermes.press("ctrl+c")
        assert hermes.wait_for_exit() == 0


def test_a_draft_cleared_with_ctrl_c_is_in_the_history(start: Start) -> None:
    hermes = start()
    hermes.type("not lost").wait_for(lambda seen: seen.draft == "not lost")
    hermes.press("ctrl+c").wait_for(lambda seen: seen.draft == "")
    hermes.press("up").wait_for(lambda seen: seen.draft == "not lost")


# -- steering and queueing -------------------------------------------------------------------------


def test_what_is_sent_during_a_turn_reaches_the_next_step_in_order(start: Start, folder: Path) -> None:
    (folder / "a.txt").write_text("alpha\n")
    step = Stream(tools=(Tool("read_file", '{"path": "a.txt"}'),), delay=0.8)
    with OpenAIServer([step, "done"]) as server:
        hermes = start(server)
        hermes.send("go").wait_for(lambda _: server.bodies, why="the first request")
        hermes.send("use tabs").wait_for("next: use tabs")
        hermes.send("and be brief").wait_for("next: and be brief")
        hermes.wait_for("● done")
        assert [message["content"] for message in messages(server, 1)][-2:] == ["use tabs", "and be brief"]
        assert messages(server, 1)[-3]["role"] == "tool"
        assert len(server.bodies) == 2
        hermes.wait_for(lambda seen: "next:" not in seen.text)
        assert hermes.count("› use tabs") == hermes.count("› and be brief") == 1


def test_tab_queues_for_after_the_turn(start: Start, folder: Path) -> None:
    (folder / "a.txt").write_text("alpha\n")
    step = Stream(tools=(Tool("read_file", '{"path": "a.txt"}'),), delay=0.5)
    with OpenAIServer([step, say("first ", "over", pause=0.2), "second over"]) as server:
        hermes = start(server)
        hermes.send("go").wait_for(lambda _: server.bodies, why="the first request").type("then this").press(
            "tab"
        ).wait_for("queued: then this")
        hermes.wait_for("● first over").wait_for("› then this").wait_for("● second over")
        assert [message["content"] for message in messages(server, 2)][-1] == "then this"
        assert "then this" not in json.dumps(messages(server, 1))


def test_what_was_not_taken_in_time_becomes_the_next_turn(start: Start) -> None:
    with OpenAIServer([say("one ", "two ", "three", pause=0.3), "second"]) as server:
        hermes = start(server)
        hermes.send("go").wait_for("one").send("late").wait_for("● second")
        assert [message["content"] for message in messages(server, 1)] == ["go", "one two three", "late"]


# -- what the person runs --------------------------------------------------------------------------


def test_a_shell_command_of_the_person_is_shown_and_kept_from_the_model(start: Start) -> None:
    with OpenAIServer(default="ok") as server:
        hermes = start(server)
        hermes.send("!echo hi-$((40+2)); exit 3").wait_for("hi-42").wait_for("exit 3")
        hermes.send("go").wait_for("● ok")
        assert "hi-42" not in json.dumps(server.bodies)
        assert "echo hi" not in json.dumps(server.bodies)


def test_a_key_between_two_ctrl_cs_keeps_the_session(start: Start) -> None:
    hermes = start()
    hermes.press("ctrl+c").wait_for("press Ctrl+C again to leave")
    hermes.type("x").wait_for(lambda seen: seen.draft == "x").press("backspace", "ctrl+c", "end")
    hermes.send("/version").wait_for("Python")
    hermes.press("ctrl+c", "ctrl+c")
    assert hermes.wait_for_exit() == 0


def test_ctrl_c_stops_a_shell_command_of_the_person(start: Start) -> None:
    hermes = start()
    hermes.send("!sleep 77").wait_for(lambda seen: seen.runs("sleep 77"))
    hermes.press("ctrl+c").wait_for(lambda seen: not seen.family(), within=2)


# -- servers ---------------------------------------------------------------------------------------


def test_a_server_that_dies_in_the_middle_of_an_answer_is_reported(start: Start) -> None:
    with OpenAIServer([say("half of ", "it", end="hang")]) as server:
        hermes = start(server)
        hermes.send("go").wait_for("half of it").type("draft")
        server.close()
        hermes.wait_for("✗").wait_for(lambda seen: "Esc interrupts" not in seen.text)
        assert hermes.draft == "draft"
        assert "127.0.0.1" in hermes.flat or "connection" in hermes.flat.lower()


def test_a_wrong_key_is_reported_with_what_to_do(start: Start) -> None:
    with OpenAIServer(default=Status(401, "Incorrect API key provided")) as server:
        hermes = start(server)
        hermes.send("go").wait_for("✗").wait_for(lambda seen: "Esc interrupts" not in seen.text)
        assert "key" in hermes.flat
        assert hermes.draft == ""
        assert len(server.bodies) == 1


def test_a_rate_limit_is_waited_out(start: Start) -> None:
    with OpenAIServer([Status(429, "slow down", retry_after=1), "made it"]) as server:
        hermes = start(server)
        hermes.send("go").wait_for("trying again in 1 s").wait_for("● made it")
        assert server.requests[-1].at - server.requests[-2].at >= 0.9


def test_no_server_is_reported_with_its_address(start: Start) -> None:
    with OpenAIServer() as server:
        address = server.base_url
    hermes = start(address)
    hermes.send("go").wait_for("✗").wait_for(lambda seen: "Esc interrupts" not in seen.text)
    assert address.removeprefix("http://").removesuffix("/v1") in hermes.text
    assert hermes.draft == ""


def test_model_switches_within_a_session(start: Start) -> None:
    with OpenAIServer(default="answered", models=["test-model", "other-model"]) as server:
        hermes = start(server)
        hermes.send("one").wait_for("● answered").wait_for(lambda seen: "Esc interrupts" not in seen.text)
        hermes.type("/model oth").wait_for("other-model").press("tab", "enter")
        hermes.wait_for(lambda seen: "other-model" in seen.status)
        hermes.send("two").wait_for(lambda seen: seen.count("● answered") == 2)
        assert server.bodies[-1]["model"] == "other-model"
        assert [message["content"] for message in messages(server, -1)] == ["one", "answered", "two"]


def test_copy_puts_the_last_answer_on_the_clipboard(start: Start) -> None:
    with OpenAIServer(default="the **answer** é") as server:
        hermes = start(server)
        hermes.send("/copy").wait_for("There is no answer to copy yet.")
        hermes.send("go").wait_for("● the answer").send("/copy").wait_for("Copied")
        code = base64.b64encode("the **answer** é".encode())
        assert b"\x1b]52;c;" + code in hermes.raw


def test_ctrl_o_shows_what_the_last_tool_gave(start: Start, folder: Path) -> None:
    (folder / "a.txt").write_text("alpha and omega\n")
    with OpenAIServer([call("read_file", path="a.txt"), "read"]) as server:
        hermes = start(server)
        hermes.send("go").wait_for("● read")
        assert "alpha and omega" not in hermes.text
        hermes.press("ctrl+o").wait_for("alpha and omega")
        hermes.press("ctrl+o").wait_for(lambda seen: "alpha and omega" not in seen.text)
        hermes.press("ctrl+o").wait_for("alpha and omega").type("draft").send("")
        hermes.wait_for(lambda seen: "alpha and omega" not in seen.text, why="folded by what sends")


def test_ctrl_o_fits_the_screen_and_counts_what_does_not(start: Start) -> None:
    with OpenAIServer([call("terminal", command="seq 1000 2000"), "counted"]) as server:
        hermes = start(server, "--yolo", rows=20)
        hermes.send("go").wait_for("● counted").wait_for(lambda seen: "Esc interrupts" not in seen.text)
        rows = len(hermes.lines)
        hermes.press("ctrl+o").wait_for("more lines; /export")
        visible = [line.strip() for line in hermes.visible]
        assert "1000" in visible
        left = next(int(line.split()[1]) for line in visible if "more lines; /export" in line)
        assert left + sum(line.isdecimal() for line in visible) == 1001
        assert hermes.draft == ""
        hermes.type("typed").wait_for(lambda seen: seen.draft == "typed")
        hermes.press("esc").wait_for(lambda seen: "more lines" not in seen.text)
        assert hermes.draft == "typed"
        for _ in range(6):
            hermes.press("ctrl+o").settle(0.1)
        assert len(hermes.lines) <= rows + 20


# -- questions of the agent ------------------------------------------------------------------------

ASK = call("ask_user", question="Which database?", choices=["PostgreSQL", "SQLite"])


def test_a_question_of_the_agent_is_answered_by_number_or_words_and_never_by_enter_alone(start: Start) -> None:
    with OpenAIServer([ASK, ASK, "done"]) as server:
        hermes = start(server)
        hermes.send("set it up").wait_for("The agent asks:").wait_for("2. SQLite").wait_for("your own words")
        hermes.press("enter").stays(lambda seen: "The agent asks:" in seen.text, 0.7)
        hermes.send("/version").wait_for("Python")
        hermes.send("2").wait_for("ask_user Which database?").wait_for(
            lambda _: len(server.bodies) > 1, why="a request"
        )
        assert messages(server, 1)[-1]["content"].endswith("SQLite")
        hermes.wait_for("The agent asks:").send("neither, use files").wait_for("● done")
        assert messages(server, 2)[-1]["content"].endswith("in their own words:\nneither, use files")


def test_a_question_of_the_agent_leaves_a_draft_alone_and_esc_ends_it(start: Start) -> None:
    with OpenAIServer([replace(ASK, delay=0.5), "done"]) as server:
        hermes = start(server)
        hermes.send("set it up").wait_for("Esc interrupts").type("half a thought").wait_for("The agent asks:")
        hermes.press("enter").wait_for("next: half a thought")
        assert "The agent asks:" in hermes.text
        hermes.press("esc").wait_for("interrupted").wait_for(lambda seen: "The agent asks:" not in seen.text)


# -- agents that are sent --------------------------------------------------------------------------


def test_agents_that_are_sent_are_seen_at_work_and_ask_by_their_name(start: Start, folder: Path) -> None:
    tasks = [{"prompt": "look around", "title": "look"}, {"prompt": "make a file", "title": "make"}]

    def answer(request: Recorded) -> Step:
        said = json.dumps(request.body["messages"])
        if "You were sent" not in said:
            return call("delegate", tasks=tasks) if "Report of" not in said else say("Both are back.")
        if '"tool"' in said:
            return say("It is done.")
        if "make a file" in said:
            return call("terminal", command="touch made")
        return call("terminal", command="sleep 2")

    with OpenAIServer([answer] * 6) as server:
        hermes = start(server)
        hermes.send("go").wait_for("1 look: terminal sleep 2").wait_for("agent 2 make: terminal wants to run")
        hermes.stays(lambda seen: not (folder / "made").exists(), 0.6)
        hermes.send("y").wait_for("2 make: done").wait_for("● Both are back.", within=30)
        assert (folder / "made").exists()
        assert "2 done" in hermes.text
        assert "1 look:" not in "\n".join(hermes.visible[-6:])


def test_esc_stops_the_agents_that_were_sent(start: Start) -> None:
    steps = [call("delegate", tasks=[{"prompt": "sleep", "title": "sleep"}]), call("terminal", command="sleep 60")]
    with OpenAIServer(steps) as server:
        hermes = start(server, "--yolo")
        hermes.send("go").wait_for("1 sleep: terminal sleep 60")
        begun = time.monotonic()
        hermes.press("esc").wait_for("interrupted", within=3)
        assert time.monotonic() - begun < 1.5


def test_reasoning_is_shown_while_it_comes_and_leaves_nothing_behind(start: Start) -> None:
    steps = [Stream(reasoning=("pondering ", "the question"), text=("Yes.",), pause=0.7), "Next."]
    with OpenAIServer(steps) as server:
        hermes = start(server)
        hermes.send("go").wait_for("pondering the question").wait_for("● Yes.")
        hermes.wait_for(lambda seen: "pondering" not in seen.text)


def test_the_status_line_names_the_fallback_while_it_answers(start: Start) -> None:
    down = Status(400, "no")
    steps: dict[str, list[Step]] = {"test-model": [down, "Here again."], "second": ["In its place."]}
    with OpenAIServer(default=lambda request: steps[request.body["model"]].pop(0)) as server:
        hermes = start(server, env={"HERMES_FALLBACK_MODEL": "second"})
        hermes.send("hi").wait_for("In its place.").wait_for(lambda seen: seen.status.strip().startswith("second"))
        hermes.send("and now").wait_for("Here again.").wait_for(lambda seen: "test-model" in seen.status)
