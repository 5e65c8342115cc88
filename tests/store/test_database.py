"""The file: who may read it, how old ones grow, copies of it, and what is said when it cannot be used."""

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from agent.errors import StoreError
from agent.events import Steered
from agent.messages import Message
from agent.records import Lease
from agent.store.prompts import PromptLog
from agent.store.schema import MIGRATIONS
from agent.store.sessions import FIND
from agent.store.sqlite import SqliteStore
from tests.store.test_sessions import TEXTS, talk

RELEASED = {
    1: """
        CREATE TABLE prompts (
            id INTEGER PRIMARY KEY,
            at REAL NOT NULL,
            text TEXT NOT NULL
        ) STRICT;
        INSERT INTO prompts (at, text) VALUES (1.0, 'older'), (2.0, 'newer');
    """,
    **{int(path.stem): path.read_text("utf-8") for path in (Path(__file__).parent / "released").glob("*.sql")},
}
"""What each older release left behind, with something in it. Never edited; a new schema adds the one before it."""


def old_file(path: Path, version: int) -> None:
    connection = sqlite3.connect(path)
    if version > 1:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(RELEASED[version])
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


def pragma(store: SqliteStore, name: str) -> object:
    with store.database.read() as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


# -- opening ---------------------------------------------------------------------------------------


def test_every_schema_but_the_newest_has_an_older_file_to_try() -> None:
    assert sorted(RELEASED) == list(range(1, len(MIGRATIONS)))


@pytest.mark.parametrize("version", RELEASED)
def test_a_file_of_an_older_release_is_brought_up_to_date_with_what_it_holds(version: int, tmp_path: Path) -> None:
    old_file(tmp_path / "state.db", version)
    store = SqliteStore(tmp_path / "state.db")
    assert pragma(store, "user_version") == len(MIGRATIONS)
    assert pragma(store, "auto_vacuum") == 2
    talk(store, "s", "hi")
    assert store.integrity_check() == []
    store.close()
    log = PromptLog(tmp_path / "state.db")
    assert log.newest(5) == ["newer", "older"]
    log.close()


def test_a_session_is_looked_for_without_reading_the_rows(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    with store.database.read() as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {FIND}", ("task", "x", "x")).fetchall()
    assert "COVERING INDEX sessions_to_find" in plan[0][-1]
    store.close()


def test_conversations_and_tasks_of_an_older_release_are_found_and_gone_on_with(tmp_path: Path) -> None:
    old_file(tmp_path / "state.db", 3)
    store = SqliteStore(tmp_path / "state.db")
    assert [hit.title for hit in store.search("hello")] == ["hi"]
    (task,) = store.tasks()
    assert store.steer_task(task.id, "hurry")
    assert store.adopt_tasks("terminal:2", lambda lease: False) == [replace(task, owner="terminal:2")]
    assert store.claim_task(Lease("w", 1, 1.0, 0.0), owner="terminal:2")
    store.close()


def test_old_and_new_files_have_the_same_shape(tmp_path: Path) -> None:
    shapes = []
    for version in [0, *RELEASED]:
        path = tmp_path / f"{version}.db"
        if version:
            old_file(path, version)
        store = SqliteStore(path)
        with store.database.read() as connection:
            rows = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()
            shapes.append([(kind, name, " ".join((sql or "").split())) for kind, name, sql in rows])
        store.close()
    assert all(shape == shapes[0] for shape in shapes)


def test_several_threads_bring_an_old_file_up_to_date_at_once(tmp_path: Path) -> None:
    old_file(tmp_path / "state.db", 1)
    ready, failed = threading.Barrier(6), list[StoreError]()

    def open_it() -> None:
        ready.wait(10)
        try:
            SqliteStore(tmp_path / "state.db").close()
        except StoreError as error:
            failed.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failed == []


def test_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "new" / "state.db")
    talk(store, "s", "hi")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert pragma(store, "journal_mode") == "wal"
    store.close()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["state.db"]


def test_what_is_stored_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "state.db")
    talk(first, "s", "hi", "hello")
    task = first.create_task(prompt="x", owner="s", settings="{}")
    first.close()
    second = SqliteStore(tmp_path / "state.db")
    assert second.messages("s") == [Message("user", "hi"), Message("assistant", "hello")]
    assert second.task(task.id) == task
    second.close()


