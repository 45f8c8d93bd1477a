"""What gas is offered (EIP-1559): the first offer, and the higher one of a replacement, both under the payer's caps."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FeeCaps", "FeeMarket", "Fees", "first_fees", "replacement_fees"]

_BUMP_NUMERATOR, _BUMP_DENOMINATOR = 1_125, 1_000
"""Nodes take a replacement only if both fees rise by 10 % (geth) to 12.5 % (others)."""


@dataclass(frozen=True, slots=True)
class FeeMarket:
    """What gas costs now, in wei a unit: the next block's base fee at most, and the tip that the node proposes."""

    base_fee_wei: int
    tip_wei: int


@dataclass(frozen=True, slots=True)
class Fees:
    """What a transaction offers, in wei a unit of gas: in all, and to the block's builder."""

    max_fee_wei: int
    tip_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeCaps:
    """What a payer never exceeds, in wei a unit of gas."""

    max_fee_wei: int = 500 * 10**9
    max_tip_wei: int = 50 * 10**9


def first_fees(market: FeeMarket, caps: FeeCaps) -> Fees | None:
    """The first offer: good for a base fee that doubles. None while even the present base fee is over the cap."""
    tip = min(market.tip_wei, caps.max_tip_wei)
    if market.base_fee_wei + tip > caps.max_fee_wei:
        return None
    return Fees(min(2 * market.base_fee_wei + tip, caps.max_fee_wei), tip)


def replacement_fees(offered: Fees, market: FeeMarket, caps: FeeCaps) -> Fees | None:
    """An offer that replaces ``offered`` at every node, both fees 12.5 % higher or more; None if the caps forbid it."""
    fee, tip = _bumped(offered.max_fee_wei), _bumped(offered.tip_wei)
    fresh = first_fees(market, caps)
    if fresh is not None:
        fee, tip = max(fee, fresh.max_fee_wei), max(tip, fresh.tip_wei)
    if fee > caps.max_fee_wei or tip > caps.max_tip_wei:
        return None
    return Fees(max(fee, tip), tip)


def _bumped(wei: int) -> int:
    return max(-(-wei * _BUMP_NUMERATOR // _BUMP_DENOMINATOR), wei + 1)
