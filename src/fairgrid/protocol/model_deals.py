"""Matching in the reference model (`spec/poco.md` §12): four orders become a deal, and its money is locked."""

from __future__ import annotations

from dataclasses import dataclass

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.protocol.matching import REVERT_PREFIX, Kind, deal_volume, first_violation
from fairgrid.protocol.model_orders import OrderBook
from fairgrid.protocol.model_registry import Registries
from fairgrid.protocol.model_state import Revert, Table, World, checked, require, transaction
from fairgrid.protocol.model_token import MatchedOrders, Rlc
from fairgrid.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.rewards import pool_stake, task_price, worker_stake
from fairgrid.protocol.tags import has_lane, union_tag
from fairgrid.protocol.typed_data import order_hash
from fairgrid.protocol.views import Deal, Resource

__all__ = ["NO_DEAL", "DealBook", "DealRecord"]

_NOTHING = Resource(ZERO_ADDRESS, ZERO_ADDRESS, 0)

NO_DEAL = Deal(
    app=_NOTHING,
    dataset=_NOTHING,
    workerpool=_NOTHING,
    trust=0,
    category=0,
    tag=ZERO32,
    requester=ZERO_ADDRESS,
    beneficiary=ZERO_ADDRESS,
    callback=ZERO_ADDRESS,
    params="",
    start_time=0,
    bot_first=0,
    bot_size=0,
    worker_stake=0,
    scheduler_reward_ratio=0,
    sponsor=ZERO_ADDRESS,
)
"""What `view_deal` shows of an id that is no deal."""


@dataclass(frozen=True, slots=True)
class DealRecord:
    """A deal as it is stored; the last three fields are of the batch lane (decision 18).

    Every task at an offset below ``batch_cursor`` was opened exactly once, in exactly one lane, and no other was;
    ``batch_refunded`` says that the others were refunded together. A deal of the classic lane keeps 0 and False.
    """

    deal: Deal
    in_batch_lane: bool = False
    batch_cursor: int = 0
    batch_refunded: bool = False


class _ChainFacts:
    """The model's state as `MatchFacts`."""

    def __init__(self, book: OrderBook) -> None:
        self._book = book

    @property
    def category_count(self) -> int:
        return self._book.count_category()

    def owner(self, kind: Kind, address: str) -> str | None:
        return self._book.owner_of(address)

    def is_registered(self, kind: Kind, address: str) -> bool:
        return self._book.registries.is_registered(kind, address)

    def is_member(self, group: str, account: str) -> bool:
        return (group, account) in self._book.group_members

    def is_signed(self, order: Order, signer: str) -> bool:
        return self._book.verify_presignature_or_signature(signer, order_hash(order, self._book.domain), order.sign)

    def consumed(self, order: Order) -> int:
        return self._book.view_consumed(order_hash(order, self._book.domain))


