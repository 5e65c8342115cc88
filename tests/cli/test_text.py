"""Text on its way to the screen: blocks, rows, and nothing that could harm a terminal."""

import random
from itertools import pairwise

import pytest

from agent.money import dollars
from hermes_cli.blocks import MOST_LINES, BlockCutter
from hermes_cli.paste import MOST_CHARACTERS, Pastes
from hermes_cli.paste import MOST_LINES as MOST_PASTED
from hermes_cli.text import (
    LONGEST_WRAPPED,
    clip,
    columns,
    count,
    echoed,
    harmless,
    seconds,
    tail_rows,
    without_markdown,
    wrap,
)

# -- blocks ----------------------------------------------------------------------------------------

TEXTS = {
    "prose": "First paragraph\nof two lines.\n\nSecond.\n\n\n\nThird",
    "code": "Look:\n```python\ndef f():\n\n    return 1\n```\nDone.\n",
    "open fence": "Look:\n~~~\nnever closed\n\nstill code",
    "nested fences": "````md\n```\ninner\n```\n````\nafter",
    "indented fence": "- item\n  ```sh\n  ls\n  ```\n- item\n",
    "no fence": "``` `not a fence` ```\ntext",
    "list": "".join(f"- item {number}\n" for number in range(150)),
    "table": "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 150,
    "long code": "```\n" + "".join(f"line {number}\n" for number in range(200)) + "```\nend",
    "empty": "",
    "new lines": "\n\n\n",
    "windows": "a\r\n\r\nb\r\n",
    "wide": "日本語\n\n👩‍👩‍👧 é\n",
    "empty fence": "a\n```\n```\nb",
}


def cut(pieces: list[str]) -> list[str]:
    cutter = BlockCutter()
    blocks = [block for piece in pieces for block in cutter.feed(piece)]
    return [*blocks, *cutter.finish()]


def pieces_of(text: str, random_: random.Random) -> list[str]:
    places = sorted(random_.randrange(len(text) + 1) for _ in range(random_.randrange(1, 40)))
    return [text[start:end] for start, end in pairwise([0, *places, len(text)])]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_blocks_are_the_same_however_the_text_arrives(text: str) -> None:
    whole = cut([text])
    assert cut(list(text)) == whole
    for seed in range(60):
        assert cut(pieces_of(text, random.Random(seed))) == whole, seed


def test_random_markdown_is_cut_the_same_however_it_arrives() -> None:
    parts = ["word ", "\n", "\n\n", "```\n", "~~~\n", "````py\n", "- x\n", "| a |\n", "`", "  ", "日", "# h\n", "\t"]
    for seed in range(200):
        random_ = random.Random(seed)
        text = "".join(random_.choice(parts) for _ in range(random_.randrange(80)))
        assert cut(pieces_of(text, random_)) == cut([text]), (seed, text)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_no_word_is_lost_and_none_comes_twice(text: str) -> None:
    def words(of: str) -> list[str]:
        return [word for word in of.split() if not word.startswith(("```", "~~~"))]

    blocks = cut([text])
    # A table that goes on in the next block has its head again.
    goes_on = [
        block.split("\n")[2:] if block.startswith("| a | b |") and at else [block] for at, block in enumerate(blocks)
    ]
    assert words("\n".join("\n".join(rows) for rows in goes_on)) == words(text)


LINEAR = {
    # A long table has its head again.
    **{name: text for name, text in TEXTS.items() if name != "table"},
    "long prose": "some `code of two words` and **bold words** in it - so. " * 20 + "\n\nEnd",
    "two lists": "Here:\n- one\n  - two\n- three\n\n1. four\n2. five\n",
}


@pytest.mark.parametrize("text", LINEAR.values(), ids=LINEAR)
def test_what_is_taken_out_early_loses_no_word_and_leaves_a_rest(text: str) -> None:
    cutter, found = BlockCutter(), list[str]()
    for character in text:
        found += cutter.feed(character)
        if early := cutter.ready(20):
            found.append(early)
            assert cutter.tail.strip()
    found += cutter.finish()
    assert not [piece for piece in found if piece.count("**") % 2]
    said, meant = (
        [word for word in whole.split() if not word.startswith(("```", "~~~"))] for whole in ("\n".join(found), text)
    )
    assert said == meant


def test_rows_of_prose_and_lines_of_code_are_taken_out_before_their_block_is_whole() -> None:
    cutter = BlockCutter()
    assert list(cutter.feed("one two three")) == []
    assert cutter.ready(8) == "one two"
    assert list(cutter.feed(" - four **five six seven")) == []
    assert cutter.ready(8) == "three - four"
    assert cutter.ready(8) == ""
    assert list(cutter.feed("**\n\n```\nx = 1\ny = 2\n")) == ["**five six seven**"]
    assert cutter.ready(8) == "```\nx = 1\n```"
    assert cutter.ready(8) == ""


