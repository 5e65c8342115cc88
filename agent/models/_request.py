"""A request as one endpoint takes it: what it rejected once is left out from then on."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.config import ModelChoice
from agent.messages import Message
from agent.models import catalog
from agent.models._wire import Failure, request_body
from agent.protocols import ToolSpec

_left_out: dict[tuple[str, str], frozenset[str]] = {}
"""Fields that were rejected, by (base_url, model)."""

_REJECTING = (400, 404, 405, 422, 500, 501)
_COMPLAINT = re.compile(
    r"(not|n't|un).{0,12}support|that support|unrecogni[sz]ed|unknown (param|arg|field|request)"
    r"|unexpected (param|arg|keyword)|unknown variant|expected `?text"
    r"|extra (inputs|fields|param)|not permitted|must be verified"
)
_OPTIONAL = {
    "images": re.compile(r"image_url|\bimages?\b|multi-?modal|vision"),
    "stream_options": re.compile(r"stream_options|include_usage"),
    # A complaint about one tool, such as `tools.0.function`, or about their number is not about tools as such.
    "tools": re.compile(r"\btools?\b(?![.\[])( use| call\w*)?|function call"),
    "stream": re.compile(r"\bstream(ing)?\b"),
}
"""Optional fields, and how a server speaks of them; the more particular first."""


@dataclass(frozen=True)
class Request:
    """What is asked. `taken` holds the ids of the tool calls in `messages`."""

    choice: ModelChoice
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    taken: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        ids = frozenset(call.id for message in self.messages for call in message.tool_calls)
        object.__setattr__(self, "taken", ids)

    @property
    def _endpoint(self) -> tuple[str, str]:
        return self.choice.base_url, self.choice.model

    @property
    def shows_images(self) -> bool:
        """Whether images are sent as such: nothing is known against it."""
        refused = "images" in _left_out.get(self._endpoint, frozenset())
        return not refused and catalog.takes_images(self.choice.model) is not False

    @property
    def holds_images(self) -> bool:
        """Whether some are sent."""
        return self.shows_images and any(message.images for message in self.messages)

    def rejected(self, status: int, failure: Failure, body: Mapping[str, object]) -> str | None:
        """See `rejected_field`."""
        return rejected_field(status, failure, body, images=self.holds_images)

    def leave_out(self, name: str) -> None:
        _left_out[self._endpoint] = _left_out.get(self._endpoint, frozenset()) | {name}

    def body(self) -> dict[str, object]:
        left_out = _left_out.get(self._endpoint, frozenset())
        body = request_body(
            model=self.choice.model,
            messages=self.messages,
            tools=() if "tools" in left_out else self.tools,
            effort=self.choice.reasoning_effort,
            routing=self.choice.routing,
            images=self.shows_images,
        )
        if "stream" not in left_out:
            body["stream"] = True
            if "stream_options" not in left_out:
                body["stream_options"] = {"include_usage": True}
        return body


def rejected_field(status: int, failure: Failure, body: Mapping[str, object], *, images: bool = False) -> str | None:
    """The optional field of `body` that the server says it does not take; None when that is not its complaint.

    `images`: there are some in the messages.
    """
    words = failure.words
    if status not in _REJECTING or not _COMPLAINT.search(words):
        return None
    there = {*body, "images"} if images else {*body}
    return next((name for name, sign in _OPTIONAL.items() if name in there and sign.search(words)), None)
