"""Tasks in the reference model (`spec/poco.md` §13 to §16): initialize, contribute, reveal, reopen, finalize, claim.

Unless a text is named, a condition that does not hold reverts without data, in the order in which it is written.

`contribute`, `reveal`, `reopen` and `claim` also take the id of a run (`model_batch`) in the place of a task's: prices
and stakes then count once for each task of the run, everything else is as for one task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fairgrid.protocol import deadlines, ids, rewards
from fairgrid.protocol.consensus import ConsensusState
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, keccak, to_hex, to_hex32
from fairgrid.protocol.model_deals import DealBook
from fairgrid.protocol.model_registry import Registries
from fairgrid.protocol.model_state import Table, World, checked, require, transaction
from fairgrid.protocol.model_token import Rlc
from fairgrid.protocol.rewards import KITTY_ADDRESS
from fairgrid.protocol.seals import message_hash
from fairgrid.protocol.tags import requires_tee
from fairgrid.protocol.trust import log2_weight, worker_weight
from fairgrid.protocol.views import NO_CONTRIBUTION, Contribution, ContributionStatus, Deal, Task, TaskStatus

__all__ = ["NO_CONTRIBUTION", "NO_TASK", "TaskBook"]

NO_TASK = Task(
    status=TaskStatus.UNSET,
    deal_id=ZERO32,
    index=0,
    timeref=0,
    contribution_deadline=0,
    reveal_deadline=0,
    final_deadline=0,
    consensus_value=ZERO32,
    reveal_counter=0,
    winner_counter=0,
    contributors=(),
    result_digest=ZERO32,
    results=b"",
    results_timestamp=0,
    results_callback=b"",
)
"""What `view_task` shows of a task that was never initialized."""


class TaskBook(DealBook):
    """Tasks, contributions and scores."""

    def __init__(
        self, world: World, chain_id: int, address: str, owner: str, token: Rlc, registries: Registries
    ) -> None:
        super().__init__(world, chain_id, address, owner, token, registries)
        self._tasks: Table[str, Task] = Table(world, NO_TASK)
        self._contributions: Table[tuple[str, str], Contribution] = Table(world, NO_CONTRIBUTION)
        self._consensus: Table[str, ConsensusState] = Table(world, ConsensusState())
        self._scores: Table[str, int] = Table(world, 0)
        self._imported: Table[str, bool] = Table(world, False)
        self.old_scores: Mapping[str, int] | None = None
        """Scores of the hub before this one, if there was one."""
        self._run_counts: Table[str, int] = Table(world, 0)

    # --- views --------------------------------------------------------------------------------------------------

    @property
    def task_ids(self) -> tuple[str, ...]:
        """All tasks and runs that exist, oldest first."""
        return tuple(self._tasks)

    def view_task(self, task_id: str) -> Task:
        """The task, or the run as if it were a task with its first index; `NO_TASK` for an unknown id."""
        return self._tasks[task_id]

    def view_contribution(self, task_id: str, worker: str) -> Contribution:
        """What the worker contributed; `NO_CONTRIBUTION` if nothing."""
        return self._contributions[task_id, worker]

    def view_score(self, worker: str) -> int:
        """The worker's score; 0 for a stranger."""
        return self._scores[worker]

    def view_consensus(self, task_id: str) -> ConsensusState:
        """Groups of agreeing contributions (the chain has no getter for it)."""
        return self._consensus[task_id]

    def result_for(self, task_id: str) -> bytes:
        """The callback data of a completed task (ERC-1154); reverts ``task-pending`` for any other."""
        task = self._tasks[task_id]
        require(task.status == TaskStatus.COMPLETED, "task-pending")
        return task.results_callback

    # --- transactions -------------------------------------------------------------------------------------------

    @transaction
    def initialize(self, caller: str, deal_id: str, index: int) -> str:
        """Open task ``index`` of a deal for contributions; anybody, at any time. Returns its id.

        In the batch lane only the next task that was never opened, and before the final deadline only by the pool's
        owner: who else could would settle tasks one by one that were to be settled in runs.
        """
        record = self._deals[deal_id]
        deal = record.deal
        require(deal.bot_first <= index < deal.bot_first + deal.bot_size)
        task_id = ids.task_id(deal_id, index)
        require(self._tasks[task_id].status == TaskStatus.UNSET)
        task = self._new_task(deal_id, index)
        if record.in_batch_lane:
            require(index - deal.bot_first == record.batch_cursor and not record.batch_refunded)
            require(caller == deal.workerpool.owner or self.world.now >= task.final_deadline)
            self._deals[deal_id] = replace(record, batch_cursor=record.batch_cursor + 1)
        self._tasks[task_id] = task
        self._consensus[task_id] = ConsensusState()
        self.world.emit(self.address, "TaskInitialize", taskid=task_id, workerpool=deal.workerpool.pointer)
        return task_id

    @transaction
    def contribute(
        self,
        caller: str,
        task_id: str,
        result_hash: str,
        result_seal: str,
        enclave_challenge: str = ZERO_ADDRESS,
        enclave_sign: str = "0x",
        authorisation_sign: str = "0x",
    ) -> None:
        """The caller, a worker, commits to a result and locks its stake.

        Raises:
            Revert: ``invalid-signature-format`` for a signature of another length than 64 or 65 bytes;
                ``IexecEscrow: Transfer amount exceeds balance`` when the stake is not there.
        """
        task = self._tasks[task_id]
        require(task.status == TaskStatus.ACTIVE)
        require(self.world.now < task.contribution_deadline)
        require(self._contributions[task_id, caller].status == ContributionStatus.UNSET)
        deal = self.view_deal(task.deal_id)
        self._check_authority(
            caller, task_id, deal, result_hash, result_seal, enclave_challenge, enclave_sign, authorisation_sign
        )
        weight = worker_weight(self._scores[caller])
        self._contributions[task_id, caller] = Contribution(
            ContributionStatus.CONTRIBUTED, result_hash, result_seal, enclave_challenge, log2_weight(weight)
        )
        self._tasks[task_id] = replace(task, contributors=(*task.contributors, caller))
        self._lock(caller, checked(deal.worker_stake * self._units(task_id)))
        self.world.emit(self.address, "TaskContribute", taskid=task_id, worker=caller, hash=result_hash)
        self._count(task_id, result_hash, weight, deal.trust)

    @transaction
    def reveal(self, caller: str, task_id: str, result_digest: str) -> None:
        """The caller, a worker whose result won, shows the digest that it committed to."""
        task = self._tasks[task_id]
        require(task.status == TaskStatus.REVEALING)
        require(self.world.now < task.reveal_deadline)
        contribution = self._contributions[task_id, caller]
        require(contribution.status == ContributionStatus.CONTRIBUTED)
        require(contribution.result_hash == task.consensus_value)
        require(contribution.result_hash == ids.result_hash(task_id, result_digest))
        require(contribution.result_seal == ids.result_seal(caller, task_id, result_digest))
        self._contributions[task_id, caller] = replace(contribution, status=ContributionStatus.PROVED)
        self._tasks[task_id] = replace(task, reveal_counter=task.reveal_counter + 1, result_digest=result_digest)
        self.world.emit(self.address, "TaskReveal", taskid=task_id, worker=caller, digest=result_digest)

    @transaction
    def reopen(self, caller: str, task_id: str) -> None:
        """The pool's owner discards a consensus that nobody revealed in time."""
        task = self._tasks[task_id]
        require(caller == self.view_deal(task.deal_id).workerpool.owner)
        require(task.status == TaskStatus.REVEALING)
        require(self.world.now < task.final_deadline)
        require(self.world.now >= task.reveal_deadline and task.reveal_counter == 0)
        for worker in task.contributors:
            contribution = self._contributions[task_id, worker]
            if contribution.result_hash == task.consensus_value:
                self._contributions[task_id, worker] = replace(contribution, status=ContributionStatus.REJECTED)
        self._consensus[task_id] = self._consensus[task_id].without(task.consensus_value)
        self._tasks[task_id] = replace(
            task, status=TaskStatus.ACTIVE, consensus_value=ZERO32, reveal_deadline=0, winner_counter=0
        )
        self.world.emit(self.address, "TaskReopen", taskid=task_id)

    @transaction
    def finalize(self, caller: str, task_id: str, results: bytes, results_callback: bytes = b"") -> None:
        """The pool's owner ends a task whose result is revealed: everybody is paid or slashed."""
        task = self._tasks[task_id]
        require(task_id not in self._run_counts)
        deal = self._check_finalizable(caller, task)
        self._check_callback(deal, results_callback, task.result_digest)
        self._tasks[task_id] = replace(
            task, status=TaskStatus.COMPLETED, results=results, results_callback=results_callback
        )
        self._pay_sellers(task_id, deal)
        self._pay_workers(task_id, deal)
        self.world.emit(self.address, "TaskFinalize", taskid=task_id, results=results)

    @transaction
    def claim(self, caller: str, task_id: str) -> None:
        """Anybody ends a task that was not finalized in time: refund, stakes back, the pool's stake to the kitty."""
        task = self._tasks[task_id]
        require(task.status in (TaskStatus.ACTIVE, TaskStatus.REVEALING))
        require(self.world.now >= task.final_deadline)
        deal = self.view_deal(task.deal_id)
        units = self._units(task_id)
        self._tasks[task_id] = replace(task, status=TaskStatus.FAILED)
        self._refund(deal, units, task_id)
        for worker in task.contributors:
            self._unlock(worker, deal.worker_stake * units)
        self.world.emit(self.address, "TaskClaimed", taskid=task_id)

    # --- what a call needs ----------------------------------------------------------------------------------------

    def _new_task(self, deal_id: str, index: int) -> Task:
        deal = self.view_deal(deal_id)
        timeref = self.view_category(deal.category).timeref
        return replace(
            NO_TASK,
            status=TaskStatus.ACTIVE,
            deal_id=deal_id,
            index=index,
            timeref=timeref,
            contribution_deadline=checked(deadlines.contribution_deadline(deal.start_time, timeref)),
            final_deadline=checked(deadlines.final_deadline(deal.start_time, timeref)),
        )

    def _units(self, task_id: str) -> int:
        return max(self._run_counts[task_id], 1)

    def _check_authority(
        self,
        worker: str,
        task_id: str,
        deal: Deal,
        result_hash: str,
        result_seal: str,
        enclave_challenge: str,
        enclave_sign: str,
        authorisation_sign: str,
    ) -> None:
        require(enclave_challenge != ZERO_ADDRESS or not requires_tee(deal.tag))
        by_broker = enclave_challenge != ZERO_ADDRESS and self.tee_broker != ZERO_ADDRESS
        authority = self.tee_broker if by_broker else deal.workerpool.owner
        authorisation = ids.authorisation_message(worker, task_id, enclave_challenge)
        require(self._signed_message(authority, authorisation, authorisation_sign))
        if enclave_challenge != ZERO_ADDRESS:
            message = ids.enclave_message(result_hash, result_seal)
            require(self._signed_message(enclave_challenge, message, enclave_sign))

    def _check_finalizable(self, caller: str, task: Task) -> Deal:
        deal = self.view_deal(task.deal_id)
        require(caller == deal.workerpool.owner)
        require(task.status == TaskStatus.REVEALING)
        require(self.world.now < task.final_deadline)
        late = task.reveal_counter > 0 and self.world.now >= task.reveal_deadline
        require(task.reveal_counter == task.winner_counter or late)
        return deal

    def _check_callback(self, deal: Deal, results_callback: bytes, digest: str) -> None:
        no_callback = deal.callback == ZERO_ADDRESS and not results_callback
        require(no_callback or to_hex32(keccak(results_callback)) == digest)

    @transaction
    def import_score(self, caller: str, worker: str) -> None:
        """Take a worker's score over from the hub before this one (`old_scores`), once, if it is higher."""
        require(not self._imported[worker], "score-already-imported")
        self._imported[worker] = True
        require(self.old_scores is not None)
        assert self.old_scores is not None
        self._scores[worker] = max(self._scores[worker], self.old_scores.get(worker, 0))

    # --- inside the chain ---------------------------------------------------------------------------------------

    def _signed_message(self, signer: str, message32: bytes, signature: str) -> bool:
        return self.verify_signature(signer, to_hex(message_hash(message32)), signature)

    def _count(self, task_id: str, result_hash: str, weight: int, trust: int) -> None:
        consensus = self._consensus[task_id].add(result_hash, weight)
        checked(consensus.total * max(trust, 1))
        self._consensus[task_id] = consensus
        if not consensus.reached(result_hash, trust):
            return
        task = self._tasks[task_id]
        winners = 0
        for worker in task.contributors:
            contribution = self._contributions[task_id, worker]
            agrees = contribution.result_hash == result_hash
            winners += agrees and contribution.status == ContributionStatus.CONTRIBUTED
        self._tasks[task_id] = replace(
            task,
            status=TaskStatus.REVEALING,
            consensus_value=result_hash,
            reveal_deadline=checked(deadlines.reveal_deadline(self.world.now, task.timeref)),
            reveal_counter=0,
            winner_counter=winners,
        )
        self.world.emit(self.address, "TaskConsensus", taskid=task_id, consensus=result_hash)

    def _freeze_for_kitty(self, amount: int, reference: str) -> None:
        self._frozen[KITTY_ADDRESS] += amount
        self.world.emit(self.address, "Reward", owner=KITTY_ADDRESS, amount=amount, ref=reference)
        self.world.emit(self.address, "Lock", owner=KITTY_ADDRESS, amount=amount)

    def _refund(self, deal: Deal, units: int, reference: str) -> None:
        price = rewards.task_price(deal.app.price, deal.dataset.price, deal.workerpool.price)
        stake = rewards.pool_stake(deal.workerpool.price)
        self._unlock(deal.sponsor, price * units)
        self._seize(deal.workerpool.owner, stake * units, reference)
        self._freeze_for_kitty(stake * units, reference)

    def _pay_sellers(self, task_id: str, deal: Deal) -> None:
        units = self._units(task_id)
        price = rewards.task_price(deal.app.price, deal.dataset.price, deal.workerpool.price)
        self._seize(deal.sponsor, price * units, task_id)
        if deal.app.price > 0:
            self._reward(deal.app.owner, deal.app.price * units, task_id)
        if deal.dataset.price > 0 and deal.dataset.pointer != ZERO_ADDRESS:
            self._reward(deal.dataset.owner, deal.dataset.price * units, task_id)
        self._unlock(deal.workerpool.owner, rewards.pool_stake(deal.workerpool.price) * units)
        part = rewards.kitty_part(self._frozen[KITTY_ADDRESS])
        if part > 0:
            self._seize(KITTY_ADDRESS, part, task_id)
            self._reward(deal.workerpool.owner, part, task_id)

    def _pay_workers(self, task_id: str, deal: Deal) -> None:
        units = self._units(task_id)
        stake = deal.worker_stake * units
        contributors = self._tasks[task_id].contributors
        contributions = [self._contributions[task_id, worker] for worker in contributors]
        distribution = rewards.distribute(
            workerpool_price=deal.workerpool.price * units,
            stake=stake,
            scheduler_reward_ratio=deal.scheduler_reward_ratio,
            proved_weights=[
                contribution.weight if contribution.status == ContributionStatus.PROVED else None
                for contribution in contributions
            ],
        )
        for worker, contribution, amount in zip(contributors, contributions, distribution.workers, strict=True):
            if contribution.status == ContributionStatus.PROVED:
                self._unlock(worker, stake)
                self._reward(worker, amount, task_id)
                if len(contributors) > 1:
                    self._scores[worker] += 1
                    self.world.emit(self.address, "AccurateContribution", worker=worker, taskid=task_id)
            else:
                self._seize(worker, stake, task_id)
                self._cut_score(worker, task_id)
        self._reward(deal.workerpool.owner, distribution.scheduler, task_id)

    def _cut_score(self, worker: str, task_id: str) -> None:
        self._scores[worker] = rewards.cut_score(self._scores[worker])
        self.world.emit(self.address, "FaultyContribution", worker=worker, taskid=task_id)
