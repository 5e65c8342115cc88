"""Hooks: other people's code, that breaks nothing."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import Config
from gateway import hooks as module
from gateway.hooks import HookRegistry
from tests.gateway.test_serve import ADA, configured, serving  # noqa: F401  (a fixture)

WRITES = """
from pathlib import Path
async def handle(event, facts):
    with open(Path(__file__).parent / "heard", "a") as heard:
        heard.write(f"{event} {facts['n']}\\n")
"""


@pytest.fixture
def hook(tmp_path: Path) -> Callable[[str, str, str], Path]:
    def made(name: str, events: str, handler: str) -> Path:
        folder = tmp_path / "hooks" / name
        folder.mkdir(parents=True, mode=0o755)
        (folder / "HOOK.toml").write_text(f"events = {events}\n")
        (folder / "handler.py").write_text(handler)
        for path in (tmp_path / "hooks", folder, folder / "HOOK.toml", folder / "handler.py"):
            path.chmod(0o755)
        return folder

    return made


async def test_a_folder_is_a_hook_for_the_events_it_names(
    hook: Callable[[str, str, str], Path], tmp_path: Path
) -> None:
    folder = hook("log", '["command:*", "agent:end"]', WRITES)
    registry = HookRegistry()
    assert registry.load(tmp_path / "hooks") == ["log"]
    for number, event in enumerate(("command:help", "agent:start", "agent:end", "commander")):
        await registry.emit(event, {"n": number})
    registry.close()
    assert (folder / "heard").read_text() == "command:help 0\nagent:end 2\n"
    assert registry.hears("command:new")
    assert not registry.hears("agent:step")


async def test_a_hook_that_raises_hangs_or_blocks_stops_nothing(
    hook: Callable[[str, str, str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    hook("a-raises", '["x"]', "async def handle(event, facts):\n    raise OSError('no disk')")
    hook("b-hangs", '["x"]', "import asyncio\nasync def handle(event, facts):\n    await asyncio.sleep(60)")
    hook("c-blocks", '["x"]', "import time\nasync def handle(event, facts):\n    time.sleep(1)")
    registry = HookRegistry()
    assert len(registry.load(tmp_path / "hooks")) == 3
    beats, began = 0, time.monotonic()
    running = asyncio.create_task(registry.emit("x", {}))
    while not running.done():
        await asyncio.sleep(0.01)
        beats += 1
    registry.close()
    assert time.monotonic() - began < 0.9
    assert beats > 5, "the loop went on"
    assert "no disk" in caplog.text
    assert caplog.text.count("took longer") == 2


async def test_a_hook_that_blocks_loses_only_itself(
    hook: Callable[[str, str, str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    hook("blocks", '["x"]', "import time\nasync def handle(event, facts):\n    time.sleep(2)")
    heard = hook("works", '["x"]', WRITES) / "heard"
    registry = HookRegistry()
    registry.load(tmp_path / "hooks")
    for number in range(2):
        await registry.emit("x", {"n": number})
    registry.close()
    assert heard.read_text() == "x 0\nx 1\n"
    assert "hook blocks took longer than 0.2 s for x" in caplog.text
    assert "hook blocks hangs still" in caplog.text


@pytest.mark.parametrize("which", ["", "HOOK.toml", "handler.py"])
def test_what_others_can_write_is_not_run(
    hook: Callable[[str, str, str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, which: str
) -> None:
    folder = hook("log", '["x"]', "raise SystemExit('it was run')")
    (folder / which).chmod(0o777)
    assert HookRegistry().load(tmp_path / "hooks") == []
    assert "chmod go-w" in caplog.text


@pytest.mark.parametrize(
    ("events", "handler", "said"),
    [
        ("[]", "async def handle(event, facts): ...", "list of events"),
        ("7", "async def handle(event, facts): ...", "list of events"),
        ('["x"]', "def handle(event, facts): ...", "async def handle"),
        ('["x"]', "def (", "invalid syntax"),
        ('["x"]', "import sys; sys.exit(3)", "SystemExit(3)"),
        ('["x"]', "raise TimeoutError('no answer')", "not loaded: no answer"),
        ('["x"]', "import threading; threading.Event().wait()", "took longer than 1.0 s"),
    ],
)
def test_what_is_wrong_with_a_hook_is_said_and_the_others_are_loaded(
    hook: Callable[[str, str, str], Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    events: str,
    handler: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if said.startswith("took longer"):
        monkeypatch.setattr("gateway.hooks.TIMEOUT", 1.0)
    hook("a-wrong", events, handler)
    hook("b-right", '["x"]', WRITES)
    assert HookRegistry().load(tmp_path / "hooks") == ["b-right"]
    assert said in caplog.text


async def test_a_hook_that_exits_ends_nothing_but_its_own_run(
    hook: Callable[[str, str, str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hook("exits", '["x"]', "import sys\nasync def handle(event, facts): sys.exit(3)")
    registry = HookRegistry()
    registry.load(tmp_path / "hooks")
    async with asyncio.timeout(5):  # less than a hook's own time
        await registry.emit("x", {})
        await registry.emit("x", {})
    registry.close()
    assert caplog.text.count("hook exits failed for x") == 2
    assert "SystemExit(3)" in caplog.text


def test_an_event_that_there_is_not_is_said(
    hook: Callable[[str, str, str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hook("log", '["agent:ends", "agent:*", "command:help", "*"]', WRITES)
    assert HookRegistry().load(tmp_path / "hooks") == ["log"]
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"hook log: no event is called {event!r}" for event in ("agent:ends", "*")]


async def test_what_happens_while_hooks_are_loaded_is_told_when_they_are(
    hook: Callable[[str, str, str], Path], tmp_path: Path
) -> None:
    """A handler that takes its time holds up neither the loop nor what it wants to hear."""
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.01)\n"
    folder = hook("log", '["agent:end"]', wait + WRITES)
    registry = HookRegistry()
    registry.load_soon(tmp_path / "hooks")
    assert registry.hears("agent:end")
    told = asyncio.create_task(registry.emit("agent:end", {"n": 1}))
    await asyncio.sleep(0.05)
    assert not told.done()
    (tmp_path / "go").touch()
    await told
    registry.close()
    assert (folder / "heard").read_text() == "agent:end 1\n"
    assert not registry.hears("agent:step")


def test_a_gateway_that_stops_does_not_wait_for_hooks_that_are_loaded(
    hook: Callable[[str, str, str], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.01)\n"
    hook("log", '["agent:end"]', wait + WRITES)

    async def serve() -> None:
        registry = HookRegistry()
        registry.load_soon(tmp_path / "hooks")
        registry.close()

    asyncio.run(serve())
    (tmp_path / "go").touch()
    for thread in [one for one in threading.enumerate() if one.name == "hook"]:
        thread.join(10)
    assert capfd.readouterr().err == ""


async def test_a_hook_that_hangs_while_it_is_loaded_does_not_keep_the_gateway_from_serving(
    configured: Callable[[str], Config],  # noqa: F811
    hook: Callable[[str, str, str], Path],
    tmp_path: Path,
) -> None:
    config = configured(ADA)
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.01)\n"
    folder = hook("log", '["gateway:startup", "agent:end"]', wait + WRITES.replace("facts['n']", "len(facts)"))
    (tmp_path / "hooks").rename(config.dirs.config / "hooks")
    heard = config.dirs.config / "hooks" / folder.name / "heard"
    async with serving(config) as serve:
        await serve.platform.say("list files")
        await serve.shows("no files")
        (tmp_path / "go").touch()
        async with asyncio.timeout(15):
            while not (heard.exists() and "agent:end" in heard.read_text()):
                await asyncio.sleep(0.01)
    assert heard.read_text().startswith("gateway:startup ")
