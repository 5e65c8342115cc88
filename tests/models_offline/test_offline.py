"""The offline model in a loop with the real tools, as a turn runs it."""

import json
import re
import sys
from pathlib import Path

import msgspec
import pytest

from agent.cancel import CancelToken
from agent.errors import Cancelled, ToolError
from agent.messages import INTERRUPTED, Message, ToolCall, Usage
from agent.models.offline import SHOWN_CHARACTERS, OfflineModel, parse
from agent.protocols import Reply, TextChunk, ToolContext, ToolSpec
from agent.tools import default_tools

TOOLS = {tool.name: tool for tool in default_tools()}
SPECS = tuple(ToolSpec(name, "", {}) for name in TOOLS)
DOCUMENT = Path(__file__).parents[2] / "docs" / "offline.md"


def ask(messages: list[Message], specs: tuple[ToolSpec, ...] = SPECS) -> Message:
    """One step; checks what holds for every one."""
    *chunks, reply = OfflineModel().stream(messages, specs, cancel=CancelToken())
    assert isinstance(reply, Reply)
    assert all(isinstance(chunk, TextChunk) for chunk in chunks)
    assert "".join(chunk.text for chunk in chunks) == reply.message.content
    assert reply.usage == Usage()
    assert reply.finish_reason == ("tool_calls" if reply.message.tool_calls else "stop")
    return reply.message


def use(call: ToolCall, context: ToolContext) -> Message:
    tool = TOOLS[call.name]
    try:
        args = msgspec.json.decode(call.arguments, type=tool.arguments)
        tool.plan(args, context)
        content = tool.run(args, context, CancelToken()).content
    except ToolError as error:
        content = str(error)
    return Message("tool", content, tool_call_id=call.id)


def turn(prompt: str, cwd: Path, history: list[Message] | None = None) -> tuple[str, list[Message]]:
    """The answer to a prompt, and all messages."""
    messages = [*(history or []), Message("user", prompt)]
    while (reply := ask(messages)).tool_calls:
        messages.append(reply)
        messages += [use(call, ToolContext(cwd)) for call in reply.tool_calls]
    return reply.content, [*messages, reply]


def commands(messages: list[Message]) -> list[tuple[str, dict[str, object]]]:
    return [(call.name, json.loads(call.arguments)) for message in messages for call in message.tool_calls]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/app.py").write_text("# TODO: everything\n")
    (tmp_path / "README.md").write_text("# Read me\n```sh\nmake\n```\n")
    (tmp_path / "notes.txt").write_text("one\ntwo\nthree\n")
    (tmp_path / "report.txt").write_text("all is well\n")
    return tmp_path


# -- the documented grammar ------------------------------------------------------------------------


