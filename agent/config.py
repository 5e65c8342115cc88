"""Settings: read once, validated, frozen, and each value knows where it came from.

Highest first: command-line flag, environment (`HERMES_<NAME>`), project `.hermes/config.toml` (trusted folders
only, and only the names marked for projects), user `config.toml`, default. Keys of providers are no settings:
they live in `credentials.toml` (0600) or in the environment.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from agent import trust
from agent.errors import ConfigError, did_you_mean
from agent.own_files import changing, write_private

ApprovalMode = Literal["ask", "edits", "plan", "yolo"]
SandboxMode = Literal["off", "read-only", "workspace-write"]

# -- directories -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Directories:
    """Where Hermes keeps its files. None of them need exist yet."""

    config: Path
    state: Path
    cache: Path

    @property
    def config_file(self) -> Path:
        return self.config / "config.toml"

    @property
    def credentials_file(self) -> Path:
        return self.config / "credentials.toml"

    @property
    def policy_file(self) -> Path:
        return self.config / "policy.toml"

    @property
    def database(self) -> Path:
        return self.state / "state.db"


def directories(env: Mapping[str, str] = os.environ) -> Directories:
    """`HERMES_HOME` for all three when it is set, else the platform's own (XDG on Linux)."""
    if home := env.get("HERMES_HOME"):
        base = Path(home).expanduser().absolute()
        return Directories(base, base / "state", base / "cache")
    if sys.platform in ("darwin", "win32"):
        import platformdirs

        dirs = platformdirs.PlatformDirs("hermes", appauthor=False)
        return Directories(dirs.user_config_path, dirs.user_state_path, dirs.user_cache_path)

    names = ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")
    return _xdg_directories(os.environ.get("HOME", ""), *(env.get(name, "") for name in names))


@lru_cache
def _xdg_directories(_home: str, config: str, state: str, cache: str) -> Directories:
    """Looked up once for each `HOME`, which is what `Path.home` goes by."""
    home = Path.home()

    def xdg(value: str, default: str) -> Path:
        # The specification says to ignore a relative path.
        return (Path(value) if Path(value).is_absolute() else home / default) / "hermes"

    return Directories(xdg(config, ".config"), xdg(state, ".local/state"), xdg(cache, ".cache"))


# -- settings --------------------------------------------------------------------------------------


