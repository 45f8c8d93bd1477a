"""What the scheduler decided to tell a worker, as the message that goes over the wire."""

from __future__ import annotations

from fairgrid.pool.core.instructions import (
    RequestOpening,
    RequestUpload,
    SendAbort,
    SendAuthorisation,
    SendDone,
    SendLease,
    SendRevealNotice,
    WorkerInstruction,
)
from fairgrid.protocol import pool_messages
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.ids import authorisation_message
from fairgrid.wallet.signer import Signer

__all__ = ["letter_of"]


def letter_of(instruction: WorkerInstruction, signer: Signer) -> pool_messages.PoolMessage:
    """The message to the worker; ``signer`` is the scheduler, who signs authorisations."""
    match instruction:
        case SendLease():
            return pool_messages.Lease(
                lease_id=instruction.lease_id,
                deal_id=instruction.deal_id,
                task_id=instruction.task_id,
                index=instruction.index,
                round=instruction.round,
                seal_window_s=instruction.seal_window_s,
                count=instruction.count,
                unopened=instruction.unopened or None,
            )
        case SendAuthorisation():
            message = authorisation_message(instruction.worker, instruction.task_id)
            return pool_messages.Authorisation(
                lease_id=instruction.lease_id,
                task_id=instruction.task_id,
                enclave_challenge=ZERO_ADDRESS,
                signature=signer.sign_message(message),
                fast=instruction.fast or None,
            )
        case SendRevealNotice():
            return pool_messages.RevealNotice(task_id=instruction.task_id)
        case RequestOpening():
            return pool_messages.OpeningRequest(lease_id=instruction.lease_id, task_id=instruction.task_id)
        case RequestUpload():
            return pool_messages.UploadRequest(
                lease_id=instruction.lease_id, task_id=instruction.task_id, early=instruction.early or None
            )
        case SendAbort():
            return pool_messages.Abort(
                lease_id=instruction.lease_id, task_id=instruction.task_id, reason=instruction.reason
            )
        case SendDone():
            return pool_messages.TaskDone(task_id=instruction.task_id)
