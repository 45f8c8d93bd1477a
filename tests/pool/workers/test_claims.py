"""What a worker claims of its machine reaches the scheduler, if the worker signed it for this connection."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairgrid.protocol import pool_messages
from fairgrid.protocol.machine import Benchmark, Gpu, Machine, machine_message
from tests.pool.grid import Grid, key
from tests.pool.scripted import Scripted, at_the_door

MACHINE = Machine(
    cpus=4,
    memory_bytes=8 << 30,
    gpus=(Gpu("A100", 80 << 30),),
    levels=("wasm",),
    benchmark=Benchmark(fuel_per_s=400_000_000, measured_at=1),
)


async def test_signed_claims_are_known_of_the_worker_as_long_as_it_is_connected(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "worker")
    async with grid.pool(), at_the_door(grid) as worker.connection:
        assert isinstance(await worker.enrol(machine=MACHINE), pool_messages.Welcome)

        async def known() -> bool:
            state = grid.service.machine.workers.get(worker.address)
            return state is not None and state.machine == MACHINE

        await grid.until(known)


async def test_a_worker_without_claims_is_welcome(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "worker")
    async with grid.pool(), at_the_door(grid) as worker.connection:
        assert isinstance(await worker.enrol(), pool_messages.Welcome)


@pytest.mark.parametrize("wrong", ["nobody", "stranger", "yesterday"])
async def test_claims_that_the_worker_did_not_sign_now_are_refused(tmp_path: Path, wrong: str) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "worker")
    signer = key("stranger" if wrong == "stranger" else "worker")
    message = machine_message(
        grid.domain.chain_id,
        grid.domain.verifying_contract,
        grid.workerpool,
        worker.address,
        "0x" + "11" * 32,
        MACHINE,
    )
    async with grid.pool(), at_the_door(grid) as worker.connection:
        answer = await worker.enrol(
            machine=MACHINE, machine_signature=None if wrong == "nobody" else signer.sign_message(message)
        )
    assert isinstance(answer, pool_messages.Refused)
    assert "malformed" in answer.reason if wrong == "nobody" else "not signed by the worker's key" in answer.reason
