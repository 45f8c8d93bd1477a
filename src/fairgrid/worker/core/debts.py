"""What a worker owes the pool that sponsored it, and how much of it is paid next: pure.

A pool may be hostile. So nothing is owed on its word: the stake must have come, after this worker asked for it, from
the very account that is to be repaid, and no more is ever paid than came. What was agreed once is not changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fairgrid.chain.interface import ChainEvent, Receipt
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.pool_messages import Sponsored

__all__ = ["MOST_PAYMENTS", "Debt", "Repay", "fault_of_claim", "given_by", "next_payment", "verified"]

MOST_PAYMENTS: Final = 4
"""A stake is paid back in no more payments: each costs gas."""


class Repay(StrEnum):
    """How the owner lets a stake be paid back (``repay`` in the worker's policy)."""

    EARNINGS = "earnings"
    """From what the worker earned at that pool since, all of it until nothing is owed."""
    DEPOSIT = "deposit"
    """At once, from all of the deposit that no task needs now."""
    NEVER = "never"
    """Not by itself: the owner pays, or does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Debt:
    """What one workerpool gave, as far as it is known. Amounts in nRLC."""

    workerpool: str
    asked_block: int
    """The newest block when the worker asked: what was given before is no answer to it."""
    earned_before: int
    """What it had earned there when it asked."""
    sponsor: str = ""
    """Who is to be repaid; empty: the pool has not answered."""
    deposit_tx: str = ""
    claimed_nrlc: int = 0
    """What the pool says that is owed."""
    given_nrlc: int = 0
    """What is owed, repaid or not; 0 until the chain shows that it came."""
    given_block: int = 0
    repaid_nrlc: int = 0
    """What the chain showed as repaid when it was read last."""
    pool_counts_nrlc: int = 0
    """What the pool said last that it has seen of it."""
    is_settled: bool = False
    """All is repaid, so deep that no reorganisation is expected to take it back."""
    refusal: str = ""
    """Why the pool's claim is not accepted."""

    @property
    def owed_nrlc(self) -> int:
        """What is still to be paid."""
        return max(self.given_nrlc - self.repaid_nrlc, 0)

    @property
    def is_agreed(self) -> bool:
        """True once the chain showed that the stake came."""
        return self.given_nrlc > 0


def fault_of_claim(debt: Debt, claim: Sponsored, *, own: Sequence[str]) -> str:
    """Why a pool's claim is refused; empty if it may be held against the chain.

    ``own`` are addresses that cannot have given anything: the worker, its key, the hub.
    """
    sponsor, owed, deposit_tx = claim.sponsor, claim.owed_nrlc, claim.deposit_tx
    if sponsor is None or owed is None or deposit_tx is None:
        return "The pool names a debt without saying to whom, how much, and by which transaction it was given."
    if sponsor.lower() in {address.lower() for address in (ZERO_ADDRESS, *own)}:
        return f"The pool wants its stake repaid to {sponsor}, which cannot have given it. Nothing is paid."
    if owed > claim.stake_nrlc:
        return f"The pool wants {owed} nRLC repaid and gave {claim.stake_nrlc}. Nothing is paid."
    if debt.is_agreed and (sponsor.lower(), owed, deposit_tx) != (
        debt.sponsor.lower(),
        debt.given_nrlc,
        debt.deposit_tx,
    ):
        return (
            f"The pool now wants {owed} nRLC repaid to {sponsor} (transaction {deposit_tx}); agreed are "
            f"{debt.given_nrlc} nRLC to {debt.sponsor}. That stays as it is."
        )
    return ""


def given_by(receipt: Receipt, *, sponsor: str, worker: str, hub: str, rlc: str) -> int:
    """What ``sponsor`` itself gave to the worker's deposit in this transaction, in nRLC: out of its own account in the
    escrow, or by tokens of its own that were deposited for the worker."""

    def sums(address: str, sender: str, recipient: str) -> int:
        return sum(
            event.arguments["value"] for event in receipt.events if _is_payment(event, address, sender, recipient)
        )

    if not receipt.succeeded:
        return 0
    return sums(hub, sponsor, worker) + min(sums(hub, ZERO_ADDRESS, worker), sums(rlc, sponsor, hub))


def _is_payment(event: ChainEvent, address: str, sender: str, recipient: str) -> bool:
    given = event.arguments
    # Entries of registries are transferred as well: they have no value.
    return (event.name, event.address, given.get("from"), given.get("to")) == (
        "Transfer",
        address,
        sender,
        recipient,
    ) and "value" in given


def verified(debt: Debt, receipt: Receipt, given_nrlc: int) -> int | str:
    """What is owed by the transaction that the pool named, or why nothing is."""
    if receipt.block.number <= debt.asked_block:
        return (
            f"The transaction {debt.deposit_tx} is older than this worker's request (block {receipt.block.number}; it "
            f"asked after block {debt.asked_block}): it is no answer to it, and nothing is paid by itself."
        )
    if given_nrlc < debt.claimed_nrlc:
        return (
            f"The pool wants {debt.claimed_nrlc} nRLC repaid; by the transaction {debt.deposit_tx} the account "
            f"{debt.sponsor} gave {given_nrlc}. Nothing is paid."
        )
    return debt.claimed_nrlc


def next_payment(debt: Debt, *, repaid_nrlc: int, earned_nrlc: int, spendable_nrlc: int, how: Repay) -> int:
    """What is paid now; 0: nothing. Each payment but the last is at least a quarter, so there are four at most.

    ``repaid_nrlc`` is what was paid or is under way, ``earned_nrlc`` all earnings at that pool, ``spendable_nrlc`` the
    deposit that no task needs.
    """
    left = debt.given_nrlc - repaid_nrlc
    if left <= 0 or how is Repay.NEVER:
        return 0
    earned = max(earned_nrlc - debt.earned_before - repaid_nrlc, 0)
    amount = min(left, spendable_nrlc, earned if how is Repay.EARNINGS else left)
    least = min(-(-debt.given_nrlc // MOST_PAYMENTS), left)
    return amount if amount >= least else 0
