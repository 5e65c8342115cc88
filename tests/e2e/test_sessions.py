"""Sessions that outlive their terminal: continued, picked, rewound, and cut off at any moment."""

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent.store.sqlite import SqliteStore
from tests.support.openai_server import Hang, OpenAIServer, call, say
from tests.support.screen import Terminal

from .conftest import Start


def said(server: OpenAIServer, number: int = -1) -> list[Any]:
    """The conversation of a request, without the system prompt."""
    return [message["content"] for message in server.bodies[number]["messages"] if message["role"] != "system"]


def idle(hermes: Terminal) -> Terminal:
    return hermes.wait_for(lambda seen: "Esc interrupts" not in seen.text, why="the end of the turn")


def leave(hermes: Terminal) -> None:
    idle(hermes).press("ctrl+d")
    hermes.process.wait(10)


def kill(hermes: Terminal) -> None:
    """As a power cut would: no handler runs."""
    own = psutil.Process(hermes.process.pid)
    # Its own process first: else it might live to see how a command of its ended.
    for process in (own, *own.children(recursive=True)):
        os.kill(process.pid, signal.SIGKILL)
    hermes.process.wait(10)


# -- -c --------------------------------------------------------------------------------------------


def test_the_last_session_of_a_directory_goes_on_with_the_very_bytes_it_had(start: Start) -> None:
    with OpenAIServer(["First answer.", "Second answer."]) as server:
        hermes = start(server)
        hermes.send("one").wait_for("First answer.")
        leave(hermes)
        again = start(server, "-c")
        again.wait_for("Resumed: one").wait_for("First answer.")
        again.send("two").wait_for("Second answer.")
        idle(again)
        first, second = server.bodies
        assert second["messages"][: len(first["messages"])] == first["messages"]
        assert second["tools"] == first["tools"]
        assert said(server) == ["one", "First answer.", "two"]


def test_a_prompt_of_the_command_line_waits_for_the_session_it_belongs_to(start: Start) -> None:
    with OpenAIServer(["First answer.", "Second answer."]) as server:
        leave(start(server).send("one").wait_for("First answer."))
        start(server, "-c", "and two").wait_for("Second answer.")
        assert said(server) == ["one", "First answer.", "and two"]


def test_where_nothing_was_said_yet_a_new_session_begins_and_says_so(start: Start) -> None:
    with OpenAIServer(["First answer."]) as server:
        start(server, "-c", "one").wait_for("No session to continue").wait_for("First answer.")


def test_a_session_restores_its_model(start: Start) -> None:
    with OpenAIServer(["First answer.", "Second answer."]) as server:
        leave(start(server, "-m", "other-model").send("one").wait_for("First answer."))
        again = start(server, "-c").wait_for(lambda seen: "other-model" in seen.lines[-1])
        again.send("two").wait_for("Second answer.")
        assert [body["model"] for body in server.bodies] == ["other-model", "other-model"]


def test_a_model_named_on_the_command_line_wins(start: Start) -> None:
    with OpenAIServer(["First answer.", "Second answer."]) as server:
        leave(start(server, "-m", "other-model").send("one").wait_for("First answer."))
        start(server, "-c", "-m", "third-model", "two").wait_for("Second answer.")
        assert server.bodies[-1]["model"] == "third-model"


# -- -r --------------------------------------------------------------------------------------------


def test_a_session_is_resumed_by_a_part_of_its_title_in_its_own_directory(start: Start, folder: Path) -> None:
    with OpenAIServer(["First answer.", "Second answer."]) as server:
        leave(start(server).send("count the carts").wait_for("First answer."))
        elsewhere = folder / "below"
        elsewhere.mkdir()
        shell = start(server, program=("/bin/sh", "-c", 'cd below && exec hermes -r "the carts"'))
        shell.wait_for("Working in").wait_for("Resumed: count the carts")


