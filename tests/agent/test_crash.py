"""A short run of the fault injection: no task lost, no tool executed twice, nothing told twice, whatever is killed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_processes_killed_at_every_point_lose_and_repeat_nothing() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "bench" / "crash.py"), "--runs", "8", "--seed", "7"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=110, check=False, env={"PYTHONPATH": str(ROOT), "PATH": "/bin"}
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "0  tasks lost" in done.stdout
