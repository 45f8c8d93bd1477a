"""The worker's mind: events in, instructions out; no socket, no database, no clock.

Rules that it keeps whatever the pool says:

* Nothing of a digest is told before the chain says REVEALING, seen for ``confirmations`` blocks (decisions 2, 3, 30).
* What is sent to the chain was stored before, and the same bytes are sent again after a crash (decision 25).
* Once a contribution is on its way, no message of the pool makes the worker drop it: its stake hangs on the reveal.
* A task that is over is kept for ``keep_blocks`` blocks: a reorganisation may take its end back.
* What this machine could not do is handed back, never contributed (decision 6).

Here are the process, its connection and the owner; `leasing`, `contributing`, `following` and `answering` have the life
of a task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from fairgrid.protocol.pool_messages import (
    Abort,
    Authorisation,
    Lease,
    OpeningRequest,
    RevealNotice,
    TaskDone,
    UploadRequest,
)
from fairgrid.protocol.worker_messages import Heartbeat, HeldLease, Ready
from fairgrid.worker.core import answering, contributing, following, leasing, replies
from fairgrid.worker.core import events as ev
from fairgrid.worker.core import instructions as to_do
from fairgrid.worker.core.book import WorkerBook
from fairgrid.worker.core.held import WORKING, HeldTask, Phase, Step

__all__ = ["KEEP_BLOCKS", "WorkerMachine"]

KEEP_BLOCKS: Final = 64
"""So deep no chain that Fairgrid runs on was ever reorganised: two epochs of Ethereum, after which blocks are final."""

_TakesUp = Authorisation | RevealNotice | OpeningRequest | UploadRequest
"""Messages by which the pool shows that a task is not over for it."""


class WorkerMachine:
    """All tasks that one worker holds.

    ``slots`` tasks are computed at once; ``confirmations`` is the depth in blocks before a reveal or an opening;
    ``keep_s`` is how long a finished task is held when the pool never says that it is done (seconds of chain time);
    ``keep_blocks`` how long it is kept after it was let go (0: not at all); ``tasks`` how many are sealed at most.
    """

    def __init__(
        self,
        *,
        slots: int = 1,
        confirmations: int = 0,
        keep_s: int = 86_400,
        keep_blocks: int = KEEP_BLOCKS,
        tasks: int | None = None,
    ) -> None:
        self._book = WorkerBook(
            slots=slots, confirmations=confirmations, keep_s=keep_s, keep_blocks=keep_blocks, tasks=tasks
        )
        self._connected = False
        self._first_slots = slots
        self._handlers: dict[type[Any], Callable[[Any], list[to_do.Instruction]]] = {
            ev.Restored: self._on_restored,
            ev.PoolConnected: self._on_connected,
            ev.PoolDisconnected: self._on_disconnected,
            ev.Stopping: self._on_stopping,
            ev.OwnerSaid: self._on_owner_said,
            ev.HeadSeen: self._on_head_seen,
            Lease: self._on_lease,
        }
        self._task_handlers: dict[type[Any], Callable[[WorkerBook, HeldTask, Any], list[to_do.Instruction]]] = {
            ev.Approved: leasing.approved,
            ev.MadeReady: leasing.made_ready,
            ev.Downloaded: leasing.downloaded,
            ev.Computed: leasing.computed,
            ev.SealSigned: leasing.seal_signed,
            ev.WorkFailed: leasing.work_failed,
            ev.ContributionRefused: contributing.contribution_refused,
            ev.RevealRefused: contributing.reveal_refused,
            ev.TransactionSigned: contributing.transaction_signed,
            ev.TransactionMined: contributing.transaction_mined,
            ev.TransactionLost: contributing.transaction_lost,
            ev.TransactionReplaced: contributing.transaction_replaced,
            ev.ChainSeen: following.chain_seen,
            ev.Uploaded: answering.uploaded,
            ev.UploadFailed: answering.upload_failed,
            Authorisation: contributing.authorisation,
            RevealNotice: answering.notice,
            OpeningRequest: answering.opening_request,
            UploadRequest: answering.upload_request,
            Abort: answering.abort,
            TaskDone: answering.task_done,
        }

    # --- what the rim may ask -----------------------------------------------------------------------------------

    def get(self, task_id: str) -> HeldTask | None:
        """The record of a task, or None when it is not held."""
        return self._book.held.get(task_id)

    def find(self, task_id: str) -> HeldTask | None:
        """The record of a task, held or only kept."""
        return self._book.held.get(task_id) or self._book.kept.get(task_id)

    @property
    def held(self) -> tuple[HeldTask, ...]:
        """Every record that is held, in the order of arrival."""
        return tuple(self._book.held.values())

    @property
    def kept(self) -> tuple[HeldTask, ...]:
        """Records of tasks that are over, in case that the chain takes their end back."""
        return tuple(self._book.kept.values())

    @property
    def free_slots(self) -> int:
        """Leases that may come now; none while the process is stopping, or the owner does not want any."""
        return self._book.free_slots

    @property
    def has_done_all(self) -> bool:
        """As many tasks were sealed as there may be: no lease comes any more."""
        return self._book.tasks_left == 0

    def reserved_stake(self, task_id: str) -> int:
        """Stakes (nRLC) that the other tasks held here may lock, but for ``task_id``."""
        unlocked = WORKING | {Phase.SEALED, Phase.CONTRIBUTING}
        return sum(held.worker_stake for held in self.held if held.phase in unlocked and held.task_id != task_id)

    def leases(self) -> tuple[HeldLease, ...]:
        """What heartbeats say of the tasks held."""
        return self._book.leases()

    def handle(self, event: ev.Event) -> list[to_do.Instruction]:
        """Take one event. Events about a task that is not held any more give nothing, or a `Note`.

        Raises:
            InvalidTransition: the event cannot happen in the task's phase; the record is unchanged.
        """
        handler = self._handlers.get(type(event))
        if handler is not None:
            return handler(event)
        task_id: str = event.task_id  # type: ignore[union-attr]
        held = self._book.held.get(task_id)
        if held is not None:
            return self._task_handlers[type(event)](self._book, held, event)
        kept = self._book.kept.get(task_id)
        if kept is None:
            return [to_do.Note(task_id, f"{type(event).__name__}: this task is not held")]
        return self._about_kept(kept, event)

    def _about_kept(self, kept: HeldTask, event: ev.Event) -> list[to_do.Instruction]:
        if isinstance(event, ev.ChainSeen):
            return following.kept_seen(self._book, kept, event)
        if not isinstance(event, _TakesUp):
            return [to_do.Note(kept.task_id, f"{type(event).__name__}: this task is over")]
        held, instructions = self._book.take_up(kept, f"the pool sent {type(event).__name__}")
        return [*instructions, *self._task_handlers[type(event)](self._book, held, event)]

    # --- the process and its connection -------------------------------------------------------------------------

    def _on_restored(self, event: ev.Restored) -> list[to_do.Instruction]:
        self._book.kept = {held.task_id: held for held in event.held if held.is_over}
        self._book.held = {held.task_id: held for held in event.held if not held.is_over}
        # Nobody watched while the process was away: the chain may have taken ends back.
        instructions: list[to_do.Instruction] = [to_do.LookAtChain(kept.task_id) for kept in self.kept]
        for held in self.held:
            instructions += self._resume(held)
        return instructions

    def _resume(self, held: HeldTask) -> list[to_do.Instruction]:
        book = self._book
        match held.phase:
            case Phase.ACCEPTED:
                return [book.begin(held, to_do.Examine)]
            case Phase.DOWNLOADING | Phase.COMPUTING:
                held = book.move(held, Phase.ACCEPTED, "restarted, computes anew")
                return [to_do.Save(held), book.begin(held, to_do.Examine)]
            case Phase.CONTRIBUTING:
                return [book.broadcast(held, Step.CONTRIBUTE)]
            case Phase.REVEALING:
                return [book.broadcast(held, Step.REVEAL)]
            case Phase.UPLOADING:
                held = replace(book.move(held, Phase.REVEALED, "restarted, uploads anew"), upload_requested=True)
                return [*book.save(held), to_do.LookAtChain(held.task_id)]
            case _:
                return [to_do.LookAtChain(held.task_id)]

    def _on_connected(self, _event: ev.PoolConnected) -> list[to_do.Instruction]:
        self._connected = True
        instructions: list[to_do.Instruction] = [to_do.Send(Ready(held=self.leases(), free_slots=self.free_slots))]
        for held in self.held:
            instructions += replies.missed(held)
        return instructions

    def _on_disconnected(self, _event: ev.PoolDisconnected) -> list[to_do.Instruction]:
        self._connected = False
        return []

    def _on_stopping(self, _event: ev.Stopping) -> list[to_do.Instruction]:
        self._book.stopping = True
        instructions: list[to_do.Instruction] = []
        for held in self.held:
            if held.phase in WORKING:
                instructions += self._book.hand_back(held, "The worker is being stopped by its owner.")
        return instructions

    def _on_owner_said(self, event: ev.OwnerSaid) -> list[to_do.Instruction]:
        before = self.free_slots
        self._book.closed = "" if event.takes_work else event.reason or "The worker's owner takes no work now."
        self._book.slots = event.slots or self._first_slots
        if not self._connected or self.free_slots == before:
            return []
        return [to_do.Send(Heartbeat(held=self.leases(), free_slots=self.free_slots))]

    def _on_head_seen(self, event: ev.HeadSeen) -> list[to_do.Instruction]:
        return following.head_seen(self._book, event)

    def _on_lease(self, lease: Lease) -> list[to_do.Instruction]:
        kept = self._book.kept.get(lease.task_id)
        if kept is None:
            return leasing.leased(self._book, lease)
        _, instructions = self._book.take_up(kept, "the pool leases it again")
        return [*instructions, *leasing.leased(self._book, lease)]
