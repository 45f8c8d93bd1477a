"""A worker's figures for Prometheus: read from the worker itself when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fairgrid.worker.core.held import Phase
from fairgrid.worker.owner.availability import Availability

__all__ = ["Measured", "WorkerMeter"]

_ENDS = ("completed", "failed", "split", "aborted", "handed_back", "other")


class Measured(Protocol):
    """What is asked of a worker; `fairgrid.worker.agent.WorkerAgent` answers."""

    @property
    def tally(self) -> Mapping[str, int]:
        """How often what happened, by the names that `WorkerMeter` reads."""
        ...

    @property
    def held_phases(self) -> Iterable[Phase]:
        """The phase of every task that is held."""
        ...

    @property
    def is_enrolled(self) -> bool: ...
    @property
    def free_slots(self) -> int: ...
    @property
    def verdict(self) -> Availability | None:
        """What the owner's rules say; None where there are none."""
        ...

    @property
    def is_suspended(self) -> bool: ...


class WorkerMeter:
    """Figures of one worker's process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._measured: Measured | None = None
        registry.register(_AtWork(self))

    @property
    def measured(self) -> Measured | None:
        """The worker; None while there is none."""
        return self._measured

    @contextmanager
    def measuring(self, measured: Measured) -> Iterator[None]:
        """Tell of ``measured`` while the block runs."""
        self._measured = measured
        try:
            yield
        finally:
            self._measured = None


class _AtWork(Collector):
    def __init__(self, meter: WorkerMeter) -> None:
        self._meter = meter

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        worker = self._meter.measured
        if worker is None:
            return
        tally = worker.tally
        yield _gauge("enrolled", "1 while the pool knows this worker.", worker.is_enrolled)
        yield _gauge("slots_free", "Tasks that it could take now.", worker.free_slots)
        held = GaugeMetricFamily("fairgrid_worker_held", "Tasks that it holds, by phase.", labels=("phase",))
        phases = list(worker.held_phases)
        for phase in Phase:
            held.add_metric((phase.value,), phases.count(phase))
        yield held
        yield _counter("leases", "Leases that it was given.", tally.get("leases", 0))
        yield _counter("jobs", "Tasks that it computed to a result.", tally.get("jobs", 0))
        yield _counter("job_failures", "Tasks that it could not compute or did not want.", tally.get("job_failures", 0))
        yield _counter("compute_seconds", "Time that its jobs ran.", tally.get("compute_ms", 0) / 1000)
        yield _counter("cpu_seconds", "Processor time of its jobs.", tally.get("cpu_ms", 0) / 1000)
        through = "Bytes that jobs with network sent and received."
        yield _counter("job_network_bytes", through, tally.get("job_network_bytes", 0))
        yield _counter("cells", "Cells of its engine that ended with an outcome.", tally.get("cells", 0))
        queued_s, ran_s = tally.get("cell_queued_ms", 0) / 1000, tally.get("cell_ran_ms", 0) / 1000
        yield _counter("cell_queue_seconds", "Time that its cells waited in the engine's queue.", queued_s)
        yield _counter("cell_run_seconds", "Time that its cells ran on the engine's nodes.", ran_s)
        yield _counter("uploads", "Results that it uploaded.", tally.get("uploads", 0))
        yield _counter("upload_failures", "Uploads that failed.", tally.get("upload_failures", 0))
        yield _counter("uploaded_bytes", "Bytes of the results that it uploaded.", tally.get("uploaded_bytes", 0))
        yield _counter("earned_nrlc", "What tasks that are over brought, in nRLC.", tally.get("earned_nrlc", 0))
        yield _by_label("tasks_ended", "Tasks that it let go, by how they ended.", "outcome", "ended/", _ENDS, tally)
        yield _counter("cache_hits", "Inputs that were in the cache.", tally.get("cache_hits", 0))
        yield _counter("cache_misses", "Inputs that were fetched.", tally.get("cache_misses", 0))
        yield _counter("fetched_bytes", "Bytes of the inputs that were fetched.", tally.get("fetched_bytes", 0))
        yield _counter("disconnections", "How often the pool's connection was lost.", tally.get("disconnections", 0))
        yield from _rules(worker, tally)


def _rules(worker: Measured, tally: Mapping[str, int]) -> Iterable[Metric]:
    verdict = worker.verdict
    if verdict is None:
        return
    yield _gauge("suspended", "1 while its jobs stand still.", worker.is_suspended)
    broken = GaugeMetricFamily(
        "fairgrid_worker_rule_broken", "1 for each of the owner's rules that forbids work now.", labels=("rule",)
    )
    for rule in verdict.rules:
        broken.add_metric((rule.name,), not rule.allowed)
    yield broken
    names = sorted(name.removeprefix("paused/") for name in tally if name.startswith("paused/"))
    text = "How often jobs were suspended, by the owner's rule that asked for it."
    yield _by_label("pauses", text, "rule", "paused/", names, tally)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"fairgrid_worker_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"fairgrid_worker_{name}", text, value=value)


def _by_label(name: str, text: str, label: str, prefix: str, values: Iterable[str], tally: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"fairgrid_worker_{name}", text, labels=(label,))
    for value in values:
        family.add_metric((value,), tally.get(prefix + value, 0))
    return family
