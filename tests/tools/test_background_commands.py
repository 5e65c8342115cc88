"""Commands in the background, the shell's directory, and who ends with whom."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from agent.approvals import Policy
from agent.cancel import CancelToken
from agent.errors import ToolError
from agent.protocols import Approved, ToolContext, ToolResult
from agent.tools import default_tools
from agent.tools.bench import Workbench, bench_of, close_bench
from agent.tools.jobs import MOST_RUNNING

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")

Use = Callable[..., ToolResult]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    bench = Workbench(tmp_path / "state")
    yield bench
    for job in bench.jobs.all():
        job.running.stop(leftovers_only=False)


@pytest.fixture
def use(bench: Workbench, tmp_path: Path) -> Use:
    """One session's tools, called as the toolset calls them."""
    tools = {tool.name: tool for tool in default_tools(bench)}
    (tmp_path / "work").mkdir()

    def use(name: str, *, usual: float = 60.0, **arguments: object) -> ToolResult:
        context = ToolContext(tmp_path / "work", command_timeout=usual)
        args = msgspec.convert(arguments, tools[name].arguments)
        action = tools[name].plan(args, context)
        tools[name].preview(args, context)
        return tools[name].run(args, context.for_call("call_1", Approved(action)), CancelToken())

    return use


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# -- the shell's directory -------------------------------------------------------------------------


def test_the_next_command_starts_where_the_last_one_ended(use: Use, tmp_path: Path) -> None:
    sub = tmp_path / "work" / "sub"
    sub.mkdir()
    assert f"the shell is now in {sub}" in use("terminal", command="cd sub && export X=1").content
    assert use("terminal", command="pwd; echo [$X]").display == f"{sub}\n[]\n"
    assert "now in" in use("terminal", command="cd ..; exit 3").content
    assert use("terminal", command="cd sub; false").exit_code == 1
    assert use("terminal", command="pwd").display == f"{sub}\n"


def test_a_directory_that_is_gone_is_left(use: Use, tmp_path: Path) -> None:
    use("terminal", command="mkdir gone && cd gone")
    (tmp_path / "work" / "gone").rmdir()
    assert use("terminal", command="pwd").display == f"{tmp_path}/work\n"


def test_each_session_has_a_shell_of_its_own(tmp_path: Path) -> None:
    one, other = bench_of("test-one"), bench_of("test-other")
    try:
        one.directory = tmp_path
        assert other.directory is None
        assert bench_of("test-one") is one
    finally:
        close_bench("test-one")
        close_bench("test-other")
    assert bench_of("test-one") is not one
    close_bench("test-one")


