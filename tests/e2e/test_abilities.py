"""What the agent has, changed from the prompt: its tools, its notes, images off the clipboard."""

import os
from pathlib import Path
from typing import Any

from tests.support.openai_server import OpenAIServer
from tests.support.pictures import PNG

from .conftest import HERMES, Start


def told(server: OpenAIServer, number: int) -> list[str]:
    return [tool["function"]["name"] for tool in server.bodies[number]["tools"]]


def on_path(folder: Path, **scripts: str) -> dict[str, str]:
    """An environment in which these programs come first."""
    for name, script in scripts.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return {"PATH": f"{folder}:{HERMES.parent}:{os.environ['PATH']}"}


def test_a_tool_that_is_switched_off_is_gone_from_the_next_conversation_on(start: Start) -> None:
    with OpenAIServer(["one", "two", "three"]) as server:
        hermes = start(server)
        hermes.send("a").wait_for("● one")
        hermes.type("/tools off web_f").press("tab").wait_for(lambda seen: seen.draft == "/tools off web_fetch")
        hermes.press("enter").wait_for("web_fetch: off from the next conversation on")
        hermes.send("/tools").wait_for("off, from the next conversation on")
        hermes.send("b").wait_for("● two")
        hermes.send("/new").send("c").wait_for("● three")
        assert told(server, 0) == told(server, 1)
        assert set(told(server, 0)) - set(told(server, 2)) == {"web_fetch"}
        hermes.send("/tools off web_fech").wait_for("Did you mean web_fetch?")
    assert start().send("/tools").wait_for("web_fetch").text.count("off") > 0


def test_notes_are_edited_in_the_person_s_editor_and_too_many_are_told(start: Start, tmp_path: Path) -> None:
    script = tmp_path / "bin" / "ed"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\ncat "$1.next" > "$1"\n')
    script.chmod(0o755)
    notes = tmp_path / "hermes" / "MEMORY.md"
    with OpenAIServer(["ok"]) as server:
        hermes = start(server, env={"VISUAL": str(script)})
        notes.parent.mkdir(exist_ok=True)
        (notes.parent / "MEMORY.md.next").write_text("The tests run with make.\n")
        hermes.type("half a thought").press("ctrl+s").send("/memory edit").wait_for("MEMORY.md: 24 of 4,000 characters")
        hermes.press("ctrl+s").wait_for(lambda seen: seen.draft == "half a thought").press("ctrl+c")
        hermes.send("x").wait_for("● ok")
        assert "The tests run with make." in server.bodies[0]["messages"][0]["content"]
        (notes.parent / "MEMORY.md.next").write_text("x" * 5000)
        hermes.send("/memory edit memory").wait_for("only the first 4,000 are read")
        assert notes.read_text() == "x" * 5000
        hermes.send("/memory edit nonsense").wait_for("There are no notes 'nonsense'.")


def images(body: dict[str, Any]) -> list[str]:
    parts = body["messages"][-1]["content"]
    return (
        [part["image_url"]["url"] for part in parts if part["type"] == "image_url"] if isinstance(parts, list) else []
    )


def test_an_image_on_the_clipboard_is_pasted_into_the_draft_and_sent(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "image").write_bytes(PNG)
    copied = f'case "$*" in *list-types*) echo image/png;; *) cat {folder}/image;; esac'
    env = {**on_path(folder, wl_paste=copied), "WAYLAND_DISPLAY": "wayland-0"}
    with OpenAIServer(["a dot", "a dot again"]) as server:
        hermes = start(server, env=env)
        hermes.type("what is this?").press("ctrl+v")
        hermes.wait_for(lambda seen: seen.draft is not None and "? [image #1: pasted, 0 KB]" in seen.draft)
        hermes.press("enter").wait_for("● a dot").wait_for("› what is this? [image #1: pasted, 0 KB]")
        assert len(images(server.bodies[0])) == 1
        hermes.send("/paste and this?").wait_for("● a dot again")
        assert len(images(server.bodies[1])) == 1


def test_leaving_twice_waits_for_nothing_that_is_on_its_way(start: Start, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    env = {**on_path(tmp_path / "bin", wl_paste="exec sleep 600"), "WAYLAND_DISPLAY": "wayland-0"}
    hermes = start(env=env)
    hermes.send("/paste").send("/quit").wait_for("letting what was sent arrive")
    hermes.send("/quit")
    assert hermes.wait_for_exit() == 0


def test_a_draft_is_in_the_history_after_the_window_was_closed(start: Start) -> None:
    hermes = start()
    hermes.type("set aside").press("ctrl+s").type("half a thought").wait_for(
        lambda seen: seen.draft == "half a thought"
    )
    hermes.hang_up()
    hermes.wait_for_exit()
    again = start()
    again.press("up").wait_for(lambda seen: seen.draft == "half a thought")
    again.press("up").wait_for(lambda seen: seen.draft == "set aside")


def test_a_machine_without_a_clipboard_says_so_and_keeps_the_draft(start: Start, tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    hermes = start(env={"PATH": str(empty)})
    hermes.type("what is this?").press("ctrl+v").wait_for("no program here that reads images off the clipboard")
    assert hermes.draft == "what is this?"
