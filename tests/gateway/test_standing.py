"""What `hermes gateway status` says."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.store.leases import is_alive, new_lease
from agent.store.sqlite import SqliteStore
from gateway.standing import lines, standing


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "state.db")
    yield store
    store.close()


def said(store: SqliteStore) -> str:
    return "\n".join(lines(standing(store), now=time.time()))


def test_without_a_gateway_it_says_how_to_start_one(store: SqliteStore) -> None:
    assert "`hermes gateway` starts one" in said(store)
    assert "to be dealt with: 0, to be sent: 0" in said(store)


def test_it_says_what_is_connected_what_waits_and_what_was_refused(store: SqliteStore) -> None:
    assert store.enter_alone("gateway:telegram", new_lease("gateway"), is_alive) is None
    link = {"state": "waiting", "problem": "no route", "failures": 3, "since": time.time() - 125}
    store.note("link:telegram", json.dumps(link))
    store.note("home:telegram", "telegram:5")
    store.receive("telegram", "1", "telegram:7", "{}")
    refused = store.post("telegram:7", "{}")
    assert refused is not None
    store.refuse(refused, "the bot was blocked")
    store.post("telegram:8", "{}")
    store.create_task(prompt="go", owner="turn:telegram:7", settings="{}")
    text = said(store)
    assert f"telegram: waiting for 2 min (no route), 3 failures in a row, served by process {os.getpid()}" in text
    assert "home of telegram: telegram:5" in text
    assert "to be dealt with: 1, to be sent: 1, the oldest for " in text
    assert "turns: 1 queued" in text
    assert "refused: telegram:7, 0 s ago: the bot was blocked" in text
