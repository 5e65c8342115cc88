"""Work sent to the background: acknowledged, watched, answered, stopped, and told without touching the draft."""

import contextlib
import json
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.openai_server import OpenAIServer, Recorded, Step, Stream, Tool, call, say
from tests.support.screen import Terminal

from .conftest import Start


def by_prompt(**answers: Step | list[Step]) -> Callable[[Recorded], Step]:
    """A server that answers by what it was first asked: several tasks at once come in any order."""
    scripts = {word: list(answer) if isinstance(answer, list) else [answer] for word, answer in answers.items()}

    def answer(request: Recorded) -> Step:
        first = next(message["content"] for message in request.body["messages"] if message["role"] == "user")
        script = next(script for word, script in scripts.items() if word in first)
        return script.pop(0) if len(script) > 1 else script[0]

    return answer


def shell(command: str, delay: float = 0.0) -> Stream:
    return Stream(tools=(Tool("terminal", json.dumps({"command": command})),), delay=delay)


def send_aside(hermes: Terminal, prompt: str, number: int = 1) -> Terminal:
    return hermes.send(f"/bg {prompt}").wait_for(f"▶ #{number} bg_")


def test_a_task_is_acknowledged_at_once_and_its_result_is_told_in_a_box(start: Start) -> None:
    with OpenAIServer([say("Found **three** places.\n\n```python\nx = 1\n```", delay=0.3)]) as server:
        hermes = start(server)
        send_aside(hermes, "find every place that catches Exception")
        hermes.wait_for(lambda seen: "▶ 1 task" in seen.status and "tasks" not in seen.status)
        hermes.wait_for("#1 done · find every place").wait_for("Found three places.").wait_for("/tasks show 1")
        hermes.wait_for(lambda seen: "task" not in seen.status)
        assert hermes.count("Found three places.") == 1
        assert [m["role"] for m in server.bodies[0]["messages"]] == ["system", "user"]


def test_a_result_leaves_a_half_typed_draft_and_its_cursor_alone(start: Start) -> None:
    with OpenAIServer([say("the result", delay=0.4)]) as server:
        hermes = start(server)
        send_aside(hermes, "look")
        draft = 'and who   calls "it"? 漢字\n  two'
        hermes.type(draft.replace("\n", "\x1b\r")).press("left", "left", "left")
        column = 2 + len("  two") - 3
        hermes.wait_for(lambda seen: (seen.draft, seen.cursor[0]) == (draft, column))
        hermes.wait_for("the result").settle()
        assert (hermes.draft, hermes.cursor[0]) == (draft, column)
        hermes.press("end").type("!").wait_for(lambda seen: seen.draft == f"{draft}!")
        assert hermes.count("who   calls") == 1


def test_a_result_waits_while_keys_are_pressed_but_no_longer_than_three_seconds(start: Start) -> None:
    with OpenAIServer([say("the result")]) as server:
        hermes = start(server)
        send_aside(hermes, "look")
        typed = 0
        while "the result" not in hermes.text:
            assert not server.bodies or time.monotonic() - server.requests[-1].at < 6, hermes.picture()
            typed += 1
            draft = "x" * typed
            hermes.type("x").wait_for(lambda seen, draft=draft: seen.draft == draft)
            hermes.stays(lambda seen: True, 0.15)
        assert time.monotonic() - server.requests[-1].at > 1.0
        assert hermes.draft == "x" * typed


def test_several_results_come_together(start: Start) -> None:
    go = threading.Event()
    answer = by_prompt(apples="about apples", pears="about pears", plums="about plums")

    def together(request: Recorded) -> Step:
        go.wait(10)
        return answer(request)

    with OpenAIServer(default=together) as server:
        hermes = start(server)
        for word in ("apples", "pears", "plums"):
            hermes.send(f"/bg {word}")
        hermes.wait_for(lambda _: len(server.bodies) == 3, why="three requests")
        # A key holds notices back for a second; within it all three end.
        hermes.type("x")
        go.set()
        seen_parts: set[int] = set()

        def all_there(seen: Terminal) -> bool:
            seen_parts.add(sum(f"about {word}" in seen.text for word in ("apples", "pears", "plums")))
            return 3 in seen_parts

        hermes.wait_for(all_there)
        assert seen_parts == {0, 3}


def test_a_long_result_is_cut_and_show_gives_all_of_it(start: Start) -> None:
    with OpenAIServer(["\n\n".join(f"paragraph {number}" for number in range(40))]) as server:
        hermes = start(server)
        send_aside(hermes, "write").wait_for("more lines")
        assert "paragraph 20" not in hermes.text
        hermes.send("/tasks show 1").wait_for("paragraph 39")


def test_a_failed_task_says_so(start: Start) -> None:
    with OpenAIServer(default=None) as server:
        hermes = start(server)
        send_aside(hermes, "look").wait_for("#1 failed · look").wait_for("the test server has no more")


def test_tasks_lists_shows_and_logs(start: Start, folder: Path) -> None:
    (folder / "a.txt").write_text("alpha\n")
    steps = {"read": [call("read_file", path="a.txt"), say("It says alpha.")], "slow": Stream(delay=30)}
    with OpenAIServer(default=by_prompt(**steps)) as server:
        hermes = start(server)
        hermes.send("/tasks").wait_for("No background tasks.")
        send_aside(hermes, "read a.txt").wait_for("#1 done")
        send_aside(hermes, "slow one", 2).wait_for(lambda _: len(server.bodies) == 3, why="the second one's request")
        hermes.send("/tasks").wait_for(
            lambda seen: any("#1" in line and "done" in line and "tok" in line for line in seen.lines)
        )
        hermes.wait_for(lambda seen: any("#2" in line and "running" in line for line in seen.lines))
        hermes.send("/tasks show 1").wait_for("● It says alpha.").wait_for("2 steps")
        hermes.send("/tasks log 1").wait_for("prompt    read a.txt").wait_for("tool      read_file a.txt")
        hermes.send("/agents 2").wait_for("› #2 slow one")
        hermes.send("/tasks show 9").wait_for("There is no task '9'.")
        hermes.send("/tasks frobnicate").wait_for("/tasks knows no 'frobnicate'.")
        hermes.type("/tasks stop ").wait_for("every live task")


