"""The system prompt, built once a session."""

import platform
import time
from functools import cache
from pathlib import Path

PROJECT_FILES_LIMIT = 32_000
"""Characters of project instructions in all; a longer file is cut, and says so."""


def build(cwd: Path) -> str:
    """The prompt for a session that works in `cwd`, with the project's own instructions, nearest last."""
    text = _template().format(cwd=cwd, platform=_platform(), date=time.strftime("%Y-%m-%d (%A)"))
    parts, left = [text], PROJECT_FILES_LIMIT
    for path in reversed(project_files(cwd)):
        content = _content(path)
        cut = "" if len(content) <= left else f"\n[… cut; the whole is in {path}]"
        parts.append(f"Instructions of the project, from {path} (where two disagree, the nearer file wins):\n\n")
        parts[-1] += content[:left] + cut
        if (left := max(0, left - len(content))) == 0:
            break
    head, *files = parts
    return "\n\n".join([head, *reversed(files)])


def _content(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace").strip()
    except OSError as error:
        return f"[cannot be read: {error.strerror}]"


def project_files(cwd: Path) -> list[Path]:
    """`AGENTS.md` (else `CLAUDE.md`) of each folder from the repository's root down to `cwd`."""
    folders = [cwd, *cwd.parents]
    root = next((number for number, folder in enumerate(folders) if (folder / ".git").exists()), 0)
    found = []
    for folder in reversed(folders[: root + 1]):
        names = (folder / "AGENTS.md", folder / "CLAUDE.md")
        found += [path for path in names if path.is_file()][:1]
    return found


@cache
def _template() -> str:
    return (Path(__file__).parent / "prompts" / "system.md").read_text("utf-8")


@cache
def _platform() -> str:
    return f"{platform.system()} {platform.release()} {platform.machine()}"
