"""Speech into text and text into speech, at any endpoint that speaks OpenAI's audio API."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from agent.errors import ModelError
from agent.models import _sdk

if TYPE_CHECKING:
    from openai import OpenAI

MOST_SPOKEN = 4_000
"""Characters that are spoken at once; the API takes 4096."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio:
    """`listens` and `speaks` are models, "" for none. Calls block, and may be made on any thread. Raise: ModelError."""

    base_url: str
    api_key: str = field(default="", repr=False)
    listens: str = ""
    speaks: str = ""
    voice: str = "alloy"
    format: Literal["opus", "mp3", "wav", "flac", "aac"] = "opus"
    timeout: float = 120.0

    def heard(self, path: Path) -> str:
        """What is said in a sound file."""
        sdk = _sdk.load()
        try:
            with path.open("rb") as file, self._client() as client:
                found = client.audio.transcriptions.create(model=self.listens, file=file)
        except (sdk.OpenAIError, OSError) as error:
            raise self._failed("The voice message was not understood", error) from None
        return str(getattr(found, "text", found) or "").strip()

    def say(self, text: str, to: Path) -> None:
        """Write a text as sound into a file."""
        sdk = _sdk.load()
        try:
            with self._client() as client:
                answer = client.audio.speech.create(
                    model=self.speaks, voice=self.voice, input=text[:MOST_SPOKEN], response_format=self.format
                )
            to.write_bytes(answer.content)
        except (sdk.OpenAIError, OSError) as error:
            raise self._failed("The answer could not be spoken", error) from None

    def _client(self) -> "OpenAI":
        sdk = _sdk.load()
        key = self.api_key or "none"
        made: OpenAI = sdk.OpenAI(base_url=self.base_url, api_key=key, timeout=self.timeout, max_retries=1)
        return made

    def _failed(self, what: str, error: Exception) -> ModelError:
        """Without the key, which servers like to repeat."""
        said = " ".join(str(error).split())[:300]
        if self.api_key:
            said = said.replace(self.api_key, "***")
        return ModelError(f"{what}: {type(error).__name__}: {said}", hint="[gateway.voice] in config.toml says where.")