def test_events_that_another_release_wrote_are_passed_over(disk: SqliteStore) -> None:
    task = disk.create_task(prompt="x", owner="me", settings="{}")
    for _ in range(3):
        disk.append_event(task.id, Steered("x"))
    with disk.database.write() as connection:
        connection.execute("UPDATE events SET type = 'Unheard' WHERE number = 1")
        connection.execute("UPDATE events SET data = '{}' WHERE number = 2")
    assert [(entry.number, entry.event) for entry in disk.log(task.id)] == [(3, Steered("x"))]


# -- threads ---------------------------------------------------------------------------------------


def test_who_reads_does_not_wait_for_who_writes(disk: SqliteStore) -> None:
    talk(disk, "s", "hi")
    seen: list[list[Message]] = []
    with disk.database.write() as connection:
        connection.execute("UPDATE messages SET content = 'changed'")
        reader = threading.Thread(target=lambda: seen.append(disk.messages("s")))
        reader.start()
        reader.join(10)
    assert seen == [[Message("user", "hi")]]


def test_threads_that_come_and_go_leave_no_open_files(disk: SqliteStore) -> None:
    talk(disk, "s", "hi")

    def read_and_write() -> None:
        disk.append("s", Message("user", "more"))
        assert disk.messages("s")

    def rounds(number: int) -> None:
        threads = [threading.Thread(target=read_and_write) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)

    rounds(8)
    before = psutil.Process().num_fds()
    for _ in range(10):
        rounds(8)
    # A connection holds the file, and the log where it was read.
    assert psutil.Process().num_fds() <= before + 10


def test_a_transaction_that_raises_is_undone(disk: SqliteStore) -> None:
    talk(disk, "s", "hi")

    def fail() -> None:
        with disk.database.write() as connection:
            connection.execute("DELETE FROM messages")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(disk.messages("s")) == 1
    disk.append("s", Message("user", "on"))


# -- search without an index -----------------------------------------------------------------------


def test_without_an_index_everything_is_found_all_the_same(disk: SqliteStore) -> None:
    with disk.database.write() as connection:
        for kind, name in [("TRIGGER", "messages_indexed"), ("TRIGGER", "messages_unindexed")]:
            connection.execute(f"DROP {kind} {name}")
        connection.execute("DROP TABLE messages_pieces")
        connection.execute("DROP TABLE messages_index")
    for name, text in TEXTS.items():
        talk(disk, name, text)
    for query in ["process_order", "100%", "a\\b", "大小", "GRÖßENÄ", "池", "go", "a_b", "cart validates"]:
        assert len(disk.search(query)) == 1, query
    assert disk.search("nothing like it") == []
    assert disk.integrity_check() == []
    disk.rebuild_index()


def test_an_index_that_does_not_fit_is_noticed_and_can_be_made_anew(disk: SqliteStore) -> None:
    talk(disk, "s", "needle")
    with disk.database.write() as connection:
        connection.execute("INSERT INTO messages_index (messages_index) VALUES ('delete-all')")
    assert disk.search("needle") == []
    (problem,) = disk.integrity_check()
    assert "search index" in problem
    disk.rebuild_index()
    assert disk.integrity_check() == []
    assert len(disk.search("needle")) == 1


# -- copies ----------------------------------------------------------------------------------------


def test_a_backup_is_one_file_that_can_take_the_places_of_the_first(disk: SqliteStore, tmp_path: Path) -> None:
    talk(disk, "s", "hi")
    target = tmp_path / "copies" / "backup.db"
    target.parent.mkdir()
    disk.backup(target)
    talk(disk, "s", "later")
    assert [path.name for path in target.parent.iterdir()] == ["backup.db"]
    assert target.stat().st_mode & 0o777 == 0o600
    copy = SqliteStore(target)
    assert copy.messages("s") == [Message("user", "hi")]
    assert copy.integrity_check() == []
    copy.close()


@pytest.mark.parametrize("name", ["taken.db", "state.db", "no/such/folder.db"])
def test_a_backup_overwrites_nothing(disk: SqliteStore, tmp_path: Path, name: str) -> None:
    (tmp_path / "taken.db").write_text("precious")
    with pytest.raises(StoreError) as caught:
        disk.backup(tmp_path / name)
    assert "another" in caught.value.hint
    assert "HERMES_HOME" not in caught.value.hint
    assert (tmp_path / "taken.db").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir() if "partial" in path.name) == []
    assert disk.integrity_check() == []


