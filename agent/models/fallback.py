"""A model that steps in for another."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from agent.cancel import CancelToken
from agent.errors import ContextFullError, ModelError
from agent.messages import Message
from agent.protocols import ChatModel, ModelOutput, Restarted, ToolSpec


class FallbackModel:
    """Asks `first`, and `second` when `first` fails. Each request begins with `first`.

    A conversation that is too long for `first` is not passed on: making it shorter is the cure.
    """

    def __init__(self, first: ChatModel, second: ChatModel) -> None:
        self._first = first
        self._second = second

    @property
    def name(self) -> str:
        return self._first.name

    def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, cancel: CancelToken
    ) -> Iterator[ModelOutput]:
        """Raises: ContextFullError of the first model; ModelError of the second; Cancelled."""
        try:
            yield from self._first.stream(messages, tools, cancel=cancel)
            return
        except ContextFullError:
            raise
        except ModelError as error:
            reason = f"{self._first.name} failed: {str(error).rstrip('.')}; asking {self._second.name}"
        yield Restarted(reason)
        yield from self._second.stream(messages, tools, cancel=cancel)


if TYPE_CHECKING:
    from agent.models.scripted import ScriptedModel

    _: ChatModel = FallbackModel(ScriptedModel([]), ScriptedModel([]))
