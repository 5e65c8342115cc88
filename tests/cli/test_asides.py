"""Work that is done aside."""

import asyncio
import time
from pathlib import Path

from hermes_cli.asides import Asides
from hermes_cli.screen import nothing


async def test_where_nothing_is_done_aside_nobody_waits() -> None:
    asides = Asides(lambda show: show(), lambda text, hint: None, settled=nothing, folder=Path())
    begun = time.monotonic()
    await asides.settle(30)
    assert time.monotonic() - begun < 10
    asides.close()


async def test_one_waits_for_what_follows_from_it_too() -> None:
    loop, told = asyncio.get_running_loop(), list[str]()
    asides = Asides(loop.call_soon_threadsafe, lambda text, hint: told.append(text), settled=nothing, folder=Path())
    asides(lambda: "work", told.append)
    asides(lambda: 1 // 0, failed=lambda: told.append("failed"))
    await asides.settle(30)
    assert (told[0], asides.left) == ("work", 0)
    assert told[1].startswith("ZeroDivisionError")
    assert told[2] == "failed"
    asides.close()
