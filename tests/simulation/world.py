"""One simulation: pool, workers, chain, storage and network in one process on virtual time, driven by a plan.

The pool is the shipped `PoolService` with its store, watcher, effects and sessions; a worker is the shipped
`WorkerAgent` with its store, judge, transactions and link. Only what they stand on is simulated: time, sockets, the
Ethereum node (the reference model of the hub), storage, and the sandbox.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fairgrid.pool.service import PoolService
from fairgrid.protocol.hexes import ZERO32, keccak
from fairgrid.protocol.trust import consensus_reached
from fairgrid.protocol.typed_data import Domain
from fairgrid.protocol.views import AppInfo, TaskStatus
from fairgrid.wallet.keys import KeySigner
from tests.simulation import checks, watching
from tests.simulation.chain import KEPT_BLOCKS, NodeChain, SimulatedChain
from tests.simulation.faults import Counter, Fault
from tests.simulation.leases import LeaseWatch
from tests.simulation.network import Network
from tests.simulation.nodes import EPOCH, Node, blocking_calls, make_task
from tests.simulation.operating import Operator
from tests.simulation.plan import Plan
from tests.simulation.processes import Processes, WorkerSeat
from tests.simulation.requests import APP_PRICE, POOL_PRICE, Requests
from tests.simulation.storage import Blobs
from tests.simulation.stores import Disk
from tests.simulation.strikes import Strikes
from tests.simulation.surroundings import connected, fast_folder, listened, seeded
from tests.simulation.virtual import VirtualLoop, run_virtually

__all__ = ["APP_PRICE", "DEPOSIT", "POOL_PRICE", "STAKE_RATIO", "Happening", "Simulation", "WorkerSeat"]

DEPOSIT = 1_000_000
STAKE_RATIO = 30
_HURRY = 30
_HOPE_S = 300.0
_OVER = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SPLIT)
_SILENCE_S = 120.0
_QUIET_AFTER_S = 20.0
_BEAT = '"kind":"heartbeat"'
_SETTLE_S = 150.0
"""After the last task is over: openings are awaited for 60 s, finished tasks are said to be done."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of the trace."""

    at_s: float
    who: str
    text: str


