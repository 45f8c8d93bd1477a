"""Both stores, and a storage service on a real port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairgrid.seams.service import serving
from fairgrid.storage.app import storage_application
from fairgrid.storage.disk import DiskStore
from fairgrid.storage.store import BlobStore, MemoryStore
from tests.storage.helpers import LIMITS


@pytest.fixture(params=["disk", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    opened: BlobStore
    opened = await DiskStore.open(tmp_path / "store", LIMITS) if request.param == "disk" else MemoryStore(LIMITS)
    yield opened
    await opened.close()


@pytest.fixture
async def url(store: BlobStore) -> AsyncIterator[str]:
    """A storage service over ``store``, on a free port of this machine."""
    async with serving(storage_application(store, idle_s=1)) as base:
        yield base
