"""AIAgent: the one door to the agent. Front ends make one a session and one a background task."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from agent import images, lineage, loop, memory, prompt, trust
from agent.allowance import Allowance
from agent.approvals import Gatekeeper, Policy, nobody
from agent.cancel import CancelToken
from agent.checkpoints import Checkpoints
from agent.compaction import Compaction
from agent.config import ModelChoice, Settings, directories
from agent.context import Gauge, size_of_tools
from agent.errors import HermesError, StoreError
from agent.events import Compacted, Event, TurnFinished, TurnSuspended, cleaned
from agent.messages import INTERRUPTED, ImagePart, Message, Usage, unanswered_calls
from agent.models import catalog, portable, windows
from agent.models.fallback import FallbackModel
from agent.outputs import Outputs
from agent.protocols import ChatModel, Gate, ModelOutput, Redact, Reply, Sink, Store, Tool, ToolContext, ToolSpec
from agent.records import TASK_SOURCE, Limits
from agent.redact import Redactor, secret_values
from agent.sandbox import sandbox_for
from agent.store.memory import MemoryStore, new_session_id
from agent.tools import default_tools
from agent.tools.bench import bench_of, close_bench, move_bench
from agent.tools.delegate import NEVER, Delegate, Order, session_for
from agent.tools.housed import House
from agent.tools.memory import Memory
from agent.tools.session_search import AT_THE_MACHINE, SessionSearch, sources_for
from agent.tools.tasks import Tasks
from agent.toolset import Toolset
from agent.worktree import Worktree

SMALLEST_WINDOW = 6_000
"""Tokens that a model takes which is of any use here: the instructions and tools are most of them already."""

STILL_RUNNING = "(still running)"

Price = Callable[[Usage, ModelChoice], Usage]
"""Fills in what a reply cost. See `agent.models.prices.priced`."""


def ignore(event: Event) -> None:
    """A sink for callers that only want the outcome."""
    del event


class AIAgent:
    """An agent on one stored session. Turns run one at a time, on the thread that calls.

    Give a `model`, or a `choice` from which it is built on first use. Without a `gate` nobody is asked, and
    whatever needs an approval is refused, whatever mode the settings name. Without a `store` the session
    lives in memory. Without `price` the cost of a turn stays unknown. `redact` takes secrets, by default those
    of the environment, out of what tools return and of what events tell of errors and questions. With a `worktree` the
    tools work there instead of in `cwd`, and what they changed is committed when a turn is over. The agent
    may look at the background tasks of `owner`, if there is one. One that was sent by a `parent` keeps what it changes
    and what it costs in the parent's accounts. `chat` is the platform of the chat that it answers in.
    """

    def __init__(
        self,
        *,
        choice: ModelChoice | None = None,
        model: ChatModel | None = None,
        settings: Settings | None = None,
        store: Store | None = None,
        gate: Gate | None = None,
        session_id: str = "",
        source: str = "terminal",
        cwd: Path | None = None,
        tools: Sequence[Tool] | None = None,
        redact: Redact | None = None,
        price: Price | None = None,
        worktree: Worktree | None = None,
        owner: str = "",
        parent: "AIAgent | None" = None,
        limits: Limits | None = None,
        chat: str = "",
    ) -> None:
        self.session_id = session_id or new_session_id()
        self.settings = settings or Settings()
        self.store: Store = store or MemoryStore()
        self.cwd = (cwd or Path.cwd()).absolute()
        self._choice = choice or catalog.OFFLINE
        self._model = model
        self._price = price
        self._parent, self._limits, self._chat = parent, limits, chat
        self._gate = gate or Gatekeeper(Policy("ask"), nobody, session_id=self.session_id)
        self._given, self._worktree = tools, worktree
        self.allowance = Allowance(self.settings.max_steps)
        self._telling = threading.RLock()
        self._running = threading.Lock()
        self._cancel = CancelToken()
        self._bench = self.session_id
        self._directories = directories()
        self._state = self._directories.state
        self._is_task = source == TASK_SOURCE
        self._redact = redact or Redactor(secret_values(os.environ))
        bench = bench_of(self._bench, state=self._state)
        self._outputs = Outputs(self._state)
        self._house = House(worktree, bench.seen) if worktree else None
        row = self.store.session(self.session_id)
        self._sources = sources_for(self.store, row, source)
        if tools is None:
            bench.sandbox = sandbox_for(self.settings, self._directories, limits)
            tools = default_tools(bench, self.settings)
            tools = (*tools, *self._tools_of_the_person(owner), Delegate(self))
            # A conversation that was begun with a tool keeps it: the list is part of what its provider has cached.
            kept = {spec.name for spec in portable.tools(row.settings)} if row is not None else set[str]()
            tools = tuple(tool for tool in tools if tool.name in kept or tool.name not in self.settings.tools_off)
        if limits is not None:
            tools = tuple(tool for tool in tools if tool.name not in limits.without)
        self.checkpoints: Checkpoints | None = (
            parent.checkpoints if parent else self._checkpoints() if self.settings.checkpoints else None
        )
        self._toolset = Toolset(
            self._house.tools(tools) if self._house else tools,
            context=ToolContext(
                self._house.cwd if self._house else self.cwd,
                self.settings.output_limit,
                self.settings.command_timeout,
                redact=self._redact,
                owns=self._owns,
            ),
            gate=self._gate,
            keeper=self.checkpoints,
            outputs=self._outputs,
        )
        self._dumped: tuple[ModelChoice, tuple[ToolSpec, ...], str] | None = None
        self.store.create_session(
            self.session_id,
            source=source,
            cwd=str(self.cwd),
            model=self._choice.model,
            settings=self._stored_settings(),
            parent=parent.session_id if parent else "",
        )
        row = self.store.session(self.session_id)
        if row is not None and (told := portable.tools(row.settings)):
            self._toolset.tell(told)
        self._compaction = self._new_compaction()

    def _tools_of_the_person(self, owner: str) -> Iterator[Tool]:
        """Those that see what is kept, as much of it as is this person's."""
        if owner:
            yield Tasks(self.store, owner)
        if self._sources:
            yield SessionSearch(self.store, self._sources, current=lambda: self.session_id)
        if self._sources == AT_THE_MACHINE:
            yield Memory(self._directories.config)

    def _owns(self, path: Path) -> bool:
        """Whether a file was kept for this conversation: of the session it is in, or of one it went on from."""
        return self._outputs.holds(path, (session.id for session in lineage.lineage(self.store, self.session_id)))

    @property
    def model(self) -> ChatModel:
        """The model in use. Raises: ModelError, ConfigError when it cannot be built."""
        if self._model is None:
            self._model = catalog.build(self._choice)
        return self._model

    @property
    def model_name(self) -> str:
        """The id of the model that was asked last; "" where it is the first of an endpoint that was not asked yet."""
        return self._model.name if self._model is not None else self._choice.model

    @property
    def answering(self) -> ModelChoice:
        """Whose answer the last one was: the model's in use, or its fallback's where that stepped in."""
        fallback = self._choice.fallback
        stepped_in = isinstance(self._model, FallbackModel) and self._model.stepped_in
        return fallback if fallback is not None and stepped_in else self._choice

    @property
    def stepped_in(self) -> str:
        """The id of the fallback, where the last answer was its; else ""."""
        return "" if self.answering is self._choice else self.model_name

    @property
    def tool_specs(self) -> tuple[ToolSpec, ...]:
        """What the model is told of the tools."""
        return self._toolset.specs

    def counted(self, reply: Reply) -> Reply:
        """The reply with its cost, where the front end asked for prices and one is known; entered into the accounts."""
        usage = self._price(reply.usage, self.answering) if self._price else reply.usage
        if usage != Usage():
            # What it cost must not be why an answer is lost.
            with contextlib.suppress(StoreError):
                self.store.add_usage(self._account, self.model.name, usage)
        return replace(reply, usage=usage)

    @property
    def _account(self) -> str:
        """The session that pays."""
        return self._parent._account if self._parent else self.session_id

    def use(self, choice: ModelChoice) -> None:
        """Ask another model from the next turn on; the conversation stays."""
        self._choice, self._model = choice, None
        self._compaction = self._new_compaction()

    @property
    def gauge(self) -> Gauge:
        """How full the window is."""
        return self._compaction.gauge

    def compress(self, focus: str = "", *, emit: Sink = ignore, cancel: CancelToken | None = None) -> None:
        """Go on in a shorter session, now. Raises: HermesError when that is of no use, Cancelled, StoreError."""
        with self._running:
            self._cancel = cancel or CancelToken()
            history = self.store.messages(self.session_id)
            emit = self._following(emit)
            self._compaction.compress(self.session_id, history, emit=emit, cancel=self._cancel, focus=focus)

    def _new_compaction(self) -> Compaction:
        return Compaction(
            self.store,
            _Late(self),
            gauge=Gauge(size_of_tools(self._toolset.specs)),
            window=self._window,
            auto=self.settings.compact,
            threshold=self.settings.compact_at,
            summarise=self._choice.provider != "offline" or self._model is not None,
        )

    def _window(self, tokens: int, cancel: CancelToken) -> int:
        """The model's window. Its server is asked only by a conversation that may outgrow the smallest."""
        if self.settings.context_window:
            return self.settings.context_window
        return windows.known(self._choice) if tokens < SMALLEST_WINDOW else windows.found(self._choice, cancel)

    def _following(self, emit: Sink) -> Sink:
        """A sink for clean events, that also follows the conversation into the session where it goes on."""

        def follow(event: Event) -> None:
            if isinstance(event, Compacted):
                self.session_id = event.session_id
                if self.checkpoints and not self._parent:
                    self.checkpoints.follow(event.session_id, self._last_prompt())
                move_bench(self._bench, event.session_id)
                self._bench = event.session_id
            # Agents that it has sent tell of themselves from threads of their own.
            with self._telling:
                emit(cleaned(event, self._redact))

        return follow

    def run_turn(
        self,
        text: str | None,
        *,
        emit: Sink = ignore,
        cancel: CancelToken | None = None,
        inbox: loop.Inbox = tuple,
    ) -> TurnFinished | TurnSuspended:
        """Run a turn (None: go on with the one the store holds) and return the event that ended it.

        Images that the text names as `@shot.png` are sent with it. Raises: HermesError when they cannot be; StoreError.
        """
        with self._running:
            shown = self._images(text) if text else ()
            self._cancel = cancel or CancelToken()
            self.allowance.begin(0.0 if catalog.costs_nothing(self._choice) else self.settings.max_cost)
            self._note_model()
            history = self._history()
            if self.checkpoints and not self._parent:
                self.checkpoints.begin(text, len(history))
            end: TurnFinished | TurnSuspended | None = None
            try:
                end = self._run(text, history, emit=emit, inbox=inbox, shown=shown)
            finally:
                if self.checkpoints and not self._parent and not isinstance(end, TurnSuspended):
                    self.checkpoints.end()
        if self._is_task and isinstance(end, TurnFinished):
            close_bench(self._bench)
        if self._house and not self._parent and isinstance(end, TurnFinished):
            end = self._house.leave(end)
        return cleaned(end, self._redact)

    def by_the_way(self, question: str, *, cancel: CancelToken) -> str:
        """What the model says to a question about the conversation, of which nothing is stored but what it cost.

        May be called while a turn runs. Raises: ModelError, Cancelled, StoreError.
        """
        history = self._history()
        running = [Message("tool", STILL_RUNNING, tool_call_id=call.id) for call in unanswered_calls(history)]
        asked = Message("user", prompt.prose("by_the_way").format(question=question))
        for output in self.model.stream([*history, *running, asked], self.tool_specs, cancel=cancel):
            if isinstance(output, Reply):
                return self.counted(output).message.content.strip()
        return ""

    def take_in(self, text: str) -> None:
        """Add a report to the conversation between two turns; the next one reads it. Raises: StoreError."""
        with self._running:
            history = self._history()
            for call in unanswered_calls(history):
                self.store.append(self.session_id, Message("tool", INTERRUPTED, tool_call_id=call.id))
            self.store.append(self.session_id, Message("user", text))

    def _history(self) -> list[Message]:
        """The conversation, which begins with the instructions."""
        history = self.store.messages(self.session_id)
        if not history:
            system = Message("system", self._instructions())
            self.store.append(self.session_id, system)
            history = [system]
        return history

    def _instructions(self) -> str:
        trusted = trust.is_trusted(self._state, self.cwd, self.settings.trusted_folders)
        notes = memory.for_prompt(self._directories.config) if self._sources == AT_THE_MACHINE else ""
        text = prompt.build(self.cwd, trusted=trusted, notes=self._redact(notes), chat=self._chat)
        return self._house.renamed(text) if self._house else text

    def _run(
        self,
        text: str | None,
        history: list[Message],
        *,
        emit: Sink,
        inbox: loop.Inbox,
        shown: tuple[ImagePart, ...],
    ) -> TurnFinished | TurnSuspended:
        return loop.run_turn(
            text,
            history,
            model=_Late(self),
            toolset=self._toolset,
            store=self.store,
            session_id=self.session_id,
            emit=self._following(emit),
            cancel=self._cancel,
            inbox=inbox,
            compact=self._compaction,
            max_steps=self.settings.max_steps,
            allowance=self.allowance,
            images=shown,
            seen=self._seen,
        )

    # -- agents that it sends ----------------------------------------------------------------------

    @property
    def tool_names(self) -> tuple[str, ...]:
        return self._toolset.names

    def session_for(self, call_id: str, number: int) -> str:
        """The session of an agent that a call sends, or the one in which its conversation went on."""
        return lineage.newest_of(self.store, session_for(self.session_id, call_id, number))

    def steps_taken(self, session_id: str) -> int:
        messages = self.store.messages(session_id)
        asked = any(message.role == "user" for message in messages)
        return sum(message.role == "assistant" for message in messages) if asked else -1

    def hire(self, order: Order, *, steps: int) -> "AIAgent":
        """An agent that works for this one: the same model, folder and person, no more than these of its tools."""
        bench_of(self._bench, state=self._state).lent.add(order.session_id)
        off = {name for name in self.tool_names if name not in order.names} | NEVER
        given = self._given and [tool for tool in self._given if tool.name in order.names]
        return AIAgent(
            choice=self._choice,
            model=self._model,
            settings=replace(self.settings, max_steps=steps, tools_off=[*self.settings.tools_off, *sorted(off)]),
            store=self.store,
            gate=self._gate.for_child(order.session_id, order.who)
            if isinstance(self._gate, Gatekeeper)
            else self._gate,
            session_id=order.session_id,
            source=TASK_SOURCE,
            cwd=self.cwd,
            tools=given,
            redact=self._redact,
            price=self._price,
            worktree=self._worktree,
            parent=self,
            limits=self._limits,
        )

    def _checkpoints(self) -> Checkpoints:
        cwd = self._house.cwd if self._house else self.cwd
        return Checkpoints(
            self._state, self.session_id, cwd, earlier=lambda: lineage.earlier(self.store, self.session_id)
        )

    def _last_prompt(self) -> int:
        """The place of what the person asked last."""
        return max(lineage.prompts(self.store.messages(self.session_id)), default=0)

    def _images(self, text: str) -> tuple[ImagePart, ...]:
        """Raises: HermesError."""
        # Somebody who is kept to a folder, or a model that sends an agent, may name what lies there, and no more.
        anywhere = self._limits is None and self._parent is None
        found = images.mentioned(text, self.cwd, self._state / images.FOLDER, anywhere=anywhere)
        if found and catalog.takes_images(self._choice.model) is False:
            hint = "Choose another /model, or write the name without the @."
            raise HermesError(f"{self._choice.model} takes no images, and {found[0].name} is one.", hint=hint)
        return found

    def _seen(self, line: str) -> tuple[ImagePart, ...]:
        """The images of a line that comes while a turn runs: one that cannot be shown must not end it."""
        try:
            return self._images(line)
        except HermesError:
            return ()

    def _note_model(self) -> None:
        """Keep the session's row at the model it is asked with, for whoever resumes it."""
        row, settings = self.store.session(self.session_id), self._stored_settings()
        if row is not None and row.settings != settings:
            self.store.update_session(self.session_id, model=self._choice.model, settings=settings)

    def _stored_settings(self) -> str:
        """The model and the tools as the session's row has them; made anew only when one of them is another."""
        choice, specs = self._choice, self.tool_specs
        if self._dumped is None or self._dumped[0] is not choice or self._dumped[1] is not specs:
            self._dumped = choice, specs, portable.dump(choice, specs)
        return self._dumped[2]

    def run_conversation(self, text: str, *, emit: Sink = ignore) -> dict[str, Any]:
        """Run a turn and return `final_response`, `messages`, `outcome`, `error`, `usage`, `steps`, `seconds`."""
        end = self.run_turn(text, emit=emit)
        assert isinstance(end, TurnFinished), "a turn without a mailbox is never suspended"
        return {
            "final_response": end.text,
            "messages": self.store.messages(self.session_id),
            "outcome": end.outcome,
            "error": f"{end.error} {end.hint}".strip(),
            "usage": end.usage,
            "steps": end.steps,
            "seconds": end.seconds,
        }

    def shutdown_memory_provider(self) -> None:
        """Let go of the memory provider. There is none yet, so there is nothing to flush."""

    def close(self) -> None:
        """Stop a turn that still runs, and what its tools left in the background. The stored session stays."""
        self._cancel.cancel()
        close_bench(self._bench)

    @contextlib.contextmanager
    def dismissed(self) -> Iterator[None]:
        """At the end let go of the parts that refer back to the agent, which is of no use then.

        Their memory is free at once; left to the collector, thousands of turns would make it stop everything for long.
        """
        try:
            yield
        finally:
            del self._toolset, self._compaction, self.checkpoints

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Late:
    """The agent's model, built when it is first asked, so that a failure to build it is a failed turn."""

    def __init__(self, agent: AIAgent) -> None:
        self._agent = agent

    @property
    def name(self) -> str:
        return self._agent.model.name

    def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, cancel: CancelToken
    ) -> Iterator[ModelOutput]:
        for output in self._agent.model.stream(messages, tools, cancel=cancel):
            yield self._agent.counted(output) if isinstance(output, Reply) else output


if TYPE_CHECKING:
    _: ChatModel = _Late(AIAgent())
