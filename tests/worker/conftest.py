"""What many tests of the worker stand on: a chain with a pool on it, and a pool that does what a test tells it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.worker.fake_pool import FakePool
from tests.worker.world import AgentSetting, World, new_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with new_world() as made:
        yield made


@pytest.fixture
async def pool(world: World) -> AsyncIterator[FakePool]:
    async with FakePool(chain_id=world.chain.chain_id, hub=world.chain.hub, workerpool=world.workerpool) as opened:
        yield opened


@pytest.fixture
def setting(tmp_path: Path, pool: FakePool) -> AgentSetting:
    return AgentSetting(folder=tmp_path, url=pool.url)
