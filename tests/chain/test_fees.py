from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgrid.chain.envelope import read_envelope
from fairgrid.chain.fees import FeeCaps, FeeMarket, Fees, first_fees, replacement_fees
from fairgrid.errors import UsageError
from fairgrid.wallet.keys import dev_signer

WEI = st.integers(0, 10**12)


def test_the_first_offer_survives_a_base_fee_that_doubles() -> None:
    assert first_fees(FeeMarket(100, 7), FeeCaps(max_fee_wei=1_000, max_tip_wei=10)) == Fees(207, 7)


def test_the_first_offer_is_cut_at_the_caps_and_refused_when_it_could_not_be_mined() -> None:
    caps = FeeCaps(max_fee_wei=150, max_tip_wei=5)
    assert first_fees(FeeMarket(100, 7), caps) == Fees(150, 5)
    assert first_fees(FeeMarket(146, 7), caps) is None


@given(st.builds(Fees, WEI, WEI), st.builds(FeeMarket, WEI, WEI), st.builds(FeeCaps, max_fee_wei=WEI, max_tip_wei=WEI))
def test_a_replacement_raises_both_fees_by_an_eighth_within_the_caps_or_is_none(
    offered: Fees, market: FeeMarket, caps: FeeCaps
) -> None:
    fees = replacement_fees(offered, market, caps)
    if fees is not None:
        assert fees.max_fee_wei * 8 >= offered.max_fee_wei * 9
        assert fees.tip_wei * 8 >= offered.tip_wei * 9
        assert offered.tip_wei < fees.tip_wei <= caps.max_tip_wei
        assert fees.tip_wei <= fees.max_fee_wei
        assert fees.max_fee_wei <= max(caps.max_fee_wei, fees.tip_wei)


@given(st.binary(max_size=300), st.integers(0, 10**20), WEI, WEI)
def test_signed_bytes_give_back_what_was_signed(data: bytes, value: int, fee: int, tip: int) -> None:
    signer = dev_signer(0)
    fields = {
        "chainId": 31337,
        "nonce": 300,
        "gas": 90_000,
        "maxFeePerGas": fee,
        "maxPriorityFeePerGas": tip,
        "to": dev_signer(1).address,
        "value": value,
        "data": data,
    }
    raw = signer.sign_transaction(fields)
    envelope = read_envelope(raw)
    assert envelope.signable(Fees(fee, tip)) == fields
    assert signer.sign_transaction(envelope.signable(envelope.fees)) == raw


@pytest.mark.parametrize("raw", [b"", b"\x01\xc0", b"\x02\xc0", b"\x02\xc1", b"\x02\xc8abc"])
def test_other_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(UsageError, match="no signed EIP-1559 transaction"):
        read_envelope(raw)
