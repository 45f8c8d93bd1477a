"""Boost in a few words, on a `World`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO_ADDRESS, from_hex, keccak, to_hex32
from tests.contracts.registries import Log
from tests.contracts.world import Orders, Person, World

__all__ = ["TIMEREF", "boost_deal", "boost_orders", "claim", "funded", "match_boost", "push", "push_arguments"]

TIMEREF = 300

Changes = Mapping[str, Any]


def funded(world: World) -> World:
    """The world, where requester and scheduler have money."""
    world.fund(world.requester)
    world.fund(world.scheduler)
    return world


def boost_orders(world: World, *, with_dataset: bool = False, **changes: Changes) -> Orders:
    """Four compatible signed orders of trust 1."""
    changes["request"] = {"trust": 1, **changes.get("request", {})}
    return world.orders(with_dataset=with_dataset, **changes)


def match_boost(world: World, orders: Orders, sender: Person | None = None) -> str:
    """Match; the deal id."""
    return str(world.hub.call("matchOrdersBoost", *orders.arguments, sender=(sender or world.stranger).address))


def boost_deal(world: World, *, with_dataset: bool = False, **changes: Changes) -> str:
    """Fund requester and scheduler and match default orders; the deal id."""
    return match_boost(funded(world), boost_orders(world, with_dataset=with_dataset, **changes))


def push_arguments(
    world: World,
    deal: str,
    worker: Person,
    index: int = 0,
    *,
    results: bytes = b"results",
    callback: bytes = b"",
    enclave: Person | None = None,
    authority: Person | None = None,
    signed: bytes | None = None,
) -> tuple[Any, ...]:
    """What `pushResultBoost` takes; an enclave signs ``signed`` (default: the results)."""
    task = ids.task_id(deal, index)
    challenge = enclave.address if enclave else ZERO_ADDRESS
    digest = to_hex32(keccak(results if signed is None else signed))
    enclave_sign = enclave.sign_message(from_hex(ids.result_seal(worker.address, task, digest))) if enclave else b""
    authorisation = world.authorisation(task, worker, challenge, authority)
    return deal, index, results, callback, authorisation, challenge, enclave_sign


def push(world: World, deal: str, worker: Person | None = None, index: int = 0, **options: Any) -> list[Log]:
    """Push an authorised result; the events."""
    who = worker or world.worker()
    arguments = push_arguments(world, deal, who, index, **options)
    return world.hub.transact("pushResultBoost", *arguments, sender=who.address)[1]


def claim(world: World, deal: str, index: int = 0) -> list[Log]:
    """Claim as a stranger; the events."""
    return world.hub.transact("claimBoost", deal, index, sender=world.stranger.address)[1]
