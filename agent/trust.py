"""Which folders a person trusts: only there are the project's instructions and settings read.

A folder is asked about once, and the answer kept in the state directory. It counts for the repository as a whole; a
folder that `trusted_folders` names needs no answer.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from agent.own_files import changing, write_private

FILE = "trust.json"


def root_of(cwd: Path) -> Path:
    """The folder that is trusted or not: the repository's root, or `cwd` where there is no repository."""
    here = cwd.resolve()
    return next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)


def answer(state: Path, cwd: Path) -> bool | None:
    """What the person said of the folder; None when nobody was asked. A file that cannot be read says nothing."""
    return _answers(state).get(str(root_of(cwd)))


def is_trusted(state: Path, cwd: Path, named: Iterable[str] = ()) -> bool:
    """Whether the project's files may be read. `named` are folders that the settings trust."""
    root = root_of(cwd)
    return root in {Path(folder).expanduser().resolve() for folder in named} or _answers(state).get(str(root)) is True


def trusted(state: Path) -> list[str]:
    """The folders that the person said yes to."""
    return [folder for folder, said in _answers(state).items() if said is True]


def remember(state: Path, cwd: Path, said: bool) -> None:
    """Keep an answer. Raises: ConfigError."""
    with changing(state / FILE):
        answers = _answers(state) | {str(root_of(cwd)): said}
        write_private(state / FILE, json.dumps(answers, indent=1, sort_keys=True))


def _answers(state: Path) -> dict[str, bool]:
    try:
        found = json.loads((state / FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return {folder: said for folder, said in found.items() if isinstance(said, bool)} if isinstance(found, dict) else {}
