from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateTable

from fairgrid.chain.interface import SignedTransaction
from fairgrid.errors import UsageError
from fairgrid.pool import schema
from fairgrid.pool.events import WorkerReady
from fairgrid.pool.instructions import BanWorker, Claim, Finalize, Initialize, SendDone
from fairgrid.pool.state import Ban, PoolIdentity, StoryLine, TaskState
from fairgrid.pool.store import Commit, EffectStatus, PoolStore, TaskRow
from fairgrid.seams.database import open_engine, version_table

from .support import Fake, World, address, digest_of, honest


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the store is: every promise holds on SQLite and on a real PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'pool.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def store(database: str) -> Iterator[PoolStore]:
    store = PoolStore.open(database)
    yield store
    store.close()


def _a_task(name: str = "deal") -> tuple[World, TaskState]:
    """A task in the middle of its life, with every kind of record in it."""
    fakes = [*honest(3), Fake("silent", owner="silent", seals=False, slots=2)]
    world = World(fakes)
    task = world.deal(10, name=name)
    world.run()
    return world, world.machine.tasks[task]


def _commit(store: PoolStore, *tasks: TaskState, instructions: tuple[object, ...] = ()) -> None:
    store.commit(
        Commit(
            at=1.0,
            tasks={task.task_id: TaskRow.of(task) for task in tasks},
            lines=[line for task in tasks for line in task.story],
            instructions=list(instructions),  # type: ignore[arg-type]
        )
    )


def test_a_task_comes_back_as_it_was_with_its_story(store: PoolStore) -> None:
    _, task = _a_task()
    _commit(store, task)
    (loaded,) = store.live_tasks()
    assert loaded == task
    assert store.story(task.task_id) == task.story


def test_a_finished_task_is_not_live_but_still_there(store: PoolStore) -> None:
    world = World(honest(1))
    task = world.run_until_final(world.deal(1))
    _commit(store, task)
    assert store.live_tasks() == []
    stored = store.task(task.task_id)
    assert stored is not None and stored.state.phase == task.phase and stored.updated_at == 1.0
    assert store.known_tasks([task.task_id, digest_of("unknown")]) == {task.task_id: True}


def test_a_finished_task_whose_contributor_owes_an_opening_is_still_live(store: PoolStore) -> None:
    world = World([Fake("mute", owner="mute", opens=False)])
    task = world.run_until_final(world.deal(1), seconds=0.1)
    _commit(store, task)
    assert [live.task_id for live in store.live_tasks()] == [task.task_id]


def test_what_is_committed_together_is_written_whole_or_not_at_all(store: PoolStore) -> None:
    _, task = _a_task()
    broken = StoryLine(digest_of("no such task"), 1, 0.0, "a line of a task that is not there")
    commit = Commit(at=1.0, tasks={task.task_id: TaskRow.of(task)}, lines=[broken])
    with pytest.raises(IntegrityError):
        store.commit(commit)
    assert store.live_tasks() == []


def test_an_effect_is_written_once_however_often_it_is_decided(store: PoolStore) -> None:
    effect = Claim(digest_of("task"))
    _commit(store, instructions=(effect, effect))
    _commit(store, instructions=(effect,))
    (under_way,) = store.transactions_under_way()
    assert (under_way.instruction, under_way.attempt, under_way.status) == (effect, 1, EffectStatus.PLANNED)


def test_a_failed_effect_is_planned_again_as_a_new_attempt_without_the_old_bytes(store: PoolStore) -> None:
    effect = Finalize(digest_of("task"), "cid", "0x")
    _commit(store, instructions=(effect,))
    store.record_signed(effect.key, SignedTransaction(b"\x01", digest_of("tx"), address("pool"), 7, "finalize"))
    store.mark(effect.key, EffectStatus.FAILED, "reverted")
    assert store.transactions_under_way() == []
    again = Finalize(effect.task_id, "another cid", "0x")
    _commit(store, instructions=(again,))
    (under_way,) = store.transactions_under_way()
    assert (under_way.attempt, under_way.transaction, under_way.instruction) == (2, None, again)


def test_signed_bytes_come_back_exactly_and_in_the_order_of_nonces(store: PoolStore) -> None:
    effects = [Initialize(digest_of(str(number)), digest_of("deal"), number) for number in range(3)]
    _commit(store, instructions=tuple(effects))
    signed = [
        SignedTransaction(bytes([number]), digest_of(f"tx{number}"), address("pool"), 2**64 - number, "initialize")
        for number in range(2)
    ]
    for effect, transaction in zip(effects, signed, strict=False):
        store.record_signed(effect.key, transaction)
    assert [effect.transaction for effect in store.transactions_under_way()] == [signed[1], signed[0], None]


def test_messages_are_no_transactions(store: PoolStore) -> None:
    _commit(store, instructions=(SendDone(digest_of("task"), address("worker")),))
    assert store.transactions_under_way() == []
    assert store.effect(SendDone(digest_of("task"), address("worker")).key) is None


def test_a_ban_is_kept_with_its_evidence_and_the_first_one_stays(store: PoolStore) -> None:
    first = BanWorker(digest_of("task"), address("worker"), address("owner"), "lied", '{"seal": 1}')
    _commit(store, instructions=(first,))
    _commit(store, instructions=(BanWorker(digest_of("other"), first.worker, first.owner, "again", "{}"),))
    assert store.bans() == [Ban(first.worker, first.owner, first.task_id, "lied", '{"seal": 1}', 1.0)]


def test_events_are_kept_as_json(store: PoolStore, database: str) -> None:
    event = WorkerReady(address("worker"), (), 1, frozenset({digest_of("b"), digest_of("a")}))
    store.commit(Commit(at=1.0, events=[event]))
    engine = open_engine(database)
    with engine.connect() as connection:
        row = connection.execute(sa.select(schema.events)).one()
    engine.dispose()
    assert row.kind == "WorkerReady" and digest_of("a") in row.document


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
    _, task = _a_task()
    rows = {}
    for index in (2**200, 3, 20):
        row = TaskRow.of(task)
        rows[str(index)] = TaskRow(str(index), row.deal_id, index, row.phase, False, 0.0, row.document)
    store.commit(Commit(at=1.0, tasks=rows))
    found = store.tasks_of_deal(task.deal.deal_id, limit=2, offset=1)
    assert [index for _, index, _ in found] == [20, 2**200]
    assert store.count_tasks_of_deal(task.deal.deal_id) == 3


def test_the_migrations_make_exactly_the_tables_of_the_schema(store: PoolStore, database: str) -> None:
    engine = open_engine(database)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "include_name": lambda name, kind, parents: name != version_table("fairgrid.pool.migrations"),
            },
        )
        differences = compare_metadata(context, schema.metadata)
    engine.dispose()
    assert differences == []


def test_every_table_compiles_for_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in schema.metadata.sorted_tables:
        assert table.name in str(CreateTable(table).compile(dialect=dialect))
