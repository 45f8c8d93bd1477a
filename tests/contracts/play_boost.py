"""Plays with deals of boost beside classic ones, on contracts and model at once."""

from __future__ import annotations

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO_ADDRESS, from_hex, keccak, to_hex32
from fairgrid.protocol.views import TaskStatus
from tests.contracts.play import Changes, Play
from tests.contracts.twins import Orders, Outcome
from tests.protocol.actors import Actor

__all__ = ["BoostPlay"]


class BoostPlay(Play):
    """A `Play` that knows boost too."""

    def __init__(self) -> None:
        super().__init__()
        self.boosts: list[str] = []

    # --- one call on both ---------------------------------------------------------------------------------------

    def match_orders_boost(self, caller: str, orders: Orders, *, sponsored: bool = False) -> Outcome:
        """Match; the deal id."""
        tuples = [order.abi_tuple() for order in orders]
        match = self.model.sponsor_match_orders_boost if sponsored else self.model.match_orders_boost
        function = "sponsorMatchOrdersBoost" if sponsored else "matchOrdersBoost"
        outcome = self._compare(lambda: match(caller, *orders), lambda: self._hub_transact(caller, function, *tuples))
        if outcome.happened:
            self.check_deal(outcome.value)
        return outcome

    def push_result_boost(
        self,
        caller: str,
        deal: str,
        index: int,
        results: bytes,
        callback: bytes,
        authorisation: str,
        challenge: str,
        enclave_sign: str,
    ) -> Outcome:
        outcome = self._compare(
            lambda: self.model.push_result_boost(
                caller, deal, index, results, callback, authorisation, challenge, enclave_sign
            ),
            lambda: self._hub_transact(
                caller,
                "pushResultBoost",
                deal,
                index,
                results,
                callback,
                from_hex(authorisation),
                challenge,
                from_hex(enclave_sign),
            ),
        )
        self.check_task(ids.task_id(deal, index))
        return outcome

    def claim_boost(self, caller: str, deal: str, index: int) -> Outcome:
        outcome = self._hub(caller, "claimBoost", self.model.claim_boost, deal, index)
        return self._task_step(ids.task_id(deal, index), outcome)

    def check_deal(self, deal: str) -> None:
        """All that `viewDeal` and `viewDealBoost` show: of every deal, one of them shows zeros."""
        super().check_deal(deal)
        modelled = self.model.view_deal_boost(deal)
        assert self._view("viewDealBoost", deal) == (
            modelled.app_owner,
            modelled.app_price,
            modelled.dataset_owner,
            modelled.dataset_price,
            modelled.workerpool_owner,
            modelled.workerpool_price,
            modelled.requester,
            modelled.worker_reward,
            modelled.callback,
            modelled.deadline,
            modelled.bot_first,
            modelled.bot_size,
            modelled.short_tag,
            modelled.sponsor,
        )

    # --- shorter words ------------------------------------------------------------------------------------------

    def boost_orders(self, changes: Changes | None = None, *, with_dataset: bool = False, pool: int = 0) -> Orders:
        """Four new signed orders that make a deal of boost, but for ``changes`` by kind."""
        change = dict(changes or {})
        change["request"] = {"trust": 1, **change.get("request", {})}
        return self.orders(change, with_dataset=with_dataset, pool=pool)

    def boost(self, orders: Orders, caller: Actor | None = None, *, sponsored: bool = False) -> Outcome:
        """Match, and remember the deal."""
        outcome = self.match_orders_boost((caller or self.people.stranger).address, orders, sponsored=sponsored)
        if outcome.happened:
            self.boosts.append(outcome.value)
        return outcome

    def new_boost(self, changes: Changes | None = None, *, with_dataset: bool = False, pool: int = 0) -> str:
        """A new deal of boost."""
        outcome = self.boost(self.boost_orders(changes, with_dataset=with_dataset, pool=pool))
        assert outcome.happened, outcome.revert
        return str(outcome.value)

    def push(
        self,
        worker: Actor,
        deal: str,
        index: int = 0,
        results: bytes = b"results",
        callback: bytes = b"",
        *,
        authority: Actor | None = None,
        enclave: Actor | None = None,
        enclave_digest: str | None = None,
    ) -> Outcome:
        """Push, authorised by the scheduler unless somebody else is named; an enclave signs what it must."""
        task = ids.task_id(deal, index)
        challenge = enclave.address if enclave else ZERO_ADDRESS
        has_callback = self.model.view_deal_boost(deal).callback != ZERO_ADDRESS
        digest = enclave_digest or to_hex32(keccak(callback if has_callback else results))
        seal = from_hex(ids.result_seal(worker.address, task, digest))
        return self.push_result_boost(
            worker.address,
            deal,
            index,
            results,
            callback,
            (authority or self.people.scheduler).authorise(worker.address, task, challenge),
            challenge,
            enclave.sign_message(seal) if enclave else "0x",
        )

    # --- the end ------------------------------------------------------------------------------------------------

    def settle_everything(self) -> None:
        """As in a classic play, and what was not pushed is claimed."""
        self.now = max([self.now, *(self.model.view_deal_boost(deal).deadline for deal in self.boosts)])
        for deal in self.boosts:
            for index in range(self.model.view_deal_boost(deal).bot_size):
                if self.model.view_task(ids.task_id(deal, index)).status == TaskStatus.UNSET:
                    assert self.claim_boost(self.people.stranger.address, deal, index).happened
            self.check_deal(deal)
        super().settle_everything()
