"""Who was paid what: from the hub's events, and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fairgrid.chain.interface import ChainEvent
from fairgrid.client.settlement import (
    ContributionLine,
    GasLine,
    Payment,
    Settlement,
    collect_settlement,
    settle_events,
)
from fairgrid.protocol.ids import result_hash
from fairgrid.protocol.views import ContributionStatus
from tests.client.deals import BAD, GOOD, PRICE, Deals

TASK = "0x" + "01" * 32
OTHER_TASK = "0x" + "02" * 32


@pytest.fixture
def deals(tmp_path: Path) -> Deals:
    return Deals(tmp_path)


_numbers: Iterator[int] = count()


def event(name: str, *, removed: bool = False, **arguments: Any) -> ChainEvent:
    number = next(_numbers)
    return ChainEvent(name, arguments, "0xhub", number, f"0x{number:064x}", 0, f"0xtx{number}", removed)


def reward(owner: str, amount: int, ref: str = TASK, *, removed: bool = False) -> ChainEvent:
    return event("Reward", owner=owner, amount=amount, ref=ref, removed=removed)


def seize(owner: str, amount: int, ref: str = TASK) -> ChainEvent:
    return event("Seize", owner=owner, amount=amount, ref=ref)


def test_rewards_and_seizures_of_one_account_are_summed() -> None:
    events = [seize("liar", 30), reward("kitty", 5), seize("requester", 100), reward("worker", 40), reward("worker", 7)]
    payments, _ = settle_events(events, TASK)
    assert payments == [
        Payment("liar", 0, 30),
        Payment("requester", 0, 100),
        Payment("kitty", 5, 0),
        Payment("worker", 47, 0),
    ]
    assert [payment.net for payment in payments] == [-30, -100, 5, 47]


def test_account_that_gains_and_loses_has_one_line() -> None:
    payments, _ = settle_events([seize("kitty", 9), reward("kitty", 4)], TASK)
    assert payments == [Payment("kitty", 4, 9)]
    assert payments[0].to_json() == {"account": "kitty", "rewarded": 4, "seized": 9, "net": -5}


def test_money_of_another_task_does_not_count() -> None:
    payments, life = settle_events(
        [reward("worker", 1, OTHER_TASK), seize("worker", 1, OTHER_TASK), event("TaskFinalize", taskid=OTHER_TASK)],
        TASK,
    )
    assert payments == []
    assert life == []


def test_events_that_a_reorganisation_took_back_do_not_count() -> None:
    payments, life = settle_events(
        [reward("worker", 5, removed=True), event("TaskFinalize", taskid=TASK, removed=True)], TASK
    )
    assert (payments, life) == ([], [])


def test_life_of_a_task_has_its_events_in_order_and_no_transfers() -> None:
    names = ["TaskInitialize", "TaskContribute", "TaskConsensus", "TaskReveal", "TaskFinalize"]
    events = [event(name, taskid=TASK) for name in names]
    events.insert(2, event("Transfer", owner="worker", amount=1))
    _, life = settle_events(events, TASK)
    assert [e.name for e in life] == names


def test_opened_digest_is_believed_only_if_it_gives_the_hash_on_chain() -> None:
    def line(worker: str, digest: str) -> ContributionLine:
        return ContributionLine(worker, result_hash(TASK, digest), None, False, ContributionStatus.REJECTED, "0xtx")

    settled = Settlement((line("liar", BAD), line("fraud", BAD), line("silent", BAD)))
    opened = settled.digests_opened(TASK, {"liar": BAD, "fraud": GOOD})
    assert [line.digest for line in opened.contributions] == [BAD, None, None]


def test_gas_of_a_settlement_is_the_sum_of_its_transactions() -> None:
    lines = (GasLine("matchOrders", "0x1", 300_000), GasLine("finalize", "0x2", 100_000))
    assert Settlement(gas=lines).gas_used == 400_000
    assert Settlement().gas_used == 0


async def test_completed_task_with_a_liar_adds_up_to_the_last_nrlc(deals: Deals) -> None:
    names = ["liar", "a", "b", "c", "d", "e"]
    liar, *honest = (deals.worker(name) for name in names)
    record = await deals.record(10)
    task = record.task_ids[0]
    await deals.initialize(record)
    await deals.contribute(liar, task, BAD)
    for worker in honest:
        await deals.contribute(worker, task)
    for worker in honest:
        await deals.reveal(worker, task)
    await deals.finalize(task)

    settled = await collect_settlement(deals.chain, task, from_block=record.block_number)
    assert sum(payment.net for payment in settled.payments) == 0
    net = {payment.account: payment.net for payment in settled.payments}
    deal = await deals.chain.view_deal(record.deal_id)
    assert deal is not None
    assert net[deals.requester.address] == -PRICE
    assert net[liar.address] == -deal.worker_stake < 0
    assert all(net[worker.address] > 0 for worker in honest)
    first, *others = settled.contributions
    assert (first.worker, first.agreed, first.digest, first.status) == (
        liar.address,
        False,
        None,
        ContributionStatus.CONTRIBUTED,
    )
    assert [(line.worker, line.agreed, line.digest) for line in others] == [(w.address, True, GOOD) for w in honest]
    assert len({line.tx_hash for line in settled.contributions} - {""}) == 6
    steps = [line.step for line in settled.gas]
    assert steps == ["initialize"] + ["contribute"] * 6 + ["reveal"] * 5 + ["finalize"]


async def test_digest_of_who_agreed_and_did_not_reveal_is_not_told(deals: Deals) -> None:
    revealing, silent = deals.worker("revealing"), deals.worker("silent")
    record = await deals.record(4)
    task = record.task_ids[0]
    await deals.initialize(record)
    await deals.contribute(revealing, task)
    await deals.contribute(silent, task)
    await deals.reveal(revealing, task)
    deals.chain.skip((await deals.chain.view_task(task)).reveal_deadline - (await deals.chain.head()).timestamp + 1)
    await deals.finalize(task)
    settled = await collect_settlement(deals.chain, task, from_block=record.block_number)
    assert [(line.agreed, line.digest) for line in settled.contributions] == [(True, GOOD), (True, None)]
    net = {payment.account: payment.net for payment in settled.payments}
    assert net[silent.address] < 0 < net[revealing.address]
    assert sum(net.values()) == 0


async def test_claimed_task_gives_the_money_back_and_the_pool_pays(deals: Deals) -> None:
    record = await deals.record(1)
    task = record.task_ids[0]
    await deals.initialize(record)
    deals.chain.skip(10_000)
    await deals.claim(task)
    settled = await collect_settlement(deals.chain, task, from_block=record.block_number)
    assert settled.contributions == ()
    net = {payment.account: payment.net for payment in settled.payments}
    assert deals.requester.address not in net
    assert net[deals.scheduler.address] < 0
    assert sum(net.values()) == 0
    assert [line.step for line in settled.gas] == ["initialize", "claim"]
