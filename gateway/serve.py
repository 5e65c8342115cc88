"""A gateway process: what it is made of, how it starts, and how it leaves."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agent import __version__
from agent.commands import commands_for
from agent.config import Config, load_config, read_keys
from agent.errors import ConfigError, HermesError, StoreError
from agent.handoff import SERVES
from agent.models.audio import Audio
from agent.own_places import CHATS
from agent.redact import Redactor, secret_values
from agent.sandbox import backend
from agent.store.leases import is_alive, new_lease
from agent.store.sqlite import SqliteStore
from agent.task_runner import TaskRunner
from agent.tools.bench import close_all
from gateway.authorization import policy_of_chats
from gateway.config import Platform, PlatformConfig, platform_configs
from gateway.conversations import Busy, Folders
from gateway.home import LINK
from gateway.logs import TOLD, keep_out
from gateway.model import ModelOfChats
from gateway.pauses import Collector, short_pauses
from gateway.platforms.base import Adapter, CatchesUp, HasMenu
from gateway.platforms.registry import open_adapter
from gateway.reach import Reach
from gateway.run import GatewayRunner
from gateway.service import Service
from gateway.session import Chat, chat_of
from gateway.supervise import Supervisor, Watchdog
from gateway.tokens import alone_with
from gateway.voice import TABLE, audio_of

_log = logging.getLogger(__name__)

FORGET = 600.0
"""Seconds between two times that what is old is deleted."""

PLACES, TOO_OLD, OVERLAP = 50, 24 * 3600.0, 60.0
"""Places that are asked for what was missed; seconds after which it is not asked for; seconds that clocks differ by."""

TICK = 5.0
"""Seconds between two looks at questions that nobody answers, and between two signs of life for systemd."""

DRAIN = 8.0
"""Seconds that running turns have to reach a step boundary when the gateway leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """The table `[gateway]` of config.toml, without the platforms' own tables.

    `workspace` is the folder that agents of chats work in, each conversation in a folder of its own there, or all in
    itself: `folders`. `busy` says what becomes of a message that comes while a turn runs. `answer_within` is how many
    seconds a question waits for an answer; then it is denied. For `keep_days` messages are remembered, so that one that
    comes again is known, and the rows of turns that ended; conversations stay.
    """

    workspace: str = ""
    folders: Folders = "chat"
    busy: Busy = "steer"
    turn_workers: int = 32
    answer_within: float = 900.0
    keep_days: float = 14.0


def settings_of(
    config: Config, wrong: dict[Platform, ConfigError] | None = None
) -> tuple[GatewaySettings, dict[Platform, PlatformConfig]]:
    """What config.toml and the environment say of the gateway. Raises: ConfigError.

    What is wrong with a platform's own table is put into `wrong`, where that is given.
    """
    import msgspec

    table: Mapping[str, Any] = config.values.gateway
    own = {name: value for name, value in table.items() if not isinstance(value, Mapping)}
    try:
        settings = msgspec.convert(own, GatewaySettings, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"[gateway]: {error}.", hint="See docs/gateway.md.") from error
    if unknown := set(own) - set(GatewaySettings.__dataclass_fields__):
        raise ConfigError(f"[gateway]: there is no setting {sorted(unknown)[0]!r}.", hint="See docs/gateway.md.")
    platforms = {name: value for name, value in table.items() if isinstance(value, Mapping) and name != TABLE}
    return settings, platform_configs(platforms, read_keys(config.dirs), os.environ, wrong)


def check(config: PlatformConfig, store: SqliteStore) -> None:
    """Raises: ConfigError, when there is nobody to serve on a platform."""
    platform = config.platform.value
    paired = any(person.state == "allowed" for person in store.people(platform))
    if not (config.allow or config.admins or config.everyone or paired or config.pairing):
        raise ConfigError(
            f"Nobody may speak on {platform}.",
            hint=f"Name ids in [gateway.{platform}] allow, or write pairing = true there: whoever writes "
            "then gets a code for `hermes pairing approve`.",
        )


