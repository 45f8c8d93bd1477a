"""A pool at work with its operator's rim, for tests."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from fairgrid.pool.administration.administration import administration
from fairgrid.pool.administration.operating import PoolOperator, policy_in_force
from fairgrid.pool.administration.operations import Operations
from fairgrid.pool.administration.operator_access import OperatorAccess
from fairgrid.pool.administration.operator_client import OperatorClient
from fairgrid.pool.app import pool_application
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.records.task_lists import TaskLists
from fairgrid.protocol import wire
from fairgrid.seams.clock import SystemClock
from fairgrid.seams.service import serving
from tests.pool.grid import Grid, key


@dataclass
class Desk:
    """A pool at work with its operator's rim, and clients of operators."""

    grid: Grid
    operator: PoolOperator
    client: OperatorClient
    url: str
    opened: list[OperatorClient] = field(default_factory=list)

    @property
    def identity(self) -> PoolIdentity:
        return self.grid.service.identity

    def as_(self, name: str) -> OperatorClient:
        self.opened.append(OperatorClient([self.url], self.identity, key(name)))
        return self.opened[-1]


@contextlib.asynccontextmanager
async def administered(grid: Grid) -> AsyncIterator[Desk]:
    base = grid.policy
    async with grid.pool():
        engine = grid.service._store.engine
        operations, lists = Operations(engine), TaskLists(engine, catch_up=grid.service._store.catch_up)
        grid.service.use_policy(policy_in_force(base, operations.settings()))
        operator = PoolOperator(grid.service, operations, lists, base=base)
        await operator.begin()
        access = OperatorAccess(grid.service.identity, operator.is_operator, SystemClock().now)
        application = pool_application(grid.service, administration=administration(operator, operations, lists, access))
        async with serving(application, ws_max_size=wire.MAX_FRAME_BYTES) as grid.url:
            async with OperatorClient([grid.url], grid.service.identity, grid.scheduler) as client:
                desk = Desk(grid, operator, client, grid.url)
                yield desk
                for opened in desk.opened:
                    await opened.__aexit__(None, None, None)


async def until_joined(grid: Grid, count: int = 1) -> None:
    async def joined() -> bool:
        return sum(worker.ready for worker in grid.service.machine.workers.values()) == count

    await grid.until(joined, what=f"{count} worker(s) at work")
