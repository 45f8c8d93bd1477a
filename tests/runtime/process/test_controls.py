"""Cgroups of both versions on a made-up tree, `/proc` on the real one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairgrid.runtime.process.cgroup_v1 import find_v1
from fairgrid.runtime.process.cgroup_v2 import CgroupV2, find_v2
from fairgrid.runtime.process.controls import Caps, group_name, remove_stale
from fairgrid.runtime.process.process_tree import ProcessTrees, below

CAPS = Caps(memory_bytes=64 << 20, processes=17, cpus=2)


def test_a_group_of_version_2_gets_its_limits_and_is_read(tmp_path: Path) -> None:
    group = CgroupV2(tmp_path).new_group("fairgrid-1-1-1", CAPS)
    folder = tmp_path / "fairgrid-1-1-1"
    assert (folder / "memory.max").read_text() == str(64 << 20)
    assert (folder / "memory.swap.max").read_text() == "0"
    assert (folder / "memory.oom.group").read_text() == "1"
    assert (folder / "pids.max").read_text() == "17"
    assert (folder / "cpu.max").read_text() == "200000 100000"
    (folder / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1000000\n")
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 1\noom_kill 0\n")
    (folder / "memory.peak").write_text("4096\n")
    (folder / "pids.events").write_text("max 3\n")
    reading = group.read()
    assert (reading.cpu_s, reading.peak_memory_bytes, reading.refused_processes) == (1.5, 4096, 3)
    assert not reading.out_of_memory
    (folder / "memory.events").write_text("oom 1\noom_kill 2\n")
    assert group.read().out_of_memory
    (folder / "memory.peak").unlink()
    (folder / "memory.current").write_text("2048\n")
    assert group.read().peak_memory_bytes == 2048
    (folder / "cgroup.procs").write_text("1\n22\n")
    assert group.pids() == [1, 22]
    (folder / "cgroup.procs").unlink()
    group.add(4711)
    assert (folder / "cgroup.procs").read_text() == "4711"
    group.suspend()
    assert (folder / "cgroup.freeze").read_text() == "1"
    group.resume()
    assert (folder / "cgroup.freeze").read_text() == "0"
    (folder / "cgroup.kill").write_text("")
    group.kill()
    assert (folder / "cgroup.kill").read_text() == "1"


def test_version_2_is_used_below_the_own_group_if_its_controllers_can_be_passed_on(tmp_path: Path) -> None:
    own = tmp_path / "user.slice" / "me"
    own.mkdir(parents=True)
    mounts = f"cgroup2 {tmp_path} cgroup2 rw 0 0\n"
    (own / "cgroup.controllers").write_text("cpuset cpu io memory pids")
    (own / "cgroup.subtree_control").write_text("")
    (own / "cgroup.procs").write_text(f"{os.getpid()}\n")
    assert find_v2(mounts, "0::/user.slice/me\n") is not None
    assert (own / "fairgrid-agent" / "cgroup.procs").read_text() == str(os.getpid())
    assert (own / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    # Started again it is in the group that it made.
    (own / "cgroup.subtree_control").write_text("cpu memory pids")
    assert find_v2(mounts, "0::/user.slice/me/fairgrid-agent\n") is not None


@pytest.mark.parametrize("controllers", ["", "hugetlb", "cpu memory"])
def test_version_2_without_the_controllers_is_not_used(tmp_path: Path, controllers: str) -> None:
    (tmp_path / "cgroup.controllers").write_text(controllers)
    (tmp_path / "cgroup.subtree_control").write_text("")
    assert find_v2(f"cgroup2 {tmp_path} cgroup2 rw 0 0\n", "0::/\n") is None


def test_without_any_mount_there_is_no_version() -> None:
    assert find_v2("", "0::/\n") is None
    assert find_v1("", "4:memory:/\n") is None


def test_a_group_of_version_1_gets_its_limits_and_is_read(tmp_path: Path) -> None:
    mounts, own = "", ""
    for number, name in enumerate(("memory", "pids", "cpuacct", "cpu", "freezer")):
        (tmp_path / name / "here").mkdir(parents=True)
        mounts += f"cgroup {tmp_path / name} cgroup rw,{name} 0 0\n"
        own += f"{number}:{name}:/here\n"
    controls = find_v1(mounts, own)
    assert controls is not None
    assert controls.summary == "cgroups v1 (cpu, cpuacct, freezer, memory, pids)"
    group = controls.new_group("fairgrid-1-1-1", CAPS)
    places = {name: tmp_path / name / "here" / "fairgrid-1-1-1" for name in ("memory", "pids", "cpuacct", "cpu")}
    assert (places["memory"] / "memory.limit_in_bytes").read_text() == str(64 << 20)
    assert (places["pids"] / "pids.max").read_text() == "17"
    assert (places["cpu"] / "cpu.cfs_quota_us").read_text() == "200000"
    (places["cpuacct"] / "cpuacct.usage").write_text("2500000000\n")
    (places["memory"] / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    (places["memory"] / "memory.max_usage_in_bytes").write_text("12345\n")
    reading = group.read()
    assert (reading.cpu_s, reading.peak_memory_bytes, reading.out_of_memory) == (2.5, 12345, True)


def test_version_1_without_its_memory_controller_is_not_used(tmp_path: Path) -> None:
    mounts, own = "", ""
    for number, name in enumerate(("pids", "cpuacct")):
        (tmp_path / name).mkdir()
        mounts += f"cgroup {tmp_path / name} cgroup rw,{name} 0 0\n"
        own += f"{number}:{name}:/\n"
    assert find_v1(mounts, own) is None


def test_groups_of_makers_that_are_gone_are_removed_and_those_of_the_living_kept(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    gone, mine, others = tmp_path / f"fairgrid-{ended.stdout.strip()}-1-0", tmp_path / group_name(0), tmp_path / "other"
    for folder in (gone, mine, others):
        folder.mkdir()
    remove_stale(tmp_path)
    assert not gone.exists() and mine.exists() and others.exists()


@pytest.fixture
def family() -> Iterator[subprocess.Popen[str]]:
    """A process with a child that keeps 40 MiB."""
    child = "b = bytearray(40 << 20); print('ready', flush=True); import time; time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
    finally:
        for pid in below(process.pid):
            os.kill(pid, 9)
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_without_cgroups_the_whole_family_is_metered_stopped_and_found(family: subprocess.Popen[str]) -> None:
    group = ProcessTrees().new_group("any", Caps(20 << 20, 10, 1))
    group.add(family.pid)
    assert len(group.pids()) == 2
    reading = group.read()
    assert reading.peak_memory_bytes > 40 << 20 and reading.out_of_memory and reading.cpu_s > 0
    group.suspend()
    while [state_of(pid) for pid in group.pids()] != ["T", "T"]:
        time.sleep(0.01)
    group.resume()
    group.kill()
    assert family.wait(10) == -9
    group.remove()
    assert group.pids() == []
