"""How the prompt is laid out and coloured: the live region, the draft, the menu, the status line."""

import sys
from collections.abc import Callable

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition, has_completions
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.layout import BufferControl, ConditionalContainer, FormattedTextControl, HSplit, Layout, Window
from prompt_toolkit.layout.dimension import Dimension
from prompt_toolkit.output.color_depth import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.styles import Style
from prompt_toolkit.widgets import SearchToolbar

from hermes_cli.glyphs import Glyphs
from hermes_cli.menu import completion_menu
from hermes_cli.terminal import PromptApplication, keyboard, reflows

STYLE = Style.from_dict(
    {
        "prompt": "ansicyan bold",
        "status": "ansibrightblack",
        "live.thought": "ansibrightblack italic",
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
        "choices.name": "",
        "choices.name.current": "ansicyan bold",
        "choices.meaning": "ansibrightblack",
        "choices.meaning.current": "ansicyan",
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


def application(
    buffer: Buffer,
    keys: KeyBindings,
    *,
    glyphs: Glyphs,
    colours: bool,
    live: Callable[[], StyleAndTextTuples],
    status: Callable[[], str],
) -> PromptApplication:
    """The prompt for a draft: `live` stands above it, `status` below. Both are asked each time it is drawn."""
    output = Vt100_Output.from_pty(sys.stdout)
    # Some terminals answer late or never where the cursor is; nothing here needs to know.
    output.enable_cpr = False
    prompt: StyleAndTextTuples = [("class:prompt", f"{glyphs.prompt} ")]
    indent: StyleAndTextTuples = [("", "  ")]
    search = SearchToolbar()
    draft = Window(
        BufferControl(buffer, search_buffer_control=search.control, preview_search=True),
        height=lambda: Dimension(min=1, max=max(output.get_size().rows // 2, 1)),
        get_line_prefix=lambda line, wrapped: prompt if line == wrapped == 0 else indent,
        wrap_lines=True,
        dont_extend_height=True,
    )
    above = Window(FormattedTextControl(live), dont_extend_height=True)
    below = FormattedTextControl(lambda: [("class:status", f" {status()}")])
    layout = HSplit(
        [
            # Air between what is finished and what is not, where there is room for it.
            ConditionalContainer(Window(height=1), Condition(lambda: output.get_size().rows >= 12)),
            ConditionalContainer(above, Condition(lambda: bool(live()))),
            draft,
            search,
            completion_menu(glyphs.ellipsis),
            ConditionalContainer(Window(below, height=1, dont_extend_height=True), ~has_completions),
            Window(),
        ]
    )
    app = PromptApplication(
        reflows=reflows(),
        layout=Layout(layout, draft),
        key_bindings=keys,
        style=STYLE,
        color_depth=None if colours else ColorDepth.DEPTH_1_BIT,
        include_default_pygments_style=False,
        input=keyboard(),
        output=output,
        erase_when_done=True,
        terminal_size_polling_interval=None if sys.platform != "win32" else 0.5,
    )
    app.ttimeoutlen = 0.05
    app.timeoutlen = 0.3
    return app
