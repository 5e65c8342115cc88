"""What every store promises of sessions: finding, naming, deleting, searching, counting."""

import time

import pytest

from agent.errors import StoreError
from agent.messages import ImagePart, Message, ToolCall, Usage
from agent.protocols import Decision, Store
from agent.records import TASK_SOURCE, Pruned, Session


def talk(store: Store, session_id: str, *texts: str, **fields: str) -> None:
    store.create_session(session_id, **{"source": "terminal", **fields})
    for number, text in enumerate(texts):
        store.append(session_id, Message("assistant" if number % 2 else "user", text))


def found(store: Store, session_id: str) -> Session:
    session = store.session(session_id)
    assert session is not None
    return session


def ids(sessions: list[Session]) -> list[str]:
    return [session.id for session in sessions]


# -- rows ------------------------------------------------------------------------------------------


def test_a_session_tells_where_it_came_from_and_how_far_it_went(store: Store) -> None:
    before = time.time()
    talk(store, "s", "hi", "hello", cwd="/src", model="m1", parent="older", settings='{"effort":"low"}')
    session = found(store, "s")
    assert (session.source, session.cwd, session.model, session.parent) == ("terminal", "/src", "m1", "older")
    assert (session.settings, session.messages, session.archived) == ('{"effort":"low"}', 2, False)
    assert before <= session.created <= session.updated <= time.time()
    assert store.session("nobody") is None


def test_what_a_session_was_made_with_stays_when_it_is_made_again(store: Store) -> None:
    talk(store, "s", cwd="/src", model="m1")
    talk(store, "s", cwd="/other")
    assert (found(store, "s").cwd, found(store, "s").model) == ("/src", "m1")


@pytest.mark.parametrize(
    ("prompt", "title"),
    [
        ("fix the build", "fix the build"),
        ("  fix\n\tthe   build \n", "fix the build"),
        ("\x1b[31mred\x07 alert", "[31mred alert"),
        ("日本語のテスト" * 20, ("日本語のテスト" * 20)[:59] + "…"),
        ("word " * 30, "word word word word word word word word word word word…"),
        ("", ""),
    ],
)
def test_the_first_prompt_gives_the_title(store: Store, prompt: str, title: str) -> None:
    store.create_session("s", source="terminal")
    store.append("s", Message("system", "be good"))
    store.append("s", Message("user", prompt))
    assert found(store, "s").title == title
    assert len(title) <= 60


def test_a_title_comes_once_and_a_given_name_stays(store: Store) -> None:
    talk(store, "s", "first", "answer", "second")
    assert found(store, "s").title == "first"
    renamed = store.rename_session("s", "  my\nname ")
    assert renamed is not None
    assert renamed.title == "my name"
    store.append("s", Message("user", "third"))
    assert found(store, "s").title == "my name"
    assert store.rename_session("nobody", "x") is None


def test_a_session_follows_its_model_and_folder_and_can_be_put_away(store: Store) -> None:
    talk(store, "s", "hi")
    store.update_session("s", model="m2", cwd="/b", settings='{"a":1}', archived=True)
    session = found(store, "s")
    assert (session.model, session.cwd, session.settings, session.archived) == ("m2", "/b", '{"a":1}', True)
    assert store.sessions() == []
    assert store.sessions(archived=True) == [session]
    with pytest.raises(TypeError, match="messages"):
        store.update_session("s", messages=3)


# -- finding ---------------------------------------------------------------------------------------


def test_sessions_are_listed_newest_first_by_folder_and_by_source(store: Store) -> None:
    for name, cwd, source in [("a", "/x", "terminal"), ("b", "/y", "telegram"), ("c", "/x", "terminal")]:
        talk(store, name, "hi", cwd=cwd, source=source)
    store.append("a", Message("user", "again"))
    assert ids(store.sessions()) == ["a", "c", "b"]
    assert ids(store.sessions(limit=2)) == ["a", "c"]
    assert ids(store.sessions(cwd="/x")) == ["a", "c"]
    assert ids(store.sessions(source="telegram")) == ["b"]