def test_parked_tasks_are_counted_apart(start: Start, tmp_path: Path) -> None:
    with OpenAIServer(default=Stream(delay=30)) as server:
        hermes = start(server, columns=60)
        send_aside(hermes, "look")
        send_aside(hermes, "wait", 2)
        server.wait_for_requests(2)
        change(tmp_path, "UPDATE tasks SET state = 'parked', held = 1, worker = NULL WHERE number = 2")
        hermes.wait_for(lambda seen: "▶ 1 task ·" in seen.status and "1 parked" in seen.status)
        hermes.send("/tasks").wait_for(
            lambda seen: any(
                line.split()[:2] == ["#2", "parked"] and "thinking (step 1)" in line for line in seen.lines
            )
        )


def test_what_is_parked_until_a_person_says_so_keeps_nobody_and_is_named_at_the_next_start(start: Start) -> None:
    with OpenAIServer(default=shell("true")) as server:
        hermes = start(server)
        hermes.send("/yolo")
        send_aside(hermes, "--max-steps 1 look").wait_for("#1 needs you")
        hermes.send("/status").wait_for("0 live, 1 parked, 1 in all").press("ctrl+d")
        assert hermes.wait_for_exit(5) == 0
        again = start(server)
        again.wait_for("Parked: #1 · /tasks resume N").settle()
        assert "#1 needs you" not in again.text
        again.send("/yolo").send("/tasks resume 1").wait_for("#1 needs you").press("ctrl+d")
        assert again.wait_for_exit(5) == 0


def test_a_stopped_task_and_its_children_are_gone_and_it_announces_nothing(start: Start) -> None:
    with OpenAIServer(default=shell("sleep 77 & sleep 77")) as server:
        hermes = start(server)
        hermes.send("/yolo")
        send_aside(hermes, "sleep").wait_for(lambda seen: seen.runs("sleep 77"))
        hermes.send("/tasks stop 1").wait_for("Stopped #1.")
        hermes.wait_for(lambda seen: not seen.runs("sleep 77"), within=1.0, why="no process left")
        hermes.wait_for(lambda seen: "task" not in seen.status)
        hermes.stays(lambda seen: "#1 done" not in seen.text and "#1 failed" not in seen.text, 1.3)
        assert "#1 cancelled" not in hermes.text
        hermes.send("/tasks").wait_for("cancelled")


def test_stop_all_stops_all(start: Start) -> None:
    with OpenAIServer(default=Stream(delay=30)) as server:
        hermes = start(server)
        for number in (1, 2, 3):
            send_aside(hermes, f"task {number}", number)
        hermes.wait_for(lambda seen: "▶ 3 tasks" in seen.status)
        hermes.wait_for(lambda _: len(server.bodies) == 3, why="three requests")
        hermes.send("/tasks stop all").wait_for("Stopped #1, #2, #3.")
        hermes.wait_for(lambda seen: "task" not in seen.status)
        server.wait_for_hangups(3)


@pytest.mark.parametrize(("answer", "made"), [("approve", True), ("deny not there", False)])
def test_a_task_that_needs_an_approval_says_so_and_takes_no_key(
    start: Start, folder: Path, answer: str, made: bool
) -> None:
    with OpenAIServer([shell("touch made", delay=0.3), "over"]) as server:
        hermes = start(server)
        send_aside(hermes, "make it").type("y").wait_for("#1 needs you")
        hermes.wait_for("touch made").wait_for(lambda seen: "1 needs you" in seen.status)
        assert hermes.draft == "y"
        assert not (folder / "made").exists()
        hermes.press("ctrl+c")
        verb, _, reason = answer.partition(" ")
        hermes.send(f"/tasks {verb} 1 {reason}").wait_for("#1 done")
        hermes.wait_for(lambda seen: "needs you" not in seen.status)
        assert (folder / "made").exists() == made
        if reason:
            assert reason in json.dumps(server.bodies[1])


def test_a_log_is_followed_until_the_task_is_over(start: Start) -> None:
    steps = [Stream(text=("First.",), tools=(Tool("terminal", '{"command": "echo one"}'),)), say("Last.", delay=1.0)]
    with OpenAIServer(steps) as server:
        hermes = start(server)
        hermes.send("/yolo")
        send_aside(hermes, "do it").send("/tasks log 1 -f").wait_for("Following #1 until it is over")
        hermes.wait_for("tool      terminal echo one").wait_for("          Last.").wait_for("done      ")
        hermes.wait_for("#1 done · do it")
        assert hermes.count("tool      terminal echo one") == 1


def test_a_log_that_is_followed_ends_with_how_a_stopped_task_ended(start: Start) -> None:
    with OpenAIServer(default=shell("sleep 77")) as server:
        hermes = start(server)
        hermes.send("/yolo")
        send_aside(hermes, "look").wait_for(lambda seen: seen.runs("sleep 77"))
        hermes.send("/tasks log 1 -f").wait_for("Following #1").send("/tasks stop 1").wait_for("Stopped #1.")
        hermes.wait_for(lambda seen: any(line.startswith("cancelled") for line in seen.text.splitlines()))


