"""What the log cannot take is nobody's to read on the screen."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import directories
from gateway.logs import log_to
from hermes_cli.setup import start_log
from tests.cli.conftest import Run, Start


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """Handlers of the root logger and what it says of faults, as they were."""
    root, said = logging.getLogger(), logging.raiseExceptions
    level, handlers = root.level, root.handlers[:]
    root.handlers.clear()
    logging.raiseExceptions = True
    yield
    for handler in root.handlers:
        with contextlib.suppress(OSError):  # what it could not write
            handler.close()
    root.handlers[:], logging.raiseExceptions = handlers, said
    root.setLevel(level)


@pytest.mark.parametrize("service", [True, False], ids=["the gateway's", "a terminal's and a worker's"])
def test_a_full_disk_writes_nothing_over_the_prompt(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], service: bool
) -> None:
    dirs = directories()
    dirs.state.mkdir(parents=True)
    path = dirs.state / ("gateway.log" if service else "hermes.log")
    path.symlink_to("/dev/full")
    if service:
        log_to(path)
    else:
        start_log(dirs, str)
    logging.getLogger("agent.task_runs").warning("looking at the tasks")
    assert capfd.readouterr().err == ""


def test_the_gateway_s_log_is_shown_from_its_end_and_followed_over_a_change_of_files(start: Start, home: Path) -> None:
    path = home / "hermes-home" / "state" / "gateway.log"
    path.parent.mkdir(parents=True)
    path.write_text("one\ntwo\nthree\n")
    shown = start("gateway", "logs", "-n", "2", "-f").stdout
    assert shown is not None
    assert [shown.readline(), shown.readline()] == ["two\n", "three\n"]
    with path.open("a") as file:
        file.write("four\n")
    assert shown.readline() == "four\n"
    path.rename(path.with_name("gateway.log.1"))
    path.write_text("five\nsi")
    assert shown.readline() == "five\n"
    with path.open("a") as file:
        file.write("x\n")
    assert shown.readline() == "six\n"
    path.write_text("7\n")
    assert shown.readline() == "7\n"


def test_without_a_gateway_s_log_it_says_who_writes_it(run: Run) -> None:
    done = run("gateway", "logs")
    assert (done.returncode, done.stdout) == (1, "")
    assert "`hermes gateway` writes it" in done.stderr
