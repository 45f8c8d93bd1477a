"""The command line of a container, word for word where it matters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.runtime.container.commands import Plan, run_command, waiting_command
from fairgrid.runtime.container.engines import Engine, EngineKind
from fairgrid.runtime.container.gpus import gpu_variables, passing_fault
from fairgrid.runtime.interface import Limits

PODMAN = Engine(
    kind=EngineKind.PODMAN,
    program="/usr/bin/podman",
    options=("--root", "/store"),
    environment={},
    version="4.3.1",
    folder=Path("/home"),
    owns_groups=True,
    is_root=True,
)
DOCKER = replace(PODMAN, kind=EngineKind.DOCKER, program="/usr/bin/docker", options=())
PLAN = Plan(
    name="fairgrid-job-1-2-3",
    image_id="ab" * 32,
    command=("--flag", "x y"),
    limits=Limits(fuel=0, memory_bytes=100 << 20, output_bytes=10, processes=7, cpus=2),
    input_folder=Path("/w/in"),
    scratch=Path("/w/scratch"),
)


def values(command: list[str], option: str) -> list[str]:
    return [command[place + 1] for place, word in enumerate(command) if word == option]


def test_every_container_is_walled_in() -> None:
    for engine in (PODMAN, DOCKER):
        command = run_command(engine, PLAN)
        assert values(command, "--network") == ["none"] and values(command, "--cap-drop") == ["ALL"]
        assert values(command, "--user") == ["65534:65534"] and "--read-only" in command and "--rm" in command
        assert values(command, "--security-opt") == ["no-new-privileges"] and "--pull=never" in command
        assert values(command, "--pids-limit") == ["7"] and values(command, "--cpus") == ["2"]
        assert values(command, "--cgroup-parent") == ["/fairgrid/fairgrid-job-1-2-3"]
        assert int(values(command, "--memory")[0]) == int(values(command, "--memory-swap")[0]) >= 100 << 20
        assert values(command, "--volume") == [
            "/w/in:/iexec_in:ro",
            "/w/scratch/out:/iexec_out:rw",
            "/w/scratch/tmp:/tmp:rw",
            "/w/scratch/fairgrid:/.fairgrid:rw",
        ]
        assert command[-3:] == ["ab" * 32, "--flag", "x y"]
        assert not {"--privileged", "--device", "--gpus", "--runtime"} & set(command)


def test_graphics_cards_are_passed_by_number_and_only_those_that_are_leased() -> None:
    plan = replace(PLAN, gpus=(0, 2))
    assert values(run_command(PODMAN, plan), "--device") == ["nvidia.com/gpu=0", "nvidia.com/gpu=2"]
    assert values(run_command(DOCKER, plan), "--gpus") == ['"device=0,2"']


def test_inside_a_container_leased_cards_count_from_0_and_without_a_lease_there_are_none() -> None:
    for kind in EngineKind:
        assert gpu_variables((2, 5), kind=kind) == (("CUDA_VISIBLE_DEVICES", "0,1"),)
    assert dict(gpu_variables((), kind=EngineKind.PODMAN)) == {"CUDA_VISIBLE_DEVICES": ""}
    # An image for CUDA wants all of them, and docker may have been told to give what it wants.
    none = {"CUDA_VISIBLE_DEVICES": "", "NVIDIA_VISIBLE_DEVICES": "void"}
    assert dict(gpu_variables((), kind=EngineKind.DOCKER)) == none


def test_an_engine_that_was_not_told_of_the_cards_says_how_to_tell_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    folders = (tmp_path / "absent", tmp_path)
    (tmp_path / "other.json").write_text('{"kind": "vendor.com/net"}')
    assert "nvidia-ctk cdi generate" in str(passing_fault(PODMAN, folders))
    (tmp_path / "nvidia.yaml").write_text("kind: nvidia.com/gpu\n")
    assert passing_fault(PODMAN, folders) is None
    assert "--runtime=docker" in str(passing_fault(DOCKER, folders))
    assert passing_fault(replace(DOCKER, runtimes=("runc", "nvidia"))) is None


def test_a_network_is_there_only_for_a_job_that_may_and_never_the_machines_own() -> None:
    own, shared = replace(PLAN, network="ns:/proc/5/fd/7"), replace(PLAN, network="container:waits")
    assert values(run_command(PODMAN, own), "--network") == ["ns:/proc/5/fd/7"]
    assert values(run_command(PODMAN, own), "--dns") == ["none"]
    assert values(run_command(DOCKER, shared), "--network") == ["container:waits"]
    # docker refuses both beside another container's network: they are that one's.
    assert values(run_command(DOCKER, shared), "--hostname") == values(run_command(DOCKER, shared), "--dns") == []
    assert values(run_command(PODMAN, PLAN), "--network") == values(run_command(DOCKER, PLAN), "--network") == ["none"]


def test_the_container_that_holds_a_network_of_dockers_has_nothing_and_may_do_nothing() -> None:
    command = waiting_command(DOCKER, "waits", "ab" * 32)
    assert values(command, "--network") == ["none"] and values(command, "--dns") == ["127.0.0.1"]
    assert values(command, "--cap-drop") == ["ALL"] and values(command, "--user") == ["65534:65534"]
    assert "--read-only" in command and command[-1] == "ab" * 32 and values(command, "--name") == ["waits"]


def test_an_entry_point_of_several_words_replaces_the_images() -> None:
    command = run_command(DOCKER, replace(PLAN, entrypoint=("/run", "-m", "x")))
    assert values(command, "--entrypoint") == ["/run"]
    assert command[-5:] == ["ab" * 32, "-m", "x", "--flag", "x y"]


def test_volumes_of_an_image_are_small_and_gone_with_the_container() -> None:
    assert values(run_command(DOCKER, replace(PLAN, volumes=("/data",))), "--tmpfs") == [
        "/data:rw,nosuid,nodev,size=16777216"
    ]


def test_a_containers_group_is_made_in_the_one_that_was_delegated_to_the_worker() -> None:
    own = replace(PODMAN, is_root=False, group_parent=Path("/sys/fs/cgroup/user.slice/worker.service"))
    assert values(run_command(own, PLAN), "--cgroup-parent") == ["/user.slice/worker.service/" + PLAN.name]
    assert values(run_command(PODMAN, PLAN), "--cgroup-parent") == ["/fairgrid/" + PLAN.name]
    assert values(run_command(replace(PODMAN, owns_groups=False), PLAN), "--cgroup-parent") == []


def test_without_root_the_jobs_user_is_the_workers_own_outside() -> None:
    command = run_command(replace(PODMAN, is_root=False, owns_groups=False), PLAN)
    assert "--userns=keep-id:uid=65534,gid=65534" in command and "--cgroup-parent" not in command
    assert values(command, "--memory") == [str(100 << 20)]


def test_gvisors_own_threads_do_not_count_as_the_jobs_processes() -> None:
    command = run_command(PODMAN, replace(PLAN, is_gvisor=True, runtime="/w/runsc-ptrace"))
    assert values(command, "--runtime") == ["/w/runsc-ptrace"] and int(values(command, "--pids-limit")[0]) > 1000
