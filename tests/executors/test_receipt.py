"""Money adds up to the nRLC, whatever happens to the deals."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairgrid.errors import BudgetExceeded, UsageError
from fairgrid.executors.receipt import DealLine, Purse, parse_budget
from fairgrid.protocol.amounts import format_amount


@pytest.mark.parametrize(
    ("text", "nrlc"),
    [
        ("2 RLC", 2 * 10**9),
        ("0.5rlc", 5 * 10**8),
        ("1.000000001 RLC", 10**9 + 1),
        ("1_000 nRLC", 1000),
        ("3.0 nRLC", 3),
        (7, 7),
        (0, 0),
    ],
)
def test_budgets_are_read_exactly(text: str | int, nrlc: int) -> None:
    assert parse_budget(text) == nrlc


@pytest.mark.parametrize(
    "text", ["", "2", "two RLC", "-1 RLC", "0.0000000001 RLC", "0.5 nRLC", -1, True, 1.5, None, "\u0661 RLC"]
)
def test_what_is_no_amount_is_refused_with_an_example(text: Any) -> None:
    with pytest.raises(UsageError, match="RLC' or '500 nRLC'"):
        parse_budget(text)


@pytest.mark.parametrize(("nrlc", "text"), [(0, "0 RLC"), (1, "0.000000001 RLC"), (25 * 10**8, "2.5 RLC")])
def test_amounts_are_shown_without_loss(nrlc: int, text: str) -> None:
    assert format_amount(nrlc) == text
    assert parse_budget(text) == nrlc


def test_nothing_is_signed_beyond_the_budget() -> None:
    purse = Purse("run", 100)
    purse.check(100)
    purse.signed(DealLine("a", "0x1", tasks=3, calls=9, price=60))
    assert (purse.left, purse.affordable(20), purse.affordable(0) > 10**6) == (40, 2, True)
    with pytest.raises(BudgetExceeded, match="40 nRLC of the budget of 100 nRLC"):
        purse.check(41)


def test_a_deal_that_never_came_to_be_costs_nothing() -> None:
    purse = Purse("run", 100)
    purse.signed(DealLine("a", "0x1", tasks=3, calls=9, price=60))
    purse.void("a")
    purse.void("a")
    assert purse.left == 100
    assert purse.receipt().deals == ()


EVENTS = st.lists(
    st.tuples(st.integers(1, 50), st.integers(0, 10**12), st.integers(0, 50), st.integers(0, 50), st.booleans()),
    max_size=8,
)


@settings(deadline=None)
@given(EVENTS)
def test_what_was_signed_is_spent_refunded_or_open_and_the_rest_is_left(events: list[tuple[Any, ...]]) -> None:
    budget = 10**15
    purse = Purse("run", budget)
    for number, (tasks, each, completed, refunded, void) in enumerate(events):
        name = f"deal {number}"
        purse.signed(DealLine(name, "0x", tasks=tasks, calls=tasks, price=tasks * each))
        if void:
            purse.void(name)
            continue
        completed = min(completed, tasks)
        purse.completed(name, completed)
        purse.refunded(name, min(refunded, tasks - completed))
    receipt = purse.receipt()
    assert receipt.signed == receipt.spent + receipt.refunded + receipt.open
    assert budget == receipt.spent + receipt.open + receipt.left
    assert min(receipt.spent, receipt.refunded, receipt.open, receipt.left) >= 0
    *rows, total = list(csv.DictReader(io.StringIO(receipt.to_csv())))
    for column in ("price", "spent_nrlc", "refunded_nrlc", "open_nrlc", "tasks"):
        assert sum(int(row[column]) for row in rows) == int(total[column])
    assert int(total["price"]) == receipt.signed
    assert str(budget // 10**9) in str(receipt)
