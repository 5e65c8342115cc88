"""What an agent may do for whom, in a chat: admins everything, others within a wall and without what costs most."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.config import load_config
from agent.messages import Message
from agent.models.scripted import Answer, Call, Say, ScriptedModel
from agent.redact import Redactor
from agent.sandbox import backend
from agent.store.sqlite import SqliteStore
from agent.task_runner import TaskRunner
from gateway.authorization import Verdict, policy_of_chats
from gateway.config import Platform, PlatformConfig
from gateway.platforms.memory import MemoryPlatform
from gateway.reach import COMMANDS, Reach
from gateway.serve import Gateway, _prepare
from gateway.session import SessionSource

M = Platform.MEMORY
DIRECT = SessionSource(platform=M, chat_id="1", user_id="7")
GROUP = SessionSource(platform=M, chat_id="-1", user_id="7", is_group=True)
USER, ADMIN = Verdict(allowed=True), Verdict(allowed=True, admin=True)


def test_admins_have_everything_where_nobody_else_writes() -> None:
    own, shared = PlatformConfig(platform=M), PlatformConfig(platform=M, sessions="chat")
    assert Reach(walled=True).limits(DIRECT, ADMIN, own) is None
    assert Reach(walled=True).limits(GROUP, ADMIN, own) is None
    assert Reach(walled=True).limits(GROUP, ADMIN, shared) is not None


def test_others_have_commands_behind_a_wall_and_none_where_there_is_no_wall() -> None:
    config = PlatformConfig(platform=M, tools_off=frozenset({"web_fetch"}))
    walled, open_ = Reach(walled=True).limits(DIRECT, USER, config), Reach().limits(DIRECT, USER, config)
    assert walled is not None
    assert open_ is not None
    assert (walled.without, walled.network) == (("delegate", "web_fetch"), False)
    assert set(COMMANDS) < set(open_.without)


def test_a_platform_may_give_everybody_everything_or_the_network() -> None:
    assert Reach().limits(DIRECT, USER, PlatformConfig(platform=M, tools="full")) is None
    limits = Reach(walled=True).limits(DIRECT, USER, PlatformConfig(platform=M, network=True))
    assert limits is not None
    assert limits.network


HOUSE = '[gateway.memory]\npairing = true\nallow = ["7"]\n'
"""Ann (7) is no admin, and there is none: she answers what is asked."""


@asynccontextmanager
async def chatting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Call, table: str
) -> AsyncIterator[tuple[MemoryPlatform, ScriptedModel]]:
    """A gateway whose model makes one call, and tells what came of it. The chats' folders are in `chats`."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HERMES_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HERMES_PROVIDER", "offline")
    (tmp_path / "home" / "config.toml").write_text(
        f"[gateway]\n{table}" if "workspace" in table else f'[gateway]\nworkspace = "{tmp_path / "chats"}"\n{table}'
    )

    def said(messages: Sequence[Message]) -> Answer:
        return [Say(f"It said: {messages[-1].content}")] if messages[-1].role == "tool" else [answer]

    config, platform = load_config(cwd=tmp_path), MemoryPlatform()
    store, model = SqliteStore(config.dirs.database), ScriptedModel(said)
    parts = await asyncio.to_thread(_prepare, config, store, {M: platform})
    runner = TaskRunner(config, store, policy=policy_of_chats(config), model=model, redact=Redactor())
    gateway, stop = Gateway(config, store, dataclasses.replace(parts, run=runner)), asyncio.Event()
    serving = asyncio.create_task(gateway.run(stop))
    try:
        async with asyncio.timeout(30):
            while gateway.supervisor.links[0].state != "connected":
                await asyncio.sleep(0.01)
            await platform.say("go", user_id="7")
            yield platform, model
    finally:
        stop.set()
        await serving
        store.close()


async def shows(platform: MemoryPlatform, what: str) -> str:
    while not (found := [text for text in platform.texts("1") if what in text]):
        await asyncio.sleep(0.01)
    return found[-1]


