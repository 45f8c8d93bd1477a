"""The requester: its deals, the tasks and runs that they became on the present chain, and what reads what."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fairgrid.chain import calls
from fairgrid.chain.interface import SignedTransaction
from fairgrid.chain.sender import NonceTaken
from fairgrid.errors import ContractReverted
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.protocol.ids import deal_id as id_of_deal
from fairgrid.protocol.ids import task_id as id_of_task
from fairgrid.protocol.manifest import FileRef, Item, Manifest, Resources, TaskRef, params_for
from fairgrid.protocol.orders import NULL_DATASET_ORDER, AppOrder, Order, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.tags import LANE_MASK
from fairgrid.protocol.typed_data import order_hash, order_typed_data
from fairgrid.protocol.views import TaskStatus
from fairgrid.wallet.keys import KeySigner
from tests.simulation.plan import DealPlan

if TYPE_CHECKING:
    from tests.simulation.world import Simulation

__all__ = ["APP_PRICE", "POOL_PRICE", "RUNTIME", "Requests"]

POOL_PRICE = 1_000
APP_PRICE = 50
RUNTIME = "simulated/1"
_AGAIN_S = 7.0
_OVER = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SPLIT)


class Requests:
    """What was asked for, since it was asked: the requester knows it whatever the chain takes back."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.task_ids: list[str] = []
        """Tasks of the classic lane."""
        self.trusts: dict[str, int] = {}
        """The trust of each deal, and of each task of the classic lane."""
        self.lanes: dict[str, DealPlan] = {}
        """Deals of the batch lane."""
        self.needs: dict[str, str] = {}
        """The task whose result a task reads."""
        self.runs_leased: dict[str, tuple[str, int, int]] = {}
        """Deal, first index and count of each run that was leased: some are not opened on chain before they end."""
        self._deal_ids: dict[int, str] = {}

    # --- what there is on chain -----------------------------------------------------------------------------------

    def runs(self) -> Iterator[str]:
        """The runs that the present chain has."""
        return iter(self._simulation.chain.model._run_counts)

    def unit_ids(self) -> list[str]:
        """All that is settled as one: tasks of the classic lane, and runs."""
        return [*self.task_ids, *self.runs()] if self.lanes else self.task_ids

    def trust_of(self, unit: str) -> int:
        """What its deal asks, also when a reorganisation took that back."""
        deal_id = self.run_of(unit)[0]
        return self.trusts.get(unit, self.trusts.get(deal_id, 0))

    def run_of(self, unit: str) -> tuple[str, int, int]:
        """Deal, first index and count of a run, opened or not; a count of 0 for whatever is none."""
        known = self.runs_leased.get(unit)
        if known is not None:
            return known
        run = self._simulation.chain.model.view_run(unit)
        return run.deal_id, run.first, run.count

    def units_left(self) -> int:
        """How many tasks and runs are not over; a lane that is not whole counts as one."""
        model = self._simulation.chain.model
        left = sum(model.view_task(unit).status not in _OVER for unit in self.unit_ids())
        return left + (not self.are_lanes_whole)

    @property
    def are_lanes_whole(self) -> bool:
        """Whether every task of the batch lane is in a run, or refunded."""
        return all(self._is_whole(deal_id, plan) for deal_id, plan in self.lanes.items())

    def _is_whole(self, deal_id: str, plan: DealPlan) -> bool:
        lane = self._simulation.chain.model.view_lane(deal_id)
        return lane.in_batch_lane and (lane.refunded or lane.cursor == plan.volume)

    @property
    def are_all_known(self) -> bool:
        """Whether every deal of the plan was asked for."""
        return len(self._deal_ids) == len(self._simulation.plan.deals)

    # --- asking ---------------------------------------------------------------------------------------------------

    async def ask(self, number: int, plan: DealPlan) -> None:
        """Match a deal, and match it again when a reorganisation took it back; for ever."""
        await asyncio.sleep(plan.at_s)
        simulation, chain = self._simulation, self._simulation.chain
        orders = self._orders(number, plan)
        deal_id = id_of_deal(order_hash(orders[2], simulation.domain), 0)
        call = calls.match_orders(
            chain.hub,
            self._signed(orders[0], simulation.admin),
            NULL_DATASET_ORDER,
            self._signed(orders[1], simulation.scheduler),
            self._signed(orders[2], simulation.requester),
        )
        self._deal_ids[number] = deal_id
        self.trusts[deal_id] = plan.trust
        if plan.lane:
            self.lanes[deal_id] = plan
        else:
            tasks = [id_of_task(deal_id, index) for index in range(plan.volume)]
            self.task_ids += tasks
            self.trusts |= dict.fromkeys(tasks, plan.trust)
            if plan.reads >= 0:
                self.needs |= dict.fromkeys(tasks, self._first_task(plan.reads))
        transaction: SignedTransaction | None = None
        while True:
            if await chain.view_deal(deal_id) is None:
                with contextlib.suppress(ContractReverted):
                    if transaction is None:
                        transaction = await chain.prepare(call, simulation.requester)
                    try:
                        await chain.broadcast(transaction)
                        text = f"matches deal {number + 1}: trust {plan.trust}, {plan.volume} task(s)"
                        simulation.note("requester", f"{text}{' in the batch lane' if plan.lane else ''}")
                    except NonceTaken:
                        transaction = None
                        continue
            await asyncio.sleep(_AGAIN_S)

    def _orders(self, number: int, plan: DealPlan) -> tuple[AppOrder, WorkerpoolOrder, RequestOrder]:
        simulation, salt = self._simulation, f"0x{number + 1:064x}"
        tag = f"0x{LANE_MASK:064x}" if plan.lane else ZERO32
        app = AppOrder(simulation.app, APP_PRICE, 100, salt=salt)
        workerpool = WorkerpoolOrder(
            simulation.workerpool, POOL_PRICE, 100, trust=1_000, category=simulation.category, tag=tag, salt=salt
        )
        request = RequestOrder(
            simulation.app,
            APP_PRICE,
            ZERO_ADDRESS,
            0,
            ZERO_ADDRESS,
            POOL_PRICE,
            simulation.requester.address,
            plan.volume,
            trust=plan.trust,
            category=simulation.category,
            beneficiary=simulation.requester.address,
            params=self._params(plan),
            tag=tag,
            salt=salt,
        )
        return app, workerpool, request

    def _params(self, plan: DealPlan) -> str:
        """Of a deal that reads results: a manifest in storage that names them; of the others nothing."""
        if plan.reads < 0:
            return "{}"
        reference = TaskRef("read", self._first_task(plan.reads))
        manifest = Manifest(
            script=FileRef("job.py", cid_of(b"a job"), 5),
            runtime=RUNTIME,
            resources=Resources(fuel=1),
            items=tuple(Item(dependencies=(reference,)) for _ in range(plan.volume)),
        )
        data = manifest.to_bytes()
        self._simulation.blobs.blobs[cid_of(data)] = data
        return params_for("http://storage", cid_of(data))

    def _first_task(self, number: int) -> str:
        """Of another deal, matched or not: who signs it knows its id."""
        request = self._orders(number, self._simulation.plan.deals[number])[2]
        return id_of_task(id_of_deal(order_hash(request, self._simulation.domain), 0), 0)

    def _signed(self, order: Order, signer: KeySigner) -> Any:
        return order.signed(signer.sign_typed_data(order_typed_data(order, self._simulation.domain)))
