"""The built-in offline model: it follows plain instructions, it is no language model.

It reads the last message of the person as a few plain requests, does them with the real tools, one a step, and
answers with what the tools returned. `docs/offline.md` holds its grammar. It keeps no state: what is already done
it finds in the messages, so a turn can be cut anywhere and picked up by another process.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.cancel import CancelToken
from agent.marks import unmarked
from agent.messages import Message, ToolCall
from agent.protocols import ModelOutput, Reply, TextChunk, ToolSpec
from agent.quoting import as_code, fenced

WHO = "I am the built-in offline model: I follow plain instructions, I am no language model."
CONNECT = (
    "To connect a model: run `hermes model`, set `OPENAI_API_KEY`, or start a local server such as Ollama; "
    "Hermes finds it by itself."
)
UNDERSTOOD = """\
- list files · list files in DIR
- read FILE
- search for TEXT · search for TEXT in DIR
- run "COMMAND"
- write "TEXT" to FILE
- count the lines in FILE
- wait N seconds

Several in a row: put "and then" or ";" between them."""

SHOWN_CHARACTERS = 6_000
"""Of one tool's output in an answer; the whole of it is in the tool's own result."""
CHUNK = 240
"""Characters after which a streamed piece ends with its line."""
ID_PREFIX = "offline_"
LONGEST_WAIT = 86_000
"""Seconds; a command may not take much longer."""


# -- requests --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to do: the call of a tool, and how its result is told.

    `done` matches the tool's result when the call did what it should; a result it does not match is a refusal or a
    failure. `heading` is filled with the groups of that match.
    """

    text: str
    tool: str
    arguments: dict[str, Any]
    done: re.Pattern[str]
    heading: str


_LISTED = re.compile(r"(?P<body>.*?)\n?\[(?P<note>(?:the first )?(?:no files|\d+ files?)[^\n]*)\]", re.DOTALL)
_SEARCHED = re.compile(r"(?P<body>.*?)\n?\[(?P<note>(?:the first )?(?:no|\d+) match[^\n]*)\]", re.DOTALL)
_READ = re.compile(
    r"\[[^\n]*(?:, (?P<note>lines \d+–\d+ of \d+)[^\n]*\]\n(?P<body>.*)| is (?P<empty>empty)\])", re.DOTALL
)
_COUNTED = re.compile(r"\[[^\n]*(?:, lines \d+–\d+ of (?P<count>\d+)[^\n]*\]\n.*| is (?P<empty>empty)\])", re.DOTALL)
_RAN = re.compile(r"(?P<body>.*?)\n?\[(?P<note>exit 0)(?:;[^\n]*)?\]", re.DOTALL)
_WROTE = re.compile(r"(?P<note>(?:Created|Replaced) .*|.* already has exactly this content\.)", re.DOTALL)


def _list(text: str, found: dict[str, str]) -> Request:
    place = _place(found["place"])
    return Request(text, "search_files", {"path": place, "depth": 1}, _LISTED, f"Files in {_code(place)}: {{note}}")


def _find_names(text: str, found: dict[str, str]) -> Request:
    place = _place(found["place"])
    arguments = {"glob": found["glob"], "path": place}
    return Request(text, "search_files", arguments, _LISTED, f"Files called {_code(found['glob'])}: {{note}}")


def _search(text: str, found: dict[str, str]) -> Request:
    arguments = {"pattern": re.escape(found["text"]), "path": _place(found["place"])}
    return Request(text, "search_files", arguments, _SEARCHED, f"Search for {_code(found['text'])}: {{note}}")


def _read(text: str, found: dict[str, str]) -> Request:
    return Request(text, "read_file", {"path": found["file"]}, _READ, f"{_code(found['file'])} ({{note}})")


def _count(text: str, found: dict[str, str]) -> Request:
    arguments = {"path": found["file"], "end_line": 1}
    return Request(text, "read_file", arguments, _COUNTED, f"{_code(found['file'])} has {{count}} lines.")


def _run(text: str, found: dict[str, str]) -> Request | None:
    command = found["command"]
    if found["command_bare"] and re.match(
        r"(?:the|a|an|all|my|our|your|some|this|that|it|me)\b", command, re.IGNORECASE
    ):
        return None  # "run the tests" wants somebody who knows what the tests are.
    return Request(text, "terminal", {"command": command}, _RAN, f"Ran {_code(command)}: {{note}}")


def _write(text: str, found: dict[str, str]) -> Request:
    content = found["text"] if found["text"].endswith("\n") else f"{found['text']}\n"
    return Request(text, "write_file", {"path": found["file"], "content": content}, _WROTE, "{note}")


def _wait(text: str, found: dict[str, str]) -> Request | None:
    seconds = float(found["number"]) * (60 if found["unit"].startswith("m") else 1)
    if not 0 < seconds <= LONGEST_WAIT:
        return None
    arguments = {"command": f"sleep {seconds:g}", "timeout": seconds + 30}
    return Request(text, "terminal", arguments, _RAN, f"Waited {seconds:g} seconds.")


