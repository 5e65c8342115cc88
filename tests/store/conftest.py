"""Both stores, for what both promise."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import StoreError
from agent.protocols import Store
from agent.records import Lease
from agent.store.kept import KeptStore
from agent.store.memory import MemoryStore
from agent.store.sqlite import SqliteStore


@pytest.fixture(params=["memory", "sqlite", "kept"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    told: list[StoreError | str] = []
    path = tmp_path / "state.db"
    sqlite = KeptStore(path, told.append) if request.param == "kept" else SqliteStore(path)
    yield sqlite
    assert sqlite.integrity_check() == []
    sqlite.close()
    assert told == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "state.db")
    yield store
    store.close()


def lease(worker: str = "w1", pid: int = 1) -> Lease:
    return Lease(worker, pid, started=1.0, heartbeat=0.0)
