"""Terminals: sizes that change, colours, character sets, suspending, and those that can do nothing."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.openai_server import OpenAIServer, Stream, call, say
from tests.support.screen import Terminal

from .conftest import HERMES, Start

LONG = " ".join(f"word{number}" for number in range(30))


def rests(hermes: Terminal, draft: str, status: str) -> Terminal:
    """One prompt with this draft, one status line, nothing below: no ghosts of an earlier drawing."""

    def clean(seen: Terminal) -> bool:
        shown = (seen.draft or "").replace("\n", "")
        starts = draft.split()[0] if draft else ""
        once = seen.count(f"› {starts}".rstrip()) == 1 if starts else True
        return (
            shown.replace(" ", "") == draft.replace(" ", "")
            and once
            and sum(line.startswith(status) for line in seen.lines) == 1
            and seen.status.startswith(status)
            and seen.emulator.cursor.x < seen.emulator.columns
        )

    return hermes.wait_for(clean, why=f"exactly one prompt with {draft[:30]!r} and one status line {status!r}")


@pytest.fixture(params=["reflows", "cuts off"])
def terminal_kind(request: pytest.FixtureRequest) -> dict[str, object]:
    """Most terminals wrap old lines anew at a new width; xterm cuts them off."""
    if request.param == "reflows":
        return {"reflow": True}
    return {"reflow": False, "env": {"XTERM_VERSION": "XTerm(390)"}}


@pytest.mark.parametrize("rows", [30, 12], ids=["room below", "at the bottom"])
def test_resizing_leaves_no_ghosts(start: Start, terminal_kind: dict[str, object], rows: int) -> None:
    hermes = start(columns=120, rows=rows, **terminal_kind)
    hermes.send("/help tasks").wait_for("Example: /tasks log 1 -f").wait_for(lambda seen: seen.draft == "")
    before = [line for line in hermes.lines if "list, read, stop" in line or "Example" in line]
    for draft in ("", "short draft", LONG):
        hermes.type(draft)
        # What is drawn at the old width just when the window changes stays there: nobody could know.
        rests(hermes, draft, " offline").settle(0.1)
        for columns in (40, 120, 61, 120):
            # What was drawn at the new width stays so: a second look after the program had its say.
            rests(rests(hermes.resize(columns), draft, " offline").settle(0.1), draft, " offline")
        hermes.type("!")
        rests(hermes, f"{draft}!", " offline")
        hermes.press("ctrl+c")
        rests(hermes, "", " offline")
    if terminal_kind["reflow"]:
        assert [line for line in hermes.lines if "list, read, stop" in line or "Example" in line] == before


def test_dragging_a_window_leaves_no_ghosts(start: Start, terminal_kind: dict[str, object]) -> None:
    hermes = start(columns=120, **terminal_kind)
    hermes.send("/version").wait_for("prompt_toolkit").type(LONG)
    for columns in [*range(119, 40, -7), *range(40, 120, 9)]:
        hermes.resize(columns)
    rests(hermes, LONG, " offline")


def test_changing_only_the_height_leaves_no_ghosts(start: Start, terminal_kind: dict[str, object]) -> None:
    hermes = start(columns=100, rows=30, **terminal_kind)
    hermes.send("/help").wait_for("shows the keys").type(LONG)
    rests(hermes, LONG, " offline")
    for rows in (12, 30, 8, 40):
        hermes.resize(100, rows)
        hermes.settle(0.15)
        rests(hermes, LONG, " offline")


def test_resizing_with_a_long_status_line_leaves_no_ghosts(start: Start, terminal_kind: dict[str, object]) -> None:
    env = {**terminal_kind.pop("env", {}), "HERMES_MODEL": "gpt-5-with-quite-a-name"}  # type: ignore[dict-item]
    with OpenAIServer(
        default=say("x" * 10, usage={"prompt_tokens": 12345, "completion_tokens": 5, "total_tokens": 12350})
    ) as server:
        hermes = start(server, columns=120, env=env, **terminal_kind)
        hermes.send("/yolo").send("go").wait_for("● xxx").wait_for(lambda seen: "400K" in seen.status)
        hermes.type("draft")
        for columns in (40, 120, 50, 100):
            hermes.resize(columns)
            rests(hermes, "draft", " gpt-5-with-quite-a-name")


def test_resizing_while_an_answer_streams_leaves_no_ghosts(start: Start, terminal_kind: dict[str, object]) -> None:
    words = [f"word{number} " for number in range(60)]
    text = [*words[:30], "\n\n", *words[30:]]
    with OpenAIServer([Stream(text=tuple(text), pause=0.04)]) as server:
        hermes = start(server, columns=120, **terminal_kind)
        hermes.send("go").wait_for("word5 ").type("draft")
        for columns, word in ((40, "word12"), (120, "word25"), (40, "word40"), (90, "word50")):
            hermes.resize(columns).wait_for(word)
        hermes.wait_for("word59").wait_for(lambda seen: "Esc interrupts" not in seen.text)
        rests(hermes, "draft", " test-model")
        found = re.findall(r"word\d+", hermes.text)
        assert found == [word.strip() for word in words]


def test_resizing_while_a_question_stands_leaves_no_ghosts(start: Start, terminal_kind: dict[str, object]) -> None:
    with OpenAIServer([call("terminal", command=f"touch {LONG}")]) as server:
        hermes = start(server, columns=120, **terminal_kind)
        hermes.send("go").wait_for("y yes, once").wait_for("a letter, then Enter")
        for columns in (40, 120, 60):
            hermes.resize(columns)
            hermes.wait_for(lambda seen: seen.count("terminal wants to run") == 1 and seen.count("y yes, once") == 1)
            hermes.wait_for(lambda seen: seen.count("Esc interrupts") <= 1 and seen.count("test-model ·") <= 2)


def test_a_narrow_terminal_breaks_no_line(start: Start) -> None:
    with OpenAIServer([call("terminal", command=f"touch {LONG}"), f"{LONG}\n\n```\n{LONG}\n```\n"]) as server:
        hermes = start(server, columns=40, rows=40)
        hermes.send("go").wait_for("y yes, once").stays(lambda seen: True, 0.6).send("y").wait_for("● word0")
        hermes.wait_for(lambda seen: seen.count("word29") == 2).send("/status").wait_for("cost").settle()
        assert max(map(len, hermes.lines)) <= 40


@pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux")
def test_resizing_inside_tmux_leaves_no_ghosts(tmp_path: Path, folder: Path) -> None:
    home = tmp_path / "hermes"
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "HERMES_HOME": str(home),
        "HERMES_PROVIDER": "offline",
        "LANG": "C.UTF-8",
    }
    with Tmux(tmp_path / "tmux", [str(HERMES)], env=env, cwd=folder) as tmux:
        tmux.wait_for(lambda rows: " offline" in "".join(rows))
        tmux.type("/help tasks\r").wait_for(lambda rows: any("Example" in row for row in rows)).type(LONG)
        for columns in (40, 120, 55, 120):
            tmux.resize(columns)
            tmux.wait_for(
                lambda rows: (
                    sum(row.startswith("› word0") for row in rows) == 1
                    and sum(row.startswith(" offline") for row in rows) == 1
                    and sum("word29" in row for row in rows) == 1
                    and sum("Example: /tasks log 1 -f" in row for row in rows) == 1
                )
            )


class Tmux:
    """A program in a tmux of its own, as a second opinion on what resizing does."""

    def __init__(self, socket: Path, argv: list[str], *, env: dict[str, str], cwd: Path) -> None:
        self._socket, self._env = socket, env
        size = ["-x", "120", "-y", "30"]
        self._run("-f", "/dev/null", "new-session", "-d", *size, "-c", str(cwd), *argv)

    def __enter__(self) -> "Tmux":
        return self

    def __exit__(self, *_: object) -> None:
        self._run("kill-server")

    def _run(self, *arguments: str) -> str:
        command = ["tmux", "-S", str(self._socket), *arguments]
        return subprocess.run(command, env=self._env, check=True, capture_output=True, text=True, timeout=10).stdout

    def type(self, text: str) -> "Tmux":
        self._run("send-keys", "-l", text)
        return self

    def resize(self, columns: int) -> None:
        self._run("resize-window", "-x", str(columns))

    def wait_for(self, met: Callable[[list[str]], bool]) -> "Tmux":
        for _ in range(300):
            rows = self._run("capture-pane", "-p", "-S", "-").split("\n")
            if met(rows):
                return self
            signal.sigtimedwait([], 0.05)
        raise AssertionError("\n".join(rows))


# -- colours and characters ------------------------------------------------------------------------


def busy_session(hermes: Terminal) -> Terminal:
    """A bit of everything that draws something."""
    hermes.send("/help").wait_for("shows the keys").send("/hlep").wait_for("Did you mean /help?")
    hermes.send("/background look").wait_for("#1 bg_").wait_for("#1 done").send("/tasks").wait_for("doing / asked")
    hermes.send("/tasks show 1").wait_for("1 step").send("/status").wait_for("cost")
    hermes.type("/st").wait_for("interrupt the turn").press("ctrl+c", "ctrl+c")
    hermes.send("go").wait_for("terminal wants to run").type("one more thing\r").wait_for("next: one more")
    hermes.stays(lambda seen: True, 0.6).send("n no").wait_for("over and out").send("/usage").wait_for("cached")
    return hermes.press("shift+tab").wait_for(lambda seen: "accept edits" in seen.status)


@pytest.fixture
def talkative() -> Iterator[OpenAIServer]:
    steps = [say("# Found\n\n- `one`\n- **two**\n"), call("terminal", command="touch " + "made " * 40), "over and out"]
    with OpenAIServer(steps, default="what?") as server:
        yield server


def test_ascii_chrome_where_it_is_asked_for(start: Start, talkative: OpenAIServer) -> None:
    hermes = busy_session(start(talkative, env={"HERMES_ASCII": "1"}))
    strange = {character for line in hermes.lines for character in line if not character.isascii()}
    assert not strange, hermes.picture()
    assert hermes.raw.decode().isascii()


def test_ascii_chrome_where_the_locale_has_no_utf_8(start: Start) -> None:
    hermes = start(env={"LANG": "C", "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert any(row.startswith(">") for row in hermes.visible)
    assert hermes.raw.isascii()


def test_no_color_means_no_colours(start: Start, talkative: OpenAIServer) -> None:
    hermes = busy_session(start(talkative, env={"NO_COLOR": "1"}))
    codes = {
        code for found in re.findall(rb"\x1b\[([0-9;:]*)m", bytes(hermes.raw)) for code in re.split(rb"[;:]", found)
    }
    assert {int(code or 0) for code in codes} <= {0, 1, 2, 3, 4, 5, 7, 22, 23, 24, 27}


def test_a_drawing_as_tall_as_the_screen_is_not_erased_at_once(start: Start) -> None:
    hermes = start(columns=40, rows=12)
    hermes.send("/help").wait_for("Exit")
    # With the cursor in the corner, which tmux would take for clearing the screen.
    assert b"\x1b[K\x1b[B\x1b[J" in hermes.raw


def test_a_dumb_terminal_gets_plain_lines(start: Start) -> None:
    with OpenAIServer(default="plain **answer**") as server:
        hermes = start(server, env={"TERM": "dumb"})
        hermes.send("go").wait_for("plain answer").send("/bg look").wait_for("#1 done")
        hermes.send("/help").wait_for("Exit").send("/quit")
        assert hermes.wait_for_exit() == 0
        assert b"\x1b" not in hermes.raw


def test_the_persons_own_dialogs_are_nothing_that_needs_them(start: Start) -> None:
    with OpenAIServer([call("terminal", command="touch made")], default="Well.") as server:
        hermes = start(server)
        hermes.send("/bg make it").wait_for(lambda seen: "1 needs you" in seen.status)
        hermes.press("ctrl+d").wait_for("Not everything is over:")
        assert "1 needs you" in hermes.settle().status


def test_leaving_a_dumb_terminal_with_live_tasks_asks(start: Start) -> None:
    with OpenAIServer(default=say("too late", delay=30)) as server:
        hermes = start(server, env={"TERM": "dumb"})
        hermes.send("/bg look").wait_for(lambda _: len(server.bodies) == 1, why="the task's request")
        hermes.press("ctrl+d").wait_for("Not everything is over:").send("n")
        hermes.send("/tasks").wait_for("running")
        hermes.press("ctrl+d").wait_for(lambda seen: seen.count("Not everything is over:") == 2).send("s")
        assert hermes.wait_for_exit() == 0


# -- the shell around it ---------------------------------------------------------------------------


def test_ctrl_z_suspends_and_fg_comes_back(start: Start) -> None:
    hermes = start(program=("bash", "--norc", "-i"), env={"PS1": "shell$ "}, ready=False)
    hermes.wait_for("shell$").send("hermes").wait_for(lambda seen: seen.status.startswith(" offline"))
    hermes.type("half a thought").wait_for(lambda seen: seen.draft == "half a thought")
    hermes.press("ctrl+z").wait_for("Stopped").send("echo in-$((1+1))").wait_for("in-2").send("fg")
    hermes.wait_for(lambda seen: seen.draft == "half a thought" and seen.status.startswith(" offline"))
    hermes.type("!").wait_for(lambda seen: seen.draft == "half a thought!")
    hermes.press("ctrl+c", "ctrl+d").wait_for(lambda seen: seen.visible[seen.cursor[1]].startswith("shell$"))
    hermes.send("echo code-$?").wait_for("code-0").send("stty -a | tr ' ' '\\n' | grep -cx echo").wait_for("\n1\n")


def test_after_leaving_the_terminal_is_as_it_was(start: Start) -> None:
    hermes = start(program=("bash", "--norc", "-i"), env={"PS1": "shell$ "}, ready=False)
    hermes.wait_for("shell$").send("hermes").wait_for(lambda seen: seen.status.startswith(" offline"))
    hermes.press("ctrl+d").wait_for(lambda seen: seen.visible[seen.cursor[1]].startswith("shell$"))
    hermes.send("echo after-$?").wait_for("after-0")
    assert " offline ·" not in hermes.text
    assert hermes.raw.rindex(b"\x1b[?1004l") > hermes.raw.rindex(b"\x1b[?1004h")


def test_a_task_that_ends_while_nobody_looks_rings(start: Start) -> None:
    with OpenAIServer(default=say("the result", delay=0.3)) as server:
        hermes = start(server)
        hermes.send("/bg look").wait_for("the result")
        assert hermes.emulator.bells == 0
        assert b"\x1b]9;" not in hermes.raw
        hermes.press("focus out").send("/bg look").wait_for(lambda seen: seen.count("the result") == 2)
        assert hermes.emulator.bells == 1
        assert hermes.raw.count(b"\x1b]9;Hermes") == 1
        assert not hermes.emulator.title_set


@pytest.mark.parametrize("how", ["SIGTERM", "SIGHUP", "window closed"])
def test_being_told_to_end_it_takes_what_it_started_along(start: Start, how: str) -> None:
    with OpenAIServer(default=call("terminal", command="sleep 77")) as server:
        hermes = start(server)
        hermes.send("/yolo").send("/bg go").send("go")
        hermes.wait_for(lambda seen: seen.runs("sleep 77", at_least=2))
        children = hermes.family()
        if how == "window closed":
            hermes.hang_up()
        else:
            hermes.process.send_signal(signal.Signals[how])
        assert hermes.process.wait(5) in (0, 120), "120: Python could not flush to a terminal that has gone"
        hermes.wait_until_gone(children)


def test_a_question_is_wrapped_anew_between_words_when_the_window_gets_narrower(start: Start) -> None:
    with OpenAIServer([call("terminal", command="touch alpha; echo a rather long command"), "Well."]) as server:
        hermes = start(server, columns=100)
        hermes.send("go").wait_for("yes, once").resize(40)
        shown = "y yes, once s this session a always touch alpha; echo a rather long command N no (and why) a letter,"
        hermes.wait_for(lambda seen: shown in " ".join(" ".join(seen.visible).split()))
