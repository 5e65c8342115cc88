"""Plain lines on a real terminal: one can follow what happens, and it is as good a place to work as the full prompt."""

import pytest

from agent import __version__
from tests.e2e.conftest import Start
from tests.support.openai_server import MODEL, OpenAIServer, call, say
from tests.support.screen import Terminal


def plain(start: Start, server: OpenAIServer, *, editor: bool = False) -> Terminal:
    """Without, or with a line editor."""
    return start(server, *(["--plain"] if editor else []), env={"TERM": "xterm" if editor else "dumb"})


@pytest.mark.parametrize("editor", [False, True], ids=["dumb", "line editor"])
def test_the_sign_stands_when_the_answer_is_there_and_never_before_other_text(start: Start, editor: bool) -> None:
    steps = [call("terminal", command="true"), "It is done.", "Second."]
    with OpenAIServer(steps) as server:
        hermes = plain(start, server, editor=editor)
        hermes.send("go").wait_for("It is done.").wait_for(lambda seen: seen.draft == "", why="the sign after it")
        hermes.send("more").wait_for("Second.").wait_for(lambda seen: seen.draft == "")
        signs = [line for line in hermes.lines if line.startswith("›")]
        assert signs == ["› go", "› more", "›"], hermes.picture()


def test_what_takes_long_is_told_and_no_sign_stands_meanwhile(start: Start) -> None:
    with OpenAIServer([say("Now.", delay=1.5)]) as server:
        hermes = plain(start, server)
        hermes.send("go").wait_for("(thinking)")
        assert hermes.count("›") == 1
        hermes.wait_for("Now.").wait_for(lambda seen: seen.draft == "")
        assert hermes.count("(thinking)") == 1


def test_a_paragraph_comes_row_by_row_while_the_model_writes_it(start: Start) -> None:
    words = [f"word{number} " for number in range(60)]
    with OpenAIServer([say(*words, end="hang")]) as server:
        hermes = plain(start, server)
        hermes.send("go").wait_for("word30")
        assert hermes.count("word59") == 0


def test_a_line_typed_during_a_turn_reaches_the_agent(start: Start) -> None:
    with OpenAIServer([call("terminal", command="sleep 1"), "Yes."]) as server:
        hermes = plain(start, server)
        hermes.send("go").wait_for(lambda _: len(server.bodies) == 1, why="a request").send("and mind the gap")
        hermes.wait_for("Yes.").wait_for(lambda seen: seen.draft == "")
        assert "mind the gap" in str(server.bodies[-1]["messages"])


def test_the_first_line_names_the_model(start: Start) -> None:
    with OpenAIServer() as server:
        plain(start, server, editor=True).wait_for(f"hermes {__version__} · {MODEL} · ")


def test_no_choice_closes_a_list_and_says_so(start: Start) -> None:
    with OpenAIServer(default="ok") as server:
        hermes = plain(start, server)
        hermes.send("go").wait_for("ok").wait_for(lambda seen: seen.draft == "")
        hermes.send("/new").wait_for("A new conversation.").send("/resume").wait_for("A number, or n for none")
        hermes.wait_for(lambda seen: seen.draft == "").send("n").wait_for("(the list is closed)")


def test_a_question_mark_tells_the_keys(start: Start) -> None:
    with OpenAIServer() as server:
        plain(start, server).send("?").wait_for("interrupt, then twice to leave").wait_for(
            lambda seen: seen.draft == ""
        )
        assert not server.bodies


@pytest.mark.parametrize("editor", [False, True], ids=["dumb", "line editor"])
def test_a_notice_stands_on_its_own_lines_and_the_sign_comes_back(start: Start, editor: bool) -> None:
    with OpenAIServer([say("Found it.", delay=0.5)]) as server:
        hermes = plain(start, server, editor=editor)
        hermes.send("/bg look").wait_for(lambda seen: seen.draft == "", why="the sign after the task's number")
        hermes.type("half a thought")
        hermes.wait_for("#1 done").wait_for(lambda seen: not editor or seen.draft == "half a thought")
        assert not [line for line in hermes.lines if line.startswith("›") and "╭" in line]
        hermes.send("").wait_for(lambda seen: "half a thought" in str(server.bodies[-1]["messages"]))


def test_ctrl_c_twice_with_a_live_task_asks(start: Start) -> None:
    with OpenAIServer(default=say("too late", delay=30)) as server:
        hermes = plain(start, server)
        hermes.send("/bg look").wait_for(lambda _: len(server.bodies) == 1, why="the task's request")
        hermes.press("ctrl+c").wait_for("press Ctrl+C again to leave")
        hermes.press("ctrl+c").wait_for("Not everything is over:").wait_for(lambda seen: seen.draft == "").send("n")
        hermes.send("/tasks").wait_for("running")


def test_a_line_between_two_ctrl_cs_makes_them_two_first_ones(start: Start) -> None:
    with OpenAIServer(default="Hello.") as server:
        hermes = plain(start, server)
        hermes.press("ctrl+c").wait_for("press Ctrl+C again to leave").wait_for(lambda seen: seen.draft == "")
        hermes.send("hi").wait_for("Hello.").wait_for(lambda seen: seen.draft == "").press("ctrl+c")
        hermes.wait_for(lambda seen: seen.count("press Ctrl+C again to leave") == 2)
        hermes.press("ctrl+c")
        assert hermes.wait_for_exit() == 0


