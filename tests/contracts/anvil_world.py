"""A whole hub on a real local chain (anvil), ours or the published one: what gas is measured on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from fairgrid.chain.abi import Abi
from fairgrid.chain.create2 import creation_code
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.protocol.hexes import checksum, from_hex, to_hex
from tests.contracts.peer import PeerPackage, deploy_peer
from tests.contracts.registries import SOURCES, ChainContract, Log, compiled
from tests.contracts.world import Person, World, deploy_hub

__all__ = ["AnvilContract", "AnvilWorld", "Chain", "deploy_on_anvil", "deploy_peer_on_anvil"]

CALLER = "0x00000000000000000000000000000000000CA11E"
_GAS_LIMIT = hex(29_000_000)
_CROWDED_GAS = hex(5_000_000)
_CROWDED_BLOCK = hex(10**10)
_RICH = hex(10**24)


@dataclass(frozen=True, slots=True)
class Interface:
    """An ABI, and which of its functions change nothing."""

    abi: Abi
    views: frozenset[str]

    @classmethod
    def of(cls, name: str, entries: list[dict[str, Any]]) -> Interface:
        """Out of the entries of an ABI document."""
        views = {entry["name"] for entry in entries if entry.get("stateMutability") in ("view", "pure")}
        return cls(Abi(name, entries), frozenset(views))


class Chain:
    """A local chain that lets anybody send; ``gas`` is what each transaction used, by label, in their order."""

    def __init__(self, process: AnvilProcess) -> None:
        self.process = process
        self.gas: dict[str, list[int]] = {}
        self._rich: set[str] = set()
        process.request("anvil_autoImpersonateAccount", True)

    def read(self, call: dict[str, Any]) -> bytes:
        """What a call would answer now."""
        return from_hex(self.process.request("eth_call", call, "pending"))

    def send(self, label: str, call: dict[str, Any]) -> dict[str, Any]:
        """Mine a transaction, which must succeed; its receipt."""
        self._pay_gas(call["from"])
        receipt = self._receipt(self.process.request("eth_sendTransaction", call | {"gas": _GAS_LIMIT}))
        assert receipt["status"] == "0x1", f"{label} failed"
        self.gas.setdefault(label, []).append(int(receipt["gasUsed"], 16))
        return receipt

    def send_many(self, label: str, calls: Iterable[dict[str, Any]]) -> None:
        """Mine transactions that do not wait for one another in one block; all must succeed. Their gas is not kept."""
        limit = self.process.request("eth_getBlockByNumber", "latest", False)["gasLimit"]
        self.process.request("evm_setAutomine", False)
        self.process.request("evm_setBlockGasLimit", _CROWDED_BLOCK)
        sent = []
        nonces: dict[str, int] = {}
        for call in calls:
            sender = call["from"]
            self._pay_gas(sender)
            if sender not in nonces:
                nonces[sender] = int(self.process.request("eth_getTransactionCount", sender, "latest"), 16)
            numbered = call | {"gas": _CROWDED_GAS, "nonce": hex(nonces[sender])}
            sent.append(self.process.request("eth_sendTransaction", numbered))
            nonces[sender] += 1
        self.process.request("evm_mine", timeout_s=60.0)
        mined = self.process.request("eth_getBlockReceipts", "latest", timeout_s=60.0)
        done = {receipt["transactionHash"] for receipt in mined if receipt["status"] == "0x1"}
        assert done == set(sent), f"{label} failed"
        self.process.request("evm_setBlockGasLimit", limit)
        self.process.request("evm_setAutomine", True)

    def create(self, label: str, sender: str, code: bytes) -> str:
        """Create a contract; its address."""
        return checksum(self.send(label, {"from": sender, "data": to_hex(code)})["contractAddress"])

    def _pay_gas(self, sender: str) -> None:
        if sender not in self._rich:
            self.process.request("anvil_setBalance", sender, _RICH)
            self._rich.add(sender)

    def _receipt(self, transaction: str) -> dict[str, Any]:
        deadline = time.monotonic() + 120
        while (receipt := self.process.request("eth_getTransactionReceipt", transaction)) is None:
            assert time.monotonic() < deadline, "the transaction is not mined"
            time.sleep(0.002)
        return dict(receipt)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """What happens inside is undone at the end."""
        mark = self.process.request("evm_snapshot")
        gas, rich = {label: list(used) for label, used in self.gas.items()}, set(self._rich)
        try:
            yield
        finally:
            assert self.process.request("evm_revert", mark)
            self.gas.clear()
            self.gas.update(gas)
            self._rich = rich


@dataclass(frozen=True, slots=True)
class AnvilContract(ChainContract):
    """A contract on a local chain."""

    chain: Chain
    interface: Interface

    def message(self, function: str, *arguments: Any, sender: str | None = None, value: int = 0) -> dict[str, Any]:
        """A call as JSON-RPC takes it."""
        data = to_hex(self.interface.abi.encode_call(function, arguments))
        return {"from": sender or CALLER, "to": self.address, "value": hex(value), "data": data}

    def transact(
        self, function: str, *arguments: Any, sender: str | None = None, value: int = 0
    ) -> tuple[Any, list[Log]]:
        abi = self.interface.abi
        call = self.message(function, *arguments, sender=sender, value=value)
        answer: tuple[Any, ...] = ()
        if abi.function(function).outputs:
            answer = abi.decode_answer(function, self.chain.read(call))
        if function not in self.interface.views:
            self.chain.send(function, call)
        return (answer[0] if len(answer) == 1 else answer or None), []


class AnvilWorld(World):
    """A hub on a local chain."""

    def __init__(self, hub: ChainContract, rlc: ChainContract, registries: Mapping[str, ChainContract]) -> None:
        assert isinstance(hub, AnvilContract)
        super().__init__(hub, rlc, registries)
        self.chain = hub.chain
        self.interface = hub.interface

    @property
    def chain_id(self) -> int:
        return int(self.chain.process.request("eth_chainId"), 16)

    @property
    def gas(self) -> dict[str, list[int]]:
        """Gas of every transaction by function."""
        return self.chain.gas

    def has(self, *functions: str) -> bool:
        """Whether the hub's ABI has all of these."""
        return all(function in self.interface.abi.functions for function in functions)

    def contract(self, name: str, address: str) -> ChainContract:
        return AnvilContract(name, address, self.chain, _public(name))

    def wait(self, seconds: int) -> None:
        """Let chain time pass."""
        self.chain.process.request("evm_increaseTime", seconds)
        self.chain.process.request("evm_mine")


