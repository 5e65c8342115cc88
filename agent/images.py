"""Images on their way to a model: recognised, kept under their own content's name, mentioned in a prompt."""

import hashlib
import re
import struct
import zlib
from pathlib import Path

from agent.errors import HermesError
from agent.messages import ImagePart
from agent.own_files import put

LARGEST = 5_000_000
"""Bytes; the smallest limit among the large providers."""
FOLDER = "images"
"""Where they are kept, below the state directory."""
MOST = 10
"""Images in one message."""

_MAGIC = (
    (re.compile(rb"\x89PNG\r\n"), "image/png", ".png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg", ".jpg"),
    (re.compile(rb"GIF8[79]a"), "image/gif", ".gif"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "image/webp", ".webp"),
)
_FILLS, _PICTURE, _JPEG_END = 0xFF, 0xDA, b"\xff\xd9"
_GIF_HEAD = 13
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp")
_MENTION = re.compile(r"""(?:^|(?<=\s))@(?:"([^"\n]+)"|(\S+))""")


def media_type(data: bytes) -> str:
    """By the first bytes; "" when it is no image that models take."""
    return _kind(data)[0]


def suffix(data: bytes) -> str:
    """Of a file that begins so, with the dot; "" when it is no image that models take."""
    return _kind(data)[1]


def _kind(data: bytes) -> tuple[str, str]:
    return next(((kind, suffix) for magic, kind, suffix in _MAGIC if magic.match(data)), ("", ""))


def is_whole(data: bytes) -> bool:
    """Whether an image is there from its beginning to its end, as far as that shows without drawing it.

    A provider refuses a conversation for one that is not, and each turn after it.
    """
    match media_type(data):
        case "image/png":
            return _is_whole_png(data)
        case "image/jpeg":
            return _is_whole_jpeg(data)
        case "image/gif":
            return len(data) > _GIF_HEAD and data.rstrip(b"\0\r\n").endswith(b";")
        case "image/webp":
            return data[12:15] == b"VP8" and 8 + int.from_bytes(data[4:8], "little") <= len(data)
        case _:
            return False


def _is_whole_png(data: bytes) -> bool:
    """Chunks with right sums from the head to the end, some of them with the picture."""
    kinds: list[bytes] = []
    at = 8
    while at + 12 <= len(data) and kinds[-1:] != [b"IEND"]:
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if data[end : end + 4] != struct.pack(">I", zlib.crc32(data[at + 4 : end])):
            return False
        kinds.append(data[at + 4 : at + 8])
        at = end + 4
    return kinds[:1] == [b"IHDR"] and b"IDAT" in kinds and kinds[-1] == b"IEND"


def _is_whole_jpeg(data: bytes) -> bool:
    """Segments up to the picture, and an end behind that: a small picture in a segment has an end of its own."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _FILLS:
            at += 1
            continue
        if marker == _PICTURE:
            return data.find(_JPEG_END, at + 2 + length) > 0
        at += 2 + length
    return False


def keep(data: bytes, name: str, folder: Path) -> ImagePart:
    """Keep an image. The same content is kept once.

    Raises: HermesError when it is none, too large, damaged, or cannot be written.
    """
    kind, ending = _kind(data)
    if not kind:
        raise HermesError(f"{name} is no image that models take.", hint="PNG, JPEG, GIF and WebP are.")
    if len(data) > LARGEST:
        raise HermesError(f"{name} is too large ({len(data):,} bytes).", hint=f"At most {LARGEST:,} are sent.")
    if not is_whole(data):
        raise HermesError(f"{name} is damaged: a part of the image is missing or wrong.", hint="Save it anew.")
    path = folder / f"{hashlib.sha256(data).hexdigest()[:32]}{ending}"
    try:
        if not path.exists():
            put(path, data)
    except OSError as error:
        raise HermesError(f"{name} cannot be kept in {folder}: {error.strerror}.") from error
    return ImagePart(str(path), kind, name)


def mentioned(text: str, cwd: Path, folder: Path, *, anywhere: bool = True) -> tuple[ImagePart, ...]:
    """The images that a prompt names as `@shot.png` or `@"my shot.png"`; what is no image is left alone.

    Unless they may lie `anywhere`, those outside of `cwd` are left alone, too. Raises: HermesError.
    """
    found: dict[str, ImagePart] = {}
    for match in _MENTION.finditer(text):
        name = match[1] or match[2].rstrip(".,;:!?)]}'\"")
        if name in found or not name.lower().endswith(SUFFIXES):
            continue
        try:
            path = cwd / Path(name).expanduser()
            if not anywhere and not path.resolve().is_relative_to(cwd.resolve()):
                continue
            if not path.is_file() or path.stat().st_size > 20 * LARGEST:
                continue
            data = path.read_bytes()
        except (OSError, RuntimeError, ValueError):
            continue
        if media_type(data):
            found[name] = keep(data, name, folder)
    if len(found) > MOST:
        raise HermesError(f"{len(found)} images are too many for one message.", hint=f"Name at most {MOST}.")
    return tuple(found.values())