def test_a_task_is_sent_again_by_its_name_and_then_forgotten(start: Start) -> None:
    with OpenAIServer(["one", "two"]) as server:
        hermes = start(server)
        hermes.send("/bg --name nightly --max-steps 3 run the tests").wait_for("#1 done · nightly")
        hermes.send("/tasks retry nightly").wait_for("▶ #2 bg_").wait_for("#2 done · nightly")
        hermes.send("/tasks prune 30").wait_for("There is nothing to forget.")
        hermes.settle(0.5).send("/tasks prune").wait_for("Forget 2 finished tasks").send("y").wait_for(
            "Forgot 2 tasks."
        )
        hermes.send("/tasks").wait_for("No background tasks.")


@pytest.mark.parametrize("line", ["--max-step 3 look", "--max-steps many look", "--timeout", "--max-cost=-1 look"])
def test_a_wrong_option_names_those_there_are_and_the_line_can_be_recalled(start: Start, line: str) -> None:
    hermes = start()
    hermes.send(f"/bg {line}").wait_for(lambda seen: "--model MODEL, --max-steps N" in seen.flat)
    hermes.press("up").wait_for(lambda seen: seen.draft == f"/bg {line}")
    hermes.press("ctrl+c").send("/tasks").wait_for("No background tasks.")


def test_options_and_the_tasks_a_command_is_for_are_completed(start: Start) -> None:
    with OpenAIServer(default=by_prompt(slow=Stream(delay=30), quick="over")) as server:
        hermes = start(server)
        hermes.type("/bg --max-s").press("tab").wait_for(lambda seen: seen.draft == "/bg --max-steps").press("ctrl+c")
        hermes.press("ctrl+c")
        send_aside(hermes, "quick one").wait_for("#1 done")
        send_aside(hermes, "slow one", 2)
        hermes.type("/tasks retry ").wait_for("done  quick one").press("ctrl+c", "ctrl+c")
        hermes.type("/tasks steer ").wait_for("running  slow one")


def test_tasks_that_end_together_are_one_notice(start: Start) -> None:
    with OpenAIServer(default=by_prompt(alpha=say("A", delay=1.0), beta=say("B", delay=1.0))) as server:
        hermes = start(server)
        hermes.send("/bg alpha").send("/bg beta").wait_for("2 tasks are over")
        assert "#1 done · alpha" in hermes.text
        assert "#2 done · beta" in hermes.text
        assert hermes.count("╭─") == 1


def test_background_without_a_prompt_explains_itself(start: Start) -> None:
    hermes = start()
    for name in ("/background", "/bg"):
        hermes.send(name).wait_for(lambda seen: seen.draft == "")
    hermes.wait_for(lambda seen: seen.count("Usage: /background <prompt>") == 2).wait_for("Example: /background ")


def test_a_bare_reserved_word_shows_the_tasks_and_two_dashes_send_it(start: Start) -> None:
    with OpenAIServer(["the status is fine"]) as server:
        hermes = start(server)
        hermes.send("/bg status").wait_for("That is /tasks.").wait_for("No background tasks.")
        assert server.bodies == []
        hermes.send("/bg -- status").wait_for("#1 bg_").wait_for("the status is fine")
        assert server.bodies[0]["messages"][-1]["content"] == "status"


def test_a_fifth_task_is_visibly_queued_until_there_is_room(start: Start) -> None:
    with OpenAIServer(default=Stream(delay=30)) as server:
        hermes = start(server)
        for number in range(1, 6):
            send_aside(hermes, f"task {number}", number)
        hermes.wait_for(lambda _: len(server.bodies) == 4)
        hermes.send("/tasks").wait_for(lambda seen: any("#5" in line and "queued" in line for line in seen.lines))
        assert any("#4" in line and "running" in line for line in hermes.lines)
        hermes.send("/tasks stop 1").wait_for(lambda _: len(server.bodies) == 5)
        hermes.send("/tasks").wait_for(lambda seen: any("#5" in line and "running" in line for line in seen.lines))


def test_a_turn_and_a_task_run_side_by_side(start: Start) -> None:
    with OpenAIServer(default=by_prompt(slow=say("slow is over", delay=1.5), quick="quick is over")) as server:
        hermes = start(server)
        send_aside(hermes, "slow one")
        hermes.send("quick one").wait_for("● quick is over")
        assert "slow is over" not in hermes.text
        hermes.wait_for("slow is over")


# -- leaving ---------------------------------------------------------------------------------------


def test_ctrl_d_leaves_on_an_empty_draft_only(start: Start) -> None:
    hermes = start()
    hermes.type("ab").press("left", "ctrl+d").wait_for(lambda seen: seen.draft == "a")
    hermes.press("ctrl+d").settle()
    assert hermes.draft == "a"
    hermes.press("backspace").wait_for(lambda seen: seen.draft == "").press("ctrl+d")
    assert hermes.wait_for_exit() == 0


def test_leaving_with_live_tasks_asks_and_stay_stays(start: Start) -> None:
    with OpenAIServer(default=Stream(delay=30)) as server:
        hermes = start(server)
        send_aside(hermes, "look").wait_for("▶ 1 task").press("ctrl+d").wait_for("Not everything is over:")
        hermes.wait_for("K keep running, leave at").send("n")
        hermes.wait_for(lambda seen: "everything is over" not in seen.text).wait_for(
            lambda seen: "▶ 1 task" in seen.status
        )
        hermes.type("still here").wait_for(lambda seen: seen.draft == "still here")


def test_leaving_right_after_sending_a_task_asks_about_it(start: Start) -> None:
    with OpenAIServer(default=Stream(delay=30)) as server:
        hermes = start(server)
        hermes.type("/bg look").wait_for(lambda seen: seen.draft == "/bg look")
        hermes.type("\r\x04").wait_for("Not everything is over:").wait_for("  #1 ").send("s")
        assert hermes.wait_for_exit(5) == 0


