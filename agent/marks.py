"""How text that strangers may have written is shown to the model: between marks that nothing in it can end."""

import os
import re

_MARKED = re.compile(r"<untrusted ([0-9a-f]{8})>\n(.*)\n</untrusted \1>", re.DOTALL)


def marked(text: str) -> str:
    """The text between marks. What it says cannot end them: it was there before their name was made up."""
    mark = os.urandom(4).hex()
    return f"<untrusted {mark}>\n{text}\n</untrusted {mark}>"


def unmarked(text: str) -> str:
    """What stands between the marks, with what follows them; the text as it is where there are none around it."""
    found = _MARKED.match(text)
    return f"{found[2]}{text[found.end() :]}" if found else text
