"""May the pool help this newcomer? A pure decision (decision 23): what is missing, within caps, once for each worker.

Sybils are bounded by money, not detected: a worker gets its help once, an owner and a network address a few times, and
all together no more than the day's budget. What was given is to be earned back first; the worker signs that it agrees.
A worker that says that it repays owes the stake until the chain shows that it paid it back to the sponsor's account in
the escrow (`debts_of`); who owes gets nothing more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["Debt", "DebtSums", "Grant", "Newcomer", "SponsorTerms", "debts_of", "decide"]

_DAY_S: Final = 86_400.0
_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class SponsorTerms:
    """What a pool gives. Stakes in nRLC, coins in wei of the chain; all 0: it sponsors nobody."""

    stake_nrlc: int = 0
    coins_wei: int = 0
    day_stake_nrlc: int = 0
    """Most for all newcomers of 24 hours."""
    day_coins_wei: int = 0
    per_owner: int = 1
    """Most workers of one owner, ever."""
    per_network_day: int = 3
    """Most workers of one network address (a /24, or a /56 of IPv6) in 24 hours."""
    min_fuel_per_s: int = 0
    """Least speed of the machine's own benchmark, without which nothing is given."""
    only_repaying: bool = False
    """True: a stake is given only to workers that say that they repay it."""

    @property
    def gives_anything(self) -> bool:
        return self.stake_nrlc > 0 or self.coins_wei > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """Who asks, and what it has on chain."""

    worker: str
    key: str
    """Who pays the gas: the worker itself, or the operator of its role account."""
    owner: str
    network: str
    """Of its address: a /24 of IPv4, a /56 of IPv6; all other addresses are one network."""
    deposit_nrlc: int
    """Free and locked."""
    key_wei: int
    fuel_per_s: int = 0
    agreement: str = ""
    """The key's signature of `protocol.sponsorship.agreement_message`."""
    repays: bool = False
    """It says that it pays the stake back."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a worker was given; ``at`` is the pool's local time. Its worker is the key by which it happens once."""

    worker: str
    key: str
    owner: str
    network: str
    stake_nrlc: int
    coins_wei: int
    agreement: str
    at: float
    repays: bool = False
    """Its stake is owed until it is paid back."""


@dataclass(frozen=True, slots=True)
class Debt:
    """What a worker got as its stake, and what of it came back, in nRLC."""

    given_nrlc: int
    repaid_nrlc: int

    @property
    def owed_nrlc(self) -> int:
        return self.given_nrlc - self.repaid_nrlc


@dataclass(frozen=True, slots=True)
class DebtSums:
    """What sponsored workers that agreed to repay owe and repaid altogether, in nRLC."""

    debtors: int = 0
    """Workers that owe something still."""
    owed_nrlc: int = 0
    repaid_nrlc: int = 0

    @classmethod
    def of(cls, debts: Iterable[Debt]) -> DebtSums:
        """Added up."""
        told = list(debts)
        return cls(
            debtors=sum(debt.owed_nrlc > 0 for debt in told),
            owed_nrlc=sum(debt.owed_nrlc for debt in told),
            repaid_nrlc=sum(debt.repaid_nrlc for debt in told),
        )


def debts_of(
    given: Sequence[Grant], received: Mapping[str, int], *, undelivered: Collection[str] = ()
) -> dict[str, Debt]:
    """What each worker owes that agreed to repay; never less than nothing. ``received`` is what each worker paid to the
    sponsor's account in all; workers whose stake was refused by the chain (``undelivered``) owe nothing.
    """
    return {
        grant.worker: Debt(grant.stake_nrlc, min(received.get(grant.worker, 0), grant.stake_nrlc))
        for grant in given
        if grant.repays and grant.stake_nrlc and grant.worker not in undelivered
    }


