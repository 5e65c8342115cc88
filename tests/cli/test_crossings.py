"""What crosses from threads and files to the prompt: events, history, the index of files."""

import asyncio
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent, DummyCompleter
from prompt_toolkit.document import Document

from agent.errors import StoreError
from agent.events import ReasoningDelta, Steered, TaskChanged, TextDelta, ToolStarted, TurnFinished
from agent.store.prompts import PromptLog
from hermes_cli.bridge import Bridge, Delivered
from hermes_cli.history import SharedHistory
from hermes_cli.mentions import FileIndex, PromptCompleter, matching, mention
from tests.support.turns import wait_until

# -- the bridge ------------------------------------------------------------------------------------


async def until(met: Callable[[], bool], *, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not met():
            await asyncio.sleep(0.002)


def emit_aside(bridge: Bridge, *events: Delivered) -> None:
    thread = threading.Thread(target=lambda: [bridge.emit(event) for event in events])
    thread.start()
    thread.join(10)


async def test_events_arrive_on_the_loops_thread_in_order() -> None:
    found: list[tuple[Delivered, threading.Thread]] = []
    bridge = Bridge(
        asyncio.get_running_loop(), lambda batch: found.extend((e, threading.current_thread()) for e in batch)
    )
    events = [Steered("a"), TextDelta("b"), Steered("c"), TaskChanged("t", 1, "done")]
    emit_aside(bridge, *events)
    await until(lambda: len(found) == 4)
    assert [event for event, _thread in found] == events
    assert {thread for _event, thread in found} == {threading.current_thread()}


async def test_neighbouring_pieces_of_text_arrive_as_one() -> None:
    batches: list[list[Delivered]] = []
    bridge = Bridge(asyncio.get_running_loop(), batches.append)
    emit_aside(bridge, *(TextDelta(str(number)) for number in range(10)), ReasoningDelta("x"), ReasoningDelta("y"))
    await until(lambda: bool(batches))
    assert batches == [[TextDelta("0123456789"), ReasoningDelta("xy")]]


async def test_text_is_never_joined_across_another_event() -> None:
    found: list[Delivered] = []
    bridge = Bridge(asyncio.get_running_loop(), found.extend)
    events = [TextDelta("a"), ToolStarted("c", "note", "note"), TextDelta("b")]
    emit_aside(bridge, *events)
    await until(lambda: len(found) == 3)
    assert found == events


async def test_nothing_is_lost_from_many_threads_at_once() -> None:
    found: list[Delivered] = []
    bridge = Bridge(asyncio.get_running_loop(), found.extend)

    def emit(name: str) -> None:
        for number in range(500):
            bridge.emit(TextDelta(f"{name}{number} "))
            if number % 50 == 0:
                bridge.emit(Steered(f"{name}{number}"))

    threads = [threading.Thread(target=emit, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    await until(
        lambda: sum(isinstance(event, Steered) for event in found) == 40 and not any(t.is_alive() for t in threads)
    )
    words = lambda: "".join(event.text for event in found if isinstance(event, TextDelta)).split()  # noqa: E731
    await until(lambda: len(words()) == 2000)
    for name in "abcd":
        assert [word for word in words() if word.startswith(name)] == [f"{name}{number}" for number in range(500)]
        notices = [event.text for event in found if isinstance(event, Steered) and event.text.startswith(name)]
        assert notices == [f"{name}{number}" for number in range(0, 500, 50)]


async def test_a_flood_of_text_is_delivered_in_few_batches() -> None:
    batches: list[list[Delivered]] = []
    bridge = Bridge(asyncio.get_running_loop(), batches.append)
    emit_aside(bridge, TextDelta("first"))
    await until(lambda: bool(batches))
    for _ in range(20):
        emit_aside(bridge, *(TextDelta("x") for _ in range(100)))
    await until(lambda: sum(len(e.text) for b in batches[1:] for e in b if isinstance(e, TextDelta)) == 2000)
    assert all(len(batch) == 1 for batch in batches)
    assert len(batches) <= 21


async def test_after_closing_nothing_is_delivered() -> None:
    found: list[Delivered] = []
    bridge = Bridge(asyncio.get_running_loop(), found.extend)
    bridge.emit(Steered("waits"))
    bridge.close()
    bridge.emit(Steered("too late"))
    await asyncio.sleep(0.05)
    assert found == []


async def test_an_event_emitted_while_events_are_shown_is_shown_next() -> None:
    found: list[Delivered] = []

    def deliver(batch: list[Delivered]) -> None:
        found.extend(batch)
        if len(found) < 3:
            bridge.emit(Steered(str(len(found))))

    bridge = Bridge(asyncio.get_running_loop(), deliver)
    bridge.emit(Steered("0"))
    await until(lambda: len(found) == 3)
    assert found == [Steered("0"), Steered("1"), Steered("2")]


# -- the history -----------------------------------------------------------------------------------


def test_prompts_are_kept_newest_first_and_equal_neighbours_once(tmp_path: Path) -> None:
    log = PromptLog(tmp_path / "new" / "state.db")
    for text in ("one", "two", "two", "one\nmore 日本"):
        log.add(text)
    assert log.newest(10) == ["one\nmore 日本", "two", "one"]
    assert log.newest(1) == ["one\nmore 日本"]
    log.close()
    assert log.newest(1) == ["one\nmore 日本"]
    assert (tmp_path / "new" / "state.db").stat().st_mode & 0o777 == 0o600
    log.close()


def test_two_copies_write_to_one_file_at_once(tmp_path: Path) -> None:
    ready = threading.Barrier(4)

    def write(name: str) -> None:
        log = PromptLog(tmp_path / "state.db")
        ready.wait(10)
        for number in range(25):
            log.add(f"{name}{number}")
        log.close()

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    log = PromptLog(tmp_path / "state.db")
    assert len(log.newest(1000)) == 100
    log.close()


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    import sqlite3

    connection = sqlite3.connect(tmp_path / "state.db")
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(StoreError, match="newer") as caught:
        PromptLog(tmp_path / "state.db").newest(1)
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"this is no database, and long enough to be one" * 50])
def test_a_file_that_is_no_database_is_an_error_and_not_overwritten(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(content)
    with pytest.raises(StoreError):
        PromptLog(tmp_path / "state.db").add("x")
    assert (tmp_path / "state.db").read_bytes() == content


async def lines_of(history: SharedHistory) -> list[str]:
    return [line async for line in history.load()]


def make_history(database: Path, warnings: list[str], fold: Callable[[str], str] = str) -> SharedHistory:
    return SharedHistory(database, fold=fold, warn=warnings.append)


async def test_a_new_draft_sees_what_another_running_copy_has_added(tmp_path: Path) -> None:
    warnings: list[str] = []
    mine, other = (make_history(tmp_path / "state.db", warnings) for _ in range(2))
    mine.append_string("mine")
    assert await lines_of(mine) == ["mine"]
    other.append_string("the other's")
    await lines_of(other)
    assert await lines_of(mine) == ["the other's", "mine"]
    mine.close()
    other.close()
    assert warnings == []


async def test_what_was_typed_last_is_on_disk_after_leaving(tmp_path: Path) -> None:
    history = make_history(tmp_path / "state.db", [])
    for number in range(20):
        history.append_string(str(number))
    history.close()
    log = PromptLog(tmp_path / "state.db")
    assert log.newest(100) == [str(number) for number in reversed(range(20))]
    log.close()


async def test_long_prompts_come_back_folded(tmp_path: Path) -> None:
    history = make_history(tmp_path / "state.db", [], fold=lambda text: f"<{text}>")
    history.append_string("x")
    assert await lines_of(history) == ["<x>"]
    history.close()


async def test_without_a_usable_file_the_history_is_in_memory_and_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    warnings: list[str] = []
    history = make_history(tmp_path / "file" / "state.db", warnings)
    for text in ("one", "two"):
        history.append_string(text)
    assert await lines_of(history) == ["two", "one"]
    assert await lines_of(history) == ["two", "one"]
    await until(lambda: bool(warnings))
    history.close()
    assert len(warnings) == 1
    assert "memory" in warnings[0]


# -- mentions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("@", "@"),
        ("look at @src/ma", "@src/ma"),
        ("(@x", ""),
        ("me@example.org", ""),
        ("@done now", ""),
        ("first line\n@sec", "@sec"),
        ('read @"my no', '@"my no'),
        ('read @"my notes.md"', ""),
        ('read @"my notes.md" and', ""),
        ("no", ""),
    ],
)
def test_a_mention_is_what_follows_an_at_before_the_cursor(text: str, found: str) -> None:
    assert mention(Document(text)) == found


