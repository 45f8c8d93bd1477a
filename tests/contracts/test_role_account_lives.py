"""Whole tasks lived through role accounts, and what a stolen operator key is worth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairgrid.protocol import ids, runs
from fairgrid.protocol.hexes import ZERO_ADDRESS
from tests.contracts.around import SCHEDULER, WORKER, RoleAccount, role_accounts
from tests.contracts.batch import BATCH_LANE, answers
from tests.contracts.registries import NO_DATA, ChainContract, reverts
from tests.contracts.world import RICH, Person, World, bytes32

DIGEST = bytes32(99)
PRICE = 10_001
STAKE = PRICE * 30 // 100
WORKERS_SHARE = PRICE * 99 // 100


@pytest.fixture
def factory(world: World) -> ChainContract:
    return role_accounts(world.hub.address)


@pytest.fixture
def scheduler(world: World, factory: ChainContract) -> RoleAccount:
    """Owns a workerpool and has money in escrow for its stakes."""
    account = RoleAccount(factory, "scheduler", SCHEDULER)
    world.fund(account.address)
    return account


@pytest.fixture
def worker(world: World, factory: ChainContract) -> RoleAccount:
    account = RoleAccount(factory, "worker", WORKER)
    world.fund(account.address, STAKE)
    return account


@pytest.fixture
def task(world: World, scheduler: RoleAccount) -> str:
    """A task of a deal with the scheduler account's own pool."""
    pool = str(world.registries["workerpool"].call("createWorkerpool", scheduler.address, "a pool with a cold owner"))
    world.fund(world.requester)
    orders = world.unsigned_orders(workerpool={"workerpool": pool})
    pool_order = orders.workerpool.signed(scheduler.sign(world.order_hash(orders.workerpool)))
    return world.initialize(world.match(replace(world.sign_all(orders), workerpool=pool_order)))


def _contribution(scheduler: RoleAccount, task: str, worker: RoleAccount, digest: str = DIGEST) -> tuple[Any, ...]:
    return (
        task,
        ids.result_hash(task, digest),
        ids.result_seal(worker.address, task, digest),
        ZERO_ADDRESS,
        b"",
        scheduler.authorise(worker.address, task),
    )


def test_a_whole_task_lives_through_role_accounts_and_the_money_ends_with_the_owners(
    world: World, scheduler: RoleAccount, worker: RoleAccount, task: str
) -> None:
    worker.work("contribute", *_contribution(scheduler, task, worker))
    assert world.frozen(worker.address) == STAKE
    worker.work("reveal", task, DIGEST)
    scheduler.work("finalize", task, b"results", b"")
    assert world.view_task(task).status == 3
    assert world.balance(worker.address) == STAKE + WORKERS_SHARE
    assert world.balance(scheduler.address) == RICH + PRICE - WORKERS_SHARE

    for account, amount in ((worker, STAKE + WORKERS_SHARE), (scheduler, RICH + PRICE - WORKERS_SHARE)):
        account.contract.call("withdraw", amount, sender=account.owner.address)
        assert world.rlc.call("balanceOf", account.owner.address) == amount
        assert world.balance(account.address) == world.frozen(account.address) == 0
        assert world.balance(account.operator) == world.rlc.call("balanceOf", account.operator.address) == 0


def test_anybody_who_knows_the_digest_reveals_for_a_worker_that_is_away(
    world: World, scheduler: RoleAccount, worker: RoleAccount, task: str
) -> None:
    worker.work("contribute", *_contribution(scheduler, task, worker))
    with reverts(NO_DATA):
        worker.work("reveal", task, bytes32(98), sender=world.stranger)
    worker.work("reveal", task, DIGEST, sender=world.stranger)
    assert world.view("viewContribution", task, worker.address).status == 2


def test_scheduler_reopens_a_consensus_that_nobody_revealed(
    world: World, scheduler: RoleAccount, worker: RoleAccount, task: str
) -> None:
    worker.work("contribute", *_contribution(scheduler, task, worker))
    world.now = world.view_task(task).revealDeadline
    with reverts("caller lacks the role"):
        worker.work("reopen", task)
    scheduler.work("reopen", task)
    assert world.view_task(task).status == 1


