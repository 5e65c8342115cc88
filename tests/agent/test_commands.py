"""The command table, and how a line is read."""

import re

import pytest

from agent.commands import (
    COMMAND_TABLE,
    Parsed,
    Unknown,
    by_category,
    commands_for,
    help_lines,
    parse,
    preview,
    search,
    task_options,
)
from agent.errors import HermesError
from agent.records import TaskOptions


def parsed(line: str) -> tuple[str, str]:
    found = parse(line, "terminal")
    assert isinstance(found, Parsed), found
    return found.command.name, found.arguments


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/help", ("help", "")),
        ("/HELP", ("help", "")),
        ("/Help Tasks", ("help", "Tasks")),
        ("/bg do it", ("background", "do it")),
        ("/background   do it  ", ("background", "do it")),
        ("/backg do it", ("background", "do it")),
        ("/bac do it", ("background", "do it")),
        ("/exit", ("quit", "")),
        ("/exi", ("quit", "")),
        ("/agents", ("tasks", "")),
        ("/tasks show 1", ("tasks", "show 1")),
        ("/help@hermes_bot tasks", ("help", "tasks")),
        ("/bg first line\nsecond line", ("background", "first line\nsecond line")),
        ("/bg\nfirst line\nsecond", ("background", "first line\nsecond")),
        ("/bg\none", ("background", "one")),
    ],
)
def test_a_command_is_found_by_name_alias_or_beginning_in_any_case(line: str, expected: tuple[str, str]) -> None:
    assert parsed(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "hello",
        "",
        "/",
        "//",
        "// a comment",
        "/usr/bin/env python",
        "/etc/hosts",
        "/tmp",
        " /help",
        "not /help",
        "/ help",
    ],
)
def test_anything_else_is_an_ordinary_message(line: str) -> None:
    assert parse(line, "terminal") is None


@pytest.mark.parametrize(
    ("line", "near"), [("/hlep", "help"), ("/backgroud", "background"), ("/quti", "quit"), ("/taks", "tasks")]
)
def test_a_slip_gets_the_nearest_name(line: str, near: str) -> None:
    found = parse(line, "terminal")
    assert isinstance(found, Unknown)
    assert near in found.near
    assert f"/{near}" in found.explain()


def test_a_beginning_that_several_commands_share_is_not_guessed() -> None:
    found = parse("/st", "terminal")
    assert isinstance(found, Unknown)
    assert set(found.near) == {"steer", "stop", "status"}


def test_a_command_that_is_like_none_points_to_help() -> None:
    found = parse("/xyzzy", "terminal")
    assert isinstance(found, Unknown)
    assert found.explain() == "There is no command /xyzzy. See /help."


def test_a_command_of_another_surface_is_none_here() -> None:
    assert isinstance(parse("/quit", "gateway"), Unknown)
    assert isinstance(parse("/bg x", "gateway"), Parsed)


def test_a_beginning_is_judged_among_the_commands_of_its_surface() -> None:
    assert isinstance(parse("/b", "terminal"), Unknown)
    assert isinstance(parse("/b", "gateway"), Parsed)


# -- the table -------------------------------------------------------------------------------------


def test_no_name_and_no_alias_is_given_twice() -> None:
    names = [name for command in COMMAND_TABLE for name in command.names]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and name.isidentifier() for name in names)


def test_a_beginning_of_several_names_offers_all_of_them_in_the_order_of_the_table() -> None:
    found = parse("/c", "terminal")
    assert isinstance(found, Unknown)
    assert found.near == tuple(name for c in commands_for("terminal") for name in c.names if name.startswith("c"))
    assert found.explain().endswith("Did you mean /clear, /compress, /compact, /config, /context or /copy?")


def test_every_command_says_what_it_does_in_a_few_words() -> None:
    for command in COMMAND_TABLE:
        assert 0 < len(command.summary) <= 60, command.name
        assert not command.summary.endswith("."), command.name
        assert command.surfaces


def test_every_example_is_read_as_its_own_command() -> None:
    for command in COMMAND_TABLE:
        for surface in command.surfaces if command.example else ():
            found = parse(command.example, surface)
            assert isinstance(found, Parsed), found
            assert found.command.name == command.name
            assert found.arguments


def test_the_categories_hold_each_command_once_in_the_order_of_the_table() -> None:
    grouped = [command for commands in by_category("terminal").values() for command in commands]
    rows = [command for command in COMMAND_TABLE if "terminal" in command.surfaces]
    assert sorted(grouped, key=COMMAND_TABLE.index) == commands_for("terminal") == rows
    assert list(by_category("terminal")) == ["Session", "Configuration", "Tools & Skills", "Info", "Exit"]


def test_plain_help_has_a_line_for_every_command_with_its_aliases() -> None:
    text = "\n".join(help_lines("terminal"))
    for command in commands_for("terminal"):
        assert f"  {command.usage}" in text
        assert command.summary in text
    assert "/background <prompt> (/bg) - send a prompt to the background" in text
    assert "/quit" not in "\n".join(help_lines("gateway"))


@pytest.mark.parametrize("word", ["background", "/background", "BACKGROUND", "agents"])
def test_commands_are_found_by_a_word(word: str) -> None:
    assert {command.name for command in search(word, "terminal")} & {"background", "tasks"}


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("short", "short"),
        ("two\n  lines", "two lines"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 60 + "..."),
    ],
)
def test_a_prompt_is_shown_on_one_line_and_marked_where_it_is_cut(prompt: str, shown: str) -> None:
    assert preview(prompt) == shown


# -- /background's options -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "options", "prompt"),
    [
        ("run the tests", TaskOptions(), "run the tests"),
        ("--max-steps 3 run", TaskOptions(max_steps=3), "run"),
        ("--max-cost=$0.50 --timeout 2h run it", TaskOptions(max_cost=0.5, timeout=7200.0), "run it"),
        ('--name "two words" --model openai:gpt-5 run', TaskOptions(name="two words", model="openai:gpt-5"), "run"),
        ("--max-steps 3 -- --name x", TaskOptions(max_steps=3), "-- --name x"),
        ("-- --name x", TaskOptions(), "-- --name x"),
        ("run --name x", TaskOptions(), "run --name x"),
        ("--name x", TaskOptions(name="x"), ""),
    ],
)
def test_options_stand_before_a_background_prompt(line: str, options: TaskOptions, prompt: str) -> None:
    assert task_options(line) == (options, prompt)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("--max-step 3 run", "no option --max-step"),
        ("--max-steps run", "--max-steps cannot be 'run'"),
        ("--max-steps 0 run", "cannot be '0'"),
        ("--max-cost nan run", "cannot be 'nan'"),
        ("--timeout soon run", "for example --timeout 30m"),
        ("--model", "--model needs a value"),
        ("--name 12 run", "for example --name tests"),
        ("--name #3 run", "--name cannot be"),
    ],
)
def test_a_wrong_option_is_named_with_those_there_are(line: str, wrong: str) -> None:
    with pytest.raises(HermesError, match=re.escape(wrong)) as caught:
        task_options(line)
    assert "--max-cost DOLLARS" in caught.value.hint
