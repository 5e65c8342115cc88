"""A model choice as text that may be stored: everything but its keys."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace

from agent.config import ModelChoice, Settings
from agent.models import catalog


def dump(choice: ModelChoice) -> str:
    """JSON without API keys."""

    def without_key(pairs: list[tuple[str, object]]) -> dict[str, object]:
        return {name: value for name, value in pairs if name != "api_key"}

    return json.dumps(asdict(choice, dict_factory=without_key))


def load(text: str, settings: Settings, *, env: Mapping[str, str], keys: Mapping[str, str]) -> ModelChoice:
    """The choice again, with its keys looked up anew. Raises: ConfigError."""
    import msgspec

    choice = msgspec.json.decode(text, type=ModelChoice)
    fallback = choice.fallback and _with_key(choice.fallback, settings, env, keys)
    return replace(_with_key(choice, settings, env, keys), fallback=fallback)


def _with_key(choice: ModelChoice, settings: Settings, env: Mapping[str, str], keys: Mapping[str, str]) -> ModelChoice:
    asked = replace(settings, provider=choice.provider, model=choice.model, base_url=choice.base_url)
    found = catalog.choose(replace(asked, fallback_model=""), env=env, keys=keys)
    return replace(choice, api_key=found.api_key if found else "")
