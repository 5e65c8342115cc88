"""What `hermes gateway install` writes, read as the service managers read it."""

import asyncio
import os
import plistlib
import shlex
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

from agent.config import directories, load_config, store_key
from agent.errors import HermesError
from gateway.install import LABEL, write_unit
from tests.support import launchd
from tests.support.telegram_server import TOKEN, TelegramServer

ODD = 'a "b" %h $c \\d'
"""A folder's name with all that means something to systemd or to a shell."""


@pytest.fixture
def tools(tmp_path: Path) -> str:
    """A PATH with a `systemctl` on it, as Linux has one."""
    folder = tmp_path / ODD
    folder.mkdir()
    (folder / "systemctl").touch(mode=0o700)
    return str(folder)


def unit(path: Path) -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read(path)
    return parser


def environment(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line.startswith("Environment=")]
    ((name, value), *more) = [shlex.split(line)[0].split("=", 2)[1:] for line in lines]
    return {name: value.replace("%%", "%"), **{name: value.replace("%%", "%") for name, value in more}}


def test_the_unit_starts_this_hermes_where_its_files_are(home: Path, tools: str) -> None:
    env = {"PATH": tools, "HERMES_HOME": str(home / ODD)}
    done = write_unit(load_config(env=env), home=home, env=env, platform="linux")
    assert done.path == home / ".config" / "systemd" / "user" / "hermes-gateway.service"
    assert environment(done.path) == env
    service = unit(done.path)["Service"]
    command = [word.replace("%%", "%") for word in shlex.split(service["ExecStart"])]
    # No platform is set up: a person has to do something, and systemd does not try again.
    ended = subprocess.run(command, env={**env, "HOME": str(home)}, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, service["RestartPreventExitStatus"]) == (2, "2")
    assert "No platform is set up" in (directories(env).state / "gateway.log").read_text()