class DealBook(OrderBook):
    """Deals."""

    def __init__(
        self, world: World, chain_id: int, address: str, owner: str, token: Rlc, registries: Registries
    ) -> None:
        super().__init__(world, chain_id, address, owner, token, registries)
        self._deals: Table[str, DealRecord] = Table(world, DealRecord(NO_DEAL))
        self._facts = _ChainFacts(self)

    def view_deal(self, deal_id: str) -> Deal:
        """The deal; `NO_DEAL` for an unknown id."""
        return self._deals[deal_id].deal

    @property
    def deal_ids(self) -> tuple[str, ...]:
        """All deals, oldest first."""
        return tuple(self._deals)

    def compute_deal_volume(
        self, app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder
    ) -> int:
        """How many tasks a deal of these orders would have; nothing else is checked."""
        return checked(deal_volume(app, dataset, workerpool, request, self._facts))

    @transaction
    def match_orders(
        self, caller: str, app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder
    ) -> str:
        """Make a deal that the requester pays, whoever calls. Returns its id."""
        return self._match(request.requester, app, dataset, workerpool, request)

    @transaction
    def sponsor_match_orders(
        self, caller: str, app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder
    ) -> str:
        """Make a deal that the caller pays. Returns its id."""
        deal = self._match(caller, app, dataset, workerpool, request)
        self.world.emit(self.address, "DealSponsored", dealId=deal, sponsor=caller)
        return deal

    @transaction
    def receive_approval(
        self, caller: str, sender: str, amount: int, token: str, orders: MatchedOrders | None = None
    ) -> bool:
        """Deposit for ``sender``, then match its request if there are ``orders`` (`approveAndCall` of RLC)."""
        super().receive_approval(caller, sender, amount, token)
        if orders is not None:
            request = orders[-1]
            require(request.requester == sender, "CallerIsNotTheRequester()")
            try:
                self.match_orders(caller, *orders)
            except Revert as revert:
                raise Revert("OperationFailed()" if revert.text is None else revert.text) from revert
        return True

    def _match(
        self, payer: str, app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder
    ) -> str:
        violation = first_violation(app, dataset, workerpool, request, self._facts)
        if violation is not None:
            raise Revert(None if violation.startswith("no-") else REVERT_PREFIX + violation)

        volume = deal_volume(app, dataset, workerpool, request, self._facts)
        has_dataset = request.dataset != ZERO_ADDRESS
        request_hash = order_hash(request, self.domain)
        deal_id = ids.deal_id(request_hash, self._consumed[request_hash])
        deal = self._new_deal(payer, volume, app, dataset, workerpool, request)
        self._deals[deal_id] = DealRecord(deal, in_batch_lane=has_lane(request.tag) and has_lane(workerpool.tag))

        hashes = {order.KIND: order_hash(order, self.domain) for order in (app, dataset, workerpool, request)}
        for kind, hash_ in hashes.items():
            if kind != "dataset" or has_dataset:
                self._consumed[hash_] = checked(self._consumed[hash_] + volume)

        price = checked(task_price(deal.app.price, deal.dataset.price, deal.workerpool.price))
        self._lock(payer, checked(price * volume))
        self._lock(deal.workerpool.owner, checked(pool_stake(deal.workerpool.price) * volume))
        self.world.emit(self.address, "SchedulerNotice", workerpool=deal.workerpool.pointer, dealid=deal_id)
        self.world.emit(
            self.address,
            "OrdersMatched",
            dealid=deal_id,
            appHash=hashes["app"],
            datasetHash=hashes["dataset"] if has_dataset else ZERO32,
            workerpoolHash=hashes["workerpool"],
            requestHash=request_hash,
            volume=volume,
        )
        return deal_id

    def _new_deal(
        self,
        payer: str,
        volume: int,
        app: AppOrder,
        dataset: DatasetOrder,
        workerpool: WorkerpoolOrder,
        request: RequestOrder,
    ) -> Deal:
        pool = self.registries.workerpools.info(workerpool.workerpool)
        app_owner = self.registries.apps.info(app.app).owner
        sold_dataset = _NOTHING
        if request.dataset != ZERO_ADDRESS:
            dataset_owner = self.registries.datasets.info(dataset.dataset).owner
            sold_dataset = Resource(dataset.dataset, dataset_owner, dataset.datasetprice)
        return Deal(
            app=Resource(app.app, app_owner, app.appprice),
            dataset=sold_dataset,
            workerpool=Resource(workerpool.workerpool, pool.owner, workerpool.workerpoolprice),
            trust=max(request.trust, 1),
            category=request.category,
            tag=union_tag(app.tag, dataset.tag, request.tag),
            requester=request.requester,
            beneficiary=request.beneficiary,
            callback=request.callback,
            params=request.params,
            start_time=self.world.now,
            bot_first=self._consumed[order_hash(request, self.domain)],
            bot_size=volume,
            worker_stake=checked(worker_stake(workerpool.workerpoolprice, pool.worker_stake_ratio)),
            scheduler_reward_ratio=pool.scheduler_reward_ratio,
            sponsor=payer,
        )
