"""The pool's figures for Prometheus. What happens often is counted a batch at a time, the rest when it is asked for."""

from __future__ import annotations

import time
from collections import Counter as Count
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fairgrid.pool.core.instructions import SendLease
from fairgrid.pool.core.phases import ReplicaPhase
from fairgrid.pool.core.replica import Replica
from fairgrid.pool.core.sponsoring import DebtSums
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.observability.numbers import PoolNumbers
from fairgrid.pool.onchain.gas_money import GasMoney
from fairgrid.pool.records.rows import Commit

__all__ = ["Measured", "PoolMeter"]

_FAST_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SLOW_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_ENDINGS = ("completed: ", "failed: ", "split: ")
_LEASE_KINDS = ("first", "replacement", "copy", "arbiter")
_LEASE_ENDS = ("late", "lost", "declined", "given_up", "dismissed", "banned")
_AUDIT_ENDS = ("agreed", "wrong", "unopened", "undecided", "consensus_disproved")
_TRANSACTION_ENDS = ("signed", "replaced", "mined", "reverted", "lost", "given_up")


class Measured(Protocol):
    """What is asked of a pool that is at work; `fairgrid.pool.observability.figures.PoolFigures` answers."""

    def numbers(self) -> PoolNumbers: ...
    def now(self) -> float: ...

    @property
    def tally(self) -> Mapping[str, int]: ...
    @property
    def transactions_tally(self) -> Mapping[str, int]: ...
    @property
    def refusals(self) -> Mapping[str, int]: ...
    @property
    def gas_money(self) -> GasMoney: ...
    @property
    def debts(self) -> DebtSums: ...
    @property
    def rpc_calls(self) -> Mapping[str, int]: ...
    @property
    def transactions_under_way(self) -> int: ...
    @property
    def chain_time(self) -> int: ...
    @property
    def chain_silence_s(self) -> float: ...
    @property
    def reorganisations(self) -> int: ...
    @property
    def queued_events(self) -> int: ...
    @property
    def connected(self) -> int: ...


class PoolMeter:
    """Figures of one process of a pool, over all terms in which it leads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._measured: Measured | None = None
        self._leads = Gauge(
            "fairgrid_pool_leads", "1 while this process schedules, 0 while it stands by.", registry=registry
        )
        self._events = Counter("fairgrid_pool_events", "Events that the scheduler took.", ("kind",), registry=registry)
        self._of_kind: dict[type, Counter] = {}
        """Found once: most groups are one heartbeat."""
        self._instructions = Counter(
            "fairgrid_pool_instructions", "What the scheduler decided.", ("kind",), registry=registry
        )
        self._leases = Counter("fairgrid_pool_leases", "Leases that were given, by why.", ("why",), registry=registry)
        for why in _LEASE_KINDS:
            self._leases.labels(why)
        self._finished = Counter(
            "fairgrid_pool_tasks_finished", "Tasks that came to their end on chain.", ("phase",), registry=registry
        )
        self._dispatch = Histogram(
            "fairgrid_pool_dispatch_seconds",
            "From the moment that a task could be leased to its first lease.",
            buckets=_SLOW_S,
            registry=registry,
        )
        self._compute = Histogram(
            "fairgrid_pool_replica_seconds", "From a lease to its seal.", buckets=_SLOW_S, registry=registry
        )
        self._commit = Histogram(
            "fairgrid_pool_commit_seconds",
            "Time of one commit of the database, with all that came in meanwhile.",
            buckets=_FAST_S,
            registry=registry,
        )
        registry.register(_AtWork(self))

    @property
    def measured(self) -> Measured | None:
        """The pool at work; None while this process stands by."""
        return self._measured

    @contextmanager
    def measuring(self, measured: Measured) -> Iterator[None]:
        """Tell of ``measured`` while the block runs."""
        self._measured = measured
        self._leads.set(1)
        try:
            yield
        finally:
            self._measured = None
            self._leads.set(0)

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Time one commit."""
        began = time.perf_counter()
        yield
        self._commit.observe(time.perf_counter() - began)

    def took(self, batch: Iterable[object], commit: Commit, tasks: Mapping[str, TaskState]) -> None:
        """Count a batch of events and what it led to."""
        for event in batch:
            kind = type(event)
            if kind not in self._of_kind:
                self._of_kind[kind] = self._events.labels(kind.__name__)
            self._of_kind[kind].inc()
        if not commit.instructions and not commit.lines:
            return
        for made, count in Count(map(type, commit.instructions)).items():
            self._instructions.labels(made.__name__).inc(count)
        for instruction in commit.instructions:
            if type(instruction) is SendLease and instruction.task_id in tasks:
                self._leased(tasks[instruction.task_id], instruction.lease_id, commit.at)
        finished: Count[str] = Count()
        for line in commit.lines:
            text = line.text
            # The story's own words: `Book.enter` begins them with the phase.
            if text.startswith(_ENDINGS):
                finished[text.partition(":")[0]] += 1
            elif text.startswith("A seal of round"):
                task = tasks.get(line.task_id)
                replica = task.replica_of(line.worker) if task is not None else None
                if replica is not None and replica.sealed_at:
                    self._compute.observe(max(replica.sealed_at - replica.leased_at, 0.0))
        for phase, count in finished.items():
            self._finished.labels(phase).inc(count)

    def _leased(self, task: TaskState, lease_id: str, at: float) -> None:
        replica = task.replica(lease_id)
        # A worker that comes back is sent the same lease again: that one was given before this batch began.
        if replica is None or replica.leased_at < at:
            return
        self._leases.labels(_kind_of(task, replica)).inc()
        if task.round_opened_at and replica is next(r for r in task.replicas if r.round == replica.round):
            self._dispatch.observe(max(replica.leased_at - task.round_opened_at, 0.0))


