"""A lost or aborted replica is replaced within two heartbeats of the last word about it.

What counts as a word is heard here, on the wire, and not taken from the pool: a lease that is sent, a frame that names
it, a worker that enrols or says that it is ready, a connection that ends. From the last of them a lease has two
heartbeats (a worker whose connection ended the policy's grace, which is no longer); then the task is for others.

To that comes only what this world inserts (`_slack_s`): the pool looks at its timers once in a pause, and asks the
chain for the time first, whose answers and whose disk take as long as the seed says. While the pool is dead, catches
up, or has no chain, nobody is given up for what it could not see: afterwards workers have their time anew.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fairgrid.pool.core import dispatch
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.replica import Replica
from fairgrid.pool.core.task_state import TaskState

if TYPE_CHECKING:
    from fairgrid.pool.service import PoolService
    from tests.simulation.world import Simulation

__all__ = ["WINDOW_OF_RUN", "LeaseWatch"]

WINDOW_OF_RUN = 4
"""A seal of a run may take so many times its category's time (`fairgrid.pool.core.dispatch`)."""
_TICK_S = 0.5
"""The pool looks at its timers so often, where nodes keep the pauses of the shipped program."""
_ANSWERS = 6
"""So many answers of the chain, and of its disk, a tick waits for at most: time, identity, genesis, place, anchor."""
_DISK_S = 0.05
_OF_THE_WORKER = ("enrol", "ready")
_ENDED_IN_VAIN = (ReplicaPhase.LOST, ReplicaPhase.LATE, ReplicaPhase.DECLINED)


