"""Tasks with large inputs go to workers that say that they have them; above trust 1 nobody's word counts."""

from __future__ import annotations

from pathlib import Path

from fairgrid.pool.core.events import WorkerCached
from fairgrid.pool.core.instructions import SendLease
from fairgrid.pool.core.matching import Requirements
from fairgrid.protocol import worker_messages
from fairgrid.protocol.cid import cid_of, tail_of
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.manifest import FileRef, Manifest, Resources, params_for
from fairgrid.protocol.views import TaskStatus
from tests.pool.core.test_fair_matcher import world_of
from tests.pool.fakes import honest
from tests.pool.grid import Grid
from tests.pool.scripted import Scripted, all_connected

LARGE = 1 << 30


async def test_tasks_go_to_the_worker_that_has_their_inputs(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    workers = [Scripted(grid, name) for name in ("one", "two", "three", "four")]
    near = workers[2]
    cids = [cid_of(f"input {number}".encode()) for number in range(8)]
    async with grid.pool(), all_connected(workers):
        await near.say(worker_messages.CacheReport(tails=tuple(sorted(tail_of(cid) for cid in cids))))
        await grid.until(lambda: _knows(grid, near), what="the report")
        for cid in cids:
            task = task_id(await grid.deal(1, params=await _params(grid, cid)), 0)
            await grid.until_status(task, TaskStatus.COMPLETED)
            stored = await grid.service.inquiries.task(task)
            assert stored is not None
            assert [replica.worker for replica in stored.state.replicas] == [near.address]


async def _knows(grid: Grid, worker: Scripted) -> bool:
    return bool(grid.service.machine.workers[worker.address].cached)


async def _params(grid: Grid, cid: str) -> str:
    manifest = Manifest(
        script=FileRef("job.py", cid_of(b"x"), 1),
        runtime="wasm/py",
        resources=Resources(fuel=1),
        inputs=(FileRef("big.bin", cid, LARGE),),
    )
    return params_for("http://storage", await grid.storage.add_bytes(manifest.to_bytes()))


def _leased(trust: int, *, told: bool, size: int = LARGE) -> list[str]:
    """Who is leased twelve tasks, each with another input, if the last of six workers says that it has them all."""
    fakes = honest(6)
    world = world_of(fakes)
    cids = [cid_of(f"input {number}".encode()) for number in range(12)]
    if told:
        world.feed(WorkerCached(fakes[-1].address, tuple(tail_of(cid) for cid in cids)))
    for number, cid in enumerate(cids):
        requirements = Requirements(inputs=((cid, size),))
        world.run_until_final(world.deal(trust, name=f"deal{number}", requirements=requirements))
    return [lease.worker for lease in world.given(SendLease)]


def test_at_trust_1_who_has_the_inputs_gets_the_tasks_and_without_its_word_they_are_drawn() -> None:
    near = honest(6)[-1].address
    assert _leased(1, told=True) == [near] * 12
    assert len(set(_leased(1, told=False))) > 1


def test_small_inputs_and_trust_above_1_do_not_ask_who_has_what() -> None:
    assert _leased(1, told=True, size=1_000) == _leased(1, told=False, size=1_000)
    assert _leased(4, told=True) == _leased(4, told=False)


def test_what_a_worker_takes_back_counts_no_more() -> None:
    fakes = honest(2)
    world = world_of(fakes)
    world.feed(WorkerCached(fakes[0].address, ("abcdefghi2",)))
    world.feed(WorkerCached(fakes[0].address, ()))
    assert world.machine.workers[fakes[0].address].cached == frozenset()
    world.feed(WorkerCached("0x" + "00" * 20, ("abcdefghi2",)))  # nobody is there of that name
