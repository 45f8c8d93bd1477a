"""Requirements, networks and classes of machines in the scheduler: who lacks something gets no lease."""

from __future__ import annotations

from dataclasses import replace

from fairgrid.pool.core.instructions import SendLease
from fairgrid.pool.core.matching import Requirements
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.why import why
from fairgrid.protocol.machine import Gpu, Machine
from fairgrid.protocol.needs import Alike, GpuNeed, Needs
from tests.pool.fakes import Fake
from tests.pool.support import World

GIB = 1 << 30
GPU_JOB = Requirements(needs=Needs(gpus=GpuNeed(1, 16 * GIB)))


def machine(**fields: object) -> Machine:
    return Machine(cpus=4, memory_bytes=8 * GIB, os="linux", arch="x86_64", **fields)  # type: ignore[arg-type]


def with_machine(name: str, claimed: Machine | None, **fields: int) -> Fake:
    return Fake(name, owner=name, machine=claimed, **fields)  # type: ignore[arg-type]


def test_a_gpu_task_never_goes_to_a_machine_without_and_waits_for_one_that_has() -> None:
    plain, unsaid = with_machine("plain", machine()), with_machine("unsaid", None)
    small = with_machine("small", machine(gpus=(Gpu("T4", 8 * GIB),)))
    world = World([plain, unsaid, small])
    task = world.deal(1, requirements=GPU_JOB)
    for _ in range(5):
        world.run()
        world.tick(31)
    assert not world.given(SendLease)
    able = with_machine("able", machine(gpus=(Gpu("H100", 80 * GIB),)))
    world.fakes[able.address] = able
    world.join(able)
    world.run()
    assert [lease.worker for lease in world.given(SendLease)] == [able.address]
    assert world.machine.tasks[task].phase is not Phase.SEALING


def test_a_gpu_task_in_a_runtime_that_passes_none_is_leased_to_nobody_and_its_twin_in_an_image_is() -> None:
    able = with_machine("able", machine(gpus=(Gpu("H100", 80 * GIB),), levels=("wasm", "container")))
    world = World([able])
    script = world.deal(1, name="script", requirements=replace(GPU_JOB, runtime="wasmtime-49/py312/deterministic"))
    for _ in range(5):
        world.run()
        world.tick(31)
    assert not world.given(SendLease)
    told = {
        reason.rule: reason
        for reason in why(world.machine.workers[able.address], [world.machine.tasks[script]]).reasons
    }
    assert not told["machine"].allowed and "passes no devices" in told["machine"].text
    image = world.deal(1, name="image", requirements=replace(GPU_JOB, runtime="oci/linux-x86_64"))
    assert world.run_until_final(image).phase is Phase.COMPLETED
    assert {lease.task_id for lease in world.given(SendLease)} == {image}


def test_one_gpu_is_not_leased_to_two_tasks_at_once() -> None:
    able = with_machine("able", machine(gpus=(Gpu("H100", 80 * GIB),)), slots=4)
    able.seals = False
    world = World([able])
    world.deal(1, bot_size=3, requirements=GPU_JOB)
    world.run()
    (first,) = world.given(SendLease)
    world.seal(able, first)
    world.run()
    world.tick(1)
    assert len(world.given(SendLease)) == 2, "the next one, once the first is computed"


def test_ordinary_tasks_go_to_a_worker_that_claims_nothing() -> None:
    world = World([with_machine("unsaid", None)])
    task = world.deal(1, requirements=Requirements(memory_limit_bytes=GIB))
    assert world.run_until_final(task).phase is Phase.COMPLETED


def test_replicas_of_one_task_run_on_one_class_of_machines() -> None:
    arm = [with_machine(f"arm{number}", Machine(os="linux", arch="aarch64")) for number in range(3)]
    intel = [with_machine(f"intel{number}", Machine(os="linux", arch="x86_64")) for number in range(3)]
    world = World([fake for pair in zip(arm, intel, strict=True) for fake in pair])
    alike = Requirements(needs=Needs(alike=Alike.SYSTEM))
    for number in range(5):
        task = world.deal(8, name=f"deal{number}", requirements=alike)
        state = world.run_until_final(task)
        assert state.phase is Phase.COMPLETED
        assert len({replica.machine_class for replica in state.replicas}) == 1 and len(state.replicas) == 3


def test_no_more_replicas_of_a_task_than_allowed_go_to_one_network() -> None:
    near = [Fake(f"near{number}", owner=f"near{number}", network="203.0.113.0/24") for number in range(4)]
    far = [Fake(f"far{number}", owner=f"far{number}", network=f"198.51.{number}.0/24") for number in range(2)]
    world = World([*near, *far], Policy(max_replicas_per_network=1))
    state = world.run_until_final(world.deal(8))
    assert state.phase is Phase.COMPLETED
    networks = [replica.network for replica in state.replicas]
    assert len(networks) == len(set(networks)) == 3
    crowded = World(near, Policy(max_replicas_per_network=1))
    crowded.deal(4)
    crowded.run()
    crowded.tick(60)
    assert len(crowded.given(SendLease)) == 1, "one network cannot reach the trust alone"
