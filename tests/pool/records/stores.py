"""What tests of the pool's store write into it."""

from __future__ import annotations

from typing import cast

from fairgrid.pool.core.instructions import Finalize
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.records.rows import Commit, TaskRow
from fairgrid.pool.records.store import PoolStore
from tests.pool.fakes import Fake, honest
from tests.pool.support import World


def a_task(name: str = "deal") -> tuple[World, TaskState]:
    """A task in the middle of its life, with every kind of record in it."""
    fakes = [*honest(3), Fake("silent", owner="silent", seals=False, slots=2)]
    world = World(fakes)
    task = world.deal(10, name=name)
    world.run()
    return world, world.machine.tasks[task]


def commit(store: PoolStore, *tasks: TaskState, instructions: tuple[object, ...] = ()) -> None:
    store.commit(
        Commit(
            at=1.0,
            tasks={task.task_id: TaskRow.of(task) for task in tasks},
            instructions=list(instructions),  # type: ignore[arg-type]
        )
    )


def impossible_commit(task: TaskState) -> Commit:
    """A commit that changes a task, and whose last statement fails."""
    nameless = Finalize(cast(str, None), "bafy", "0x")
    return Commit(at=1.0, tasks={task.task_id: TaskRow.of(task)}, instructions=[nameless])
