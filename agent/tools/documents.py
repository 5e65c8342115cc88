"""The text in files that are no text: PDF documents and notebooks."""

import io
from collections.abc import Iterator
from typing import Any

from agent.cancel import CancelToken
from agent.errors import ToolError

LARGEST = 50_000_000
"""Bytes of the largest document that should be looked into."""
MOST_PAGES = 500


def pdf_text(data: bytes, name: str, cancel: CancelToken) -> str:
    """Page by page, each under a line with its number. Raises: ToolError, Cancelled."""
    import logging

    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    parts: list[str] = []
    try:
        pages = PdfReader(io.BytesIO(data)).pages
        for number, page in enumerate(pages, 1):
            cancel.raise_if_cancelled()
            if number > MOST_PAGES:
                parts.append(f"[{len(pages) - MOST_PAGES} more pages are left out]\n")
                break
            parts.append(f"[page {number} of {len(pages)}]\n{page.extract_text().strip()}\n")
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ImportError) as error:
        # What a damaged document makes of the reader is anybody's guess.
        raise ToolError(f"{name} is a PDF document that cannot be read: {type(error).__name__}: {error}.") from error
    return "\n".join(parts)


def notebook_text(data: bytes, name: str) -> str:
    """Cell by cell, with their outputs. Raises: ToolError."""
    import msgspec

    try:
        found: Any = msgspec.json.decode(data)
        cells = found["cells"]
        parts = [part for number, cell in enumerate(cells, 1) for part in _cell(number, cell)]
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        raise ToolError(f"{name} is not a notebook of a known form; read it as text under another name.") from error
    return "\n".join(parts) + "\n" * bool(parts)


def _cell(number: int, cell: dict[str, Any]) -> Iterator[str]:
    yield f"[cell {number}, {cell.get('cell_type', 'raw')}]"
    yield _joined(cell.get("source", "")).rstrip("\n")
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        match output.get("output_type"):
            case "stream":
                text = _joined(output.get("text", ""))
            case "error":
                text = f"{output.get('ename')}: {output.get('evalue')}"
            case _:
                text = _joined(data.get("text/plain", "")) or f"({', '.join(data)})"
        yield f"[output of cell {number}]\n{text.rstrip()}"


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
