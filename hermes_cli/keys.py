"""Keys to orders. Each binding calls one method of the prompt; none does work itself."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from prompt_toolkit.filters import Condition, has_completions, is_searching
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys

from hermes_cli.terminal import FOCUS_IN, FOCUS_OUT

if TYPE_CHECKING:
    from hermes_cli.browser import TaskBrowser
    from hermes_cli.repl import Repl

KEY_HELP = (
    ("Enter", "send; in a menu of paths: take; in a turn: tell the agent"),
    ("Tab", "complete; during a turn: queue for after it"),
    ("Alt+Enter, Ctrl+J, \\ Enter", "new line"),
    ("Esc", "close the menu, else interrupt the turn"),
    ("Esc Esc", "on an empty draft: go back to before one of your prompts"),
    ("Ctrl+C", "close the menu, clear the draft, interrupt, then twice to leave"),
    ("Ctrl+D", "leave, on an empty draft"),
    ("Up, Down, Ctrl+R", "history, and search in it"),
    ("Ctrl+G, Ctrl+X Ctrl+E", "edit the draft in $VISUAL or $EDITOR"),
    ("Ctrl+S", "set the draft aside; on an empty draft, bring it back"),
    ("Ctrl+O", "details of the last tool call, or of the open question"),
    ("Ctrl+T", "background tasks: their logs, stop, steer, approve"),
    ("Ctrl+V", "take the image on the clipboard along"),
    ("Ctrl+L", "redraw"),
    ("Ctrl+Z", "suspend"),
    ("Shift+Tab", "approvals: ask, accept edits, plan"),
    ("!cmd", "run a shell command yourself"),
    ("@path", "name a file"),
)


def bindings(repl: "Repl") -> KeyBindings:
    """All bindings that differ from prompt_toolkit's own (which are those of readline)."""
    keys = KeyBindings()
    picking = Condition(lambda: repl.picker is not None)
    drafting = ~is_searching & ~picking
    empty = Condition(lambda: not repl.buffer.text)
    idle = Condition(lambda: repl.idle)

    @keys.add("enter", filter=drafting)
    def _(event: KeyPressEvent) -> None:
        repl.accept()

    @keys.add("escape", "enter", filter=drafting)
    @keys.add("c-j", filter=drafting)
    def _(event: KeyPressEvent) -> None:
        repl.buffer.insert_text("\n")

    @keys.add("tab", filter=drafting)
    def _(event: KeyPressEvent) -> None:
        repl.tab()

    @keys.add(" ", filter=drafting & Condition(lambda: repl.parted))
    def _(event: KeyPressEvent) -> None:
        repl.space()

    @keys.add("up", filter=drafting)
    @keys.add("c-p", filter=drafting)
    def _(event: KeyPressEvent) -> None:
        repl.earlier()

    @keys.add("s-tab", filter=has_completions)
    def _(event: KeyPressEvent) -> None:
        repl.buffer.complete_previous()

    @keys.add("s-tab", filter=~has_completions & drafting)
    def _(event: KeyPressEvent) -> None:
        repl.next_mode()

    @keys.add("escape", filter=drafting)
    def _(event: KeyPressEvent) -> None:
        repl.escape()

    @keys.add("escape", "escape", filter=drafting & empty & idle & ~has_completions)
    def _(event: KeyPressEvent) -> None:
        repl.rewind()

    _bind_picker(keys, repl, picking)

    @keys.add("c-c", filter=drafting)
    @keys.add("<sigint>")
    def _(event: KeyPressEvent) -> None:
        repl.step_back()

    @keys.add("c-d", filter=drafting & empty)
    def _(event: KeyPressEvent) -> None:
        repl.chat.leaving.ask()

    @keys.add("c-z")
    def _(event: KeyPressEvent) -> None:
        event.app.suspend_to_background()

    @keys.add("c-g", filter=drafting)
    @keys.add("c-x", "c-e", filter=drafting)
    def _(event: KeyPressEvent) -> None:
        repl.edit()

    @keys.add("c-s", filter=drafting)
    def _(event: KeyPressEvent) -> None:
        repl.stash()

    @keys.add("c-v", filter=drafting)
    def _(event: KeyPressEvent) -> None:
        repl.paste_image()

    @keys.add("c-l")
    def _(event: KeyPressEvent) -> None:
        repl.clear()

    @keys.add("c-o", filter=drafting)
    def _(event: KeyPressEvent) -> None:
        repl.show_details()

    @keys.add("c-t", filter=drafting)
    def _(event: KeyPressEvent) -> None:
        repl.browse()

    @keys.add("?", filter=drafting & empty)
    def _(event: KeyPressEvent) -> None:
        repl.show_keys()

    @keys.add("backspace", filter=drafting & Condition(lambda: repl.before_fold() != ""))
    def _(event: KeyPressEvent) -> None:
        repl.buffer.delete_before_cursor(len(repl.before_fold()))

    @keys.add(Keys.BracketedPaste, filter=drafting)
    def _(event: KeyPressEvent) -> None:
        repl.buffer.insert_text(repl.pastes.fold(event.data))

    _watch_focus(keys, repl.watched)
    return keys


