"""After consensus: openings, reveals, the upload that is checked before it is paid, finalize; and the refund."""

from __future__ import annotations

import json

from fairgrid.pool.core import audits, dispatch, fast_path, runs
from fairgrid.pool.core.book import Book
from fairgrid.pool.core.events import OpeningReceived, UploadRejected, UploadReported, UploadVerified
from fairgrid.pool.core.instructions import (
    Claim,
    Finalize,
    FinalizeRun,
    Initialize,
    RefundRest,
    Reopen,
    RequestOpening,
    RequestUpload,
    SendDone,
    SendRevealNotice,
    VerifyUpload,
)
from fairgrid.pool.core.phases import EXPECTED_PHASES, Phase, ReplicaPhase
from fairgrid.pool.core.replica import Replica
from fairgrid.pool.core.task_state import TaskState, Upload
from fairgrid.protocol.ids import result_hash
from fairgrid.protocol.seals import seal_hash
from fairgrid.protocol.views import ContributionStatus, TaskStatus

__all__ = [
    "abandon",
    "advance",
    "check_openings",
    "claim",
    "finish",
    "key_of",
    "opening_received",
    "remind",
    "upload_rejected",
    "upload_reported",
    "upload_verified",
    "verify_again",
]

_LONGEST_UPLOAD_PAUSE_S = 60.0

# Read once: Python 3.11 looks a member up by a function of its class, which takes longer than the comparison.
_GIVEN_UP = (Phase.ABANDONED, Phase.REOPENING)
_BEFORE_CONSENSUS = (Phase.RECEIVED, Phase.INITIALIZING, Phase.SEALING, Phase.CONTRIBUTING)
_BEFORE_UPLOADING = (Phase.REVEALING, Phase.REOPENING, Phase.ABANDONED)
_UPLOADING, _FINALIZING = Phase.UPLOADING, Phase.FINALIZING


def advance(book: Book, task: TaskState) -> None:
    """Take a task that is REVEALING on chain as far as it goes now."""
    # A consensus of which the chain says that it can be revealed longer is another one than the pool gave up.
    late = task.phase in _GIVEN_UP and book.chain_time < task.facts.reveal_deadline
    late = late and not task.disproved
    if late or task.phase in _BEFORE_CONSENSUS:
        fast_path.compare(book, task)
        book.enter(task, Phase.REVEALING, "Consensus on chain.")
        audits.begin(book, task)
        _dismiss(book, task, "The task has its consensus.")
        for winner in task.facts.winners():
            book.send(SendRevealNotice(task.task_id, winner.worker))
    _ask_openings(book, task)
    if task.extra >= 1 or task.dispute_since:
        _review_audits(book, task)
    if not task.facts.is_revealed:
        if 0 < task.facts.reveal_deadline <= book.chain_time:
            _reopen(book, task)
        return
    if task.disproved:
        # It cannot be taken back on chain any more: better no result than a wrong one.
        abandon(book, task, "Its consensus was disproved; the requester is refunded after the final deadline.")
        return
    if task.phase in _BEFORE_UPLOADING:
        book.enter(task, _UPLOADING, "A winner revealed.")
    if task.phase is _UPLOADING:
        _seek_upload(book, task)
        if task.phase is _UPLOADING and task.upload.verified and _may_finalize(book, task):
            book.enter(task, _FINALIZING, "The uploaded result has the digest that the chain holds.")
    if task.phase is _FINALIZING:
        callback = task.upload.callback_data if task.deal.has_callback else "0x"
        if task.count:
            book.issue(task, "finalizerun", FinalizeRun(task.task_id, task.upload.root, task.upload.cid))
        else:
            book.issue(task, "finalize", Finalize(task.task_id, task.upload.cid, callback))


def key_of(task: TaskState, step: str) -> str:
    """The key of the transaction that a step of this task would send now."""
    return Reopen(task.task_id, task.round).key if step == "reopen" else f"{task.task_id}/{step}"


