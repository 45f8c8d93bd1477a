"""Groups below the own one: both versions on a made-up tree, and names that say whose a group is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fairgrid.runtime.cgroups.files import remove_stale
from fairgrid.runtime.cgroups.interface import Caps
from fairgrid.runtime.cgroups.names import numbered_name
from fairgrid.runtime.cgroups.own import OwnGroupsV2, find_v1, find_v2

CAPS = Caps(memory_bytes=64 << 20, processes=17, cpus=2)


def test_a_group_of_version_2_gets_its_limits_and_is_read(tmp_path: Path) -> None:
    group = OwnGroupsV2(tmp_path).new_group("fairgrid-1-1-1", CAPS)
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
    # An older kernel keeps no peak: the largest that was seen counts.
    for current, peak in ((8192, 8192), (2048, 8192)):
        (folder / "memory.current").write_text(f"{current}\n")
        assert group.read().peak_memory_bytes == peak
    (folder / "cgroup.procs").write_text("1\n22\n")
    assert group.pids() == {1, 22}
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
    gone, mine, others = (
        tmp_path / f"fairgrid-{ended.stdout.strip()}-1-0",
        tmp_path / numbered_name(0),
        tmp_path / "other",
    )
    for folder in (gone, mine, others):
        folder.mkdir()
    remove_stale(tmp_path)
    assert not gone.exists() and mine.exists() and others.exists()