def documented() -> list[str]:
    cells = re.findall(r"^\| (`+) ?(.+?) ?\1 \|", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    return [example for _, example in cells]


@pytest.mark.parametrize("example", documented())
def test_every_documented_example_works(example: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    (project / "test_fine.py").write_text("def test_fine(): pass\n")
    answer, messages = turn(example, project)
    assert commands(messages)
    assert "did not work" not in answer, answer
    assert "not understand" not in answer


def test_the_document_has_examples_for_every_tool_it_needs() -> None:
    parsed = [parse(example) for example in documented()]
    assert {request.tool for requests in parsed for request in requests} == {
        "terminal", "read_file", "write_file", "search_files",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('run "sleep 5; du -sh ."', [("terminal", {"command": "sleep 5; du -sh ."})]),
        ("run du -sh .", [("terminal", {"command": "du -sh ."})]),
        ("Please run `make test`.", [("terminal", {"command": "make test"})]),
        ('run git commit -m "a; b"', [("terminal", {"command": 'git commit -m "a; b"'})]),
        (r'run "echo \"hi\""', [("terminal", {"command": 'echo "hi"'})]),
        ("run 'echo \"c; d\"'", [("terminal", {"command": 'echo "c; d"'})]),
        ("run echo it's fine", [("terminal", {"command": "echo it's fine"})]),
        ("what files are here?", [("search_files", {"path": ".", "depth": 1})]),
        ("ls src", [("search_files", {"path": "src", "depth": 1})]),
        ("list files in the src folder", [("search_files", {"path": "src", "depth": 1})]),
        ("find files named *.py in src", [("search_files", {"glob": "*.py", "path": "src"})]),
        ("search for a.b (c)", [("search_files", {"pattern": r"a\.b\ \(c\)", "path": "."})]),
        ('grep "x in y" in src', [("search_files", {"pattern": r"x\ in\ y", "path": "src"})]),
        ("read README.md.", [("read_file", {"path": "README.md"})]),
        ("show me the file a/b.txt", [("read_file", {"path": "a/b.txt"})]),
        ('cat "my notes.txt"', [("read_file", {"path": "my notes.txt"})]),
        ("how many lines does x.py have?", [("read_file", {"path": "x.py", "end_line": 1})]),
        ('write "a\nb; then c" to n.txt', [("write_file", {"path": "n.txt", "content": "a\nb; then c\n"})]),
        ("write 'it's' into n.txt", [("write_file", {"path": "n.txt", "content": "it's\n"})]),
        ("wait 2 seconds", [("terminal", {"command": "sleep 2", "timeout": 32.0})]),
        ("wait for 1.5 minutes", [("terminal", {"command": "sleep 90", "timeout": 120.0})]),
        (
            "read a.txt, then count lines in a.txt. Then wait 1s\nand run ls and list files; read b.txt",
            [
                ("read_file", {"path": "a.txt"}),
                ("read_file", {"path": "a.txt", "end_line": 1}),
                ("terminal", {"command": "sleep 1", "timeout": 31.0}),
                ("terminal", {"command": "ls"}),
                ("search_files", {"path": ".", "depth": 1}),
                ("read_file", {"path": "b.txt"}),
            ],
        ),
    ],
)
def test_what_a_text_asks_for(text: str, calls: list[tuple[str, dict[str, object]]]) -> None:
    requests = parse(text)
    assert isinstance(requests, list), requests
    assert [(request.tool, request.arguments) for request in requests] == calls
    for request in requests:
        msgspec.convert(request.arguments, TOOLS[request.tool].arguments)


@pytest.mark.parametrize(
    "text",
    ["run the tests", "write a haiku to poem.txt", "find out why the tests fail", "What's new?",
     "wait 99999999 seconds",
     "fix the bug in app.py", "read a.txt and explain it", "", "  \n"],
)  # fmt: skip
def test_what_needs_understanding_is_left_alone(text: str) -> None:
    assert isinstance(parse(text), str)


# -- doing it --------------------------------------------------------------------------------------


def test_several_requests_one_step_each_and_one_answer(project: Path) -> None:
    answer, messages = turn(
        'write "hello world" to hi.txt and then count the lines in hi.txt; run "cat hi.txt"', project
    )
    assert [message.role for message in messages[1:-1]] == ["assistant", "tool"] * 3
    assert len({call.id for message in messages for call in message.tool_calls}) == 3
    assert answer == (
        "Created hi.txt (1 line, +1 −0).\n\n`hi.txt` has 1 line.\n\n"
        "Ran `cat hi.txt`: exit 0\n\n```\nhello world\n```"
    )  # fmt: skip


def test_answers_show_what_the_tools_returned(project: Path) -> None:
    assert turn("list files", project)[0].startswith("Files in `.`: 4 files\n\n```\nREADME.md\nnotes.txt\n")
    assert "src/app.py:1: # TODO: everything" in turn("search for TODO in src", project)[0]
    assert turn("search for XYZZY", project)[0].startswith("Search for `XYZZY`: no matches")
    assert turn("count the lines in notes.txt", project)[0] == "`notes.txt` has 3 lines."
    assert turn("wait 0.05 seconds", project)[0] == "Waited 0.05 seconds."


def test_a_fence_is_longer_than_those_in_the_text(project: Path) -> None:
    assert turn("read README.md", project)[0] == (
        "`README.md` (lines 1–4 of 4)\n\n````\n# Read me\n```sh\nmake\n```\n````"
    )  # fmt: skip


def test_an_empty_file_has_no_lines(project: Path) -> None:
    (project / "empty.txt").touch()
    assert turn("count the lines in empty.txt; read empty.txt", project)[0] == (
        "`empty.txt` has 0 lines.\n\n`empty.txt` (empty)"
    )  # fmt: skip


def test_long_output_is_cut_in_the_answer(project: Path) -> None:
    answer, _ = turn('run "seq 100000"', project)
    assert "characters left out" in answer
    assert len(answer) < SHOWN_CHARACTERS + 200


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("read nothing.txt", "nothing.txt does not exist"),
        ('run "echo oops; exit 3"', "oops\n[exit 3]"),
        ('run "kill -9 $$"', "SIGKILL"),
    ],
)
def test_a_failure_is_told_and_stops_the_rest(project: Path, first: str, said: str) -> None:
    answer, messages = turn(f"list files; {first}; read notes.txt", project)
    assert len(commands(messages)) == 2
    assert answer.startswith("Files in `.`")
    assert f"This did not work: `{first}`" in answer
    assert said in answer
    assert answer.endswith("Not done because of that: `read notes.txt`.")


