"""The prompt: what is typed, completed, pasted, edited and remembered."""

import time
from pathlib import Path

import pytest

from hermes_cli.commands import COMMANDS
from tests.support.openai_server import OpenAIServer

from .conftest import Start


def sent(server: OpenAIServer, number: int = 0) -> str:
    """The last message of a request."""
    return str(server.bodies[number]["messages"][-1]["content"])


def test_the_first_prompt_stands_under_one_line_and_over_a_status_line(start: Start) -> None:
    hermes = start()
    hermes.wait_for(lambda seen: seen.status.startswith(" offline"))
    assert hermes.lines[0].startswith("hermes ")
    assert hermes.lines[0].endswith("/help")
    assert hermes.draft == ""
    assert hermes.cursor == (2, 2)


def test_what_is_typed_before_the_prompt_is_there_becomes_the_draft(start: Start) -> None:
    hermes = start(ready=False).type("early")
    hermes.wait_for(lambda seen: seen.draft == "early").settle()
    assert hermes.count("early") == 1


def test_enter_pressed_before_the_prompt_is_there_sends(start: Start) -> None:
    with OpenAIServer(default="ok") as server:
        hermes = start(server, ready=False).send("early").type("more")
        hermes.wait_for("● ok").wait_for(lambda seen: seen.draft == "more")
        assert sent(server) == "early"


def test_tab_completes_a_command_however_quickly_it_comes(start: Start) -> None:
    hermes = start()
    hermes.type("/backgro").press("tab")
    hermes.wait_for(lambda seen: seen.draft == "/background")
    hermes.type("x")
    hermes.wait_for(lambda seen: seen.draft == "/background x")


def test_tab_completes_from_the_open_menu(start: Start) -> None:
    hermes = start()
    hermes.type("/backgro").wait_for("send a prompt to the background")
    hermes.press("tab").type("x").wait_for(lambda seen: seen.draft == "/background x")


@pytest.mark.parametrize("columns", [100, 40])
def test_the_menu_says_what_each_command_does_at_any_width(start: Start, columns: int) -> None:
    hermes = start(columns=columns)
    hermes.type("/").wait_for("start a new").press("tab").wait_for(lambda seen: seen.draft == "/new")
    menu = hermes.lines[hermes.lines.index("› /new") + 1 :]
    assert [line.split()[0] for line in menu[:3]] == ["/new", "/reset", "/clear"]
    assert len(menu) == 8, "more than eight rows, or a row that wraps"
    hermes.press(*["tab"] * list(COMMANDS).index("/background"))
    hermes.wait_for(lambda seen: seen.draft == "/background").wait_for("/background <").wait_for("send a prompt")


def test_long_names_have_the_room_that_their_meanings_leave(start: Start) -> None:
    title = "where is the price of a basket rounded, and why twice"
    with OpenAIServer(default="ok") as server:
        hermes = start(server, columns=100)
        hermes.send(title).wait_for("● ok").send("/new").type("/resume ")
        hermes.wait_for(lambda seen: any(line.startswith(f" {title}  ") for line in seen.lines))


def test_completion_goes_through_several_commands_and_into_their_arguments(start: Start) -> None:
    hermes = start()
    hermes.type("/st").wait_for("/status").wait_for("/steer").wait_for("/stop")
    hermes.press("tab", "tab").wait_for(lambda seen: seen.draft == "/stop")
    hermes.press("esc").wait_for(lambda seen: "interrupt the turn" not in seen.text)
    hermes.press("ctrl+c").type("/tasks st").wait_for("everything it started")
    hermes.press("tab").wait_for(lambda seen: seen.draft == "/tasks stop")
    hermes.press("ctrl+c", "ctrl+c").type("/approvals ").wait_for("accept edits").type("pl")
    hermes.wait_for("read only").press("tab").wait_for(lambda seen: seen.draft == "/approvals plan")


