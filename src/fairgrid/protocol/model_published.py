"""The rest of the published interface in the reference model (`spec/poco.md` §7, §19, §20).

Configuration that the chain refuses, orders made known on chain, and the check that a deal without a dataset may use
one. (Scores of the hub before this one are in `model_tasks`.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, from_hex
from fairgrid.protocol.matching import authorised
from fairgrid.protocol.model_boost import BoostBook
from fairgrid.protocol.model_escrow import NOT_OWNER
from fairgrid.protocol.model_state import Revert, require
from fairgrid.protocol.orders import DatasetOrder, Order
from fairgrid.protocol.tags import covers, union_tag
from fairgrid.protocol.typed_data import order_hash

__all__ = ["PublishedBook"]

_IMMUTABLE: Final = "registries-are-immutable"


class PublishedBook(BoostBook):
    """What the published interface has beside escrow, orders, deals, tasks and boost."""

    # --- configuration ------------------------------------------------------------------------------------------

    def configure(self, caller: str) -> None:
        """Always refused, whatever is given: a hub is configured by its creation."""
        require(caller == self.owner, NOT_OWNER)
        raise Revert("already-configured")

    def change_registries(self, caller: str, apps: str, datasets: str, workerpools: str) -> None:
        """Refused but for the registries that the hub has (hub's owner)."""
        require(caller == self.owner, NOT_OWNER)
        registries = self.registries
        current = (registries.apps.address, registries.datasets.address, registries.workerpools.address)
        require((apps, datasets, workerpools) == current, _IMMUTABLE)

    def update_domain_separator(self, caller: str) -> None:
        """Nothing to do: the separator follows from chain id and address at each use."""

    # --- orders -------------------------------------------------------------------------------------------------

    def broadcast_order(self, caller: str, order: Order) -> None:
        """Make an order known on chain; nothing of it is checked."""
        fields = (getattr(order, name) for name, _ in order.SOLIDITY_TYPES)
        shown = (*fields, from_hex(order.sign))
        self.world.emit(self.address, f"Broadcast{order.KIND.capitalize()}Order", **{f"{order.KIND}order": shown})

    def assert_dataset_deal_compatibility(self, order: DatasetOrder, deal_id: str) -> None:
        """Revert unless a deal without a dataset may use this one; nothing is consumed or paid.

        Raises:
            Revert: ``IncompatibleDatasetOrder(reason)``; ``invalid-signature-format``; without data if there is no
                dataset at the order's address.
        """
        reason = next(self._incompatibilities(order, deal_id), None)
        if reason is not None:
            raise Revert(f"IncompatibleDatasetOrder({reason})")

    def _incompatibilities(self, order: DatasetOrder, deal_id: str) -> Iterator[str]:
        """What is wrong, in the order in which the chain looks."""
        hash_ = order_hash(order, self.domain)
        if self.view_consumed(hash_) >= order.volume:
            yield "Dataset order is revoked or fully consumed"
        owner = self.owner_of(order.dataset)
        require(owner is not None)
        assert owner is not None
        if not self.verify_presignature_or_signature(owner, hash_, order.sign):
            yield "Invalid dataset order signature"
        deal = self.view_deal(deal_id)
        if deal.requester == ZERO_ADDRESS:
            yield "Deal not found"
        if deal.dataset.pointer != ZERO_ADDRESS:
            yield "Deal already has a dataset"
        if not authorised(order.apprestrict, deal.app.pointer, self._facts):
            yield "App restriction not satisfied"
        if not authorised(order.workerpoolrestrict, deal.workerpool.pointer, self._facts):
            yield "Workerpool restriction not satisfied"
        if not authorised(order.requesterrestrict, deal.requester, self._facts):
            yield "Requester restriction not satisfied"
        if not covers(deal.tag, union_tag(ZERO32, order.tag, ZERO32)):
            yield "Tag compatibility not satisfied"
