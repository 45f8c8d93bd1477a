"""`view…ABILegacy…`: the same facts as the views, flat."""

from __future__ import annotations

import pytest

from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from tests.contracts.registries import reverts
from tests.contracts.world import World, bytes32

DIGEST, OTHER = bytes32(99), bytes32(98)


@pytest.fixture
def deal(world: World) -> str:
    terms = {"tag": bytes32(1 << 200), "beneficiary": world.stranger.address, "callback": world.owner.address}
    return world.deal(with_dataset=True, request={**terms, "trust": 5}, workerpool={"tag": bytes32(1 << 200)})


def test_deal_is_told_in_two_parts_and_its_configuration(world: World, deal: str) -> None:
    view = world.view_deal(deal)
    sold = [(part.pointer, part.owner, part.price) for part in (view.app, view.dataset, view.workerpool)]
    assert world.hub.call("viewDealABILegacy_pt1", deal) == (*sold[0], *sold[1], *sold[2])
    assert world.hub.call("viewDealABILegacy_pt2", deal) == (
        view.trust,
        view.tag,
        view.requester,
        view.beneficiary,
        view.callback,
        view.params,
    )
    assert world.hub.call("viewConfigABILegacy", deal) == (
        view.category,
        view.startTime,
        view.botFirst,
        view.botSize,
        view.workerStake,
        view.schedulerRewardRatio,
    )
    assert view.params and view.tag != ZERO32 and view.dataset.price > 0


def test_unknown_deal_is_all_zero(world: World) -> None:
    nothing = (ZERO_ADDRESS, ZERO_ADDRESS, 0)
    assert world.hub.call("viewDealABILegacy_pt1", bytes32(1)) == nothing * 3
    zeros = (0, ZERO32, ZERO_ADDRESS, ZERO_ADDRESS, ZERO_ADDRESS, "")
    assert world.hub.call("viewDealABILegacy_pt2", bytes32(1)) == zeros
    assert world.hub.call("viewConfigABILegacy", bytes32(1)) == (0,) * 6


@pytest.mark.parametrize("ending", ["contributed", "revealed", "completed"])
def test_task_is_told_in_twelve_values(world: World, ending: str) -> None:
    task = world.task(request={"trust": 2})
    worker = world.worker()
    world.contribute(task, worker, DIGEST)
    if ending != "contributed":
        world.reveal(task, worker, DIGEST)
    if ending == "completed":
        world.finalize(task, b"where it is")
    view = world.view_task(task)
    assert world.hub.call("viewTaskABILegacy", task) == (
        view.status,
        view.dealid,
        view.idx,
        view.timeref,
        view.contributionDeadline,
        view.revealDeadline,
        view.finalDeadline,
        view.consensusValue,
        view.revealCounter,
        view.winnerCounter,
        view.contributors,
        view.results,
    )
    assert view.results == (b"where it is" if ending == "completed" else b"")
    assert view.contributors == (worker.address,)


def test_unknown_task_is_all_zero(world: World) -> None:
    answer = world.hub.call("viewTaskABILegacy", bytes32(1))
    assert answer == (0, ZERO32, 0, 0, 0, 0, 0, ZERO32, 0, 0, (), b"")


def test_contribution_is_told_in_four_values(world: World) -> None:
    task, worker, enclave = world.task(request={"trust": 5}), world.worker(), world.worker(7)
    world.contribute(task, worker, DIGEST, enclave=enclave)
    view = world.view_contribution(task, worker)
    told = world.hub.call("viewContributionABILegacy", task, worker.address)
    assert told == (view.status, view.resultHash, view.resultSeal, view.enclaveChallenge)
    assert view.enclaveChallenge == enclave.address
    nothing = world.hub.call("viewContributionABILegacy", task, world.worker(1).address)
    assert nothing == (0, ZERO32, ZERO32, ZERO_ADDRESS)


def test_account_is_told_in_two_values(world: World, deal: str) -> None:
    for person in (world.requester, world.scheduler, world.stranger):
        expected = (world.balance(person), world.frozen(person))
        assert world.hub.call("viewAccountABILegacy", person.address) == expected
    assert world.frozen(world.requester) > 0


def test_category_is_told_and_one_that_is_not_there_panics(world: World) -> None:
    assert world.hub.call("viewCategoryABILegacy", 4) == world.hub.call("viewCategory", 4) == ("XL", '""', 36_000)
    with reverts("Panic(0x32)"):
        world.hub.call("viewCategoryABILegacy", 5)
