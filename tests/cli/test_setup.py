"""What every front end does before it starts."""

import subprocess
import sys
from pathlib import Path

_WARNS = """
import re
from hermes_cli import options, setup
setup.prepare(options.Request())
re.compile("[[:digit:]]")
"""


def test_a_warning_of_the_language_reaches_no_terminal(tmp_path: Path, home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", _WARNS], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
