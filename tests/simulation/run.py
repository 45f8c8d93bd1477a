"""Run seeds, here or on every core, and say what came of them."""

from __future__ import annotations

import collections
import concurrent.futures
import gc
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.simulation.faults import Fault, Part
from tests.simulation.plan import plan_of
from tests.simulation.world import Happening, Simulation

__all__ = [
    "REGRESSIONS",
    "Report",
    "on_all_cores",
    "open_seeds",
    "regression_seeds",
    "replay_command",
    "run_seed",
    "run_seeds",
    "table_of_faults",
]

REGRESSIONS = Path(__file__).parent / "regressions.txt"
_OPEN = REGRESSIONS.with_name("open.txt")
_PATIENCE_S = 3_600.0
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Report:
    """What came of one seed."""

    seed: int
    violations: tuple[str, ...]
    counts: dict[Fault | Part, int]
    statuses: tuple[str, ...]
    """How each task ended."""
    seconds: float
    """Of real time."""
    virtual_s: float
    digest: str = ""
    """Of all that happened, and when: the same for the same seed, on any machine."""
    trace: tuple[Happening, ...] = ()


def run_seed(seed: int, *, trace: bool = False) -> Report:
    """Simulate one seed, from plan to checks."""
    started = time.monotonic()
    # Nothing of a run is garbage before its end: looking for it, over and over, would take a fifth of the time.
    gc.disable()
    try:
        simulation = Simulation(plan_of(seed), trace=trace).run()
    finally:
        gc.enable()
    model = simulation.chain.model
    return Report(
        seed=seed,
        violations=tuple(simulation.violations),
        counts=dict(simulation.counter.counts),
        statuses=tuple(model.view_task(task).status.name for task in simulation.unit_ids()),
        seconds=time.monotonic() - started,
        virtual_s=simulation.ended_at_s,
        digest=simulation.digest,
        trace=tuple(simulation.trace),
    )


def run_seeds(seeds: Iterable[int]) -> Iterator[Report]:
    """Simulate many seeds on all cores; reports come as they are done."""
    yield from on_all_cores(run_seed, seeds)


def on_all_cores(run: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Run it for each item, in a process for each core; results come as they are done."""
    processes = max(1, len(os.sched_getaffinity(0)))
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as pool:
        try:
            for done in concurrent.futures.as_completed([pool.submit(run, item) for item in items], _PATIENCE_S):
                yield done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def replay_command(seed: int, bug: str = "") -> str:
    """What to type to see a seed again, with all that happens in it."""
    with_bug = f" --bug '{bug}'" if bug else ""
    return f".venv/bin/python -m tests.simulation {seed}{with_bug}"


def regression_seeds() -> tuple[int, ...]:
    """Seeds that found a real bug once."""
    lines = (line.split("#")[0].strip() for line in REGRESSIONS.read_text().splitlines())
    return tuple(int(line) for line in lines if line)


def open_seeds() -> tuple[int, ...]:
    """Seeds whose finding is known and not mended yet; each says why."""
    lines = (line.split("#")[0].strip() for line in _OPEN.read_text().splitlines())
    return tuple(int(line) for line in lines if line)


def table_of_faults(reports: Iterable[Report]) -> tuple[str, dict[Fault | Part, float]]:
    """How often each fault and each part happened: a table to print, and the share of seeds (0 to 1) that saw it."""
    seen: collections.Counter[Fault | Part] = collections.Counter()
    times: collections.Counter[Fault | Part] = collections.Counter()
    count = 0
    for report in reports:
        count += 1
        times.update(report.counts)
        seen.update(report.counts.keys())
    kinds: tuple[Fault | Part, ...] = (*Fault, *Part)
    shares = {kind: seen[kind] / max(count, 1) for kind in kinds}
    lines = [f"{kind.value:40} {shares[kind]:6.1%} of seeds, {times[kind]:7} times" for kind in kinds]
    return "\n".join(lines), shares
