"""The machine's own measurement: real numbers from real work, kept for a week, 0 where it cannot be had."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import httpx
import pytest

from fairgrid.protocol.machine import Benchmark, Gpu
from fairgrid.runtime.gpus import GpuDevice
from fairgrid.runtime.interface import Outcome, SandboxJob, Stop
from fairgrid.runtime.twin import FunctionSandbox
from fairgrid.runtime.wasm.interpreters import default_runtime_id, install_interpreter
from fairgrid.worker.connection.benchmark import (
    BENCHMARK_NAME,
    benchmark_of,
    measure_disk,
    measure_download,
    measure_fuel,
    measure_memory,
)
from fairgrid.worker.connection.claims import claimed_gpus, machine_claims
from fairgrid.worker.owner.policy import WorkerPolicy

DAY = 86_400.0


def sandbox(runs: list[int], fuel: int = 1_000) -> FunctionSandbox:
    def job(job: SandboxJob) -> Outcome:
        runs.append(1)
        return Outcome(Stop.EXITED, 0, b"", b"", fuel, 0.5, 0)

    return FunctionSandbox(job, runtime_id="test")


async def measured(folder: Path, runs: list[int], now: float) -> Benchmark:
    return await benchmark_of(folder, sandbox(runs), storage="http://127.0.0.1:9", cid="bafk", now=now)


async def test_it_is_measured_once_a_week(tmp_path: Path) -> None:
    runs: list[int] = []
    first = await measured(tmp_path, runs, DAY)
    assert (first.fuel_per_s, first.measured_at, first.download_bytes_per_s) == (2_000, DAY, 0)
    assert await measured(tmp_path, runs, DAY * 7.5) == first and len(runs) == 1
    assert (await measured(tmp_path, runs, DAY * 9)).measured_at == 9 * DAY and len(runs) == 2


@pytest.mark.parametrize("kept", ["{", "[]", json.dumps({"runtime": "another", "measured_at": 1})])
async def test_a_kept_measurement_that_does_not_fit_is_made_anew(tmp_path: Path, kept: str) -> None:
    (tmp_path / BENCHMARK_NAME).write_text(kept)
    runs: list[int] = []
    assert (await measured(tmp_path, runs, DAY)).fuel_per_s == 2_000 and len(runs) == 1


async def test_a_sandbox_that_fails_measures_nothing(tmp_path: Path) -> None:
    def job(job: SandboxJob) -> Outcome:
        return Outcome(Stop.HOST, 0, b"", b"", 5, 0.5, 0)

    assert await measure_fuel(tmp_path, FunctionSandbox(job, runtime_id="test")) == 0
    assert list(tmp_path.iterdir()) == []


async def test_the_real_interpreter_burns_fuel_at_a_plausible_speed(tmp_path: Path) -> None:
    installed = install_interpreter(default_runtime_id())
    speed = await measure_fuel(tmp_path, installed.sandbox())
    assert 10_000_000 < speed < 100_000_000_000


def test_memory_and_disk_are_measured_here(tmp_path: Path) -> None:
    assert measure_memory() > 50_000_000
    assert measure_disk(tmp_path) > 100_000
    assert measure_disk(tmp_path / "missing") == 0


async def test_a_download_counts_what_came(tmp_path: Path) -> None:
    got = httpx.MockTransport(lambda _: httpx.Response(200, content=b"x" * 1_000_000))
    assert await measure_download("http://storage", "bafk", transport=got) > 1_000_000
    missing = httpx.MockTransport(lambda _: httpx.Response(404, content=b"x"))
    assert await measure_download("http://storage", "bafk", transport=missing) == 0


def test_claims_are_never_more_than_owner_and_machine_give(tmp_path: Path) -> None:
    policy = WorkerPolicy(memory_bytes=1 << 30, disk_bytes=1 << 20, labels=("eu",))
    claims = machine_claims(policy, slots=10_000, folder=tmp_path, runtimes=["b", "a"], gpus=(Gpu("G", 1),))
    assert claims.memory_bytes <= 1 << 30 and claims.disk_bytes <= 1 << 20
    assert 1 <= claims.cpus < 10_000
    assert (claims.runtimes, claims.labels, claims.levels) == (("a", "b"), ("eu",), ("wasm",))
    assert machine_claims(WorkerPolicy(levels=("vm",)), slots=1, folder=tmp_path, runtimes=[]).levels == ()
    here = partial(machine_claims, slots=1, folder=tmp_path, runtimes=[], levels=("vm", "wasm"))
    assert here(WorkerPolicy(levels=())).levels == ("vm", "wasm")
    assert here(WorkerPolicy(levels=("vm",))).levels == ("vm",)


def test_a_graphics_processor_that_jobs_share_is_claimed_as_so_many_smaller_ones() -> None:
    given = (GpuDevice(3, "GPU-3", "NVIDIA H100", 80 << 30),)
    assert claimed_gpus(given, WorkerPolicy()) == (Gpu("NVIDIA H100", 80 << 30),)
    assert claimed_gpus(given, WorkerPolicy(gpu_jobs=2)) == (Gpu("NVIDIA H100", 40 << 30),) * 2
    assert len(claimed_gpus(given * 40, WorkerPolicy(gpu_jobs=2))) == 64
