"""What came with a message, as the agent reads it; its files are kept in the workspace, and named."""

import contextlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from agent.reports import quoted
from gateway.platforms.base import Attachment, DeliveryError, MessageEvent, TakesFiles
from gateway.telling import Aside

_log = logging.getLogger(__name__)

RECEIVED = "received"
"""The folder in the workspace that files are put into."""

LIMIT = 20_000_000
"""Bytes of one file."""

NAME_LENGTH = 80


def as_prompt(event: MessageEvent, files: list[str]) -> str:
    """A message as the agent reads it: what is not the person's own words is marked as such."""
    text = event.text
    if event.kind == "edit":
        text = f"(I have changed an earlier message. It now says:)\n{text}"
    if event.forwarded:
        text = "\n".join(["(I forward what somebody else wrote:)", *quoted(text)])
    if event.quoted:
        text = "\n".join(["(In answer to:)", *quoted(event.quoted), "", text])
    return "\n".join([text, *files]).strip()


@dataclass(frozen=True, slots=True)
class Received:
    """A file that came: `line` tells the agent of it, `path` is where it is, None when it could not be fetched."""

    attachment: Attachment
    line: str
    path: Path | None = None


async def take_in(adapter: object, event: MessageEvent, workspace: Path, aside: Aside) -> list[Received]:
    """Fetch what came with a message. Says for each where it is, or why not."""
    found = enumerate(event.attachments, 1)
    return [await _one(adapter, event, attachment, number, workspace, aside) for number, attachment in found]


async def _one(
    adapter: object, event: MessageEvent, attachment: Attachment, number: int, workspace: Path, aside: Aside
) -> Received:
    name = safe_name(attachment.name) or attachment.kind
    came = f"a {attachment.kind} named {name} came with this message"
    if not isinstance(adapter, TakesFiles):
        return Received(attachment, f"[{came}, and cannot be fetched]")
    folder = workspace / RECEIVED
    # The message's id keeps files of one name apart, and a message that is dealt with again from being fetched twice.
    path = folder / f"{safe_name(event.message_id) or 'm'}-{number}-{name}"
    partial = path.with_name(f"{path.name}.partial")
    try:
        if not await aside(lambda: _prepared(path, partial)):
            await adapter.fetch(attachment, partial, limit=LIMIT)
            await aside(lambda: partial.rename(path))
    except (DeliveryError, OSError) as error:
        with contextlib.suppress(OSError):
            await aside(lambda: partial.unlink(missing_ok=True))
        _log.info("fetching %s: %s", name, error)
        return Received(attachment, f"[{came}, and could not be fetched: {error}]")
    return Received(attachment, f"[{attachment.kind} received: {path.relative_to(workspace)}]", path)


def _prepared(path: Path, partial: Path) -> bool:
    """Whether the file was fetched before; else there is room for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return True
    partial.unlink(missing_ok=True)
    return False


def safe_name(claimed: str) -> str:
    """A file's name as its sender gave it, without what could lead elsewhere."""
    name = re.split(r"[/\\]", claimed)[-1]
    name = "".join(character if character.isprintable() and character not in '<>:"|?*' else "_" for character in name)
    stem, dot, ending = name.strip(" .").rpartition(".")
    if not dot:
        return ending[:NAME_LENGTH]
    return f"{stem[: NAME_LENGTH - len(ending) - 1]}.{ending}" if len(ending) < 12 else name[:NAME_LENGTH].strip(" .")
