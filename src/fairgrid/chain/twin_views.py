"""Reading of the chain's twin: its head, and what the hub's views answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

from fairgrid.chain.decode import NO_DATA
from fairgrid.chain.interface import Block, ChainEvent, Snapshot, Wanted
from fairgrid.chain.twin_blocks import TwinBlocks
from fairgrid.errors import ContractReverted, UsageError
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.model import Revert
from fairgrid.protocol.views import (
    Account,
    AppInfo,
    Category,
    Contribution,
    DatasetInfo,
    Deal,
    DealBoost,
    Lane,
    RoleAccount,
    Run,
    Task,
    WorkerpoolInfo,
)

__all__ = ["TwinViews"]


class TwinViews(TwinBlocks):
    """The reading half of `fairgrid.chain.interface.Chain`."""

    @property
    def rlc(self) -> str:
        """The token's address."""
        return self.model.token.address

    async def head(self, *, within_s: float = 0.0) -> Block:
        self._check_up()
        return self._head

    async def snapshot(self, wanted: Wanted, *, since: str = "") -> Snapshot:
        head = await self.head()
        if head.hash == since:
            return Snapshot(block=head)
        # Nothing here ever waits, so that no block comes in between.
        return Snapshot(
            block=head,
            deals={deal: await self.view_deal(deal) for deal in wanted.deals},
            tasks={task: await self.view_task(task) for task in wanted.tasks},
            contributions={pair: await self.view_contribution(*pair) for pair in wanted.contributions},
            accounts={address: await self.view_account(address) for address in wanted.accounts},
            lanes={deal: await self.view_lane(deal) for deal in wanted.lanes},
            hashes={number: await self.block_hash(number) for number in wanted.blocks},
        )

    async def view_deal(self, deal_id: str) -> Deal | None:
        self._check_up()
        deal = self.model.view_deal(deal_id)
        return None if deal.app.pointer == ZERO_ADDRESS else deal

    async def view_deal_boost(self, deal_id: str) -> DealBoost | None:
        self._check_up()
        deal = self.model.view_deal_boost(deal_id)
        return None if deal.sponsor == ZERO_ADDRESS else deal

    async def view_task(self, task_id: str) -> Task:
        self._check_up()
        return self.model.view_task(task_id)

    async def view_tasks(self, task_ids: Sequence[str]) -> list[Task]:
        return [await self.view_task(task_id) for task_id in task_ids]

    async def view_contributions(self, pairs: Sequence[tuple[str, str]]) -> list[Contribution]:
        return [await self.view_contribution(task_id, worker) for task_id, worker in pairs]

    async def block_hash(self, number: int) -> str | None:
        self._check_up()
        mined = self._at(number)
        return None if mined is None else mined.block.hash

    async def verify(self) -> None:
        self._check_up()

    async def view_contribution(self, task_id: str, worker: str) -> Contribution:
        self._check_up()
        return self.model.view_contribution(task_id, worker)

    async def view_run(self, run_id: str) -> Run:
        self._check_up()
        return self.model.view_run(run_id)

    async def view_lane(self, deal_id: str) -> Lane:
        self._check_up()
        return self.model.view_lane(deal_id)

    async def view_account(self, address: str) -> Account:
        self._check_up()
        return self.model.view_account(address)

    async def view_score(self, worker: str, *, block_number: int | None = None) -> int:
        self._check_up()
        return self.model.view_score(worker)

    async def view_category(self, category: int) -> Category:
        self._check_up()
        return cast(Category, self._view("viewCategory", lambda: self.model.view_category(category)))

    async def count_categories(self) -> int:
        self._check_up()
        return self.model.count_category()

    async def view_consumed(self, order_hash: str) -> int:
        self._check_up()
        return self.model.view_consumed(order_hash)

    async def view_presigned(self, order_hash: str) -> str:
        self._check_up()
        return self.model.view_presigned(order_hash)

    async def view_app(self, address: str) -> AppInfo:
        self._check_up()
        return cast(AppInfo, self._view("viewApp", lambda: self.model.registries.apps.info(address)))

    async def view_dataset(self, address: str) -> DatasetInfo:
        self._check_up()
        return cast(DatasetInfo, self._view("viewDataset", lambda: self.model.registries.datasets.info(address)))

    async def view_workerpool(self, address: str) -> WorkerpoolInfo:
        self._check_up()
        pools = self.model.registries.workerpools
        return cast(WorkerpoolInfo, self._view("viewWorkerpool", lambda: pools.info(address)))

    async def registry(self, kind: str) -> str:
        """The address of the registry of ``app``, ``dataset`` or ``workerpool``."""
        registries = self.model.registries
        addresses = {
            "app": registries.apps.address,
            "dataset": registries.datasets.address,
            "workerpool": registries.workerpools.address,
        }
        try:
            return addresses[kind]
        except KeyError:
            raise UsageError(f"There is no registry of {kind}: name app, dataset or workerpool.") from None

    async def is_registered(self, kind: str, address: str) -> bool:
        self._check_up()
        await self.registry(kind)
        return self.model.registries.is_registered(cast(Literal["app", "dataset", "workerpool"], kind), address)

    async def verify_signature(self, signer: str, order_hash: str, signature: str) -> bool:
        self._check_up()
        return bool(
            self._view(
                "verifyPresignatureOrSignature",
                lambda: self.model.verify_presignature_or_signature(signer, order_hash, signature),
            )
        )

    async def balance_wei(self, address: str) -> int:
        self._check_up()
        return self._wei_of(address)

    async def view_role_account(self, address: str) -> RoleAccount | None:
        self._check_up()
        return self.role_accounts.get(address)

    async def is_member(self, group: str, account: str) -> bool:
        self._check_up()
        return (group, account) in self.model.group_members

    async def rlc_balance(self, address: str) -> int:
        self._check_up()
        return self.model.token.balance_of(address)

    async def deposit_transfers(self, sender: str, recipient: str, *, from_block: int) -> tuple[ChainEvent, ...]:
        self._check_up()
        return tuple(
            event
            for mined in self._blocks[max(from_block, 0) :]
            for event in self._of_hub(mined)
            if event.name == "Transfer" and (event.arguments["from"], event.arguments["to"]) == (sender, recipient)
        )

    def _view(self, function: str, view: Any) -> Any:
        try:
            return view()
        except Revert as error:
            raise ContractReverted(function, NO_DATA if error.text is None else error.text) from error
