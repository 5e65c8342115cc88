"""Where a tool cuts text short, no half of a secret stays."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from agent.cancel import CancelToken
from agent.protocols import Action, ToolContext, ToolResult
from agent.redact import Redactor
from agent.tools import default_tools
from agent.tools.output import BoundedOutput

SECRET = "sk-" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC2dF4"
KNOWN = "values-of-variables-have-no-shape"
LINE = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC2dF4aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC2d"
KEY = "\n".join(["-----BEGIN PRIVATE " + "KEY-----", *[LINE] * 24, "-----END PRIVATE " + "KEY-----"])
SECRETS = pytest.mark.parametrize("secret", [SECRET, KNOWN, KEY], ids=["shaped", "known", "private key"])

Call = Callable[..., ToolResult]


def leaks(secret: str, text: str) -> bool:
    """Whether six characters in a row of the secret's middle are there."""
    return any(secret[at : at + 6] in text for at in range(28 if secret == KEY else 4, len(secret) - 40))


@pytest.fixture
def redacting(tmp_path: Path) -> Call:
    tools = {tool.name: tool for tool in default_tools()}

    def call(name: str, *, limit: int = 2000, **arguments: object) -> ToolResult:
        tool, context = tools[name], ToolContext(tmp_path, output_limit=limit, redact=Redactor([KNOWN]))
        return tool.run(msgspec.convert(arguments, tool.arguments), context, CancelToken())

    return call


@SECRETS
@pytest.mark.parametrize("dots", range(68, 160, 9))
def test_output_that_is_cut_in_a_secret(secret: str, dots: int) -> None:
    """The first or the last 100 bytes end within it, whatever else there was."""
    for middle in ("", "." * 100, ("." * 70 + "\n") * 3_000):
        output = BoundedOutput(200)
        output.add(f"{'.' * dots}\n{secret}\n{middle}\n{secret}\n{'.' * dots}".encode())
        text = output.text(Redactor([KNOWN]))
        assert "left out" in text
        assert not leaks(secret, text)


@SECRETS
@pytest.mark.parametrize("much", [0, 40_000])
def test_output_that_is_handed_out_in_pieces(secret: str, much: int) -> None:
    redact, output, position, told = Redactor([KNOWN]), BoundedOutput(200), 0, ""
    output.add(b".\n" * much)
    for piece in (f"one {secret[:200]}", secret[200:], " two"):
        output.add(piece.encode())
        text, position = output.after(position, redact)
        told += text
    assert position == 2 * much + len(f"one {secret} two")
    assert "one" in told
    assert told.endswith(" two")
    assert not leaks(secret, told)


def test_what_is_handed_out_after_much_was_dropped_says_how_much() -> None:
    output = BoundedOutput(200)
    output.add(b"head " + b"." * 500_000 + b" tail")
    text, position = output.after(0, Redactor())
    first, _, last = text.partition("\n[… ")
    count = int(last.partition(" bytes")[0].replace(",", ""))
    shown = len(first) + len(last.partition("…]\n")[2])
    assert (position, shown + count) == (500_010, 500_010)
    assert output.after(position, Redactor()) == ("", position)


def test_colours_hide_no_secret_where_output_is_cut() -> None:
    output = BoundedOutput(200)
    output.add(f"{'.' * 80}\x1b[31m{SECRET}\x1b[0m{'.' * 500}".encode())
    assert not leaks(SECRET, output.text(Redactor()))


@SECRETS
def test_a_file_read_in_pieces(secret: str, tmp_path: Path, redacting: Call) -> None:
    (tmp_path / "notes").write_text(f"first\n{secret}\nlast\n")
    lines = 2 + len(secret.splitlines())
    for start in range(1, lines + 1):
        for end in {start, min(start + 3, lines), lines}:
            assert not leaks(secret, redacting("read_file", path="notes", start_line=start, end_line=end).content)


@SECRETS
def test_a_file_cut_at_the_limit(secret: str, tmp_path: Path, redacting: Call) -> None:
    (tmp_path / "notes").write_text(f"{'.' * 580} {secret} {'.' * 5000}")
    for limit in range(1180, 1260, 7):
        assert not leaks(secret, redacting("read_file", path="notes", limit=limit).content)


@SECRETS
def test_lines_that_a_search_finds(secret: str, tmp_path: Path, redacting: Call) -> None:
    (tmp_path / "notes").write_text(f"first\n{secret}\n{'.' * 290} {secret} {'.' * 100}\nlast\n")
    found = redacting("search_files", pattern=".", path="notes", limit=9000)
    assert "first" in found.content
    assert "last" in found.content
    assert not leaks(secret, found.content)


@SECRETS
def test_the_lines_named_when_an_edit_does_not_fit(secret: str, tmp_path: Path, redacting: Call) -> None:
    (tmp_path / "notes").write_text(f"{'first ' * 49}{secret}\n")
    with pytest.raises(Exception, match="nearest") as refused:
        redacting("edit_file", path="notes", old="first " * 49 + "x" * len(secret.splitlines()[0]), new="y")
    assert not leaks(secret, str(refused.value))


@pytest.mark.parametrize("mark", ["key.pem:{}:", "{}\t", "     {}\t", "key.pem:", "-", "+", " "])
def test_a_private_key_with_marks_before_its_lines(mark: str) -> None:
    marked = "\n".join(mark.format(number) + line for number, line in enumerate(KEY.split("\n"), 1))
    assert not leaks(KEY, Redactor()(f"before\n{marked}\nafter"))
    assert not leaks(KEY, Redactor()("before\n" + marked.partition("\n")[2]))


def test_the_title_of_a_command_is_cut_without_half_a_secret(tmp_path: Path) -> None:
    (terminal,) = (tool for tool in default_tools() if tool.name == "terminal")
    context = ToolContext(tmp_path, redact=Redactor())
    for words in range(30, 80, 3):
        command = f"curl {'x' * words} {SECRET} --and-many-more-words"
        action: Action = terminal.plan(msgspec.convert({"command": command}, terminal.arguments), context)
        assert not leaks(SECRET, action.title)
        assert action.command == command
