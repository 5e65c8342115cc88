import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from agent.approvals import Gatekeeper, Policy, nobody
from agent.models.scripted import ScriptedModel
from agent.protocols import ToolContext
from agent.tools import default_tools
from agent.tools.delegate import Delegate
from agent.toolset import Toolset
from run_agent import AIAgent

NOBODY = Gatekeeper(Policy("ask"), nobody, session_id="s")


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


def test_the_model_is_not_told_of_lengths_and_empty_defaults() -> None:
    toolset = Toolset([Delegate(AIAgent(model=ScriptedModel([])))], context=ToolContext(Path("/")), gate=NOBODY)
    (spec,) = toolset.specs
    told = json.dumps(spec.parameters)
    assert not any(word in told for word in ("maxLength", "minItems", '"default": []', '"default": ""'))
    assert set(spec.parameters["$defs"]["DelegateTask"]["properties"]) == {"prompt", "title"}
    assert spec.parameters["properties"]["max_steps"]["default"] == 30
