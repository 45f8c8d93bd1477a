"""Graphics processors of a machine that is only described: who may pass them on, who has which, and what is refused."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure
from fairgrid.protocol.needs import GpuNeed
from fairgrid.runtime.engines.node import gpu_lines
from fairgrid.runtime.gpus import GpuDevice, GpuShelf, devices_in, devices_of_process, fitting, gpus_given

TELLS = """\
0, GPU-aaaa-1, NVIDIA H100 80GB HBM3, 81559, Disabled
1, GPU-bbbb-2, NVIDIA H100 80GB HBM3, 81559, Enabled
2, GPU-cccc-3, Tesla T4, 15360, [N/A]
"""
H100 = GpuDevice(0, "GPU-aaaa-1", "NVIDIA H100 80GB HBM3", 81_559 << 20)
T4 = GpuDevice(2, "GPU-cccc-3", "Tesla T4", 15_360 << 20)
BOTH = (H100, T4)
ONE = GpuNeed(1)


def test_processors_are_read_and_one_that_is_cut_into_slices_is_left_out() -> None:
    assert devices_in(TELLS) == BOTH


@pytest.mark.parametrize("text", ["", "no devices were found", "0, GPU-a, T4, [N/A], Disabled", "NVIDIA H100, 81559"])
def test_what_is_no_list_of_processors_is_none(text: str) -> None:
    assert devices_in(text) == ()


def test_a_machine_is_asked_through_nvidias_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    fields = "--query-gpu=index,uuid,name,memory.total,mig.mode.current"
    tool.write_text(f'#!/bin/sh\n[ "$1" = "{fields}" ] && cat {tmp_path}/tells\n')
    tool.chmod(0o755)
    (tmp_path / "tells").write_text(TELLS)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert devices_in(gpu_lines()) == BOTH
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert gpu_lines() == ""


def test_a_need_fits_by_memory_of_each_and_by_a_part_of_the_models_name() -> None:
    assert fitting(BOTH, GpuNeed(1, 16 << 30)) == (H100,)
    assert fitting(BOTH, GpuNeed(1, 0, "t4")) == (T4,)
    assert fitting(BOTH, GpuNeed(1, 48 << 30), jobs_each=2) == ()


async def test_two_jobs_never_have_the_same_processor_and_the_third_waits_for_one(tmp_path: Path) -> None:
    shelf, other = GpuShelf(tmp_path / "locks"), GpuShelf(tmp_path / "locks")
    async with shelf.lease(BOTH, ONE) as first:
        async with other.lease(BOTH, ONE) as second:
            assert (first, second) == ((0,), (2,))
            with pytest.raises(HostFailure, match="other jobs had them"):
                async with shelf.lease(BOTH, ONE, wait_s=0.0):
                    pass
            waiting = asyncio.ensure_future(held(shelf, ONE))
            await asyncio.sleep(0.05)
            assert not waiting.done()
        assert await waiting == (2,)


async def held(shelf: GpuShelf, need: GpuNeed) -> tuple[int, ...]:
    async with shelf.lease(BOTH, need) as numbers:
        return numbers


async def test_jobs_share_a_processor_only_where_the_owner_says_so_and_the_free_one_comes_first(tmp_path: Path) -> None:
    shelf = GpuShelf(tmp_path)
    tmp_path.chmod(0o700)
    async with (
        shelf.lease(BOTH, ONE, jobs_each=2) as first,
        shelf.lease(BOTH, ONE, jobs_each=2) as second,
        shelf.lease(BOTH, GpuNeed(2), jobs_each=2) as third,
    ):
        assert (first, second, third) == ((0,), (2,), (0, 2))
        with pytest.raises(HostFailure, match="other jobs had them"):
            async with shelf.lease(BOTH, ONE, jobs_each=2, wait_s=0.0):
                pass


async def test_a_job_that_wants_more_than_there_are_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(HostFailure, match=r"3 graphics processor\(s\); 2 of the 2"):
        async with GpuShelf(tmp_path / "locks").lease(BOTH, GpuNeed(3)):
            pass


def test_a_process_that_is_killed_gives_its_processor_back(tmp_path: Path) -> None:
    shelf = GpuShelf(tmp_path / "locks")
    text = f"""
import time
from pathlib import Path
from fairgrid.protocol.needs import GpuNeed
from fairgrid.runtime.gpus import GpuDevice, GpuShelf
with GpuShelf(Path({str(tmp_path / "locks")!r})).lease_blocking([GpuDevice(0, "", "", 0)], GpuNeed(1)):
    print("held", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        try:
            with pytest.raises(HostFailure, match="other jobs had them"):
                with shelf.lease_blocking((H100,), ONE, wait_s=0.0):
                    pass
        finally:
            process.kill()
        process.wait()
        with shelf.lease_blocking((H100,), ONE, wait_s=0.0) as numbers:
            assert numbers == (0,)


async def test_locks_in_a_folder_that_others_may_write_to_mean_nothing(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks").chmod(0o777)
    with pytest.raises(HostFailure, match="this user alone"):
        async with GpuShelf(tmp_path / "locks").lease(BOTH, ONE):
            pass


@pytest.mark.parametrize(
    ("environment", "numbers"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_GPUS": "2"}, (2,)),
        ({"CUDA_VISIBLE_DEVICES": "2,0"}, (2, 0)),
        ({"CUDA_VISIBLE_DEVICES": "GPU-cccc"}, (2,)),
        ({"NVIDIA_VISIBLE_DEVICES": "GPU-aaaa-1"}, (0,)),
        ({"CUDA_VISIBLE_DEVICES": "GPU-"}, None),
        ({"CUDA_VISIBLE_DEVICES": "MIG-1"}, None),
        ({"NVIDIA_VISIBLE_DEVICES": "all"}, None),
        ({"CUDA_VISIBLE_DEVICES": ""}, None),
        ({}, None),
    ],
)
def test_the_processors_that_an_engine_gave_are_told_by_the_drivers_numbers_or_not_at_all(
    environment: dict[str, str], numbers: tuple[int, ...] | None
) -> None:
    assert gpus_given(environment, BOTH) == numbers


def test_a_process_may_use_what_its_environment_names_and_all_where_it_names_none() -> None:
    assert devices_of_process({}, BOTH) == BOTH
    assert devices_of_process({"CUDA_VISIBLE_DEVICES": "2"}, BOTH) == (T4,)
    assert devices_of_process({"CUDA_VISIBLE_DEVICES": ""}, BOTH) == ()