def test_what_was_sent_just_before_the_terminal_went_is_stored(start: Start, tmp_path: Path) -> None:
    with OpenAIServer(default=by_prompt(look="found it")) as server:
        hermes = start(server, "-m", "test-model")
        hermes.send("/tasks").wait_for("No background tasks.")
        with other_writer(tmp_path):
            hermes.send("/bg look").wait_for("› /bg look").send("/bg look again").wait_for("› /bg look again")
            hermes.process.send_signal(signal.SIGTERM)
            hermes.stays(lambda seen: seen.process.poll() is None, 0.3)
        hermes.process.wait(10)
        again = start(server).wait_for(lambda seen: seen.count("done · look") == 2, within=30)
        assert "look again" in again.text


def test_a_conversation_that_cannot_be_opened_does_not_keep_the_next_prompt_waiting(
    start: Start, tmp_path: Path
) -> None:
    with OpenAIServer(default=by_prompt(make=shell("touch made"), hello="Hello!")) as server:
        hermes = start(server)
        send_aside(hermes, "make it").wait_for("#1 needs you")
        change(tmp_path, "CREATE TRIGGER never BEFORE UPDATE ON tasks BEGIN SELECT RAISE(ABORT, 'never'); END")
        hermes.send("/tasks open 1").wait_for("never")
        change(tmp_path, "DROP TRIGGER never")
        hermes.send("hello").wait_for("Hello!")


@pytest.mark.parametrize("how", ["kill", "come back"])
def test_a_result_counts_as_told_when_it_stands_above_the_prompt(start: Start, tmp_path: Path, how: str) -> None:
    editor, go = tmp_path / "editor", tmp_path / "go"
    editor.write_text(f"#!/bin/sh\nwhile [ ! -e {go} ]; do sleep 0.1; done\n")
    editor.chmod(0o755)
    with OpenAIServer(default=by_prompt(look=say("found it", delay=1.0))) as server:
        hermes = start(server, env={"EDITOR": str(editor)})
        send_aside(hermes, "look").press("ctrl+g").wait_for(lambda seen: seen.runs(str(editor)))
        hermes.wait_for(lambda _: told(tmp_path) == "sending").stays(lambda _: told(tmp_path) == "sending", 0.6)
        if how == "kill":
            hermes.process.kill()
            hermes.process.wait(10)
            start(server).wait_for("#1 done · look")
        else:
            go.touch()
            hermes.wait_for("#1 done · look").wait_for(lambda _: told(tmp_path) == "told")


def told(tmp_path: Path) -> str:
    """How far the only task's outcome is."""
    with contextlib.closing(sqlite3.connect(database(tmp_path))) as connection:
        return "".join(state for (state,) in connection.execute("SELECT state FROM deliveries"))


def test_looking_for_what_others_left_draws_nothing(start: Start) -> None:
    hermes = start()
    hermes.send("/tasks").wait_for("No background tasks.").settle(6.0)


@pytest.mark.parametrize("how", ["ctrl+d", "hang up"])
def test_a_store_that_cannot_be_read_keeps_nobody_from_leaving(start: Start, tmp_path: Path, how: str) -> None:
    with OpenAIServer(default=shell("sleep 77")) as server:
        hermes = start(server)
        hermes.send("/yolo").send("go").wait_for(lambda seen: seen.runs("sleep 77"))
        children = hermes.family()
        change(tmp_path, "ALTER TABLE tasks RENAME TO gone")
        if how == "hang up":
            hermes.hang_up()
        else:
            hermes.press("ctrl+d").wait_for("Not everything is over:").send("s")
        hermes.wait_until_gone(children, within=6)


def test_a_terminal_that_dies_leaves_its_tasks_to_one_that_runs(start: Start) -> None:
    with OpenAIServer(default=by_prompt(work=[shell("sleep 0.5; echo one"), say("it is over", delay=0.5)])) as server:
        other = start(server)
        other.send("/tasks").wait_for("No background tasks.")
        hermes = start(server)
        hermes.send("/yolo")
        send_aside(hermes, "work").wait_for(lambda _: server.bodies, why="a request")
        hermes.process.kill()
        hermes.process.wait(10)
        other.wait_for("#1 done · work", within=30).settle()
        assert other.count("#1 done · work") == 1


def change(tmp_path: Path, statement: str) -> None:
    """Something happens to the store that another process did."""
    with contextlib.closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as connection:
        connection.execute(statement)


def database(tmp_path: Path) -> Path:
    return next((tmp_path / "hermes").rglob("*.db"))


@contextlib.contextmanager
def other_writer(tmp_path: Path) -> Iterator[None]:
    """Another process writes all the while."""
    with contextlib.closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def test_leaving_can_stop_the_tasks(start: Start) -> None:
    with OpenAIServer(default=shell("sleep 77")) as server:
        hermes = start(server)
        hermes.send("/yolo")
        send_aside(hermes, "look").wait_for(lambda seen: seen.runs("sleep 77"))
        children = hermes.family()
        hermes.send("/quit").wait_for("Not everything is over:").send("s")
        assert hermes.wait_for_exit(5) == 0
        hermes.wait_until_gone(children)


def test_leaving_can_wait_for_the_tasks(start: Start) -> None:
    with OpenAIServer([say("the last word", delay=1.0)]) as server:
        hermes = start(server)
        send_aside(hermes, "look").press("ctrl+d").wait_for("Not everything is over:").send("w")
        assert hermes.wait_for_exit() == 0
        assert "the last word" in hermes.text


def refuse_new(tmp_path: Path, table: str) -> None:
    """The disk takes no more of these rows."""
    change(tmp_path, f"CREATE TRIGGER full BEFORE INSERT ON {table} BEGIN SELECT RAISE(FAIL, 'full'); END")


