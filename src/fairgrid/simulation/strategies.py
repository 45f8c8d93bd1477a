"""Ways to believe results: the pool's own policy, replication with a quorum, and BOINC's adaptive replication.

A strategy takes one task after the other and says what it accepted and how many times the task was computed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from fairgrid.pool.core.credibility import Standings
from fairgrid.pool.core.trust_policy import TrustPolicy, Verdict, judge
from fairgrid.simulation.population import Member, Population

__all__ = ["AdaptiveReplication", "Audits", "Outcome", "Replication", "Strategy"]

_MAX_DRAWS = 400
_MOST_REPLICAS = 12


@dataclass(frozen=True, slots=True)
class Outcome:
    """``accepted`` is the digest that the requester gets, empty if the task was refused and the requester refunded."""

    accepted: str
    executions: int


class Strategy(Protocol):
    def task(self, number: int, now: float) -> Outcome:
        """Have one task computed at local time ``now`` (seconds)."""
        ...


@dataclass(slots=True)
class Replication:
    """Ask until ``quorum`` results agree; at first as many as could agree at once (m-first voting)."""

    population: Population
    quorum: int

    def task(self, number: int, now: float) -> Outcome:
        accepted, asked = _vote(self.population, number, self.quorum, [])
        for member, _ in asked:
            self.population.after_task(member)
        return Outcome(accepted, len(asked))


@dataclass(slots=True)
class AdaptiveReplication:
    """BOINC's rule: a host with n ≥ ``proven_after`` valid results in a row is believed alone with chance 1 - 1/n.

    Every other result needs a second one that agrees. A result that is believed alone counts as valid.
    """

    population: Population
    proven_after: int = 10
    _in_a_row: dict[str, int] = field(default_factory=dict)

    def task(self, number: int, now: float) -> Outcome:
        first = self.population.draw()
        result = self.population.result_of(first, number)
        row = self._in_a_row.get(first.name, 0)
        alone = row >= self.proven_after and self.population.random.random() >= 1 / row
        if alone:
            accepted, asked = result, [(first, result)]
        else:
            accepted, asked = _vote(self.population, number, 2, [(first, result)])
        for member, said in asked:
            self._in_a_row[member.name] = self._in_a_row.get(member.name, 0) + 1 if said == accepted else 0
            self.population.after_task(member)
        return Outcome(accepted, len(asked))


@dataclass(slots=True)
class Audits:
    """What this pool does at trust 1, by the classes that its scheduler uses: `TrustPolicy`, `Standings`, `judge`."""

    population: Population
    policy: TrustPolicy
    standings: Standings = field(init=False)

    def __post_init__(self) -> None:
        self.standings = Standings(self.policy)

    def task(self, number: int, now: float) -> Outcome:
        population, standings = self.population, self.standings
        parts: list[tuple[Member, str]] = []
        first = self._draw(now, parts)
        parts.append((first, population.result_of(first, number)))
        if self.policy.extra_replicas(standings.of(first.name, first.name), population.random.random()):
            second = self._draw(now, parts)
            parts.append((second, population.result_of(second, number)))
            # The one of better standing contributes; the other is the auditor.
            if self._row(second) > self._row(first):
                parts.reverse()
        consensus = parts[0][1]
        verdict, right = judge(consensus, [said for _, said in parts[1:]])
        while verdict is Verdict.UNDECIDED and len(parts) < 2 + self.policy.max_arbiters:
            arbiter = self._draw(now, parts, proven=True)
            parts.append((arbiter, population.result_of(arbiter, number)))
            verdict, right = judge(consensus, [said for _, said in parts[1:]])
        self._learn(parts, verdict, right, now)
        return Outcome("" if verdict is Verdict.DISPROVED else consensus, len(parts))

    def _learn(self, parts: list[tuple[Member, str]], verdict: Verdict, right: str, now: float) -> None:
        for member, said in parts:
            name = member.name
            if verdict is Verdict.UNDECIDED:
                continue
            if said == right:
                self.standings.valid(name, name)
                self.population.after_task(member)
            else:
                self.standings.disproved(name, name, now)
                self.population.caught(member)

    def _row(self, member: Member) -> int:
        return self.standings.of(member.name, member.name).valid_in_a_row

    def _draw(self, now: float, taken: list[tuple[Member, str]], *, proven: bool = False) -> Member:
        """Somebody who may have the task; proven ones if asked for and there are some."""
        names = {member.name for member, _ in taken}
        fallback: Member | None = None
        for _ in range(_MAX_DRAWS):
            member = self.population.draw()
            if member.name in names or not self.standings.may_lease(member.name, member.name, now):
                continue
            if not proven or not self.standings.is_newcomer(member.name, member.name):
                return member
            fallback = fallback or member
        if fallback is not None:
            return fallback
        # Everybody is in quarantine: the pool waits, and then somebody is not.
        return next(member for member in self.population.members if member.name not in names)


def _vote(
    population: Population, number: int, quorum: int, asked: list[tuple[Member, str]]
) -> tuple[str, list[tuple[Member, str]]]:
    """Ask until ``quorum`` agree; if nobody ever does, the most frequent result is taken."""
    while True:
        best, count = Counter(said for _, said in asked).most_common(1)[0] if asked else ("", 0)
        if count >= quorum or len(asked) >= max(_MOST_REPLICAS, quorum):
            return best, asked
        names = {member.name for member, _ in asked}
        member = population.draw()
        while member.name in names:
            member = population.draw()
        asked.append((member, population.result_of(member, number)))
