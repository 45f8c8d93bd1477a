"""What a task costs with more and more of them in the database: rounds by turns, each in a process of its own.

Each database is made first, and is at rest before anything is measured: the log of millions of copied rows is in its
file, and PostgreSQL's vacuum has been through them. A small database is copied anew for each round, since a round's own
tasks would make it a larger one.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import sqlalchemy as sa

from bench.scheduler import Driver, Processor, new_database
from fairgrid.pool.records import schema
from fairgrid.pool.records.places import tag_of
from fairgrid.pool.records.store import PoolStore

__all__ = ["alone", "flat", "measured_once"]

_WARM = 500
_COPIED_UP_TO = 10_000
_ROUND_S = 300.0


def flat(database: str, stored: Sequence[int], tasks: int, *, rounds: int = 5) -> list[dict[str, Any]]:
    """A row for each count of stored tasks: medians of the rounds, and the median of the ratios to the first count in
    the same round.
    """
    taken: list[list[dict[str, float]]] = [[] for _ in stored]
    with new_database(database) as first:
        made = [_prepared(database, first, wanted) for wanted in stored]
        for number in range(rounds):
            for place, (wanted, url) in enumerate(zip(stored, made, strict=True)):
                with _for_a_round(url, wanted) as used:
                    taken[place].append(alone(used, f"round {number} with {wanted}", tasks))
    return [_row(database, wanted, own, taken[0]) for wanted, own in zip(stored, taken, strict=True)]


def _row(
    database: str, wanted: int, own: Sequence[dict[str, float]], first: Sequence[dict[str, float]]
) -> dict[str, Any]:
    middle = {name: median(each[name] for each in own) for name in own[0]}
    return {
        "name": f"{wanted} tasks stored, {database}",
        **middle,
        "cpuRatio": median(_cpu(mine) / _cpu(firsts) for mine, firsts in zip(own, first, strict=True)),
        "rounds": len(own),
    }


def _cpu(taken: dict[str, float]) -> float:
    """Microseconds a task, the server's with them."""
    return taken["cpuMicroseconds"] + taken.get("serverCpuMicroseconds", 0.0)


# --- databases ----------------------------------------------------------------------------------------------------


def _prepared(database: str, first: str | Path, wanted: int) -> str | Path:
    """A database with so many finished tasks, at rest."""
    url = _beside(first, f"stored_{wanted}")
    with contextlib.closing(PoolStore.open(url)) as store:
        asyncio.run(_warm(store))
        store.write_rows(time.time())
        with store.engine.begin() as connection:
            _fill(connection, wanted)
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if database == "postgresql":
                connection.exec_driver_sql("VACUUM ANALYZE")
                connection.exec_driver_sql("CHECKPOINT")
            else:
                connection.connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]
    os.sync()
    return url


def _beside(first: str | Path, name: str, *, template: str = "template1") -> str | Path:
    """A new database beside the first: a file, or one of the same server's."""
    if isinstance(first, Path):
        return first.with_name(f"{name}.db")
    engine = sa.create_engine(first, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    engine.dispose()
    return sa.make_url(first).set(database=name).render_as_string(hide_password=False)


@contextlib.contextmanager
def _for_a_round(url: str | Path, wanted: int) -> Iterator[str | Path]:
    if wanted > _COPIED_UP_TO:
        yield url
    elif isinstance(url, Path):
        copy = url.with_name("round.db")
        shutil.copy(url, copy)
        try:
            yield copy
        finally:
            for left in url.parent.glob("round.db*"):
                left.unlink()
    else:
        own = sa.make_url(url)
        server = own.set(database="postgres").render_as_string(hide_password=False)
        yield _beside(server, f"round_{time.monotonic_ns()}", template=own.database or "")


# --- a round ------------------------------------------------------------------------------------------------------


def alone(url: str | Path, name: str, tasks: int) -> dict[str, float]:
    """Measure in a process that does nothing else, before and after."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(measured_once, url, name, tasks).result(_ROUND_S)


def measured_once(url: str | Path, name: str, tasks: int) -> dict[str, float]:
    """Tasks a second and processor time of a scheduler that just started."""

    async def measured(store: PoolStore) -> dict[str, float]:
        async with Driver(store).running(100) as driver:
            await driver.run(f"warm {name}", _WARM)
            processor = Processor(store)
            seconds = await driver.run(name, tasks)
            return {"perSecond": tasks / seconds, **processor.of_a_task(tasks)}

    with contextlib.closing(PoolStore.open(url)) as store:
        return asyncio.run(measured(store))


async def _warm(store: PoolStore) -> None:
    async with Driver(store).running(100) as driver:
        await driver.run("warm", _WARM)


def _fill(connection: sa.Connection, wanted: int) -> None:
    """Copy a finished task with two transactions, each in a deal of its own, until there are ``wanted``."""
    have, last = connection.execute(sa.select(sa.func.count(), sa.func.max(schema.tasks.c.number))).one()
    sent = connection.execute(sa.select(sa.func.max(schema.effects.c.number))).scalar_one()
    random = "lower(hex(randomblob(32)))"
    place = "tag_of({name}) | ({number} / 4096 << 40)"
    series = "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {})"
    if connection.dialect.name == "postgresql":
        random = "md5(random()::text) || md5(random()::text)"
        series = "WITH s(i) AS (SELECT generate_series(1, {}))"
        place = "('x' || substr({name}, 3, 10))::bit(40)::bigint | ({number} / 4096 << 40)"
    else:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.create_function("tag_of", 1, tag_of, deterministic=True)
    if wanted <= have:
        return
    columns = "task_index, phase, settled, created_at, updated_at, document, story"
    connection.exec_driver_sql(
        f"INSERT INTO pool_task (number, place, task_id, deal_id, {columns}) "
        f"{series.format(wanted - have)}, made AS MATERIALIZED "
        f"(SELECT {last} + i AS made_number, '0x' || {random} AS made_id, '0x' || {random} AS made_deal FROM s) "
        f"SELECT made_number, "
        f"{place.format(name='made_id', number='made_number')}, made_id, made_deal, {columns} "
        "FROM made, pool_task WHERE number = 1"
    )
    for step, kind in enumerate(("initialize", "finalize")):
        number = f"({sent} + 2 * (t.number - {last}) - 1 + {step})"
        connection.exec_driver_sql(
            "INSERT INTO pool_effect (number, place, key, task_id, kind, status, attempt, created_at, document, error) "
            f"SELECT {number}, {place.format(name='t.task_id', number=number)}, t.task_id || '/{kind}', t.task_id, "
            "e.kind, 'mined', 1, e.created_at, e.document, '' "
            f"FROM pool_task t, (SELECT * FROM pool_effect LIMIT 1) e WHERE t.number > {last}"
        )
