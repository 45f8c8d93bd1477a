"""The same calls on the published contracts and on ours: answers, reverts, events and views agree.

Arithmetic that panics with data there reverts without data here, which `Record` knows; what else is expected to differ
has its tests in `test_peer_agreement_on_the_rest`.
"""

from __future__ import annotations

from typing import Any

import pytest

from fairgrid.protocol.hexes import ZERO_ADDRESS, keccak, to_hex32
from fairgrid.protocol.ids import task_id
from tests.contracts.peer_record import Play, Record, pairs
from tests.contracts.world import TEE_TAG, Person, World, as_tuple, bytes32

GOOD, BAD = bytes32(99), bytes32(98)
CALLBACK = b"\x5a" * 64


def a_liar_among_honest_workers(record: Record) -> None:
    world = record.world
    workers = [world.worker(number) for number in range(5)]
    people = record.ready(*workers)
    deal = record.match(request={"trust": 5, "volume": 2})
    task = record.call("initialize", deal, 0, sender=world.stranger)
    record.call("initialize", deal, 0, sender=world.stranger)
    record.call("initialize", deal, 2, sender=world.stranger)
    for number, worker in enumerate(workers):
        record.contribute(task, worker, BAD if number == 0 else GOOD)
        record.look(deals=[], tasks=[task], people=people)
    record.contribute(task, workers[0], GOOD)
    record.call("finalize", task, b"too soon", b"", sender=world.scheduler)
    for worker in workers:
        record.call("reveal", task, GOOD, sender=worker)
    record.call("finalize", task, b"by a stranger", b"", sender=world.stranger)
    record.call("finalize", task, b"with data", CALLBACK, sender=world.scheduler)
    record.call("finalize", task, b"where it is", b"", sender=world.scheduler)
    record.call("finalize", task, b"once more", b"", sender=world.scheduler)
    record.call("claim", task, sender=world.stranger)
    record.call("resultFor", task, sender=world.stranger)
    record.look(deals=[deal], tasks=[task], people=people)


def a_silent_consensus_is_reopened_and_its_worker_slashed(record: Record) -> None:
    world = record.world
    silent, others = world.worker(0), [world.worker(number) for number in range(1, 4)]
    people = record.ready(silent, *others)
    deal = record.match(request={"trust": 2})
    task = record.call("initialize", deal, 0, sender=world.stranger)
    record.contribute(task, silent, GOOD)
    record.call("reopen", task, sender=world.scheduler)
    world.now += 600
    record.call("reveal", task, GOOD, sender=silent)
    record.call("reopen", task, sender=world.stranger)
    record.call("reopen", task, sender=world.scheduler)
    record.look(deals=[deal], tasks=[task], people=people)
    for worker in others:
        record.contribute(task, worker, GOOD)
        record.call("reveal", task, GOOD, sender=worker)
    record.call("finalize", task, b"", b"", sender=world.scheduler)
    record.look(deals=[], tasks=[task], people=people)


def an_abandoned_task_is_claimed_and_the_kitty_pays_the_next(record: Record) -> None:
    world = record.world
    worker = world.worker()
    people = record.ready(worker)
    deal = record.match(request={"trust": 4, "volume": 3})
    task = record.call("initialize", deal, 1, sender=world.stranger)
    record.contribute(task, worker, GOOD)
    record.call("claim", task, sender=world.stranger)
    world.now += 3_000
    record.contribute(task, world.worker(1), GOOD)
    record.call("claim", task, sender=world.stranger)
    record.call("initializeAndClaimArray", [deal, deal], [0, 2], sender=world.stranger)
    record.call("initializeAndClaimArray", [deal], [0, 2], sender=world.stranger)
    record.look(deals=[deal], tasks=[task], people=people)
    second = record.call("initialize", record.match(), 0, sender=world.stranger)
    record.contribute(second, worker, GOOD)
    record.call("reveal", second, GOOD, sender=worker)
    record.call("finalize", second, b"r", b"", sender=world.scheduler)
    record.look(deals=[], tasks=[second], people=people)


