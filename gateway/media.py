"""What came with a message, as the agent reads it; its files are kept in the workspace, and named."""

import errno
import logging
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from agent import images
from agent.reports import quoted
from agent.tools import unlinked
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


def as_said(words: str, *, forwarded: bool) -> str:
    """A voice message as the agent reads it: one that is forwarded is not in the person's own words."""
    words = words or "(nothing was heard)"
    if forwarded:
        return "\n".join(["(I forward a voice message of somebody else:)", *quoted(words)])
    return f"(I said, in a voice message:)\n{words}"


@dataclass(frozen=True, slots=True)
class Received:
    """A file that came: `line` tells the agent of it, `path` is where it is, None when it could not be fetched.

    `is_image`: of a kind and a size that models take.
    """

    attachment: Attachment
    line: str
    path: Path | None = None
    is_image: bool = False


async def take_in(adapter: object, event: MessageEvent, workspace: Path, aside: Aside) -> list[Received]:
    """Fetch what came with a message into the resolved `workspace`. Says for each where it is, or why not."""
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
    try:
        if not await aside(lambda: _is_there(path)):
            # Aside: in the workspace the agent's commands could put a link in its way.
            with tempfile.TemporaryDirectory(prefix="hermes-") as private:
                partial = Path(private) / "file"
                await adapter.fetch(attachment, partial, limit=LIMIT)
                await aside(lambda: unlinked.replace(path, partial.read_bytes()))
        is_image = await aside(lambda: _is_image(path))
    except (DeliveryError, OSError) as error:
        why = f"{folder} leads elsewhere, or is no folder" if _is_link(error) else str(error)
        _log.info("fetching %s: %s", name, why)
        return Received(attachment, f"[{came}, and could not be fetched: {why}]")
    return Received(attachment, f"[{attachment.kind} received: {path.relative_to(folder.parent)}]", path, is_image)


def _is_there(path: Path) -> bool:
    """Whether the file was fetched before. Raises: OSError where a link is in the way."""
    try:
        os.close(unlinked.opened(path))
    except FileNotFoundError:
        return False
    return True


def _is_image(path: Path) -> bool:
    """Raises: OSError."""
    with os.fdopen(unlinked.opened(path), "rb") as file:
        data = file.read(images.LARGEST + 1)
    return len(data) <= images.LARGEST and images.is_whole(data)


def _is_link(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ELOOP, errno.ENOTDIR)


def as_image(line: str, path: str) -> str:
    """The line of a file, as a mention that sends the image along."""
    return line.replace(path, f'@"{path}"')


def safe_name(claimed: str) -> str:
    """A file's name as its sender gave it, without what could lead elsewhere."""
    name = re.split(r"[/\\]", claimed)[-1]
    name = "".join(character if character.isprintable() and character not in '<>:"|?*' else "_" for character in name)
    stem, dot, ending = name.strip(" .").rpartition(".")
    if not dot:
        return ending[:NAME_LENGTH]
    return f"{stem[: NAME_LENGTH - len(ending) - 1]}.{ending}" if len(ending) < 12 else name[:NAME_LENGTH].strip(" .")
