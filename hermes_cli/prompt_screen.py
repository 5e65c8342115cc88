"""The terminal as a `Chat` sees it: what is written above the prompt once, and what is drawn about it all the time.

Everything here runs on the UI loop's thread. What must not be imported before the first paint (rich, the agent,
the SDK) is imported where it is used.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples

from agent.config import Config
from hermes_cli import glyphs as glyph_sets
from hermes_cli.commands import SlashCommandCompleter
from hermes_cli.completions import argument_values
from hermes_cli.courtesy import KeyboardFirst
from hermes_cli.history import SharedHistory
from hermes_cli.live import details_fragments, live_fragments, status_text
from hermes_cli.mentions import FileIndex, PromptCompleter
from hermes_cli.paste import Pastes
from hermes_cli.screen import TWICE
from hermes_cli.terminal import PromptApplication, copy_sequence, ring
from hermes_cli.text import echoed, place

if TYPE_CHECKING:
    from prompt_toolkit.data_structures import Size

    from agent.approvals import Policy
    from agent.errors import StoreError
    from agent.events import ToolFinished
    from agent.messages import ImagePart
    from agent.store.kept import KeepingStore
    from hermes_cli.chat import Chat
    from hermes_cli.picker import Picker
    from hermes_cli.render import Renderer

SPIN = 0.125
"""Seconds between two pictures of the spinner; it turns only while a turn runs."""

FLUSH, BURST = 0.02, 4
"""Seconds between writes above the prompt, so that a flood leaves it in sight; so many may come at once."""

QUIET, AT_MOST = 1.0, 3.0
"""A notice waits for this many seconds without a key, and no longer than that many in all."""


class PromptScreen:
    """The half of the `Repl` that shows: the screen of a `Chat`. Whoever makes one gives it its `app`."""

    app: PromptApplication
    stop_key = "Esc"

    def __init__(self, config: Config, load_policy: "Callable[[], Policy]", *, cwd: Path) -> None:
        self.config = config
        self.cwd = cwd
        self._load_policy = load_policy
        self._opening = threading.Lock()
        self._store: KeepingStore | None = None
        self._met = False
        self.glyphs = glyph_sets.choose()
        self._colours = not os.environ.get("NO_COLOR") or bool(os.environ.get("FORCE_COLOR"))
        self.keyboard = KeyboardFirst()
        self.pastes = Pastes()
        self.focused = True
        self._outbox: list[str] = []
        self._notices: list[tuple[Callable[[], str], Callable[[], None] | None]] = []
        self._unseen: list[Callable[[], None]] = []
        self._flushes: deque[float] = deque(maxlen=BURST)
        self._held_since = 0.0
        self._last_key = 0.0
        self._stashed: list[str] = []
        self.picker: Picker[Any] | None = None
        self._set_aside = Document()
        self._hint = ""
        self.opened: ToolFinished | None = None
        self._tick = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._renderer: Renderer | None = None
        self._live: StyleAndTextTuples = []
        self._live_size: Size | None = None
        self.history = SharedHistory(config.dirs.database, fold=self.pastes.recalled, warn=self._warn)
        self._files = FileIndex(cwd)
        completer = PromptCompleter(SlashCommandCompleter(argument_values(lambda: self.chat)), self._files)
        self.buffer = Buffer(
            completer=completer,
            history=self.history,
            complete_while_typing=Condition(lambda: self.picker is None),
            multiline=True,
            tempfile_suffix=".md",
        )

    @cached_property
    def chat(self) -> "Chat":
        """The session. Made after the first paint, or by the first key that needs it."""
        from hermes_cli.chat import Chat

        store = self._open_store(asyncio.get_running_loop())
        self._met = True
        return Chat(self.config, self._load_policy(), self, cwd=self.cwd, store=store)

    def _open_store(self, loop: asyncio.AbstractEventLoop) -> "KeepingStore":
        """The store, opened by whichever thread comes first."""
        from agent.store.kept import open_store

        def show(news: "StoreError | str") -> None:
            renderer = self.renderer()
            self.show(renderer.note(news) if isinstance(news, str) else renderer.error(str(news), news.hint))

        def tell(news: "StoreError | str") -> None:
            with contextlib.suppress(RuntimeError):  # the loop is over
                loop.call_soon_threadsafe(show, news)

        with self._opening:
            if self._store is None:
                self._store = open_store(self.config.dirs.database, tell)
            return self._store

    # -- Screen ------------------------------------------------------------------------------------

    def renderer(self) -> "Renderer":
        if self._renderer is None:
            from hermes_cli.render import Look, Renderer

            truecolour = os.environ.get("COLORTERM", "") in ("truecolor", "24bit")
            look = Look(self._columns, self._colours, self.glyphs, truecolour)
            self._renderer = Renderer(look, verbose=lambda: self.chat.verbose)
        return self._renderer

    def show(self, text: str) -> None:
        if not self._outbox:
            loop = asyncio.get_running_loop()
            oldest = self._flushes[0] if len(self._flushes) == BURST else 0.0
            loop.call_later(max(0.0, oldest + BURST * FLUSH - loop.time()), self._flush)
        self._outbox.append(text)

    def echo(self, text: str) -> None:
        text = self.pastes.refold(text)
        self.show(echoed(text, self.glyphs.prompt, colours=self._colours, width=self._columns()))

    def waits(self, text: str, when: str) -> None:
        # The live region lists all that waits.
        del text, when
        self.refresh()

    def pick(self, picker: "Picker[Any]") -> None:
        if self.picker is None:
            self._set_aside = self.buffer.document
        self.picker = picker
        self.buffer.reset()
        self.refresh()

    def draft(self, text: str) -> None:
        text = self.pastes.fold(text)
        if self.buffer.text:
            self._stashed.append(text)
            self._say_below("your prompt is set aside; Ctrl+S brings it back")
        else:
            self.buffer.document = Document(text)
        self.refresh()

    def image(self, part: "ImagePart") -> None:
        from hermes_cli.clipboard import mention

        before = self.buffer.document.char_before_cursor
        space = " " if before and not before.isspace() else ""
        self.buffer.insert_text(f"{space}{self.pastes.image(mention(part), part.name)} ")
        self.refresh()

    def edit_file(self, path: Path, then: Callable[[], None]) -> None:
        from prompt_toolkit.application import run_in_terminal

        from hermes_cli.editor import edit

        def done(finished: "asyncio.Future[None]") -> None:
            self.chat.guarded(finished.result)
            then()
            self._flush()

        asyncio.ensure_future(run_in_terminal(lambda: edit(path), in_executor=True)).add_done_callback(done)

    def moved(self) -> None:
        self._files.move(self.chat.cwd)
        self.show(self.renderer().note(f"Working in {place(str(self.chat.cwd))}"))

    def notify(self, notice: Callable[[], str], *, urgent: bool, shown: Callable[[], None] | None = None) -> None:
        if (urgent or not self.focused) and self.config.values.bell:
            ring(self.app.output, "Hermes needs you" if urgent else "Hermes: a task is over")
        self._held_since = self._held_since if self._notices else time.monotonic()
        self._notices.append((notice, shown))
        self._release_notices()

    def refresh(self) -> None:
        if self.app.full:
            return  # the browser looks by itself, and the rest is drawn when it closes
        self._draw_live()
        self.app.invalidate()
        if self.chat.turn is not None and "spin" not in self._timers:
            self._timers["spin"] = asyncio.get_running_loop().call_later(SPIN, self._spin)

    def copy(self, text: str) -> str:
        self.app.output.write_raw(copy_sequence(text))
        self.app.output.flush()
        return f"Copied {len(text)} characters, if the terminal allows it."

    def clear(self) -> None:
        self.app.renderer.clear()

    def leave(self) -> None:
        if self.app.is_running and not self.app.is_done:
            self.app.exit()

    # -- writing above the prompt ------------------------------------------------------------------

    def _flush(self) -> None:
        """Write what waits in the outbox. While an editor or a suspended shell has the terminal, it waits."""
        if not self._outbox or not self.app.is_running or self.app.is_done:
            return
        if self.app.full:
            return  # it is written when the prompt is back
        if self.app._running_in_terminal:
            asyncio.get_running_loop().call_later(0.2, self._flush)
            return
        text = "".join(part if part.endswith("\n") else f"{part}\n" for part in self._outbox)
        self._outbox.clear()
        self._flushes.append(asyncio.get_running_loop().time())
        self._draw_live()
        self.app.print_above(text)
        self._seen()

    def _release_notices(self) -> None:
        """Show held notices together, once the person pauses or has been kept waiting long enough."""
        self._timers.pop("notices", None)
        if not self._notices:
            return
        if self.app.full:
            return  # told when the prompt is back
        now = time.monotonic()
        busy = self.buffer.complete_state is not None or now - self._last_key < QUIET
        if busy and now - self._held_since < AT_MOST:
            until_quiet = QUIET - (now - self._last_key) if now - self._last_key < QUIET else 0.2
            delay = min(until_quiet, AT_MOST - (now - self._held_since))
            self._timers["notices"] = asyncio.get_running_loop().call_later(max(delay, 0.02), self._release_notices)
            return
        if text := self._taken_notices():
            self.show(text)

    def _taken_notices(self) -> str:
        """What the held notices say by now."""
        notices, self._notices = self._notices, []
        self._unseen += [shown for _, shown in notices if shown]
        return "".join(notice() for notice, _ in notices)

    def _seen(self) -> None:
        """What was waiting for the terminal stands there."""
        unseen, self._unseen = self._unseen, []
        for shown in unseen:
            shown()

    def _warn(self, text: str) -> None:
        self.show(self.renderer().note(text))

    # -- drawing about it --------------------------------------------------------------------------

    def _live_now(self) -> StyleAndTextTuples:
        """The live region for the size of now, which may have changed since it was built."""
        if self._live_size != self.app.output.get_size():
            self._draw_live()
        return self._live

    def _draw_live(self) -> None:
        if not self._met:
            return
        size = self._live_size = self.app.output.get_size()
        tail, thought = (self._renderer.tail, self._renderer.thought) if self._renderer is not None else ("", "")
        drafting = bool(self.buffer.text)
        live = live_fragments(
            self.chat, tail, thought, width=size.columns, rows=size.rows, tick=self._tick, drafting=drafting
        )
        if self.opened is not None and self.picker is None:
            drafted = self.buffer.document.line_count
            room = size.rows - len(live) - drafted - 5
            live = details_fragments(self.opened, self.glyphs, width=size.columns, rows=room) + live
        if self.picker is not None:
            room = max(size.rows - len(live) - 4, 4)
            live += self.picker.fragments(self.glyphs, width=size.columns - 1, rows=room)
        if self._hint:
            live.append(("class:question.hint", f"  {self._hint}\n"))
        if live:
            live[-1] = (live[-1][0], live[-1][1].rstrip("\n"))
        self._live = live
        if self.chat.questions and not self.buffer.text:
            self.chat.questions[0].ready = True

    def _spin(self) -> None:
        self._timers.pop("spin", None)
        self._tick += 1
        self.refresh()

    def _say_below(self, text: str) -> None:
        """A passing word in the live region."""

        self._hint = text
        if timer := self._timers.get("hint"):
            timer.cancel()
        self._timers["hint"] = asyncio.get_running_loop().call_later(TWICE, self._say_nothing_below)
        self.refresh()

    def _say_nothing_below(self) -> None:
        self._hint = ""
        self.refresh()

    def _status(self) -> str:
        return (
            status_text(self.chat, self._columns()) if self._met else self.config.values.model or self.glyphs.ellipsis
        )

    def _columns(self) -> int:
        return self.app.output.get_size().columns
