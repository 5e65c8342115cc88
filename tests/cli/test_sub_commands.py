"""`hermes config`, `model`, `doctor`, `completion`, and what it says about itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent import __version__
from agent.commands import commands_for
from agent.config import setting_fields
from hermes_cli import handlers
from hermes_cli.options import OPTIONS, SUBCOMMANDS
from tests.cli.conftest import Run
from tests.support.openai_server import OpenAIServer

# -- itself ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--version"], ["-V"]])
def test_it_says_its_version(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"hermes {__version__}\n", "")


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_option_and_every_sub_command(sub_command: Run, flag: str) -> None:
    done = sub_command(flag)
    assert done.returncode == 0
    for option in OPTIONS:
        assert option.flags[-1] in done.stdout
    for name in SUBCOMMANDS:
        assert name in done.stdout


# -- config ----------------------------------------------------------------------------------------


def test_help_lists_in_the_same_order_each_time(run: Run) -> None:
    told = {run("--help", env={"PYTHONHASHSEED": str(seed)}).stdout for seed in range(3)}
    assert len(told) == 1


def test_every_setting_is_shown_with_where_it_comes_from(sub_command: Run, home: Path) -> None:
    assert sub_command("config", "set", "max_steps", "9").returncode == 0
    lines = sub_command("config", "show", env={"HERMES_VERBOSE": "1"}).stdout.splitlines()
    shown = {line.split()[0]: line for line in lines}
    assert set(shown) == set(setting_fields())
    assert str(home / "hermes-home" / "config.toml") in shown["max_steps"]
    assert "9" in shown["max_steps"]
    assert shown["verbose"].endswith("environment")
    assert shown["bell"].endswith("default")


def test_a_setting_is_stored_and_got_back(sub_command: Run) -> None:
    assert sub_command("config", "set", "command_timeout", "45").returncode == 0
    assert sub_command("config", "get", "command_timeout").stdout == "45.0\n"
    assert sub_command("config", "get", "max_steps").stdout == "60\n"


def test_the_path_of_the_settings_can_be_asked_for(sub_command: Run, home: Path) -> None:
    assert sub_command("config", "path").stdout == f"{home / 'hermes-home' / 'config.toml'}\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["config", "get", "modell"], "modell"),
        (["config", "set", "modell", "x"], "Did you mean 'model'?"),
        (["config", "set", "max_steps", "many"], "max_steps"),
        (["config", "set", "max_steps", "0"], "at least 1"),
        (["config", "set", "approvals", "never"], "approvals"),
    ],
)
def test_a_setting_that_is_wrong_is_refused_with_advice(
    sub_command: Run, home: Path, arguments: list[str], told: str
) -> None:
    done = sub_command(*arguments)
    assert done.returncode in (1, 2)
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "hermes-home" / "config.toml").exists()


def test_a_broken_file_is_told_with_its_line_by_whatever_reads_it(sub_command: Run, home: Path) -> None:
    (home / "hermes-home").mkdir()
    (home / "hermes-home" / "config.toml").write_text("model = 'x'\nmax_steps =\n")
    for arguments in (["config", "show"], ["doctor"]):
        done = sub_command(*arguments)
        assert done.returncode in (1, 2)
        assert "line 2" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


# -- model -----------------------------------------------------------------------------------------


def test_a_provider_and_model_become_the_default(sub_command: Run) -> None:
    done = sub_command("model", "groq:llama-x")
    assert done.returncode == 0
    no_provider = {"HERMES_PROVIDER": "groq"}
    assert sub_command("config", "get", "provider", env=no_provider).stdout == "groq\n"
    assert sub_command("config", "get", "model").stdout == "llama-x\n"


def test_another_provider_does_not_get_the_address_of_the_last(sub_command: Run, home: Path) -> None:
    none = {"HERMES_PROVIDER": ""}
    sub_command("config", "set", "base_url", "http://box:1/v1", env=none)
    sub_command("model", "groq:llama-x", env=none)
    assert 'base_url = ""' in (home / "hermes-home" / "config.toml").read_text()


def test_a_bare_name_is_a_model_of_whichever_provider(sub_command: Run) -> None:
    key = {"HERMES_PROVIDER": "", "OPENAI_API_KEY": "o"}
    assert sub_command("model", "some-model", env=key).stdout == "model = some-model\n"


def test_a_model_that_nobody_has_is_not_stored(sub_command: Run) -> None:
    done = sub_command("model", "some-model", env={"HERMES_PROVIDER": ""})
    assert (done.returncode, sub_command("config", "get", "model").stdout) == (1, "\n")
    assert "Nobody here has the model 'some-model'" in done.stderr
    assert "provider:model" in done.stderr


@pytest.mark.parametrize("name", ["offlin", "opnai:gpt-5-mini"])
def test_what_looks_like_a_provider_is_not_taken_for_a_model(sub_command: Run, name: str) -> None:
    done = sub_command("model", name)
    assert done.returncode == 1
    assert "Did you mean o" in done.stderr
    assert "model" not in sub_command("config", "get", "model").stdout


def test_a_model_asked_for_by_name_is_not_looked_for_at_the_offline_model(sub_command: Run, home: Path) -> None:
    sub_command("model", "offline")
    sub_command("model", "some-model", env={"HERMES_PROVIDER": "offline", "OPENAI_API_KEY": "o"})
    assert 'provider = ""' in (home / "hermes-home" / "config.toml").read_text()
    assert sub_command("config", "get", "model").stdout == "some-model\n"


def test_with_nobody_to_ask_a_model_has_to_be_named(sub_command: Run) -> None:
    done = sub_command("model")
    assert done.returncode == 1
    assert "hermes model openai:" in done.stderr


# -- doctor ----------------------------------------------------------------------------------------


def test_a_new_installation_is_well(sub_command: Run) -> None:
    done = sub_command("doctor")
    assert done.returncode == 0, done.stdout
    assert "Python" in done.stdout
    assert "bad" not in done.stdout
    assert "offline model" in done.stdout


def test_an_endpoint_that_answers_is_well(sub_command: Run) -> None:
    with OpenAIServer(models=["test-model", "other"]) as server:
        env = {"HERMES_PROVIDER": "custom", "HERMES_MODEL": "test-model", "OPENAI_BASE_URL": server.base_url}
        done = sub_command("doctor", env=env | {"OPENAI_API_KEY": "sk-test-0123456789"})
    assert done.returncode == 0, done.stdout
    assert "endpoint answers: 2 models" in done.stdout
    assert "sk-test" not in done.stdout


def test_an_endpoint_nobody_runs_is_told(sub_command: Run) -> None:
    env = {"HERMES_PROVIDER": "custom", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "OPENAI_API_KEY": "k"}
    done = sub_command("doctor", env=env)
    assert done.returncode == 1
    assert "bad   model" in done.stdout


def test_a_missing_key_is_told_with_the_way_to_set_it(sub_command: Run) -> None:
    done = sub_command("doctor", env={"HERMES_PROVIDER": "groq"})
    assert done.returncode == 1
    assert "no key for groq" in done.stdout
    assert "hermes model groq" in done.stdout


def test_a_database_that_others_can_read_is_told(sub_command: Run, home: Path) -> None:
    database = home / "hermes-home" / "state" / "state.db"
    database.parent.mkdir(parents=True)
    database.write_text("")
    database.chmod(0o644)
    done = sub_command("doctor")
    assert done.returncode == 1
    assert f"chmod 600 {database}" in done.stdout


# -- completion ------------------------------------------------------------------------------------


def test_a_shell_without_a_completion_is_a_mistake_of_the_command_line(run: Run) -> None:
    done = run("completion", "tcsh")
    assert (done.returncode, done.stdout) == (2, "")
    assert "bash, zsh, fish" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_for_this_program_and_this_shell(sub_command: Run, shell: str) -> None:
    done = sub_command("completion", shell)
    assert done.returncode == 0
    assert "_HERMES_COMPLETE" in done.stdout
    assert f"complete_{shell}" in done.stdout


def test_the_script_for_bash_is_understood_by_bash(sub_command: Run) -> None:
    script = sub_command("completion", "bash").stdout
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, timeout=20, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_bash_completes_with_the_script(sub_command: Run) -> None:
    script = sub_command("completion", "bash").stdout
    names = f'{script}\nCOMP_WORDS=(hermes co); COMP_CWORD=1; _hermes_completion hermes; echo "${{COMPREPLY[@]}}"'
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", names], env=env, capture_output=True, text=True, timeout=30, check=False)
    assert set(done.stdout.split()) == {"completion", "config"}, done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_are_answered_too(run: Run, shell: str) -> None:
    env = {"_HERMES_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": "hermes config s"}
    if shell == "fish":
        env["_TYPER_COMPLETE_FISH_ACTION"] = "get-args"
    done = run(env=env)
    assert "show" in done.stdout
    assert "set" in done.stdout


def test_a_shell_nobody_knows_is_refused_with_those_there_are(sub_command: Run) -> None:
    done = sub_command("completion", "tcsh")
    assert done.returncode == 1
    assert "bash, zsh, fish" in done.stderr


# -- the table -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [command.name for command in commands_for("terminal")])
def test_every_command_of_the_terminal_has_a_handler(name: str) -> None:
    assert callable(handlers.find(name))
