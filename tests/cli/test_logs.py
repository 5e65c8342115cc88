"""What the log cannot take is nobody's to read on the screen."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import directories
from gateway.logs import log_to
from hermes_cli.setup import start_log


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
