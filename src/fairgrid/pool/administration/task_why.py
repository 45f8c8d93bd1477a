"""Why a task does not go on: what it waits for, each rule with its number, and what keeps connected workers from it."""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice
from typing import Final

from fairgrid.pool.administration.operator_views import Rule, WhyTask
from fairgrid.pool.core.book import Book
from fairgrid.pool.core.dispatch import needs_another, obstacle_of
from fairgrid.pool.core.matching import NO_REQUIREMENTS
from fairgrid.pool.core.phases import EXPECTED_PHASES, Phase, ReplicaPhase
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.core.worker_state import WorkerState

__all__ = ["MOST_WORKERS", "keeps_away", "why_task"]

MOST_WORKERS: Final = 2_000
"""So many connected workers are looked at; an operator's question must not hold a large pool up."""

_BEFORE_CONSENSUS = (Phase.RECEIVED, Phase.INITIALIZING, Phase.SEALING, Phase.CONTRIBUTING)
_SENDING = (Phase.INITIALIZING, Phase.FINALIZING, Phase.REOPENING, Phase.CLAIMING)
_WAITS = {
    Phase.INITIALIZING: "its initialization to be mined",
    Phase.CONTRIBUTING: "the contributions of its authorised workers",
    Phase.REVEALING: "a worker that agrees to reveal its digest on chain",
    Phase.UPLOADING: "one of the workers that agree to upload the result",
    Phase.FINALIZING: "its finalization to be mined",
    Phase.REOPENING: "its reopening to be mined",
    Phase.CLAIMING: "its refund to be mined",
    Phase.ABANDONED: "its final deadline, when the requester is refunded",
}


def why_task(
    book: Book, task: TaskState, *, begun: bool, chain_silence_s: float, transactions_left: int | None
) -> WhyTask:
    """The answer at this moment; ``begun`` False for a task that is a number in its deal's bag so far."""
    rules = list(_rules_of_pool(book, begun=begun))
    rules += _rules_of_deal(book, task)
    rules += _rules_of_chain(task, book, chain_silence_s, transactions_left)
    kept: Counter[str] = Counter()
    suitable = 0
    if not task.is_final:
        for worker in islice(book.workers.values(), MOST_WORKERS):
            rule = keeps_away(book, task, worker)
            if rule:
                kept[rule] += 1
            else:
                suitable += 1
        rules += _rules_of_workers(book, task, suitable)
    return WhyTask(
        task_id=task.task_id,
        phase=task.phase.value,
        waits_for=_waits_for(book, task, begun=begun),
        rules=rules,
        workers=min(len(book.workers), MOST_WORKERS),
        suitable=suitable,
        kept_away=dict(kept.most_common()),
    )


def keeps_away(book: Book, task: TaskState, worker: WorkerState) -> str:
    """The first rule that keeps a connected worker from this task; empty if none does."""
    name, owner, now = worker.worker, worker.owner, book.now
    if book.is_banned(name, owner):
        return "banned"
    if name in book.drained:
        return "drained by the operator"
    if not worker.ready:
        return "still joining"
    if _has_owner(task, worker):
        return "its owner has a replica"
    if not book.standings.may_lease(name, owner, now):
        return "in quarantine" if book.standings.of(name, owner).is_quarantined(now) else "out of quota"
    if worker.stake < book.burden(name).reserved + task.stake:
        return "deposit too small"
    if book.burden(name).owing:
        return "owes an opening"
    most = book.policy.max_replicas_per_network
    if most and worker.network:
        near = sum(replica.network == worker.network and not replica.ended for replica in task.replicas)
        if near >= most:
            return "its network has enough replicas"
    if task.deal.requirements != NO_REQUIREMENTS and (obstacle := obstacle_of(book, task, worker)) is not None:
        return f"{obstacle.rule}: {obstacle.wanted} wanted"
    return "no free slot" if worker.free_slots <= 0 else ""


