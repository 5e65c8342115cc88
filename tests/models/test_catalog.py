"""Which model is used, given settings, environment, stored keys and local servers."""

import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace

import pytest

from agent.config import ModelChoice, Settings
from agent.errors import ConfigError
from agent.models import catalog, prices
from agent.models.catalog import LOCAL, OFFLINE, PROVIDERS, Provider, build, choose, probe_local
from agent.models.fallback import FallbackModel
from agent.models.openai import OpenAIChatModel
from tests.support.openai_server import OpenAIServer


def chosen(
    settings: Settings | None = None, *, env: Mapping[str, str] | None = None, keys: Mapping[str, str] | None = None
) -> ModelChoice:
    choice = choose(settings or Settings(), env=env or {}, keys=keys or {})
    assert choice is not None
    return choice


def where(choice: ModelChoice) -> tuple[str, str, str]:
    return choice.provider, choice.model, choice.api_key


# -- nothing configured ----------------------------------------------------------------------------


def test_without_anything_nothing_is_chosen() -> None:
    assert choose(Settings(), env={}, keys={}) is None


def test_openai_comes_first() -> None:
    env = {"GROQ_API_KEY": "g", "OPENAI_API_KEY": "o"}
    assert where(chosen(env=env)) == ("openai", catalog.provider("openai").default_model, "o")


def test_openai_base_url_is_an_endpoint_of_its_own_with_or_without_key() -> None:
    env = {"OPENAI_BASE_URL": "http://box:9000/v1/", "GROQ_API_KEY": "g"}
    assert where(chosen(env=env)) == ("custom", "", "")
    assert chosen(env=env).base_url == "http://box:9000/v1"
    assert where(chosen(env=env | {"OPENAI_API_KEY": "o"})) == ("custom", "", "o")


def test_the_environment_comes_before_stored_keys() -> None:
    assert where(chosen(env={"XAI_API_KEY": "x"}, keys={"openai": "o"}))[0] == "xai"
    assert where(chosen(keys={"mistral": "m"}))[::2] == ("mistral", "m")


@pytest.mark.parametrize("row", catalog.KEYED, ids=lambda row: row.name)
def test_each_key_variable_leads_to_its_provider(row: Provider) -> None:
    choice = chosen(env={row.key_variable: "k"})
    assert (choice.provider, choice.base_url, choice.model) == (row.name, row.base_url, row.default_model)


# -- settings --------------------------------------------------------------------------------------


def test_settings_are_passed_through() -> None:
    settings = Settings(
        provider="openrouter", reasoning_effort="high", provider_routing={"order": ["x"]}, request_timeout=7
    )
    choice = chosen(settings)
    assert (choice.reasoning_effort, choice.routing, choice.timeout) == ("high", {"order": ["x"]}, 7)


def test_a_provider_without_its_key_is_chosen_all_the_same() -> None:
    choice = chosen(Settings(provider="anthropic"), env={"OPENAI_API_KEY": "o"})
    assert where(choice) == ("anthropic", catalog.provider("anthropic").default_model, "")
    assert catalog.needs_key(choice)


def test_a_model_asked_for_by_name_needs_its_provider_s_key_at_once() -> None:
    with pytest.raises(ConfigError, match="no key for Anthropic") as failure:
        catalog.named("anthropic:x", Settings(), None, env={"OPENAI_API_KEY": "o"}, keys={})
    assert "ANTHROPIC_API_KEY" in failure.value.hint
    assert catalog.named("anthropic:x", Settings(), None, env={}, keys={"anthropic": "a"}).model == "x"


def test_it_is_known_beforehand_whether_a_price_will_be() -> None:
    def choice(provider: str, model: str) -> ModelChoice:
        return ModelChoice(provider=provider, model=model)

    assert prices.known(choice("openai", "gpt-5-mini"))
    assert prices.known(choice("ollama", "anything"))
    assert not prices.known(choice("custom", "gpt-5-mini"))
    assert not prices.known(choice("openai", "no-such-model"))


def test_an_unknown_provider_is_told_the_nearest() -> None:
    with pytest.raises(ConfigError) as failure:
        choose(Settings(provider="openruoter"), env={}, keys={})
    assert failure.value.hint == "Did you mean 'openrouter'?"


def test_base_url_alone_is_a_custom_endpoint() -> None:
    choice = chosen(Settings(base_url="http://box:1/v1", model="m"), keys={"custom": "c"})
    assert (choice.provider, choice.base_url, choice.model, choice.api_key) == ("custom", "http://box:1/v1", "m", "c")


def test_base_url_of_a_provider_we_know_is_that_provider() -> None:
    assert chosen(Settings(base_url="https://api.groq.com/openai/v1/")).provider == "groq"


