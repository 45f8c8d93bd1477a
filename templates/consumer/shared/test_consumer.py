"""The contract on a real network: it orders, strangers compute, the verified answer is in its storage, and no other is.

pytest                                  starts a local network of its own
pytest --fairgrid-network FOLDER        uses one that runs (`fairgrid up --detach`)
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from order import HIGHEST_PRICE, Market
from web3.exceptions import ContractLogicError

MEDIAN_IN_MILLIONTHS = 100_750_000


@pytest.fixture(scope="module")
def market(fairgrid_network: Any) -> Market:
    """The network, as the owner of a consumer uses it."""
    return Market(fairgrid_network.folder)


def test_answer_is_verified_stored_and_paid_and_the_rest_goes_home(market: Market) -> None:
    params, offer = asyncio.run(market.offers())
    consumer = market.deploy(params)
    asked = market.ask(consumer, offer)
    task = asked["task"]
    assert consumer.functions.pending(task).call()
    assert consumer.functions.jobOf(task).call() == asked["job"] == market.w3.keccak(text=params)

    stranger = market.w3.eth.accounts[1]
    for caller in (stranger, market.owner):
        with pytest.raises(ContractLogicError, match="only the hub answers"):
            consumer.functions.receiveResult(task, bytes(32)).call({"from": caller})
    with pytest.raises(ContractLogicError, match="only the owner takes money"):
        consumer.functions.takeBack(1).call({"from": stranger})
    with pytest.raises(ContractLogicError, match="only the owner changes the job"):
        consumer.functions.setJob("another").call({"from": stranger})
    with pytest.raises(ContractLogicError, match="nobody asked"):
        consumer.functions.receiveResult(bytes(32), bytes(32)).call({"from": market.network.hub})

    assert market.answer(consumer, task) == MEDIAN_IN_MILLIONTHS == consumer.functions.latest().call()
    assert not consumer.functions.pending(task).call()
    left = market.hub.functions.balanceOf(consumer.address).call()
    assert left == HIGHEST_PRICE - offer.price
    before = market.rlc.functions.balanceOf(market.owner).call()
    market.send(consumer.functions.takeBack(left))
    assert market.rlc.functions.balanceOf(market.owner).call() == before + left
