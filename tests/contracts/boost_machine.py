"""The state machine of `test_stateful_boost`: as `hub_machine`, with deals of boost out of the same orders."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, initialize, multiple, rule

from fairgrid.protocol.hexes import ZERO_ADDRESS
from tests.contracts.hub_machine import HubMachine
from tests.contracts.hub_strategies import BROKER, CALLBACK_DATA, ENCLAVE, callbacks, people
from tests.contracts.play import PRICE
from tests.contracts.play_boost import BoostPlay
from tests.contracts.twins import Orders
from tests.protocol.actors import Actor

__all__ = ["BoostMachine"]

indexes = st.integers(0, 3)
workers = st.integers(0, 5)


@st.composite
def boost_terms(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Terms of a deal of boost; some are refused."""
    price = draw(st.sampled_from([0, 7, PRICE, PRICE, 3 * 10**9]))
    tee = f"0x{draw(st.sampled_from([0, 0, 0, 1])):064x}"
    return {
        "app": {"tag": tee, "appprice": draw(st.sampled_from([0, 103]))},
        "workerpool": {"workerpoolprice": price, "tag": tee, "volume": draw(st.integers(1, 4))},
        "request": {
            "volume": draw(st.integers(1, 4)),
            "trust": draw(st.sampled_from([0, 1, 1, 1, 2])),
            "workerpoolmaxprice": max(price, PRICE),
            "callback": draw(callbacks),
        },
    }


class BoostMachine(HubMachine):
    """Random people on one hub; the same orders make classic deals and deals of boost."""

    orders = HubMachine.orders
    deals = HubMachine.deals
    tasks = HubMachine.tasks
    boosts = Bundle("boosts")

    play: BoostPlay

    def new_play(self) -> BoostPlay:
        return BoostPlay()

    @initialize(target=boosts, with_dataset=st.booleans(), pushed=st.booleans())
    def there_is_a_boost(self, with_dataset: bool, pushed: bool) -> str:
        """Every example begins with a deal of boost, one of whose tasks is over in half of the examples."""
        deal = self.play.new_boost({"request": {"volume": 3}, "workerpool": {"volume": 3}}, with_dataset=with_dataset)
        if pushed:
            self.note("push", self.play.push(self.play.people.workers[0], deal, 0))
        return deal

    @rule(target=boosts, changes=boost_terms(), with_dataset=st.booleans(), caller=people, sponsored=st.booleans())
    def match_a_boost(self, changes: Any, with_dataset: bool, caller: int, sponsored: bool) -> Any:
        orders = self.play.boost_orders(changes, with_dataset=with_dataset)
        self.used_orders.update(orders)
        outcome = self.note("match boost", self.play.boost(orders, self.everybody[caller], sponsored=sponsored))
        return outcome.value if outcome.happened else multiple()

    @rule(target=boosts, orders=orders, caller=people, sponsored=st.booleans())
    def match_any_orders(self, orders: Orders, caller: int, sponsored: bool) -> Any:
        """Orders are interchangeable between both paths: what one consumed the other cannot."""
        outcome = self.note("match boost", self.play.boost(orders, self.everybody[caller], sponsored=sponsored))
        return outcome.value if outcome.happened else multiple()

    @rule(
        deal=boosts,
        index=indexes,
        worker=workers,
        authority=st.sampled_from(["scheduler"] * 6 + ["stranger", "broker"]),
        enclave=st.sampled_from([False, False, False, True]),
        callback=st.sampled_from([b"", CALLBACK_DATA, CALLBACK_DATA]),
    )
    def push(self, deal: str, index: int, worker: int, authority: str, enclave: bool, callback: bytes) -> None:
        people = self.play.people
        if self.play.model.view_deal_boost(deal).callback == ZERO_ADDRESS:
            callback = b""
        signers: dict[str, Actor] = {
            "scheduler": people.scheduler,
            "stranger": people.stranger,
            "broker": BROKER,
        }
        outcome = self.play.push(
            people.workers[worker],
            deal,
            index,
            callback=callback,
            authority=signers[authority],
            enclave=ENCLAVE if enclave else None,
        )
        self.note("push", outcome)

    @rule(deal=boosts, index=indexes, caller=people, late=st.booleans())
    def claim_a_boost(self, deal: str, index: int, caller: int, late: bool) -> None:
        if late:
            self.play.now = max(self.play.now, self.play.model.view_deal_boost(deal).deadline)
        self.note("claim boost", self.play.claim_boost(self.who(caller), deal, index))

    @rule(deal=boosts, index=indexes)
    def open_like_a_classic_task(self, deal: str, index: int) -> None:
        """A deal of boost is none of the classic lane."""
        assert not self.note("initialize", self.play.initialize(self.who(0), deal, index)).happened

    @rule(deal=deals, index=indexes)
    def claim_a_classic_deal_as_boost(self, deal: str, index: int) -> None:
        assert not self.note("claim boost", self.play.claim_boost(self.who(0), deal, index)).happened
