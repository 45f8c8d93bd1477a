"""Amounts of money as people write them. Inside everything is a whole number of nRLC; 1 RLC is 1,000,000,000 nRLC."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from fairgrid.errors import UsageError

__all__ = ["NRLC_PER_RLC", "format_amount", "parse_rlc"]

NRLC_PER_RLC: Final = 1_000_000_000
_AMOUNT: Final = re.compile(r"([0-9][0-9_]{0,30})(?:\.([0-9]{1,30}))?\s*(n?RLC)", re.ASCII | re.IGNORECASE)


def parse_rlc(text: str, what: str) -> int:
    """The nRLC of ``2 RLC``, ``0.5 RLC`` or ``1000 nRLC``; ``what`` names it in the error.

    Raises:
        UsageError: it has no unit, is no number, or is no whole number of nRLC.
    """
    found = _AMOUNT.fullmatch(text.strip())
    if found is not None:
        value = Decimal(f"{found[1].replace('_', '')}.{found[2] or 0}")
        nrlc = value * (NRLC_PER_RLC if found[3].upper() == "RLC" else 1)
        if nrlc == nrlc.to_integral_value():
            return int(nrlc)
    raise UsageError(f"{what} {text!r} is not an amount. Give one with its unit, such as '0.5 RLC' or '500 nRLC'.")


def format_amount(nrlc: int) -> str:
    """An amount for people: ``1.5 RLC``, exact to the last nRLC; `parse_rlc` reads it back if it is not negative."""
    sign = "-" if nrlc < 0 else ""
    whole, rest = divmod(abs(nrlc), NRLC_PER_RLC)
    decimals = f"{rest:09d}".rstrip("0")
    return f"{sign}{whole}{'.' + decimals if decimals else ''} RLC"
