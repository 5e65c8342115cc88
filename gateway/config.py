"""The platforms a person may write from, and how each is set up: the tables `[gateway.<platform>]` of config.toml.

Tokens are no settings. They come from the environment (`TELEGRAM_BOT_TOKEN`) or from credentials.toml, where the same
name is written in lower case.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from agent.errors import ConfigError
from agent.tools import NAMES, similar
from agent.tools.outside import PREFIX

GroupSessions = Literal["user", "chat"]
"""In a group: a session for each person, or one that all share."""

GroupTalk = Literal["mentioned", "all", "none"]
"""Which messages of a group are for the bot."""


class Platform(StrEnum):
    """A chat platform. The value is its name in settings and ids."""

    TELEGRAM = "telegram"
    DISCORD = "discord"
    SLACK = "slack"
    MEMORY = "memory"


THERE_ARE = ", ".join(platform for platform in Platform if platform != Platform.MEMORY)
"""For a person: the one in memory is a double."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformConfig:
    """How one platform is set up.

    `allow` and `admins` are the platform's own ids of people (`U0…`, digits), never names; admins need not be in
    `allow`. `everyone` lets in whoever writes, and has to be said. A stranger is offered a code by which the owner can
    let them in, unless `pairing` is off; said to be on, a platform is served where nobody is let in yet.
    `tools` says what people who are no admins have: "chat", or "full" as at the terminal. Of "chat" `tools_off` takes
    some away by name; `network` lets its commands use the network. `options` is what only this platform's adapter
    knows.
    """

    platform: Platform
    allow: frozenset[str] = frozenset()
    admins: frozenset[str] = frozenset()
    everyone: bool = False
    pairing: bool | None = None
    groups: GroupTalk = "mentioned"
    sessions: GroupSessions = "user"
    tools: Literal["chat", "full"] = "chat"
    tools_off: frozenset[str] = frozenset()
    network: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


_COMMON = frozenset({"allow", "admins", "everyone", "pairing", "groups", "sessions", "tools", "tools_off", "network"})


def platform_configs(
    tables: Mapping[str, Any],
    keys: Mapping[str, str],
    env: Mapping[str, str],
    wrong: dict[Platform, ConfigError] | None = None,
) -> dict[Platform, PlatformConfig]:
    """Read the tables of the platforms that are set up; `keys` are what credentials.toml holds.

    Raises: ConfigError for an unknown platform and a value of the wrong kind, which goes into `wrong` where that is
    given. Options and secrets are the adapter's to check.
    """
    configs: dict[Platform, PlatformConfig] = {}
    for name, table in tables.items():
        if name not in {*Platform}:
            raise ConfigError(f"[gateway.{name}]: there is no such platform.", hint=f"There are {THERE_ARE}.")
        if not isinstance(table, Mapping):
            raise ConfigError(f"gateway.{name} is no table.", hint=f"It is written [gateway.{name}].")
        platform = Platform(name)
        try:
            configs[platform] = _read(platform, table, _secrets_of(name, keys, env))
        except ConfigError as error:
            if wrong is None:
                raise
            wrong[platform] = error
    return configs


def _read(platform: Platform, table: Mapping[str, Any], secrets: Mapping[str, str]) -> PlatformConfig:
    common = {
        name: _ids(name, table[name], platform) if name in ("allow", "admins") else table[name]
        for name in _COMMON & table.keys()
    }
    options = {name: value for name, value in table.items() if name not in _COMMON}
    _require_tools(common.get("tools_off"), platform)
    return checked(PlatformConfig, {**common, "platform": platform, "options": options, "secrets": secrets}, platform)


def _require_tools(names: object, platform: Platform) -> None:
    """A tool that is written wrongly would stay. Raises: ConfigError."""
    for name in names if isinstance(names, list) else ():
        if isinstance(name, str) and name not in NAMES and not name.startswith(f"{PREFIX}__"):
            raise ConfigError(f"[gateway.{platform}] tools_off: there is no tool {name!r}.", hint=similar(name))


def _ids(name: str, value: object, platform: Platform) -> list[str]:
    """People's ids. Numbers may be written as such."""
    if not isinstance(value, list) or not all(isinstance(item, str | int) and str(item).strip() for item in value):
        raise ConfigError(f"[gateway.{platform}] {name}: a list of ids is needed, such as [12345678].")
    ids = [str(item).strip() for item in value]
    if wrong := [item for item in ids if not is_person(platform, item)]:
        raise ConfigError(
            f"[gateway.{platform}] {name}: {wrong[0]!r} is no id of a person there.",
            hint="Names can be changed by whoever bears them, so they let nobody in.",
        )
    return ids


def is_person(platform: Platform, user_id: str) -> bool:
    """Whether this can be the stable id of a person on that platform."""
    if platform == Platform.SLACK:
        return user_id[:1] in ("U", "W") and user_id.isalnum() and user_id.isascii() and user_id.isupper()
    return user_id.isascii() and user_id.isdigit() and not user_id.startswith("0")


def _secrets_of(platform: str, keys: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """The platform's secrets by what follows its name: `bot_token`. The environment wins."""
    lead = f"{platform}_"
    found = {name.removeprefix(lead): value for name, value in keys.items() if name.startswith(lead)}
    found |= {name.removeprefix(lead): value for name, value in of_environment(platform, env).items()}
    return {name: value.strip() for name, value in found.items() if value.strip()}


def of_environment(platform: str, env: Mapping[str, str]) -> dict[str, str]:
    """The platform's secrets that the environment has, by their names in credentials.toml."""
    return {name.lower(): env[name] for name in sorted(env) if name.lower().startswith(f"{platform}_") and env[name]}


_Kind = TypeVar("_Kind")


def checked(kind: type[_Kind], values: Mapping[str, Any], platform: Platform) -> _Kind:
    """The values as an object of that kind. Raises: ConfigError, naming the table and the field."""
    import msgspec

    try:
        return msgspec.convert(dict(values), kind, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"[gateway.{platform}]: {error}.", hint=_choices(kind, str(error))) from error


def _choices(kind: type[Any], said: str) -> str:
    """What the field may be that an error is about, where that is one of a few words."""
    field_name = said.rpartition("`$.")[2].rstrip("`")
    words = get_args(get_type_hints(kind).get(field_name))
    if words and all(isinstance(word, str) for word in words):
        return f"There are {', '.join(words)}."
    return "See docs/gateway.md."


def secret(config: PlatformConfig, name: str, what: str) -> str:
    """A secret that has to be there. Raises: ConfigError, saying where to put it."""
    if value := config.secrets.get(name):
        return value
    variable = f"{config.platform}_{name}"
    raise ConfigError(
        f"{config.platform} needs {what}.",
        hint=f"Put it in the environment as {variable.upper()}, or in credentials.toml as {variable}.",
    )
