"""Plain lines through a pipe: the same session and commands, no cursor movement, no question left hanging."""

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.commands import commands_for
from tests.cli.conftest import Run
from tests.support.openai_server import OpenAIServer, Recorded, Step, call


def lines(*text: str) -> str:
    return "".join(f"{line}\n" for line in text)


def test_help_lists_every_command_by_category(run: Run) -> None:
    done = run("--plain", input="/help\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    for command in commands_for("terminal"):
        assert f"/{command.name}" in done.stdout
    assert "Session" in done.stdout


def test_lines_are_taken_one_turn_at_a_time_and_the_conversation_goes_on(run: Run, at: Any) -> None:
    with OpenAIServer(["First answer.", "Second answer."]) as server:
        done = run("--plain", input=lines("one", "two"), env=at(server))
    assert done.returncode == 0
    assert done.stdout.index("First answer.") < done.stdout.index("Second answer.")
    asked = [message["content"] for message in server.bodies[-1]["messages"]]
    assert asked[1:] == ["one", "First answer.", "two"]


def test_the_prompt_of_the_command_line_is_the_first_turn(run: Run, at: Any) -> None:
    with OpenAIServer(["First answer.", "Second answer."]) as server:
        run("--plain", "one", input=lines("two"), env=at(server))
    assert [message["content"] for message in server.bodies[-1]["messages"]][1:] == ["one", "First answer.", "two"]


def test_a_change_nobody_can_approve_is_declined_and_shown(run: Run, at: Any, work: Path) -> None:
    with OpenAIServer([call("write_file", path="a.txt", content="x"), "As you wish."]) as server:
        done = run("--plain", input=lines("write it"), env=at(server))
    assert done.returncode == 0
    assert "write_file wants to change" in done.stdout
    assert "As you wish." in done.stdout
    assert "nobody is there" in server.bodies[-1]["messages"][-1]["content"]
    assert not (work / "a.txt").exists()


def test_a_background_task_is_acknowledged_and_its_result_is_told_before_leaving(run: Run, at: Any) -> None:
    def answer(request: Recorded) -> Step:
        return f"You said {request.body['messages'][-1]['content']}."

    with OpenAIServer(default=answer) as server:
        done = run("--plain", input=lines("/background look aside", "hello", "/bg and again"), env=at(server))
    assert done.returncode == 0
    assert "#1 bg_" in done.stdout
    assert "#2 bg_" in done.stdout
    for said in ("look aside", "hello", "and again"):
        assert f"You said {said}." in done.stdout
    assert done.stdout.count("You said look aside.") == 1
    for body in server.bodies:
        assert len(body["messages"]) == 2, "a task knows nothing of the conversation, nor it of the task"


def test_a_background_task_that_needs_an_answer_is_refused_at_the_end(run: Run, at: Any, work: Path) -> None:
    with OpenAIServer([call("write_file", path="a.txt", content="x"), "Then not."]) as server:
        done = run("--plain", input=lines("/bg write it"), env=at(server))
    assert done.returncode == 0
    assert "#1 needs you" in done.stdout
    assert "Then not." in done.stdout
    assert not (work / "a.txt").exists()


def test_the_persons_own_shell_command_runs_and_the_model_never_sees_it(run: Run, at: Any) -> None:
    with OpenAIServer(["Hello."]) as server:
        done = run("--plain", input=lines("!echo over $((40+2)); exit 3", "hi"), env=at(server))
    assert "over 42" in done.stdout
    assert "exit 3" in done.stdout
    assert [message["role"] for message in server.bodies[0]["messages"]] == ["system", "user"]


WRONG = {
    "/hlep": "Did you mean /help?",
    "/background": "Usage: /background",
    "/tasks stop": "Usage: /tasks stop N",
    "/tasks stop 7": "There is no task '7'",
    "/tasks frobnicate": "knows no",
    "/config modell": "modell",
    "/approvals never": "never",
    "/queue": "Usage: /queue",
    "/steer": "Usage: /steer",
    "/stop": "No turn is running",
    "/copy": "no answer",
    "/history x": "no number",
    "/yolo maybe": "neither on nor off",
    "/help xyzzy": "No command is about",
}


def test_a_command_given_wrongly_says_how_it_is_right(run: Run) -> None:
    done = run("--plain", input=lines(*WRONG))
    assert done.returncode == 0
    _greeting, *answers = done.stdout.split("\n› ")
    assert len(answers) == len(WRONG)
    for (line, told), answer in zip(WRONG.items(), answers, strict=True):
        assert told in answer.removeprefix(line), answer


def test_every_command_that_takes_nothing_works(run: Run) -> None:
    not_alone = ["background", "btw", "queue", "steer", "stop", "copy", "quit", "doctor"]
    not_alone += [
        "detach",
        "compress",
        "save",
        "retry",
        "undo",
        "branch",
        "resume",
        "search",
        "export",
        "diff",
        "rollback",
        "handoff",
        "paste",
        "rewind",
    ]
    names = [command.name for command in commands_for("terminal") if command.name not in not_alone]
    done = run("--plain", input=lines(*(f"/{name}" for name in names), "/tasks", "/quit"))
    assert (done.returncode, done.stderr) == (0, "")
    for trouble in ("Traceback", "could not show", "✗"):
        assert trouble not in done.stdout


def test_settings_are_switched_for_the_session(run: Run, at: Any, work: Path) -> None:
    with OpenAIServer([call("write_file", path="a.txt", content="x"), "Done."]) as server:
        done = run("--plain", input=lines("/approvals edits", "write it", "/status"), env=at(server))
    assert (work / "a.txt").read_text() == "x"
    assert "edits" in done.stdout


def test_quit_in_a_pipe_leaves_the_lines_after_it_alone(run: Run) -> None:
    done = run("--plain", input="/version\n/quit\n/never reached\n")
    assert done.returncode == 0
    assert "never" not in done.stdout


def test_a_very_long_word_after_a_slash_is_a_message(run: Run) -> None:
    done = run("--plain", input=f"/{'a' * 300}\n/version\n")
    assert "There is no command" in done.stdout
    assert "Python" in done.stdout


def test_instructions_that_cannot_be_read_fail_the_turn_and_not_the_session(run: Run, work: Path) -> None:
    (work / "AGENTS.md").mkdir()
    (work / "CLAUDE.md").symlink_to(work / "CLAUDE.md")
    done = run("--plain", input="hello\n/version\n")
    assert "Python" in done.stdout
    assert "Traceback" not in done.stderr


def test_it_ends_when_nobody_reads_it_any_more(shell_env: dict[str, str]) -> None:
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("hermes")), "--plain"],
        env=shell_env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith("hermes ")
    process.stdout.close()
    process.stdin.write(lines(*["/help"] * 5))
    process.stdin.flush()
    assert process.wait(20) == 0
    assert process.stderr.read() == ""
    process.stdin.close()
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_output_that_has_no_room_is_an_error(shell_env: dict[str, str]) -> None:
    command = [str(Path(sys.executable).with_name("hermes")), "--plain"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, env=shell_env, input="/help\n", stdout=full, stderr=-1, text=True, check=False)
    assert done.returncode == 1
    assert "No space left" in done.stderr


def test_on_a_terminal_too_it_ends_when_nobody_reads_it(shell_env: dict[str, str]) -> None:
    command = [str(Path(sys.executable).with_name("hermes"))]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, env=shell_env, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"hermes ")
    process.stdout.close()
    os.write(ours, b"/help\n")
    assert process.wait(20) == 0
    assert process.stderr.read() == b""
    process.stderr.close()
    os.close(ours)
    os.close(theirs)
