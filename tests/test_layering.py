"""The walls: who may import whom, and what must not be loaded before it is needed."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

FLOORS: dict[str, int] = {
    # Named by the module itself or by the nearest package above it.
    "hermes_cli.main": 6,
    "hermes_cli": 5,
    "gateway": 5,
    "run_agent": 4,
    "agent.task_runner": 4,
    "agent.handoff": 4,
    "agent.models": 3,
    "agent.tools": 3,
    "agent.store": 3,
    "agent.checkpoints": 3,
    "agent.undo": 3,
    "agent.shadow": 3,
    "agent.unsaved": 3,
    "agent.loop": 2,
    "agent.toolset": 2,
    "agent.approvals": 2,
    "agent.images": 2,
    "agent.rules": 2,
    "agent.floor": 2,
    "agent.meaning": 2,
    "agent.allowance": 1,
    "agent.reading": 2,
    "agent.repositories": 1,
    "agent.sandbox": 1,
    "agent.guards": 0,
    "agent.programs": 0,
    "agent.breakout": 1,
    "agent.shell": 1,
    "agent.wrappers": 1,
    "agent.tasks": 2,
    "agent.context": 2,
    "agent.compaction": 2,
    "agent.task_rows": 2,
    "agent.task_orders": 2,
    "agent.task_runs": 2,
    "agent.steps": 2,
    "agent.leftovers": 3,
    "agent.outputs": 1,
    "agent.own_places": 1,
    "agent.lineage": 2,
    "agent.budgets": 2,
    "agent.prompt": 2,
    "agent.git": 2,
    "agent.reports": 2,
    "agent.worktree": 2,
    "agent.protocols": 1,
    "agent.readers": 1,
    "agent.records": 1,
    "agent.chats": 1,
    "agent.people": 1,
    "agent.commands": 1,
    "agent.config": 1,
    "agent.events": 0,
    "agent.messages": 0,
    "agent.money": 0,
    "agent.errors": 0,
    "agent.findings": 0,
    "agent.cancel": 0,
    "agent.redact": 0,
    "agent.secret_files": 0,
    "agent.visible": 0,
    "agent.quoting": 0,
    "agent.marks": 0,
    "agent.own_files": 0,
    "agent.differences": 0,
    "agent.trust": 1,
    "agent.memory": 1,
    "agent.landlock": 0,
    "agent": 0,
}

ROOMS = ("hermes_cli", "gateway", "run_agent", "agent.models", "agent.tools", "agent.store", "agent")
"""Who shares a room may import each other on the same floor."""

OURS = ("agent", "hermes_cli", "gateway", "run_agent")


@dataclass(frozen=True)
class Arrow:
    """An import: `importer` needs `imported`, as its line `line` says."""

    importer: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    paths = [path for room in OURS for path in ROOT.glob(f"{room}/**/*.py")]
    return {module_name(path): path for path in sorted([*paths, ROOT / "run_agent.py"])}


def nearest(names: dict[str, int] | tuple[str, ...], module: str) -> str:
    """The longest of the names that is the module or a package above it."""
    return max((name for name in names if f"{module}.".startswith(f"{name}.")), key=len)


def floor(module: str) -> int:
    return FLOORS[nearest(FLOORS, module)]


def room(module: str) -> str:
    """The runner of tasks stands beside the agent, at the same door."""
    return "run_agent" if module == "agent.task_runner" else nearest(ROOMS, module)


def imports(tree: ast.AST, importer: str, *, package: bool = False) -> Iterator[Arrow]:
    """Every import that can happen when the program runs, within functions too; not those for the type checker."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.If(test=ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"), orelse=orelse):
                for other in orelse:
                    yield from imports(ast.Module([other], []), importer, package=package)
            case ast.Import(names=names):
                yield from (Arrow(importer, alias.name, node.lineno) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = importer.split(".")[: len(importer.split(".")) - level + package] if level else []
                base = ".".join([*above, *([module] if module else [])])
                for alias in names:
                    whole = f"{base}.{alias.name}"
                    yield Arrow(importer, whole if whole in modules() else base, node.lineno)
            case _:
                yield from imports(node, importer, package=package)


@cache
def arrows() -> tuple[Arrow, ...]:
    found: list[Arrow] = []
    for name, path in modules().items():
        tree = ast.parse(path.read_text("utf-8"))
        found += imports(tree, name, package=path.name == "__init__.py")
    return tuple(found)


def inside() -> list[Arrow]:
    return [arrow for arrow in arrows() if arrow.imported.split(".")[0] in OURS]


def told(wrong: list[Arrow]) -> str:
    return "\n".join(map(str, wrong))


# -- the house -------------------------------------------------------------------------------------


def test_every_module_stands_on_a_floor() -> None:
    """A new module of `agent/` has to be placed; packages above it are placed with all they hold."""
    loose = [name for name in modules() if name.startswith("agent.") and nearest(FLOORS, name) == "agent"]
    assert not loose


def test_imports_go_downward_only() -> None:
    wrong = [arrow for arrow in inside() if floor(arrow.imported) > floor(arrow.importer)]
    assert not wrong, told(wrong)


def test_on_one_floor_only_who_shares_a_room_imports_each_other() -> None:
    wrong = [
        arrow
        for arrow in inside()
        if floor(arrow.imported) == floor(arrow.importer) and room(arrow.imported) != room(arrow.importer)
    ]
    assert not wrong, told(wrong)


def test_the_front_ends_are_blind_to_each_other() -> None:
    wrong = [
        arrow
        for arrow in inside()
        if {arrow.importer.split(".")[0], arrow.imported.split(".")[0]} == {"hermes_cli", "gateway"}
        and arrow.importer != "hermes_cli.main"
    ]
    assert not wrong, told(wrong)


def test_nobody_imports_the_place_that_chooses() -> None:
    wrong = [arrow for arrow in inside() if arrow.imported == "hermes_cli.main"]
    assert not wrong, told(wrong)


def test_the_ground_floor_needs_nothing_but_the_standard_library() -> None:
    wrong = [
        arrow
        for arrow in arrows()
        if floor(arrow.importer) == 0 and arrow.imported.split(".")[0] not in {*sys.stdlib_module_names, "agent"}
    ]
    assert not wrong, told(wrong)


def test_no_import_is_relative() -> None:
    for name, path in modules().items():
        tree = ast.parse(path.read_text("utf-8"))
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level], name


