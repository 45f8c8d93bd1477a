"""`contribute`: who may, when, with which signatures; stake, events and what is recorded."""

from __future__ import annotations

from typing import Any

import pytest

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import TEE_TAG, Person, World, bytes32, mock

DIGEST = bytes32(7)


@pytest.fixture
def worker(world: World) -> Person:
    person = world.worker()
    world.fund(person, 10_000)
    return person


def _contribute(world: World, arguments: tuple[Any, ...], sender: Person) -> list[Any]:
    return world.hub.transact("contribute", *arguments, sender=sender.address)[1]


def test_a_contribution_is_recorded_and_its_stake_locked(world: World, worker: Person) -> None:
    task = world.task(request={"trust": 3})
    arguments = world.contribution(task, worker, DIGEST)
    logs = _contribute(world, arguments, worker)
    result_hash = ids.result_hash(task, DIGEST)
    assert [(log.name, log.arguments) for log in logs] == [
        ("Transfer", {"from": worker.address, "to": world.hub.address, "value": 3_000}),
        ("Lock", {"owner": worker.address, "amount": 3_000}),
        ("TaskContribute", {"taskid": task, "worker": worker.address, "hash": result_hash}),
    ]
    view = world.view_contribution(task, worker)
    assert (view.status, view.resultHash) == (1, result_hash)
    assert view.resultSeal == ids.result_seal(worker.address, task, DIGEST)
    assert (view.enclaveChallenge, view.weight) == (ZERO_ADDRESS, 1)
    assert (world.balance(worker), world.frozen(worker)) == (7_000, 3_000)
    shown = world.view_task(task)
    assert (shown.status, shown.contributors, shown.consensusValue) == (1, (worker.address,), ZERO32)


def test_consensus_follows_in_the_same_transaction(world: World, worker: Person) -> None:
    task = world.task()
    logs = _contribute(world, world.contribution(task, worker, DIGEST), worker)
    result_hash = ids.result_hash(task, DIGEST)
    assert (logs[-1].name, logs[-1].arguments) == ("TaskConsensus", {"taskid": task, "consensus": result_hash})
    shown = world.view_task(task)
    assert (shown.status, shown.consensusValue, shown.winnerCounter, shown.revealCounter) == (2, result_hash, 1, 0)
    assert shown.revealDeadline == world.now + 2 * 300


def test_a_task_that_was_not_initialized_takes_nothing(world: World, worker: Person) -> None:
    task = ids.task_id(world.deal(), 0)
    with reverts(NO_DATA):
        _contribute(world, world.contribution(task, worker, DIGEST), worker)


def test_after_consensus_nothing_more_is_taken(world: World, worker: Person) -> None:
    task = world.task()
    world.contribute(task, world.worker(1), DIGEST)
    with reverts(NO_DATA):
        _contribute(world, world.contribution(task, worker, DIGEST), worker)


def test_contributions_end_at_their_deadline(world: World, worker: Person) -> None:
    task = world.task(request={"trust": 3})
    deadline = world.view_task(task).contributionDeadline
    world.now = deadline
    with reverts(NO_DATA):
        _contribute(world, world.contribution(task, worker, DIGEST), worker)
    world.now = deadline - 1
    _contribute(world, world.contribution(task, worker, DIGEST), worker)


def test_a_worker_contributes_once(world: World, worker: Person) -> None:
    task = world.task(request={"trust": 3})
    _contribute(world, world.contribution(task, worker, DIGEST), worker)
    for digest in (DIGEST, bytes32(8)):
        with reverts(NO_DATA):
            _contribute(world, world.contribution(task, worker, digest), worker)


def test_a_worker_without_the_stake_is_refused(world: World) -> None:
    worker = world.worker(5)
    world.fund(worker, 2_999)
    task = world.task()
    with reverts("IexecEscrow: Transfer amount exceeds balance"):
        _contribute(world, world.contribution(task, worker, DIGEST), worker)
    world.fund(worker, 1)
    _contribute(world, world.contribution(task, worker, DIGEST), worker)


def test_a_stake_of_zero_needs_no_money(world: World) -> None:
    world.set_policy(world.pool, 0, 1)
    task = world.task()
    logs = _contribute(world, world.contribution(task, world.worker(6), DIGEST), world.worker(6))
    assert logs[1].arguments == {"owner": world.worker(6).address, "amount": 0}


# --- authorisation --------------------------------------------------------------------------------------------------


def test_who_is_not_authorised_is_refused(world: World, worker: Person) -> None:
    task = world.task()
    with reverts(NO_DATA):
        _contribute(world, world.contribution(task, worker, DIGEST, authority=world.stranger), worker)
    with reverts(NO_DATA):
        _contribute(world, world.contribution(task, worker, DIGEST, authority=worker), worker)


