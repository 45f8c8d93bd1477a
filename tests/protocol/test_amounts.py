"""Amounts keep their last nRLC, and never pass without a unit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgrid.errors import UsageError
from fairgrid.protocol.amounts import format_amount, parse_rlc


@pytest.mark.parametrize(
    ("text", "nrlc"),
    [
        ("1.5 RLC", 1_500_000_000),
        ("1.5RLC", 1_500_000_000),
        ("0.000000001 rlc", 1),
        ("500 nRLC", 500),
        (" 1_000 nrlc ", 1_000),
        ("0 RLC", 0),
        ("2.0 nRLC", 2),
    ],
)
def test_amounts_with_a_unit(text: str, nrlc: int) -> None:
    assert parse_rlc(text, "The price") == nrlc


@pytest.mark.parametrize(
    "text", ["", "1.5", "RLC", "-1 RLC", "1e3 RLC", "1,5 RLC", "1 ETH", "0.5 nRLC", "0.0000000001 RLC"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"The price .* is not an amount"):
        parse_rlc(text, "The price")


@given(st.integers(min_value=0, max_value=10**27))
def test_what_is_shown_is_read_back_to_the_last_nrlc(nrlc: int) -> None:
    assert parse_rlc(format_amount(nrlc), "The price") == nrlc
    assert format_amount(-nrlc - 1).startswith("-")
