"""The prompt that is always alive: what its keys do, and its run from the first paint to the last words.

Everything here runs on the UI loop's thread. What must not be imported before the first paint (rich, the agent,
the SDK) is imported where it is used.
"""

import asyncio
import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from prompt_toolkit.completion import CompleteEvent, Completion
from prompt_toolkit.document import Document

from agent import __version__
from agent.config import ApprovalMode, Config
from agent.errors import HermesError
from hermes_cli.keys import KEY_HELP, bindings
from hermes_cli.layout import application
from hermes_cli.mentions import mention
from hermes_cli.prompt_screen import PromptScreen
from hermes_cli.screen import TWICE
from hermes_cli.setup import exit_within
from hermes_cli.terminal import teach_sequences
from hermes_cli.text import columns, place

if TYPE_CHECKING:
    from agent.approvals import Policy
    from hermes_cli.browser import TaskBrowser
    from hermes_cli.picker import Choice, Picker
    from hermes_cli.questions import Question
    from hermes_cli.sessions import Wanted

_log = logging.getLogger(__name__)

WARM_AFTER = 0.03
"""Seconds after the first paint in which the keyboard has the processor to itself."""

LEAVE_WITHIN = 4.0
"""Seconds after which leaving does not wait for anything any more."""

SETTLED_WITHIN = 1.0
"""Seconds that leaving waits for what was sent last to arrive in the store."""

STOPPED_WITHIN = 1.5
"""Seconds that leaving waits for a turn that was cancelled."""

SEARCH_AFTER = 0.12
"""Seconds without a key after which what was typed in a list is searched for in the store, too."""


class Repl(PromptScreen):
    """The screen of a `Chat`, and its keyboard."""

    def __init__(self, config: Config, load_policy: "Callable[[], Policy]", *, cwd: Path) -> None:
        teach_sequences()
        super().__init__(config, load_policy, cwd=cwd)
        self._hung_up = False
        self._keys, self._armed_by, self._last_ctrl_c = 0, 0, 0.0
        self._quoted: Question | None = None
        self._parted: Document | None = None
        self.app = application(
            self.buffer,
            bindings(self),
            glyphs=self.glyphs,
            colours=self._colours,
            live=self._live_now,
            status=self._status,
        )
        self.app.after_render += lambda _: self.keyboard.drawn()
        self.app.key_processor.before_key_press += self._key_pressed
        self.buffer.on_text_changed += lambda _: self._draft_changed()

    # -- orders from the keyboard ------------------------------------------------------------------

    def accept(self) -> None:
        """Enter: the highlighted path, a new line after a backslash, an answer to a question, or a line to send."""
        menu = self.buffer.complete_state
        if menu is not None and menu.current_completion is not None and menu.current_completion.text.startswith("@"):
            # It stands in the draft already; more of the message may follow.
            self.buffer.complete_state = None
            if not self.buffer.document.current_line_before_cursor.endswith("/"):
                self._part()
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
                self._part()
        else:
            buffer.complete_next()

    def _part(self) -> None:
        """Put a space after what was completed; one that is typed from habit is the same."""
        self.buffer.insert_text(" ")
        self._parted = self.buffer.document

    @property
    def parted(self) -> bool:
        """Whether the last that happened to the draft is such a space."""
        return self.buffer.document == self._parted

    def space(self) -> None:
        """The habitual one."""
        self._parted = None

    def earlier(self) -> None:
        """Up: a line up, or back in history. Pressed before the history is read, it waits for it.

        From an empty draft the history is read anew: others may have added to it while this one lay idle.
        """
        buffer = self.buffer
        if not buffer.text and buffer._load_history_task is not None and buffer._load_history_task.done():
            buffer.reset()
        buffer.load_history_if_not_yet_loaded()
        loading, draft = buffer._load_history_task, buffer.document
        if loading is None or loading.done():
            buffer.auto_up()
        else:
            loading.add_done_callback(lambda _: buffer.auto_up() if buffer.document == draft else None)

    def paste_image(self) -> None:
        """Ctrl+V: the clipboard's image into the draft."""
        from hermes_cli.handlers.abilities import paste

        paste(self.chat, "")

    def escape(self) -> None:
        if self.buffer.complete_state is not None:
            self.buffer.cancel_completion()
        elif not self.fold() and not self.chat.background.unfollow():
            self.chat.stop()

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
        elif self._armed_by == self._keys - 1 and time.monotonic() - self._last_ctrl_c < TWICE:
            self.chat.leaving.ask()
        else:
            # Any other key between the two, and the next one is the first again.
            self._armed_by, self._last_ctrl_c = self._keys, time.monotonic()
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
        self._parted = None
        if self.picker is not None:
            self._search_picker(self.picker)
        elif self._met and self.chat.questions:
            self._draw_live()

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
            self._say_nothing_below()
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

    def _key_pressed(self, _processor: object) -> None:
        self._last_key = time.monotonic()
        self._keys += 1
        self.keyboard.pressed()

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
                await self.chat.aside.settle(SETTLED_WITHIN)
            exit_within(LEAVE_WITHIN)
            for timer in self._timers.values():
                timer.cancel()
            last_words = "".join(self._outbox) + ("" if self._hung_up else self._taken_notices())
            if self._met:
                if not self._hung_up and (way_back := self.chat.leaving.way_back()):
                    last_words += self.renderer().note(way_back)
                self.chat.close()
                if not self._hung_up and (kept := self.chat.leaving.last_words()):
                    last_words += self.renderer().note(kept)
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

    def _hang_up(self) -> None:
        """Nobody reads what we say any more: whatever is not told yet stays untold, and drafts go to the history."""
        self._hung_up = True
        for draft in (*self._stashed, self.buffer.text):
            if draft.strip():
                self.history.append_string(self.pastes.unfold(draft))
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

    def _minute(self) -> None:
        """The status line tells the session's age in minutes."""
        self.refresh()
        self._timers["minute"] = asyncio.get_running_loop().call_later(60, self._minute)