def test_pruning_gives_room_back_to_the_disk(disk: SqliteStore) -> None:
    for number in range(20):
        talk(disk, f"s{number}", "x" * 100_000)
    full = disk.stats()
    assert full.size > 2_000_000
    disk.prune(before=9e9)
    disk.close()
    again = SqliteStore(disk.path)
    assert again.stats().size < full.size / 4
    assert again.integrity_check() == []
    again.close()


# -- what can go wrong -----------------------------------------------------------------------------


def refused(store: SqliteStore) -> StoreError:
    with pytest.raises(StoreError) as caught:
        store.append("s", Message("user", "x" * 100_000))
    assert caught.value.hint
    assert str(store.path) in str(caught.value)
    return caught.value


def test_a_full_disk_is_said_and_harms_nothing(disk: SqliteStore) -> None:
    talk(disk, "s", "hi")
    with disk.database.write() as connection:
        connection.execute("PRAGMA max_page_count = 1")
    error = refused(disk)
    assert "full" in str(error)
    assert "space" in error.hint
    assert disk.messages("s") == [Message("user", "hi")]
    with disk.database.write() as connection:
        connection.execute("PRAGMA max_page_count = 100000")
    disk.append("s", Message("user", "there is room again"))
    assert disk.integrity_check() == []


def test_a_file_that_may_not_be_written_is_said(disk: SqliteStore) -> None:
    talk(disk, "s", "hi")
    with disk.database.write() as connection:
        connection.execute("PRAGMA query_only = ON")
    error = refused(disk)
    assert "Cannot write" in str(error)
    assert "writable" in error.hint
    assert "HERMES_HOME" in error.hint


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="Cannot write") as caught:
        SqliteStore(tmp_path / "file" / "state.db")
    assert "HERMES_HOME" in caught.value.hint


def test_another_program_that_keeps_writing_is_said_and_reading_goes_on(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db", busy=0.05)
    talk(store, "s", "hi")
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert "busy" in str(refused(store))
    assert store.messages("s") == [Message("user", "hi")]
    other.execute("ROLLBACK")
    other.close()
    store.append("s", Message("user", "again"))
    store.close()


def test_a_thread_that_keeps_writing_is_said(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db", busy=0.05)
    talk(store, "s", "hi")
    held: list[StoreError] = []
    with store.database.write():
        thread = threading.Thread(target=lambda: held.append(refused(store)))
        thread.start()
        thread.join(10)
    assert "busy" in str(held[0])
    store.close()


def test_a_file_of_a_newer_release_is_left_alone(disk: SqliteStore) -> None:
    talk(disk, "s", "hi")
    with disk.database.write() as connection:
        connection.execute("PRAGMA user_version = 999")
    assert "newer" in str(refused(disk))
    with pytest.raises(StoreError, match="newer") as caught:
        SqliteStore(disk.path)
    assert "Upgrade" in caught.value.hint


def damage(path: Path, start: int) -> None:
    content = bytearray(path.read_bytes())
    content[start:] = b"\xa5" * (len(content) - start)
    path.write_bytes(content)


def read_all(store: SqliteStore) -> None:
    for session in store.sessions(limit=1_000):
        store.messages(session.id)


def test_a_damaged_file_is_said_with_the_way_back(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SqliteStore(path)
    for number in range(200):
        talk(store, f"s{number}", "x" * 2_000)
    store.backup(tmp_path / "backup.db")
    store.close()

    damage(path, 200_000)
    broken = SqliteStore(path)
    assert broken.integrity_check()
    with pytest.raises(StoreError, match="damaged") as caught:
        read_all(broken)
    assert "hermes backup" in caught.value.hint
    assert "-wal" in caught.value.hint
    broken.close()

    damage(path, 4096)
    with pytest.raises(StoreError, match="damaged"):
        SqliteStore(path)

    for name in ("state.db", "state.db-wal", "state.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "backup.db").rename(path)
    restored = SqliteStore(path)
    assert restored.integrity_check() == []
    assert restored.stats().messages == 200
    restored.close()


def test_a_file_that_was_moved_away_takes_nothing_more(disk: SqliteStore, tmp_path: Path) -> None:
    talk(disk, "s", "hi")
    disk.path.rename(tmp_path / "moved.db")
    assert "moved" in str(refused(disk))


def test_after_closing_nothing_is_stored(disk: SqliteStore) -> None:
    talk(disk, "s", "hi")
    disk.close()
    assert "closed" in str(refused(disk))
    with pytest.raises(StoreError, match="closed"):
        disk.messages("s")
    disk.close()