@pytest.mark.parametrize("columns", [100, 40])
def test_help_lists_commands_by_category(start: Start, columns: int) -> None:
    hermes = start(columns=columns, rows=40)
    hermes.send("/help").wait_for("shows the keys")
    for category in ("Session", "Configuration", "Tools & Skills", "Info", "Exit"):
        assert category in hermes.lines
    for words in ("/new (/reset)", "/background <prompt> (/bg)", "send a prompt to the background", "/quit (/exit)"):
        assert words in hermes.flat
    assert max(map(len, hermes.lines)) <= columns
    rows = {word for line in hermes.lines for word in line.split()}
    for word in (
        "conversation",
        "background",
        "settings,",
        "everything,",
        "directory,",
        "[list|show|log|stop|…]",
    ):
        assert word in rows, f"{word} is broken"


def test_help_explains_one_command_and_finds_commands_by_a_word(start: Start) -> None:
    hermes = start(columns=40)
    hermes.send("/help tasks").wait_for("Example: /tasks log 1 -f")
    for sub in ("list", "show N", "log N [-f]", "stop N|all", "deny N [reason]"):
        assert sub in hermes.text
    assert "/model" not in hermes.text
    hermes.send("/help conversation").wait_for("/history [N]")
    assert "/model" not in hermes.text
    assert max(map(len, hermes.lines)) <= 40


def test_an_unknown_command_gets_the_nearest_ones(start: Start) -> None:
    hermes = start()
    hermes.send("/hlep").wait_for("There is no command /hlep. Did you mean /help?")
    hermes.send("/xyzzy").wait_for("There is no command /xyzzy. See /help.")
    hermes.send("/VERS").wait_for("prompt_toolkit 3")


def test_keys_that_make_a_new_line(start: Start) -> None:
    with OpenAIServer(default="ok") as server:
        hermes = start(server)
        hermes.type("1").press("alt+enter").type("2").press("ctrl+j").type("3").press("shift+enter").type("4\\")
        hermes.press("enter").type("5").wait_for(lambda seen: seen.draft == "1\n2\n3\n4\n5")
        assert server.bodies == []
        hermes.press("enter").wait_for("  5").wait_for("● ok")
        assert sent(server) == "1\n2\n3\n4\n5"


def test_a_paste_of_ten_thousand_lines_folds_and_is_sent_whole(start: Start) -> None:
    lines = [f"line {number} of what was pasted" for number in range(10_000)]
    with OpenAIServer(default="ok") as server:
        hermes = start(server)
        hermes.type("look: ")
        begun = time.monotonic()
        hermes.paste("\n".join(lines))
        hermes.wait_for(lambda seen: seen.draft == "look: [pasted #1: 10000 lines]")
        assert time.monotonic() - begun < 2
        hermes.type(" end").press("enter").wait_for("● ok")
        assert sent(server) == "look: " + "\n".join(lines) + " end"
        assert "› look: [pasted #1: 10000 lines] end" in hermes.lines
        assert "line 9000 of" not in hermes.text


def test_a_folded_paste_is_deleted_as_one(start: Start) -> None:
    hermes = start()
    hermes.type("a ").paste("\n".join("b" * 20)).wait_for(lambda seen: seen.draft == "a [pasted #1: 20 lines]")
    hermes.press("backspace").wait_for(lambda seen: seen.draft == "a")


def test_a_short_paste_stays_as_it_is(start: Start) -> None:
    with OpenAIServer(default="ok") as server:
        hermes = start(server)
        hermes.paste("one\ntwo\nthree").wait_for(lambda seen: seen.draft == "one\ntwo\nthree")
        hermes.settle()
        assert server.bodies == []
        hermes.press("enter").wait_for("● ok")
        assert sent(server) == "one\ntwo\nthree"