def deploy_on_anvil(process: AnvilProcess) -> AnvilWorld:
    """Ours, as its sources are now."""
    chain = Chain(process)

    def deploy(name: str, **arguments: Any) -> ChainContract:
        address = chain.create(f"deploy {name}", CALLER, creation_code(compiled(name), arguments))
        return AnvilContract(name, address, chain, _public(name))

    world = deploy_hub(deploy, AnvilWorld)
    assert isinstance(world, AnvilWorld)
    return world


def deploy_peer_on_anvil(process: AnvilProcess, package: PeerPackage) -> AnvilWorld:
    """The published contracts, with our token."""
    chain = Chain(process)
    owner = Person("owner").address
    rlc = chain.create("deploy rlc", CALLER, creation_code(compiled("rlc"), {"token_owner": owner}))

    def create(name: str, code: bytes) -> str:
        return chain.create(f"deploy {name}", owner, code)

    def send(to: str, data: bytes) -> None:
        chain.send("settings", {"from": owner, "to": to, "data": to_hex(data)})

    deployed = deploy_peer(package, create, send, owner=owner, base_token=rlc)
    registries: Mapping[str, ChainContract] = {
        kind: AnvilContract(
            f"{kind}_registry", address, chain, Interface.of(kind, package.entries(f"{kind.capitalize()}Registry"))
        )
        for kind, address in deployed.registries.items()
    }
    hub = AnvilContract("hub", deployed.hub, chain, Interface.of("hub", package.entries("hub")))
    world = AnvilWorld(hub, AnvilContract("rlc", rlc, chain, _public("rlc")), registries)
    _ = world.app, world.dataset, world.pool
    return world


@cache
def _public(name: str) -> Interface:
    published = SOURCES / "abi" / f"{name}.json"
    return Interface.of(name, json.loads(published.read_text()) if published.exists() else compiled(name).abi)
