"""Token, registries and entries on an in-process chain, spoken to through their public ABI."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import boa
import platformdirs
import pytest
import vyper
from vyper.compiler.output import build_abi_output

from fairgrid.chain.abi import Abi
from fairgrid.chain.artifacts import Artifact
from fairgrid.chain.create2 import creation_code
from fairgrid.chain.decode import decode_log, revert_reason
from fairgrid.protocol.hexes import checksum, keccak, to_hex

__all__ = [
    "NO_DATA",
    "ChainContract",
    "Log",
    "Reverted",
    "account",
    "compiled",
    "deploy_contract",
    "deploy_registry",
    "public_abi",
    "reverts",
    "selector",
]

SOURCES = Path(__file__).parents[2] / "contracts"
NO_DATA = "(no data)"
ENTRY_OF = {"app_registry": "app", "dataset_registry": "dataset", "workerpool_registry": "workerpool"}


class Reverted(Exception):
    """A call reverted; ``reason`` as `revert_reason` says it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.reason = revert_reason(data)
        super().__init__(self.reason)


@dataclass(frozen=True, slots=True)
class Log:
    """An event of the public ABI."""

    address: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ChainContract:
    """A contract at an address; values are in the forms of `fairgrid.chain.abi`."""

    name: str
    address: str

    def call(self, function: str, *arguments: Any, sender: str | None = None, value: int = 0) -> Any:
        """The answer: nothing, a value, or a tuple of several.

        Raises:
            Reverted: the call reverted, and nothing changed.
        """
        return self.transact(function, *arguments, sender=sender, value=value)[0]

    def transact(
        self, function: str, *arguments: Any, sender: str | None = None, value: int = 0
    ) -> tuple[Any, list[Log]]:
        """The answer as `call` gives it, and the events."""
        abi = public_abi(self.name)
        computation = boa.env.execute_code(
            to_address=self.address, sender=sender, value=value, data=abi.encode_call(function, arguments)
        )
        if computation.is_error:
            raise Reverted(computation.output)
        answer = abi.decode_answer(function, computation.output)
        logs = [_log(entry) for entry in computation.get_raw_log_entries()]
        return (answer[0] if len(answer) == 1 else answer or None), logs


@contextmanager
def reverts(reason: str) -> Iterator[None]:
    """The block must revert with this text, custom error (``Name(arguments)``), or `NO_DATA`."""
    with pytest.raises(Reverted) as caught:
        yield
    assert caught.value.reason == reason


def account(role: str) -> str:
    """A fresh account; the same role gives another one each time."""
    return checksum(str(boa.env.generate_address(role)))


def selector(signature: str) -> str:
    """The 0x-hex selector of a function's signature."""
    return to_hex(keccak(signature.encode())[:4])


@cache
def public_abi(name: str) -> Abi:
    """The hand-kept ABI of ``contracts/abi``."""
    return Abi(name, json.loads((SOURCES / "abi" / f"{name}.json").read_text()))


@cache
def compiled(name: str) -> Artifact:
    """The contract as its source says now, whatever the committed artifact is.

    Kept on disk by a hash of all sources: compiling takes seconds a contract, and every process of a test run asks.
    """
    file = _compilations() / f"{name}.json"
    if not file.exists():
        data = boa.load_partial(str(SOURCES / f"{name}.vy")).compiler_data
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps({"abi": build_abi_output(data), "bytecode": data.bytecode.hex()}))
        unfinished.replace(file)
    kept = json.loads(file.read_text())
    return Artifact(name=name, abi=kept["abi"], bytecode=bytes.fromhex(kept["bytecode"]))


@cache
def _compilations() -> Path:
    texts = b"".join(path.read_bytes() for path in sorted(SOURCES.rglob("*.vy*")))
    digest = hashlib.sha256(vyper.__version__.encode() + texts).hexdigest()
    return platformdirs.user_cache_path("fairgrid") / "compiled-contracts" / digest[:16]


def deploy_contract(name: str, **arguments: Any) -> ChainContract:
    """Deploy with the constructor's arguments by name.

    Raises:
        Reverted: the constructor reverted.
    """
    address, computation = boa.env.deploy(bytecode=creation_code(compiled(name), arguments))
    if computation.is_error:
        raise Reverted(computation.output)
    return ChainContract(name, checksum(str(address)))


def deploy_registry(name: str, owner: str) -> ChainContract:
    """A registry with the entry that belongs to it."""
    return deploy_contract(name, registry_owner=owner, entry_initcode=compiled(ENTRY_OF[name]).bytecode)


def _log(entry: tuple[int, bytes, list[int], bytes]) -> Log:
    _, address, topics, data = entry
    decoded = decode_log(
        {
            "topics": [to_hex(topic.to_bytes(32, "big")) for topic in topics],
            "data": to_hex(data),
            "address": to_hex(address),
            "blockNumber": "0x0",
            "blockHash": "0x" + "00" * 32,
            "logIndex": "0x0",
            "transactionHash": "0x" + "00" * 32,
        }
    )
    assert decoded is not None, "an event that no public ABI knows"
    return Log(decoded.address, decoded.name, decoded.arguments)
