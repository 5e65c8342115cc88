"""What a model writes in Markdown arrives whole, in each platform's own markup."""

import re
from html import unescape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.commands import preview
from agent.quoting import as_code, literal
from gateway.formatting import Dialect, parts, split
from gateway.markup import DISCORD, SLACK, TELEGRAM, shown_by_telegram
from tests.support.telegram_html import parsed, utf16_length

DIALECTS = {"telegram": TELEGRAM, "slack": SLACK, "discord": DISCORD}

# Everything that could break markup, in any order, with text between.
_SIGNS = [
    *"*_~`<>&|[]()#!\\-+>:\"'\n \t1.",
    "**",
    "***",
    "~~",
    "```",
    "~~~",
    "``",
    "    ",
    "\n\n",
    "\n- ",
    "\n1. ",
    "\n> ",
]
_PIECES = [
    "[a](http://x.y/z)",
    "![i](http://x.y)",
    "<b>",
    "</b>",
    "&lt;",
    "&#x41;",
    "|a|b|\n|-|-|\n|c|",
    "```py\nx=1\n```",
]
_WORDS = ["word", "snake_case", "é", "日本", "👩‍👩‍👧‍👦", "\x00", "\ud800", "https://a.b/c_d*e"]
MARKDOWN = st.lists(st.sampled_from([*_SIGNS, *_PIECES, *_WORDS]), max_size=60).map("".join)


# -- a person's own words --------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from([*_SIGNS, *_PIECES, *_WORDS[:5]]), max_size=30).map(lambda signs: preview("".join(signs)))
)
@example("1. 2*3*4 and *ptr, snake_case_ &amp; <http://a.b> [x](y) `c` ~~no~~ #")
def test_what_somebody_wrote_is_shown_as_it_is(words: str) -> None:
    assert shown_by_telegram(TELEGRAM.render(f'Prompt: "{literal(words)}"')) == f'Prompt: "{words}"'
    assert shown_by_telegram(TELEGRAM.render(literal(words))) == words
    lines = f"no\n# {words}x\n- x\n2. y"
    assert shown_by_telegram(TELEGRAM.render(literal(lines))) == lines.rstrip()
    assert re.sub(r"<[^>]*>", "", TELEGRAM.render(literal(words))) == TELEGRAM.render(literal(words)), (
        "no markup at all"
    )


@given(MARKDOWN.map(preview))
def test_a_line_of_code_is_shown_as_it_is(line: str) -> None:
    markup = TELEGRAM.render(as_code(line)) if line else "<code></code>"
    shown = shown_by_telegram(markup)
    assert re.sub(r"[\x00-\x1f\ud800-\udfff]", "", line) == re.sub(r"[\ufffd]", "", shown)


# -- never a broken entity -------------------------------------------------------------------------


@given(MARKDOWN)
def test_telegram_can_always_parse_it(markdown: str) -> None:
    markup = TELEGRAM.render(markdown)
    assert TELEGRAM.measure(markup) == utf16_length(parsed(markup))


@given(MARKDOWN)
def test_slack_never_gets_a_control_character_that_was_text(markdown: str) -> None:
    outside_links = re.sub(r"<(?:https?://|mailto:)[^|<>\s]+\|[^<>|]*>", "", SLACK.render(markdown))
    outside_quotes = re.sub(r"(?m)^(?:> )+", "", outside_links)
    assert not re.search(r"[<>]|&(?!(?:amp|lt|gt);)", outside_quotes)
    assert outside_links.count("```") % 2 == 0


@given(MARKDOWN)
def test_discord_closes_every_fence(markdown: str) -> None:
    lines = re.sub(r"(?m)^(?:> )+", "", DISCORD.render(markdown)).split("\n")
    assert sum(line.startswith("```") for line in lines) % 2 == 0


# -- what becomes of each thing --------------------------------------------------------------------

TABLE = "| name | n |\n|---|---|\n| 日本 | 1 |\n| ab | 22 |"
COLUMNS = "name  n\n----  --\n日本  1\nab    22"

