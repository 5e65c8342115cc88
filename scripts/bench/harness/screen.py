"""What a person would see: for checks beside the measurements, never while one is timed."""

import pyte

from harness.terminal import COLUMNS, ROWS


def lines(output: bytes | bytearray) -> list[str]:
    """The screen after `output`, which must be all that the program wrote so far."""
    screen = pyte.Screen(COLUMNS, ROWS)
    pyte.ByteStream(screen).feed(bytes(output))
    return [line.rstrip() for line in screen.display]
