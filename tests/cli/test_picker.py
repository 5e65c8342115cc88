"""A list to pick from, without keys or a terminal."""

import pytest

from hermes_cli.glyphs import UNICODE
from hermes_cli.picker import MOST_ROWS, Choice, Picker
from hermes_cli.text import columns


def picker(*titles: str) -> tuple[Picker[str], list[str | None]]:
    chosen: list[str | None] = []
    choices = [Choice(title, ("2h ago", "5 messages", "~/src"), title, f"id_{title}") for title in titles]
    return Picker("Which?", choices, chosen.append), chosen


def drawn(picker: Picker[str], width: int = 80, rows: int = 24) -> list[str]:
    return "".join(fragment[1] for fragment in picker.fragments(UNICODE, width=width, rows=rows)).splitlines()


def test_every_word_narrows_the_list_and_what_is_not_shown_counts_too() -> None:
    shown, chosen = picker("fix the cart", "paint the cart", "cook")
    shown.search("CART fix")
    assert [choice.title for choice in shown.shown] == ["fix the cart"]
    shown.search("id_cook")
    shown.choose()
    assert chosen == ["cook"]


def test_the_selection_stays_within_the_list() -> None:
    shown, chosen = picker("a", "b", "c")
    shown.move(-1)
    shown.move(10)
    shown.choose()
    assert chosen == ["c"]


def test_nothing_is_chosen_from_an_empty_list() -> None:
    shown, chosen = picker("a")
    shown.search("z")
    shown.choose()
    assert chosen == []
    assert "nothing fits" in "\n".join(drawn(shown))


def test_what_is_found_later_is_added_once_and_only_for_what_is_typed_now() -> None:
    shown, _ = picker("a")
    more = Choice("b", (), "b")
    shown.search("a")
    shown.add("z", [more])
    assert len(shown.shown) == 1
    shown.add("a", [more, shown.shown[0]])
    shown.add("a", [more])
    assert [choice.title for choice in shown.shown] == ["a", "b"]


@pytest.mark.parametrize(("width", "rows"), [(80, 24), (40, 12), (20, 5)])
def test_it_fits_and_the_selection_is_in_sight(width: int, rows: int) -> None:
    shown, _ = picker(*(f"a title that is number {number} 漢字" * 3 for number in range(100)))
    for step in (0, 7, 60, 1_000):
        shown.move(step)
        lines = drawn(shown, width, rows)
        assert len(lines) <= min(rows, MOST_ROWS + 2)
        assert all(columns(line) < width for line in lines), lines
        assert sum(line.startswith("›") for line in lines) == 1


def test_a_title_cannot_move_the_cursor() -> None:
    shown, _ = picker("\x1b[2Jgone")
    assert "\x1b" not in "".join(drawn(shown))
