"""The contracts as they ship, on an in-process chain that is fast enough for thousands of random calls."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import pyrevm

from fairgrid.chain.abi import contract_abi
from fairgrid.chain.artifacts import artifact
from fairgrid.chain.create2 import creation_code
from fairgrid.chain.decode import decode_log, revert_reason
from fairgrid.protocol.hexes import checksum, to_hex
from fairgrid.protocol.model_state import Event
from tests.contracts.hub_parts import create_hub

__all__ = ["Deployed", "Revm", "RevmRevert", "previous_score"]

_REVERT = re.compile(r"^Revert \{ gas_used: \d+, output: (0x[0-9a-f]*) \}$")
_VIEWER = "0x" + "11" * 20
_PREVIOUS_HUB = bytes.fromhex("6b" + "60043560ff165f5260205ff3" + "5f52600c6014f3")
"""Creates a contract whose every answer is the last byte of its first argument: `previous_score`."""
_KINDS = ("app", "dataset", "workerpool")


def previous_score(worker: str) -> int:
    """What the hub before the deployed one says of a worker."""
    return int(worker[-2:], 16)


class RevmRevert(Exception):
    """A call reverted; ``reason`` is its text, None without data."""

    def __init__(self, data: bytes) -> None:
        self.reason = revert_reason(data) if data else None
        super().__init__(self.reason)


@dataclass
class Deployed:
    """Addresses of a deployment."""

    hub: str
    rlc: str
    registries: dict[str, str]
    names: dict[str, str] = field(default_factory=dict)
    """Name of the ABI by address."""


class Revm:
    """One chain; every transaction is mined at `now`."""

    def __init__(self, chain_id: int, now: int) -> None:
        configuration = pyrevm.CfgEnv(chain_id=chain_id)
        self._evm = pyrevm.EVM(pyrevm.Env(cfg=configuration), spec_id="PRAGUE")
        self.now = now

    @property
    def now(self) -> int:
        """Block time in seconds."""
        return self._now

    @now.setter
    def now(self, seconds: int) -> None:
        self._now = seconds
        self._evm.set_block_env(pyrevm.BlockEnv(number=1, timestamp=seconds))

    def snapshot(self) -> Any:
        """A mark to `revert` to, once."""
        return self._evm.snapshot()

    def revert(self, mark: Any) -> None:
        """Undo everything since ``mark``."""
        self._evm.revert(mark)

    def deploy_all(self, owner: str) -> Deployed:
        """Token, registries and hub with its facets, as the package's deployment makes them, after a previous hub."""
        rlc = self._deploy(owner, "rlc", token_owner=owner)
        registries = {
            kind: self._deploy(owner, f"{kind}_registry", registry_owner=owner, entry_initcode=artifact(kind).bytecode)
            for kind in _KINDS
        }
        previous = self.deploy(owner, _PREVIOUS_HUB)
        parts = create_hub(
            partial(self._deploy, owner), owner=owner, base_token=rlc, registries=registries, v3_hub=previous
        )
        hub = parts["hub"]
        names = {rlc: "rlc", hub: "hub", **{registries[kind]: f"{kind}_registry" for kind in _KINDS}}
        return Deployed(hub, rlc, registries, names)

    def deploy(self, deployer: str, code: bytes) -> str:
        """The address of what this creation code makes."""
        return checksum(self._evm.deploy(deployer, code))

    def transact(
        self, contract: str, address: str, sender: str, function: str, *arguments: Any
    ) -> tuple[Any, list[Event]]:
        """The answer (None, a value, or a tuple of several) and the events.

        Raises:
            RevmRevert: the call reverted, and nothing changed.
        """
        answer = self._call(contract, address, sender, function, arguments, is_static=False)
        result = self._evm.result
        assert result is not None
        return answer, [_event(log) for log in result.logs]

    def view(self, contract: str, address: str, function: str, *arguments: Any) -> Any:
        """The answer of a view.

        Raises:
            RevmRevert: the call reverted.
        """
        return self._call(contract, address, _VIEWER, function, arguments, is_static=True)

    def raw_view(self, address: str, data: bytes) -> bytes:
        """The encoded answer of an encoded view; for what is asked a thousand times."""
        return self._message(address, _VIEWER, data, is_static=True)

    def _call(
        self, contract: str, address: str, sender: str, function: str, arguments: tuple[Any, ...], *, is_static: bool
    ) -> Any:
        data = _encoded(contract, function, arguments)
        output = self._message(address, sender, data, is_static=is_static)
        return _decoded(contract, function, output)

    def _message(self, address: str, sender: str, data: bytes, *, is_static: bool) -> bytes:
        self._evm.reset_transient_storage()
        try:
            return bytes(self._evm.message_call(sender, address, data, is_static=is_static))
        except RuntimeError as error:
            revert = _REVERT.match(str(error))
            if revert is None:
                raise
            raise RevmRevert(bytes.fromhex(revert[1][2:])) from None

    def _deploy(self, deployer: str, name: str, **arguments: Any) -> str:
        return self.deploy(deployer, creation_code(artifact(name), arguments))


# What is asked again and again is encoded and decoded once: nine tenths of the time went there.
@lru_cache(maxsize=20_000)
def _encoded(contract: str, function: str, arguments: tuple[Any, ...]) -> bytes:
    return contract_abi(contract).encode_call(function, arguments)


@lru_cache(maxsize=20_000)
def _decoded(contract: str, function: str, output: bytes) -> Any:
    answer = contract_abi(contract).decode_answer(function, output)
    return answer[0] if len(answer) == 1 else answer or None


def _event(log: pyrevm.Log) -> Event:
    topics, data = log.data
    return _decoded_event(tuple(bytes(topic) for topic in topics), bytes(data), log.address)


@lru_cache(maxsize=20_000)
def _decoded_event(topics: tuple[bytes, ...], data: bytes, address: str) -> Event:
    decoded = decode_log(
        {
            "topics": [to_hex(topic) for topic in topics],
            "data": to_hex(data),
            "address": address,
            "blockNumber": "0x0",
            "blockHash": "0x" + "00" * 32,
            "logIndex": "0x0",
            "transactionHash": "0x" + "00" * 32,
        }
    )
    assert decoded is not None, "an event that no public ABI knows"
    return Event(decoded.name, decoded.arguments, decoded.address)
