"""One person's session, whatever shows it: the turn that runs, what is queued, tasks, questions, usage.

Everything here runs on the UI loop's thread, except where a docstring says otherwise. The agent runs on threads
of its own and crosses over in `bridge`.
"""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from agent import trust
from agent.approvals import Desk, Gatekeeper, Policy
from agent.cancel import CancelToken
from agent.commands import Parsed, Unknown, parse
from agent.config import Config, ModelChoice
from agent.errors import Cancelled, HermesError
from agent.events import (
    ApprovalRequested,
    ApprovalSettled,
    Compacted,
    Compacting,
    Event,
    Steered,
    StepFinished,
    StepStarted,
    TaskChanged,
    TextDelta,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnStarted,
)
from agent.messages import Usage
from agent.protocols import Decision
from agent.reports import is_report
from agent.store.rules import new_session_id
from agent.task_rows import logged
from agent.task_runs import CUT
from agent.tools.bench import close_all
from agent.visible import visible
from hermes_cli.asides import Asides
from hermes_cli.background import Background
from hermes_cli.bridge import Bridge, Delivered
from hermes_cli.leaving import PARK_WITHIN, Leaving
from hermes_cli.model_in_use import ModelInUse
from hermes_cli.questions import PREVIEW_LENGTH, PREVIEW_LINES, UNFINISHED, Question, approval_question
from hermes_cli.returns import Returns
from hermes_cli.screen import Screen
from hermes_cli.seats import Seats
from hermes_cli.turn import Turn

if TYPE_CHECKING:
    from agent.store.kept import KeepingStore
    from agent.tools.todo import TodoItem
    from run_agent import AIAgent

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

SLICE = 0.008
"""Seconds of rendering after which the keyboard has its turn."""


