import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from agent.cancel import CancelToken
from agent.errors import Cancelled, ToolError
from agent.protocols import ToolContext, Verbatim
from agent.redact import MARGIN
from agent.tools.bench import Workbench
from agent.tools.output import BoundedOutput, printable
from agent.tools.processes import MARK, ProcessTree
from agent.tools.terminal import Terminal, TerminalArguments

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")


# -- running ---------------------------------------------------------------------------------------


def test_output_in_order_and_the_exit_code(call) -> None:
    result = call("terminal", command="echo one; echo two >&2; echo three")
    assert result.content == "one\ntwo\nthree\n[exit 0]"
    assert (result.ok, result.exit_code, result.summary, result.display) == (True, 0, "exit 0", "one\ntwo\nthree\n")


def test_a_failing_command_is_not_ok_and_its_output_is_plain(call) -> None:
    result = call("terminal", command="printf oops; exit 3")
    assert (result.ok, result.exit_code, result.content) == (False, 3, "oops\n[exit 3]")


def test_a_silent_command(call) -> None:
    assert call("terminal", command="true").content == "[exit 0]"


def test_signals_are_named(call) -> None:
    assert call("terminal", command="kill -SEGV $$").content == "[killed by SIGSEGV, exit 139]"
    assert call("terminal", command="sh -c 'kill -9 $$'; exit $?").summary == "killed by SIGKILL, exit 137"


def test_a_code_that_programs_use_themselves_is_no_signal(call) -> None:
    assert call("terminal", command="exit 129").summary == "exit 129"
    assert call("terminal", command="exit 138").summary == "exit 138"
    assert call("terminal", command="kill -HUP $$").summary == "killed by SIGHUP, exit 129"


def test_it_runs_in_the_working_directory_with_no_input(call, tmp_path: Path) -> None:
    assert call("terminal", command="pwd -P; cat").display == f"{tmp_path.resolve()}\n"


def test_a_missing_working_directory_is_an_error_for_the_model(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="could not be started"):
        Terminal().run(TerminalArguments("true"), ToolContext(tmp_path / "gone"), CancelToken())


def test_the_plan_shows_the_whole_command_under_a_short_title(plan, preview) -> None:
    action = plan("terminal", command="echo one\necho two")
    assert (action.kind, action.title) == ("execute", "echo one…")
    assert action.command == preview("terminal", command="echo one\necho two") == "echo one\necho two"
    assert len(plan("terminal", command="x" * 500).title) == 80
    with pytest.raises(ToolError, match="empty"):
        plan("terminal", command="  \n")
    with pytest.raises(ToolError, match="NUL"):
        plan("terminal", command="echo \0")


# -- the environment -------------------------------------------------------------------------------

PROVIDER_KEYS = (
    "OPENAI_API_KEY", "OPENROUTER_API_KEY", "NOUS_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN",
    "GEMINI_API_KEY", "GOOGLE_API_KEY", "GROQ_API_KEY", "DEEPSEEK_API_KEY", "MISTRAL_API_KEY", "XAI_API_KEY",
    "TOGETHER_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "TELEGRAM_BOT_TOKEN", "PGPASSWORD", "MY_CREDENTIALS",
)  # fmt: skip


