"""`Twins` for configuration, old scores, relayed orders, datasets of bulk deals and legacy views."""

from __future__ import annotations

from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.orders import DatasetOrder, Order
from tests.contracts.twins import Outcome, Twins

__all__ = ["PublishedTwins"]

_BROADCAST = {
    "app": "broadcastAppOrder",
    "dataset": "broadcastDatasetOrder",
    "workerpool": "broadcastWorkerpoolOrder",
    "request": "broadcastRequestOrder",
}


class PublishedTwins(Twins):
    """Each method makes one call on model and contracts and asserts that they agree."""

    def configure(self, caller: str) -> Outcome:
        """Configure with what the hub has already."""
        registries = (self.deployed.registries[kind] for kind in ("app", "dataset", "workerpool"))
        arguments = (self.deployed.rlc, "Staked RLC", "SRLC", 9, *registries, ZERO_ADDRESS)
        return self._compare(
            lambda: self.model.configure(caller), lambda: self._hub_transact(caller, "configure", *arguments)
        )

    def change_registries(self, caller: str, apps: str, datasets: str, workerpools: str) -> Outcome:
        return self._hub(caller, "changeRegistries", self.model.change_registries, apps, datasets, workerpools)

    def update_domain_separator(self, caller: str) -> Outcome:
        outcome = self._hub(caller, "updateDomainSeparator", self.model.update_domain_separator)
        assert self._view("eip712domain_separator") == self.model.domain_separator
        return outcome

    def import_score(self, caller: str, worker: str) -> Outcome:
        """Take over a worker's score from the hub before this one, in which it is the last byte of its address."""
        outcome = self._hub(caller, "importScore", self.model.import_score, worker)
        assert self._view("viewScore", worker) == self.model.view_score(worker)
        return outcome

    def broadcast_order(self, caller: str, order: Order) -> Outcome:
        return self._compare(
            lambda: self.model.broadcast_order(caller, order),
            lambda: self._hub_transact(caller, _BROADCAST[order.KIND], order.abi_tuple()),
        )

    def check_dataset(self, order: DatasetOrder, deal: str) -> Outcome:
        """May the deal use the dataset? A view, which answers by reverting."""
        return self._compare(
            lambda: self.model.assert_dataset_deal_compatibility(order, deal),
            lambda: (self._view("assertDatasetDealCompatibility", order.abi_tuple(), deal), []),
        )

    # --- legacy views -------------------------------------------------------------------------------------------

    def check_legacy_deal(self, deal: str) -> None:
        """The three flat views of a deal."""
        modelled = self.model.view_deal(deal)
        sold = (
            (part.pointer, part.owner, part.price) for part in (modelled.app, modelled.dataset, modelled.workerpool)
        )
        assert self._view("viewDealABILegacy_pt1", deal) == tuple(value for part in sold for value in part)
        assert self._view("viewDealABILegacy_pt2", deal) == (
            modelled.trust,
            modelled.tag,
            modelled.requester,
            modelled.beneficiary,
            modelled.callback,
            modelled.params,
        )
        assert self._view("viewConfigABILegacy", deal) == (
            modelled.category,
            modelled.start_time,
            modelled.bot_first,
            modelled.bot_size,
            modelled.worker_stake,
            modelled.scheduler_reward_ratio,
        )

    def check_legacy_task(self, task: str) -> None:
        """The flat views of a task, its contributions and their workers' accounts."""
        modelled = self.model.view_task(task)
        assert self._view("viewTaskABILegacy", task) == (
            int(modelled.status),
            modelled.deal_id,
            modelled.index,
            modelled.timeref,
            modelled.contribution_deadline,
            modelled.reveal_deadline,
            modelled.final_deadline,
            modelled.consensus_value,
            modelled.reveal_counter,
            modelled.winner_counter,
            modelled.contributors,
            modelled.results,
        )
        for worker in (*modelled.contributors, ZERO_ADDRESS):
            contribution = self.model.view_contribution(task, worker)
            assert self._view("viewContributionABILegacy", task, worker) == (
                int(contribution.status),
                contribution.result_hash,
                contribution.result_seal,
                contribution.enclave_challenge,
            )
            account = self.model.view_account(worker)
            assert self._view("viewAccountABILegacy", worker) == (account.stake, account.locked)

    def check_legacy_categories(self) -> None:
        """The flat view of every category."""
        for number in range(self.model.count_category()):
            modelled = self.model.view_category(number)
            flat = (modelled.name, modelled.description, modelled.timeref)
            assert self._view("viewCategoryABILegacy", number) == flat
