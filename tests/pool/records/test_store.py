from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from msgspec.structs import replace
from sqlalchemy.exc import SQLAlchemyError

from fairgrid.chain.interface import SignedTransaction
from fairgrid.errors import UsageError
from fairgrid.pool.core.deal_terms import Bag
from fairgrid.pool.core.events import TaskInitialized, WorkerReady
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.core.instructions import BanWorker, Claim, Finalize, Initialize, SendDone
from fairgrid.pool.core.standing import Standing
from fairgrid.pool.core.worker_state import Ban
from fairgrid.pool.records import schema
from fairgrid.pool.records.rows import BagRow, Commit, EffectStatus, TaskRow
from fairgrid.pool.records.store import PoolStore
from fairgrid.protocol.ids import task_id
from fairgrid.seams.database import open_engine
from tests.pool.fakes import Fake, address, digest_of, honest
from tests.pool.records.stores import a_task, commit, impossible_commit
from tests.pool.support import World


def test_a_task_comes_back_as_it_was_with_its_story(store: PoolStore) -> None:
    _, task = a_task()
    commit(store, task)
    (loaded,) = store.live_tasks()
    assert loaded == task
    assert store.story(task.task_id) == task.story


def test_what_was_settled_lately_comes_back_for_the_chain_may_take_it_back(store: PoolStore) -> None:
    world = World(honest(1))
    tasks = [world.run_until_final(world.deal(1, name=name)) for name in ("first", "second")]
    commit(store, *tasks)
    assert [task.task_id for task in store.live_tasks(settled_since=1.0, most=2)] == [
        task.task_id for task in reversed(tasks)
    ]
    assert [task.task_id for task in store.live_tasks(settled_since=1.0, most=1)] == [tasks[1].task_id]
    assert store.live_tasks(settled_since=1.5, most=2) == []


def test_a_finished_task_is_not_live_but_still_there(store: PoolStore) -> None:
    world = World(honest(1))
    task = world.run_until_final(world.deal(1))
    commit(store, task)
    assert store.live_tasks() == []
    stored = store.task(task.task_id)
    assert stored is not None and stored.state.phase == task.phase and stored.updated_at == 1.0
    assert store.known_tasks([task.task_id, digest_of("unknown")]) == {task.task_id: True}


def test_a_finished_task_whose_contributor_owes_an_opening_is_still_live(store: PoolStore) -> None:
    world = World([Fake("mute", owner="mute", opens=False)])
    task = world.run_until_final(world.deal(1), seconds=0.1)
    commit(store, task)
    assert [live.task_id for live in store.live_tasks()] == [task.task_id]


def test_what_is_committed_together_is_written_whole_or_not_at_all(store: PoolStore) -> None:
    _, task = a_task()
    with pytest.raises(SQLAlchemyError):
        store.commit(impossible_commit(task))
    assert store.known_tasks([task.task_id]) == {}
    assert store.live_tasks() == []


def test_an_effect_is_written_once_however_often_it_is_decided(store: PoolStore) -> None:
    effect = Claim(digest_of("task"))
    commit(store, instructions=(effect, effect))
    commit(store, instructions=(effect,))
    (under_way,) = store.transactions_under_way()
    assert (under_way.instruction, under_way.attempt, under_way.status) == (effect, 1, EffectStatus.PLANNED)


def test_a_failed_effect_is_planned_again_as_a_new_attempt_without_the_old_bytes(store: PoolStore) -> None:
    effect = Finalize(digest_of("task"), "cid", "0x")
    commit(store, instructions=(effect,))
    store.record_signed(effect.key, SignedTransaction(b"\x01", digest_of("tx"), address("pool"), 7, "finalize"))
    store.mark(effect.key, EffectStatus.FAILED, "reverted")
    assert store.transactions_under_way() == []
    again = Finalize(effect.task_id, "another cid", "0x")
    commit(store, instructions=(again,))
    (under_way,) = store.transactions_under_way()
    assert (under_way.attempt, under_way.transaction, under_way.instruction) == (2, None, again)


def test_signed_bytes_come_back_exactly_and_in_the_order_of_nonces(store: PoolStore) -> None:
    effects = [Initialize(digest_of(str(number)), digest_of("deal"), number) for number in range(3)]
    commit(store, instructions=tuple(effects))
    signed = [
        SignedTransaction(bytes([number]), digest_of(f"tx{number}"), address("pool"), 2**64 - number, "initialize")
        for number in range(2)
    ]
    for effect, transaction in zip(effects, signed, strict=False):
        store.record_signed(effect.key, transaction)
    assert [effect.transaction for effect in store.transactions_under_way()] == [signed[1], signed[0], None]


def test_messages_are_no_transactions(store: PoolStore) -> None:
    commit(store, instructions=(SendDone(digest_of("task"), address("worker")),))
    assert store.transactions_under_way() == []
    assert store.effect(SendDone(digest_of("task"), address("worker")).key) is None


def test_a_ban_is_kept_with_its_evidence_and_the_first_one_stays(store: PoolStore) -> None:
    first = BanWorker(digest_of("task"), address("worker"), address("owner"), "lied", '{"seal": 1}')
    commit(store, instructions=(first,))
    commit(store, instructions=(BanWorker(digest_of("other"), first.worker, first.owner, "again", "{}"),))
    assert store.bans() == [Ban(first.worker, first.owner, first.task_id, "lied", '{"seal": 1}', 1.0)]