def test_what_is_not_on_the_disk_is_waited_for_unless_the_person_says_otherwise(start: Start, tmp_path: Path) -> None:
    with OpenAIServer(default=by_prompt(work=shell("sleep 77"), hi="hello there")) as server:
        hermes = start(server)
        hermes.send("/yolo")
        send_aside(hermes, "work").wait_for(lambda seen: seen.runs("sleep 77"))
        refuse_new(tmp_path, "messages")
        hermes.send("hi").wait_for("● hello there").press("ctrl+d").wait_for("3 messages are not on the disk yet")
        change(tmp_path, "DROP TRIGGER full")
        hermes.wait_for("W wait, then leave").send("w").wait_for("the conversation is on the disk")
        assert hermes.process.poll() is None
        hermes.send("/quit").wait_for("K keep running").send("s")
        assert hermes.wait_for_exit(5) == 0


def test_a_conversation_that_was_never_stored_has_no_way_back(start: Start, tmp_path: Path) -> None:
    with OpenAIServer(["hello there"]) as server:
        hermes = start(server)
        hermes.send("/tasks").wait_for("No background tasks.")
        refuse_new(tmp_path, "sessions")
        hermes.send("hi").wait_for("● hello there").press("ctrl+d").wait_for("are not on the disk yet").send("s")
        assert hermes.wait_for_exit(5) == 0
        assert "never on the disk" in hermes.text
        assert "To go on" not in hermes.text


def test_leaving_waits_for_nothing_that_cannot_be_told(start: Start, tmp_path: Path) -> None:
    with OpenAIServer([say("the last word", delay=1.5)]) as server:
        hermes = start(server)
        send_aside(hermes, "look").press("ctrl+d").wait_for("Not everything is over:")
        change(tmp_path, "CREATE TRIGGER never BEFORE UPDATE ON deliveries BEGIN SELECT RAISE(ABORT, 'never'); END")
        hermes.send("w")
        assert hermes.wait_for_exit() == 0


def test_leaving_names_the_commands_that_end_with_it(start: Start) -> None:
    with OpenAIServer([call("terminal", command="sleep 66", background=True), Stream(delay=30)]) as server:
        hermes = start(server)
        hermes.send("/yolo").send("go").wait_for(lambda seen: seen.runs("sleep 66"))
        server.wait_for_requests(2)
        hermes.press("ctrl+d").wait_for("ends with Hermes: sleep 66").send("s")
        assert hermes.wait_for_exit(5) == 0


@pytest.mark.parametrize("command", ["sleep 77", "trap '' TERM; while true; do sleep 77; done"])
def test_leaving_in_the_middle_of_a_turn_leaves_nothing_behind(start: Start, command: str) -> None:
    with OpenAIServer([shell(command)]) as server:
        hermes = start(server)
        hermes.send("/yolo").send("go").wait_for(lambda seen: seen.runs("sleep 77"))
        children = hermes.family()
        hermes.press("ctrl+d").wait_for("Not everything is over:").send("s")
        assert hermes.wait_for_exit(5) == 0
        hermes.wait_until_gone(children)


def test_a_shell_command_that_a_signal_ended_says_so_and_a_bare_mark_explains_itself(start: Start) -> None:
    hermes = start()
    hermes.send("!").wait_for("! runs a shell command as yourself").wait_for("!git status")
    hermes.send("!kill -TERM $$").wait_for("ended by signal 15 (SIGTERM)")
    hermes.send("!exit 3").wait_for("exit 3")


def test_leaving_stops_a_shell_command_of_the_person(start: Start) -> None:
    hermes = start()
    hermes.send("!sleep 77").wait_for(lambda seen: seen.runs("sleep 77"))
    children = hermes.family()
    hermes.press("ctrl+d").wait_for("Not everything is over:").send("s")
    assert hermes.wait_for_exit(5) == 0
    hermes.wait_until_gone(children)


def test_a_detached_turn_goes_on_as_a_task_and_the_prompt_is_free(start: Start) -> None:
    steps = {"long": [shell("sleep 1.5; echo one"), "the long one is over"], "short": "the short answer"}
    with OpenAIServer(default=by_prompt(**steps)) as server:
        hermes = start(server)
        hermes.send("/yolo").send("a long job").wait_for(lambda seen: seen.runs("sleep 1.5"))
        hermes.send("/detach").wait_for("It goes on aside after its next step.").wait_for("aside when its step is done")
        hermes.send("a short one").wait_for("● the short answer")
        hermes.wait_for("▶ #1 bg_").wait_for("#1 done · a long job").wait_for("the long one is over")
        hermes.wait_for(lambda seen: "aside when its step" not in "\n".join(seen.visible))
        assert len(server.bodies) == 3
        assert json.dumps(server.bodies).count("sleep 1.5; echo one") == 1
        assert [m["role"] for m in server.bodies[1]["messages"]] == ["system", "user"]


def test_a_detached_turn_that_waits_for_an_answer_asks_it_as_a_task(start: Start, folder: Path) -> None:
    with OpenAIServer([shell("touch made"), "over"]) as server:
        hermes = start(server)
        hermes.send("make it").wait_for("terminal wants to run").send("/detach").wait_for("#1 needs you")
        hermes.wait_for(lambda seen: "? terminal wants" not in seen.text)
        hermes.send("/tasks approve 1").wait_for("#1 done")
        assert (folder / "made").exists()


def test_a_detached_turn_that_needs_an_answer_later_asks_it_as_a_task(start: Start, folder: Path) -> None:
    slow = shell("touch made", delay=1.5)
    with OpenAIServer([slow, "over"]) as server:
        hermes = start(server).send("make it")
        server.wait_for_requests(1)
        hermes.send("/detach").wait_for("It goes on aside").wait_for("#1 needs you")
        hermes.send("/tasks approve 1").wait_for("#1 done")
        assert (folder / "made").exists()


