"""Orders by hand: their sentences name every number, and the chain's word on them is complete."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairgrid.chain import calls
from fairgrid.client.order_desk import describe_order, parse_tag, standing_of, tag_words
from fairgrid.errors import UsageError
from fairgrid.protocol.hexes import ZERO32
from fairgrid.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from tests.market.grid import Grid

OTHER = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"


@pytest.fixture
async def grid() -> Grid:
    return await Grid.made()


def orders(grid: Grid) -> list[Order]:
    """One of each kind."""
    return [
        AppOrder(grid.app, 1_500_000_000, 7, requesterrestrict=OTHER),
        DatasetOrder(grid.dataset, 20, 3),
        WorkerpoolOrder(grid.workerpool, 100, 5, category=1, trust=10),
        RequestOrder(grid.app, 1, grid.dataset, 2, grid.workerpool, 3, grid.requester.address, 4, trust=10),
    ]


async def test_the_sentence_of_an_order_says_what_it_costs_and_for_whom(grid: Grid) -> None:
    app, dataset, pool, request = (" ".join(describe_order(order)) for order in orders(grid))
    assert all(text in app for text in ("7 run(s)", "1.5 RLC each", f"only by the requester {OTHER}", grid.app))
    assert all(text in dataset for text in ("3 use(s)", "0.00000002 RLC each", "to anybody"))
    assert all(text in pool for text in ("5 task(s) of category 1", "trust 10", "locks 0.00000003 RLC a task"))
    assert all(
        text in request for text in ("4 task(s)", "0.000000006 RLC a task", "0.000000024 RLC in all", grid.dataset)
    )
    assert all("until you cancel it on chain" in text for text in (app, dataset, pool, request))


async def test_a_signed_order_of_each_kind_stands(grid: Grid) -> None:
    owners = (grid.app_owner, grid.dataset_owner, grid.scheduler, grid.requester)
    for order, owner in zip(orders(grid), owners, strict=True):
        signed = grid.signed(order, owner)
        standing = await standing_of(grid.chain, signed)
        assert (standing.owner, standing.signed, standing.consumed, standing.problems) == (owner.address, True, 0, ())


async def test_everything_that_is_wrong_with_an_order_is_said(grid: Grid) -> None:
    app, _, pool, _ = orders(grid)
    by_other = await standing_of(grid.chain, grid.signed(app, grid.stranger))
    assert not by_other.signed and f"not signed by {grid.app_owner.address}" in by_other.problems[0]
    unknown = await standing_of(grid.chain, AppOrder(OTHER, 1, 1))
    assert unknown.owner is None and "not in the registry" in unknown.problems[0]
    assert isinstance(pool, WorkerpoolOrder)
    dear = grid.signed(replace(pool, workerpoolprice=10**9, category=99), grid.scheduler)
    assert [text.partition(",")[2] or text for text in (await standing_of(grid.chain, dear)).problems] == [
        "There is no category 99 on this hub.",
        " and a single task locks 0.3 RLC.",
    ]
    signed = grid.signed(app, grid.app_owner)
    await grid.chain.transact(calls.manage_order(grid.chain.hub, signed, calls.CLOSE), grid.app_owner)
    closed = await standing_of(grid.chain, signed)
    assert closed.problems == ("Its volume is used up, or it was cancelled on chain.",)


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("", ZERO32),
        ("tee", f"0x{1:064x}"),
        ("tee,gramine", f"0x{5:064x}"),
        ("batch", f"0x{1 << 16:064x}"),
        (ZERO32, ZERO32),
    ],
)
def test_tags_of_words(text: str, tag: str) -> None:
    assert parse_tag(text) == tag
    assert tag_words(tag) == ("" if tag == ZERO32 else text)


def test_unknown_bits_of_a_tag_are_shown_and_unknown_words_refused() -> None:
    assert tag_words(f"0x{0x101:064x}") == "tee,0x100"
    for wrong in ("sgx", "tee,,batch", "0x12"):
        with pytest.raises(UsageError, match=r"no word of a tag|is no tag"):
            parse_tag(wrong)