def test_several_sessions_are_offered_and_typing_searches_what_was_said(start: Start) -> None:
    with OpenAIServer(["Apples are red.", "Pears are green.", "Third answer."]) as server:
        leave(start(server).send("the first fruit").wait_for("Apples are red."))
        leave(start(server).send("the second fruit").wait_for("Pears are green."))
        hermes = start(server, "-r").wait_for("Resume which session? (1 of 2)")
        hermes.type("apples").wait_for(lambda seen: "the first fruit" in seen.text and "second" not in seen.text)
        hermes.press("enter").wait_for("Resumed: the first fruit")
        hermes.wait_for(lambda seen: seen.draft == "")
        hermes.send("go on").wait_for("Third answer.")
        assert said(server) == ["the first fruit", "Apples are red.", "go on"]


def test_a_list_to_pick_from_fits_a_narrow_terminal_and_gives_the_draft_back(start: Start) -> None:
    with OpenAIServer(["First answer.", "Second answer."]) as server:
        leave(start(server).send("a rather long title that does not fit into forty columns").wait_for("First answer."))
        hermes = start(server, "-r", columns=40, rows=16).wait_for("Resume which session?")
        hermes.press("esc").wait_for(lambda seen: "Resume which" not in seen.text and seen.draft == "")


def test_an_unknown_session_is_told_and_the_prompt_is_not_sent_to_another(start: Start) -> None:
    with OpenAIServer([]) as server:
        hermes = start(server, "-r", "nonsense", "my prompt", ready=False).wait_for("No session fits 'nonsense'")
        hermes.wait_for(lambda seen: seen.draft == "my prompt")
        assert server.bodies == []


def test_a_directory_that_is_gone_is_asked_about(start: Start, folder: Path) -> None:
    gone = folder / "gone"
    gone.mkdir()
    with OpenAIServer(["First answer.", "Second answer."]) as server:
        leave(start(server, "-C", str(gone)).send("one").wait_for("First answer."))
        gone.rmdir()
        hermes = start(server, "-r", "latest").wait_for("is gone").wait_for("a letter, then Enter")
        hermes.send("y").wait_for("Resumed: one")


# -- crashes ---------------------------------------------------------------------------------------


def test_after_a_kill_in_the_middle_of_an_answer_nothing_that_was_said_is_lost(start: Start) -> None:
    with OpenAIServer([say("Hal", "f an ", "answer", pause=30), "The whole answer."]) as server:
        hermes = start(server).send("one")
        hermes.wait_for("Esc interrupts")
        server_saw = hermes.wait_for(lambda _: server.bodies)
        kill(server_saw)
        again = start(server, "-c").wait_for("The last turn did not come to its end").wait_for("a letter, then Enter")
        again.send("y").wait_for("The whole answer.")
        assert said(server) == ["one"]


def test_a_new_prompt_is_what_is_gone_on_with_and_nothing_is_asked_any_more(start: Start) -> None:
    with OpenAIServer([say("Hal", "f an ", "answer", pause=30), "Another answer.", "Yes to what?"]) as server:
        kill(start(server).send("one").wait_for(lambda _: server.bodies))
        again = start(server, "-c").wait_for("The last turn did not come to its end").wait_for("a letter, then Enter")
        idle(again.send("two").wait_for("Another answer."))
        assert not any("did not come to its end" in line for line in again.lines)
        again.send("y").wait_for("Yes to what?")
        assert said(server)[-1] == "y"


def test_a_call_that_had_begun_is_not_run_again_after_a_kill(start: Start, folder: Path) -> None:
    command = "echo ran >> ran.txt; sleep 60"
    with OpenAIServer([call("terminal", command=command), "I see."]) as server:
        hermes = start(server, "--yolo").send("run it")
        hermes.wait_for(lambda _: (folder / "ran.txt").exists())
        kill(hermes)
        again = start(server, "-c", "--yolo").wait_for("did not come to its end").wait_for("a letter, then Enter")
        again.send("y").wait_for("I see.")
        assert said(server)[-1] == "interrupted; outcome unknown"
        assert (folder / "ran.txt").read_text() == "ran\n"


