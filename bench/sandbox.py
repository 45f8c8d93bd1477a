"""Start-up, throughput and idle memory of isolation levels, each beside the bare tool in the same run.

``python -m bench.sandbox [LEVEL …] [--runs N]`` prints a table. A level takes part by a function ``() -> Contest`` in
`CONTESTS`: how a job that does nothing is run through its sandbox, and what the tool alone takes for the same.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from fairgrid.errors import FairgridError
from fairgrid.runtime.catalogue import CATALOGUE
from fairgrid.runtime.container.engines import Engine, find_engine
from fairgrid.runtime.container.image_check import read_head
from fairgrid.runtime.container.image_files import ArchiveFiles
from fairgrid.runtime.container.nothing_image import write_nothing_image
from fairgrid.runtime.container.provider import provider
from fairgrid.runtime.container.runtimes import ARCHITECTURE_OF
from fairgrid.runtime.container.settings import ContainerSettings
from fairgrid.runtime.interface import Limits, Outcome, Sandbox, SandboxJob, Stop

__all__ = ["CONTESTS", "Contest", "main"]

_SIDE_BY_SIDE = 2
_LIMITS = Limits(fuel=10**10, memory_bytes=64 << 20, wall_s=60.0)


@dataclass(frozen=True, slots=True)
class Contest:
    """One level against its bare tool."""

    name: str
    sandbox: Sandbox
    program: Callable[[Path], Path]
    """Writes the program that does nothing into a folder."""
    bare: Callable[[], Awaitable[list[str]]]
    """The tool's own command for the same, once the sandbox ran it; empty: there is none."""
    environment: Callable[[], Awaitable[dict[str, str]]]
    target: str
    limits: Limits


def _container(engine_name: str, runtime_id: str) -> Contest:
    settings = ContainerSettings(engine=engine_name)
    sandbox = provider(CATALOGUE[runtime_id], settings).sandbox()
    architecture = ARCHITECTURE_OF[runtime_id]
    image: list[str] = []

    def program(folder: Path) -> Path:
        path = folder / "nothing.oci.tar"
        write_nothing_image(path, architecture)
        with ArchiveFiles.opened(path) as files:
            image[:] = [read_head(files, architecture=architecture).image_id]
        return path

    async def engine() -> Engine:
        return await find_engine(engine_name)

    async def bare() -> list[str]:
        # The same walls as a user would ask for by hand: bare means without us, not without a sandbox.
        found = await engine()
        files = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
        walls = ("--network", "none", "--read-only", "--cap-drop", "ALL", "--user", "65534:65534", "--memory", "64m")
        return found.command("run", "--rm", "--pull=never", *walls, *files, image[0])

    async def environment() -> dict[str, str]:
        return dict((await engine()).environment)

    return Contest(engine_name, sandbox, program, bare, environment, "at most 1.2 bare", _LIMITS)


CONTESTS: dict[str, Callable[[], Contest]] = {
    "podman": lambda: _container("podman", "oci/linux-x86_64"),
    "docker": lambda: _container("docker", "oci/linux-x86_64"),
}


async def measure(contest: Contest, runs: int) -> dict[str, Any]:
    """Median time of a job and of the bare tool by turns, jobs a second side by side, memory of an idle slot."""
    with tempfile.TemporaryDirectory(prefix="fairgrid-bench-") as temporary:
        folder = Path(temporary)
        program = contest.program(folder)
        numbers = iter(range(1_000_000))

        async def job() -> float:
            base = folder / str(next(numbers))
            for name in ("in", "out"):
                (base / name).mkdir(parents=True)
            began = time.monotonic()
            outcome: Outcome = await contest.sandbox.run(
                SandboxJob(program, (), base / "in", base / "out", {}, bytes(32), contest.limits)
            )
            assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 0), outcome
            return time.monotonic() - began

        idle = psutil.Process().memory_info().rss
        await job()
        command, environment = await contest.bare(), await contest.environment()
        ours, theirs = [], []
        for _ in range(runs):
            ours.append(await job())
            began = time.monotonic()
            subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)  # noqa: ASYNC221
            theirs.append(time.monotonic() - began)
        began = time.monotonic()
        for _ in range(0, runs, _SIDE_BY_SIDE):
            await asyncio.gather(*(job() for _ in range(_SIDE_BY_SIDE)))
        rate = runs / (time.monotonic() - began)
        return {
            "ours_ms": statistics.median(ours) * 1000,
            "bare_ms": statistics.median(theirs) * 1000,
            "ratio": statistics.median(ours) / statistics.median(theirs),
            "jobs_per_s": rate,
            "idle_mib": (psutil.Process().memory_info().rss - idle) / (1 << 20),
        }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("levels", nargs="*", default=list(CONTESTS), metavar="LEVEL", help=", ".join(CONTESTS))
    parser.add_argument("--runs", type=int, default=10, help="how often each is run (default 10)")
    given = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs, {given.runs} runs each, by turns")
    print("| level | a job | bare tool | ratio | target | jobs a second, 2 at once | memory of an idle slot |")
    print("|---|---|---|---|---|---|---|")
    for name in given.levels:
        try:
            contest = CONTESTS[name]()
            found = asyncio.run(measure(contest, given.runs))
        except (FairgridError, KeyError) as error:
            print(f"| {name} | not measured: {error} | | | | | |")
            continue
        print(
            f"| {name} | {found['ours_ms']:.0f} ms | {found['bare_ms']:.0f} ms | {found['ratio']:.2f} | "
            f"{contest.target} | {found['jobs_per_s']:.1f} | {found['idle_mib']:.1f} MiB |"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