def _opened(
    configs: Mapping[Platform, PlatformConfig], store: SqliteStore, wrong: dict[Platform, ConfigError]
) -> dict[Platform, Adapter]:
    """Who speaks with each platform. What keeps one from being served goes into `wrong`: others are all the same.

    Raises: ConfigError, when there is none to serve.
    """
    adapters = dict[Platform, Adapter]()
    for platform, config in configs.items():
        try:
            check(config, store)
            adapters[platform] = open_adapter(config)
        except ConfigError as error:
            wrong[platform] = error
    if wrong and not adapters:
        raise next(iter(wrong.values()))
    if not adapters:
        raise ConfigError("No platform is set up.", hint="Run `hermes gateway setup`, or see docs/gateway.md.")
    return adapters


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What a gateway needs of the disk, read off the loop. What is `wrong` keeps a platform from being served."""

    settings: GatewaySettings
    configs: Mapping[Platform, PlatformConfig]
    adapters: Mapping[Platform, Adapter]
    wrong: Mapping[Platform, ConfigError]
    model: ModelOfChats
    run: TaskRunner
    redact: Redactor
    workspace: Path
    audio: Audio | None
    reach: Reach


def _prepare(config: Config, store: SqliteStore, adapters: Mapping[Platform, Adapter] | None) -> _Parts:
    """Raises: ConfigError, StoreError."""
    wrong = dict[Platform, ConfigError]()
    settings, configs = settings_of(config, wrong)
    keys = read_keys(config.dirs)
    platform_secrets = [secret for one in configs.values() for secret in one.secrets.values()]
    redact = keep_out([*secret_values(os.environ), *keys.values(), *platform_secrets])
    if adapters is None:
        adapters = _opened(configs, store, wrong)
    configs = {platform: one for platform, one in configs.items() if platform not in wrong}
    workspace = Path(settings.workspace or config.dirs.state / CHATS).expanduser().absolute()
    workspace.mkdir(parents=True, exist_ok=True)
    reach = Reach(walled=backend() is not None, hidden=() if settings.folders == "shared" else (workspace,))
    if not reach.walled and any(one.tools == "chat" for one in configs.values()):
        _log.warning("No sandbox works here: only admins' agents have a shell. `hermes doctor` says why.")
    return _Parts(
        settings=settings,
        configs=configs,
        adapters=adapters,
        wrong=wrong,
        model=ModelOfChats(config.values, store, env=os.environ, keys=keys),
        run=TaskRunner(config, store, policy=policy_of_chats(config), redact=redact),
        redact=redact,
        workspace=workspace,
        audio=audio_of(config.values.gateway.get(TABLE), keys, os.environ),
        reach=reach,
    )


async def open_gateway(
    config: Config, store: SqliteStore, adapters: Mapping[Platform, Adapter] | None = None
) -> "Gateway":
    """A gateway on the loop that runs now, not serving yet. Raises: ConfigError, StoreError."""
    parts = await asyncio.to_thread(_prepare, config, store, adapters)
    return Gateway(config, store, parts)


class Gateway:
    """One process that serves. Made on the event loop that it runs on, by `open_gateway`."""

    def __init__(self, config: Config, store: SqliteStore, parts: _Parts) -> None:
        self.settings, self.configs, self.store = parts.settings, parts.configs, store
        self.runner = GatewayRunner()
        self.runner.adapters, self.runner.configs = dict(parts.adapters), parts.configs
        self.runner._session_db, self.runner.model = store, parts.model
        self.runner.reach, self.runner.values = parts.reach, config.values
        self.service = self.runner.service = Service(
            store,
            parts.adapters,
            run=parts.run,
            redact=parts.redact,
            obey=self.runner.obey,
            press=self.runner.press,
            settings=parts.model.text,
            workspace=parts.workspace,
            new_lease=lambda: new_lease("gateway"),
            is_alive=is_alive,
            busy=self.settings.busy,
            folders=self.settings.folders,
            turn_workers=self.settings.turn_workers,
            task_workers=config.values.background_workers,
            dirs=config.dirs,
            admins={platform: one.admins for platform, one in self.configs.items()},
            known={platform: one.allow for platform, one in self.configs.items() if one.everyone},
            happened=self.runner.happened,
            hears=self.runner.hears,
            may=self.runner.may,
            limits=self.runner.limits,
            reaches=self._reaches,
            audio=parts.audio,
            spoken=config.dirs.state / "spoken",
        )
        self.runner.loop = asyncio.get_running_loop()
        self.supervisor = Supervisor(list(parts.adapters.values()), self.runner.receive, self._connected)
        self._hooks_folder = config.dirs.config / "hooks"
        self._news = asyncio.Event()
        self._wrong = parts.wrong
        self._marks = [_mark(platform) for platform in self.configs]
        self._entered: list[str] = []
        self._forgot = -FORGET
        self._links: dict[Platform, str] = {}

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event | None = None) -> None:
        """Serve until `stop` is set; `hurry` cuts what is waited for then. Raises: HermesError when it cannot begin."""
        with alone_with(self.configs.values()):
            await self.service.aside(self._enter)
            with short_pauses() as collector:
                await self._serve(stop, hurry or asyncio.Event(), collector)

    async def _serve(self, stop: asyncio.Event, hurry: asyncio.Event, collector: Collector) -> None:
        watchdog = Watchdog()
        try:
            self.runner.hooks.load_soon(self._hooks_folder)
            await self.service.aside(self.runner.review)
            await self.service.start()
            for platform, adapter in self.runner.adapters.items():
                if isinstance(adapter, CatchesUp):
                    adapter.heard = partial(self._heard, platform)
            TOLD.info("Hermes %s serves %s. Ctrl+C stops it.", __version__, ", ".join(self.configs))
            for platform, error in self._wrong.items():
                TOLD.error("%s is not served: %s", platform.value, error.explain())
            self.supervisor.start()
            with contextlib.suppress(StoreError):  # it is noted later
                await self._note_wrong()
                await self._note_links()  # what stands there is of the process before
            self.runner.happened("gateway:startup", {"platforms": [*self.configs]})
            _notify("READY=1")
            menus = asyncio.create_task(self._publish_menus())
            await self._until(stop, collector)
            menus.cancel()
        finally:
            _notify("STOPPING=1")
            # Nothing more is taken in now; what is on its way out needs the platforms still.
            await self._close(hurry)
            await self.supervisor.stop()
            watchdog.close()
            self.runner.hooks.close()
            with contextlib.suppress(StoreError):
                await asyncio.to_thread(self._depart)
            TOLD.info("The gateway has stopped.")

    async def _close(self, hurry: asyncio.Event) -> None:
        closing, hurried = asyncio.create_task(self.service.close(DRAIN)), asyncio.create_task(hurry.wait())
        await asyncio.wait({closing, hurried}, return_when=asyncio.FIRST_COMPLETED)
        if not closing.done():
            await self.service.cut()
        hurried.cancel()
        await closing

    def _reaches(self, platform: Platform) -> bool:
        return self.supervisor.reaches(platform)

    def _connected(self) -> None:
        self.service.connected()
        self._news.set()  # `hermes gateway status` shows it at once

    async def _heard(self, platform: Platform) -> Mapping[Chat, float]:
        """From when on each place of late may hold what nobody has heard: somewhat before what was heard last there."""
        found = await self.service.aside(lambda: self.store.last_received(platform.value, limit=PLACES))
        places: dict[Chat, float] = {}
        for key, at in found.items():
            places.setdefault(chat_of(key), max(at - OVERLAP, time.time() - TOO_OLD))
        return places

    async def _until(self, stop: asyncio.Event, collector: Collector) -> None:
        over = asyncio.create_task(self.supervisor.over())
        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                news = asyncio.create_task(self._news.wait())
                await asyncio.wait({over, stopped, news}, timeout=TICK, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
                self._news.clear()
                if over.done():
                    raise ConfigError("No platform is left that can be served.", hint="`hermes gateway logs` says why.")
                _notify("WATCHDOG=1")
                await self._look_after()
                collector.sweep(quiet=not await self.service.aside(self.service.works))
        finally:
            over.cancel()
            stopped.cancel()

    async def _look_after(self) -> None:
        try:
            await self.service.look_after(self.settings.answer_within)
            await self._note_links()
            if time.monotonic() - self._forgot > FORGET:
                self._forgot = time.monotonic()
                before = time.time() - max(1.0, self.settings.keep_days) * 24 * 3600
                await self.service.aside(lambda: self.store.forget_chats(before))
        except StoreError as error:
            _log.warning("looking after chats: %s", error)

    async def _note_wrong(self) -> None:
        """Keep why a platform is not served; what is noted of others that are not is of a process before."""

        def note() -> None:
            served = self.service.conversations.handoffs.serving()
            for name in self.store.notes(LINK):
                if name.removeprefix(LINK) not in served:
                    self.store.note(name, "")
            for platform, error in self._wrong.items():
                if platform.value not in served:
                    stands = {"state": "refused", "problem": error.explain(), "since": time.time()}
                    self.store.note(f"{LINK}{platform.value}", json.dumps(stands))

        await self.service.aside(note)

    async def _note_links(self) -> None:
        """Keep how the connections stand, for `hermes gateway status`; one that was refused for good is told."""
        for link in self.supervisor.links:
            platform = link.adapter.platform
            problem = link.error or (link.adapter.problem if link.state == "connected" else "")
            stands = {"state": link.state, "problem": problem, "failures": link.failures, "since": link.since}
            if (text := json.dumps(stands)) == self._links.get(platform):
                continue
            self._links[platform] = text
            await self.service.aside(partial(self.store.note, f"{LINK}{platform.value}", text))
            if link.state == "refused":
                await self.service.notice(f"⚠ {platform.value} is not served any more: {problem}", about=platform)

    async def _publish_menus(self) -> None:
        """Show the commands where platforms can, once each is connected."""
        waiting = [link for link in self.supervisor.links if isinstance(link.adapter, HasMenu)]
        while waiting:
            for link in [link for link in waiting if link.state == "connected"]:
                waiting.remove(link)
                try:
                    await link.adapter.publish(commands_for("gateway"))  # type: ignore[attr-defined]
                except Exception as error:  # noqa: BLE001  (an SDK may raise anything; chats work without a menu)
                    _log.warning("%s: the menu of commands: %s", link.adapter.platform.value, error)
            await asyncio.sleep(0.5)

    def _enter(self) -> None:
        """Be the only gateway with these tokens. Raises: HermesError."""
        lease = self.service.tasks.lease
        for mark in self._marks:
            if (other := self.store.enter_alone(mark, lease, is_alive)) is not None:
                raise HermesError(
                    f"Another gateway (process {other.pid}) serves {mark.split(':')[1]}.",
                    hint="Stop that one first: two would answer in turns.",
                )
            self._entered.append(mark)

    def _depart(self) -> None:
        for mark in self._entered:
            self.store.depart(mark)


def _mark(platform: Platform) -> str:
    """What stands for a platform among the processes that share the store: chats of it have one gateway, whatever its
    token.
    """
    return f"{SERVES}{platform.value}"


def _notify(state: str) -> None:
    """Tell systemd, where it waits to be told."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        channel.sendall(state.encode())


async def serve() -> None:
    """Serve until SIGTERM or SIGINT. Raises: HermesError; the log has it, too."""
    try:
        await _serve()
    except HermesError as error:
        _log.error("%s", error.explain())  # a service's own output may go nowhere
        raise


async def _serve() -> None:
    config = load_config()
    store = await asyncio.to_thread(SqliteStore, config.dirs.database)
    stop, hurry = asyncio.Event(), asyncio.Event()

    def leave() -> None:
        if stop.is_set():
            hurry.set()
            return
        stop.set()
        TOLD.info("Leaving: what runs is parked, for %.0f s at most. Once more cuts it.", DRAIN)

    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        with contextlib.suppress(AttributeError, NotImplementedError):
            number = getattr(signal, name)
            if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                asyncio.get_running_loop().add_signal_handler(number, leave)
    try:
        await (await open_gateway(config, store)).run(stop, hurry)
    finally:
        await asyncio.to_thread(close_all)
        await asyncio.to_thread(store.close)
