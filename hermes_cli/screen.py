"""What shows a session: the seam between a `Chat` and the prompt, or plain lines."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hermes_cli.courtesy import KeyboardFirst
from hermes_cli.glyphs import Glyphs

if TYPE_CHECKING:
    from agent.messages import ImagePart
    from hermes_cli.picker import Picker
    from hermes_cli.render import Renderer

TWICE = 2.0
"""Seconds within which a second Ctrl+C leaves."""


def nothing() -> None:
    """Nobody need hear of it."""


class Screen(Protocol):
    """What shows a session: the full prompt, or plain lines."""

    @property
    def glyphs(self) -> Glyphs: ...

    @property
    def keyboard(self) -> KeyboardFirst: ...

    @property
    def stop_key(self) -> str:
        """The key that interrupts what runs."""
        ...

    def renderer(self) -> "Renderer":
        """Renders at the width of now."""
        ...

    def show(self, text: str) -> None:
        """Put finished text above the prompt."""
        ...

    def echo(self, text: str) -> None:
        """Put what the person sent above the prompt."""
        ...

    def waits(self, text: str, when: str) -> None:
        """What the person sent is kept until `when`: "next" step of the turn, or "queued" for after it."""
        ...

    def pick(self, picker: "Picker[Any]") -> None:
        """Let the person choose from a list; what is being typed comes back afterwards."""
        ...

    def draft(self, text: str) -> None:
        """Put a text where the person types, unless something stands there."""
        ...

    def image(self, part: "ImagePart") -> None:
        """Put what stands for an image where the person types, into whatever stands there."""
        ...

    def edit_file(self, path: Path, then: Callable[[], None]) -> None:
        """Let the person change a file in their editor. Raises: HermesError."""
        ...

    def moved(self) -> None:
        """The session works in another folder now."""
        ...

    def notify(self, notice: Callable[[], str], *, urgent: bool, shown: Callable[[], None] = nothing) -> None:
        """Put a notice above the prompt when it disturbs least; ring if the person looks elsewhere.

        `notice` is asked for its text at that moment; "" shows nothing. `shown` is called when it stands there.
        """
        ...

    def refresh(self) -> None:
        """Something in the session changed: draw it soon."""
        ...

    def copy(self, text: str) -> str:
        """Put a text on the clipboard. Gives what became of it."""
        ...

    def clear(self) -> None: ...

    def leave(self) -> None: ...