def test_an_authorisation_is_for_one_worker_and_one_task(world: World, worker: Person) -> None:
    task, other_task = world.task(request={"trust": 3}), world.task(request={"trust": 3})
    good = world.contribution(task, worker, DIGEST)
    world.fund(world.stranger)
    with reverts(NO_DATA):
        _contribute(world, good, world.stranger)
    with reverts(NO_DATA):
        _contribute(world, (*good[:5], world.authorisation(other_task, worker)), worker)
    with reverts(NO_DATA):
        _contribute(world, (*good[:5], world.authorisation(task, worker, world.stranger.address)), worker)
    _contribute(world, good, worker)


def test_an_authorisation_of_another_length_is_named(world: World, worker: Person) -> None:
    good = world.contribution(world.task(), worker, DIGEST)
    with reverts("invalid-signature-format"):
        _contribute(world, (*good[:5], b""), worker)


def test_a_compact_authorisation_holds(world: World, worker: Person) -> None:
    good = world.contribution(world.task(), worker, DIGEST)
    sign = good[5]
    compact = sign[:32] + bytes([sign[32] | (sign[64] - 27) << 7]) + sign[33:64]
    assert len(_contribute(world, (*good[:5], compact), worker)) == 4


def test_a_pool_owned_by_a_contract_authorises_by_erc1271(world: World, worker: Person) -> None:
    wallet = mock("wallet_contract", 0, b"pool")
    world.registries["workerpool"].call(
        "transferFrom",
        world.scheduler.address,
        str(wallet.address),
        int(world.pool, 16),
        sender=world.scheduler.address,
    )
    world.fund(str(wallet.address))
    world.fund(world.requester)
    orders = world.orders()
    pool_order = orders.workerpool.signed("0x" + b"pool".hex())
    task = world.initialize(world.match(type(orders)(orders.app, orders.dataset, pool_order, orders.request)))
    good = world.contribution(task, worker, DIGEST)
    with reverts(NO_DATA):
        _contribute(world, good, worker)
    assert len(_contribute(world, (*good[:5], b"pool"), worker)) == 4


# --- enclaves -------------------------------------------------------------------------------------------------------


def _tee_task(world: World) -> str:
    return world.task(app={"tag": TEE_TAG}, workerpool={"tag": TEE_TAG})


def test_a_tee_deal_needs_an_enclave(world: World, worker: Person) -> None:
    task = _tee_task(world)
    with reverts(NO_DATA):
        _contribute(world, world.contribution(task, worker, DIGEST), worker)
    enclave = Person("enclave")
    _contribute(world, world.contribution(task, worker, DIGEST, enclave=enclave), worker)
    assert world.view_contribution(task, worker).enclaveChallenge == enclave.address


def test_an_enclave_of_its_own_accord_is_checked_too(world: World, worker: Person) -> None:
    task = world.task()
    enclave = Person("enclave")
    good = world.contribution(task, worker, DIGEST, enclave=enclave)
    forged = world.contribution(task, worker, DIGEST, enclave=world.stranger)[4]
    with reverts(NO_DATA):
        _contribute(world, (*good[:4], forged, good[5]), worker)
    with reverts("invalid-signature-format"):
        _contribute(world, (*good[:4], b"", good[5]), worker)
    _contribute(world, good, worker)


def test_the_enclave_signs_hash_and_seal(world: World, worker: Person) -> None:
    task = world.task()
    enclave = Person("enclave")
    good = world.contribution(task, worker, DIGEST, enclave=enclave)
    for changed in ((task, bytes32(1), good[2]), (task, good[1], bytes32(1))):
        with reverts(NO_DATA):
            _contribute(world, (*changed, *good[3:]), worker)


def test_the_tee_broker_authorises_enclaves_and_nobody_else(world: World, worker: Person) -> None:
    broker, enclave = Person("broker"), Person("enclave")
    world.hub.call("setTeeBroker", broker.address, sender=world.owner.address)
    task = _tee_task(world)
    with reverts(NO_DATA):
        _contribute(world, world.contribution(task, worker, DIGEST, enclave=enclave), worker)
    _contribute(world, world.contribution(task, worker, DIGEST, enclave=enclave, authority=broker), worker)
    plain = world.task()
    with reverts(NO_DATA):
        _contribute(world, world.contribution(plain, worker, DIGEST, authority=broker), worker)
    _contribute(world, world.contribution(plain, worker, DIGEST), worker)


# --- our bound ------------------------------------------------------------------------------------------------------


def test_sixty_four_workers_contribute_and_the_next_is_refused(world: World) -> None:
    world.set_policy(world.pool, 0, 1)
    task = world.task(request={"trust": 1_000_000})
    for number in range(64):
        world.contribute(task, world.worker(number), bytes32(number), fund=False)
    assert len(world.view_task(task).contributors) == 64
    assert world.view_contribution(task, world.worker(63)).resultHash == ids.result_hash(task, bytes32(63))
    with reverts(NO_DATA):
        world.contribute(task, world.worker(64), bytes32(64), fund=False)
    world.now += 3_000
    world.hub.call("claim", task, sender=world.stranger.address)
    assert world.view_task(task).status == 4
