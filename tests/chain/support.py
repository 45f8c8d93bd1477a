"""What the tests of the chain share: a token on a real local chain, and keys named by role."""

from __future__ import annotations

import time
from typing import Any

from fairgrid.chain.artifacts import artifact
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.sender import SenderOptions
from fairgrid.localnet.anvil import LOCAL_CHAIN_ID, AnvilProcess
from fairgrid.protocol.hexes import ZERO_ADDRESS, checksum, to_hex
from fairgrid.wallet.keys import KeySigner, dev_signer

DEPLOYER = 0


def mined(anvil: AnvilProcess, tx_hash: str) -> dict[str, Any]:
    """The receipt, waited for."""
    deadline = time.monotonic() + 20
    while (receipt := anvil.request("eth_getTransactionReceipt", tx_hash)) is None:
        assert time.monotonic() < deadline, "not mined"
        time.sleep(0.01)
    assert isinstance(receipt, dict)
    return receipt


def deploy_token(anvil: AnvilProcess) -> str:
    """Deploy RLC; the first dev account owns all of it."""
    owner = dev_signer(DEPLOYER)
    code = artifact("rlc").bytecode + bytes(12) + bytes.fromhex(owner.address[2:])
    raw = owner.sign_transaction(
        {
            "chainId": LOCAL_CHAIN_ID,
            "nonce": int(anvil.request("eth_getTransactionCount", owner.address, "latest"), 16),
            "gas": 4_000_000,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 1,
            "value": 0,
            "data": code,
        }
    )
    return checksum(mined(anvil, anvil.request("eth_sendRawTransaction", to_hex(raw)))["contractAddress"])


def chain_of(anvil: AnvilProcess, rlc: str, *, options: SenderOptions | None = None) -> JsonRpcChain:
    """A chain whose followed contract is the token."""
    return JsonRpcChain(anvil.rpc_url, chain_id=LOCAL_CHAIN_ID, hub=rlc, rlc=rlc, options=options)


def fund(anvil: AnvilProcess, address: str, wei: int) -> None:
    """Give coins for gas."""
    anvil.request("anvil_setBalance", address, hex(wei))


def someone(anvil: AnvilProcess, wei: int = 10**18) -> KeySigner:
    """A new key with gas money."""
    signer = KeySigner.generate()
    fund(anvil, signer.address, wei)
    return signer


NOBODY = ZERO_ADDRESS
