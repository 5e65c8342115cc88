"""What changes above and below the prompt: the live region and the status line, as fragments to draw.

Both are built when something changed, not when a key is pressed, and both are bounded.
"""

import time
from collections import Counter
from typing import TYPE_CHECKING

from prompt_toolkit.formatted_text import StyleAndTextTuples

from agent.money import dollars
from agent.visible import visible
from hermes_cli.text import clip, columns, count, harmless, seconds, tail_rows, wrap

if TYPE_CHECKING:
    from agent.events import ToolFinished
    from hermes_cli.chat import Chat
    from hermes_cli.glyphs import Glyphs
    from hermes_cli.questions import Question

TAIL_ROWS = 8
THOUGHT_ROWS = 3
QUEUED_SHOWN = 3
PART_ROWS = 6
"""Rows about what a call does at once: agents that were sent, a row each."""
TODO_ROWS = 6
"""Rows of the agent's list while it works; between turns it is one row."""

SEEN, SHORT = 3, 12
"""Rows that a question keeps for what it is about: whose it is, how that begins, and how much more there is. Columns of
an option where room is short."""

LOW = 12
"""Rows below which a question has the screen, the draft and the status line to itself."""

BENEATH = 3
"""Rows about the live region: air, the draft, the status line."""

_CHANGED = {"+": "class:details.added", "-": "class:details.removed"}


