"""Both stores, for what both promise."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.protocols import Store
from agent.records import Lease
from agent.store.memory import MemoryStore
from agent.store.sqlite import SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    sqlite = SqliteStore(tmp_path / "state.db")
    yield sqlite
    assert sqlite.integrity_check() == []
    sqlite.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "state.db")
    yield store
    store.close()


def lease(worker: str = "w1", pid: int = 1) -> Lease:
    return Lease(worker, pid, started=1.0, heartbeat=0.0)