def test_sessions_of_tasks_are_listed_only_when_asked_for(store: Store) -> None:
    talk(store, "mine", "find the bug")
    task = store.create_task(prompt="find the bug", owner="mine", settings="{}", cwd="/src")
    store.append(task.session_id, Message("user", "find the bug"))
    assert ids(store.sessions()) == ["mine"]
    assert ids(store.sessions(source=TASK_SOURCE)) == [task.session_id]
    assert found(store, task.session_id).cwd == "/src"
    assert ids(store.find_sessions("find the bug")) == ["mine"]
    assert ids(store.find_sessions("latest")) == ["mine"]
    assert store.find_session(task.session_id) == store.session(task.session_id)


@pytest.mark.parametrize("text", ["Größe", "GRÖSSE", "grösse", "die grö", "DIE GR"])
def test_a_title_is_found_whatever_the_case_of_its_letters(store: Store, text: str) -> None:
    for number, title in enumerate(("Die Größe", "another")):
        store.create_session(f"2026010{number}_000000_abcdef", source="terminal", title=title)
    assert [session.title for session in store.find_sessions(text)] == ["Die Größe"]


def test_a_session_is_found_by_latest_id_beginning_of_id_and_title(store: Store) -> None:
    talk(store, "20260101_101010_aaaaaa", "Größe der Tabelle", cwd="/x")
    talk(store, "20260101_111111_bbbbbb", "fix the build", cwd="/x")
    talk(store, "20260202_101010_cccccc", "fix the build again", cwd="/y")

    def end(text: str, **fields: str) -> str | None:
        session = store.find_session(text, **fields)
        return session.id[-1] if session else None

    assert end("latest") == "c"
    assert end("latest", cwd="/x") == "b"
    assert end("latest", cwd="/nowhere") is None
    assert end("20260101_101010_aaaaaa") == "a"
    assert end("202602") == "c"
    assert end("20260101") is None
    assert end("FIX the build") == "b"
    assert end("GRÖSSE") == "a"
    assert end("größe") == "a"
    assert end("again") == "c"
    assert end("") is None
    assert end("%") is None
    assert [session.id[-1] for session in store.find_sessions("20260101")] == ["b", "a"]
    assert [session.id[-1] for session in store.find_sessions("fix the build")] == ["b", "c"]
    assert [session.id[-1] for session in store.find_sessions("latest", limit=2)] == ["c", "b"]


# -- searching -------------------------------------------------------------------------------------

TEXTS = {
    "plain": "It validates the cart, then calls process_order().",
    "camel": "see getUserName in src/userService.ts:42",
    "chinese": "请检查数据库连接池的大小",
    "japanese": "検索は速いです",
    "emoji": "ship it 🚀🚀 now",
    "umlaut": "Größenänderung im Straßenverkehr",
    "odd": "100% of 'quotes' and \"doubles\" a_b a\\b (x OR y) NEAR*",
    "short": "go",
}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("process_order", {"plain"}),
        ("PROCESS order", {"plain"}),
        ("rocess_ord", {"plain"}),
        ("username", {"camel"}),
        ("userService.ts:42", {"camel"}),
        ("数据库", {"chinese"}),
        ("大小", {"chinese"}),
        ("池", {"chinese"}),
        ("検索", {"japanese"}),
        ("です", {"japanese"}),
        ("🚀🚀", {"emoji"}),
        ("🚀", {"emoji"}),
        ("GRÖSSE", set()),
        ("GRÖßENÄ", {"umlaut"}),
        ("ÄN", {"umlaut"}),
        ('"the cart"', {"plain"}),
        ('"cart the"', set()),
        ("cart validates", {"plain"}),
        ("100%", {"odd"}),
        ("a_b", {"odd"}),
        ("a\\b", {"odd"}),
        ("'quotes'", {"odd"}),
        ("NEAR*", {"odd"}),
        ("(x OR y)", {"odd"}),
        ("go", {"short"}),
        ("42", {"camel"}),
        ("in 42", {"camel"}),
        ("zq", set()),
        ("nothing like it", set()),
        ("", set()),
        ('""', {"nobody"}),
        ("s", {"plain", "camel", "emoji", "umlaut", "odd"}),
    ],
)
def test_a_message_is_found_by_any_part_of_it(store: Store, query: str, names: set[str]) -> None:
    for name, text in TEXTS.items():
        talk(store, name, text)
    assert {hit.session_id for hit in store.search(query)} == names - {"nobody"}


