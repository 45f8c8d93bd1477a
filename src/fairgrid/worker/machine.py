"""The worker's mind: events in, instructions out; no socket, no database, no clock.

Rules that it keeps whatever the pool says:

* Nothing of a digest is told before the chain says REVEALING, seen for ``confirmations`` blocks (decisions 2, 3, 30).
* What is sent to the chain was stored before, and the same bytes are sent again after a crash (decision 25).
* Once a contribution is on its way, no message of the pool makes the worker drop it: its stake hangs on the reveal.
* What this machine could not do is handed back, never contributed (decision 6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from fairgrid.protocol.hexes import MAX_UINT256
from fairgrid.protocol.views import ContributionStatus, TaskStatus
from fairgrid.protocol.wire import (
    Abort,
    Authorisation,
    Heartbeat,
    HeldLease,
    Lease,
    Opening,
    OpeningRequest,
    Ready,
    RevealNotice,
    TaskDone,
    UploadRequest,
)
from fairgrid.worker import events as ev
from fairgrid.worker import replies
from fairgrid.worker.depth import Depth
from fairgrid.worker.held import WORKING, HeldTask, InvalidTransition, Phase, Step, moved

__all__ = ["WorkerMachine"]

_MAX_ATTEMPTS: Final = 3
_MAX_ROUNDS: Final = 1 << 31
_CONSENSUS: Final = (TaskStatus.REVEALING, TaskStatus.COMPLETED)
_BEFORE_REVEALED: Final = (Phase.SEALED, Phase.CONTRIBUTING, Phase.CONTRIBUTED, Phase.REVEALING)
_OVER: Final = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SPLIT)


class WorkerMachine:
    """All tasks that one worker holds.

    ``slots`` tasks are computed at once; ``confirmations`` is the depth in blocks before a reveal or an opening;
    ``keep_s`` is how long a finished task is kept when the pool never says that it is done (seconds of chain time).
    """

    def __init__(self, *, slots: int = 1, confirmations: int = 0, keep_s: int = 86_400) -> None:
        self._slots = slots
        self._keep_s = keep_s
        self._held: dict[str, HeldTask] = {}
        self._busy: dict[str, type[ev.Instruction]] = {}
        self._depth = Depth(confirmations)
        self._mined_at: dict[str, int] = {}
        self._connected = False
        self._stopping = False
        self._first_slots = slots
        self._closed = ""
        self._handlers: dict[type[Any], Callable[[Any], list[ev.Instruction]]] = {
            ev.Restored: self._on_restored,
            ev.PoolConnected: self._on_connected,
            ev.PoolDisconnected: self._on_disconnected,
            ev.Stopping: self._on_stopping,
            ev.OwnerSaid: self._on_owner_said,
            Lease: self._on_lease,
        }
        self._task_handlers: dict[type[Any], Callable[[HeldTask, Any], list[ev.Instruction]]] = {
            ev.Approved: self._on_approved,
            ev.Downloaded: self._on_downloaded,
            ev.Computed: self._on_computed,
            ev.SealSigned: self._on_seal_signed,
            ev.WorkFailed: self._on_work_failed,
            ev.ContributionRefused: self._on_contribution_refused,
            ev.RevealRefused: self._on_reveal_refused,
            ev.TransactionSigned: self._on_transaction_signed,
            ev.TransactionMined: self._on_transaction_mined,
            ev.TransactionLost: self._on_transaction_lost,
            ev.ChainSeen: self._on_chain_seen,
            ev.Uploaded: self._on_uploaded,
            ev.UploadFailed: self._on_upload_failed,
            Authorisation: self._on_authorisation,
            RevealNotice: self._on_notice,
            OpeningRequest: self._on_opening_request,
            UploadRequest: self._on_upload_request,
            Abort: self._on_abort,
            TaskDone: self._on_task_done,
        }

    # --- what the rim may ask -----------------------------------------------------------------------------------

    def get(self, task_id: str) -> HeldTask | None:
        """The record of a task, or None when it is not held."""
        return self._held.get(task_id)

    @property
    def held(self) -> tuple[HeldTask, ...]:
        """Every record, in the order of arrival."""
        return tuple(self._held.values())

    @property
    def free_slots(self) -> int:
        """Leases that may come now; none while the process is stopping, or the owner does not want any."""
        if self._stopping or self._closed:
            return 0
        return max(0, self._slots - sum(held.phase in WORKING for held in self._held.values()))

    def reserved_stake(self, task_id: str) -> int:
        """Stakes (nRLC) that the other tasks held here may lock, but for ``task_id``."""
        unlocked = WORKING | {Phase.SEALED, Phase.CONTRIBUTING}
        return sum(
            held.worker_stake for held in self._held.values() if held.phase in unlocked and held.task_id != task_id
        )

    def leases(self) -> tuple[HeldLease, ...]:
        """What heartbeats say of the tasks held."""
        return tuple(held.held_lease for held in self._held.values())

    def handle(self, event: ev.Event) -> list[ev.Instruction]:
        """Take one event. Events about a task that is not held any more give nothing, or a `Note`.

        Raises:
            InvalidTransition: the event cannot happen in the task's phase; the record is unchanged.
        """
        handler = self._handlers.get(type(event))
        if handler is not None:
            return handler(event)
        task_id: str = event.task_id  # type: ignore[union-attr]
        held = self._held.get(task_id)
        if held is None:
            return [ev.Note(task_id, f"{type(event).__name__}: this task is not held")]
        return self._task_handlers[type(event)](held, event)

    # --- the process and its connection -------------------------------------------------------------------------

    def _on_restored(self, event: ev.Restored) -> list[ev.Instruction]:
        instructions: list[ev.Instruction] = []
        for held in event.held:
            self._held[held.task_id] = held
        for held in event.held:
            instructions += self._resume(held)
        return instructions

    def _resume(self, held: HeldTask) -> list[ev.Instruction]:
        match held.phase:
            case Phase.ACCEPTED:
                return [self._begin(held, ev.Examine)]
            case Phase.DOWNLOADING | Phase.COMPUTING:
                held = self._move(held, Phase.ACCEPTED, "restarted, computes anew")
                return [ev.Save(held), self._begin(held, ev.Examine)]
            case Phase.CONTRIBUTING:
                return [self._broadcast(held, Step.CONTRIBUTE)]
            case Phase.REVEALING:
                return [self._broadcast(held, Step.REVEAL)]
            case Phase.UPLOADING:
                held = replace(self._move(held, Phase.REVEALED, "restarted, uploads anew"), upload_requested=True)
                return [*self._save(held), ev.LookAtChain(held.task_id)]
            case _:
                return [ev.LookAtChain(held.task_id)]

    def _on_connected(self, _event: ev.PoolConnected) -> list[ev.Instruction]:
        self._connected = True
        instructions: list[ev.Instruction] = [ev.Send(Ready(held=self.leases(), free_slots=self.free_slots))]
        for held in self._held.values():
            instructions += replies.missed(held)
        return instructions

    def _on_disconnected(self, _event: ev.PoolDisconnected) -> list[ev.Instruction]:
        self._connected = False
        return []

    def _on_stopping(self, _event: ev.Stopping) -> list[ev.Instruction]:
        self._stopping = True
        instructions: list[ev.Instruction] = []
        for held in tuple(self._held.values()):
            if held.phase in WORKING:
                instructions += self._hand_back(held, "The worker is being stopped by its owner.")
        return instructions

    def _on_owner_said(self, event: ev.OwnerSaid) -> list[ev.Instruction]:
        before = self.free_slots
        self._closed = "" if event.takes_work else event.reason or "The worker's owner takes no work now."
        self._slots = event.slots or self._first_slots
        if not self._connected or self.free_slots == before:
            return []
        return [ev.Send(Heartbeat(held=self.leases(), free_slots=self.free_slots))]

    # --- leases and computing -----------------------------------------------------------------------------------

    def _on_lease(self, lease: Lease) -> list[ev.Instruction]:
        if not (0 <= lease.index <= MAX_UINT256 and 0 <= lease.round < _MAX_ROUNDS):
            return [replies.refused(lease, "Index or round of the lease is out of range.")]
        held = self._held.get(lease.task_id)
        if held is not None:
            return self._lease_again(held, lease)
        if self._stopping:
            return [replies.refused(lease, "The worker is being stopped by its owner.")]
        if self._closed:
            return [replies.refused(lease, self._closed)]
        if self.free_slots == 0:
            return [replies.refused(lease, f"All {self._slots} slot(s) are taken.")]
        held = HeldTask(
            lease_id=lease.lease_id,
            deal_id=lease.deal_id,
            task_id=lease.task_id,
            index=lease.index,
            round=lease.round,
            count=lease.count,
            story=(f"leased as {lease.lease_id} in round {lease.round}",),
        )
        return [*self._save(held), replies.report(held), self._begin(held, ev.Examine)]

    def _lease_again(self, held: HeldTask, lease: Lease) -> list[ev.Instruction]:
        if (held.deal_id, held.index, held.count) != (lease.deal_id, lease.index, lease.count):
            return [replies.refused(lease, "This task is held with another deal, index or count.")]
        if lease.lease_id == held.lease_id:
            return replies.missed(held) or [replies.report(held)]
        if held.phase in WORKING:
            held = replace(
                held, lease_id=lease.lease_id, round=lease.round, story=held.told(f"leased again as {lease.lease_id}")
            )
            return [*self._save(held), replies.report(held)]
        if held.phase is Phase.SEALED and ev.Contribute is not self._busy.get(held.task_id):
            held = replace(
                held,
                lease_id=lease.lease_id,
                round=lease.round,
                authorisation="",
                fast=False,
                opening_requested=False,
                upload_requested=False,
                story=held.told(f"leased again as {lease.lease_id} in round {lease.round}, seals the same digest"),
            )
            return [*self._save(held), self._begin(held, ev.SignSeal)]
        return [replies.refused(lease, "This worker already contributes to this task.")]

    def _on_approved(self, held: HeldTask, event: ev.Approved) -> list[ev.Instruction]:
        held = replace(
            self._move(held, Phase.DOWNLOADING, "the owner's policy allows it"),
            workerpool=event.workerpool,
            scheduler=event.scheduler,
            worker_stake=event.worker_stake,
            final_deadline=event.final_deadline,
            trust=event.trust,
        )
        return [*self._save(held), replies.report(held), self._begin(held, ev.Download)]

    def _on_downloaded(self, held: HeldTask, _event: ev.Downloaded) -> list[ev.Instruction]:
        held = self._move(held, Phase.COMPUTING, "manifest and inputs are here")
        return [*self._save(held), replies.report(held), self._begin(held, ev.Compute)]

    def _on_computed(self, held: HeldTask, event: ev.Computed) -> list[ev.Instruction]:
        # The phase stays until the seal is signed: a crash in between computes anew, and nothing was promised.
        if held.phase is not Phase.COMPUTING:
            raise InvalidTransition(held, Phase.COMPUTING, "computed")
        held = replace(
            held,
            digest=event.digest,
            callback_data=event.callback_data,
            compute_s=event.compute_s,
            story=held.told(f"computed in {event.compute_s:.2f} s"),
        )
        return [*self._save(held), self._begin(held, ev.SignSeal)]

    def _on_seal_signed(self, held: HeldTask, event: ev.SealSigned) -> list[ev.Instruction]:
        self._busy.pop(held.task_id, None)
        held = replace(
            self._move(held, Phase.SEALED, f"sealed in round {held.round}"),
            salt=event.salt,
            seal=event.seal,
            seal_signature=event.signature,
        )
        return [*self._save(held), replies.seal(held)]

    def _on_work_failed(self, held: HeldTask, event: ev.WorkFailed) -> list[ev.Instruction]:
        if held.phase not in WORKING:
            return [ev.Note(held.task_id, f"late failure in phase {held.phase}: {event.reason}")]
        return self._hand_back(held, event.reason)

    # --- contributing -------------------------------------------------------------------------------------------

    def _on_authorisation(self, held: HeldTask, message: Authorisation) -> list[ev.Instruction]:
        if message.lease_id != held.lease_id:
            return [ev.Note(held.task_id, f"authorisation for another lease, {message.lease_id!r}")]
        if held.phase in WORKING:
            return [ev.Note(held.task_id, "authorisation before the seal: ignored, nothing may be contributed yet")]
        if held.phase is not Phase.SEALED or held.authorisation:
            return [ev.Note(held.task_id, "authorisation again: ignored")]
        if int(message.enclave_challenge, 16) != 0:
            return self._contribution_off(held, "This worker has no enclave; the authorisation asks for one.")
        fast = message.fast is True and bool(held.cid) and _may_be_quick(held)
        told = held.told("authorised to contribute and finalize" if fast else "authorised")
        held = replace(held, authorisation=message.signature, fast=fast, upload_requested=False, attempts=0, story=told)
        return [*self._save(held), self._begin(held, ev.Contribute)]

    def _on_contribution_refused(self, held: HeldTask, event: ev.ContributionRefused) -> list[ev.Instruction]:
        self._busy.pop(held.task_id, None)
        if held.phase is not Phase.SEALED:
            return [ev.Note(held.task_id, f"no contribution signed in phase {held.phase}: {event.reason}")]
        if not event.lasting:
            return [ev.Note(held.task_id, f"contribution postponed: {event.reason}")]
        return self._contribution_off(held, event.reason)

    def _contribution_off(self, held: HeldTask, reason: str) -> list[ev.Instruction]:
        """Not contributed; the sealed result is kept, because the pool may still ask to open the seal."""
        held = replace(held, authorisation="", attempts=0, story=held.told(f"not contributed: {reason}"))
        return [*self._save(held), replies.failed(held, reason), ev.Note(held.task_id, reason)]

    def _on_transaction_signed(self, held: HeldTask, event: ev.TransactionSigned) -> list[ev.Instruction]:
        if event.step is Step.CONTRIBUTE:
            held = self._move(held, Phase.CONTRIBUTING, f"signed {event.transaction.hash}")
            held = replace(held, contribution=event.transaction, attempts=held.attempts + 1)
        else:
            held = self._move(held, Phase.REVEALING, f"signed {event.transaction.hash}")
            held = replace(held, reveal=event.transaction, attempts=held.attempts + 1)
        return [*self._save(held), replies.report(held), self._broadcast(held, event.step)]

    def _on_transaction_mined(self, held: HeldTask, event: ev.TransactionMined) -> list[ev.Instruction]:
        waited = Phase.CONTRIBUTING if event.step is Step.CONTRIBUTE else Phase.REVEALING
        if held.phase is not waited:
            return []
        self._busy.pop(held.task_id, None)
        if event.succeeded:
            self._mined_at[held.task_id] = event.block
            return self._contributed(held) if event.step is Step.CONTRIBUTE else self._revealed(held)
        reason = f"the hub refused {event.step} in transaction {event.tx_hash}"
        if event.step is Step.CONTRIBUTE and held.fast:
            # The same authorisation is good for contributing alone.
            held = replace(self._move(held, Phase.SEALED, reason), fast=False)
            return [*self._save(held), ev.LookAtChain(held.task_id)]
        if event.step is Step.CONTRIBUTE:
            return self._contribution_off(self._move(held, Phase.SEALED, reason), reason)
        held = self._move(held, Phase.CONTRIBUTED, reason)
        return [*self._save(held), ev.LookAtChain(held.task_id)]

    def _on_transaction_lost(self, held: HeldTask, event: ev.TransactionLost) -> list[ev.Instruction]:
        waited = Phase.CONTRIBUTING if event.step is Step.CONTRIBUTE else Phase.REVEALING
        if held.phase is not waited:
            return []
        self._busy.pop(held.task_id, None)
        back = Phase.SEALED if event.step is Step.CONTRIBUTE else Phase.CONTRIBUTED
        held = self._move(held, back, f"{event.step} lost: {event.reason}")
        if event.step is Step.REVEAL:
            # It cost nothing and the stake hangs on it: only reveals that the hub refused are counted.
            held = replace(held, attempts=held.attempts - 1)
        elif held.attempts >= _MAX_ATTEMPTS:
            return self._contribution_off(held, f"contribute was lost {held.attempts} times: {event.reason}")
        return [*self._save(held), ev.LookAtChain(held.task_id)]

    def _contributed(self, held: HeldTask) -> list[ev.Instruction]:
        self._busy.pop(held.task_id, None)
        held = replace(self._move(held, Phase.CONTRIBUTED, "the contribution is on chain"), attempts=0)
        return [*self._save(held), *replies.missed(held), ev.LookAtChain(held.task_id)]

    def _revealed(self, held: HeldTask) -> list[ev.Instruction]:
        self._busy.pop(held.task_id, None)
        held = replace(self._move(held, Phase.REVEALED, "the reveal is on chain"), attempts=0)
        return [*self._save(held), *replies.missed(held), ev.LookAtChain(held.task_id)]

    # --- what the chain says ------------------------------------------------------------------------------------

    def _on_chain_seen(self, held: HeldTask, event: ev.ChainSeen) -> list[ev.Instruction]:
        if event.block < self._mined_at.get(held.task_id, 0):
            return []
        task, status = event.task, event.task.status
        consensus = (task.consensus_value, task.reveal_deadline) if status in _CONSENSUS else None
        agreed = self._depth.reached(held.task_id, "consensus", consensus, event.block, newest=event.newest)
        over = self._depth.reached(
            held.task_id, "end", status if status in _OVER else None, event.block, newest=event.newest
        )
        instructions: list[ev.Instruction] = []
        if held.opening_requested and held.salt and (agreed or (over and status is TaskStatus.FAILED)):
            held = replace(held, opening_requested=False, story=held.told("opened the seal"))
            instructions += [
                *self._save(held),
                ev.Send(Opening(held.lease_id, held.task_id, digest=held.digest, salt=held.salt)),
            ]
        if over and self._may_forget(held, event):
            return instructions + self._forget(held, status.name.lower())
        return instructions + self._follow_chain(held, event, agreed=agreed, over=over)

    def _follow_chain(self, held: HeldTask, event: ev.ChainSeen, *, agreed: bool, over: bool) -> list[ev.Instruction]:
        task, mine = event.task, event.contribution
        busy = self._busy.get(held.task_id)
        match held.phase:
            case Phase.ACCEPTED | Phase.DOWNLOADING | Phase.COMPUTING if over:
                return self._hand_back(held, f"The task is {task.status.name} on chain.")
            case Phase.SEALED if mine.status is not ContributionStatus.UNSET and held.contribution is not None:
                return self._contributed(held)
            case Phase.SEALED if held.authorisation and busy is None and _accepts_contributions(event):
                return [self._begin(held, ev.Contribute)]
            case Phase.SEALED if held.upload_requested and not held.cid and busy is None and _may_be_quick(held):
                return [self._begin(held, ev.Upload)]
            case Phase.CONTRIBUTING if mine.status is not ContributionStatus.UNSET:
                return self._contributed(held)
            case Phase.CONTRIBUTING if agreed or over or event.time >= task.contribution_deadline > 0:
                self._busy.pop(held.task_id, None)
                reason = "Too late: the task took its contributions without this one."
                return self._contribution_off(self._move(held, Phase.SEALED, reason), reason)
            case Phase.CONTRIBUTED:
                return self._follow_contributed(held, event, agreed=agreed, busy=busy is not None)
            case Phase.REVEALING if mine.status is ContributionStatus.PROVED:
                return self._revealed(held)
            case Phase.REVEALING if task.status is not TaskStatus.REVEALING or event.time >= task.reveal_deadline:
                self._busy.pop(held.task_id, None)
                reason = f"the task is {task.status.name}" if task.status in (TaskStatus.ACTIVE, *_OVER) else "too late"
                return self._save(self._move(held, Phase.CONTRIBUTED, f"not revealed: {reason}"))
            case Phase.REVEALED | Phase.UPLOADED if mine.status is not ContributionStatus.PROVED:
                if task.status is TaskStatus.REVEALING and held.reveal is not None:
                    held = self._move(held, Phase.REVEALING, "the chain undid the reveal: sent again")
                    return [*self._save(held), self._broadcast(held, Step.REVEAL)]
                return []
            case Phase.REVEALED | Phase.UPLOADED if held.upload_requested and task.status in _CONSENSUS:
                held = replace(self._move(held, Phase.UPLOADING, "uploads"), upload_requested=False)
                return [*self._save(held), replies.report(held), self._begin(held, ev.Upload)]
            case _:
                return []

    def _follow_contributed(
        self, held: HeldTask, event: ev.ChainSeen, *, agreed: bool, busy: bool
    ) -> list[ev.Instruction]:
        task, mine = event.task, event.contribution
        if mine.status is ContributionStatus.UNSET:
            if _accepts_contributions(event) and held.contribution is not None:
                held = self._move(held, Phase.CONTRIBUTING, "the chain undid the contribution: sent again")
                return [*self._save(held), self._broadcast(held, Step.CONTRIBUTE)]
            return []
        if mine.status is ContributionStatus.PROVED:
            return self._revealed(held)
        due = (
            agreed
            and not busy
            and held.attempts < _MAX_ATTEMPTS
            and task.status is TaskStatus.REVEALING
            and mine.status is ContributionStatus.CONTRIBUTED
            and mine.result_hash == task.consensus_value
            and event.time < task.reveal_deadline
        )
        return [self._begin(held, ev.Reveal)] if due else []

    def _may_forget(self, held: HeldTask, event: ev.ChainSeen) -> bool:
        if held.phase in WORKING or held.phase is Phase.UPLOADING:
            return False
        return held.done_requested or event.time >= event.task.final_deadline + self._keep_s

    def _on_reveal_refused(self, held: HeldTask, event: ev.RevealRefused) -> list[ev.Instruction]:
        self._busy.pop(held.task_id, None)
        return [ev.Note(held.task_id, f"reveal postponed: {event.reason}")]

    # --- what the pool asks afterwards --------------------------------------------------------------------------

    def _on_notice(self, held: HeldTask, _message: RevealNotice) -> list[ev.Instruction]:
        return [ev.LookAtChain(held.task_id)]

    def _on_opening_request(self, held: HeldTask, message: OpeningRequest) -> list[ev.Instruction]:
        if message.lease_id != held.lease_id:
            return [ev.Note(held.task_id, f"opening of another lease, {message.lease_id!r}")]
        if held.phase in WORKING:
            return [ev.Note(held.task_id, "opening before the seal: there is nothing to open")]
        held = replace(held, opening_requested=True, story=held.told("asked to open the seal"))
        return [*self._save(held), ev.LookAtChain(held.task_id)]

    def _on_upload_request(self, held: HeldTask, message: UploadRequest) -> list[ev.Instruction]:
        if message.lease_id != held.lease_id:
            return [ev.Note(held.task_id, f"upload for another lease, {message.lease_id!r}")]
        if message.early:
            return self._on_early_upload(held)
        if held.phase in WORKING | {Phase.SEALED, Phase.CONTRIBUTING}:
            return [ev.Note(held.task_id, "upload before a contribution: ignored, nothing may leave yet")]
        held = replace(held, upload_requested=True, story=held.told("asked to upload"))
        return [*self._save(held), ev.LookAtChain(held.task_id)]

    def _on_early_upload(self, held: HeldTask) -> list[ev.Instruction]:
        if held.phase is not Phase.SEALED or held.authorisation or not _may_be_quick(held):
            return [ev.Note(held.task_id, "upload before a contribution: ignored, nothing may leave yet")]
        held = replace(held, upload_requested=True, story=held.told("asked to upload before it contributes"))
        if held.cid:
            return [*self._save(held), replies.uploaded(held)]
        if self._busy.get(held.task_id) is not None:
            return self._save(held)
        return [*self._save(held), self._begin(held, ev.Upload)]

    def _on_uploaded(self, held: HeldTask, event: ev.Uploaded) -> list[ev.Instruction]:
        if held.phase in _BEFORE_REVEALED:
            return self._uploaded_early(held, event.cid)
        self._busy.pop(held.task_id, None)
        held = replace(self._move(held, Phase.UPLOADED, f"uploaded as {event.cid}"), cid=event.cid)
        return [*self._save(held), replies.uploaded(held)]

    def _uploaded_early(self, held: HeldTask, cid: str) -> list[ev.Instruction]:
        if self._busy.get(held.task_id) is ev.Upload:
            del self._busy[held.task_id]
        held = replace(held, cid=cid, story=held.told(f"uploaded as {cid} before it contributed"))
        waits = held.phase is Phase.SEALED and not held.authorisation
        return [*self._save(held), *([replies.uploaded(held)] if waits else [])]

    def _on_upload_failed(self, held: HeldTask, event: ev.UploadFailed) -> list[ev.Instruction]:
        if held.phase in _BEFORE_REVEALED:
            if self._busy.get(held.task_id) is ev.Upload:
                del self._busy[held.task_id]
            return [ev.Note(held.task_id, f"early upload failed: {event.reason}")]
        self._busy.pop(held.task_id, None)
        held = replace(self._move(held, Phase.REVEALED, f"upload failed: {event.reason}"), upload_requested=True)
        return [*self._save(held), ev.Note(held.task_id, f"upload failed: {event.reason}")]

    def _on_abort(self, held: HeldTask, message: Abort) -> list[ev.Instruction]:
        if message.lease_id != held.lease_id:
            return [ev.Note(held.task_id, f"abort of another lease, {message.lease_id!r}")]
        if held.phase in WORKING:
            self._busy.pop(held.task_id, None)
            return [ev.Cancel(held.task_id), *self._forget(held, f"aborted: {message.reason}")]
        if held.phase is Phase.SEALED and held.contribution is None and not held.authorisation:
            return self._forget(held, f"aborted: {message.reason}")
        # Kept while a stake may hang on it; once the chain says that the task is over, it may go.
        told = held.told(f"kept until the task is over, a stake may hang on it: {message.reason}")
        return self._save(replace(held, done_requested=True, story=told))

    def _on_task_done(self, held: HeldTask, _message: TaskDone) -> list[ev.Instruction]:
        held = replace(held, done_requested=True, story=held.told("the pool says that the task is done"))
        return [*self._save(held), ev.LookAtChain(held.task_id)]

    # --- helpers ------------------------------------------------------------------------------------------------

    def _move(self, held: HeldTask, phase: Phase, because: str) -> HeldTask:
        moved(held, phase, because)
        return replace(held, phase=phase, story=held.told(f"{phase}: {because}"))

    def _save(self, held: HeldTask) -> list[ev.Instruction]:
        self._held[held.task_id] = held
        return [ev.Save(held)]

    def _begin(self, held: HeldTask, instruction: type[ev.Instruction]) -> ev.Instruction:
        self._held[held.task_id] = held
        self._busy[held.task_id] = instruction
        return instruction(held.task_id)  # type: ignore[call-arg,arg-type]

    def _broadcast(self, held: HeldTask, step: Step) -> ev.Instruction:
        self._busy[held.task_id] = ev.Broadcast
        return ev.Broadcast(held.task_id, step)

    def _forget(self, held: HeldTask, outcome: str) -> list[ev.Instruction]:
        self._held.pop(held.task_id, None)
        self._busy.pop(held.task_id, None)
        self._mined_at.pop(held.task_id, None)
        self._depth.forget(held.task_id)
        return [ev.Forget(held, outcome)]

    def _hand_back(self, held: HeldTask, reason: str) -> list[ev.Instruction]:
        return [
            ev.Cancel(held.task_id),
            *self._forget(held, f"handed back: {reason}"),
            replies.failed(held, reason),
            ev.Note(held.task_id, reason),
        ]


def _may_be_quick(held: HeldTask) -> bool:
    """Whether the result may leave before consensus, and end the task in one transaction (decision 3)."""
    return held.trust == 1 and not held.count


def _accepts_contributions(event: ev.ChainSeen) -> bool:
    return event.task.status is TaskStatus.ACTIVE and event.time < event.task.contribution_deadline
