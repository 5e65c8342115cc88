"""Voice in chats: messages written down, answers spoken, as each conversation wants it."""

import asyncio
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from agent.chats import ChatStore
from agent.errors import ConfigError, HermesError
from agent.models.audio import Audio
from gateway.platforms.base import MediaKind

_Result = TypeVar("_Result")

Mode = Literal["on", "off", "tts"]
"""on: voice messages are written down; tts: answers are spoken, too; off: neither."""

TABLE = "voice"
"""Of `[gateway]`: no platform."""

OPENAI = "https://api.openai.com/v1"
_NOTE = "voice:"

KEPT = 24 * 3600.0
"""Seconds for which what was spoken is kept on the disk: it is sent at once, as a rule."""

AT_ONCE = 4
"""Calls of the endpoint."""

HOW = (
    "In config.toml: [gateway.voice] with base_url (and listens, speaks); the key goes into credentials.toml as voice."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceSettings:
    """`[gateway.voice]`. An empty model switches that half off."""

    base_url: str = OPENAI
    listens: str = "whisper-1"
    speaks: str = "tts-1"
    voice: str = "alloy"
    format: Literal["opus", "mp3", "wav", "flac", "aac"] = "opus"


def audio_of(table: object, keys: Mapping[str, str], env: Mapping[str, str]) -> Audio | None:
    """The endpoint of the table; None where there is no table. Raises: ConfigError."""
    import msgspec

    if table is None:
        return None
    try:
        found = msgspec.convert(table, VoiceSettings, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"[gateway.voice]: {error}.", hint="See docs/gateway.md.") from error
    if isinstance(table, Mapping) and (unknown := set(table) - set(VoiceSettings.__dataclass_fields__)):
        raise ConfigError(f"[gateway.voice]: there is no setting {sorted(unknown)[0]!r}.", hint="See docs/gateway.md.")
    key = env.get("HERMES_VOICE_API_KEY") or keys.get(TABLE, "")
    if not key and found.base_url == OPENAI:
        key = env.get("OPENAI_API_KEY") or keys.get("openai", "")
    fields: dict[str, Any] = {name: getattr(found, name) for name in VoiceSettings.__dataclass_fields__}
    return Audio(api_key=key, **fields)


class Voices:
    """What conversations want, and the endpoint. `folder` holds what was spoken until it is sent."""

    def __init__(self, store: ChatStore, audio: Audio | None, folder: Path) -> None:
        self._store, self._audio, self._folder = store, audio, folder
        self._room = asyncio.Semaphore(AT_ONCE)
        self._calls: set[asyncio.Future[Any]] = set()
        self._closed = False

    def mode(self, key: str) -> Mode:
        """Raises: StoreError."""
        found = self._store.notes(f"{_NOTE}{key}").get(f"{_NOTE}{key}", "on")
        return next((mode for mode in get_args(Mode) if mode == found), "on")

    def switch(self, key: str, mode: Mode) -> str:
        """Gives what is in force now, for a person. Raises: HermesError where nothing could do it; StoreError."""
        audio = self._audio
        if mode != "off" and audio is None:
            raise HermesError("No audio endpoint is configured.", hint=HOW)
        if mode == "tts" and audio is not None and not audio.speaks:
            raise HermesError("No model that speaks is configured.", hint=HOW)
        self._store.note(f"{_NOTE}{key}", "" if mode == "on" else mode)
        return self.status(key)

    def status(self, key: str) -> str:
        if self._audio is None:
            return f"Voice: no audio endpoint is configured, voice messages stay files. {HOW}"
        mode = self.mode(key)
        hears = "voice messages are written down" if self.hears(key) else "voice messages stay files"
        return f"Voice is {mode}: {hears}, answers are {'spoken, too' if self.speaks(key) else 'text'}."

    def hears(self, key: str) -> bool:
        return self._audio is not None and bool(self._audio.listens) and self.mode(key) != "off"

    def speaks(self, key: str) -> bool:
        return self._audio is not None and bool(self._audio.speaks) and self.mode(key) == "tts"

    async def heard(self, path: Path) -> str:
        """What is said in a file. Raises: HermesError."""
        audio = self._audio
        if audio is None:
            raise HermesError("No audio endpoint is configured.", hint=HOW)
        return await self._aside(lambda: audio.heard(path))

    async def spoken(self, text: str, name: str) -> tuple[Path, MediaKind]:
        """A file that says the text, and what it is sent as. Raises: HermesError."""
        audio = self._audio
        if audio is None:
            raise HermesError("No audio endpoint is configured.", hint=HOW)
        ending = "ogg" if audio.format == "opus" else audio.format
        path = (self._folder / f"{name}.{ending}").resolve()

        def say() -> None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _forget_old(self._folder)
            audio.say(as_speech(text), path)

        await self._aside(say)
        return path, "voice" if audio.format == "opus" else "audio"

    def close(self) -> None:
        """Wait for no answer of the endpoint: whoever does is cancelled."""
        self._closed = True
        for call in self._calls:
            call.cancel()

    async def _aside(self, work: Callable[[], _Result]) -> _Result:
        """On a daemon thread: a process that ends does not wait for a slow endpoint, as it would for a pool's."""
        outcome: Future[_Result] = Future()

        def run() -> None:
            try:
                outcome.set_result(work())
            except BaseException as error:  # noqa: BLE001  (it is raised where it is waited for)
                outcome.set_exception(error)

        async with self._room:
            if self._closed:
                raise asyncio.CancelledError
            outcome.set_running_or_notify_cancel()
            threading.Thread(target=run, name="voice", daemon=True).start()
            call = asyncio.wrap_future(outcome)
            self._calls.add(call)
            try:
                return await call
            finally:
                self._calls.discard(call)


def _forget_old(folder: Path) -> None:
    for path in folder.iterdir():
        if path.stat().st_mtime < time.time() - KEPT:
            path.unlink(missing_ok=True)


def as_speech(text: str) -> str:
    """Markdown as one would read it out: code stays in the text, links are their words."""
    text = re.sub(r"(?ms)^\s*```.*?(^\s*```\s*$|\Z)", "(code, see the text)", text)
    text = re.sub(r"!?\[([^\]\n]*)\]\([^)\s]*\)", r"\1", text)
    text = re.sub(r"(?m)^\s{0,3}(#{1,6}|>|[-*+])\s+", "", text)
    return re.sub(r"[*_`~|]+", "", text).strip()
