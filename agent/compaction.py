"""Making a conversation fit the model's window: it goes on in a new session, and nothing is deleted.

The new session begins with the same system message, byte for byte. Then comes a summary by the model, what the person
asked in this turn, and the last steps as they were. Where the model cannot summarise, tool outputs are trimmed first,
and then the oldest steps are left out, with a note.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from agent.cancel import CancelToken
from agent.context import BYTES_PER_TOKEN, Gauge, size
from agent.errors import ContextFullError, HermesError, ModelError
from agent.events import Compacted, Compacting
from agent.messages import Message, Usage
from agent.prompt import prose
from agent.protocols import ChatModel, Reply, Sink, Store
from agent.steps import HANDOVER, Step, is_handover, newest, shortened, steps_of, transcript
from agent.toolset import bounded

KEPT_SHARE = 0.25
"""Of the window (or of the conversation, where that is less): the last steps that stay as they are."""
KEPT_MOST = 20_000
"""Tokens of them, however large the window is."""
AIM = 0.5
"""Of what instructions and tools leave of the window: what a conversation may take when it was made to fit.

Halved each time the server refuses.
"""
TRIES = 3
"""Times a conversation is made shorter because the server refused it, before the refusal is the turn's outcome."""
WORTH = 100
"""Tokens; less is never worth a summary."""
GAIN = 0.15
"""Of the conversation: less is worth one only when it does not fit at all."""
SUMMARY_SHARE = 0.15
"""Of the window: the summary at most."""


@dataclass(frozen=True, slots=True)
class Move:
    """Where the conversation goes on, and how many tokens it has there. `usage` is what the summary cost."""

    session_id: str
    messages: list[Message]
    usage: Usage
    after: int


