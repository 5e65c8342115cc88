"""Reading a file: lines of text, an image, the text of a document."""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from agent import images
from agent.cancel import CancelToken
from agent.errors import HermesError, ToolError
from agent.protocols import Action, ToolContext, ToolResult
from agent.redact import MARGIN
from agent.tools import files, unlinked
from agent.tools.bench import Workbench
from agent.tools.prose import prose

CHUNK = 1 << 16
"""Bytes read at once; also the longest piece of a line that is held."""


class ReadFileArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: Annotated[str, Meta(min_length=1, description="The file, relative to the working directory or absolute.")]
    start_line: Annotated[int, Meta(ge=1, description="First line, counted from 1.")] = 1
    end_line: Annotated[int, Meta(ge=1, description="Last line; the end of the file when left out.")] | None = None


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Lines `first` to `last` of a file of `total` lines; `cut` when the limit ended it, `torn` within a line.

    `offset` is where the data begins in the file.
    """

    data: bytes
    offset: int
    first: int
    last: int
    total: int
    cut: bool = False
    torn: bool = False


class ReadFile:
    """Shows a file. Of text it never holds more than is shown."""

    name = "read_file"
    arguments = ReadFileArguments

    def __init__(self, bench: Workbench | None = None) -> None:
        self._bench = bench or Workbench()

    @property
    def description(self) -> str:
        return prose(__file__)

    def plan(self, args: ReadFileArguments, context: ToolContext) -> Action:
        if args.end_line is not None and args.end_line < args.start_line:
            raise ToolError(f"end_line {args.end_line} is before start_line {args.start_line}.")
        path = files.resolve(args.path, context.cwd)
        return Action("read", f"{files.shown(path, context.cwd)}{_range(args)}", (path,))

    def preview(self, args: ReadFileArguments, context: ToolContext) -> str:
        del args, context
        return ""

    def run(self, args: ReadFileArguments, context: ToolContext, cancel: CancelToken) -> ToolResult:
        path = files.target(args.path, context)
        name = files.shown(path, context.cwd)
        size = files.require_regular(path, context.cwd).st_size
        with files.explaining(path, context.cwd), os.fdopen(unlinked.opened(path), "rb") as file:
            head = file.read(8192)
            file.seek(0)
            if images.media_type(head):
                return self._image(file.read(images.LARGEST + 1), name)
            source = _document(file, path, name, head, size, cancel)
            if source is file and b"\0" in head:
                raise files.binary(path, context.cwd, head, size)
            excerpt = _excerpt(source, args, files.text_limit(context.output_limit), cancel)
            before, after = _around(source, excerpt)
        if args.start_line > max(excerpt.total, 1):
            raise ToolError(f"{name} has {excerpt.total} lines; start_line {args.start_line} is past its end.")
        try:
            # A line torn at the limit may end inside a character.
            text = excerpt.data.decode(errors="ignore" if excerpt.torn else "strict")
        except UnicodeDecodeError as error:
            raise files.binary(path, context.cwd, head, size) from error
        self._bench.seen.note(path)
        return _result(name, context.redact.part(before + text + after, len(before), len(before + text)), excerpt)

    def _image(self, data: bytes, name: str) -> ToolResult:
        if self._bench.state is None:
            raise ToolError(f"{name} is an image, and there is nowhere to keep it for the model.")
        try:
            part = images.keep(data, name, self._bench.state / images.FOLDER)
        except HermesError as error:
            raise ToolError(error.explain()) from error
        what = f"{part.media_type}, {len(data):,} bytes"
        return ToolResult(f"[{name}: {what}; the image follows]", summary=what, images=(part,), own=True)


def _document(file: IO[bytes], path: Path, name: str, head: bytes, size: int, cancel: CancelToken) -> IO[bytes]:
    """What holds the text: the file itself, or what a document says, as if that were a file."""
    pdf = head.startswith(b"%PDF-")
    if not (pdf or path.suffix == ".ipynb"):
        return file
    from agent.tools import documents

    if size > documents.LARGEST:
        raise ToolError(f"{name} is too large to be looked into ({size:,} bytes).")
    data = file.read()
    text = documents.pdf_text(data, name, cancel) if pdf else documents.notebook_text(data, name)
    return io.BytesIO(text.encode(errors="replace"))


def _range(args: ReadFileArguments) -> str:
    if args.end_line is None:
        return f" from line {args.start_line}" if args.start_line > 1 else ""
    return f" lines {args.start_line}–{args.end_line}"


def _excerpt(file: IO[bytes], args: ReadFileArguments, limit: int, cancel: CancelToken) -> Excerpt:
    """Skip to the wanted lines, keep up to `limit` bytes of them, and count the rest."""
    count = _LineCount()
    while count.newlines < args.start_line - 1 and count.add(file.readline(CHUNK)):
        cancel.raise_if_cancelled()
    offset = file.tell()
    kept, cut, torn = bytearray(), False, False
    while not cut and (args.end_line is None or count.newlines < args.end_line):
        if not (piece := count.add(file.readline(CHUNK))):
            break
        cut = len(kept) + len(piece) > limit
        kept += piece[: limit - len(kept)]
    if cut:
        whole_lines = kept.rfind(b"\n") + 1
        torn = whole_lines == 0
        kept = kept if torn else kept[:whole_lines]
    while count.add(file.read(1 << 20)):
        cancel.raise_if_cancelled()
    last = args.start_line - 1 + kept.count(b"\n") + (not kept.endswith(b"\n") and bool(kept))
    return Excerpt(bytes(kept), offset, args.start_line, last, count.lines, cut, torn)


def _around(file: IO[bytes], excerpt: Excerpt) -> tuple[str, str]:
    """The text on both sides of an excerpt, in which a secret may begin or go on."""
    start, end = max(excerpt.offset - MARGIN, 0), excerpt.offset + len(excerpt.data)
    file.seek(start)
    before = file.read(excerpt.offset - start)
    file.seek(end)
    return before.decode(errors="ignore"), file.read(MARGIN).decode(errors="ignore")


class _LineCount:
    """Counts the lines of a file from its pieces."""

    def __init__(self) -> None:
        self.newlines = 0
        self._open = False

    @property
    def lines(self) -> int:
        return self.newlines + self._open

    def add(self, piece: bytes) -> bytes:
        """Count a piece, and give it back."""
        self.newlines += piece.count(b"\n")
        if piece:
            self._open = not piece.endswith(b"\n")
        return piece


def _result(name: str, text: str, excerpt: Excerpt) -> ToolResult:
    if not excerpt.total:
        return ToolResult(f"[{name} is empty]", summary="empty", own=True)
    crlf = ", CRLF line ends" if files.uses_crlf(text) else ""
    text = text.replace("\r\n", "\n")
    content = f"[{name}, lines {excerpt.first}–{excerpt.last} of {excerpt.total}{crlf}]\n{text}"
    if excerpt.torn:
        content += f"\n[line {excerpt.last} is too long and was cut; go on with start_line={excerpt.last + 1}]"
    elif excerpt.cut:
        content += f"[cut here, the output limit is reached; go on with start_line={excerpt.last + 1}]"
    shown = excerpt.last - excerpt.first + 1
    return ToolResult(content, summary=f"{shown} line{'s' * (shown != 1)}", display=text)


if TYPE_CHECKING:
    from agent.protocols import Tool

    _: Tool = ReadFile()