@pytest.mark.skipif(backend() is None, reason="no sandbox works here")
async def test_a_chat_s_commands_stay_in_its_folder_and_see_no_other_chat_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = tmp_path / "chats"
    (chats / "memory-2").mkdir(parents=True)
    (chats / "memory-2" / "diary.txt").write_text("a secret of somebody else")
    line = Call("terminal", command=f"echo here > here.txt; cat {chats}/memory-2/diary.txt; ls")
    table = '[gateway.memory]\nallow = ["7"]\nadmins = ["9"]\n'
    async with chatting(tmp_path, monkeypatch, line, table) as (platform, model):
        said = await shows(platform, "It said")
    assert (chats / "memory-1" / "here.txt").read_text() == "here\n"
    assert "here.txt" in said
    assert "somebody else" not in said
    told = {spec.name for spec in model.requests[0].tools}
    assert "delegate" not in told


@pytest.mark.parametrize(
    "call",
    [
        Call("read_file", path="../memory-2/diary.txt"),
        Call("read_file", path="link/diary.txt"),
        Call("search_files", pattern="secret", path=".."),
        Call("search_files", pattern="secret", path="../.."),
        Call("read_file", path="../../home/config.toml"),
        Call("read_file", path="/proc/self/environ"),
        Call("write_file", path="../memory-2/diary.txt", content="x"),
        Call("write_file", path="../../elsewhere.txt", content="x"),
        Call("edit_file", path="link/diary.txt", old="secret", new="x"),
    ],
    ids=lambda call: f"{call.name} {call.arguments}"[:40],
)
async def test_nobody_who_is_no_admin_opens_more_to_the_file_tools_than_to_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    """Where a platform has no admins whoever was let in answers: what would be asked here would be theirs to allow."""
    diary = tmp_path / "chats" / "memory-2" / "diary.txt"
    for folder in ("memory-1", "memory-2"):
        (tmp_path / "chats" / folder).mkdir(parents=True)
    diary.write_text("a secret of somebody else")
    (tmp_path / "chats" / "memory-1" / "link").symlink_to(diary.parent)
    async with chatting(tmp_path, monkeypatch, call, HOUSE) as (platform, _model):
        said = await shows(platform, "It said")
    assert "nobody can allow that here" in said
    assert not [one for one in platform.shown if one.buttons]
    assert diary.read_text() == "a secret of somebody else"
    assert not (tmp_path / "elsewhere.txt").exists()


async def test_what_lies_elsewhere_and_is_no_secret_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "handbook.txt").write_text("how to")
    call = Call("read_file", path=str(tmp_path / "handbook.txt"))
    async with chatting(tmp_path, monkeypatch, call, HOUSE) as (platform, _model):
        await shows(platform, "May I? read_file")
        await platform.say("yes", user_id="7")
        assert "how to" in await shows(platform, "It said")


@pytest.mark.parametrize(
    "call",
    [
        Call("read_file", path=".ssh/id_rsa"),
        Call("search_files", pattern="secret"),
        Call("search_files", path="sub/.."),
        Call("write_file", path=".ssh/authorized_keys", content="x"),
        Call("write_file", path=".git/hooks/pre-commit", content="x"),
        Call("write_file", path=".HERMES/config.toml", content="x"),
    ],
    ids=lambda call: f"{call.name} {call.arguments}"[:40],
)
async def test_what_the_wall_hides_in_the_folder_itself_stays_hidden_from_the_file_tools(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    """As where all chats share a workspace in which more lies than theirs."""
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_rsa").write_text("secret")
    shared = f'workspace = "{home}"\nfolders = "shared"\n{HOUSE}'
    async with chatting(tmp_path, monkeypatch, call, shared) as (platform, _model):
        said = await shows(platform, "It said")
    assert "nobody can allow that here" in said
    assert not [one for one in platform.shown if one.buttons]
    assert [path.name for path in home.rglob("*") if path.is_file()] == ["id_rsa"]


async def test_where_commands_may_only_read_the_file_tools_ask_before_they_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERMES_SANDBOX", "read-only")
    async with chatting(tmp_path, monkeypatch, Call("write_file", path="a.txt", content="x"), HOUSE) as (platform, _):
        await shows(platform, "May I? write_file")


async def test_where_no_sandbox_works_the_own_folder_is_written_unasked_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.serve.backend", lambda: None)
    async with chatting(tmp_path, monkeypatch, Call("write_file", path="a.txt", content="x"), HOUSE) as (platform, _):
        await shows(platform, "It said: Created a.txt")
    assert (tmp_path / "chats" / "memory-1" / "a.txt").read_text() == "x"
