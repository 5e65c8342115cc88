"""The providers, as data, and the choice among them.

Quick to import: no SDK, no network code. A model's own endpoint knows best which models there are; the names here
are for completion before anybody has asked it, and for a default.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.config import ModelChoice, Settings
from agent.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from agent.protocols import ChatModel


@dataclass(frozen=True)
class Provider:
    """Somebody who serves models.

    `key_variable` is the environment variable that holds the key; "" when no key is needed. `default_model` is ""
    where only the endpoint knows: then its first model is used. `aggregator`: serves the models of others, and its
    model ids contain slashes.
    """

    name: str
    title: str
    base_url: str
    key_variable: str = ""
    default_model: str = ""
    models: tuple[str, ...] = ()
    local: bool = False
    aggregator: bool = False


PROVIDERS: tuple[Provider, ...] = (
    Provider(
        "openai",
        "OpenAI",
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        "gpt-5",
        ("gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-4.1", "gpt-4.1-mini", "gpt-4o", "o4-mini"),
    ),
    Provider(
        "openrouter",
        "OpenRouter",
        "https://openrouter.ai/api/v1",
        "OPENROUTER_API_KEY",
        "anthropic/claude-sonnet-4.5",
        (
            "openrouter/auto",
            "anthropic/claude-sonnet-4.5",
            "openai/gpt-5",
            "google/gemini-2.5-pro",
            "deepseek/deepseek-chat",
            "nousresearch/hermes-4-405b",
        ),
        aggregator=True,
    ),
    Provider(
        "nous",
        "Nous Research",
        "https://inference-api.nousresearch.com/v1",
        "NOUS_API_KEY",
        "Hermes-4-405B",
        ("Hermes-4-405B", "Hermes-4-70B"),
        aggregator=True,
    ),
    Provider(
        "anthropic",
        "Anthropic",
        "https://api.anthropic.com/v1",
        "ANTHROPIC_API_KEY",
        "claude-sonnet-4-5",
        ("claude-sonnet-4-5", "claude-opus-4-1", "claude-haiku-4-5"),
    ),
    Provider(
        "gemini",
        "Google Gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "GEMINI_API_KEY",
        "gemini-2.5-pro",
        ("gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite"),
    ),
    Provider(
        "groq",
        "Groq",
        "https://api.groq.com/openai/v1",
        "GROQ_API_KEY",
        "openai/gpt-oss-120b",
        ("openai/gpt-oss-120b", "openai/gpt-oss-20b", "llama-3.3-70b-versatile", "moonshotai/kimi-k2-instruct-0905"),
        aggregator=True,
    ),
    Provider(
        "deepseek",
        "DeepSeek",
        "https://api.deepseek.com/v1",
        "DEEPSEEK_API_KEY",
        "deepseek-chat",
        ("deepseek-chat", "deepseek-reasoner"),
    ),
    Provider(
        "mistral",
        "Mistral",
        "https://api.mistral.ai/v1",
        "MISTRAL_API_KEY",
        "mistral-large-latest",
        ("mistral-large-latest", "mistral-medium-latest", "codestral-latest", "magistral-medium-latest"),
    ),
    Provider(
        "xai",
        "xAI",
        "https://api.x.ai/v1",
        "XAI_API_KEY",
        "grok-4",
        ("grok-4", "grok-4-fast", "grok-code-fast-1"),
    ),
    Provider(
        "together",
        "Together",
        "https://api.together.xyz/v1",
        "TOGETHER_API_KEY",
        "openai/gpt-oss-120b",
        ("openai/gpt-oss-120b", "deepseek-ai/DeepSeek-V3.1", "Qwen/Qwen3-235B-A22B-Instruct-2507-tput"),
        aggregator=True,
    ),
    Provider("ollama", "Ollama", "http://127.0.0.1:11434/v1", local=True),
    Provider("lmstudio", "LM Studio", "http://127.0.0.1:1234/v1", local=True),
    Provider("llamacpp", "llama.cpp", "http://127.0.0.1:8080/v1", local=True),
    Provider("vllm", "vLLM", "http://127.0.0.1:8000/v1", local=True),
    Provider("custom", "the endpoint", "", aggregator=True),
    Provider("offline", "built-in offline model", "", default_model="offline", models=("offline",), local=True),
)
KEYED: tuple[Provider, ...] = tuple(provider for provider in PROVIDERS if provider.key_variable)
LOCAL: tuple[Provider, ...] = tuple(provider for provider in PROVIDERS if provider.local and provider.base_url)
OFFLINE = ModelChoice(provider="offline", model="offline")

_BY_NAME = {provider.name: provider for provider in PROVIDERS}

_WINDOWS: tuple[tuple[str, int], ...] = (
    ("gpt-5", 400_000),
    ("gpt-4.1", 1_047_576),
    ("gpt-4o", 128_000),
    ("gpt-oss", 131_072),
    ("o3", 200_000),
    ("o4-mini", 200_000),
    ("claude", 200_000),
    ("gemini-2", 1_048_576),
    ("gemini-3", 1_048_576),
    ("deepseek", 131_072),
    ("grok-4-fast", 2_000_000),
    ("grok-4", 256_000),
    ("grok-code", 256_000),
    ("hermes-4", 131_072),
    ("mistral-large", 131_072),
    ("mistral-medium", 131_072),
    ("codestral", 256_000),
    ("llama-3", 131_072),
    ("kimi-k2", 262_144),
    ("qwen3", 262_144),
)
"""Prefixes of model ids (without the part before the slash) and tokens, from the vendors' model pages."""


