"""The prompt that is always alive: one reader of the keyboard, one writer to the terminal.

Everything here runs on the UI loop's thread. What must not be imported before the first paint (rich, the agent,
the SDK) is imported where it is used.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition, has_completions
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout import BufferControl, ConditionalContainer, FormattedTextControl, HSplit, Layout, Window
from prompt_toolkit.layout.dimension import Dimension
from prompt_toolkit.layout.menus import CompletionsMenu
from prompt_toolkit.output.color_depth import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.styles import Style
from prompt_toolkit.widgets import SearchToolbar

from agent import __version__
from agent.config import ApprovalMode, Config
from agent.errors import HermesError
from hermes_cli import glyphs as glyph_sets
from hermes_cli.commands import SlashCommandCompleter
from hermes_cli.completions import argument_values
from hermes_cli.courtesy import KeyboardFirst
from hermes_cli.history import SharedHistory
from hermes_cli.keys import KEY_HELP, bindings
from hermes_cli.live import details_fragments, live_fragments, status_text
from hermes_cli.mentions import FileIndex, PromptCompleter, mention
from hermes_cli.paste import Pastes
from hermes_cli.setup import exit_within
from hermes_cli.terminal import PromptApplication, copy_sequence, keyboard, reflows, ring, teach_sequences
from hermes_cli.text import columns, echoed, place

if TYPE_CHECKING:
    from agent.approvals import Policy
    from agent.errors import StoreError
    from agent.events import ToolFinished
    from agent.messages import ImagePart
    from agent.store.kept import KeepingStore
    from hermes_cli.browser import TaskBrowser
    from hermes_cli.chat import Chat
    from hermes_cli.picker import Choice, Picker
    from hermes_cli.questions import Question
    from hermes_cli.render import Renderer
    from hermes_cli.sessions import Wanted

_log = logging.getLogger(__name__)

SPIN = 0.125
"""Seconds between two pictures of the spinner; it turns only while a turn runs."""

FLUSH, BURST = 0.02, 4
"""Seconds between writes above the prompt, so that a flood leaves it in sight; so many may come at once."""

WARM_AFTER = 0.03
"""Seconds after the first paint in which the keyboard has the processor to itself."""

QUIET, AT_MOST = 1.0, 3.0
"""A notice waits for this many seconds without a key, and no longer than that many in all."""

LEAVE_WITHIN = 4.0
"""Seconds after which leaving does not wait for anything any more."""

SETTLED_WITHIN = 1.0
"""Seconds that leaving waits for what was sent last to arrive in the store."""

STOPPED_WITHIN = 1.5
"""Seconds that leaving waits for a turn that was cancelled."""

SEARCH_AFTER = 0.12
"""Seconds without a key after which what was typed in a list is searched for in the store, too."""

TWICE = 2.0
"""Seconds within which a second Ctrl+C leaves."""

_STYLE = Style.from_dict(
    {
        "prompt": "ansicyan bold",
        "status": "ansibrightblack",
        "live.activity": "ansicyan",
        "live.queued": "ansibrightblack italic",
        "question": "",
        "question.head": "ansiyellow bold",
        "question.choices": "bold",
        "question.hint": "ansibrightblack",
        "details": "ansibrightblack",
        "details.added": "ansigreen",
        "details.removed": "ansired",
        "picker.chosen": "ansicyan bold",
        "completion-menu": "bg:default",
        "completion-menu.completion": "bg:default fg:default",
        "completion-menu.completion.current": "bg:default ansicyan bold noreverse",
        "completion-menu.meta.completion": "bg:default ansibrightblack",
        "completion-menu.meta.completion.current": "bg:default ansicyan noreverse",
        "browser.head": "ansicyan bold",
        "browser.chosen": "reverse",
        "browser.done": "ansigreen",
        "browser.failed": "ansired",
        "browser.urgent": "ansiyellow",
        "browser.tool": "ansicyan",
        "browser.text": "",
        "browser.faint": "ansibrightblack",
        "scrollbar.background": "bg:default",
        "scrollbar.button": "bg:ansibrightblack",
    }
)


class Repl:
    """The screen of a `Chat`, and its keyboard."""

    def __init__(self, config: Config, load_policy: "Callable[[], Policy]", *, cwd: Path) -> None:
        teach_sequences()
        self.config = config
        self.cwd = cwd
        self._load_policy = load_policy
        self._opening = threading.Lock()
        self._store: KeepingStore | None = None
        self._met = False
        self._hung_up = False
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
        self._last_ctrl_c = 0.0
        self._stashed: list[str] = []
        self.picker: Picker[Any] | None = None
        self._set_aside = Document()
        self._hint = ""
        self.opened: ToolFinished | None = None
        self._quoted: Question | None = None
        self._tick = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._renderer: Renderer | None = None
        self._live: StyleAndTextTuples = []
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
        self.app = self._build()
        self.app.after_render += lambda _: self.keyboard.drawn()
        self.app.key_processor.before_key_press += self._key_pressed
        self.buffer.on_text_changed += lambda _: self._draft_changed()

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
        self.show(echoed(self.pastes.refold(text), self.glyphs.prompt, colours=self._colours))

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

    def paste_image(self) -> None:
        """Ctrl+V: the clipboard's image into the draft."""
        from hermes_cli.handlers.abilities import paste

        paste(self.chat, "")

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

    def copy(self, text: str) -> None:
        self.app.output.write_raw(copy_sequence(text))
        self.app.output.flush()

    def clear(self) -> None:
        self.app.renderer.clear()

    def leave(self) -> None:
        if self.app.is_running and not self.app.is_done:
            self.app.exit()

    # -- orders from the keyboard ------------------------------------------------------------------

    def accept(self) -> None:
        """Enter: the highlighted path, a new line after a backslash, an answer to a question, or a line to send."""
        menu = self.buffer.complete_state
        if menu is not None and menu.current_completion is not None and mention(self.buffer.document):
            # It stands in the draft already; more of the message may follow.
            self.buffer.complete_state = None
            if not self.buffer.document.current_line_before_cursor.endswith("/"):
                self.buffer.insert_text(" ")
            return
        self.fold()
        draft = self.buffer.text
        if draft.endswith("\\") and self.buffer.document.is_cursor_at_the_end:
            self.buffer.delete_before_cursor()
            self.buffer.insert_text("\n")
            return
        if self.chat.questions and self.chat.questions[0].ready:
            document = self.buffer.document
            self.buffer.reset()  # before the answer counts, for it may put another draft here
            if self.chat.reply(self.pastes.unfold(draft)):
                return
            self.buffer.document = document
        if not draft.strip():
            return
        line = self.pastes.unfold(draft)
        self.history.append_string(line)
        self.buffer.reset()
        self.chat.submit(line)

    def tab(self) -> None:
        buffer = self.buffer
        if buffer.complete_state is not None and buffer.complete_state.completions:
            self._complete()
        elif buffer.text.startswith("/") and not mention(buffer.document):
            # The menu may not have come yet. Commands are few and in memory, so the key is not made to wait for it.
            self._offer(list(buffer.completer.get_completions(buffer.document, CompleteEvent())))
        elif mention(buffer.document):
            self.app.create_background_task(self._complete_mention())
        elif self.chat.turn is not None and buffer.text.strip():
            line = self.pastes.unfold(buffer.text)
            self.history.append_string(line)
            buffer.reset()
            self.chat.queue(line)

    async def _complete_mention(self) -> None:
        """Complete from the index of files, unless the draft has changed meanwhile."""
        document, event = self.buffer.document, CompleteEvent()
        found = [found async for found in self.buffer.completer.get_completions_async(document, event)]
        if self.buffer.document == document:
            self._offer(found)

    def _offer(self, completions: list[Completion]) -> None:
        if completions:
            self.buffer._set_completions(completions)
            self._complete()

    def _complete(self) -> None:
        """Take the only completion, or go to the next."""
        buffer, state = self.buffer, self.buffer.complete_state
        if state is not None and len(state.completions) == 1:
            buffer.apply_completion(state.completions[0])
            if buffer.text.startswith("/") and " " not in buffer.text:
                buffer.insert_text(" ")
        else:
            buffer.complete_next()

    def earlier(self) -> None:
        """Up: a line up, or back in history. Pressed before the history is read, it waits for it."""
        buffer = self.buffer
        buffer.load_history_if_not_yet_loaded()
        loading, draft = buffer._load_history_task, buffer.document
        if loading is None or loading.done():
            buffer.auto_up()
        else:
            loading.add_done_callback(lambda _: buffer.auto_up() if buffer.document == draft else None)

    def escape(self) -> None:
        if self.buffer.complete_state is not None:
            self.buffer.cancel_completion()
        elif not self.fold() and not self.chat.background.unfollow():
            self.chat.interrupt()

    def step_back(self) -> None:
        """Ctrl+C: one step of the ladder a press."""
        if self.buffer.complete_state is not None:
            self.buffer.cancel_completion()
        elif self.buffer.text:
            self.history.append_string(self.pastes.unfold(self.buffer.text))
            self.buffer.reset()
        elif (
            self.chat.leaving.cut()
            or self.chat.background.unfollow()
            or self.chat.stop_shell()
            or self.chat.interrupt()
        ):
            pass
        elif time.monotonic() - self._last_ctrl_c < TWICE:
            self.chat.leaving.ask()
        else:
            self._last_ctrl_c = time.monotonic()
            self._say_below("press Ctrl+C again to leave")

    def choose(self) -> None:
        """Enter in a list to pick from."""
        if self.picker is not None and self.picker.shown:
            picker = self._close_picker()
            picker.choose()

    def dismiss(self) -> None:
        """Leave the list to pick from."""
        if self.picker is not None:
            self._close_picker().cancel()

    def _close_picker(self) -> "Picker[Any]":
        picker, self.picker = self.picker, None
        assert picker is not None, "only an open one is closed"
        self.buffer.document = self._set_aside
        self.refresh()
        return picker

    def step(self, by: int) -> None:
        """Up or down in the list to pick from."""
        if self.picker is not None:
            self.picker.move(by)
            self.refresh()

    def rewind(self) -> None:
        """Esc Esc: back to before a prompt."""
        from hermes_cli.rewinding import rewind

        try:
            rewind(self.chat)
        except HermesError as error:
            self._say_below(str(error))

    def stash(self) -> None:
        if draft := self.buffer.text:
            self._stashed.append(draft)
            self.buffer.reset()
            self._say_below("draft set aside; Ctrl+S brings it back")
        elif self._stashed:
            self.buffer.insert_text(self._stashed.pop())

    @property
    def idle(self) -> bool:
        """Whether nothing runs that Esc would interrupt."""
        return not self._met or (self.chat.turn is None and self.chat.shell is None and self.opened is None)

    def next_mode(self) -> None:
        modes = [mode for mode in get_args(ApprovalMode) if mode != "yolo"]
        now = self.chat.policy.mode
        self.chat.policy.mode = modes[(modes.index(now) + 1) % len(modes)] if now in modes else "ask"
        self.refresh()

    def edit(self) -> None:
        """The draft in an editor, pastes unfolded; folded again when it comes back."""
        self.buffer.text = self.pastes.unfold(self.buffer.text)
        self.buffer.cursor_position = len(self.buffer.text)
        done = self.buffer.open_in_editor()

        def fold(_task: object) -> None:
            text = self.pastes.fold(self.buffer.text)
            self.buffer.text = text
            self.buffer.cursor_position = len(text)
            self._flush()

        done.add_done_callback(fold)

    def show_details(self) -> None:
        """Ctrl+O: all of what the open question is about, once; else open or fold what the last tool gave."""
        question = self.chat.questions[0] if self.chat.questions else None
        if question is not None and question.full:
            if question is self._quoted:
                self._say_below("it stands above, all of it")
                return
            self._quoted = question
            for piece in self.renderer().quote(question.full):
                self.show(piece)
            return
        tool = self.renderer().last_tool
        self.opened = None if self.opened or tool is None else tool
        if self.opened is not None and not self.opened.display:
            self.opened = None
            self._say_below(f"{tool.name} gave no output" if tool else "")
        self.refresh()

    def fold(self) -> bool:
        """Fold the details of a tool call. False when they are not open."""
        was_open, self.opened = self.opened is not None, None
        if was_open:
            self.refresh()
        return was_open

    @cached_property
    def browser(self) -> "TaskBrowser":
        from hermes_cli.browser import TaskBrowser

        def left() -> None:
            self.refresh()
            self._flush()
            self._release_notices()

        return TaskBrowser(self.chat, self.app, left=left, watched=self.watched)

    def browse(self) -> None:
        """Ctrl+T: the task browser, on the other screen; the draft waits here."""
        self.buffer.cancel_completion()
        self.browser.open()

    def watched(self, focused: bool) -> None:
        self.focused = focused

    def show_keys(self) -> None:
        self.show("\n" + self.renderer().pairs([*KEY_HELP, ("/help", "lists the commands")]))

    def before_fold(self) -> str:
        return self.pastes.fold_at_end(self.buffer.document.text_before_cursor)

    # -- running -----------------------------------------------------------------------------------

    async def run(self, first: str = "", wanted: "Wanted | None" = None) -> None:
        """Until the person leaves. `first` is sent when the prompt is drawn, and the `wanted` session is there."""
        loop = asyncio.get_running_loop()

        def painted(_app: object) -> None:
            self.app.after_render -= painted
            self.app.output.write_raw("\x1b[?1004h")
            self.app.output.flush()
            # Not at once, so that nothing shares the moment in which the first key may come.
            self._timers["warm"] = loop.call_later(0 if first or wanted else WARM_AFTER, self._warm_up)
            if first or wanted:
                loop.call_soon(self._begin, first, wanted)

        self.app.after_render += painted
        self._timers["minute"] = loop.call_later(60, self._minute)
        self.app.output.write_raw(self._header())
        for name in ("SIGHUP", "SIGTERM"):
            with contextlib.suppress(AttributeError, NotImplementedError):
                loop.add_signal_handler(getattr(signal, name), self._hang_up)
        try:
            await self.app.run_async()
        except (EOFError, OSError):
            _log.warning("the terminal has gone")
            self._hang_up()
        finally:
            if self._met:
                await self.chat.settle(SETTLED_WITHIN)
            exit_within(LEAVE_WITHIN)
            for timer in self._timers.values():
                timer.cancel()
            last_words = "".join(self._outbox) + ("" if self._hung_up else self._taken_notices() + self._way_back())
            if self._met:
                self.chat.close()
            # What runs is being stopped by now; the terminal may have gone, so writing to it comes late.
            with contextlib.suppress(OSError):
                self.app.output.write_raw("\x1b[?1004l")
                self.app.output.write_raw(last_words.replace("\n", "\r\n"))
                self.app.output.flush()
                if not self._hung_up:
                    self._seen()
            self.history.close()
            if self._met:
                self.chat.wait_until_stopped(STOPPED_WITHIN)

    def _way_back(self) -> str:
        """How the conversation goes on another day."""
        if not self._met or not (session := self.chat.conversation):
            return ""
        return self.renderer().note(f"To go on: hermes -c, or from anywhere hermes -r {session}")

    def _hang_up(self) -> None:
        """Nobody reads what we say any more: whatever is not told yet stays untold."""
        self._hung_up = True
        if self._met:
            self.chat.leaving.hang_up()
        else:
            self.leave()

    def _begin(self, first: str, wanted: "Wanted | None") -> None:
        if wanted is not None:
            from hermes_cli.resuming import begin

            begin(self.chat, wanted)
        if first:
            self.chat.submit(first)

    def _warm_up(self) -> None:
        """Import the session and open the store aside, make it here, then let it load the agent and find the model."""
        loop = asyncio.get_running_loop()

        def begin() -> None:
            threading.Thread(target=self.chat.warm, daemon=True, name="warm").start()
            self.refresh()

        def load() -> None:
            import_module("hermes_cli.chat")
            self._open_store(loop)
            loop.call_soon_threadsafe(begin)

        threading.Thread(target=load, daemon=True, name="load").start()

    def _header(self) -> str:
        """One line: who this is, the model where one is set, the place, cut on the left where it is long."""
        where = place(str(self.cwd))
        dot = f" {self.glyphs.dot} "
        model = [self.config.values.model] if self.config.values.model and self._columns() >= 80 else []
        room = self._columns() - columns(dot.join([f"hermes {__version__}", *model, "", "/help"])) - 1
        if columns(where) > room:
            where = f"{self.glyphs.ellipsis}{where[-max(room - columns(self.glyphs.ellipsis), 1) :]}"
        # The terminal itself has shown what was typed before the prompt was there; it stands in the draft as well.
        return "\r\x1b[K" + dot.join([f"hermes {__version__}", *model, where, "/help"]) + "\r\n"

    def _build(self) -> PromptApplication:
        output = Vt100_Output.from_pty(sys.stdout)
        # Some terminals answer late or never where the cursor is; nothing here needs to know.
        output.enable_cpr = False
        prompt: StyleAndTextTuples = [("class:prompt", f"{self.glyphs.prompt} ")]
        indent: StyleAndTextTuples = [("", "  ")]
        search = SearchToolbar()
        draft = Window(
            BufferControl(self.buffer, search_buffer_control=search.control, preview_search=True),
            height=lambda: Dimension(min=1, max=max(output.get_size().rows // 2, 1)),
            get_line_prefix=lambda line, wrapped: prompt if line == wrapped == 0 else indent,
            wrap_lines=True,
            dont_extend_height=True,
        )
        live = Window(FormattedTextControl(lambda: self._live), dont_extend_height=True)
        status = FormattedTextControl(lambda: [("class:status", f" {self._status()}")])
        has_live = Condition(lambda: bool(self._live))
        layout = HSplit(
            [
                # Air between what is finished and what is not, where there is room for it.
                ConditionalContainer(Window(height=1), Condition(lambda: output.get_size().rows >= 12)),
                ConditionalContainer(live, has_live),
                draft,
                search,
                CompletionsMenu(max_height=8, scroll_offset=1, extra_filter=has_completions),
                ConditionalContainer(Window(status, height=1, dont_extend_height=True), ~has_completions),
                Window(),
            ]
        )
        app = PromptApplication(
            reflows=reflows(),
            layout=Layout(layout, draft),
            key_bindings=bindings(self),
            style=_STYLE,
            color_depth=None if self._colours else ColorDepth.DEPTH_1_BIT,
            include_default_pygments_style=False,
            input=keyboard(),
            output=output,
            erase_when_done=True,
            terminal_size_polling_interval=None if sys.platform != "win32" else 0.5,
        )
        app.ttimeoutlen = 0.05
        app.timeoutlen = 0.3
        return app

    def _status(self) -> str:
        return (
            status_text(self.chat, self._columns()) if self._met else self.config.values.model or self.glyphs.ellipsis
        )

    def _columns(self) -> int:
        return self.app.output.get_size().columns

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

    def _draw_live(self) -> None:
        if not self._met:
            return
        size = self.app.output.get_size()
        tail = self._renderer.tail if self._renderer is not None else ""
        live = live_fragments(
            self.chat, tail, width=size.columns, rows=size.rows, tick=self._tick, drafting=bool(self.buffer.text)
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

    def _minute(self) -> None:
        """The status line tells the session's age in minutes."""
        self.refresh()
        self._timers["minute"] = asyncio.get_running_loop().call_later(60, self._minute)

    def _key_pressed(self, _processor: object) -> None:
        self._last_key = time.monotonic()
        self.keyboard.pressed()

    def _search_picker(self, picker: "Picker[Any]") -> None:
        typed = self.buffer.text
        picker.search(typed)
        if (more := picker.more) is not None and len(typed.strip()) > 1:

            def arrived(found: "list[Choice[Any]]") -> None:
                picker.add(typed, found)
                self.refresh()

            # While somebody types on, only the last search counts.
            if timer := self._timers.get("search"):
                timer.cancel()
            search = partial(self.chat.aside, partial(more, typed), arrived)
            self._timers["search"] = asyncio.get_running_loop().call_later(SEARCH_AFTER, search)
        self._draw_live()

    def _draft_changed(self) -> None:
        if self.picker is not None:
            self._search_picker(self.picker)
        elif self._met and self.chat.questions:
            self._draw_live()

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

    def _say_below(self, text: str) -> None:
        """A passing word in the live region."""

        def over() -> None:
            self._hint = ""
            self.refresh()

        self._hint = text
        if timer := self._timers.get("hint"):
            timer.cancel()
        self._timers["hint"] = asyncio.get_running_loop().call_later(TWICE, over)
        self.refresh()

    def _warn(self, text: str) -> None:
        self.show(self.renderer().note(text))
