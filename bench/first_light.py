"""The phases of one task on a real local network, in seconds, beside the job's bare run in the same sandbox.

    python bench/first_light.py --tasks 5

Starts a network of real processes in a temporary folder, runs one job several times through it, one after another, and
between them the same job without any network (`run_locally`). Phases come from the pool's story of each task (its lines
are dated) and from the client's own clock; both are clocks of this machine. Only medians are worth comparing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fairgrid.client.client import Client, TrustWish
from fairgrid.client.follow import Ending
from fairgrid.client.job import Job
from fairgrid.client.prepared_job import run_locally
from fairgrid.client.progress import Phase, Progress
from fairgrid.errors import FairgridError, ServiceError, VerificationError
from fairgrid.localnet.accounts import REQUESTER
from fairgrid.localnet.network import LocalNetwork
from fairgrid.localnet.options import honest_workers
from fairgrid.pool.client import StoryEntry
from fairgrid.runtime.wasm.interpreters import default_runtime_id, find_runtime

__all__ = ["Measurement", "main", "phases_of_story", "report", "summary"]

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "co2_trend"

PHASES = {
    "prepare": "quote, upload of script, inputs and manifest, signature",
    "match": "matchOrders sent until mined",
    "initialize": "mined match until the task is open on chain",
    "lease and seal": "leases until all seals of the round are in: download, compute, digest",
    "contribute": "authorisations and contributions, one after another, until consensus",
    "reveal": "consensus until the winners have revealed",
    "upload": "one winner uploads, the pool recomputes the digest",
    "finalize": "finalize sent until mined and seen by the pool",
    "notice": "until the client's poll sees it",
    "fetch and verify": "the client downloads, recomputes the digest, writes",
}
_MARKS = ("sealing", "contributing", "revealing", "uploading", "finalizing", "completed")
_STORY_TRIES = 300
_STORY_PHASES = ("initialize", "lease and seal", "contribute", "reveal", "upload", "finalize")


@dataclass(frozen=True, slots=True)
class Measurement:
    """One task: seconds by phase, the whole, the bare run beside it, and gas by transaction of the task's life."""

    phases: dict[str, float]
    seconds: float
    bare_seconds: float
    rounds: int
    gas: tuple[tuple[str, int], ...]


def phases_of_story(story: Sequence[StoryEntry], *, mined_at: float) -> dict[str, float]:
    """Seconds between a task's phases, from the match's mining on; a phase that came again counts until its last end.

    Raises:
        ServiceError: the story lacks a phase, so there is nothing to measure.
    """
    last: dict[str, float] = {}
    first: dict[str, float] = {}
    for line in story:
        phase = line.text.partition(":")[0]
        if phase in _MARKS:
            last[phase] = line.at
            first.setdefault(phase, line.at)
    missing = [mark for mark in _MARKS if mark not in last]
    if missing:
        raise ServiceError(f"The pool's story of the task has no {', '.join(missing)}; it cannot be measured.")
    moments = [mined_at, first["sealing"], *(last[mark] for mark in _MARKS[1:])]
    return {name: max(end - begin, 0.0) for name, begin, end in zip(_STORY_PHASES, moments, moments[1:], strict=False)}


async def _measure(client: Client, job: Job, wish: TrustWish, folder: Path) -> Measurement:
    matching_at = 0.0

    def on_progress(progress: Progress) -> None:
        nonlocal matching_at
        if progress.phase is Phase.MATCHING:
            matching_at = time.time()

    began = time.time()
    record = await client.submit(job, wish, on_progress=on_progress)
    mined = time.time()
    ending = await client.follow(record)
    noticed = time.time()
    if ending is not Ending.COMPLETED:
        raise ServiceError(f"Task {record.task_ids[0]} ended as {ending.value}; there is nothing to measure.")
    result = await client.collect(record, folder / "out")
    ended = time.time()
    # Below, nothing of the network is timed.
    story = await _whole_story(client, record.task_ids[0])
    view = await client.pool.task(record.task_ids[0])
    settled = await client.settlement(record)
    told = phases_of_story(story, mined_at=mined)
    completed_at = max(line.at for line in story if line.text.startswith("completed:"))
    bare, digest = await _bare_run(client, job, record.deal_id, folder / "bare")
    if digest != result.digest:
        raise VerificationError("The bare run gave another digest than the network: the figures would mean nothing.")
    return Measurement(
        phases={
            "prepare": matching_at - began,
            "match": mined - matching_at,
            **told,
            "notice": max(noticed - completed_at, 0.0),
            "fetch and verify": ended - noticed,
        },
        seconds=ended - began,
        bare_seconds=bare,
        rounds=view.round + 1,
        gas=tuple((line.step, line.gas_used) for line in settled.gas),
    )


async def _whole_story(client: Client, task_id: str) -> list[StoryEntry]:
    """The story with its end, which the pool may see a moment after the client did."""
    for _ in range(_STORY_TRIES):
        story = await client.pool.story(task_id)
        if any(line.text.startswith("completed:") for line in story):
            return story
        await asyncio.sleep(0.1)
    raise ServiceError(f"The pool has not seen the end of task {task_id}; it cannot be measured.")