_SEEING = (
    "gpt-5 gpt-4.1 gpt-4o gpt-4-turbo o1 o3 o4-mini claude gemini grok-4 grok-2-vision pixtral mistral-medium-3 "
    "mistral-medium-latest mistral-small-3 magistral llama-4 gemma-3 gemma3 qwen-vl qwen2-vl qwen2.5-vl qwen3-vl llava"
).split()
_BLIND = (
    "gpt-oss gpt-3.5 o1-mini o3-mini deepseek grok-code grok-3 codestral devstral mixtral hermes-3 hermes-4 kimi-k2 "
    "llama-3 qwen3-coder offline"
).split()
"""Prefixes of model ids, as above: those that take images, and those that do not."""


# -- looking up ------------------------------------------------------------------------------------


def find(name: str) -> Provider | None:
    """The provider called `name`."""
    return _BY_NAME.get(name)


def provider(name: str) -> Provider:
    """The provider called `name`.

    Raises: ConfigError, naming the nearest.
    """
    if (found := find(name)) is not None:
        return found
    hint = did_you_mean(name.lower(), _BY_NAME, f"The providers are: {', '.join(_BY_NAME)}.", show=repr)
    raise ConfigError(f"No provider is called {name!r}.", hint=hint)


def context_window(model: str) -> int | None:
    """Tokens the model can read and write in all; None when unknown."""
    name = model.lower().rpartition("/")[2]
    return next((tokens for prefix, tokens in _WINDOWS if name.startswith(prefix)), None)


def takes_images(model: str) -> bool | None:
    """Whether the model takes images; None when unknown."""
    name = model.lower().rpartition("/")[2]
    # The longer prefix knows more: o1-mini is no o1.
    known = [
        (len(prefix), sees)
        for sees, group in ((True, _SEEING), (False, _BLIND))
        for prefix in group
        if name.startswith(prefix)
    ]
    return max(known)[1] if known else None


def needs_key(choice: ModelChoice) -> bool:
    """Whether asking is in vain, because the provider wants a key and there is none."""
    found = find(choice.provider)
    if found is None or choice.api_key or not found.key_variable:
        return False
    return choice.base_url.rstrip("/") == found.base_url


def costs_nothing(choice: ModelChoice) -> bool:
    """Whether the model runs on somebody's own machine, where no reply has a price."""
    found = find(choice.provider)
    return found is not None and found.local


# -- choosing --------------------------------------------------------------------------------------


