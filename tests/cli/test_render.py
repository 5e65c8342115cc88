"""What the renderer makes of results: boxes no taller than they may be."""

import pytest
from rich.text import Text

from agent.events import Event, ReasoningDelta, StepStarted, TextDelta
from hermes_cli.glyphs import UNICODE
from hermes_cli.render import Look, Renderer


def panel(body: str, *, width: int = 60, ok: bool = True, rows: int = 8) -> list[str]:
    """The rows between the edges of a box."""
    shown = Renderer(Look(lambda: width, False, UNICODE)).panel("#1 done", body, "/tasks show 1", ok=ok, rows=rows)
    lines = shown.strip("\n").split("\n")
    assert all(len(line) <= width for line in lines)
    return [line.strip("│ ") for line in lines[1:-1]]


def test_a_short_result_is_shown_whole() -> None:
    assert panel("one\n\ntwo") == ["one", "", "two"]


def test_where_all_is_linear_no_box_is_drawn_and_thoughts_are_called_so() -> None:
    renderer = Renderer(Look(lambda: 60, False, UNICODE, linear=True), verbose=lambda: True)
    assert renderer.panel("#1 done", "one\n\ntwo", "/tasks show 1") == "\n#1 done\n  one\n\n  two\n  (/tasks show 1)\n"
    events: list[Event] = [ReasoningDelta("Let me see."), TextDelta("Yes.")]
    assert "thinking: Let me see." in "".join(piece for event in events for piece in renderer.event(event))


@pytest.mark.parametrize("ok", [True, False], ids=["done", "failed"])
def test_one_long_paragraph_takes_no_more_rows_than_others(ok: bool) -> None:
    rows = panel("many words in one line " * 200, ok=ok)
    assert len(rows) == 9
    assert rows[-1] == "… more"


def test_the_lines_left_out_are_counted() -> None:
    rows = panel("\n".join(f"- item {number}" for number in range(40)))
    assert rows[:8] == [f"• item {number}" for number in range(8)]
    assert rows[8] == "… 32 more lines"


def test_code_that_is_cut_stays_code() -> None:
    rows = panel("```\n" + "\n".join(f"line {number}" for number in range(40)) + "\n```")
    assert rows[0] == "line 0"
    assert "```" not in "".join(rows)


@pytest.mark.parametrize("text", ["many words in one line " * 5_000, "\n".join(["line"] * 50)], ids=["long", "many"])
def test_a_recap_takes_no_more_rows_than_it_may_whatever_was_said(text: str) -> None:
    renderer = Renderer(Look(lambda: 60, False, UNICODE))
    for shown in (renderer.person(text, 8), renderer.answer(text, 8)):
        *rows, last = shown.strip("\n").split("\n")
        assert len(rows) <= 8
        assert last.startswith("  …")
    assert renderer.person("one\ntwo", 8) == "\n› one\n  two\n"
    assert renderer.answer("one **two**", 8) == "\n● one two\n"


ROWS = [(Text("web_search"), Text("on"), Text("looks for pages in the web")), (Text("todo"), Text("off"), Text(""))]


def table(width: int, headers: tuple[str, ...] = ()) -> list[str]:
    return Renderer(Look(lambda: width, False, UNICODE)).table(ROWS, headers).rstrip("\n").split("\n")


def test_a_table_that_does_not_fit_a_narrow_screen_is_a_record_under_the_other() -> None:
    assert table(40, ("tool", "state", "what")) == [
        "  web_search",
        "    state  on",
        "    what   looks for pages in the web",
        "  todo",
        "    state  off",
    ]
    assert table(30) == ["  web_search", "    on", "    looks for pages in the web", "  todo", "    off"]
    assert table(59)[0].split() == ["web_search", "on", "looks", "for", "pages", "in", "the", "web"]


@pytest.mark.parametrize("width", [40, 80])
def test_the_arguments_of_a_command_are_wrapped_between_choices(width: int) -> None:
    usage = "/reasoning [none|minimal|low|medium|high|xhigh|default]"
    shown = Renderer(Look(lambda: width, False, UNICODE)).pairs([(usage, "how hard it thinks")])
    words = shown.replace("how hard it thinks", "").split()
    assert all(word.endswith(("|", "]", "/reasoning")) for word in words), shown
    assert "".join(words) == usage.replace(" ", "")


def events(*told: Event, verbose: bool = False) -> tuple[str, Renderer]:
    renderer = Renderer(Look(lambda: 60, False, UNICODE), verbose=lambda: verbose)
    return "".join(piece for event in told for piece in renderer.event(event)), renderer


def test_reasoning_is_there_to_be_seen_until_the_answer_begins() -> None:
    shown, renderer = events(StepStarted(1), ReasoningDelta("Let me "), ReasoningDelta("see\x1b[2J."))
    assert (shown, renderer.thought) == ("", "Let me see.")
    assert list(renderer.event(TextDelta("Yes"))) == []
    assert renderer.thought == ""


def test_reasoning_stays_for_those_who_want_to_see_everything() -> None:
    shown, _ = events(StepStarted(1), ReasoningDelta("Let me see."), TextDelta("Yes."), verbose=True)
    assert shown == "\n    Let me see.\n"


def test_a_carriage_return_of_the_model_hides_nothing_it_said() -> None:
    _, renderer = events(TextDelta("owned text\rover"))
    assert "owned text" in renderer.tail
    assert "owned text" in Renderer(Look(lambda: 60, False, UNICODE)).answer("owned text\rover")
    assert "owned text" in "".join(panel("owned text\r\rover"))
