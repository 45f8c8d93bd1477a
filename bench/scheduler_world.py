"""What surrounds a scheduler in the benchmark: a chain that mines at once, and workers that are done at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fairgrid.pool.core.deal_terms import DealTerms
from fairgrid.pool.core.events import (
    ConsensusReached,
    ContributionMined,
    DealMatched,
    Event,
    OpeningReceived,
    RevealMined,
    SealReceived,
    TaskFinalized,
    TaskInitialized,
    UploadReported,
    UploadVerified,
    WorkerJoined,
    WorkerReady,
)
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.core.instructions import (
    Finalize,
    Initialize,
    Instruction,
    RequestOpening,
    RequestUpload,
    SendAuthorisation,
    SendLease,
    SendRevealNotice,
    VerifyUpload,
)
from fairgrid.protocol.hexes import checksum, keccak, to_hex, to_hex32
from fairgrid.protocol.ids import result_hash
from fairgrid.protocol.seals import seal_hash

__all__ = ["IDENTITY", "address", "answer", "deal", "join"]

IDENTITY = PoolIdentity(31337, checksum("0x" + "aa" * 20), checksum("0x" + "bb" * 20))
_DIGEST = to_hex32(keccak(b"the digest of every result"))
_SALT = to_hex32(keccak(b"the salt of every seal"))
_SIGNATURE = "0x" + "00" * 65
_TIMEREF_S = 3_600


def address(name: str) -> str:
    return checksum(to_hex(keccak(name.encode())[:20]))


def deal(name: str, size: int, *, start_time: int) -> DealMatched:
    """A bag of ``size`` tasks at trust 1."""
    terms = DealTerms(
        deal_id=to_hex32(keccak(name.encode())),
        trust=1,
        timeref=_TIMEREF_S,
        start_time=start_time,
        worker_stake=10,
        requester=address("requester"),
    )
    return DealMatched(terms, 0, size)


def join(count: int) -> Iterable[Event]:
    """``count`` workers of different owners, with one slot each."""
    for number in range(count):
        worker = address(f"worker {number}")
        yield WorkerJoined(worker, address(f"owner {number}"), 1, 0, 10**12)
        yield WorkerReady(worker, (), 1)


def answer(instruction: Instruction, say: Callable[[Event], None]) -> bool:
    """Have the surroundings answer; True when the answer is a task's end."""
    task = instruction.task_id
    match instruction:
        case Initialize():
            say(TaskInitialized(task))
        case SendLease():
            seal = seal_hash(
                IDENTITY.chain_id, IDENTITY.hub, task, instruction.round, instruction.worker, _DIGEST, _SALT
            )
            say(SealReceived(instruction.worker, instruction.lease_id, task, instruction.round, seal, _SIGNATURE))
        case SendAuthorisation():
            # The worker's own work: what the pool remembers of it must not save it.
            value = result_hash.__wrapped__(task, _DIGEST)
            say(ContributionMined(task, instruction.worker, value, 2))
            say(ConsensusReached(task, value, 1 << 40))
        case SendRevealNotice():
            say(RevealMined(task, instruction.worker, _DIGEST))
        case RequestOpening():
            say(OpeningReceived(instruction.worker, instruction.lease_id, task, _DIGEST, _SALT))
        case RequestUpload():
            say(UploadReported(instruction.worker, instruction.lease_id, task, "bafy"))
        case VerifyUpload():
            say(UploadVerified(task, instruction.lease_id, instruction.cid))
        case Finalize():
            say(TaskFinalized(task))
            return True
        case _:
            pass
    return False
