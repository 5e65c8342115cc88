"""The prose for the model, which lies beside each tool."""

import functools
from pathlib import Path


@functools.cache
def prose(source: str) -> str:
    """The text of the `.md` file beside the Python file `source`."""
    return Path(source).with_suffix(".md").read_text("utf-8").strip()