@pytest.fixture
def bag(world: World, scheduler: RoleAccount) -> str:
    """A deal of six tasks in the batch lane, with the scheduler account's own pool."""
    pool = str(world.registries["workerpool"].call("createWorkerpool", scheduler.address, "a pool for bags"))
    world.fund(world.requester)
    orders = world.unsigned_orders(
        workerpool={"workerpool": pool, "tag": BATCH_LANE}, request={"tag": BATCH_LANE, "volume": 6}
    )
    pool_order = orders.workerpool.signed(scheduler.sign(world.order_hash(orders.workerpool)))
    return world.match(replace(world.sign_all(orders), workerpool=pool_order))


def test_runs_live_through_role_accounts(world: World, scheduler: RoleAccount, worker: RoleAccount, bag: str) -> None:
    world.fund(worker.address, 2 * STAKE)
    scheduler.work("openRun", bag, 4)
    left, right = runs.run_id(bag, 0, 2), runs.run_id(bag, 2, 2)
    scheduler.work("splitRun", runs.run_id(bag, 0, 4), 2)
    result = answers(2)
    for run in (left, right):
        worker.work("contribute", *_contribution(scheduler, run, worker, result.digest))
        worker.work("reveal", run, result.digest)
        scheduler.work("finalizeRun", run, result.root, result.results)
        assert world.view_task(run).status == 3
    last = runs.run_id(bag, 4, 2)
    authorisation = scheduler.authorise(worker.address, last)
    worker.work("settleRun", bag, 2, result.root, result.results, ZERO_ADDRESS, b"", authorisation)
    assert world.view_task(last).status == 3
    assert world.frozen(worker.address) == world.frozen(scheduler.address) == world.frozen(world.requester) == 0
    assert world.balance(worker.address) == 3 * STAKE + 3 * (2 * PRICE * 99 // 100)


def test_accounts_of_one_factory_do_not_disturb_each_other(
    world: World, factory: ChainContract, scheduler: RoleAccount, worker: RoleAccount
) -> None:
    other = RoleAccount(factory, "another worker", WORKER)
    other.contract.call("setOperator", worker.operator.address, WORKER, sender=other.owner.address)
    assert worker.contract.call("operator") == worker.operator.address
    assert scheduler.contract.call("roles") == SCHEDULER
    with reverts("caller is not the owner"):
        worker.contract.call("withdraw", 1, sender=other.owner.address)


def test_stolen_key_of_a_worker_takes_no_money_and_is_shut_out(
    world: World, scheduler: RoleAccount, worker: RoleAccount, task: str
) -> None:
    thief = worker.operator
    for function, arguments in (
        ("withdraw", (1,)),
        ("execute", (world.hub.address, 0, b"")),
        ("setOperator", (thief.address, 3)),
        ("transferOwnership", (thief.address,)),
    ):
        with reverts("caller is not the owner"):
            worker.contract.call(function, *arguments, sender=thief.address)
    # What it can do: stake the account's money on a lie. That is all that it can lose.
    worker.work("contribute", *_contribution(scheduler, task, worker, bytes32(13)))
    assert (world.balance(worker.address), world.frozen(worker.address)) == (0, STAKE)
    worker.contract.call("setOperator", Person("fresh").address, WORKER, sender=worker.owner.address)
    with reverts("caller lacks the role"):
        worker.work("contribute", *_contribution(scheduler, task, worker))
    # The lie was alone and is revealed by its own hash; the stake comes back to the account.
    worker.work("reveal", task, bytes32(13), sender=world.stranger)
    scheduler.work("finalize", task, b"", b"")
    assert world.balance(worker.address) == STAKE + WORKERS_SHARE


def test_stolen_key_of_a_scheduler_takes_no_money_and_its_authorisations_end_with_it(
    world: World, scheduler: RoleAccount, worker: RoleAccount, task: str
) -> None:
    before = (world.balance(scheduler.address), world.frozen(scheduler.address))
    stolen_word = scheduler.authorise(worker.address, task)
    with reverts("caller is not the owner"):
        scheduler.contract.call("withdraw", before[0], sender=scheduler.operator.address)
    scheduler.contract.call("setOperator", Person("fresh").address, SCHEDULER, sender=scheduler.owner.address)
    arguments = (*_contribution(scheduler, task, worker)[:5], stolen_word)
    with reverts(NO_DATA):
        worker.work("contribute", *arguments)
    with reverts("caller lacks the role"):
        scheduler.work("finalize", task, b"", b"")
    assert (world.balance(scheduler.address), world.frozen(scheduler.address)) == before
