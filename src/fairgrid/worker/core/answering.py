"""Of the worker's machine: what the pool asks for after a contribution, and when it says that a task is done."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from fairgrid.protocol.pool_messages import Abort, OpeningRequest, RevealNotice, TaskDone, UploadRequest
from fairgrid.worker.core import events as ev
from fairgrid.worker.core import instructions as to_do
from fairgrid.worker.core import replies
from fairgrid.worker.core.book import WorkerBook
from fairgrid.worker.core.held import WORKING, HeldTask, Phase

__all__ = ["abort", "notice", "opening_request", "task_done", "upload_failed", "upload_request", "uploaded"]

_BEFORE_REVEALED: Final = (Phase.SEALED, Phase.CONTRIBUTING, Phase.CONTRIBUTED, Phase.REVEALING)


def notice(book: WorkerBook, held: HeldTask, _message: RevealNotice) -> list[to_do.Instruction]:
    return [to_do.LookAtChain(held.task_id)]


def opening_request(book: WorkerBook, held: HeldTask, message: OpeningRequest) -> list[to_do.Instruction]:
    if not _may_be_asked_as(held, message.lease_id):
        return [to_do.Note(held.task_id, f"opening of another lease, {message.lease_id!r}")]
    if held.phase in WORKING:
        return [to_do.Note(held.task_id, "opening before the seal: there is nothing to open")]
    told = held.told("asked to open the seal")
    held = replace(held, lease_id=message.lease_id, opening_requested=True, story=told)
    return [*book.save(held), to_do.LookAtChain(held.task_id)]


def _may_be_asked_as(held: HeldTask, lease_id: str) -> bool:
    """Whether the pool may mean this record by a lease.

    Whoever signed a contribution and is leased the task again, because it seemed lost, may see it mined all the same:
    then it counts under the lease before, whose seal has the same digest and salt.
    """
    return lease_id == held.lease_id or (held.contribution is not None and held.phase not in WORKING)


def upload_request(book: WorkerBook, held: HeldTask, message: UploadRequest) -> list[to_do.Instruction]:
    if message.lease_id != held.lease_id and (message.early or not _may_be_asked_as(held, message.lease_id)):
        return [to_do.Note(held.task_id, f"upload for another lease, {message.lease_id!r}")]
    if message.early:
        return _early_upload(book, held)
    if held.phase in WORKING | {Phase.SEALED, Phase.CONTRIBUTING}:
        return [to_do.Note(held.task_id, "upload before a contribution: ignored, nothing may leave yet")]
    held = replace(held, lease_id=message.lease_id, upload_requested=True, story=held.told("asked to upload"))
    return [*book.save(held), to_do.LookAtChain(held.task_id)]


def _early_upload(book: WorkerBook, held: HeldTask) -> list[to_do.Instruction]:
    if held.phase is not Phase.SEALED or held.authorisation or not held.may_be_quick:
        return [to_do.Note(held.task_id, "upload before a contribution: ignored, nothing may leave yet")]
    held = replace(held, upload_requested=True, story=held.told("asked to upload before it contributes"))
    if held.cid:
        return [*book.save(held), replies.uploaded(held)]
    if book.busy.get(held.task_id) is not None:
        return book.save(held)
    return [*book.save(held), book.begin(held, to_do.Upload)]


def uploaded(book: WorkerBook, held: HeldTask, event: ev.Uploaded) -> list[to_do.Instruction]:
    if held.phase in _BEFORE_REVEALED:
        return _uploaded_early(book, held, event)
    book.busy.pop(held.task_id, None)
    usage = replace(held.usage, bytes_out=event.bytes_out)
    held = replace(book.move(held, Phase.UPLOADED, f"uploaded as {event.cid}"), cid=event.cid, usage=usage)
    return [*book.save(held), replies.uploaded(held)]


def _uploaded_early(book: WorkerBook, held: HeldTask, event: ev.Uploaded) -> list[to_do.Instruction]:
    if book.busy.get(held.task_id) is to_do.Upload:
        del book.busy[held.task_id]
    usage = replace(held.usage, bytes_out=event.bytes_out)
    told = held.told(f"uploaded as {event.cid} before it contributed")
    held = replace(held, cid=event.cid, usage=usage, story=told)
    waits = held.phase is Phase.SEALED and not held.authorisation
    return [*book.save(held), *([replies.uploaded(held)] if waits else [])]


def upload_failed(book: WorkerBook, held: HeldTask, event: ev.UploadFailed) -> list[to_do.Instruction]:
    if held.phase in _BEFORE_REVEALED:
        if book.busy.get(held.task_id) is to_do.Upload:
            del book.busy[held.task_id]
        return [to_do.Note(held.task_id, f"early upload failed: {event.reason}")]
    book.busy.pop(held.task_id, None)
    held = replace(book.move(held, Phase.REVEALED, f"upload failed: {event.reason}"), upload_requested=True)
    return [*book.save(held), to_do.Note(held.task_id, f"upload failed: {event.reason}")]


def abort(book: WorkerBook, held: HeldTask, message: Abort) -> list[to_do.Instruction]:
    if message.lease_id != held.lease_id:
        return [to_do.Note(held.task_id, f"abort of another lease, {message.lease_id!r}")]
    if held.phase in WORKING:
        book.busy.pop(held.task_id, None)
        return [to_do.Cancel(held.task_id), *book.forget(held, f"aborted: {message.reason}")]
    if held.phase is Phase.SEALED and held.contribution is None and not held.authorisation:
        return book.forget(held, f"aborted: {message.reason}")
    # Kept while a stake may hang on it; once the chain says that the task is over, it may go.
    told = held.told(f"kept until the task is over, a stake may hang on it: {message.reason}")
    return book.save(replace(held, done_requested=True, story=told))


def task_done(book: WorkerBook, held: HeldTask, _message: TaskDone) -> list[to_do.Instruction]:
    held = replace(held, done_requested=True, story=held.told("the pool says that the task is done"))
    return [*book.save(held), to_do.LookAtChain(held.task_id)]
