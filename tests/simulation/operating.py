"""The pool's operator: drains and bans, through the shipped desk. What was not answered is asked again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from fairgrid.errors import UsageError
from fairgrid.pool.administration.operating import PoolOperator
from fairgrid.pool.administration.operations import WHOLE_POOL, Operations
from fairgrid.pool.administration.operator_access import Signed
from fairgrid.pool.records.task_lists import TaskLists
from fairgrid.pool.service import PoolService
from fairgrid.protocol.hexes import to_hex32
from tests.simulation.faults import Part
from tests.simulation.nodes import Node
from tests.simulation.plan import Incident

if TYPE_CHECKING:
    from tests.simulation.world import Simulation

__all__ = ["Operator"]

_AGAIN_S = 3.0
_GRACE_S = 2.0
"""What was decided before may still be on its way for so long."""


class Operator:
    """Sits at the desk of whatever process of the pool there is."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._desk: tuple[Node, PoolOperator] | None = None
        self._nonces = itertools.count(1)
        self._drained: dict[str, float] = {}
        self._known: frozenset[str] | None = None

    async def begin(self, node: Node, service: PoolService) -> None:
        """A process of the pool begins: it takes up what was decided before, and then the desk is open."""
        engine = service._store.engine
        desk = PoolOperator(service, Operations(engine), TaskLists(engine))
        await desk.begin()
        self._desk = node, desk

    async def act(self, incident: Incident) -> None:
        """Let something be done, and undone when its time is over."""
        simulation = self._simulation
        part = Part(incident.fault)
        subject = simulation.seats[incident.target].signer.address if incident.target else WHOLE_POOL
        if part is Part.OPERATOR_BAN:
            await self._ask(lambda desk: desk.ban(subject, subject, "the operator says so", self._signed()))
        else:
            await self._ask(lambda desk: desk.drain(subject, "for a while", self._signed()))
            self._drained[subject] = simulation.elapsed_s + _GRACE_S
        simulation.counter.count(part)
        simulation.note("operator", f"{part} {incident.target}")
        if part is Part.OPERATOR_BAN:
            return
        await asyncio.sleep(incident.seconds)
        del self._drained[subject]
        self._known = None
        await self._ask(lambda desk: desk.undrain(subject, self._signed()))
        simulation.note("operator", f"ends it: {part} {incident.target}")

    def is_drained(self, worker: str) -> bool:
        """Whether a worker must get no new lease now."""
        return self._simulation.elapsed_s >= self._drained.get(worker, float("inf"))

    def is_to_be_drained(self, worker: str) -> bool:
        """Whether a worker need not get a lease any more, at once or in a moment."""
        return worker in self._drained

    def begun_while_drained(self) -> set[str]:
        """Tasks that a drained pool began since this was last asked."""
        service = self._simulation.service
        if service is None or not self.is_drained(WHOLE_POOL):
            self._known = None
            return set()
        begun = {task.task_id for task in service.machine.tasks.values() if not task.parent}
        known, self._known = self._known, frozenset(begun) | (self._known or frozenset())
        return set() if known is None else begun - known

    def _signed(self) -> Signed:
        return Signed(self._simulation.scheduler.address, to_hex32(next(self._nonces).to_bytes(32, "big")))

    async def _ask(self, act: Callable[[PoolOperator], Awaitable[object]]) -> None:
        """Until a process of the pool answers. One that died may have stored the act, or not."""
        while True:
            if self._desk is not None and self._desk[0].alive:
                node, desk = self._desk
                asked = node.start(_asked(act, desk))
                await asyncio.wait({asked})
                if not asked.cancelled():
                    asked.result()
                    return
            await asyncio.sleep(_AGAIN_S)


async def _asked(act: Callable[[PoolOperator], Awaitable[object]], desk: PoolOperator) -> None:
    try:
        await act(desk)
    except UsageError:
        return  # It was done before, and its answer was lost.
