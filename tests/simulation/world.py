"""One simulation: pool, workers, chain, storage and network in one process on virtual time, driven by a plan.

The pool is the shipped `PoolService` with its store, watcher, effects and sessions; a worker is the shipped
`WorkerAgent` with its store, judge, transactions and link. Only what they stand on is simulated: time, sockets, the
Ethereum node (the reference model of the hub), storage, and the sandbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import secrets
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest import mock

import structlog

import fairgrid.pool.service as service_module
import fairgrid.worker.connection.link as link_module
from fairgrid.errors import ServiceUnavailable
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.records.store import PoolStore
from fairgrid.pool.service import PoolService
from fairgrid.pool.workers.sessions import serve_worker
from fairgrid.protocol.hexes import ZERO32, keccak
from fairgrid.protocol.trust import consensus_reached
from fairgrid.protocol.typed_data import Domain
from fairgrid.protocol.views import AppInfo, TaskStatus
from fairgrid.wallet.keys import KeySigner
from fairgrid.worker.agent import AgentOptions, WorkerAgent
from fairgrid.worker.computing.misbehave import Misbehaviour
from fairgrid.worker.connection.link import LinkOptions
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.records.store import WorkerStore
from tests.simulation import checks, watching
from tests.simulation.chain import KEPT_BLOCKS, ChainTroubles, NodeChain, SimulatedChain
from tests.simulation.faults import Counter, Fault, Part
from tests.simulation.network import Network, NetworkTroubles
from tests.simulation.nodes import EPOCH, Node, NodeClock, Stored, blocking_calls, current_node, make_task
from tests.simulation.operating import Operator
from tests.simulation.plan import Incident, Plan, WorkerPlan
from tests.simulation.requests import APP_PRICE, POOL_PRICE, RUNTIME, Requests
from tests.simulation.storage import Blobs, NodeStorage, Result
from tests.simulation.stores import Disk
from tests.simulation.virtual import VirtualLoop, run_virtually
from tests.simulation.workers import SimulatedWork, mangling

__all__ = ["APP_PRICE", "DEPOSIT", "POOL_PRICE", "STAKE_RATIO", "Happening", "Simulation", "WorkerSeat"]

DEPOSIT = 1_000_000
STAKE_RATIO = 30
_HURRY = 30
_HOPE_S = 300.0
_OVER = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SPLIT)
_SILENCE_S = 120.0
_SETTLE_S = 150.0
"""After the last task is over: openings are awaited for 60 s, finished tasks are said to be done."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of the trace."""

    at_s: float
    who: str
    text: str


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
        self.blobs = Blobs()
        self.network = Network(self.rng, plan.network, self.counter)
        self.network.told = self._pool_says
        self.network.failed = self.violate
        self.network.heard = self._worker_says
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
        self._acts: list[asyncio.Task[None]] = []
        self.reorganised = False
        self.calm = False
        self.ended_at_s = 0.0
        self.hurries = False
        self.pool_away_s = 0.0
        self._skipped_s = 0.0
        self._folder = tempfile.TemporaryDirectory(prefix="simulation-", dir=_fast_folder())
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
            with _seeded(self.plan.seed), _listened(self), _connected(self.network):
                run_virtually(self._main, make_task=make_task)
        finally:
            self.pool_disk.close()
            for seat in self.seats.values():
                seat.disk.close()
            self._folder.cleanup()
        return self

    epoch = EPOCH

    def unit_ids(self) -> list[str]:
        """All that is settled as one: tasks of the classic lane, and runs."""
        return self.requests.unit_ids()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the simulation began."""
        return self._loop.time()

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

    def note(self, who: str, text: str) -> None:
        """A line of the run's log; it is kept only while tracing."""
        self._record(who, text)
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
        watching.watch_what_pool_says(self, worker, frame)

    def _worker_says(self, worker: str, frame: str) -> None:
        self._record(f"{worker} to pool", frame)
        watching.watch_what_worker_says(self, worker, frame)

    def crashed(self, node: Node, at: str) -> None:
        """A node lost power; see `Node`."""
        self.note(node.name, f"CRASHES {at}")

    # --- the run ------------------------------------------------------------------------------------------------

    async def _main(self, loop: VirtualLoop) -> None:
        loop.blocking = blocking_calls(loop, self._disk_pause)
        self._loop = loop
        watch = loop.create_task(self._keep_time())
        for worker in self.plan.workers:
            if worker.skew_s:
                self.counter.count(Fault.CLOCK_SKEW)
            loop.call_later(worker.joins_at_s, self._start_worker, self.seats[worker.name])
        if self.plan.pool_skew_s:
            self.counter.count(Fault.CLOCK_SKEW)
        if self.plan.network.latency_s > 0.1:
            self.counter.count(Fault.DELAY)
        self._start_pool()
        requests = [loop.create_task(self.requests.ask(number, deal)) for number, deal in enumerate(self.plan.deals)]
        for incident in self.plan.incidents:
            loop.call_later(incident.at_s, self._strike, incident)
        loop.call_later(self.plan.calm_at_s, self._calm_down)
        await self._until_over()
        checks.check_end(self)
        self.ended_at_s = self.elapsed_s
        for human in (*requests, *self._acts):
            if human.done() and not human.cancelled() and (error := human.exception()) is not None:
                self.violate(f"requester or operator ended with {type(error).__name__}: {error}")
        for request in (*requests, *self._acts, watch):
            request.cancel()

    def _disk_pause(self) -> float:
        return self.rng.uniform(0.0, 0.05) if self.plan.network.latency_s > 0.1 else 0.0

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
        while self._loop.time() < horizon:
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

    # --- processes ----------------------------------------------------------------------------------------------

    def _start_pool(self) -> None:
        node = Node("pool", self, skew_s=self.plan.pool_skew_s)
        self.pool_node = node
        node.start(self._pool_process(node))

    async def _pool_process(self, node: Node) -> None:
        self.note("pool", "starts")
        try:
            service = PoolService(
                chain=self._chain_of(node),
                signer=self.scheduler,
                workerpool=self.workerpool,
                store=cast(PoolStore, Stored(self.pool_disk.open(), node)),
                storage=cast(Any, self._storage_of(node)),
                policy=self._policy(),
                clock=NodeClock(node),
                scratch=Path(self._folder.name) / "scratch",
            )
            async with service.running():
                if self.plan.is_operated:
                    await self.operator.begin(node, service)
                if node.alive:
                    self.service, self.service_node = service, node
                    self.network.pool, self.network.serve = node, partial(serve_worker, service)
                await asyncio.get_running_loop().create_future()
        except ServiceUnavailable as error:
            if node.alive:
                self.note("pool", f"cannot start: {error}")
                self._loop.call_later(3.0, self._restart_pool, node)
        except Exception as error:
            if node.alive:
                self.violate(f"the pool ended by itself: {type(error).__name__}: {error}")

    def _policy(self) -> Policy:
        plan = self.plan
        policy = Policy(confirmations=plan.confirmations, first_round_replicas=plan.first_round_replicas)
        if plan.audits:
            policy = replace(policy, audit_share=0.25, proven_after=2, audit_payment_nrlc=POOL_PRICE)
        return policy

    def _restart_pool(self, ended: Node) -> None:
        if self.pool_node is ended:
            ended.crash("cannot start")
            self._start_pool()

    def _start_worker(self, seat: WorkerSeat) -> None:
        if seat.gone or (seat.node is not None and seat.node.alive):
            return
        node = Node(seat.plan.name, self, skew_s=seat.plan.skew_s)
        seat.node = node
        node.start(self._worker_process(seat, node))

    async def _worker_process(self, seat: WorkerSeat, node: Node) -> None:
        plan, chain = seat.plan, self._chain_of(node)
        self.note(plan.name, f"starts ({plan.lie or 'honest'})")
        store = Stored(seat.disk.open(), node)
        store.bind(chain_id=chain.chain_id, hub=chain.hub, worker=seat.signer.address)
        self.network.mangles[plan.name] = mangling(
            plan.lie, seat.signer, chain.chain_id, chain.hub, self.rng, self.counter
        )
        agent = WorkerAgent(
            link=LinkOptions(
                url="http://pool",
                chain_id=chain.chain_id,
                hub=chain.hub,
                workerpool=self.workerpool,
                runtimes=(RUNTIME,),
                slots=plan.slots,
            ),
            chain=cast(Any, chain),
            signer=seat.signer,
            store=cast(WorkerStore, store),
            work=SimulatedWork(
                node,
                seat.results,
                self._storage_of(node),
                lie=plan.lie,
                seconds=lambda: self.rng.uniform(*plan.compute_s),
                breaks=lambda: not self.calm and self.rng.random() < plan.breaks,
                counter=self.counter,
            ),
            policy=WorkerPolicy,
            clock=NodeClock(node),
            announcer=_Announcer(node),
            options=AgentOptions(
                slots=plan.slots,
                confirmations=self.plan.confirmations,
                poll_s=2.0,
                receipt_poll_s=1.0,
                misbehaviour=Misbehaviour.NO_REVEAL if plan.lie is Fault.NO_REVEAL else None,
            ),
        )
        seat.agent = agent
        try:
            await agent.run()
        except Exception as error:
            if node.alive:
                self.violate(f"{plan.name} ended by itself: {type(error).__name__}: {error}")

    def _chain_of(self, node: Node) -> NodeChain:
        troubles = ChainTroubles() if self.calm else self.plan.chain
        view = NodeChain(self.chain, node, troubles, self.rng, self.counter)
        before = self.chains.get(node.name)
        view.down = before.down if before is not None else False
        view.sending = partial(watching.watch_transactions, self)
        self.chains[node.name] = view
        return view

    def _storage_of(self, node: Node) -> NodeStorage:
        return NodeStorage(self.blobs, node, self.rng, self.plan.storage_latency_s)

    # --- what goes wrong ----------------------------------------------------------------------------------------

    def _strike(self, incident: Incident) -> None:
        match incident.fault:
            case Fault.POOL_CRASH:
                if self.pool_node is not None and self.pool_node.alive:
                    self._burn(self.pool_node, incident)
            case Fault.WORKER_CRASH | Fault.WORKER_GONE:
                seat = self.seats[incident.target]
                seat.gone = seat.gone or incident.fault is Fault.WORKER_GONE
                if seat.node is not None and seat.node.alive:
                    self._burn(seat.node, incident)
            case Fault.CUT:
                if self.network.cut(incident.target):
                    self.counter.count(Fault.CUT)
                    self.note("network", f"cuts the connection of {incident.target}")
            case Fault.PARTITION:
                self.counter.count(Fault.PARTITION)
                self.seats[incident.target].away_s += incident.seconds
                self.network.part(incident.target, incident.seconds)
                self.note("network", f"parts {incident.target} from the pool for {incident.seconds:.1f} s")
            case Fault.REORG | Fault.DROPPING_REORG:
                self._reorganise(incident)
            case Fault.CHAIN_DOWN:
                self._chain_down(incident)
            case Part():
                # Kept, or the loop would forget it.
                self._acts.append(self._loop.create_task(self.operator.act(incident)))
            case Fault.STORAGE_DOWN:
                self.counter.count(Fault.STORAGE_DOWN)
                self.blobs.down = True
                self.note("storage", f"is down for {incident.seconds:.1f} s")
                self._loop.call_later(incident.seconds, setattr, self.blobs, "down", False)

    def _burn(self, node: Node, incident: Incident) -> None:
        """Let a node crash after some more effects; at the latest after 15 seconds."""
        node.fuse = incident.steps
        self._loop.call_later(15.0, self._burnt, node, incident)

    def _burnt(self, node: Node, incident: Incident) -> None:
        if node.alive:
            node.crash("between two moments")
        self.counter.count(incident.fault)
        self.network.died(node, silently=incident.silently)
        if incident.fault is Fault.WORKER_GONE:
            return
        seconds = max(incident.seconds, 0.1)
        if node.name == "pool":
            self.pool_away_s += seconds + 15.0
            self._loop.call_later(seconds, self._start_pool_again, node)
        else:
            seat = self.seats[node.name]
            seat.away_s += seconds + 15.0
            self._loop.call_later(seconds, self._start_worker, seat)

    def _start_pool_again(self, crashed: Node) -> None:
        if self.pool_node is crashed:
            self._start_pool()

    def _reorganise(self, incident: Incident) -> None:
        depth = min(incident.depth, self.chain.height - 1, KEPT_BLOCKS - 1)
        if depth < 1:
            return
        dropping = incident.fault is Fault.DROPPING_REORG
        self.note("chain", f"REORGANISES {depth} blocks{' and drops their transactions' if dropping else ''}")
        if not self.reorganised:
            checks.check_transactions(self)
        self.chain.reorganise(depth, drop=dropping)
        self.reorganised = True
        self.counter.count(incident.fault)
        watching.watch_blocks(self)

    def _chain_down(self, incident: Incident) -> None:
        view = self.chains.get(incident.target)
        if view is None:
            return
        self.counter.count(Fault.CHAIN_DOWN)
        self.note(incident.target, f"its chain node is down for {incident.seconds:.1f} s")
        if incident.target != "pool":
            self.seats[incident.target].away_s += incident.seconds
        view.down = True

        def up() -> None:
            self.chains[incident.target].down = False

        self._loop.call_later(incident.seconds, up)

    def _calm_down(self) -> None:
        """From now on nothing goes wrong any more, except that liars lie and that who is gone stays gone."""
        self.calm = self.network.calm = True
        self.note("world", "calms down")
        self.blobs.down = False
        for view in self.chains.values():
            view.down = False
            view.troubles = ChainTroubles(latency_s=self.plan.chain.latency_s)
        self.network.troubles = NetworkTroubles(latency_s=self.plan.network.latency_s)

    # --- places -------------------------------------------------------------------------------------------------

    def _new_chain(self) -> SimulatedChain:
        chain = SimulatedChain.fresh(owner=self.admin.address, now=int(EPOCH), automine=False, keep_states=KEPT_BLOCKS)
        assert isinstance(chain, SimulatedChain)
        return chain

    def _file(self, name: str) -> Path | None:
        return Path(self._folder.name) / name if self.plan.files else None


