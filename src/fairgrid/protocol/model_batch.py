"""The batch lane in the reference model: runs of many tasks that are settled as one (decisions 16 to 18).

A run is a task of its own kind: `contribute`, `reveal`, `reopen` and `claim` take its id, and count prices and stakes
once for each of its tasks. Every condition that does not hold reverts without data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fairgrid.protocol import ids, runs
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.protocol.model_deals import DealRecord
from fairgrid.protocol.model_fast import FastTaskBook
from fairgrid.protocol.model_state import require, transaction
from fairgrid.protocol.views import ContributionStatus, Lane, Run, Task, TaskStatus

__all__ = ["NO_LANE", "NO_RUN", "RunBook"]

NO_RUN = Run(ZERO32, 0, 0, TaskStatus.UNSET)
"""What `view_run` shows of an id that is no run."""

NO_LANE = Lane(in_batch_lane=False, cursor=0, refunded=False)
"""What `view_lane` shows of an id that is no deal."""


class RunBook(FastTaskBook):
    """Runs."""

    # --- views --------------------------------------------------------------------------------------------------

    def view_run(self, run_id: str) -> Run:
        """The run; `NO_RUN` for anything else, tasks included."""
        if run_id not in self._run_counts:
            return NO_RUN
        task = self._tasks[run_id]
        return Run(task.deal_id, task.index, self._run_counts[run_id], task.status)

    def view_lane(self, deal_id: str) -> Lane:
        """How far the deal's batch lane is; `NO_LANE` for an unknown id."""
        if deal_id not in self._deals:
            return NO_LANE
        record = self._deals[deal_id]
        return Lane(record.in_batch_lane, record.deal.bot_first + record.batch_cursor, record.batch_refunded)

    # --- transactions -------------------------------------------------------------------------------------------

    @transaction
    def open_run(self, caller: str, deal_id: str, count: int) -> str:
        """The pool's owner opens the next ``count`` tasks of a deal as one run. Returns its id."""
        record = self._deals[deal_id]
        require(caller == record.deal.workerpool.owner)
        run_id = self._open_next(deal_id, record, count)
        self._log_open(run_id)
        return run_id

    @transaction
    def split_run(self, caller: str, run_id: str, left: int) -> tuple[str, str]:
        """The pool's owner replaces a run without agreement by two, of ``left`` tasks and of the rest.

        Who contributed gets its stake back: nobody is proven wrong yet. Who did not reveal a consensus loses it to
        the kitty now. Returns both ids.
        """
        run, task = self._run(run_id)
        deal = self.view_deal(run.deal_id)
        require(caller == deal.workerpool.owner)
        require(run.status == TaskStatus.ACTIVE)
        require(0 < left < run.count)
        require(self.world.now < task.contribution_deadline)
        contributions = [self._contributions[run_id, worker] for worker in task.contributors]
        agree = len({contribution.result_hash for contribution in contributions}) == 1
        all_stand = all(contribution.status == ContributionStatus.CONTRIBUTED for contribution in contributions)
        require(not (agree and all_stand))
        self._tasks[run_id] = replace(task, status=TaskStatus.SPLIT)
        stake = deal.worker_stake * run.count
        for worker, contribution in zip(task.contributors, contributions, strict=True):
            if contribution.status == ContributionStatus.CONTRIBUTED:
                self._unlock(worker, stake)
            else:
                self._seize(worker, stake, run_id)
                self._freeze_for_kitty(stake, run_id)
                self._cut_score(worker, run_id)
        left_id = self._open(run.deal_id, run.first, left)
        right_id = self._open(run.deal_id, run.first + left, run.count - left)
        self.world.emit(self.address, "RunSplit", runid=run_id, leftid=left_id, rightid=right_id)
        self._log_open(left_id)
        self._log_open(right_id)
        return left_id, right_id

    @transaction
    def finalize_run(self, caller: str, run_id: str, root: str, results: bytes) -> None:
        """The pool's owner ends a run whose digest is revealed: all is paid as in `finalize`, for each of its tasks."""
        run, task = self._run(run_id)
        deal = self._check_finalizable(caller, task)
        require(runs.run_digest(root, results) == task.result_digest)
        self._tasks[run_id] = replace(task, status=TaskStatus.COMPLETED)
        self._pay_sellers(run_id, deal)
        self._pay_workers(run_id, deal)
        proved = [
            worker
            for worker in task.contributors
            if self._contributions[run_id, worker].status == ContributionStatus.PROVED
        ]
        self._log_finalize(run_id, root, run.count, results, proved)

    @transaction
    def settle_run(
        self,
        caller: str,
        deal_id: str,
        count: int,
        root: str,
        results: bytes,
        enclave_challenge: str = ZERO_ADDRESS,
        enclave_sign: str = "0x",
        authorisation_sign: str = "0x",
    ) -> str:
        """The caller, the only worker, brings the next ``count`` tasks of a deal of trust 1. Returns the run's id.

        It locks no stake and its score stays; enclaves and authorisation are as in `contribute`.

        Raises:
            Revert: ``invalid-signature-format`` for a signature of another length than 64 or 65 bytes.
        """
        record = self._deals[deal_id]
        require(record.deal.trust == 1)
        run_id = self._open_next(deal_id, record, count)
        self._prove_alone(
            caller,
            run_id,
            self._tasks[run_id],
            record.deal,
            runs.run_digest(root, results),
            enclave_challenge,
            enclave_sign,
            authorisation_sign,
        )
        self._pay_sellers(run_id, record.deal)
        self._pay_lone_worker(run_id, record.deal, caller)
        self._log_open(run_id)
        self._log_finalize(run_id, root, count, results, [caller])
        return run_id

    @transaction
    def materialise(
        self,
        caller: str,
        run_id: str,
        index: int,
        result_digest: str,
        proof: Sequence[str],
        root: str,
        results_hash: str,
        results_callback: bytes = b"",
    ) -> str:
        """Anybody proves the digest of one task of a completed run, once; from then on it is a task. Returns its id."""
        run, task = self._run(run_id)
        require(run.status == TaskStatus.COMPLETED)
        require(runs.run_digest_of_hash(root, results_hash) == task.result_digest)
        require(runs.task_proof_holds(result_digest, index - run.first, run.count, proof, root))
        task_id = ids.task_id(run.deal_id, index)
        require(self._tasks[task_id].status == TaskStatus.UNSET)
        self._check_callback(self.view_deal(run.deal_id), results_callback, result_digest)
        self._tasks[task_id] = replace(
            task,
            index=index,
            consensus_value=ids.result_hash(task_id, result_digest),
            result_digest=result_digest,
            results_callback=results_callback,
        )
        for worker in task.contributors:
            contribution = self._contributions[run_id, worker]
            if contribution.status == ContributionStatus.PROVED:
                contribution = replace(
                    contribution,
                    result_hash=ids.result_hash(task_id, result_digest),
                    result_seal=ids.result_seal(worker, task_id, result_digest),
                )
            self._contributions[task_id, worker] = contribution
        self.world.emit(self.address, "TaskMaterialise", taskid=task_id, runid=run_id, idx=index, digest=result_digest)
        return task_id

    @transaction
    def refund_rest(self, caller: str, deal_id: str) -> int:
        """Anybody, from the final deadline on, refunds all tasks that were never opened. Returns how many."""
        record = self._deals[deal_id]
        deal = record.deal
        require(record.in_batch_lane and not record.batch_refunded)
        first = deal.bot_first + record.batch_cursor
        count = deal.bot_size - record.batch_cursor
        require(count > 0)
        require(self.world.now >= self._new_task(deal_id, first).final_deadline)
        self._deals[deal_id] = replace(record, batch_refunded=True)
        self._refund(deal, count, deal_id)
        self.world.emit(self.address, "DealRefund", dealid=deal_id, first=first, count=count)
        return count

    # --- inside the chain ---------------------------------------------------------------------------------------

    def _run(self, run_id: str) -> tuple[Run, Task]:
        require(run_id in self._run_counts)
        return self.view_run(run_id), self._tasks[run_id]

    def _open_next(self, deal_id: str, record: DealRecord, count: int) -> str:
        require(record.in_batch_lane and not record.batch_refunded)
        require(0 < count <= min(runs.MAX_RUN_TASKS, record.deal.bot_size - record.batch_cursor))
        first = record.deal.bot_first + record.batch_cursor
        require(self.world.now < self._new_task(deal_id, first).contribution_deadline)
        self._deals[deal_id] = replace(record, batch_cursor=record.batch_cursor + count)
        return self._open(deal_id, first, count)

    def _open(self, deal_id: str, first: int, count: int) -> str:
        run_id = runs.run_id(deal_id, first, count)
        self._tasks[run_id] = self._new_task(deal_id, first)
        self._run_counts[run_id] = count
        return run_id

    def _log_open(self, run_id: str) -> None:
        run = self.view_run(run_id)
        self.world.emit(self.address, "RunOpen", runid=run_id, dealid=run.deal_id, first=run.first, count=run.count)

    def _log_finalize(self, run_id: str, root: str, count: int, results: bytes, workers: Sequence[str]) -> None:
        self.world.emit(
            self.address,
            "RunFinalize",
            runid=run_id,
            root=root,
            count=count,
            results=results,
            workers=tuple(workers),
        )
