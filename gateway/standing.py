"""How a gateway stands, as `hermes gateway status` shows it: read from the store, whichever process serves."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from agent.handoff import HOME, SERVES
from agent.records import LIVE_STATES, OF_CHATS, OF_TURNS
from agent.sandbox import backend
from agent.store.leases import is_alive
from gateway.home import LINK

if TYPE_CHECKING:
    from agent.store.sqlite import SqliteStore

REFUSED = 20
"""Refused messages that are listed, the latest."""


def standing(store: "SqliteStore") -> dict[str, Any]:
    """As `--json` has it. Times are in seconds since the epoch."""
    links = {name.removeprefix(LINK): json.loads(value) for name, value in store.notes(LINK).items()}
    present = store.present().items()
    served = {mark.removeprefix(SERVES): one for mark, one in present if mark.startswith(SERVES) and is_alive(one)}
    unsent = store.unsent()
    down = {name: link["problem"] for name, link in links.items() if link["state"] == "refused" and name not in served}
    return {
        "sandbox": backend(),
        "down": down,
        "gateways": [
            {"state": "starting", "problem": "", **links.get(platform, {}), "platform": platform, "pid": lease.pid}
            for platform, lease in served.items()
        ],
        "homes": {name.removeprefix(HOME): where for name, where in store.notes(HOME).items()},
        "received": len(store.received()),
        "unsent": len(unsent),
        "oldest_unsent": min((one.at for one in unsent), default=None),
        "turns": dict(Counter(task.state for task in store.tasks(owner=OF_TURNS, states=LIVE_STATES))),
        "tasks": dict(Counter(task.state for task in store.tasks(owner=OF_CHATS, states=LIVE_STATES))),
        "refused": [{"chat": one.chat, "error": one.error, "at": one.at} for one in store.refused()],
    }


def lines(found: dict[str, Any], *, now: float) -> Iterator[str]:
    """The same for a person."""
    for one in found["gateways"]:
        yield f"{one['platform']}: {_link(one, now)}, served by process {one['pid']}"
    for platform, problem in found["down"].items():
        yield f"{platform}: not served: {problem}"
    if not found["gateways"]:
        yield "No gateway runs. `hermes gateway` starts one."
    for platform, where in found["homes"].items():
        yield f"home of {platform}: {where}"
    if found["gateways"] and not found["homes"]:
        yield "No chat is a home: notices go nowhere. An admin can write /sethome in one."
    if found["sandbox"] is None:
        yield "No sandbox works here: only admins' agents have a shell. `hermes doctor` says why."
    waits = f", the oldest for {_since(found['oldest_unsent'], now)}" if found["oldest_unsent"] else ""
    yield f"to be dealt with: {found['received']}, to be sent: {found['unsent']}{waits}"
    for what in ("turns", "tasks"):
        if found[what]:
            yield f"{what}: " + ", ".join(f"{number} {state}" for state, number in sorted(found[what].items()))
    refused = found["refused"]
    if len(refused) > REFUSED:
        yield f"refused: {len(refused)} messages, the latest {REFUSED} of them:"
    for one in refused[-REFUSED:]:
        yield f"refused: {one['chat']}, {_since(one['at'], now)} ago: {one['error']}"


def _link(one: dict[str, Any], now: float) -> str:
    problem = f" ({one['problem']})" if one["problem"] else ""
    failures = one.get("failures", 0)
    tried = f", {failures} failures in a row" if failures > 1 and one["state"] != "connected" else ""
    since = f" for {_since(one['since'], now)}" if one.get("since") else ""
    return f"{one['state']}{since}{problem}{tried}"


def _since(then: float, now: float) -> str:
    seconds = max(0, int(now - then))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
