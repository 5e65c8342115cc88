"""`hermes -p`: the answer on standard output, a number for the shell, and nothing else."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.config import directories
from tests.cli.conftest import Run, Start
from tests.support.openai_server import Hang, OpenAIServer, Recorded, Status, Step, Stream, call, say

At = Any


def answered(server: OpenAIServer) -> list[dict[str, Any]]:
    """The messages of the last request."""
    return list(server.bodies[-1]["messages"])


# -- exit codes ------------------------------------------------------------------------------------


def test_an_answer_is_all_there_is_on_standard_output(run: Run, at: At) -> None:
    with OpenAIServer([say("Hel", "lo")]) as server:
        done = run("-p", "hi", env=at(server))
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello\n", "")
    assert answered(server)[-1] == {"role": "user", "content": "hi"}


def test_a_wrong_key_fails_and_says_what_to_do(run: Run, at: At) -> None:
    with OpenAIServer(default=Status(401, "Incorrect API key provided")) as server:
        done = run("-p", "hi", env=at(server))
    assert (done.returncode, done.stdout) == (1, "")
    assert "key" in done.stderr
    assert "sk-test-0123456789" not in done.stderr


def test_a_server_nobody_runs_means_try_later(run: Run, at: At) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
        env = {"HERMES_PROVIDER": "custom", "HERMES_MODEL": "m", "OPENAI_BASE_URL": address, "OPENAI_API_KEY": "k"}
        done = run("-p", "hi", env=env)
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr.strip()


def test_an_overloaded_server_means_try_later(run: Run, at: At) -> None:
    with OpenAIServer(default=Status(503, "overloaded", retry_after=0.01)) as server:
        done = run("-p", "hi", env=at(server))
    assert (done.returncode, done.stdout) == (75, "")


def test_a_conversation_that_cannot_be_saved_is_no_success(run: Run, at: At) -> None:
    path = directories().database
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"this is no database at all. " * 100)
    with OpenAIServer([say("Hello")]) as server:
        done = run("-p", "hi", env=at(server))
    assert (done.returncode, done.stdout) == (1, "Hello\n")
    assert "Not saved: 3 messages" in done.stderr


def test_a_limit_has_a_number_of_its_own_and_what_there_is_of_an_answer(run: Run, at: At, work: Path) -> None:
    (work / "a.txt").write_text("text")
    steps = [Stream(text=("Looking.",), tools=call("read_file", path="a.txt").tools)]
    with OpenAIServer(steps) as server:
        done = run("-p", "hi", "--max-steps", "1", env=at(server))
    assert (done.returncode, done.stdout) == (3, "Looking.\n")
    assert "after 1 step." in done.stderr
    assert "max_steps" in done.stderr


def test_a_limit_in_dollars_that_cannot_be_kept_says_so(run: Run, at: At, work: Path) -> None:
    (work / "a.txt").write_text("text")
    with OpenAIServer([call("read_file", path="a.txt")]) as server:
        done = run("-p", "hi", "--max-cost", "0.5", env=at(server))
    assert done.returncode == 3
    assert "not known" in done.stderr
    wrong = run("-p", "hi", "--max-cost", "much")
    assert (wrong.returncode, "Example: --max-cost 0.50" in wrong.stderr) == (2, True)


@pytest.mark.parametrize("arguments", [["-p", "hi", "--no-such-option"], ["-p"], ["--output-format", "json", "hi"]])
def test_a_command_line_that_is_wrong_is_a_usage_error(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hermes: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_the_request_and_has_a_number_of_its_own(start: Start, at: At, number: int) -> None:
    with OpenAIServer([Hang()]) as server:
        process = start("-p", "hi", env=at(server))
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        server.wait_for_requests(1, 20)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=5)
        server.wait_for_hangups()
    assert (process.returncode, stdout) == (130, "")
    assert "Traceback" not in stderr


# -- what it is told -------------------------------------------------------------------------------


def test_standard_input_is_added_to_the_prompt(run: Run, at: At) -> None:
    with OpenAIServer(default="ok") as server:
        assert run("-p", "what is this?", input="def f(): pass\n", env=at(server)).returncode == 0
        assert answered(server)[-1]["content"] == "what is this?\n\ndef f(): pass"
        assert run("-p", input="only this\n", env=at(server)).returncode == 0
        assert answered(server)[-1]["content"] == "only this"


def test_another_directory_can_be_worked_in(run: Run, at: At, work: Path) -> None:
    (work / "sub").mkdir()
    with OpenAIServer(default="ok") as server:
        assert run("-p", "hi", "-C", "sub", env=at(server)).returncode == 0
    assert str(work / "sub") in answered(server)[0]["content"]
    gone = run("-p", "hi", "-C", "nowhere")
    assert gone.returncode != 0
    assert "nowhere" in gone.stderr


def test_the_model_of_the_command_line_is_asked(run: Run, at: At) -> None:
    with OpenAIServer(default="ok") as server:
        run("-p", "hi", "-m", "other-model", env=at(server))
    assert server.bodies[-1]["model"] == "other-model"


@pytest.mark.parametrize("name", ["offline", "offline:offline"])
def test_the_command_line_s_model_brings_its_provider_along(run: Run, at: At, name: str) -> None:
    with OpenAIServer(default="ok") as server:
        done = run("-p", "list files", "-m", name, env=at(server))
    assert (done.returncode, server.bodies) == (0, [])
    assert "offline" in run("-p", "--output-format", "json", "list files", "-m", name, env=at(server)).stdout


# -- what it may do --------------------------------------------------------------------------------


def test_nobody_is_asked_so_a_change_is_refused(run: Run, at: At, work: Path) -> None:
    with OpenAIServer([call("write_file", path="a.txt", content="x"), "I may not."]) as server:
        done = run("-p", "write it", env=at(server))
    assert (done.returncode, done.stdout) == (0, "I may not.\n")
    assert "nobody is there" in answered(server)[-1]["content"]
    assert not (work / "a.txt").exists()
    assert "write_file" in done.stderr


def test_yolo_approves_everything(run: Run, at: At, work: Path) -> None:
    with OpenAIServer([call("write_file", path="a.txt", content="x"), "Done."]) as server:
        done = run("-p", "write it", "--yolo", env=at(server))
    assert (done.returncode, done.stdout) == (0, "Done.\n")
    assert (work / "a.txt").read_text() == "x"


def test_a_policy_file_that_does_not_parse_stops_it_with_the_line(run: Run, home: Path) -> None:
    (home / "hermes-home").mkdir()
    (home / "hermes-home" / "policy.toml").write_text("[[rule]]\ntool = \n")
    done = run("-p", "hi")
    assert done.returncode != 0
    assert done.stdout == ""
    assert "line 2" in done.stderr


# -- formats ---------------------------------------------------------------------------------------


def test_json_is_one_object_with_everything_about_the_turn(run: Run, at: At) -> None:
    with OpenAIServer([say("Hello")]) as server:
        done = run("-p", "hi", "--output-format", "json", env=at(server))
    result = json.loads(done.stdout)
    assert (result["type"], result["result"], result["stop_reason"], result["error"]) == ("result", "Hello", "done", "")
    assert (result["model"], result["provider"], result["steps"]) == ("test-model", "custom", 1)
    assert (result["usage"]["input_tokens"], result["usage"]["output_tokens"]) == (11, 7)
    assert result["session_id"]
    assert result["duration_seconds"] > 0


def test_json_tells_a_failure_too(run: Run, at: At) -> None:
    with OpenAIServer(default=Status(401, "Incorrect API key provided")) as server:
        done = run("-p", "hi", "--output-format", "json", env=at(server))
    result = json.loads(done.stdout)
    assert done.returncode == 1
    assert (result["stop_reason"], result["result"]) == ("failed", "")
    assert result["error"]


def test_stream_json_is_an_object_a_line_from_init_to_result(run: Run, at: At, work: Path) -> None:
    (work / "a.txt").write_text("forty-two\n")
    with OpenAIServer([call("read_file", path="a.txt"), say("It is ", "forty-two.")]) as server:
        done = run("-p", "read it", "--output-format", "stream-json", env=at(server))
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    first, *_rest, last = lines
    assert [line["type"] for line in lines] == [
        "init",
        "message",
        "message",
        "tool_call",
        "tool_result",
        "text",
        "text",
        "message",
        "result",
    ]
    assert first["model"] == "test-model"
    assert "read_file" in first["tools"]
    assert first["session_id"] == last["session_id"]
    called, returned = lines[3], lines[4]
    assert (called["id"], called["name"]) == (returned["id"], returned["name"])
    assert json.loads(called["arguments"]) == {"path": "a.txt"}
    assert returned["ok"]
    assert (last["result"], last["stop_reason"], last["steps"]) == ("It is forty-two.", "done", 2)


def test_stream_json_tells_the_reasoning_apart_from_the_answer(run: Run, at: At) -> None:
    with OpenAIServer([Stream(reasoning=("Let me ", "see."), text=("Yes.",))]) as server:
        done = run("-p", "go", "--output-format", "stream-json", env=at(server))
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["text"] for line in lines if line["type"] == "reasoning"] == ["Let me ", "see."]
    assert lines[-1]["result"] == "Yes."


@pytest.mark.parametrize("format_", ["json", "stream-json"])
def test_the_first_model_of_an_endpoint_is_named_where_none_is_set(run: Run, at: At, format_: str) -> None:
    with OpenAIServer(["Yes."], models=("first", "second")) as server:
        done = run("-p", "go", "--output-format", format_, env=at(server) | {"HERMES_MODEL": ""})
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["model"] for line in told if line["type"] in ("init", "result")} == {"first"}
    assert server.bodies[0]["model"] == "first"


def test_escape_codes_of_a_model_reach_no_terminal_by_way_of_the_log(run: Run, at: At) -> None:
    with OpenAIServer([call("terminal", command="echo '\x1b[2J'"), "ok"]) as server:
        done = run("-p", "x", "--yolo", env=at(server))
    assert done.stdout == "ok\n"
    assert "\x1b" not in done.stderr


def test_without_a_key_or_a_network_the_built_in_model_answers(run: Run, work: Path) -> None:
    (work / "a.txt").write_text("one\ntwo\n")
    done = run("-p", "read a.txt")
    assert done.returncode == 0
    assert "two" in done.stdout


def test_bytes_that_are_no_text_are_replaced(run: Run, work: Path, shell_env: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hermes_cli.main", "-p", "hello"],
        input=b"\xff\xfe",
        env=shell_env,
        cwd=work,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0


def test_after_p_every_word_is_the_prompt(run: Run) -> None:
    done = run("-p", "config")
    assert "offline model" in done.stdout


def test_a_model_that_nobody_here_has_is_refused(run: Run) -> None:
    done = run("-p", "hi", "-m", "zzz", env={"HERMES_PROVIDER": ""})
    assert (done.returncode, done.stdout) == (2, "")
    assert "zzz" in done.stderr


@pytest.mark.parametrize("address", ["garbage", "http://[bad", "ftp://x/v1"])
def test_an_address_that_is_none_is_refused(run: Run, address: str) -> None:
    done = run("-p", "hi", env={"HERMES_BASE_URL": address})
    assert done.returncode == 2
    assert "base_url" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_behind_the_output_is_one_line(work: Path, shell_env: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "hermes_cli.main", "-p", "hello"],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            env=shell_env,
            cwd=work,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", ["--version", "--help", "-p hello", "config path"])
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_closed_by_the_caller_is_no_fault(
    work: Path, shell_env: dict[str, str], arguments: str, closed: str
) -> None:
    script = f'exec "{sys.executable}" -m hermes_cli.main {arguments} {closed}'
    done = subprocess.run(
        ["sh", "-c", script], env=shell_env, cwd=work, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_gone_is_told(work: Path, shell_env: dict[str, str]) -> None:
    script = f'rmdir "{work}"; exec "{sys.executable}" -m hermes_cli.main -p hi'
    done = subprocess.run(
        ["sh", "-c", script], env=shell_env, cwd=work, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert "does not exist any more" in done.stderr


# -- going on with a session -----------------------------------------------------------------------


def test_a_headless_prompt_goes_on_with_the_directorys_last_session(run: Run, at: Any) -> None:
    with OpenAIServer(["First answer.", "Second answer."]) as server:
        run("-p", "one", env=at(server))
        done = run("-p", "-c", "two", env=at(server))
    assert (done.returncode, done.stdout) == (0, "Second answer.\n")
    first, second = server.bodies
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert [message["content"] for message in second["messages"]][1:] == ["one", "First answer.", "two"]


def test_a_headless_prompt_resumes_by_the_id_that_json_told(run: Run, at: Any) -> None:
    with OpenAIServer(["First answer.", "Second answer."]) as server:
        told = json.loads(run("-p", "one", "--output-format", "json", env=at(server)).stdout)
        done = run("-p", "two", "-r", told["session_id"][:20], "--output-format=json", env=at(server))
    assert json.loads(done.stdout)["session_id"] == told["session_id"]
    assert len(server.bodies[-1]["messages"]) == 4


def test_a_session_that_is_not_there_is_a_mistake_of_the_command_line(run: Run) -> None:
    for arguments, words in ((("-c",), "no session to continue"), (("-r", "nonsense"), "No session fits 'nonsense'")):
        done = run("-p", "hi", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr


@pytest.mark.parametrize("format_", ["json", "stream-json"])
def test_the_result_names_the_fallback_that_answered(run: Run, at: At, format_: str) -> None:
    def answer(request: Recorded) -> Step:
        return "Hello." if request.body["model"] == "second" else Status(400, "no")

    with OpenAIServer(default=answer) as server:
        env = at(server) | {"HERMES_FALLBACK_MODEL": "second"}
        done = run("-p", "hi", "--output-format", format_, env=env)
    assert json.loads(done.stdout.splitlines()[-1])["model"] == "second"