def one_transaction_tasks(record: Record) -> None:
    world = record.world
    worker, enclave = world.worker(), world.worker(8)
    people = record.ready(worker)
    digest = to_hex32(keccak(CALLBACK))
    tag = {"tag": TEE_TAG}
    for request, used, data in (
        ({}, None, b""),
        (tag, enclave, b""),
        ({"callback": world.owner.address}, None, CALLBACK),
    ):
        changes: dict[str, Any] = {"app": tag, "workerpool": tag} if "tag" in request else {}
        deal = record.match(request=request, **changes)
        task = record.call("initialize", deal, 0, sender=world.stranger)
        _, _, _, challenge, enclave_sign, sign = world.contribution(task, worker, digest, enclave=used)
        wrong = (task, digest, b"where", b"other", challenge, enclave_sign, sign)
        record.call("contributeAndFinalize", *wrong, sender=worker)
        record.call("contributeAndFinalize", *wrong[:3], data, *wrong[4:], sender=world.worker(1))
        record.call("contributeAndFinalize", *wrong[:3], data, *wrong[4:], sender=worker)
        record.call("contributeAndFinalize", *wrong[:3], data, *wrong[4:], sender=worker)
        record.call("resultFor", task, sender=worker)
        record.look(deals=[deal], tasks=[task], people=people)
    several = record.call("initialize", record.match(request={"trust": 2}), 0, sender=world.stranger)
    arguments = world.contribution(several, worker, GOOD)
    record.call("contributeAndFinalize", several, GOOD, b"", b"", *arguments[3:], sender=worker)


def orders_that_do_not_fit(record: Record) -> None:
    world = record.world
    record.ready()
    stranger = world.stranger.address
    changes_of: tuple[dict[str, Any], ...] = (
        {"request": {"category": 1}},
        {"request": {"category": 9}, "workerpool": {"category": 9}},
        {"request": {"trust": 5}, "workerpool": {"trust": 4}},
        {"app": {"appprice": 1_001}},
        {"dataset": {"datasetprice": 301}},
        {"workerpool": {"workerpoolprice": 10_002}},
        {"request": {"tag": bytes32(1 << 8)}},
        {"request": {"tag": TEE_TAG}, "workerpool": {"tag": TEE_TAG}},
        {"request": {"app": stranger}},
        {"request": {"dataset": stranger}},
        {"request": {"workerpool": stranger}},
        *({"app": {name: stranger}} for name in ("datasetrestrict", "workerpoolrestrict", "requesterrestrict")),
        *({"dataset": {name: stranger}} for name in ("apprestrict", "workerpoolrestrict", "requesterrestrict")),
        *({"workerpool": {name: stranger}} for name in ("apprestrict", "datasetrestrict", "requesterrestrict")),
        {"app": {"volume": 0}},
    )
    for changes in changes_of:
        record.note("changed", sorted(changes))
        record.match(**changes)
    orders = world.orders(with_dataset=True)
    for kind, field_ in (("app", 0), ("dataset", 1), ("workerpool", 2), ("request", 3)):
        forged = list(orders.arguments)
        forged[field_] = as_tuple(world.sign(getattr(orders, kind), world.stranger))
        record.call("matchOrders", *forged, sender=world.stranger)
        forged[field_] = (*forged[field_][:-1], b"short")
        record.call("matchOrders", *forged, sender=world.stranger)


def presigned_and_closed_orders(record: Record) -> None:
    world = record.world
    people = record.ready()
    orders = world.unsigned_orders(with_dataset=True)
    owners = (world.app_owner, world.dataset_owner, world.scheduler, world.requester)
    functions = ("manageAppOrder", "manageDatasetOrder", "manageWorkerpoolOrder", "manageRequestOrder")
    kinds = ("app", "dataset", "workerpool", "request")
    for function, kind, owner in zip(functions, kinds, owners, strict=True):
        order = getattr(orders, kind)
        record.call(function, (as_tuple(order), 0, b""), sender=world.stranger)
        record.call(function, world.operation(order, 0, world.stranger), sender=world.stranger)
        record.call(function, world.operation(order, 0, owner), sender=world.stranger)
        record.note("presigned", world.hub.call("viewPresigned", world.order_hash(order)))
    deal = record.call("matchOrders", *orders.arguments, sender=world.stranger)
    record.call("matchOrders", *orders.arguments, sender=world.stranger)
    for function, kind, owner in zip(functions, kinds, owners, strict=True):
        order = getattr(orders, kind)
        record.call(function, (as_tuple(order), 1, b""), sender=owner)
        record.note("consumed", world.hub.call("viewConsumed", world.order_hash(order)))
    record.look(deals=[deal], tasks=[], people=people)


