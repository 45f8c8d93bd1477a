"""How long an upgrade of a pool's tables stops the pool: revision 0014 on a database with many finished tasks.

    python -m bench.pool_upgrade [--database sqlite|postgresql] [--stored 100000 1000000]

A task goes through the benchmark's whole life, then the tables are made again as revision 0013 had them, and its row
and its two signed transactions are copied, with ids of their own. A million tasks take some 10 GB while it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from bench.scheduler import Driver, new_database
from fairgrid.pool.records import schema
from fairgrid.pool.records.store import PoolStore
from fairgrid.seams.database import migrate, open_engine

__all__ = ["main", "upgrade"]

_PACKAGE = "fairgrid.pool.migrations"
_RAW_BYTES = 220
_PAGE_BYTES = 16_384


def upgrade(database: str, stored: int) -> dict[str, Any]:
    """Seconds from revision 0013 to 0014 with ``stored`` tasks; `PoolStore.open` does the same at a start."""
    document, story, sent = asyncio.run(_one_task())
    with new_database(database) as url:
        engine = open_engine(url, page_bytes=_PAGE_BYTES)
        try:
            migrate(engine, _PACKAGE, revision="0013")
            with engine.begin() as connection:
                _fill(connection, stored, document, story, sent)
            size = _bytes(engine)
            began, cpu = time.perf_counter(), time.process_time()
            migrate(engine, _PACKAGE, revision="0014")
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        finally:
            engine.dispose()
    return {
        "name": f"r0014 on {stored} tasks, {database}",
        "megabytes": size / 1e6,
        "seconds": seconds,
        "ownCpuSeconds": cpu,
    }


async def _one_task() -> tuple[str, str, str]:
    """The document and the story of a finished task, and the document of a transaction."""
    with new_database("sqlite") as url:
        store = PoolStore.open(url)
        try:
            async with Driver(store).running(1) as driver:
                await driver.run("one", 1)
            with store.engine.connect() as connection:
                task = connection.execute(sa.select(schema.tasks.c.document, schema.tasks.c.story)).one()
                sent = connection.execute(sa.select(schema.effects.c.document).limit(1)).scalar_one()
        finally:
            store.close()
    return task.document, task.story, sent


def _fill(connection: sa.Connection, stored: int, document: str, story: str, sent: str) -> None:
    postgresql = connection.dialect.name == "postgresql"
    random = "md5(random()::text) || md5(random()::text)" if postgresql else "lower(hex(randomblob(32)))"
    series = (
        f"(SELECT generate_series(1, {stored}) AS i)"
        if postgresql
        else f"(WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {stored}) SELECT i FROM s)"
    )
    raw = f"decode(repeat('ab', {_RAW_BYTES}), 'hex')" if postgresql else f"zeroblob({_RAW_BYTES})"
    connection.execute(
        sa.text(
            "INSERT INTO pool_task (number, task_id, deal_id, task_index, phase, settled, created_at, updated_at, "
            f"document, story) SELECT i, '0x' || {random}, '0x' || {random}, :zero, 'completed', :yes, 1, 1, "
            f":document, :story FROM {series} AS s"
        ),
        {"zero": "0" * 64, "yes": True, "document": document, "story": story},
    )
    for kind, mined in (("Initialize", 1.0), ("Finalize", 2.0)):
        connection.execute(
            sa.text(
                "INSERT INTO pool_effect (key, task_id, kind, status, attempt, created_at, document, error, tx_hash, "
                f"raw, sender, nonce, function) SELECT task_id || '/{kind.lower()}', task_id, '{kind}', 'mined', 1, "
                f"number + {mined}, :sent, '', '0x' || {random}, {raw}, :sender, :zero, :function FROM pool_task"
            ),
            {"sent": sent, "zero": "0" * 64, "sender": "0x" + "ab" * 20, "function": kind.lower()},
        )


def _bytes(engine: sa.Engine) -> int:
    size = "SELECT pg_database_size(current_database())"
    if engine.dialect.name == "sqlite":
        size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    with engine.connect() as connection:
        return int(connection.exec_driver_sql(size).scalar_one())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.pool_upgrade", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--stored", type=int, nargs="+", default=[100_000, 1_000_000])
    chosen = parser.parse_args(arguments)
    for database in chosen.database or ["sqlite", "postgresql"]:
        for stored in chosen.stored:
            row = upgrade(database, stored) | {"loadAverage": os.getloadavg()[0]}
            short = {key: round(value, 1) if isinstance(value, float) else value for key, value in row.items()}
            sys.stdout.write(json.dumps(short) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