def _key(name: str) -> KeySigner:
    return KeySigner(keccak(b"fairgrid/simulation/" + name.encode()))


def _fast_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Chance inside the shipped code follows the seed, too."""
    chance = random.Random(f"fairgrid/simulation/{seed}/secrets")
    state = random.getstate()
    random.seed(f"fairgrid/simulation/{seed}/random")
    kept = {name: getattr(secrets, name) for name in ("token_bytes", "token_hex", "randbelow")}
    secrets.token_bytes = lambda nbytes=32: chance.randbytes(nbytes or 32)
    secrets.token_hex = lambda nbytes=32: chance.randbytes(nbytes or 32).hex()
    secrets.randbelow = lambda exclusive_upper_bound: chance.randrange(exclusive_upper_bound)
    try:
        yield
    finally:
        random.setstate(state)
        for name, function in kept.items():
            setattr(secrets, name, function)


@contextlib.contextmanager
def _connected(network: Network) -> Iterator[None]:
    with (
        mock.patch.object(link_module, "connect", network.connect),
        mock.patch.object(service_module, "key_lock", _key_lock),
    ):
        yield


@contextlib.contextmanager
def _key_lock(*_where: object) -> Iterator[None]:
    """The lock of the operating system ends with a process; that of a simulated process, which is none, would not."""
    yield


@contextlib.contextmanager
def _listened(simulation: Simulation) -> Iterator[None]:
    """Lines of the log go to the trace; an error in it is a violation."""
    kept = structlog.get_config()

    def listen(_logger: Any, method: str, line: Any) -> Any:
        node = current_node.get()
        if node is None or not node.alive:
            raise structlog.DropEvent
        if method in ("error", "exception", "critical"):
            error = line.get("exc_info")
            told = repr(sys.exc_info()[1]) if error else ""
            simulation.violate(f"{node.name} logs an error: {line} {told}")
        elif simulation.tracing:
            words = ", ".join(f"{key} {value}" for key, value in line.items() if key != "event")
            simulation.remark(node.name, f"log: {line['event']} ({words})")
        raise structlog.DropEvent

    wrapper = structlog.make_filtering_bound_logger(0 if simulation.tracing else 40)
    structlog.configure(processors=[listen], wrapper_class=wrapper, cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**kept)
