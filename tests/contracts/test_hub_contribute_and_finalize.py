"""`contributeAndFinalize`: a task of trust 1 in one transaction; who may, when, who is paid, what is recorded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import boa
import pytest

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO_ADDRESS, keccak, to_hex
from fairgrid.protocol.rewards import KITTY_ADDRESS
from tests.contracts.batch import batch_deal, open_run
from tests.contracts.registries import NO_DATA, Log, public_abi, reverts
from tests.contracts.world import RICH, TEE_TAG, Person, World, bytes32, mock, names

DIGEST = bytes32(7)
TEE: dict[str, Any] = {"app": {"tag": TEE_TAG}, "workerpool": {"tag": TEE_TAG}, "request": {"tag": TEE_TAG}}


@dataclass(frozen=True)
class Delivery:
    """The arguments after the task and the digest."""

    results: bytes = b"results"
    callback: bytes = b""
    challenge: str = ZERO_ADDRESS
    enclave_sign: bytes = b""
    authorisation: bytes = b""


def _delivery(world: World, task: str, worker: Person, digest: str = DIGEST, **options: Any) -> Delivery:
    """With the signatures that `contribute` needs."""
    *_, challenge, enclave_sign, authorisation = world.contribution(task, worker, digest, **options)
    return Delivery(challenge=challenge, enclave_sign=enclave_sign, authorisation=authorisation)


def _deliver(
    world: World, task: str, worker: Person | None = None, digest: str = DIGEST, delivery: Delivery | None = None
) -> list[Log]:
    person = worker or world.worker()
    given = delivery or _delivery(world, task, person, digest)
    arguments = (given.results, given.callback, given.challenge, given.enclave_sign, given.authorisation)
    return world.hub.transact("contributeAndFinalize", task, digest, *arguments, sender=person.address)[1]


# --- money and records ----------------------------------------------------------------------------------------------


def test_events_and_payments(world: World) -> None:
    task = world.task(with_dataset=True)
    logs = _deliver(world, task)
    hub, worker, pool_owner = world.hub.address, world.worker().address, world.scheduler.address
    result_hash = ids.result_hash(task, DIGEST)
    # W = floor(10,001 · 99 / 100) = 9,900; the scheduler keeps 101.
    expected: list[tuple[str, dict[str, Any]]] = [
        ("Seize", {"owner": world.requester.address, "amount": 11_301, "ref": task}),
        ("Transfer", {"from": hub, "to": world.app_owner.address, "value": 1_000}),
        ("Reward", {"owner": world.app_owner.address, "amount": 1_000, "ref": task}),
        ("Transfer", {"from": hub, "to": world.dataset_owner.address, "value": 300}),
        ("Reward", {"owner": world.dataset_owner.address, "amount": 300, "ref": task}),
        ("Transfer", {"from": hub, "to": pool_owner, "value": 3_000}),
        ("Unlock", {"owner": pool_owner, "amount": 3_000}),
        ("Transfer", {"from": hub, "to": worker, "value": 9_900}),
        ("Reward", {"owner": worker, "amount": 9_900, "ref": task}),
        ("Transfer", {"from": hub, "to": pool_owner, "value": 101}),
        ("Reward", {"owner": pool_owner, "amount": 101, "ref": task}),
        ("TaskContribute", {"taskid": task, "worker": worker, "hash": result_hash}),
        ("TaskConsensus", {"taskid": task, "consensus": result_hash}),
        ("TaskReveal", {"taskid": task, "worker": worker, "digest": DIGEST}),
        ("TaskFinalize", {"taskid": task, "results": b"results"}),
    ]
    assert [(log.name, log.arguments) for log in logs] == expected
    assert world.balance(world.requester) == RICH - 11_301
    assert (world.balance(world.worker()), world.frozen(world.worker())) == (9_900, 0)
    assert world.balance(world.scheduler) == RICH + 101
    assert (world.balance(hub), world.frozen(world.requester), world.frozen(world.scheduler)) == (0, 0, 0)


def test_the_sponsor_pays(world: World) -> None:
    world.fund(world.stranger)
    world.fund(world.scheduler)
    deal = str(world.hub.call("sponsorMatchOrders", *world.orders().arguments, sender=world.stranger.address))
    logs = _deliver(world, world.initialize(deal))
    assert logs[0].arguments["owner"] == world.stranger.address
    assert world.balance(world.stranger) == RICH - 11_001


def test_the_scheduler_draws_its_part_of_the_kitty(world: World) -> None:
    price = 10 * 10**9
    failed = world.task(workerpool={"workerpoolprice": price}, request={"workerpoolmaxprice": price})
    world.now = world.view_task(failed).finalDeadline
    world.hub.call("claim", failed, sender=world.stranger.address)
    assert world.frozen(KITTY_ADDRESS) == 3 * 10**9
    logs = _deliver(world, world.task())
    part = 10**9
    assert [(log.name, log.arguments.get("amount")) for log in logs[5:8]] == [
        ("Seize", part),
        ("Transfer", None),
        ("Reward", part),
    ]
    assert world.frozen(KITTY_ADDRESS) == 2 * 10**9


def test_what_is_recorded(world: World) -> None:
    task = world.task()
    _deliver(world, task)
    view = world.view_task(task)
    assert (view.status, view.winnerCounter, view.revealCounter) == (3, 1, 1)
    assert (view.consensusValue, view.resultDigest) == (ids.result_hash(task, DIGEST), DIGEST)
    assert view.revealDeadline == world.now + 2 * 300
    assert (view.contributors, view.results, view.resultsCallback) == ((world.worker().address,), b"results", b"")
    shown = world.view_contribution(task, world.worker())
    assert (shown.status, shown.weight, shown.enclaveChallenge) == (2, 0, ZERO_ADDRESS)
    assert shown.resultHash == ids.result_hash(task, DIGEST)
    assert shown.resultSeal == ids.result_seal(world.worker().address, task, DIGEST)


def test_the_worker_needs_no_stake_and_its_score_stays(world: World) -> None:
    world.set_score(world.worker(), 30)
    logs = _deliver(world, world.task())
    assert not {"Lock", "AccurateContribution", "FaultyContribution"} & set(names(logs))
    assert world.score(world.worker()) == 30


# --- when -----------------------------------------------------------------------------------------------------------


def test_a_task_that_was_not_initialized_takes_nothing(world: World) -> None:
    deal = world.deal()
    with reverts(NO_DATA):
        _deliver(world, ids.task_id(deal, 0))
    _deliver(world, world.initialize(deal))


def test_it_happens_once_and_nothing_comes_after(world: World) -> None:
    task = world.task()
    _deliver(world, task)
    final = world.view_task(task).finalDeadline
    for worker in (world.worker(0), world.worker(1)):
        with reverts(NO_DATA):
            _deliver(world, task, worker)
        with reverts(NO_DATA):
            world.contribute(task, worker, DIGEST)
    with reverts(NO_DATA):
        world.finalize(task)
    world.now = final
    with reverts(NO_DATA):
        world.hub.call("claim", task, sender=world.stranger.address)


def test_contributions_end_at_their_deadline(world: World) -> None:
    task = world.task()
    world.now = world.view_task(task).contributionDeadline
    with reverts(NO_DATA):
        _deliver(world, task)
    world.now -= 1
    _deliver(world, task)


def test_who_contributed_before_is_not_passed_over(world: World) -> None:
    """Nor is who was rejected: the task takes contributions again, but not this."""
    task = world.task()
    world.contribute(task, world.worker(1), DIGEST)
    with reverts(NO_DATA):
        _deliver(world, task)
    world.now = world.view_task(task).revealDeadline
    world.hub.call("reopen", task, sender=world.scheduler.address)
    with reverts(NO_DATA):
        _deliver(world, task)


@pytest.mark.parametrize(("trust", "works"), [(0, True), (1, True), (2, False), (3, False)])
def test_only_at_trust_one(world: World, trust: int, works: bool) -> None:
    task = world.task(request={"trust": trust})
    if works:
        _deliver(world, task)
        return
    with reverts(NO_DATA):
        _deliver(world, task)


def test_a_run_is_refused(world: World) -> None:
    run = open_run(world, batch_deal(world, 3), 1)
    with reverts(NO_DATA):
        _deliver(world, run)


def test_a_classic_task_of_a_batch_lane_deal_is_a_task(world: World) -> None:
    _deliver(world, world.initialize(batch_deal(world, 3), 0, world.scheduler))


# --- signatures -----------------------------------------------------------------------------------------------------


def test_who_is_not_authorised_is_refused(world: World) -> None:
    task, other = world.task(), world.task()
    worker = world.worker()
    good = _delivery(world, task, worker)
    for bad in (
        _delivery(world, task, worker, authority=world.stranger),
        _delivery(world, task, world.worker(1)),
        _delivery(world, other, worker),
    ):
        with reverts(NO_DATA):
            _deliver(world, task, worker, delivery=bad)
    with reverts("invalid-signature-format"):
        _deliver(world, task, worker, delivery=replace(good, authorisation=b"short"))
    _deliver(world, task, worker, delivery=good)


def test_a_tee_deal_needs_an_enclave_that_signed_this_result(world: World) -> None:
    enclave, worker = Person("enclave"), world.worker()
    task = world.task(**TEE)
    with reverts(NO_DATA):
        _deliver(world, task, worker)
    good = _delivery(world, task, worker, enclave=enclave)
    wrong_digest = _delivery(world, task, worker, bytes32(8), enclave=enclave)
    wrong_key = _delivery(world, task, worker, enclave=Person("another enclave"))
    for sign in (wrong_digest.enclave_sign, wrong_key.enclave_sign):
        with reverts(NO_DATA):
            _deliver(world, task, worker, delivery=replace(good, enclave_sign=sign))
    _deliver(world, task, worker, delivery=good)
    assert world.view_contribution(task, worker).enclaveChallenge == enclave.address


def test_an_enclave_may_sign_for_a_deal_that_needs_none(world: World) -> None:
    enclave, worker = Person("enclave"), world.worker()
    task = world.task()
    good = _delivery(world, task, worker, enclave=enclave)
    with reverts(NO_DATA):
        _deliver(world, task, worker, delivery=replace(good, enclave_sign=worker.sign_message(bytes(32))))
    _deliver(world, task, worker, delivery=good)
    assert world.view_contribution(task, worker).enclaveChallenge == enclave.address


def test_enclaves_are_authorised_by_the_broker_if_there_is_one(world: World) -> None:
    broker, enclave, worker = Person("broker"), Person("enclave"), world.worker()
    world.hub.call("setTeeBroker", broker.address, sender=world.owner.address)
    task = world.task(**TEE)
    with reverts(NO_DATA):
        _deliver(world, task, worker, delivery=_delivery(world, task, worker, enclave=enclave))
    good = _delivery(world, task, worker, enclave=enclave, authority=broker)
    _deliver(world, task, worker, delivery=good)
    plain = world.task()
    with reverts(NO_DATA):
        _deliver(world, plain, worker, delivery=_delivery(world, plain, worker, authority=broker))
    _deliver(world, plain, worker)


def test_conditions_are_asked_before_signatures(world: World) -> None:
    """A signature of a wrong length has a text; whatever else is wrong comes first and has none."""
    bad = Delivery(authorisation=b"short")
    with reverts(NO_DATA):
        _deliver(world, world.task(request={"trust": 2}), delivery=bad)
    with reverts(NO_DATA):
        _deliver(world, world.task(), delivery=replace(bad, callback=b"other data"))
    with reverts(NO_DATA):
        _deliver(world, world.task(**TEE), delivery=bad)
    with reverts("invalid-signature-format"):
        _deliver(world, world.task(), delivery=bad)


# --- results and callback -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2048])
def test_results_are_kept_byte_for_byte(world: World, size: int) -> None:
    task, results = world.task(), b"r" * size
    _deliver(world, task, delivery=replace(_delivery(world, task, world.worker()), results=results))
    assert world.view_task(task).results == results


def test_results_beyond_our_bound_revert(world: World) -> None:
    task = world.task()
    good = _delivery(world, task, world.worker())
    for bad in (replace(good, results=b"x" * 2049), replace(good, callback=b"x" * 2049)):
        with reverts(NO_DATA):
            _deliver(world, task, digest=DIGEST, delivery=bad)


def test_a_callback_gets_the_bytes_whose_hash_is_the_digest(world: World) -> None:
    receiver = mock("callback", 0)
    data, worker = b"\xab" * 100, world.worker()
    digest = to_hex(keccak(data))
    task = world.task(request={"callback": str(receiver.address)})
    good = replace(_delivery(world, task, worker, digest), callback=data)
    for wrong in (b"", data + b"!"):
        with reverts(NO_DATA):
            _deliver(world, task, worker, digest, replace(good, callback=wrong))
    logs = _deliver(world, task, worker, digest, good)
    assert logs[-1].name == "TaskFinalize"
    assert (to_hex(receiver.task()), receiver.digest()) == (task, keccak(data))
    assert 150_000 < receiver.gas_seen() <= 200_000
    assert world.hub.call("resultFor", task) == data
    assert world.view_task(task).results == b"results"


def test_without_a_callback_data_must_match_the_digest_or_be_empty(world: World) -> None:
    data, worker, task = b"pull me", world.worker(), world.task()
    digest = to_hex(keccak(data))
    good = replace(_delivery(world, task, worker, digest), callback=data)
    with reverts(NO_DATA):
        _deliver(world, task, worker, digest, replace(good, callback=b"other"))
    _deliver(world, task, worker, digest, good)
    assert world.hub.call("resultFor", task) == data


def test_a_callback_can_neither_fail_the_task_nor_be_starved(world: World) -> None:
    digest, worker = to_hex(keccak(b"d")), world.worker()
    for mode in (1, 2):
        task = world.task(request={"callback": str(mock("callback", mode).address)})
        _deliver(world, task, worker, digest, replace(_delivery(world, task, worker, digest), callback=b"d"))
        assert world.view_task(task).status == 3
    receiver = mock("callback", 0)
    task = world.task(request={"callback": str(receiver.address)})
    given = _delivery(world, task, worker, digest)
    data = public_abi("hub").encode_call(
        "contributeAndFinalize", (task, digest, b"", b"d", given.challenge, given.enclave_sign, given.authorisation)
    )
    outcomes = set()
    for gas in range(160_000, 560_000, 16_000):
        with world.anchor():
            computation = boa.env.execute_code(to_address=world.hub.address, sender=worker.address, data=data, gas=gas)
            finished = world.view_task(task).status == 3
            assert finished == (not computation.is_error)
            assert finished == (receiver.digest() == keccak(b"d"))
            outcomes.add(finished)
    assert outcomes == {False, True}
