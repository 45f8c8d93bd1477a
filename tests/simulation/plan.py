"""What a seed decides before anything happens: who takes part, what is asked for, and what goes wrong when."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.simulation.chain import ChainTroubles
from tests.simulation.faults import Fault, Part
from tests.simulation.network import NetworkTroubles

__all__ = ["LIES", "DealPlan", "Incident", "Pace", "Plan", "WorkerPlan", "plan_of"]

LIES = (
    Fault.WRONG_DIGEST,
    Fault.COLLUSION,
    Fault.NO_REVEAL,
    Fault.OTHER_UPLOAD,
    Fault.OTHER_SEAL,
    Fault.SILENCE,
    Fault.STALLING,
)

_RARE_LIES = (Fault.WRONG_DIGEST, Fault.NO_REVEAL, Fault.OTHER_UPLOAD, Fault.SILENCE)
"""These come to their lie only when they win, or are asked: every seventh seed has two more of them."""

_CHANCES = {
    Fault.POOL_CRASH: 0.45,
    Fault.WORKER_CRASH: 0.45,
    Fault.WORKER_GONE: 0.12,
    Fault.CUT: 0.25,
    Fault.PARTITION: 0.3,
    Fault.REORG: 0.3,
    Fault.DROPPING_REORG: 0.15,
    Fault.CHAIN_DOWN: 0.25,
    Fault.STORAGE_DOWN: 0.2,
}
"""How many of all seeds have incidents of a kind."""


_SHARES = {
    Part.LANE: 0.12,
    Part.DEPENDENCY: 0.12,
    Part.AUDIT: 0.2,
    Part.POOL_DRAINED: 0.1,
    Part.WORKER_DRAINED: 0.12,
    Part.OPERATOR_BAN: 0.1,
}
"""How many of all seeds use a part."""


_SENDING_CRASHES = 0.25
"""How many of all seeds have crashes around a transaction."""
_MOMENTS = ("after record", "after signing", "before sending", "after sending")
"""The pool signs and stores at once; a worker signs, stores and sends. Effects are called so; see `nodes`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """One worker. ``lie`` None: it is honest."""

    name: str
    lie: Fault | None
    slots: int
    joins_at_s: float
    compute_s: tuple[float, float]
    skew_s: float
    breaks: float
    """Probability that a run of a job fails on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DealPlan:
    """One request of the requester, matched ``at_s``."""

    at_s: float
    trust: int
    volume: int
    lane: bool = False
    """It is for the batch lane."""
    reads: int = -1
    """Each of its tasks reads the result of the first task of that deal; -1: none does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Something that goes wrong at a moment. ``target`` names a node where the fault is about one."""

    at_s: float
    fault: Fault | Part
    target: str = ""
    seconds: float = 0.0
    """How long it lasts; for a crash, until the process is started again."""
    steps: int = 1
    """For a crash: after how many more effects."""
    depth: int = 0
    silently: bool = False
    moment: str = ""
    """For a crash around a transaction: at the next effect whose name begins so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often nodes speak and look around, in seconds: as shipped, or less often, which makes seeds affordable."""

    heartbeat_s: float = 5.0
    """The pool's policy. Workers beat twice as often; a lease lasts two of them."""
    poll_s: float = 2.0
    """Between two looks of a worker at the chain."""
    calm_looks: int = 5
    """A worker looks at what follows no deadline every so many times."""
    knock_s: float = 5.0
    """The longest pause of a worker before it tries to enrol again."""
    pause_s: float = 0.0
    """No pause of a node is shorter."""
    quiet_pause_s: float = 4.0
    """The same while nothing happens anywhere."""


