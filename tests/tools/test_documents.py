"""Reading what is no text: images, PDF documents, notebooks."""

import json
from pathlib import Path

import pytest

from agent.errors import HermesError, ToolError
from agent.images import LARGEST, keep, mentioned
from tests.support.pictures import PNG


def a_pdf(*texts: str) -> bytes:
    """A document of one page a text."""
    pages = range(3, 3 + 2 * len(texts), 2)
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{' '.join(f'{number} 0 R' for number in pages)}] /Count {len(texts)} >>",
    ]
    font = "<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    for number, text in zip(pages, texts, strict=True):
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
        objects.append(f"<< /Type /Page /Parent 2 0 R /Contents {number + 1} 0 R /Resources {font} >>")
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    data, places = "%PDF-1.4\n", []
    for number, item in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{item}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    start = len(data)
    data += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    data += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
    return data.encode()


def test_an_image_goes_to_the_model_as_an_image(call, tmp_path: Path) -> None:
    (tmp_path / "shot.png").write_bytes(PNG)
    result = call("read_file", path="shot.png")
    assert result.content == "[shot.png: image/png, 70 bytes; the image follows]"
    (part,) = result.images
    assert (part.media_type, part.name, Path(part.file).read_bytes()) == ("image/png", "shot.png", PNG)
    assert Path(part.file).is_relative_to(tmp_path.parent)
    assert call("read_file", path="shot.png").images == result.images


def test_an_image_that_is_too_large_is_refused(call, tmp_path: Path) -> None:
    (tmp_path / "big.png").write_bytes(PNG + bytes(LARGEST))
    with pytest.raises(ToolError, match="too large"):
        call("read_file", path="big.png")


def test_the_text_of_a_pdf_by_pages(call, tmp_path: Path) -> None:
    (tmp_path / "paper.pdf").write_bytes(a_pdf("First words", "Second words"))
    assert call("read_file", path="paper.pdf").display == "[page 1 of 2]\nFirst words\n\n[page 2 of 2]\nSecond words\n"
    assert "Second" not in call("read_file", path="paper.pdf", end_line=3).content


@pytest.mark.parametrize("data", [b"%PDF-1.4\nrubbish", a_pdf("x")[:200], a_pdf("x").replace(b"/Pages 2", b"/Pages 9")])
def test_a_damaged_pdf_is_explained(call, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "paper.pdf").write_bytes(data)
    with pytest.raises(ToolError, match="PDF document that cannot be read"):
        call("read_file", path="paper.pdf")


def test_a_notebook_by_cells(call, tmp_path: Path) -> None:
    outputs = [
        {"output_type": "stream", "text": ["hi\n"]},
        {"output_type": "display_data", "data": {"image/png": "…"}},
        {"output_type": "error", "ename": "ValueError", "evalue": "no"},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {"cell_type": "code", "source": "print('hi')", "outputs": outputs},
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}))
    assert call("read_file", path="a.ipynb").display == (
        "[cell 1, markdown]\n# Title\ntext\n[cell 2, code]\nprint('hi')\n[output of cell 2]\nhi\n"
        "[output of cell 2]\n(image/png)\n[output of cell 2]\nValueError: no\n"
    )
    (tmp_path / "b.ipynb").write_text("[]")
    with pytest.raises(ToolError, match="not a notebook"):
        call("read_file", path="b.ipynb")


# -- mentions --------------------------------------------------------------------------------------


def test_images_that_a_prompt_names(tmp_path: Path) -> None:
    (tmp_path / "shot.png").write_bytes(PNG)
    (tmp_path / "my shot.PNG").write_bytes(PNG + b"2")
    (tmp_path / "text.png").write_text("no image")
    prompt = 'what is on @shot.png, @"my shot.PNG" and @text.png? Not mail@shot.png, @gone.png; @shot.png again'
    found = mentioned(prompt, tmp_path, tmp_path / "kept")
    assert [part.name for part in found] == ["shot.png", "my shot.PNG"]
    assert Path(found[0].file).read_bytes() == PNG
    for number in range(11):
        (tmp_path / f"{number}.png").write_bytes(PNG)
    with pytest.raises(HermesError, match="too many"):
        mentioned(" ".join(f"@{number}.png" for number in range(11)), tmp_path, tmp_path / "kept")


def test_only_images_are_kept(tmp_path: Path) -> None:
    with pytest.raises(HermesError, match="no image"):
        keep(b"text", "x.png", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(HermesError, match="cannot be kept"):
        keep(PNG, "x.png", tmp_path / "file" / "in")
