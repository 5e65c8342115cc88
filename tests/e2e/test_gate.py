"""One gate: the same calls, under the same rules, get the same verdict whichever front end runs the agent."""

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.config import directories, load_config
from agent.records import TaskOptions
from agent.store.sqlite import SqliteStore
from agent.task_rows import options_text
from gateway.config import Platform
from gateway.platforms.memory import MemoryPlatform
from gateway.serve import open_gateway
from tests.support.openai_server import OpenAIServer, Recorded, Step, Stream, Tool, say

from .conftest import HERMES, Start, end_workers

RULES = """
[[rule]]
tool = "terminal"
pattern = "touch allowed"
verdict = "allow"

[[rule]]
tool = "terminal"
pattern = "cat a.txt"
verdict = "ask"

[[rule]]
tool = "terminal"
pattern = "touch denied"
verdict = "deny"
"""
MODES = ("ask", "edits", "plan", "yolo")
CALLS: dict[str, tuple[str, dict[str, str], tuple[str, str, str, str]]] = {
    # What is called, and what becomes of it in each of the modes.
    "read_inside": ("read_file", {"path": "a.txt"}, ("allow", "allow", "allow", "allow")),
    "read_outside": ("read_file", {"path": "/etc/hosts"}, ("ask", "ask", "ask", "allow")),
    "look": ("terminal", {"command": "ls"}, ("allow", "allow", "allow", "allow")),
    "write_inside": ("write_file", {"path": "b.txt", "content": "x"}, ("ask", "allow", "deny", "allow")),
    "run": ("terminal", {"command": "touch made"}, ("ask", "ask", "deny", "allow")),
    "rule_allows": ("terminal", {"command": "touch allowed"}, ("allow", "allow", "deny", "allow")),
    "rule_asks": ("terminal", {"command": "cat a.txt"}, ("ask", "ask", "ask", "allow")),
    "rule_denies": ("terminal", {"command": "touch denied"}, ("deny", "deny", "deny", "deny")),
    "floor": ("write_file", {"path": "{home}/floor.toml", "content": "x"}, ("deny", "deny", "deny", "allow")),
}
NO = "because I say so"


