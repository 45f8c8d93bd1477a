"""A small world for the scheduler: a chain with the hub's consensus rule, and workers that do as they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from msgspec.structs import replace

from fairgrid.pool.core.deal_terms import DealTerms
from fairgrid.pool.core.events import (
    ChainReconciled,
    ConsensusReached,
    ContributionMined,
    DealMatched,
    Event,
    Held,
    OpeningReceived,
    RevealMined,
    RunOpened,
    RunSettledAtOnce,
    SealReceived,
    TaskClaimed,
    TaskFinalized,
    TaskInitialized,
    TaskSettledAtOnce,
    Tick,
    UploadRejected,
    UploadReported,
    UploadVerified,
    WorkerJoined,
    WorkerLost,
    WorkerReady,
)
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.core.instructions import (
    AwaitDependencies,
    BanWorker,
    Claim,
    Finalize,
    FinalizeRun,
    Initialize,
    Instruction,
    OpenRun,
    PayAuditor,
    RefundRest,
    Reopen,
    RequestOpening,
    RequestUpload,
    SendAbort,
    SendAuthorisation,
    SendDone,
    SendLease,
    SendRevealNotice,
    SplitRun,
    VerifyUpload,
)
from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.matching import NO_REQUIREMENTS, Requirements
from fairgrid.pool.core.phases import ReplicaPhase
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.task_facts import ChainFacts, SeenContribution
from fairgrid.pool.core.task_state import TaskState
from fairgrid.protocol.hexes import ZERO_ADDRESS, checksum, keccak, to_hex32
from fairgrid.protocol.ids import result_hash, task_id
from fairgrid.protocol.runs import run_id
from fairgrid.protocol.seals import seal_hash
from fairgrid.protocol.trust import consensus_reached, worker_weight
from fairgrid.protocol.views import ContributionStatus, TaskStatus
from tests.pool.fakes import Fake, address, digest_of

IDENTITY = PoolIdentity(31337, checksum("0x" + "aa" * 20), checksum("0x" + "bb" * 20))
ROOT = "0x" + "70" * 32
TIMEREF = 60
START = 1_000_000
_Found = TypeVar("_Found", bound=Instruction)


class World:
    """Feeds the machine, obeys its instructions as far as the test lets it, and remembers all of them."""

    def __init__(self, fakes: Iterable[Fake], policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self.machine = PoolMachine(IDENTITY, self.policy)
        self.now = float(START)
        self.chain_time = START
        self.fakes = {fake.address: fake for fake in fakes}
        self.log: list[Instruction] = []
        self.pending: list[Instruction] = []
        self.chain: dict[str, ChainFacts] = {}
        self.deals: dict[str, DealTerms] = {}
        self.revealed_digest: dict[str, str] = {}
        self.cursors: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        self.runs: dict[str, tuple[int, int]] = {}
        self.awaited: list[AwaitDependencies] = []
        self.paid: list[PayAuditor] = []
        self.on_send: Callable[[Instruction], bool] = lambda instruction: False
        self.tick()
        for fake in self.fakes.values():
            self.join(fake)

    # --- feeding --------------------------------------------------------------------------------------------------

    def feed(self, event: Event) -> tuple[Instruction, ...]:
        outcome = self.machine.handle(event, now=self.now)
        self.log.extend(outcome.instructions)
        self.pending.extend(outcome.instructions)
        return outcome.instructions

    def tick(self, seconds: float = 0.0) -> tuple[Instruction, ...]:
        self.now += seconds
        self.chain_time += int(seconds)
        return self.feed(Tick(self.chain_time))

    def join(self, fake: Fake, held: tuple[Held, ...] | None = None) -> None:
        fake.connected = True
        if held is None:
            held = tuple(Held(lease.lease_id, lease.task_id, "computing") for lease in fake.leases.values())
        owner, machine = address(fake.owner), fake.machine
        self.feed(
            WorkerJoined(
                fake.address,
                owner,
                fake.slots,
                fake.score,
                fake.stake,
                machine=machine,
                network=fake.network,
                fast=fake.fast,
                settles=fake.settles,
            )
        )
        self.feed(WorkerReady(fake.address, held, fake.slots - len(held)))

    def lose(self, fake: Fake) -> None:
        fake.connected = False
        self.feed(WorkerLost(fake.address))

    def deal(
        self,
        trust: int,
        *,
        bot_size: int = 1,
        worker_stake: int = 10,
        name: str = "deal",
        callback: str = ZERO_ADDRESS,
        refusal: str = "",
        lane: bool = False,
        waits: bool = False,
        price: int = 0,
        requester: str = "requester",
        requirements: Requirements = NO_REQUIREMENTS,
    ) -> str:
        """Match a deal; gives the id of its first task."""
        deal_id = to_hex32(keccak(name.encode()))
        terms = DealTerms(
            deal_id=deal_id,
            trust=trust,
            timeref=TIMEREF,
            start_time=self.chain_time,
            worker_stake=worker_stake,
            requester=address(requester),
            callback=callback,
            refusal=refusal,
            in_batch_lane=lane,
            waits=waits,
            price=price,
            requirements=requirements,
        )
        if lane:
            self.chain[deal_id], self.deals[deal_id] = ChainFacts(), terms
            self.cursors[deal_id], self.sizes[deal_id] = 0, bot_size
        for index in range(bot_size):
            self.chain[task_id(deal_id, index)] = ChainFacts()
            self.deals[task_id(deal_id, index)] = terms
        self.feed(DealMatched(terms, 0, bot_size))
        return task_id(deal_id, 0)

    # --- obeying --------------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Obey the oldest instruction that is still pending; False if there is none."""
        if not self.pending:
            return False
        self.obey(self.pending.pop(0))
        return True

    def run(self, limit: int = 2_000) -> None:
        """Obey until nothing is pending."""
        for _ in range(limit):
            if not self.step():
                return
        raise AssertionError("the pool and its workers never come to rest")

    def run_until_final(self, task: str, *, seconds: float = 5.0, limit: int = 1_000) -> TaskState:
        """Obey, and let time pass, until the task is over."""
        for _ in range(limit):
            self.run()
            state = self.machine.tasks[task]
            if state.is_final:
                return state
            self.tick(seconds)
        raise AssertionError(f"the task never ends: {[line.text for line in self.machine.story(task)]}")

    def obey(self, instruction: Instruction) -> None:
        if self.on_send(instruction):
            return
        match instruction:
            case Initialize():
                self._set(instruction.task_id, status=TaskStatus.ACTIVE)
                self.feed(TaskInitialized(instruction.task_id))
            case Finalize():
                self._set(instruction.task_id, status=TaskStatus.COMPLETED)
                self.feed(TaskFinalized(instruction.task_id))
            case Claim():
                assert self.chain_time >= self.deals[instruction.task_id].final_deadline
                assert self.chain[instruction.task_id].status in (TaskStatus.ACTIVE, TaskStatus.REVEALING)
                self._set(instruction.task_id, status=TaskStatus.FAILED)
                self.feed(TaskClaimed(instruction.task_id))
            case Reopen():
                self.reopen(instruction.task_id)
            case OpenRun():
                assert instruction.index == self.cursors[instruction.deal_id], "runs are opened at the cursor"
                self.cursors[instruction.deal_id] += instruction.count
                self._open_run(instruction.deal_id, instruction.index, instruction.count)
            case SplitRun():
                self._split(instruction)
            case FinalizeRun():
                assert self.chain[instruction.task_id].status is TaskStatus.REVEALING
                assert instruction.root == ROOT
                self._set(instruction.task_id, status=TaskStatus.COMPLETED)
                self.feed(TaskFinalized(instruction.task_id))
            case RefundRest():
                deal = instruction.task_id
                assert self.chain_time >= self.deals[deal].final_deadline and self.cursors[deal] < self.sizes[deal]
                self._set(deal, status=TaskStatus.FAILED)
                self.feed(TaskClaimed(deal))
            case VerifyUpload():
                self._verify(instruction)
            case PayAuditor():
                self.paid.append(instruction)
            case AwaitDependencies():
                self.awaited.append(instruction)
            case BanWorker():
                for fake in self.fakes.values():
                    if fake.address == instruction.worker:
                        self.lose(fake)
            case _:
                fake = self.fakes[instruction.worker]
                if fake.connected:
                    self._worker(fake, instruction)

    def _open_run(self, deal_id: str, first: int, count: int) -> None:
        task = run_id(deal_id, first, count)
        self.runs[task], self.deals[task] = (first, count), self.deals[deal_id]
        self.chain[task] = ChainFacts(TaskStatus.ACTIVE)
        self.feed(RunOpened(task, deal_id, first, count))

    def _split(self, instruction: SplitRun) -> None:
        task, left = instruction.task_id, instruction.left
        facts = self.chain[task]
        first, count = self.runs[task]
        assert facts.status is TaskStatus.ACTIVE and 0 < left < count
        assert not facts.contributions or len({seen.result_hash for seen in facts.contributions}) > 1
        self._set(task, status=TaskStatus.SPLIT)
        self.feed(ChainReconciled(task, self.chain[task]))
        deal_id = self.deals[task].deal_id
        self._open_run(deal_id, first, left)
        self._open_run(deal_id, first + left, count - left)

    def answer(self, fake: Fake, task: str) -> str:
        """What a worker finds out about a task or run."""
        first, count = self.runs.get(task, (-1, 0))
        lies = first <= fake.lies_at < first + count
        return fake.answer + (f" but for {fake.lies_at}" if lies else "")

    def _worker(self, fake: Fake, instruction: Instruction) -> None:
        match instruction:
            case SendLease():
                fake.leases[instruction.lease_id] = instruction
                if instruction.count:
                    run = instruction.task_id
                    self.runs[run] = (instruction.index, instruction.count)
                    self.deals[run] = self.deals[instruction.deal_id]
                    self.chain.setdefault(run, ChainFacts())
                if fake.seals:
                    self.seal(fake, instruction)
            case SendAuthorisation() if fake.obeys_authorisation:
                if instruction.fast and fake.settles and instruction.task_id in self.runs:
                    self.settle_run(fake, instruction.task_id)
                elif instruction.fast and fake.fast:
                    self.contribute_and_finalize(fake, instruction.task_id)
                else:
                    self.contribute(fake, instruction.task_id)
            case SendRevealNotice() if fake.reveals:
                self.reveal(fake, instruction.task_id)
            case RequestOpening() if fake.opens:
                self.open(fake, instruction.task_id, instruction.lease_id)
            case RequestUpload() if fake.uploads:
                answer = self.answer(fake, instruction.task_id)
                cid = f"cid:{fake.uploads_as or answer}"
                opening = (digest_of(fake.opens_as or answer), fake.salt) if instruction.early else ("", "")
                self.feed(UploadReported(fake.address, instruction.lease_id, instruction.task_id, cid, "0x", *opening))
            case SendAbort():
                fake.leases.pop(instruction.lease_id, None)
            case SendDone():
                for lease_id in [key for key, lease in fake.leases.items() if lease.task_id == instruction.task_id]:
                    del fake.leases[lease_id]
            case _:
                pass

    def seal(self, fake: Fake, lease: SendLease) -> tuple[Instruction, ...]:
        seal = seal_hash(
            IDENTITY.chain_id,
            IDENTITY.hub,
            lease.task_id,
            lease.round,
            fake.address,
            digest_of(self.answer(fake, lease.task_id)),
            fake.salt,
        )
        return self.feed(SealReceived(fake.address, lease.lease_id, lease.task_id, lease.round, seal, "0x" + "00" * 65))

    def contribute(self, fake: Fake, task: str) -> None:
        facts = self.chain[task]
        if facts.status is not TaskStatus.ACTIVE or facts.contribution(fake.address) is not None:
            return
        if self.chain_time >= self.deals[task].contribution_deadline:
            return
        value = result_hash(task, digest_of(fake.contributes or self.answer(fake, task)))
        seen = SeenContribution(fake.address, value, worker_weight(fake.score))
        facts = facts.with_contribution(seen)
        self.chain[task] = facts
        self.feed(ContributionMined(task, fake.address, value, seen.weight))
        groups = facts.groups()
        if consensus_reached(groups[value], 1 + sum(groups.values()), self.deals[task].trust):
            deadline = self.chain_time + 2 * TIMEREF
            self._set(task, status=TaskStatus.REVEALING, consensus_value=value, reveal_deadline=deadline)
            self.feed(ConsensusReached(task, value, deadline))

    def contribute_and_finalize(self, fake: Fake, task: str) -> None:
        facts = self.chain[task]
        if facts.status is not TaskStatus.ACTIVE or facts.contributions or self.deals[task].trust > 1:
            return
        digest = digest_of(fake.contributes or self.answer(fake, task))
        value = result_hash(task, digest)
        seen = SeenContribution(fake.address, value, 2, ContributionStatus.PROVED)
        deadline = self.chain_time + 2 * TIMEREF
        self.chain[task] = ChainFacts(TaskStatus.COMPLETED, value, deadline, digest, (seen,))
        self.feed(TaskSettledAtOnce(task, fake.address, value, digest))

    def settle_run(self, fake: Fake, run: str) -> None:
        (first, count), deal = self.runs[run], self.deals[run]
        if self.chain[run].status is not TaskStatus.UNSET or self.cursors[deal.deal_id] != first:
            return
        self.cursors[deal.deal_id] += count
        digest = digest_of(fake.contributes or self.answer(fake, run))
        value = result_hash(run, digest)
        seen = SeenContribution(fake.address, value, 2, ContributionStatus.PROVED)
        self.chain[run] = ChainFacts(TaskStatus.COMPLETED, value, self.chain_time + 2 * TIMEREF, digest, (seen,))
        self.feed(RunSettledAtOnce(run, deal.deal_id, first, count, fake.address, value, digest))

    def reveal(self, fake: Fake, task: str) -> None:
        facts = self.chain[task]
        seen = facts.contribution(fake.address)
        digest = digest_of(fake.contributes or self.answer(fake, task))
        if facts.status is not TaskStatus.REVEALING or self.chain_time >= facts.reveal_deadline:
            return
        if seen is None or seen.result_hash != facts.consensus_value or seen.status is ContributionStatus.PROVED:
            return
        self.chain[task] = replace(facts, result_digest=digest).with_contribution(
            replace(seen, status=ContributionStatus.PROVED)
        )
        self.feed(RevealMined(task, fake.address, digest))

    def reopen(self, task: str) -> None:
        facts = self.chain[task]
        assert facts.status is TaskStatus.REVEALING and not facts.revealed()
        assert facts.reveal_deadline <= self.chain_time < self.deals[task].final_deadline
        discarded = tuple(
            replace(seen, status=ContributionStatus.REJECTED) if seen.result_hash == facts.consensus_value else seen
            for seen in facts.contributions
        )
        self.chain[task] = ChainFacts(TaskStatus.ACTIVE, contributions=discarded)
        self.feed(ChainReconciled(task, self.chain[task]))

    def open(self, fake: Fake, task: str, lease_id: str) -> None:
        digest = digest_of(fake.opens_as or self.answer(fake, task))
        self.feed(OpeningReceived(fake.address, lease_id, task, digest, fake.salt))

    def _verify(self, instruction: VerifyUpload) -> None:
        found = digest_of(instruction.cid.removeprefix("cid:"))
        if instruction.cid == "cid:gone":
            event: Event = UploadRejected(
                instruction.task_id, instruction.lease_id, instruction.cid, "not in storage", False
            )
        elif found == instruction.digest:
            root = ROOT if instruction.count else ""
            event = UploadVerified(instruction.task_id, instruction.lease_id, instruction.cid, root)
        else:
            event = UploadRejected(instruction.task_id, instruction.lease_id, instruction.cid, "other digest", True)
        self.feed(event)

    def _set(self, task: str, **changes: object) -> None:
        self.chain[task] = replace(self.chain[task], **changes)

    # --- asking ---------------------------------------------------------------------------------------------------

    def given(self, kind: type[_Found], worker: Fake | None = None) -> list[_Found]:
        """All instructions of a kind so far, for one worker if named."""
        found: list[_Found] = [instruction for instruction in self.log if isinstance(instruction, kind)]
        if worker is None:
            return found
        return [instruction for instruction in found if getattr(instruction, "worker", "") == worker.address]


def phase_of(world: World, task: str, fake: Fake) -> ReplicaPhase:
    """Where the part that a worker has in a task stands."""
    replica = world.machine.tasks[task].replica_of(fake.address)
    assert replica is not None
    return replica.phase