def test_a_search_gives_the_newest_first_with_where_it_was_and_a_line_of_it(store: Store) -> None:
    for number in range(5):
        talk(store, f"s{number}", f"about needle {number}", f"{'x ' * 200}\nthe needle\tis here{' y' * 200}")
    hits = store.search("needle", limit=3)
    assert [(hit.session_id, hit.number, hit.role) for hit in hits] == [
        ("s4", 2, "assistant"),
        ("s4", 1, "user"),
        ("s3", 2, "assistant"),
    ]
    assert hits[0].title == "about needle 4"
    assert "the needle is here" in hits[0].snippet
    assert hits[0].snippet[0] == hits[0].snippet[-1] == "…"
    assert len(hits[0].snippet) < 140
    assert hits[1].snippet == "about needle 4"


def test_the_system_prompt_is_not_searched(store: Store) -> None:
    store.create_session("s", source="terminal")
    store.append("s", Message("system", "you are helpful"))
    store.append("s", Message("tool", "helpful output", tool_call_id="a"))
    assert [hit.role for hit in store.search("helpful")] == ["tool"]
    assert [hit.role for hit in store.search("fu")] == ["tool"]


def test_what_was_deleted_is_not_found(store: Store) -> None:
    talk(store, "a", "needle", "ab")
    talk(store, "b", "needle")
    assert store.delete_session("a")
    assert [hit.session_id for hit in store.search("needle")] == ["b"]
    assert store.search("ab") == []


# -- text ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "a\0b",
        "\0",
        "\r\n\t\x1b[31m",
        "👩‍👩‍👧 𝔘𝔫𝔦",
        "\ufeffbom",
        "\uffff\U0010ffff",
        "x" * 1_000_000,
        "日本語\n" * 100_000,
    ],
    ids=["nul", "only nul", "control", "emoji", "bom", "last", "1 MB", "1 MB of CJK"],
)
def test_any_text_comes_back_as_it_was(store: Store, text: str) -> None:
    message = Message("assistant", text, (ToolCall(text[:100], "t", text),), reasoning=text)
    store.create_session("s", source="terminal")
    store.append("s", message)
    store.append("s", Message("tool", text, tool_call_id=text[:100]))
    assert store.messages("s") == [message, Message("tool", text, tool_call_id=text[:100])]
    assert store.mark_begun("s", text)
    assert not store.mark_begun("s", text)


def test_half_a_character_is_replaced_for_utf_8_has_no_room_for_it(store: Store) -> None:
    store.create_session("s", source="terminal")
    broken = "a\ud800b"
    store.append("s", Message("assistant", broken, (ToolCall("c", "t", broken),), reasoning="\ud83d\ude80"))
    mended = "a\ufffdb"
    assert store.messages("s") == [Message("assistant", mended, (ToolCall("c", "t", mended),), reasoning="🚀")]
    assert len(store.search(broken)) == 1
    assert store.find_session(broken) is None
    store.record_decision("s", broken, Decision(False, broken))
    assert store.decision("s", broken) == Decision(False, mended)
    store.rename_session("s", broken)
    task = store.create_task(prompt=broken, owner="s", settings="{}")
    assert (task.prompt, store.task(task.id)) == (mended, task)


# -- deleting --------------------------------------------------------------------------------------


def test_a_deleted_session_is_gone_with_what_it_held(store: Store) -> None:
    talk(store, "s", "hi")
    store.mark_begun("s", "call")
    store.record_decision("s", "call", Decision(True))
    task = store.create_task(prompt="x", owner="s", settings="{}", session_id="s")
    store.update_task(task.id, state="done", told=True)
    assert store.delete_session("s")
    assert not store.delete_session("s")
    assert (store.session("s"), store.messages("s"), store.decision("s", "call")) == (None, [], None)
    assert store.tasks() == []
    talk(store, "s", "hi")
    assert store.mark_begun("s", "call")


def test_the_sessions_of_agents_that_it_sent_go_with_a_session_and_those_of_its_tasks_stay(store: Store) -> None:
    talk(store, "s", "hi")
    for name, parent in (("sent", "s"), ("other", "x")):
        store.create_session(name, source=TASK_SOURCE, parent=parent)
    on = store.continue_session("sent", [Message("user", "shorter")])
    task = store.create_task(prompt="x", owner="me", settings="{}", parent="s", history=[Message("user", "x")])
    assert store.delete_session("s")
    assert [store.session(name) is None for name in ("s", "sent", on)] == [True, True, True]
    assert store.session("other")
    assert store.session(task.session_id)