def test_ctrl_s_sets_the_draft_aside_and_brings_it_back(start: Start) -> None:
    hermes = start()
    hermes.type("half a thought").press("ctrl+s").wait_for(lambda seen: seen.draft == "")
    hermes.send("/version").wait_for("prompt_toolkit 3")
    hermes.press("ctrl+s").wait_for(lambda seen: seen.draft == "half a thought")
    assert "brings it back" not in hermes.settle().text


def test_the_draft_can_be_edited_in_an_editor(start: Start, folder: Path) -> None:
    editor = folder.parent / "editor"
    editor.write_text('#!/bin/sh\nprintf "\\nfrom the editor" >> "$1"\n')
    editor.chmod(0o755)
    hermes = start(env={"EDITOR": str(editor)})
    hermes.type("typed").press("ctrl+g").wait_for(lambda seen: seen.draft == "typed\nfrom the editor")
    hermes.type("!").press("ctrl+x", "ctrl+e")
    hermes.wait_for(lambda seen: seen.draft == "typed\nfrom the editor!\nfrom the editor")


def test_history_is_remembered_across_runs(start: Start) -> None:
    first = start()
    first.send("/version").wait_for("prompt_toolkit 3")
    first.send("/help one").wait_for("No command is about")
    first.press("ctrl+d")
    assert first.wait_for_exit() == 0
    second = start()
    second.press("up").wait_for(lambda seen: seen.draft == "/help one")
    second.press("up").wait_for(lambda seen: seen.draft == "/version")
    second.press("down").wait_for(lambda seen: seen.draft == "/help one")


def test_history_is_shared_by_copies_that_run_at_the_same_time(start: Start) -> None:
    one, other = start(), start()
    one.send("/help apples").wait_for("No command is about 'apples'")
    other.send("/help pears").wait_for("No command is about 'pears'")
    one.send("/help plums").wait_for("No command is about 'plums'")
    other.send("/help figs").wait_for("No command is about 'figs'")
    for wanted in ("figs", "plums", "pears", "apples"):
        other.press("up").wait_for(lambda seen, wanted=wanted: seen.draft == f"/help {wanted}")


def test_an_idle_prompt_sees_what_another_copy_sent_meanwhile(start: Start) -> None:
    one, other = start(), start()
    one.send("/help apples").wait_for("No command is about 'apples'")
    other.press("up").wait_for(lambda seen: seen.draft == "/help apples").press("down")
    other.wait_for(lambda seen: seen.draft == "")
    one.send("/help plums").wait_for("No command is about 'plums'")
    one.press("up").wait_for(lambda seen: seen.draft == "/help plums")
    other.press("up").wait_for(lambda seen: seen.draft == "/help plums")
    other.press("up").wait_for(lambda seen: seen.draft == "/help apples")


def test_ctrl_r_searches_the_history(start: Start) -> None:
    hermes = start()
    for word in ("apples", "pears", "plums"):
        hermes.send(f"/help {word}").wait_for(f"No command is about '{word}'")
    hermes.type("draft").wait_for(lambda seen: seen.draft == "draft").press("ctrl+r").type("ppl").wait_for(
        lambda seen: seen.draft.startswith("/help apples")
    )
    hermes.press("ctrl+c").wait_for(lambda seen: seen.draft == "draft")
    hermes.press("ctrl+r").type("ppl").wait_for(lambda seen: seen.draft.startswith("/help apples"))
    hermes.press("enter").wait_for(lambda seen: seen.draft == "/help apples")


def test_enter_takes_the_highlighted_path_and_sends_a_line_without_one(start: Start, folder: Path) -> None:
    for name in ("one.txt", "once.txt"):
        (folder / name).write_text("x")
    with OpenAIServer(default="ok") as server:
        hermes = start(server)
        hermes.type("read @on").wait_for("once.txt").press("down")
        hermes.wait_for(lambda seen: (seen.draft or "").endswith(".txt")).press("enter")
        hermes.wait_for(lambda seen: (seen.draft or "").endswith(".txt ") or (seen.draft or "").endswith(".txt"))
        assert server.bodies == []
        hermes.type("please").wait_for(lambda seen: (seen.draft or "").endswith(".txt please")).press("enter")
        hermes.wait_for("● ok")
        hermes.type("and @on").wait_for("once.txt").press("enter").wait_for(lambda seen: seen.count("● ok") == 2)
        assert server.bodies[-1]["messages"][-1]["content"] == "and @on"


