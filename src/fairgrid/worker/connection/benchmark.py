"""A short measurement of this machine, for the pool: seconds, not minutes, and kept for a week."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

import httpx
import structlog

from fairgrid.errors import FairgridError
from fairgrid.protocol.machine import Benchmark
from fairgrid.runtime.interface import Limits, Sandbox, Stop
from fairgrid.runtime.own_job import own_job
from fairgrid.runtime.removal import remove_tree

__all__ = ["BENCHMARK_NAME", "benchmark_of", "measure_disk", "measure_download", "measure_fuel", "measure_memory"]

_log = structlog.get_logger(__name__)
BENCHMARK_NAME: Final = "benchmark.json"
_KEEP_S: Final = 7 * 86_400
_SCRIPT: Final = b"n = 0\nfor i in range(400_000):\n    n += i * i % 7\nprint(n)\n"
_MEMORY_BYTES: Final = 64 << 20
_DISK_BYTES: Final = 16 << 20
_DOWNLOAD_BYTES: Final = 4 << 20
_DOWNLOAD_S: Final = 3.0


async def benchmark_of(folder: Path, sandbox: Sandbox, *, storage: str, cid: str, now: float) -> Benchmark:
    """The kept measurement of this machine, or a new one (a few seconds). What cannot be measured is 0.

    ``storage`` is the network's gateway, ``cid`` something large that it has: the interpreter.
    """
    kept = await asyncio.to_thread(_kept, folder / BENCHMARK_NAME, sandbox.runtime_id, now)
    if kept is not None:
        return kept
    measured = Benchmark(
        fuel_per_s=await measure_fuel(folder, sandbox),
        memory_bytes_per_s=await asyncio.to_thread(measure_memory),
        disk_bytes_per_s=await asyncio.to_thread(measure_disk, folder),
        download_bytes_per_s=await measure_download(storage, cid),
        measured_at=int(now),
    )
    _log.info("measured", **asdict(measured))
    with contextlib.suppress(OSError):
        document = {"runtime": sandbox.runtime_id, **asdict(measured)}
        await asyncio.to_thread((folder / BENCHMARK_NAME).write_text, json.dumps(document))
    return measured


async def measure_fuel(folder: Path, sandbox: Sandbox) -> int:
    """Fuel a second of one job that only computes, its start included."""
    scratch = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="benchmark-", dir=folder))
    try:
        job = own_job(scratch, "script.py", limits=Limits(fuel=10**12, wall_s=60.0))
        job.script.write_bytes(_SCRIPT)
        outcome = await sandbox.run(job)
    except (FairgridError, OSError) as error:
        _log.warning("the sandbox cannot be measured", reason=str(error))
        return 0
    finally:
        await asyncio.to_thread(remove_tree, scratch)
    if outcome.stop is not Stop.EXITED or outcome.wall_s <= 0:
        return 0
    return int(outcome.fuel_used / outcome.wall_s)


def measure_memory() -> int:
    """Bytes copied a second, best of three."""
    source, best = bytearray(_MEMORY_BYTES), 0
    for _ in range(3):
        began = time.perf_counter()
        bytes(source)
        best = max(best, int(_MEMORY_BYTES / max(time.perf_counter() - began, 1e-6)))
    return best


def measure_disk(folder: Path) -> int:
    """Bytes a second written to the worker's folder until they are on the disk; 0 when it is full."""
    block = os.urandom(1 << 20)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            began = time.perf_counter()
            for _ in range(_DISK_BYTES // len(block)):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            return int(_DISK_BYTES / max(time.perf_counter() - began, 1e-6))
    except OSError:
        return 0


async def measure_download(storage: str, cid: str, *, transport: httpx.AsyncBaseTransport | None = None) -> int:
    """Bytes a second received from storage, for a few seconds at most; 0 when it does not have ``cid``."""
    received, began = 0, time.perf_counter()
    try:
        async with (
            asyncio.timeout(_DOWNLOAD_S),
            httpx.AsyncClient(transport=transport, follow_redirects=False) as client,
            client.stream("GET", f"{storage.rstrip('/')}/ipfs/{cid}") as response,
        ):
            if response.status_code != 200:
                return 0
            began = time.perf_counter()
            async for chunk in response.aiter_bytes():
                received += len(chunk)
                if received >= _DOWNLOAD_BYTES:
                    break
    except TimeoutError:
        pass
    except (httpx.HTTPError, httpx.InvalidURL):
        return 0
    return int(received / max(time.perf_counter() - began, 1e-3))


def _kept(path: Path, runtime_id: str, now: float) -> Benchmark | None:
    try:
        document = json.loads(path.read_text())
        if document.pop("runtime") != runtime_id or not 0 <= now - document["measured_at"] < _KEEP_S:
            return None
        return Benchmark(**document)
    except (OSError, ValueError, KeyError, TypeError):
        return None
