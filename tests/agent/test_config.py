"""Settings: who wins, what is refused, and what is kept private."""

import os
from pathlib import Path
from typing import Any

import pytest

from agent.config import (
    Config,
    Directories,
    Settings,
    directories,
    load_config,
    read_keys,
    set_value,
    setting_fields,
    store_key,
)
from agent.errors import ConfigError
from agent.own_files import write_private


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"HERMES_HOME": str(tmp_path / "home")}


@pytest.fixture
def dirs(env: dict[str, str]) -> Directories:
    return directories(env)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def failure(env: dict[str, str], flags: dict[str, object] | None = None, cwd: Path | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(flags, env=env, cwd=cwd)
    return caught.value


# -- directories -----------------------------------------------------------------------------------


def test_one_variable_moves_everything(tmp_path: Path) -> None:
    found = directories({"HERMES_HOME": str(tmp_path)})
    assert found.config_file == tmp_path / "config.toml"
    assert found.database == tmp_path / "state" / "state.db"
    assert found.cache == tmp_path / "cache"


@pytest.mark.skipif("sys.platform != 'linux'")
def test_without_it_files_are_where_xdg_wants_them(tmp_path: Path) -> None:
    assert directories({}).config == Path.home() / ".config" / "hermes"
    found = directories({"XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": "relative/does/not/count"})
    assert found.config == tmp_path / "hermes"
    assert found.state == Path.home() / ".local/state" / "hermes"


# -- who wins --------------------------------------------------------------------------------------


def test_with_nothing_set_everything_is_the_default(env: dict[str, str]) -> None:
    config = load_config(env=env)
    assert config.values == Settings()
    assert set(config.origins.values()) == {"default"}
    assert set(config.origins) == set(setting_fields())


def test_flag_beats_environment_beats_project_beats_user_file(
    env: dict[str, str], dirs: Directories, tmp_path: Path
) -> None:
    project = tmp_path / "shop"
    user_text = f'trusted_folders = ["{project}"]\n' + "".join(f"{name} = 11\n" for name in ("max_steps",))
    write(dirs.config_file, user_text + 'model = "user"\nprovider = "user"\noutput_limit = 2000\n')
    local = write(project / ".hermes" / "config.toml", 'model = "project"\nprovider = "project"\noutput_limit = 3000\n')
    env |= {"HERMES_MODEL": "env", "HERMES_PROVIDER": "env"}
    config = load_config({"model": "flag", "base_url": None}, env=env, cwd=project / "src")
    values = config.values
    assert (values.model, values.provider, values.output_limit, values.max_steps) == ("flag", "env", 3000, 11)
    origins = [config.origins[name] for name in ("model", "provider", "output_limit", "max_steps", "base_url")]
    assert origins == ["command line", "environment", str(local), str(dirs.config_file), "default"]


# -- the project's file ----------------------------------------------------------------------------


def test_a_project_file_counts_only_in_a_trusted_folder(env: dict[str, str], dirs: Directories, tmp_path: Path) -> None:
    project = tmp_path / "shop"
    write(project / ".hermes" / "config.toml", 'model = "theirs"\n')
    assert load_config(env=env, cwd=project).values.model == ""
    write(dirs.config_file, f'trusted_folders = ["{tmp_path / "other"}"]\n')
    assert load_config(env=env, cwd=project).values.model == ""
    write(dirs.config_file, f'trusted_folders = ["{project}"]\n')
    assert load_config(env=env, cwd=project).values.model == "theirs"


def test_an_untrusted_project_file_inside_a_trusted_one_hides_it(
    env: dict[str, str], dirs: Directories, tmp_path: Path
) -> None:
    write(dirs.config_file, f'trusted_folders = ["{tmp_path / "shop"}"]\n')
    write(tmp_path / "shop" / ".hermes" / "config.toml", 'model = "trusted"\n')
    write(tmp_path / "shop" / "vendor" / ".hermes" / "config.toml", 'model = "stranger"\n')
    assert load_config(env=env, cwd=tmp_path / "shop" / "vendor").values.model == ""


def test_a_broken_project_file_nobody_trusts_does_no_harm(env: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "shop" / ".hermes" / "config.toml", "= = =\n")
    assert load_config(env=env, cwd=tmp_path / "shop").values == Settings()


FOR_PROJECTS = {
    *("model", "provider", "fallback_model", "reasoning_effort", "max_steps", "output_limit", "command_timeout"),
    *("compact", "compact_at"),
}
"""What a trusted project may set: nothing here loosens a permission, names a command to run, or an address to ask."""


def test_only_harmless_settings_are_a_projects_to_make() -> None:
    """A new setting that is marked for projects belongs into this list only after somebody has thought about it."""
    assert {name for name, field in setting_fields().items() if field.metadata["project"]} == FOR_PROJECTS


@pytest.mark.parametrize("name", sorted({*setting_fields()} - FOR_PROJECTS))
def test_every_other_setting_is_refused_from_a_project_and_unread_from_a_stranger(
    name: str, env: dict[str, str], dirs: Directories, tmp_path: Path
) -> None:
    project = tmp_path / "shop"
    default = getattr(Settings(), name)
    value = {"list": '["x"]', "dict": "{x = 1}", "str": '"x"', "bool": "true"}.get(type(default).__name__, "1")
    write(project / ".hermes" / "config.toml", f"{name} = {value}\n")
    assert load_config(env=env, cwd=project).values == Settings()
    write(dirs.config_file, f'trusted_folders = ["{project}"]\n')
    assert f"may not set {name!r}" in str(failure(env, cwd=project))


def test_a_project_that_names_another_provider_does_not_lead_its_key_to_the_persons_address(
    env: dict[str, str], dirs: Directories, tmp_path: Path
) -> None:
    write(tmp_path / "shop" / ".hermes" / "config.toml", 'provider = "openai"\n')
    mine = f'trusted_folders = ["{tmp_path / "shop"}"]\nbase_url = "http://my.example/v1"\n'
    for provider, address in (("custom", ""), ("", ""), ("openai", "http://my.example/v1")):
        write(dirs.config_file, mine + (f'provider = "{provider}"\n' if provider else ""))
        config = load_config(env=env, cwd=tmp_path / "shop")
        assert (config.values.provider, config.values.base_url) == ("openai", address)
        assert (config.origins["base_url"] == "default") is not bool(address)
    assert load_config(env=env, cwd=tmp_path).values.base_url == "http://my.example/v1"


@pytest.mark.parametrize("how", ["flag", "environment"])
def test_a_provider_named_for_one_run_does_not_get_the_address_of_another(
    env: dict[str, str], dirs: Directories, tmp_path: Path, how: str
) -> None:
    def address(mine: str, provider: str) -> str:
        write(dirs.config_file, f'{mine}base_url = "http://my.example/v1"\n')
        flags = {"provider": provider} if how == "flag" else {}
        there = env | ({"HERMES_PROVIDER": provider} if how == "environment" else {})
        return load_config(flags, env=there, cwd=tmp_path).values.base_url

    assert address('provider = "custom"\n', "groq") == ""
    assert address("", "groq") == ""
    assert address('provider = "ollama"\n', "ollama") == "http://my.example/v1"
    assert address("", "custom") == "http://my.example/v1"


@pytest.mark.parametrize(
    "line", ['approvals = "yolo"', 'base_url = "http://evil/v1"', 'trusted_folders = ["/"]', "background_workers = 99"]
)
def test_a_project_file_may_not_loosen_anything(
    line: str, env: dict[str, str], dirs: Directories, tmp_path: Path
) -> None:
    write(dirs.config_file, f'trusted_folders = ["{tmp_path}"]\n')
    project = write(tmp_path / ".hermes" / "config.toml", f"{line}\n")
    error = failure(env, cwd=tmp_path)
    assert str(project) in str(error)
    assert "may not set" in str(error)


# -- what is refused -------------------------------------------------------------------------------


def test_a_file_that_does_not_parse_is_named_with_the_line(env: dict[str, str], dirs: Directories) -> None:
    write(dirs.config_file, 'model = "x"\nmax_steps = \n')
    error = failure(env)
    assert str(dirs.config_file) in str(error)
    assert "line 2" in str(error)
    assert error.hint


def test_a_name_nobody_knows_gets_the_nearest_one(env: dict[str, str], dirs: Directories) -> None:
    write(dirs.config_file, 'modell = "x"\n')
    error = failure(env)
    assert "'modell'" in str(error)
    assert error.hint == "Did you mean 'model'?"


@pytest.mark.parametrize(
    "line",
    [
        'max_steps = "many"',
        "max_steps = 1.5",
        "max_steps = true",
        "max_steps = 0",
        "output_limit = 10",
        "background_workers = 0",
        'verbose = "yes"',
        'approvals = "never"',
        'reasoning_effort = "huge"',
        "model = 5",
        'trusted_folders = "/src"',
        "[provider_routing]\n[[provider]]",
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_its_origin(
    line: str, env: dict[str, str], dirs: Directories
) -> None:
    write(dirs.config_file, f"{line}\n")
    assert str(dirs.config_file) in str(failure(env))


def test_a_file_in_another_encoding_is_refused(env: dict[str, str], dirs: Directories) -> None:
    write(dirs.config_file, "")
    dirs.config_file.write_bytes(b"# caf\xe9\n")
    assert str(dirs.config_file) in str(failure(env))


def test_a_file_where_a_folder_should_be_is_no_settings(env: dict[str, str], dirs: Directories) -> None:
    write(dirs.config, "not a folder")
    assert load_config(env=env).values == Settings()


# -- text to values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("MAX_STEPS", "7", 7),
        ("VERBOSE", "1", True),
        ("VERBOSE", "true", True),
        ("VERBOSE", "0", False),
        ("BELL", "false", False),
        ("COMMAND_TIMEOUT", "1.5", 1.5),
        ("COMMAND_TIMEOUT", "30", 30.0),
        ("MODEL", "5", "5"),
        ("MODEL", "true", "true"),
        ("MODEL", "gpt-5", "gpt-5"),
        ("MODEL", "", ""),
        ("APPROVALS", "edits", "edits"),
        ("REASONING_EFFORT", "high", "high"),
        ("TRUSTED_FOLDERS", '["/a", "/b"]', ["/a", "/b"]),
        ("PROVIDER_ROUTING", '{ order = ["x"] }', {"order": ["x"]}),
    ],
)
def test_the_environment_is_text_and_becomes_the_settings_kind(
    variable: str, text: str, expected: object, env: dict[str, str]
) -> None:
    config = load_config(env=env | {f"HERMES_{variable}": text})
    assert getattr(config.values, variable.lower()) == expected
    assert config.origins[variable.lower()] == "environment"


@pytest.mark.parametrize(
    ("variable", "text"),
    [("MAX_STEPS", "many"), ("MAX_STEPS", "0"), ("VERBOSE", "maybe"), ("APPROVALS", "no"), ("TRUSTED_FOLDERS", "/a")],
)
def test_text_that_fits_no_value_is_refused_and_says_that_the_environment_has_it(
    variable: str, text: str, env: dict[str, str]
) -> None:
    error = failure(env | {f"HERMES_{variable}": text})
    assert "environment" in str(error)
    assert variable.lower() in str(error)


def test_variables_that_are_no_settings_are_nobodys_business(env: dict[str, str]) -> None:
    assert load_config(env=env | {"HERMES_ASCII": "1", "HERMES_WHATEVER": "x"}).values == Settings()


# -- storing ---------------------------------------------------------------------------------------


def test_a_stored_value_is_read_back_and_comments_stay(env: dict[str, str], dirs: Directories) -> None:
    write(dirs.config_file, '# mine\nmodel = "x"  # why\n')
    assert set_value(dirs, "max_steps", "9") == 9
    assert set_value(dirs, "model", "y") == "y"
    text = dirs.config_file.read_text()
    assert "# mine" in text
    assert "# why" in text
    values = load_config(env=env).values
    assert (values.max_steps, values.model) == (9, "y")


@pytest.mark.parametrize("text", ['{"order": ["a", "b"]}', '{order = ["a", "b"]}'], ids=["JSON", "TOML"])
def test_a_table_is_set_as_json_or_toml(text: str, env: dict[str, str], dirs: Directories) -> None:
    set_value(dirs, "provider_routing", text)
    set_value(dirs, "model", "x")
    values = load_config(env=env).values
    assert (values.provider_routing, values.model) == ({"order": ["a", "b"]}, "x")


def test_what_is_no_table_is_refused_with_an_example(dirs: Directories) -> None:
    with pytest.raises(ConfigError) as refused:
        set_value(dirs, "provider_routing", "fast")
    assert '{"order": ["a", "b"]}' in refused.value.hint


@pytest.mark.parametrize(
    ("name", "text"), [("max_steps", "0"), ("max_steps", "x"), ("modell", "x"), ("approvals", "no")]
)
def test_a_value_the_next_start_would_refuse_is_not_stored(name: str, text: str, dirs: Directories) -> None:
    with pytest.raises(ConfigError):
        set_value(dirs, name, text)
    assert not dirs.config_file.exists()


def test_a_broken_file_is_not_overwritten(dirs: Directories) -> None:
    write(dirs.config_file, "model = \n")
    with pytest.raises(ConfigError, match="line 1"):
        set_value(dirs, "model", "x")
    assert dirs.config_file.read_text() == "model = \n"


# -- keys ------------------------------------------------------------------------------------------


def test_keys_are_stored_apart_and_only_their_owner_reads_them(dirs: Directories) -> None:
    store_key(dirs, "openai", "sk-one")
    store_key(dirs, "groq", "gsk-two")
    assert read_keys(dirs) == {"openai": "sk-one", "groq": "gsk-two"}
    assert dirs.credentials_file.stat().st_mode & 0o777 == 0o600
    assert not dirs.config_file.exists()
    store_key(dirs, "openai", "")
    assert read_keys(dirs) == {"groq": "gsk-two"}


def test_a_credentials_file_that_others_can_read_is_made_private(dirs: Directories) -> None:
    write(dirs.credentials_file, 'openai = "sk-one"\n').chmod(0o644)
    assert read_keys(dirs) == {"openai": "sk-one"}
    assert dirs.credentials_file.stat().st_mode & 0o777 == 0o600


def test_a_broken_credentials_file_is_an_error_with_its_line(dirs: Directories) -> None:
    write(dirs.credentials_file, 'openai = "sk-one\n')
    with pytest.raises(ConfigError, match="line 1") as caught:
        read_keys(dirs)
    assert "sk-one" not in str(caught.value)


def test_a_file_is_private_from_its_first_byte_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_private(tmp_path / "new" / "secret.toml", "x = 1\n")
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "secret.toml").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["secret.toml"]


def test_a_file_that_cannot_be_written_is_an_error_and_the_old_one_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(ConfigError, match="Cannot write"):
        write_private(tmp_path / "file" / "below", "x")
    assert (tmp_path / "file").read_text() == "old"


# -- the table -------------------------------------------------------------------------------------


def test_every_setting_has_a_summary_and_a_default_that_is_valid(env: dict[str, str]) -> None:
    for name, item in setting_fields().items():
        assert item.metadata["summary"], name
    config: Config = load_config(env=env)
    flags: dict[str, Any] = {name: getattr(config.values, name) for name in setting_fields()}
    assert load_config(flags, env=env).values == config.values
