"""What `hermes doctor` says of the platforms."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.config import directories, load_config, store_key
from agent.findings import Finding
from gateway.cli import findings
from tests.support.telegram_server import TOKEN, TelegramServer


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TelegramServer]:
    monkeypatch.setenv("HERMES_HOME", str(tmp_path))
    async with TelegramServer() as server:
        yield server


async def found(server: TelegramServer, settings: str = "allow = [7]") -> list[Finding]:
    path = directories().config_file
    path.write_text(f'[gateway.telegram]\nbase_url = "{server.base_url}"\n{settings}\n')
    return await asyncio.to_thread(lambda: list(findings(load_config())))


async def test_a_token_that_the_platform_knows_is_well(server: TelegramServer) -> None:
    store_key(directories(), "telegram_bot_token", TOKEN)
    finding, wall = await found(server)
    assert wall.what.startswith("chats: ")
    assert finding.ok
    assert "knows the token" in finding.what


async def test_a_token_that_it_does_not_know_is_told_without_it(server: TelegramServer) -> None:
    store_key(directories(), "telegram_bot_token", "123456:not-the-token-at-all")
    finding, _wall = await found(server)
    assert finding.ok is False
    assert finding.advice
    assert "not-the-token" not in finding.line()


async def test_that_nobody_may_speak_is_told_and_nothing_is_asked(server: TelegramServer) -> None:
    store_key(directories(), "telegram_bot_token", TOKEN)
    finding, _wall = await found(server, "pairing = false")
    assert finding.ok is False
    assert "Nobody may speak" in finding.what
    assert not server.calls


async def test_without_platforms_there_is_nothing_to_say(server: TelegramServer) -> None:
    directories().config_file.write_text("")
    assert list(findings(load_config())) == []
    assert not server.calls
