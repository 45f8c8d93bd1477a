"""Rows of live tasks that are behind: what a crash leaves is put together again."""

from __future__ import annotations

import sqlalchemy as sa
from msgspec.structs import replace

from fairgrid.pool.core.events import TaskInitialized
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.task_state import StoryLine, TaskState
from fairgrid.pool.records import schema
from fairgrid.pool.records.rows import Commit, TaskRow
from fairgrid.pool.records.store import PoolStore
from tests.pool.fakes import honest
from tests.pool.records.stores import a_task
from tests.pool.support import World


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
    _, task = a_task()
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
    (_, task), (_, other) = a_task(), a_task("other")
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
    (_, task), (_, other) = a_task(), a_task("other")
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
    _, other = a_task("other")
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
    _, task = a_task()
    big = replace(task, index=(1 << 256) - 1, deal=replace(task.deal, price=1 << 200))
    store.commit(Commit(at=1.0, tasks={big.task_id: TaskRow.of(big)}))
    again = PoolStore.open(database)
    try:
        assert again.live_tasks() == [big]
    finally:
        again.close()
