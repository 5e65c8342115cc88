"""What came with a message, as the agent reads it; its files are kept in the workspace, and named."""

import errno
import logging
import mimetypes
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

_TYPES = mimetypes.MimeTypes(())
"""The table of the standard library alone: what the system adds differs from one machine to the next."""

_SOUNDS = {
    "audio/ogg": ".ogg", "audio/mp4": ".m4a", "audio/wav": ".wav", "audio/flac": ".flac", "audio/webm": ".webm",
}  # fmt: skip
"""What that table lacks."""


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
    name = _named(attachment)
    came = f"a {attachment.kind} named {name} came with this message"
    if not isinstance(adapter, TakesFiles):
        return Received(attachment, f"[{came}, and cannot be fetched]")
    folder = workspace / RECEIVED
    # The message's id keeps files of one name apart, and a message that is dealt with again from being fetched twice.
    path = folder / f"{safe_name(event.message_id) or 'm'}-{number}-{name}"
    try:
        if (found := await aside(lambda: _there(path))) is None:
            # Aside: in the workspace the agent's commands could put a link in its way.
            with tempfile.TemporaryDirectory(prefix="hermes-") as private:
                partial = Path(private) / "file"
                await adapter.fetch(attachment, partial, limit=LIMIT)
                found = await aside(lambda: _put(partial, path))
        is_image = await aside(lambda: _is_image(found))
    except (DeliveryError, OSError) as error:
        why = f"{folder} leads elsewhere, or is no folder" if _is_link(error) else str(error)
        _log.info("fetching %s: %s", name, why)
        return Received(attachment, f"[{came}, and could not be fetched: {why}]")
    return Received(attachment, f"[{attachment.kind} received: {found.relative_to(folder.parent)}]", found, is_image)


def _named(attachment: Attachment) -> str:
    """A name that says what the file is: endpoints that listen go by it, and not every platform gives one."""
    name = safe_name(attachment.name) or attachment.kind
    kind = attachment.mime.partition(";")[0].strip().lower()
    return name if Path(name).suffix else f"{name}{_SOUNDS.get(kind) or _TYPES.guess_extension(kind) or ''}"


def _put(file: Path, path: Path) -> Path:
    """Gives where it is: an image bears the suffix of one, for prompts mention images by it. Raises: OSError."""
    data = file.read_bytes()
    if (suffix := images.suffix(data)) and path.suffix.lower() not in images.SUFFIXES:
        path = path.with_name(f"{path.name}{suffix}")
    unlinked.replace(path, data)
    return path


def _there(path: Path) -> Path | None:
    """Where the file is, if it was fetched before. Raises: OSError where a link is in the way."""
    names = [path.name, *(f"{path.name}{suffix}" for suffix in images.SUFFIXES)]
    return next((place for place in map(path.with_name, names) if _is_there(place)), None)


def _is_there(path: Path) -> bool:
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
