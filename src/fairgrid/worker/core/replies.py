"""What a worker tells its pool, made from its records."""

from __future__ import annotations

from typing import Final

from fairgrid.protocol.pool_messages import Lease
from fairgrid.protocol.usage import NO_USAGE, Usage
from fairgrid.protocol.worker_messages import Contributed, LeaseFailed, Opening, PhaseReport, Revealed, Seal, Uploaded
from fairgrid.worker.core.held import HeldTask, Phase
from fairgrid.worker.core.instructions import Instruction, Send

__all__ = ["failed", "missed", "opening", "refused", "report", "seal", "uploaded"]

_REASON_CHARACTERS: Final = 500


def report(held: HeldTask) -> Send:
    """The coarse phase that it reached (decision 3)."""
    return Send(PhaseReport(held.lease_id, held.task_id, held.held_lease.phase))


def seal(held: HeldTask) -> Send:
    """The signed seal of its digest."""
    return Send(
        Seal(
            lease_id=held.lease_id,
            task_id=held.task_id,
            round=held.round,
            seal=held.seal,
            signature=held.seal_signature,
            compute_s=held.compute_s,
        )
    )


def uploaded(held: HeldTask) -> Send:
    """Where its result lies; before the contribution with the opening of its seal."""
    if held.phase is Phase.SEALED:
        return Send(
            Uploaded(
                held.lease_id,
                held.task_id,
                cid=held.cid,
                callback_data=held.callback_data,
                digest=held.digest,
                salt=held.salt,
                usage=_told(held.usage),
            )
        )
    return Send(
        Uploaded(held.lease_id, held.task_id, cid=held.cid, callback_data=held.callback_data, usage=_told(held.usage))
    )


def opening(held: HeldTask) -> Send:
    """What it sealed, and what that took: neither is told before (decision 3)."""
    return Send(Opening(held.lease_id, held.task_id, digest=held.digest, salt=held.salt, usage=_told(held.usage)))


def _told(usage: Usage) -> Usage | None:
    """None where nothing was measured, which older pools can read."""
    return usage if usage != NO_USAGE else None


def failed(held: HeldTask, reason: str) -> Send:
    """The lease is given back."""
    return Send(LeaseFailed(held.lease_id, held.task_id, reason[:_REASON_CHARACTERS]))


def refused(lease: Lease, reason: str) -> Send:
    """A lease that was not taken at all."""
    return Send(LeaseFailed(lease.lease_id, lease.task_id, reason[:_REASON_CHARACTERS]))


def missed(held: HeldTask) -> list[Instruction]:
    """What the pool may have missed while nobody listened."""
    match held.phase:
        case Phase.SEALED:
            early = [uploaded(held)] if held.upload_requested and held.cid else []
            return [seal(held), *early]
        case Phase.CONTRIBUTED if held.contribution is not None:
            return [Send(Contributed(held.lease_id, held.task_id, held.contribution.hash))]
        case Phase.REVEALED if held.reveal is not None:
            return [Send(Revealed(held.lease_id, held.task_id, held.reveal.hash))]
        case Phase.UPLOADED:
            return [uploaded(held)]
        case _:
            return []
