"""Boost in the reference model (`spec/poco.md` §18): deals of trust 0 or 1 whose results are pushed in one transaction.

Orders and their units are those of the classic lane. Deals and tasks are not: neither lane sees the other's, and tasks
of a deal count from 0. One rule is not the published one: the sponsor of a deal pays for its tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from fairgrid.protocol import deadlines, ids, rewards
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, from_hex, keccak, to_hex32
from fairgrid.protocol.matching import Kind, authorised, deal_volume
from fairgrid.protocol.model_batch import RunBook
from fairgrid.protocol.model_registry import Registries
from fairgrid.protocol.model_state import Revert, Table, World, require, transaction
from fairgrid.protocol.model_tasks import NO_TASK
from fairgrid.protocol.model_token import Rlc
from fairgrid.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.rewards import KITTY_ADDRESS
from fairgrid.protocol.tags import covers, join_tags, requires_tee
from fairgrid.protocol.typed_data import order_hash
from fairgrid.protocol.views import DealBoost, TaskStatus

__all__ = ["BOOST_PREFIX", "NO_DEAL_BOOST", "BoostBook"]

BOOST_PREFIX: Final = "PocoBoost: "
"""What every text of a refusal begins with."""

_NO_SHORT_TAG: Final = "0x000000"

NO_DEAL_BOOST = DealBoost(
    app_owner=ZERO_ADDRESS,
    app_price=0,
    dataset_owner=ZERO_ADDRESS,
    dataset_price=0,
    workerpool_owner=ZERO_ADDRESS,
    workerpool_price=0,
    requester=ZERO_ADDRESS,
    worker_reward=0,
    callback=ZERO_ADDRESS,
    deadline=0,
    bot_first=0,
    bot_size=0,
    short_tag=_NO_SHORT_TAG,
    sponsor=ZERO_ADDRESS,
)
"""What `view_deal_boost` shows of an id that is no deal of boost."""


class BoostBook(RunBook):
    """Deals of boost and their tasks."""

    def __init__(
        self, world: World, chain_id: int, address: str, owner: str, token: Rlc, registries: Registries
    ) -> None:
        super().__init__(world, chain_id, address, owner, token, registries)
        self._boosts: Table[str, DealBoost] = Table(world, NO_DEAL_BOOST)

    def view_deal_boost(self, deal_id: str) -> DealBoost:
        """The deal; `NO_DEAL_BOOST` for an unknown id and for a classic deal's."""
        return self._boosts[deal_id]

    @property
    def boost_ids(self) -> tuple[str, ...]:
        """All deals of boost, oldest first."""
        return tuple(self._boosts)

    # --- transactions -------------------------------------------------------------------------------------------

    @transaction
    def match_orders_boost(
        self, caller: str, app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder
    ) -> str:
        """Make a deal that the requester pays, whoever calls. Returns its id."""
        return self._match_boost(request.requester, app, dataset, workerpool, request)

    @transaction
    def sponsor_match_orders_boost(
        self, caller: str, app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder
    ) -> str:
        """Make a deal that the caller pays. Returns its id."""
        deal = self._match_boost(caller, app, dataset, workerpool, request)
        self.world.emit(self.address, "DealSponsoredBoost", dealId=deal, sponsor=caller)
        return deal

    @transaction
    def push_result_boost(
        self,
        caller: str,
        deal_id: str,
        index: int,
        results: bytes,
        results_callback: bytes = b"",
        authorisation_sign: str = "0x",
        enclave_challenge: str = ZERO_ADDRESS,
        enclave_sign: str = "0x",
    ) -> None:
        """The caller, a worker whom the pool's owner (or the broker) authorised, ends a task, and all are paid.

        Raises:
            Revert: a text that begins with `BOOST_PREFIX`, or ``invalid-signature-format``.
        """
        deal = self._boosts[deal_id]
        task_id = self._unset_task(deal, deal_id, index)
        _demand(self.world.now < deal.deadline, "Deadline reached")
        has_challenge = enclave_challenge != ZERO_ADDRESS
        _demand(has_challenge or not requires_tee(_long(deal.short_tag)), "Tag requires enclave challenge")
        by_broker = has_challenge and self.tee_broker != ZERO_ADDRESS
        authority = self.tee_broker if by_broker else deal.workerpool_owner
        authorisation = ids.authorisation_message(caller, task_id, enclave_challenge)
        _demand(
            self._signed_message(authority, authorisation, authorisation_sign),
            "Invalid contribution authorization signature",
        )
        has_callback = deal.callback != ZERO_ADDRESS
        if has_challenge:
            digest = to_hex32(keccak(results_callback if has_callback else results))
            message = from_hex(ids.result_seal(caller, task_id, digest))
            _demand(self._signed_message(enclave_challenge, message, enclave_sign), "Invalid enclave signature")

        self._tasks[task_id] = replace(NO_TASK, status=TaskStatus.COMPLETED)
        self._pay_for_push(caller, task_id, deal)
        self.world.emit(self.address, "ResultPushedBoost", dealId=deal_id, index=index, results=results)
        _demand(not has_callback or bool(results_callback), "Callback requires data")

    @transaction
    def claim_boost(self, caller: str, deal_id: str, index: int) -> None:
        """Anybody ends a task whose result was not pushed in time: refund, and the pool's stake to the kitty."""
        deal = self._boosts[deal_id]
        task_id = self._unset_task(deal, deal_id, index)
        _demand(self.world.now >= deal.deadline, "Deadline not reached")
        self._tasks[task_id] = replace(NO_TASK, status=TaskStatus.FAILED)
        stake = rewards.pool_stake(deal.workerpool_price)
        self._unlock(deal.sponsor, _price(deal))
        self._seize(deal.workerpool_owner, stake, task_id)
        self._frozen[KITTY_ADDRESS] += stake
        self.world.emit(self.address, "Reward", owner=KITTY_ADDRESS, amount=stake, ref=task_id)
        self.world.emit(self.address, "Lock", owner=KITTY_ADDRESS, amount=stake)
        self.world.emit(self.address, "TaskClaimed", taskid=task_id)

    # --- inside the chain ---------------------------------------------------------------------------------------

    def _unset_task(self, deal: DealBoost, deal_id: str, index: int) -> str:
        _demand(0 <= index < deal.bot_size, "Unknown task")
        task_id = ids.task_id(deal_id, index)
        _demand(self._tasks[task_id].status == TaskStatus.UNSET, "Task status not unset")
        return task_id

    def _pay_for_push(self, worker: str, task_id: str, deal: DealBoost) -> None:
        self._seize(deal.sponsor, _price(deal), task_id)
        self._reward(worker, deal.worker_reward, task_id)
        if deal.app_price > 0:
            self._reward(deal.app_owner, deal.app_price, task_id)
        if deal.dataset_price > 0:
            self._reward(deal.dataset_owner, deal.dataset_price, task_id)
        self._unlock(deal.workerpool_owner, rewards.pool_stake(deal.workerpool_price))
        part = rewards.kitty_part(self._frozen[KITTY_ADDRESS])
        if part > 0:
            self._seize(KITTY_ADDRESS, part, task_id)
        self._reward(deal.workerpool_owner, deal.workerpool_price - deal.worker_reward + part, task_id)

    def _match_boost(
        self, payer: str, app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder
    ) -> str:
        for text, holds in self._boost_rules(app, dataset, workerpool, request):
            _demand(holds, text)
        deal = self._new_boost(payer, app, dataset, workerpool, request)
        has_dataset = dataset.dataset != ZERO_ADDRESS
        hashes = {order.KIND: order_hash(order, self.domain) for order in (app, dataset, workerpool, request)}
        deal_id = ids.deal_id(hashes["request"], deal.bot_first)
        self._boosts[deal_id] = deal
        for kind, hash_ in hashes.items():
            if kind != "dataset" or has_dataset:
                self._consumed[hash_] += deal.bot_size
        self._lock(payer, _price(deal) * deal.bot_size)
        self._lock(deal.workerpool_owner, rewards.pool_stake(deal.workerpool_price) * deal.bot_size)
        self.world.emit(
            self.address,
            "SchedulerNoticeBoost",
            workerpool=workerpool.workerpool,
            dealId=deal_id,
            app=app.app,
            dataset=dataset.dataset,
            category=request.category,
            tag=join_tags(app.tag, dataset.tag, request.tag),
            params=request.params,
            beneficiary=request.beneficiary,
        )
        self.world.emit(
            self.address,
            "OrdersMatched",
            dealid=deal_id,
            appHash=hashes["app"],
            datasetHash=hashes["dataset"] if has_dataset else ZERO32,
            workerpoolHash=hashes["workerpool"],
            requestHash=hashes["request"],
            volume=deal.bot_size,
        )
        return deal_id

    def _new_boost(
        self, payer: str, app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder
    ) -> DealBoost:
        pool = self.registries.workerpools.info(workerpool.workerpool)
        has_dataset = dataset.dataset != ZERO_ADDRESS
        split = rewards.distribute_fast(
            workerpool_price=workerpool.workerpoolprice, scheduler_reward_ratio=pool.scheduler_reward_ratio
        )
        timeref = self.view_category(request.category).timeref
        deal = DealBoost(
            app_owner=self.registries.apps.info(app.app).owner,
            app_price=_fitting(96, app.appprice),
            dataset_owner=ZERO_ADDRESS,
            dataset_price=0,
            workerpool_owner=pool.owner,
            workerpool_price=_fitting(96, workerpool.workerpoolprice),
            requester=request.requester,
            worker_reward=split.workers[0],
            callback=request.callback,
            deadline=deadlines.contribution_deadline(self.world.now, timeref),
            bot_first=_fitting(16, self._consumed[order_hash(request, self.domain)]),
            bot_size=_fitting(16, deal_volume(app, dataset, workerpool, request, self._facts)),
            short_tag=f"0x{join_tags(app.tag, dataset.tag, request.tag)[-6:]}",
            sponsor=payer,
        )
        if not has_dataset:
            return deal
        owner = self.registries.datasets.info(dataset.dataset).owner
        return replace(deal, dataset_owner=owner, dataset_price=_fitting(96, dataset.datasetprice))

    def _boost_rules(
        self, app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder
    ) -> Iterator[tuple[str, bool]]:
        yield "Bad trust level", request.trust <= 1
        yield "Category mismatch", request.category == workerpool.category
        yield "Unknown category", request.category < self.count_category()
        yield "Overpriced app", request.appmaxprice >= app.appprice
        yield "Overpriced dataset", request.datasetmaxprice >= dataset.datasetprice
        yield "Overpriced workerpool", request.workerpoolmaxprice >= workerpool.workerpoolprice
        tag = join_tags(app.tag, dataset.tag, request.tag)
        yield "Workerpool tag does not match demand", covers(workerpool.tag, tag)
        yield "App tag does not match demand", requires_tee(app.tag) or not requires_tee(tag)
        yield "App mismatch", request.app == app.app
        yield "Dataset mismatch", request.dataset == dataset.dataset
        for owner, what, restriction, party in (
            ("request", "Workerpool", request.workerpool, workerpool.workerpool),
            ("app", "Dataset", app.datasetrestrict, dataset.dataset),
            ("app", "Workerpool", app.workerpoolrestrict, workerpool.workerpool),
            ("app", "Requester", app.requesterrestrict, request.requester),
            ("dataset", "App", dataset.apprestrict, app.app),
            ("dataset", "Workerpool", dataset.workerpoolrestrict, workerpool.workerpool),
            ("dataset", "Requester", dataset.requesterrestrict, request.requester),
            ("workerpool", "App", workerpool.apprestrict, app.app),
            ("workerpool", "Dataset", workerpool.datasetrestrict, dataset.dataset),
            ("workerpool", "Requester", workerpool.requesterrestrict, request.requester),
        ):
            yield f"{what} restricted by {owner} order", authorised(restriction, party, self._facts)
        yield from self._boost_provenance("app", app.app, app)
        if dataset.dataset != ZERO_ADDRESS:
            yield from self._boost_provenance("dataset", dataset.dataset, dataset)
        yield from self._boost_provenance("workerpool", workerpool.workerpool, workerpool)
        yield "Invalid request order signature", self._facts.is_signed(request, request.requester)
        yield "One or more orders consumed", deal_volume(app, dataset, workerpool, request, self._facts) > 0

    def _boost_provenance(self, kind: Kind, asset: str, order: Order) -> Iterator[tuple[str, bool]]:
        yield f"{kind.capitalize()} not registered", self._facts.is_registered(kind, asset)
        owner = self._facts.owner(kind, asset)
        yield f"Invalid {kind} order signature", owner is not None and self._facts.is_signed(order, owner)


def _demand(condition: bool, text: str) -> None:
    require(condition, BOOST_PREFIX + text)


def _price(deal: DealBoost) -> int:
    return rewards.task_price(deal.app_price, deal.dataset_price, deal.workerpool_price)


def _long(short_tag: str) -> str:
    return f"0x{short_tag.removeprefix('0x'):0>64}"


def _fitting(bits: int, value: int) -> int:
    if value >> bits:
        raise Revert(f"SafeCastOverflowedUintDowncast({bits}, {value})")
    return value
