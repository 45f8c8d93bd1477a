"""The consensus of one task (`spec/poco.md` §14): weights of agreeing contributions multiply, groups add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from fairgrid.protocol.trust import consensus_reached

__all__ = ["ConsensusState"]


@dataclass(frozen=True, slots=True)
class ConsensusState:
    """Groups by result hash, and ``total`` = 1 + their sum. A value: every change gives a new state."""

    groups: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    total: int = 1

    def group(self, result_hash: str) -> int:
        """The product of the weights of those who contributed ``result_hash``; 0 if nobody did."""
        return self.groups.get(result_hash, 0)

    def add(self, result_hash: str, weight: int) -> ConsensusState:
        """The state after one more contribution of ``weight`` (a `worker_weight`)."""
        group = self.group(result_hash)
        delta = max(group, 1) * weight - group
        return self._with(result_hash, group + delta, self.total + delta)

    def without(self, result_hash: str) -> ConsensusState:
        """The state after the task was reopened: what had won counts no more."""
        return self._with(result_hash, 0, self.total - self.group(result_hash))

    def reached(self, result_hash: str, trust: int) -> bool:
        """True if ``result_hash`` wins at ``trust``. The chain asks only about the group that just grew."""
        return consensus_reached(self.group(result_hash), self.total, trust)

    def __deepcopy__(self, memo: dict[int, object]) -> ConsensusState:
        return self  # a value; and a mapping proxy cannot be copied

    def _with(self, result_hash: str, group: int, total: int) -> ConsensusState:
        return ConsensusState(MappingProxyType({**self.groups, result_hash: group}), total)
