"""A worker tells its pool which large inputs it has: the ends of their CIDs, news only, and only if its owner likes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.errors import UsageError
from fairgrid.protocol.cid import cid_of, tail_of
from fairgrid.protocol.manifest import FileRef
from fairgrid.protocol.wire import decode_worker_message, encode
from fairgrid.protocol.worker_messages import MAX_REPORTED_FILES, CacheReport, Seal
from fairgrid.worker.connection.cache_report import MIN_REPORTED_BYTES
from fairgrid.worker.owner.policy import WorkerPolicy
from tests.storage.helpers import content
from tests.worker.fake_pool import FakePool
from tests.worker.world import AgentSetting, World, new_world, running

BIG = content(MIN_REPORTED_BYTES)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with new_world() as made:
        await made.storage.add_bytes(BIG)
        yield made


@pytest.fixture
async def pool(world: World) -> AsyncIterator[FakePool]:
    async with FakePool(chain_id=world.chain.chain_id, hub=world.chain.hub, workerpool=world.workerpool) as opened:
        yield opened


async def _work(world: World, pool: FakePool) -> None:
    """One task with a small and a large input, as far as its seal."""
    small = (await world.manifest()).inputs
    manifest = await world.manifest(inputs=(*small, FileRef("big.bin", cid_of(BIG), len(BIG))))
    await pool.send(await world.task(manifest=manifest))
    await pool.expect(Seal)


async def test_large_inputs_are_told_once_and_again_to_a_pool_that_forgot(
    world: World, pool: FakePool, tmp_path: Path
) -> None:
    async with running(world, AgentSetting(folder=tmp_path, url=pool.url)):
        await _work(world, pool)
        assert (await pool.expect(CacheReport)).tails == (tail_of(cid_of(BIG)),)
        await _work(world, pool)
        assert not pool.seen(CacheReport), "it is no news"
        await pool.drop()
        assert (await pool.expect(CacheReport)).tails == (tail_of(cid_of(BIG)),)
    async with running(world, AgentSetting(folder=tmp_path, url=pool.url)):
        assert (await pool.expect(CacheReport)).tails == (tail_of(cid_of(BIG)),), "what an earlier process fetched"


async def test_an_owner_who_does_not_like_it_tells_nothing_and_takes_back_what_was_told(
    world: World, pool: FakePool, tmp_path: Path
) -> None:
    policy = [WorkerPolicy(tell_cached=False)]
    async with running(world, AgentSetting(folder=tmp_path, url=pool.url, policy_now=lambda: policy[0])):
        await _work(world, pool)
        await _work(world, pool)
        assert not pool.seen(CacheReport)
        policy[0] = replace(policy[0], tell_cached=True)
        await _work(world, pool)
        assert (await pool.expect(CacheReport)).tails
        policy[0] = replace(policy[0], tell_cached=False)
        await _work(world, pool)
        assert (await pool.expect(CacheReport)).tails == ()


@pytest.mark.parametrize(
    "tails", [("short",), ("UPPERCASE2",), ("a" * 59,), ("aaaaaaaaa1",), ("a" * 10,) * (MAX_REPORTED_FILES + 1)]
)
def test_a_report_with_more_than_ends_of_cids_or_too_many_is_refused(tails: tuple[str, ...]) -> None:
    good = encode(CacheReport(tails=("abcdefghi2",)))
    assert decode_worker_message(good) == CacheReport(tails=("abcdefghi2",))
    listed = ",".join(f'"{tail}"' for tail in tails)
    with pytest.raises(UsageError):
        decode_worker_message(good.replace('"abcdefghi2"', listed))
