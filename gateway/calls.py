"""A command in a chat, as what carries it out sees it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from agent.config import Settings
from agent.errors import HermesError
from agent.protocols import Task
from agent.records import LIVE_STATES, OF_CHATS, OF_TERMINALS, OF_TURNS, Limits
from gateway.authorization import Verdict
from gateway.model import ModelOfChats
from gateway.platforms.base import MessageEvent
from gateway.service import Prompt, Service


@dataclass(frozen=True, slots=True)
class Call:
    """A command in a chat. `key` is the conversation's; `verdict` says what whoever gave it may do.

    `event_name` names the message for ever, so that what it starts is started once. `limits` are those of whoever gave
    it, `values` the settings of this gateway.
    """

    service: Service
    event: MessageEvent
    key: str
    arguments: str
    verdict: Verdict
    model: ModelOfChats | None = None
    limits: Limits | None = None
    values: Settings = Settings()

    def with_arguments(self, arguments: str) -> "Call":
        """The same, for the command that another one stands for."""
        return replace(self, arguments=arguments)

    @property
    def event_name(self) -> str:
        source = self.event.source
        return f"in:{source.platform.value}:{self.event.event_id or self.event.message_id}"

    @property
    def whom_to_ask(self) -> str:
        """A hint for who may not do something."""
        return self.service.homes.whom_to_ask(self.event.source.platform)

    @property
    def word(self) -> str:
        return self.arguments.partition(" ")[0].lower()

    @property
    def rest(self) -> str:
        return self.arguments.partition(" ")[2].strip()

    def tasks(self) -> list[Task]:
        """The background tasks this person may see, oldest first.

        An admin sees those of every chat and terminal, and the turns that wait for an answer.
        """
        store = self.service.store
        if not self.verdict.admin:
            return store.tasks(owner=OF_CHATS + self.key)
        asking = store.tasks(owner=OF_TURNS, states=frozenset({"waiting"}))
        found = [*asking, *store.tasks(owner=OF_CHATS), *store.tasks(owner=OF_TERMINALS)]
        return sorted(found, key=lambda task: task.number)

    def _may_command(self, task: Task) -> bool:
        if self.verdict.admin:
            return task.owner.startswith((OF_CHATS, OF_TURNS, OF_TERMINALS))
        return task.owner in (OF_CHATS + self.key, OF_TURNS + self.key)

    def find(self, text: str) -> Task:
        """One of them, or a turn (the chat's own; for admins anybody's), by number or id.

        A turn that is over is found by its whole id, which buttons have. Raises: HermesError.
        """
        wanted = text.removeprefix("#").strip()
        whole = self.service.store.task(wanted)
        if whole is not None and self._may_command(whole):
            return whole
        own = [
            *self.tasks(),
            *self.service.store.tasks(
                owner=OF_TURNS if self.verdict.admin else OF_TURNS + self.key, states=LIVE_STATES
            ),
        ]
        found = {task.id: task for task in own if wanted and (str(task.number) == wanted or task.id.startswith(wanted))}
        if len(found) != 1:
            raise HermesError(f"There is no task {text!r} here.", hint="/tasks lists them.")
        return next(iter(found.values()))


Command = Callable[[Call], Awaitable[str | Prompt]]
