"""A year of days leaves a database as large as its work: everything that grows is forgotten in time."""

from __future__ import annotations

import sqlalchemy as sa

from fairgrid.chain.interface import SignedTransaction
from fairgrid.pool.core.accounts import Account
from fairgrid.pool.core.deal_terms import Bag
from fairgrid.pool.core.events import TaskFinalized
from fairgrid.pool.core.instructions import Finalize
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.standing import Standing
from fairgrid.pool.records import schema
from fairgrid.pool.records.ledger import Ledger
from fairgrid.pool.records.ledger_entries import LedgerTransaction, TransactionStatus
from fairgrid.pool.records.retention import Retention
from fairgrid.pool.records.rows import BagRow, Commit, TaskRow
from fairgrid.pool.records.store import PoolStore
from tests.pool.fakes import address, honest
from tests.pool.support import IDENTITY, World

DAY_S = 86_400.0
POLICY = Policy(keep_rows_days=30, keep_usage_days=60, keep_standings_days=45)
FOR_EVER = {
    "pool_ban",
    "pool_binding",
    "pool_grant",
    "pool_grant_payment",
    "pool_leader",
    "pool_repayment",
    "pool_sender",
}


def forget(store: PoolStore, ledger: Ledger, now: float, policy: Policy = POLICY) -> None:
    """What the pool does every ten minutes."""
    retention = Retention(store)
    for _ in range(1_000):
        rows = retention.step(policy, now, limit=50).rows + ledger.purge(now - policy.keep_rows_days * DAY_S, limit=50)
        if not rows:
            return
    raise AssertionError("forgetting never ends")


def a_day(store: PoolStore, ledger: Ledger, day: int) -> None:
    """A deal of one task, done by a worker that comes this day only, and all that is written for it."""
    at = day * DAY_S
    world = World(honest(1))
    task = world.run_until_final(world.deal(1, name=f"day {day}"))
    worker, finalize = address(f"worker of day {day}"), Finalize(task.task_id, "cid", "0x")
    bag = Bag(task.deal, 0, 1, at, begun=1, settled=True)
    store.commit(
        Commit(
            at=at,
            events=[TaskFinalized(task.task_id)],
            tasks={task.task_id: TaskRow.of(task)},
            lines=list(task.story),
            instructions=[finalize],
            bags={bag.deal.deal_id: BagRow.of(bag)},
            standings={worker: Standing(worker, worker, valid=1)},
            accounts=[Account("worker", worker, tasks=1), Account("requester", task.deal.requester, tasks=1)],
        )
    )
    tx_hash = f"0x{day:064x}"
    transaction = SignedTransaction(b"raw", tx_hash, world.machine._book.identity.hub, day, "finalize")
    entry = LedgerTransaction(transaction, (finalize.key,), TransactionStatus.MINED)
    ledger.record([LedgerTransaction(transaction, (finalize.key,))], at=at)
    ledger.settle([(entry, day)])


def sizes(store: PoolStore) -> dict[str, int]:
    """Rows of every table that there is."""
    with store.engine.connect() as connection:
        names = sa.inspect(connection).get_table_names()
        return {
            name: connection.execute(sa.text(f"SELECT count(*) FROM {name}")).scalar_one()
            for name in names
            if name.startswith("pool_") and not name.endswith("revision")
        }


def test_a_year_of_days_stays_bounded(store: PoolStore) -> None:
    ledger = Ledger(store.engine)
    ledger.begin(IDENTITY.hub)
    seen: dict[int, dict[str, int]] = {}
    for day in range(3, 366, 3):
        a_day(store, ledger, day)
        if day % 15 == 0:
            forget(store, ledger, day * DAY_S)
            seen[day] = sizes(store)
    grown = {
        name: (seen[195][name], count)
        for name, count in seen[360].items()
        if count > seen[195][name] * 1.1 + 5 and not name.startswith("pool_transaction")
    }
    assert grown == {}
    assert seen[360]["pool_task"] <= 11 and seen[360]["pool_deal"] <= 11 and seen[360]["pool_effect"] <= 11
    assert seen[360]["pool_standing"] <= 16
    assert seen[360]["pool_usage"] <= 2 * 21
    # The newest 1,000 transactions stay, whatever their age: their nonces are where the next begin.
    assert max(count for name, count in seen[360].items()) <= 1_000


def test_what_is_kept_for_ever_is_kept(store: PoolStore) -> None:
    liar, owed, gone, here = (address(name) for name in ("liar", "owed", "gone", "here"))
    known = {
        liar: Standing(liar, liar, disproved=1),
        owed: Standing(owed, owed, owed_nrlc=5),
        gone: Standing(gone, gone, valid=100),
        here: Standing(here, here, valid=1),
    }
    store.commit(Commit(at=1.0, standings=known))
    forgotten = Retention(store).step(POLICY, 400 * DAY_S, connected=[here])
    assert forgotten.workers == (gone,)
    assert {standing.worker for standing in store.standings()} == {liar, owed, here}


def test_nothing_is_forgotten_where_the_policy_says_never(store: PoolStore) -> None:
    ledger = Ledger(store.engine)
    ledger.begin(IDENTITY.hub)
    a_day(store, ledger, 1)
    before = sizes(store)
    never = Policy(keep_rows_days=0, keep_usage_days=0, keep_standings_days=0)
    assert Retention(store).step(never, 10_000 * DAY_S).rows == 0
    assert sizes(store) == before


def test_a_deal_stays_while_one_of_its_tasks_does(store: PoolStore) -> None:
    world = World(honest(1))
    task = world.run_until_final(world.deal(1))
    bag = Bag(task.deal, 0, 1, 1.0, begun=1, settled=True)
    store.commit(Commit(at=1.0, bags={bag.deal.deal_id: BagRow.of(bag)}))
    store.commit(Commit(at=40 * DAY_S, tasks={task.task_id: TaskRow.of(task)}))
    Retention(store).step(POLICY, 60 * DAY_S)
    assert store.is_deal_settled(task.deal.deal_id)
    Retention(store).step(POLICY, 80 * DAY_S)
    assert not store.is_deal_settled(task.deal.deal_id)


def test_a_forgotten_worker_is_a_newcomer_again_and_one_that_is_here_is_not() -> None:
    world = World(honest(2))
    world.run_until_final(world.deal(1, price=10))
    (known,) = list(world.machine.standings)
    world.machine.forget_standing(known)
    assert known in world.machine.standings, "it is connected"
    world.lose(world.fakes[known])
    world.machine.forget_standing(known)
    assert known not in world.machine.standings


def test_every_table_is_either_forgotten_or_known_to_be_small(store: PoolStore) -> None:
    forgotten = {
        "pool_deal",
        "pool_effect",
        "pool_journal",
        "pool_process",
        "pool_standing",
        "pool_story",
        "pool_task",
        "pool_transaction",
        "pool_transaction_effect",
        "pool_usage",
    }
    others = set(sizes(store)) - forgotten - FOR_EVER
    # What operators do and allow by hand, and one row of the chain's past.
    assert len(others) <= 8, f"which of {sorted(others)} grows with the pool's age?"
    assert "pool_task" in schema.metadata.tables