def test_a_paragraph_is_handed_out_as_soon_as_it_is_over() -> None:
    cutter = BlockCutter()
    assert list(cutter.feed("one\n")) == []
    assert cutter.tail == "one\n"
    assert list(cutter.feed("\ntw")) == ["one"]
    assert cutter.tail == "tw"
    assert list(cutter.finish()) == ["tw"]
    assert cutter.tail == ""


def test_code_stays_in_one_block_with_its_fence() -> None:
    assert cut([TEXTS["code"]]) == ["Look:", "```python\ndef f():\n\n    return 1\n```", "Done."]


def test_a_fence_nobody_closed_is_closed_at_the_end() -> None:
    assert cut([TEXTS["open fence"]]) == ["Look:", "~~~\nnever closed\n\nstill code\n~~~"]


@pytest.mark.parametrize("name", ["list", "long code"])
def test_something_long_is_handed_out_in_pieces(name: str) -> None:
    blocks = cut([TEXTS[name]])
    assert len(blocks) > 2
    assert all(block.count("\n") <= MOST_LINES + 2 for block in blocks)


def test_each_piece_of_long_code_is_code_by_itself() -> None:
    *code, end = cut([TEXTS["long code"]])
    assert end == "end"
    assert all(block.startswith("```\n") and block.endswith("\n```") for block in code)


# -- harmless --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[38;5;196mred\x1b[m", "red"),
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("\x1b[?1049hother screen", "other screen"),
        ("\x1b[?2004lpaste", "paste"),
        ("\x1b[6n\x1b[cask me", "ask me"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]0;title\x1b\\text", "text"),
        ("\x1b]8;;http://evil\x07link\x1b]8;;\x07", "link"),
        ("\x1b]52;c;cm0gLXJm\x07clipboard", "clipboard"),
        ("\x1b]0;never ends", ""),
        ("\x1bPq#0~\x1b\\picture", "picture"),
        ("\x1b_Gf=100;AAAA\x1b\\picture", "picture"),
        ("\x1bcreset", "reset"),
        ("\x1b7\x1b8saved", "saved"),
        ("\x1b(0lines", "lines"),
        ("\x1b", ""),
        ("end\x1b[", "end"),
        ("\x9b31mred", "red"),
        ("bell\x07", "bell"),
        ("back\x08space", "backspace"),
        ("\x00nul\x7f", "nul"),
        ("progress 1%\rprogress 2%", "progress 2%"),
        ("a\rb\r\nc\r\n", "b\nc\n"),
        ("done\r", "done"),
        ("\u202egnp.exe", "gnp.exe"),
        ("a\u2066b\u2069c\u200ed\u200f", "abcd"),
        ("日本 é 👩‍👧", "日本 é 👩‍👧"),
    ],
)
def test_what_could_harm_a_terminal_is_taken_out(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_colours_stay_where_they_are_asked_for_and_nothing_else_does() -> None:
    text = "\x1b[1;31mred\x1b[0m \x1b[2J\x1b]0;t\x07\x07x"
    assert harmless(text, keep_colours=True) == "\x1b[1;31mred\x1b[0m x"


def test_no_random_bytes_get_through() -> None:
    alphabet = "\x1b\x9b\x07\x08\r\n[]PX^_\\();?0123456789ABHJKmhlcn~ \u202e\x00a日"
    for seed in range(500):
        random_ = random.Random(seed)
        text = "".join(random_.choice(alphabet) for _ in range(40))
        cleaned = harmless(text)
        assert all(character in "\n\t" or character.isprintable() for character in cleaned), (seed, text)
        assert harmless(cleaned) == cleaned


def test_what_the_person_sent_is_echoed_without_its_escapes_and_with_its_lines_indented() -> None:
    assert echoed("one\ntwo three\x1b[2J\n", ">", colours=False, width=8) == "\n> one\n  two\n  three\n"
    assert "\x1b[2J" not in echoed("one\x1b[2J", ">", colours=True, width=80)


# -- rows and columns ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "width", "rows", "expected"),
    [
        ("a\nb\nc", 10, 2, ["b", "c"]),
        ("abcdef", 3, 5, ["abc", "def"]),
        ("日本語", 4, 5, ["日本", "語"]),
        ("日本語", 5, 5, ["日本", "語"]),
        ("a\tb", 10, 2, ["a   b"]),
        ("", 10, 3, [""]),
    ],
)
def test_the_last_rows_of_a_text_are_those_a_terminal_would_show(
    text: str, width: int, rows: int, expected: list[str]
) -> None:
    assert tail_rows(text, width, rows) == expected