def _reopen(book: Book, task: TaskState) -> None:
    """Nobody revealed in time: have the task computed anew by others, if there is time left for it."""
    if task.phase not in (Phase.REVEALING, Phase.REOPENING):
        return
    if book.chain_time >= task.deal.contribution_deadline:
        abandon(book, task, "Nobody revealed before the reveal deadline, and it is too late to compute it anew.")
        return
    book.enter(task, Phase.REOPENING, "Nobody revealed before the reveal deadline; it is to be computed anew.")
    book.issue(task, "reopen", Reopen(task.task_id, task.round))


def abandon(book: Book, task: TaskState, why: str) -> None:
    """Stop working on a task; the keeper claims its refund at the final deadline."""
    if task.phase is not Phase.ABANDONED:
        book.enter(task, Phase.ABANDONED, why)
        _dismiss(book, task, why)


def claim(book: Book, task: TaskState) -> None:
    """After the final deadline: refund the requester; a task that was never initialised is initialised first."""
    book.enter(task, Phase.CLAIMING, "The final deadline passed; the requester is refunded.")
    _dismiss(book, task, "The task's final deadline passed.")
    if task.is_rest:
        book.issue(task, "refundrest", RefundRest(task.task_id))
    elif task.count and task.facts.status is TaskStatus.UNSET:
        # Never opened: it is refunded with the rest of its deal.
        finish(book, task, Phase.FAILED)
        bag = book.bags.get(task.deal.deal_id)
        if bag is not None and not task.parent:
            book.restless[runs.begin_rest(book, bag, task.index).task_id] = None
    elif task.facts.status is TaskStatus.UNSET:
        book.issue(task, "initialize", Initialize(task.task_id, task.deal.deal_id, task.index))
    else:
        book.issue(task, "claim", Claim(task.task_id))


def finish(book: Book, task: TaskState, phase: Phase) -> None:
    """The chain says that the task is over."""
    if task.phase is phase:
        return
    why = "Claimed on chain."
    if phase is Phase.COMPLETED:
        why = "Finalized on chain."
    elif phase is Phase.SPLIT:
        why = "Split on chain: two smaller runs take its place."
    elif task.count and task.facts.status is TaskStatus.UNSET:
        why = "It was never opened."
    elif task.deal.undone:
        why = "Its deal never came back."
    book.enter(task, phase, why)
    task.finished_at = book.now
    _dismiss(book, task, "The task is over.")
    audits.drop(book, task, "The task is over.")
    if phase is Phase.COMPLETED:
        fast_path.compare(book, task)
        _ask_openings(book, task)
        audits.credit(book, task)
    for replica in task.in_phase(ReplicaPhase.CONTRIBUTED):
        if not replica.owes_opening:
            book.send(SendDone(task.task_id, replica.worker))


def check_openings(book: Book, task: TaskState) -> None:
    """Ban those that did not open their seal in time: silence counts as differing."""
    for replica in task.replicas:
        if not replica.opening_asked_at or not replica.owes_opening:
            continue
        if book.now < replica.opening_asked_at + book.policy.opening_timeout_s:
            continue
        if replica.phase is ReplicaPhase.AUDITING:
            audits.lost_opening(book, task, replica)
        elif _is_silent(book, task, replica):
            book.ban(
                task,
                replica,
                f"no opening of its seal within {book.policy.opening_timeout_s:.0f} s, nor before its deadline",
                _evidence(book, task, replica, None),
            )


def _is_silent(book: Book, task: TaskState, replica: Replica) -> bool:
    """True when a contributor that had its time also had its chance.

    An honest worker cannot open its seal while it sees no chain, or is away itself; it is back in time (decision 28)
    as long as it may reveal, and one that is away until the end of the task. Whoever owes an opening gets no work.
    """
    is_here = replica.worker in book.workers
    return book.chain_time >= (task.facts.reveal_deadline if is_here else task.deal.final_deadline)


