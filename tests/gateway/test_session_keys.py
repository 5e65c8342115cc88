"""A conversation's key says whose it is, and nobody can write themselves into another's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Platform
from gateway.session import Chat, SessionSource, chat_of, session_key

SOURCES = st.builds(
    SessionSource,
    platform=st.sampled_from(Platform),
    chat_id=st.text(st.characters(), min_size=1),
    user_id=st.text(min_size=1),
    thread_id=st.text(),
    is_group=st.booleans(),
)


def identity(source: SessionSource) -> tuple[str, ...]:
    person = source.user_id if source.is_group else ""
    return source.platform, source.chat_id, source.thread_id, person


@given(SOURCES, SOURCES)
def test_two_places_never_share_a_key(one: SessionSource, other: SessionSource) -> None:
    assert (session_key(one) == session_key(other)) == (identity(one) == identity(other))


@given(SOURCES)
def test_an_answer_finds_its_way_back_by_the_key(source: SessionSource) -> None:
    assert chat_of(session_key(source)) == source.chat


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (("1/2", "", "7"), ("1", "2", "7")),  # a chat that names a thread
        (("1@8", "", "7"), ("1", "", "8")),  # a chat that names a person
        (("1", "2@8", "7"), ("1", "2", "8")),  # a thread that names a person
        (("1%2F2", "", "7"), ("1/2", "", "7")),  # an escape written by hand
        (("1", "", "7/2"), ("1", "2", "7")),
    ],
)
def test_separators_in_a_part_stay_in_it(mine: tuple[str, str, str], theirs: tuple[str, str, str]) -> None:
    keys = [
        session_key(SessionSource(platform=Platform.SLACK, chat_id=c, thread_id=t, user_id=u, is_group=True))
        for c, t, u in (mine, theirs)
    ]
    assert keys[0] != keys[1]


def test_names_take_no_part() -> None:
    def named(name: str) -> SessionSource:
        return SessionSource(platform=Platform.DISCORD, chat_id="1", user_id="7", user_name=name, is_group=True)

    assert session_key(named("ann")) == session_key(named("bob@8")) == "discord:1@7"


def test_a_group_can_share_one_session() -> None:
    sources = [SessionSource(platform=Platform.SLACK, chat_id="C1", user_id=user, is_group=True) for user in "ab"]
    assert len({session_key(source, groups="chat") for source in sources}) == 1
    assert chat_of("slack:C1") == Chat(platform=Platform.SLACK, chat_id="C1")


@pytest.mark.parametrize("key", ["", "slack", "slack:", "irc:1", "slack:@7"])
def test_what_is_no_key_is_told_so(key: str) -> None:
    with pytest.raises(ValueError, match=r"key|Platform"):
        chat_of(key)
