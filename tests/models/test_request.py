"""Which complaints of a server mean that it does not take a field at all."""

import pytest

from agent.models._request import rejected_field
from agent.models._wire import Failure

BODY = {"model": "m", "messages": [], "tools": [{}], "stream": True, "stream_options": {}}


@pytest.mark.parametrize(
    ("status", "message", "field"),
    [
        (400, "Unrecognized request argument supplied: stream_options", "stream_options"),
        (400, "Unknown parameter: 'stream_options.include_usage'.", "stream_options"),
        (422, "body.stream_options: Extra inputs are not permitted", "stream_options"),
        (400, "registry/library/gemma:latest does not support tools", "tools"),
        (404, "No endpoints found that support tool use. Try another model.", "tools"),
        (400, "`tools` is not supported with this model", "tools"),
        (500, "function calling is unsupported", "tools"),
        (400, "Your organization must be verified to stream this model.", "stream"),
        (400, "Unsupported value: 'stream' does not support true with this model.", "stream"),
        (501, "streaming is not supported", "stream"),
        (400, "Invalid schema for function 'ls': tools are objects", None),
        (400, "tools.0.function.strict: Extra inputs are not permitted", None),
        (400, "Too many tools: at most 128", None),
        (400, "Unsupported parameter: 'reasoning_effort' is not supported with this model.", None),
        (401, "streaming is not supported without a key", None),
        (429, "unsupported: stream", None),
    ],
)
def test_a_complaint_is_understood(status: int, message: str, field: str | None) -> None:
    assert rejected_field(status, Failure(message), BODY) == field


def test_a_field_that_was_not_sent_is_not_to_blame() -> None:
    assert rejected_field(400, Failure("does not support tools"), {"model": "m"}) is None


@pytest.mark.parametrize(
    "message",
    [
        "unknown variant `image_url`, expected `text`",
        "This model does not support image input",
        "not a multimodal model: images are not supported",
    ],
)
def test_a_model_that_takes_no_images_is_believed(message: str) -> None:
    assert rejected_field(400, Failure(message), BODY, images=True) == "images"
    assert rejected_field(400, Failure(message), BODY) is None