_PACES = (
    Pace(),
    *(Pace(heartbeat_s=10.0, poll_s=5.0, calm_looks=2, knock_s=10.0, pause_s=1.0, quiet_pause_s=10.0),) * 3,
    *(Pace(heartbeat_s=20.0, poll_s=5.0, calm_looks=2, knock_s=15.0, pause_s=2.0, quiet_pause_s=10.0),) * 4,
)
"""One seed in eight has the defaults of the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole simulation. ``calm_at_s`` is when the last incident is over, and everything random with it."""

    seed: int
    workers: tuple[WorkerPlan, ...]
    deals: tuple[DealPlan, ...]
    incidents: tuple[Incident, ...]
    timeref_s: int
    block_s: int
    confirmations: int
    first_round_replicas: int
    pool_skew_s: float
    chain: ChainTroubles
    network: NetworkTroubles
    storage_latency_s: float
    calm_at_s: float
    audits: bool
    """The pool audits."""
    files: bool
    """The stores are real files of SQLite, opened anew after each crash."""
    pace: Pace

    @property
    def honest(self) -> tuple[WorkerPlan, ...]:
        return tuple(worker for worker in self.workers if worker.lie is None)

    @property
    def liars(self) -> tuple[WorkerPlan, ...]:
        return tuple(worker for worker in self.workers if worker.lie is not None)

    @property
    def patience_s(self) -> float:
        """When everything that could succeed has had its time: each that stalls costs a window for seals."""
        stalling = sum(worker.lie is Fault.STALLING for worker in self.workers)
        return self.calm_at_s + (stalling + 2) * self.timeref_s + 600.0

    @property
    def enough_s(self) -> float:
        """So long after everything is calm a task needs at most, if workers enough are there.

        Some were asked before and are asked again after a pause; each that stalls costs a window for seals; every step
        on chain is believed when it is deep, and some steps wait for others.
        """
        stalling = sum(worker.lie is Fault.STALLING for worker in self.workers)
        return 180.0 + (stalling + 2) * self.timeref_s + 6 * self.confirmations * self.block_s + 4 * self.block_s

    @property
    def is_slow(self) -> bool:
        """Whether everything takes up to seconds."""
        return self.network.latency_s > 0.1

    @property
    def is_operated(self) -> bool:
        """Whether the pool's operator acts."""
        return any(isinstance(incident.fault, Part) for incident in self.incidents)

    @property
    def banned(self) -> frozenset[str]:
        """Workers that the operator bans."""
        return frozenset(incident.target for incident in self.incidents if incident.fault is Part.OPERATOR_BAN)

    def is_gone(self, name: str) -> bool:
        """True for a worker that leaves for good."""
        return any(incident.fault is Fault.WORKER_GONE and incident.target == name for incident in self.incidents)


def plan_of(seed: int) -> Plan:
    """The same seed gives the same plan, on any machine."""
    rng = random.Random(f"fairgrid/simulation/{seed}")
    timeref = rng.choice((60, 300, 300, 600))
    calm_at = rng.uniform(90.0, 300.0 if timeref > 60 else 400.0)
    workers = _workers(rng, timeref) + _more_liars(seed)
    deals = _deals(rng, calm_at, sum(1 for worker in workers if worker.lie is None))
    incidents = _incidents(rng, workers, calm_at)
    # What came later has a chance of its own: so seeds without it stay as they were.
    parts = random.Random(f"fairgrid/simulation/{seed}/parts")
    slow = rng.random() < 0.25
    latency = rng.uniform(0.5, 3.0) if slow else 0.05
    return Plan(
        seed=seed,
        workers=workers,
        deals=deals + _more_deals(parts, deals, calm_at),
        incidents=tuple(
            sorted(
                incidents + _acts(parts, workers, calm_at) + _sending_crashes(seed, workers, calm_at),
                key=lambda incident: incident.at_s,
            )
        ),
        timeref_s=timeref,
        block_s=rng.choice((1, 2, 5, 12)),
        confirmations=rng.choice((0, 0, 0, 2, 12)),
        first_round_replicas=rng.choice((1, 1, 3)),
        pool_skew_s=_skew(rng),
        chain=ChainTroubles(
            latency_s=latency / 2 if slow else 0.0,
            lost_answer=rng.choice((0.0, 0.0, 0.0, 0.2)),
            missed_event=rng.choice((0.0, 0.0, 0.0, 0.2)),
            repeated_event=rng.choice((0.0, 0.0, 0.0, 0.3)),
        ),
        network=NetworkTroubles(
            latency_s=latency,
            duplicate=rng.choice((0.0, 0.0, 0.0, 0.1)),
            reorder=rng.choice((0.0, 0.0, 0.0, 0.1)),
        ),
        storage_latency_s=latency,
        calm_at_s=calm_at,
        audits=parts.random() < _SHARES[Part.AUDIT],
        files=rng.random() < 0.05,
        pace=random.Random(f"fairgrid/simulation/{seed}/pace").choice(_PACES),
    )


def _skew(rng: random.Random) -> float:
    return rng.choice((0.0, 0.0, 0.0, 0.0, -5_000.0, 86_400.0, 40.0))


def _workers(rng: random.Random, timeref: int) -> tuple[WorkerPlan, ...]:
    honest = rng.randint(2, 6)
    lies: list[Fault] = [lie for lie in LIES if rng.random() < 0.13]
    if Fault.COLLUSION in lies:
        lies += [Fault.COLLUSION] * rng.randint(0, 2)
    kinds: list[Fault | None] = [None] * honest + list(lies)
    rng.shuffle(kinds)
    fastest = rng.uniform(1.0, 10.0)
    return tuple(
        WorkerPlan(
            name=f"worker {number}",
            lie=lie,
            slots=rng.choice((1, 1, 2)),
            joins_at_s=rng.uniform(0.0, 20.0) if rng.random() < 0.7 else rng.uniform(20.0, 90.0),
            compute_s=(fastest, fastest + rng.choice((2.0, 10.0, min(50.0, timeref / 2)))),
            skew_s=_skew(rng),
            breaks=rng.choice((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.3)),
        )
        for number, lie in enumerate(kinds, 1)
    )