def test_no_secret_reaches_the_command(call, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROVIDER_KEYS:
        monkeypatch.setenv(name, "super-secret-value-1")
    monkeypatch.setenv("HARMLESS", "kept")
    output = call("terminal", command="env").display
    assert "super-secret" not in output
    assert "HARMLESS=kept" in output


def test_nothing_waits_for_a_person(call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    lines = call("terminal", command="env").display.splitlines()
    assert {"PAGER=cat", "GIT_PAGER=cat", "GIT_TERMINAL_PROMPT=0", "TERM=dumb", "NO_COLOR=1"} <= set(lines)
    assert "FORCE_COLOR=1" not in lines


# -- output ----------------------------------------------------------------------------------------


def test_long_output_keeps_head_and_tail_and_counts_the_rest(call) -> None:
    result = call("terminal", command="echo first; seq 200000; echo last", limit=2000)
    assert len(result.content) <= 2000
    assert result.content.startswith("first\n1\n2\n")
    assert result.content.endswith("\n200000\nlast\n[exit 0]")
    assert "bytes left out" in result.content


def test_memory_does_not_grow_with_the_output() -> None:
    output = BoundedOutput(1000)
    for _ in range(2000):
        output.add(b"x" * 10_000)
        assert len(output._head) + len(output._tail) <= 5 * (1000 // 2 + MARGIN)
    assert f"{20_000_000 - 1000:,} bytes left out" in output.text(Verbatim())


def test_what_is_kept_is_exact_at_every_size() -> None:
    for size in (0, 1, 9, 10, 11, 19, 20, 21, 500):
        data = bytes(97 + index % 26 for index in range(size))
        output = BoundedOutput(20)
        for index in range(0, size, 7):
            output.add(data[index : index + 7])
        head, tail = data[:10].decode(), data[-10:].decode()
        expected = data.decode() if size <= 20 else f"{head}\n[… {size - 20} bytes left out …]\n{tail}"
        assert output.text(Verbatim()) == expected


def test_a_cut_tears_no_character_and_bad_bytes_are_replaced(call) -> None:
    output = BoundedOutput(21)
    output.add("é".encode() * 100)
    assert "�" not in output.text(Verbatim())
    assert call("terminal", command=r"printf 'a\377b'").display == "a�b"


def test_escape_sequences_do_not_reach_the_screen() -> None:
    assert (
        printable("\x1b[31mred\x1b[0m \x1b]0;title\x07ok\b\x1b(B\x00\n\ttab\r\n10%\r20%") == "red ok\n\ttab\n10%\n20%"
    )


# -- stopping --------------------------------------------------------------------------------------


@pytest.fixture
def survivors(tmp_path: Path) -> Iterator[Callable[[], list[psutil.Process]]]:
    """The living processes that work in the test's own directory."""

    def survivors() -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd() == str(tmp_path.resolve()) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    yield survivors
    for process in survivors():
        process.kill()


STUBBORN = (
    "trap '' TERM; (trap '' TERM; sleep 600; sleep 600) & (setsid sleep 600 &) ; setsid sh -c 'sleep 600; true' &"
)


def _wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_timeout_kills_the_tree_and_keeps_the_output(call, survivors) -> None:
    result = call("terminal", command=f"echo begun; {STUBBORN} sleep 600; sleep 600", timeout=0.6)
    assert result.display.startswith("begun\n")
    assert (result.ok, result.exit_code, result.summary) == (False, None, "timed out after 0.6s")
    assert "[timed out after 0.6s; it was stopped" in result.content
    assert survivors() == []


def test_the_context_has_the_usual_timeout(tmp_path: Path) -> None:
    context, bench = ToolContext(tmp_path, command_timeout=0.2), Workbench()
    assert Terminal(bench).run(TerminalArguments("sleep 600"), context, CancelToken()).summary == "runs as p1"
    bench.close()


def test_cancel_kills_the_tree_within_a_second(context, tmp_path: Path, survivors) -> None:
    cancel, raised = CancelToken(), []

    def run() -> None:
        try:
            Terminal().run(TerminalArguments(f"{STUBBORN} touch up; sleep 600; sleep 600"), context, cancel)
        except Cancelled as signal:
            raised.append(signal)

    worker = threading.Thread(target=run)
    worker.start()
    _wait_until(lambda: (tmp_path / "up").exists() and len(survivors()) >= 4)
    began = time.monotonic()
    cancel.cancel()
    worker.join(20)
    took = time.monotonic() - began
    assert raised
    assert survivors() == []
    assert took < 5  # A second on a machine that is not busy; the waits inside add up to 0.8.


def test_a_polite_program_may_clean_up_when_cancelled(context, tmp_path: Path) -> None:
    command = "trap 'touch cleaned; exit' TERM; touch up; while :; do sleep 0.05; done"
    cancel = CancelToken()

    def run() -> None:
        with pytest.raises(Cancelled):
            Terminal().run(TerminalArguments(command), context, cancel)

    worker = threading.Thread(target=run)
    worker.start()
    _wait_until((tmp_path / "up").exists)
    cancel.cancel()
    worker.join(20)
    assert (tmp_path / "cleaned").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere psutil reads it")
def test_a_process_that_is_becoming_another_program_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = subprocess.Popen(["true"])
    root.wait()
    left = subprocess.Popen(["sleep", "60"], env={MARK: "one-of-a-kind"}, start_new_session=True)
    read, seen = Path.read_bytes, set[Path]()

    def at_first_empty(path: Path) -> bytes:
        if path == Path(f"/proc/{left.pid}/environ") and path not in seen:
            seen.add(path)
            return b""
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", at_first_empty)
    exited = threading.Event()
    exited.set()
    assert ProcessTree(root.pid, "one-of-a-kind").stop(exited) == 1
    assert left.wait(5) == -signal.SIGTERM


@pytest.mark.parametrize(
    "command",
    ["sleep 600 &", "(sleep 600 &) ; echo x", "setsid sleep 600 &", "setsid sleep 600 >/dev/null 2>&1 &",
     "nohup sleep 600 >/dev/null 2>&1 & disown"],
)  # fmt: skip
def test_a_background_process_neither_hangs_the_call_nor_survives_it(call, survivors, command: str) -> None:
    result = call("terminal", command=f"{command}\necho done", timeout=30)
    assert result.ok
    assert result.display.endswith("done\n")
    assert result.content.endswith("[exit 0; 1 background process stopped]")
    assert survivors() == []


def test_nothing_starts_once_cancelled(context, tmp_path: Path) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        Terminal().run(TerminalArguments("touch ran"), context, cancel)
    assert not (tmp_path / "ran").exists()


def test_no_thread_and_no_descriptor_is_left(call) -> None:
    def held() -> tuple[int, int]:
        return threading.active_count(), psutil.Process().num_fds()

    call("terminal", command="echo x")
    before = held()
    for _ in range(5):
        call("terminal", command="sleep 600 & echo x")
    _wait_until(lambda: held() <= before)


def test_an_unusual_shell_exit_does_not_confuse_the_status(call) -> None:
    assert call("terminal", command="exec sh -c 'exit 7'").exit_code == 7
    assert call("terminal", command=f"exec {sys.executable} -c 'import os; os._exit(9)'").exit_code == 9
