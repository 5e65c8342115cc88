"""Images on the wire: as parts of a user's message, or as notes for a model that takes none."""

import base64
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from agent.messages import ImagePart

UNSEEN = "this model takes no images"


def with_images(text: str, parts: Sequence[ImagePart], *, shown: bool) -> dict[str, object]:
    """A user's message with its images, each one a note unless `shown`."""
    if not shown:
        # A server that takes no images may not take a list of parts either.
        return {"role": "user", "content": "\n".join([text, *(_note(part, UNSEEN) for part in parts)])}
    return {"role": "user", "content": [{"type": "text", "text": text}, *map(_to_wire, parts)]}


def _to_wire(part: ImagePart) -> dict[str, object]:
    try:
        data = _encoded(part.file)
    except OSError:
        return {"type": "text", "text": _note(part, "it is gone")}
    return {"type": "image_url", "image_url": {"url": f"data:{part.media_type};base64,{data}"}}


def _note(part: ImagePart, why: str) -> str:
    return f"[the image {part.name} is not shown: {why}]"


@lru_cache(16)
def _encoded(file: str) -> str:
    return base64.b64encode(Path(file).read_bytes()).decode("ascii")
