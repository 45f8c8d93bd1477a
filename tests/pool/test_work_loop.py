from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from fairgrid.pool.core.deal_terms import DealTerms
from fairgrid.pool.core.events import DealMatched, Event, Tick, WorkerJoined, WorkerReady
from fairgrid.pool.core.instructions import Initialize, Instruction
from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.records.rows import Commit
from fairgrid.pool.work_loop import MOST_EVENTS, WorkLoop
from fairgrid.protocol.hexes import keccak, to_hex32
from tests.pool.fakes import address
from tests.pool.support import IDENTITY, START, TIMEREF

_TERMS = DealTerms(
    deal_id=to_hex32(keccak(b"a deal")),
    trust=1,
    timeref=TIMEREF,
    start_time=START,
    worker_stake=10,
    requester=address("requester"),
)
_DEAL = DealMatched(_TERMS, 0, 1)


class SlowStore:
    """Stops each commit twice, until it may go on: before the database has it, and before it is on the disk."""

    def __init__(self) -> None:
        self.commits: list[Commit] = []
        self.begun = threading.Semaphore(0)
        self.may_hand = threading.Event()
        self.may_end = threading.Event()
        self.breaks = False

    def commit(self, commit: Commit, *, handed: Callable[[], None]) -> None:
        self.commits.append(commit)
        self.begun.release()
        assert self.may_hand.wait(30)
        handed()
        assert self.may_end.wait(30)
        if self.breaks:
            raise OSError("the disk is full")


class Scene:
    def __init__(self) -> None:
        self.store = SlowStore()
        self.acted: list[Instruction] = []
        self.groups: list[int] = []
        """How many events each group had."""
        self.loop = WorkLoop(
            machine=PoolMachine(IDENTITY, Policy()),
            store=self.store,
            now=lambda: 1.0,
            act=self.acted.extend,
            invalid=lambda _: None,
            offended=lambda _: False,
            handled=self._handled,
        )

    def _handled(self, events: Sequence[Event], _: Commit) -> None:
        self.groups.append(len(events))

    def feed(self, count: int, *, first: int = 0) -> None:
        for number in range(first, first + count // 2):
            worker = address(f"worker {number}")
            self.loop.feed(WorkerJoined(worker, worker, 1, 0, 10**12))
            self.loop.feed(WorkerReady(worker, (), 1))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.loop.run())
        try:
            yield task
        finally:
            self.store.may_hand.set()
            self.store.may_end.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until_begun(self) -> None:
        assert await asyncio.to_thread(self.store.begun.acquire, timeout=30)


async def _turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_nothing_is_acted_upon_before_it_is_on_the_disk() -> None:
    scene = Scene()
    async with scene.running():
        scene.loop.feed(Tick(START))
        scene.loop.feed(_DEAL)
        scene.store.may_hand.set()
        await scene.until_begun()
        await _turns()
        assert not scene.acted
        scene.store.may_end.set()
        await scene.loop.join()
        assert [type(instruction) for instruction in scene.acted] == [Initialize]


async def test_events_are_handled_while_the_database_writes_what_it_has() -> None:
    scene = Scene()
    async with scene.running():
        scene.feed(2)
        scene.store.may_hand.set()
        await scene.until_begun()
        scene.feed(20, first=10)
        while scene.loop.queued:
            await _turns()
        assert len(scene.store.commits) == 1
        scene.store.may_end.set()
        await scene.loop.join()
        assert len(scene.store.commits) == 2
        assert scene.groups == [2, 20]


async def test_no_event_is_handled_while_the_database_is_still_told() -> None:
    scene = Scene()
    async with scene.running():
        scene.feed(2)
        await scene.until_begun()
        scene.feed(20, first=10)
        await _turns()
        assert scene.loop.queued == 20
        scene.store.may_hand.set()
        while scene.loop.queued:
            await _turns()


async def test_of_many_events_half_is_written_at_once_and_half_meanwhile() -> None:
    scene = Scene()
    scene.feed(400)
    scene.store.may_hand.set()
    scene.store.may_end.set()
    async with scene.running():
        await scene.loop.join()
    # How the second half falls depends on when the disk is done with the first.
    assert scene.groups[0] == 200 and sum(scene.groups) == 400 and len(scene.groups) > 1


async def test_few_events_are_one_group() -> None:
    scene = Scene()
    scene.feed(40)
    scene.store.may_hand.set()
    scene.store.may_end.set()
    async with scene.running():
        await scene.loop.join()
    assert scene.groups == [40]


async def test_a_group_has_no_more_events_than_may_be_handled_at_once() -> None:
    scene = Scene()
    scene.feed(4 * MOST_EVENTS)
    scene.store.may_hand.set()
    scene.store.may_end.set()
    async with scene.running():
        await scene.loop.join()
    assert max(scene.groups) <= MOST_EVENTS
    assert sum(scene.groups) == 4 * MOST_EVENTS


async def test_a_commit_that_fails_ends_the_loop_and_nothing_of_it_or_after_it_happens() -> None:
    scene = Scene()
    scene.store.breaks = True
    async with scene.running() as task:
        scene.loop.feed(Tick(START))
        scene.loop.feed(_DEAL)
        scene.store.may_hand.set()
        await scene.until_begun()
        scene.feed(20)
        scene.store.may_end.set()
        with pytest.raises(OSError, match="disk is full"):
            await task
    assert not scene.acted
    assert len(scene.store.commits) == 1
