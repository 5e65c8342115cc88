"""The completion menu: what can be typed, and what each means, a few rows of it.

The menu that comes with prompt_toolkit fills each row up to the right edge, with blanks that have a style and with a
scroll bar, and all of it is compared cell by cell at every key. Here a row ends with its text, and the bar is
there only where there is something to scroll to.
"""

from prompt_toolkit.application import get_app
from prompt_toolkit.data_structures import Point
from prompt_toolkit.filters import Condition, has_completions
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout import (
    ConditionalContainer,
    ConditionalMargin,
    FormattedTextControl,
    ScrollbarMargin,
    ScrollOffsets,
    Window,
)
from prompt_toolkit.layout.dimension import Dimension

from hermes_cli.text import clip, columns

HEIGHT = 8
GAP = "  "


def completion_menu(ellipsis: str) -> ConditionalContainer:
    """Below the draft while there is something to choose from; texts that are too wide end in `ellipsis`."""
    control = FormattedTextControl(lambda: _rows(ellipsis), get_cursor_position=_chosen)
    return ConditionalContainer(
        Window(
            control,
            height=Dimension(min=1, max=HEIGHT),
            scroll_offsets=ScrollOffsets(top=1, bottom=1),
            right_margins=[ConditionalMargin(ScrollbarMargin(), Condition(_scrolls))],
            dont_extend_height=True,
        ),
        has_completions,
    )


def _rows(ellipsis: str) -> StyleAndTextTuples:
    state = get_app().current_buffer.complete_state
    if state is None or not state.completions:
        return []
    room = get_app().output.get_size().columns - 3
    # The names have what their meanings leave, and two fifths of the room in any case.
    meanings = max(columns(completion.display_meta_text) for completion in state.completions)
    most = max(room * 2 // 5, min(20, room // 2), room - len(GAP) - meanings) if meanings else room
    names = [_cut(completion.display_text, most, ellipsis) for completion in state.completions]
    width = max(map(columns, names))
    left = room - width - len(GAP)
    rows: StyleAndTextTuples = []
    for index, (name, completion) in enumerate(zip(names, state.completions, strict=True)):
        current = ".current" if index == state.complete_index else ""
        rows.append((f"class:choices.name{current}", f" {name}"))
        if meaning := completion.display_meta_text:
            rows.append(("", " " * (width - columns(name)) + GAP))
            rows.append((f"class:choices.meaning{current}", _cut(meaning, left, ellipsis)))
        rows.append(("", "\n"))
    return rows[:-1]


def _cut(text: str, width: int, ellipsis: str) -> str:
    """On one row. Blanks between two columns stay."""
    return text if text.isprintable() and columns(text) <= width else clip(text, width, ellipsis)


def _chosen() -> Point:
    state = get_app().current_buffer.complete_state
    return Point(0, (state.complete_index or 0) if state else 0)


def _scrolls() -> bool:
    state = get_app().current_buffer.complete_state
    return state is not None and len(state.completions) > HEIGHT