def opening_received(book: Book, task: TaskState, replica: Replica, event: OpeningReceived) -> None:
    """Compare an opening with the seal and with what was contributed; before it was asked for, it is not looked at."""
    if not replica.owes_opening:
        return
    identity = book.identity
    sealed = seal_hash(
        identity.chain_id, identity.hub, task.task_id, replica.round, replica.worker, event.digest, event.salt
    )
    contribution = task.facts.contribution(replica.worker)
    if sealed != replica.seal:
        book.ban(task, replica, "its opening does not match its seal", _evidence(book, task, replica, event))
    elif contribution is not None and contribution.result_hash != result_hash(task.task_id, event.digest):
        book.ban(task, replica, "it contributed another result than it sealed", _evidence(book, task, replica, event))
    else:
        book.opened(task, replica, event.digest)
        who = "An auditor" if replica.phase is ReplicaPhase.AUDITING else "A contributor"
        book.tell(task, f"{who} opened its seal; it matches.", worker=replica.worker)
        if task.is_final:
            book.send(SendDone(task.task_id, replica.worker))


def upload_reported(book: Book, task: TaskState, replica: Replica, event: UploadReported) -> None:
    """The winner that was asked names its upload: have it checked."""
    upload = task.upload
    if upload.lease_id != replica.lease_id or upload.verifying or upload.verified:
        return
    early = bool(event.digest) and fast_path.asks(task, replica)
    if not early and task.phase is not Phase.UPLOADING:
        return
    if early and not fast_path.reported(book, task, replica, event.digest, event.salt):
        return
    upload.cid = event.cid
    upload.callback_data = event.callback_data
    upload.verifying = True
    who = "The only worker" if early else "A winner"
    book.tell(task, f"{who} uploaded its result; the pool checks it.", worker=replica.worker)
    verify_again(book, task)


def verify_again(book: Book, task: TaskState) -> None:
    """(Re)start the check of the upload that is being verified."""
    upload = task.upload
    book.do(
        VerifyUpload(
            task_id=task.task_id,
            lease_id=upload.lease_id,
            cid=upload.cid,
            digest=_agreed_digest(task),
            callback_data=upload.callback_data,
            has_callback=task.deal.has_callback,
            first=task.index if task.count else 0,
            count=task.count,
        )
    )


def upload_verified(book: Book, task: TaskState, event: UploadVerified) -> None:
    upload = task.upload
    if upload.verifying and upload.lease_id == event.lease_id and upload.cid == event.cid:
        upload.verifying = False
        upload.verified = True
        upload.root = event.root
        book.tell(task, f"The result {event.cid} is what was agreed.", worker=upload.worker)


def upload_rejected(book: Book, task: TaskState, event: UploadRejected) -> None:
    """Pass a bad or unreachable upload over; who uploads other bytes than it revealed is banned."""
    upload = task.upload
    if not upload.verifying or upload.lease_id != event.lease_id or upload.cid != event.cid:
        return
    replica = task.replica(upload.lease_id)
    _upload_failed(book, task, event.reason)
    if event.dishonest and replica is not None:
        evidence = json.dumps(
            {"taskId": task.task_id, "resultDigest": _agreed_digest(task), "cid": event.cid, "found": event.reason}
        )
        book.ban(task, replica, "it uploaded another result than it revealed", evidence)


def _agreed_digest(task: TaskState) -> str:
    """What an upload must have: the digest on chain; before a contribution, what the worker sealed."""
    replica = task.replica(task.upload.lease_id)
    if task.facts.status <= TaskStatus.ACTIVE and replica is not None:
        return replica.digest
    return task.facts.result_digest


def remind(book: Book, task: TaskState, replica: Replica) -> None:
    """Tell a contributor that came back what it may have missed."""
    seen = task.facts.contribution(replica.worker)
    if task.facts.status is TaskStatus.REVEALING and seen is not None:
        if seen.status is ContributionStatus.CONTRIBUTED and seen in task.facts.winners():
            book.send(SendRevealNotice(task.task_id, replica.worker))
        if task.upload.lease_id == replica.lease_id and not task.upload.verifying and not task.upload.verified:
            book.send(RequestUpload(task.task_id, replica.worker, replica.lease_id))
    if replica.owes_opening:
        book.ask_opening(task, replica, book.now)
        book.send(RequestOpening(task.task_id, replica.worker, replica.lease_id))
    elif task.is_final:
        book.send(SendDone(task.task_id, replica.worker))