def decide(
    terms: SponsorTerms,
    newcomer: Newcomer,
    given: Sequence[Grant],
    now: float,
    *,
    restored_at: float | None = None,
    received: Mapping[str, int] = _NOTHING,
    undelivered: Collection[str] = (),
) -> Grant | str:
    """What to give ``newcomer``, or the sentence that says why nothing. ``given`` are all grants so far, ``received``
    and ``undelivered`` as for `debts_of`.

    ``restored_at``: when the pool's database was restored from a backup; grants of the time before may be missing. The
    day's budget then counts as used up for a day, and who has anything may have it from this pool.
    """
    if not terms.gives_anything:
        return "This pool does not sponsor newcomers."
    if any(grant.worker == newcomer.worker for grant in given):
        return "This worker was sponsored before."
    if restored_at is not None and (unsure := _unsure(newcomer, restored_at, now)):
        return unsure
    if newcomer.fuel_per_s < max(terms.min_fuel_per_s, 1):
        return (
            f"The machine's benchmark says {newcomer.fuel_per_s} fuel a second; this pool sponsors from "
            f"{max(terms.min_fuel_per_s, 1)} on. Start the worker with --benchmark."
        )
    debts = debts_of(given, received, undelivered=undelivered)
    for grant in given:
        owes = debts[grant.worker].owed_nrlc if grant.worker in debts else 0
        if owes and (grant.owner == newcomer.owner or grant.key == newcomer.key):
            return (
                f"The worker {grant.worker} of this owner still owes {owes} nRLC of the {grant.stake_nrlc} that it was "
                f"given; this pool gives more when that is repaid."
            )
    stake = terms.stake_nrlc if newcomer.deposit_nrlc < terms.stake_nrlc else 0
    if stake and terms.only_repaying and not newcomer.repays:
        return "This pool gives a stake only to workers that repay it. Update this worker: newer releases do."
    coins = terms.coins_wei if newcomer.key_wei < terms.coins_wei else 0
    if not stake and not coins:
        return "This worker has coins and deposit enough to begin."
    return _beyond_a_cap(terms, newcomer, given, now, stake, coins) or Grant(
        worker=newcomer.worker,
        key=newcomer.key,
        owner=newcomer.owner,
        network=newcomer.network,
        stake_nrlc=stake,
        coins_wei=coins,
        agreement=newcomer.agreement,
        at=now,
        repays=newcomer.repays and stake > 0,
    )


def _unsure(newcomer: Newcomer, restored_at: float, now: float) -> str:
    if now < restored_at + _DAY_S:
        hours = (restored_at + _DAY_S - now) / 3_600
        return (
            f"This pool was restored from a backup and does not know what it gave before; it helps newcomers again in "
            f"{hours:.0f} h."
        )
    if newcomer.deposit_nrlc or newcomer.key_wei:
        return (
            "This pool was restored from a backup and cannot tell whether it helped this worker before: it helps only "
            "those who have neither coins nor deposit."
        )
    return ""


def _beyond_a_cap(
    terms: SponsorTerms, newcomer: Newcomer, given: Sequence[Grant], now: float, stake: int, coins: int
) -> str | None:
    of_owner = sum(grant.owner == newcomer.owner or grant.key == newcomer.key for grant in given)
    if of_owner >= terms.per_owner:
        return f"This pool sponsored {of_owner} worker(s) of this owner; its limit is {terms.per_owner}."
    # A clock that was set back must not open the budget again: what is in the future counts as of today.
    today = [grant for grant in given if grant.at > now - _DAY_S]
    of_network = sum(grant.network == newcomer.network for grant in today)
    if of_network >= terms.per_network_day:
        return (
            f"This pool sponsored {of_network} worker(s) from this network today; its limit is {terms.per_network_day}."
        )
    stake_left = terms.day_stake_nrlc - sum(grant.stake_nrlc for grant in today)
    coins_left = terms.day_coins_wei - sum(grant.coins_wei for grant in today)
    if stake > stake_left or coins > coins_left:
        return "This pool's budget for newcomers is used up for today. Ask again tomorrow."
    return None