def live_fragments(
    chat: "Chat", tail: str, thought: str = "", *, width: int, rows: int, tick: int, drafting: bool
) -> StyleAndTextTuples:
    """The unfinished block, or the reasoning before it, what is going on, what is queued, and the open question.

    At most about `rows` rows.
    """
    glyphs = chat.screen.glyphs
    lines: list[tuple[str, str]] = []
    if tail.strip():
        lines += _last_rows(tail, width, max(2, min(TAIL_ROWS, rows - 6)), "")
    elif thought.strip():
        lines += _last_rows(thought, width, min(THOUGHT_ROWS, rows // 4), "class:live.thought")
    lines += _todo_lines(chat, width, min(TODO_ROWS, rows // 4))
    if chat.turn is not None:
        spinner = glyphs.spinner[tick % len(glyphs.spinner)]
        spent = seconds(time.monotonic() - chat.turn.started)
        activity = clip(visible(chat.turn.activity), max(width - 34, 10), glyphs.ellipsis)
        lines.append(("class:live.activity", f"{spinner} {activity} {glyphs.dot} {spent} {glyphs.dot} Esc interrupts"))
        lines += _part_lines(chat, width, min(PART_ROWS, rows // 4))
    elif chat.shell is not None:
        lines.append(("class:live.activity", f"{glyphs.spinner[0]} a shell command runs {glyphs.dot} Ctrl+C stops it"))
    for turn in chat.detached:
        # It has no number yet: it is a task from its next step on.
        prompt = clip(harmless(turn.prompt), max(width - 40, 10), glyphs.ellipsis)
        lines.append(("class:live.queued", f"  aside when its step is done: {prompt}"))
    if chat.leaving.holding:
        holding = clip(harmless(chat.leaving.holding), max(width - 40, 10), glyphs.ellipsis)
        lines.append(("class:live.activity", f"{holding} {glyphs.dot} Ctrl+C leaves now and cuts it off"))
    for label, texts in (("next", list(chat.steering)), ("queued", list(chat.queued))):
        for text in texts[:QUEUED_SHOWN]:
            lines.append(("class:live.queued", f"  {label}: {clip(text[: width * 4], width - 12, glyphs.ellipsis)}"))
        if len(texts) > QUEUED_SHOWN:
            lines.append(("class:live.queued", f"  {label}: {len(texts) - QUEUED_SHOWN} more"))
    if chat.questions:
        lines = lines if rows >= LOW else []
        room = rows - len(lines) - BENEATH if rows >= LOW else rows - 2
        lines += _question_lines(chat, width, room, drafting)
    return [(style, f"{clip_raw(text, width - 1)}\n") for style, text in lines]


def _last_rows(text: str, width: int, room: int, style: str) -> list[tuple[str, str]]:
    # Joined emoji are drawn wider or narrower than the terminal counts them; apart they are what they seem.
    text = text.rstrip("\n").replace("\u200d", "").replace("\ufe0f", "")
    return [(style, f"  {row}") for row in tail_rows(text, width - 3, room)] if room else []


def _question_lines(chat: "Chat", width: int, rows: int, drafting: bool) -> list[tuple[str, str]]:
    """The open question in about so many rows: nobody should answer what they do not see, so that has some of them."""
    question, glyphs = chat.questions[0], chat.screen.glyphs
    hint = f"Ctrl+S sets your draft aside; then {question.hint}" if drafting else question.hint
    more = f"  ({len(chat.questions) - 1} more after this)" if len(chat.questions) > 1 else ""
    asked, *about = (wrap(line, width - 3) for line in question.lines)
    body = [row for one in about for row in one]
    most = max(rows - min(len(asked) + len(body), max(SEEN, rows // 2)), 1)
    answers = _answer_lines(question, wrap(f"{hint}{more}", width - 4), width, most, glyphs.ellipsis)
    room = max(rows - len(answers), SEEN)
    most = min(max(room - min(len(body), SEEN - 1), 1), 4)
    # Where it is too long, its end says why it is asked.
    head = asked if len(asked) <= most else [asked[0], *asked[len(asked) - most + 1 :]]
    if most == 1 < len(asked):
        head = [clip(" ".join(asked), width - 3, glyphs.ellipsis)]
    room = max(room - len(head), 1)
    if len(body) > room:
        first = max(room // 2, 1)
        left_out = f"{glyphs.ellipsis} {len(body) - room + 1} more rows, Ctrl+O shows them"
        body = [*body[:first], left_out, *body[len(body) - max(room - first - 1, 0) :]] if room > 1 else [left_out]
    return [
        *(("class:question.head", f"{'  ' if number else '? '}{row}") for number, row in enumerate(head)),
        *(("class:question", f"  {row}") for row in body),
        *answers,
    ]


def _answer_lines(question: "Question", hint: list[str], width: int, most: int, ellipsis: str) -> list[tuple[str, str]]:
    """How to answer, in the longest form that takes no more than so many rows; the shortest where none does."""
    below = [("class:question.hint", f"  {row}") for row in hint]
    if question.listed or question.free:
        return below
    whole, short = question.choices(width - 4), question.choices(width - 4, each=SHORT, ellipsis=ellipsis)
    forms = [[("class:question.choices", f"  {row}") for row in rows] for rows in (whole, short)]
    found = [*(form + below for form in forms), forms[1]]
    return next((form for form in found if len(form) <= most), found[-1])


def details_fragments(tool: "ToolFinished", glyphs: "Glyphs", *, width: int, rows: int) -> StyleAndTextTuples:
    """What a tool call gave, in at most `rows` rows (three at least); what does not fit is counted."""
    rows = max(rows, 3)
    text = harmless(tool.display).rstrip("\n").replace("\u200d", "").replace("\ufe0f", "")
    lines = text.split("\n")
    shown: list[tuple[str, str]] = [("class:details", f"  {tool.name} {clip(visible(tool.title), width - 8)}")]
    fitted = 0
    for number, line in enumerate(lines):
        style = _CHANGED.get(line[:1], "class:details") if tool.files_changed else "class:details"
        folded = tail_rows(line[: width * rows], width - 7, rows) or [""]
        last = number == len(lines) - 1
        if len(shown) + len(folded) > rows - (0 if last else 1):
            break
        shown += [(style, f"      {row}") for row in folded]
        fitted += 1
    left = len(lines) - fitted
    if left:
        more = f"{glyphs.ellipsis} {left} more line{'' if left == 1 else 's'}; /export has the whole conversation"
        shown.append(("class:details", f"      {more}"))
    return [(style, f"{clip_raw(row, width - 1)}\n") for style, row in shown]


def _part_lines(chat: "Chat", width: int, room: int) -> list[tuple[str, str]]:
    """What each part of a call does that does several things at once."""
    glyphs, parts = chat.screen.glyphs, list(chat.parts.items())
    shown = parts if len(parts) <= room else parts[: max(room - 1, 0)]
    rows = [
        ("class:live.queued", f"  {glyphs.tool} {clip(visible(f'{part}: {text}'), width - 6, glyphs.ellipsis)}")
        for (_, part), text in shown
    ]
    if len(shown) < len(parts):
        rows.append(("class:live.queued", f"  {glyphs.ellipsis} {len(parts) - len(shown)} more"))
    return rows


def _todo_lines(chat: "Chat", width: int, room: int) -> list[tuple[str, str]]:
    """The agent's list from the last step that is done on; nothing when all is done or a question needs the room."""
    items, glyphs = chat.todo, chat.screen.glyphs
    left = [number for number, item in enumerate(items) if item.state != "done"]
    if not left or chat.questions:
        return []
    done = f"{len(items) - len(left)} of {len(items)} done"
    if chat.turn is None or room < 2:
        return [("class:live.queued", clip(f"  todo: {done}", width - 1, glyphs.ellipsis))]
    signs = {"done": glyphs.done, "doing": glyphs.running, "open": glyphs.dot}
    first = 0 if len(items) <= room else max(min(left[0] - 1, len(items) - room + 1), 0)
    shown = items[first : first + room - (len(items) > room)]
    rows = [
        (
            "class:live.activity" if item.state == "doing" else "class:live.queued",
            f"  {signs[item.state]} {clip(harmless(item.text), width - 6, glyphs.ellipsis)}",
        )
        for item in shown
    ]
    if len(shown) < len(items):
        rows.append(("class:live.queued", f"  {glyphs.ellipsis} {len(items)} steps, {done}"))
    return rows


def clip_raw(text: str, width: int) -> str:
    """At most `width` columns of a line, spaces kept as they are."""
    return text if columns(text) <= width else tail_rows(text, width, 100)[0]


def status_text(chat: "Chat", width: int) -> str:
    """The status line: as much as fits, the least needed dropped first, never the full width."""
    glyphs = chat.screen.glyphs
    live = chat.background.standing
    waiting = sum(task.state == "waiting" for task in live) + chat.asks
    choice = chat.model.choice
    parts: list[tuple[int, str]] = [(1, (chat.model.answering or choice.provider) if choice else glyphs.ellipsis)]
    if choice is not None and (window := chat.model.window):
        share = min(1.0, chat.filled / window)
        bar = glyphs.full * round(share * 6) + glyphs.empty * (6 - round(share * 6))
        parts.append((4, f"{count(chat.filled)}/{count(window)} {bar} {share:.0%}"))
    elif chat.filled:
        parts.append((4, f"{count(chat.filled)} tokens"))
    if chat.usage.cost is not None:
        parts.append((5, dollars(chat.usage.cost)))
    states = Counter(task.state for task in live)
    parked = states.pop("parked", 0)
    if active := states.total():
        more = f" ({states['queued']} queued)" if states["queued"] else ""
        parts.append((2, f"{glyphs.running} {active} task{'' if active == 1 else 's'}{more}"))
    if parked:
        parts.append((3, f"{parked} parked"))
    if waiting:
        parts.append((0, f"{glyphs.waiting} {waiting} need{'s' if waiting == 1 else ''} you"))
    if chat.policy.mode != "ask":
        parts.append(
            (0 if chat.policy.mode == "yolo" else 3, {"edits": "accept edits"}.get(chat.policy.mode, chat.policy.mode))
        )
    if chat.leaving.waits:
        parts.append((0, "leaving when the tasks are over"))
    if (age := time.time() - chat.started) >= 60:
        parts.append((6, seconds(age)))
    return _fit([part for part in parts if part[1]], f" {glyphs.dot} ", width - 2)


def _fit(parts: list[tuple[int, str]], between: str, width: int) -> str:
    while parts:
        line = between.join(text for _rank, text in parts)
        if columns(line) <= width:
            return line
        if len(parts) == 1:
            return clip(line, width)
        parts.remove(max(parts, key=lambda part: part[0]))
    return ""