# -- grammar ---------------------------------------------------------------------------------------

_QUOTED = r"(?<![\w\"'`])(?:\"(?:\\.|[^\"\\])+\"|'(?:[^']|(?<=\w)'(?=\w))+'|`[^`]+`|“[^”]+”)(?![\w\"'`])"
"""A quoted text. An apostrophe within a word (`don't`) quotes nothing."""
_VERB = r"(?:list|read|search|find|run|write|count|wait|show)"
_SEPARATOR = re.compile(
    rf"(?P<quoted>{_QUOTED})|\s*(?:[;\n]|[,.]?\s+(?:and\s+)?then\b[,:]?|\s+and\s+(?={_VERB}\s))\s*", re.IGNORECASE
)
_POLITE = re.compile(
    r"(?:please|can you|could you|would you|will you|now|and|also|then|first|finally|next|ok|okay)\b[\s,:]*",
    re.IGNORECASE,
)
_GREETING = re.compile(
    r"(?:hi|hello|hey|hallo|moin|yo|good (?:morning|day|evening)|thanks|thank you)\b[\w\s]{0,12}[.!?]*", re.IGNORECASE
)


def _argument(name: str, bare: str = r"[^\s\"'`]+") -> str:
    """A part of a rule: a quoted text, or one that fits `bare`."""
    return rf"(?:(?P<{name}_quoted>{_QUOTED})|(?P<{name}_bare>{bare}))"


_PLACE = rf"(?:\s+(?:in|under|inside|from|of)\s+(?:the\s+)?{_argument('place')}(?:\s+(?:folder|directory))?)?"
_FILE = rf"(?:the\s+)?(?:file\s+)?{_argument('file')}"

_RULES: tuple[tuple[re.Pattern[str], Callable[[str, dict[str, str]], Request | None]], ...] = tuple(
    (re.compile(rule, re.IGNORECASE | re.DOTALL), build)
    for rule, build in (
        (rf"(?:list|show)(?:\s+me)?(?:\s+all)?(?:\s+the|\s+my)?\s+files(?:\s+here)?{_PLACE}", _list),
        (rf"(?:list|ls)(?:\s+{_argument('place')})?", _list),
        (rf"(?:what|which)\s+files\s+(?:are|do\s+(?:we|i|you)\s+have)(?:\s+(?:here|there))?{_PLACE}", _list),
        (rf"(?:count|how\s+many)\s+(?:the\s+)?(?:number\s+of\s+)?lines\s+(?:are\s+)?(?:in|of)\s+{_FILE}", _count),
        (rf"how\s+many\s+lines\s+(?:does|has)\s+{_FILE}(?:\s+have)?", _count),
        (rf"(?:find|list)(?:\s+all)?(?:\s+the)?\s+files\s+(?:named|called)\s+{_argument('glob')}{_PLACE}", _find_names),
        (rf"(?:search|look|grep)\s+for\s+{_argument('text', '.+?')}{_PLACE}", _search),
        (rf"(?:search|find|grep)\s+{_argument('text')}{_PLACE}", _search),
        (rf"write\s+{_argument('text')}\s+(?:to|into)\s+{_FILE}", _write),
        (rf"(?:run|execute)\s+(?:the\s+command\s+)?(?:(?P<command_quoted>{_QUOTED})[.?!]*|(?P<command_bare>.+))", _run),
        (r"(?:wait|sleep)(?:\s+for)?\s+(?P<number_bare>\d{1,6}(?:\.\d+)?)\s*(?P<unit_bare>s|sec\w*|m|min\w*)?", _wait),
        (rf"(?:read|show|cat|open|print|display)(?:\s+me)?\s+{_FILE}", _read),
    )
)  # fmt: skip


def parse(text: str) -> list[Request] | str:
    """The requests in a text, in their order; or the first part of it that is not understood."""
    requests: list[Request] = []
    # `@notes.txt` is how a person names a file; the name is what counts.
    for clause in _clauses(re.sub(r"(?<!\S)@(?=[\w./~])", "", text)):
        request = _request(clause)
        if request is None:
            return clause
        requests.append(request)
    return requests or text.strip()


def _clauses(text: str) -> list[str]:
    """Cut at what stands between two requests, but never inside quotes."""
    parts, start = [], 0
    for match in _SEPARATOR.finditer(text):
        if match["quoted"] is None:
            parts.append(text[start : match.start()])
            start = match.end()
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


def _request(clause: str) -> Request | None:
    wanted = clause
    while polite := _POLITE.match(wanted):
        wanted = wanted[polite.end() :]
    # The end of a sentence is no part of a name; in a command, and after a space (`in .`), a stop means something.
    plain = re.sub(r"(?:,?\s+please)?(?<=\w)[.?!]+$|\s*[?!]+$|,?\s+please[.!]?$", "", wanted, flags=re.IGNORECASE)
    for rule, build in _RULES:
        if match := rule.fullmatch(wanted if build is _run else plain):
            return build(clause, _Found(match))
    return None


