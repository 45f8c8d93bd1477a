"""The processes of a simulation: the shipped pool and the shipped workers, started as often as they must be."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fairgrid.errors import ServiceUnavailable
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.records.store import PoolStore
from fairgrid.pool.service import PoolService
from fairgrid.pool.workers.sessions import serve_worker
from fairgrid.wallet.keys import KeySigner
from fairgrid.worker.agent import AgentOptions, WorkerAgent
from fairgrid.worker.computing.misbehave import Misbehaviour
from fairgrid.worker.connection.link import LinkOptions
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.records.store import WorkerStore
from tests.simulation import watching
from tests.simulation.chain import ChainTroubles, NodeChain
from tests.simulation.faults import Fault
from tests.simulation.nodes import Node, NodeClock, Stored
from tests.simulation.plan import WorkerPlan
from tests.simulation.requests import POOL_PRICE, RUNTIME
from tests.simulation.storage import NodeStorage, Result
from tests.simulation.stores import Disk
from tests.simulation.workers import SimulatedWork, mangling

if TYPE_CHECKING:
    from tests.simulation.world import Simulation

__all__ = ["Processes", "WorkerSeat"]


@dataclass(slots=True)
class WorkerSeat:
    """A worker across all its processes."""

    plan: WorkerPlan
    signer: KeySigner
    disk: Disk
    results: dict[str, Result] = field(default_factory=dict)
    node: Node | None = None
    agent: WorkerAgent | None = None
    gone: bool = False
    away_s: float = 0.0
    """How long it was not there, or not heard, altogether."""


class _Announcer:
    """What a worker tells its owner goes to the trace."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def ready(self, url: str) -> None:
        self._node.note("is enrolled")

    def waiting(self, reason: str) -> None:
        self._node.note(f"waits: {reason}")


class Processes:
    """Starts processes of pool and workers; what they leave behind lies on their disks."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def start_pool(self) -> None:
        simulation = self._simulation
        node = Node("pool", simulation, skew_s=simulation.plan.pool_skew_s, pace=simulation.plan.pace)
        simulation.pool_node = node
        node.start(self._pool_process(node))

    async def _pool_process(self, node: Node) -> None:
        simulation = self._simulation
        simulation.note("pool", "starts")
        try:
            service = PoolService(
                chain=self._chain_of(node),
                signer=simulation.scheduler,
                workerpool=simulation.workerpool,
                store=cast(PoolStore, Stored(simulation.pool_disk.open(), node)),
                storage=cast(Any, self._storage_of(node)),
                policy=self._policy(),
                clock=NodeClock(node),
                scratch=Path(simulation.folder.name) / "scratch",
            )
            async with service.running():
                if simulation.plan.is_operated:
                    await simulation.operator.begin(node, service)
                if node.alive:
                    simulation.service, simulation.service_node = service, node
                    simulation.leases.pool_sees(restarted=True)
                    simulation.network.pool, simulation.network.serve = node, partial(serve_worker, service)
                await asyncio.get_running_loop().create_future()
        except ServiceUnavailable as error:
            if node.alive:
                simulation.note("pool", f"cannot start: {error}")
                simulation.loop.call_later(3.0, self._restart_pool, node)
        except Exception as error:
            if node.alive:
                simulation.violate(f"the pool ended by itself: {type(error).__name__}: {error}")

    def _policy(self) -> Policy:
        plan = self._simulation.plan
        policy = Policy(
            confirmations=plan.confirmations,
            first_round_replicas=plan.first_round_replicas,
            heartbeat_s=plan.pace.heartbeat_s,
            lease_ttl_s=2 * plan.pace.heartbeat_s,
        )
        if plan.audits:
            policy = replace(policy, audit_share=0.25, proven_after=2, audit_payment_nrlc=POOL_PRICE)
        return policy

    def _restart_pool(self, ended: Node) -> None:
        if self._simulation.pool_node is ended:
            ended.crash("cannot start")
            self.start_pool()

    def start_worker(self, seat: WorkerSeat) -> None:
        if seat.gone or (seat.node is not None and seat.node.alive):
            return
        node = Node(seat.plan.name, self._simulation, skew_s=seat.plan.skew_s, pace=self._simulation.plan.pace)
        seat.node = node
        node.start(self._worker_process(seat, node))

    async def _worker_process(self, seat: WorkerSeat, node: Node) -> None:
        simulation = self._simulation
        plan, chain = seat.plan, self._chain_of(node)
        simulation.note(plan.name, f"starts ({plan.lie or 'honest'})")
        store = Stored(seat.disk.open(), node)
        store.bind(chain_id=chain.chain_id, hub=chain.hub, worker=seat.signer.address)
        simulation.network.mangles[plan.name] = mangling(
            plan.lie, seat.signer, chain.chain_id, chain.hub, simulation.rng, simulation.counter
        )
        agent = WorkerAgent(
            link=LinkOptions(
                url="http://pool",
                chain_id=chain.chain_id,
                hub=chain.hub,
                workerpool=simulation.workerpool,
                runtimes=(RUNTIME,),
                slots=plan.slots,
                longest_pause_s=simulation.plan.pace.knock_s,
            ),
            chain=cast(Any, chain),
            signer=seat.signer,
            store=cast(WorkerStore, store),
            work=SimulatedWork(
                node,
                seat.results,
                self._storage_of(node),
                lie=plan.lie,
                seconds=lambda: simulation.rng.uniform(*plan.compute_s),
                breaks=lambda: not simulation.calm and simulation.rng.random() < plan.breaks,
                counter=simulation.counter,
            ),
            policy=WorkerPolicy,
            clock=NodeClock(node),
            announcer=_Announcer(node),
            options=AgentOptions(
                slots=plan.slots,
                confirmations=simulation.plan.confirmations,
                poll_s=simulation.plan.pace.poll_s,
                calm_looks=simulation.plan.pace.calm_looks,
                receipt_poll_s=1.0,
                misbehaviour=Misbehaviour.NO_REVEAL if plan.lie is Fault.NO_REVEAL else None,
            ),
        )
        seat.agent = agent
        try:
            await agent.run()
        except Exception as error:
            if node.alive:
                simulation.violate(f"{plan.name} ended by itself: {type(error).__name__}: {error}")

    def _chain_of(self, node: Node) -> NodeChain:
        simulation = self._simulation
        troubles = ChainTroubles() if simulation.calm else simulation.plan.chain
        view = NodeChain(simulation.chain, node, troubles, simulation.rng, simulation.counter)
        before = simulation.chains.get(node.name)
        view.down = before.down if before is not None else False
        view.sending = partial(watching.watch_transactions, simulation)
        simulation.chains[node.name] = view
        return view

    def _storage_of(self, node: Node) -> NodeStorage:
        simulation = self._simulation
        return NodeStorage(simulation.blobs, node, simulation.rng, simulation.plan.storage_latency_s)
