"""Who may speak, and what they may order."""

import pytest

from gateway.authorization import Verdict, judge
from gateway.config import Platform, PlatformConfig
from gateway.platforms.base import MessageEvent
from gateway.session import SessionSource, session_key

T, D, S = Platform.TELEGRAM, Platform.DISCORD, Platform.SLACK


def event(
    user_id: str = "7",
    *,
    platform: Platform = T,
    name: str = "Ada",
    group: bool = False,
    addressed: bool = True,
    chat_id: str = "1",
    kind: str = "message",
) -> MessageEvent:
    source = SessionSource(platform=platform, chat_id=chat_id, user_id=user_id, user_name=name, is_group=group)
    return MessageEvent(text="hi", source=source, addressed=addressed, kind=kind)  # type: ignore[arg-type]


def config(platform: Platform = T, **more: object) -> dict[Platform, PlatformConfig]:
    return {platform: PlatformConfig(platform=platform, **more)}  # type: ignore[arg-type]


ADA = config(allow=frozenset({"7"}))

REFUSED = [
    ("nobody is let in by default", event(), config()),
    ("a platform that is not set up", event(platform=D), ADA),
    ("somebody else", event("8"), ADA),
    ("a display name that equals an allowed id", event("8", name="7"), ADA),
    ("a display name that equals an allowed person's", event("8", name="Ada"), ADA),
    ("the same id on another platform", event("7", platform=D), config(D, allow=frozenset({"8"}))),
    ("an id with a blank before it", event(" 7"), ADA),
    ("an id with a zero before it", event("07"), ADA),
    ("an id with a sign", event("+7"), ADA),
    ("digits of another script", event("٧"), ADA),
    ("full-width digits", event("７"), ADA),
    ("an id that continues an allowed one", event("77"), ADA),
    ("an id that begins an allowed one", event("1"), config(allow=frozenset({"12"}))),
    ("no id", event(""), ADA),
    ("no id where everyone may speak", event(""), config(everyone=True)),
    ("a channel's id where everyone may speak", event("-100123"), config(everyone=True)),
    ("a bot's name for an id", event("hermes_bot"), config(everyone=True)),
    ("a list of ids in one", event("7,8"), ADA),
    ("a new line in the id", event("7\n"), ADA),
    ("a NUL in the id", event("7\x00"), ADA),
    ("a chat whose id is an allowed person's", event("8", chat_id="7"), ADA),
    ("a group whose id is an allowed person's", event("8", chat_id="7", group=True), ADA),
    ("a stranger in a group", event("8", group=True), ADA),
    ("a press by a stranger", event("8", kind="press"), ADA),
    ("a press by a stranger in a group", event("8", kind="press", group=True), ADA),
    ("an edit by a stranger", event("8", kind="edit"), ADA),
    ("a group's talk that does not mean the bot", event(group=True, addressed=False), ADA),
    ("a group where groups are off", event(group=True), config(allow=frozenset({"7"}), groups="none")),
    ("a press where groups are off", event(group=True, kind="press"), config(allow=frozenset({"7"}), groups="none")),
    ("a Slack id in lower case", event("u123", platform=S), config(S, allow=frozenset({"U123"}))),
    ("a Slack bot", event("B123", platform=S), config(S, everyone=True)),
    ("a Slack id with more behind it", event("U123|ada", platform=S), config(S, allow=frozenset({"U123"}))),
]


@pytest.mark.parametrize(("what", "who", "configs"), REFUSED, ids=[row[0] for row in REFUSED])
def test_it_is_refused(what: str, who: MessageEvent, configs: dict[Platform, PlatformConfig]) -> None:
    verdict = judge(who, configs, frozenset())
    assert not verdict.allowed, what
    assert not verdict.may("help")
    assert not verdict.may("approve")


@pytest.mark.parametrize(
    ("who", "configs", "paired"),
    [
        (event(), ADA, frozenset()),
        (event(), config(), frozenset({"7"})),
        (event("9"), config(everyone=True), frozenset()),
        (event("9"), config(admins=frozenset({"9"})), frozenset()),
        (event(group=True), ADA, frozenset()),
        (event(group=True, addressed=False, kind="press"), ADA, frozenset()),
        (event(group=True, addressed=False), config(allow=frozenset({"7"}), groups="all"), frozenset()),
        (event("U7", platform=S), config(S, allow=frozenset({"U7"})), frozenset()),
    ],
)
def test_it_is_let_in(who: MessageEvent, configs: dict[Platform, PlatformConfig], paired: frozenset[str]) -> None:
    assert judge(who, configs, paired).allowed


def test_only_a_stranger_in_a_direct_chat_is_offered_a_code_and_not_where_that_was_switched_off() -> None:
    off = config(allow=frozenset({"7"}), pairing=False)
    assert judge(event("8"), ADA, frozenset()).stranger
    assert not judge(event("8"), ADA, frozenset()).allowed
    assert not judge(event("8"), off, frozenset()).stranger
    assert not judge(event("8", group=True), ADA, frozenset()).stranger
    assert not judge(event(""), ADA, frozenset()).stranger


def test_where_there_are_admins_only_they_answer_questions() -> None:
    both = config(allow=frozenset({"7"}), admins=frozenset({"9"}))
    assert judge(event("9"), both, frozenset()).may("approve")
    assert not judge(event("7"), both, frozenset()).may("approve")
    assert judge(event("7"), both, frozenset()).may("status")
    assert judge(event("7"), ADA, frozenset()).may("approve")


def test_whoever_is_let_in_with_everyone_answers_nothing_and_orders_nothing_that_is_for_admins() -> None:
    verdict = judge(event("8"), config(everyone=True), frozenset())
    assert verdict == Verdict(allowed=True)
    assert not verdict.may("approve")
    assert not verdict.may("model")
    assert verdict.may("background")


@pytest.mark.parametrize(
    "twin",
    [
        SessionSource(platform=T, chat_id="1", user_id="8", is_group=True),
        SessionSource(platform=T, chat_id="1/2", user_id="7", is_group=True),
        SessionSource(platform=T, chat_id="1", thread_id="2", user_id="7", is_group=True),
        SessionSource(platform=T, chat_id="1@7", user_id="7"),
        SessionSource(platform=T, chat_id="1", thread_id="@7"),
        SessionSource(platform=D, chat_id="1", user_id="7", is_group=True),
        SessionSource(platform=T, chat_id="1", user_id="7 ", is_group=True),
        SessionSource(platform=T, chat_id="1%407", user_id="7"),
    ],
)
def test_nobody_gets_at_a_conversation_by_what_their_ids_look_like(twin: SessionSource) -> None:
    mine = SessionSource(platform=T, chat_id="1", user_id="7", is_group=True)
    assert session_key(twin) != session_key(mine)
