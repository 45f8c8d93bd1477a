from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest

from fairgrid.errors import UsageError
from fairgrid.localnet.anvil import AnvilOptions, AnvilProcess, start_anvil
from fairgrid.localnet.processes import Guardian, ProcessFailed


def test_a_fresh_chain_is_31337_with_funded_accounts_and_the_create2_deployer(anvil: AnvilProcess) -> None:
    assert int(anvil.request("eth_chainId"), 16) == 31337
    assert anvil.request("web3_clientVersion").startswith("anvil/v1.7.1")
    accounts = anvil.request("eth_accounts")
    assert len(accounts) == 10
    assert int(anvil.request("eth_getBalance", accounts[9], "latest"), 16) == 10_000 * 10**18
    assert anvil.request("eth_getCode", "0x4e59b44847b379578588920cA78FbF26c0B4956C", "latest") != "0x"


def test_a_refused_call_is_a_sentence(anvil: AnvilProcess) -> None:
    with pytest.raises(UsageError, match="The chain refuses eth_nonsense"):
        anvil.request("eth_nonsense")


def test_without_block_time_nothing_is_mined_until_a_transaction_comes(anvil: AnvilProcess) -> None:
    assert int(anvil.request("eth_blockNumber"), 16) == 0
    sender, to = anvil.request("eth_accounts")[:2]
    anvil.request("eth_sendTransaction", {"from": sender, "to": to, "value": "0x1"})
    deadline = time.monotonic() + 10
    while int(anvil.request("eth_blockNumber"), 16) == 0:
        assert time.monotonic() < deadline
    assert int(anvil.request("eth_blockNumber"), 16) == 1


async def test_two_chains_at_once_take_different_ports_and_mixed_mining_keeps_the_clock_going(
    anvil_binary: Path, guardian: Guardian, tmp_path: Path
) -> None:
    first, second = await asyncio.gather(
        *(
            start_anvil(AnvilOptions(log=tmp_path / f"{n}.log"), binary=anvil_binary, guardian=guardian)
            for n in range(2)
        )
    )
    try:
        assert first.port != second.port
        deadline = time.monotonic() + 10
        while int(first.request("eth_blockNumber"), 16) < 2:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        # With a block time of an hour, only mixed mining can mine a transaction soon.
        sender, to = second.request("eth_accounts")[:2]
        tx = second.request("eth_sendTransaction", {"from": sender, "to": to, "value": "0x1"})
        while second.request("eth_getTransactionReceipt", tx) is None:
            assert time.monotonic() < deadline
    finally:
        await first.stop()
        await second.stop()


async def test_a_stopped_chain_goes_on_where_it_was_from_its_state_file(
    anvil_binary: Path, guardian: Guardian, tmp_path: Path
) -> None:
    options = AnvilOptions(state=tmp_path / "chain.json", log=tmp_path / "anvil.log", block_time=None)
    chain = await start_anvil(options, binary=anvil_binary, guardian=guardian)
    sender, to = chain.request("eth_accounts")[:2]
    tx = chain.request("eth_sendTransaction", {"from": sender, "to": to, "value": hex(7)})
    deadline = time.monotonic() + 10
    while chain.request("eth_getTransactionReceipt", tx) is None:
        assert time.monotonic() < deadline
    before = int(chain.request("eth_getBalance", to, "latest"), 16)
    await chain.stop()
    again = await start_anvil(options, binary=anvil_binary, guardian=guardian)
    try:
        assert int(again.request("eth_getBalance", to, "latest"), 16) == before == 10_000 * 10**18 + 7
        assert int(again.request("eth_blockNumber"), 16) == 1
        assert again.request("eth_getTransactionReceipt", tx)["blockNumber"] == "0x1"
    finally:
        await again.stop()


async def test_a_busy_port_fails_with_the_log_in_the_message(anvil_binary: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = AnvilOptions(port=taken.getsockname()[1], log=tmp_path / "anvil.log")
        with pytest.raises(ProcessFailed, match=r"(?s)anvil did not start: it ended with code.*in use"):
            await start_anvil(options, binary=anvil_binary)


async def test_a_broken_state_file_fails_with_a_message_that_names_the_log(anvil_binary: Path, tmp_path: Path) -> None:
    state = tmp_path / "chain.json"
    state.write_text("{")
    with pytest.raises(ProcessFailed, match=r"anvil\.log"):
        await start_anvil(AnvilOptions(state=state, log=tmp_path / "anvil.log"), binary=anvil_binary)