def test_at_completes_a_path_and_respects_gitignore(start: Start, folder: Path) -> None:
    (folder / "shop").mkdir()
    (folder / "shop" / "checkout.py").write_text("x")
    (folder / "checkout.log").write_text("x")
    (folder / ".gitignore").write_text("*.log\n")
    hermes = start()
    hermes.type("read @chkt").wait_for("shop/checkout.py")
    assert "checkout.log" not in hermes.text
    hermes.press("tab").type(" please").wait_for(lambda seen: seen.draft == "read @shop/checkout.py please")


def test_a_path_with_spaces_is_completed_in_quotes_and_enter_takes_it(start: Start, folder: Path) -> None:
    (folder / "my notes").mkdir()
    for name in ("to do.md", "to buy.md"):
        (folder / "my notes" / name).write_text("x")
    with OpenAIServer(default="ok") as server:
        hermes = start(server)
        hermes.type("read @mynotes").wait_for("my notes/").press("tab")
        hermes.wait_for(lambda seen: seen.draft == 'read @"my notes/').press("enter")
        hermes.type("buy").wait_for("my notes/to buy.md").press("tab")
        hermes.wait_for(lambda seen: seen.draft == 'read @"my notes/to buy.md"')
        assert server.bodies == []
        hermes.press("enter").wait_for("● ok")
        assert server.bodies[-1]["messages"][-1]["content"] == 'read @"my notes/to buy.md"'


def test_a_space_typed_from_habit_after_a_completed_command_is_the_one_that_stands_there(start: Start) -> None:
    hermes = start()
    hermes.type("/backgro").wait_for("send a prompt to the background")
    hermes.press("tab").type(" x  y").wait_for(lambda seen: seen.draft == "/background x  y")


def test_wide_characters_in_the_draft_keep_the_cursor_where_it_belongs(start: Start) -> None:
    with OpenAIServer(default="over") as server:
        hermes = start(server)
        for number, (typed, width) in enumerate({"漢字かな": 8, "👍🚀": 4, "e\u0301e\u0301": 2, "a漢b": 4}.items()):
            hermes.type(typed).wait_for(lambda seen, width=width: seen.cursor[0] == 2 + width)
            hermes.press("left", "left").wait_for(lambda seen, width=width: seen.cursor[0] < 2 + width)
            hermes.press("end").type("z").wait_for(lambda seen, width=width: seen.cursor[0] == 3 + width)
            hermes.press("enter").wait_for(lambda seen, number=number: seen.count("● over") == number + 1)
            hermes.wait_for(lambda seen: "Esc interrupts" not in seen.text)
            assert sent(server, number) == f"{typed}z"


def test_a_question_mark_on_an_empty_draft_shows_the_keys(start: Start) -> None:
    hermes = start()
    hermes.type("?").wait_for("interrupt the turn").wait_for(lambda seen: seen.draft == "")
    hermes.type("a?").wait_for(lambda seen: seen.draft == "a?")


def test_ctrl_l_draws_the_prompt_and_its_draft_once(start: Start) -> None:
    hermes = start()
    hermes.send("/version").wait_for("prompt_toolkit 3")
    hermes.type("half").press("ctrl+l").wait_for(lambda seen: "› half" in seen.visible[:2])
    assert hermes.count("half") == 1


def test_a_word_on_the_command_line_is_the_first_prompt(start: Start) -> None:
    with OpenAIServer(default="ok") as server:
        hermes = start(server, "what is", "this?")
        hermes.wait_for("› what is this?").wait_for("● ok").wait_for(lambda seen: seen.draft == "")
        assert sent(server) == "what is this?"
