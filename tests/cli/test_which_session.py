"""Which stored session `-c`, `-r` and /resume offer, and which they find by name."""

from pathlib import Path

from agent.messages import Message
from agent.store.memory import MemoryStore
from hermes_cli.sessions import Wanted, details, find, last_in, offered, the_one

HERE = Path("/work")


def said(store: MemoryStore, id_: str, *messages: str, source: str = "terminal", cwd: Path = HERE) -> None:
    store.create_session(id_, source=source, cwd=str(cwd), title=" ".join(messages))
    store.append(id_, Message("system", "Be brief."))
    for text in messages:
        store.append(id_, Message("user", text))


def test_a_terminal_goes_on_with_its_own_conversations_only() -> None:
    store = MemoryStore()
    said(store, "elsewhere", "far away", cwd=Path("/other"))
    said(store, "talk", "about carts")
    said(store, "script", "list files", source="print")
    said(store, "chat", "hello", source="telegram:1")

    last = last_in(store, HERE)
    assert last is not None
    assert last.id == "talk"
    assert [one.id for one in offered(store, HERE)] == ["talk", "elsewhere"]
    assert [one.id for one in find(store, "latest")] == ["talk"]


def test_what_print_mode_said_is_found_by_name_and_by_print_mode() -> None:
    store = MemoryStore()
    said(store, "talk", "about carts")
    said(store, "script", "list files", source="print")

    assert [one.id for one in find(store, "list files")] == ["script"]
    assert [one.id for one in find(store, "scri")] == ["script"]
    assert the_one(store, Wanted(here=True), HERE).id == "script"


def test_a_session_in_which_nobody_said_anything_is_not_offered() -> None:
    store = MemoryStore()
    said(store, "talk", "about carts")
    said(store, "rewound")
    store.create_session("named only", source="terminal", cwd=str(HERE), title="plans")

    assert last_in(store, HERE) == store.session("talk")
    assert [one.id for one in offered(store, HERE)] == ["talk"]
    assert [one.id for one in find(store, "plans")] == ["named only"]


def test_the_messages_that_are_told_are_those_somebody_said() -> None:
    store = MemoryStore()
    said(store, "talk", "about carts", "and more")
    (session,) = offered(store, HERE)
    assert "2 messages" in details(session, HERE)
