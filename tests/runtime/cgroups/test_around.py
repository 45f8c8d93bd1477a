"""Meters of cgroups: both versions on folders as the kernel shows them, version 1 on the real ones as well."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.cgroups.around import GroupVersion, group_around, group_version, remove_groups, sweep_groups
from fairgrid.runtime.cgroups.interface import Reading
from fairgrid.runtime.cgroups.names import CONTAINER_PREFIX, is_left_over, next_number, numbered_name
from fairgrid.runtime.container.sampled import folders_of
from tests.needs import need


def version_2(tmp_path: Path) -> Path:
    root = tmp_path / "cgroup"
    (root / "fairgrid").mkdir(parents=True)
    (root / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids\n")
    return root


def test_the_version_is_told_by_which_one_limits_memory(tmp_path: Path) -> None:
    assert group_version(version_2(tmp_path)) is GroupVersion.V2
    hybrid = tmp_path / "hybrid"
    (hybrid / "memory").mkdir(parents=True)
    (hybrid / "memory" / "cgroup.procs").write_text("")
    assert group_version(hybrid) is GroupVersion.V1
    assert group_version(tmp_path / "none") is None


def test_version_2_sets_limits_and_reads_what_the_kernel_counts(tmp_path: Path) -> None:
    root = version_2(tmp_path)
    group = group_around("job", 1 << 20, root=root)
    folder = root / "fairgrid" / "job"
    assert (folder / "memory.max").read_text() == "1048576" and (folder / "memory.swap.max").read_text() == "0"
    for above in (root, root / "fairgrid", folder):
        assert (above / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    (folder / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\nsystem_usec 2\n")
    (folder / "memory.current").write_text("500\n")
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 0\noom_kill 0\n")
    assert group.read() == Reading(1.5, 500, False)
    (folder / "memory.peak").write_text("700\n")
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n")
    assert group.read() == Reading(1.5, 700, True)
    group.suspend()
    assert (folder / "cgroup.freeze").read_text() == "1"
    (folder / "cgroup.kill").write_text("")
    group.kill()
    assert ((folder / "cgroup.kill").read_text(), (folder / "cgroup.freeze").read_text()) == ("1", "0")


def test_a_cgroup_that_cannot_be_made_is_a_failure_of_this_machine(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    root.mkdir()
    (root / "cgroup.controllers").write_text("cpu memory pids")
    (root / "fairgrid").write_text("a file in the way")
    with pytest.raises(HostFailure, match="cannot be made"):
        group_around("job", 1 << 20, root=tmp_path / "cgroup")


def test_version_1_meters_freezes_strikes_and_kills_real_processes() -> None:
    need(os.geteuid() == 0 and group_version() is GroupVersion.V1, "this needs root and cgroup v1")
    name = numbered_name(next_number(), prefix=CONTAINER_PREFIX)
    group = group_around(name, 32 << 20)
    try:
        move = "".join(
            f"echo $$ > /sys/fs/cgroup/{tree}/fairgrid/{name}/cgroup.procs;"
            for tree in ("cpuacct", "memory", "freezer")
        )
        with subprocess.Popen(["sh", "-c", f"{move} while :; do :; done"]) as busy:
            while group.read().cpu_s < 0.2:
                time.sleep(0.02)
            group.suspend()
            time.sleep(0.1)
            before = group.read().cpu_s
            time.sleep(0.3)
            assert group.read().cpu_s - before < 0.05 and busy.pid in group.pids()
            group.kill()
            assert busy.wait(10) == -9
        assert not group.read().out_of_memory
        greedy = subprocess.run(["sh", "-c", f"{move} x=aaaaaaaa; while :; do x=$x$x; done"], check=False, timeout=30)
        assert greedy.returncode == -9 and group.read().out_of_memory
        assert group.read().peak_memory_bytes == 32 << 20
    finally:
        group.remove()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/fairgrid/{name}"))
    assert remove_groups(name)


def test_names_say_whether_their_process_still_lives() -> None:
    mine, other = numbered_name(1), numbered_name(1, prefix=CONTAINER_PREFIX)
    assert not is_left_over(mine) and not is_left_over(other) and next_number() != next_number()
    assert is_left_over("fairgrid-1-1-1")
    assert is_left_over("fairgrid-job-1-1-1")
    assert not is_left_over("postgres") and not is_left_over("fairgrid-job-x-1-1")


def test_folders_of_a_process_are_found_under_both_versions(tmp_path: Path) -> None:
    text = "5:memory:/a/b\n4:cpu,cpuacct:/c\n0::/d\n"
    assert folders_of(text, tmp_path) == {
        "memory": tmp_path / "memory/a/b",
        "cpu": tmp_path / "cpu/c",
        "cpuacct": tmp_path / "cpuacct/c",
    }
    assert folders_of("0::/user.slice/x\n", version_2(tmp_path)) == {"": tmp_path / "cgroup/user.slice/x"}


def test_groups_of_makers_that_are_gone_are_swept_in_every_tree_with_what_runs_in_them(tmp_path: Path) -> None:
    gone, mine = "fairgrid-job-1-1-1", numbered_name(next_number(), prefix=CONTAINER_PREFIX)
    for tree in ("memory", "pids"):
        for name in (gone, mine, "others"):
            (tmp_path / tree / "fairgrid" / name / "inside").mkdir(parents=True)
    sweep_groups(root=tmp_path)
    for tree in ("memory", "pids"):
        assert sorted(path.name for path in (tmp_path / tree / "fairgrid").iterdir()) == sorted((mine, "others"))