async def _bare_run(client: Client, job: Job, deal_id: str, workdir: Path) -> tuple[float, str]:
    """The same manifest in the same sandbox, without network: what no network can be faster than."""
    deal = await client.chain.view_deal(deal_id)
    if deal is None:
        raise ServiceError(f"The hub no longer knows deal {deal_id}.")
    timeref = (await client.chain.view_category(deal.category)).timeref
    sandbox = find_runtime(job.runtime.runtime_id).sandbox()
    began = time.monotonic()
    try:
        local = await run_locally(job, timeref=timeref, index=deal.bot_first, workdir=workdir, sandbox=sandbox)
    finally:
        await sandbox.close()
    return time.monotonic() - began, local.digest


def summary(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Medians and ranges of several tasks, for people and for ``--json``."""
    bare = statistics.median(m.bare_seconds for m in measurements)
    whole = statistics.median(m.seconds for m in measurements)
    gas: dict[str, list[int]] = {}
    for measurement in measurements:
        for step, used in measurement.gas:
            gas.setdefault(step, []).append(used)
    return {
        "tasks": len(measurements),
        "phases": {name: _spread(m.phases[name] for m in measurements) for name in PHASES},
        "seconds": _spread(m.seconds for m in measurements),
        "bareSeconds": _spread(m.bare_seconds for m in measurements),
        "ratio": round(whole / bare, 3),
        "rounds": [m.rounds for m in measurements],
        "gas": {
            step: {"median": int(statistics.median(used)), "least": min(used), "most": max(used), "count": len(used)}
            for step, used in gas.items()
        },
        "gasPerTask": int(statistics.median(sum(used for _, used in m.gas) for m in measurements)),
        "machine": {
            "cpus": os.cpu_count(),
            "system": platform.system(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "loadAverage": round(os.getloadavg()[0], 2),
        },
    }


def _spread(values: Iterable[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 3),
        "least": round(ordered[0], 3),
        "most": round(ordered[-1], 3),
    }


def report(document: dict[str, Any]) -> list[Table]:
    """The tables for people."""
    bare = document["bareSeconds"]["median"]
    phases = Table(title=f"Phases of {document['tasks']} task(s), seconds", title_justify="left")
    for column in ("phase", "median", "least", "most", "per bare run"):
        phases.add_column(column, justify="left" if column == "phase" else "right")
    phases.add_column("what it is")
    rows = [*document["phases"].items(), ("whole", document["seconds"]), ("bare run", document["bareSeconds"])]
    for name, spread in rows:
        ratio = spread["median"] / bare if bare else 0.0
        cells = (f"{spread[key]:.2f}" for key in ("median", "least", "most"))
        phases.add_row(name, *cells, f"{ratio:.2f}", PHASES.get(name, ""))
    gas = Table(title=f"Gas ({document['gasPerTask']:,} a task)", title_justify="left")
    for column in ("transaction", "median", "least", "most", "count"):
        gas.add_column(column, justify="left" if column == "transaction" else "right")
    for step, used in document["gas"].items():
        gas.add_row(step, f"{used['median']:,}", f"{used['least']:,}", f"{used['most']:,}", str(used["count"]))
    return [phases, gas]


async def _run(options: argparse.Namespace, tell: Console) -> dict[str, Any]:
    script = options.script or EXAMPLE / "trend.py"
    inputs = options.input if options.script else [EXAMPLE / "co2.csv"]
    arguments = options.arg if options.script else ["60"]
    job = Job.from_files(script, inputs or [], arguments or [], runtime_id=default_runtime_id())
    wish = TrustWish(options.trust)
    measurements: list[Measurement] = []
    with tempfile.TemporaryDirectory(prefix="fairgrid-bench-") as scratch:
        folder = Path(scratch)
        local = LocalNetwork(folder / "network", workers=honest_workers(options.workers), progress=tell.print)
        async with local:
            signer = local.accounts[REQUESTER]
            async with Client.connect(local.network, signer, journal_folder=folder / "deals") as client:
                for number in range(1, options.tasks + 1):
                    measured = await _measure(client, job, wish, folder / f"task-{number}")
                    measurements.append(measured)
                    spent = f"{measured.seconds:.1f} s, bare {measured.bare_seconds:.1f} s"
                    tell.print(f"task {number} of {options.tasks}: {spent}")
    settings = {"workers": options.workers, "confidence": options.trust, "job": script.name, "arguments": arguments}
    return {"settings": settings, **summary(measurements)}


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the phases of one task on a real local network.")
    parser.add_argument("--tasks", type=int, default=5, help="how many tasks, one after another")
    parser.add_argument("--workers", type=int, default=4, help="honest workers of the network")
    parser.add_argument("--trust", default="0.9", help="confidence of each task, as for `fairgrid run`")
    parser.add_argument("--script", type=Path, help="another job than the CO2 example")
    parser.add_argument("--input", type=Path, action="append", help="an input of --script")
    parser.add_argument("--arg", action="append", help="an argument of --script")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout; progress on stderr")
    options = parser.parse_args(given)
    if options.tasks < 1 or options.workers < 1:
        parser.error("--tasks and --workers must be at least 1")
    return options


def main(given: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code is that of `fairgrid` for the same trouble."""
    options = _arguments(given)
    try:
        document = asyncio.run(_run(options, Console(stderr=True)))
    except FairgridError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        screen = Console()
        for table in report(document):
            screen.print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
