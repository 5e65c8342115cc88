"""Long pastes fold to one word in the draft, and are sent whole."""

import re

MOST_LINES = 15
MOST_CHARACTERS = 1_000

_FOLDED = re.compile(r"\[(?:pasted|recalled|image) #\d+: [^\]]*\]")


class Pastes:
    """The long texts of this session, by the word that stands for each."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._folds: dict[str, str] = {}

    def fold(self, text: str, origin: str = "pasted") -> str:
        """The text itself, or the word that stands for it in a draft. Each origin is numbered by itself."""
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        lines = len(text.removesuffix("\n").split("\n"))
        if lines <= MOST_LINES and len(text) <= MOST_CHARACTERS:
            return text
        return self._fold(text, origin, f"{lines} lines" if lines > 1 else f"{len(text)} characters")

    def image(self, mention: str, name: str) -> str:
        """The word that stands for the mention of an image."""
        return self._fold(mention, "image", name)

    def _fold(self, text: str, origin: str, what: str) -> str:
        if text not in self._folds:
            number = 1 + sum(fold.startswith(f"[{origin}") for fold in self._texts)
            fold = f"[{origin} #{number}: {what}]"
            self._folds[text], self._texts[fold] = fold, text
        return self._folds[text]

    def recalled(self, text: str) -> str:
        """A line of the history, folded."""
        return self.fold(text, "recalled")

    def refold(self, line: str) -> str:
        """What was sent, with each long paste in it as its fold: how it is shown."""
        for text, fold in self._folds.items():
            line = line.replace(text, fold)
        return line

    def unfold(self, draft: str) -> str:
        """The draft with every fold replaced by its text."""
        return _FOLDED.sub(lambda match: self._texts.get(match[0], match[0]), draft)

    def fold_at_end(self, text: str) -> str:
        """The fold that `text` ends in, "" when it ends in none: it is deleted as one."""
        start = text.rfind("[")
        return text[start:] if start >= 0 and text[start:] in self._texts else ""
