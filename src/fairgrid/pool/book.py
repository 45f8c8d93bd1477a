"""The scheduler's working memory, and the few verbs by which its parts change it."""

from __future__ import annotations

from dataclasses import dataclass, field

from fairgrid.pool.instructions import (
    BanWorker,
    Claim,
    Finalize,
    Initialize,
    Instruction,
    SendAbort,
    WorkerInstruction,
)
from fairgrid.pool.matcher import FirstMatcher, Matcher
from fairgrid.pool.phases import TRANSITIONS, InvalidTransition, Phase, ReplicaPhase
from fairgrid.pool.policy import Policy
from fairgrid.pool.state import Ban, ChainStep, PoolIdentity, Replica, StoryLine, TaskState, WorkerState

__all__ = ["Book", "Part"]

_LONGEST_RETRY_S = 60.0
_NOT_A_FAULT = (ReplicaPhase.DISMISSED, ReplicaPhase.BANNED)


@dataclass(frozen=True, slots=True)
class Part:
    """A worker's replica and the task that it belongs to."""

    task: TaskState
    replica: Replica


@dataclass(slots=True)
class Book:
    """All that the scheduler knows, and what it decided since the last event.

    ``now`` is local time, ``chain_time`` the newest block's (0: none seen yet), both in seconds.
    """

    identity: PoolIdentity
    policy: Policy
    matcher: Matcher = field(default_factory=FirstMatcher)
    tasks: dict[str, TaskState] = field(default_factory=dict)
    workers: dict[str, WorkerState] = field(default_factory=dict)
    bans: dict[str, Ban] = field(default_factory=dict)
    strikes: dict[str, int] = field(default_factory=dict)
    room: int = 0
    now: float = 0.0
    chain_time: int = 0
    reconciling: bool = False
    dispatch_wanted: bool = False
    instructions: list[Instruction] = field(default_factory=list)
    lines: list[StoryLine] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)
    _parts: dict[str, list[Part]] = field(default_factory=dict)

    def add_task(self, task: TaskState) -> None:
        self.tasks[task.task_id] = task
        for replica in task.replicas:
            self._parts.setdefault(replica.worker, []).append(Part(task, replica))

    def drop_task(self, task: TaskState) -> None:
        del self.tasks[task.task_id]
        for worker in {replica.worker for replica in task.replicas}:
            kept = [part for part in self._parts[worker] if part.task is not task]
            if kept:
                self._parts[worker] = kept
            else:
                del self._parts[worker]

    def add_replica(self, task: TaskState, replica: Replica) -> None:
        task.replicas.append(replica)
        self._parts.setdefault(replica.worker, []).append(Part(task, replica))

    def parts_of(self, worker: str) -> tuple[Part, ...]:
        """All replicas of a worker in the tasks that are here."""
        return tuple(self._parts.get(worker, ()))

    def count_room(self) -> None:
        """Work out how many more tasks may be taken on."""
        active = sum(1 for task in self.tasks.values() if not task.is_final and task.phase is not Phase.RECEIVED)
        self.room = self.policy.max_active_tasks - active

    def do(self, instruction: Instruction) -> None:
        self.instructions.append(instruction)

    def send(self, instruction: WorkerInstruction) -> None:
        """Tell a worker, if it is connected; if not, it is told when it comes back."""
        if instruction.worker in self.workers:
            self.instructions.append(instruction)

    def tell(self, task: TaskState, text: str, *, worker: str = "") -> None:
        """Add a line to the task's story."""
        line = StoryLine(task.task_id, len(task.story) + 1, self.now, text, worker)
        task.story.append(line)
        self.lines.append(line)
        self.changed.add(task.task_id)

    def touch(self, task: TaskState) -> None:
        """Have the task stored."""
        self.changed.add(task.task_id)

    def enter(self, task: TaskState, phase: Phase, why: str) -> None:
        """Put the task into another phase.

        Raises:
            InvalidTransition: the table does not have this step, and it is not the chain that dictates it.
        """
        if task.phase is phase:
            return
        if phase not in TRANSITIONS[task.phase] and not self.reconciling:
            raise InvalidTransition(task_id=task.task_id, phase=task.phase, wanted=phase, story=task.story)
        task.phase = phase
        if phase is Phase.SEALING:
            self.dispatch_wanted = True
        self.tell(task, f"{phase.value}: {why}")

    def issue(self, task: TaskState, step: str, instruction: Initialize | Finalize | Claim) -> None:
        """Send a transaction unless it is under way, or must wait after a failure."""
        state = task.steps.setdefault(step, ChainStep())
        if state.issued or self.now < state.retry_at:
            return
        state.issued = True
        state.attempts += 1
        self.tell(task, f"The pool sends {step} (attempt {state.attempts}).")
        self.do(instruction)

    def step_failed(self, task: TaskState, step: str, reason: str) -> None:
        """Let a transaction be tried again: after 2 s, then 4, 8 … 60."""
        state = task.steps.setdefault(step, ChainStep())
        state.issued = False
        state.retry_at = self.now + min(2.0 ** min(state.attempts, 10), _LONGEST_RETRY_S)
        self.tell(task, f"The pool's {step} was refused: {reason}")

    def forget_step(self, task: TaskState, *steps: str) -> None:
        """The chain took a step back: it may be sent again (the rim then sends the very same bytes)."""
        for step in steps:
            if step in task.steps:
                task.steps[step].issued = False
                task.steps[step].retry_at = 0.0

    def end(self, task: TaskState, replica: Replica, phase: ReplicaPhase, why: str) -> None:
        """End a worker's part in a task, and tell it so."""
        if replica.phase is ReplicaPhase.LEASED:
            self._free_slot(replica.worker)
        replica.phase = phase
        if phase not in _NOT_A_FAULT:
            self.strikes[replica.worker] = self.strikes.get(replica.worker, 0) + 1
        self.dispatch_wanted = True
        self.tell(task, f"A worker's part ends ({phase.value}): {why}", worker=replica.worker)
        self.send(SendAbort(task.task_id, replica.worker, replica.lease_id, why[:500]))

    def sealed(self, replica: Replica) -> None:
        """A replica computes no longer: its worker has a slot for another."""
        self._free_slot(replica.worker)
        self.dispatch_wanted = True

    def ban(self, task: TaskState, replica: Replica, reason: str, evidence: str) -> None:
        """Ban worker and owner for good; what they hold elsewhere ends."""
        if replica.worker in self.bans:
            return
        ban = Ban(replica.worker, replica.owner, task.task_id, reason, evidence, self.now)
        self.bans[replica.worker] = ban
        self.bans.setdefault(replica.owner, ban)
        self.tell(task, f"The pool bans a worker: {reason}", worker=replica.worker)
        self.do(BanWorker(task.task_id, replica.worker, replica.owner, reason, evidence))
        for other in self.tasks.values():
            for held in other.replicas:
                if held.owner == replica.owner and not held.ended:
                    self.end(other, held, ReplicaPhase.BANNED, "its owner was banned")
        for worker in [state.worker for state in self.workers.values() if state.owner == replica.owner]:
            del self.workers[worker]

    def is_banned(self, worker: str, owner: str) -> bool:
        return worker in self.bans or owner in self.bans

    def _free_slot(self, worker: str) -> None:
        state = self.workers.get(worker)
        if state is not None:
            state.free_slots = min(state.free_slots + 1, state.slots)
