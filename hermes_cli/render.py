"""Events to finished text: one `match`, and what it needs of rich. Import it after the first paint.

What it returns are strings with colours, ready for the terminal's own scrollback.
"""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.console import Console, Group, RenderableType
from rich.markdown import CodeBlock, Heading, Markdown
from rich.measure import Measurement
from rich.padding import Padding
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from agent.commands import CommandDef, alias_note
from agent.events import (
    ApprovalSettled,
    Compacted,
    Event,
    ReasoningDelta,
    Steered,
    StepFinished,
    StepRestarted,
    StepStarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnResumed,
    TurnStarted,
)
from agent.visible import visible
from hermes_cli.blocks import BlockCutter
from hermes_cli.glyphs import ASCII, Glyphs
from hermes_cli.text import clip, columns, compacted, echoed, harmless, said, seconds, wrap

_TO_ASCII = str.maketrans("·…•–—−×╭╮╰╯─│┌┐└┘├┤┬┴┼━┃", "-~*---x++++-|+++++++++-|")
"""One column for one column, so that nothing laid out moves."""

QUOTED_LINES = 200
"""Lines rendered in one go, so that the keyboard has its turn between them."""

NARROW = 60
"""Columns below which a table that does not fit is none."""

FIRST_COLUMN = 46
"""Columns that the first column of a table takes at most."""

DETAIL_LINES = 12
"""Lines of a tool's output shown without asking for more."""


class _LeftHeading(Heading):
    """Headings at the left margin, without a box."""

    def __rich_console__(self, console: Console, options: object) -> Iterator[Text]:
        self.text.justify = "left"
        yield self.text


class _PlainCode(CodeBlock):
    """Code in the terminal's own sixteen colours, on its own background."""

    def __rich_console__(self, console: Console, options: object) -> Iterator[Syntax]:
        code = str(self.text).rstrip()
        yield Syntax(code, self.lexer_name, theme="ansi_dark", word_wrap=True, padding=0, background_color="default")


class _Markdown(Markdown):
    elements: ClassVar = {
        **Markdown.elements,
        "heading_open": _LeftHeading,
        "fence": _PlainCode,
        "code_block": _PlainCode,
    }


def _body(text: str, as_it_is: bool) -> RenderableType:
    return Text(said(text)) if as_it_is else _Markdown(said(text))


@dataclass(frozen=True, slots=True)
class Look:
    """What the terminal can show. `width` is in columns and asked anew for each piece.

    `linear`: nothing is ever drawn anew, so what is whole of an unfinished block is shown as it comes.
    """

    width: Callable[[], int]
    colours: bool
    glyphs: Glyphs
    truecolour: bool = False
    linear: bool = False


def warm_up() -> None:
    """On a thread: load what the first answer needs, the highlighter and the commands' handlers too."""
    from hermes_cli.handlers import preload

    preload()
    look = Look(lambda: 80, True, ASCII)
    Renderer(look).answer("```python\npass\n```\n\n- `x`\n")


