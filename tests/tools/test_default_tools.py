import json
import subprocess
import sys

import msgspec
import pytest

from agent.tools import default_tools


def test_the_tools_in_a_fixed_order() -> None:
    assert [tool.name for tool in default_tools()] == [
        "terminal", "process", "read_file", "write_file", "edit_file", "apply_patch", "search_files",
        "web_fetch", "todo", "ask_user",
    ]  # fmt: skip


@pytest.mark.parametrize("tool", default_tools(), ids=lambda tool: tool.name)
def test_the_model_is_told_in_few_words_and_each_argument_is_described(tool) -> None:
    assert 10 < len(tool.description.split()) <= 150
    schema = msgspec.json.schema(tool.arguments)
    definition = schema["$defs"][tool.arguments.__name__]
    assert definition["additionalProperties"] is False
    for name, field in definition["properties"].items():
        assert "description" in json.dumps(field), name


@pytest.mark.parametrize("tool", default_tools(), ids=lambda tool: tool.name)
def test_an_unknown_argument_is_refused_by_name(tool) -> None:
    with pytest.raises(msgspec.ValidationError, match="surprise"):
        msgspec.json.decode(b'{"surprise": 1}', type=tool.arguments)


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import agent.tools", {"msgspec", "psutil", "pathspec", "difflib", "subprocess"}),
        ("import agent.tools; agent.tools.default_tools()", {"psutil", "pathspec", "difflib"}),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_used(code: str, heavy: set[str]) -> None:
    code = f"import sys; {code}; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