@pytest.mark.parametrize(
    ("model", "env", "provider", "asked"),
    [
        ("groq:llama", {}, "groq", "llama"),
        ("anthropic/claude-x", {"ANTHROPIC_API_KEY": "a"}, "anthropic", "claude-x"),
        ("anthropic/claude-x", {"OPENROUTER_API_KEY": "r"}, "openrouter", "anthropic/claude-x"),
        ("anthropic/claude-x", {}, "anthropic", "claude-x"),
        ("ollama/llama3:8b", {}, "ollama", "llama3:8b"),
        ("ollama:llama3:8b", {}, "ollama", "llama3:8b"),
        ("meta-llama/llama-3", {"OPENROUTER_API_KEY": "r"}, "openrouter", "meta-llama/llama-3"),
        ("deepseek-chat", {"OPENAI_API_KEY": "o", "DEEPSEEK_API_KEY": "d"}, "deepseek", "deepseek-chat"),
        ("never-heard-of", {"OPENAI_API_KEY": "o", "DEEPSEEK_API_KEY": "d"}, "openai", "never-heard-of"),
    ],
)
def test_a_model_may_name_its_provider(model: str, env: dict[str, str], provider: str, asked: str) -> None:
    choice = chosen(Settings(model=model), env=env)
    assert (choice.provider, choice.model) == (provider, asked)


@pytest.mark.parametrize(
    ("provider", "model", "asked"),
    [
        ("openrouter", "openai/gpt-5", "openai/gpt-5"),
        ("openrouter", "openrouter/auto", "openrouter/auto"),
        ("ollama", "mistral:7b", "mistral:7b"),
        ("groq", "groq:llama", "llama"),
    ],
)
def test_with_a_provider_given_the_model_is_taken_as_it_is(provider: str, model: str, asked: str) -> None:
    assert chosen(Settings(provider=provider, model=model)).model == asked


def test_a_bare_fallback_is_another_model_of_the_same_provider() -> None:
    choice = chosen(Settings(fallback_model="gpt-small"), env={"OPENAI_API_KEY": "o"})
    assert choice.fallback is not None
    assert where(choice.fallback) == ("openai", "gpt-small", "o")


def test_a_fallback_may_be_with_another_provider() -> None:
    env = {"OPENAI_API_KEY": "o", "GROQ_API_KEY": "g"}
    choice = chosen(Settings(provider="openai", base_url="http://x/v1", fallback_model="groq:llama"), env=env)
    assert choice.fallback is not None
    assert where(choice.fallback) == ("groq", "llama", "g")
    assert choice.fallback.base_url == catalog.provider("groq").base_url


def test_a_key_never_shows() -> None:
    assert "sk-secret" not in repr(chosen(env={"OPENAI_API_KEY": "sk-secret"}))


# -- building --------------------------------------------------------------------------------------


def test_building_makes_the_model_and_its_fallback() -> None:
    choice = chosen(env={"OPENAI_API_KEY": "o"})
    assert isinstance(build(choice), OpenAIChatModel)
    assert isinstance(build(replace(choice, fallback=choice)), FallbackModel)
    assert build(OFFLINE).name


def test_a_custom_provider_needs_an_address() -> None:
    with pytest.raises(ConfigError, match="no address"):
        build(chosen(Settings(provider="custom")))


def test_every_provider_is_complete() -> None:
    assert len({row.name for row in PROVIDERS}) == len(PROVIDERS)
    assert all(row.default_model in row.models for row in PROVIDERS if row.models)
    assert {row.name for row in LOCAL} == {"ollama", "lmstudio", "llamacpp", "vllm"}


def test_windows_are_known_by_prefix() -> None:
    assert catalog.context_window("anthropic/claude-sonnet-4.5") == 200_000
    assert catalog.context_window("gpt-4o-mini") == 128_000
    assert catalog.context_window("never-heard-of") is None


def test_the_catalog_imports_nothing_heavy() -> None:
    program = (
        "import sys, agent.models.catalog as c; c.build(c.choose(c.Settings(), env={'OPENAI_API_KEY': 'k'}));"
        "print([m for m in ('openai', 'httpx2', 'pydantic', 'msgspec', 'http.client', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- local servers ---------------------------------------------------------------------------------


def local(name: str, port: int) -> Provider:
    return Provider(name, name, f"http://127.0.0.1:{port}/v1", local=True)


def test_the_first_local_server_with_a_model_is_used() -> None:
    with OpenAIServer(models=[]) as empty, OpenAIServer(models=["a", "b"]) as one, OpenAIServer(models=["c"]) as two:
        rows = [local("empty", empty.port), local("one", one.port), local("two", two.port)]
        choice = probe_local(providers=rows, timeout=5)
    assert choice == ModelChoice(provider="one", model="a", base_url=one.base_url)


def test_a_server_that_does_not_answer_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, OpenAIServer(models=["a"]) as server:
        rows = [local("silent", silent.getsockname()[1]), local("real", server.port)]
        begun = time.monotonic()
        choice = probe_local(providers=rows, timeout=0.3)
        assert time.monotonic() - begun < 1
    assert choice is not None
    assert choice.provider == "real"


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert probe_local(providers=[local("gone", port)], timeout=5) is None


def test_something_else_on_the_port() -> None:
    with OpenAIServer() as server:
        row = replace(local("odd", server.port), base_url=f"http://127.0.0.1:{server.port}/other")
        server.models = ()
        assert probe_local(providers=[row], timeout=5) is None
