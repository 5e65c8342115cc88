"""A gateway process for Telegram, whole: from what Telegram tells to what the model and the audio endpoint get."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agent.config import Config
from agent.errors import HermesError
from agent.store.sqlite import SqliteStore
from gateway.config import Platform
from gateway.outbox import Letter, address, encode
from gateway.serve import Gateway, open_gateway
from gateway.session import Chat
from tests.gateway.test_received import PNG
from tests.gateway.test_serve import configured  # noqa: F401  (a fixture)
from tests.gateway.test_voice import AudioServer
from tests.support.openai_server import OpenAIServer
from tests.support.telegram_server import TOKEN, TelegramServer


@pytest.fixture
async def server() -> AsyncIterator[TelegramServer]:
    async with TelegramServer() as server:
        yield server


@asynccontextmanager
async def serving(config: Config) -> AsyncIterator[Gateway]:
    store, stop = SqliteStore(config.dirs.database), asyncio.Event()
    gateway = await open_gateway(config, store)
    running = asyncio.create_task(gateway.run(stop))
    try:
        yield gateway
    finally:
        stop.set()
        await running
        store.close()


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Any:
    with OpenAIServer(default="Seen.") as model:
        monkeypatch.setenv("HERMES_BASE_URL", model.base_url)
        monkeypatch.setenv("HERMES_MODEL", "gpt-5-mini")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        yield model


@pytest.fixture
def set_up(
    server: TelegramServer,
    model: OpenAIServer,
    configured: Callable[[str], Config],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], Config]:
    """Telegram, where Ann (7) is let in, and more tables."""
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)

    def set_up(more: str = "") -> Config:
        monkeypatch.delenv("HERMES_PROVIDER", raising=False)
        where = f'base_url = "{server.base_url}"\nbase_file_url = "{server.base_file_url}"\npoll_timeout = 1'
        return configured(f'[gateway.telegram]\nallow = ["7"]\n{where}\n{more}')

    return set_up


async def test_a_photo_reaches_the_model(
    server: TelegramServer, model: OpenAIServer, set_up: Callable[[str], Config]
) -> None:
    """Telegram says no name of a photo, and that it is a JPEG, whatever it is."""
    server.uploads["P1"] = PNG
    async with serving(set_up("")):
        server.says(None, photo=[{"file_id": "P1", "file_unique_id": "p", "width": 1, "height": 1}], caption="look")
        await server.until(lambda: "Seen." in server.messages.values(), 20)
    (asked,) = [message for message in model.bodies[0]["messages"] if message["role"] == "user"]
    assert [part["type"] for part in asked["content"]] == ["text", "image_url"]
    assert asked["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")


async def test_a_voice_message_goes_to_the_endpoint_under_a_name_that_tells_its_format(
    server: TelegramServer, model: OpenAIServer, set_up: Callable[[str], Config]
) -> None:
    server.uploads["V1"] = b"list files"
    voice = {"file_id": "V1", "file_unique_id": "v", "duration": 1, "mime_type": "audio/ogg"}
    async with AudioServer() as audio, serving(set_up(f'[gateway.voice]\nbase_url = "{audio.url}/v1"\n')):
        server.says(None, voice=voice)
        await server.until(lambda: "Seen." in server.messages.values(), 20)
        ((name,),) = [call.files for call in audio.calls]
        assert name.endswith("-voice.ogg")
    assert "list files" in str(model.bodies[0]["messages"][-1]["content"])


async def test_a_file_that_the_answer_names_is_sent_from_where_chats_work_and_no_other_file_of_hermes(
    server: TelegramServer, model: OpenAIServer, set_up: Callable[[str], Config]
) -> None:
    """The folders of chats lie in the state directory, and that in the settings' one where HERMES_HOME names all."""
    config = set_up("")
    chats = config.dirs.state / "chats"
    for folder, content in (("telegram-7", "figures"), ("telegram-8", "others")):
        (chats / folder).mkdir(parents=True)
        (chats / folder / "report.txt").write_text(content)
    (chats / "telegram-7" / "link").symlink_to(config.dirs.config)
    named = ("report.txt", "link/config.toml", "../telegram-8/report.txt", f"{config.dirs.database}")
    model.default = " ".join(f"[it]({name})" for name in named)
    async with serving(config):
        server.says("send me all")
        await server.until(lambda: any("not in this chat's folder" in text for text in server.messages.values()), 20)
        await server.until(lambda: server.of("sendDocument"), 20)
    assert [call.files for call in server.calls if call.method == "sendDocument"] == [{"report.txt": b"figures"}]
    (said,) = [text for text in server.messages.values() if "Not sent" in text]
    assert said.endswith(": link/config.toml, ../telegram-8/report.txt, " + str(config.dirs.database))


async def test_what_was_to_be_sent_waits_for_a_token_that_telegram_takes(
    server: TelegramServer, set_up: Callable[[str], Config]
) -> None:
    config, here = set_up(""), Chat(platform=Platform.TELEGRAM, chat_id="7")
    store = SqliteStore(config.dirs.database)
    for text in ("one", "two"):
        store.post(address(here), encode(Letter(text=text)))
    server.token = "1:other"
    with pytest.raises(HermesError, match="No platform is left"):
        await (await open_gateway(config, store)).run(asyncio.Event())
    assert (len(store.unsent()), store.refused(), server.of("sendMessage")) == (2, [], [])
    store.close()
    server.token = TOKEN
    async with serving(config):
        await server.until(lambda: [*server.messages.values()] == ["one", "two"])


async def test_the_agent_knows_that_it_answers_in_a_chat(
    server: TelegramServer, model: OpenAIServer, set_up: Callable[[str], Config]
) -> None:
    async with serving(set_up("")):
        server.says("hello")
        server.says("/background look")
        await server.until(lambda: sum("Seen." in text for text in server.messages.values()) == 2, 20)
    prompts = [body["messages"][0]["content"] for body in model.bodies]
    assert ["a chat on Telegram" in prompt for prompt in prompts] == [True, True]
