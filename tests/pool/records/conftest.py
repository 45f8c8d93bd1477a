"""A pool's store on every database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fairgrid.pool.records.store import PoolStore


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the store is: every promise holds on SQLite and on a real PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'pool.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def store(database: str) -> Iterator[PoolStore]:
    store = PoolStore.open(database)
    yield store
    store.close()