def test_a_new_prompt_after_a_kill_tells_the_model_that_the_outcome_is_unknown(start: Start, folder: Path) -> None:
    with OpenAIServer([call("terminal", command="echo ran >> ran.txt; sleep 60"), "I see."]) as server:
        hermes = start(server, "--yolo").send("run it")
        hermes.wait_for(lambda _: (folder / "ran.txt").exists())
        kill(hermes)
        start(server, "-c", "what happened?").wait_for("I see.")
        assert said(server)[-2:] == ["interrupted; outcome unknown", "what happened?"]


# -- rewinding -------------------------------------------------------------------------------------


def test_esc_esc_goes_back_to_before_a_prompt_which_becomes_the_draft(start: Start, tmp_path: Path) -> None:
    with OpenAIServer(["First answer.", "Second answer.", "Another answer."]) as server:
        hermes = start(server)
        idle(hermes.send("one").wait_for("First answer."))
        idle(hermes.send("two").wait_for("Second answer."))
        hermes.press("esc").press("esc").wait_for("Go back to before which prompt?")
        hermes.press("enter").wait_for(lambda seen: seen.draft == "two")
        hermes.type(" and a half").press("enter").wait_for("Another answer.")
        assert said(server) == ["one", "First answer.", "two and a half"]
        store = SqliteStore(tmp_path / "hermes" / "state" / "state.db")
        new, old = store.sessions()[0], store.sessions(archived=True)[0]
        assert new.parent == old.id
        assert [m.content for m in store.messages(old.id)][1:] == ["one", "First answer.", "two", "Second answer."]
        store.close()


def test_esc_esc_where_nothing_was_said_says_so_and_a_draft_is_left_alone(start: Start) -> None:
    hermes = start()
    hermes.press("esc").press("esc").wait_for("Nothing was said yet")
    hermes.type("draft").wait_for(lambda seen: seen.draft == "draft")
    hermes.press("esc").press("esc").stays(lambda seen: seen.draft == "draft", 0.5)


# -- commands --------------------------------------------------------------------------------------


def test_undo_takes_the_last_prompt_back_as_a_draft_and_retry_sends_it_again(start: Start) -> None:
    with OpenAIServer(["First.", "Second.", "Third.", "Fourth."]) as server:
        hermes = start(server)
        idle(hermes.send("one").wait_for("First."))
        idle(hermes.send("two").wait_for("Second."))
        hermes.send("/undo").wait_for(lambda seen: seen.draft == "two")
        hermes.press("enter").wait_for("Third.")
        idle(hermes).send("/retry").wait_for("Fourth.")
        assert said(server, 2) == said(server, 3) == ["one", "First.", "two"]


def test_a_branch_goes_its_own_way_and_the_other_can_be_resumed_by_its_title(start: Start) -> None:
    with OpenAIServer(["First.", "Second.", "Third."]) as server:
        hermes = start(server)
        idle(hermes.send("one").wait_for("First."))
        hermes.send("/title the trunk").wait_for("Title: the trunk")
        hermes.send("/branch the twig").wait_for("This is a branch now")
        idle(hermes.send("two").wait_for("Second."))
        hermes.type("/resume the tr").press("tab").wait_for(lambda seen: seen.draft == "/resume the trunk")
        hermes.press("enter").wait_for("Resumed: the trunk")
        idle(hermes.send("three").wait_for("Third."))
        assert said(server) == ["one", "First.", "three"]


def test_what_was_said_is_found_and_written_to_a_file(start: Start, folder: Path) -> None:
    with OpenAIServer(["Apples are red."]) as server:
        hermes = start(server)
        idle(hermes.send("tell me of fruit").wait_for("Apples are red."))
        hermes.send("/search apples").wait_for("tell me of fruit  Hermes, now  /resume")
        hermes.send("/export html").wait_for("tell-me-of-fruit.html")
        assert "Apples are red." in (folder / "tell-me-of-fruit.html").read_text()
        hermes.send("/save talk.json").wait_for("talk.json").wait_for(lambda _: (folder / "talk.json").exists())
        hermes.send("/save talk.json").wait_for("Choose another name")
        hermes.send("/export pdf").wait_for("'pdf' is no format")
        hermes.send("/export my talk.html").wait_for(lambda _: (folder / "my talk.html").exists())