def choose(
    settings: Settings, *, env: Mapping[str, str] = os.environ, keys: Mapping[str, str] | None = None
) -> ModelChoice | None:
    """The model that settings, environment and stored keys (provider name → key) ask for.

    None when nothing is configured and no key is found: then the caller may probe for a local server. A provider
    whose key is missing is chosen all the same, with the key "".

    Raises: ConfigError for a provider nobody knows.
    """
    found = _Found(settings, env, keys or {})
    if (choice := found.choice(settings.model)) is None or not settings.fallback_model:
        return choice
    return replace(choice, fallback=found.fallback(choice))


def asked_for(text: str, settings: Settings, current: ModelChoice | None) -> Settings:
    """Settings for `provider:model`, for a provider's name, or for a model of the provider in use."""
    name, colon, model = text.partition(":")
    if find(name) is not None:
        # The address in the settings belongs to the provider in the settings, and to no other.
        base_url = settings.base_url if name in ("custom", settings.provider) else ""
        return replace(settings, provider=name, model=model if colon else "", base_url=base_url)
    if current is not None and current.provider != OFFLINE.provider:
        return replace(settings, provider=current.provider, model=text, base_url=current.base_url)
    provider = "" if settings.provider == OFFLINE.provider else settings.provider
    return replace(settings, provider=provider, model=text)


def named(
    text: str, settings: Settings, current: ModelChoice | None, *, env: Mapping[str, str], keys: Mapping[str, str]
) -> ModelChoice:
    """The model that somebody asks for by name, as `asked_for` reads it.

    Raises: ConfigError when nobody has it, or its provider's key is missing.
    """
    found = choose(asked_for(text, settings, current), env=env, keys=keys)
    if found is None:
        raise ConfigError(f"No provider is known for {text!r}.", hint="Write provider:model.")
    if needs_key(found):
        row = provider(found.provider)
        hint = f"Set {row.key_variable}, or store one: hermes model {row.name} --key"
        raise ConfigError(f"There is no key for {row.title}.", hint=hint)
    return found


def in_force(
    settings: Settings, *, env: Mapping[str, str] = os.environ, keys: Mapping[str, str] | None = None
) -> ModelChoice:
    """The model that answers: what `choose` finds, else a local server's, else the offline model. May take 0.3 s.

    Raises: ConfigError for a model that was asked for by name and that nobody here has.
    """
    if (found := choose(settings, env=env, keys=keys)) is not None:
        return found
    local = probe_local()
    if not settings.model:
        return local or OFFLINE
    if local is None:
        raise ConfigError(
            f"Nobody here has the model {settings.model!r}: no provider is configured and no key is set.",
            hint="Write provider:model, or set the provider's key; `hermes model` asks for both.",
        )
    return replace(local, model=settings.model)


