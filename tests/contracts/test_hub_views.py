"""Views that are not covered where their state is made: empty states, assets, constants, domain."""

from __future__ import annotations

import pytest

from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.protocol.typed_data import domain_separator
from tests.contracts.registries import Reverted, reverts
from tests.contracts.world import Person, World, bytes32

UNKNOWN = bytes32(4242)


def test_an_unknown_deal_is_all_zero(world: World) -> None:
    nothing = (ZERO_ADDRESS, ZERO_ADDRESS, 0)
    assert world.hub.call("viewDeal", UNKNOWN) == (
        *(nothing, nothing, nothing, 0, 0, ZERO32),
        *(ZERO_ADDRESS, ZERO_ADDRESS, ZERO_ADDRESS, "", 0, 0, 0, 0, 0, ZERO_ADDRESS),
    )


def test_an_unknown_task_is_all_zero(world: World) -> None:
    assert world.hub.call("viewTask", UNKNOWN) == (
        *(0, ZERO32, 0, 0, 0, 0, 0, ZERO32, 0, 0),
        *((), ZERO32, b"", 0, b""),
    )


def test_an_unknown_contribution_is_all_zero(world: World) -> None:
    nothing = (0, ZERO32, ZERO32, ZERO_ADDRESS, 0)
    assert world.hub.call("viewContribution", UNKNOWN, world.stranger.address) == nothing
    task = world.task(request={"trust": 3})
    world.contribute(task, world.worker(), bytes32(1))
    assert world.hub.call("viewContribution", task, world.stranger.address) == nothing


def test_unknown_orders_workers_and_accounts_are_zero(world: World) -> None:
    assert world.hub.call("viewConsumed", UNKNOWN) == 0
    assert world.hub.call("viewPresigned", UNKNOWN) == ZERO_ADDRESS
    assert world.hub.call("viewScore", world.stranger.address) == 0
    assert world.hub.call("viewAccount", Person("nobody").address) == (0, 0)
    with reverts("task-pending"):
        world.hub.call("resultFor", UNKNOWN)


def test_account_views_agree(world: World) -> None:
    world.fund(world.scheduler, 50_000)
    world.fund(world.requester, 20_000)
    world.match(world.orders())
    for person, stake, locked in ((world.scheduler, 47_000, 3_000), (world.requester, 8_999, 11_001)):
        assert world.hub.call("viewAccount", person.address) == (stake, locked)
        assert (world.balance(person), world.frozen(person)) == (stake, locked)


def test_assets_tell_about_themselves(world: World) -> None:
    assert world.hub.call("viewApp", world.app) == (
        world.app_owner.address,
        "app",
        "WASM",
        b"/ipfs/app",
        bytes32(7),
        b"",
    )
    assert world.hub.call("viewDataset", world.dataset) == (
        world.dataset_owner.address,
        "dataset",
        b"/ipfs/dataset",
        bytes32(8),
    )
    world.set_policy(world.pool, 40, 5)
    assert world.hub.call("viewWorkerpool", world.pool) == (world.scheduler.address, "pool", 40, 5)


@pytest.mark.parametrize("view", ["viewApp", "viewDataset", "viewWorkerpool"])
def test_what_is_no_such_asset_reverts(world: World, view: str) -> None:
    others = {"viewApp": world.pool, "viewDataset": world.app, "viewWorkerpool": world.dataset}
    for address in (others[view], world.stranger.address):
        with pytest.raises(Reverted):
            world.hub.call(view, address)


def test_registries(world: World) -> None:
    for kind, registry in world.registries.items():
        assert world.hub.call(f"{kind}registry") == registry.address


def test_constants(world: World) -> None:
    constants = {
        "contribution_deadline_ratio": 7,
        "reveal_deadline_ratio": 2,
        "final_deadline_ratio": 10,
        "workerpool_stake_ratio": 30,
        "kitty_ratio": 10,
        "kitty_min": 10**9,
        "kitty_address": "0x99c2268479b93fDe36232351229815DF80837e23",
        "groupmember_purpose": 4,
        "callbackgas": 200_000,
        "teebroker": ZERO_ADDRESS,
    }
    assert {name: world.hub.call(name) for name in constants} == constants


def test_domain(world: World) -> None:
    assert world.hub.call("domain") == ("iExecODB", "5.0.0", world.chain_id, world.hub.address)
    assert world.hub.call("eip712domain_separator") == domain_separator(world.domain)
