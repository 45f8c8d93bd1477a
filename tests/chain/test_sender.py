from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tests.chain.support import DEPLOYER, chain_of, deploy_token, fund, someone

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.interface import Receipt
from fairgrid.chain.rpc import RpcError
from fairgrid.chain.sender import NonceTaken, SenderOptions, reverted
from fairgrid.errors import ContractReverted, FundsError, ServiceUnavailable, TransactionFailed, UsageError
from fairgrid.localnet.anvil import LOCAL_CHAIN_ID, AnvilOptions, AnvilProcess, start_anvil
from fairgrid.wallet.keys import KeySigner, dev_signer


async def until_mined(chain: JsonRpcChain, tx_hash: str) -> Receipt:
    for _ in range(500):
        receipt = await chain.receipt(tx_hash)
        if receipt is not None:
            return receipt
        await asyncio.sleep(0.02)
    raise AssertionError("not mined")


async def until_pending(anvil: AnvilProcess, count: int) -> None:
    for _ in range(500):
        if int(anvil.request("txpool_status")["pending"], 16) == count:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("not in the pool")


@pytest.fixture(scope="module")
def rlc(module_anvil: AnvilProcess) -> str:
    return deploy_token(module_anvil)


@pytest.fixture
async def chain(module_anvil: AnvilProcess, rlc: str) -> AsyncIterator[JsonRpcChain]:
    async with chain_of(module_anvil, rlc) as opened:
        yield opened


async def test_a_transaction_is_mined_and_its_events_are_decoded(
    chain: JsonRpcChain, module_anvil: AnvilProcess
) -> None:
    owner, friend = dev_signer(DEPLOYER), someone(module_anvil)
    receipt = await chain.transact(calls.transfer(chain.rlc, friend.address, 5), owner)
    assert receipt.succeeded
    assert 20_000 < receipt.gas_used < 80_000
    (event,) = receipt.events
    assert (event.name, event.arguments["to"], event.arguments["value"]) == ("Transfer", friend.address, 5)
    assert event.block_hash == receipt.block.hash
    assert await chain.rlc_balance(friend.address) == 5


async def test_many_in_flight_of_one_key_are_all_mined_with_nonces_without_gaps(
    chain: JsonRpcChain, module_anvil: AnvilProcess
) -> None:
    payer, friend = someone(module_anvil), someone(module_anvil)
    await chain.transact(calls.transfer(chain.rlc, payer.address, 100), dev_signer(DEPLOYER))
    payments = [chain.transact(calls.transfer(chain.rlc, friend.address, 1), payer) for _ in range(20)]
    receipts = await asyncio.gather(*payments)
    assert all(receipt.succeeded for receipt in receipts)
    assert await chain.rlc_balance(friend.address) == 20
    assert int(module_anvil.request("eth_getTransactionCount", payer.address, "latest"), 16) == 20


async def test_two_programs_with_one_key_get_all_their_transactions_mined(
    chain: JsonRpcChain, module_anvil: AnvilProcess
) -> None:
    payer, friend = someone(module_anvil), someone(module_anvil)
    await chain.transact(calls.transfer(chain.rlc, payer.address, 100), dev_signer(DEPLOYER))

    async def pay(program: JsonRpcChain) -> list[Receipt]:
        return [await program.transact(calls.transfer(chain.rlc, friend.address, 1), payer) for _ in range(6)]

    async with chain_of(module_anvil, chain.rlc) as other:
        await asyncio.gather(pay(chain), pay(other))
    assert await chain.rlc_balance(friend.address) == 12


async def test_a_reverting_call_is_refused_before_it_is_sent(chain: JsonRpcChain, module_anvil: AnvilProcess) -> None:
    poor = someone(module_anvil)
    with pytest.raises(ContractReverted) as caught:
        await chain.prepare(calls.transfer(chain.rlc, dev_signer(1).address, 1), poor)
    assert (caught.value.function, caught.value.reason, caught.value.tx_hash) == ("transfer", "(no data)", None)
    assert int(module_anvil.request("eth_getTransactionCount", poor.address, "pending"), 16) == 0


