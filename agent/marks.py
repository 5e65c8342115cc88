"""How text that strangers may have written is shown to the model: between marks that nothing in it can end."""

import os


def marked(text: str) -> str:
    """The text between marks. What it says cannot end them: it was there before their name was made up."""
    mark = os.urandom(4).hex()
    return f"<untrusted {mark}>\n{text}\n</untrusted {mark}>"
