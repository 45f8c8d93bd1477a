"""`importScore`: a score of the hub before this one comes along, once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.hub_parts import create_hub
from tests.contracts.registries import NO_DATA, ChainContract, deploy_contract, reverts
from tests.contracts.world import World, bytes32, mock


@pytest.fixture
def heir(world: World) -> tuple[World, Any]:
    """A hub with one before it, and that one."""
    old = mock("old_hub")
    parts = create_hub(
        lambda name, **arguments: deploy_contract(name, **arguments).address,
        owner=world.owner.address,
        base_token=world.rlc.address,
        registries={kind: registry.address for kind, registry in world.registries.items()},
        v3_hub=str(old.address),
    )
    hub = World(ChainContract("hub", parts["hub"]), world.rlc, world.registries)
    vars(hub).update(app=world.app, dataset=world.dataset, pool=world.pool)  # the registries serve both
    return hub, old


def test_anybody_takes_over_a_score_once(heir: tuple[World, Any]) -> None:
    hub, old = heir
    worker = hub.worker()
    old.set_score(worker.address, 17)
    _, logs = hub.hub.transact("importScore", worker.address, sender=hub.stranger.address)
    assert logs == [] and hub.score(worker) == 17
    old.set_score(worker.address, 30)
    with reverts("score-already-imported"):
        hub.hub.call("importScore", worker.address, sender=worker.address)
    assert hub.score(worker) == 17


def test_a_higher_score_of_ones_own_stays(heir: tuple[World, Any]) -> None:
    hub, old = heir
    worker = hub.worker()
    hub.set_score(worker, 20)
    hub.fund(worker, 5)
    old.set_score(worker.address, 19)
    hub.hub.call("importScore", worker.address, sender=worker.address)
    assert hub.score(worker) == 20 and hub.balance(worker) == 5
    with reverts("score-already-imported"):
        hub.hub.call("importScore", worker.address, sender=worker.address)


def test_money_beside_the_score_is_untouched(heir: tuple[World, Any]) -> None:
    hub, old = heir
    worker, task = hub.worker(), hub.task(request={"trust": 5})
    hub.contribute(task, worker, bytes32(3))
    before = hub.balance(worker), hub.frozen(worker)
    old.set_score(worker.address, 2**64 - 1)
    hub.hub.call("importScore", worker.address, sender=worker.address)
    assert (hub.balance(worker), hub.frozen(worker)) == before and before[1] > 0
    assert hub.score(worker) == 2**64 - 1


def test_a_score_beyond_64_bits_is_refused_and_may_come_later(heir: tuple[World, Any]) -> None:
    hub, old = heir
    worker = hub.worker()
    old.set_score(worker.address, 2**64)
    with reverts(NO_DATA):
        hub.hub.call("importScore", worker.address, sender=worker.address)
    old.set_score(worker.address, 1)
    hub.hub.call("importScore", worker.address, sender=worker.address)
    assert hub.score(worker) == 1


def test_without_a_hub_before_it_there_is_nothing_to_import(world: World) -> None:
    with reverts(NO_DATA):
        world.hub.call("importScore", world.worker().address, sender=world.stranger.address)
