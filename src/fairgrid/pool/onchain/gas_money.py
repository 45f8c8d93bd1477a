"""How long the coins for gas last: an alert long before the first transaction cannot be paid."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fairgrid.chain.fees import FeeMarket

__all__ = ["GasMoney"]

TYPICAL_GAS = 250_000
"""Gas of a pool's usual transaction: `finalize` with one worker, or a bundle of five initializations."""


@dataclass(frozen=True, slots=True)
class GasMoney:
    """What was seen last. ``balance_wei`` None: not looked yet."""

    low_below: int
    """Low means: for fewer transactions than this."""
    balance_wei: int | None = None
    gas_price_wei: int = 0

    def seen(self, balance_wei: int, market: FeeMarket) -> GasMoney:
        """The same, with what the chain says now."""
        return replace(self, balance_wei=balance_wei, gas_price_wei=market.base_fee_wei + market.tip_wei)

    @property
    def transactions_left(self) -> int | None:
        """An estimate at the present price of gas; None before the first look."""
        if self.balance_wei is None:
            return None
        return self.balance_wei // max(TYPICAL_GAS * self.gas_price_wei, 1)

    @property
    def is_low(self) -> bool:
        left = self.transactions_left
        return left is not None and left < self.low_below
