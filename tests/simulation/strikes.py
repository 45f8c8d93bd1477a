"""What goes wrong at a moment of the plan, and the calm after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation import checks, watching
from tests.simulation.chain import KEPT_BLOCKS, ChainTroubles
from tests.simulation.faults import Fault, Part
from tests.simulation.network import NetworkTroubles
from tests.simulation.nodes import Node
from tests.simulation.plan import Incident

if TYPE_CHECKING:
    from tests.simulation.world import Simulation

__all__ = ["Strikes"]

_BURNT_S = 15.0
"""A node whose fuse is lit crashes within so long."""


class Strikes:
    """Lets the plan's incidents happen."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def strike(self, incident: Incident) -> None:
        """Let it happen now, or as soon as it can."""
        simulation = self._simulation
        match incident.fault:
            case Fault.POOL_CRASH:
                if simulation.pool_node is not None and simulation.pool_node.alive:
                    self._burn(simulation.pool_node, incident)
            case Fault.WORKER_CRASH | Fault.WORKER_GONE:
                seat = simulation.seats[incident.target]
                seat.gone = seat.gone or incident.fault is Fault.WORKER_GONE
                if seat.node is not None and seat.node.alive:
                    self._burn(seat.node, incident)
            case Fault.SENDING_CRASH:
                self._lay_wire(incident)
            case Fault.CUT:
                if simulation.network.cut(incident.target):
                    simulation.counter.count(Fault.CUT)
                    simulation.note("network", f"cuts the connection of {incident.target}")
            case Fault.PARTITION:
                simulation.counter.count(Fault.PARTITION)
                simulation.seats[incident.target].away_s += incident.seconds
                simulation.network.part(incident.target, incident.seconds)
                simulation.note("network", f"parts {incident.target} from the pool for {incident.seconds:.1f} s")
            case Fault.REORG | Fault.DROPPING_REORG:
                self._reorganise(incident)
            case Fault.CHAIN_DOWN:
                self._chain_down(incident)
            case Part():
                # Kept, or the loop would forget it.
                simulation.acts.append(simulation.loop.create_task(simulation.operator.act(incident)))
            case Fault.STORAGE_DOWN:
                simulation.counter.count(Fault.STORAGE_DOWN)
                simulation.blobs.down = True
                simulation.note("storage", f"is down for {incident.seconds:.1f} s")
                simulation.loop.call_later(incident.seconds, setattr, simulation.blobs, "down", False)

    def _burn(self, node: Node, incident: Incident) -> None:
        """Let a node crash after some more effects; at the latest after some seconds."""
        node.fuse = incident.steps
        self._simulation.loop.call_later(_BURNT_S, self._burnt, node, incident)

    def _burnt(self, node: Node, incident: Incident) -> None:
        simulation = self._simulation
        if node.alive:
            node.crash("between two moments")
        simulation.counter.count(incident.fault)
        simulation.network.died(node, silently=incident.silently)
        if incident.fault is Fault.WORKER_GONE:
            return
        seconds = max(incident.seconds, 0.1)
        if node.name == "pool":
            simulation.pool_away_s += seconds + _BURNT_S
            simulation.loop.call_later(seconds, self._start_pool_again, node)
        else:
            seat = simulation.seats[node.name]
            seat.away_s += seconds + _BURNT_S
            simulation.loop.call_later(seconds, simulation.processes.start_worker, seat)

    def _lay_wire(self, incident: Incident) -> None:
        """Let a node crash at its next transaction, if it sends one before all is calm, and be back at once."""
        simulation = self._simulation
        node = simulation.pool_node if incident.target == "pool" else simulation.seats[incident.target].node
        if node is None or not node.alive:
            return

        def tripped() -> None:
            simulation.counter.count(Fault.SENDING_CRASH)
            simulation.network.died(node, silently=False)
            if node is simulation.pool_node:
                simulation.pool_away_s += incident.seconds
                simulation.loop.call_later(incident.seconds, self._start_pool_again, node)
            else:
                seat = simulation.seats[node.name]
                seat.away_s += incident.seconds
                simulation.loop.call_later(incident.seconds, simulation.processes.start_worker, seat)

        node.wire = incident.moment, tripped

    def _start_pool_again(self, crashed: Node) -> None:
        if self._simulation.pool_node is crashed:
            self._simulation.processes.start_pool()

    def _reorganise(self, incident: Incident) -> None:
        simulation = self._simulation
        depth = min(incident.depth, simulation.chain.height - 1, KEPT_BLOCKS - 1)
        if depth < 1:
            return
        dropping = incident.fault is Fault.DROPPING_REORG
        simulation.note("chain", f"REORGANISES {depth} blocks{' and drops their transactions' if dropping else ''}")
        if not simulation.reorganised:
            checks.check_transactions(simulation)
        simulation.chain.reorganise(depth, drop=dropping)
        simulation.reorganised = True
        simulation.counter.count(incident.fault)
        watching.watch_blocks(simulation)

    def _chain_down(self, incident: Incident) -> None:
        simulation = self._simulation
        view = simulation.chains.get(incident.target)
        if view is None:
            return
        simulation.counter.count(Fault.CHAIN_DOWN)
        simulation.note(incident.target, f"its chain node is down for {incident.seconds:.1f} s")
        if incident.target != "pool":
            simulation.seats[incident.target].away_s += incident.seconds
        view.down = True

        def up() -> None:
            simulation.chains[incident.target].down = False
            if incident.target == "pool":
                simulation.leases.pool_sees()

        simulation.loop.call_later(incident.seconds, up)

    def calm_down(self) -> None:
        """From now on nothing goes wrong any more, except that liars lie and that who is gone stays gone."""
        simulation = self._simulation
        simulation.calm = simulation.network.calm = True
        simulation.note("world", "calms down")
        simulation.blobs.down = False
        simulation.leases.pool_sees()
        for node in (simulation.pool_node, *(seat.node for seat in simulation.seats.values())):
            if node is not None:
                node.wire = None
        for view in simulation.chains.values():
            view.down = False
            view.troubles = ChainTroubles(latency_s=simulation.plan.chain.latency_s)
        simulation.network.troubles = NetworkTroubles(latency_s=simulation.plan.network.latency_s)
