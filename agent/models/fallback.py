"""A model that steps in for another."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from agent.cancel import CancelToken
from agent.errors import ContextFullError, ModelError, UnavailableError
from agent.messages import Message
from agent.protocols import ChatModel, ModelOutput, Restarted, ToolSpec

REST = 60.0
"""Seconds in which a model that could not be reached is not tried again."""


class FallbackModel:
    """Asks `first`, and `second` when `first` fails. Each request begins with `first`, unless that cannot be reached.

    A conversation that is too long for `first` is not passed on: making it shorter is the cure.
    `clock` counts seconds.
    """

    def __init__(self, first: ChatModel, second: ChatModel, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._first = first
        self._second = second
        self._clock = clock
        self._rests_until = float("-inf")
        self.stepped_in = False
        """Whether `second` was asked last."""

    @property
    def name(self) -> str:
        """The id of the one that was asked last."""
        return self._second.name if self.stepped_in else self._first.name

    def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, cancel: CancelToken
    ) -> Iterator[ModelOutput]:
        """Raises: ContextFullError of the first model; ModelError of the second; Cancelled."""
        if self._clock() >= self._rests_until:
            self.stepped_in = False
            try:
                yield from self._first.stream(messages, tools, cancel=cancel)
                return
            except ContextFullError:
                raise
            except ModelError as error:
                reason = f"{self._first.name} failed: {str(error).rstrip('.')}; asking {self._second.name}"
                if isinstance(error, UnavailableError):
                    self._rests_until = self._clock() + REST
            yield Restarted(reason)
        self.stepped_in = True
        try:
            yield from self._second.stream(messages, tools, cancel=cancel)
        except ModelError:
            # With neither of them well, the next request tries both.
            self._rests_until = float("-inf")
            raise


if TYPE_CHECKING:
    from agent.models.scripted import ScriptedModel

    _: ChatModel = FallbackModel(ScriptedModel([]), ScriptedModel([]))
