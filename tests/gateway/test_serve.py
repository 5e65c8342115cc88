"""A gateway process, whole: settings, who is let in, pairing, leaving, and never two of them."""

import asyncio
import io
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.cancel import CancelToken
from agent.config import Config, load_config, store_key
from agent.errors import ConfigError, HermesError
from agent.events import TurnFinished, TurnSuspended
from agent.protocols import Sink, Task
from agent.store.leases import is_alive, new_lease
from agent.store.sqlite import SqliteStore
from gateway.config import Platform
from gateway.logs import TOLD, tell_on
from gateway.platforms.base import Heard, heard_nothing
from gateway.platforms.memory import MemoryPlatform
from gateway.serve import Gateway, check, open_gateway, settings_of
from gateway.session import Chat
from gateway.standing import lines, standing
from tests.support.shell import in_the_shell
from tests.support.telegram_server import TOKEN

ADA = '[gateway.memory]\nallow = ["7"]\n'


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Config]:
    """Writes config.toml and reads it."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HERMES_HOME", str(home))
    monkeypatch.setenv("HERMES_PROVIDER", "offline")

    def configured(text: str) -> Config:
        (home / "config.toml").write_text(text)
        return load_config(cwd=tmp_path)

    return configured


class Serving:
    def __init__(self, gateway: Gateway, platform: MemoryPlatform) -> None:
        self.gateway, self.platform = gateway, platform

    async def shows(self, text: str, chat_id: str = "1") -> None:
        async with asyncio.timeout(15):
            while not any(text in shown for shown in self.platform.texts(chat_id)):
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(
    config: Config, store: SqliteStore | None = None, platform: MemoryPlatform | None = None
) -> AsyncIterator[Serving]:
    store = store or SqliteStore(config.dirs.database)
    platform = platform or MemoryPlatform()
    gateway = await open_gateway(config, store, {Platform.MEMORY: platform})
    stop = asyncio.Event()
    running = asyncio.create_task(gateway.run(stop))
    try:
        async with asyncio.timeout(15):
            while gateway.supervisor.links[0].state != "connected":
                if running.done():
                    running.result()
                await asyncio.sleep(0.01)
        yield Serving(gateway, platform)
    finally:
        stop.set()
        await running
        store.close()


async def test_somebody_who_is_allowed_is_answered(configured: Callable[[str], Config]) -> None:
    async with serving(configured(ADA)) as serve:
        await serve.platform.say("list files")
        await serve.shows("no files")
        assert "background" in serve.platform.menu, serve.platform.menu


async def test_a_stored_key_in_what_escapes_from_a_turn_does_not_come_to_the_chat(
    configured: Callable[[str], Config],
) -> None:
    def fail(task: Task, **_: object) -> TurnFinished:
        raise OSError("no: hunter2hunter2")

    config = configured(ADA)
    store_key(config.dirs, "openai", "hunter2hunter2")
    async with serving(config) as serve:
        serve.gateway.service._run = fail
        await serve.platform.say("list files")
        await serve.shows("no: [redacted]")
        assert [task.error for task in serve.gateway.store.tasks()] == ["internal error: OSError: no: [redacted]"]


async def test_that_a_platform_is_connected_is_noted_at_once(
    configured: Callable[[str], Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.serve.TICK", 3600.0)
    async with serving(configured(ADA)) as serve, asyncio.timeout(10):
        while '"connected"' not in "".join(serve.gateway.store.notes("link:memory").values()):
            await asyncio.sleep(0.01)


class Absent(MemoryPlatform):
    """Can be asked for what was missed."""

    heard: Heard = staticmethod(heard_nothing)


async def test_a_platform_learns_from_when_on_something_may_have_been_missed(
    configured: Callable[[str], Config],
) -> None:
    config, platform = configured(ADA), Absent()
    async with serving(config, platform=platform) as serve:
        await platform.say("/version")
        await serve.shows("hermes")
        (chat, since), *others = (await platform.heard()).items()
        assert (chat, others) == (Chat(platform=Platform.MEMORY, chat_id="1"), [])
        assert 0 < time.time() - since < 100


async def test_a_stranger_who_gets_no_code_hears_nothing_and_leaves_no_trace(
    configured: Callable[[str], Config],
) -> None:
    async with serving(configured(f"{ADA}pairing = false\n")) as serve:
        await serve.platform.say("list files", chat_id="2", user_id="8")
        await serve.platform.say("/version")
        await serve.shows("hermes")
        assert serve.platform.texts("2") == []
        assert len(serve.gateway.store.sessions()) == 0


async def test_a_stranger_pairs_and_is_answered_then_and_not_after_it_is_revoked(
    configured: Callable[[str], Config],
) -> None:
    async with serving(configured("[gateway.memory]\npairing = true\n")) as serve:
        await serve.platform.say("hello", chat_id="2", user_id="8")
        await serve.shows("hermes pairing approve memory ", "2")
        code = serve.platform.texts("2")[0].rstrip("`").split()[-1]
        person = serve.gateway.store.approve_pairing("memory", code, now=time.time())
        assert person is not None
        await serve.platform.say("/version", chat_id="2", user_id="8")
        await serve.shows("hermes 0", "2")
        serve.gateway.store.revoke("memory", "8")
        await serve.platform.say("/version", chat_id="2", user_id="8")
        await serve.platform.say("/version", chat_id="1", user_id="8")
        await serve.shows("I do not know you", "2")
        assert sum("hermes 0" in text for text in serve.platform.texts("2") + serve.platform.texts("1")) == 1


async def test_with_a_person_who_is_revoked_goes_what_runs_for_them(configured: Callable[[str], Config]) -> None:
    table = '[gateway]\nbusy = "queue"\n[gateway.memory]\npairing = true\nallow = ["7"]\n'
    async with serving(configured(table)) as serve:
        store = serve.gateway.store
        await serve.platform.say("hello", chat_id="2", user_id="8")
        await serve.shows("hermes pairing approve memory ", "2")
        code = serve.platform.texts("2")[0].rstrip("`").split()[-1]
        await in_the_shell("pairing", "approve", "memory", code)
        await serve.platform.say("wait 60 seconds", chat_id="2", user_id="8", thread_id="t")
        await serve.platform.say("wait 61 seconds", chat_id="2", user_id="8", thread_id="t")
        await serve.platform.say("/bg wait 60 seconds", chat_id="2", user_id="8")
        await serve.platform.say("/bg wait 60 seconds", chat_id="-5", user_id="8", is_group=True, addressed=True)
        await serve.platform.say("/bg wait 60 seconds", chat_id="-5", user_id="7", is_group=True, addressed=True)

        async def runs(*owners: str) -> None:
            async with asyncio.timeout(15):
                while sorted(task.owner for task in store.tasks(states=frozenset({"running"}))) != sorted(owners):
                    await asyncio.sleep(0.02)

        theirs = ["chat:memory:-5@8", "chat:memory:2", "turn:memory:2/t"]
        await runs("chat:memory:-5@7", *theirs)
        assert (await in_the_shell("pairing", "revoke", "memory", "8")).startswith("Revoked, and stopped: #")
        await runs("chat:memory:-5@7")
        assert await asyncio.to_thread(serve.gateway.service.tasks.idle, "chat:memory:2", 10)
        async with asyncio.timeout(15):
            while store.received():
                await asyncio.sleep(0.02)
        assert [task.prompt for task in store.tasks() if "61" in task.prompt] == []


async def test_start_is_greeted_and_strangers_are_not(configured: Callable[[str], Config]) -> None:
    async with serving(configured(ADA)) as serve:
        await serve.platform.say("/start", chat_id="2", user_id="8")
        await serve.shows("I do not know you", "2")
        await serve.platform.say("/start")
        await serve.shows("I am Hermes")
        assert not any("I am Hermes" in text for text in serve.platform.texts("2"))


async def test_how_the_connections_of_the_process_before_stood_is_forgotten(
    configured: Callable[[str], Config],
) -> None:
    config = configured(ADA)
    store = SqliteStore(config.dirs.database)
    store.note("link:memory", '{"state": "refused", "problem": "of yesterday"}')
    async with serving(config, store):
        async with asyncio.timeout(5):
            while "yesterday" in store.notes("link:memory")["link:memory"]:
                await asyncio.sleep(0.01)


async def test_who_is_let_in_by_a_code_is_told(configured: Callable[[str], Config]) -> None:
    async with serving(configured("[gateway.memory]\npairing = true\n")) as serve:
        await serve.platform.say("hello", chat_id="2", user_id="8")
        await serve.shows("hermes pairing approve memory ", "2")
        code = serve.platform.texts("2")[0].rstrip("`").split()[-1]
        assert "may speak now" in await in_the_shell("pairing", "approve", "memory", code)
        await serve.shows("You are let in.", "2")


async def test_start_connections_and_end_are_told(
    configured: Callable[[str], Config], caplog: pytest.LogCaptureFixture
) -> None:
    seen = io.StringIO()
    tell_on(seen)
    caplog.set_level("INFO", "gateway")
    try:
        async with serving(configured(ADA)):
            pass
    finally:
        TOLD.handlers.clear()
    first, second, last = seen.getvalue().splitlines()
    assert first.endswith(" serves memory. Ctrl+C stops it.")
    assert second == "memory: connected"
    assert last == "The gateway has stopped."


async def test_who_is_in_a_hurry_waits_for_no_step(
    configured: Callable[[str], Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.serve.DRAIN", 3600.0)
    config, began = configured(ADA), threading.Semaphore(0)
    store = SqliteStore(config.dirs.database)
    gateway = await open_gateway(config, store, {Platform.MEMORY: MemoryPlatform()})

    def work(task: Task, *, emit: Sink, cancel: CancelToken) -> TurnFinished | TurnSuspended:
        began.release()
        cancel.wait()
        return TurnSuspended(reason=cancel.parked or "")

    gateway.service._run = work
    stop, hurry = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(gateway.run(stop, hurry))
    task = gateway.service.tasks.submit("look", owner="chat:memory:1")
    assert await asyncio.to_thread(began.acquire, timeout=10)
    stop.set()
    hurry.set()
    await asyncio.wait_for(running, 15)
    after = store.task(task.id)
    assert after is not None
    assert after.state == "parked"
    assert not began.acquire(blocking=False), "it was taken up again"
    store.close()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGHUP")
async def test_under_nohup_a_terminal_that_goes_ends_nothing(configured: Callable[[str], Config]) -> None:
    nowhere = 'allow = ["7"]\nbase_url = "http://127.0.0.1:9/bot"\n'
    configured(f"[gateway.telegram]\n{nowhere}")
    env = {**os.environ, "TELEGRAM_BOT_TOKEN": TOKEN}
    process = await asyncio.create_subprocess_exec(
        "nohup", sys.executable, "-m", "hermes_cli.main", "gateway", env=env, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(30):
            await process.stderr.readuntil(b"Next try in")
            process.send_signal(signal.SIGHUP)
            await process.stderr.readuntil(b"Next try in")
            process.terminate()
            said = (await process.stderr.read()).decode()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert said.count("Leaving: what runs is parked") == 1
    assert said.endswith("The gateway has stopped.\n")


async def test_a_command_of_admins_is_refused_to_others(configured: Callable[[str], Config]) -> None:
    config = configured('[gateway.memory]\nallow = ["7"]\nadmins = ["9"]\n')
    async with serving(config) as serve:
        await serve.platform.say("/approve")
        await serve.shows("/approve is not for you here. An admin of this gateway can do it.")


async def test_where_there_is_no_admin_the_owner_can_name_one(configured: Callable[[str], Config]) -> None:
    async with serving(configured(ADA)) as serve:
        await serve.platform.say("/sethome")
        await serve.shows("There is none: the owner can name one in [gateway.memory] admins.")


async def test_a_forwarded_command_orders_nothing(configured: Callable[[str], Config]) -> None:
    async with serving(configured(ADA)) as serve:
        await serve.platform.say("/background run ls", forwarded=True)
        async with asyncio.timeout(15):
            while not serve.platform.texts("1"):
                await asyncio.sleep(0.01)
        assert "Background task started" not in serve.platform.texts("1")[0]
        assert serve.gateway.store.tasks(owner="chat:") == []


async def test_a_file_that_came_is_kept_in_the_workspace_under_a_harmless_name(
    configured: Callable[[str], Config], tmp_path: Path
) -> None:
    config = configured(f'[gateway]\nworkspace = "{tmp_path}/chats"\n{ADA}')
    async with serving(config) as serve:
        attachment = serve.platform.upload("../../etc/pass\x1bwd", b"hello")
        await serve.platform.say("list files", attachments=(attachment,))
        await serve.shows("received")
        (kept,) = (tmp_path / "chats" / "memory-1" / "received").iterdir()
        assert kept.read_bytes() == b"hello"
        assert kept.name.endswith("-1-pass_wd")


async def test_two_gateways_never_serve_one_token(configured: Callable[[str], Config]) -> None:
    config = configured(ADA)
    async with serving(config) as serve:
        second = await open_gateway(config, serve.gateway.store, {Platform.MEMORY: MemoryPlatform()})
        with pytest.raises(HermesError, match="Another gateway"):
            await second.run(asyncio.Event())
    async with serving(config):
        pass


def test_nobody_to_serve_is_refused(configured: Callable[[str], Config]) -> None:
    config = configured("[gateway.memory]\n")
    store = SqliteStore(config.dirs.database)
    with pytest.raises(ConfigError, match="Nobody may speak on memory"):
        check(settings_of(config)[1][Platform.MEMORY], store)
    check(settings_of(configured("[gateway.memory]\neveryone = true\n"))[1][Platform.MEMORY], store)
    store.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "No platform is set up"),
        ('[gateway.telegram]\nallow = ["7"]\n', "telegram needs the token"),
        ("[gateway.telegram]\n[gateway.slack]\n", "Nobody may speak on telegram"),
        ("[gateway.telegram]\ngroups = 'foo'\n", "groups"),
    ],
)
async def test_a_gateway_that_has_nothing_to_serve_does_not_start(
    configured: Callable[[str], Config], text: str, said: str
) -> None:
    config = configured(text)
    store = SqliteStore(config.dirs.database)
    with pytest.raises(ConfigError, match=said):
        await open_gateway(config, store)
    store.close()


async def test_a_platform_that_is_set_up_wrongly_keeps_no_other_from_being_served(
    configured: Callable[[str], Config], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    nowhere = 'allow = ["7"]\nbase_url = "http://127.0.0.1:9/bot"\n'
    config = configured(f'[gateway.telegram]\n{nowhere}[gateway.slack]\n[gateway.discord]\nallow = ["@b"]\n')
    store = SqliteStore(config.dirs.database)
    store.note("link:memory", '{"state": "refused", "problem": "long ago"}')
    gateway, stop = await open_gateway(config, store), asyncio.Event()
    running = asyncio.create_task(gateway.run(stop))
    async with asyncio.timeout(10):
        said = ""
        while said.count(": not served: ") < 2 or "memory" in said:
            said = "\n".join(lines(standing(store), now=time.time()))
            await asyncio.sleep(0.01)
    stop.set()
    await running
    store.close()
    assert said.startswith("telegram: ")
    assert "slack: not served: Nobody may speak on slack." in said
    assert "discord: not served: [gateway.discord] allow: '@b' is no id of a person there." in said
    assert "memory" not in said
    assert "slack is not served: Nobody may speak on slack." in caplog.text


async def test_what_another_gateway_serves_stands_as_that_one_says(configured: Callable[[str], Config]) -> None:
    config = configured(ADA)
    store = SqliteStore(config.dirs.database)
    link = '{"state": "connected", "problem": ""}'
    for platform in ("telegram", "discord"):
        store.note(f"link:{platform}", link)
    assert store.enter_alone("gateway:telegram", new_lease("gateway"), is_alive) is None
    async with serving(config), asyncio.timeout(10):
        while "link:discord" in (notes := store.notes("link:")):
            await asyncio.sleep(0.01)
        assert notes["link:telegram"] == link
    store.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[gateway]\nbusy = 'wait'\n", "busy"),
        ("[gateway]\nturn_wrokers = 3\n", "turn_wrokers"),
        ("[gateway.telegrm]\n", "telegrm"),
        ("[gateway.telegram]\nallow = ['@ada']\n", "@ada"),
        ("[gateway.telegram]\nallow = 7\n", "allow"),
        ("[gateway.telegram]\ntools_off = ['web_fech']\n", "'web_fech'"),
        ("[gateway.telegram]\ngroups = 'foo'\n", "groups"),
    ],
)
def test_a_setting_that_is_wrong_is_named(configured: Callable[[str], Config], text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings_of(configured(text))


async def test_send_splits_a_long_text_and_refuses_a_platform_that_is_not_set_up(
    configured: Callable[[str], Config], tmp_path: Path
) -> None:
    file = tmp_path / "report.txt"
    file.write_text("figures")
    async with serving(configured(ADA)) as serve:
        text = "word " * 1800
        assert await in_the_shell("gateway", "send", text, "--to", "memory:7", "--file", str(file)) == "Sent.\n"
        *parts, last = [shown for shown in serve.platform.shown if shown.chat.chat_id == "7"]
        assert " ".join(part.text for part in parts).split() == text.split()
        assert len(parts) == 3
        assert (last.text, last.file_name) == ("", "report.txt")
        assert "a device or a pipe" in await in_the_shell(
            "gateway", "send", "hi", "--to", "memory:7", "--file", "/dev/zero"
        )
        assert "discord is not set up" in await in_the_shell("gateway", "send", "hi", "--to", "discord:8")
        assert not serve.gateway.store.unsent()
