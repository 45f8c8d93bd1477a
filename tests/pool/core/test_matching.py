"""Rules of matching: each holds where it should, fails where it should, and says what would change it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairgrid.pool.core.matching import Requirements, explain, first_obstacle, suits
from fairgrid.protocol.machine import Gpu, Machine
from fairgrid.protocol.needs import Alike, GpuNeed, Needs, machine_class

GIB = 1 << 30
BIG = Machine(
    cpus=8,
    memory_bytes=32 * GIB,
    disk_bytes=100 * GIB,
    gpus=(Gpu("NVIDIA H100", 80 * GIB), Gpu("NVIDIA T4", 16 * GIB)),
    os="linux",
    arch="x86_64",
    cpu_family="AuthenticAMD-25",
    runtimes=("wasmtime-49/py312/deterministic",),
    levels=("wasm", "container"),
    labels=("eu", "ssd"),
    tee=("tdx",),
)
SMALL = Machine(cpus=1, memory_bytes=2 * GIB, disk_bytes=GIB, os="linux", arch="aarch64", levels=("wasm",))

FITS_BIG_ONLY = [
    Needs(cpus=2),
    Needs(memory_bytes=16 * GIB),
    Needs(disk_bytes=50 * GIB),
    Needs(gpus=GpuNeed(1)),
    Needs(gpus=GpuNeed(2, 8 * GIB)),
    Needs(gpus=GpuNeed(1, 80 * GIB, "h100")),
    Needs(os=("macos", "linux"), arch=("x86_64",)),
    Needs(level="container"),
    Needs(labels=("eu", "ssd")),
    Needs(tee=("sgx", "tdx")),
    Needs(alike=Alike.PROCESSOR),
]


@pytest.mark.parametrize("needs", FITS_BIG_ONLY, ids=lambda needs: next(iter(needs.to_wire())))
def test_each_need_admits_the_machine_that_has_it_and_no_other(needs: Needs) -> None:
    wanted = Requirements(needs=needs)
    assert suits(wanted, BIG)
    for lacking in (SMALL, Machine(), None):
        obstacle = first_obstacle(wanted, lacking)
        assert obstacle is not None and not obstacle.holds
        assert obstacle.wanted and obstacle.offered and obstacle.remedy


@pytest.mark.parametrize(
    "needs",
    [
        Needs(cpus=9),
        Needs(memory_bytes=33 * GIB),
        Needs(gpus=GpuNeed(3)),
        Needs(gpus=GpuNeed(2, 17 * GIB)),
        Needs(gpus=GpuNeed(1, 0, "a100")),
        Needs(os=("windows",)),
        Needs(level="vm"),
        Needs(labels=("eu", "us")),
        Needs(tee=("sev-snp",)),
    ],
)
def test_what_even_the_big_machine_lacks_is_refused(needs: Needs) -> None:
    assert not suits(Requirements(needs=needs), BIG)


def test_a_worker_that_claims_nothing_gets_ordinary_jobs() -> None:
    wanted = Requirements(runtime="wasmtime-49/py312/deterministic", memory_limit_bytes=GIB)
    assert suits(wanted, None)
    assert suits(wanted, Machine())


def test_the_jobs_own_memory_limit_counts_against_what_the_machine_gives() -> None:
    assert suits(Requirements(memory_limit_bytes=2 * GIB), SMALL, slots=8)
    obstacle = first_obstacle(Requirements(memory_limit_bytes=3 * GIB), SMALL)
    assert obstacle is not None
    assert (obstacle.rule, obstacle.wanted, obstacle.offered) == ("memory", "at least 3 GiB", "2 GiB free")


def test_an_installed_runtime_is_needed_where_runtimes_are_named() -> None:
    wanted = Requirements(runtime="other-1/x/y")
    assert not suits(wanted, BIG)
    assert not suits(wanted, None, runtimes=("wasmtime-49/py312/deterministic",))
    assert suits(wanted, None, runtimes=("other-1/x/y",))


def test_what_other_tasks_of_the_machine_take_is_not_given_twice() -> None:
    gpu = Requirements(needs=Needs(gpus=GpuNeed(1)))
    assert suits(gpu, BIG, taken=[gpu])
    assert not suits(gpu, BIG, taken=[gpu, gpu])
    cpus = Requirements(needs=Needs(cpus=6))
    assert suits(cpus, BIG, taken=[Requirements(), Requirements()])
    assert not suits(cpus, BIG, taken=[Requirements()] * 3)
    memory = Requirements(needs=Needs(memory_bytes=20 * GIB))
    assert suits(memory, BIG, taken=[Requirements(memory_limit_bytes=12 * GIB)])
    assert not suits(memory, BIG, taken=[memory])


def test_a_pools_label_for_an_app_is_asked_beside_the_jobs_own() -> None:
    wanted = Requirements(needs=Needs(labels=("eu",)), labels=("gold",))
    obstacle = first_obstacle(wanted, BIG)
    assert obstacle is not None and obstacle.wanted == "eu, gold" and "add gold" in obstacle.remedy
    assert suits(wanted, replace(BIG, labels=("eu", "gold")))


def test_replicas_of_one_task_run_on_one_class_of_machines() -> None:
    wanted = Requirements(needs=Needs(alike=Alike.SYSTEM))
    chosen = machine_class(BIG, Alike.SYSTEM)
    assert chosen == "linux/x86_64"
    assert suits(wanted, replace(BIG, cpu_family="other"), task_class=chosen)
    assert not suits(wanted, SMALL, task_class=chosen)
    finer = Requirements(needs=Needs(alike=Alike.PROCESSOR))
    assert not suits(finer, replace(BIG, cpu_family="other"), task_class=machine_class(BIG, Alike.PROCESSOR))
    assert machine_class(replace(BIG, cpu_family=""), Alike.PROCESSOR) is None
    assert machine_class(None, Alike.ANY) == ""


def test_every_rule_that_is_asked_is_explained_and_no_other() -> None:
    assert explain(Requirements(), BIG) == ()
    wanted = Requirements(needs=Needs(cpus=9, labels=("eu",)), memory_limit_bytes=GIB)
    told = {result.rule: result.holds for result in explain(wanted, BIG)}
    assert told == {"labels": True, "processors": False, "memory": True}


NETWORKED = replace(BIG, network=("*", "data.example.org:8443"), network_runtimes=("process/linux-x86_64",))


def networked(*hosts: str, runtime: str = "process/linux-x86_64") -> Requirements:
    return Requirements(needs=Needs(network=hosts), runtime=runtime)


def test_a_task_that_needs_the_network_goes_only_to_machines_whose_owner_gives_it_all_of_that() -> None:
    machine = replace(NETWORKED, runtimes=("process/linux-x86_64",))
    assert suits(networked("example.org"), machine)
    assert suits(networked("data.example.org:8443", "*"), machine)
    assert suits(networked(), replace(machine, network=None, network_runtimes=None))
    for needy in (networked("example.org:22"), networked("*:8443"), networked("a.org", "data.example.org:8444")):
        assert not suits(needy, machine)


@pytest.mark.parametrize("machine", [None, Machine(), replace(BIG, runtimes=("process/linux-x86_64",))])
def test_a_task_that_needs_the_network_never_goes_to_a_machine_that_says_nothing_of_it(machine: Machine | None) -> None:
    obstacle = first_obstacle(networked("example.org"), machine)
    assert obstacle is not None
    assert (obstacle.rule, obstacle.wanted, obstacle.offered) == ("network", "example.org", "none")
    assert "allow_network = true" in obstacle.remedy


def test_the_network_is_given_by_runtimes_that_can_and_by_no_other() -> None:
    wasm = "wasmtime-49/py312/deterministic"
    machine = replace(NETWORKED, runtimes=(wasm, "process/linux-x86_64"))
    obstacle = first_obstacle(networked("example.org", runtime=wasm), machine)
    assert obstacle is not None and obstacle.rule == "network"
    image = "oci/linux-x86_64"
    able = replace(machine, runtimes=(*machine.runtimes, image))
    obstacle = first_obstacle(networked("example.org", runtime=image), able)
    assert obstacle is not None and obstacle.rule == "network"
    assert obstacle.offered == "*, data.example.org:8443 in process/linux-x86_64"
    assert "worker doctor" in obstacle.remedy
    assert not suits(networked("example.org", runtime=""), machine), (
        "a runtime that is not known is no runtime that can"
    )


EVERY = Machine(
    cpus=8,
    memory_bytes=32 * GIB,
    gpus=(Gpu("NVIDIA H100", 80 * GIB),),
    levels=("wasm", "process", "container", "vm"),
    network=("*",),
    # What an honest worker would never claim.
    network_runtimes=("wasmtime-49/py312/deterministic", "process/linux-x86_64", "oci/linux-x86_64", "vm/x86_64"),
)


@pytest.mark.parametrize(
    ("runtime", "needs", "rule"),
    [
        ("wasmtime-49/py312/deterministic", Needs(gpus=GpuNeed(1)), "graphics processors"),
        ("process/linux-x86_64", Needs(gpus=GpuNeed(1)), "graphics processors"),
        ("oci-gvisor/linux-x86_64", Needs(gpus=GpuNeed(1)), "graphics processors"),
        ("vm/x86_64", Needs(gpus=GpuNeed(1)), "graphics processors"),
        ("wasmtime-49/py312/deterministic", Needs(network=("a.org",)), "network"),
        ("vm/x86_64", Needs(network=("a.org",)), "network"),
        ("process/linux-x86_64", Needs(level="vm"), "isolation level"),
    ],
)
def test_what_a_runtime_can_never_give_no_machine_gives_whatever_it_claims(
    runtime: str, needs: Needs, rule: str
) -> None:
    obstacle = first_obstacle(Requirements(needs=needs, runtime=runtime), EVERY)
    assert obstacle is not None
    assert (obstacle.rule, obstacle.offered) == (rule, "never") and runtime in obstacle.wanted
    assert runtime in obstacle.remedy


@pytest.mark.parametrize(
    ("runtime", "needs"),
    [
        ("oci/linux-x86_64", Needs(gpus=GpuNeed(1), network=("a.org",), level="container")),
        ("process/linux-x86_64", Needs(network=("a.org",), level="process")),
        ("vm/x86_64", Needs(level="vm")),
    ],
)
def test_what_a_runtime_can_give_is_given_by_a_machine_that_has_it(runtime: str, needs: Needs) -> None:
    assert suits(Requirements(needs=needs, runtime=runtime), EVERY)


def test_hosts_that_are_missing_are_named_with_what_is_allowed() -> None:
    (told,) = [rule for rule in explain(networked("a.org", "b.org:22"), NETWORKED) if rule.rule == "network"]
    assert not told.holds
    assert (told.wanted, told.offered) == ("a.org, b.org:22", "*, data.example.org:8443")
    assert told.remedy == "add b.org:22 to network_hosts in policy.toml"
