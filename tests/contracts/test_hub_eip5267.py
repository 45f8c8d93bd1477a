"""`eip712Domain` (EIP-5267): wallets learn from the hub in which domain its orders are signed."""

from __future__ import annotations

import boa

from fairgrid.protocol.hexes import ZERO32, from_hex, keccak, to_hex32
from tests.contracts.registries import selector
from tests.contracts.world import World

NAME, VERSION, CHAIN, CONTRACT, SALT = (1 << bit for bit in range(5))


def separator_as_told(world: World) -> str:
    """The domain separator that follows from `eip712Domain` alone, by the rules of EIP-712."""
    fields, name, version, chain, contract, _, _ = world.hub.call("eip712Domain")
    assert int(fields, 16) == NAME | VERSION | CHAIN | CONTRACT
    kind = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
    words = kind + keccak(name.encode()) + keccak(version.encode()) + chain.to_bytes(32, "big")
    return to_hex32(keccak(words + bytes(12) + from_hex(contract)))


def test_domain_is_told_without_salt_and_extensions(world: World) -> None:
    assert selector("eip712Domain()") == "0x84b0196e"
    told = world.hub.call("eip712Domain")
    assert told == ("0x0f", "iExecODB", "5.0.0", world.chain_id, world.hub.address, ZERO32, ())
    assert told[1:5] == world.hub.call("domain")


def test_signatures_are_made_in_the_domain_that_is_told(world: World) -> None:
    assert separator_as_told(world) == world.hub.call("eip712domain_separator")


def test_domain_of_a_fork_is_told_on_the_fork(world: World) -> None:
    before = separator_as_told(world)
    patch, chain_id = boa.env.evm.patch, world.chain_id
    try:
        patch.chain_id = chain_id + 1
        assert world.hub.call("eip712Domain")[3] == chain_id + 1
        assert separator_as_told(world) == world.hub.call("eip712domain_separator") != before
    finally:
        patch.chain_id = chain_id
    assert separator_as_told(world) == before
