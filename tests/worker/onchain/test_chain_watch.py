"""When a worker looks at the chain, for which of its tasks, and what it reads then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairgrid.chain.interface import Snapshot, Wanted
from fairgrid.errors import ServiceUnavailable
from fairgrid.worker.core import events as ev
from fairgrid.worker.core.machine import WorkerMachine
from fairgrid.worker.interface import AgentOptions
from fairgrid.worker.onchain.chain_watch import ChainWatch
from tests.worker.machine_kit import AUTHORISATION, CONTRIBUTION_SIGNED, LEASE, TASK, TO_SEALED
from tests.worker.world import WORKER, World

OTHER_TASK = "0x" + "77" * 32
OPTIONS = AgentOptions(poll_s=1.0, calm_looks=5)


class Ended(Exception):
    """So many seconds are over."""


class Ticking:
    """A clock that does not wait; it ends the loop that sleeps on it after ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self.time = 1_000.0
        self.end = self.time + seconds

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        if self.time >= self.end:
            raise Ended


class Watched:
    """A watch over a machine that holds tasks as far as ``events`` bring them; each second there is a new block."""

    def __init__(self, world: World, *events: Any, seconds: float = 10, mines: bool = True) -> None:
        self.machine = WorkerMachine(slots=4)
        for event in events:
            self.machine.handle(event)
        self._world = world
        self._mines = mines
        self.clock = Ticking(seconds)
        self.asked: list[tuple[float, Wanted, str]] = []
        self.reported: list[ev.Event] = []
        self.fails_at: set[float] = set()
        judge: Any = None  # nothing here is over
        self.watch = ChainWatch(
            self.machine,
            chain=self,  # type: ignore[arg-type]
            worker=WORKER.address,
            judge=judge,
            clock=self.clock,
            options=OPTIONS,
            report=self.reported.append,
        )

    async def snapshot(self, wanted: Wanted, *, since: str = "") -> Snapshot:
        self.asked.append((self.clock.time - 1_000, wanted, since))
        if self.clock.time - 1_000 in self.fails_at:
            raise ServiceUnavailable("chain", "http://node", "it was told to be down")
        if self._mines:
            self._world.chain.mine()
        seen: Snapshot = await self._world.chain.snapshot(wanted, since=since)
        return seen

    async def run(self) -> Watched:
        with pytest.raises(Ended):
            await self.watch.run()
        return self

    @property
    def looks(self) -> list[float]:
        return [at for at, _, _ in self.asked]


def other(event: Any) -> Any:
    return replace(event, task_id=OTHER_TASK)


async def test_a_task_of_which_only_the_pool_can_say_more_is_looked_at_rarely(world: World) -> None:
    for events in ((LEASE,), TO_SEALED, (*TO_SEALED, AUTHORISATION, CONTRIBUTION_SIGNED)):
        watched = await Watched(world, *events, seconds=16).run()
        assert watched.looks == [5, 10, 15]


async def test_an_authorised_task_is_looked_at_each_time(world: World) -> None:
    assert (await Watched(world, *TO_SEALED, AUTHORISATION, seconds=4).run()).looks == [0, 1, 2, 3]


async def test_who_signed_nothing_does_not_read_its_contribution(world: World) -> None:
    watched = await Watched(world, *TO_SEALED, AUTHORISATION, seconds=1).run()
    assert watched.asked[0][1] == Wanted(tasks=(TASK,))
    watched = Watched(world, *TO_SEALED, AUTHORISATION, CONTRIBUTION_SIGNED)
    await watched.watch.look(TASK)
    assert watched.asked[0][1] == Wanted(tasks=(TASK,), contributions=((TASK, WORKER.address),))


async def test_all_tasks_that_are_due_are_read_together(world: World) -> None:
    first, second = (*TO_SEALED, AUTHORISATION), [other(event) for event in (*TO_SEALED, AUTHORISATION)]
    watched = await Watched(world, *first, *second, seconds=2).run()
    assert [wanted.tasks for _, wanted, _ in watched.asked] == [(TASK, OTHER_TASK)] * 2
    assert [event.task_id for event in watched.reported if isinstance(event, ev.ChainSeen)] == [TASK, OTHER_TASK] * 2


async def test_without_a_new_block_what_is_known_is_told_again(world: World) -> None:
    watched = await Watched(world, *TO_SEALED, AUTHORISATION, seconds=3, mines=False).run()
    head = await world.chain.head()
    assert [since for _, _, since in watched.asked] == ["", head.hash, head.hash]
    told = [event for event in watched.reported if isinstance(event, ev.ChainSeen)]
    assert len(told) == 3
    assert len(set(told)) == 1
    assert told[0].block == head.number


async def test_what_was_signed_since_is_read_though_no_block_came(world: World) -> None:
    watched = Watched(world, *TO_SEALED, AUTHORISATION, mines=False)
    await watched.watch.look(TASK)
    watched.machine.handle(CONTRIBUTION_SIGNED)
    await watched.watch.look(TASK)
    assert watched.asked[1][1:] == (Wanted(tasks=(TASK,), contributions=((TASK, WORKER.address),)), "")


async def test_a_look_that_failed_comes_again_at_once_for_calm_tasks_too(world: World) -> None:
    watched = Watched(world, LEASE, seconds=8)
    watched.fails_at = {5}
    assert (await watched.run()).looks == [5, 6]