def _rules_of_pool(book: Book, *, begun: bool) -> list[Rule]:
    rules = [
        Rule(
            rule="pool_drained",
            allowed=begun or not book.draining,
            text="The operator lets no new task begin." if book.draining else "The pool begins new tasks.",
        )
    ]
    if book.behind:
        text = f"{book.behind} block(s) of the time before the pool's start are still to be read."
        rules.append(Rule(rule="chain_read", allowed=False, text=text))
    if not begun:
        most = book.policy.max_active_tasks
        text = f"{book.active} of max_active_tasks {most} are worked on."
        rules.append(Rule(rule="active_tasks", allowed=book.active < most, text=text))
        open_deals = len(book.open_bags)
        rules.append(Rule(rule="turn", allowed=open_deals <= 1, text=f"{open_deals} deal(s) have tasks to begin."))
    return rules


def _rules_of_deal(book: Book, task: TaskState) -> list[Rule]:
    deal = task.deal
    left = deal.contribution_deadline - book.chain_time
    rules = [
        Rule(rule="deal", allowed=not deal.refusal, text=deal.refusal or "The pool can serve the deal."),
        Rule(
            rule="contribution_deadline",
            allowed=left > 0 or task.phase not in _BEFORE_CONSENSUS,
            text=f"{left} s are left to contribute." if left > 0 else f"The time to contribute ended {-left} s ago.",
        ),
    ]
    if task.waiting:
        text = "The tasks whose results it reads are not completed yet."
        rules.append(Rule(rule="dependencies", allowed=False, text=text))
    return rules


def _rules_of_chain(task: TaskState, book: Book, silence_s: float, transactions_left: int | None) -> list[Rule]:
    rules = [
        Rule(rule="chain", allowed=silence_s < 30, text=f"The node answered {silence_s:.0f} s ago."),
    ]
    if transactions_left is not None:
        text = f"The pool's coins pay about {transactions_left} transaction(s)."
        rules.append(Rule(rule="gas", allowed=transactions_left > 0, text=text))
    for name, step in task.steps.items():
        if step.issued and task.phase in _SENDING:
            text = f"{name}: attempt {step.attempts} is sent or waits for cheaper gas."
            rules.append(Rule(rule="transaction", allowed=True, text=text))
        elif step.retry_at > book.now:
            text = f"{name} was refused {step.attempts} time(s); again in {step.retry_at - book.now:.0f} s."
            rules.append(Rule(rule="transaction", allowed=False, text=text))
    return rules


def _rules_of_workers(book: Book, task: TaskState, suitable: int) -> list[Rule]:
    pending = task.pending_weights()
    wanted = needs_another(book, task)
    computing = len(task.in_phase(ReplicaPhase.LEASED))
    expected = len(task.in_phase(*EXPECTED_PHASES))
    most = book.policy.max_replicas_per_task
    return [
        Rule(
            rule="trust",
            allowed=not wanted,
            text=f"Trust {task.deal.trust} is asked; {expected} worker(s) with the weights product "
            f"{math.prod(pending) if pending else 0} are expected to contribute, "
            f"{len(task.contributors())} did. {'More are needed.' if wanted else 'These are enough.'}",
        ),
        Rule(rule="replicas", allowed=True, text=f"{computing} worker(s) compute it now."),
        Rule(
            rule="failures",
            allowed=task.failures() < most,
            text=f"{task.failures()} replica(s) failed; it is given up at max_replicas_per_task {most}.",
        ),
        Rule(
            rule="suitable_workers",
            allowed=suitable > 0 or not wanted,
            text=f"{suitable} of {min(len(book.workers), MOST_WORKERS)} connected worker(s) could take it now.",
        ),
    ]


def _waits_for(book: Book, task: TaskState, *, begun: bool) -> str:
    if book.behind and not task.is_final:
        return "the pool to have read the chain's past"
    if not begun:
        return "its turn: the operator drains the pool" if book.draining else "its turn to begin"
    if task.waiting:
        return "the results that it reads"
    if task.is_final:
        return "nothing: it is over"
    if task.awaits_confirmations:
        return "the confirmations of contributions that are mined"
    if task.phase is Phase.SEALING:
        return "more workers" if needs_another(book, task) else "the seals of the workers that compute it"
    return _WAITS.get(task.phase, "its turn")


def _has_owner(task: TaskState, worker: WorkerState) -> bool:
    return any(worker.owner == replica.owner or worker.worker == replica.worker for replica in task.replicas) or any(
        seen.worker in (worker.worker, worker.owner) for seen in task.facts.contributions
    )