def test_what_a_task_began_with_stays_when_the_conversation_it_came_from_is_deleted(store: Store) -> None:
    talk(store, "s", "hi")
    store.create_session("sent", source=TASK_SOURCE, parent="s")
    task = store.create_task(prompt="x", owner="me", settings="{}", parent="s", history=[Message("user", "x")])
    on = store.continue_session(store.continue_session(task.session_id, []), [Message("user", "shorter")])
    assert [one.session_id for one in store.tasks()] == [on]
    assert store.delete_session("s")
    assert [store.session("s"), store.session("sent")] == [None, None]
    assert store.messages(task.session_id) == [Message("user", "x")]
    assert store.session(on)


def test_a_session_on_which_a_task_works_is_not_deleted(store: Store) -> None:
    task = store.create_task(prompt="x", owner="me", settings="{}")
    with pytest.raises(StoreError, match="#1") as caught:
        store.delete_session(task.session_id)
    assert "stop 1" in caught.value.hint
    assert store.session(task.session_id)


def test_pruning_takes_what_is_old_and_leaves_what_is_live_or_was_not_told(store: Store) -> None:
    talk(store, "old", "one", "two")
    told, owed, live = (store.create_task(prompt="x", owner=owner, settings="{}") for owner in ("a", "b", "c"))
    for name in "abc":
        talk(store, name, "hi")
    store.update_task(told.id, state="done", finished=time.time(), told=True)
    store.update_task(owed.id, state="done", finished=time.time())
    before = time.time()
    store.create_session("new", source="terminal")
    expected = Pruned(sessions=3, messages=3, tasks=1)  # old, a and the session of the task that was told
    assert store.prune(before=before, dry_run=True) == expected
    assert store.session("old")
    assert store.prune(before=before, dry_run=True, besides=[told.id]) == Pruned(sessions=2, messages=3, tasks=0)
    assert store.prune(before=before, dry_run=True, besides=["old"]) == Pruned(sessions=2, messages=1, tasks=1)
    assert store.prune(before=before) == expected
    assert {session.id for session in store.sessions()} == {"new", "b", "c"}
    assert [task.id for task in store.tasks()] == [owed.id, live.id]
    assert store.session(told.session_id) is None
    assert store.prune(before=before) == Pruned(0, 0, 0)
    assert store.create_task(prompt="x", owner="a", settings="{}").number == 4


def test_pruning_leaves_what_a_conversation_that_stays_went_on_from(store: Store) -> None:
    talk(store, "first", "hi")
    newest = store.continue_session(store.continue_session("first", []), [Message("user", "shorter")])
    talk(store, "copied", "hi")
    copy = store.copy_session("copied", [Message("user", "hi")], title="copy")
    past = time.time()
    assert store.prune(before=past, dry_run=True, besides=[newest, copy]) == Pruned(sessions=1, messages=1, tasks=0)
    store.append(newest, Message("user", "on"))
    assert store.prune(before=past) == Pruned(sessions=2, messages=2, tasks=0)
    assert store.session("first")
    assert store.prune(before=time.time()).sessions == 3
    assert store.stats().sessions == 0


def test_a_number_is_not_used_again(store: Store) -> None:
    last = [store.create_task(prompt="x", owner="me", settings="{}") for _ in range(3)][-1]
    store.update_task(last.id, state="cancelled")
    assert store.delete_session(last.session_id)
    assert store.create_task(prompt="x", owner="me", settings="{}").number == 4


# -- accounts --------------------------------------------------------------------------------------


def test_usage_adds_up_by_day_model_and_session_and_outlives_the_session(store: Store) -> None:
    talk(store, "s", "hi")
    store.add_usage("s", "m1", Usage(10, 2, 5, 1))
    store.add_usage("s", "m1", Usage(1, 1, cost=0.5))
    store.add_usage("s", "m1", Usage(1, 1))
    store.add_usage("s", "m2", Usage(7, 7, cost=0.25))
    store.add_usage("t", "m1", Usage(3, 3))
    rows = store.usage()
    today = time.strftime("%Y-%m-%d")
    assert [(row.day, row.model, row.session_id, row.requests) for row in rows] == [
        (today, "m1", "s", 3),
        (today, "m1", "t", 1),
        (today, "m2", "s", 1),
    ]
    assert rows[0].usage == Usage(12, 4, 5, 1, 0.5)
    assert rows[1].usage.cost is None
    assert store.usage(session_id="t") == [rows[1]]
    assert store.usage(since="9999-01-01") == []
    store.delete_session("s")
    assert store.usage() == rows