PATHS = [
    "src/",
    "src/main.py",
    "src/domain/index.py",
    "docs/main.md",
    "README.md",
    "tests/test_main.py",
    "a b.txt",
    "lots of s/",
]


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("main", ["@docs/main.md", "@src/main.py"]),
        ("MAIN", ["@docs/main.md", "@src/main.py"]),
        ("read", ["@README.md"]),
        ("rc/m", ["@src/main.py"]),
        ("tmain", ["@tests/test_main.py"]),
        ("xyz", []),
        (".*", []),
        ("a b", ['@"a b.txt"']),
        ('@"a b', ['@"a b.txt"']),
        ("of s", ['@"lots of s/']),
    ],
)
def test_the_tightest_match_comes_first(typed: str, first: list[str]) -> None:
    texts = [completion.text for completion in matching(typed, PATHS)]
    assert sorted(texts[: len(first)]) == sorted(first)
    assert bool(texts) == bool(first)


def test_an_empty_mention_offers_everything_up_to_a_bound() -> None:
    assert len(list(matching("", PATHS))) == len(PATHS)
    assert len(list(matching("", [f"file{number}" for number in range(1000)]))) == 40


def test_the_index_has_files_and_folders_but_not_what_git_ignores(tmp_path: Path) -> None:
    for name in ("src/deep/a.py", "build/out.o", "keep.log", "other.log", "src/local.tmp", ".git/config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / ".gitignore").write_text("build/\n*.log\n!keep.log\n")
    (tmp_path / "src" / ".gitignore").write_text("*.tmp\n")
    paths = set(FileIndex(tmp_path).paths())
    assert {"src/", "src/deep/", "src/deep/a.py", "keep.log"} <= paths
    assert not paths & {"build/out.o", "build/", "other.log", "src/local.tmp", ".git/config"}


def test_the_index_of_a_repository_is_the_same_as_gits(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    for name in ("a.py", "b.pyc", "src/c.py", "src/d.pyc"):
        (tmp_path / name).write_text("x")
    (tmp_path / ".gitignore").write_text("*.pyc\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True, timeout=20)
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout.split()
    assert {path for path in FileIndex(tmp_path).paths() if not path.endswith("/")} == set(listed)


def test_the_first_look_at_the_index_builds_it_once_for_everybody(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x")
    index, found = FileIndex(tmp_path), list[object]()
    threads = [threading.Thread(target=lambda: found.append(list(index.paths()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(found) == 4)
    assert found == [["a.py"]] * 4


async def test_a_mention_is_completed_aside_and_a_command_at_once(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x")
    completer = PromptCompleter(DummyCompleter(), FileIndex(tmp_path))
    document = Document("see @not")
    found = [completion async for completion in completer.get_completions_async(document, CompleteEvent())]
    assert [(completion.text, completion.start_position) for completion in found] == [("@notes.md", -4)]
    assert [c async for c in completer.get_completions_async(Document("/x"), CompleteEvent())] == []


async def test_the_first_text_of_a_turn_does_not_wait_for_the_last_of_the_one_before() -> None:
    batches: list[list[Delivered]] = []
    bridge = Bridge(asyncio.get_running_loop(), batches.append)
    for events in ([TextDelta("the end"), TurnFinished("done", "the end")], [TextDelta("the next")]):
        for event in events:
            bridge.emit(event)
        # A few rounds of the loop, and no time to speak of.
        for _round in range(4):
            await asyncio.sleep(0)
    assert batches[-1] == [TextDelta("the next")]
