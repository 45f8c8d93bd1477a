"""The chain seam over JSON-RPC: any EVM node, anvil locally."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import httpx

from fairgrid.chain import bulk
from fairgrid.chain.abi import contract_abi
from fairgrid.chain.decode import decode_logs
from fairgrid.chain.fees import FeeMarket, Fees
from fairgrid.chain.follower import Follower
from fairgrid.chain.interface import (
    Block,
    Call,
    ChainEvent,
    Mined,
    Receipt,
    SignedTransaction,
    Snapshot,
    Wanted,
)
from fairgrid.chain.logs import read_logs
from fairgrid.chain.network import Network
from fairgrid.chain.rpc import JsonRpc, RpcError
from fairgrid.chain.sender import Sender, SenderOptions, reverted
from fairgrid.chain.snapshots import SnapshotReader
from fairgrid.chain.view_values import account_of, boost_of, contribution_of, deal_of, lane_of, task_of
from fairgrid.errors import (
    ContractReverted,
    FundsError,
    ServiceUnavailable,
    TransactionFailed,
    UsageError,
    VerificationError,
)
from fairgrid.protocol.hexes import checksum, from_hex, keccak, to_hex
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
    TaskStatus,
    WorkerpoolInfo,
)
from fairgrid.seams.closing import Closing
from fairgrid.wallet.signer import Signer

__all__ = ["JsonRpcChain"]

_VIEWS_AT_ONCE = 200
_TRANSFER = to_hex(keccak(b"Transfer(address,address,uint256)"))
_MEMBER_PURPOSE = 4
"""Under which a group of accounts (ERC-734) keeps its members."""
_REGISTRIES = {"app": "appregistry", "dataset": "datasetregistry", "workerpool": "workerpoolregistry"}


class JsonRpcChain(Closing):
    """Implements `fairgrid.chain.interface.Chain`; an async context manager.

    `connect` is how services open it: it checks that the node is on the pinned chain and the hub is the pinned code.
    """

    def __init__(
        self,
        rpc_url: str,
        *,
        chain_id: int,
        hub: str,
        rlc: str,
        options: SenderOptions | None = None,
        timeout_s: float = 20.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.rpc = JsonRpc(rpc_url, timeout_s=timeout_s, transport=transport)
        self.rlc = rlc
        self._chain_id = chain_id
        self._hub = hub
        self._snapshots = SnapshotReader(self.rpc, hub)
        self._sender = Sender(self.rpc, chain_id, options)
        self._registries: dict[str, str] = {}
        self._network: Network | None = None
        self._check_code = True

    @classmethod
    async def connect(
        cls, network: Network, *, check_code: bool = True, options: SenderOptions | None = None
    ) -> JsonRpcChain:
        """Open the chain of a network file (decision 31).

        Raises:
            ServiceUnavailable: no node answers.
            UsageError: the node is on another chain, or there is no hub on it.
            VerificationError: the hub's code is not the pinned one.
        """
        chain = cls(network.rpc, chain_id=network.chain_id, hub=network.hub, rlc=network.rlc, options=options)
        chain._network, chain._check_code = network, check_code
        try:
            await chain.verify()
        except BaseException:
            await chain.close()
            raise
        return chain

    async def _check(self, network: Network, *, check_code: bool) -> None:
        calls: list[tuple[str, Sequence[Any]]] = [("eth_chainId", ())]
        if check_code:
            calls.append(("eth_getCode", (network.hub, "latest")))
        answers = await self.rpc.batch(calls)
        found = int(answers[0], 16)
        if found != network.chain_id:
            raise UsageError(
                f"The node at {network.rpc} is on chain {found}, the network {network.name} on {network.chain_id}. "
                f"Name a node of that chain in the network file."
            )
        if not check_code:
            return
        code = from_hex(answers[1])
        if not code:
            raise UsageError(
                f"There is no contract at the hub's address {network.hub} on the chain at {network.rpc}. "
                f"The network file is of another chain, or the chain was begun anew: run `fairgrid up` again."
            )
        if to_hex(keccak(code)) != network.hub_code_hash:
            raise VerificationError(
                f"The code of the hub {network.hub} at {network.rpc} is not what the network {network.name} pins. "
                f"Do not use this node or this network file before you know why."
            )

    async def close(self) -> None:
        """Close the connections to the node."""
        await self.rpc.close()

    @property
    def chain_id(self) -> int:
        return self._chain_id

    @property
    def hub(self) -> str:
        return self._hub

    # --- reading ------------------------------------------------------------------------------------------------

    async def head(self, *, within_s: float = 0.0) -> Block:
        return self._snapshots.known_head(within_s) or await self._snapshots.head()

    async def snapshot(self, wanted: Wanted, *, since: str = "") -> Snapshot:
        return await self._snapshots.read(wanted, since=since)

    async def read(self, contract: str, address: str, function: str, *arguments: Any) -> Any:
        """What a view function answers: one value, or a tuple of several.

        Raises:
            ContractReverted: it reverts.
            UsageError: the answer is not one of this function (there is another contract, or none).
        """
        abi = contract_abi(contract)
        request = {"to": address, "data": to_hex(abi.encode_call(function, arguments))}
        try:
            answer = await self.rpc.request("eth_call", request, "latest")
        except RpcError as error:
            raise reverted(function, error) from error
        values = abi.decode_answer(function, from_hex(answer))
        return values[0] if len(values) == 1 else values

    async def _view(self, function: str, *arguments: Any) -> Any:
        try:
            return await self.read("hub", self._hub, function, *arguments)
        except UsageError as error:
            raise self._unreadable(function) from error

    def _unreadable(self, function: str) -> ServiceUnavailable:
        # The hub's code was checked: a node that answers otherwise than this code can is not in order.
        return ServiceUnavailable("chain", self.rpc.url, f"its answer to {function} cannot be read")

    async def _views(self, function: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answers of one view function to many arguments, in few requests."""
        abi = contract_abi("hub")
        requests = [
            ("eth_call", [{"to": self._hub, "data": to_hex(abi.encode_call(function, given))}, "latest"])
            for given in arguments
        ]
        answers = [
            answer
            for start in range(0, len(requests), _VIEWS_AT_ONCE)
            for answer in await self.rpc.batch(requests[start : start + _VIEWS_AT_ONCE])
        ]
        try:
            decoded = [abi.decode_answer(function, from_hex(answer)) for answer in answers]
        except UsageError as error:
            raise self._unreadable(function) from error
        return [values[0] if len(values) == 1 else values for values in decoded]

    async def view_deal(self, deal_id: str) -> Deal | None:
        return deal_of(await self._view("viewDeal", deal_id))

    async def view_deal_boost(self, deal_id: str) -> DealBoost | None:
        return boost_of(await self._view("viewDealBoost", deal_id))

    async def view_task(self, task_id: str) -> Task:
        return task_of(await self._view("viewTask", task_id))

    async def view_tasks(self, task_ids: Sequence[str]) -> list[Task]:
        return [task_of(values) for values in await self._views("viewTask", [(task_id,) for task_id in task_ids])]

    async def view_contribution(self, task_id: str, worker: str) -> Contribution:
        return contribution_of(await self._view("viewContribution", task_id, worker))

    async def view_contributions(self, pairs: Sequence[tuple[str, str]]) -> list[Contribution]:
        return [contribution_of(values) for values in await self._views("viewContribution", pairs)]

    async def view_run(self, run_id: str) -> Run:
        deal_id, first, count, status = await self._view("viewRun", run_id)
        return Run(deal_id, first, count, TaskStatus(status))

    async def view_lane(self, deal_id: str) -> Lane:
        return lane_of(await self._view("viewLane", deal_id))

    async def view_account(self, address: str) -> Account:
        return account_of(await self._view("viewAccount", address))

    async def view_role_account(self, address: str) -> RoleAccount | None:
        try:
            # One after the other: what is no role account fails at the first.
            owner, operator, roles = [
                await self.read("role_account", address, function) for function in ("owner", "operator", "roles")
            ]
        except (ContractReverted, UsageError):
            return None
        return RoleAccount(owner, operator, int(roles))

    async def is_member(self, group: str, account: str) -> bool:
        key = "0x" + account[2:].lower().rjust(64, "0")
        try:
            return bool(await self.read("group", group, "keyHasPurpose", key, _MEMBER_PURPOSE))
        except (ContractReverted, UsageError):
            return False

    async def view_score(self, worker: str, *, block_number: int | None = None) -> int:
        if block_number is not None:
            data = contract_abi("hub").encode_call("viewScore", (worker,))
            request = {"to": self._hub, "data": to_hex(data)}
            with contextlib.suppress(RpcError):  # the node has forgotten the state of that block
                return int(await self.rpc.request("eth_call", request, hex(block_number)), 16)
        return int(await self._view("viewScore", worker))

    async def view_category(self, category: int) -> Category:
        return Category(*await self._view("viewCategory", category))

    async def count_categories(self) -> int:
        return int(await self._view("countCategory"))

    async def view_consumed(self, order_hash: str) -> int:
        return int(await self._view("viewConsumed", order_hash))

    async def view_presigned(self, order_hash: str) -> str:
        return str(await self._view("viewPresigned", order_hash))

    async def view_app(self, address: str) -> AppInfo:
        return AppInfo(*await self._view("viewApp", address))

    async def view_dataset(self, address: str) -> DatasetInfo:
        return DatasetInfo(*await self._view("viewDataset", address))

    async def view_workerpool(self, address: str) -> WorkerpoolInfo:
        return WorkerpoolInfo(*await self._view("viewWorkerpool", address))

    async def registry(self, kind: str) -> str:
        """The address of the registry of ``app``, ``dataset`` or ``workerpool``.

        Raises:
            UsageError: there is no such kind.
        """
        if kind not in _REGISTRIES:
            raise UsageError(f"There is no registry of {kind}: name app, dataset or workerpool.")
        if kind not in self._registries:
            self._registries[kind] = await self._view(_REGISTRIES[kind])
        return self._registries[kind]

    async def is_registered(self, kind: str, address: str) -> bool:
        return bool(await self.read(f"{kind}_registry", await self.registry(kind), "isRegistered", address))

    async def verify_signature(self, signer: str, order_hash: str, signature: str) -> bool:
        return bool(await self._view("verifyPresignatureOrSignature", signer, order_hash, signature))

    async def balance_wei(self, address: str) -> int:
        return int(await self.rpc.request("eth_getBalance", address, "latest"), 16)

    async def block_hash(self, number: int) -> str | None:
        header = await self.rpc.request("eth_getBlockByNumber", hex(number), False)
        return None if header is None else str(header["hash"])

    async def verify(self) -> None:
        if self._network is not None:
            await self._check(self._network, check_code=self._check_code)

    async def rlc_balance(self, address: str) -> int:
        return int(await self.read("rlc", self.rlc, "balanceOf", address))

    async def deposit_transfers(self, sender: str, recipient: str, *, from_block: int) -> tuple[ChainEvent, ...]:
        query = {"address": self._hub, "topics": [_TRANSFER, _topic(sender), _topic(recipient)]}
        return tuple(decode_logs(await read_logs(self.rpc, query, from_block, (await self.head()).number)))

    async def entries_of(self, kind: str, owner: str, *, from_block: int) -> tuple[str, ...]:
        """Addresses of the apps, datasets or workerpools that became this account's since a block, oldest first.

        Raises:
            UsageError: there is no such kind.
        """
        query = {"address": await self.registry(kind), "topics": [_TRANSFER, None, _topic(owner)]}
        logs = await read_logs(self.rpc, query, from_block, (await self.head()).number)
        return tuple(dict.fromkeys(checksum("0x" + log["topics"][3][-40:]) for log in logs))

    # --- writing ------------------------------------------------------------------------------------------------

    async def prepare(self, call: Call, signer: Signer, *, nonce: int | None = None) -> SignedTransaction:
        return await self._sender.prepare(call, signer, nonce=nonce)

    async def broadcast(self, transaction: SignedTransaction) -> None:
        await self._sender.broadcast(transaction)

    async def receipt(self, tx_hash: str) -> Receipt | None:
        return await self._sender.receipt(tx_hash)

    async def transact(self, call: Call, signer: Signer) -> Receipt:
        return await self._sender.transact(call, signer)

    async def fee_market(self) -> FeeMarket:
        return await bulk.fee_market(self.rpc)

    async def count_transactions(self, address: str, *, pending: bool = False) -> int:
        return await bulk.count_transactions(self.rpc, address, pending=pending)

    async def estimate(self, calls: Sequence[Call], sender: str) -> list[int | TransactionFailed]:
        return await bulk.estimate(self.rpc, self._chain_id, calls, sender)

    def sign(self, call: Call, signer: Signer, *, nonce: int, gas: int, fees: Fees) -> SignedTransaction:
        return bulk.signed(self._chain_id, call, signer, nonce=nonce, gas=gas, fees=fees)

    def replace(self, transaction: SignedTransaction, signer: Signer, fees: Fees) -> SignedTransaction:
        return bulk.replaced(transaction, signer, fees)

    async def broadcast_all(
        self, transactions: Sequence[SignedTransaction]
    ) -> list[TransactionFailed | FundsError | None]:
        return await bulk.send_all(self.rpc, transactions)

    async def mined(self, hashes: Sequence[str]) -> list[Mined | None]:
        found = await bulk.mined(self.rpc, hashes)
        for mined in found:
            if mined is not None:
                self._sender.settle(mined.tx_hash)
                self._snapshots.outgrown(mined.block_number)
        return found

    # --- following ----------------------------------------------------------------------------------------------

    def follow(
        self,
        *,
        from_block: int,
        confirmations: int = 0,
        poll_s: float = 0.5,
        reached: Callable[[int], None] | None = None,
    ) -> AsyncIterator[ChainEvent]:
        follower = Follower(
            self.rpc,
            self._hub,
            from_block=from_block,
            confirmations=confirmations,
            poll_s=poll_s,
            newest=self._snapshots.saw,
        )
        return follower.events(reached)


def _topic(address: str) -> str:
    return f"0x{int(address, 16):064x}"
