"""Experiments: a pool with adversaries, a strategy, so many tasks; what came out wrong and what it cost."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from fairgrid.errors import UsageError
from fairgrid.pool.core.trust_policy import TrustPolicy
from fairgrid.simulation.population import RIGHT, Adversaries, Population
from fairgrid.simulation.strategies import AdaptiveReplication, Audits, Replication, Strategy

__all__ = ["TARGETS", "Experiment", "Measured", "Way", "run", "ways_for"]

TARGETS = {"established": 1.10, "fresh": 2.20}
"""Most executions a task with at most 5 % independent adversaries, audits at trust 1 (decision 10)."""
_TASK_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One cell. The same seed gives the same numbers."""

    workers: int = 200
    tasks: int = 20_000
    adversaries: Adversaries = Adversaries()  # noqa: RUF009
    volatility: float = 0.0
    established: bool = True
    """True: first 50 tasks for each worker are run and not counted."""
    seed: int = 1

    def __post_init__(self) -> None:
        if self.workers < 8:
            raise UsageError(f"A pool of {self.workers} workers is too small to tell anything; take at least 8.")
        if self.tasks < 1:
            raise UsageError("At least one task must be simulated.")
        for name, value in (
            ("adversaries", self.adversaries.share),
            ("lie rate", self.adversaries.lie_rate),
            ("volatility", self.volatility),
        ):
            if not 0 <= value <= 1 or math.isnan(value):
                raise UsageError(f"The {name} is {value}; it is a share from 0 to 1.")
        if self.adversaries.share >= 1:
            raise UsageError("Not everybody can be an adversary: give a share below 1.")


@dataclass(frozen=True, slots=True)
class Way:
    """A strategy by name."""

    name: str
    make: Callable[[Population], Strategy]


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of an experiment. Rates are of 1."""

    way: str
    tasks: int
    wrong: int
    refused: int
    executions: int

    @property
    def accepted(self) -> int:
        return self.tasks - self.refused

    @property
    def wrong_rate(self) -> float:
        """Wrong among accepted results."""
        return self.wrong / self.accepted if self.accepted else 0.0

    @property
    def refused_rate(self) -> float:
        """Tasks whose requester was refunded because the consensus was disproved."""
        return self.refused / self.tasks

    @property
    def overhead(self) -> float:
        """Executions for one accepted result."""
        return self.executions / self.accepted if self.accepted else math.inf

    @property
    def wrong_at_most(self) -> float:
        """Upper end of the 95 % interval (Wilson) of the wrong rate: what a zero in so many tasks can promise."""
        n, p, z = max(self.accepted, 1), self.wrong_rate, 1.96
        centre = p + z * z / (2 * n)
        spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return min((centre + spread) / (1 + z * z / n), 1.0)


def ways_for(policy: TrustPolicy, replicas: tuple[int, ...] = (2, 3)) -> tuple[Way, ...]:
    """This pool's audits, BOINC's rule, and replication with these quorums."""

    def replication(quorum: int) -> Way:
        return Way(f"{quorum} agree", lambda population: Replication(population, quorum))

    return (
        Way("audits", lambda population: Audits(population, policy)),
        Way("adaptive", lambda population: AdaptiveReplication(population, policy.proven_after)),
        *(replication(quorum) for quorum in replicas),
    )


def run(experiment: Experiment, way: Way, policy: TrustPolicy, tick: Callable[[int], None] | None = None) -> Measured:
    """Run one experiment; ``tick`` is told how many tasks are done, now and then."""
    population = Population(
        size=experiment.workers,
        adversaries=experiment.adversaries,
        volatility=experiment.volatility,
        sleep_for=policy.proven_after * 2,
        random=random.Random(f"{experiment.seed}/{way.name}"),
    )
    strategy = way.make(population)
    before = 50 * experiment.workers if experiment.established else 0
    measured = Measured(way.name, 0, 0, 0, 0)
    wrong = refused = executions = 0
    population.awake = not before
    for number in range(before + experiment.tasks):
        population.awake = population.awake or number == before
        outcome = strategy.task(number, number * _TASK_S / experiment.workers)
        if number >= before:
            wrong += outcome.accepted not in ("", RIGHT)
            refused += not outcome.accepted
            executions += outcome.executions
        if tick is not None and number % 500 == 499:
            tick(500)
    return replace(measured, tasks=experiment.tasks, wrong=wrong, refused=refused, executions=executions)
