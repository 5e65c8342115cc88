"""`hermes gateway setup` against the platform's own server: asked, tried, written down."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from gateway import setting_up
from gateway.config import Platform
from tests.support.slack_server import BOT_TOKEN, SIGNING_SECRET, SlackServer
from tests.support.telegram_server import TOKEN, TelegramServer

HERMES = Path(sys.executable).with_name("hermes")


async def set_up(server: TelegramServer, home: Path, *answers: str) -> tuple[int, str]:
    """What the program said to these answers, which come in a pipe."""
    table = f'base_url = "{server.base_url}"\nbase_file_url = "{server.base_file_url}"\n'
    return await answered(Platform.TELEGRAM, table, home, *answers)


async def set_up_slack(server: SlackServer, home: Path, *answers: str) -> tuple[int, str]:
    """The same, over HTTP."""
    table = f'mode = "http"\nlisten = "127.0.0.1:0"\nbase_url = "{server.base_url}"\n'
    return await answered(Platform.SLACK, table, home, *answers)


async def answered(
    platform: Platform, table: str, home: Path, *answers: str, env: Mapping[str, str] = MappingProxyType({})
) -> tuple[int, str]:
    home.mkdir(exist_ok=True)
    if not (home / "config.toml").exists():
        (home / "config.toml").write_text(f"# mine\n[gateway.{platform.value}]\n{table}")
    process = await asyncio.create_subprocess_exec(
        str(HERMES),
        "gateway",
        "setup",
        platform.value,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"HERMES_HOME": str(home), "PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **env},
    )
    said, _ = await asyncio.wait_for(process.communicate("".join(f"{one}\n" for one in answers).encode()), 60)
    return process.returncode or 0, said.decode()


async def test_who_sets_up_a_bot_for_one_person_is_its_admin(tmp_path: Path) -> None:
    async with TelegramServer() as server:
        code, said = await set_up(server, tmp_path / "h", TOKEN, "7", "")
        assert code == 0, said
        assert "Then write /sethome to the bot" in said
        assert TOKEN not in said
        written = (tmp_path / "h" / "config.toml").read_text()
        assert written.startswith("# mine\n")
        assert 'admins = ["7"]' in written
        assert TOKEN in (tmp_path / "h" / "credentials.toml").read_text()


async def test_several_people_and_who_of_them_is_an_admin(tmp_path: Path) -> None:
    async with TelegramServer() as server:
        _, said = await set_up(server, tmp_path / "h", TOKEN, "7, 8 9", "9")
        written = (tmp_path / "h" / "config.toml").read_text()
        assert 'allow = ["7", "8"]' in written, said
        assert 'admins = ["9"]' in written


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (("123456789:AAE-wrong_token-0123456789abcdefghij", "7", ""), "does not know this bot token"),
        (("hello", "7", ""), "that is no bot token"),
        ((TOKEN, "Ann"), "'Ann' is no id of a person"),
        ((TOKEN, "7", "@ann"), "'@ann' is no id of a person"),
    ],
)
async def test_what_cannot_be_is_said_and_nobody_is_let_in(tmp_path: Path, answers: tuple[str, ...], says: str) -> None:
    async with TelegramServer() as server:
        code, said = await set_up(server, tmp_path / "h", *answers)
        assert code != 0
        assert says in said
        assert "Traceback" not in said
        assert "allow" not in (tmp_path / "h" / "config.toml").read_text()


async def test_a_token_and_an_id_that_are_wrong_are_asked_for_again(tmp_path: Path) -> None:
    async with TelegramServer() as server:
        wrong = "123456789:AAE-wrong_token-0123456789abcdefghij"
        code, said = await set_up(server, tmp_path / "h", wrong, TOKEN, "Ann", "7", "")
        assert code == 0, said
        assert said.index("does not know this bot token") < said.index("knows the token") < said.index("'Ann' is no id")
        assert 'admins = ["7"]' in (tmp_path / "h" / "config.toml").read_text()


async def test_a_token_that_is_refused_does_not_replace_one_that_works(tmp_path: Path) -> None:
    async with TelegramServer() as server:
        await set_up(server, tmp_path / "h", TOKEN, "7", "")
        wrong = "123456789:AAE-wrong_token-0123456789abcdefghij"
        _, said = await set_up(server, tmp_path / "h", wrong)
        assert "does not know this bot token" in said
        assert TOKEN in (tmp_path / "h" / "credentials.toml").read_text()


async def test_slacks_token_is_tried_before_the_next_secret_is_asked_for_and_kept(tmp_path: Path) -> None:
    async with SlackServer() as server:
        _, said = await set_up_slack(server, tmp_path / "h", "xoxb-wrong", BOT_TOKEN)
        assert said.index("the bot token") < said.index("invalid_auth") < said.index("signing secret")
        kept = (tmp_path / "h" / "credentials.toml").read_text()
        assert BOT_TOKEN in kept
        assert "xoxb-wrong" not in kept
        code, said = await set_up_slack(server, tmp_path / "h", "", SIGNING_SECRET, "U0ANN", "")
        assert code == 0, said
        assert SIGNING_SECRET in (tmp_path / "h" / "credentials.toml").read_text()


def test_what_is_asked_for_is_what_the_chosen_mode_wants() -> None:
    def asked(platform: Platform, **table: str) -> list[str]:
        return [name for name, _ in setting_up._secrets(platform, table)]

    assert asked(Platform.SLACK) == ["bot_token", "app_token"]
    assert asked(Platform.SLACK, mode="http") == ["bot_token", "signing_secret"]
    assert asked(Platform.TELEGRAM, webhook_url="https://example.org/hook") == ["bot_token", "webhook_secret"]


async def test_without_ids_people_ask_for_a_code(tmp_path: Path) -> None:
    async with TelegramServer() as server:
        code, said = await set_up(server, tmp_path / "h", TOKEN, "", "")
        assert code == 0, said
        assert "hermes pairing approve" in said


async def test_who_may_speak_already_stays_and_a_pairing_that_is_off_stays_off(tmp_path: Path) -> None:
    """As when only the token is renewed."""
    async with TelegramServer() as server:
        await set_up(server, tmp_path / "h", TOKEN, "7, 8", "7")
        written = (tmp_path / "h" / "config.toml").read_text()
        assert (await set_up(server, tmp_path / "h", TOKEN, "", ""))[0] == 0
        assert (tmp_path / "h" / "config.toml").read_text() == written
        without = written.replace('allow = ["8"]', "pairing = false").replace('admins = ["7"]', "")
        (tmp_path / "h" / "config.toml").write_text(without)
        _, said = await set_up(server, tmp_path / "h", TOKEN, "", "")
        assert "Nobody may speak: no ids, and pairing = false" in said
        assert (tmp_path / "h" / "config.toml").read_text() == without


async def test_what_is_wrong_with_the_table_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    async with TelegramServer() as server:
        (tmp_path / "h").mkdir()
        (tmp_path / "h" / "config.toml").write_text("[gateway.telegram]\ngroups = 'mentoined'\n")
        code, said = await set_up(server, tmp_path / "h", TOKEN, "7", "")
        assert code != 0
        assert "There are mentioned, all, none." in said
        assert "token" not in said


async def test_who_was_let_in_before_is_made_no_admin_by_enter(tmp_path: Path) -> None:
    async with TelegramServer() as server:
        await set_up(server, tmp_path / "h", TOKEN, "7", "")
        path = tmp_path / "h" / "config.toml"
        written = path.read_text().replace("admins", "allow")
        path.write_text(written)
        assert (await set_up(server, tmp_path / "h", TOKEN, "", ""))[0] == 0
        assert path.read_text() == written


@pytest.mark.parametrize("keep", [True, False])
async def test_a_token_that_only_the_environment_has_is_kept_where_one_wants_it_to_be(
    tmp_path: Path, keep: bool
) -> None:
    async with TelegramServer() as server:
        table = f'base_url = "{server.base_url}"\n'
        answers, env = ("", "y" if keep else "n", "7", ""), {"TELEGRAM_BOT_TOKEN": TOKEN}
        code, said = await answered(Platform.TELEGRAM, table, tmp_path / "h", *answers, env=env)
        assert code == 0, said
        assert "Only the environment has TELEGRAM_BOT_TOKEN." in said
        assert (tmp_path / "h" / "credentials.toml").exists() is keep


async def test_where_everyone_is_let_in_nobody_gets_a_code(tmp_path: Path) -> None:
    async with TelegramServer() as server:
        table = f'base_url = "{server.base_url}"\neveryone = true\n'
        _, said = await answered(Platform.TELEGRAM, table, tmp_path / "h", TOKEN, "", "")
        assert "everyone = true" in said
        assert "pairing" not in (tmp_path / "h" / "config.toml").read_text()
