"""A lease with a need for graphics processors: what the job is given, and what is handed back with which words."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure
from fairgrid.protocol.needs import GpuNeed, Needs
from fairgrid.protocol.worker_messages import LeaseFailed, Seal
from fairgrid.runtime.gpus import GpuDevice, GpuShelf
from fairgrid.runtime.interface import SandboxJob
from fairgrid.worker.computing.gpus import EngineGpus, Gpus, MachineGpus, NoGpus
from fairgrid.worker.owner.policy import WorkerPolicy
from tests.worker.fake_pool import FakePool
from tests.worker.world import AgentSetting, World, bag, honest, running

IMAGE, SCRIPT = "oci/linux-x86_64", "wasmtime-49/py312/deterministic"
H100, T4 = GpuDevice(0, "GPU-a", "NVIDIA H100", 80 << 30), GpuDevice(3, "GPU-b", "Tesla T4", 15 << 30)


def machine(tmp_path: Path, policy: WorkerPolicy) -> MachineGpus:
    return MachineGpus((H100, T4), lambda: policy, GpuShelf(tmp_path / "locks"))


@pytest.mark.parametrize(
    ("runtime", "need", "word"),
    [
        (SCRIPT, GpuNeed(1), "level wasm passes no devices"),
        ("oci-gvisor/linux-x86_64", GpuNeed(1), "gVisor passes no devices"),
        (IMAGE, GpuNeed(3), "2 of the 2 that this worker gives fit"),
        (IMAGE, GpuNeed(1, 0, "a100"), "model a100"),
        (IMAGE, GpuNeed(2, 16 << 30), "1 of the 2"),
        (IMAGE, GpuNeed(2, 15 << 30, ""), None),
    ],
)
def test_what_can_never_run_here_is_refused(tmp_path: Path, runtime: str, need: GpuNeed, word: str | None) -> None:
    refusal = machine(tmp_path, WorkerPolicy()).refusal(runtime, need)
    assert refusal is None if word is None else word in str(refusal)


async def test_only_what_the_owner_gives_is_leased_and_a_change_counts_at_once(tmp_path: Path) -> None:
    policies = [WorkerPolicy(gpus=(3,))]
    gpus = MachineGpus((H100, T4), lambda: policies[-1], GpuShelf(tmp_path / "locks"))
    assert gpus.given() == (T4,)
    async with gpus.lease(GpuNeed(1)) as numbers:
        assert numbers == (3,)
    policies.append(WorkerPolicy(gpus=()))
    assert gpus.given() == () and "0 of the 0" in str(gpus.refusal(IMAGE, GpuNeed(1)))


async def test_an_engine_is_told_how_many_and_a_worker_without_any_leases_none() -> None:
    gpus: Gpus = EngineGpus(T4, 4)
    assert len(gpus.given()) == 4 and gpus.refusal(IMAGE, GpuNeed(4)) is None
    assert "4 of the 4" in str(gpus.refusal(IMAGE, GpuNeed(5)))
    async with gpus.lease(GpuNeed(2)) as numbers:
        assert len(numbers) == 2
    with pytest.raises(HostFailure, match="0 of the 0"):
        async with NoGpus().lease(GpuNeed(1)):
            pass


async def test_a_lease_whose_runtime_reaches_no_processors_is_handed_back_uncomputed(
    world: World, pool: FakePool, setting: AgentSetting, tmp_path: Path
) -> None:
    setting.gpus = machine(tmp_path, WorkerPolicy())
    lease = await world.task(manifest=await world.manifest(needs=Needs(gpus=GpuNeed(1))))
    async with running(world, setting):
        await pool.send(lease)
        failed = await pool.expect(LeaseFailed)
    assert "passes no devices" in failed.reason and not pool.seen(Seal)


async def test_a_lease_that_asks_for_another_level_than_its_runtimes_is_handed_back_uncomputed(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task(manifest=await world.manifest(needs=Needs(level="vm")))
    async with running(world, setting):
        await pool.send(lease)
        failed = await pool.expect(LeaseFailed)
    assert "isolation level 'vm'" in failed.reason and not pool.seen(Seal)


async def test_jobs_that_run_side_by_side_have_processors_of_their_own_and_others_none(
    world: World, pool: FakePool, setting: AgentSetting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The world's one runtime stands for one that passes devices.
    monkeypatch.setattr("fairgrid.worker.computing.gpus.gpu_fault", lambda info: None)
    setting.gpus = machine(tmp_path, WorkerPolicy())
    side_by_side = threading.Barrier(2, timeout=30)
    given: dict[int, tuple[int, ...]] = {}

    def sees(job: SandboxJob) -> bytes:
        given[int(job.arguments[-1])] = job.gpus
        side_by_side.wait()
        return honest(job)

    setting.function = sees
    setting.options = replace(setting.options, slots=2)
    deal = await world.deal(volume=2, manifest=bag(await world.manifest(needs=Needs(gpus=GpuNeed(1))), 2))
    plain = await world.deal(volume=2, manifest=bag(await world.manifest(), 2))
    async with running(world, setting):
        for index in range(2):
            await pool.send(await world.lease(deal, index))
        await pool.expect(Seal)
        await pool.expect(Seal)
        assert sorted(given.values()) == [(0,), (3,)]
        for index in range(2):
            await pool.send(await world.lease(plain, index))
        await pool.expect(Seal)
        await pool.expect(Seal)
        assert set(given.values()) == {()}
