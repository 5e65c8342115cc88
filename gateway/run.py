"""GatewayRunner: what happens with a message from a chat.

Without a `service` it answers /help and runs /background over whatever adapters it is given, and keeps nothing.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from functools import partial
from secrets import token_hex
from types import MappingProxyType
from typing import Any

import run_agent
from agent import commands
from agent.approvals import Gatekeeper, nobody
from agent.config import Settings, load_config, read_keys
from agent.errors import HermesError
from agent.models import catalog
from agent.quoting import literal
from agent.records import LIVE_STATES, OF_TURNS, Limits, stricter
from agent.redact import Redactor, secret_values
from agent.store.memory import new_session_id
from agent.task_rows import key_of, options_of, options_text
from gateway import chat_commands, task_commands
from gateway.authorization import Verdict, judge, policy_of_chats
from gateway.calls import Call
from gateway.config import Platform, PlatformConfig
from gateway.hooks import HookRegistry
from gateway.model import ModelOfChats
from gateway.outbox import Letter, address, encode
from gateway.platforms.base import Adapter, MessageEvent
from gateway.reach import Reach
from gateway.service import Prompt, Service
from gateway.session import SessionSource, chat_of, session_key, user_of
from gateway.telling import started

_log = logging.getLogger(__name__)

LONGEST = 200_000
"""Characters of one message: more than any platform takes from a person."""

NO_KEY = "none needed"
"""Stands for the key of a model that wants none."""


def _resolve_runtime_agent_kwargs() -> dict[str, Any]:
    """What a new agent needs: `choice`, `settings`, `redact`, `session_id`, `gate`; and `api_key`, None without one.

    The gate holds the rules of `policy.toml`. Nobody is asked, and a chat never gets the mode that asks for nothing.

    Raises: ConfigError.
    """
    config = load_config()
    keys = read_keys(config.dirs)
    choice = catalog.in_force(config.values, keys=keys)
    api_key = None if catalog.needs_key(choice) else choice.api_key or NO_KEY
    session_id = new_session_id()
    return {
        "session_id": session_id,
        "gate": Gatekeeper(policy_of_chats(config), nobody, session_id=session_id),
        "choice": choice,
        "settings": config.values,
        "redact": Redactor([*secret_values(os.environ), *keys.values()]),
        "api_key": api_key,
    }


def _cleaned(text: str) -> str:
    """A text for a chat, without the secrets that are known here."""
    keys: Mapping[str, str] = {}
    with contextlib.suppress(HermesError):
        keys = read_keys(load_config().dirs)
    return Redactor([*secret_values(os.environ), *keys.values()])(text)


class GatewayRunner:
    """Routes messages from chats to the agent.

    The attributes below are all the state it has; `adapters` maps a platform to who speaks with it.
    """

    adapters: MutableMapping[Platform, Adapter]
    session_store: Any = None
    hooks: HookRegistry
    _voice_mode: MutableMapping[str, str]
    _session_db: Any = None
    _reasoning_config: Mapping[str, Any] | None = None
    _provider_routing: Mapping[str, Any]
    _fallback_model: Any = None
    _running_agents: MutableMapping[str, Any]
    _background_tasks: set["asyncio.Task[None]"]
    service: Service | None = None
    model: ModelOfChats | None = None
    loop: asyncio.AbstractEventLoop | None = None
    configs: Mapping[Platform, PlatformConfig] = MappingProxyType({})
    reach: Reach = Reach()
    values: Settings = Settings()

    def __init__(self) -> None:
        self.adapters, self.hooks = {}, HookRegistry()
        self._voice_mode, self._provider_routing, self._running_agents = {}, {}, {}
        self._background_tasks = set()

    # -- served ------------------------------------------------------------------------------------

    async def receive(self, event: MessageEvent) -> None:
        """Take an event from a platform: decide whether it is heard, and store it.

        Raises: StoreError, when it was not stored; the platform will deliver it again.
        """
        assert self.service is not None, "events come to a served gateway only"
        if event.kind == "moved":
            await self.service.moved(event.source.chat, event.data)
            return
        verdict = await self._judge(event)
        if verdict.allowed and len(event.text) + len(event.quoted) > LONGEST:
            await self.service.say(event.source.chat, f"That is too long: {LONGEST:,} characters are the most.")
        elif verdict.allowed:
            if not event.source.is_group:
                self.service.met(event.source)
            await self.service.receive(event, self._key(event))
        elif verdict.stranger:
            await self._offer_pairing(event)
        else:
            _log.debug("passed over an event of %s: %s", event.source.platform.value, verdict.reason)

    def happened(self, name: str, facts: Mapping[str, object]) -> None:
        """Tell the hooks, on any thread, and wait for none of them."""
        if self.loop is None or not self.hooks.hears(name):
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed
            asyncio.run_coroutine_threadsafe(self.hooks.emit_soon(name, facts), self.loop)

    async def obey(self, event: MessageEvent, parsed: commands.Parsed, *, key: str) -> str | Prompt:
        """Carry out a command for whoever gave it. Raises: HermesError."""
        del key
        verdict = await self._judge(event)
        name = parsed.command.name
        if not verdict.may(name):
            hint = self.service.homes.whom_to_ask(event.source.platform) if self.service else ""
            raise HermesError(f"/{name} is not for you here.", hint=hint)
        self.happened(f"command:{name}", {"chat": self._key(event), "arguments": parsed.arguments})
        match name:
            case "help" if not parsed.arguments:
                return await self._handle_help_command(event)
            case "background":
                return await self._handle_background_command(event)
        return await chat_commands.find(parsed)(self._call(event, parsed.arguments, verdict))

    async def hears(self, event: MessageEvent) -> bool:
        """Whether whoever wrote a message may speak, by the rules of now."""
        return (await self._judge(event)).allowed

    async def may(self, event: MessageEvent, command: str) -> bool:
        """Whether whoever wrote a message may give this command, by the rules of now."""
        return (await self._judge(event)).may(command)

    async def press(self, event: MessageEvent, key: str) -> str:
        """A button was pressed. Raises: HermesError."""
        verdict = await self._judge(event)
        assert self.service is not None
        return await task_commands.press(self.service, event, key, verdict=verdict)

    async def limits(self, event: MessageEvent) -> Limits | None:
        """What the agent may not do for whoever wrote a message."""
        return self._limits(event.source, await self._judge(event))

    def _limits(self, source: SessionSource, verdict: Verdict) -> Limits | None:
        return self.reach.limits(source, verdict, self.configs.get(source.platform))

    async def _judge(self, event: MessageEvent) -> Verdict:
        """By the rules of now: somebody may have been paired or revoked since the event came."""
        assert self.service is not None
        return judge(event, self.configs, await self.service.glance(partial(self._paired, event.source.platform)))

    def _paired(self, platform: Platform) -> frozenset[str]:
        people = self._session_db.people(platform.value)
        return frozenset(one.user_id for one in people if one.state == "allowed")

    def review(self) -> None:
        """Hold what an earlier process left to the rules of now, before it goes on: the settings may be others.

        Turns and tasks of who may not speak any more are stopped, the rest can do no more than its person may.
        Reads and writes the store. Raises: StoreError.
        """
        assert self.service is not None
        for task in self.service.store.tasks(states=LIVE_STATES):
            key = key_of(task.owner)
            if not key or (chat := chat_of(key)).platform not in self.configs:
                continue
            person = self.service.homes.person_of(key)
            # Where nobody knows whose it is, it is a group's that shares one conversation: it may be anybody's.
            source = SessionSource(
                platform=chat.platform,
                chat_id=chat.chat_id,
                user_id=person,
                is_group=not person or bool(user_of(key)),
            )
            event = MessageEvent(text="", source=source, addressed=True)
            anybody = Verdict(allowed=self.configs[chat.platform].groups != "none")
            verdict = judge(event, self.configs, self._paired(chat.platform)) if person else anybody
            options = options_of(task)
            limits = stricter(options.limits, self._limits(source, verdict))
            why = "" if verdict.allowed else "whoever asked for it may not speak here any more"
            if not why and task.owner.startswith(OF_TURNS):
                is_theirs = limits is None or self.service.conversations.is_here(key, task.session_id)
                why = "" if is_theirs else "it works in a folder that is not theirs any more"
            if why:
                _log.info("task %s is stopped: %s", task.id, why)
                self.service.tasks.stop(task.id, why=why)
                continue
            if limits != options.limits:
                self.service.store.update_task(task.id, options=options_text(replace(options, limits=limits)))

    async def _offer_pairing(self, event: MessageEvent) -> None:
        assert self.service is not None
        source, now = event.source, time.time()
        where, platform = address(source.chat), source.platform.value

        def told(code: str) -> tuple[str, str]:
            order = f"hermes pairing approve {platform} {code}"
            text = f"I do not know you. Whoever runs this gateway can let you in, within the hour:\n`{order}`"
            return where, encode(Letter(text=text))

        person = (platform, source.user_id, source.user_name)
        if await self.service.aside(lambda: self._session_db.ask_to_pair(*person, now=now, tell=told)):
            self.service.met(source)
            self.service.outbox.wake(where)

    def _key(self, event: MessageEvent) -> str:
        config = self.configs.get(event.source.platform)
        return session_key(event.source, groups=config.sessions if config else "user")

    def _call(self, event: MessageEvent, arguments: str, verdict: Verdict) -> Call:
        assert self.service is not None
        limits = self._limits(event.source, verdict)
        return Call(self.service, event, self._key(event), arguments, verdict, self.model, limits, self.values)

    def _arguments(self, event: MessageEvent) -> str:
        parsed = commands.parse(event.text.strip(), "gateway")
        return parsed.arguments if isinstance(parsed, commands.Parsed) else ""

    # -- commands that others rely on by name -----------------------------------------------------

    async def _handle_help_command(self, event: MessageEvent) -> str:
        """The commands for chats, by category; where it is known who asks, those that they may give."""
        if self.service is None:
            return "\n".join(commands.help_lines("gateway"))
        return "\n".join(commands.help_lines("gateway", (await self._judge(event)).may))

    async def _handle_background_command(self, event: MessageEvent) -> str:
        """Start a task, and say so at once."""
        if self.service is not None:
            return await task_commands.background(self._call(event, self._arguments(event), await self._judge(event)))
        prompt, for_tasks = commands.background_prompt(self._arguments(event))
        if for_tasks:
            return f"Nothing is kept here, so there is no list of tasks. As a prompt: /background -- {prompt}"
        if not prompt:
            return task_commands.USAGE
        task_id = f"bg_{time.strftime('%H%M%S')}_{token_hex(3)}"
        task = asyncio.create_task(self._run_background_task(prompt, event.source, task_id))
        self._background_tasks.add(task)
        task.add_done_callback(self._background_tasks.discard)
        return started(prompt, task_id)

    async def _run_background_task(self, prompt: str, source: SessionSource, task_id: str) -> None:
        """Run a prompt on an agent of its own, and tell the chat what came of it."""
        adapter = self.adapters.get(source.platform)
        if adapter is None:
            _log.warning("task %s: nobody speaks with %s", task_id, source.platform)
            return
        try:
            content = await self._answer(prompt)
        except HermesError as error:
            content = f"❌ Background task {task_id} failed: {_cleaned(error.explain())}"
        except Exception as fault:  # noqa: BLE001  (whoever asked is told, whatever happened)
            _log.exception("task %s", task_id)
            content = _cleaned(f"❌ Background task {task_id} failed: {type(fault).__name__}: {fault}")
        await adapter.send(source.chat, content)

    async def _answer(self, prompt: str) -> str:
        kwargs = await asyncio.to_thread(_resolve_runtime_agent_kwargs)
        if not kwargs.pop("api_key", None):
            raise HermesError("no API key is configured.", hint="The owner can set one: `hermes model`.")
        result = await asyncio.to_thread(self._converse, prompt, kwargs)
        if result.get("error"):
            raise HermesError(str(result["error"]))
        text = result.get("final_response") or "(no text)"
        return f'✅ Background task complete\nPrompt: "{literal(commands.preview(prompt))}"\n\n{text}'

    def _converse(self, prompt: str, kwargs: dict[str, Any]) -> Mapping[str, Any]:
        """On a thread: the whole life of a temporary agent."""
        agent = run_agent.AIAgent(**kwargs)
        try:
            return agent.run_conversation(prompt)
        finally:
            agent.shutdown_memory_provider()
            agent.close()
