"""Workers of a simulated pool: honest ones, and adversaries that lie alone or all with one voice."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["RIGHT", "Adversaries", "Behaviour", "Member", "Population"]

RIGHT = "right"
"""The digest of the right result."""
_COMMON_LIE = "the same lie"


class Behaviour(StrEnum):
    """When an adversary lies."""

    ALWAYS = "always"
    """From its first task on, with the lie rate."""
    SLEEPER = "sleeper"
    """Honest until a pool believes it, in an established pool until the tasks that count; then with the lie rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adversaries:
    """Which part of the workers lies, and how. Shares are of 1."""

    share: float = 0.05
    colluding: bool = False
    """True: all tell the same lie about a task; False: no two agree."""
    behaviour: Behaviour = Behaviour.ALWAYS
    lie_rate: float = 1.0
    rejoins: bool = False
    """An adversary that was caught comes back at once under a new name."""


@dataclass(slots=True)
class Member:
    """One identity."""

    name: str
    bad: bool
    results: int = 0
    """Results that it gave."""


@dataclass(slots=True)
class Population:
    """``size`` workers, each its own owner; whoever leaves is replaced by one of the same kind with a new name."""

    size: int
    adversaries: Adversaries
    volatility: float
    """The chance that a worker leaves for good after a task."""
    sleep_for: int
    """So many honest results a sleeper gives first."""
    random: random.Random
    members: list[Member] = field(default_factory=list)
    awake: bool = True
    """False: sleepers are honest, however many results they gave."""
    _names: int = 0

    def __post_init__(self) -> None:
        bad = round(self.size * self.adversaries.share)
        self.members = [self._named(number < bad) for number in range(self.size)]
        self.random.shuffle(self.members)

    def draw(self) -> Member:
        return self.members[self.random.randrange(self.size)]

    def result_of(self, member: Member, task: int) -> str:
        """The digest that the member computes, or makes up, for a task."""
        member.results += 1
        rules = self.adversaries
        if not member.bad:
            return RIGHT
        if rules.behaviour is Behaviour.SLEEPER and (not self.awake or member.results <= self.sleep_for):
            return RIGHT
        if rules.colluding:
            # All of them must lie about the same tasks, or they would contradict each other.
            lies = random.Random(task * 2_654_435_761).random() < rules.lie_rate
            return _COMMON_LIE if lies else RIGHT
        return f"lie of {member.name}" if self.random.random() < rules.lie_rate else RIGHT

    def after_task(self, member: Member) -> None:
        """The member may leave."""
        if self.volatility and self.random.random() < self.volatility:
            self._replace(member)

    def caught(self, member: Member) -> None:
        """The pool no longer believes the member."""
        if member.bad and self.adversaries.rejoins:
            self._replace(member)

    def _replace(self, member: Member) -> None:
        fresh = self._named(member.bad)
        member.name, member.results = fresh.name, 0

    def _named(self, bad: bool) -> Member:
        self._names += 1
        return Member(f"{'bad' if bad else 'good'}{self._names}", bad)
