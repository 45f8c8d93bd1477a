"""The worker's records, and how every part of its machine changes them.

A record is *held* from its lease until the chain says that its task is over and nobody asks for it any more. Then it is
*kept* for a safe depth: a reorganisation deeper than the confirmations may take the end back, and nobody but this
worker can reveal and upload again.
"""

from __future__ import annotations

from dataclasses import replace

from fairgrid.protocol.worker_messages import HeldLease
from fairgrid.worker.core import instructions as to_do
from fairgrid.worker.core import replies
from fairgrid.worker.core.depth import Depth
from fairgrid.worker.core.held import WORKING, HeldTask, Phase, Step, moved

__all__ = ["WorkerBook"]


class WorkerBook:
    """``held`` and ``kept`` records by task id, and what is remembered of them only while the process lives.

    ``busy`` names what is under way for a task, ``mined_at`` the block of its last transaction; ``closed`` says why
    the owner takes no work (empty: it does); ``tasks_left`` how many more tasks may be sealed (None: any number).
    """

    def __init__(
        self, *, slots: int, confirmations: int, keep_s: int, keep_blocks: int, tasks: int | None = None
    ) -> None:
        self.slots = slots
        self.tasks_left = tasks
        self.keep_s = keep_s
        self.keep_blocks = keep_blocks
        self.held: dict[str, HeldTask] = {}
        self.kept: dict[str, HeldTask] = {}
        self.busy: dict[str, type[to_do.Instruction]] = {}
        self.depth = Depth(confirmations)
        self.mined_at: dict[str, int] = {}
        self.stopping = False
        self.closed = ""

    @property
    def free_slots(self) -> int:
        """Leases that may come now; none while the process is stopping, or the owner does not want any."""
        if self.stopping or self.closed:
            return 0
        working = [held for held in self.held.values() if held.phase in WORKING]
        free = self.slots - len(working)
        if self.tasks_left is not None:
            free = min(free, self.tasks_left - sum(map(_tasks_of, working)))
        return max(0, free)

    def count_sealed(self, held: HeldTask) -> None:
        """The tasks of ``held`` were sealed for the first time."""
        if self.tasks_left is not None:
            self.tasks_left = max(0, self.tasks_left - _tasks_of(held))

    def leases(self) -> tuple[HeldLease, ...]:
        """What heartbeats say of the tasks held."""
        return tuple(held.held_lease for held in self.held.values())

    def move(self, held: HeldTask, phase: Phase, because: str) -> HeldTask:
        """The record in its next phase; not yet stored.

        Raises:
            InvalidTransition: its phase does not lead there.
        """
        moved(held, phase, because)
        return replace(held, phase=phase, story=held.told(f"{phase}: {because}"))

    def save(self, held: HeldTask) -> list[to_do.Instruction]:
        """Store it."""
        self.held[held.task_id] = held
        return [to_do.Save(held)]

    def begin(self, held: HeldTask, instruction: type[to_do.Instruction]) -> to_do.Instruction:
        """Let something begin whose end will be reported."""
        self.held[held.task_id] = held
        self.busy[held.task_id] = instruction
        return instruction(held.task_id)  # type: ignore[call-arg,arg-type]

    def broadcast(self, held: HeldTask, step: Step) -> to_do.Instruction:
        """Let the stored transaction be sent."""
        self.busy[held.task_id] = to_do.Broadcast
        return to_do.Broadcast(held.task_id, step)

    def forget(self, held: HeldTask, outcome: str) -> list[to_do.Instruction]:
        """Drop it with its folder: nothing hangs on it."""
        self._let_go(held)
        return [to_do.Forget(held, outcome)]

    def retire(self, held: HeldTask, outcome: str, block: int) -> list[to_do.Instruction]:
        """Its task is over at ``block``: hold it no longer, keep it for as long as the chain may take that back."""
        if self.keep_blocks <= 0:
            return self.forget(held, outcome)
        self._let_go(held)
        held = replace(held, outcome=outcome, ended_block=block, story=held.told(f"over at block {block}: {outcome}"))
        self.kept[held.task_id] = held
        return [to_do.Retire(held)]

    def take_up(self, kept: HeldTask, because: str) -> tuple[HeldTask, list[to_do.Instruction]]:
        """Hold a record again that was only kept."""
        del self.kept[kept.task_id]
        held = replace(kept, outcome="", ended_block=0, attempts=0, story=kept.told(f"taken up again: {because}"))
        self.held[held.task_id] = held
        return held, [to_do.TakeUp(held)]

    def drop(self, kept: HeldTask) -> to_do.Instruction:
        """Nothing takes the end of its task back any more."""
        del self.kept[kept.task_id]
        return to_do.Drop(kept)

    def hand_back(self, held: HeldTask, reason: str) -> list[to_do.Instruction]:
        """Give the lease back to the pool."""
        return [
            to_do.Cancel(held.task_id),
            *self.forget(held, f"handed back: {reason}"),
            replies.failed(held, reason),
            to_do.Note(held.task_id, reason),
        ]

    def _let_go(self, held: HeldTask) -> None:
        self.held.pop(held.task_id, None)
        self.busy.pop(held.task_id, None)
        self.mined_at.pop(held.task_id, None)
        self.depth.forget(held.task_id)


def _tasks_of(held: HeldTask) -> int:
    return max(held.count, 1)
