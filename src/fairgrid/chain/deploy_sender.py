"""Send a deployment's transactions: all of a batch at once, then wait for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fairgrid.chain.decode import revert_reason
from fairgrid.chain.rpc import JsonRpc, RpcError
from fairgrid.errors import ContractReverted, FundsError, TransactionFailed, UsageError
from fairgrid.protocol.hexes import from_hex, keccak, to_hex
from fairgrid.wallet.signer import Signer

__all__ = ["Step", "StepSender", "gather_all"]

_Value = TypeVar("_Value")

_WEI_PER_COIN = 10**18
_DEFAULT_TIP_WEI = 10**9
_GAS_MARGIN_PERCENT = 10
_FIRST_POLL_S = 0.05
_LAST_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction. ``label`` names it in the report of gas; ``creates`` is the contract that will stand there."""

    label: str
    message: str
    to: str
    data: bytes
    creates: str | None = None


async def gather_all(coroutines: Iterable[Coroutine[Any, Any, _Value]]) -> list[_Value]:
    """The results in order. The first failure is raised, after the others have ended: none outlives its connection."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


class StepSender:
    """Signs and sends for one account of one chain. Nobody else may send for that account meanwhile."""

    def __init__(
        self, rpc: JsonRpc, signer: Signer, chain_id: int, *, tell: Callable[[str], None], timeout_s: float
    ) -> None:
        self._rpc = rpc
        self._signer = signer
        self._chain_id = chain_id
        self._tell = tell
        self._timeout_s = timeout_s

    async def settle(self) -> None:
        """Wait until no transaction of the account is pending, such as those of a run that was broken off.

        Raises:
            TransactionFailed: some still are after the time-out.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        pause = _FIRST_POLL_S
        while waiting := await self._nonce("pending") - await self._nonce("latest"):
            if asyncio.get_running_loop().time() > deadline:
                raise TransactionFailed(
                    "deploy",
                    f"{waiting} earlier transaction(s) of {self._signer.address} were not mined within "
                    f"{self._timeout_s:.0f} s; speed them up or cancel them in your wallet, and run it again",
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_POLL_S)

    async def send(self, steps: Sequence[Step]) -> dict[str, int]:
        """Send all, wait for all; gas used by label. The steps must not depend on each other.

        Raises:
            ContractReverted: a step would fail; nothing of this batch was sent.
            FundsError: the account cannot pay for all of them; nothing of this batch was sent.
            TransactionFailed: a transaction was refused, failed on chain, or was not mined in time.
        """
        if not steps:
            return {}
        limits = await gather_all(self._estimate(step) for step in steps)
        max_fee, tip = await self._fees()
        await self._check_funds(sum(limits), max_fee)
        nonce = await self._nonce("pending")
        hashes = []
        for offset, (step, gas) in enumerate(zip(steps, limits, strict=True)):
            self._tell(step.message)
            raw = self._signer.sign_transaction(
                {
                    "chainId": self._chain_id,
                    "nonce": nonce + offset,
                    "gas": gas,
                    "maxFeePerGas": max_fee,
                    "maxPriorityFeePerGas": tip,
                    "value": 0,
                    "to": step.to,
                    "data": step.data,
                }
            )
            hashes.append(await self._broadcast(step, raw))
        used = await gather_all(self._mined(step, tx_hash) for step, tx_hash in zip(steps, hashes, strict=True))
        return {step.label: gas for step, gas in zip(steps, used, strict=True)}

    async def _estimate(self, step: Step) -> int:
        call = {"from": self._signer.address, "to": step.to, "data": to_hex(step.data)}
        try:
            gas = int(await self._rpc.request("eth_estimateGas", call, "latest"), 16)
        except RpcError as error:
            # The deployer passes no reason on, and nodes say "execution reverted" in many words.
            data = error.data if isinstance(error.data, str) and error.data.startswith("0x") else "0x"
            reason = revert_reason(from_hex(data)) if len(data) > 2 else error.message
            raise ContractReverted(step.label, reason) from error
        return gas + gas * _GAS_MARGIN_PERCENT // 100

    async def _nonce(self, block: str) -> int:
        return int(await self._rpc.request("eth_getTransactionCount", self._signer.address, block), 16)

    async def _fees(self) -> tuple[int, int]:
        """Highest fee and tip for a gas, in wei; the base fee may double before a transaction is left behind."""
        block = await self._rpc.request("eth_getBlockByNumber", "latest", False)
        if "baseFeePerGas" not in block:
            raise UsageError(
                f"Chain {self._chain_id} has no EIP-1559 fees, so it is older than what the contracts need (prague). "
                "Choose a newer chain."
            )
        try:
            tip = int(await self._rpc.request("eth_maxPriorityFeePerGas"), 16)
        except RpcError:
            tip = _DEFAULT_TIP_WEI
        return 2 * int(block["baseFeePerGas"], 16) + tip, tip

    async def _check_funds(self, gas: int, max_fee: int) -> None:
        address = self._signer.address
        balance = int(await self._rpc.request("eth_getBalance", address, "latest"), 16)
        if balance < gas * max_fee:
            raise FundsError(
                f"{address} has {balance / _WEI_PER_COIN:.6f} of the chain's coin, and the next transactions may cost "
                f"{gas * max_fee / _WEI_PER_COIN:.6f} ({gas} gas). None of them was sent: add coins, and run it again."
            )

    async def _broadcast(self, step: Step, raw: bytes) -> str:
        try:
            await self._rpc.request("eth_sendRawTransaction", to_hex(raw))
        except RpcError as error:
            raise TransactionFailed(step.label, error.message) from error
        return to_hex(keccak(raw))

    async def _mined(self, step: Step, tx_hash: str) -> int:
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        pause = _FIRST_POLL_S
        receipt: dict[str, Any] | None = None
        while (receipt := await self._rpc.request("eth_getTransactionReceipt", tx_hash)) is None:
            if asyncio.get_running_loop().time() > deadline:
                raise TransactionFailed(
                    step.label, f"not mined within {self._timeout_s:.0f} s; run it again later", tx_hash=tx_hash
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_POLL_S)
        if int(receipt["status"], 16) != 1 and not await self._is_there(step):
            raise TransactionFailed(step.label, "it failed on chain; run it again", tx_hash=tx_hash)
        return int(receipt["gasUsed"], 16)

    async def _is_there(self, step: Step) -> bool:
        """A creation fails where somebody else was faster: what matters is that the contract stands."""
        return step.creates is not None and await self._rpc.request("eth_getCode", step.creates, "latest") != "0x"