class LeaseWatch:
    """Hears what workers say, and looks at the pool's leases after each block."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._named: dict[str, float] = {}
        """When each lease was sent or named last, in seconds since the simulation began."""
        self._leased_to: dict[str, set[str]] = {}
        """All leases that each worker (by name) was ever sent."""
        self._came: dict[str, float] = {}
        """When each worker (by name) enrolled or said that it is ready last."""
        self._left: dict[str, float] = {}
        """When the only connection of each worker (by name) ended last."""
        self._sees_since = 0.0
        """Since when the pool has what it needs to judge."""
        self._restarted_at = 0.0
        self._lacking: dict[str, float] = {}
        """Tasks that should have been leased to somebody else, and since when they are seen so."""
        self._told: set[str] = set()
        self._doubtful: set[str] = set()
        """Leases that were not named for a while, or in a heartbeat, or whose connection ended: they may be lost."""

    # --- words ----------------------------------------------------------------------------------------------------

    def lease_sent(self, worker: str, lease_id: str) -> None:
        """The pool sends a worker a lease, perhaps again."""
        self._leased_to.setdefault(worker, set()).add(lease_id)
        self._name(lease_id)

    def frame_arrived(self, worker: str, frame: str) -> None:
        """A worker's frame arrives at the pool."""
        message = json.loads(frame)
        if message["kind"] in _OF_THE_WORKER:
            self._came[worker] = self._simulation.elapsed_s
        if (lease_id := message.get("lease_id")) is not None:
            self._name(lease_id)
        held = {lease["lease_id"] for lease in message.get("held", ())}
        for lease_id in held:
            self._name(lease_id)
        if message["kind"] == "heartbeat":
            self._doubtful |= self._leased_to.get(worker, set()) - held

    def connection_ended(self, worker: str) -> None:
        """The pool is told that a worker's connection is over; one that another took the place of is nothing."""
        self._doubtful |= self._leased_to.get(worker, set())
        if all(other.worker.name != worker for other in self._simulation.network.connections):
            self._left[worker] = self._simulation.elapsed_s

    def pool_sees(self, *, restarted: bool = False) -> None:
        """The pool has its chain again, or is a new process."""
        self._sees_since = self._simulation.elapsed_s
        if restarted:
            self._restarted_at = self._simulation.elapsed_s
            self._doubtful |= self._named.keys()

    def _name(self, lease_id: str) -> None:
        now, heartbeat_s = self._simulation.elapsed_s, self._simulation.plan.pace.heartbeat_s
        if now > self._named.get(lease_id, now) + heartbeat_s:
            self._doubtful.add(lease_id)
        self._named[lease_id] = now

    # --- each block -----------------------------------------------------------------------------------------------

    def look(self, service: PoolService) -> None:
        """Look at every lease, and at every task that lost one."""
        simulation = self._simulation
        process, view, book = simulation.pool_node, simulation.chains["pool"], service.machine._book
        if process is None or not process.alive or process is not simulation.service_node or view.down or book.behind:
            self._lacking.clear()
            self.pool_sees()
            return
        lacking: dict[str, float] = {}
        for task in service.machine.tasks.values():
            if task.phase not in (Phase.SEALING, Phase.CONTRIBUTING):
                continue
            for replica in task.in_phase(ReplicaPhase.LEASED):
                self._watch_end(service, task, replica, process.skew_s)
            for replica in task.in_phase(ReplicaPhase.LOST):
                self._watch_loss(service, task, replica)
            if self._lacks_a_replica(service, task):
                since = lacking[task.task_id] = self._lacking.get(task.task_id, simulation.elapsed_s)
                if simulation.elapsed_s > since + self._slack_s:
                    self._violate(task.task_id, f"{task.task_id[:10]} lost a replica, and none of the idle gets it")
        self._lacking = lacking

    def _watch_end(self, service: PoolService, task: TaskState, replica: Replica, skew_s: float) -> None:
        simulation, policy = self._simulation, service.policy
        name = simulation.by_address[replica.worker].plan.name
        leased_s = replica.leased_at - simulation.epoch - skew_s
        word_s = max(leased_s, self._named.get(replica.lease_id, 0.0), self._came.get(name, 0.0), self._sees_since)
        heard_until_s = word_s + 2 * policy.heartbeat_s
        if (left_s := self._left.get(name, 0.0)) > self._came.get(name, 0.0):
            heard_until_s = max(min(heard_until_s, left_s + policy.reconnect_grace_s), word_s)
        window_s = max(task.deal.timeref * min(task.units, WINDOW_OF_RUN), policy.seal_window_min_s)
        ends_s = max(min(heard_until_s, leased_s + window_s), self._sees_since)
        if self._restarted_at:
            ends_s = max(ends_s, min(self._restarted_at + policy.restart_grace_s, leased_s + window_s))
        late_s = simulation.elapsed_s - ends_s
        if late_s > self._slack_s:
            text = f"the lease of {task.task_id[:10]} to {name} does not end: it should have {late_s:.1f} s ago"
            self._violate(replica.lease_id, text)

    def _watch_loss(self, service: PoolService, task: TaskState, replica: Replica) -> None:
        named_s = self._named.get(replica.lease_id)
        if named_s is None or replica.lease_id in self._doubtful:
            return
        if self._simulation.elapsed_s < named_s + service.policy.heartbeat_s:
            name = self._simulation.by_address[replica.worker].plan.name
            self._violate(replica.lease_id, f"{name} loses {task.task_id[:10]}, which it named all the time")
        self._doubtful.add(replica.lease_id)

    def _lacks_a_replica(self, service: PoolService, task: TaskState) -> bool:
        """A replica of the round came to nothing, one is needed, and somebody could have it at once."""
        book = service.machine._book
        if not any(r.round == task.round and r.phase in _ENDED_IN_VAIN for r in task.replicas):
            return False
        if not dispatch.needs_another(book, task):
            return False
        asked = task.contributors() | {replica.worker for replica in task.replicas}
        for name, worker in book.workers.items():
            if name in asked or name not in book.idle:  # One that owes an opening is none, whatever slots it has.
                continue
            if self._simulation.operator.is_to_be_drained(name) or not worker.slots:
                continue
            if worker.stake < book.burden(name).reserved + task.stake:
                continue
            if book.standings.may_lease(name, worker.owner, book.now) and not book.is_banned(name, worker.owner):
                return True
        return False

    @property
    def _slack_s(self) -> float:
        plan = self._simulation.plan
        pause_s = plan.pace.quiet_pause_s if self._simulation.calm else plan.pace.pause_s
        return max(pause_s, _TICK_S) + _ANSWERS * (plan.chain.latency_s + (_DISK_S if plan.is_slow else 0.0))

    def _violate(self, what: str, text: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self._simulation.violate(text)
