"""Short words for plays in both lanes: runs with answers by version, their digests and proofs, and who is owed what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from fairgrid.protocol import ids, runs
from fairgrid.protocol.hexes import ZERO_ADDRESS, keccak, to_hex32
from fairgrid.protocol.views import TaskStatus
from tests.contracts.batch_twins import BatchTwins
from tests.contracts.play import ESCROWED, Changes, Play
from tests.contracts.twins import Outcome
from tests.protocol.actors import Actor

__all__ = ["LANE", "RESULTS", "BatchPlay", "answer"]

LANE = {"tag": f"0x{1 << 16:064x}"}
RESULTS = b"/ipfs/manifest"
_ENDINGS = ("TaskFinalize", "TaskClaimed", "RunFinalize", "DealRefund")


def answer(index: int, version: int = 0) -> bytes:
    """What a task computes; its digest is the hash of it. Another ``version`` is another answer."""
    return b"answer %d to %d" % (version, index)


class BatchPlay(BatchTwins, Play):
    """As `Play`, with runs. Runs are remembered among the tasks: their ids stand where a task's would."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[str] = []
        self.results: dict[str, bytes] = {}
        """What a run was settled with, where it is not `RESULTS`."""
        self.settled: Counter[tuple[str, int]] = Counter()
        """How often each (deal, index) was settled or refunded, by what `count_settlements` has seen."""
        self._seen_events = len(self.model.events)

    # --- runs ---------------------------------------------------------------------------------------------------

    def new_deal(self, changes: Changes | None = None, *, volume: int = 6, **options: Any) -> str:
        """A deal of the batch lane."""
        change = changes or {}
        merged = {
            **change,
            "workerpool": {**LANE, **change.get("workerpool", {})},
            "request": {**LANE, "volume": volume, **change.get("request", {})},
        }
        deal = self.match(self.orders(merged, **options))
        assert deal.happened, deal.revert
        assert self.model.view_lane(deal.value).in_batch_lane
        return str(deal.value)

    def remember(self, outcome: Outcome) -> Outcome:
        """Remember a run, or both halves of one."""
        if outcome.happened:
            found = [outcome.value] if isinstance(outcome.value, str) else list(outcome.value)
            self.runs += found
            self.tasks += found
        return outcome

    def begin(self, deal: str, count: int, caller: Actor | None = None) -> Outcome:
        """Open the next run, as the scheduler unless somebody else is named."""
        return self.remember(self.open_run((caller or self.people.scheduler).address, deal, count))

    def split(self, run: str, left: int, caller: Actor | None = None) -> Outcome:
        """Split a run."""
        return self.remember(self.split_run((caller or self.people.scheduler).address, run, left))

    def digests(self, run: str, version: int = 0) -> tuple[str, ...]:
        """The digests of a run's tasks; one of something that is no run."""
        view = self.model.view_run(run)
        return self.digests_at(view.first, max(view.count, 1), version)

    def digests_at(self, first: int, count: int, version: int = 0) -> tuple[str, ...]:
        """The digests of tasks from an index on."""
        return tuple(to_hex32(keccak(answer(first + offset, version))) for offset in range(count))

    def run_digest(self, run: str, version: int = 0) -> str:
        """What workers of a run agree on."""
        return runs.run_digest(runs.tasks_root(self.digests(run, version)), RESULTS)

    def contribute_versions(self, run: str, versions: Mapping[int, int]) -> None:
        """Each of these workers contributes that version of a run, and may."""
        self.contribute_all(run, {worker: self.run_digest(run, version) for worker, version in versions.items()})

    def finish_run(self, run: str, version: int = 0, caller: Actor | None = None, results: bytes = RESULTS) -> Outcome:
        """Finalize a run, as the scheduler unless somebody else is named."""
        root = runs.tasks_root(self.digests(run, version))
        return self.finalize_run((caller or self.people.scheduler).address, run, root, results)

    def completed_run(self, deal: str, count: int, versions: Mapping[int, int]) -> str:
        """The next run, finalized after all who contributed version 0 revealed."""
        run = str(self.begin(deal, count).value)
        self.contribute_versions(run, versions)
        winners = tuple(worker for worker, version in versions.items() if version == 0)
        self.reveal_all(run, winners, self.run_digest(run))
        outcome = self.finish_run(run)
        assert outcome.happened, outcome.revert
        return run

    def settle(
        self,
        deal: str,
        count: int,
        worker: Actor,
        *,
        authority: Actor | None = None,
        enclave: Actor | None = None,
        version: int = 0,
        results: bytes = RESULTS,
    ) -> Outcome:
        """One worker settles the next run, authorised by the scheduler unless somebody else is named."""
        first = self.model.view_lane(deal).cursor
        run = runs.run_id(deal, first, count)
        # a size that no run has is refused whatever its root
        root = runs.tasks_root(self.digests_at(first, min(max(count, 1), 64), version))
        signs = self.signs(worker, run, runs.run_digest(root, results), authority, enclave)
        outcome = self.settle_run(worker.address, deal, count, root, results, *signs)
        if outcome.happened:
            self.results[run] = results
        return self.remember(outcome)

    def contribute_alone(
        self,
        worker: Actor,
        task: str,
        digest: str,
        callback: bytes = b"",
        *,
        results: bytes = b"results",
        authority: Actor | None = None,
        enclave: Actor | None = None,
    ) -> Outcome:
        """One worker contributes and finalizes."""
        signs = self.signs(worker, task, digest, authority, enclave)
        return self.contribute_and_finalize(worker.address, task, digest, results, callback, *signs)

    def signs(
        self, worker: Actor, task: str, digest: str, authority: Actor | None, enclave: Actor | None
    ) -> tuple[str, str, str]:
        """Challenge, the enclave's signature and the authorisation."""
        challenge = enclave.address if enclave else ZERO_ADDRESS
        hash_, seal = ids.result_hash(task, digest), ids.result_seal(worker.address, task, digest)
        return (
            challenge,
            enclave.sign_message(ids.enclave_message(hash_, seal)) if enclave else "0x",
            (authority or self.people.scheduler).authorise(worker.address, task, challenge),
        )

    def prove(self, run: str, position: int, callback: bytes = b"", version: int = 0, /, **changes: Any) -> Outcome:
        """Materialise one task of a run; ``changes`` spoil arguments of `materialise` by name."""
        digests = self.digests(run, version)
        inside = position % len(digests)
        arguments: dict[str, Any] = {
            "caller": self.people.stranger.address,
            "run": run,
            "index": self.model.view_run(run).first + position,
            "digest": digests[inside],
            "proof": runs.task_proof(digests, inside),
            "root": runs.tasks_root(digests),
            "results_hash": to_hex32(keccak(self.results.get(run, RESULTS))),
            "callback": callback,
        }
        return self.materialise(**{**arguments, **changes})

    # --- looking ------------------------------------------------------------------------------------------------

    def gains(self) -> dict[str, int]:
        """Free money gained or lost since the start, by name."""
        return {actor.name: self.model.balance_of(actor.address) - ESCROWED for actor in self.people.all}

    def frozen_of_worker(self, index: int) -> int:
        """What a worker has locked."""
        return self.model.frozen_of(self.people.workers[index].address)

    # --- what was settled ---------------------------------------------------------------------------------------

    def count_settlements(self) -> None:
        """Read the new events: no task was settled or refunded that already was."""
        events = self.model.events
        for event in events[self._seen_events :]:
            if event.name not in _ENDINGS:
                continue
            arguments = event.arguments
            if event.name == "DealRefund":
                deal, first, count = arguments["dealid"], arguments["first"], arguments["count"]
            else:
                ended = self.model.view_task(arguments.get("taskid") or arguments["runid"])
                run = self.model.view_run(arguments.get("taskid") or arguments["runid"])
                deal, first, count = ended.deal_id, ended.index, max(run.count, 1)
            self.settled.update((deal, first + offset) for offset in range(count))
        self._seen_events = len(events)
        assert not self.settled or max(self.settled.values()) == 1

    def check_locked_money_is_owed(self) -> None:
        """What payers and pools have locked is what their unsettled tasks may still cost."""
        self.count_settlements()
        owed: Counter[str] = Counter()
        for deal_id in self.deals:
            deal = self.model.view_deal(deal_id)
            indexes = range(deal.bot_first, deal.bot_first + deal.bot_size)
            left = sum((deal_id, index) not in self.settled for index in indexes)
            owed[deal.sponsor] += left * (deal.app.price + deal.dataset.price + deal.workerpool.price)
            owed[deal.workerpool.owner] += left * (deal.workerpool.price * 30 // 100)
        for task_id in self.tasks:
            task = self.model.view_task(task_id)
            if task.status in (TaskStatus.ACTIVE, TaskStatus.REVEALING):
                stake = self.model.view_deal(task.deal_id).worker_stake
                for worker in task.contributors:
                    owed[worker] += stake * max(self.model.view_run(task_id).count, 1)
        for actor in self.people.all:
            assert self.model.frozen_of(actor.address) == owed[actor.address], actor

    # --- the end ------------------------------------------------------------------------------------------------

    def open_the_rest(self, deal: str) -> None:
        """Open what was never opened, in the classic way or, every other time, refund it all at once."""
        left = self.unopened(deal)
        if left and self.model.view_lane(deal).in_batch_lane and len(left) % 2:
            assert self.refund_rest(self.people.stranger.address, deal).value == len(left)
            assert not self.unopened(deal)
        super().open_the_rest(deal)

    def settle_everything(self) -> None:
        """As always; and then each task of each deal was settled or refunded exactly once over both lanes."""
        super().settle_everything()
        for run in self.runs:
            self.check_run(run)
        self.count_settlements()
        for deal in self.deals:
            self.check_lane(deal)
            record = self.model.view_deal(deal)
            for index in range(record.bot_first, record.bot_first + record.bot_size):
                assert self.settled[deal, index] == 1, (deal, index)
            assert not self.refund_rest(self.people.stranger.address, deal).happened