def test_the_events_of_a_commit_are_kept_in_order_as_json(store: PoolStore, database: str) -> None:
    event = WorkerReady(address("worker"), (), 1, frozenset({digest_of("b"), digest_of("a")}))
    store.commit(Commit(at=1.0, events=[event, TaskInitialized(digest_of("b"))]))
    engine = open_engine(database)
    with engine.connect() as connection:
        row = connection.execute(sa.select(schema.journal)).one()
    engine.dispose()
    (first, told), second = json.loads(row.document)
    assert (row.events, first, told["worker"]) == (2, "WorkerReady", address("worker"))
    assert told["finished"] == sorted([digest_of("a"), digest_of("b")])
    assert second == ["TaskInitialized", {"task_id": digest_of("b")}]


def test_the_position_is_none_at_first_and_then_what_was_set(store: PoolStore) -> None:
    assert store.position() is None
    store.set_position(7)
    store.set_position(12)
    assert store.position() == 12


def test_a_database_belongs_to_one_pool(store: PoolStore) -> None:
    identity = PoolIdentity(31337, address("hub"), address("pool"))
    store.bind(identity)
    store.bind(identity)
    with pytest.raises(UsageError, match="workerpool"):
        store.bind(PoolIdentity(31337, address("hub"), address("another")))
    with pytest.raises(UsageError, match="chain id"):
        store.bind(PoolIdentity(1, address("hub"), address("pool")))


def test_a_deals_tasks_come_by_index_also_beyond_64_bits(store: PoolStore) -> None:
    _, task = a_task()
    rows = {}
    for index in (2**200, 2**200 + 1, 2**200 + 2):
        rows[str(index)] = TaskRow.of(replace(task, task_id=str(index), index=index))
    bag = Bag(task.deal, 2**200, 5, 0.0, begun=3)
    store.commit(Commit(at=1.0, tasks=rows, bags={task.deal.deal_id: BagRow.of(bag)}))
    assert store.count_tasks_of_deal(task.deal.deal_id) == 5
    found = store.tasks_of_deal(task.deal.deal_id, limit=2, offset=1)
    assert [index - 2**200 for _, index, _ in found] == [1, 2]
    found = store.tasks_of_deal(task.deal.deal_id, limit=10, offset=2)
    assert [(index - 2**200, phase) for _, index, phase in found] == [(2, "sealing"), (3, "received"), (4, "received")]
    assert found[1][0] == task_id(task.deal.deal_id, 2**200 + 3)
    found = store.tasks_of_deal(task.deal.deal_id, limit=1, offset=4)
    assert [index - 2**200 for _, index, _ in found] == [4]
    assert store.tasks_of_deal(task.deal.deal_id, limit=10, offset=5) == []


def test_a_bag_comes_back_as_it_was_until_it_is_settled(store: PoolStore) -> None:
    _, task = a_task()
    bag = Bag(task.deal, 3, 100_000, 7.0, begun=4)
    deal = bag.deal.deal_id
    store.commit(Commit(at=1.0, bags={deal: BagRow.of(bag)}))
    assert store.live_bags() == [bag]
    assert not store.is_deal_settled(deal)
    bag.begun, bag.settled = 100_000, True
    store.commit(Commit(at=2.0, bags={deal: BagRow.of(bag)}))
    assert store.live_bags() == []
    assert store.is_deal_settled(deal)
    assert not store.is_deal_settled(digest_of("no such deal"))


def test_after_a_commit_that_failed_the_next_ones_are_written_as_ever(store: PoolStore) -> None:
    (_, first), (_, second) = a_task(), a_task("other")
    with pytest.raises(SQLAlchemyError):
        store.commit(impossible_commit(first))
    commit(store, second)
    commit(store, first)
    assert [live.task_id for live in store.live_tasks()] == [second.task_id, first.task_id]


def test_old_rows_are_purged_in_steps_and_young_or_live_ones_stay(store: PoolStore) -> None:
    finished = []
    for number in range(3):
        world = World(honest(1))
        finished.append(world.run_until_final(world.deal(1, name=f"deal {number}")))
    _, live = a_task("live")
    for at, task in enumerate([*finished, live], start=1):
        store.commit(
            Commit(
                at=float(at),
                events=[TaskInitialized(task.task_id)],
                tasks={task.task_id: TaskRow.of(task)},
                instructions=[Claim(task.task_id)],
            )
        )
    # Two tasks, two rows of the journal and two transactions are older than 3; one of the first two goes at a time.
    assert [store.purge(3.0, limit=1) for _ in range(3)] == [4, 2, 0]
    assert store.known_tasks([task.task_id for task in (*finished, live)]) == {
        finished[2].task_id: True,
        live.task_id: False,
    }
    assert store.story(finished[0].task_id) == []
    assert store.effect(Claim(finished[1].task_id).key) is None
    assert store.story(finished[2].task_id) == finished[2].story
    store.purge(100.0, limit=10)
    assert [state.task_id for state in store.live_tasks()] == [live.task_id]


def test_records_of_workers_are_written_with_the_commit_replaced_and_read_again(tmp_path: Path) -> None:
    first = Standing("0x" + "11" * 20, "0x" + "22" * 20, valid=3, paid={"0x" + "33" * 20: 10**30}, owed_nrlc=7)
    other = Standing("0x" + "44" * 20, "0x" + "22" * 20, quarantined_until=5.5)
    store = PoolStore.open(tmp_path / "pool.db")
    try:
        store.commit(Commit(at=1.0, standings={first.worker: first, other.worker: other}))
        changed = first.after_disproved(2.0, first_s=60.0, longest_s=60.0)
        store.commit(Commit(at=2.0, standings={first.worker: changed}))
    finally:
        store.close()
    again = PoolStore.open(tmp_path / "pool.db")
    try:
        assert sorted(again.standings(), key=lambda standing: standing.worker) == [changed, other]
    finally:
        again.close()