async def test_a_transaction_that_reverts_on_chain_names_its_reason_and_hash(
    chain: JsonRpcChain, module_anvil: AnvilProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both were fine when they were prepared; the second one no longer is when it is mined."""
    payer = someone(module_anvil)
    await chain.transact(calls.transfer(chain.rlc, payer.address, 1), dev_signer(DEPLOYER))
    both_prepared, request = asyncio.Barrier(2), chain.rpc.request

    async def sent_together(method: str, *parameters: Any) -> Any:
        if method == "eth_sendRawTransaction":
            await both_prepared.wait()
        return await request(method, *parameters)

    monkeypatch.setattr(chain.rpc, "request", sent_together)
    module_anvil.request("evm_setAutomine", False)
    try:
        payments = [
            asyncio.create_task(chain.transact(calls.transfer(chain.rlc, dev_signer(1).address, 1), payer))
            for _ in range(2)
        ]
        await until_pending(module_anvil, 2)
        module_anvil.request("evm_mine")
        done = await asyncio.gather(*payments, return_exceptions=True)
    finally:
        module_anvil.request("evm_setAutomine", True)
    failed = next(result for result in done if isinstance(result, ContractReverted))
    assert failed.tx_hash is not None
    assert "failed on chain" in failed.reason or failed.reason == "(no data)"
    assert sum(isinstance(result, Receipt) and result.succeeded for result in done) == 1


async def test_without_gas_money_the_message_says_who_needs_how_much(
    chain: JsonRpcChain, module_anvil: AnvilProcess
) -> None:
    poor = someone(module_anvil, wei=1000)
    with pytest.raises(FundsError, match=rf"{poor.address} cannot pay the gas of approve on chain 31337") as caught:
        await chain.prepare(calls.approve(chain.rlc, dev_signer(1).address, 1), poor)
    assert "1000 wei" in str(caught.value)
    fund(module_anvil, poor.address, 10**18)
    assert (await chain.transact(calls.approve(chain.rlc, dev_signer(1).address, 1), poor)).succeeded


async def test_gas_over_the_cap_is_refused(module_anvil: AnvilProcess, rlc: str) -> None:
    options = SenderOptions(max_fee_per_gas_wei=1)
    async with chain_of(module_anvil, rlc, options=options) as chain:
        with pytest.raises(TransactionFailed, match=r"over the cap of 0\.0"):
            await chain.prepare(calls.approve(chain.rlc, dev_signer(1).address, 1), dev_signer(DEPLOYER))


async def test_the_same_bytes_may_be_sent_again_before_and_after_they_are_mined(
    chain: JsonRpcChain, module_anvil: AnvilProcess
) -> None:
    payer = someone(module_anvil)
    transaction = await chain.prepare(calls.approve(chain.rlc, dev_signer(1).address, 7), payer)
    assert await chain.receipt(transaction.hash) is None
    for _ in range(3):
        await chain.broadcast(transaction)
    receipt = await until_mined(chain, transaction.hash)
    await chain.broadcast(transaction)
    assert receipt.succeeded
    assert int(module_anvil.request("eth_getTransactionCount", payer.address, "pending"), 16) == 1


async def test_a_transaction_whose_nonce_was_taken_says_so(chain: JsonRpcChain, module_anvil: AnvilProcess) -> None:
    payer = someone(module_anvil)
    first = await chain.prepare(calls.approve(chain.rlc, dev_signer(1).address, 1), payer, nonce=0)
    second = await chain.prepare(calls.approve(chain.rlc, dev_signer(1).address, 2), payer, nonce=0)
    await chain.broadcast(first)
    await until_mined(chain, first.hash)
    with pytest.raises(NonceTaken, match="prepare it anew") as caught:
        await chain.broadcast(second)
    assert caught.value.nonce == 0


async def test_a_nonce_is_free_again_when_signing_failed(chain: JsonRpcChain, module_anvil: AnvilProcess) -> None:
    payer = someone(module_anvil)

    class Declined(KeySigner):
        def sign_transaction(self, transaction: dict[str, Any]) -> bytes:
            raise UsageError("The owner declined.")

    with pytest.raises(UsageError, match="declined"):
        await chain.prepare(calls.approve(chain.rlc, dev_signer(1).address, 1), Declined(payer.private_key))
    again = await chain.prepare(calls.approve(chain.rlc, dev_signer(1).address, 1), payer)
    assert again.nonce == 0


class Held(httpx.AsyncBaseTransport):
    """A way to the node on which the first answer that counts transactions is held up until ``let_through`` is set."""

    def __init__(self) -> None:
        self._inner = httpx.AsyncHTTPTransport()
        self.is_held, self.let_through = asyncio.Event(), asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asked = await request.aread()
        response = await self._inner.handle_async_request(request)
        answer = await response.aread()
        await response.aclose()
        if b"eth_getTransactionCount" in asked and not self.is_held.is_set():
            self.is_held.set()
            await self.let_through.wait()
        return httpx.Response(200, content=answer)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def test_a_nonce_that_was_used_while_the_node_answered_is_not_taken_again(
    module_anvil: AnvilProcess, rlc: str
) -> None:
    sender, held = someone(module_anvil), Held()
    async with JsonRpcChain(module_anvil.rpc_url, chain_id=LOCAL_CHAIN_ID, hub=rlc, rlc=rlc, transport=held) as chain:
        slow = asyncio.create_task(chain.prepare(calls.approve(rlc, rlc, 1), sender))
        await held.is_held.wait()
        first = await chain.transact(calls.approve(rlc, rlc, 2), sender)
        held.let_through.set()
        second = await slow
        assert (first.succeeded, second.nonce) == (True, 1)
        await chain.broadcast(second)
        assert (await until_mined(chain, second.hash)).succeeded


async def test_a_nonce_of_one_transaction_is_read_in_one_request(
    chain: JsonRpcChain, module_anvil: AnvilProcess
) -> None:
    before = chain.rpc.asked.requests
    await chain.prepare(calls.approve(chain.rlc, chain.rlc, 1), someone(module_anvil))
    assert chain.rpc.asked.requests == before + 1


async def test_a_prepared_transaction_that_is_never_sent_blocks_its_nonce_for_a_while_only(
    module_anvil: AnvilProcess, rlc: str
) -> None:
    payer = someone(module_anvil)
    call = calls.approve(rlc, dev_signer(1).address, 1)
    async with chain_of(module_anvil, rlc, options=SenderOptions(reserve_s=3)) as chain:
        assert (await chain.prepare(call, payer)).nonce == 0
        assert (await chain.prepare(call, payer)).nonce == 1
        await asyncio.sleep(3.5)
        assert (await chain.prepare(call, payer)).nonce == 0


async def test_what_is_never_mined_is_an_error_with_the_hash(module_anvil: AnvilProcess, rlc: str) -> None:
    module_anvil.request("evm_setAutomine", False)
    try:
        async with chain_of(module_anvil, rlc, options=SenderOptions(mined_within_s=0.5)) as chain:
            with pytest.raises(TransactionFailed, match=r"not mined within 0\.5 s; it still may be") as caught:
                await chain.transact(calls.approve(rlc, dev_signer(1).address, 1), someone(module_anvil))
        assert caught.value.tx_hash is not None
    finally:
        module_anvil.request("evm_setAutomine", True)


async def test_a_transaction_in_flight_survives_a_node_that_dies_and_forgets_it(
    anvil_binary: Any, guardian: Any, tmp_path: Any
) -> None:
    options = AnvilOptions(block_time=None, state=tmp_path / "state.json", log=tmp_path / "anvil.log")
    anvil = await start_anvil(options, binary=anvil_binary, guardian=guardian)
    rlc = deploy_token(anvil)
    await anvil.stop()
    kept = AnvilOptions(port=anvil.port, block_time=600, mixed_mining=False, state=options.state, log=options.log)
    anvil = await start_anvil(kept, binary=anvil_binary, guardian=guardian)
    async with chain_of(anvil, rlc, options=SenderOptions(rebroadcast_s=0.2)) as chain:
        payment = asyncio.create_task(chain.transact(calls.approve(rlc, dev_signer(1).address, 1), dev_signer(0)))
        await until_pending(anvil, 1)
        anvil.kill()
        await asyncio.sleep(0.3)
        with pytest.raises(ServiceUnavailable):
            await chain.head()
        mining = AnvilOptions(port=anvil.port, block_time=None, state=options.state, log=options.log)
        anvil = await start_anvil(mining, binary=anvil_binary, guardian=guardian)
        try:
            assert (await asyncio.wait_for(payment, 15)).succeeded
        finally:
            await anvil.stop()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RpcError("eth_call", 3, "execution reverted", "0x4e487b71" + "11".rjust(64, "0")), "Panic(0x11)"),
        (RpcError("eth_call", -32000, "VM Exception: revert", {"data": "0x"}), "(no data)"),
        (RpcError("eth_call", -32015, "Reverted", "Reverted 0x"), "(no data)"),
        (RpcError("eth_call", -32000, "execution reverted: not yours", None), "not yours"),
        (RpcError("eth_call", 3, "execution reverted", None), "(no data)"),
        (RpcError("eth_call", -32003, "EVM error InvalidFEOpcode", None), "EVM error InvalidFEOpcode"),
    ],
)
def test_the_ways_in_which_nodes_tell_a_revert_give_one_reason(error: RpcError, reason: str) -> None:
    told = reverted("claim", error)
    assert isinstance(told, ContractReverted)
    assert told.reason == reason


def test_another_refusal_of_the_node_is_no_revert() -> None:
    told = reverted("claim", RpcError("eth_call", -32602, "invalid argument"))
    assert not isinstance(told, ContractReverted)