def test_ctrl_c_interrupts_the_turn_first(start: Start) -> None:
    with OpenAIServer(default=say("never", delay=30)) as server:
        hermes = plain(start, server)
        hermes.send("go").wait_for(lambda _: len(server.bodies) == 1, why="a request")
        hermes.press("ctrl+c").wait_for("interrupted").wait_for(lambda seen: seen.draft == "")
        assert hermes.count("press Ctrl+C again") == 0


def test_a_line_during_a_turn_is_said_to_wait(start: Start) -> None:
    with OpenAIServer([call("terminal", command="sleep 1"), "Yes.", "And that."]) as server:
        hermes = plain(start, server)
        hermes.send("go").wait_for(lambda _: len(server.bodies) == 1, why="a request").send("mind the gap")
        hermes.wait_for("(next: mind the gap)").send("/queue then that").wait_for("(queued: then that)")
        hermes.wait_for("And that.")


def test_a_line_that_answers_no_question_says_that_one_waits(start: Start) -> None:
    with OpenAIServer([call("write_file", path="a.txt", content="x"), "Written."]) as server:
        hermes = plain(start, server)
        hermes.send("write").wait_for("N no (and why)").wait_for(lambda seen: seen.draft == "")
        hermes.send("hurry up").wait_for("(next: hurry up)").wait_for("(a question above waits for an answer)")
        assert hermes.count("y yes, once") == 2
        hermes.wait_for(lambda seen: seen.draft == "").send("y").wait_for("Written.")


def test_another_line_closes_a_list_so_that_a_later_number_is_a_message(start: Start) -> None:
    with OpenAIServer(["First.", "Second.", "Third."]) as server:
        hermes = plain(start, server)
        hermes.send("first talk").wait_for("First.").wait_for(lambda seen: seen.draft == "")
        hermes.send("/new").wait_for(lambda seen: seen.draft == "")
        hermes.send("/resume").wait_for("A number, or n for none of them.").wait_for(lambda seen: seen.draft == "")
        hermes.send("another").wait_for("(the list is closed)").wait_for("Second.")
        hermes.wait_for(lambda seen: seen.draft == "").send("1").wait_for("Third.")
        assert server.bodies[-1]["messages"][-1]["content"] == "1"


def test_a_second_list_takes_the_place_of_the_first(start: Start) -> None:
    with OpenAIServer(["First.", "Second."]) as server:
        hermes = plain(start, server)
        for prompt, answer in (("one talk", "First."), ("other talk", "Second.")):
            hermes.send("/new").wait_for(lambda seen: seen.draft == "")
            hermes.send(prompt).wait_for(answer).wait_for(lambda seen: seen.draft == "")
        hermes.send("/resume").wait_for("Resume which session?").wait_for(lambda seen: seen.draft == "")
        hermes.send("/rewind").wait_for("Go back to before which prompt?").wait_for(lambda seen: seen.draft == "")
        hermes.press("ctrl+c").wait_for(lambda seen: seen.count("(the list is closed)") == 2)
        assert hermes.count("press Ctrl+C again") == 0


def test_commands_say_what_is_so_in_plain_mode(start: Start) -> None:
    with OpenAIServer(["Here."], default=say("too late", delay=30)) as server:
        hermes = plain(start, server)
        hermes.send("go").wait_for("Here.").wait_for(lambda seen: seen.draft == "")
        hermes.send("/copy").wait_for("Plain mode has no clipboard").wait_for(lambda seen: seen.draft == "")
        assert hermes.count("Copied") == 0
        hermes.send("/clear").wait_for("(plain mode clears nothing").wait_for(lambda seen: seen.draft == "")
        hermes.send("/btw which file?").wait_for("Ctrl+C takes it back").press("ctrl+c").wait_for("was taken back")


def test_the_last_lines_say_how_to_go_on(start: Start) -> None:
    with OpenAIServer(["Fine.", call("write_file", path="a.txt", content="x")]) as server:
        hermes = plain(start, server)
        hermes.send("go").wait_for("Fine.").wait_for(lambda seen: seen.draft == "")
        hermes.send("/bg write").wait_for("needs you").wait_for(lambda seen: seen.draft == "")
        hermes.press("ctrl+d").wait_for("n stay").wait_for(lambda seen: seen.draft == "").send("k")
        hermes.wait_for("To go on: hermes -c, or from anywhere hermes -r ").wait_for("1 task goes on: hermes tasks")


def test_who_waits_for_the_tasks_is_told_so(start: Start) -> None:
    with OpenAIServer([say("Found it.", delay=2.0)]) as server:
        hermes = plain(start, server)
        hermes.send("/bg look").wait_for(lambda _: len(server.bodies) == 1, why="the task's request")
        hermes.press("ctrl+d").wait_for("n stay").wait_for(lambda seen: seen.draft == "").send("w")
        hermes.wait_for("(leaving when the tasks are over)").wait_for("Found it.")
        assert hermes.wait_for_exit() == 0
