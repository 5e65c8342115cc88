"""How platforms are set up, and that nothing of them is loaded before."""

import subprocess
import sys

import pytest

from agent.config import load_config
from agent.errors import ConfigError
from gateway.config import Platform, PlatformConfig, platform_configs
from gateway.platforms import registry
from gateway.platforms.registry import REGISTRY, Entry, open_adapter


def test_a_platform_is_read_from_the_users_file_and_its_token_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dirs = load_config().dirs
    dirs.config.mkdir(parents=True)
    dirs.config_file.write_text('[gateway.telegram]\nallow = [7, "8"]\nadmins = [9]\npoll_timeout = 3\n')
    tables = load_config().values.gateway
    keys = {"telegram_bot_token": "from the file", "telegram_webhook_secret": "s", "openai": "k"}
    config = platform_configs(tables, keys, {"TELEGRAM_BOT_TOKEN": " from the environment "})[Platform.TELEGRAM]
    assert (config.allow, config.admins, config.everyone) == ({"7", "8"}, {"9"}, False)
    assert config.options == {"poll_timeout": 3}
    assert config.secrets == {"bot_token": "from the environment", "webhook_secret": "s"}
    assert "environment" not in repr(config)


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"irc": {}}, "irc"),
        ({"telegram": 5}, "no table"),
        ({"telegram": {"allow": ["@ann"]}}, "@ann"),
        ({"telegram": {"allow": [-1001]}}, "-1001"),
        ({"telegram": {"allow": 7}}, "a list"),
        ({"telegram": {"allow": [True]}}, "True"),
        ({"slack": {"admins": ["ann"]}}, "ann"),
        ({"slack": {"groups": "always"}}, "always"),
        ({"discord": {"everyone": "yes"}}, "bool"),
    ],
)
def test_what_cannot_be_meant_is_told_so(tables: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        platform_configs(tables, {}, {})
    assert says in caught.value.explain()


def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REGISTRY, Platform.MEMORY, Entry("no_such_package.adapter", "memory"))
    with pytest.raises(ConfigError) as caught:
        open_adapter(PlatformConfig(platform=Platform.MEMORY))
    assert "no_such_package" in str(caught.value)
    assert "hermes-repl[memory]" in caught.value.hint


def test_no_sdk_is_loaded_before_its_platform_is_set_up() -> None:
    sdks = {"telegram", "discord", "slack_bolt", "slack_sdk", "aiohttp", "httpx"}
    code = f"import sys, {registry.__name__}, gateway.run, gateway.authorization; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not sdks & set(loaded)
