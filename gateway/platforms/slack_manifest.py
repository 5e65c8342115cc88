"""The manifest of the Slack app, made from the command table. Needs no SDK."""

from typing import Any

from agent import commands
from gateway.platforms.slack_events import COMMAND, PATH

_SCOPES = (
    "app_mentions:read", "channels:history", "chat:write", "chat:write.public", "commands", "files:read", "files:write",
    "groups:history", "im:history", "im:write", "mpim:history", "reactions:read", "reactions:write",
)  # fmt: skip
_EVENTS = ("app_mention", "message.channels", "message.groups", "message.im", "message.mpim")

_HINT = 100
"""Characters that Slack shows of what may follow a command."""


def slack_manifest(*, address: str = "") -> dict[str, Any]:
    """For Socket Mode; with `address` (the public one, `https://…`) for HTTP."""
    if address and not address.rstrip("/").endswith(PATH):
        address = f"{address.rstrip('/')}{PATH}"
    where = {"url": address} if address else {}
    requests = {"request_url": address} if address else {}
    command = {
        "command": COMMAND,
        "description": "Ask Hermes, or give it a command",
        "usage_hint": _hint(),
        "should_escape": False,
        **where,
    }
    return {
        "display_information": {"name": "Hermes", "description": "An agent that works in the background"},
        "features": {
            "app_home": {"messages_tab_enabled": True, "messages_tab_read_only_enabled": False},
            "bot_user": {"display_name": "Hermes", "always_online": True},
            "slash_commands": [command],
        },
        "oauth_config": {"scopes": {"bot": list(_SCOPES)}},
        "settings": {
            "event_subscriptions": {"bot_events": list(_EVENTS), **requests},
            "interactivity": {"is_enabled": True, **requests},
            "socket_mode_enabled": not address,
            "token_rotation_enabled": False,
        },
    }


def _hint() -> str:
    names = " | ".join(command.name for command in commands.commands_for("gateway"))
    return names if len(names) <= _HINT else names[: names.rindex(" | ", 0, _HINT - 3)] + " …"