class Renderer:
    """Renders one session's events.

    Holds the unfinished block of the answer, the reasoning before it, and the last tool's details.
    """

    def __init__(self, look: Look, *, verbose: Callable[[], bool] = lambda: False) -> None:
        self.look = look
        self._verbose = verbose
        self._cutter = BlockCutter()
        self._bullet = False
        self._streamed = False
        self._goes_on = False
        self._thought: list[str] = []
        self.last_tool: ToolFinished | None = None

    @property
    def tail(self) -> str:
        """The unfinished block."""
        return said(self._cutter.tail)

    @property
    def thought(self) -> str:
        """The reasoning of the step, as long as nothing has come of it."""
        return said("".join(self._thought))

    def event(self, event: Event) -> Iterator[str]:
        """What this event adds to the finished text, a piece at a time."""
        match event:
            case ReasoningDelta(text):
                self._thought.append(text)
            case StepStarted():
                self._thought.clear()
            case TextDelta() | StepRestarted() | StepFinished() | TurnFinished():
                yield from self._finished_thought()
        match event:
            case TurnStarted() | TurnResumed():
                self._bullet, self._streamed = True, False
            case Steered():
                self._bullet = True
            case TextDelta(text):
                self._streamed = True
                yield from map(self._answer, self._cutter.feed(text))
                if self.look.linear and (rows := self._cutter.ready(self.look.width() - 3)):
                    yield self._answer(rows)
                    self._goes_on = True
            case StepRestarted(reason):
                # It was read, so it stays; what follows says that it does not count.
                yield from map(self._answer, self._cutter.finish())
                yield self.note(f"the answer begins again: {reason}" if self._streamed else reason)
                self._bullet, self._streamed = True, False
            case Compacted():
                yield self.note(f"Conversation {compacted(event)}")
            case StepFinished(text=text):
                if text and not self._streamed:
                    yield from map(self._answer, self._cutter.feed(text))
                yield from map(self._answer, self._cutter.finish())
                self._streamed = False
            case ToolStarted():
                self._bullet = True
            case ToolFinished():
                self.last_tool = event
                yield self.tool(event)
            case ApprovalSettled(allowed=False, reason=reason):
                yield self.note(f"refused{f': {reason}' if reason else ''}")
            case ApprovalSettled(allowed=True, reason=reason) if reason:
                yield self.note(reason)
            case TurnFinished():
                yield from map(self._answer, self._cutter.finish())
                yield from self._end(event)

    def _finished_thought(self) -> Iterator[str]:
        """It stays only for those who want to see everything."""
        thought = self.thought.strip()
        self._thought.clear()
        if thought and self._verbose():
            thought = f"thinking: {thought}" if self.look.linear else thought
            yield "\n" + self.text(Padding(Text(thought, style="dim italic"), (0, 0, 0, 4)))

    def unfinished(self) -> Iterator[str]:
        """The unfinished block as it is, for nothing more will come of it."""
        yield from map(self._answer, self._cutter.finish())

    def person(self, text: str, rows: int = 0) -> str:
        """What the person said, as it stands in the scrollback; with `rows` no more than so many of it."""
        if rows:
            text = self._first_words(text.strip(), rows)
        return echoed(text, self.look.glyphs.prompt, colours=self.look.colours, width=self.look.width())

    def _first_words(self, text: str, rows: int) -> str:
        width = self.look.width() - 3
        shown = [row for line in text[: rows * width].split("\n") for row in wrap(line, width)]
        if len(shown) <= rows and len(text) <= rows * width:
            return text
        return "\n".join([*shown[:rows], f"{self.look.glyphs.ellipsis} more"])

    def answer(self, text: str, rows: int = 0) -> str:
        """An answer, blocks and all; with `rows` no more than so many of it."""
        if rows:
            body = self.text(self._first_rows(text, rows, as_it_is=False))
            return "\n" + self._prefixed(body, f"{self.look.glyphs.answer} ", "")
        cutter = BlockCutter()
        self._bullet = True
        return "".join(self._answer(block) for block in [*cutter.feed(text), *cutter.finish()])

    def call(self, name: str, title: str, end: str = "", *, ok: bool = True) -> str:
        """One line for a tool call."""
        room = self.look.width() - len(name) - len(end) - 6
        line = Text.assemble(
            (f"  {self.look.glyphs.tool} ", "dim"),
            (harmless(name), "cyan"),
            " ",
            (clip(visible(title), max(room, 8), self.look.glyphs.ellipsis), ""),
            (end, "dim" if ok else "red"),
        )
        return self.text(line)

    def tool(self, event: ToolFinished) -> str:
        """One line for a tool call, and what it changed or why it failed."""
        status = event.summary if event.ok else f"{self.look.glyphs.failed} {event.summary}"
        end = f"  {seconds(event.seconds)}" + (f"  {harmless(status)}" if status else "")
        shown = self.call(event.name, event.title, end, ok=event.ok)
        if event.display and (self._verbose() or event.files_changed):
            shown += self.details(event, DETAIL_LINES)
        return shown

    def details(self, event: ToolFinished, most: int) -> str:
        """A tool call's output or diff, at most `most` lines of it."""
        lines = harmless(event.display).rstrip().split("\n")
        more = [f"{self.look.glyphs.ellipsis} {len(lines) - most} more lines (Ctrl+O)"] if len(lines) > most else []
        text = Text("\n".join([*lines[:most], *more]), style="dim")
        if event.files_changed:
            text.highlight_regex(r"(?m)^\+.*$", "green")
            text.highlight_regex(r"(?m)^-.*$", "red")
        return self.text(Padding(text, (0, 0, 0, 6)))

    def note(self, text: str) -> str:
        return self.text(Padding(Text(harmless(text), style="dim italic"), (0, 0, 0, 2)))

    def quote(self, text: str) -> Iterator[str]:
        """Text as it is, indented, in pieces: what somebody is asked to approve, in full."""
        yield "\n"
        lines = visible(text).split("\n")
        for start in range(0, len(lines), QUOTED_LINES):
            yield self.text(Padding(Text("\n".join(lines[start : start + QUOTED_LINES])), (0, 0, 0, 4)))

    def error(self, text: str, hint: str = "") -> str:
        message = Text.assemble((f"{self.look.glyphs.failed} ", "bold red"), harmless(text))
        if hint:
            message.append(f"\n  {harmless(hint)}", style="dim")
        return self.text(message)

    def panel(self, title: str, body: str, foot: str, *, ok: bool = True, markdown: bool = True, rows: int = 0) -> str:
        """A box around what became of a task: Markdown when it is well, else the words as they are.

        Where all is linear the title, the body and the foot stand under each other, without a box.

        With `rows` no more of the body is shown than fits so many rows of the screen.
        """
        style, width, ellipsis = "green" if ok else "red", self.look.width() - 8, self.look.glyphs.ellipsis
        as_it_is = not ok or not markdown
        inside = self._first_rows(body, rows, as_it_is) if rows else _body(body, as_it_is)
        if self.look.linear:
            return "\n" + self.text(Group(Text(title), Padding(Group(inside, Text(f"({foot})")), (0, 0, 0, 2))))
        box = Panel(
            inside,
            title=Text(clip(title, width, ellipsis), style=f"bold {style}"),
            title_align="left",
            subtitle=Text(clip(foot, width, ellipsis), style="dim"),
            subtitle_align="left",
            border_style=style,
        )
        return "\n" + self.text(box)

    def _first_rows(self, body: str, rows: int, as_it_is: bool) -> Text:
        """The first rows of a body; a last one more says that something was left out, and how many lines if known."""
        lines, width = body.strip().split("\n"), self.look.width()
        # No more than that can be seen, and a long result takes long to render.
        head = "\n".join(line[: rows * width] for line in lines[:rows])
        shown = self.text(_body(head, as_it_is), narrower=4).strip("\n").split("\n")
        left = len(lines) - rows
        if left > 0 or len(shown) > rows or any(len(line) > rows * width for line in lines):
            shown = [*shown[:rows], f"{self.look.glyphs.ellipsis} {f'{left} more lines' if left > 0 else 'more'}"]
        return Text.from_ansi("\n".join(shown), no_wrap=True)

    def help_table(self, category: str, commands: list[CommandDef]) -> str:
        """One category of commands."""
        title = self.text(Text(f"\n{category}", style="bold"))
        return title + self.pairs([(f"{c.usage}{alias_note(c)}", c.summary) for c in commands])

    def pairs(self, rows: Sequence[tuple[str, str]]) -> str:
        """A term and what it means, in two columns."""
        return self.table([(Text(self.term(term), style="cyan"), Text(meaning)) for term, meaning in rows])

    def term(self, text: str) -> str:
        """A command with its arguments, in rows that may end between two of several choices."""
        width = min(FIRST_COLUMN, self.look.width() - 4)
        rows: list[str] = []
        for part in re.split(r"(?<=[| ])", text):
            if rows and columns(rows[-1] + part.rstrip()) <= width:
                rows[-1] += part
            else:
                rows.append(part)
        return "\n".join(row.rstrip() for row in rows)

    def table(self, rows: Sequence[tuple[Text, ...]], headers: tuple[str, ...] = ()) -> str:
        """A table without lines. Long cells fold; what does not fit a narrow screen is a record under the other."""
        table = Table(box=None, padding=(0, 2, 0, 2), show_header=bool(headers), header_style="bold", pad_edge=False)
        for number in range(len(rows[0]) if rows else 0):
            most = FIRST_COLUMN if number == 0 else None
            table.add_column(headers[number] if headers else "", overflow="fold", max_width=most)
        for row in rows:
            table.add_row(*row)
        room, console = self.look.width() - 2, self._console()
        wanted = Measurement.get(console, console.options.update_width(1_000), table).maximum
        if room < NARROW - 2 and wanted > room:
            return "".join(self._record(row, headers) for row in rows)
        return self.text(Padding(table, (0, 0, 0, 2)))

    def _record(self, row: tuple[Text, ...], headers: tuple[str, ...]) -> str:
        """What a row is about, and each of its cells on a line with its name."""
        cells = Table.grid(padding=(0, 2, 0, 0))
        for number, cell in enumerate(row[1:], 1):
            name = [Text(headers[number], "dim")] if any(headers[1:]) else []
            if cell.plain:
                cells.add_row(*name, cell)
        about = self.text(Padding(row[0], (0, 0, 0, 2)))
        return about + (self.text(Padding(cells, (0, 0, 0, 4))) if cells.row_count else "")

    def text(self, renderable: RenderableType, *, narrower: int = 0) -> str:
        """Render anything at the width of now. Lines have no trailing spaces."""
        console = self._console(narrower)
        with console.capture() as capture:
            console.print(renderable)
        text = "\n".join(line.rstrip(" ") for line in capture.get().split("\n"))
        return text.translate(_TO_ASCII) if self.look.glyphs is ASCII else text

    def _console(self, narrower: int = 0) -> Console:
        return Console(
            file=io.StringIO(),
            width=max(self.look.width() - narrower, 20),
            force_terminal=self.look.colours,
            color_system=("truecolor" if self.look.truecolour else "standard") if self.look.colours else None,
            no_color=not self.look.colours,
            legacy_windows=False,
            highlight=False,
            emoji=False,
            markup=False,
        )

    def _answer(self, block: str) -> str:
        body = self.text(_Markdown(said(block)), narrower=3).strip("\n") + "\n"
        bullet, self._bullet = self._bullet, False
        sign = f"{self.look.glyphs.answer} " if bullet else "  "
        air, self._goes_on = "" if self._goes_on else "\n", False
        return air + self._prefixed(body, sign, "")

    def _prefixed(self, text: str, sign: str, style: str) -> str:
        """The sign before the first line, as many spaces before the others."""
        first, *others = text.rstrip("\n").split("\n")
        head = self.text(Text(sign.rstrip(), style=style)).rstrip("\n") + " " if sign.strip() else sign
        indent = " " * len(sign)
        return "\n".join([head + first, *(f"{indent}{line}".rstrip() for line in others)]) + "\n"

    def _end(self, event: TurnFinished) -> Iterator[str]:
        match event.outcome:
            case "cancelled":
                yield self.note("interrupted")
            case "failed" | "limit":
                yield self.error(event.error, event.hint)
