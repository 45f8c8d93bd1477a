"""Tasks a second and what a task costs on each engine, beside the bare engine in the same run.

``python -m bench.engines [ENGINE …] [--tasks N]`` starts a real Slurm, Ray and Dask on this machine (Slurm needs root
and its packages) and prints a table. *Ours* is a cell whose job prints a line in the default WebAssembly runtime, from
its `SandboxJob` to its `Outcome`; *bare* is ``true`` as a process, through the engine's own means, as many at once. The
sandbox is in *ours* and costs the same everywhere: the row ``no engine`` has it alone, ``this machine`` has the cell,
too.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from fairgrid.errors import FairgridError
from fairgrid.runtime.engines.interface import Engine
from fairgrid.runtime.engines.local import LocalEngine
from fairgrid.runtime.engines.opening import opened_engine
from fairgrid.runtime.engines.options import EngineKind, EngineOptions, SlurmMode
from fairgrid.runtime.engines.sandbox import EngineSandbox
from fairgrid.runtime.interface import Limits, Sandbox, SandboxJob, Stop
from fairgrid.runtime.wasm.interpreters import default_runtime_id, find_runtime

__all__ = ["CONTESTS", "Contest", "main"]

_SLOTS = 4
_PREFIX = "fairgrid-bench"
_OVERHEAD_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Contest:
    """One engine that is up, and its own way to run ``true`` many times."""

    sandbox: Sandbox
    bare: Callable[[int], Awaitable[None]]


@contextmanager
def _slurm(cpus: int) -> Iterator[None]:
    from tests.runtime.engines.slurm_cluster import running_slurm

    with tempfile.TemporaryDirectory(prefix="fgslurm-", dir="/var/tmp") as folder:
        with running_slurm(Path(folder), cpus=cpus) as cluster:
            os.environ.update(cluster.environment)
            yield


@asynccontextmanager
async def _sandbox_on(options: EngineOptions, folder: Path) -> AsyncIterator[EngineSandbox]:
    async with opened_engine(options, folder / "engine", prefix=_PREFIX) as engine:
        yield _through(engine)


def _through(engine: Engine) -> EngineSandbox:
    return EngineSandbox(engine, default_runtime_id(), prefix=_PREFIX)


@asynccontextmanager
async def _this_machine(folder: Path) -> AsyncIterator[Contest]:
    free = asyncio.Semaphore(_SLOTS)

    async def one() -> None:
        async with free:
            await _said("true")

    async def bare(count: int) -> None:
        await asyncio.gather(*(one() for _ in range(count)))

    yield Contest(_through(LocalEngine(_SLOTS)), bare)


@asynccontextmanager
async def _no_engine(folder: Path) -> AsyncIterator[Contest]:
    async with _this_machine(folder) as machine:
        yield Contest(find_runtime(default_runtime_id()).sandbox(), machine.bare)


@asynccontextmanager
async def _slurm_jobs(folder: Path) -> AsyncIterator[Contest]:
    async def bare(count: int) -> None:
        said = await _said(
            *("sbatch", "--parsable", f"--array=0-{count - 1}", "--ntasks=1", "--mem=100M", "--output=/dev/null"),
            *("--chdir=/", "--wrap=true"),
        )
        # Looked at as often as ours.
        look = ("squeue", "-h", "-r", f"--jobs={said.strip()}", "--states=PENDING,RUNNING,COMPLETING")
        while await _said(*look):  # noqa: ASYNC110 - nobody calls back
            await asyncio.sleep(0.2)

    options = EngineOptions(kind=EngineKind.SLURM, poll_s=0.2, memory_overhead_bytes=_OVERHEAD_BYTES)
    with _slurm(_SLOTS):
        async with _sandbox_on(options, folder) as sandbox:
            yield Contest(sandbox, bare)


@asynccontextmanager
async def _slurm_allocation(folder: Path) -> AsyncIterator[Contest]:
    async def bare(count: int) -> None:
        step = "srun --exact -N1 -n1 -c1 --mem=100M --input=none --quiet true"
        script = f"seq {count} | xargs -P {_SLOTS} -I{{}} {step}"
        await _said(
            *("sbatch", "--wait", f"--ntasks={_SLOTS}", "--mem-per-cpu=200M", "--output=/dev/null", "--chdir=/"),
            f"--wrap=sh -c {shlex.quote(script)}",
        )

    options = EngineOptions(
        kind=EngineKind.SLURM,
        mode=SlurmMode.ALLOCATION,
        poll_s=0.2,
        allocation_minutes=60,
        allocation_slots=_SLOTS,
        memory_overhead_bytes=_OVERHEAD_BYTES,
    )
    # Ours keeps its allocation while the bare one runs.
    with _slurm(2 * _SLOTS):
        async with _sandbox_on(options, folder) as sandbox:
            yield Contest(sandbox, bare)


def _true() -> None:
    subprocess.run(["true"], check=True)


@asynccontextmanager
async def _ray(folder: Path) -> AsyncIterator[Contest]:
    from tests.runtime.engines.other_clusters import running_ray

    async with AsyncExitStack() as stack:
        address = stack.enter_context(running_ray())
        options = EngineOptions(kind=EngineKind.RAY, address=address, memory_overhead_bytes=_OVERHEAD_BYTES)
        sandbox = await stack.enter_async_context(_sandbox_on(options, folder))
        import ray

        task = ray.remote(_true)

        async def bare(count: int) -> None:
            await asyncio.to_thread(lambda: ray.get([task.remote() for _ in range(count)]))

        yield Contest(sandbox, bare)


@asynccontextmanager
async def _dask(folder: Path) -> AsyncIterator[Contest]:
    from distributed import Client
    from tests.runtime.engines.other_clusters import running_dask

    async with AsyncExitStack() as stack:
        address = stack.enter_context(running_dask())
        options = EngineOptions(kind=EngineKind.DASK, address=address, memory_overhead_bytes=_OVERHEAD_BYTES)
        sandbox = await stack.enter_async_context(_sandbox_on(options, folder))
        client = await stack.enter_async_context(Client(address, asynchronous=True, set_as_default=False))

        async def bare(count: int) -> None:
            await client.gather([client.submit(_true, pure=False) for _ in range(count)])

        yield Contest(sandbox, bare)


CONTESTS = {
    "no engine": _no_engine,
    "this machine": _this_machine,
    "slurm, jobs": _slurm_jobs,
    "slurm, allocation": _slurm_allocation,
    "ray": _ray,
    "dask": _dask,
}
"""By name; each brings its engine."""


async def _said(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert process.returncode == 0, command
    return said.decode()


def _job(base: Path) -> SandboxJob:
    for name in ("app", "in", "out"):
        (base / name).mkdir(parents=True)
    (base / "app" / "job.py").write_text("print('hi')")
    limits = Limits(fuel=10**10, memory_bytes=100 << 20, wall_s=240.0)
    return SandboxJob(base / "app" / "job.py", (), base / "in", base / "out", {}, bytes(32), limits)


async def measure(name: str, tasks: int, alone: int) -> dict[str, float]:
    """Tasks a second of many at once, ours and bare by turns, and the median of one alone, in seconds."""
    with tempfile.TemporaryDirectory(prefix="fairgrid-bench-") as temporary:
        folder = Path(temporary)
        numbers = iter(range(1_000_000))

        async with CONTESTS[name](folder) as contest:
            free = asyncio.Semaphore(_SLOTS if name == "no engine" else tasks)

            async def run() -> None:
                job = _job(folder / str(next(numbers)))
                async with free:
                    outcome = await contest.sandbox.run(job)
                assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 0), outcome

            async def many() -> None:
                await asyncio.gather(*(run() for _ in range(tasks)))

            await run()
            await contest.bare(1)
            ours_alone = [await _seconds(run) for _ in range(alone)]
            bare_alone = [await _seconds(lambda: contest.bare(1)) for _ in range(alone)]
            # The quieter of two runs each: other work on the machine can only take away.
            ours = [await _seconds(many)]
            bare = [await _seconds(lambda: contest.bare(tasks))]
            ours.append(await _seconds(many))
            bare.append(await _seconds(lambda: contest.bare(tasks)))
    return {
        "ours_per_s": tasks / min(ours),
        "bare_per_s": tasks / min(bare),
        "more_ms": (min(ours) - min(bare)) / tasks * 1000,
        "ours_alone_s": statistics.median(ours_alone),
        "bare_alone_s": statistics.median(bare_alone),
    }


async def _seconds(work: Callable[[], Awaitable[Any]]) -> float:
    began = time.monotonic()
    await work()
    return time.monotonic() - began


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", default=list(CONTESTS), metavar="ENGINE", help="; ".join(CONTESTS))
    parser.add_argument("--tasks", type=int, default=40, help="how many at once (default 40)")
    parser.add_argument("--alone", type=int, default=3, help="how many one after the other (default 3)")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs, {given.tasks} tasks, {_SLOTS} slots")
    print("| engine | tasks a second | bare | a task costs more | one alone | bare |")
    print("|---|---|---|---|---|---|")
    for name in given.engines:
        try:
            found = asyncio.run(measure(name, given.tasks, given.alone))
        except (FairgridError, KeyError, ImportError, RuntimeError, OSError, AssertionError) as error:
            # One engine that does not start, such as Ray on a busy machine, does not take the others' rows away.
            print(f"| {name} | not measured: {error!r:.300} | | | | |", flush=True)
            continue
        print(
            f"| {name} | {found['ours_per_s']:.1f} | {found['bare_per_s']:.1f} | {found['more_ms']:.0f} ms | "
            f"{found['ours_alone_s']:.2f} s | {found['bare_alone_s']:.2f} s |"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
