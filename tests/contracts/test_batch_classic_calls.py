"""`contribute`, `reveal`, `reopen` and `claim` with the id of a run: stakes and prices times its tasks."""

from __future__ import annotations

from typing import Any

import pytest

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO32
from fairgrid.protocol.rewards import KITTY_ADDRESS
from tests.contracts.batch import agree, answers, batch_deal, finalize_run, open_run, reopen, view_run
from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import RICH, Person, World, bytes32

RESULT = answers(7)
LIE = bytes32(666)


def _run(world: World, trust: int = 1, count: int = 7, **changes: Any) -> str:
    return open_run(world, batch_deal(world, count, request={"trust": trust}, **changes), count)


# --- contribute -----------------------------------------------------------------------------------------------------


def test_a_contribution_locks_the_stake_of_every_task(world: World) -> None:
    run, worker = _run(world, trust=3), world.worker()
    logs = world.contribute(run, worker, RESULT.digest)
    result_hash = ids.result_hash(run, RESULT.digest)
    assert [(log.name, log.arguments) for log in logs] == [
        ("Transfer", {"from": worker.address, "to": world.hub.address, "value": 21_000}),
        ("Lock", {"owner": worker.address, "amount": 21_000}),
        ("TaskContribute", {"taskid": run, "worker": worker.address, "hash": result_hash}),
    ]
    assert (world.balance(worker), world.frozen(worker)) == (RICH - 21_000, 21_000)
    shown = world.view_contribution(run, worker)
    assert (shown.status, shown.resultHash, shown.weight) == (1, result_hash, 1)
    assert shown.resultSeal == ids.result_seal(worker.address, run, RESULT.digest)


def test_a_worker_without_the_stake_of_every_task_is_refused(world: World) -> None:
    run, worker = _run(world), world.worker()
    world.fund(worker, 20_999)
    with reverts("IexecEscrow: Transfer amount exceeds balance"):
        world.contribute(run, worker, RESULT.digest, fund=False)
    world.fund(worker, 1)
    world.contribute(run, worker, RESULT.digest, fund=False)


def test_an_authorisation_for_a_task_is_none_for_its_run(world: World) -> None:
    deal = batch_deal(world, 8)
    task = world.initialize(deal, 0, world.scheduler)
    run = open_run(world, deal, 7)
    worker = world.worker()
    world.fund(worker)
    arguments = world.contribution(run, worker, RESULT.digest)
    with reverts(NO_DATA):
        world.hub.call("contribute", *arguments[:5], world.authorisation(task, worker), sender=worker.address)
    world.hub.call("contribute", *arguments, sender=worker.address)


def test_consensus_takes_the_weight_that_trust_asks_for(world: World) -> None:
    run = _run(world, trust=4)
    world.contribute(run, world.worker(0), RESULT.digest)
    assert world.view_task(run).status == 1
    logs = world.contribute(run, world.worker(1), RESULT.digest)
    result_hash = ids.result_hash(run, RESULT.digest)
    assert (logs[-1].name, logs[-1].arguments) == ("TaskConsensus", {"taskid": run, "consensus": result_hash})
    view = world.view_task(run)
    assert (view.status, view.winnerCounter, view.revealDeadline) == (2, 2, world.now + 2 * 300)
    assert view_run(world, run).status == 2


def test_a_run_takes_contributions_until_the_deadline_of_the_deal(world: World) -> None:
    deal = batch_deal(world, 7)
    world.now += 7 * 300 - 1
    run = open_run(world, deal, 7)
    world.contribute(run, world.worker(), RESULT.digest)
    other = open_run(world, batch_deal(world, 7), 7)
    world.now += 7 * 300
    with reverts(NO_DATA):
        world.contribute(other, world.worker(), RESULT.digest)


def test_an_enclave_signs_for_the_run(world: World) -> None:
    run, worker, enclave = _run(world), world.worker(), Person("enclave")
    world.contribute(run, worker, RESULT.digest, enclave=enclave)
    assert world.view_contribution(run, worker).enclaveChallenge == enclave.address


