"""A model choice, and the tools a session was told of, as text that may be stored: everything but keys."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from agent.config import ModelChoice, Settings
from agent.models import catalog
from agent.protocols import ToolSpec

NOTHING = "{}"
"""What is stored while no model was chosen."""


def dump(choice: ModelChoice, tools: Sequence[ToolSpec] = ()) -> str:
    """JSON without API keys."""
    import msgspec

    # Not by `asdict` and `json`, which take a millisecond for each of two hundred tasks that start at once.
    chosen = msgspec.to_builtins(choice)
    for one in (chosen, chosen["fallback"] or {}):
        one.pop("api_key", None)
    specs = [{"name": one.name, "description": one.description, "parameters": one.parameters} for one in tools]
    told = {"tools": specs} if specs else {}
    return msgspec.json.encode({**chosen, **told}).decode()


@lru_cache(maxsize=8)
def tools(text: str) -> tuple[ToolSpec, ...]:
    """The tools that were dumped with a choice, in their order. Nobody changes them."""
    return tuple(ToolSpec(**spec) for spec in json.loads(text).get("tools", ()))


def model_name(text: str) -> str:
    """The name of the model that was dumped, "" for none."""
    return str(json.loads(text or NOTHING).get("model", ""))


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