def test_a_title_given_before_the_first_prompt_stays(start: Start) -> None:
    with OpenAIServer(["First."]) as server:
        hermes = start(server)
        hermes.send("/title my own words").wait_for("Title: my own words")
        idle(hermes.send("one").wait_for("First."))
        hermes.send("/status").wait_for("my own words")


# -- two terminals on one session ------------------------------------------------------------------


def messages_of(folder: Path) -> dict[str, list[str]]:
    """What every session of the store holds, by title."""
    store = SqliteStore(folder.parent / "hermes" / "state" / "state.db")
    try:
        rows = store.sessions(archived=False)
        return {row.title: [one.content for one in store.messages(row.id) if one.role != "system"] for row in rows}
    finally:
        store.close()


def test_a_session_that_is_open_elsewhere_goes_on_in_a_copy_and_keeps_its_own_history(
    start: Start, folder: Path
) -> None:
    with OpenAIServer(["First answer.", "Second answer.", "Third answer."]) as server:
        first = start(server).send("one").wait_for("First answer.")
        second = start(server, "-c").wait_for("is open in another terminal (process ").wait_for("B branch")
        second.settle(0.6)
        second.press("enter").wait_for("Resumed: one (branch)")
        second.send("two here").wait_for("Second answer.")
        idle(first).send("two there").wait_for("Third answer.")
        idle(first)
        idle(second)
        assert said(server) == ["one", "First answer.", "two there"]
        assert messages_of(folder) == {
            "one": ["one", "First answer.", "two there", "Third answer."],
            "one (branch)": ["one", "First answer.", "two here", "Second answer."],
        }


def test_a_session_that_is_open_elsewhere_need_not_be_resumed(start: Start, folder: Path) -> None:
    with OpenAIServer(["First answer.", "Second answer."]) as server:
        start(server).send("one").wait_for("First answer.")
        second = start(server, "-c", "two").wait_for("is open in another terminal")
        second.send("n").wait_for(lambda seen: seen.draft == "two")
        assert messages_of(folder) == {"one": ["one", "First answer."]}


@pytest.mark.parametrize("how", ["new", "left", "killed"])
def test_a_session_that_is_open_nowhere_any_more_is_resumed_as_it_is(start: Start, how: str) -> None:
    with OpenAIServer(["First answer."]) as server:
        first = idle(start(server).send("one").wait_for("First answer."))
        match how:
            case "new":
                first.send("/new").wait_for("A new conversation.")
            case "left":
                leave(first)
            case "killed":
                kill(first)
        second = start(server, "-r", "one").wait_for("Resumed: one")
        assert "is open in" not in second.text


def test_a_session_that_shrank_is_open_where_it_goes_on(start: Start) -> None:
    count = call("terminal", command="seq 1 2000")
    with OpenAIServer([count, "counted", "Goals: the cart.", "fine"], window=20_000) as server:
        hermes = idle(start(server, "--yolo").send("question 0").wait_for("counted"))
        hermes.send("/compress").wait_for("Conversation summarised")
        start(server, "-c").wait_for("is open in another terminal")
        idle(hermes).send("and now?").wait_for("● fine")


def test_print_mode_leaves_a_session_alone_that_is_open(start: Start, folder: Path) -> None:
    with OpenAIServer(["First answer."]) as server:
        first = idle(start(server).send("one").wait_for("First answer."))
        headless = start(server, "-p", "-c", "two", ready=False)
        headless.wait_for("open in another terminal")
        assert headless.wait_for_exit() == 1
        assert messages_of(folder) == {"one": ["one", "First answer."]}
        leave(first)


# -- the agent's list --------------------------------------------------------------------------------


def test_the_agents_list_stands_above_the_line_and_is_there_again_after_a_resume(start: Start) -> None:
    states = ["done"] * 3 + ["doing"] + ["open"] * 9
    items = [{"text": f"step number {number}", "state": state} for number, state in enumerate(states, 1)]
    todo = call("todo", items=items)
    with OpenAIServer([todo, say("Still", " at it.", pause=1.5), "All is well."]) as server:
        hermes = start(server).send("a long thing").wait_for("▶ step number 4")
        seen = hermes.wait_for("13 steps, 3 of 13 done").text
        assert "✓ step number 3" in seen
        assert "step number 2" not in seen
        assert "step number 9" not in seen
        hermes.wait_for("Still at it.")
        idle(hermes).wait_for("todo: 3 of 13 done")
        assert "▶ step number 4" not in hermes.text
        leave(hermes)
        again = start(server, "-c").wait_for("todo: 3 of 13 done")
        again.send("/new").wait_for(lambda seen: "todo: 3 of 13" not in seen.text, why="a conversation without a list")


