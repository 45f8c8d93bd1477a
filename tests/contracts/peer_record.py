"""What happened on one deployment, told so that it can be compared with what happened on another.

Addresses and hashes differ between two deployments (the domain names the hub): contracts and people go by what they
are, hashes and new entries by the order in which they first appear.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import boa

from fairgrid.protocol.hexes import checksum
from fairgrid.protocol.rewards import KITTY_ADDRESS
from tests.contracts.peer import PeerPackage, deploy_peer
from tests.contracts.registries import NO_DATA, ChainContract, Reverted, deploy_contract
from tests.contracts.world import Person, World

__all__ = ["Play", "Record", "deploy_peer_world", "pairs"]

_NAMED = re.compile(r"0x[0-9a-fA-F]{40}(?:[0-9a-fA-F]{24})?")
_NUMBER = re.compile(r"\b[0-9]{45,49}\b")
"""A registry's token ids are its entries' addresses; money and times have fewer digits."""
_ENTRY_BITS = 140
_PANIC = re.compile(r"Panic\(0x[0-9a-f]{2}\)")
"""Ours reverts without data where the published contracts panic (docs/deviations.md)."""
_ERC721 = re.compile(r"^(ERC721|Enumerable(Map|Set): ).*")
"""The package 6.1.0 has texts where the specification 6.2.0, and so ours, has errors with arguments."""
_SIGNATURE_BYTES = 65
_ROLES = ("owner", "app owner", "dataset owner", "scheduler", "requester", "stranger", "saver", "friend", "sponsor")
_PEOPLE = tuple(Person(role) for role in (*_ROLES, *(f"worker {number}" for number in range(10))))


@dataclass
class Record:
    """What happened in a world, in a form that two worlds can share."""

    world: World
    lines: list[tuple[str, Any]] = field(default_factory=list)
    _names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """What both worlds have goes by what it is; only hashes and new entries go by their order."""
        world = self.world
        known = {"hub": world.hub.address, "rlc": world.rlc.address, "kitty": KITTY_ADDRESS}
        known |= {f"{kind} registry": registry.address for kind, registry in world.registries.items()}
        known |= {"app": world.app, "dataset": world.dataset, "pool": world.pool}
        known |= {person.role: person.address for person in _PEOPLE}
        self._names = {address.lower(): f"<{name}>" for name, address in known.items()}

    def call(self, function: str, *arguments: Any, sender: Person, contract: ChainContract | None = None) -> Any:
        """Call and note how it went, with its events; the answer, None if it reverted."""
        try:
            answer, logs = (contract or self.world.hub).transact(function, *arguments, sender=sender.address)
        except Reverted as reverted:
            reason = _PANIC.sub(NO_DATA, _ERC721.sub("ERC-721", str(reverted.reason)))
            self.note(f"{function} reverts", reason)
            return None
        self.note(function, answer)
        for log in logs:
            self.note(f"event {log.name}", (log.address, dict(sorted(log.arguments.items()))))
        return answer

    def ready(self, *people: Person) -> list[Person]:
        """Requester, scheduler and ``people`` have money; they, and the owners who will be paid."""
        world = self.world
        everybody = [world.requester, world.scheduler, *people]
        for person in everybody:
            world.fund(person)
        return [*everybody, world.app_owner, world.dataset_owner]

    def match(self, **changes: Any) -> str:
        """`matchOrders` of new orders with a data set, noted; the deal id."""
        orders = self.world.orders(with_dataset=True, **changes)
        return str(self.call("matchOrders", *orders.arguments, sender=self.world.stranger))

    def contribute(self, task: str, worker: Person, digest: str, **options: Any) -> None:
        """`contribute`, noted."""
        self.call("contribute", *self.world.contribution(task, worker, digest, **options), sender=worker)

    def look(self, *, deals: list[str], tasks: list[str], people: list[Person]) -> None:
        """Note what the views show."""
        hub = self.world.hub
        for deal in deals:
            self.note("viewDeal", hub.call("viewDeal", deal))
            self.note("legacy", hub.call("viewDealABILegacy_pt1", deal))
            self.note("legacy", hub.call("viewConfigABILegacy", deal))
        for task in tasks:
            self.note("viewTask", hub.call("viewTask", task))
            self.note("legacy", hub.call("viewTaskABILegacy", task))
            for person in people:
                self.note("viewContribution", hub.call("viewContribution", task, person.address))
        for address in [person.address for person in people] + [KITTY_ADDRESS, hub.address]:
            self.note("viewAccount", hub.call("viewAccount", address))
        for person in people:
            self.note("viewScore", hub.call("viewScore", person.address))
        self.note("totalSupply", hub.call("totalSupply"))

    def note(self, what: str, value: Any) -> None:
        self.lines.append((what, self._told(value)))

    def _told(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._told(item) for key, item in value.items()}
        if isinstance(value, tuple | list):
            return tuple(self._told(item) for item in value)
        if isinstance(value, str):
            plain = _NUMBER.sub(lambda found: f"0x{int(found[0]):040x}", value)
            return _NAMED.sub(lambda found: self._name(found[0]), plain)
        if isinstance(value, bytes) and len(value) == _SIGNATURE_BYTES:
            return self._name(f"0x{value.hex()}")
        if isinstance(value, int) and _ENTRY_BITS < value.bit_length() <= 160:
            return self._name(f"0x{value:040x}")
        return value

    def _name(self, text: str) -> str:
        if int(text, 16) < 2**64:  # zeros, tags and salts are the same on both sides
            return text
        return self._names.setdefault(text.lower(), f"#{len(self._names)}")


Play = Callable[[Record], None]


def deploy_peer_world(package: PeerPackage) -> World:
    """The published contracts, boost with them, on the in-process chain."""
    owner = Person("owner").address
    rlc = deploy_contract("rlc", token_owner=owner)

    def create(name: str, code: bytes) -> str:
        address, done = boa.env.deploy(bytecode=code, sender=owner)
        assert not done.is_error, name
        return checksum(str(address))

    def send(to: str, data: bytes) -> None:
        assert not boa.env.execute_code(to_address=to, sender=owner, data=data).is_error

    peer = deploy_peer(package, create, send, owner=owner, base_token=rlc.address)
    registries = {kind: ChainContract(f"{kind}_registry", address) for kind, address in peer.registries.items()}
    world = World(ChainContract("hub", peer.hub), rlc, registries)
    _ = world.app, world.dataset, world.pool
    return world


def pairs(worlds: tuple[World, World], play: Play) -> Iterator[tuple[tuple[str, Any], tuple[str, Any]]]:
    """What each step of a play did there and here; all of it is undone."""
    told = []
    for world in worlds:
        with world.anchor():
            world.now = 1_900_000_000
            record = Record(world)
            play(record)
            told.append(record.lines)
    theirs, ours = told
    assert len(theirs) > 10
    yield from zip(theirs, ours, strict=True)
