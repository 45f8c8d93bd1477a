"""Claims of speed are tested, not believed: by a job whose answer the pool knows, and by the time that real work took.

A worker that fails keeps its place and its leases. What falls is its benchmark: nothing is matched or sponsored on it
until the worker connects anew and passes.
"""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass, field
from typing import Final

from fairgrid.protocol.spot_checks import BASE_FUEL, FUEL_PER_ROUND, MAX_ROUNDS, answer_of

__all__ = ["Check", "SpotChecks", "Timing", "Verdict", "implausible"]

_WANTED_S: Final = 3.0
_SLACK_FACTOR: Final = 4.0
_SLACK_S: Final = 5.0
"""Start of a process, a busy moment, the line: a claim falls only when it is far off."""
_FEWEST_TIMINGS: Final = 5
_LEAST_ROUNDS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Check:
    """One question. ``claimed`` is the fuel a second that it tests; ``asked_at`` the pool's local time."""

    check_id: str
    worker: str
    seed: int
    rounds: int
    claimed: int
    asked_at: float

    @property
    def expected_s(self) -> float:
        """How long it takes at the claimed speed."""
        return (BASE_FUEL + FUEL_PER_ROUND * self.rounds) / self.claimed

    @property
    def allowed_s(self) -> float:
        return self.expected_s * _SLACK_FACTOR + _SLACK_S


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a check ended; ``text`` has the numbers."""

    worker: str
    passed: bool
    text: str


@dataclass(frozen=True, slots=True)
class Timing:
    """How long two workers took for one task, from lease to seal by the pool's own clock, and what each claims."""

    own_s: float
    other_s: float
    own_claim: int
    other_claim: int


def implausible(timings: list[Timing]) -> str:
    """Why real work contradicts a claim; empty while it does not, or too little is known.

    Two workers take for the same task times in the inverse ratio of their speeds. A worker whose times, compared with
    many others, are four times what its claim says has claimed too much.
    """
    usable = [timing for timing in timings if min(timing.own_claim, timing.other_claim) > 0 and timing.other_s > 0]
    if len(usable) < _FEWEST_TIMINGS:
        return ""
    ratios = [(timing.own_s * timing.own_claim) / (timing.other_s * timing.other_claim) for timing in usable]
    middle = statistics.median(ratios)
    if middle <= _SLACK_FACTOR:
        return ""
    return f"In {len(usable)} tasks it took {middle:.1f} times as long as its claim says, compared with others."


@dataclass(slots=True)
class SpotChecks:
    """Which workers were tested when; `due`, `ask` and `judge` are called by the pool's rim."""

    every_s: float
    """Seconds between two checks of a worker that passed; a failed one is due again after a tenth of that."""
    draw: random.Random = field(default_factory=random.SystemRandom)
    _next: dict[str, float] = field(default_factory=dict)
    _open: dict[str, Check] = field(default_factory=dict)

    def due(self, worker: str, now: float) -> bool:
        """True when a worker may be asked now."""
        return self.every_s > 0 and worker not in self._open and now >= self._next.get(worker, 0.0)

    def ask(self, worker: str, claimed: int, now: float) -> Check:
        """A question that nobody can know before."""
        rounds = int((_WANTED_S * claimed - BASE_FUEL) / FUEL_PER_ROUND)
        check = Check(
            check_id=f"{self.draw.getrandbits(64):016x}",
            worker=worker,
            seed=self.draw.randrange(1, 1 << 61),
            rounds=max(_LEAST_ROUNDS, min(rounds, MAX_ROUNDS)),
            claimed=max(claimed, 1),
            asked_at=now,
        )
        self._open[worker] = check
        return check

    def judge(self, worker: str, check_id: str, answer: int, now: float) -> Verdict | None:
        """Take an answer; None when nothing was asked. It computes for up to half a second: use a thread."""
        check = self._open.get(worker)
        if check is None or check.check_id != check_id:
            return None
        del self._open[worker]
        took = max(now - check.asked_at, 0.0)
        if answer != answer_of(check.seed, check.rounds):
            return self._ended(check, now, passed=False, text="It answered a check of its speed wrongly.")
        numbers = f"A check took {took:.1f} s; at {check.claimed} fuel a second {check.allowed_s:.1f} s are allowed."
        return self._ended(check, now, passed=took <= check.allowed_s, text=numbers)

    def overdue(self, now: float) -> list[Verdict]:
        """Failures of those that do not answer."""
        late = [check for check in self._open.values() if now > check.asked_at + 2 * check.allowed_s]
        for check in late:
            del self._open[check.worker]
        return [self._ended(check, now, passed=False, text="It did not answer a check of its speed.") for check in late]

    def forget(self, worker: str) -> None:
        """The worker went away: its open question counts neither way."""
        self._open.pop(worker, None)

    def _ended(self, check: Check, now: float, *, passed: bool, text: str) -> Verdict:
        self._next[check.worker] = now + (self.every_s if passed else self.every_s / 10)
        return Verdict(check.worker, passed, text)
