"""`Twins` for the batch lane, for one-transaction tasks and for the array forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairgrid.protocol.hexes import from_hex
from fairgrid.protocol.model import Event
from tests.contracts.twins import Outcome, Twins

__all__ = ["BatchTwins"]


class BatchTwins(Twins):
    """Each method makes one call on model and contracts and asserts that they agree, on the run's views too."""

    def __init__(self) -> None:
        self.consented: set[str] = set()
        """Whose free money may fall: who called, signed a matched order or gave an allowance, since last cleared."""
        super().__init__()

    # --- one transaction, and arrays ----------------------------------------------------------------------------

    def contribute_and_finalize(
        self,
        caller: str,
        task: str,
        digest: str,
        results: bytes,
        callback: bytes,
        challenge: str,
        enclave_sign: str,
        authorisation: str,
    ) -> Outcome:
        outcome = self._compare(
            lambda: self.model.contribute_and_finalize(
                caller, task, digest, results, callback, challenge, enclave_sign, authorisation
            ),
            lambda: self._hub_transact(
                caller,
                "contributeAndFinalize",
                task,
                digest,
                results,
                callback,
                challenge,
                from_hex(enclave_sign),
                from_hex(authorisation),
            ),
        )
        return self._task_step(task, outcome)

    def initialize_array(self, caller: str, deals: Sequence[str], indexes: Sequence[int]) -> Outcome:
        return self._hub(caller, "initializeArray", self.model.initialize_array, tuple(deals), tuple(indexes))

    def claim_array(self, caller: str, tasks: Sequence[str]) -> Outcome:
        return self._hub(caller, "claimArray", self.model.claim_array, tuple(tasks))

    def initialize_and_claim_array(self, caller: str, deals: Sequence[str], indexes: Sequence[int]) -> Outcome:
        return self._hub(
            caller, "initializeAndClaimArray", self.model.initialize_and_claim_array, tuple(deals), tuple(indexes)
        )

    # --- runs ---------------------------------------------------------------------------------------------------

    def open_run(self, caller: str, deal: str, count: int) -> Outcome:
        return self._run_step(deal, self._hub(caller, "openRun", self.model.open_run, deal, count))

    def split_run(self, caller: str, run: str, left: int) -> Outcome:
        outcome = self._hub(caller, "splitRun", self.model.split_run, run, left)
        for half in outcome.value or ():
            self.check_run(half)
        self.check_run(run)
        return outcome

    def finalize_run(self, caller: str, run: str, root: str, results: bytes) -> Outcome:
        outcome = self._hub(caller, "finalizeRun", self.model.finalize_run, run, root, results)
        self.check_run(run)
        return outcome

    def settle_run(
        self,
        caller: str,
        deal: str,
        count: int,
        root: str,
        results: bytes,
        challenge: str,
        enclave_sign: str,
        authorisation: str,
    ) -> Outcome:
        outcome = self._compare(
            lambda: self.model.settle_run(caller, deal, count, root, results, challenge, enclave_sign, authorisation),
            lambda: self._hub_transact(
                caller,
                "settleRun",
                deal,
                count,
                root,
                results,
                challenge,
                from_hex(enclave_sign),
                from_hex(authorisation),
            ),
        )
        return self._run_step(deal, outcome)

    def materialise(
        self,
        caller: str,
        run: str,
        index: int,
        digest: str,
        proof: Sequence[str],
        root: str,
        results_hash: str,
        callback: bytes,
    ) -> Outcome:
        outcome = self._hub(
            caller,
            "materialise",
            self.model.materialise,
            run,
            index,
            digest,
            tuple(proof),
            root,
            results_hash,
            callback,
        )
        if outcome.happened:
            self.check_run(outcome.value)
        self.check_run(run)
        return outcome

    def refund_rest(self, caller: str, deal: str) -> Outcome:
        outcome = self._hub(caller, "refundRest", self.model.refund_rest, deal)
        self.check_lane(deal)
        return outcome

    # --- comparing ----------------------------------------------------------------------------------------------

    def check_run(self, run: str) -> None:
        """All that `viewRun` and the views of a task show of a run (or of what is none)."""
        modelled = self.model.view_run(run)
        assert self._view("viewRun", run) == (
            modelled.deal_id,
            modelled.first,
            modelled.count,
            int(modelled.status),
        )
        assert modelled.count == 0 or self._view("computeRunId", *self._view("viewRun", run)[:3]) == run
        self.check_task(run)

    def check_lane(self, deal: str) -> None:
        """All that `viewLane` shows."""
        modelled = self.model.view_lane(deal)
        assert self._view("viewLane", deal) == (modelled.in_batch_lane, modelled.cursor, modelled.refunded)

    # --- inside -------------------------------------------------------------------------------------------------

    def _run_step(self, deal: str, outcome: Outcome) -> Outcome:
        if outcome.happened:
            self.check_run(outcome.value)
        self.check_lane(deal)
        return outcome

    def _hub_transact(self, caller: str, function: str, *arguments: Any) -> tuple[Any, list[Event]]:
        self.consented.add(caller)
        if function == "transferFrom":
            self.consented.add(arguments[0])
        return super()._hub_transact(caller, function, *arguments)

    def match_orders(self, caller: str, orders: Any, *, sponsored: bool = False) -> Outcome:
        """As always; who signed the orders that pay consented."""
        outcome = super().match_orders(caller, orders, sponsored=sponsored)
        if outcome.happened:
            self._signed(outcome.value, sponsored=sponsored)
        return outcome

    def approve_and_deposit(self, caller: str, amount: int, orders: Any = None) -> Outcome:
        """As always; who signed embedded orders consented."""
        outcome = super().approve_and_deposit(caller, amount, orders)
        if outcome.happened and orders is not None:
            self._signed(self.model.deal_ids[-1])
        return outcome

    def receive_approval(self, caller: str, sender: str, amount: int, token: str, orders: Any = None) -> Outcome:
        """As always; who signed embedded orders consented."""
        outcome = super().receive_approval(caller, sender, amount, token, orders)
        if outcome.happened and orders is not None:
            self._signed(self.model.deal_ids[-1])
        return outcome

    def _signed(self, deal: str, *, sponsored: bool = False) -> None:
        modelled = self.model.view_deal(deal)
        self.consented |= {modelled.workerpool.owner} | (set() if sponsored else {modelled.requester})
        self.check_lane(deal)
