"""A short run of the kills: no message lost, no answer lost, none out of order, repeats only where marked."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_a_gateway_that_is_killed_under_load_loses_and_repeats_nothing() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "bench" / "gateway_crash.py"), "--runs", "3", "--seed", "7"]
    env = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False, env=env)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4000:]}"
    assert "0  answers lost" in done.stdout
    assert "0  gateways killed" not in done.stdout
