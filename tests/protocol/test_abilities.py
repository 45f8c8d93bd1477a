"""What a runtime can never give: the same answer for client, pool and worker, and for every runtime that there is."""

from __future__ import annotations

import pytest

from fairgrid.protocol.abilities import gpu_fault, level_fault, level_of_runtime, needs_fault, network_fault
from fairgrid.protocol.app_types import Level
from fairgrid.protocol.needs import NO_NEEDS, GpuNeed, Needs
from fairgrid.runtime.catalogue import CATALOGUE


def test_the_level_of_every_known_runtime_is_told_by_its_id_alone() -> None:
    assert {name: level_of_runtime(name) for name in CATALOGUE} == {n: info.level for n, info in CATALOGUE.items()}
    assert {info.level for info in CATALOGUE.values()} == set(Level)


@pytest.mark.parametrize("unknown", ["", "wasmtime", "oci", "next-1/engine", "vmx/x86_64"])
def test_what_is_not_known_is_held_against_nobody(unknown: str) -> None:
    needy = Needs(gpus=GpuNeed(1), network=("*",), level="vm")
    assert level_of_runtime(unknown) is None
    assert needs_fault(unknown, needy) is None


def test_only_images_without_gvisor_reach_processors_and_the_others_say_why() -> None:
    assert {name for name in CATALOGUE if gpu_fault(name) is None} == {"oci/linux-x86_64", "oci/linux-aarch64"}
    assert "gVisor passes no devices" in str(gpu_fault("oci-gvisor/linux-x86_64"))
    assert "level wasm passes no devices" in str(gpu_fault("wasmtime-49/py312/deterministic"))


def test_only_native_programs_and_images_reach_hosts_and_the_others_say_what_to_do() -> None:
    able = {CATALOGUE[name].level for name in CATALOGUE if network_fault(name, ("a.org",)) is None}
    assert able == {Level.PROCESS, Level.CONTAINER}
    assert "Give the data as inputs" in str(network_fault("vm/x86_64", ("a.org",)))
    assert network_fault("vm/x86_64", ()) is None


def test_a_level_that_is_not_the_runtimes_own_is_a_contradiction() -> None:
    fault = str(level_fault("wasmtime-49/py312/deterministic", "vm"))
    assert "'vm'" in fault and "'wasm'" in fault
    assert level_fault("vm/x86_64", "vm") is None and level_fault("vm/x86_64", "") is None


def test_one_impossible_need_is_enough() -> None:
    assert needs_fault("oci/linux-x86_64", Needs(gpus=GpuNeed(1), network=("a.org",), level="container")) is None
    assert needs_fault("vm/x86_64", NO_NEEDS) is None
    for needs in (Needs(gpus=GpuNeed(1)), Needs(network=("a.org",)), Needs(level="wasm")):
        assert needs_fault("vm/x86_64", needs) is not None