@pytest.mark.parametrize(
    ("line", "rows"),
    [
        ("one two three", ["one two", "three"]),
        ("one two", ["one two"]),
        ("one four  ", ["one four"]),
        ("one  two   three", ["one  two", "three"]),
        ("a incomprehensible b", ["a incomp", "rehensib", "le b"]),
        ("    indented", ["    inde", "nted"]),
        ("日本語 日本語", ["日本語", "日本語"]),
    ],
)
def test_a_line_is_wrapped_between_words_and_a_word_only_broken_where_it_fits_no_row(
    line: str, rows: list[str]
) -> None:
    assert wrap(line, 8) == rows


@pytest.mark.parametrize("word", ["word12 ", "日本 ", "x"])
def test_rows_that_are_full_stay_as_they_are_while_a_line_grows(word: str) -> None:
    text = word * 100
    for length in range(len(text)):
        *full, _last = tail_rows(text[:length], 20, length + 1)
        assert tail_rows(text[: length + 1], 20, length + 1)[: len(full)] == full


def test_the_end_of_a_very_long_line_is_found_without_all_of_it() -> None:
    assert tail_rows("word " * LONGEST_WRAPPED + "end", 20, 2) == ["word word word word ", "end"]


def test_rows_are_never_wider_than_the_screen_nor_more_than_were_asked_for() -> None:
    for seed in range(100):
        random_ = random.Random(seed)
        text = "".join(random_.choice("ab日本\n\t 👍é") for _ in range(random_.randrange(300)))
        width, most = random_.randrange(2, 30), random_.randrange(1, 10)
        found = tail_rows(text, width, most)
        assert len(found) <= most
        assert all(columns(row) <= width for row in found), (seed, found)


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("short", 10, "short"),
        ("a  b\nc", 10, "a b c"),
        ("abcdefghij", 10, "abcdefghij"),
        ("abcdefghijk", 10, "abcdefghi…"),
        ("日本語日本語", 8, "日本語…"),
        ("abc", 0, ""),
    ],
)
def test_a_line_is_clipped_by_columns(text: str, width: int, shown: str) -> None:
    assert clip(text, width) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.44, "0.4s"), (9.9, "9.9s"), (41, "41s"), (900, "15m"), (7800, "2h10m"), (7260, "2h01m")]
)
def test_durations_are_for_people(value: float, shown: str) -> None:
    assert seconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (950, "950"), (1000, "1K"), (12_400, "12.4K"), (1_200_000, "1.2M")]
)
def test_numbers_of_tokens_are_for_people(value: int, shown: str) -> None:
    assert count(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "$0.00"), (0.06, "$0.06"), (0.0004, "$0.0004"), (1e-06, "$0.000001"), (12.5, "$12.50")]
)
def test_sums_of_money_are_for_people(value: float, shown: str) -> None:
    assert dollars(value) == shown


# -- pastes ----------------------------------------------------------------------------------------

LONG = "\n".join(f"line {number}" for number in range(MOST_PASTED + 5))


def test_a_short_paste_stays_as_it_is() -> None:
    assert Pastes().fold("one\r\ntwo\rthree") == "one\ntwo\nthree"


@pytest.mark.parametrize("text", [LONG, "x" * (MOST_CHARACTERS + 1), "[pasted #7: 3 lines]\n" * 20])
def test_a_long_paste_folds_to_a_word_and_is_sent_whole(text: str) -> None:
    pastes = Pastes()
    word = pastes.fold(text)
    assert "\n" not in word
    assert len(word) < 40
    assert pastes.unfold(f"look: {word}, please") == f"look: {text}, please"


def test_the_end_of_the_last_line_of_a_paste_is_no_line_more() -> None:
    assert Pastes().fold("line\n" * 47) == "[pasted #1: 47 lines]"


def test_the_same_paste_folds_to_the_same_word_and_another_to_another() -> None:
    pastes = Pastes()
    first, second = pastes.fold(LONG), pastes.fold(LONG + "!")
    assert pastes.fold(LONG) == first != second
    assert pastes.unfold(second + first) == LONG + "!" + LONG


def test_a_word_that_only_looks_like_a_fold_stays() -> None:
    pastes = Pastes()
    assert pastes.unfold("[pasted #1: 20 lines]") == "[pasted #1: 20 lines]"
    assert pastes.fold_at_end("[pasted #1: 20 lines]") == ""


def test_a_fold_at_the_end_is_deleted_as_one() -> None:
    pastes = Pastes()
    word = pastes.fold(LONG)
    assert pastes.fold_at_end(f"see {word}") == word
    assert pastes.fold_at_end(f"see {word}.") == ""
    assert pastes.fold_at_end("see") == ""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("## Found **three** places", "Found three places"),
        ("\n```python\nx = 1\n```", "x = 1"),
        ("- see [the log](http://x/y) of `a_b_c`", "see the log of a_b_c"),
        ("2 * 3 * 4 and __init__", "2 * 3 * 4 and __init__"),
        ("> quoted", "quoted"),
        ("", ""),
    ],
)
def test_a_line_of_markdown_is_told_without_its_marks(text: str, line: str) -> None:
    assert without_markdown(text) == line
