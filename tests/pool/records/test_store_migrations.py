from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from fairgrid.pool.administration import access, operations
from fairgrid.pool.core.deal_terms import Bag
from fairgrid.pool.core.instructions import Claim
from fairgrid.pool.records import documents, ledger, schema
from fairgrid.pool.records.store import PoolStore
from fairgrid.seams.database import open_engine, version_table
from tests.pool.fakes import digest_of
from tests.pool.records.stores import a_task, commit


def test_a_database_of_the_release_before_is_taken_over_with_stories_deals_and_events(tmp_path: Path) -> None:
    (_, task), old = a_task(), open_engine(tmp_path / "old.db")
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
        commit(store, a_task("new")[1])
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
