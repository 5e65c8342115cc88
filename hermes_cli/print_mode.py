"""Headless: one prompt, the answer on stdout, everything else on stderr.

The second consumer of the event stream: it shows that a front end is one `match` and nothing else.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.approvals import Gatekeeper, nobody
from agent.cancel import CancelToken
from agent.config import Config, ModelChoice, read_keys
from agent.errors import HermesError, ModelError, StoreError
from agent.events import (
    Compacted,
    Event,
    ReasoningDelta,
    Steered,
    StepFinished,
    StepRestarted,
    TextDelta,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    TurnFinished,
    TurnStarted,
)
from agent.models import catalog, portable, prices
from agent.records import SessionStore
from agent.redact import Redactor, secret_values
from agent.store.rules import new_session_id
from agent.visible import visible
from hermes_cli.options import Request, UsageError
from hermes_cli.seats import Seats
from hermes_cli.setup import LoadPolicy
from hermes_cli.text import compacted, harmless, seconds

if TYPE_CHECKING:
    from agent.store.kept import KeepingStore

EXIT_CODES = {
    0: "the turn ended and the answer is on stdout",
    1: "the turn failed, or could not be saved; the reason is on stderr",
    2: "the command line or the configuration is wrong",
    3: "a limit was reached (--max-steps, --max-cost); what there is of an answer is on stdout",
    75: "the model cannot be reached or is overloaded: try again later",
    130: "interrupted",
}

Write = Callable[[Event], None]


def answer(request: Request, config: Config, load_policy: LoadPolicy, cwd: Path) -> int:
    """Run one turn and return the exit code. Raises: UsageError, ConfigError."""
    prompt = _prompt(request)
    import run_agent
    from agent.store.kept import open_store

    format_ = request.text("output_format", "text")
    keys = read_keys(config.dirs)
    store = open_store(config.dirs.database, _warn)
    session, cwd, choice = _session(request, store, config, cwd)
    choice = choice or catalog.in_force(config.values, keys=keys)
    if format_ == "stream-json":
        choice = _named(choice)
    session_id, cancel = session or new_session_id(), CancelToken()
    seats = Seats(store)
    seats.require(session_id)
    agent = run_agent.AIAgent(
        choice=choice,
        settings=config.values,
        store=store,
        session_id=session_id,
        source="print",
        cwd=cwd,
        gate=Gatekeeper(load_policy(), nobody, session_id=session_id),
        redact=Redactor([*secret_values(os.environ), *keys.values()]),
        # The price list is slow to load: only where the cost is told, or bounds something.
        price=prices.priced if format_ != "text" or config.values.max_cost or config.values.daily_budget else None,
    )
    _cancel_on_signals(cancel)
    write = seats.follow(session_id, _writer(format_, session_id, choice, agent))
    with agent:
        end = agent.run_turn(prompt, emit=write, cancel=cancel)
    seats.close()
    assert isinstance(end, TurnFinished), "a run that nobody watches is never suspended"
    return exit_code(end) if _saved(store) else exit_code(end) or 1


def _named(choice: ModelChoice) -> ModelChoice:
    """With the model that the endpoint lists first, where none is set; the turn would look for it as well."""
    from agent.models.openai import list_models

    with contextlib.suppress(ModelError):
        if choice.base_url and not choice.model and (listed := list_models(choice)):
            return replace(choice, model=listed[0])
    return choice


def _saved(store: "KeepingStore") -> bool:
    """Whether all of the conversation is on the disk; says so if it is not. Nobody will try again after this."""
    if store.unsaved:
        store.flush()
    if lost := store.unsaved:
        _say(f"Not saved: {lost} messages of this session. What is wrong with the disk, `hermes doctor` says.")
    return not lost


def _session(request: Request, store: SessionStore, config: Config, cwd: Path) -> tuple[str, Path, ModelChoice | None]:
    """The session to go on with, where it works, and its model; "", here and None when a new one begins.

    Raises: UsageError, ConfigError.
    """
    wanted = request.wanted()
    if wanted is None:
        return "", cwd, None
    from hermes_cli.sessions import directory, the_one

    try:
        session = the_one(store, wanted, cwd)
    except HermesError as error:
        raise UsageError(str(error), hint=error.hint) from error
    place = cwd if wanted.stay else directory(session, cwd)
    if place is None:
        raise UsageError(f"{session.cwd} is gone, where this session worked.", hint="Name another folder: -C FOLDER.")
    os.chdir(place)
    if wanted.own_model or session.settings == portable.NOTHING:
        return session.id, place, None
    choice = portable.load(session.settings, config.values, env=os.environ, keys=read_keys(config.dirs))
    return session.id, place, choice


def exit_code(end: TurnFinished) -> int:
    match end.outcome:
        case "done":
            return 0
        case "limit":
            return 3
        case "cancelled":
            return 130
        case "failed":
            return 75 if end.error_kind == "UnavailableError" else 1


def _prompt(request: Request) -> str:
    # What is piped in may be anything; what cannot be read as UTF-8 is replaced, not refused.
    piped = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer.read().decode(errors="replace")
    asked = (request.prompt or "").encode(errors="surrogateescape").decode(errors="replace")
    parts = [part for part in (asked, piped.strip()) if part.strip()]
    if not parts:
        raise UsageError("-p needs a prompt.", hint='Example: hermes -p "what does this do?" < main.py')
    return "\n\n".join(parts)


def _cancel_on_signals(cancel: CancelToken) -> None:
    def handler(_number: int, _frame: object) -> None:
        # Closing sockets and groups takes locks the interrupted code may hold, so not here.
        threading.Thread(target=cancel.cancel, daemon=True).start()

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), handler)


def _writer(format_: str, session_id: str, choice: ModelChoice, agent: Any) -> Write:
    started = time.monotonic()

    def result(end: TurnFinished) -> dict[str, object]:
        return {
            "type": "result",
            "result": end.text,
            "stop_reason": end.outcome,
            "error": f"{end.error} {end.hint}".strip(),
            "session_id": agent.session_id,
            "model": agent.model_name,
            "provider": agent.answering.provider,
            "steps": end.steps,
            "usage": asdict(end.usage),
            "duration_seconds": round(time.monotonic() - started, 3),
        }

    def as_text(event: Event) -> None:
        match event:
            case ToolFinished(name=name, title=title, summary=summary, seconds=spent):
                _say(f"{name} {visible(title)}  {seconds(spent)}  {summary}")
            case ToolProgress(name=name, part=part, text=text) if text:
                _say(f"{name} {part}: {text}")
            case StepRestarted(text):
                _say(text)
            case Compacted():
                _say(compacted(event))
            case TurnFinished():
                if event.text:
                    sys.stdout.write(event.text.rstrip("\n") + "\n")
                    sys.stdout.flush()
                if event.error:
                    _say(f"{event.error} {event.hint}".strip())

    def as_json(event: Event) -> None:
        if isinstance(event, TurnFinished):
            _line(result(event))

    def as_stream(event: Event) -> None:
        match event:
            case TurnStarted(prompt):
                tools = [spec.name for spec in agent.tool_specs]
                init = {"session_id": session_id, "model": choice.model, "provider": choice.provider, "tools": tools}
                _line({"type": "init", **init, "cwd": str(Path.cwd())})
                _line({"type": "message", "role": "user", "content": prompt})
            case TextDelta(text):
                _line({"type": "text", "text": text})
            case ReasoningDelta(text):
                _line({"type": "reasoning", "text": text})
            case StepFinished(text=text, usage=usage, finish_reason=reason):
                _line(
                    {
                        "type": "message",
                        "role": "assistant",
                        "content": text,
                        "finish_reason": reason,
                        "usage": asdict(usage),
                    }
                )
            case ToolStarted(call_id, name, title, arguments):
                _line({"type": "tool_call", "id": call_id, "name": name, "title": title, "arguments": arguments})
            case ToolFinished():
                _line(
                    {
                        "type": "tool_result",
                        "id": event.call_id,
                        "name": event.name,
                        "ok": event.ok,
                        "summary": event.summary,
                        "output": event.display,
                        "duration_seconds": round(event.seconds, 3),
                    }
                )
            case ToolProgress(call_id, name, part, text) if text:
                _line({"type": "tool_progress", "id": call_id, "name": name, "part": part, "text": text})
            case StepRestarted(text) | Steered(text):
                _line({"type": "notice", "text": text})
            case Compacted(session_id=child):
                _line({"type": "compacted", "session_id": child, "text": compacted(event)})
            case TurnFinished():
                _line(result(event))

    return {"text": as_text, "json": as_json, "stream-json": as_stream}[format_]


def _line(value: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _warn(news: StoreError | str) -> None:
    _say(news if isinstance(news, str) else news.explain())


def _say(text: str) -> None:
    sys.stderr.write(f"{harmless(text)}\n")
    sys.stderr.flush()