def test_outside_of_the_workspace_reading_is_not_free(bench: Workbench, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    context = ToolContext(tmp_path / "work")
    terminal = default_tools(bench)[0]
    args = msgspec.convert({"command": "cat notes"}, terminal.arguments)
    assert Policy().verdict("terminal", terminal.plan(args, context), context.cwd).verdict == "allow"
    bench.directory = tmp_path
    action = terminal.plan(args, context)
    assert action.directory == tmp_path
    assert Policy().verdict("terminal", action, context.cwd).verdict == "ask"
    assert Policy("plan").verdict("terminal", action, context.cwd).verdict == "deny"
    assert f"# in {tmp_path}" in terminal.preview(args, context)


def test_the_line_is_run_as_it_is(use: Use) -> None:
    command = 'set -- a \'b c\'; for x in "$@"; do echo "<$x>"; done; cat <<\'END\'\n$HOME "quoted" \\n\nEND\n'
    assert use("terminal", command=command).display == '<a>\n<b c>\n$HOME "quoted" \\n\n'
    assert use("terminal", command="echo $0 $#").display.split()[1] == "0"
    assert use("terminal", command="if then").exit_code not in (0, None)


# -- in the background -----------------------------------------------------------------------------


def test_a_background_command_is_polled_written_to_and_ends(use: Use) -> None:
    started = use(
        "terminal", command="echo ready; while read line; do echo got $line; done; echo over", background=True
    )
    assert started.content.startswith("ready\n[p1 runs in the background, pid ")
    assert started.summary == "runs as p1"
    assert "got hello" in use("process", action="write", id="p1", text="hello\n").content
    assert use("process", action="poll", id="p1").display == ""
    assert "p1  running for " in use("process", action="list").content
    assert use("process", action="close", id="p1").display == "over\n"
    assert use("process", action="wait", id="p1").content == "[p1: exit 0]"
    assert use("process", action="tail", id="p1", lines=2).content == "got hello\nover\n[p1: exit 0]"


def test_a_command_that_fails_at_once_says_so_at_once(use: Use) -> None:
    result = use("terminal", command="echo no such thing; exit 4", background=True)
    assert (result.ok, result.exit_code) == (False, 4)
    assert result.content == "no such thing\n[p1 has ended already: exit 4]"


def test_a_command_over_the_usual_limit_goes_on_with_an_id(use: Use) -> None:
    result = use("terminal", usual=0.3, command="echo begun; sleep 600")
    assert result.content == "begun\n[still running after 0.3s, and goes on as p1; see it with process, id p1]"
    assert use("process", action="kill", id="p1").content == "[p1: killed by SIGTERM, exit 143]"
    with pytest.raises(ToolError, match="without an input"):
        use("process", action="write", id="p1", text="x")


def test_what_a_background_command_leaves_is_stopped_when_it_ends(use: Use, tmp_path: Path) -> None:
    use("terminal", command="setsid sleep 600 & echo $! > pid; sleep 0.7", background=True)
    pid = int((tmp_path / "work" / "pid").read_text())
    use("process", action="wait", id="p1")
    until(lambda: not alive(pid))


def test_there_are_only_so_many(use: Use) -> None:
    for _ in range(MOST_RUNNING):
        use("terminal", usual=0.01, command="sleep 600")
    with pytest.raises(ToolError, match="End one first"):
        use("terminal", command="sleep 600", background=True)


def test_an_unknown_id_names_those_there_are(use: Use) -> None:
    with pytest.raises(ToolError, match="None was started"):
        use("process", action="poll", id="p1")
    use("terminal", command="sleep 600", background=True)
    with pytest.raises(ToolError, match="There are: p1"):
        use("process", action="poll", id="p7")


def test_writing_counts_as_a_command_of_what_reads_it(bench: Workbench, use: Use, tmp_path: Path) -> None:
    use("terminal", command="cat", background=True)
    process = default_tools(bench)[1]
    args = msgspec.convert({"action": "write", "id": "p1", "text": "rm -rf ~"}, process.arguments)
    action = process.plan(args, ToolContext(tmp_path))
    assert (action.kind, action.command) == ("execute", "printf %s 'rm -rf ~' | cat")


# -- a terminal ------------------------------------------------------------------------------------


def test_a_terminal_on_request(use: Use) -> None:
    assert use("terminal", command="test -t 0 || test -t 1 || echo none").display == "none\n"
    assert use("terminal", command="test -t 0 && test -t 1 && echo both; tty </dev/tty", pty=True).display.startswith(
        "both\n/dev/"
    )


def test_a_program_in_a_terminal_is_talked_to(use: Use) -> None:
    use("terminal", command="read -p 'Name? ' name; echo Hello, $name", pty=True, background=True)
    assert "Hello, World" in use("process", action="write", id="p1", text="World\n").display
    assert use("process", action="wait", id="p1").content.endswith("[p1: exit 0]")


# -- who ends with whom ----------------------------------------------------------------------------


def test_all_end_with_their_session(use: Use, bench: Workbench) -> None:
    for _ in range(3):
        use("terminal", command="trap '' TERM; sleep 600; sleep 600", background=True)
    pids = [job.running.pid for job in bench.jobs.all()]
    bench.close()
    assert not any(map(alive, pids))


def test_one_that_is_kept_outlives_its_session_and_writes_to_a_file(use: Use, bench: Workbench) -> None:
    use("terminal", command="echo up; sleep 600", background=True, keep=True)
    (job,) = bench.jobs.all()
    bench.close()
    assert alive(job.running.pid)
    assert job.running.spawn.log is not None
    assert job.running.spawn.log.read_text() == "up\n"
    with pytest.raises(ToolError, match="Only a command in the background"):
        use("terminal", command="true", keep=True)


OWNER = """
import sys
from pathlib import Path
from agent.cancel import CancelToken
from agent.protocols import ToolContext
from agent.tools import default_tools
from agent.tools.bench import bench_of
terminal = default_tools(bench_of("owner"))[0]
context = ToolContext(Path(sys.argv[1]))
line = "(setsid sleep 600 & echo $! > escaped); echo $$ > shell; sleep 600; sleep 600"
terminal.run(terminal.arguments(line, background=True), context, CancelToken())
print("up", flush=True)
{then}
"""


@pytest.mark.parametrize(
    ("then", "ends"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("terminal.run(terminal.arguments('kill -9 $PPID; sleep 600'), context, CancelToken())", -signal.SIGKILL),
        ("sys.exit(0)", 0),
    ],
    ids=["killed", "killed in a command", "ended"],
)
def test_nothing_outlives_the_process(tmp_path: Path, then: str, ends: int) -> None:
    command = [sys.executable, "-c", OWNER.format(then=then), str(tmp_path)]
    with (tmp_path / "said").open("wb") as said:
        done = subprocess.run(command, check=False, timeout=50, stderr=said)
    assert done.returncode == ends
    assert (tmp_path / "said").read_text() == ""
    pids = [int((tmp_path / name).read_text()) for name in ("shell", "escaped")]
    until(lambda: not any(map(alive, pids)))
