"""Who wants to be looked at when: a heap of due moments, so that passing time costs nothing for those not yet due."""

from __future__ import annotations

import heapq

__all__ = ["Timers"]

_SMALL = 1_000


class Timers:
    """At most one due moment for each key, on a clock of any kind. Equal moments come in the order of their keys."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._due)

    def set(self, key: str, moment: float) -> None:
        """Make ``key`` due at ``moment``, unless it is due earlier anyway: being looked at too early harms nothing."""
        known = self._due.get(key)
        if known is not None and known <= moment:
            return
        self._due[key] = moment
        heapq.heappush(self._heap, (moment, key))
        if len(self._heap) > 2 * len(self._due) + _SMALL:
            self._heap = [(moment, key) for key, moment in self._due.items()]
            heapq.heapify(self._heap)

    def forget(self, key: str) -> None:
        """``key`` is due no more."""
        self._due.pop(key, None)

    def take(self, now: float) -> list[str]:
        """Those that are due at ``now``, the most overdue first; they are due no more."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            moment, key = heapq.heappop(self._heap)
            if self._due.get(key) == moment:
                del self._due[key]
                found.append(key)
        return found