def test_a_line_for_the_new_conversation_is_not_read_by_the_turn_that_was_detached(start: Start) -> None:
    steps = {"long": [shell("sleep 2.5"), "the long one"], "short": [shell("sleep 0.1", delay=2.0), "the short one"]}
    with OpenAIServer(default=by_prompt(**steps)) as server:
        hermes = start(server)
        hermes.send("/yolo").send("a long job").wait_for(lambda seen: seen.runs("sleep 2.5"))
        hermes.send("/detach").wait_for("It goes on aside")
        hermes.send("a short one")
        server.wait_for_requests(2)
        hermes.send("be brief").wait_for("the short one").wait_for("#1 done")
        read = [body["messages"] for body in server.bodies if "be brief" in json.dumps(body["messages"])]
        assert read
        assert all("a short one" in json.dumps(messages) for messages in read)


@pytest.mark.parametrize("asks", [True, False], ids=["while it asks", "while it works"])
def test_what_was_queued_behind_a_turn_goes_with_it(start: Start, asks: bool) -> None:
    steps = [shell("touch made" if asks else "sleep 1.5"), "all is over"]
    with OpenAIServer(default=by_prompt(long=steps, short="the short answer")) as server:
        hermes = start(server)
        if not asks:
            hermes.send("/yolo")
        hermes.send("a long job").wait_for(
            lambda seen: "? terminal wants" in seen.text if asks else seen.runs("sleep 1.5")
        )
        hermes.type("and then this").press("tab").wait_for("queued: and then this")
        hermes.send("/detach").wait_for("It is told the 1 line that waited.")
        hermes.wait_for(lambda seen: "queued:" not in seen.text).send("a short one").wait_for("the short answer")
        if asks:
            hermes.wait_for("#1 needs you").send("/tasks approve 1")
        hermes.wait_for("#1 done · a long job").wait_for("all is over")
        said = [[m["content"] for m in body["messages"] if m["role"] == "user"] for body in server.bodies]
        assert ["a long job", "and then this"] in said
        assert ["a short one"] in said


def test_a_detached_turn_takes_its_commands_and_its_log_along(start: Start) -> None:
    with OpenAIServer(
        [
            call("terminal", command="sleep 66", background=True),
            shell("sleep 1.5"),
            shell("sleep 2"),
            "all is over",
        ]
    ) as server:
        hermes = start(server)
        hermes.send("/yolo").send("a long job").wait_for(lambda seen: seen.runs("sleep 1.5"))
        hermes.send("/detach").wait_for("1 command in the background goes with it.")
        hermes.wait_for(lambda seen: seen.runs("sleep 2") and seen.runs("sleep 66")).wait_for("#1 done · a long job")
        hermes.send("/tasks log 1").wait_for("prompt    a long job").wait_for("terminal sleep 1.5").wait_for("resumed")
        assert hermes.text.index("prompt    a long job") < hermes.text.index("tool      terminal sleep 66")
        hermes.wait_for(lambda seen: not seen.runs("sleep 66"))


@pytest.mark.parametrize("how", ["/stop", "/tasks stop all", "Esc"])
def test_a_turn_that_is_about_to_go_aside_is_listed_and_can_be_stopped(start: Start, how: str) -> None:
    with OpenAIServer(default=shell("sleep 77")) as server:
        hermes = start(server)
        hermes.send("/yolo").send("a long job").wait_for(lambda seen: seen.runs("sleep 77"))
        hermes.send("/detach").wait_for("/stop ends it until then.")
        hermes.send("/tasks").wait_for("aside after: terminal sleep 77")
        _ = hermes.press("esc") if how == "Esc" else hermes.send(how)
        hermes.wait_for(lambda seen: not seen.runs("sleep 77"), within=3)
        hermes.wait_for("The detached turn is cancelled · a long job")
        hermes.send("/tasks").wait_for("No background tasks.").press("ctrl+d")
        assert hermes.wait_for_exit(5) == 0
    assert "No turn is running" not in hermes.text


def test_a_detached_turn_is_kept_running_when_the_person_leaves(start: Start, folder: Path) -> None:
    steps = [shell("while [ ! -e go ]; do sleep 0.05; done"), say("it is over")]
    with OpenAIServer(default=by_prompt(work=steps)) as server:
        hermes = start(server)
        hermes.send("/yolo").send("work").wait_for(lambda seen: seen.runs("! -e go"))
        hermes.send("/detach").wait_for("It goes on aside after its next step.")
        hermes.press("ctrl+d").wait_for("K keep running").send("k").wait_for("letting go of the turn: terminal while")
        (folder / "go").touch()
        assert hermes.wait_for_exit() == 0
        assert "1 task goes on: hermes tasks" in hermes.text
        start(server).wait_for("#1 done · work", within=30).wait_for("it is over")


def test_without_a_turn_there_is_nothing_to_detach(start: Start) -> None:
    start().send("/detach").wait_for("No turn is running.")


def test_a_finished_task_is_opened_as_the_conversation(start: Start) -> None:
    with OpenAIServer(["found three", "the first is a.py"]) as server:
        hermes = start(server)
        send_aside(hermes, "find them").wait_for("#1 done")
        hermes.send("/tasks open 1").wait_for("/detach sends a turn aside again").wait_for("Resumed: ")
        hermes.send("which is the first?").wait_for("● the first is a.py")
        said = [message["content"] for message in server.bodies[1]["messages"]][1:]
        assert said == ["find them", "found three", "which is the first?"]


