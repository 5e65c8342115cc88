"""The unit that has the system start the gateway: of systemd for one user, or an agent of launchd."""

import os
import plistlib
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.config import Config, read_keys, setting_fields
from agent.errors import HermesError
from agent.models.catalog import KEYED
from agent.own_files import write_private
from gateway.config import of_environment

SERVICE, LABEL = "hermes-gateway", "hermes.gateway"

SYSTEMD = """\
[Unit]
Description=Hermes gateway

[Service]
Type=notify
ExecStart={command}
{environment}
Restart=on-failure
RestartSec=5
# What a person has to put right is not tried again: a setting, a token that is refused.
RestartPreventExitStatus=2
WatchdogSec=60
# The gateway parks what runs, and ends its own commands.
KillMode=mixed
TimeoutStopSec={stop_within}

[Install]
WantedBy=default.target
"""

STOP_WITHIN = 30
"""Seconds that the gateway has to park what runs."""

RETRY_AFTER = 60
"""Seconds between two starts by launchd, which cannot tell failures apart."""

RELEASED = 15
"""Seconds that launchd may hold an agent's name after its end; five were seen by others."""

CARRIED = ("HERMES_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "PATH")
"""What of the environment is written into the unit: where everything is."""


@dataclass(frozen=True, slots=True)
class Installed:
    """Where the unit was written, the commands that start it and take it away again, and what to know besides."""

    path: Path
    start: str
    remove: str
    notes: tuple[str, ...] = ()


def write_unit(
    config: Config,
    *,
    home: Path | None = None,
    env: Mapping[str, str] = os.environ,
    platform: str = sys.platform,
) -> Installed:
    """Write the unit for this installation, in place of one that stands there.

    Raises: HermesError, where the system has neither systemd nor launchd, or the unit cannot be written.
    """
    home = home or Path.home()
    arguments = [sys.executable, "-m", "hermes_cli.main", "gateway"]
    carried = {name: env[name] for name in CARRIED if env.get(name)}
    if "HERMES_HOME" in carried:
        carried["HERMES_HOME"] = str(config.dirs.config)  # absolute
    notes, state = list(_notes(config, env)), config.dirs.state
    if platform == "darwin":
        path = home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, _plist(arguments, carried, home=home, state=state))
        notes.append("It runs while you are logged in at the screen of this Mac.")
        domain, file = "gui/$(id -u)", shlex.quote(str(path))
        agent, out = f"{domain}/{LABEL}", f"launchctl bootout {domain}/{LABEL}"
        # One that is loaded keeps what it was loaded with. `bootout` does not wait for its end, and until then, and
        # some seconds longer, `bootstrap` fails ("5: Input/output error").
        load = f"for n in $(seq {STOP_WITHIN + RELEASED}); do launchctl bootstrap {domain} {file} 2>/dev/null && break"
        start = (
            f"{out} 2>/dev/null; launchctl enable {agent}; {load}; sleep 1; done; launchctl print {agent} | grep state"
        )
        return Installed(path, start, f"{out}; rm {file}", tuple(notes))
    if not platform.startswith("linux") or shutil.which("systemctl", path=env.get("PATH")) is None:
        raise HermesError(
            "This system has neither systemd nor launchd.",
            hint=f"Have your own service manager run: {shlex.join(arguments)}",
        )
    path = Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "systemd" / "user" / f"{SERVICE}.service"
    environment = "\n".join(f"Environment={_quoted(f'{name}={value}')}" for name, value in carried.items())
    # In the program's own path systemd does not expand it.
    command = " ".join([_quoted(arguments[0]), *(_quoted(word).replace("$", "$$") for word in arguments[1:])])
    write_private(path, SYSTEMD.format(command=command, environment=environment, stop_within=STOP_WITHIN))
    start = f"systemctl --user daemon-reload && systemctl --user enable {SERVICE} && systemctl --user restart {SERVICE}"
    remove = f"systemctl --user disable --now {SERVICE} && rm {shlex.quote(str(path))}"
    notes.append("To have it run while you are not logged in: loginctl enable-linger")
    return Installed(path, start, remove, tuple(notes))


def _plist(arguments: list[str], environment: Mapping[str, str], *, home: Path, state: Path) -> str:
    said = str(state / "gateway.launchd.log")  # what is said before the log is open
    return plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": arguments,
            "EnvironmentVariables": dict(environment),
            "WorkingDirectory": str(home),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": RETRY_AFTER,
            "ExitTimeOut": STOP_WITHIN,
            "StandardOutPath": said,
            "StandardErrorPath": said,
        },
        sort_keys=False,
    ).decode()


def _quoted(text: str) -> str:
    """As systemd reads it back: in double quotes, `%` is no specifier."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n") + '"'


def _notes(config: Config, env: Mapping[str, str]) -> Iterator[str]:
    """What the service will not have of what this shell has: keys, tokens and settings that stand nowhere else."""
    if not config.values.gateway:
        yield "No platform is set up yet. First: hermes gateway setup"
    kept = read_keys(config.dirs)
    keys = [(one.key_variable, f"hermes model {one.name} --key") for one in KEYED if one.name not in kept]
    tokens = [
        (name.upper(), f"hermes gateway setup {platform}")
        for platform in config.values.gateway
        for name in sorted(of_environment(platform, env).keys() - kept.keys())
    ]
    settings = [(f"HERMES_{name.upper()}", f"hermes config set {name}") for name in setting_fields()]
    for name, command in (*keys, *tokens, *settings):
        if env.get(name):
            yield f"{name} is only in this shell, which the service does not see. To keep it: {command}"