def test_the_figures_count_what_is_kept(store: Store) -> None:
    talk(store, "s", "hi", "hello")
    store.create_task(prompt="x", owner="s", settings="{}")
    stats = store.stats()
    assert (stats.sessions, stats.messages, stats.tasks) == (2, 2, 1)


# -- going on in a new session ---------------------------------------------------------------------


def test_a_session_that_goes_on_elsewhere_takes_along_what_belongs_to_it_and_keeps_what_was_said(store: Store) -> None:
    talk(store, "old", "hi", "hello", cwd="/src", model="m1", settings='{"effort":"low"}')
    task = store.create_task(prompt="p", owner="me", settings="{}", session_id="old")
    store.mark_begun("old", "call_1")
    store.record_decision("old", "call_2:what", Decision(True, "fine"))
    store.add_usage("old", "m1", Usage(10, 5))
    calls = (ToolCall("call_1", "note", "{}"), ToolCall("call_2", "note", "{}"))
    messages = [Message("system", "be good"), Message("assistant", "", calls)]
    child = store.continue_session("old", messages)
    session = found(store, child)
    assert store.messages(child) == messages
    assert (session.source, session.title, session.cwd, session.model) == ("terminal", "hi", "/src", "m1")
    assert (session.parent, session.settings, session.messages) == ("old", '{"effort":"low"}', 2)
    assert not store.mark_begun(child, "call_1")
    assert store.decision(child, "call_2:what") == Decision(True, "fine")
    moved = store.task(task.id)
    assert moved is not None
    assert moved.session_id == child
    assert [row.session_id for row in store.usage()] == [child]
    assert [message.content for message in store.messages("old")] == ["hi", "hello"]
    assert [hit.session_id for hit in store.search("hello")] == ["old"]


def test_marks_and_answers_of_calls_that_stay_behind_are_not_those_of_later_calls_of_the_same_id(store: Store) -> None:
    """Some servers count calls from zero, and the id is free again in a session that begins without the old call."""
    store.create_session("old", source="terminal")
    for call in ("call_1", "call_2"):
        store.mark_begun("old", call)
        store.record_decision("old", f"{call}:what", Decision(True))
    messages = [Message("system", "be good"), Message("assistant", "", (ToolCall("call_2", "note", "{}"),))]
    child = store.continue_session("old", messages)
    assert store.mark_begun(child, "call_1")
    assert not store.mark_begun(child, "call_2")
    assert store.decision(child, "call_1:what") is None
    assert store.decision(child, "call_2:what") == Decision(True)
    assert not store.mark_begun("old", "call_1")


def test_the_session_gone_on_from_is_found_but_does_not_stand_in_the_way(store: Store) -> None:
    talk(store, "20260101_000000_aaaaaa", "fix the build", cwd="/src")
    child = store.continue_session("20260101_000000_aaaaaa", [Message("system", "be good")])
    assert ids(store.sessions(cwd="/src")) == [child]
    for words in ("fix the build", "fix", "build"):
        found_session = store.find_session(words)
        assert found_session is not None
        assert found_session.id == child
    assert ids(store.find_sessions("20260101")) == ["20260101_000000_aaaaaa"]


def test_nothing_goes_on_from_a_session_that_does_not_exist(store: Store) -> None:
    with pytest.raises(StoreError):
        store.continue_session("nobody", [Message("user", "hi")])
    assert store.sessions() == []


def test_images_stay_with_their_messages(store: Store) -> None:
    shots = (ImagePart("/kept/1.png", "image/png", "shot.png"), ImagePart("/kept/2.jpg", "image/jpeg"))
    talk(store, "s", "hi")
    told = [Message("user", "look", images=shots), Message("tool", "seen", tool_call_id="c", images=shots[:1])]
    for message in told:
        store.append("s", message)
    assert store.messages("s")[-2:] == told