def test_a_running_task_is_opened_after_its_step(start: Start) -> None:
    with OpenAIServer([shell("sleep 1.2; echo one"), "it is over"]) as server:
        hermes = start(server)
        hermes.send("/yolo")
        send_aside(hermes, "work").wait_for(lambda seen: seen.runs("sleep 1.2"))
        hermes.send("/tasks open 1").wait_for("#1 comes here after its next step.")
        hermes.wait_for("● it is over")
        assert "did not come to its end" not in hermes.text
        assert "#1 done" not in hermes.text
        assert len(server.bodies) == 2
        hermes.send("/tasks").wait_for("cancelled").wait_for("went on as session")
        hermes.send("/tasks log 1").wait_for(lambda seen: seen.count("went on as session") == 2)


# -- leaving and coming back ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["hang up", "kill"])
def test_a_task_outlives_its_terminal(start: Start, how: str) -> None:
    with OpenAIServer(default=by_prompt(work=[shell("sleep 0.5; echo one"), say("it is over", delay=0.5)])) as server:
        hermes = start(server)
        hermes.send("/yolo")
        send_aside(hermes, "work").wait_for(lambda _: server.bodies, why="a request")
        if how == "kill":
            hermes.process.kill()
        else:
            hermes.hang_up()
        hermes.process.wait(10)
        again = start(server)
        again.wait_for("#1 done · work", within=30).settle()
        assert again.count("#1 done · work") == 1
        third = start(server)
        third.settle(0.6)
        assert "#1 done" not in third.text


def test_what_was_not_told_is_told_at_the_next_start_once(start: Start) -> None:
    with OpenAIServer([say("the result", delay=1.0)]) as server:
        hermes = start(server)
        send_aside(hermes, "work").wait_for(lambda _: server.bodies, why="a request")
        hermes.press("ctrl+d").wait_for("K keep running").send("k")
        assert hermes.wait_for_exit() == 0
        start(server).wait_for("#1 done · work", within=30)


@pytest.mark.parametrize("aside", [True, False], ids=["task", "turn"])
def test_keeping_work_lets_the_command_that_runs_come_to_its_end(start: Start, folder: Path, aside: bool) -> None:
    steps = [shell("while [ ! -e go ]; do sleep 0.05; done; echo built > made"), say("it is over", delay=0.5)]
    with OpenAIServer(default=by_prompt(work=steps)) as server:
        hermes = start(server)
        hermes.send("/yolo").send("/bg work" if aside else "work").wait_for(lambda seen: seen.runs("! -e go"))
        hermes.press("ctrl+d").wait_for("K keep running").send("k")
        hermes.wait_for(f"letting go of {'#1' if aside else 'the turn'}: terminal while")
        hermes.stays(lambda seen: seen.runs("! -e go"), 3.0)
        (folder / "go").touch()
        assert hermes.wait_for_exit() == 0
        assert (folder / "made").read_text() == "built\n"
        assert "1 task goes on: hermes tasks" in hermes.text
        start(server).wait_for("#1 done · work", within=30).wait_for("it is over")
        assert "outcome unknown" not in json.dumps(server.bodies)


def test_who_stays_after_all_goes_on_with_what_was_let_go_of(start: Start, folder: Path) -> None:
    steps = [shell("while [ ! -e go ]; do sleep 0.05; done"), say("it is over")]
    with OpenAIServer(default=by_prompt(work=steps)) as server:
        hermes = start(server)
        hermes.send("/yolo")
        send_aside(hermes, "work").wait_for(lambda seen: seen.runs("! -e go"))
        hermes.press("ctrl+d").wait_for("K keep running").send("k").wait_for("letting go of #1")
        hermes.press("ctrl+d").wait_for("K keep running").send("n")
        hermes.wait_for(lambda seen: "letting go" not in seen.text)
        (folder / "go").touch()
        hermes.wait_for("#1 done · work").wait_for("it is over")


@pytest.mark.parametrize("how", ["window closed", "SIGTERM"])
def test_a_turn_outlives_its_terminal_as_a_task(start: Start, folder: Path, how: str) -> None:
    steps = [shell("echo once >> made; sleep 0.7"), say("it is over", delay=0.5)]
    with OpenAIServer(default=by_prompt(work=steps)) as server:
        hermes = start(server)
        hermes.send("/yolo").send("work").wait_for(lambda seen: seen.runs("sleep 0.7"))
        if how == "window closed":
            hermes.hang_up()
        else:
            hermes.process.send_signal(signal.SIGTERM)
        assert hermes.process.wait(5) in (0, 120), "120: Python could not flush to a terminal that has gone"
        start(server).wait_for("#1 done · work", within=30).wait_for("it is over")
        assert (folder / "made").read_text() == "once\n"


@pytest.mark.parametrize("how", ["SIGHUP", "SIGTERM"])
def test_what_is_cut_off_by_the_end_of_the_terminal_goes_on_with_an_unknown_outcome(start: Start, how: str) -> None:
    with OpenAIServer(
        default=by_prompt(work=[shell("sleep 77"), "it is over"], turn=[shell("sleep 78"), "so is this"])
    ) as server:
        hermes = start(server)
        hermes.send("/yolo")
        send_aside(hermes, "work").send("turn").wait_for(lambda seen: seen.runs("sleep 77") and seen.runs("sleep 78"))
        children = hermes.family()
        hermes.process.send_signal(signal.Signals[how])
        assert hermes.process.wait(5) == 0
        hermes.wait_until_gone(children)
        start(server).wait_for("it is over", within=30).wait_for("so is this", within=30)
        ends = [body["messages"][-1] for body in server.bodies if body["messages"][-1]["role"] == "tool"]
        assert len(ends) == 2
        assert all("outcome unknown" in end["content"] for end in ends)