def _setting(default: Any, summary: str, *, project: bool = False) -> Any:
    metadata = {"summary": summary, "project": project}
    if isinstance(default, dict | list):
        kind = type(default)
        return field(default_factory=lambda: kind(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting, with its default. One row here is all a new setting needs."""

    model: str = _setting("", "model id; empty: the provider's default", project=True)
    provider: str = _setting("", "provider name; empty: found from keys and local servers", project=True)
    base_url: str = _setting("", "address of an OpenAI-compatible endpoint")
    fallback_model: str = _setting("", "asked when the model fails: `model` or `provider:model`", project=True)
    reasoning_effort: Literal["", "none", "minimal", "low", "medium", "high", "xhigh"] = _setting(
        "", "how long a reasoning model thinks", project=True
    )
    provider_routing: dict[str, Any] = _setting({}, "passed through to the endpoint as `provider`")
    max_steps: int = _setting(60, "model replies in one turn", project=True)
    max_cost: float = _setting(0.0, "US dollars one turn may cost before it stops; 0: no limit")
    output_limit: int = _setting(30_000, "characters of a tool's output that the model sees", project=True)
    context_window: int = _setting(0, "tokens that fit the model's window; 0: as its server or the catalog says")
    compact: bool = _setting(True, "summarise a conversation that gets too long for the model's window", project=True)
    compact_at: float = _setting(0.8, "how full the window may be before that, as a share of it", project=True)
    command_timeout: float = _setting(120.0, "seconds a shell command may take", project=True)
    request_timeout: float = _setting(600.0, "seconds to wait for the model to send something")
    background_workers: int = _setting(4, "background tasks at once; more are queued")
    task_budget: float = _setting(0.0, "US dollars a background task may cost before it asks; 0: no limit")
    task_timeout: float = _setting(0.0, "seconds a background task may run before it asks; 0: no limit")
    session_budget: float = _setting(
        0.0, "US dollars the tasks of one terminal or chat may cost, as far as prices are known; 0: no limit"
    )
    daily_budget: float = _setting(
        0.0, "US dollars a day, of turns and tasks with known prices, at which tasks ask; 0: no limit"
    )
    approvals: ApprovalMode = _setting("ask", "ask, edits, plan or yolo")
    approval_timeout: float = _setting(0.0, "seconds after which a question counts as answered with no; 0: never")
    sandbox: SandboxMode = _setting("off", "wall around commands: off, read-only or workspace-write")
    sandbox_network: bool = _setting(False, "commands behind that wall may use the network")
    web_private: bool = _setting(False, "web_fetch may ask addresses of this machine and network")
    web_search: Literal["", "searxng", "brave", "tavily"] = _setting("", "who searches; empty: whoever has a key")
    web_search_url: str = _setting("", "address of your own SearXNG")
    tools_off: list[str] = _setting([], "tools that the agent does not have, by name; see /tools")
    checkpoints: bool = _setting(True, "save files before a turn changes them, for /diff and /rollback")
    verbose: bool = _setting(False, "show each tool's output")
    bell: bool = _setting(True, "ring when a task needs you or ends while the terminal is not focused")
    gateway: dict[str, Any] = _setting({}, "how `hermes gateway` serves chats: see docs/gateway.md")
    trusted_folders: list[str] = _setting([], "folders whose AGENTS.md and .hermes/config.toml are read without asking")


@dataclass(frozen=True, slots=True)
class Config:
    """Settings in force. `origins` says for each name where its value came from, in words for a person."""

    values: Settings
    origins: Mapping[str, str]
    dirs: Directories


def setting_fields() -> dict[str, Field[Any]]:
    """The table of settings, by name. `metadata` holds `summary` and `project`."""
    return {item.name: item for item in fields(Settings)}


_RANGES: Mapping[str, tuple[float, float]] = {
    "max_steps": (1, 100_000),
    "max_cost": (0, 1_000_000),
    "output_limit": (1_000, 10_000_000),
    "context_window": (0, 100_000_000),
    "compact_at": (0.1, 0.99),
    "background_workers": (1, 1_000),
    "command_timeout": (0.1, 86_400),
    "request_timeout": (0.1, 86_400),
    "approval_timeout": (0, 86_400),
    "task_budget": (0, 1_000_000),
    "task_timeout": (0, 10_000_000),
    "session_budget": (0, 1_000_000),
    "daily_budget": (0, 1_000_000),
}


def convert(name: str, value: object, origin: str) -> Any:
    """Check one value against the table. Text is converted, so that environment and command line work.

    Raises: ConfigError, naming the setting, its origin, and what is allowed.
    """
    import msgspec  # here, not above: a start without any setting does not need it

    kind = _types()[name]
    try:
        if isinstance(value, str) and kind not in (str, ApprovalMode, SandboxMode) and name != "reasoning_effort":
            found = msgspec.convert(_parsed(value), kind, strict=False)
        else:
            found = msgspec.convert(value, kind, strict=not isinstance(value, str))
    except msgspec.ValidationError as error:
        known = ", ".join(filter(None, get_args(kind))) if get_origin(kind) is Literal else ""
        hint = f"There are: {known}." if known else f"{name} is: {summary(name)}."
        if get_origin(kind) is dict:
            hint += ' As JSON: {"order": ["a", "b"]}; in the file: {order = ["a", "b"]}.'
        raise ConfigError(f"{name} ({origin}): {error}.", hint=hint) from error
    if name in _RANGES and not _RANGES[name][0] <= found <= _RANGES[name][1]:  # NaN is in no range
        least, most = _RANGES[name]
        raise ConfigError(f"{name} ({origin}) must be at least {least:g} and at most {most:g}, not {found}.")
    if name == "base_url" and found:
        _check_address(found, origin)
    return found


def _check_address(address: str, origin: str) -> None:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(
            f"base_url ({origin}) is no address: {address!r}.", hint="It looks like http://localhost:8000/v1."
        )


def summary(name: str) -> str:
    return str(setting_fields()[name].metadata["summary"])


def load_config(
    flags: Mapping[str, object] | None = None, *, env: Mapping[str, str] = os.environ, cwd: Path | None = None
) -> Config:
    """Read every source once. Flags that are None do not count.

    Raises: ConfigError for a file that does not parse, an unknown name, or a value of the wrong type.
    """
    dirs = directories(env)
    values: dict[str, Any] = {}
    origins: dict[str, str] = dict.fromkeys(setting_fields(), "default")

    def take(found: Mapping[str, object], origin: str) -> None:
        before = values.get("provider") or "custom"
        if "base_url" in values and "base_url" not in found and (found.get("provider") or before) != before:
            # An address belongs to the provider it was set for: another one's key must not be sent there.
            del values["base_url"]
            origins["base_url"] = "default"
        for name, value in found.items():
            if name not in origins:
                raise ConfigError(f"{origin}: no setting is called {name!r}.", hint=_nearest(name))
            values[name] = convert(name, value, origin)
            origins[name] = origin

    user_file = _read_toml(dirs.config_file)
    take(user_file, str(dirs.config_file))
    named = cast(list[str], values.get("trusted_folders", []))
    project = _project_file(cwd or Path.cwd(), [*named, *trust.trusted(dirs.state)])
    if project is not None:
        take(_only_project_names(_read_toml(project), project), str(project))
    take({name: env[key] for name in origins if (key := f"HERMES_{name.upper()}") in env}, "environment")
    take({name: value for name, value in (flags or {}).items() if value is not None}, "command line")
    return Config(Settings(**values), origins, dirs)


def set_value(dirs: Directories, name: str, text: str) -> Any:
    """Write one setting to the user's file, keeping comments and order. Returns the value as stored.

    Raises: ConfigError.
    """
    if name not in setting_fields():
        raise ConfigError(f"No setting is called {name!r}.", hint=_nearest(name))
    import tomlkit

    value = convert(name, text, "command line")
    path = dirs.config_file
    with changing(path):
        _read_toml(path)  # A file that does not parse is reported with its line, and left as it is.
        document = tomlkit.parse(path.read_text("utf-8")) if path.exists() else tomlkit.document()
        document[name] = value
        write_private(path, tomlkit.dumps(document), mode=0o644)
    return value


@cache
def _types() -> dict[str, Any]:
    return get_type_hints(Settings)


def _parsed(text: str) -> object:
    """The value that a text spells in TOML, or else in JSON; the text itself where it is neither."""
    import json
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        pass
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _nearest(name: str) -> str:
    return did_you_mean(name, setting_fields(), "See `hermes config show` for all names.", show=repr)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read {path}: {error}.") from error
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{path} is not valid TOML: {error}.", hint="Mend that line, or move the file away."
        ) from error


def _project_file(cwd: Path, trusted: list[str]) -> Path | None:
    """The nearest `.hermes/config.toml` at or above `cwd`, when its folder is trusted."""
    folders = {Path(item).expanduser().resolve() for item in trusted}
    for folder in (cwd.resolve(), *cwd.resolve().parents) if folders else ():
        path = folder / ".hermes" / "config.toml"
        if path.is_file():
            return path if folder in folders else None
    return None


def _only_project_names(found: dict[str, Any], path: Path) -> dict[str, Any]:
    known = setting_fields()
    for name in found:
        if name in known and not known[name].metadata["project"]:
            raise ConfigError(
                f"{path} may not set {name!r}.", hint=f"Put it in your own file: `hermes config set {name} …`."
            )
    return found


# -- credentials -----------------------------------------------------------------------------------


def read_keys(dirs: Directories) -> dict[str, str]:
    """Stored API keys, provider name → key. A file others can read is made private first.

    Raises: ConfigError.
    """
    path = dirs.credentials_file
    keys = _read_toml(path)
    if keys and sys.platform != "win32" and path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return {name: value for name, value in keys.items() if isinstance(value, str)}


def store_key(dirs: Directories, provider: str, key: str) -> None:
    """Keep a provider's API key, in a file only its owner can read; an empty key removes it."""
    import tomlkit

    with changing(dirs.credentials_file):
        keys = read_keys(dirs) | {provider: key}
        write_private(dirs.credentials_file, tomlkit.dumps({name: value for name, value in keys.items() if value}))


# -- the model in force ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """Which model to ask, where, and how. The key never shows in a repr.

    `routing` is passed through to the endpoint as `provider` (OpenRouter's name for it).
    `timeout` is in seconds, between two pieces of an answer.
    """

    provider: str
    model: str
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    reasoning_effort: str = ""
    routing: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 600.0
    fallback: "ModelChoice | None" = None
