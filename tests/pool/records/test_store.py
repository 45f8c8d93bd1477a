from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from msgspec.structs import replace
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateTable

from fairgrid.chain.interface import SignedTransaction
from fairgrid.errors import UsageError
from fairgrid.pool.administration import access, operations
from fairgrid.pool.core.deal_terms import Bag
from fairgrid.pool.core.events import TaskInitialized, WorkerReady
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.core.instructions import BanWorker, Claim, Finalize, Initialize, SendDone
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.standing import Standing
from fairgrid.pool.core.task_state import StoryLine, TaskState
from fairgrid.pool.core.worker_state import Ban
from fairgrid.pool.records import documents, ledger, schema
from fairgrid.pool.records.rows import BagRow, Commit, EffectStatus, TaskRow
from fairgrid.pool.records.store import PoolStore
from fairgrid.protocol.ids import task_id
from fairgrid.seams.database import open_engine, version_table
from tests.pool.support import Fake, World, address, digest_of, honest


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
            instructions=list(instructions),  # type: ignore[arg-type]
        )
    )


def _impossible(task: TaskState) -> Commit:
    """A commit that changes a task, and whose last statement fails."""
    nameless = Finalize(cast(str, None), "bafy", "0x")
    return Commit(at=1.0, tasks={task.task_id: TaskRow.of(task)}, instructions=[nameless])


def test_a_task_comes_back_as_it_was_with_its_story(store: PoolStore) -> None:
    _, task = _a_task()
    _commit(store, task)
    (loaded,) = store.live_tasks()
    assert loaded == task
    assert store.story(task.task_id) == task.story


def test_what_was_settled_lately_comes_back_for_the_chain_may_take_it_back(store: PoolStore) -> None:
    world = World(honest(1))
    tasks = [world.run_until_final(world.deal(1, name=name)) for name in ("first", "second")]
    _commit(store, *tasks)
    assert [task.task_id for task in store.live_tasks(settled_since=1.0, most=2)] == [
        task.task_id for task in reversed(tasks)
    ]
    assert [task.task_id for task in store.live_tasks(settled_since=1.0, most=1)] == [tasks[1].task_id]
    assert store.live_tasks(settled_since=1.5, most=2) == []


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
    with pytest.raises(SQLAlchemyError):
        store.commit(_impossible(task))
    assert store.known_tasks([task.task_id]) == {}
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
    _, task = _a_task()
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
    _, task = _a_task()
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
    (_, first), (_, second) = _a_task(), _a_task("other")
    with pytest.raises(SQLAlchemyError):
        store.commit(_impossible(first))
    _commit(store, second)
    _commit(store, first)
    assert [live.task_id for live in store.live_tasks()] == [second.task_id, first.task_id]


def test_old_rows_are_purged_in_steps_and_young_or_live_ones_stay(store: PoolStore) -> None:
    finished = []
    for number in range(3):
        world = World(honest(1))
        finished.append(world.run_until_final(world.deal(1, name=f"deal {number}")))
    _, live = _a_task("live")
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


def test_a_database_of_the_release_before_is_taken_over_with_stories_deals_and_events(tmp_path: Path) -> None:
    (_, task), old = _a_task(), open_engine(tmp_path / "old.db")
    document = documents.write_task(task)
    _migrate_to(old, "0002")
    with old.begin() as connection:
        for name, settled in ((task.task_id, False), (digest_of("over"), True)):
            connection.exec_driver_sql(
                "INSERT INTO pool_task VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (name, task.deal.deal_id, f"{int(settled):064x}", task.phase.value, settled, 1.0, 2.0, document),
            )
        for line in task.story:
            connection.exec_driver_sql(
                "INSERT INTO pool_story VALUES (?, ?, ?, ?, ?)",
                (line.task_id, line.number, line.at, line.text, line.worker),
            )
        connection.exec_driver_sql(
            "INSERT INTO pool_event (at, kind, task_id, document) VALUES (1.0, 'TaskInitialized', 'x', '{\"a\": 1}')"
        )
        effect = "INSERT INTO pool_effect (key, task_id, kind, status, attempt, created_at, document, error) VALUES "
        connection.exec_driver_sql(
            effect + "('a', 't', 'Claim', 'planned', 1, 1.0, '{\"task_id\": \"t\"}', ''), "
            "('b', 't', 'SendDone', 'planned', 1, 1.0, '{}', '')"
        )
    old.dispose()
    store = PoolStore.open(tmp_path / "old.db")
    try:
        assert store.live_tasks() == [task]
        assert store.live_bags() == [Bag(task.deal, 0, 2, 1.0, begun=2)]
        assert store.count_tasks_of_deal(task.deal.deal_id) == 2
        assert [effect.instruction for effect in store.transactions_under_way()] == [Claim("t")]
        with store.engine.connect() as connection:
            assert connection.execute(sa.select(schema.journal.c.document)).all() == [
                ('[["TaskInitialized",{"a": 1}]]',)
            ]
        _commit(store, _a_task("new")[1])
        assert len(store.live_tasks()) == 2
    finally:
        store.close()


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
    assert access.__name__ and ledger.__name__ and operations.__name__, "their tables belong to the schema as well"
    assert differences == []


