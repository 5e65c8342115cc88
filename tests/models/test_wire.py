"""Requests are the same bytes for the same messages; replies are put together from whatever servers send."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.messages import ImagePart, Message, ToolCall, Usage
from agent.models._wire import (
    Assembly,
    decode_chunk,
    decode_failure,
    decode_models,
    event_data,
    message_to_wire,
    messages_to_wire,
)
from agent.protocols import ModelOutput, ReasoningChunk, Reply, TextChunk


def assemble(*deltas: dict[str, Any], finish: str = "stop", taken: set[str] | None = None) -> Reply:
    assembly = Assembly(taken or set())
    for delta in deltas:
        feed(assembly, {"choices": [{"delta": delta}]})
    feed(assembly, {"choices": [{"delta": {}, "finish_reason": finish}]})
    return assembly.reply()


def feed(assembly: Assembly, event: dict[str, Any]) -> list[ModelOutput]:
    return list(assembly.add(decode_chunk(msgspec.json.encode(event))))


def fragment(arguments: str | None = None, **fields: Any) -> dict[str, Any]:
    function = {
        key: value for key, value in {"name": fields.pop("name", None), "arguments": arguments}.items() if value
    }
    return {"tool_calls": [{"function": function, **fields}]}


def calls_of(reply: Reply) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in reply.message.tool_calls]


# -- tool calls ------------------------------------------------------------------------------------


def test_parallel_calls_are_told_apart_by_index() -> None:
    reply = assemble(
        fragment(index=0, id="a", name="ls"),
        fragment(index=1, id="b", name="cat"),
        fragment('{"x"', index=0),
        fragment('{"y"', index=1),
        fragment(":1}", index=0),
        fragment(":2}", index=1),
    )
    assert reply.message.tool_calls == (ToolCall("a", "ls", '{"x":1}'), ToolCall("b", "cat", '{"y":2}'))
    assert reply.finish_reason == "tool_calls"


def test_without_index_the_id_tells() -> None:
    reply = assemble(
        fragment("{", id="a", name="ls"), fragment("}", id="a"), fragment("{", id="b", name="ls"), fragment("}")
    )
    assert reply.message.tool_calls == (ToolCall("a", "ls", "{}"), ToolCall("b", "ls", "{}"))


def test_without_index_and_id_a_name_after_whole_arguments_begins_a_call() -> None:
    reply = assemble(fragment('{"p":1}', name="ls"), fragment('{"p":2}', name="ls"))
    assert calls_of(reply) == [("ls", '{"p":1}'), ("ls", '{"p":2}')]
    first, second = (call.id for call in reply.message.tool_calls)
    assert first.startswith("call_")
    assert first != second


def test_calls_that_all_bear_the_index_zero_are_told_apart_by_id_and_name() -> None:
    reply = assemble(fragment("{}", index=0, id="a", name="ls"), fragment("{}", index=0, id="b", name="ls"))
    assert [call.id for call in reply.message.tool_calls] == ["a", "b"]


def test_a_new_id_with_every_fragment_is_still_one_call() -> None:
    reply = assemble(fragment("{", index=0, id="a", name="ls"), fragment("}", index=0, id="b"))
    assert reply.message.tool_calls == (ToolCall("a", "ls", "{}"),)


@pytest.mark.parametrize("names", [("read_file", "read_file"), ("read_", "file")], ids=["repeated", "in pieces"])
def test_a_name_may_be_repeated_or_come_in_pieces(names: tuple[str, str]) -> None:
    reply = assemble(*(fragment(index=0, id="a", name=name) for name in names), fragment("{}", index=0))
    assert calls_of(reply) == [("read_file", "{}")]


def test_a_name_repeated_with_every_piece_of_the_arguments_is_one_call() -> None:
    reply = assemble(fragment("{", index=0, id="a", name="ls"), fragment("}", index=0, id="a", name="ls"))
    assert calls_of(reply) == [("ls", "{}")]


def test_an_id_used_before_in_the_conversation_is_replaced() -> None:
    reply = assemble(fragment("{}", index=0, id="call_1", name="ls"), taken={"call_1"})
    assert reply.message.tool_calls[0].id != "call_1"


def test_arguments_that_are_an_object_become_text() -> None:
    event = {"choices": [{"delta": {"tool_calls": [{"function": {"name": "ls", "arguments": {"p": 1}}}]}}]}
    assembly = Assembly()
    feed(assembly, event)
    assert calls_of(assembly.reply()) == [("ls", '{"p":1}')]


def test_malformed_arguments_are_passed_on_untouched() -> None:
    assert calls_of(assemble(fragment('{"p": ', index=0, name="ls"))) == [("ls", '{"p": ')]


# -- text, reasoning, usage ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_is_kept_apart_from_text(name: str) -> None:
    assembly = Assembly()
    outputs = feed(assembly, {"choices": [{"delta": {name: "hm"}}]}) + feed(
        assembly, {"choices": [{"delta": {"content": "yes"}}]}
    )
    assert outputs == [ReasoningChunk("hm"), TextChunk("yes")]
    assert assembly.reply().message == Message("assistant", "yes", reasoning="hm")


def test_content_may_be_a_list_of_parts() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "yes"}]
    assert assemble({"content": parts}).message == Message("assistant", "yes", reasoning="hm")


def test_a_refusal_is_the_answer() -> None:
    assert assemble({"content": None, "refusal": "I will not."}).message.content == "I will not."


def test_nulls_and_missing_fields_are_no_trouble() -> None:
    assembly = Assembly()
    for event in ({}, {"choices": None}, {"choices": [{}]}, {"choices": [{"delta": None, "finish_reason": None}]}):
        feed(assembly, event)
    feed(assembly, {"choices": [{"delta": {"role": "assistant", "content": None, "tool_calls": None}}], "usage": None})
    assert assembly.empty


def test_usage_is_read_in_full() -> None:
    assembly = Assembly()
    feed(
        assembly,
        {
            "choices": [],
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 20,
                "prompt_tokens_details": {"cached_tokens": 64},
                "completion_tokens_details": {"reasoning_tokens": 5},
                "cost": 0.01,
            },
        },
    )
    assert assembly.reply().usage == Usage(100, 20, 64, 5, 0.01)


def test_usage_may_hold_nulls_or_another_name_for_cached_tokens() -> None:
    assembly = Assembly()
    usage = {"prompt_tokens": 9, "completion_tokens": None, "prompt_tokens_details": None, "prompt_cache_hit_tokens": 4}
    feed(assembly, {"usage": usage})
    assert assembly.reply().usage == Usage(9, 0, 4)


# -- to the server ---------------------------------------------------------------------------------


def test_messages_on_the_wire() -> None:
    call = ToolCall("c1", "ls", '{"p": 1}')
    assert [
        message_to_wire(message)
        for message in (
            Message("system", "be good"),
            Message("assistant", "", (call,), reasoning="not sent back"),
            Message("tool", "a b", tool_call_id="c1"),
        )
    ] == [
        {"role": "system", "content": "be good"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "ls", "arguments": '{"p": 1}'}}],
        },
        {"role": "tool", "content": "a b", "tool_call_id": "c1"},
    ]


def test_the_same_message_gives_the_same_bytes() -> None:
    def encoded() -> bytes:
        return msgspec.json.encode(message_to_wire(Message("assistant", "x", (ToolCall("1", "ls", '{"b":1,"a":2}'),))))

    assert encoded() == encoded()
    assert b'{\\"b\\":1,\\"a\\":2}' in encoded()


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [("", "{}"), ('{"p": ', '{"malformed_arguments":"{\\"p\\": "}'), ("[1]", '{"malformed_arguments":"[1]"}')],
)
def test_arguments_that_are_no_object_are_sent_back_as_one(arguments: str, sent: str) -> None:
    wire: Any = message_to_wire(Message("assistant", "", (ToolCall("1", "ls", arguments),)))
    assert wire["tool_calls"][0]["function"]["arguments"] == sent


# -- events and errors -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_events_may_be_cut_anywhere(size: int) -> None:
    stream = b': ping\n\ndata: {"a": 1}\r\n\r\nevent: x\ndata:two\ndata: lines\n\ndata: last'
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert list(event_data(pieces)) == [b'{"a": 1}', b"two\nlines", b"last"]


@pytest.mark.parametrize(
    "body",
    [
        '{"error": {"message": "no", "code": "c"}}',
        '{"error": "no", "code": "c"}',
        '{"object": "error", "message": "no", "code": "c"}',
        '{"detail": "no", "code": "c"}',
    ],
)
def test_errors_come_in_many_shapes(body: str) -> None:
    failure = decode_failure(body)
    assert (failure.message, failure.code) == ("no", "c")


def test_an_error_in_no_shape_is_quoted() -> None:
    assert decode_failure("<h1>Bad gateway</h1>").message == "<h1>Bad gateway</h1>"


def test_lists_of_models_come_in_two_shapes() -> None:
    assert decode_models(b'{"object": "list", "data": [{"id": "a"}, {"id": "b"}]}') == {"a": 0, "b": 0}
    assert decode_models(b'[{"id": "a", "type": "chat"}]') == {"a": 0}
    assert decode_models(b'{"data": null}') == {}


@pytest.mark.parametrize(
    ("fields", "window"),
    [
        ('"context_length": 163840', 163840),
        ('"max_model_len": 8192, "context_length": 131072', 8192),
        ('"loaded_context_length": 4096, "max_context_length": 32768', 4096),
        ('"context_window": 131072', 131072),
        ('"context_length": "plenty"', 0),
        ('"context_length": null, "max_context_length": 32768', 32768),
        ('"context_length": -1', 0),
    ],
)
def test_lists_of_models_tell_windows_in_several_words(fields: str, window: int) -> None:
    assert decode_models(f'{{"data": [{{"id": "a", {fields}}}]}}'.encode()) == {"a": window}


def test_images_are_parts_of_what_the_user_says(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"abc")
    shot, gone = ImagePart(str(tmp_path / "a.png"), "image/png", "a.png"), ImagePart("/gone", "image/png", "b.png")
    history = [
        Message("user", "look", images=(shot, gone)),
        Message("assistant", "", (ToolCall("1", "read_file", "{}"), ToolCall("2", "read_file", "{}"))),
        Message("tool", "one", tool_call_id="1", images=(shot,)),
        Message("tool", "two", tool_call_id="2"),
        Message("assistant", "seen"),
    ]
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,YWJj"}}
    note = "[the image b.png is not shown: it is gone]"
    asked, _calls, one, two, returned, said = messages_to_wire(history)
    assert asked["content"] == [{"type": "text", "text": "look"}, part, {"type": "text", "text": note}]
    assert (one["content"], two["content"], said["content"]) == ("one", "two", "seen")
    text = "The images that the tools returned:"
    assert returned == {"role": "user", "content": [{"type": "text", "text": text}, part]}
    blind = messages_to_wire(history[:1], images=False)
    assert "look\n[the image a.png is not shown: this model takes no images]" in str(blind[0]["content"])
