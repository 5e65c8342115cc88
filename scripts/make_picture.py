"""Renders docs/repl.svg from a real run: the real program in a pseudo-terminal against a scripted model server."""

import io
import os
import re
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.style import Style
from rich.text import Text

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.openai_server import OpenAIServer, Stream, Tool, call, say  # noqa: E402
from tests.support.screen import Terminal  # noqa: E402

COLUMNS, ROWS = 96, 40
_NAMES = {"brown": "yellow", "default": "default"}

CHECKOUT = """def checkout(cart, card):
    validate(cart)
    try:
        charge(card, cart.total)
    except Exception:
        log.warning("charge failed")
"""

ANSWER = """It validates the cart, charges the card, and hides every failure:

```python
except Exception:
    log.warning("charge failed")
```

Nobody learns that the payment failed. Catch the gateway's own error instead."""

FOUND = """2 places catch `Exception`:

- `checkout.py:5` hides a failed payment
- `mail.py:3` drops a receipt"""


def main() -> None:
    usage = {"prompt_tokens": 12_400, "completion_tokens": 310, "total_tokens": 12_710}
    search = '{"pattern": "except Exception", "glob": "*.py"}'
    steps = [
        call("read_file", path="checkout.py"),
        Stream(text=tuple(ANSWER.splitlines(keepends=True)), usage=usage),
        Stream(tools=(Tool("search_files", search),)),
        Stream(text=(FOUND,), delay=1.5, usage=usage),
    ]
    with tempfile.TemporaryDirectory() as home, OpenAIServer(steps, default=say("…")) as server:
        shop = Path(home) / "src" / "shop"
        shop.mkdir(parents=True)
        (shop / "checkout.py").write_text(CHECKOUT)
        (shop / "mail.py").write_text("try:\n    send()\nexcept Exception:\n    pass\n")
        env = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "HERMES_HOME": f"{home}/hermes",
            "HERMES_PROVIDER": "custom",
            "HERMES_BASE_URL": server.base_url,
            "HERMES_MODEL": "gpt-5-mini",
            "OPENAI_API_KEY": "none",
        }
        hermes = Path(sys.executable).with_name("hermes")
        with Terminal([str(hermes)], env=env, cwd=shop, columns=COLUMNS, rows=ROWS) as terminal:
            terminal.wait_for(lambda seen: seen.draft is not None)
            terminal.type("what does checkout.py do?").press("enter").wait_for("own error instead")
            terminal.wait_for(lambda seen: "Esc interrupts" not in seen.text)
            terminal.type("/background find every place that catches Exception").press("enter").wait_for("#1 bg_")
            terminal.type("and who calls it?").wait_for("#1 done").settle()
            draw(terminal)


def draw(terminal: Terminal) -> None:
    """The screen, cell by cell, as rich text in a window."""
    screen = terminal.emulator
    picture = Text()
    used = max(number for number in range(ROWS) if screen.display[number].strip()) + 1
    for number in range(used):
        row = screen.buffer[number]
        for column in range(COLUMNS):
            cell = row[column]
            picture.append(cell.data, Style(color=colour(cell.fg), bold=cell.bold, italic=cell.italics))
        picture.append("\n")
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(picture)
    target = ROOT / "docs" / "repl.svg"
    svg = console.export_svg(title="hermes")
    # The reader's own monospace font will do; a picture should load nothing from elsewhere.
    target.write_text(re.sub(r"@font-face\s*{[^}]*}", "", svg), "utf-8")
    print(target.relative_to(ROOT))


def colour(name: str) -> str:
    if name.startswith("bright"):
        return f"bright_{name.removeprefix('bright')}"
    if len(name) == 6 and all(letter in "0123456789abcdef" for letter in name):
        return f"#{name}"
    return _NAMES.get(name, name)


if __name__ == "__main__":
    main()