class Chat:
    """One session in a terminal."""

    def __init__(
        self,
        config: Config,
        policy: Policy,
        screen: Screen,
        *,
        cwd: Path,
        store: "KeepingStore",
        env: Mapping[str, str] = os.environ,
    ) -> None:
        self.config = config
        self.screen = screen
        self.cwd = cwd
        self.env = env
        self.loop = asyncio.get_running_loop()
        self.bridge = Bridge(self.loop, self._deliver, screen.keyboard)
        self.model = ModelInUse(config, env, changed=lambda: self.post(screen.refresh))
        self.store = store
        self.seats = Seats(store)
        self.policy = policy
        self.verbose = config.values.verbose
        self.owner = f"terminal:{new_session_id()}"
        self.started = time.time()
        self.turn: Turn | None = None
        self.detached: list[Turn] = []
        self.queued: deque[str] = deque()
        self.questions: list[Question] = []
        self.beside: list[CancelToken] = []
        self.usage = Usage()
        self.filled = 0
        self.answer = ""
        self.todo: tuple[TodoItem, ...] = ()
        self.parts: dict[tuple[str, str], str] = {}
        self.leaving = Leaving(self)
        self.returns = Returns(self)
        self.shell: subprocess.Popen[bytes] | None = None
        self._shell_told: subprocess.Popen[bytes] | None = None
        self._showing: deque[Iterator[str]] = deque()
        self.background = Background(self, workers=config.values.background_workers)
        self._desk = Desk(timeout=config.values.approval_timeout)
        self.aside = Asides(self.post, self.complain, settled=self._settled, folder=config.dirs.state)
        self._agent: AIAgent | None = None
        # One makes an agent at a time; whose it becomes is settled in a moment, which the UI loop may wait for.
        self._making, self._settling = threading.Lock(), threading.Lock()
        self._resumed = ""
        self.held = False
        self._trust_asked = False

    # -- what a person does ------------------------------------------------------------------------

    def submit(self, line: str) -> None:
        """Take a line as typed: an answer, a shell command, a slash command or a message."""
        if not line.strip():
            return
        if line.strip() == "!":
            self.complain("! runs a shell command as yourself; the agent does not see it.", "Example: !git status")
            return
        if line.startswith("!"):
            from hermes_cli.handlers.shell import run_as_person

            run_as_person(self, line[1:].strip())
            return
        match parse(line.strip(), "terminal"):
            case None:
                self.send(line)
            case Unknown() as unknown:
                self.screen.echo(line)
                self.complain(unknown.explain())
            case Parsed(command, arguments):
                if self.turn and not command.busy:
                    self.screen.echo(line)
                    self.complain(
                        f"/{command.name} has to wait for the turn.", f"{self.screen.stop_key} interrupts it."
                    )
                    return
                self.screen.echo(line)
                self._dispatch(command.name, arguments)

    def send(self, text: str) -> None:
        """Start a turn; while one runs, tell it."""
        if self.held:
            self.queue(text)
        elif self.turn is None:
            self._start(text)
        else:
            self.turn.steering.append(text)
            self.screen.waits(text, "next")

    @property
    def steering(self) -> deque[str]:
        """What the turn reads before its next step."""
        return self.turn.steering if self.turn else deque()

    def queue(self, text: str) -> None:
        """Send a text when the turn is over, or now when none runs."""
        if self.turn is None and not self.held:
            self._start(text)
        else:
            self.queued.append(text)
            self.screen.waits(text, "queued")

    def interrupt(self) -> bool:
        """Stop the turn, or else what was asked beside it. False when there is neither."""
        if self.turn is None:
            return self._take_back()
        self.turn.activity = "stopping"
        self.turn.cancel.cancel()
        self.screen.refresh()
        return True

    def _take_back(self) -> bool:
        for question in self.beside:
            question.cancel()
        return bool(self.beside)

    def stop(self) -> bool:
        """Stop the turn, or where none runs those that are about to go aside. False when there is neither."""
        return self.interrupt() or self.stop_detached()

    def stop_detached(self) -> bool:
        """Stop the turns that are about to go aside. False when there are none, or we leave and they are kept."""
        if not self.detached or self.leaving.keeps:
            return False
        for turn in self.detached:
            turn.activity = "stopping"
            turn.cancel.stop()
        self.screen.refresh()
        return True

    def detach(self) -> bool:
        """Let the turn go on as a task, and begin a new conversation. False when none runs that could."""
        self.bridge.drain()
        turn = self.turn
        if turn is None or turn.compresses:
            return False
        with self._settling:
            turn.detached = True
        # They were meant for this conversation.
        turn.steering.extend(self.queued)
        self.queued.clear()
        turn.cancel.park()
        asked = {request.request_id for request in self._desk.pending()}
        if asked:
            # What it waits for here, the task asks for again.
            turn.cancel.cancel()
        self.bridge.drain()
        self.withdraw(*asked)
        for piece in self.screen.renderer().unfinished():
            self.screen.show(piece)
        self.detached.append(turn)
        if self._agent is not None:
            self.seats.lend(self._agent.session_id)
        self.turn, self._agent, self._resumed = None, None, ""
        self.new_session()
        self.screen.refresh()
        return True

    def stop_shell(self) -> bool:
        """Stop the person's own shell command. False when none runs."""
        if self.shell is None:
            return False
        from hermes_cli.handlers.shell import kill, stop

        # A command that does not listen is asked once.
        (kill if self._shell_told is self.shell else stop)(self.shell)
        self._shell_told = self.shell
        return True

    def reply(self, line: str) -> bool:
        """Take a line as the answer to the open question. False when it is none."""
        question = self.questions[0] if self.questions else None
        if question is None or not question.take(line):
            return False
        if question in self.questions:
            self.questions.remove(question)
        self.screen.refresh()
        return True

    @property
    def asks(self) -> int:
        """Calls of the turn that wait for an answer. What the person was asked about an order of theirs is none."""
        return len(self._desk.pending())

    def ask(self, question: Question) -> None:
        """Put a question before those that stand; one a subject."""
        if not any(other.about == question.about for other in self.questions):
            self.questions.insert(0, question)
        self.screen.refresh()

    def withdraw(self, *subjects: str) -> None:
        """Ask no more about these."""
        self.questions = [question for question in self.questions if question.about not in subjects]

    def close(self) -> None:
        """Stop everything that runs, or let go of it for others to go on with. Quick: see `wait_until_stopped`."""
        keeps = self.leaving.keeps
        self.stop_shell()
        self._take_back()
        if self.turn is not None:
            if keeps:
                self.turn.cancel.park()
            self.turn.cancel.cancel()
        until = time.monotonic() + PARK_WITHIN
        if keeps:
            self.background.pool.park()
            self._wait_for_detached(until)
        for turn in self.detached:
            turn.cancel.cancel()
        if keeps:
            self._wait_for_detached(time.monotonic() + CUT)
        self.background.close(park=keeps, wait=max(0.0, until - time.monotonic()))
        if keeps:
            self.leaving.hand_over()
        self.bridge.close()

    def _wait_for_detached(self, until: float) -> None:
        for turn in self.detached:
            if turn.thread is not None:
                turn.thread.join(max(0.0, until - time.monotonic()))

    def wait_until_stopped(self, seconds: float) -> None:
        """After `close`: let the turn end what it started; end the person's command and what tools left running."""
        if self.turn is not None and self.turn.thread is not None:
            self.turn.thread.join(seconds)
        self.aside.close()
        self.background.finish()
        if self.shell is not None:
            from hermes_cli.handlers.shell import kill

            kill(self.shell)
        close_all()
        self.seats.close()

    def new_session(self) -> None:
        """Forget the conversation, and end what its tools left running. Tasks go on, and still report here."""
        self.withdraw(UNFINISHED)
        if old := self.conversation:
            self.aside(lambda: self.seats.give_up(old))
        if self._agent is not None:
            # It waits for processes to end.
            threading.Thread(target=self._agent.close, daemon=True, name="close").start()
        self._agent, self._resumed, self.answer, self.usage, self.filled = None, "", "", Usage(), 0
        self.todo, self.model.stepped_in = (), ""

    def go_on(self, session_id: str, *, usage: Usage) -> None:
        """Leave the conversation, and go on with a stored one that has used so much."""
        self.new_session()
        self._resumed, self.usage = session_id, usage
        self.aside(lambda: self._last_todo(session_id), lambda items: self._show_todo(session_id, items))
        self.screen.refresh()

    def _last_todo(self, session_id: str) -> "tuple[TodoItem, ...]":
        """On a thread: what a stored conversation has still to do."""
        from agent.tools.todo import last_list

        return last_list(self.store, session_id)

    def _show_todo(self, session_id: str, items: "tuple[TodoItem, ...]") -> None:
        if self.conversation == session_id and not self.todo:
            self.todo = items

    def move(self, cwd: Path) -> None:
        """Work in another folder. Tasks that run stay where they are."""
        try:
            os.chdir(cwd)
        except OSError as error:
            self.complain(f"Cannot work in {cwd}: {error.strerror}.", f"Going on in {self.cwd}.")
            return
        self.cwd = cwd
        self.screen.moved()

    def hold(self) -> None:
        """Another conversation is about to be restored: what is sent from now on waits for it."""
        self.held = True

    def release(self, *, keep: bool) -> None:
        """It is there; send what waited. Without `keep` it is not, and what waited becomes a draft again."""
        self.held = False
        if keep and self.queued and self.turn is None:
            self._start(self.queued.popleft())
        while not keep and self.queued:
            self.screen.draft(self.queued.popleft())
        self.screen.refresh()

    def _settled(self) -> None:
        if not self.aside.left:
            self.leaving.if_settled()
        self.screen.refresh()

    def guarded(self, work: Callable[[], None]) -> None:
        """Do something here, and show a HermesError of it to the person."""
        try:
            work()
        except HermesError as error:
            self.complain(str(error), error.hint)

    def configure(self, config: Config) -> None:
        """Begin conversations and tasks with other settings from now on."""
        self.config = config
        self.background.configured()

    def complain(self, text: str, hint: str = "") -> None:
        self.screen.show(self.screen.renderer().error(text, hint))

    # -- the model ---------------------------------------------------------------------------------

    def warm(self) -> None:
        """On a thread, after the first paint: everything slow, so that the first prompt does not wait for it."""
        from hermes_cli.render import warm_up

        warm_up()
        self.model.load()
        self.background.open()

    def use(self, choice: ModelChoice) -> None:
        """Switch the model for this session; the conversation stays."""
        self.model.use(choice)
        if self._agent is not None:
            self._agent.use(choice)

    def post(self, show: Callable[[], None]) -> None:
        """From any thread: have something done on the UI loop; nothing when that is over."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(show)

    # -- the turn ----------------------------------------------------------------------------------

    def finish_turn(self, prompt: str) -> None:
        """Go on with the turn of this prompt, as the store holds it."""
        self._begin(Turn(prompt, rest=True))

    def _start(self, text: str) -> None:
        self.screen.echo(text)
        if not self._ask_trust(text):
            self._begin(Turn(text))

    def _ask_trust(self, text: str) -> bool:
        """Before the first turn in a folder with instructions of its own: may they be read? The turn waits for that."""
        from hermes_cli.questions import trust_question

        state = self.config.dirs.state
        if self._trust_asked or not sys.stdin.isatty():
            return False
        self._trust_asked = True
        if (question := trust_question(self.cwd, state, self.config.values.trusted_folders)) is None:
            return False

        def settle(letter: str, _words: str) -> None:
            def keep() -> str:
                try:
                    trust.remember(state, self.cwd, letter == "y")
                except HermesError as error:
                    return f"The answer was not kept: {error}"
                return ""

            def go_on(problem: str = "") -> None:
                self.held = False
                if problem:
                    self.complain(problem)
                self._begin(Turn(text))

            self.aside(keep, go_on, failed=go_on)

        self.held = True
        self.ask(replace(question, settle=settle))
        return True

    def _begin(self, turn: Turn) -> None:
        # What the conversation goes on with now is this.
        self.withdraw(UNFINISHED)
        self.turn = turn
        turn.agent, turn.session_id = self._agent, self._resumed
        turn.thread = threading.Thread(target=self._run_turn, args=(turn,), daemon=True, name="turn")
        turn.thread.start()
        self.screen.refresh()

    def _run_turn(self, turn: Turn) -> None:
        """On the turn's thread."""
        told = CancelToken()

        def listening(event: Event) -> None:
            if isinstance(event, TurnFinished):
                told.cancel()
            if (kept := logged(event)) is not None:
                turn.log.append(kept)
            if not turn.detached:
                self.bridge.emit(event)

        try:
            agent = self._make_agent(turn)
            if turn.detached:
                self.seats.lend(agent.session_id)
            emit = self.seats.follow(agent.session_id, listening)
            end = agent.run_turn(
                None if turn.rest else turn.prompt, emit=emit, cancel=turn.cancel, inbox=lambda: _taken(turn.steering)
            )
            if turn.detached:
                unread, ran = _taken(turn.steering), time.monotonic() - turn.started
                taken = self.background.take_over(
                    turn.prompt, agent.session_id, end, unread=unread, log=turn.log, ran=ran
                )
                if not taken:
                    agent.close()
                self.seats.give_up(agent.session_id)
        except Exception as error:  # noqa: BLE001
            if not isinstance(error, HermesError):
                _log.exception("turn")
            if not told.cancelled:
                # It failed before it began: no agent, no session.
                hint = error.hint if isinstance(error, HermesError) else ""
                self.bridge.emit(TurnStarted(turn.prompt))
                self.bridge.emit(
                    TurnFinished(
                        "failed", "", error=self.cleaned(str(error)), hint=hint, error_kind=type(error).__name__
                    )
                )
        finally:
            if turn.detached:
                self.post(lambda: self._let_go_of(turn))

    def _let_go_of(self, turn: Turn) -> None:
        """One that went aside is a task by now, or over."""
        self.detached.remove(turn)
        self.screen.refresh()

    def cleaned(self, text: str) -> str:
        """Without the secrets that are known, also where the file of keys is why nothing works."""
        from agent.redact import Redactor, secret_values

        try:
            return self.model.redact(text)
        except HermesError:
            return Redactor(secret_values(self.env))(text)

    def take_in(self, report: str) -> None:
        """From any thread: add a report to the conversation, for the next turn. Raises: StoreError, ConfigError."""
        self._make_agent().take_in(report)

    def _take_in_all(self, reports: list[str]) -> None:
        for report in reports:
            self.take_in(report)

    def ask_beside(self, question: str, cancel: CancelToken) -> str:
        """From any thread: the model's answer to a question beside the conversation. Raises: HermesError."""
        return self._make_agent().by_the_way(question, cancel=cancel)

    def compress(self, focus: str) -> None:
        """Make the conversation shorter, where a turn would run; Esc stops it."""
        self.turn = turn = Turn("/compress", compresses=True, activity="summarising the conversation")
        turn.thread = threading.Thread(target=self._run_compress, args=(turn, focus), daemon=True, name="turn")
        turn.thread.start()
        self.screen.refresh()

    def _run_compress(self, turn: Turn, focus: str) -> None:
        """On the turn's thread."""
        said, hint = "", ""
        try:
            agent = self._make_agent(turn)
            agent.compress(focus, emit=self.seats.follow(agent.session_id, self.bridge.emit), cancel=turn.cancel)
        except Cancelled:
            said, hint = "Not compressed: it was interrupted.", "The conversation is as it was."
        except HermesError as error:
            said, hint = str(error), error.hint
        except Exception as fault:  # noqa: BLE001
            # A fault here must not leave a turn that never ends.
            _log.exception("compress")
            said = f"{type(fault).__name__}: {fault}"
        self.post(lambda: self._compressed(said, hint))

    def _compressed(self, said: str, hint: str) -> None:
        if said:
            self.complain(said, hint)
        self._turn_over()
        self.screen.refresh()

    @property
    def agent(self) -> "AIAgent | None":
        """The agent of the conversation, None before its first turn."""
        return self._agent

    def _make_agent(self, turn: Turn | None = None) -> "AIAgent":
        """On any thread: the conversation's agent, or that of a `turn`, which may have been detached meanwhile."""
        with self._making:
            with self._settling:
                agent, session_id = self._agent, self._resumed
                if turn is not None and turn.detached:
                    agent, session_id = turn.agent, turn.session_id
            if agent is not None:
                return agent
            agent = self._new_agent(session_id or new_session_id())
            with self._settling:
                if turn is None or not turn.detached:
                    self._agent = agent
            return agent

    def _new_agent(self, session_id: str) -> "AIAgent":
        import run_agent
        from agent.models import prices

        self.seats.require(session_id)
        return run_agent.AIAgent(
            choice=self.model.choose(),
            settings=self.config.values,
            store=self.store,
            session_id=session_id,
            cwd=self.cwd,
            gate=Gatekeeper(self.policy, self._desk, session_id=session_id),
            redact=self.model.redact,
            price=prices.priced,
            owner=self.owner,
        )

    @property
    def conversation(self) -> str:
        """The id of the conversation, "" before its first turn."""
        return self._agent.session_id if self._agent else self._resumed

    def _dispatch(self, name: str, arguments: str) -> None:
        from hermes_cli import handlers

        try:
            handlers.find(name)(self, arguments)
        except HermesError as error:
            self.complain(str(error), error.hint)

    # -- what the agent tells ----------------------------------------------------------------------

    def _deliver(self, batch: list[Delivered]) -> None:
        """A batch from the bridge."""
        self._showing.append(self._pieces(batch))
        if len(self._showing) == 1:
            self._show_some()

    def _show_some(self) -> None:
        """Render and show for a few milliseconds, then let the keyboard in and go on."""
        until = self.loop.time() + SLICE
        while self._showing:
            for text in self._showing[0]:
                self.screen.show(text)
                if self.loop.time() > until:
                    self.loop.call_soon(self._show_some)
                    return
            self._showing.popleft()
        self.screen.refresh()

    def _pieces(self, batch: list[Delivered]) -> Iterator[str]:
        """What a batch adds to the finished text. A fault in one event must not lose the others."""
        for event in batch:
            try:
                yield from self._take_in(event)
            except Exception as fault:  # noqa: BLE001
                _log.exception("showing %s", type(event).__name__)
                yield f"(could not show {type(event).__name__}: {type(fault).__name__})\n"

    def _take_in(self, event: Delivered) -> Iterator[str]:
        match event:
            case TaskChanged():
                self.background.changed(event)
                self.leaving.if_over()
                return
            case StepStarted():
                self._activity("thinking")
            case TextDelta():
                self._activity("answering")
            case ToolStarted(name="todo", arguments=arguments):
                from agent.tools.todo import items_in

                items = items_in(arguments)
                self.todo = self.todo if items is None else items
            case ToolStarted(name=name, title=title):
                self._activity(f"{name} {title}")
            case ToolProgress(call_id=call_id, part=part, text=text, usage=usage):
                self.usage += usage
                if text:
                    self.parts[call_id, part] = text
            case ToolFinished(call_id=call_id):
                self._activity("thinking")
                self.parts = {key: text for key, text in self.parts.items() if key[0] != call_id}
            case Compacting():
                self._activity("summarising the conversation")
            case Compacted(after=tokens, usage=usage):
                self.usage += usage
                self.filled = tokens
            case StepFinished(usage=usage, text=text):
                self.usage += usage
                self.filled = usage.input_tokens + usage.output_tokens or self.filled
                self.answer = text or self.answer
                self.model.stepped_in = self._agent.stepped_in if self._agent else ""
            case ApprovalRequested(preview=text):
                if text.count("\n") >= PREVIEW_LINES or len(text) > PREVIEW_LENGTH:
                    yield from self.screen.renderer().quote(text)
                self._activity("waiting for your answer")
                self.questions.append(approval_question(event, self._settle, self.screen.glyphs))
                self.screen.notify(str, urgent=True)
            case ApprovalSettled(request_id=request_id):
                self.withdraw(request_id)
                if self.parts and not self.questions:
                    self._activity("waiting for the agents that were sent")
            case Steered(text) if is_report(text):
                yield self.screen.renderer().note("The agent reads a task's report.")
            case Steered(text):
                self.screen.echo(text)
        yield from self.screen.renderer().event(event)
        if isinstance(event, TurnFinished):
            self._turn_over()

    def _activity(self, text: str) -> None:
        if self.turn is not None and not self.turn.cancel.cancelled:
            self.turn.activity = text

    def _turn_over(self) -> None:
        unread = self._end_turn()
        reports = [text for text in unread if is_report(text)]
        lines = deque(text for text in unread if not is_report(text)) or self.queued
        if lines:
            self._start(lines.popleft())
        if self.turn is not None:
            self.turn.steering.extend([*reports, *(lines if lines is not self.queued else ())])
        elif reports:
            self.aside(lambda: self._take_in_all(reports))
        self.leaving.if_over()

    def _end_turn(self) -> list[str]:
        """Gives what it has not read."""
        unread, self.turn = _taken(self.steering), None
        self.parts = {}
        return unread

    def _settle(self, request: ApprovalRequested, decision: Decision) -> None:
        self._desk.settle(request.request_id, decision)
        if decision.scope != "once":
            where = (
                f"always, kept in {self.config.dirs.policy_file}" if decision.scope == "always" else "in this session"
            )
            self.screen.show(self.screen.renderer().note(f"Allowed {where}: {request.tool} {visible(request.pattern)}"))


def _taken(lines: deque[str]) -> list[str]:
    """On any thread: empty it."""
    taken = []
    while lines:
        taken.append(lines.popleft())
    return taken