def test_sixty_four_workers_contribute_to_a_run_and_the_next_is_refused(world: World) -> None:
    world.set_policy(world.pool, 0, 1)
    run = _run(world, trust=1_000_000)
    for number in range(64):
        world.contribute(run, world.worker(number), bytes32(number // 4), fund=False)
    with reverts(NO_DATA):
        world.contribute(run, world.worker(64), bytes32(1), fund=False)
    assert len(world.view_task(run).contributors) == 64


# --- reveal ---------------------------------------------------------------------------------------------------------


def test_a_reveal_shows_the_digest_of_the_run(world: World) -> None:
    run, worker = _run(world), world.worker()
    world.contribute(run, worker, RESULT.digest)
    for wrong in (RESULT.root, RESULT.digests[0], LIE):
        with reverts(NO_DATA):
            world.reveal(run, worker, wrong)
    logs = world.reveal(run, worker, RESULT.digest)
    assert [(log.name, log.arguments) for log in logs] == [
        ("TaskReveal", {"taskid": run, "worker": worker.address, "digest": RESULT.digest})
    ]
    view = world.view_task(run)
    assert (view.resultDigest, view.consensusValue) == (RESULT.digest, ids.result_hash(run, RESULT.digest))
    with reverts(NO_DATA):
        world.reveal(run, worker, RESULT.digest)


# --- reopen ---------------------------------------------------------------------------------------------------------


def test_a_run_is_reopened_and_finalized_by_others(world: World) -> None:
    run = _run(world)
    world.contribute(run, world.worker(0), LIE)
    with reverts(NO_DATA):
        world.hub.call("reopen", run, sender=world.scheduler.address)
    logs = reopen(world, run)
    assert [(log.name, log.arguments) for log in logs] == [("TaskReopen", {"taskid": run})]
    view = world.view_task(run)
    assert (view.status, view.consensusValue, view.winnerCounter, view.revealDeadline) == (1, ZERO32, 0, 0)
    assert view_run(world, run).count == 7
    assert world.view_contribution(run, world.worker(0)).status == 3
    agree(world, run, RESULT, world.worker(1))
    finalize_run(world, run, RESULT)
    assert world.balance(world.worker(0)) == RICH - 21_000
    # 70,007 and the 21,000 that were seized: 99 % of it.
    assert world.balance(world.worker(1)) == RICH + 91_007 * 99 // 100
    assert world.score(world.worker(1)) == 1


# --- claim ----------------------------------------------------------------------------------------------------------


def test_a_claim_gives_everything_back_times_the_tasks(world: World) -> None:
    run = _run(world, trust=3, with_dataset=True)
    world.contribute(run, world.worker(0), RESULT.digest)
    world.contribute(run, world.worker(1), LIE)
    world.now = world.view_task(run).finalDeadline
    logs = world.hub.transact("claim", run, sender=world.stranger.address)[1]
    hub = world.hub.address
    assert [(log.name, log.arguments) for log in logs] == [
        ("Transfer", {"from": hub, "to": world.requester.address, "value": 79_107}),
        ("Unlock", {"owner": world.requester.address, "amount": 79_107}),
        ("Seize", {"owner": world.scheduler.address, "amount": 21_000, "ref": run}),
        ("Reward", {"owner": KITTY_ADDRESS, "amount": 21_000, "ref": run}),
        ("Lock", {"owner": KITTY_ADDRESS, "amount": 21_000}),
        ("Transfer", {"from": hub, "to": world.worker(0).address, "value": 21_000}),
        ("Unlock", {"owner": world.worker(0).address, "amount": 21_000}),
        ("Transfer", {"from": hub, "to": world.worker(1).address, "value": 21_000}),
        ("Unlock", {"owner": world.worker(1).address, "amount": 21_000}),
        ("TaskClaimed", {"taskid": run}),
    ]
    assert (world.balance(world.requester), world.balance(world.scheduler)) == (RICH, RICH - 21_000)
    assert world.balance(hub) == world.frozen(KITTY_ADDRESS) == 21_000
    assert view_run(world, run).status == 4
    with reverts(NO_DATA):
        world.hub.call("claim", run, sender=world.stranger.address)


@pytest.mark.parametrize("revealed", [False, True])
def test_a_run_that_reveals_is_claimed_at_the_final_deadline(world: World, revealed: bool) -> None:
    run = _run(world)
    world.contribute(run, world.worker(), RESULT.digest)
    if revealed:
        world.reveal(run, world.worker(), RESULT.digest)
    world.now = world.view_task(run).finalDeadline - 1
    with reverts(NO_DATA):
        world.hub.call("claim", run, sender=world.stranger.address)
    world.now += 1
    world.hub.call("claim", run, sender=world.stranger.address)
    assert (world.balance(world.worker()), world.frozen(world.worker())) == (RICH, 0)


def test_a_worker_that_was_rejected_gets_its_stake_back_at_a_claim(world: World) -> None:
    run = _run(world)
    world.contribute(run, world.worker(), LIE)
    reopen(world, run)
    world.now = world.view_task(run).finalDeadline
    world.hub.call("claim", run, sender=world.stranger.address)
    assert (world.balance(world.worker()), world.frozen(world.worker())) == (RICH, 0)