CASES = {
    "bold": ("**a** b", "<b>a</b> b", "*a* b", "**a** b"),
    "italic": ("*a* b", "<i>a</i> b", "_a_ b", "*a* b"),
    "struck": ("~~a~~", "<s>a</s>", "~a~", "~~a~~"),
    "both": ("***a***", "<i><b>a</b></i>", "_*a*_", "***a***"),
    "code": ("`a<b`", "<code>a&lt;b</code>", "`a&lt;b`", "`a<b`"),
    "code with a backtick": ("`` a`b ``", "<code>a`b</code>", "a`b", "`` a`b ``"),
    "fence": (
        "```py\na < b\n```",
        '<pre><code class="language-py">a &lt; b</code></pre>',
        "```\na &lt; b\n```",
        "```py\na < b\n```",
    ),
    "heading": ("## A **b**", "<b>A b</b>", "*A b*", "## A b"),
    "deep heading": ("#### A", "<b>A</b>", "*A*", "**A**"),
    "link": (
        "[a](http://x.y/?q=1&r=2)",
        '<a href="http://x.y/?q=1&amp;r=2">a</a>',
        "<http://x.y/?q=1&amp;r=2|a>",
        "[a](http://x.y/?q=1&r=2)",
    ),
    "link to a file": ("[a](src/a.py)", "a (src/a.py)", "a (src/a.py)", "a (src/a.py)"),
    "link that runs code": ("[a](javascript:x)", "[a](javascript:x)", "[a](javascript:x)", r"\[a\](javascript:x)"),
    "quote": ("> a\n> b", "<blockquote>a\nb</blockquote>", "> a\n> b", "> a\n> b"),
    "quote in a quote": ("> a\n>> b", "<blockquote>a\n\nb</blockquote>", "> a\n> \n> b", "> a\n> \n> b"),
    "nested list": ("- a\n    - b\n- c", "• a\n  • b\n• c", "• a\n  • b\n• c", "- a\n  - b\n- c"),
    "numbers": ("3. a\n4. b", "3. a\n4. b", "3. a\n4. b", "3. a\n4. b"),
    "code in a list": (
        "- a\n  ```\n  b\n    c\n  ```",
        "• a\n<pre>b\n  c</pre>",
        "• a\n```\nb\n  c\n```",
        "- a\n```\nb\n  c\n```",
    ),
    "table": (TABLE, f"<pre>{COLUMNS}</pre>", f"```\n{COLUMNS}\n```", f"```\n{COLUMNS}\n```"),
    "html": ("<b>a</b> & b", "&lt;b&gt;a&lt;/b&gt; &amp; b", "&lt;b&gt;a&lt;/b&gt; &amp; b", r"\<b>a\</b> & b"),
    "names": ("snake_case_name 2 * 3", "snake_case_name 2 * 3", "snake_case_name 2 * 3", r"snake\_case\_name 2 \* 3"),
    "address": ("see https://a.b/x_y_z", "see https://a.b/x_y_z", "see https://a.b/x_y_z", "see https://a.b/x_y_z"),
    "everybody": (
        "<!channel> <@U1> @everyone",
        "&lt;!channel&gt; &lt;@U1&gt; @everyone",
        "&lt;!channel&gt; &lt;@U1&gt; @everyone",
        r"\<!channel> \<@U1> @everyone",
    ),
    "unfinished": ("**a", "**a", "*\u200b*\u200ba", r"\*\*a"),
    "style in a word": ("**a**b", "<b>a</b>b", "*a*\u200bb", "**a**b"),
    "bold over lines": ("**a\nb**", "<b>a</b>\n<b>b</b>", "*a*\n*b*", "**a**\n**b**"),
    "unfinished fence": ("```\na", "<pre>a</pre>", "```\na\n```", "```\na\n```"),
    "fence in code": ("````\n```\n````", "<pre>```</pre>", "```\n`\u200b`\u200b`\n```", "```\n`\u200b`\u200b`\n```"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_thing_is_written_as_the_platform_writes_it(case: str) -> None:
    markdown, telegram, slack, discord = CASES[case]
    assert [dialect.render(markdown) for dialect in (TELEGRAM, SLACK, DISCORD)] == [telegram, slack, discord]


# -- splitting -------------------------------------------------------------------------------------


def small(dialect: Dialect, limit: int = 40) -> Dialect:
    return Dialect(render=dialect.render, measure=dialect.measure, limit=limit)


@given(MARKDOWN, st.sampled_from(sorted(DIALECTS)))
def test_every_piece_fits_and_shows_something(markdown: str, name: str) -> None:
    dialect = small(DIALECTS[name])
    for piece in split(markdown, dialect):
        assert 0 < dialect.measure(dialect.render(piece)) <= dialect.limit


@given(st.text(st.sampled_from("abc 日\n"), max_size=300), st.sampled_from(sorted(DIALECTS)))
def test_nothing_that_was_said_is_lost(text: str, name: str) -> None:
    pieces = split(text, small(DIALECTS[name]))
    assert "".join("".join(pieces).split()) == "".join(text.split())


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("fence", ["```", "~~~~"])
def test_code_that_is_cut_stays_code(name: str, fence: str) -> None:
    dialect = DIALECTS[name]
    code = [f"line {number}" for number in range(1_000)]
    pieces = split(f"Look:\n\n{fence}py\n" + "\n".join(code) + f"\n{fence}\n\nand so on", dialect)
    assert len(pieces) > 2
    assert all(piece.split("\n")[0] == f"{fence}py" for piece in pieces[1:-1])
    assert all(piece.split("\n")[-1] == fence for piece in pieces[:-1])
    lines = [line for piece in pieces for line in piece.split("\n") if line.startswith("line")]
    assert lines == code


def test_code_in_a_list_that_is_cut_stays_code() -> None:
    code = "\n".join(f"  line {number}" for number in range(500))
    pieces = split(f"- look\n  ```py\n{code}\n  ```\n- and **so** on", DISCORD)
    assert all(DISCORD.render(piece).count("```") == 2 for piece in pieces)
    assert DISCORD.render(pieces[-1]).endswith("- and **so** on")


def test_telegram_counts_utf16_after_entities() -> None:
    assert len(split("😀" * 2048, TELEGRAM)) == 1
    assert len(split("😀" * 2049, TELEGRAM)) == 2
    assert len(split("**a** " * 2000, TELEGRAM)) == 1  # 4,000 shown of 12,000 written
    assert TELEGRAM.measure("<b>&lt;</b>😀") == 3


@pytest.mark.parametrize("grapheme", ["👩‍👩‍👧‍👦", "é", "🇩🇪", "각"])
@pytest.mark.parametrize("name", DIALECTS)
def test_no_grapheme_is_cut(grapheme: str, name: str) -> None:
    pieces = split(grapheme * 5_000, DIALECTS[name])
    assert "".join(pieces) == grapheme * 5_000
    assert all(len(piece) % len(grapheme) == 0 for piece in pieces)


def test_a_cut_is_made_where_it_hurts_least() -> None:
    twenty = small(SLACK, 20)
    assert split("One two three.\n\nFour five six.", twenty) == ("One two three.", "Four five six.")
    assert split("One two. Three four five.", twenty) == ("One two. Three four ", "five.") or split(
        "One two three. Four five.", twenty
    ) == ("One two three. ", "Four five.")
    assert split("abcdefghijklmnopqrstuvwxyz", twenty) == ("abcdefghijklmnopqrst", "uvwxyz")


def test_a_very_long_text_is_a_file_too() -> None:
    text = "\n\n".join(f"Paragraph {number}. " + "x" * 500 for number in range(100))
    few = parts("short", DISCORD)
    many = parts(text, DISCORD)
    assert (few.messages, few.file) == (("short",), "")
    assert many.file == text
    assert len(many.messages) == 2
    assert "file" in many.messages[1]


def test_a_very_long_text_is_looked_at_piece_by_piece() -> None:
    """Only what may go into the next message is rendered, and of a text for a file only its first messages."""
    rendered = 0

    def render(markdown: str) -> str:
        nonlocal rendered
        rendered += len(markdown)
        return SLACK.render(markdown)

    text = "All work and no play makes Jack a dull boy.\n" * 3_000
    assert parts(text, Dialect(render=render, measure=len, limit=1000)).file == text
    assert rendered < len(text)


def test_what_shows_nothing_is_not_sent() -> None:
    assert [split(text, TELEGRAM) for text in ("", " \n ", "[](x", "\x00")] == [(), (), ("[](x",), ()]
    assert unescape(TELEGRAM.render("&nbsp;")).strip() == ""


def test_commands_are_named_as_they_are_given_on_the_platform() -> None:
    text = "/approve 3 [session|always] · /deny 3. See `/help`; /home/new and src/new are paths, /statsu is nothing."
    assert TELEGRAM.commands(text) == DISCORD.commands(text) == text
    assert SLACK.commands(text) == (
        "/hermes approve 3 [session|always] · /hermes deny 3. See `/hermes help`; "
        "/home/new and src/new are paths, /statsu is nothing."
    )
