"""The command line, as it is read before anything is imported."""

import pytest

from hermes_cli.options import OPTIONS, SUBCOMMANDS, UsageError, read


def refused(*arguments: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read(arguments)
    return caught.value


def test_nothing_at_all_means_the_prompt() -> None:
    request = read([])
    assert (request.prompt, request.values, request.subcommand, request.help) == (None, {}, "", False)


@pytest.mark.parametrize(
    ("arguments", "prompt"),
    [
        (["hello"], "hello"),
        (["say hello"], "say hello"),
        (["say", "hello"], "say hello"),
        (["--", "-p"], "-p"),
        (["--", "doctor"], "doctor"),
        (["say", "--", "--help"], "say --help"),
        (["-"], "-"),
        (["fix", "model"], "fix model"),
    ],
)
def test_words_that_are_no_option_are_the_prompt(arguments: list[str], prompt: str) -> None:
    assert read(arguments).prompt == prompt


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["-p"], "print", True),
        (["--print"], "print", True),
        (["-m", "gpt"], "model", "gpt"),
        (["-mgpt"], "model", "gpt"),
        (["--model", "gpt"], "model", "gpt"),
        (["--model=gpt"], "model", "gpt"),
        (["--model", "-odd"], "model", "-odd"),
        (["--max-steps=3"], "max_steps", "3"),
        (["--output-format", "json"], "output_format", "json"),
        (["-C", "/tmp"], "cd", "/tmp"),
        (["-V"], "version", True),
    ],
)
def test_an_option_is_read_in_each_of_its_forms(arguments: list[str], name: str, value: object) -> None:
    assert read(arguments).values == {name: value}


def test_short_flags_may_share_a_dash() -> None:
    assert read(["-pmgpt", "hi"]).values == {"print": True, "model": "gpt"}


def test_options_may_stand_before_and_after_the_prompt() -> None:
    request = read(["-p", "hi", "--yolo", "there"])
    assert (request.prompt, request.flag("print"), request.flag("yolo")) == ("hi there", True, True)


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_a_sub_command_takes_over(name: str) -> None:
    assert read([name, "--whatever", "x"]).subcommand == name


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_wins_over_what_comes_after_it(flag: str) -> None:
    assert read([flag, "--nonsense"]).help


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--modle", "x"], "--model"),
        (["--prnt"], "--print"),
        (["--yoloo"], "--yolo"),
        (["--xyzzy"], "hermes --help"),
        (["-x"], "hermes --help"),
        (["docter"], "hermes doctor"),
        (["modle"], "hermes model"),
        (["confg"], "hermes config"),
    ],
)
def test_a_near_miss_gets_a_suggestion(arguments: list[str], told: str) -> None:
    assert told in refused(*arguments).explain()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model"], "needs a value"),
        (["-m"], "needs a value"),
        (["--yolo=1"], "takes no value"),
        (["--output-format", "xml"], "stream-json"),
        (["--max-steps", "many"], "number"),
        (["--max-steps", "-1"], "number"),
    ],
)
def test_an_option_that_is_given_wrongly_says_how_it_is_right(arguments: list[str], told: str) -> None:
    assert told in refused(*arguments).explain()


def test_the_command_line_overrides_settings() -> None:
    assert read(["-m", "gpt", "--max-steps", "3", "-p"]).settings() == {"model": "gpt", "max_steps": "3"}
    assert read(["--yolo"]).settings() == {"approvals": "yolo"}
    assert read([]).settings() == {}


def test_every_option_has_a_summary_and_no_flag_is_given_twice() -> None:
    flags = [flag for option in OPTIONS for flag in option.flags]
    assert len(set(flags)) == len(flags)
    assert all(option.summary for option in OPTIONS)


def test_orders_about_tasks_that_need_a_conversation_are_the_prompt_s() -> None:
    assert read(["tasks", "open", "3"]).prompt == "/tasks open 3"
    joined = read(["tasks", "join", "3"])
    assert (joined.prompt, joined.values) == ("/tasks join 3", {"last": True})
    assert "Usage: hermes tasks open N" in str(refused("tasks", "open"))
    assert read(["tasks", "open", "--help"]).subcommand == "tasks"
    assert read(["tasks", "show", "3"]).subcommand == "tasks"
