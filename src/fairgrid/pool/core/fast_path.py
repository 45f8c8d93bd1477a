"""The fast path: the only worker of a task ends it in one transaction, `contributeAndFinalize`; of a run, `settleRun`.

Only at trust 1, and if nobody else computes it; of runs those that are not opened yet (`unopened`). The hub pays at
once and asks nobody, so the pool is satisfied before it authorises: the worker, once it sealed, opens its seal to the
pool and uploads its result, and the pool checks both. Whatever fails on the way ends in the slow path, with the same
seal and the same authorisation.
"""

from __future__ import annotations

import json

from fairgrid.pool.core import unopened
from fairgrid.pool.core.book import Book
from fairgrid.pool.core.instructions import RequestUpload
from fairgrid.pool.core.phases import EXPECTED_PHASES, Phase, ReplicaPhase
from fairgrid.pool.core.replica import Replica
from fairgrid.pool.core.task_state import TaskState, Upload
from fairgrid.protocol.hexes import ZERO32
from fairgrid.protocol.ids import result_hash
from fairgrid.protocol.seals import seal_hash

__all__ = ["asks", "compare", "is_fast", "prepares", "reported"]


def prepares(book: Book, task: TaskState, replica: Replica) -> bool:
    """True while the result of a sealed replica is fetched and checked, so that it waits with its authorisation."""
    if not _may(book, task, replica) or is_fast(task, replica):
        return False
    upload = task.upload
    if upload.lease_id != replica.lease_id:
        task.upload = Upload(replica.lease_id, replica.worker, book.now, failures=upload.failures)
        book.tell(task, "Its only worker is asked for the result, to finalize it at once.", worker=replica.worker)
        book.send(RequestUpload(task.task_id, replica.worker, replica.lease_id, early=True))
        return True
    if not upload.verifying and book.now >= upload.asked_at + book.policy.upload_timeout_s:
        task.upload = Upload(failures={**upload.failures, replica.worker: upload.failures.get(replica.worker, 0) + 1})
        book.tell(task, "The result did not come in time: it is contributed first, and uploaded later.")
        return False
    return True


def is_fast(task: TaskState, replica: Replica) -> bool:
    """Whether the replica's result is checked already: its authorisation is for one transaction."""
    upload = task.upload
    return upload.verified and upload.lease_id == replica.lease_id and replica.opened and _is_quick(task)


def asks(task: TaskState, replica: Replica) -> bool:
    """Whether the replica is asked for its result now, before its authorisation."""
    upload = task.upload
    waits = upload.lease_id == replica.lease_id and not upload.verifying and not upload.verified
    return waits and replica.phase is ReplicaPhase.SEALED and task.phase is Phase.CONTRIBUTING


def reported(book: Book, task: TaskState, replica: Replica, digest: str, salt: str) -> bool:
    """Take the opening that came with an early upload; False (and a ban) if it is not what was sealed."""
    if replica.opened:
        return replica.digest == digest
    identity = book.identity
    seal = seal_hash(identity.chain_id, identity.hub, task.task_id, replica.round, replica.worker, digest, salt)
    if seal != replica.seal:
        found = {"seal": replica.seal, "sealSignature": replica.seal_signature, "digest": digest, "salt": salt}
        evidence = json.dumps({"taskId": task.task_id, "worker": replica.worker, "round": replica.round, **found})
        book.ban(task, replica, "its opening does not match its seal", evidence)
        return False
    book.opened(task, replica, digest)
    return True


def compare(book: Book, task: TaskState) -> None:
    """Who opened its seal before it contributed must have contributed that: else it is banned.

    An upload that was checked early and is not what the chain agreed on is forgotten.
    """
    early = task.replica(task.upload.lease_id)
    if early is not None and result_hash(task.task_id, early.digest or ZERO32) != task.facts.consensus_value:
        task.upload = Upload(failures=task.upload.failures)
    for replica in task.in_phase(ReplicaPhase.CONTRIBUTED):
        seen = task.facts.contribution(replica.worker)
        if not replica.opened or seen is None or seen.result_hash == result_hash(task.task_id, replica.digest):
            continue
        found = {"seal": replica.seal, "sealSignature": replica.seal_signature, "opened": replica.digest}
        who = {"taskId": task.task_id, "worker": replica.worker, "contributed": seen.result_hash}
        evidence = json.dumps({**who, **found})
        book.ban(task, replica, "it contributed another result than it sealed", evidence)


def _is_quick(task: TaskState) -> bool:
    if task.deal.trust > 1 or task.extra >= 1 or task.facts.contributions:
        return False
    return task.planned and unopened.is_unopened(task) if task.count else True


def _may(book: Book, task: TaskState, replica: Replica) -> bool:
    worker = book.workers.get(replica.worker)
    alone = task.in_phase(*EXPECTED_PHASES) == [replica]
    able = worker is not None and (worker.settles if task.count else worker.fast)
    able = able and not task.upload.failures.get(replica.worker)
    return book.policy.fast_path > 0 and _is_quick(task) and alone and able