class Simulation:
    """Everything of one run; `run` it once, then look at it."""

    def __init__(self, plan: Plan, *, trace: bool = False) -> None:
        self.plan = plan
        self.counter = Counter()
        self.violations: list[str] = []
        self.trace: list[Happening] = []
        self.tracing = trace
        self.rng = random.Random(f"fairgrid/simulation/{plan.seed}/run")
        self.admin, self.scheduler, self.requester = (_key(name) for name in ("admin", "scheduler", "requester"))
        self.chain = self._new_chain()
        self.requests = Requests(self)
        self.operator = Operator(self)
        self.processes = Processes(self)
        self.blobs = Blobs()
        self.network = Network(self.rng, plan.network, self.counter)
        self.network.told = self._pool_says
        self.network.failed = self.violate
        self.network.heard = self._worker_says
        self.leases = LeaseWatch(self)
        self.network.arrived = self.leases.frame_arrived
        self.network.ended = self.leases.connection_ended
        self._log = hashlib.sha256()
        self.service: PoolService | None = None
        self.pool_node: Node | None = None
        self.service_node: Node | None = None
        """Whose `service` is."""
        self.chains: dict[str, NodeChain] = {}
        self.consensus_since: dict[str, tuple[tuple[str, int], int]] = {}
        """Of each task: consensus (value, reveal deadline), and the height since which the chain has it."""
        self.deep: set[str] = set()
        """Tasks and runs whose consensus was once as deep as the confirmations."""
        self.completed: dict[str, float] = {}
        """When each was completed on chain first, in seconds since the simulation began."""
        self.contributed: dict[str, set[str]] = {}
        """Who ever had a contribution on chain, of each."""
        self.runs_seen: set[str] = set()
        self.leased: set[str] = set()
        self.judged = 0
        """Failed tasks that had time enough, so that their workers must be the reason."""
        self.banned: set[str] = set()
        """Whose ban the pool had stored."""
        self.bans_seen: tuple[Node | None, set[str]] = (None, set())
        self.authorised: set[tuple[str, str]] = set()
        self.acts: list[asyncio.Task[None]] = []
        self.reorganised = False
        self.calm = False
        self.heard_at_s = 0.0
        """When anything was said or done last, but for heartbeats."""
        self.ended_at_s = 0.0
        self.hurries = False
        self.pool_away_s = 0.0
        self._skipped_s = 0.0
        self.folder = tempfile.TemporaryDirectory(prefix="simulation-", dir=fast_folder())
        self.pool_disk = Disk("pool", self._file("pool.db"))
        self.seats = {
            worker.name: WorkerSeat(worker, _key(worker.name), Disk("worker", self._file(f"{worker.name}.db")))
            for worker in plan.workers
        }
        self.by_address = {seat.signer.address: seat for seat in self.seats.values()}
        for address in (self.scheduler.address, self.requester.address, *self.by_address):
            self.chain.model.token.approve(self.admin.address, self.chain.hub, DEPOSIT)
            self.chain.model.deposit_for(self.admin.address, DEPOSIT, address)
        registries = self.chain.model.registries
        self.app = registries.apps.create(AppInfo(self.admin.address, "app", "WASM", b"", ZERO32, b""))
        self.workerpool = registries.workerpools.create(self.scheduler.address, "pool")
        registries.workerpools.change_policy(self.scheduler.address, self.workerpool, STAKE_RATIO, 10)
        self.category = self.chain.model.create_category(self.admin.address, "simulated", "", plan.timeref_s)
        self.chain.remember_all()
        self.domain = Domain(self.chain.chain_id, self.chain.hub)

    def run(self) -> Simulation:
        """Let everything happen."""
        try:
            with seeded(self.plan.seed), listened(self), connected(self.network):
                run_virtually(self._main, make_task=make_task)
        finally:
            self.pool_disk.close()
            for seat in self.seats.values():
                seat.disk.close()
            self.folder.cleanup()
        return self

    epoch = EPOCH

    def unit_ids(self) -> list[str]:
        """All that is settled as one: tasks of the classic lane, and runs."""
        return self.requests.unit_ids()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the simulation began."""
        return self.loop.time()

    def could_agree(self, trust: int) -> bool:
        """True if a task of this trust has to complete in the end, whoever is asked first."""
        plan = self.plan
        away = {worker.name for worker in plan.honest if plan.is_gone(worker.name) or worker.breaks} | plan.banned
        honest = sum(1 for worker in plan.honest if worker.name not in away)
        others = len(plan.honest) - honest
        lies = [worker.lie for worker in plan.liars]
        # These agree with the honest ones; a consensus of theirs alone may come to nothing.
        idle = others + sum(lie not in (Fault.WRONG_DIGEST, Fault.COLLUSION, Fault.STALLING) for lie in lies)
        if idle and consensus_reached(2**idle, 1 + 2**idle, trust):
            return False
        gang = lies.count(Fault.COLLUSION)
        against = 2 * lies.count(Fault.WRONG_DIGEST) + (2**gang if gang else 0)
        return consensus_reached(2**honest, 1 + 2**honest + against, trust)

    def violate(self, text: str) -> None:
        """Something happened that must never happen."""
        self.violations.append(f"{self.elapsed_s:.1f} s: {text}")
        self.note("VIOLATION", text)

    @property
    def is_quiet(self) -> bool:
        """Nothing goes wrong any more, nobody says or does anything, and no transaction is on its way."""
        return self.calm and self.elapsed_s > self.heard_at_s + _QUIET_AFTER_S

    def note(self, who: str, text: str) -> None:
        """A line of the run's log; it is kept only while tracing."""
        self._record(who, text)
        self.heard_at_s = self.elapsed_s
        if self.tracing:
            self.trace.append(Happening(self.elapsed_s, who, text))

    def remark(self, who: str, text: str) -> None:
        """A line that only those who read the trace want to see: the program's own log."""
        if self.tracing:
            self.trace.append(Happening(self.elapsed_s, who, text))

    @property
    def digest(self) -> str:
        """Of the log and of every frame between pool and workers, with the times: two equal runs have the same."""
        return self._log.hexdigest()

    def _record(self, who: str, text: str) -> None:
        self._log.update(f"{self.elapsed_s!r} {who} {text}\n".encode())

    def _pool_says(self, worker: str, frame: str) -> None:
        self._record(f"pool to {worker}", frame)
        self.heard_at_s = self.elapsed_s
        watching.watch_what_pool_says(self, worker, frame)

    def _worker_says(self, worker: str, frame: str) -> None:
        self._record(f"{worker} to pool", frame)
        if _BEAT in frame:
            return
        self.heard_at_s = self.elapsed_s
        watching.watch_what_worker_says(self, worker, frame)

    def crashed(self, node: Node, at: str) -> None:
        """A node lost power; see `Node`."""
        self.note(node.name, f"CRASHES {at}")

    # --- the run ------------------------------------------------------------------------------------------------

    async def _main(self, loop: VirtualLoop) -> None:
        loop.blocking = blocking_calls(loop, self._disk_pause)
        self.loop = loop
        watch = loop.create_task(self._keep_time())
        for worker in self.plan.workers:
            if worker.skew_s:
                self.counter.count(Fault.CLOCK_SKEW)
            loop.call_later(worker.joins_at_s, self.processes.start_worker, self.seats[worker.name])
        if self.plan.pool_skew_s:
            self.counter.count(Fault.CLOCK_SKEW)
        if self.plan.is_slow:
            self.counter.count(Fault.DELAY)
        self.processes.start_pool()
        requests = [loop.create_task(self.requests.ask(number, deal)) for number, deal in enumerate(self.plan.deals)]
        strikes = Strikes(self)
        for incident in self.plan.incidents:
            loop.call_later(incident.at_s, strikes.strike, incident)
        loop.call_later(self.plan.calm_at_s, strikes.calm_down)
        await self._until_over()
        checks.check_end(self)
        self.ended_at_s = self.elapsed_s
        for human in (*requests, *self.acts):
            if human.done() and not human.cancelled() and (error := human.exception()) is not None:
                self.violate(f"requester or operator ended with {type(error).__name__}: {error}")
        for request in (*requests, *self.acts, watch):
            request.cancel()

    def _disk_pause(self) -> float:
        return self.rng.uniform(0.0, 0.05) if self.plan.is_slow else 0.0

    async def _keep_time(self) -> None:
        """Mine blocks, and look at each."""
        while True:
            await asyncio.sleep(self.plan.block_s)
            over = self.hurries or self.elapsed_s > self.plan.patience_s or self._is_hopeless()
            if over and not self.chain.is_waiting(self.scheduler.address):
                # Whatever could still succeed did. Deadlines are the chain's, so let its time run; but never past the
                # deadline of a transaction that was sent in time.
                self._skipped_s += _HURRY * self.plan.block_s
            self.chain.mine_at(self.elapsed_s + self._skipped_s)
            watching.watch_blocks(self)

    def _is_hopeless(self) -> bool:
        """All is calm for long, and no task that is not over must still succeed: only deadlines are waited for."""
        if self.elapsed_s < self.plan.calm_at_s + _HOPE_S:
            return False
        model = self.chain.model
        if not self.requests.are_lanes_whole:
            return False
        left = [task for task in map(model.view_task, self.unit_ids()) if task.status not in _OVER]
        if any(task.status is TaskStatus.REVEALING for task in left):
            return False  # Who waits until the consensus is deep must have the time that a real chain gives.
        return not any(self.could_agree(max(model.view_deal(task.deal_id).trust, 1)) for task in left)

    async def _until_over(self) -> None:
        """Until every task is over and everybody knows, or for longer than that may take."""
        latest = max(deal.at_s for deal in self.plan.deals) + 10 * self.plan.timeref_s + 900.0
        horizon = max(latest, self.plan.calm_at_s + 600.0)
        over_since: float | None = None
        while self.loop.time() < horizon:
            await asyncio.sleep(5.0)
            if not self.calm or not self._all_over():
                over_since = None
                continue
            over_since = over_since if over_since is not None else self.elapsed_s
            settled_at = over_since + _SETTLE_S + 2 * self.plan.confirmations * self.plan.block_s
            if self.elapsed_s >= settled_at:
                if not any(worker.lie is Fault.SILENCE for worker in self.plan.workers):
                    return
                # Silence counts only when the time for revealing is over.
                self.hurries = True
                if self.elapsed_s >= settled_at + _SILENCE_S:
                    return

    def _all_over(self) -> bool:
        return self.requests.are_all_known and not self.requests.units_left()

    # --- places -------------------------------------------------------------------------------------------------

    def _new_chain(self) -> SimulatedChain:
        chain = SimulatedChain.fresh(owner=self.admin.address, now=int(EPOCH), automine=False, keep_states=KEPT_BLOCKS)
        assert isinstance(chain, SimulatedChain)
        return chain

    def _file(self, name: str) -> Path | None:
        return Path(self.folder.name) / name if self.plan.files else None


def _key(name: str) -> KeySigner:
    return KeySigner(keccak(b"fairgrid/simulation/" + name.encode()))