def _kind_of(task: TaskState, replica: Replica) -> str:
    if replica.arbiter:
        return "arbiter"
    if replica.stands_for:
        return "copy"
    ended = {ReplicaPhase.LATE, ReplicaPhase.LOST, ReplicaPhase.DECLINED, ReplicaPhase.GIVEN_UP, ReplicaPhase.BANNED}
    return "replacement" if any(other.phase in ended for other in task.replicas) else "first"


class _AtWork(Collector):
    """What is read from the pool itself when somebody asks."""

    def __init__(self, meter: PoolMeter) -> None:
        self._meter = meter

    def describe(self) -> Iterable[Metric]:
        return ()  # Registering must not ask a pool that is not there yet.

    def collect(self) -> Iterable[Metric]:
        pool = self._meter.measured
        if pool is None:
            return
        numbers = pool.numbers()
        yield _by_label("workers", "Connected workers by state.", "state", numbers.workers)
        yield _gauge("owners", "Owners of connected workers.", numbers.owners)
        yield _gauge("slots", "Tasks that the connected workers could compute at once.", numbers.slots)
        yield _gauge("slots_free", "Slots that are free.", numbers.free_slots)
        yield _by_label("tasks", "Tasks in memory by phase.", "phase", numbers.tasks)
        yield _gauge("tasks_unbegun", "Tasks of accepted deals that have not begun.", numbers.unbegun_tasks)
        yield _gauge("tasks_waiting", "Tasks that have begun and lack a worker.", numbers.waiting_tasks)
        yield _gauge("queue_age_seconds", "How long the longest of all has waited.", numbers.oldest_wait_s)
        yield _gauge("deals", "Deals of which something is still expected.", numbers.deals)
        yield _gauge("leases_out", "Replicas that compute now.", numbers.leases)
        yield _gauge("workers_known", "Workers of which the pool has a record.", numbers.known_workers)
        yield _gauge("workers_quarantined", "Known workers in quarantine.", numbers.quarantined)
        yield _gauge("banned", "Addresses that are banned.", numbers.banned)
        yield _gauge("owed_nrlc", "What the pool owes workers for audits, in nRLC.", numbers.owed_nrlc)
        yield from _debts(pool.debts)
        yield _counters("lease_ends", "Replicas that ended early, by why.", "why", _LEASE_ENDS, "lease/", pool.tally)
        yield _counters("audits", "Audited replicas by outcome.", "outcome", _AUDIT_ENDS, "audit/", pool.tally)
        sent = pool.transactions_tally
        yield _counters("transactions", "Transactions by what became of them.", "fate", _TRANSACTION_ENDS, "", sent)
        yield _counter("gas", "Gas that mined transactions used.", sent.get("gas", 0))
        yield _counter("gas_spent_wei", "Coins that mined transactions cost, in wei.", sent.get("wei", 0))
        yield _gauge("transactions_under_way", "Transactions sent and not mined.", pool.transactions_under_way)
        yield from _money(pool.gas_money)
        asked = CounterMetricFamily("fairgrid_pool_rpc_calls", "What the node was asked.", labels=("method",))
        for method, count in sorted(pool.rpc_calls.items()):
            asked.add_metric((method,), count)
        yield asked
        lag = max(pool.now() - pool.chain_time, 0.0) if pool.chain_time else 0.0
        yield _gauge("chain_lag_seconds", "Age of the newest block by this machine's clock.", lag)
        yield _gauge("chain_silence_seconds", "Since the chain last answered.", pool.chain_silence_s)
        yield _counter("reorganisations", "How often the chain took events of the hub back.", pool.reorganisations)
        refused = CounterMetricFamily(
            "fairgrid_pool_refused", "Workers' connections turned away or ended, by why.", labels=("why",)
        )
        for why, count in sorted(pool.refusals.items()):
            refused.add_metric((why,), count)
        yield refused
        yield _gauge("queued_events", "Events that the scheduler has not taken yet.", pool.queued_events)
        yield _gauge("connections", "Workers' websockets.", pool.connected)


def _money(money: GasMoney) -> Iterable[Metric]:
    if money.balance_wei is not None:
        yield _gauge("balance_wei", "Coins of the pool's key, in wei.", money.balance_wei)
        left = money.transactions_left or 0
        yield _gauge("transactions_left", "For how many transactions the coins last, at today's price.", left)
        yield _gauge("balance_low", "1 when the coins last for fewer transactions than the policy wants.", money.is_low)


def _debts(debts: DebtSums) -> Iterable[Metric]:
    yield _gauge("sponsored_debtors", "Sponsored workers that owe something still.", debts.debtors)
    yield _gauge("sponsored_owed_nrlc", "What sponsored workers owe the sponsor, in nRLC.", debts.owed_nrlc)
    yield _gauge("sponsored_repaid_nrlc", "What sponsored workers repaid, in nRLC.", debts.repaid_nrlc)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"fairgrid_pool_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"fairgrid_pool_{name}", text, value=value)


def _by_label(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(f"fairgrid_pool_{name}", text, labels=(label,))
    for value, count in values.items():
        family.add_metric((value,), count)
    return family


def _counters(name: str, text: str, label: str, values: Iterable[str], prefix: str, tally: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"fairgrid_pool_{name}", text, labels=(label,))
    for value in values:
        family.add_metric((value,), tally.get(prefix + value, 0))
    return family
