"""What an agent may do for whom, in a chat: admins everything, others within a wall and without what costs most."""

import asyncio
import dataclasses
from collections.abc import Sequence
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


@pytest.mark.skipif(backend() is None, reason="no sandbox works here")
async def test_a_chat_s_commands_stay_in_its_folder_and_see_no_other_chat_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, chats = tmp_path / "home", tmp_path / "chats"
    home.mkdir()
    (chats / "memory-2").mkdir(parents=True)
    (chats / "memory-2" / "diary.txt").write_text("a secret of somebody else")
    monkeypatch.setenv("HERMES_HOME", str(home))
    monkeypatch.setenv("HERMES_PROVIDER", "offline")
    table = '[gateway.memory]\nallow = ["7"]\nadmins = ["9"]\n'
    (home / "config.toml").write_text(f'[gateway]\nworkspace = "{chats}"\n{table}')
    line = f"echo here > here.txt; cat {chats}/memory-2/diary.txt; ls"

    def answer(messages: Sequence[Message]) -> Answer:
        if messages[-1].role == "tool":
            return [Say(f"It said: {messages[-1].content}")]
        return [Call("terminal", command=line)]

    config, platform = load_config(cwd=tmp_path), MemoryPlatform()
    store, model = SqliteStore(config.dirs.database), ScriptedModel(answer)
    parts = await asyncio.to_thread(_prepare, config, store, {M: platform})
    runner = TaskRunner(config, store, policy=policy_of_chats(config), model=model, redact=Redactor())
    gateway, stop = Gateway(config, store, dataclasses.replace(parts, run=runner)), asyncio.Event()
    serving = asyncio.create_task(gateway.run(stop))
    try:
        async with asyncio.timeout(30):
            while gateway.supervisor.links[0].state != "connected":
                await asyncio.sleep(0.01)
            await platform.say("go", user_id="7")
            while not any("It said" in text for text in platform.texts("1")):
                await asyncio.sleep(0.01)
    finally:
        stop.set()
        await serving
        store.close()
    said = platform.texts("1")[-1]
    assert (chats / "memory-1" / "here.txt").read_text() == "here\n"
    assert "here.txt" in said
    assert "somebody else" not in said
    told = {spec.name for spec in model.requests[0].tools}
    assert "delegate" not in told
