"""Commands that change how Hermes works, for this session."""

from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from rich.text import Text

from agent.config import ApprovalMode, convert, setting_fields, summary
from agent.errors import HermesError
from agent.models import catalog

if TYPE_CHECKING:
    from hermes_cli.chat import Chat

_MODES = {
    "ask": "asks before every change and every command that is not plainly read-only",
    "edits": "changes files inside the working directory unasked; asks for commands",
    "plan": "reads only",
    "yolo": "does everything unasked",
}


def config(chat: "Chat", arguments: str) -> None:
    names = [arguments] if arguments else list(setting_fields())
    if arguments and arguments not in setting_fields():
        raise HermesError(f"No setting is called {arguments!r}.", hint="/config shows all of them.")
    values, origins = chat.config.values, chat.config.origins
    rows = [
        (Text(name, "cyan"), Text(repr(getattr(values, name))), Text(origins[name], "dim"), Text(summary(name), "dim"))
        for name in names
    ]
    chat.screen.show("\n" + chat.screen.renderer().table(rows, ("setting", "value", "from", "")))
    chat.screen.show(chat.screen.renderer().note(f"{chat.config.dirs.config_file} · hermes config set NAME VALUE"))


def model(chat: "Chat", arguments: str) -> None:
    if arguments:
        values, now = chat.config.values, chat.model.choice
        chat.use(catalog.named(arguments, values, now, env=chat.env, keys=chat.model.keys()))
    choice = chat.model.choice
    if choice is None:
        raise HermesError("The model is still being looked for.", hint="Try again in a moment.")
    where = f" at {choice.base_url}" if choice.base_url else ""
    chat.screen.show(chat.screen.renderer().note(f"{chat.model.name or 'not known yet'} ({choice.provider}{where})"))


def reasoning(chat: "Chat", arguments: str) -> None:
    if chat.model.choice is None:
        raise HermesError("The model is still being looked for.", hint="Try again in a moment.")
    if arguments:
        effort = "" if arguments == "default" else str(convert("reasoning_effort", arguments, "/reasoning"))
        chat.use(replace(chat.model.choice, reasoning_effort=effort))
    chat.screen.show(
        chat.screen.renderer().note(f"Reasoning effort: {chat.model.choice.reasoning_effort or 'default'}.")
    )


def verbose(chat: "Chat", arguments: str) -> None:
    chat.verbose = _switch(arguments, chat.verbose)
    chat.screen.show(chat.screen.renderer().note(f"Tool output is {'shown' if chat.verbose else 'folded'}."))


def approvals(chat: "Chat", arguments: str) -> None:
    mode = next((mode for mode in get_args(ApprovalMode) if mode == arguments and mode != "yolo"), None)
    if arguments and mode is None:
        raise HermesError(f"{arguments!r} is no mode.", hint="There are: ask, edits, plan; and /yolo.")
    if mode is not None:
        chat.policy.mode = mode
    chat.screen.show(chat.screen.renderer().note(f"{chat.policy.mode}: {_MODES[chat.policy.mode]}."))


def yolo(chat: "Chat", arguments: str) -> None:
    on = _switch(arguments, chat.policy.mode == "yolo")
    chat.policy.mode = "yolo" if on else "ask"
    chat.screen.show(chat.screen.renderer().note(f"{chat.policy.mode}: {_MODES[chat.policy.mode]}."))


def _switch(text: str, now: bool) -> bool:
    match text.lower():
        case "":
            return not now
        case "on" | "yes" | "true":
            return True
        case "off" | "no" | "false":
            return False
        case other:
            raise HermesError(f"{other!r} is neither on nor off.")
