"""The person's editor."""

import os
import shlex
import subprocess
from pathlib import Path

from agent.errors import HermesError


def edit(path: Path) -> None:
    """Open a file in $VISUAL or $EDITOR, and wait until that is closed. Raises: HermesError."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        code = subprocess.call([*shlex.split(editor), str(path)])
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise HermesError(f"{editor} cannot be started: {why}.", hint="Set VISUAL or EDITOR.") from error
    if code:
        raise HermesError(f"{editor} ended with {code}; {path} is as it left it.")