class Compaction:
    """When and how one conversation is made to fit. Used by one turn at a time.

    `window` tells how many tokens fit, 0 when nobody knows; it is given how many there are. With `auto` off only
    `compress` does anything. `threshold` is the share of the window at which it is time. Without `summarise` the model
    is not asked.
    """

    def __init__(
        self,
        store: Store,
        model: ChatModel,
        *,
        gauge: Gauge,
        window: Callable[[int, CancelToken], int],
        auto: bool = True,
        threshold: float = 0.8,
        summarise: bool = True,
    ) -> None:
        self.gauge = gauge
        self._store = store
        self._model = model
        self._window = window
        self._auto = auto
        self._threshold = threshold
        self._summarise = summarise
        self._told = 0
        self._guessed = False
        self._settled = 0
        self._refusals = 0

    def answered(self, messages: Sequence[Message], reply: Reply) -> None:
        """The model took the request."""
        self._refusals = 0
        self.gauge.saw(messages, reply.message, reply.usage)

    def __call__(
        self,
        session_id: str,
        messages: Sequence[Message],
        *,
        emit: Sink,
        cancel: CancelToken,
        refused: ContextFullError | None = None,
    ) -> Move | None:
        """Before a request, and after the server refused one as too long: where to go on. None: here, as it is.

        Raises: Cancelled; StoreError; ContextFullError when what the person wrote is too long by itself.
        """
        if not self._auto:
            return None
        before = self.gauge.fill(messages).tokens
        if refused is not None:
            return self._after_refusal(session_id, messages, before, refused, emit=emit, cancel=cancel)
        window = self._told or self._window(before, cancel)
        if not window or before < window * self._threshold or before < self._settled * 1.1:
            return None
        move = self._move(session_id, messages, window, AIM, emit=emit, cancel=cancel)
        self._settled = move.after if move else before
        return move

    def compress(
        self, session_id: str, messages: Sequence[Message], *, emit: Sink, cancel: CancelToken, focus: str = ""
    ) -> Move:
        """Because the person asks for it; the summary dwells on `focus`.

        Raises: HermesError when it would be of no use; Cancelled; StoreError.
        """
        before = self.gauge.fill(messages).tokens
        window = self._told or self._window(before, cancel) or before
        shorter = partial(self._move, session_id, messages, min(window, before), AIM)
        move = shorter(emit=emit, cancel=cancel, focus=focus) if messages else None
        if move is None:
            raise HermesError("There is nothing to compress.", hint="/context shows what takes the room.")
        return move

    def _after_refusal(
        self,
        session_id: str,
        messages: Sequence[Message],
        before: int,
        refused: ContextFullError,
        *,
        emit: Sink,
        cancel: CancelToken,
    ) -> Move | None:
        self._refusals += 1
        if self._refusals > TRIES:
            return None
        if self._refusals == 1:
            known = limit_in(str(refused), before) or self._told or self._window(before, cancel)
            self._told, self._guessed = known or before, not known
        limit = min(self._told, before)
        if not self._guessed:
            # A number of ours would be none to tell: then what the server said is.
            _require_room(messages, self._told, self.gauge)
        aim = AIM / 2 ** (self._refusals - 1)
        return self._move(session_id, messages, limit, aim, emit=emit, cancel=cancel, gain=0)

    def _move(
        self,
        session_id: str,
        messages: Sequence[Message],
        window: int,
        aim: float,
        *,
        emit: Sink,
        cancel: CancelToken,
        focus: str = "",
        gain: float = GAIN,
    ) -> Move | None:
        """None when the conversation cannot be made much shorter."""
        before = self.gauge.fill(messages).tokens
        system, steps = messages[0], steps_of(messages[1:])
        # From here on in estimated tokens: the provider's may be more, or fewer.
        limit = window / self.gauge.scale
        room = max(0, round((limit - size([system]) - self.gauge.tools) * aim))
        kept = newest(steps, min(KEPT_MOST, round(min(limit, before) * KEPT_SHARE), room))
        old = steps[: len(steps) - len(kept)]
        head, usage = None, Usage()
        worth = max(WORTH, before / self.gauge.scale * gain if before < window else 0)
        if self._summarise and sum(step.size for step in old if not step.pinned) > worth:
            words = round(min(limit * SUMMARY_SHARE, room / 2))
            emit(Compacting(before))
            summary, usage = self._summary(old, round(limit * AIM), words, focus, cancel)
            if summary:
                head = Message("user", prose("compacted").format(session=session_id, summary=summary))
                old = [step for step in old if step.pinned and not is_handover(step.messages[0])]
        note = head or Message("user", prose("shortened").format(session=session_id))
        # A note that something was left out says no more than the new one.
        old = [step for step in old if not step.messages[0].content.startswith(f"{HANDOVER}left out")]
        left = shortened([*old, *kept], room - size([note]))
        lost = head is not None or len(left) < len(steps)
        new = [system, *([note] if lost else []), *(message for step in left for message in step.messages)]
        after = self.gauge.scaled(size(new) + self.gauge.tools)
        if after > before * 0.9:
            return None
        child = self._store.continue_session(session_id, new)
        self.gauge.forget()
        emit(Compacted(child, session_id, before, after, "summary" if head else "trimmed", usage))
        return Move(child, new, usage, after)

    def _summary(
        self, steps: Sequence[Step], room: int, words: int, focus: str, cancel: CancelToken
    ) -> tuple[str, Usage]:
        """The model's handover, "" when it has none to give, and what asking cost. Raises: Cancelled."""
        instructions = prose("compact").format(words=max(words // 2, 50))
        if focus:
            instructions += f"\n\nThe person asks you to dwell on this: {focus}"
        spent = Usage()
        for share in (1.0, 0.4):
            record = transcript(steps, max(400, round(room * share) * BYTES_PER_TOKEN))
            request = [Message("system", instructions), Message("user", record)]
            try:
                for output in self._model.stream(request, (), cancel=cancel):
                    if isinstance(output, Reply):
                        spent += output.usage
                        return bounded(output.message.content.strip(), max(words, 100) * BYTES_PER_TOKEN), spent
            except ContextFullError:
                continue
            except ModelError:
                break
        return "", spent


# -- limits ----------------------------------------------------------------------------------------

_LIMITS = (
    re.compile(r"(?:maximum|max|context|window|limit)[^.\d]{0,60}?\b(\d[\d,_]{2,})"),
    re.compile(r"> ?(\d[\d,_]{2,})"),
)


def limit_in(words: str, asked: int) -> int:
    """The window a server names when it refuses a request of about `asked` tokens; 0 when it names none."""
    found = [int(re.sub(r"\D", "", hit)) for pattern in _LIMITS for hit in pattern.findall(words.lower())]
    return min((number for number in found if 1_000 <= number <= asked * 4), default=0)


def _require_room(messages: Sequence[Message], window: int, gauge: Gauge) -> None:
    """Raises: ContextFullError when the person's last message fits by no means."""
    words = [message for message in messages if message.role == "user"][-1:]
    fixed = gauge.scaled(size(messages[:1]) + gauge.tools)
    asked = gauge.scaled(size(words))
    if fixed + asked <= window:
        return
    if asked < fixed:
        raise ContextFullError(
            f"Instructions and tools alone are about {fixed:,} tokens, and the model takes {window:,}.",
            hint="Choose a model with a larger window: /model.",
        )
    raise ContextFullError(
        f"Your message is about {asked:,} tokens long, and the model takes {window:,} in all.",
        hint="Put it into a file and name the file, send it in parts, or choose a model with a larger window: /model.",
    )
