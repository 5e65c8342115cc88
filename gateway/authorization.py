"""Who may speak, and what they may order: one order, one function, one table.

Judged from top to bottom; the first line that fits decides. Names count for nothing, only the platform's stable ids.

    the platform is not set up                              refused
    the sender has no id of a person (bots, channels)       refused
    in `admins`                                             let in, as an admin
    in `allow`, or paired                                   let in
    `everyone = true`                                       let in, but may approve nothing
    anybody else, in a direct chat                          refused, and offered a code
    anybody else; with `pairing = false` in direct chats    refused, in silence
    let in, in a group with `groups = "none"`               passed over
    let in, in a group, neither mentioned nor replied to    passed over (unless `groups = "all"`)

A code lets nobody in: `hermes pairing approve` on the gateway's own machine does. A platform on which nobody is let in
yet is served only where `pairing = true` or `everyone = true` says so.

Where a platform has admins only they answer questions of the agent; where it has none, everybody in `allow` or paired.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from agent.approvals import Policy, load_policy
from agent.config import Config
from gateway.config import Platform, PlatformConfig, is_person
from gateway.platforms.base import MessageEvent

FOR_ADMINS = frozenset({"model", "config", "approvals", "yolo", "sethome", "handoff"})
"""Commands that change more than one's own chat."""

ANSWERS = frozenset({"approve", "deny"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was decided of an event. `stranger` may be offered a code; `reason` is for the log."""

    allowed: bool = False
    admin: bool = False
    approver: bool = False
    stranger: bool = False
    reason: str = ""

    def may(self, command: str) -> bool:
        """Whether this command may be given."""
        if not self.allowed or (command in FOR_ADMINS and not self.admin):
            return False
        return self.approver or command not in ANSWERS


def judge(event: MessageEvent, configs: Mapping[Platform, PlatformConfig], paired: Set[str]) -> Verdict:
    """Decide about an event. `paired` are the ids that were let in by pairing on this platform."""
    source = event.source
    config = configs.get(source.platform)
    if config is None:
        return Verdict(reason="the platform is not set up")
    if not is_person(source.platform, source.user_id):
        return Verdict(reason="no id of a person")
    admin = source.user_id in config.admins
    known = admin or source.user_id in config.allow or source.user_id in paired
    if not known and not config.everyone:
        return Verdict(stranger=config.pairing is not False and not source.is_group, reason="not allowed")
    if source.is_group and not _meant(event, config):
        return Verdict(reason="a group's talk")
    return Verdict(allowed=True, admin=admin, approver=admin or (known and not config.admins))


def _meant(event: MessageEvent, config: PlatformConfig) -> bool:
    match config.groups:
        case "none":
            return False
        case "all":
            return True
        case "mentioned":
            return event.addressed or event.kind == "press"


def policy_of_chats(config: Config) -> Policy:
    """The rules of `policy.toml`, never in the mode that asks for nothing. Raises: ConfigError."""
    mode = "ask" if config.values.approvals == "yolo" else config.values.approvals
    return load_policy(config.dirs, mode)
