"""Conversations as documents."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from agent.errors import HermesError
from agent.messages import Message, ToolCall
from agent.records import Session
from agent.steps import HANDOVER
from agent.store.memory import MemoryStore
from hermes_cli.export import as_json, export, format_of, markdown, page, slug

NASTY = '<script src=//evil>alert(1)</script><img src=x onerror=alert(1)> & ```\n``` "quoted"'
SESSION = Session("20260101_120000_abcdef", "terminal", title=NASTY, cwd="/src", model="m", created=1.0)
MESSAGES = [
    Message("system", f"be good {NASTY}"),
    Message("user", f"look {NASTY}"),
    Message("assistant", f"I look {NASTY}", (ToolCall("a", NASTY, json.dumps({"x": NASTY})),)),
    Message("tool", f"found {NASTY}", tool_call_id="a"),
    Message("assistant", "That is all."),
]


def test_a_page_runs_and_loads_nothing() -> None:
    text = page(SESSION, MESSAGES)
    tags = set(re.findall(r"<\s*/?\s*([a-zA-Z!]\w*)", text))
    assert tags <= set("!doctype html head meta title style body header h1 h2 p div details summary pre".split())
    assert "default-src 'none'" in text
    assert not re.search(r"<[^>]*\b(?:src|href|onerror)\s*=", text)
    for said in ("look &lt;script", "I look &lt;script", "found &lt;script", "be good &lt;script", "That is all."):
        assert said in text


def test_markdown_holds_what_was_said_and_done_and_no_result_ends_its_block() -> None:
    text = markdown(SESSION, MESSAGES)
    assert "be good" not in text
    assert text.index("## You") < text.index("## Hermes") < text.index("````") < text.index("That is all.")
    assert "````\nfound" in text


@pytest.mark.parametrize("write", [markdown, page])
def test_what_a_compaction_wrote_has_its_own_head(
    write: Callable[[Session, Sequence[Message]], str],
) -> None:
    text = write(SESSION, [Message("user", f"{HANDOVER}summarised] They baked."), Message("assistant", "On with it.")])
    assert "Summary of what was said before" in text
    assert "You" not in text


def test_json_holds_everything_as_it_was() -> None:
    data = json.loads(as_json(SESSION, MESSAGES))
    assert (data["id"], data["cwd"], data["model"]) == (SESSION.id, "/src", "m")
    assert [message["content"] for message in data["messages"]] == [message.content for message in MESSAGES]
    assert data["messages"][2]["tool_calls"][0]["id"] == "a"


@pytest.mark.parametrize(("name", "format_"), [("md", "markdown"), (".HTML", "html"), ("json", "json"), ("pdf", None)])
def test_a_format_is_named_or_read_from_an_ending(name: str, format_: str | None) -> None:
    assert format_of(name) == format_


def test_a_file_is_named_after_the_title_and_none_is_overwritten(tmp_path: Path) -> None:
    store = MemoryStore()
    store.create_session("s", source="terminal")
    store.append("s", Message("user", "Fix the cart/checkout, please! ../.."))
    first = export(store, "s", "markdown", None, folder=tmp_path)
    second = export(store, "s", "markdown", None, folder=tmp_path)
    assert (first.name, second.name) == ("fix-the-cart-checkout-please.md", "fix-the-cart-checkout-please-2.md")
    with pytest.raises(HermesError, match="exists already"):
        export(store, "s", "markdown", Path(first.name), folder=tmp_path)
    with pytest.raises(HermesError, match="Cannot write"):
        export(store, "s", "markdown", Path("no/such/folder.md"), folder=tmp_path)
    assert slug("../..") == "session"
