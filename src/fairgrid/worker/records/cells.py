"""What each cell of an engine took: the worker's side of the accounts that the engine keeps, too."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import sqlalchemy as sa

from fairgrid.worker.records.store import WorkerStore

__all__ = ["CellRecord", "CellSum", "add_cell", "cells_of", "sum_of_cells"]

_cell = sa.Table(
    "worker_cell",
    sa.MetaData(),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("task_id", sa.String(66), nullable=False),
    sa.Column("task_index", sa.String(80), nullable=False),
    sa.Column("engine", sa.String(20), nullable=False),
    sa.Column("engine_id", sa.String(200), nullable=False),
    sa.Column("node", sa.String(200), nullable=False),
    sa.Column("cpus", sa.Integer, nullable=False),
    sa.Column("queued_s", sa.Float, nullable=False),
    sa.Column("ran_s", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float, nullable=False),
)


@dataclass(frozen=True, slots=True)
class CellRecord:
    """One cell that ended with an outcome."""

    task_id: str
    """Empty for what the worker measured for itself."""
    task_index: str
    engine: str
    engine_id: str
    """Where to look in the engine's own accounts."""
    node: str
    cpus: int
    queued_s: float
    ran_s: float
    ended_at: float
    """Local time in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class CellSum:
    """All cells on one engine."""

    engine: str
    cells: int
    nodes: int
    """How many different ones."""
    cpu_s: float
    """Seconds that they ran, times processors."""
    queued_s: float


def add_cell(store: WorkerStore, cell: CellRecord) -> None:
    """Keep one. Blocking."""
    with store.database.begin() as connection:
        connection.execute(sa.insert(_cell).values(**asdict(cell)))


def cells_of(store: WorkerStore, task_id: str) -> tuple[CellRecord, ...]:
    """The cells of one task, the first first. Blocking."""
    names = [column for column in _cell.c if column.name != "number"]
    query = sa.select(*names).where(_cell.c.task_id == task_id).order_by(_cell.c.number)
    with store.database.connect().execution_options(read_only=True) as connection:
        return tuple(CellRecord(**row) for row in connection.execute(query).mappings())


def sum_of_cells(store: WorkerStore) -> tuple[CellSum, ...]:
    """All cells added up, by engine. Blocking."""
    query = (
        sa.select(
            _cell.c.engine,
            sa.func.count().label("cells"),
            sa.func.count(sa.distinct(_cell.c.node)).label("nodes"),
            sa.func.sum(_cell.c.ran_s * _cell.c.cpus).label("cpu_s"),
            sa.func.sum(_cell.c.queued_s).label("queued_s"),
        )
        .group_by(_cell.c.engine)
        .order_by(_cell.c.engine)
    )
    with store.database.connect().execution_options(read_only=True) as connection:
        return tuple(CellSum(**row) for row in connection.execute(query).mappings())