def browser_bindings(browser: "TaskBrowser") -> KeyBindings:
    """The keys of the task browser."""
    keys = KeyBindings()
    typing = Condition(lambda: browser.typing)
    looking = ~typing
    orders: dict[str, Callable[[], None]] = {
        "up": lambda: browser.move(-1),
        "c-p": lambda: browser.move(-1),
        "down": lambda: browser.move(1),
        "c-n": lambda: browser.move(1),
        "pageup": lambda: browser.page(-1),
        "pagedown": lambda: browser.page(1),
        " ": lambda: browser.page(1),
        "home": lambda: browser.ends("first"),
        "end": lambda: browser.ends("last"),
        "enter": browser.zoom,
        "tab": browser.switch_pane,
        "/": browser.filter,
        "s": browser.steer,
        "x": browser.stop,
        "a": browser.approve,
        "d": browser.deny,
        "o": lambda: browser.leave_for("open"),
        "j": lambda: browser.leave_for("join"),
        "v": lambda: browser.leave_for("show"),
        "q": browser.close,
    }

    def bind(key: str, order: Callable[[], None]) -> None:
        @keys.add(key, filter=looking)
        def _(event: KeyPressEvent) -> None:
            order()

    for key, order in orders.items():
        bind(key, order)

    @keys.add("enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        browser.accept()

    # At once: no key of this screen begins with Esc.
    @keys.add("escape", eager=True)
    @keys.add("c-c")
    @keys.add("<sigint>")
    def _(event: KeyPressEvent) -> None:
        browser.back()

    @keys.add("c-t")
    def _(event: KeyPressEvent) -> None:
        browser.close()

    _watch_focus(keys, browser.watched)
    return keys


def _watch_focus(keys: KeyBindings, watched: Callable[[bool], None]) -> None:
    @keys.add(FOCUS_IN)
    def _(event: KeyPressEvent) -> None:
        watched(True)

    @keys.add(FOCUS_OUT)
    def _(event: KeyPressEvent) -> None:
        watched(False)


def _bind_picker(keys: KeyBindings, repl: "Repl", picking: Condition) -> None:
    """A list to pick from has the arrows, Enter and the ways out; what is typed searches in it."""
    for key, by in (("up", -1), ("c-p", -1), ("s-tab", -1), ("down", 1), ("c-n", 1), ("tab", 1), ("pageup", -10)):
        keys.add(key, filter=picking)(partial(_step, repl, by))
    keys.add("pagedown", filter=picking)(partial(_step, repl, 10))

    @keys.add("enter", filter=picking)
    def _(event: KeyPressEvent) -> None:
        repl.choose()

    @keys.add("escape", filter=picking, eager=True)
    @keys.add("c-c", filter=picking)
    @keys.add("c-d", filter=picking)
    def _(event: KeyPressEvent) -> None:
        repl.dismiss()

    @keys.add("c-r", filter=picking)
    @keys.add("c-s", filter=picking)
    @keys.add("c-j", filter=picking)
    def _(event: KeyPressEvent) -> None:
        """Not here."""


def _step(repl: "Repl", by: int, event: KeyPressEvent) -> None:
    del event
    repl.step(by)
