"""What a worker claims of its machine: strict, whole numbers, one text, bound to one connection."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import TypeAdapter, ValidationError

from fairgrid.protocol.machine import MAX_COUNT, Benchmark, Gpu, Machine, claims_of, machine_message

HUB = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
POOL = "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"
WORKER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
NONCE = "0x" + "11" * 32
MACHINE = Machine(
    cpus=4,
    memory_bytes=8 << 30,
    gpus=(Gpu("A100", 80 << 30),),
    os="linux",
    arch="x86_64",
    levels=("wasm",),
    benchmark=Benchmark(fuel_per_s=400_000_000),
)
adapter = TypeAdapter(Machine)


def test_claims_survive_their_own_json() -> None:
    assert adapter.validate_json(adapter.dump_json(MACHINE)) == MACHINE


def test_a_worker_may_claim_nothing() -> None:
    assert adapter.validate_json("{}") == Machine()


@pytest.mark.parametrize(
    "text",
    [
        '{"cpus": -1}',
        '{"cpus": 1.5}',
        '{"cpus": "4"}',
        f'{{"memory_bytes": {MAX_COUNT + 1}}}',
        '{"unknown": 1}',
        '{"benchmark": {"fuel_per_s": 1.0}}',
        '{"labels": ["' + "x" * 101 + '"]}',
        '{"labels": [' + ",".join(['"a"'] * 65) + "]}",
    ],
)
def test_claims_that_break_the_shape_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        adapter.validate_json(text)


def test_every_part_of_the_message_changes_what_is_signed() -> None:
    def message(**changes: object) -> bytes:
        parts = {
            "chain_id": 31337,
            "hub": HUB,
            "workerpool": POOL,
            "worker": WORKER,
            "nonce": NONCE,
            "machine": MACHINE,
        }
        return machine_message(**{**parts, **changes})  # type: ignore[arg-type]

    others = [
        message(chain_id=1),
        message(hub=POOL),
        message(workerpool=HUB),
        message(worker=HUB),
        message(nonce="0x" + "12" * 32),
        message(machine=replace(MACHINE, cpus=5)),
        message(machine=replace(MACHINE, benchmark=None)),
    ]
    assert message() == message()
    assert len({message(), *others}) == 1 + len(others)


def test_claims_are_plain_json_values() -> None:
    assert claims_of(MACHINE)["gpus"] == [{"model": "A100", "memory_bytes": 80 << 30}]


def test_a_machine_without_network_signs_what_it_signed_before_there_was_one_and_with_it_something_else() -> None:
    assert not {"network", "network_runtimes"} & set(claims_of(MACHINE))
    plain = machine_message(31337, HUB, POOL, WORKER, NONCE, MACHINE)
    assert plain.hex() == "22ce5c738b529304358c0e32b6e2bd02e4fcc9b82b3d521862773804876e2560"
    offering = replace(MACHINE, network=("*",), network_runtimes=("process/linux-x86_64",))
    assert claims_of(offering)["network"] == ["*"]
    assert machine_message(31337, HUB, POOL, WORKER, NONCE, offering) != plain
