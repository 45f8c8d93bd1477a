from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from msgspec.structs import replace

from fairgrid.pool.core.instructions import Claim, Finalize, Initialize
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.records import schema
from fairgrid.pool.records.places import ROWS_OF_SHELF, find, place_of, tag_of
from fairgrid.pool.records.rows import Commit, EffectStatus, TaskRow
from fairgrid.pool.records.store import PoolStore
from fairgrid.seams import database as seam
from fairgrid.seams.database import migrate, open_engine
from tests.pool.fakes import digest_of, honest
from tests.pool.support import World

_PACKAGE = "fairgrid.pool.migrations"
_EFFECT = "INSERT INTO pool_effect (key, task_id, kind, status, attempt, created_at, document, error) VALUES "


def _over(name: str) -> TaskState:
    world = World(honest(1))
    return world.run_until_final(world.deal(1, name=name))


def _commit(store: PoolStore, *tasks: TaskState, instructions: tuple[object, ...] = (), at: float = 1.0) -> None:
    rows = {task.task_id: TaskRow.of(task) for task in tasks}
    store.commit(Commit(at=at, tasks=rows, instructions=list(instructions)))  # type: ignore[arg-type]


def _move(store: PoolStore, table: sa.Table, name: str, number: int) -> None:
    """As if so many rows had been written before this one."""
    column = table.c.key if "key" in table.c else table.c.task_id
    with store.engine.begin() as connection:
        changed = sa.update(table).where(column == name).values(number=number, place=place_of(number, name))
        assert connection.execute(changed).rowcount == 1


def _count(store: PoolStore, table: sa.Table) -> int:
    with store.engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def test_a_tag_is_the_beginning_of_an_id_and_zero_for_what_is_none() -> None:
    assert tag_of("0x" + "ab" * 32) == 0xABABABABAB == tag_of("0x" + "AB" * 32 + "/finalize")
    assert [tag_of(name) for name in ("", "t", "0xabc", "no id at all")] == [0, 0, 0, 0]


def test_rows_are_found_on_whatever_shelf_they_lie_and_nothing_else_is(store: PoolStore) -> None:
    tasks = [_over(f"deal {number}") for number in range(3)]
    _commit(store, *tasks)
    far = [1, 20 * ROWS_OF_SHELF, 9_000 * ROWS_OF_SHELF]
    for task, number in zip(tasks, far, strict=True):
        _move(store, schema.tasks, task.task_id, number + 100)
    ids = [task.task_id for task in tasks]
    assert store.known_tasks([*ids, digest_of("unknown")]) == dict.fromkeys(ids, True)
    assert [store.story(task.task_id) for task in tasks] == [task.story for task in tasks]
    with store.engine.connect() as connection:
        assert find(connection, schema.tasks, []) == []
        # One that only begins like another is another.
        assert find(connection, schema.tasks, [ids[0][:-1] + "g"]) == []


def test_a_task_that_comes_back_keeps_its_one_row_however_old(store: PoolStore) -> None:
    task = _over("deal")
    _commit(store, task)
    _move(store, schema.tasks, task.task_id, 7 * ROWS_OF_SHELF)
    _commit(store, _over("other"))
    # Another process, a story that goes on, and one that begins anew.
    later = PoolStore(store.engine)
    told = replace(task, story=[*task.story, replace(task.story[-1], number=len(task.story) + 1, text="It is back.")])
    later.commit(Commit(at=2.0, tasks={task.task_id: TaskRow.of(told, fresh=1)}))
    assert later.story(task.task_id)[-1].text == "It is back."
    _commit(later, task, at=3.0)
    assert later.story(task.task_id) == task.story
    assert _count(store, schema.tasks) == 2
    assert store.tasks_of_deal(task.deal.deal_id, limit=9) == [(task.task_id, task.index, task.phase)]


def test_a_transaction_is_planned_once_whether_its_task_is_new_known_or_over(store: PoolStore) -> None:
    task = _over("deal")
    begin, end = Initialize(task.task_id, task.deal.deal_id, 0), Finalize(task.task_id, "bafy", "0x")
    live = replace(task, phase=type(task.phase).FINALIZING)
    _commit(store, live, instructions=(begin, begin))
    _commit(store, live, instructions=(begin, end))
    store.mark(begin.key, EffectStatus.MINED)
    store.mark(end.key, EffectStatus.FAILED, "reverted")
    _commit(store, task)
    _move(store, schema.effects, begin.key, 30 * ROWS_OF_SHELF)
    for keeper in (store, PoolStore(store.engine)):
        _commit(keeper, instructions=(begin, end))
        known = {row: keeper.effect(row) for row in (begin.key, end.key)}
        assert [(effect.status, effect.attempt) for effect in known.values() if effect] == [
            (EffectStatus.MINED, 1),
            (EffectStatus.PLANNED, 2),
        ]
    assert _count(store, schema.effects) == 2
    assert [effect.key for effect in store.transactions_under_way()] == [end.key]


def test_rows_of_the_release_before_get_the_places_that_new_ones_have(database: str) -> None:
    old = open_engine(database)
    config = Config()
    config.set_main_option("script_location", str(Path(seam.__file__).parent / "alembic"))
    config.set_main_option("version_locations", str(Path(str(schema.__file__)).parents[1] / "migrations"))
    config.set_main_option("path_separator", "newline")
    names = [digest_of("one"), digest_of("two").upper().replace("0X", "0x"), "t", "0x12", "0x" + "zz" * 32]
    with old.begin() as connection:
        config.attributes["connection"] = connection
        config.attributes["version_table"] = seam.version_table(_PACKAGE)
        command.upgrade(config, "0013")
        for number, name in enumerate(names, start=4_094):
            connection.exec_driver_sql(
                "INSERT INTO pool_task (number, task_id, deal_id, task_index, phase, settled, created_at, updated_at, "
                f"document, story) "
                f"VALUES ({number}, '{name}', 'd', '{number:064x}', 'failed', true, 1, 1, '{{}}', '[]')"
            )
            connection.exec_driver_sql(
                _EFFECT
                + f"('{name}/claim', '{name}', 'Claim', 'planned', 1, {number}, '{{\"task_id\": \"{name}\"}}', '')"
            )
    migrate(old, _PACKAGE)
    with old.connect() as connection:
        for table, column in ((schema.tasks, schema.tasks.c.task_id), (schema.effects, schema.effects.c.key)):
            rows = connection.execute(sa.select(table.c.number, table.c.place, column)).all()
            assert {row.place: row[2] for row in rows} == {place_of(row.number, row[2]): row[2] for row in rows}
            assert len(rows) == len(names)
    old.dispose()
    store = PoolStore.open(database)
    try:
        assert [store.effect(Claim(name).key) is not None for name in names] == [True] * len(names)
        assert set(store.known_tasks(names)) == set(names)
    finally:
        store.close()
