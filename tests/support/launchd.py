"""`launchctl` as its manual and launchd.plist(5) describe it, for systems that have none.

    python tests/support/launchd.py FOLDER bootstrap gui/501 /path/to/agent.plist

FOLDER holds what is loaded. One process for each agent does what launchd does: it starts the program with the
agent's environment and hardly anything else, again when it failed (not more often than `ThrottleInterval`, of
which a second takes `SECOND` here), and on `bootout`, which returns at once, SIGTERM and after `ExitTimeOut`
SIGKILL. A label that is on its way out cannot be loaded, as on a Mac: "Bootstrap failed: 5".
"""

import os
import plistlib
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SECOND = 0.05
"""Seconds that a second of `ThrottleInterval` takes."""

HELD = 1.0
"""Seconds that a label is held after its program has ended."""

BASE = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}

KEYS: dict[str, type] = {
    "Label": str,
    "ProgramArguments": list,
    "EnvironmentVariables": dict,
    "WorkingDirectory": str,
    "RunAtLoad": bool,
    "KeepAlive": dict,
    "ThrottleInterval": int,
    "ExitTimeOut": int,
    "StandardOutPath": str,
    "StandardErrorPath": str,
}
"""The keys that are known here; another one is an error, since nobody would know what it does."""


def main(folder: Path, verb: str, target: str, *files: str) -> int:
    domain = f"gui/{os.getuid()}"
    if verb == "bootstrap":
        if target != domain or len(files) != 1:
            return _fails(125, "Bootstrap failed: 125: Domain does not support specified action")
        agent = plistlib.loads(Path(files[0]).read_bytes())
        if not _is_sound(agent) or (folder / agent["Label"]).exists():
            return _fails(5, "Bootstrap failed: 5: Input/output error")
        (folder / agent["Label"]).write_text("")
        _aside(folder / agent["Label"], agent)
        return 0
    label = target.removeprefix(f"{domain}/")
    if label == target or "/" in label:
        return _fails(64, f"Unrecognized target specifier: {target}")
    if verb == "enable":
        return 0
    if not (folder / label).exists():
        return _fails(3 if verb == "bootout" else 113, f'Could not find service "{label}" in domain for {domain}')
    keeper, _, program = (folder / label).read_text().partition(" ")
    if verb == "bootout":
        os.kill(int(keeper), signal.SIGTERM)
    elif verb == "print":
        state = "running" if program else "not running"
        sys.stdout.write(f"{target} = {{\n\tstate = {state}\n\tpid = {program}\n}}\n")
    else:
        return _fails(64, f"Unrecognized subcommand: {verb}")
    return 0


def _fails(code: int, why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return code


def _is_sound(agent: dict[str, Any]) -> bool:
    paths = [agent["WorkingDirectory"], agent["StandardOutPath"], agent["StandardErrorPath"]]
    words = [*agent["ProgramArguments"], *agent["EnvironmentVariables"].values()]
    return (
        all(isinstance(value, KEYS.get(key, Path)) for key, value in agent.items())
        and all(Path(path).is_absolute() for path in [*paths, agent["ProgramArguments"][0]])
        and all(isinstance(word, str) for word in words)
        and agent["KeepAlive"].keys() == {"SuccessfulExit"}
    )


def _aside(state: Path, agent: dict[str, Any]) -> None:
    """Keep the agent running, in a process that belongs to nobody."""
    if os.fork():
        while not state.read_text():
            time.sleep(0.01)
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    leaving = False

    def leave(*_: object) -> None:
        nonlocal leaving
        leaving = True

    signal.signal(signal.SIGTERM, leave)
    program: subprocess.Popen[bytes] | None = None
    wanted, soonest = agent["RunAtLoad"], 0.0
    while not leaving:
        if program is None and wanted and time.monotonic() >= soonest:
            soonest = time.monotonic() + agent["ThrottleInterval"] * SECOND
            program = _started(agent)
        if program is not None and program.poll() is not None:
            wanted = agent["KeepAlive"]["SuccessfulExit"] is (program.returncode == 0)
            program = None
        _write(state, program)
        time.sleep(0.02)
    if program is not None:
        program.terminate()
        try:
            program.wait(agent["ExitTimeOut"])
        except subprocess.TimeoutExpired:
            program.kill()
    time.sleep(HELD)
    state.unlink()
    os._exit(0)


def _started(agent: dict[str, Any]) -> subprocess.Popen[bytes]:
    with Path(agent["StandardOutPath"]).open("ab") as out, Path(agent["StandardErrorPath"]).open("ab") as err:
        return subprocess.Popen(
            agent["ProgramArguments"],
            cwd=agent["WorkingDirectory"],
            env={**BASE, "HOME": os.environ["HOME"], **agent["EnvironmentVariables"]},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )


def _write(state: Path, program: subprocess.Popen[bytes] | None) -> None:
    said = f"{os.getpid()} {program.pid if program is not None else ''}"
    if state.read_text() != said:
        new = state.with_suffix(".new")
        new.write_text(said)
        new.replace(state)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), *sys.argv[2:]))
