"""Facts and shorthands for tests of the worker's machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

from fairgrid.chain.interface import SignedTransaction
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.protocol.ids import result_hash
from fairgrid.protocol.pool_messages import Abort, Authorisation, Lease, OpeningRequest, TaskDone, UploadRequest
from fairgrid.protocol.views import Contribution, ContributionStatus, Task, TaskStatus
from fairgrid.worker.core import events as ev
from fairgrid.worker.core import instructions as to_do
from fairgrid.worker.core.held import HeldTask, Step
from fairgrid.worker.core.machine import WorkerMachine

Kind = TypeVar("Kind")

DEAL = "0x" + "d1" * 32
TASK = "0x" + "7a" * 32
DIGEST = "0x" + "dd" * 32
SALT = "0x" + "5a" * 32
SEAL = "0x" + "5e" * 32
SIGNATURE = "0x" + "11" * 65
POOL = "0x" + "AA" * 20
SCHEDULER = "0x" + "BB" * 20
HASH = result_hash(TASK, DIGEST)
NOW = 1_000
DEADLINE = 1_700
REVEAL_DEADLINE = 1_300
FINAL = 2_000
LEASE = Lease(lease_id="l1", deal_id=DEAL, task_id=TASK, index=0, round=0, seal_window_s=30.0)
AUTHORISATION = Authorisation(lease_id="l1", task_id=TASK, enclave_challenge=ZERO_ADDRESS, signature=SIGNATURE)

ABORT = Abort("l1", TASK, "no longer needed")
OPENING_REQUEST = OpeningRequest("l1", TASK)
UPLOAD_REQUEST = UploadRequest("l1", TASK)
DONE = TaskDone(TASK)
"""What the pool says of the task of `LEASE`."""


def transaction(nonce: int = 0, function: str = "contribute") -> SignedTransaction:
    raw = f"{function}{nonce}".encode()
    return SignedTransaction(raw=raw, hash="0x" + f"{nonce + 1:064x}", sender=POOL, nonce=nonce, function=function)


def task(status: TaskStatus = TaskStatus.ACTIVE, **change: Any) -> Task:
    base = Task(
        status=status,
        deal_id=DEAL,
        index=0,
        timeref=100,
        contribution_deadline=DEADLINE,
        reveal_deadline=0,
        final_deadline=FINAL,
        consensus_value=ZERO32,
        reveal_counter=0,
        winner_counter=0,
        contributors=(),
        result_digest=ZERO32,
        results=b"",
        results_timestamp=0,
        results_callback=b"",
    )
    if status in (TaskStatus.REVEALING, TaskStatus.COMPLETED):
        base = replace(base, consensus_value=HASH, reveal_deadline=REVEAL_DEADLINE)
    return replace(base, **change)


def mine(status: ContributionStatus = ContributionStatus.UNSET, result: str = HASH) -> Contribution:
    return Contribution(
        status=status,
        result_hash=ZERO32 if status is ContributionStatus.UNSET else result,
        result_seal=ZERO32,
        enclave_challenge=ZERO_ADDRESS,
        weight=1,
    )


UNSET, CONTRIBUTED, PROVED, REJECTED = (mine(status) for status in ContributionStatus)


def seen(view: Task, contribution: Contribution = UNSET, *, block: int = 10, time: int = NOW) -> ev.ChainSeen:
    return ev.ChainSeen(TASK, block, time, view, contribution)


def only(instructions: Iterable[to_do.Instruction], kind: type[Kind]) -> list[Kind]:
    return [instruction for instruction in instructions if isinstance(instruction, kind)]


def sent(instructions: Iterable[to_do.Instruction]) -> list[Any]:
    return [instruction.message for instruction in only(instructions, to_do.Send)]


def kinds(instructions: Iterable[to_do.Instruction]) -> list[str]:
    return [type(instruction).__name__ for instruction in instructions]


APPROVED = ev.Approved(TASK, POOL, SCHEDULER, 50, FINAL)
COMPUTED = ev.Computed(TASK, DIGEST, "0x", 1.5)
SEAL_SIGNED = ev.SealSigned(TASK, SALT, SEAL, SIGNATURE)
CONTRIBUTION_SIGNED = ev.TransactionSigned(TASK, Step.CONTRIBUTE, transaction(0))
CONTRIBUTION_MINED = ev.TransactionMined(TASK, Step.CONTRIBUTE, transaction(0).hash, 11, True)
REVEAL_SIGNED = ev.TransactionSigned(TASK, Step.REVEAL, transaction(1, "reveal"))
REVEAL_MINED = ev.TransactionMined(TASK, Step.REVEAL, transaction(1).hash, 13, True)
CONSENSUS = seen(task(TaskStatus.REVEALING), CONTRIBUTED, block=12)

TO_SEALED: tuple[ev.Event, ...] = (LEASE, APPROVED, ev.Downloaded(TASK), COMPUTED, SEAL_SIGNED)
TO_CONTRIBUTING: tuple[ev.Event, ...] = (*TO_SEALED, AUTHORISATION, CONTRIBUTION_SIGNED)
TO_CONTRIBUTED: tuple[ev.Event, ...] = (*TO_CONTRIBUTING, CONTRIBUTION_MINED)
TO_REVEALING: tuple[ev.Event, ...] = (*TO_CONTRIBUTED, CONSENSUS, REVEAL_SIGNED)
TO_REVEALED: tuple[ev.Event, ...] = (*TO_REVEALING, REVEAL_MINED)


def fed(events: Iterable[ev.Event], **options: int) -> WorkerMachine:
    """A machine, connected, after ``events``."""
    machine = WorkerMachine(**options)
    machine.handle(ev.PoolConnected())
    for event in events:
        machine.handle(event)
    return machine


def record(machine: WorkerMachine) -> HeldTask:
    held = machine.get(TASK)
    assert held is not None
    return held
