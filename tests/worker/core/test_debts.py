"""What a worker owes and pays next: a hostile pool gets nothing that it did not give, and four payments are enough."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairgrid.chain.interface import Block, ChainEvent, Receipt
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.pool_messages import Sponsored
from fairgrid.worker.core.debts import MOST_PAYMENTS, Debt, Repay, fault_of_claim, given_by, next_payment, verified

POOL, SPONSOR, WORKER, HUB, RLC, STRANGER = (f"0x{digit * 40}" for digit in "abcdef")
TX, OTHER_TX = "0x" + "11" * 32, "0x" + "22" * 32
ASKED = Debt(workerpool=POOL, asked_block=10, earned_before=0)
AGREED = replace(ASKED, sponsor=SPONSOR, deposit_tx=TX, claimed_nrlc=100, given_nrlc=100, given_block=11)
CLAIM = Sponsored(100, 5, "", SPONSOR, 100, 0, TX)
OWN = (WORKER, HUB)


def test_an_honest_claim_has_no_fault_and_may_be_repeated() -> None:
    assert fault_of_claim(ASKED, CLAIM, own=OWN) == ""
    assert fault_of_claim(AGREED, replace(CLAIM, repaid_nrlc=40), own=OWN) == ""


@pytest.mark.parametrize(
    ("debt", "claim", "why"),
    [
        (ASKED, replace(CLAIM, owed_nrlc=101), "wants 101 nRLC repaid and gave 100"),
        (ASKED, replace(CLAIM, stake_nrlc=0), "gave 0"),
        (ASKED, replace(CLAIM, sponsor=None), "without saying"),
        (ASKED, replace(CLAIM, deposit_tx=None), "without saying"),
        (ASKED, replace(CLAIM, sponsor=WORKER), "cannot have given it"),
        (ASKED, replace(CLAIM, sponsor=HUB.upper().replace("0X", "0x")), "cannot have given it"),
        (ASKED, replace(CLAIM, sponsor=ZERO_ADDRESS), "cannot have given it"),
        (AGREED, replace(CLAIM, sponsor=STRANGER), "stays as it is"),
        (AGREED, replace(CLAIM, stake_nrlc=200, owed_nrlc=200), "stays as it is"),
        (AGREED, replace(CLAIM, owed_nrlc=99), "stays as it is"),
        (AGREED, replace(CLAIM, deposit_tx=OTHER_TX), "stays as it is"),
    ],
)
def test_a_claim_that_asks_for_more_elsewhere_or_anew_is_refused_with_the_reason(
    debt: Debt, claim: Sponsored, why: str
) -> None:
    assert why in fault_of_claim(debt, claim, own=OWN)


def paid(address: str, sender: str, recipient: str, value: int) -> ChainEvent:
    return ChainEvent("Transfer", {"from": sender, "to": recipient, "value": value}, address, 11, "0x0", 0, TX)


def receipt(*events: ChainEvent, succeeded: bool = True, block: int = 11) -> Receipt:
    return Receipt(TX, succeeded, Block(block, "0x0", 0), 0, events)


@pytest.mark.parametrize(
    ("seen", "nrlc"),
    [
        (receipt(paid(HUB, SPONSOR, WORKER, 100)), 100),
        (receipt(paid(RLC, SPONSOR, HUB, 100), paid(HUB, ZERO_ADDRESS, WORKER, 100)), 100),
        (receipt(paid(RLC, STRANGER, HUB, 100), paid(HUB, ZERO_ADDRESS, WORKER, 100)), 0),
        (receipt(paid(RLC, SPONSOR, HUB, 100), paid(HUB, ZERO_ADDRESS, STRANGER, 100)), 0),
        (receipt(paid(HUB, HUB, WORKER, 100)), 0),
        (receipt(paid(RLC, SPONSOR, WORKER, 100)), 0),
        (receipt(paid(STRANGER, SPONSOR, WORKER, 100)), 0),
        (receipt(paid(HUB, SPONSOR, WORKER, 100), succeeded=False), 0),
    ],
)
def test_only_what_the_sponsor_itself_put_into_the_workers_deposit_was_given(seen: Receipt, nrlc: int) -> None:
    assert given_by(seen, sponsor=SPONSOR, worker=WORKER, hub=HUB, rlc=RLC) == nrlc


def test_what_came_is_owed_and_what_came_earlier_or_less_is_not() -> None:
    claimed = replace(AGREED, given_nrlc=0)
    assert verified(claimed, receipt(), 100) == verified(claimed, receipt(), 500) == 100
    assert "gave 99" in str(verified(claimed, receipt(), 99))
    assert "older than this worker's request" in str(verified(claimed, receipt(block=10), 100))


def test_nothing_is_paid_before_a_quarter_is_earned_and_nothing_of_what_was_earned_before() -> None:
    debt = replace(AGREED, earned_before=1_000)

    def pays(earned: int, **change: int) -> int:
        numbers = {"repaid_nrlc": 0, "earned_nrlc": 1_000 + earned, "spendable_nrlc": 10**6} | change
        return next_payment(debt, **numbers, how=Repay.EARNINGS)

    assert [pays(0), pays(24), pays(25), pays(60), pays(10**6)] == [0, 0, 25, 60, 100]
    assert pays(10**6, spendable_nrlc=24) == 0, "a task needs the rest of the deposit"
    assert pays(100, repaid_nrlc=95) == 5, "the last may be small"
    assert pays(10**6, repaid_nrlc=100) == 0


def test_the_owner_may_pay_at_once_or_never() -> None:
    numbers = {"repaid_nrlc": 0, "earned_nrlc": 0, "spendable_nrlc": 70}
    assert next_payment(AGREED, **numbers, how=Repay.DEPOSIT) == 70
    assert next_payment(AGREED, **numbers, how=Repay.NEVER) == 0
    assert next_payment(ASKED, **numbers, how=Repay.DEPOSIT) == 0, "nothing is agreed yet"


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 10_000),
    st.lists(st.tuples(st.integers(0, 4_000), st.integers(0, 20_000)), max_size=40),
    st.sampled_from(list(Repay)),
)
def test_however_it_earns_a_worker_pays_no_more_than_it_got_in_four_payments_at_most(
    given_nrlc: int, days: list[tuple[int, int]], how: Repay
) -> None:
    debt = replace(AGREED, claimed_nrlc=given_nrlc, given_nrlc=given_nrlc)
    earned, payments = 0, list[int]()
    for more, spendable in days:
        earned += more
        amount = next_payment(debt, repaid_nrlc=sum(payments), earned_nrlc=earned, spendable_nrlc=spendable, how=how)
        assert 0 <= amount <= spendable
        if how is Repay.EARNINGS:
            assert sum(payments) + amount <= earned
        payments += [amount] if amount else []
    assert sum(payments) <= given_nrlc
    assert len(payments) <= MOST_PAYMENTS
    assert how is not Repay.NEVER or not payments
