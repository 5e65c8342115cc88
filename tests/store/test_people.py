"""Pairing: codes that only the owner of the machine can use, and that cannot be guessed."""

import pytest

from agent.errors import HermesError
from agent.people import ALPHABET, ASK_AGAIN, CODE_LENGTH, CODE_LIFE, LOCKED_FOR, PeopleStore
from gateway.home import HomeStore

NOW = 1_000_000.0


def test_a_stranger_gets_a_code_and_is_let_in_with_it(store: PeopleStore) -> None:
    code = store.ask_to_pair("telegram", "7", "Ada", now=NOW)
    assert len(code) == CODE_LENGTH
    assert set(code) <= set(ALPHABET)
    person = store.approve_pairing("telegram", code.lower(), now=NOW + 1)
    assert person is not None
    assert (person.user_id, person.name, person.state) == ("7", "Ada", "allowed")
    assert store.people("telegram") == [person]


def test_a_code_works_once_and_on_its_platform_only(store: PeopleStore) -> None:
    code = store.ask_to_pair("telegram", "7", "Ada", now=NOW)
    assert store.approve_pairing("discord", code, now=NOW) is None
    assert store.approve_pairing("telegram", code, now=NOW) is not None
    assert store.approve_pairing("telegram", code, now=NOW) is None


def test_a_code_is_on_its_way_to_the_stranger_once_it_is_kept_and_not_kept_otherwise(store: HomeStore) -> None:
    def dies(code: str) -> tuple[str, str]:
        raise KeyboardInterrupt(code)

    with pytest.raises(KeyboardInterrupt):
        store.ask_to_pair("telegram", "7", "Ada", now=NOW, tell=dies)
    assert (store.people(), store.unsent()) == ([], [])
    code = store.ask_to_pair("telegram", "7", "Ada", now=NOW, tell=lambda code: ("telegram:7", f"code {code}"))
    assert [(one.chat, one.payload) for one in store.unsent()] == [("telegram:7", f"code {code}")]
    assert store.ask_to_pair("telegram", "7", "Ada", now=NOW, tell=dies) == ""


def test_a_code_is_good_for_an_hour(store: PeopleStore) -> None:
    code = store.ask_to_pair("telegram", "7", "Ada", now=NOW)
    assert store.approve_pairing("telegram", code, now=NOW + CODE_LIFE) is None


def test_a_person_gets_one_code_in_ten_minutes(store: PeopleStore) -> None:
    first = store.ask_to_pair("telegram", "7", "Ada", now=NOW)
    assert store.ask_to_pair("telegram", "7", "Ada", now=NOW + ASK_AGAIN - 1) == ""
    second = store.ask_to_pair("telegram", "7", "Ada", now=NOW + ASK_AGAIN)
    assert second not in ("", first)
    assert store.approve_pairing("telegram", first, now=NOW + ASK_AGAIN) is None


def test_at_most_three_wait_on_a_platform(store: PeopleStore) -> None:
    for number in range(3):
        assert store.ask_to_pair("telegram", str(number), "", now=NOW)
    assert store.ask_to_pair("telegram", "4", "", now=NOW) == ""
    assert store.ask_to_pair("discord", "4", "", now=NOW)
    assert store.ask_to_pair("telegram", "4", "", now=NOW + CODE_LIFE)


def test_five_wrong_codes_lock_the_door_for_an_hour(store: PeopleStore) -> None:
    code = store.ask_to_pair("telegram", "7", "Ada", now=NOW)
    for _ in range(5):
        assert store.approve_pairing("telegram", "WRONGONE", now=NOW) is None
    with pytest.raises(HermesError, match="Too many wrong codes"):
        store.approve_pairing("telegram", code, now=NOW + 1)
    later = store.ask_to_pair("telegram", "7", "Ada", now=NOW + LOCKED_FOR)
    assert store.approve_pairing("telegram", later, now=NOW + LOCKED_FOR) is not None


def test_somebody_who_was_let_in_gets_no_further_code(store: PeopleStore) -> None:
    store.approve_pairing("telegram", store.ask_to_pair("telegram", "7", "Ada", now=NOW), now=NOW)
    assert store.ask_to_pair("telegram", "7", "Eve", now=NOW + 2 * ASK_AGAIN) == ""
    assert [(one.name, one.state) for one in store.people()] == [("Ada", "allowed")]


def test_who_is_revoked_is_out(store: PeopleStore) -> None:
    store.approve_pairing("telegram", store.ask_to_pair("telegram", "7", "Ada", now=NOW), now=NOW)
    assert store.revoke("telegram", "7")
    assert not store.revoke("telegram", "7")
    assert store.people() == []
