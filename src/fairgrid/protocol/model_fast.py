"""Tasks in one transaction, and several at once, in the reference model (`spec/poco.md` §13, §15)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fairgrid.protocol import deadlines, ids, rewards
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.model_state import checked, require, transaction
from fairgrid.protocol.model_tasks import TaskBook
from fairgrid.protocol.views import Contribution, ContributionStatus, Deal, Task, TaskStatus

__all__ = ["FastTaskBook"]


class FastTaskBook(TaskBook):
    """What one trusted worker settles alone, and the array forms."""

    @transaction
    def contribute_and_finalize(
        self,
        caller: str,
        task_id: str,
        result_digest: str,
        results: bytes,
        results_callback: bytes = b"",
        enclave_challenge: str = ZERO_ADDRESS,
        enclave_sign: str = "0x",
        authorisation_sign: str = "0x",
    ) -> None:
        """The caller, the only worker of a task of trust 1, brings its result and is paid: no stake, no score.

        Raises:
            Revert: ``invalid-signature-format`` for a signature of another length than 64 or 65 bytes.
        """
        task = self._tasks[task_id]
        require(task_id not in self._run_counts)
        require(task.status == TaskStatus.ACTIVE)
        require(self.world.now < task.contribution_deadline)
        require(not task.contributors)
        deal = self.view_deal(task.deal_id)
        require(deal.trust == 1)
        self._check_callback(deal, results_callback, result_digest)
        completed = replace(task, results=results, results_callback=results_callback)
        contribution = self._prove_alone(
            caller, task_id, completed, deal, result_digest, enclave_challenge, enclave_sign, authorisation_sign
        )
        self._pay_sellers(task_id, deal)
        self._pay_lone_worker(task_id, deal, caller)
        hash_ = contribution.result_hash
        self.world.emit(self.address, "TaskContribute", taskid=task_id, worker=caller, hash=hash_)
        self.world.emit(self.address, "TaskConsensus", taskid=task_id, consensus=hash_)
        self.world.emit(self.address, "TaskReveal", taskid=task_id, worker=caller, digest=result_digest)
        self.world.emit(self.address, "TaskFinalize", taskid=task_id, results=results)

    @transaction
    def initialize_array(self, caller: str, deal_ids: Sequence[str], indexes: Sequence[int]) -> bool:
        """`initialize` each, or none."""
        require(len(deal_ids) == len(indexes))
        for deal_id, index in zip(deal_ids, indexes, strict=True):
            self.initialize(caller, deal_id, index)
        return True

    @transaction
    def claim_array(self, caller: str, task_ids: Sequence[str]) -> bool:
        """`claim` each, or none."""
        for task_id in task_ids:
            self.claim(caller, task_id)
        return True

    @transaction
    def initialize_and_claim_array(self, caller: str, deal_ids: Sequence[str], indexes: Sequence[int]) -> bool:
        """`initialize` and `claim` each, or none: the refund of tasks that the pool never opened."""
        require(len(deal_ids) == len(indexes))
        for deal_id, index in zip(deal_ids, indexes, strict=True):
            self.claim(caller, self.initialize(caller, deal_id, index))
        return True

    # --- inside the chain ---------------------------------------------------------------------------------------

    def _prove_alone(
        self,
        worker: str,
        task_id: str,
        task: Task,
        deal: Deal,
        result_digest: str,
        enclave_challenge: str,
        enclave_sign: str,
        authorisation_sign: str,
    ) -> Contribution:
        contribution = Contribution(
            ContributionStatus.PROVED,
            ids.result_hash(task_id, result_digest),
            ids.result_seal(worker, task_id, result_digest),
            enclave_challenge,
            0,
        )
        self._check_authority(
            worker,
            task_id,
            deal,
            contribution.result_hash,
            contribution.result_seal,
            enclave_challenge,
            enclave_sign,
            authorisation_sign,
        )
        self._contributions[task_id, worker] = contribution
        self._tasks[task_id] = replace(
            task,
            status=TaskStatus.COMPLETED,
            consensus_value=contribution.result_hash,
            reveal_deadline=checked(deadlines.reveal_deadline(self.world.now, task.timeref)),
            reveal_counter=1,
            winner_counter=1,
            contributors=(worker,),
            result_digest=result_digest,
        )
        return contribution

    def _pay_lone_worker(self, task_id: str, deal: Deal, worker: str) -> None:
        distribution = rewards.distribute_fast(
            workerpool_price=deal.workerpool.price * self._units(task_id),
            scheduler_reward_ratio=deal.scheduler_reward_ratio,
        )
        self._reward(worker, distribution.workers[0], task_id)
        self._reward(deal.workerpool.owner, distribution.scheduler, task_id)
