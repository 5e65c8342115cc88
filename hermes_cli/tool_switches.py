"""Which tools the agent has: listed and switched by `/tools` and `hermes tools`, kept in `tools_off` of config.toml."""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.config import Config, set_value
from agent.errors import ConfigError, HermesError
from agent.tools import NAMES, similar, summary

SETTING = "tools_off"


@dataclass(frozen=True, slots=True)
class Row:
    """A tool. `state` is "on", "off", or what else there is to say."""

    name: str
    state: str
    summary: str


def rows(config: Config, *, now: Collection[str] | None = None, env: Mapping[str, str] = os.environ) -> list[Row]:
    """Every tool there is. `now` are those of the conversation that goes on, where there is one."""
    from agent.tools.web_search import configured  # loaded where it is asked for, not with the command line

    values = config.values
    search = configured(values.web_search, values.web_search_url, env) is not None
    found = []
    for name in NAMES:
        state = "off" if name in values.tools_off else "on"
        if name == "web_search" and not search:
            state = "not set up"
        elif now is not None and name != "tasks" and (name in now) != (state == "on"):
            state += ", from the next conversation on"
        found.append(Row(name, state, summary(name)))
    return [*found, *(Row(name, "not known", "") for name in values.tools_off if name not in NAMES)]


def switch(config: Config, names: Sequence[str], *, on: bool) -> Config:
    """Keep which tools are off. Gives the configuration as it is then. Raises: HermesError."""
    if not names:
        word = "on" if on else "off"
        raise HermesError(f"Which tool is to be {word}?", hint=f"Example: /tools {word} web_fetch")
    for name in names:
        if name not in NAMES and not (on and name in config.values.tools_off):
            raise HermesError(f"There is no tool {name!r}.", hint=similar(name))
    origin = config.origins.get(SETTING, "default")
    if origin not in ("default", str(config.dirs.config_file)):
        raise ConfigError(f"{SETTING} is set by the {origin}, which counts before what is kept.")
    left = [name for name in config.values.tools_off if name not in names]
    off = left if on else [*left, *dict.fromkeys(names)]
    set_value(config.dirs, SETTING, json.dumps(off))
    values = replace(config.values, tools_off=off)
    return replace(config, values=values, origins={**config.origins, SETTING: str(config.dirs.config_file)})