def money_in_and_out(record: Record) -> None:
    world = record.world
    saver, friend = Person("saver"), Person("friend")
    world.rlc.call("transfer", saver.address, 1_000, sender=world.owner.address)
    record.call("deposit", 10, sender=saver)
    record.call("approve", world.hub.address, 500, sender=saver, contract=world.rlc)
    record.call("deposit", 100, sender=saver)
    record.call("depositFor", 50, friend.address, sender=saver)
    record.call("depositFor", 50, ZERO_ADDRESS, sender=saver)
    record.call("depositForArray", [1, 2], [friend.address, saver.address], sender=saver)
    record.call("depositForArray", [1, 2], [friend.address], sender=saver)
    record.call("transfer", friend.address, 30, sender=saver)
    record.call("transfer", friend.address, 10_000, sender=saver)
    record.call("transfer", ZERO_ADDRESS, 1, sender=saver)
    record.call("approve", saver.address, 5, sender=friend)
    record.call("transferFrom", friend.address, saver.address, 6, sender=saver)
    record.call("transferFrom", friend.address, saver.address, 5, sender=saver)
    record.call("increaseAllowance", saver.address, 7, sender=friend)
    record.call("decreaseAllowance", saver.address, 8, sender=friend)
    record.call("decreaseAllowance", saver.address, 3, sender=friend)
    record.call("withdraw", 1_000, sender=saver)
    record.call("withdraw", 1, sender=saver)
    record.call("withdrawTo", 1, friend.address, sender=saver)
    record.call("receiveApproval", saver.address, 1, friend.address, b"", sender=friend)
    record.call("receiveApproval", saver.address, 1, world.rlc.address, b"", sender=friend)
    record.call("recover", sender=saver)
    record.call("recover", sender=world.owner)
    record.look(deals=[], tasks=[], people=[saver, friend, world.owner])


def boost(record: Record) -> None:
    world = record.world
    worker = world.worker()
    people = record.ready(worker)
    orders = world.orders(with_dataset=True, request={"volume": 3, "trust": 1})
    deal = record.call("matchOrdersBoost", *orders.arguments, sender=world.stranger)
    record.note("viewDealBoost", world.hub.call("viewDealBoost", deal))
    record.note("viewDeal", world.hub.call("viewDeal", deal))
    tasks = [task_id(deal, number) for number in range(3)]
    sign = world.authorisation(tasks[0], worker)
    record.call("pushResultBoost", deal, 0, b"results", b"", sign, ZERO_ADDRESS, b"", sender=world.worker(1))
    record.call("pushResultBoost", deal, 3, b"results", b"", sign, ZERO_ADDRESS, b"", sender=worker)
    record.call("pushResultBoost", deal, 0, b"results", b"", sign, ZERO_ADDRESS, b"", sender=worker)
    record.call("pushResultBoost", deal, 0, b"results", b"", sign, ZERO_ADDRESS, b"", sender=worker)
    record.call("claimBoost", deal, 1, sender=world.stranger)
    world.now += 2_100
    record.call("claimBoost", deal, 1, sender=world.stranger)
    record.call(
        "pushResultBoost", deal, 2, b"", b"", world.authorisation(tasks[2], worker), ZERO_ADDRESS, b"", sender=worker
    )
    for task in tasks:
        record.note("viewTask", world.hub.call("viewTask", task)[0])
    record.look(deals=[], tasks=[], people=people)
    record.call("matchOrdersBoost", *world.orders(request={"trust": 2}).arguments, sender=world.stranger)


PLAYS: tuple[Play, ...] = (
    a_liar_among_honest_workers,
    a_silent_consensus_is_reopened_and_its_worker_slashed,
    an_abandoned_task_is_claimed_and_the_kitty_pays_the_next,
    one_transaction_tasks,
    orders_that_do_not_fit,
    presigned_and_closed_orders,
    money_in_and_out,
    boost,
)


@pytest.mark.parametrize("play", PLAYS, ids=lambda play: play.__name__)
def test_published_contracts_and_ours_answer_alike(worlds: tuple[World, World], play: Play) -> None:
    before: list[str] = []
    for theirs, ours in pairs(worlds, play):
        assert ours == theirs, f"after {before[-6:]}"
        before.append(theirs[0])