def test_a_program_in_an_odd_place_is_written_as_systemd_reads_it(
    home: Path, tools: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/a$b %c/python")
    env = {"PATH": tools}
    done = write_unit(load_config(env=env), home=home, env=env, platform="linux")
    assert unit(done.path)["Service"]["ExecStart"].startswith('"/opt/a$b %%c/python" "-m" ')


def test_a_relative_home_is_written_whole(home: Path, tools: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    env = {"PATH": tools, "HERMES_HOME": "here"}
    done = write_unit(load_config(env=env), home=home, env=env, platform="linux")
    assert environment(done.path)["HERMES_HOME"] == str(home / "here")


def test_the_agent_of_launchd_starts_the_same(home: Path) -> None:
    env = {"PATH": "some:places", "HERMES_HOME": str(home / ODD), "OPENAI_API_KEY": "sk-never"}
    done = write_unit(load_config(env=env), home=home, env=env, platform="darwin")
    assert done.path == home / "Library" / "LaunchAgents" / "hermes.gateway.plist"
    agent = plistlib.loads(done.path.read_bytes())
    assert agent["ProgramArguments"] == [sys.executable, "-m", "hermes_cli.main", "gateway"]
    assert agent["EnvironmentVariables"] == {"HERMES_HOME": env["HERMES_HOME"], "PATH": "some:places"}
    assert agent["Label"] == done.path.stem
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    # launchd opens it before the gateway runs.
    assert Path(agent["StandardErrorPath"]).parent.is_dir()
    assert str(done.path) in done.start
    assert agent["Label"] in done.remove


def test_what_only_the_shell_has_is_named_and_stays_out_of_the_file(home: Path, tools: str) -> None:
    dirs = directories()
    dirs.config.mkdir(parents=True)
    dirs.config_file.write_text("[gateway.slack]\n[gateway.telegram]\n")
    secrets = {"OPENAI_API_KEY": "sk-one", "GROQ_API_KEY": "sk-two", "SLACK_APP_TOKEN": "x", "DISCORD_BOT_TOKEN": "y"}
    store_key(dirs, "groq", "sk-two")
    env = {**secrets, "PATH": tools, "HERMES_HOME": str(dirs.config), "HERMES_MODEL": "gpt-x"}
    done = write_unit(load_config(env=env), home=home, env=env, platform="linux")
    named = {note.split()[0]: note for note in done.notes[:-1]}
    assert named.keys() == {"OPENAI_API_KEY", "SLACK_APP_TOKEN", "HERMES_MODEL"}
    assert named["OPENAI_API_KEY"].endswith("hermes model openai --key")
    assert named["SLACK_APP_TOKEN"].endswith("hermes gateway setup slack")
    assert not any(secret in done.path.read_text() for secret in ("sk-one", "sk-two", "gpt-x"))


def test_installing_again_takes_the_place_of_the_first(home: Path, tools: str) -> None:
    for name in ("one", "two"):
        env = {"PATH": tools, "HERMES_HOME": str(home / name)}
        done = write_unit(load_config(env=env), home=home, env=env, platform="linux")
        assert environment(done.path)["HERMES_HOME"].endswith(name)


@pytest.mark.parametrize("platform", ["win32", "linux"])
def test_a_system_that_has_neither_is_told_what_to_run(home: Path, platform: str) -> None:
    with pytest.raises(HermesError, match="neither systemd nor launchd") as told:
        write_unit(load_config(), home=home, env={"PATH": str(home)}, platform=platform)
    assert "hermes_cli.main gateway" in told.value.hint
    assert not (home / ".config").exists()


@pytest.fixture
def launchctl(tmp_path: Path) -> Iterator[str]:
    """A PATH with a `launchctl` on it; what it keeps running ends with the test."""
    loaded, programs = tmp_path / "loaded", tmp_path / "bin"
    loaded.mkdir()
    programs.mkdir()
    command = shlex.join([sys.executable, launchd.__file__, str(loaded)])
    (programs / "launchctl").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    (programs / "launchctl").chmod(0o700)
    yield f"{programs}:/usr/bin:/bin"
    for state in loaded.iterdir():
        launchd.main(loaded, "bootout", f"gui/{os.getuid()}/{state.name}")


async def test_launchd_keeps_the_gateway_running_and_loads_it_anew(home: Path, launchctl: str) -> None:
    """The printed commands, in a shell, with a stand-in for launchd: there is none outside of a Mac."""
    env = {"HOME": str(home), "PATH": launchctl, "HERMES_HOME": str(home / ODD)}
    dirs = directories(env)
    dirs.config.mkdir()

    async def shell(command: str) -> str:
        run = asyncio.create_subprocess_exec("sh", "-c", command, env=env, stdout=PIPE, stderr=STDOUT)
        said, _ = await (await run).communicate()
        return said.decode()

    async with TelegramServer() as server:
        where = f'base_url = "{server.base_url}"\nbase_file_url = "{server.base_file_url}"\npoll_timeout = 1'
        dirs.config_file.write_text(f'provider = "offline"\n[gateway.telegram]\nallow = ["7"]\n{where}\n')
        store_key(dirs, "telegram_bot_token", TOKEN)
        done = write_unit(load_config(env=env), home=home, env=env, platform="darwin")
        assert "state = running" in await shell(done.start)
        server.says("list files")
        await server.until(lambda: "no files" in str(server.messages), 20)

        async def pid() -> str:
            return (await shell(f"launchctl print gui/$(id -u)/{LABEL} | grep pid")).split()[-1]

        first = await pid()
        os.kill(int(first), signal.SIGKILL)
        server.messages.clear()
        server.says("list files")
        await server.until(lambda: "no files" in str(server.messages), 20)
        second = await pid()
        assert second != first
        # Installed again while it runs: the one before drains, and holds its name until it has.
        assert "state = running" in await shell(done.start)
        server.messages.clear()
        server.says("list files")
        await server.until(lambda: "no files" in str(server.messages), 20)
        assert await pid() not in (first, second)
        await shell(done.remove)
        assert not done.path.exists()
    assert (dirs.state / "gateway.log").read_text().count("The gateway has stopped.") >= 1
