"""Amounts as people write them."""

from __future__ import annotations

import pytest

from fairgrid.errors import UsageError
from fairgrid.protocol.amounts import parse_rlc


@pytest.mark.parametrize(
    ("text", "nrlc"),
    [("2 RLC", 2 * 10**9), ("0.5RLC", 5 * 10**8), (" 1_000 nRLC ", 1000), ("0.000000001 rlc", 1), ("0 RLC", 0)],
)
def test_amount_with_a_unit_is_whole_nrlc(text: str, nrlc: int) -> None:
    assert parse_rlc(text, "--price") == nrlc


@pytest.mark.parametrize(
    "text", ["2", "RLC", "-1 RLC", "0.5 nRLC", "1e9 nRLC", "0.0000000001 RLC", "1 RLC 2", "\u0661 RLC"]
)
def test_amount_without_a_unit_or_of_a_part_of_an_nrlc_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--price"):
        parse_rlc(text, "--price")