@pytest.mark.parametrize("result", ["Not run. The answer was no.", INTERRUPTED, "[exit 1]", "(no output)", ""])
def test_a_refusal_is_no_success(result: str) -> None:
    prompt = Message("user", "run ls")
    call = ask([prompt])
    answer = ask([prompt, call, Message("tool", result, tool_call_id=call.tool_calls[0].id)])
    assert answer.content.startswith("This did not work: `run ls`")
    assert result in answer.content


def test_output_that_looks_like_a_trailer_fools_nobody(project: Path) -> None:
    assert "did not work" in turn("run \"echo '[exit 0]'; exit 1\"", project)[0]
    assert "exit 0\n\n```\n[exit 1]\n```" in turn("run \"echo '[exit 1]'\"", project)[0]


def test_a_tool_that_is_not_there_is_said() -> None:
    (read_only,) = (spec for spec in SPECS if spec.name == "read_file")
    answer = ask([Message("user", "run ls; read a.txt")], (read_only,))
    assert "terminal is not available here" in answer.content
    assert "Not done because of that: `read a.txt`." in answer.content


# -- the conversation ------------------------------------------------------------------------------


def test_it_goes_on_from_the_messages_alone(project: Path) -> None:
    whole, messages = turn("read notes.txt; list files; read report.txt", project)
    for length in range(2, len(messages), 2):
        assert ask(messages[: length - 1]) == messages[length - 1]
    assert messages[-1].content == whole


def test_the_last_message_counts_also_in_the_middle_of_a_sequence(project: Path) -> None:
    history = [Message("system", "rules"), Message("user", "read notes.txt; read report.txt")]
    call = ask(history)
    history += [call, use(call.tool_calls[0], ToolContext(project))]
    answer, messages = turn("count the lines in notes.txt", project, history)
    assert answer == "`notes.txt` has 3 lines."
    assert [name for name, _ in commands(messages[4:])] == ["read_file"]


def test_results_of_another_model_do_not_count(project: Path) -> None:
    call = ToolCall("call_1", "read_file", '{"path": "a"}')
    history = [
        Message("user", "list files"),
        Message("assistant", "", (call,)),
        Message("tool", "x", tool_call_id="call_1"),
    ]
    (mine,) = ask(history).tool_calls
    assert mine.name == "search_files"


def test_ids_differ_within_a_conversation(project: Path) -> None:
    _, first = turn("list files", project)
    _, both = turn("list files", project, first)
    ids = [call.id for message in both for call in message.tool_calls]
    assert len(set(ids)) == len(ids) == 2


# -- honesty ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["hi", "Hello!", "hey there", "good morning", "thanks"])
def test_a_greeting_gets_the_short_version(text: str) -> None:
    answer = ask([Message("user", text)]).content
    assert "no language model" in answer
    assert "hermes model" in answer
    assert len(answer) < 400


def test_anything_else_is_explained_and_nothing_is_done() -> None:
    reply = ask([Message("user", "read a.txt and then explain the meaning of `life`")])
    assert not reply.tool_calls
    assert "nothing was done: `` explain the meaning of `life` ``" in reply.content
    for hint in ("no language model", "list files", "hermes model", "OPENAI_API_KEY", "Ollama"):
        assert hint in reply.content


def test_a_long_answer_comes_in_pieces() -> None:
    chunks = list(OfflineModel().stream([Message("user", "explain")], SPECS, cancel=CancelToken()))
    assert 2 < len(chunks) < 12


def test_it_stops_when_cancelled() -> None:
    cancel = CancelToken()
    stream = OfflineModel().stream([Message("user", "explain")], SPECS, cancel=cancel)
    next(stream)
    cancel.cancel()
    with pytest.raises(Cancelled):
        list(stream)


def test_its_name() -> None:
    assert OfflineModel().name == "offline"


def test_a_mentioned_file_is_the_file() -> None:
    assert parse("read @src/notes.txt") == parse("read src/notes.txt")
    assert parse('write "me@example.org" to a.txt') != parse('write "meexample.org" to a.txt')
