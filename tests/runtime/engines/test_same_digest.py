"""One job, one digest: the deterministic runtime, on every engine that can run here."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.manifest import FileRef, Manifest, Resources
from fairgrid.runtime.engines.local import LocalEngine
from fairgrid.runtime.engines.opening import opened_engine
from fairgrid.runtime.engines.options import EngineKind, EngineOptions, SlurmMode
from fairgrid.runtime.engines.sandbox import EngineSandbox
from fairgrid.runtime.interface import Sandbox
from fairgrid.runtime.job import TaskContext, run_job
from fairgrid.runtime.wasm.interpreters import InstalledRuntime
from tests.runtime.engines.slurm_cluster import SlurmCluster

SMALL = 64 << 20
SCRIPT = b"""
import os, random, sys, time
random.seed()
with open(os.path.join(os.environ["IEXEC_OUT"], "numbers"), "w") as file:
    file.write(repr([random.random() for _ in range(100)]))
    file.write(repr({hash(str(number)) for number in range(100)}))
    file.write(f"{time.time()} {os.urandom(8)} {sum(1 / n for n in range(1, 20_000))}")
os.makedirs(os.path.join(os.environ["IEXEC_OUT"], "deep"))
open(os.path.join(os.environ["IEXEC_OUT"], "deep", "empty"), "w").close()
print("out"), print("err", file=sys.stderr)
"""
CONTEXT = TaskContext(deal_id="0x" + "11" * 32, task_id="0x" + "22" * 32, index=0, bot_first=0, bot_size=1)


async def digest_of(sandbox: Sandbox, folder: Path, script: bytes = SCRIPT) -> str:
    """The digest of the job in ``sandbox``."""
    folder.mkdir()
    path = folder / "script"
    path.write_bytes(script)
    reference = FileRef("script.py", cid_of(script), len(script))
    manifest = Manifest(script=reference, runtime=sandbox.runtime_id, resources=Resources(fuel=30_000_000_000))
    result = await run_job(
        manifest,
        manifest.cid(),
        CONTEXT,
        inputs={reference.cid: path},
        workdir=folder / "work",
        sandbox=sandbox,
        wall_s=50.0,
    )
    assert result.error is None or script is not SCRIPT
    return result.digest


def options_of(name: str, ray_address: str, dask_address: str) -> EngineOptions:
    """How ``name`` is reached."""
    kind, _, how = name.partition(" ")
    if kind == "slurm":
        return EngineOptions(kind=EngineKind.SLURM, mode=SlurmMode(how), poll_s=0.2, memory_overhead_bytes=SMALL)
    address = {"ray": ray_address, "dask": dask_address}[kind]
    return EngineOptions(kind=EngineKind(kind), address=address, shared_folder=not how, memory_overhead_bytes=SMALL)


@pytest.mark.parametrize("engine", ["slurm jobs", "slurm allocation", "ray", "ray carried", "dask", "dask carried"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(240)
@pytest.mark.slow
async def test_the_digest_on_an_engine_is_that_of_this_machine(
    engine: str,
    slurm: SlurmCluster,
    ray_address: str,
    dask_address: str,
    tmp_path: Path,
    installed_runtime: InstalledRuntime,
) -> None:
    runtime_id = installed_runtime.runtime_id
    here = await digest_of(installed_runtime.sandbox(), tmp_path / "here")
    options = options_of(engine, ray_address, dask_address)
    async with opened_engine(options, tmp_path / "engine", prefix="fairgrid-test") as opened:
        assert await digest_of(EngineSandbox(opened, runtime_id), tmp_path / "there") == here


async def test_the_digest_in_another_process_is_that_of_this_one(
    tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    local = LocalEngine()
    there = await digest_of(EngineSandbox(local, installed_runtime.runtime_id), tmp_path / "there")
    assert there == await digest_of(installed_runtime.sandbox(), tmp_path / "here")
    await local.close()


async def test_a_failed_job_has_the_digest_of_this_machine_too(
    tmp_path: Path, installed_runtime: InstalledRuntime
) -> None:
    script = b"import os\nos.symlink\nraise SystemExit(3)\n"
    engine = LocalEngine()
    there = await digest_of(EngineSandbox(engine, installed_runtime.runtime_id), tmp_path / "there", script)
    assert there == await digest_of(installed_runtime.sandbox(), tmp_path / "here", script)
    await engine.close()
