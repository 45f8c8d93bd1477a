"""What operators see of a pool at work: its state in numbers, its workers, and why something does not go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from fairgrid import __version__
from fairgrid.errors import UsageError
from fairgrid.pool.administration.operations import WHOLE_POOL, Drain
from fairgrid.pool.administration.operator_views import (
    BanView,
    ChainView,
    DrainView,
    GasView,
    PoolStatus,
    ProcessView,
    Rule,
    StoryEvent,
    StoryView,
    WhyTask,
    WhyWorker,
    WorkerList,
)
from fairgrid.pool.administration.overview import WorkerFilter, alerts, oldest_wait, worker_page, worker_states
from fairgrid.pool.administration.task_why import why_task
from fairgrid.pool.processes.leadership import Leadership
from fairgrid.pool.records.task_lists import TaskLists
from fairgrid.pool.service import PoolService

__all__ = ["PoolOutlook", "UnknownSubject"]

_DAY_S = 86_400.0
_COUNTED_FOR_S = 10.0


class UnknownSubject(UsageError):
    """What was asked for is not here."""


class PoolOutlook:
    """Answers from the scheduler's memory, and from the tables where that forgot."""

    def __init__(
        self,
        service: PoolService,
        lists: TaskLists,
        *,
        drains: Callable[[], Mapping[str, Drain]],
        leadership: Leadership | None = None,
    ) -> None:
        """``drains`` says who is drained now, by subject; ``leadership`` knows the other processes."""
        self._service = service
        self._lists = lists
        self._drains = drains
        self._leadership = leadership
        self._counts: tuple[float, dict[str, int], int] = (0.0, {}, 0)

    async def status(self) -> PoolStatus:
        """The pool in numbers, with alerts."""
        service, book, now = self._service, self._service.machine.book, self._service.now()
        counts, sent = await self._counted(now)
        block, others, leader = await asyncio.to_thread(self._elsewhere)
        money = service.figures.gas_money
        left = money.transactions_left
        drain = self._drains().get(WHOLE_POOL)
        ready = [worker for worker in book.workers.values() if worker.ready]
        status = PoolStatus(
            workerpool=service.identity.workerpool,
            chain_id=service.identity.chain_id,
            hub=service.identity.hub,
            version=__version__,
            epoch=service.epoch,
            leader=leader,
            standby=others,
            draining=None if drain is None else DrainView(who=drain.who, reason=drain.reason, at=drain.at),
            chain=ChainView(
                time=service.figures.chain_time,
                block=block,
                lag_s=round(max(now - service.figures.chain_time, 0.0), 1) if service.figures.chain_time else 0.0,
                silence_s=round(service.figures.chain_silence_s, 1),
                to_read=book.behind,
            ),
            gas=GasView(
                address=service.scheduler,
                balance_wei=None if money.balance_wei is None else str(money.balance_wei),
                transactions_left=left,
                transactions_last_day=sent,
                days_left=None if left is None or not sent else round(left / sent, 1),
                low=money.is_low,
            ),
            workers=dict(worker_states(book, self._drains())),
            owners=len({worker.owner for worker in ready}),
            slots=sum(worker.slots for worker in ready),
            free_slots=sum(worker.free_slots for worker in ready),
            tasks=counts,
            live_tasks=len(book.tasks),
            waiting_for_workers=len(book.waiting),
            not_begun=sum(bag.left for bag in book.bags.values()),
            oldest_wait_s=round(oldest_wait(book), 1),
            transactions_under_way=service.figures.transactions_under_way,
            bans=len({ban.worker for ban in book.bans.values()}),
            alerts=[],
        )
        several = self._leadership is not None and self._leadership.may_be_several
        return status.model_copy(update={"alerts": alerts(status, several=several)})

    async def workers(self, wanted: WorkerFilter, *, limit: int, offset: int) -> WorkerList:
        """A page of the workers that are connected, banned, sponsored, or have a record here."""
        debts = await self._service.inquiries.debts()
        count, rows = worker_page(
            self._service.machine.book,
            wanted,
            drains=self._drains(),
            heard={session.worker: session.heard_at for session in self._service.sessions},
            now=self._service.now(),
            limit=limit,
            offset=offset,
            debts=debts,
        )
        return WorkerList(count=count, workers=rows)

    def why_worker(self, worker: str) -> WhyWorker:
        """Why a worker gets no work: each rule with its number."""
        answer = self._service.why(worker)
        rules = [Rule(rule=reason.rule, allowed=reason.allowed, text=reason.text) for reason in answer.reasons]
        for subject in (worker, WHOLE_POOL):
            drain = self._drains().get(subject)
            text = f"{'The pool' if subject == WHOLE_POOL else 'It'} is {'drained' if drain else 'not drained'}."
            rules.insert(
                0, Rule(rule=f"drained_{'pool' if subject == WHOLE_POOL else 'worker'}", allowed=not drain, text=text)
            )
        return WhyWorker(worker=worker, waiting_tasks=answer.waiting_tasks, rules=rules)

    async def why_task(self, task_id: str) -> WhyTask:
        """Why a task does not go on: each rule with its number.

        Raises:
            UnknownSubject: this pool has no such task.
        """
        service = self._service
        stored = await service.inquiries.task(task_id)
        if stored is None:
            raise UnknownSubject(f"This pool has no task {task_id}.")
        return why_task(
            service.machine.book,
            stored.state,
            begun=task_id in service.machine.tasks or stored.state.is_final,
            chain_silence_s=service.figures.chain_silence_s,
            transactions_left=service.figures.gas_money.transactions_left,
        )

    async def story(self, task_id: str) -> StoryView:
        """Everything that happened to a task and every transaction for it, in order.

        Raises:
            UnknownSubject: this pool has no such task.
        """
        stored = await self._service.inquiries.task(task_id)
        if stored is None:
            raise UnknownSubject(f"This pool has no task {task_id}.")
        lines = await self._service.inquiries.story(task_id)
        events = [StoryEvent(at=line.at, kind="task", text=line.text, worker=line.worker) for line in lines]
        for sent in await asyncio.to_thread(self._lists.transactions, task_id):
            mined = f", block {sent.block}" if sent.block else ""
            text = f"{sent.function} signed with nonce {sent.nonce}: {sent.tx_hash} ({sent.status}{mined})"
            events.append(StoryEvent(at=sent.at, kind="transaction", text=text, worker=""))
        events.sort(key=lambda event: event.at)
        deal_id = stored.state.deal.deal_id
        return StoryView(task_id=task_id, deal_id=deal_id, phase=stored.state.phase.value, events=events)

    def bans(self) -> list[BanView]:
        """Who is banned, the newest ban first."""
        found = {ban.worker: ban for ban in self._service.machine.bans.values()}
        return [
            BanView(worker=ban.worker, owner=ban.owner, reason=ban.reason, task_id=ban.task_id, at=ban.at)
            for ban in sorted(found.values(), key=lambda ban: -ban.at)
        ]

    async def _counted(self, now: float) -> tuple[dict[str, int], int]:
        """Counting reads every row, so the answer is some seconds old at most, not new for each that looks."""
        if now >= self._counts[0] + _COUNTED_FOR_S:
            lists = self._lists
            counts, sent = await asyncio.to_thread(lambda: (lists.counts(), lists.sent_since(now - _DAY_S)))
            self._counts = (now, counts, sent)
        return self._counts[1], self._counts[2]

    def _elsewhere(self) -> tuple[int | None, list[ProcessView], str]:
        block, leadership = self._lists.last_block(), self._leadership
        if leadership is None:
            return block, [], ""
        others = [
            ProcessView(address=other.address, version=other.version, fit=other.fit) for other in leadership.others()
        ]
        return block, others, leadership.address
