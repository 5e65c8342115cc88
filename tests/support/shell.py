"""`hermes` as a shell runs it, beside what a test has going on in its own event loop."""

import asyncio
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


async def in_the_shell(*words: str) -> str:
    """What `hermes …` prints, run as a process of its own in this environment."""
    command = (sys.executable, "-m", "hermes_cli.main", *words)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=-1, stderr=-1)
    out, err = await process.communicate()
    return (out + err).decode()