def _dismiss(book: Book, task: TaskState, why: str) -> None:
    for replica in task.in_phase(*EXPECTED_PHASES):
        book.end(task, replica, ReplicaPhase.DISMISSED, why)


def _ask_openings(book: Book, task: TaskState) -> None:
    for replica in task.replicas:
        if replica.opened or replica.opening_asked_at or replica.phase is not ReplicaPhase.CONTRIBUTED:
            continue
        if replica.seal:
            book.ask_opening(task, replica, book.now)
            book.send(RequestOpening(task.task_id, replica.worker, replica.lease_id))


def _review_audits(book: Book, task: TaskState) -> None:
    for replica in task.in_phase(ReplicaPhase.LEASED):
        if replica.arbiter and dispatch.is_late(book, task, replica):
            book.end(task, replica, ReplicaPhase.LATE, "the arbiter sent no seal in time")
    if audits.review(book, task):
        dispatch.lease_arbiter(book, task)


def _may_finalize(book: Book, task: TaskState) -> bool:
    if not audits.is_over(task):
        return False
    revealed = len(task.facts.revealed())
    return revealed >= len(task.facts.winners()) or (revealed > 0 and book.chain_time >= task.facts.reveal_deadline)


def _seek_upload(book: Book, task: TaskState) -> None:
    upload = task.upload
    if upload.verified or upload.verifying:
        return
    if upload.lease_id:
        replica = task.replica(upload.lease_id)
        gone = (
            replica is None
            or replica.ended
            or (replica.lost_at > 0 and book.now >= replica.lost_at + book.policy.reconnect_grace_s)
        )
        if gone or book.now >= upload.asked_at + book.policy.upload_timeout_s:
            _upload_failed(book, task, "it did not upload in time")
            upload = task.upload
        else:
            return
    able = []
    for seen in task.facts.revealed():
        replica = task.contributor(seen.worker)
        if replica is not None and replica.worker in book.workers:
            able.append(replica)
    if not able:
        return
    chosen = min(able, key=lambda replica: upload.failures.get(replica.worker, 0))
    if upload.failures.get(chosen.worker, 0) and book.now < upload.not_before:
        return
    upload.lease_id = chosen.lease_id
    upload.worker = chosen.worker
    upload.asked_at = book.now
    book.tell(task, "A winner is asked for the result.", worker=chosen.worker)
    book.send(RequestUpload(task.task_id, chosen.worker, chosen.lease_id))


def _upload_failed(book: Book, task: TaskState, why: str) -> None:
    upload = task.upload
    failures = dict(upload.failures)
    failures[upload.worker] = failures.get(upload.worker, 0) + 1
    book.tell(task, f"The upload does not count: {why}", worker=upload.worker)
    # The next winner is asked at once; one that failed before only after a pause.
    pause = min(2.0 ** min(sum(failures.values()), 16), _LONGEST_UPLOAD_PAUSE_S)
    task.upload = Upload(failures=failures, not_before=book.now + pause)


def _evidence(book: Book, task: TaskState, replica: Replica, opening: OpeningReceived | None) -> str:
    contribution = task.facts.contribution(replica.worker)
    return json.dumps(
        {
            "chainId": book.identity.chain_id,
            "hub": book.identity.hub,
            "taskId": task.task_id,
            "worker": replica.worker,
            "owner": replica.owner,
            "leaseId": replica.lease_id,
            "round": replica.round,
            "seal": replica.seal,
            "sealSignature": replica.seal_signature,
            "contributedHash": contribution.result_hash if contribution else None,
            "opening": {"digest": opening.digest, "salt": opening.salt} if opening else None,
        }
    )