def _more_liars(seed: int) -> tuple[WorkerPlan, ...]:
    if seed % 7 != 5:
        return ()
    rng = random.Random(f"fairgrid/simulation/{seed}/liars")
    return tuple(
        WorkerPlan(
            name=f"liar {number}",
            lie=lie,
            slots=2,
            joins_at_s=rng.uniform(0.0, 5.0),
            compute_s=(1.0, 2.0),
            skew_s=0.0,
            breaks=0.0,
        )
        for number, lie in enumerate(rng.sample(_RARE_LIES, 2), 1)
    )


def _deals(rng: random.Random, calm_at: float, honest: int) -> tuple[DealPlan, ...]:
    deals = []
    for _ in range(rng.randint(1, 3)):
        wanted = rng.randint(1, min(honest, 4))
        deals.append(
            DealPlan(
                at_s=rng.uniform(5.0, calm_at * 0.7),
                trust=rng.choice((1, 2**wanted, rng.randint(1, 2**wanted))),
                volume=rng.choice((1, 1, 2, 3)),
            )
        )
    return tuple(sorted(deals, key=lambda deal: deal.at_s))


def _more_deals(rng: random.Random, deals: tuple[DealPlan, ...], calm_at: float) -> tuple[DealPlan, ...]:
    """Deals of the batch lane, and deals whose tasks read the results of others."""
    more: list[DealPlan] = []
    if rng.random() < _SHARES[Part.LANE]:
        at = rng.uniform(5.0, calm_at * 0.5)
        more.append(DealPlan(at_s=at, trust=rng.choice((1, 2, 3)), volume=rng.randint(2, 9), lane=True))
    if rng.random() < _SHARES[Part.DEPENDENCY]:
        reads = rng.randrange(len(deals))
        at = deals[reads].at_s + rng.uniform(1.0, 30.0)
        more.append(DealPlan(at_s=at, trust=rng.choice((1, 1, 2)), volume=rng.choice((1, 2)), reads=reads))
    return tuple(more)


def _acts(rng: random.Random, workers: tuple[WorkerPlan, ...], calm_at: float) -> tuple[Incident, ...]:
    """What the pool's operator does. Whatever is drained takes work again before the world calms down."""
    acts = []
    for part in (Part.POOL_DRAINED, Part.WORKER_DRAINED, Part.OPERATOR_BAN):
        if rng.random() >= _SHARES[part]:
            continue
        at = rng.uniform(5.0, calm_at * 0.8)
        target = "" if part is Part.POOL_DRAINED else rng.choice(workers).name
        acts.append(Incident(at_s=at, fault=part, target=target, seconds=rng.uniform(5.0, calm_at - at)))
    return tuple(acts)


def _sending_crashes(seed: int, workers: tuple[WorkerPlan, ...], calm_at: float) -> tuple[Incident, ...]:
    """Crashes whose process is back before the transaction is mined."""
    rng = random.Random(f"fairgrid/simulation/{seed}/sending")
    if rng.random() >= _SENDING_CRASHES:
        return ()
    return tuple(
        Incident(
            at_s=rng.uniform(5.0, calm_at * 0.9),
            fault=Fault.SENDING_CRASH,
            target="pool" if rng.random() < 0.7 else rng.choice(workers).name,
            seconds=rng.uniform(0.1, 1.0),
            moment=rng.choice(_MOMENTS),
        )
        for _ in range(rng.randint(1, 4))
    )


def _incidents(rng: random.Random, workers: tuple[WorkerPlan, ...], calm_at: float) -> tuple[Incident, ...]:
    incidents: list[Incident] = []
    for fault, chance in _CHANCES.items():
        if rng.random() >= chance:
            continue
        for _ in range(1 if fault is Fault.WORKER_GONE else rng.randint(1, 3)):
            at = rng.uniform(5.0, calm_at * 0.9)
            longest = calm_at - at
            target = "pool" if fault is Fault.POOL_CRASH else rng.choice(workers).name
            if fault is Fault.CHAIN_DOWN and rng.random() < 0.5:
                target = "pool"
            incidents.append(
                Incident(
                    at_s=at,
                    fault=fault,
                    target=target,
                    seconds=min(longest, rng.choice((rng.uniform(0.1, 5.0), rng.uniform(5.0, 40.0), 120.0))),
                    steps=rng.randint(1, 12),
                    depth=rng.randint(1, 12),
                    silently=rng.random() < 0.4,
                )
            )
    return tuple(sorted(incidents, key=lambda incident: incident.at_s))