@dataclass(frozen=True)
class _Found:
    """What there is to choose from."""

    settings: Settings
    env: Mapping[str, str]
    keys: Mapping[str, str]

    def choice(self, model: str) -> ModelChoice | None:
        row, model = self._named(model)
        if row is None:
            row = self._by_address() or self._by_key(model)
        if row is None:
            return None
        base_url = self._base_url(row)
        own = base_url == row.base_url
        return ModelChoice(
            provider=row.name,
            # Somebody else's server at OpenAI's place may have none of OpenAI's models.
            model=model or (row.default_model if own else ""),
            base_url=base_url,
            api_key=self._key(row),
            reasoning_effort=self.settings.reasoning_effort,
            routing=self.settings.provider_routing,
            timeout=self.settings.request_timeout,
        )

    def fallback(self, first: ModelChoice) -> ModelChoice | None:
        """A bare name is another model of the same provider."""
        name = self.settings.fallback_model
        row, model = self._split(name)
        if row is None or row.name == first.provider:
            return replace(first, model=model)
        plain = replace(self.settings, provider=row.name, base_url="")
        return _Found(plain, self.env, self.keys).choice(model)

    def _named(self, model: str) -> tuple[Provider | None, str]:
        """The provider the settings name, and the model without the provider's name."""
        if not self.settings.provider:
            return self._split(model)
        row = provider(self.settings.provider)
        return row, model.removeprefix(f"{row.name}:")

    def _split(self, model: str) -> tuple[Provider | None, str]:
        """`provider:model` and `provider/model`, where the first part can be nothing but a provider's name.

        `openai/gpt-5` is a provider and its model, but to OpenRouter it is a model; so the slash counts only when
        that provider can be used, or nobody is there who would take the whole for an id.
        """
        for mark in (":", "/"):
            name, _, rest = model.partition(mark)
            row = find(name)
            if row is None or not rest:
                continue
            if mark == ":" or row.local or self._key(row) or not any(self._key(a) for a in KEYED if a.aggregator):
                return row, rest
        return None, model

    def _by_address(self) -> Provider | None:
        address = (self.settings.base_url or self.env.get("OPENAI_BASE_URL", "")).rstrip("/")
        if not address:
            return None
        return next((row for row in PROVIDERS if row.base_url == address), _BY_NAME["custom"])

    def _by_key(self, model: str) -> Provider | None:
        """From the environment before stored keys; a provider known to have the model before the others."""
        in_env = [row for row in KEYED if self.env.get(row.key_variable)]
        stored = [row for row in KEYED if self.keys.get(row.name) and row not in in_env]
        usable = in_env + stored
        return next((row for row in usable if model in row.models), usable[0] if usable else None)

    def _base_url(self, row: Provider) -> str:
        if self.settings.base_url:
            return self.settings.base_url.rstrip("/")
        if row.name in ("openai", "custom"):
            return (self.env.get("OPENAI_BASE_URL") or row.base_url).rstrip("/")
        return row.base_url

    def _key(self, row: Provider) -> str:
        variable = row.key_variable or ("OPENAI_API_KEY" if row.name == "custom" else "")
        return self.env.get(variable) or self.keys.get(row.name, "")


def build(choice: ModelChoice) -> "ChatModel":
    """The model itself, with its fallback. Quick: nothing heavy is imported before the first request."""
    if choice.fallback is not None:
        from agent.models.fallback import FallbackModel

        return FallbackModel(build(replace(choice, fallback=None)), build(choice.fallback))
    if choice.provider == "offline":
        from agent.models.offline import OfflineModel

        return OfflineModel()
    if not choice.base_url:
        raise ConfigError(
            f"The provider {choice.provider!r} has no address.",
            hint="Set it: `hermes config set base_url http://…/v1`.",
        )
    from agent.models.openai import OpenAIChatModel

    return OpenAIChatModel(choice)


# -- local servers ---------------------------------------------------------------------------------


def probe_local(*, providers: Sequence[Provider] = LOCAL, timeout: float = 0.3) -> ModelChoice | None:
    """The first of `providers` that answers within `timeout` seconds and has a model. All are asked at once.

    Returns within `timeout`, give or take a scheduler's whim; a server that answers too late is not waited for.
    """
    import threading
    import time

    deadline = time.monotonic() + timeout
    models: dict[str, str] = {}
    probes = [
        threading.Thread(target=_probe, args=(row, timeout, models), name=f"probe {row.name}", daemon=True)
        for row in providers
    ]
    for probe in probes:
        probe.start()
    for row, probe in zip(providers, probes, strict=True):
        probe.join(max(0.0, deadline - time.monotonic()))
        if model := models.get(row.name):
            return ModelChoice(provider=row.name, model=model, base_url=row.base_url)
    return None


def _probe(row: Provider, timeout: float, models: dict[str, str]) -> None:
    """Put the first model of the server into `models`, if there is one."""
    import http.client
    import json
    from urllib.parse import urlsplit

    url = urlsplit(row.base_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=timeout)
    try:
        connection.request("GET", f"{url.path}/models")
        response = connection.getresponse()
        if response.status == 200 and (model := next(_ids(json.loads(response.read(1_000_000))), "")):
            models[row.name] = model
    except (OSError, http.client.HTTPException, ValueError):
        return  # nobody there, or something else on that port
    finally:
        connection.close()


def _ids(listing: object) -> Iterator[str]:
    match listing:
        case {"data": [*items]}:
            for item in items:
                match item:
                    case {"id": str(name)} if name:
                        yield name