def test_a_notice_that_may_not_have_been_seen_comes_again_and_says_so(start: Start, folder: Path) -> None:
    go = threading.Event()

    def when_asked(_: Recorded) -> Step:
        go.wait(10)
        return say("the result")

    with OpenAIServer(default=when_asked) as server:
        hermes = start(server)
        send_aside(hermes, "work").wait_for(lambda _: server.bodies, why="a request")
        with contextlib.closing(sqlite3.connect(folder.parent / "hermes" / "state" / "state.db")) as database:

            def in_hand(seen: Terminal) -> bool:
                # Keys hold the notice back until nobody can write that it was told.
                seen.type("x")
                return database.execute("SELECT state FROM deliveries").fetchall() == [("sending",)]

            go.set()
            hermes.wait_for(in_hand)
            database.execute("BEGIN IMMEDIATE")
            hermes.wait_for("#1 done · work")
            assert "may be a repeat" not in hermes.text
            hermes.settle()
            hermes.process.kill()
            hermes.process.wait(10)
        start(server).wait_for("#1 done · work").wait_for("may be a repeat")
        third = start(server)
        third.settle(0.6)
        assert "#1 done" not in third.text


def test_tasks_typed_at_once_tells_what_an_earlier_terminal_left(start: Start) -> None:
    with OpenAIServer(default=Stream(delay=60)) as server:
        hermes = start(server)
        send_aside(hermes, "work").wait_for(lambda _: server.bodies, why="a request")
        hermes.process.kill()
        hermes.process.wait(10)
        again = start(server, ready=False)
        again.type("/tasks\r").wait_for(lambda seen: any("#1" in line and "work" in line for line in seen.lines))
        assert "No background tasks" not in again.text


def test_a_task_that_a_worker_runs_is_opened_after_its_step(start: Start) -> None:
    with OpenAIServer([shell("sleep 77"), shell("sleep 2; echo one"), "it is over"]) as server:
        hermes = start(server)
        hermes.send("/yolo")
        send_aside(hermes, "work").wait_for(lambda seen: seen.runs("sleep 77"))
        hermes.press("ctrl+d").wait_for("K keep running").send("k")
        hermes.wait_for("letting go of #1: terminal sleep 77 · Ctrl+C leaves now").press("ctrl+c")
        assert hermes.wait_for_exit() == 0
        again = start(server, "--yolo")
        again.wait_for(lambda _: len(server.bodies) == 2, why="the worker's request")
        again.send("/tasks open 1").wait_for("#1 comes here after its next step.")
        again.wait_for("● it is over")
        again.settle()
        assert "#1 done" not in again.text
        assert len(server.bodies) == 3


def test_who_leaves_is_not_asked_about_what_a_worker_runs_and_it_goes_on(start: Start) -> None:
    go = threading.Event()

    def second(_: Recorded) -> Step:
        go.wait(30)
        return say("it is over")

    with OpenAIServer([shell("sleep 77"), second]) as server:
        hermes = start(server)
        hermes.send("/yolo")
        send_aside(hermes, "work").wait_for(lambda seen: seen.runs("sleep 77"))
        hermes.press("ctrl+d").wait_for("K keep running").send("k").wait_for("letting go of #1").press("ctrl+c")
        assert hermes.wait_for_exit() == 0
        again = start(server)
        again.wait_for(lambda _: len(server.bodies) == 2, why="the worker's request").wait_for("▶ 1 task")
        again.press("ctrl+d").wait_for("1 task goes on: hermes tasks")
        assert again.wait_for_exit() == 0
        assert "Not everything is over" not in again.text
        third = start(server).wait_for("▶ 1 task")
        third.send("!sleep 30").wait_for("a shell command runs").press("ctrl+d").wait_for("Not everything is over")
        third.send("s").wait_for("1 task goes on: hermes tasks")
        assert third.wait_for_exit() == 0
        go.set()
        start(server).wait_for("#1 done · work").wait_for("it is over")


def test_a_task_that_asks_is_answered_from_here(start: Start) -> None:
    ask = call("ask_user", question="Which database?", choices=["PostgreSQL", "SQLite"])
    with OpenAIServer([ask, "over"]) as server:
        hermes = start(server)
        send_aside(hermes, "set it up").wait_for("#1 needs you").wait_for("/tasks answer 1 <answer>")
        hermes.send("/tasks approve 1").wait_for("#1 asks a question: Which database?")
        hermes.send("/tasks answer 1 2").wait_for("Answered for #1: Which database?").wait_for("#1 done")
        assert "their own words" in json.dumps(server.bodies[1])
        assert server.bodies[1]["messages"][-1]["content"].endswith("SQLite")


def test_what_a_task_did_to_the_folder_is_shown_and_put_back_but_for_what_was_edited_since(
    start: Start, folder: Path
) -> None:
    tools = tuple(Tool("write_file", json.dumps({"path": f"{name}.txt", "content": "task\n"})) for name in "ab")
    with OpenAIServer([Stream(tools=tools), say("Both are there.")]) as server:
        hermes = start(server, "--yolo")
        send_aside(hermes, "aside").wait_for("Both are there.")
        (folder / "b.txt").write_text("mine\n")
        hermes.send("/tasks diff 1").wait_for("+++ b/a.txt").wait_for("+mine")
        hermes.send("/tasks rollback 1 a.txt").wait_for("Put 1 file back as before “aside”?").settle(0.6)
        hermes.send("y").wait_for("Put back: a.txt.")
        assert [path.name for path in folder.iterdir()] == ["b.txt"]
        hermes.send("/tasks rollback 1").wait_for("b.txt  (edited since)").settle(0.6)
        hermes.send("o").wait_for("Put back: b.txt.")
        assert not list(folder.iterdir())
        hermes.send("/tasks rollback 1").wait_for("There is nothing to put back.")
