"""Voice messages written down and answers spoken, over an audio endpoint that is a real server."""

import asyncio
import gc
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from agent.config import Config, store_key
from agent.errors import ConfigError
from agent.models.audio import Audio
from gateway.platforms.base import Attachment
from gateway.platforms.memory import MemoryPlatform
from gateway.voice import as_speech, audio_of
from tests.gateway.test_serve import Serving, configured, serving  # noqa: F401  (one is a fixture)
from tests.support.web_server import Call, Status, WebServer

KEY = "sk-voice-0123456789"


class AudioServer(WebServer):
    """Hears what is in the file, and speaks bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()
        self.answers.set()
        self.lines = list[asyncio.Transport]()
        self.app.router.add_post("/v1/audio/transcriptions", self._hear)
        self.app.router.add_post("/v1/audio/speech", self._say)

    async def _hear(self, request: web.Request) -> web.Response:
        posted = await request.post()
        file = posted["file"]
        assert isinstance(file, web.FileField)
        heard = file.file.read()
        asked = {"model": posted["model"], "key": request.headers["Authorization"]}
        await self.record(Call("hear", asked, {file.filename: heard}))
        assert request.transport is not None
        self.lines.append(request.transport)
        if isinstance(fault := self.next_fault("hear"), Status):
            return web.json_response({"error": {"message": f"{fault.text} {KEY}"}}, status=fault.status)
        return web.json_response({"text": heard.decode()})

    async def _say(self, request: web.Request) -> web.Response:
        asked = json.loads(await request.text())
        await self.record(Call("say", asked))
        await self.answers.wait()
        if isinstance(fault := self.next_fault("say"), Status):
            return web.json_response({"error": {"message": fault.text}}, status=fault.status)
        return web.Response(body=b"OggS " + asked["input"].encode())


@pytest.fixture
async def audio() -> AsyncIterator[AudioServer]:
    async with AudioServer() as server:
        yield server


def with_voice(configured: Callable[[str], Config], server: AudioServer) -> Config:  # noqa: F811
    table = f'[gateway.voice]\nbase_url = "{server.url}/v1"\nlistens = "ears"\nspeaks = "mouth"\n'
    config = configured(f'[gateway.memory]\nallow = ["7"]\n{table}')
    store_key(config.dirs, "voice", KEY)
    return config


async def speak(platform: MemoryPlatform, words: str, *, forwarded: bool = False) -> None:
    sound = platform.upload("voice.ogg", words.encode())
    attachment = Attachment(kind="voice", handle=sound.handle, name="voice.ogg")
    await platform.say("", attachments=(attachment,), forwarded=forwarded)


def prompts(serve: Serving) -> list[str]:
    return [task.prompt for task in serve.gateway.store.tasks()]


async def test_a_voice_message_is_written_down(
    configured: Callable[[str], Config],  # noqa: F811
    audio: AudioServer,
) -> None:
    async with serving(with_voice(configured, audio)) as serve:
        await speak(serve.platform, "list files")
        await serve.platform.until(lambda: bool(serve.platform.shown), 15)
        assert prompts(serve) == ["(I said, in a voice message:)\nlist files"]
        assert audio.of("hear") == [{"model": "ears", "key": f"Bearer {KEY}"}]
        assert audio.of("say") == []


async def test_a_voice_message_that_is_forwarded_is_not_the_person_s_own_words(
    configured: Callable[[str], Config],  # noqa: F811
    audio: AudioServer,
) -> None:
    async with serving(with_voice(configured, audio)) as serve:
        await speak(serve.platform, "delete my files\nI mean it", forwarded=True)
        await serve.platform.until(lambda: bool(serve.platform.shown), 15)
        (prompt,) = prompts(serve)
        assert prompt.endswith("(I forward a voice message of somebody else:)\n> delete my files\n> I mean it")
        assert "I said" not in prompt


async def test_answers_are_spoken_where_that_is_wanted(
    configured: Callable[[str], Config],  # noqa: F811
    audio: AudioServer,
) -> None:
    async with serving(with_voice(configured, audio)) as serve:
        await serve.platform.say("/voice tts")
        await serve.shows("Voice is tts: voice messages are written down, answers are spoken, too.")
        await serve.platform.say("list files")
        await serve.platform.until(lambda: any(one.file for one in serve.platform.shown), 15)
        text, sound = serve.platform.shown[-2:]
        assert "no files" in text.text
        assert sound.file.startswith(b"OggS ")
        assert sound.file_name.endswith(".ogg")
        assert audio.of("say")[0]["voice"] == "alloy"
        assert audio.of("say")[0]["response_format"] == "opus"
        # In another chat nobody asked for it.
        await serve.platform.say("/voice", chat_id="2")
        await serve.shows("Voice is on", "2")


async def test_nothing_waits_at_the_end_for_an_endpoint_that_does_not_answer(
    configured: Callable[[str], Config],  # noqa: F811
    audio: AudioServer,
) -> None:
    audio.answers.clear()
    async with serving(with_voice(configured, audio)) as serve:
        await serve.platform.say("/voice tts")
        await serve.shows("Voice is tts")
        await serve.platform.say("list files")
        await audio.until(lambda: audio.of("say"))
        begun = time.monotonic()
    assert time.monotonic() - begun < 15
    waiting = [thread for thread in threading.enumerate() if thread.name.startswith("voice")]
    assert waiting
    # The interpreter joins all others when it ends.
    assert all(thread.daemon for thread in waiting)
    audio.answers.set()


async def test_no_connection_is_kept_open_after_a_call(audio: AudioServer, tmp_path: Path) -> None:
    sound, endpoint = tmp_path / "voice.ogg", Audio(base_url=f"{audio.url}/v1", listens="ears")
    sound.write_bytes(b"list files")
    gc.disable()
    try:
        assert await asyncio.to_thread(endpoint.heard, sound) == "list files"
        async with asyncio.timeout(5):
            while not audio.lines[0].is_closing():
                await asyncio.sleep(0.01)
    finally:
        gc.enable()


async def test_voice_off_leaves_files(configured: Callable[[str], Config], audio: AudioServer) -> None:  # noqa: F811
    async with serving(with_voice(configured, audio)) as serve:
        await serve.platform.say("/voice off")
        await serve.shows("Voice is off: voice messages stay files, answers are text.")
        await speak(serve.platform, "list files")
        await serve.platform.until(lambda: len(serve.platform.shown) > 1, 15)
        assert prompts(serve)[0].startswith("[voice received: received/")
        assert audio.calls == []
        await serve.platform.say("/voice on")
        await serve.shows("Voice is on")


async def test_an_endpoint_that_fails_loses_neither_message_nor_key(
    configured: Callable[[str], Config],  # noqa: F811
    audio: AudioServer,
) -> None:
    async with serving(with_voice(configured, audio)) as serve:
        await serve.platform.say("/voice tts")
        await serve.shows("Voice is tts")
        audio.fail_next("hear", Status(400, "cannot hear"))
        audio.fail_next("say", Status(400, "cannot say"))
        await speak(serve.platform, "hello")
        await serve.shows("🔇 The answer could not be spoken")
        (prompt,) = prompts(serve)
        assert "[voice received: received/" in prompt
        assert "could not be written down" in prompt
        assert "cannot hear" in prompt
        assert KEY not in prompt


async def test_without_an_endpoint_it_is_said_how_to_have_one(configured: Callable[[str], Config]) -> None:  # noqa: F811
    async with serving(configured('[gateway.memory]\nallow = ["7"]\n')) as serve:
        for command in ("/voice", "/voice on", "/voice tts"):
            before = len(serve.platform.texts("1"))
            await serve.platform.say(command)
            await serve.platform.until(lambda before=before: len(serve.platform.texts("1")) > before, 15)  # type: ignore[misc]
            assert "[gateway.voice]" in serve.platform.texts("1")[-1], command
        await speak(serve.platform, "hello")
        await serve.platform.until(lambda: len(serve.platform.shown) > 3, 15)
        assert prompts(serve)[0].startswith("[voice received: received/")


def test_the_key_of_openai_serves_only_openai() -> None:
    env, keys = {"OPENAI_API_KEY": "sk-env"}, {"openai": "sk-kept", "voice": "sk-voice"}
    own, theirs = audio_of({}, {}, env), audio_of({"base_url": "http://localhost:1/v1"}, {"openai": "x"}, env)
    named = audio_of({}, keys, env)
    assert own is not None
    assert theirs is not None
    assert named is not None
    assert (own.api_key, theirs.api_key, named.api_key) == ("sk-env", "", "sk-voice")
    assert "sk-" not in repr(named)
    assert audio_of(None, keys, env) is None


@pytest.mark.parametrize("table", [{"base_url": 1}, {"speakers": "x"}, {"format": "midi"}, "yes"])
def test_a_wrong_table_is_named(table: object) -> None:
    with pytest.raises(ConfigError, match=r"\[gateway\.voice\]"):
        audio_of(table, {}, {})


def test_what_is_spoken_is_what_one_would_read_out() -> None:
    text = "# Result\n\n**Three** `files`: see [the docs](https://x.y).\n```python\nprint(1)\n```\n- done"
    assert as_speech(text) == "Result\n\nThree files: see the docs.\n(code, see the text)\ndone"
