"""What the chain says of one task, and what follows from it alone: weights, winners, who revealed."""

from __future__ import annotations

from msgspec import Struct

from fairgrid.protocol.hexes import ZERO32
from fairgrid.protocol.views import ContributionStatus, TaskStatus

__all__ = ["ChainFacts", "SeenContribution"]


class SeenContribution(Struct, frozen=True, gc=False, omit_defaults=True):
    """A contribution on chain; ``weight`` is the worker's exact weight (2 for a newcomer), not its logarithm."""

    worker: str
    result_hash: str
    weight: int
    status: ContributionStatus = ContributionStatus.CONTRIBUTED


class ChainFacts(Struct, frozen=True, gc=False, omit_defaults=True):
    """What the chain says of a task, as far as the scheduler has seen it."""

    status: TaskStatus = TaskStatus.UNSET
    consensus_value: str = ZERO32
    reveal_deadline: int = 0
    result_digest: str = ZERO32
    contributions: tuple[SeenContribution, ...] = ()

    def contribution(self, worker: str) -> SeenContribution | None:
        for seen in self.contributions:
            if seen.worker == worker:
                return seen
        return None

    def with_contribution(self, added: SeenContribution) -> ChainFacts:
        """These facts with ``added`` in the place of what the same worker had before."""
        if any(seen.worker == added.worker for seen in self.contributions):
            kept = tuple(added if seen.worker == added.worker else seen for seen in self.contributions)
        else:
            kept = (*self.contributions, added)
        # Written out: `dataclasses.replace` takes several times as long, and every event of the chain comes here.
        return ChainFacts(self.status, self.consensus_value, self.reveal_deadline, self.result_digest, kept)

    def with_status(self, status: TaskStatus) -> ChainFacts:
        """These facts with a later status; themselves if they are as late already."""
        if status <= self.status:
            return self
        return ChainFacts(status, self.consensus_value, self.reveal_deadline, self.result_digest, self.contributions)

    def groups(self, ahead: tuple[SeenContribution, ...] = ()) -> dict[str, int]:
        """The weight of each contributed result: the product of its contributors' weights; ``ahead`` counts as well."""
        products: dict[str, int] = {}
        for seen in (*self.contributions, *ahead):
            if seen.status is not ContributionStatus.REJECTED:
                products[seen.result_hash] = products.get(seen.result_hash, 1) * seen.weight
        return products

    def winners(self) -> tuple[SeenContribution, ...]:
        """Who agrees with the consensus, in the order of the chain."""
        return tuple(
            seen
            for seen in self.contributions
            if seen.result_hash == self.consensus_value and seen.status is not ContributionStatus.REJECTED
        )

    @property
    def is_revealed(self) -> bool:
        """Whether anybody revealed."""
        for seen in self.contributions:
            if seen.status is ContributionStatus.PROVED:
                return True
        return False

    @property
    def has_revealed_winner(self) -> bool:
        """Whether a contribution that agrees with the consensus was revealed: the hub finalizes no task before."""
        for seen in self.contributions:
            if seen.status is ContributionStatus.PROVED and seen.result_hash == self.consensus_value:
                return True
        return False

    def revealed(self) -> tuple[SeenContribution, ...]:
        return tuple(seen for seen in self.contributions if seen.status is ContributionStatus.PROVED)