# -- files -------------------------------------------------------------------------------------------


def test_esc_esc_takes_files_back_too_after_a_resume(start: Start, folder: Path) -> None:
    answers = [call("write_file", path="a.txt", content="agent\n"), "Made it.", "Fine."]
    with OpenAIServer(answers) as server:
        hermes = start(server, "--yolo")
        idle(hermes.send("make a").wait_for("Made it."))
        idle(hermes.send("thanks").wait_for("Fine."))
        kill(hermes)
        hermes = start(server, "-c").wait_for("Resumed")
        idle(hermes).press("esc").press("esc").wait_for("Go back to before which prompt?")
        hermes.press("down").press("enter").wait_for("1 file changed since “make a”")
        hermes.settle(0.6)
        hermes.send("b").wait_for("Put back: a.txt").wait_for(lambda seen: seen.draft == "make a")
        assert not (folder / "a.txt").exists()


def test_rewind_of_files_only_keeps_the_conversation_and_what_was_edited_since(start: Start, folder: Path) -> None:
    one = call("write_file", path="a.txt", content="agent\n")
    with OpenAIServer([one, call("write_file", path="b.txt", content="agent\n"), "Made both.", "Yes."]) as server:
        hermes = start(server, "--yolo")
        idle(hermes.send("make both").wait_for("Made both."))
        (folder / "b.txt").write_text("mine\n")
        hermes.send("/rewind 1").wait_for("2 files changed since").settle(0.6)
        hermes.send("f").wait_for("Some were edited since:").settle(0.6)
        hermes.send("k").wait_for("Put back: a.txt. The conversation stays.")
        assert [path.name for path in folder.iterdir()] == ["b.txt"]
        idle(hermes.send("do you remember?").wait_for("Yes."))
        assert "make both" in said(server)
        hermes.send("/rewind 9").wait_for("There are only 2 prompts")


def test_nothing_goes_back_under_a_turn_that_began_while_it_was_asked(start: Start, folder: Path) -> None:
    with OpenAIServer([call("write_file", path="a.txt", content="agent\n"), "Made a.", Hang()]) as server:
        hermes = start(server, "--yolo")
        idle(hermes.send("make a").wait_for("Made a."))
        hermes.send("/rewind 1").wait_for("1 file changed since").settle(0.6)
        hermes.send("but first something else").wait_for("Esc interrupts")
        hermes.send("b").wait_for("A turn runs by now, so nothing was put back.")
        assert (folder / "a.txt").read_text() == "agent\n"


def test_what_was_done_is_told_again_with_what_was_said(start: Start, folder: Path) -> None:
    (folder / "a.txt").write_text("alpha\n")
    with OpenAIServer([call("read_file", path="a.txt"), "It says alpha."]) as server:
        hermes = start(server)
        hermes.send("read it").wait_for("It says alpha.")
        idle(hermes).send("/history").wait_for(lambda seen: seen.count("┊ read_file a.txt") == 2)
        leave(hermes)
        hermes.wait_for("To go on: hermes -c, or from anywhere hermes -r ")
        start(server, "-c").wait_for("Resumed: read it").wait_for("┊ read_file a.txt").wait_for("It says alpha.")


def test_what_the_model_was_told_of_a_no_is_not_found_among_what_was_said(start: Start) -> None:
    with OpenAIServer([call("terminal", command="touch made"), "So be it, the answer was clear."]) as server:
        hermes = start(server)
        hermes.send("make it").wait_for("terminal wants to run").send("n not now").wait_for("So be it")
        idle(hermes).send("/search answer").wait_for("So be it, the answer was clear.").settle()
        assert "Do not try the same thing" not in hermes.text
