"""Keys to orders. Each binding calls one method of the prompt; none does work itself."""

from typing import TYPE_CHECKING

from prompt_toolkit.filters import Condition, has_completions, is_searching
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys

from hermes_cli.terminal import FOCUS_IN, FOCUS_OUT

if TYPE_CHECKING:
    from hermes_cli.repl import Repl

KEY_HELP = (
    ("Enter", "send; during a turn: tell the agent before its next step"),
    ("Tab", "complete; during a turn: queue for after it"),
    ("Alt+Enter, Ctrl+J, \\ Enter", "new line"),
    ("Esc", "close the menu, else interrupt the turn"),
    ("Ctrl+C", "close the menu, clear the draft, interrupt, then twice to leave"),
    ("Ctrl+D", "leave, on an empty draft"),
    ("Up, Down, Ctrl+R", "history, and search in it"),
    ("Ctrl+G, Ctrl+X Ctrl+E", "edit the draft in $VISUAL or $EDITOR"),
    ("Ctrl+S", "set the draft aside; on an empty draft, bring it back"),
    ("Ctrl+O", "details of the last tool call, or of the open question"),
    ("Ctrl+L", "redraw"),
    ("Ctrl+Z", "suspend"),
    ("Shift+Tab", "approvals: ask, accept edits, plan"),
    ("!cmd", "run a shell command yourself"),
    ("@path", "name a file"),
)


def bindings(repl: "Repl") -> KeyBindings:
    """All bindings that differ from prompt_toolkit's own (which are those of readline)."""
    keys = KeyBindings()
    drafting = ~is_searching
    empty = Condition(lambda: not repl.buffer.text)

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

    @keys.add("c-c", filter=drafting)
    @keys.add("<sigint>")
    def _(event: KeyPressEvent) -> None:
        repl.step_back()

    @keys.add("c-d", filter=drafting & empty)
    def _(event: KeyPressEvent) -> None:
        repl.chat.leave()

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

    @keys.add("c-l")
    def _(event: KeyPressEvent) -> None:
        repl.clear()

    @keys.add("c-o", filter=drafting)
    def _(event: KeyPressEvent) -> None:
        repl.show_details()

    @keys.add("?", filter=drafting & empty)
    def _(event: KeyPressEvent) -> None:
        repl.show_keys()

    @keys.add("backspace", filter=drafting & Condition(lambda: repl.before_fold() != ""))
    def _(event: KeyPressEvent) -> None:
        repl.buffer.delete_before_cursor(len(repl.before_fold()))

    @keys.add(Keys.BracketedPaste, filter=drafting)
    def _(event: KeyPressEvent) -> None:
        repl.buffer.insert_text(repl.pastes.fold(event.data))

    @keys.add(FOCUS_IN)
    def _(event: KeyPressEvent) -> None:
        repl.focused = True

    @keys.add(FOCUS_OUT)
    def _(event: KeyPressEvent) -> None:
        repl.focused = False

    return keys