def _migrate_to(engine: sa.Engine, revision: str) -> None:
    import fairgrid.pool.migrations as migrations
    import fairgrid.seams.database as database

    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "alembic"))
    config.set_main_option("version_locations", str(Path(migrations.__path__[0])))
    config.set_main_option("path_separator", "newline")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        config.attributes["version_table"] = version_table("fairgrid.pool.migrations")
        command.upgrade(config, revision)


def test_every_table_compiles_for_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in schema.metadata.sorted_tables:
        assert table.name in str(CreateTable(table).compile(dialect=dialect))


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


# --- rows that are behind -----------------------------------------------------------------------------------------


def _told_on(task: TaskState, text: str) -> TaskState:
    """The task with one line more."""
    line = StoryLine(task.task_id, len(task.story) + 1, 2.0, text)
    return replace(task, story=[*task.story, line])


def _rows(store: PoolStore) -> list[str]:
    with store.engine.connect() as connection:
        return list(connection.execute(sa.select(schema.tasks.c.task_id).order_by(schema.tasks.c.number)).scalars())


def _records(store: PoolStore) -> int:
    with store.engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(schema.redo)).scalar_one())


def test_after_a_crash_a_live_task_is_made_again_from_what_its_commits_left(store: PoolStore, database: str) -> None:
    _, task = _a_task()
    later = _told_on(replace(task, leases=task.leases + 1), "It goes on.")
    store.commit(Commit(at=1.0, tasks={task.task_id: TaskRow.of(task)}))
    store.commit(Commit(at=1.5, tasks={task.task_id: TaskRow.of(later, fresh=1)}))
    assert _rows(store) == [] and _records(store) == 2
    assert store.story(task.task_id) == later.story
    assert store.known_tasks([task.task_id]) == {task.task_id: False}
    again = PoolStore.open(database)
    try:
        assert again.live_tasks() == [later]
        assert _rows(again) == [task.task_id] and _records(again) == 0
        assert again.live_tasks() == [later]
    finally:
        again.close()


def test_the_row_of_a_live_task_follows_and_what_changed_since_is_put_upon_it(store: PoolStore, database: str) -> None:
    (_, task), (_, other) = _a_task(), _a_task("other")
    store.commit(Commit(at=1.0, tasks={task.task_id: TaskRow.of(task)}))
    store.commit(Commit(at=1.1, tasks={other.task_id: TaskRow.of(other)}))
    store.write_rows(3.05, older_than_s=2.0)
    assert _rows(store) == [task.task_id]
    later = _told_on(task, "It goes on.")
    store.commit(Commit(at=3.06, tasks={task.task_id: TaskRow.of(later, fresh=1)}))
    again = PoolStore.open(database)
    try:
        assert again.live_tasks() == [later, other]
    finally:
        again.close()


def test_a_commit_writes_the_rows_that_have_been_behind_for_a_while(store: PoolStore) -> None:
    (_, task), (_, other) = _a_task(), _a_task("other")
    store.commit(Commit(at=1.0, tasks={task.task_id: TaskRow.of(task)}))
    store.commit(Commit(at=2.0, tasks={other.task_id: TaskRow.of(other)}))
    assert _rows(store) == []
    store.commit(Commit(at=3.5, events=[TaskInitialized(task.task_id)]))
    assert _rows(store) == [task.task_id] and _records(store) == 2
    store.catch_up()
    assert _rows(store) == [task.task_id, other.task_id] and _records(store) == 0


def test_no_older_record_takes_a_task_back_that_is_over(store: PoolStore, database: str) -> None:
    world = World(honest(1))
    over = world.run_until_final(world.deal(1))
    _, other = _a_task("other")
    begun = replace(over, phase=Phase.SEALING, story=over.story[:3])
    store.commit(Commit(at=1.0, tasks={other.task_id: TaskRow.of(other)}))
    store.commit(Commit(at=1.1, tasks={begun.task_id: TaskRow.of(begun)}))
    store.commit(Commit(at=1.2, tasks={over.task_id: TaskRow.of(over, fresh=len(over.story) - 3)}))
    assert _records(store) == 3
    again = PoolStore.open(database)
    try:
        assert again.live_tasks() == [other]
        assert again.known_tasks([over.task_id]) == {over.task_id: True}
        assert again.story(over.task_id) == over.story
    finally:
        again.close()


def test_numbers_beyond_64_bits_survive_a_crash(store: PoolStore, database: str) -> None:
    _, task = _a_task()
    big = replace(task, index=(1 << 256) - 1, deal=replace(task.deal, price=1 << 200))
    store.commit(Commit(at=1.0, tasks={big.task_id: TaskRow.of(big)}))
    again = PoolStore.open(database)
    try:
        assert again.live_tasks() == [big]
    finally:
        again.close()
