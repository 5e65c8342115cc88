"""Functions that run when something happens in the gateway."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

_log = logging.getLogger(__name__)

Hook = Callable[[str, Mapping[str, object]], Awaitable[None]]
"""Takes the event's name and what is known about it."""

TIMEOUT = 10.0
"""Seconds after which a hook is given up."""


class HookRegistry:
    """Hooks by event name; a name that ends in `:*` covers every event that begins so."""

    def __init__(self) -> None:
        self._hooks: dict[str, list[Hook]] = {}

    def register(self, event: str, hook: Hook) -> None:
        self._hooks.setdefault(event, []).append(hook)

    async def emit(self, event: str, facts: Mapping[str, object]) -> None:
        """Run the hooks of an event, in order. One that raises or hangs is logged, and stops nothing."""
        for name, hooks in self._hooks.items():
            if name == event or (name.endswith(":*") and event.startswith(name[:-1])):
                for hook in hooks:
                    await self._run(hook, event, facts)

    async def _run(self, hook: Hook, event: str, facts: Mapping[str, object]) -> None:
        try:
            await asyncio.wait_for(hook(event, facts), TIMEOUT)
        except TimeoutError:
            _log.warning("a hook for %s took longer than %s s", event, TIMEOUT)
        except Exception:  # noqa: BLE001  (hooks are other people's code)
            _log.exception("a hook for %s failed", event)
