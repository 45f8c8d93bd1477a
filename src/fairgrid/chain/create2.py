"""Addresses that a deployment will have, whoever sends it and whenever (decision 53)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eth_abi.abi import encode

from fairgrid.chain.artifacts import Artifact
from fairgrid.protocol.hexes import address_bytes, checksum, keccak, to_hex

__all__ = ["DEPLOYER", "DEPLOYER_CODE_HASH", "DEPLOY_SALT", "ENTRY_PROXY_CODE", "create2_address", "creation_code"]

DEPLOYER = "0x4e59b44847b379578588920cA78FbF26c0B4956C"
"""The CREATE2 deployer: call it with a salt and creation code. The same address on every chain that has it."""

DEPLOYER_CODE_HASH = "0x2fa86add0aed31f33a762c9d88e807c475bd51d0f52bd0955754b2608f7e4989"
"""keccak256 of its code."""

DEPLOY_SALT = keccak(b"fairgrid/1")

ENTRY_PROXY_CODE = bytes.fromhex("63f0d92c4760e01b5f525f5f60045f335afa503d5f5f3e3d5ff3")
"""Creation code of every app, dataset and workerpool: what a registry's ``proxyCode`` answers."""


def create2_address(creator: str, salt: bytes, init_code: bytes) -> str:
    """Where ``creator`` puts a contract with CREATE2 (EIP-1014), checksummed; ``salt`` has 32 bytes."""
    digest = keccak(b"\xff" + address_bytes(creator) + salt + keccak(init_code))
    return checksum(to_hex(digest[12:]))


def creation_code(contract: Artifact, arguments: Mapping[str, Any]) -> bytes:
    """Creation code with constructor arguments (addresses as text, byte strings as bytes) behind it.

    ``arguments`` go by the names of the constructor's inputs; more than it takes do no harm.

    Raises:
        KeyError: the constructor takes one that is not given.
    """
    inputs = [parameter for entry in contract.abi if entry["type"] == "constructor" for parameter in entry["inputs"]]
    values = [arguments[parameter["name"]] for parameter in inputs]
    return contract.bytecode + encode([parameter["type"] for parameter in inputs], values)