class Gate:
    """A model that makes all the calls, and what it is told of each."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.home, self.folder = home, folder
        calls = tuple(
            Tool(name, json.dumps(arguments).replace("{home}", str(home)), id=key)
            for key, (name, arguments, _) in CALLS.items()
        )
        self.calls = Stream(tools=calls)
        self.told: dict[str, str] = {}
        self.server = OpenAIServer(default=self._answer)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home.parent),
            "HERMES_HOME": str(home),
            "HERMES_PROVIDER": "custom",
            "HERMES_BASE_URL": self.server.base_url,
            "HERMES_MODEL": "test-model",
            "OPENAI_API_KEY": "x",
            "LANG": "C.UTF-8",
        }

    def _answer(self, request: Recorded) -> Step:
        messages = request.body["messages"]
        asked = next(message["content"] for message in messages if message["role"] == "user")
        found = {one["tool_call_id"]: one["content"] for one in messages if one["role"] == "tool"}
        if "delegate" in asked and not found:
            return Stream(tools=(Tool("delegate", json.dumps({"tasks": [{"prompt": "make the calls"}]})),))
        if not found:
            return self.calls
        if CALLS.keys() <= found.keys():
            self.told = found
        return say("All done.")

    @property
    def verdicts(self) -> dict[str, str]:
        def verdict(told: str) -> str:
            if not told.startswith("Not run."):
                return "allow"
            return "ask" if NO in told or "nobody is there" in told else "deny"

        return {key: verdict(told) for key, told in self.told.items()}

    def run(self, *arguments: str, **env: str) -> None:
        done = subprocess.run(
            [HERMES, *arguments], cwd=self.folder, env=self.env | env, capture_output=True, text=True, timeout=60,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr

    def until_told(self, step: Callable[[], object]) -> None:
        """Do a step again and again until the model was told everything."""
        end = time.monotonic() + 60
        while not self.told:
            assert time.monotonic() < end, "the calls did not come to their end"
            step()
            time.sleep(0.05)


@pytest.fixture
def gate(tmp_path: Path, folder: Path) -> Iterator[Gate]:
    home = tmp_path / "hermes"
    home.mkdir()
    (home / "policy.toml").write_text(RULES)
    (folder / "a.txt").write_text("a\n")
    one = Gate(home, folder)
    with one.server:
        yield one
    end_workers(home)


def headless(gate: Gate, mode: str, start: Start) -> None:
    gate.run("-p", "make the calls", HERMES_APPROVALS=mode)


def delegated(gate: Gate, mode: str, start: Start) -> None:
    gate.run("-p", "delegate them", HERMES_APPROVALS=mode)


def foreground(gate: Gate, mode: str, start: Start) -> None:
    hermes = start(gate.server, env={"HERMES_APPROVALS": mode}, rows=40)
    hermes.send("make the calls")
    answered: set[str] = set()

    def answer() -> None:
        shown = hermes.text
        if "n no" in shown.lower() and shown not in answered:
            answered.add(shown)
            hermes.send(f"n {NO}")

    gate.until_told(answer)


def background(gate: Gate, mode: str, start: Start) -> None:
    hermes = start(gate.server, env={"HERMES_APPROVALS": mode}, rows=40)
    hermes.send("/bg make the calls").wait_for("▶ #1 bg_")
    _deny_from_the_shell(gate)


def worker(gate: Gate, mode: str, start: Start) -> None:
    store = SqliteStore(directories(gate.env).database)
    options = options_text(TaskOptions(approvals=mode, sender="terminal:gone"))
    store.create_task(
        prompt="make the calls", owner="terminal:gone", settings="{}", options=options, cwd=str(gate.folder)
    )
    process = subprocess.Popen(
        [HERMES, "worker"], env=gate.env, cwd=gate.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _deny_from_the_shell(gate)
    finally:
        process.kill()
        process.wait()
        store.close()


def _deny_from_the_shell(gate: Gate) -> None:
    """Whatever a task asks gets a no, from a process of its own."""
    store = SqliteStore(directories(gate.env).database)

    def deny() -> None:
        if any(task.state == "waiting" for task in store.tasks()):
            gate.run("tasks", "deny", "1", NO)

    try:
        gate.until_told(deny)
    finally:
        store.close()


def chat(gate: Gate, mode: str, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in gate.env.items():
        monkeypatch.setenv(name, value)
    (gate.home / "config.toml").write_text(
        f'approvals = "{mode}"\n[gateway]\nworkspace = "{gate.folder}"\nfolders = "shared"\n'
        '[gateway.memory]\nallow = ["7"]\nadmins = ["7"]\n'
    )
    asyncio.run(_serve(gate))


async def _serve(gate: Gate) -> None:
    config = load_config(cwd=gate.folder)
    store, platform, stop = SqliteStore(config.dirs.database), MemoryPlatform(), asyncio.Event()
    gateway = await open_gateway(config, store, {Platform.MEMORY: platform})
    running = asyncio.create_task(gateway.run(stop))
    try:
        async with asyncio.timeout(60):
            while gateway.supervisor.links[0].state != "connected":
                await asyncio.sleep(0.01)
            await platform.say("make the calls")
            while not gate.told:
                if any(task.state == "waiting" for task in store.tasks()):
                    await platform.say(f"/deny {NO}")
                await asyncio.sleep(0.1)
    finally:
        stop.set()
        await running
        store.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("front_end", [headless, delegated, foreground, background, worker, chat])
def test_the_same_calls_get_the_same_verdict(
    front_end: Callable[..., None], mode: str, gate: Gate, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    if front_end is chat:
        front_end(gate, mode, start, monkeypatch)
    else:
        front_end(gate, mode, start)
    # In chats nobody works without being asked: the mode that asks for nothing counts as the one that asks.
    column = MODES.index("ask" if front_end is chat and mode == "yolo" else mode)
    assert gate.verdicts == {key: verdicts[column] for key, (_, _, verdicts) in CALLS.items()}
    ran = {name for name in ("made", "allowed", "denied", "b.txt") if (gate.folder / name).exists()}
    by_file = {"run": "made", "rule_allows": "allowed", "rule_denies": "denied", "write_inside": "b.txt"}
    assert ran == {by_file[key] for key, verdict in gate.verdicts.items() if verdict == "allow" and key in by_file}


def test_a_project_that_names_an_address_gets_neither_words_nor_keys(gate: Gate) -> None:
    """Untrusted it is not read, trusted it is refused; and never is that address asked for anything."""
    project = gate.folder / ".hermes" / "config.toml"
    project.parent.mkdir()
    with OpenAIServer(default=say("I am evil.")) as evil:
        project.write_text(f'base_url = "{evil.base_url}"\nprovider = "custom"\n')
        env = {name: value for name, value in gate.env.items() if name != "HERMES_BASE_URL"}
        (gate.home / "config.toml").write_text(f'base_url = "{gate.server.base_url}"\n')
        for trusted, code in (("", 0), (f'trusted_folders = ["{gate.folder}"]\n', 2)):
            (gate.home / "config.toml").write_text(f'base_url = "{gate.server.base_url}"\n{trusted}')
            done = subprocess.run(
                [HERMES, "-p", "hello"], cwd=gate.folder, env=env, capture_output=True, text=True, timeout=60,
                check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            assert done.returncode == code, done.stderr
            assert ("may not set 'base_url'" in done.stderr) is bool(trusted)
        assert evil.requests == []
        assert gate.server.requests
