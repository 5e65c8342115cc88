"""Whether somebody still works."""

import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest

from agent.records import Lease
from agent.store.leases import is_alive, new_lease, start_of
from tests.support.turns import wait_until


def test_this_process_lives_and_its_workers_have_names_of_their_own() -> None:
    first, second = new_lease("worker"), new_lease("worker")
    assert first.worker != second.worker
    assert first.worker.startswith("worker-")
    assert is_alive(first)


def test_a_process_that_has_another_ones_number_is_not_it() -> None:
    assert not is_alive(replace(new_lease(), started=1.0))


def test_what_was_killed_is_dead_before_and_after_its_parent_has_noticed() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    lease = Lease("w", child.pid, start_of(psutil.Process(child.pid)), 0.0)
    assert is_alive(lease)
    child.kill()
    wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert not is_alive(lease)
    child.wait(10)
    assert not is_alive(lease)
    assert child.stdin is not None
    child.stdin.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system keeps the start as it was")
def test_a_start_does_not_move_with_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    lease = new_lease()
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: time.time() + 3600)
    assert is_alive(lease)
