"""Whether somebody still works."""

import subprocess
import sys
from dataclasses import replace

import psutil

from agent.records import Lease
from agent.store.leases import is_alive, new_lease
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
    lease = Lease("w", child.pid, psutil.Process(child.pid).create_time(), 0.0)
    assert is_alive(lease)
    child.kill()
    wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert not is_alive(lease)
    child.wait(10)
    assert not is_alive(lease)
    assert child.stdin is not None
    child.stdin.close()
