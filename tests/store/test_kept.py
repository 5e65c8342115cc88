"""What the disk refuses: said once, with what to do; kept in memory; written when it can be; never run twice."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.errors import StoreError
from agent.messages import Message, ToolCall, Usage
from agent.protocols import Decision
from agent.records import TASK_SOURCE
from agent.store.database import Database
from agent.store.kept import KeepingStore, KeptStore, UnopenedStore, open_store
from agent.store.sqlite import SqliteStore

SAID = Message("user", "x" * 50_000)
"""More than fits into the pages of a file that may not grow."""

News = list[StoreError | str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.db"


@pytest.fixture
def news() -> News:
    return []


@pytest.fixture
def kept(path: Path, news: News) -> Iterator[KeptStore]:
    store = KeptStore(path, news.append, try_again=600)
    store.create_session("s", source="terminal", cwd="/src")
    store.append("s", Message("user", "hi"))
    assert store.messages("s") == [Message("user", "hi")]
    yield store
    store.close()


@contextmanager
def full(store: SqliteStore) -> Iterator[None]:
    """SQLite may not use more pages than it has, as on a full disk."""

    def limit(pages: int) -> None:
        with store.database.write() as connection:
            connection.execute(f"PRAGMA max_page_count = {pages}")

    limit(1)
    yield
    limit(1_000_000)


def on_disk(path: Path) -> list[str]:
    store = SqliteStore(path)
    contents = [message.content for message in store.messages("s")]
    store.close()
    return contents


# -- a full disk -----------------------------------------------------------------------------------


def test_on_a_full_disk_the_conversation_goes_on_and_is_written_when_there_is_room(
    kept: KeptStore, path: Path, news: News
) -> None:
    with full(kept):
        kept.append("s", SAID)
        kept.append("s", Message("assistant", "yes"))
        assert kept.unsaved == 2
        assert kept.messages("s") == [Message("user", "hi"), SAID, Message("assistant", "yes")]
        assert on_disk(path) == ["hi"]
        (told,) = news
        assert isinstance(told, StoreError)
        assert "disk is full" in told.explain()
        assert "Free some space" in told.hint
        assert "in memory" in told.hint
    kept.append("s", Message("user", "more"))
    assert on_disk(path) == ["hi", SAID.content, "yes", "more"]
    assert kept.unsaved == 0
    assert [type(each) for each in news] == [StoreError, str]


def test_what_waits_is_written_without_another_word(kept: KeptStore, path: Path) -> None:
    with full(kept):
        kept.append("s", SAID)
    kept.flush()
    assert on_disk(path) == ["hi", SAID.content]


def test_each_trouble_is_told_once(kept: KeptStore, news: News) -> None:
    for _ in range(2):
        with full(kept):
            for _ in range(3):
                kept.append("s", SAID)
        kept.flush()
    assert [type(each) for each in news] == [StoreError, str] * 2


def test_a_session_that_begins_on_a_full_disk_is_written_whole(kept: KeptStore, path: Path) -> None:
    with full(kept):
        kept.append("s", SAID)
        kept.create_session("t", source="terminal", cwd="/new")
        kept.append("t", SAID)
        kept.rename_session("t", "a name")
        row = kept.session("t")
        assert row is not None
        assert (row.cwd, row.title, row.messages) == ("/new", "a name", 1)
        kept.create_session("u", source="terminal", cwd=SAID.content)
        assert (kept.is_stored("s"), kept.is_stored("u")) == (True, False)
    kept.flush()
    assert kept.is_stored("u")
    disk = SqliteStore(path)
    found = disk.session("t")
    assert found is not None
    assert (found.cwd, found.title, found.messages) == ("/new", "a name", 1)
    disk.close()


def test_a_call_whose_mark_is_refused_does_not_run_when_the_disk_knows_of_it(kept: KeptStore) -> None:
    """Else a crash, and a resume from the disk, would run it twice."""
    kept.append("s", Message("assistant", "", (ToolCall("a" * 20_000, "note", "{}"),)))
    with full(kept):
        kept.append("s", SAID)
        with pytest.raises(StoreError):
            kept.mark_begun("s", "a" * 20_000)


def test_a_call_that_the_disk_never_heard_of_may_run_and_is_marked_before_it_is_written(
    kept: KeptStore, path: Path
) -> None:
    with full(kept):
        kept.append("s", SAID)
        kept.append("s", Message("assistant", "", (ToolCall("a", "note", "{}"),)))
        assert kept.mark_begun("s", "a")
        assert not kept.mark_begun("s", "a")
    kept.flush()
    disk = SqliteStore(path)
    assert not disk.mark_begun("s", "a")
    disk.close()


def test_a_task_is_not_accepted_on_a_full_disk(kept: KeptStore) -> None:
    with full(kept), pytest.raises(StoreError, match="disk is full"):
        kept.create_task(prompt="x" * 50_000, owner="o", settings="{}")
    assert kept.tasks() == []


def test_a_tasks_own_messages_are_never_only_in_memory(kept: KeptStore) -> None:
    kept.create_session("t", source=TASK_SOURCE)
    with full(kept), pytest.raises(StoreError, match="disk is full"):
        kept.append("t", SAID)
    assert kept.unsaved == 0


def test_a_session_that_goes_on_in_another_while_the_disk_is_full_is_written_with_it(
    kept: KeptStore, path: Path
) -> None:
    with full(kept):
        kept.append("s", SAID)
        child = kept.continue_session("s", [Message("user", "hi")])
        kept.append(child, SAID)
        assert [message.role for message in kept.messages(child)] == ["user", "user"]
    kept.flush()
    disk = SqliteStore(path)
    row, old = disk.session(child), disk.session("s")
    assert row is not None
    assert old is not None
    assert (row.parent, row.title, row.messages, row.archived) == ("s", "hi", 2, False)
    assert (old.archived, old.messages) == (True, 2)
    disk.close()


def test_a_call_that_began_is_not_run_again_in_the_session_that_goes_on_while_the_disk_is_full(
    kept: KeptStore, path: Path
) -> None:
    call = Message("assistant", "", (ToolCall("here", "note", "{}"), ToolCall("before", "note", "{}")))
    kept.append("s", call)
    assert kept.mark_begun("s", "here")
    other = SqliteStore(path)
    assert other.mark_begun("s", "before")
    other.record_decision("s", "before", Decision(False, "no"))
    other.close()
    with full(kept):
        kept.append("s", SAID)
        child = kept.continue_session("s", [call])
        assert kept.decision(child, "before") == Decision(False, "no")
        assert not kept.mark_begun(child, "before")
    kept.flush()
    after_a_crash = SqliteStore(path)
    assert after_a_crash.messages(child) == [call]
    assert [after_a_crash.mark_begun(child, key) for key in ("here", "before")] == [False, False]
    assert after_a_crash.decision(child, "before") == Decision(False, "no")
    after_a_crash.close()


class AfterReading:
    """A database where something happens right after what was read."""

    def __init__(self, database: Database, happens: Callable[[], None]) -> None:
        self._database, self._happens = database, happens

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        with self._database.read() as connection:
            yield connection
        self._happens()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


def test_what_is_written_while_another_thread_reads_stays_in_the_conversation(kept: KeptStore) -> None:
    database = kept.database
    writer = threading.Thread(target=kept.append, args=("s", Message("user", "meanwhile")))

    def writes() -> None:
        kept._database = database
        writer.start()
        writer.join(0.2)

    kept._database = AfterReading(database, writes)  # type: ignore[assignment]
    kept.messages("s")
    writer.join()
    with full(kept):
        kept.append("s", SAID)
        assert [message.content for message in kept.messages("s")] == ["hi", "meanwhile", SAID.content]


def test_who_reads_does_not_wait_for_a_busy_disk(kept: KeptStore) -> None:
    with kept._writing:
        found = list[list[Message]]()
        reader = threading.Thread(target=lambda: found.append(kept.messages("s")))
        reader.start()
        reader.join(10)
    assert found == [[Message("user", "hi")]]


def test_usage_that_could_not_be_counted_is_counted_later(kept: KeptStore) -> None:
    with full(kept):
        kept.append("s", SAID)
        kept.add_usage("s", "m" * 20_000, Usage(1, 1))
    kept.add_usage("s", "m" * 20_000, Usage(1, 1))
    assert [row.requests for row in kept.usage()] == [2]


# -- busy, broken, gone ----------------------------------------------------------------------------


def opened_late(path: Path, news: News) -> KeepingStore:
    """The file could not be opened at first."""
    path.parent.mkdir()
    path.write_bytes(b"this is no database at all. " * 100)
    store = UnopenedStore(path, news.append, try_again=600)
    path.unlink()
    store.flush()
    return store


def opened_at_once(path: Path, news: News) -> KeepingStore:
    return KeptStore(path, news.append, try_again=600)


@pytest.mark.parametrize("opened", [opened_at_once, opened_late])
def test_a_session_that_somebody_deletes_is_made_anew_with_all_that_was_said(
    path: Path, news: News, opened: Callable[[Path, News], KeepingStore]
) -> None:
    store = opened(path, news)
    store.create_session("s", source="terminal", cwd="/src")
    store.append("s", Message("user", "hi"))
    store.append("s", Message("assistant", "", (ToolCall("a", "note", "{}"),)))
    store.mark_begun("s", "a")
    disk = SqliteStore(path)
    assert disk.delete_session("s")
    assert [message.role for message in store.messages("s")] == ["user", "assistant"]
    store.append("s", Message("tool", "done", tool_call_id="a"))
    assert store.unsaved == 0
    row = disk.session("s")
    assert row is not None
    assert (row.title, row.cwd, row.source) == ("hi", "/src", "terminal")
    assert [message.role for message in disk.messages("s")] == ["user", "assistant", "tool"]
    assert not disk.mark_begun("s", "a")
    assert "deleted meanwhile" in str(news[-1])
    disk.close()


def test_while_another_program_keeps_the_file_locked_nothing_is_lost(path: Path, news: News) -> None:
    store = KeptStore(path, news.append, busy=0.05, try_again=600)
    store.create_session("s", source="terminal")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.append("s", Message("user", "hi"))
    assert store.messages("s") == [Message("user", "hi")]
    other.execute("ROLLBACK")
    other.close()
    store.flush()
    assert on_disk(path) == ["hi"]
    assert isinstance(news[0], StoreError)
    assert "busy" in str(news[0])
    store.close()


def test_a_file_that_breaks_while_it_is_open_does_not_take_the_conversation_along(
    kept: KeptStore, path: Path, news: News
) -> None:
    kept.database.close()
    kept.append("s", Message("user", "and now?"))
    assert [message.content for message in kept.messages("s")] == ["hi", "and now?"]
    assert kept.session("s") is not None
    assert len(news) == 1


def test_what_waits_is_tried_again_by_itself(path: Path, news: News) -> None:
    store = KeptStore(path, news.append, try_again=0.01)
    store.create_session("s", source="terminal")
    with full(store):
        store.append("s", SAID)
        assert store.unsaved == 1
    deadline = 1_000
    pause = threading.Event()
    while store.unsaved and (deadline := deadline - 1):
        pause.wait(0.01)
    assert on_disk(path) == [SAID.content]
    store.close()


# -- a file that cannot be opened --------------------------------------------------------------------


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database at all. " * 100)


def from_the_future(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 999")
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "words", "advice"),
    [
        (garbage, "is damaged", "hermes backup"),
        (from_the_future, "newer Hermes", "Upgrade"),
        (Path.mkdir, "Cannot", "writable"),
    ],
)
def test_a_file_that_cannot_be_opened_is_explained_and_the_conversation_is_written_once_it_can(
    path: Path, news: News, spoil: object, words: str, advice: str
) -> None:
    path.parent.mkdir()
    spoil(path)  # type: ignore[operator]
    store = open_store(path, news.append)
    assert isinstance(store, UnopenedStore)
    (told,) = news
    assert isinstance(told, StoreError)
    assert words in str(told)
    assert advice in told.hint
    store.create_session("s", source="terminal", cwd="/src")
    store.append("s", Message("user", "hi"))
    store.append("s", Message("assistant", "", (ToolCall("a", "note", "{}"),)))
    assert store.mark_begun("s", "a")
    store.flush()
    assert store.unsaved == 2
    assert not store.is_stored("s")
    path.rename(path.with_suffix(".away"))
    store.flush()
    assert store.unsaved == 0
    assert store.is_stored("s")
    assert len(news) == 2
    store.append("s", Message("tool", "done", tool_call_id="a"))
    disk = SqliteStore(path)
    assert [message.role for message in disk.messages("s")] == ["user", "assistant", "tool"]
    assert not disk.mark_begun("s", "a")
    disk.close()


def test_no_task_is_started_that_would_be_lost_with_the_terminal(path: Path, news: News) -> None:
    path.parent.mkdir()
    garbage(path)
    store = open_store(path, news.append)
    with pytest.raises(StoreError, match="cannot be opened") as refused:
        store.create_task(prompt="p", owner="o", settings="{}")
    assert "hermes doctor" in refused.value.hint
    path.unlink()
    store.flush()
    with pytest.raises(StoreError, match="opened since") as refused:
        store.create_task(prompt="p", owner="o", settings="{}")
    assert "hermes -c" in refused.value.hint
    assert store.tasks() == []
