"""The scheduler's working memory, and the few verbs by which its parts change it.

Everything that is counted or queued is kept up to date by these verbs, so that no event makes anybody walk over all
tasks or all workers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fairgrid.pool.core.burdens import Burden, Burdens, DealRecord, Part
from fairgrid.pool.core.credibility import Standings
from fairgrid.pool.core.deal_terms import Bag, DealTerms
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.core.instructions import (
    AwaitDependencies,
    BanWorker,
    ChainInstruction,
    Instruction,
    SendAbort,
    WorkerInstruction,
)
from fairgrid.pool.core.matcher import FirstMatcher, Matcher
from fairgrid.pool.core.phases import (
    ACTIVE_PHASES,
    EXPECTED_PHASES,
    FAULTY_PHASES,
    FINAL_PHASES,
    TRANSITIONS,
    InvalidTransition,
    Phase,
    ReplicaPhase,
)
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.queues import BagQueue, IdleWorkers, WaitingTasks
from fairgrid.pool.core.replica import Replica
from fairgrid.pool.core.task_state import ChainStep, StoryLine, TaskState
from fairgrid.pool.core.timers import Timers
from fairgrid.pool.core.worker_state import Ban, WorkerState
from fairgrid.protocol.trust import FRESH_WEIGHT

if TYPE_CHECKING:
    from fairgrid.pool.core.accounts import Correction

__all__ = ["Book"]

_LONGEST_RETRY_S = 60.0

# Read once: Python 3.11 looks a member up by a function of its class, which takes longer than the comparison.
_SEALING, _CLAIMING = Phase.SEALING, Phase.CLAIMING
_LEASED = ReplicaPhase.LEASED


@dataclass(slots=True)
class Book:
    """All that the scheduler knows, and what it decided since the last event.

    ``now`` is local time, ``chain_time`` the newest block's (0: none seen yet), both in seconds.
    """

    identity: PoolIdentity
    policy: Policy
    matcher: Matcher = field(default_factory=FirstMatcher)
    secret: bytes = b""
    """Nobody outside knows it: which tasks are audited, and who is drawn, hangs on it."""
    standings: Standings = field(init=False)
    tasks: dict[str, TaskState] = field(default_factory=dict)
    bags: dict[str, Bag] = field(default_factory=dict)
    deals: dict[str, DealRecord] = field(default_factory=dict)
    workers: dict[str, WorkerState] = field(default_factory=dict)
    bans: dict[str, Ban] = field(default_factory=dict)
    strikes: dict[str, int] = field(default_factory=dict)
    now: float = 0.0
    chain_time: int = 0
    ticked_at: float = 0.0
    """Local time of the last tick."""
    reconciling: bool = False
    stirred: int = 0
    """Counts what is decided, told or changed."""
    draining: bool = False
    """The operator lets no new task begin."""
    drained: set[str] = field(default_factory=set)
    """Workers that the operator lets have no new lease."""
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Words that the operator gave to workers, connected or not."""
    active: int = 0
    claiming: int = 0
    open_bags: BagQueue = field(default_factory=BagQueue)
    overdue_bags: BagQueue = field(default_factory=BagQueue)
    waiting: WaitingTasks = field(default_factory=WaitingTasks)
    idle: IdleWorkers = field(default_factory=IdleWorkers)
    local_timers: Timers = field(default_factory=Timers)
    chain_timers: Timers = field(default_factory=Timers)
    bag_timers: Timers = field(default_factory=Timers)
    straggler_timers: Timers = field(default_factory=Timers)
    instructions: list[Instruction] = field(default_factory=list)
    lines: list[StoryLine] = field(default_factory=list)
    changed: dict[str, None] = field(default_factory=dict)
    changed_bags: dict[str, Bag] = field(default_factory=dict)
    restless: dict[str, None] = field(default_factory=dict)
    """Tasks to advance before the event is over."""
    due: dict[str, None] = field(default_factory=dict)
    """Tasks to look at before the event is over because their time has come."""
    advanced: dict[str, None] = field(default_factory=dict)
    """Tasks that were looked at; each is told when to be looked at next."""
    stragglers: dict[str, None] = field(default_factory=dict)
    """Tasks with a replica that may get a copy, once those that wait for workers had their turn."""
    finished: dict[str, None] = field(default_factory=dict)
    corrections: dict[str, Correction] = field(default_factory=dict)
    """What the accounts of tasks were, that the chain took back since this was last asked for."""
    behind: int = 0
    """So many blocks of the time before the start are not read yet: until then nothing is given out, and nothing that
    a worker holds is judged."""
    tally: Counter[str] = field(default_factory=Counter)
    """How often what happened, for whoever measures: ``lease/lost`` and other ends of replicas, ``audit/agreed``."""
    dependents: dict[str, None] = field(default_factory=dict)
    """Tasks that wait for the results of others."""
    aside: dict[str, None] = field(default_factory=dict)
    """Deals whose next task would be one dependent too many."""
    _burdens: Burdens = field(default_factory=Burdens)
    _connected: dict[str, dict[str, None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.standings = Standings(self.policy)

    # --- tasks and deals ------------------------------------------------------------------------------------------

    def add_task(self, task: TaskState) -> None:
        self.tasks[task.task_id] = task
        record = self.deals.setdefault(task.deal.deal_id, DealRecord())
        record.tasks[task.task_id] = None
        self._count(task.phase, 1)
        if task.is_final:
            self.finished[task.task_id] = None
        if task.waiting:
            self.hold(task)
        for replica in task.replicas:
            self._burdens.enter(task, replica, record)

    def drop_task(self, task: TaskState) -> None:
        """Forget a task that is over."""
        del self.tasks[task.task_id]
        self.finished.pop(task.task_id, None)
        self._count(task.phase, -1)
        self.waiting.remove(task.task_id)
        self.local_timers.forget(task.task_id)
        self.chain_timers.forget(task.task_id)
        record = self.deals[task.deal.deal_id]
        for replica in task.replicas:
            self._burdens.leave(task, replica, record)
        del record.tasks[task.task_id]
        self.settle_bag(task.deal.deal_id)

    def settle_bag(self, deal_id: str) -> None:
        """Forget a deal of which nothing more is expected."""
        bag, record = self.bags.get(deal_id), self.deals.get(deal_id)
        if (record is not None and record.tasks) or (bag is not None and bag.left):
            return
        self.deals.pop(deal_id, None)
        self.waiting.forget_deal(deal_id)
        if bag is not None:
            bag.settled = True
            del self.bags[deal_id]
            self.bag_timers.forget(deal_id)
            self.straggler_timers.forget(deal_id)
            self.touch_bag(bag)

    def replace_deal(self, task: TaskState, deal: DealTerms) -> None:
        """Give a task other terms of its deal."""
        difference = (deal.worker_stake - task.deal.worker_stake) * task.units
        task.deal = deal
        if difference:
            for replica in task.in_phase(*EXPECTED_PHASES):
                self._burdens.reserve(replica.worker, difference)
        self.touch(task)

    def touch_bag(self, bag: Bag) -> None:
        """Have the deal stored."""
        self.stirred += 1
        self.changed_bags[bag.deal.deal_id] = bag

    def _count(self, phase: Phase, change: int) -> None:
        if phase in ACTIVE_PHASES:
            self.active += change
        elif phase is Phase.CLAIMING:
            self.claiming += change

    # --- what was decided -----------------------------------------------------------------------------------------

    def do(self, instruction: Instruction) -> None:
        self.stirred += 1
        self.instructions.append(instruction)

    def send(self, instruction: WorkerInstruction) -> None:
        """Tell a worker, if it is connected; if not, it is told when it comes back."""
        if instruction.worker in self.workers:
            self.stirred += 1
            self.instructions.append(instruction)

    def tell(self, task: TaskState, text: str, *, worker: str = "") -> None:
        """Add a line to the task's story."""
        task_id, story = task.task_id, task.story
        line = StoryLine(task_id, len(story) + 1, self.now, text, worker)
        story.append(line)
        self.lines.append(line)
        self.stirred += 1
        self.changed[task_id] = None

    def touch(self, task: TaskState) -> None:
        """Have the task stored."""
        self.stirred += 1
        self.changed[task.task_id] = None

    def enter(self, task: TaskState, phase: Phase, why: str) -> None:
        """Put the task into another phase.

        Raises:
            InvalidTransition: the table does not have this step, and it is not the chain that dictates it.
        """
        before = task.phase
        if before is phase:
            return
        if phase not in TRANSITIONS[before] and not self.reconciling:
            raise InvalidTransition(task_id=task.task_id, phase=before, wanted=phase, story=task.story)
        if (before in ACTIVE_PHASES) != (phase in ACTIVE_PHASES) or before is _CLAIMING or phase is _CLAIMING:
            self._count(before, -1)
            self._count(phase, 1)
        task.phase = phase
        if task.waiting:
            self.release(task)
        if before is _SEALING:
            self.waiting.remove(task.task_id)
        if phase in FINAL_PHASES:
            self.finished[task.task_id] = None
        elif before in FINAL_PHASES:
            self.finished.pop(task.task_id, None)
        self.tell(task, f"{phase!s}: {why}")

    def hold(self, task: TaskState) -> None:
        """Let the task wait for the results that it reads, and have somebody look for them."""
        task.waiting = True
        self.dependents[task.task_id] = None
        self.do(AwaitDependencies(task.task_id, task.deal.deal_id, task.index, task.count))

    def release(self, task: TaskState) -> None:
        """The task waits for no results any more."""
        if task.waiting:
            task.waiting = False
            self.dependents.pop(task.task_id, None)
            self.touch(task)

    def issue(self, task: TaskState, step: str, instruction: ChainInstruction) -> None:
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

    # --- replicas -------------------------------------------------------------------------------------------------

    def add_replica(self, task: TaskState, replica: Replica) -> None:
        task.replicas.append(replica)
        self._burdens.enter(task, replica, self.deals[task.deal.deal_id])

    def burden(self, worker: str) -> Burden:
        """What a worker has on its hands; read only."""
        return self._burdens.of(worker)

    def parts_of(self, worker: str) -> tuple[Part, ...]:
        """All replicas of a worker in the tasks that are here."""
        return tuple(self.burden(worker).parts.values())

    def move(self, task: TaskState, replica: Replica, phase: ReplicaPhase) -> None:
        """Put a replica into another phase. Who computes no longer has a slot free for another task."""
        before = replica.phase
        if before is phase:
            return
        self._burdens.move(task, replica, phase, self.deals[task.deal.deal_id])
        worker = self.workers.get(replica.worker)
        if before is _LEASED and worker is not None:
            worker.free_slots = min(worker.free_slots + 1, worker.slots)
        self.touch(task)
        if worker is not None:
            self.place(worker, anew=True)

    def ask_opening(self, task: TaskState, replica: Replica, at: float) -> None:
        """Note when a replica was asked to open its seal (0: never)."""
        owed = replica.owes_opening
        replica.opening_asked_at = at
        self._burdens.owe(replica.worker, replica.owes_opening - owed)
        self._owing_changed(task, replica)

    def opened(self, task: TaskState, replica: Replica, digest: str) -> None:
        """Note what a replica's opening said."""
        owed = replica.owes_opening
        replica.opened, replica.digest = True, digest
        self._burdens.owe(replica.worker, replica.owes_opening - owed)
        self._owing_changed(task, replica)

    def _owing_changed(self, task: TaskState, replica: Replica) -> None:
        self.touch(task)
        worker = self.workers.get(replica.worker)
        if worker is not None:
            self.place(worker, anew=True)

    def end(self, task: TaskState, replica: Replica, phase: ReplicaPhase, why: str) -> None:
        """End a worker's part in a task, and tell it so."""
        if phase in FAULTY_PHASES:
            self.strikes[replica.worker] = self.strikes.get(replica.worker, 0) + 1
            self.standings.fault(replica.worker, replica.owner, self.now)
        self.move(task, replica, phase)
        self.tally[f"lease/{phase.value}"] += 1
        self.restless[task.task_id] = None
        self.tell(task, f"A worker's part ends ({phase.value}): {why}", worker=replica.worker)
        self.send(SendAbort(task.task_id, replica.worker, replica.lease_id, why[:500]))

    def ban(self, task: TaskState, replica: Replica, reason: str, evidence: str) -> None:
        """Ban worker and owner for good; what they hold elsewhere ends."""
        if replica.worker in self.bans:
            return
        ban = Ban(replica.worker, replica.owner, task.task_id, reason, evidence, self.now)
        self.bans[replica.worker] = ban
        self.bans.setdefault(replica.owner, ban)
        self.tell(task, f"The pool bans a worker: {reason}", worker=replica.worker)
        self.do(BanWorker(task.task_id, replica.worker, replica.owner, reason, evidence))
        for part in self._burdens.of_owner(replica.owner):
            if not part.replica.ended:
                self.end(part.task, part.replica, ReplicaPhase.BANNED, "its owner was banned")
        for worker in list(self._connected.get(replica.owner, {})):
            self.disconnect(worker)

    # --- workers --------------------------------------------------------------------------------------------------

    def is_banned(self, worker: str, owner: str) -> bool:
        return worker in self.bans or owner in self.bans

    def connect(self, worker: WorkerState) -> None:
        self.disconnect(worker.worker)
        self.workers[worker.worker] = worker
        self._connected.setdefault(worker.owner, {})[worker.worker] = None

    def disconnect(self, worker: str) -> None:
        """It is not here any more; one that was not is nothing."""
        known = self.workers.pop(worker, None)
        if known is not None:
            self.idle.remove(worker)
            others = self._connected[known.owner]
            del others[worker]
            if not others:
                del self._connected[known.owner]

    def place(self, worker: WorkerState, *, anew: bool = False) -> None:
        """Put a worker where it belongs among the idle ones. ``anew``: it may suit whom it did not suit before."""
        name = worker.worker
        if worker.ready and worker.free_slots > 0 and not self.burden(name).owing and name not in self.drained:
            self.idle.put(
                name,
                self.strikes.get(name, 0),
                worker.leases_given,
                experienced=worker.weight > FRESH_WEIGHT,
                anew=anew,
            )
        else:
            self.idle.remove(name)

    def forgive(self, worker: str) -> None:
        """Its failures count no more: it did what it took on."""
        if self.strikes.pop(worker, None) is not None and worker in self.workers:
            self.place(self.workers[worker])
