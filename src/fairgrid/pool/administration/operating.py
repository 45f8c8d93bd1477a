"""The operator's desk at a pool at work: a decision is stored, then told to the scheduler and whom it concerns."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fairgrid import __version__
from fairgrid.errors import UsageError
from fairgrid.pool.administration.operations import WHOLE_POOL, Act, Drain, Operations, Setting
from fairgrid.pool.administration.operator_access import Signed
from fairgrid.pool.administration.operator_views import (
    BanView,
    ChainView,
    DrainView,
    GasView,
    PolicyKey,
    PolicyView,
    PoolStatus,
    ProcessView,
    Rule,
    StoryEvent,
    StoryView,
    WhyTask,
    WhyWorker,
    WorkerList,
    WorkerMark,
)
from fairgrid.pool.administration.overview import WorkerFilter, alerts, oldest_wait, worker_page, worker_states
from fairgrid.pool.administration.task_why import why_task
from fairgrid.pool.core.events import OperatorBanned, OperatorUnbanned, PoolDrained, WorkerDrained, WorkerLabelled
from fairgrid.pool.core.policy import Policy, changed_policy, policy_values
from fairgrid.pool.core.worker_state import Ban
from fairgrid.pool.processes.leadership import Leadership
from fairgrid.pool.records.task_lists import TaskLists
from fairgrid.pool.service import PoolService

__all__ = ["LATER", "PoolOperator", "UnknownSubject", "policy_in_force"]

LATER: Final = frozenset(
    {
        "confirmations",
        "start_block",
        "heartbeat_s",
        "max_bag_size",
        "keeper_gas_per_day",
        "keep_rows_days",
        "spot_check_every_s",
        "sponsor_stake_nrlc",
        "sponsor_coins_wei",
        "sponsor_day_stake_nrlc",
        "sponsor_day_coins_wei",
        "sponsor_per_owner",
        "sponsor_per_network_day",
        "sponsor_min_fuel_per_s",
        "sponsor_only_repaying",
    }
)
"""Keys of the policy that a term of lead begins with: a change counts from the next start or takeover on."""

_DAY_S = 86_400.0
_COUNTED_FOR_S = 10.0


class UnknownSubject(UsageError):
    """What was asked for is not here."""


def policy_in_force(base: Policy, settings: dict[str, Setting]) -> Policy:
    """The file's policy with what operators set while the pool ran.

    Raises:
        UsageError: what was set does not go with the file any more.
    """
    values = {setting.name: setting.value for setting in settings.values()}
    return changed_policy(base, values, source="what operators set (`fairgrid pool policy unset KEY` drops it)")


class PoolOperator:
    """What operators may ask of a running `PoolService`, and tell it."""

    def __init__(
        self,
        service: PoolService,
        operations: Operations,
        lists: TaskLists,
        *,
        base: Policy | None = None,
        leadership: Leadership | None = None,
    ) -> None:
        """``base`` is the policy of the file, without what was set since; ``leadership`` knows the other processes."""
        self.service = service
        self._operations = operations
        self._lists = lists
        self._base = base or service.policy
        self._begun_with = service.policy
        self._leadership = leadership
        self._drains: dict[str, Drain] = {}
        self._labels: dict[str, tuple[str, ...]] = {}
        self._settings: dict[str, Setting] = {}
        self._counts: tuple[float, dict[str, int], int] = (0.0, {}, 0)
        self._one_at_a_time = asyncio.Lock()

    async def begin(self) -> None:
        """Take up what was decided before this process led; before workers come."""
        operations = self._operations
        self._drains, self._labels, self._settings = await asyncio.to_thread(
            lambda: (operations.drains(), operations.labels(), operations.settings())
        )
        for subject in self._drains:
            self.service.feed(PoolDrained(True) if subject == WHOLE_POOL else WorkerDrained(subject, True))
        for worker, words in self._labels.items():
            self.service.feed(WorkerLabelled(worker, words))

    @property
    def is_draining(self) -> bool:
        """Whether the pool takes nothing new."""
        return WHOLE_POOL in self._drains

    def is_operator(self, address: str) -> bool:
        """Whether an address may administer the pool now."""
        return address == self.service.scheduler or address in self.service.policy.operators

    # --- acting ---------------------------------------------------------------------------------------------------

    async def drain(self, subject: str, reason: str, signed: Signed) -> Drain:
        """Give a worker, or let `WHOLE_POOL` take, nothing new; what runs goes on to its end."""
        act = self._act(signed, "drain", subject, reason)
        drain = Drain(subject, signed.who, reason, act.at)
        async with self._one_at_a_time:
            await asyncio.to_thread(self._operations.drain, drain, act)
            self._drains[subject] = drain
            self.service.feed(PoolDrained(True) if subject == WHOLE_POOL else WorkerDrained(subject, True))
        return drain

    async def undrain(self, subject: str, signed: Signed) -> None:
        """Take new work again.

        Raises:
            UsageError: it is not drained.
        """
        async with self._one_at_a_time:
            if subject not in self._drains:
                raise UsageError("The pool is not drained." if subject == WHOLE_POOL else f"{subject} is not drained.")
            await asyncio.to_thread(self._operations.undrain, subject, self._act(signed, "undrain", subject))
            del self._drains[subject]
            self.service.feed(PoolDrained(False) if subject == WHOLE_POOL else WorkerDrained(subject, False))

    async def drain_worker(self, worker: str, reason: str, signed: Signed) -> WorkerMark:
        """Give a worker no new lease; what it computes goes on to its end."""
        await self.drain(worker, reason, signed)
        return self._mark(worker)

    async def undrain_worker(self, worker: str, signed: Signed) -> WorkerMark:
        """Give a worker leases again.

        Raises:
            UsageError: it is not drained.
        """
        await self.undrain(worker, signed)
        return self._mark(worker)

    async def ban(self, worker: str, owner: str, reason: str, signed: Signed) -> WorkerMark:
        """Give a worker and its owner no more work; what they hold is given to others.

        ``owner`` may be empty when the pool knows it.

        Raises:
            UsageError: the worker is banned already.
        """
        owner = owner or self._owner_of(worker)
        act = self._act(signed, "ban", worker, reason)
        async with self._one_at_a_time:
            if worker in self.service.machine.bans:
                raise UsageError(f"{worker} is banned already: {self.service.machine.bans[worker].reason}.")
            await asyncio.to_thread(self._operations.ban, Ban(worker, owner, "", reason, "{}", act.at), act)
            self.service.feed(OperatorBanned(worker, owner, reason))
            for session in self.service.sessions:
                if session.owner == owner or session.worker == worker:
                    session.end(f"The pool's operator bans this worker: {reason}.")
        return self._mark(worker, banned=True)

    async def unban(self, address: str, signed: Signed) -> WorkerMark:
        """Lift the bans of a worker, or of an owner.

        Raises:
            UsageError: there is none.
        """
        async with self._one_at_a_time:
            await asyncio.to_thread(self._operations.unban, address, self._act(signed, "unban", address))
            self.service.feed(OperatorUnbanned(address))
        return self._mark(address, banned=False)

    async def label(self, worker: str, words: tuple[str, ...], signed: Signed) -> WorkerMark:
        """Give a worker exactly these labels, beside those that its owner claims."""
        words = tuple(dict.fromkeys(words))
        act = self._act(signed, "label", worker, " ".join(words))
        async with self._one_at_a_time:
            await asyncio.to_thread(self._operations.set_labels, worker, words, act)
            self._labels[worker] = words
            self.service.feed(WorkerLabelled(worker, words))
        return self._mark(worker)

    async def change_policy(self, values: dict[str, Any], unset: tuple[str, ...], signed: Signed) -> PolicyView:
        """Set keys of the policy, and give others back to the file; what can counts at once.

        Raises:
            UsageError: a key is unknown or its value cannot be; nothing was changed.
        """
        if not values and not unset:
            raise UsageError("Name at least one key to set or to unset.")
        known = policy_values(self._base)
        for name in unset:
            if name not in known:
                raise UsageError(f"The policy has no key {name[:80]!r}. Known keys: {', '.join(known)}.")
        detail = " ".join([*(f"{name}={value!r}" for name, value in values.items()), *(f"-{name}" for name in unset)])
        act = self._act(signed, "policy", ",".join([*values, *unset]), detail)
        async with self._one_at_a_time:
            settings = {name: setting for name, setting in self._settings.items() if name not in unset}
            settings |= {name: Setting(name, value, act.who, act.at) for name, value in values.items()}
            wanted = policy_in_force(self._base, settings)
            await asyncio.to_thread(self._operations.set_policy, values, unset, act)
            self._settings = settings
            begun_with = policy_values(self._begun_with)
            at_once = {name: value for name, value in policy_values(wanted).items() if name not in LATER}
            later = {name: begun_with[name] for name in LATER}
            self.service.use_policy(changed_policy(self._base, at_once | later, source="the policy"))
        return self.policy()

    async def note(self, signed: Signed, act: str) -> None:
        """Remember an act that changes nothing in the database."""
        await asyncio.to_thread(self._operations.note, self._act(signed, act))

    def _act(self, signed: Signed, act: str, subject: str = "", detail: str = "") -> Act:
        return Act(self.service.now(), signed.who, act, subject, detail, signed.nonce)

    # --- asking ---------------------------------------------------------------------------------------------------

    async def status(self) -> PoolStatus:
        """The pool in numbers, with alerts."""
        service, book, now = self.service, self.service.machine.book, self.service.now()
        counts, sent = await self._counted(now)
        block, others, leader = await asyncio.to_thread(self._elsewhere)
        money = service.figures.gas_money
        left = money.transactions_left
        drain = self._drains.get(WHOLE_POOL)
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
            workers=dict(worker_states(book, self._drains)),
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
        debts = await self.service.inquiries.debts()
        count, rows = worker_page(
            self.service.machine.book,
            wanted,
            drains=self._drains,
            heard={session.worker: session.heard_at for session in self.service.sessions},
            now=self.service.now(),
            limit=limit,
            offset=offset,
            debts=debts,
        )
        return WorkerList(count=count, workers=rows)

    def why_worker(self, worker: str) -> WhyWorker:
        """Why a worker gets no work: each rule with its number."""
        answer = self.service.why(worker)
        rules = [Rule(rule=reason.rule, allowed=reason.allowed, text=reason.text) for reason in answer.reasons]
        for subject in (worker, WHOLE_POOL):
            drain = self._drains.get(subject)
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
        service = self.service
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
        stored = await self.service.inquiries.task(task_id)
        if stored is None:
            raise UnknownSubject(f"This pool has no task {task_id}.")
        lines = await self.service.inquiries.story(task_id)
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
        found = {ban.worker: ban for ban in self.service.machine.bans.values()}
        return [
            BanView(worker=ban.worker, owner=ban.owner, reason=ban.reason, task_id=ban.task_id, at=ban.at)
            for ban in sorted(found.values(), key=lambda ban: -ban.at)
        ]

    def policy(self) -> PolicyView:
        """Every key with its value, and where it comes from."""
        default, base = policy_values(Policy()), policy_values(self._base)
        wanted = policy_values(policy_in_force(self._base, self._settings))
        keys = []
        for name, value in wanted.items():
            setting = self._settings.get(name)
            source = "set" if setting else "file" if base[name] != default[name] else "default"
            key = PolicyKey(name=name, value=value, source=source, later=name in LATER)
            keys.append(key if setting is None else key.model_copy(update={"who": setting.who, "at": setting.at}))
        now = policy_values(self.service.policy)
        return PolicyView(keys=keys, waiting=[name for name, value in wanted.items() if now[name] != value])

    # --- inside ---------------------------------------------------------------------------------------------------

    def _owner_of(self, worker: str) -> str:
        machine = self.service.machine
        known = machine.workers.get(worker) or machine.standings.get(worker)
        return known.owner if known is not None else worker

    def _mark(self, worker: str, *, banned: bool | None = None) -> WorkerMark:
        if banned is None:
            banned = self.service.is_banned(worker, self._owner_of(worker))
        given = list(self._labels.get(worker, ()))
        return WorkerMark(worker=worker, drained=worker in self._drains, banned=banned, labels=given)

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