def test_the_agent_never_prints() -> None:
    """Front ends own the terminal; the agent has events and a log."""
    wrong: list[str] = []
    for name, path in modules().items():
        if not name.startswith(("agent", "run_agent")):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(func=ast.Name("print" | "input")):
                    wrong.append(f"{name}:{node.lineno} calls print or input")
                case ast.Attribute(value=ast.Name("sys"), attr="stdout" | "stderr" | "__stdout__" | "__stderr__"):
                    wrong.append(f"{name}:{node.lineno} uses sys.{node.attr}")
                case ast.ImportFrom(module="sys", names=names):
                    if {"stdout", "stderr"} & {alias.name for alias in names}:
                        wrong.append(f"{name}:{node.lineno} imports a stream")
    assert not wrong, "\n".join(wrong)


def test_the_walls_would_notice() -> None:
    """The reader of imports sees what it must see: within functions, within `else`, and packages' modules."""
    source = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import hermes_cli.repl
else:
    import gateway
def later():
    from agent import loop
    try:
        import run_agent
    except ImportError:
        pass
"""
    found = [arrow.imported for arrow in imports(ast.parse(source), "agent.events")]
    assert found == ["typing", "gateway", "agent.loop", "run_agent"]
    assert [floor(name) for name in ("agent.loop", "agent.models.openai", "hermes_cli.main", "agent")] == [2, 3, 6, 0]


# -- the import budget -----------------------------------------------------------------------------

AFTER_THE_FIRST_PROMPT = (
    "tree_sitter tree_sitter_bash "
    "openai httpx httpx2 httpcore pydantic pydantic_core msgspec rich pygments typer click sqlite3 psutil pathspec "
    "tomlkit platformdirs markdown_it anyio jinja2 requests email http.client importlib.metadata difflib "
    "agent.events agent.messages agent.records agent.protocols hermes_cli.chat hermes_cli.questions "
    "run_agent agent.loop agent.toolset agent.prompt agent.tools.terminal agent.tools.search_files "
    "agent.models.openai agent.models.offline agent.store.sqlite agent.store.kept agent.store.prompts "
    "hermes_cli.render hermes_cli.cli hermes_cli.doctor hermes_cli.print_mode hermes_cli.plain"
).split()

NOT_FOR_A_WORD = "prompt_toolkit rich openai httpx2 pydantic msgspec asyncio hermes_cli.repl hermes_cli.chat".split()


def loaded_by(code: str, home: Path) -> set[str]:
    """Modules that a fresh interpreter has loaded after `code`, however the code leaves."""
    program = f"""
import atexit, sys
atexit.register(lambda: sys.stderr.write("\\nLOADED " + " ".join(sys.modules)))
sys.argv = ["hermes"]
{code}
"""
    env = {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=home, env=env, capture_output=True, text=True, timeout=50, check=False
    )
    assert "LOADED " in done.stderr, done.stderr
    return set(done.stderr.rpartition("LOADED ")[2].split())


def test_the_first_prompt_waits_for_nothing_it_does_not_need(home: Path) -> None:
    loaded = loaded_by("import hermes_cli.repl", home)
    assert "prompt_toolkit" in loaded
    assert not loaded.intersection(AFTER_THE_FIRST_PROMPT)


@pytest.mark.parametrize("argument", ["--version", "-V", "--help"])
def test_a_word_about_itself_loads_no_front_end(argument: str, home: Path) -> None:
    loaded = loaded_by(f"sys.argv.append({argument!r})\nimport hermes_cli.main\nhermes_cli.main.main()", home)
    assert "hermes_cli.main" in loaded
    assert not loaded.intersection(NOT_FOR_A_WORD)


def test_a_headless_answer_loads_no_terminal(home: Path) -> None:
    loaded = loaded_by("import hermes_cli.print_mode, run_agent", home)
    assert not loaded.intersection({"prompt_toolkit", "rich", "openai", "sqlite3", "typer"})


@pytest.mark.parametrize(
    "module", sorted({"agent.events", "agent.commands", "agent.protocols", "agent.models.catalog"})
)
def test_tables_and_shapes_cost_next_to_nothing(module: str, home: Path) -> None:
    loaded = loaded_by(f"import {module}", home)
    ours = {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert {name for name in ours if not name.startswith("_")} <= {"agent", "sitecustomize", "usercustomize"}
