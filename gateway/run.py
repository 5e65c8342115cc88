"""GatewayRunner: what happens with a message from a chat.

For now it answers /help and runs /background over whatever adapters it is given; no platform is served yet.
"""

import asyncio
import logging
import os
import time
from collections.abc import Mapping, MutableMapping
from secrets import token_hex
from typing import Any

import run_agent
from agent import commands
from agent.approvals import Gatekeeper, load_policy, nobody
from agent.config import load_config, read_keys
from agent.errors import HermesError
from agent.models import catalog
from agent.redact import Redactor, secret_values
from agent.store.memory import new_session_id
from gateway.config import Platform
from gateway.hooks import HookRegistry
from gateway.platforms.base import Adapter, MessageEvent
from gateway.session import SessionSource

_log = logging.getLogger(__name__)

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
    mode = "ask" if config.values.approvals == "yolo" else config.values.approvals
    session_id = new_session_id()
    return {
        "session_id": session_id,
        "gate": Gatekeeper(load_policy(config.dirs, mode), nobody, session_id=session_id),
        "choice": choice,
        "settings": config.values,
        "redact": Redactor([*secret_values(os.environ), *keys.values()]),
        "api_key": api_key,
    }


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

    def __init__(self) -> None:
        self.adapters, self.hooks = {}, HookRegistry()
        self._voice_mode, self._provider_routing, self._running_agents = {}, {}, {}
        self._background_tasks = set()

    async def _handle_help_command(self, event: MessageEvent) -> str:
        """The commands for chats, by category."""
        del event
        return "\n".join(commands.help_lines("gateway"))

    async def _handle_background_command(self, event: MessageEvent) -> str:
        """Start a task, and say so at once."""
        parsed = commands.parse(event.text.strip(), "gateway")
        prompt, for_tasks = commands.background_prompt(parsed.arguments if isinstance(parsed, commands.Parsed) else "")
        if for_tasks:
            return f"Tasks are not listed in chats yet. To send it as a prompt: /background -- {prompt}"
        if not prompt:
            return "Usage: /background <prompt>\nExample: /background summarize the top stories of today"
        task_id = f"bg_{time.strftime('%H%M%S')}_{token_hex(3)}"
        task = asyncio.create_task(self._run_background_task(prompt, event.source, task_id))
        self._background_tasks.add(task)
        task.add_done_callback(self._background_tasks.discard)
        return f'🔄 Background task started: "{commands.preview(prompt)}"\nTask ID: {task_id}'

    async def _run_background_task(self, prompt: str, source: SessionSource, task_id: str) -> None:
        """Run a prompt on an agent of its own, and tell the chat what came of it."""
        adapter = self.adapters.get(source.platform)
        if adapter is None:
            _log.warning("task %s: nobody speaks with %s", task_id, source.platform)
            return
        try:
            content = await self._answer(prompt)
        except HermesError as error:
            content = f"❌ Background task {task_id} failed: {error.explain()}"
        except Exception as fault:  # noqa: BLE001  (whoever asked is told, whatever happened)
            _log.exception("task %s", task_id)
            content = f"❌ Background task {task_id} failed: {type(fault).__name__}: {fault}"
        await adapter.send(source.chat, content)

    async def _answer(self, prompt: str) -> str:
        kwargs = await asyncio.to_thread(_resolve_runtime_agent_kwargs)
        if not kwargs.pop("api_key", None):
            raise HermesError("no API key is configured.", hint="The owner can set one: `hermes model`.")
        result = await asyncio.to_thread(self._converse, prompt, kwargs)
        if result.get("error"):
            raise HermesError(str(result["error"]))
        text = result.get("final_response") or "(no text)"
        return f'✅ Background task complete\nPrompt: "{commands.preview(prompt)}"\n\n{text}'

    def _converse(self, prompt: str, kwargs: dict[str, Any]) -> Mapping[str, Any]:
        """On a thread: the whole life of a temporary agent."""
        agent = run_agent.AIAgent(**kwargs)
        try:
            return agent.run_conversation(prompt)
        finally:
            agent.shutdown_memory_provider()
            agent.close()