class _Found(dict[str, str]):
    """The arguments of a rule that matched, without their quotes; "" for those that were left out."""

    def __init__(self, match: re.Match[str]) -> None:
        super().__init__({name: value for name, value in match.groupdict().items() if value is not None})
        for name in list(self):
            base, _, kind = name.rpartition("_")
            self[base] = _unquoted(self[name]) if kind == "quoted" else self[name].strip()

    def __missing__(self, name: str) -> str:
        return ""


def _unquoted(text: str) -> str:
    inner = text[1:-1]
    return re.sub(r'\\(["\\])', r"\1", inner) if text.startswith('"') else inner


def _place(text: str) -> str:
    return "." if text.lower() in ("", "here", "it", "files", "project", "folder", "directory", "repository") else text


# -- the model -------------------------------------------------------------------------------------


class OfflineModel:
    """Does plain requests with the tools it is given. Needs no network and no key."""

    @property
    def name(self) -> str:
        return "offline"

    def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, cancel: CancelToken
    ) -> Iterator[ModelOutput]:
        """The next tool call, or the answer. Raises: Cancelled."""
        cancel.raise_if_cancelled()
        prompt, results = _since_last_prompt(messages)
        reply = _next(prompt, results, {tool.name for tool in tools}, f"{ID_PREFIX}{len(messages)}")
        for piece in _pieces(reply.content):
            cancel.raise_if_cancelled()
            yield TextChunk(piece)
        yield Reply(reply, finish_reason="tool_calls" if reply.tool_calls else "stop")


def _since_last_prompt(messages: Sequence[Message]) -> tuple[str, list[str]]:
    """What the person said last, and the results of this model's own calls since then."""
    results: list[str] = []
    for message in reversed(messages):
        if message.role == "user":
            return message.content, results[::-1]
        if message.role == "tool" and message.tool_call_id.startswith(ID_PREFIX):
            results.append(unmarked(message.content))
    return "", []


def _next(prompt: str, results: list[str], tools: set[str], call_id: str) -> Message:
    requests = parse(prompt)
    if isinstance(requests, str):
        return Message("assistant", _explanation(prompt, requests))
    failed = next((index for index, result in enumerate(results) if not _outcome(requests, index, result)), None)
    if failed is not None:
        results = results[: failed + 1]
    elif len(results) < len(requests):
        request = requests[len(results)]
        if request.tool in tools:
            call = ToolCall(call_id, request.tool, json.dumps(request.arguments, ensure_ascii=False))
            return Message("assistant", "", (call,))
        results = [*results, f"The tool {request.tool} is not available here."]
    return Message("assistant", _answer(requests, results))


def _outcome(requests: list[Request], index: int, result: str) -> re.Match[str] | None:
    return requests[index].done.fullmatch(result) if index < len(requests) else None


# -- answers ---------------------------------------------------------------------------------------


def _explanation(prompt: str, part: str) -> str:
    if _GREETING.fullmatch(prompt.strip()):
        return f'Hello. {WHO} Try: list files, read FILE, run "COMMAND". {CONNECT}'
    said = f"This I do not understand, so nothing was done: {_code(part)}\n\n" if part else ""
    return f"{WHO} {said}What I understand:\n\n{UNDERSTOOD}\n\n{CONNECT}"


def _answer(requests: list[Request], results: list[str]) -> str:
    parts = [_told(request, result) for request, result in zip(requests, results, strict=False)]
    if rest := requests[len(results) :]:
        parts.append(f"Not done because of that: {', '.join(_code(request.text) for request in rest)}.")
    return "\n\n".join(parts)


def _told(request: Request, result: str) -> str:
    outcome = request.done.fullmatch(result)
    if outcome is None:
        return f"This did not work: {_code(request.text)}\n\n{_block(result)}"
    found = {name: value or "" for name, value in outcome.groupdict().items()}
    if found.get("empty"):
        found |= {"note": "empty", "count": "0"}
    # Not str.format: names and commands may hold braces.
    heading = re.sub(r"\{(note|count)\}", lambda match: found[match[1]], request.heading)
    heading = heading.replace("has 1 lines", "has 1 line")
    body = found.get("body", "").rstrip("\n")
    return f"{heading}\n\n{_block(body)}" if body.strip() else heading


def _block(text: str) -> str:
    """A code block; long text is cut in the middle."""
    if (left_out := len(text) - SHOWN_CHARACTERS) > 0:
        half = SHOWN_CHARACTERS // 2
        text = f"{text[:half]}\n… {left_out:,} characters left out …\n{text[-half:]}"
    return fenced(text)


def _code(text: str) -> str:
    """A code span of one line."""
    line = " ".join(text.split())
    return as_code(line if len(line) <= 100 else f"{line[:99]}…")


def _pieces(text: str) -> Iterator[str]:
    """The text in some pieces, each ending with a line where that is possible."""
    piece = ""
    for line in text.splitlines(keepends=True):
        piece += line
        if len(piece) >= CHUNK:
            yield piece
            piece = ""
    if piece:
        yield piece


if TYPE_CHECKING:
    from agent.protocols import ChatModel

    _: ChatModel = OfflineModel()
