"""The scheduler's rim: one queue of events; events and effects are stored together, and only then acted on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from fairgrid.chain.fees import FeeCaps
from fairgrid.chain.interface import Chain
from fairgrid.errors import ServiceUnavailable
from fairgrid.pool.administration.access import AccessGate
from fairgrid.pool.core.accounts import Account, AccountKind, accounts_of
from fairgrid.pool.core.events import EffectFailed, Event, PolicyChanged, SealReceived
from fairgrid.pool.core.fair_matcher import FairMatcher
from fairgrid.pool.core.instructions import (
    AwaitDependencies,
    BanWorker,
    ChainInstruction,
    Instruction,
    PayAuditor,
    VerifyUpload,
)
from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.state import PoolIdentity, StoryLine, TaskState
from fairgrid.pool.jobs.dependencies import DependencyKeeper
from fairgrid.pool.jobs.manifests import ManifestReader
from fairgrid.pool.jobs.requirements import RequirementsReader
from fairgrid.pool.jobs.run_uploads import verify_run_upload
from fairgrid.pool.jobs.uploads import verify_upload
from fairgrid.pool.observability.dashboard import Dashboard, Totals
from fairgrid.pool.observability.meter import PoolMeter
from fairgrid.pool.observability.numbers import PoolNumbers, numbers_of
from fairgrid.pool.observability.task_trace import keys_of_trace, trace_task
from fairgrid.pool.onchain.effects import ChainEffects
from fairgrid.pool.onchain.gas_money import GasMoney
from fairgrid.pool.onchain.keeper import Keeper
from fairgrid.pool.onchain.outbox import SendingRules
from fairgrid.pool.onchain.ownership import check_ownership
from fairgrid.pool.onchain.sponsor import Sponsor
from fairgrid.pool.onchain.watcher import ChainWatcher
from fairgrid.pool.processes.key_lock import key_lock
from fairgrid.pool.records.account_store import AccountStore
from fairgrid.pool.records.finder import TaskFinder
from fairgrid.pool.records.retention import Retention
from fairgrid.pool.records.rows import BagRow, Commit, StoredTask
from fairgrid.pool.records.store import PoolStore
from fairgrid.pool.work_loop import WorkLoop
from fairgrid.pool.workers.desk import WorkerDesk
from fairgrid.pool.workers.letters import letter_of
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.views import Deal
from fairgrid.seams import tracing
from fairgrid.seams.clock import Clock
from fairgrid.storage.client import StorageClient
from fairgrid.wallet.signer import Signer

__all__ = ["PoolService"]

_log = structlog.get_logger(__name__)
_debug_log = logging.getLogger(__name__)

_CHECKS_AT_ONCE = 16
_RECONCILED_AT_ONCE = 500
_DAY_S = 86_400.0
_PAY_AGAIN_S = 60.0
_PURGE_STEP = 200
_PURGE_PAUSE_S = 0.1
_PURGE_EVERY_S = 600.0
_ROWS_EVERY_S = 5.0


class PoolService(WorkerDesk):
    """One workerpool's scheduler at work. Use `running` around everything that asks it."""

    def __init__(
        self,
        *,
        chain: Chain,
        signer: Signer,
        workerpool: str,
        store: PoolStore,
        storage: StorageClient,
        policy: Policy,
        clock: Clock,
        scratch: Path,
        epoch: int = 0,
        sponsor: Sponsor | None = None,
        access: AccessGate | None = None,
        meter: PoolMeter | None = None,
    ) -> None:
        """``scratch`` is a folder for uploads that are being checked; ``epoch`` that of this process's lead;
        ``sponsor`` helps newcomers (None: nobody does); ``access`` says who may come (None:
        everybody); ``meter`` measures (None: for itself only).

        The caller opens and closes what it gives.
        """
        self.epoch = epoch
        self.meter = meter or PoolMeter(CollectorRegistry())
        secret = secrets.token_bytes(32)
        matcher = FairMatcher(secret, lambda worker, owner: self.machine.is_newcomer(worker, owner))
        identity = PoolIdentity(chain.chain_id, chain.hub, workerpool)
        super().__init__(
            identity=identity,
            policy=policy,
            machine=PoolMachine(identity, policy, matcher, secret=secret),
            chain=chain,
            store=store,
            clock=clock,
            sponsor=sponsor,
            access=access,
        )
        self.scheduler = signer.address
        self._signer = signer
        self._storage = storage
        self._scratch = scratch
        self._loop = WorkLoop(
            machine=self.machine,
            store=store,
            now=clock.now,
            act=self._do,
            invalid=self._misfit,
            offended=self._offended,
            handled=self._handled,
            committing=self.meter.committing,
            account=self._account,
        )
        self._finder = TaskFinder(self.machine)
        self._group: asyncio.TaskGroup | None = None
        self._errands: set[asyncio.Task[None]] = set()
        self._untold: list[TaskState] = []
        self.totals = Totals()
        self.dashboard = Dashboard(self, sleep=clock.sleep)
        self._numbers: PoolNumbers | None = None
        self._checks = asyncio.Semaphore(_CHECKS_AT_ONCE)
        manifests = ManifestReader(storage)
        self._dependencies = DependencyKeeper(
            chain=chain,
            manifests=manifests,
            clock=clock,
            feed=self.feed,
            waits=lambda task_id: task_id in self.machine.tasks and self.machine.tasks[task_id].waiting,
        )
        self._watcher = ChainWatcher(
            chain=chain,
            identity=self.identity,
            policy=policy,
            store=store,
            clock=clock,
            feed=self._loop.feed,
            taken=self._loop.join,
            tasks=lambda: self.machine.tasks,
            waits=self._dependencies.may_wait,
            requirements=RequirementsReader(
                manifests, labels_of_app=lambda app: self.policy.labels_of_app(app)
            ).requirements_of,
            refusal=self._deal_refusal,
        )
        self._effects = ChainEffects(
            chain=chain,
            signer=signer,
            store=store,
            clock=clock,
            callback_of=self._callback_of,
            failed=self._effect_failed,
            check=self._watcher.check_genesis,
            rules=_sending_rules(policy),
        )
        self._keeper = Keeper(
            chain=chain,
            sender=signer.address,
            workerpool=workerpool,
            start_block=policy.start_block,
            gas_per_day=policy.keeper_gas_per_day,
            most=policy.max_batch_tasks,
            clock=clock,
            chain_time=lambda: self._watcher.chain_time,
            send=self._effects.send_beside,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[PoolService]:
        """Take up what the store holds, compare it with the chain, and schedule until the block is left.

        Raises:
            UsageError: the key does not own the workerpool, or the store belongs to another pool or chain.
            VerificationError: the hub's code is not the pinned one.
            KeyInUse: another process sends with this key.
            ServiceUnavailable: the chain does not answer at start.
        """
        lock = key_lock(self._store.engine, self._scratch.parent, self._signer.address)
        await asyncio.to_thread(lock.__enter__)
        try:
            async with self._running():
                yield self
        finally:
            await asyncio.to_thread(lock.__exit__, None, None, None)

    @contextlib.asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        await self._watcher.check_identity()
        info = await check_ownership(self._chain, self.identity.workerpool, self._signer)
        self._stake_ratio = info.worker_stake_ratio
        await asyncio.to_thread(self._store.bind, self.identity)
        self._scratch.mkdir(parents=True, exist_ok=True)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                loops = [group.create_task(loop, name=name) for name, loop in (await self._start()).items()]
                try:
                    with self.meter.measuring(self):
                        yield
                finally:
                    for session in list(self._sessions.values()):
                        session.end("The pool is stopping; come back later.")
                    for task in (*loops, *self._errands):
                        task.cancel()
        except BaseExceptionGroup as failures:
            # One loop failed and took the others along: its error is the one to tell.
            raise _first(failures) from failures
        finally:
            self._group = None

    async def _start(self) -> dict[str, Coroutine[Any, Any, None]]:
        if self.access is not None:
            await self.access.read()
        under_way = await self._effects.resume()
        await self._effects.try_again(PayAuditor)
        remembered_since = self._clock.now() - self.policy.keep_finished_s
        tasks, bags, bans, standings = await asyncio.to_thread(
            lambda: (
                self._store.live_tasks(settled_since=remembered_since, most=self.policy.keep_finished_tasks),
                self._store.live_bags(),
                self._store.bans(),
                self._store.standings(),
            )
        )
        outcome = self.machine.restore(
            tasks, bans, bags=bags, standings=standings, in_flight=under_way, now=self._clock.now()
        )
        settled = {bag.deal.deal_id: BagRow.of(bag) for bag in outcome.bags}
        await asyncio.to_thread(self._store.commit, Commit(at=self._clock.now(), bags=settled))
        self._do(outcome.instructions)
        if not self.policy.confirmations:
            ids = [task.task_id for task in tasks]
            for start in range(0, len(ids), _RECONCILED_AT_ONCE):
                await self._watcher.reconcile(*ids[start : start + _RECONCILED_AT_ONCE])
        return {
            "work": self._loop.run(),
            "follow": self._watcher.follow(),
            "time": self._watcher.keep_time(),
            "compare": self._watcher.compare(),
            "send": self._effects.send(),
            "watch": self._effects.watch(),
            "strangers": self._keeper.follow(),
            "keeper": self._keeper.keep(),
            "refresh": self._refresh(),
            "purge": self._purge(),
            "dashboard": self.dashboard.keep(),
            "rows": self._write_rows(),
            "dependencies": self._dependencies.keep(),
            "spot check": self._speed_tests.keep(),
            **({"access": self._keep_access()} if self.access is not None else {}),
            **({"sponsor": self._pay_newcomers()} if self._sponsor is not None else {}),
        }

    async def _deal_refusal(self, deal: Deal) -> str:
        return "" if self.access is None else await self.access.deal_refusal(deal.requester)

    async def drain(self) -> None:
        """Send the workers elsewhere and take what is queued: another process is to go on."""
        for session in list(self._sessions.values()):
            session.end("The pool hands over to another of its processes; connect again.")
        await self._loop.join()

    # --- the loop -------------------------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Queue an event."""
        self._loop.feed(event)

    def _misfit(self, task_id: str) -> None:
        self._spawn(self._reconcile_patiently(task_id))

    def _offended(self, event: Event) -> bool:
        """Whatever a stranger managed to say, the others go on; False if nobody said it."""
        session = self._sessions.get(getattr(event, "worker", ""))
        if session is None:
            return False
        _log.exception("a worker's message could not be taken", worker=session.worker)
        session.end("The pool cannot take this message.")
        return True

    def _handled(self, events: Sequence[Event], commit: Commit) -> None:
        for event in events:
            if isinstance(event, SealReceived):
                self._speed_tests.timed(event)
        self.meter.took(events, commit, self.machine.tasks)
        if self._untold:
            self._spawn(self._trace(self._untold))
            self._untold = []
        if commit.lines and _debug_log.isEnabledFor(logging.DEBUG):
            for line in commit.lines:
                task = self.machine.tasks.get(line.task_id)
                deal_id = task.deal.deal_id if task else ""
                _log.debug(line.text, task=line.task_id, deal=deal_id, worker=line.worker)

    def _account(self, task: TaskState) -> list[Account]:
        if tracing.active():
            self._untold.append(task)
        accounts = accounts_of(task, self.identity.workerpool)
        self.totals.add(accounts)
        return accounts

    def _do(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            if isinstance(instruction, ChainInstruction):
                self._effects.submit(instruction)
            elif isinstance(instruction, VerifyUpload):
                self._spawn(self._verify(instruction))
            elif isinstance(instruction, AwaitDependencies):
                waits = (instruction.task_id, instruction.deal_id, instruction.index)
                self._dependencies.await_for(*waits, count=instruction.count)
            elif isinstance(instruction, BanWorker):
                _log.warning("worker banned", worker=instruction.worker, reason=instruction.reason)
                for session in list(self._sessions.values()):
                    if session.owner == instruction.owner:
                        session.end(f"This pool bans this worker: {instruction.reason}.")
            elif instruction.worker in self._sessions:
                self._sessions[instruction.worker].send(letter_of(instruction, self._signer))

    async def _trace(self, tasks: Sequence[TaskState]) -> None:
        hashes = await self._effects.hashes([key for task in tasks for key in keys_of_trace(task)])
        for task in tasks:
            trace_task(task, hashes)

    # --- effects --------------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._group is not None
        errand = self._group.create_task(work)
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)

    async def _reconcile_patiently(self, task_id: str) -> None:
        while True:
            try:
                await self._watcher.reconcile(task_id)
                return
            except ServiceUnavailable:
                await self._clock.sleep(1.0)

    async def _effect_failed(self, event: EffectFailed) -> None:
        if event.step == PayAuditor.__name__.lower():
            self._spawn(self._pay_again())
            return
        await self._reconcile_patiently(event.task_id)
        self.feed(event)

    async def _pay_again(self) -> None:
        await self._clock.sleep(_PAY_AGAIN_S)
        await self._effects.try_again(PayAuditor)

    async def _verify(self, instruction: VerifyUpload) -> None:
        scratch, max_bytes = self._scratch, self.policy.max_archive_bytes
        async with self._checks:
            if instruction.count:
                sample = self.policy.batch_checked_results
                answer = await verify_run_upload(
                    instruction, self._storage, scratch=scratch, max_bytes=max_bytes, sample=sample
                )
            else:
                answer = await verify_upload(instruction, self._storage, scratch=scratch, max_bytes=max_bytes)
            self.feed(answer)

    def _callback_of(self, task_id: str) -> str:
        task = self.machine.tasks.get(task_id)
        return task.deal.callback if task else ZERO_ADDRESS

    async def _write_rows(self) -> None:
        """Where little happens no commit follows that would write the rows of what changed: they come after a while."""
        while True:
            await self._clock.sleep(_ROWS_EVERY_S)
            await asyncio.to_thread(self._store.write_rows, self._clock.now(), older_than_s=_ROWS_EVERY_S)

    async def _purge(self) -> None:
        """Delete rows that are older than the policy keeps them, in small steps."""
        retention = Retention(self._store)
        while True:
            policy, now = self.policy, self._clock.now()
            gone = await asyncio.to_thread(
                retention.step, policy, now, connected=frozenset(self.machine.workers), limit=_PURGE_STEP
            )
            for worker in gone.workers:
                self.machine.forget_standing(worker)
            rows = gone.rows
            if policy.keep_rows_days:
                rows += await self._effects.purge(now - policy.keep_rows_days * _DAY_S, limit=_PURGE_STEP)
            await self._clock.sleep(_PURGE_PAUSE_S if rows else _PURGE_EVERY_S)

    # --- the operator ---------------------------------------------------------------------------------------------

    def use_policy(self, policy: Policy) -> None:
        """Let another policy count from now on; what a term begins with (`operating.LATER`) stays as it is."""
        self.policy = policy
        self._effects.use_rules(_sending_rules(policy))
        self.feed(PolicyChanged(policy))

    # --- figures ---------------------------------------------------------------------------------------------------

    def numbers(self) -> PoolNumbers:
        """What the pool is doing, counted at most once a second."""
        now = self._clock.now()
        if self._numbers is None or not 0 <= now - self._numbers.at < 1.0:
            self._numbers = numbers_of(self.machine, now=now)
        return self._numbers

    @property
    def tally(self) -> Counter[str]:
        """How often what happened to leases and audits (`Book.tally`); read only."""
        return self.machine.tally

    @property
    def transactions_tally(self) -> Counter[str]:
        """What became of transactions since this process leads (`Outbox.tally`); read only."""
        return self._effects.tally

    @property
    def reorganisations(self) -> int:
        """How often the chain took events of the hub back."""
        return self._watcher.reorganisations

    @property
    def queued_events(self) -> int:
        """Events that are not taken yet."""
        return self._loop.queued

    @property
    def connected(self) -> int:
        """Workers' connections."""
        return len(self._sessions)

    # --- asking ---------------------------------------------------------------------------------------------------

    @property
    def chain_time(self) -> int:
        """Time of the newest block, in seconds; 0 before the first was seen."""
        return self._watcher.chain_time

    @property
    def gas_money(self) -> GasMoney:
        """How long the key's coins last."""
        return self._effects.gas_money

    @property
    def transactions_under_way(self) -> int:
        """How many transactions are sent and not mined."""
        return self._effects.under_way

    @property
    def chain_silence_s(self) -> float:
        """Seconds since the chain last answered."""
        return max(self._clock.now() - self._watcher.answered_at, 0.0)

    async def usage(self, kind: AccountKind, *, since: str, until: str) -> list[Account]:
        """Each subject's sums over days (UTC) ``since`` to ``until``, the highest amounts first."""
        return await asyncio.to_thread(AccountStore(self._store.engine).sums, kind, since=since, until=until)

    async def task(self, task_id: str) -> StoredTask | None:
        """A task as it is now, or as it is stored if it is long over; None for one that is not known.

        One of a live deal that has not begun is told as received.
        """
        live = self.machine.tasks.get(task_id)
        if live is not None:
            return StoredTask(live, live.story[-1].at if live.story else live.created_at)
        stored = await asyncio.to_thread(self._store.task, task_id)
        if stored is not None:
            return stored
        unbegun = await self._finder.find(task_id)
        return None if unbegun is None else StoredTask(unbegun, unbegun.created_at)

    async def story(self, task_id: str) -> list[StoryLine]:
        """Everything that happened to a task, in order."""
        live = self.machine.story(task_id)
        if live:
            return list(live)
        stored = await asyncio.to_thread(self._store.story, task_id)
        if stored:
            return stored
        unbegun = await self._finder.find(task_id)
        return [] if unbegun is None else unbegun.story

    async def tasks_of_deal(self, deal_id: str, *, limit: int, offset: int) -> tuple[int, list[tuple[str, int, str]]]:
        """How many tasks the deal has, and id, index and phase of some of them."""
        return await asyncio.to_thread(
            lambda: (
                self._store.count_tasks_of_deal(deal_id),
                self._store.tasks_of_deal(deal_id, limit=limit, offset=offset),
            )
        )


def _sending_rules(policy: Policy) -> SendingRules:
    return SendingRules(
        caps=FeeCaps(max_fee_wei=int(policy.max_fee_gwei * 10**9), max_tip_wei=int(policy.max_tip_gwei * 10**9)),
        replace_after_s=policy.replace_after_s,
        max_batch_tasks=policy.max_batch_tasks,
        low_balance_transactions=policy.low_balance_transactions,
    )


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    for failure in failures.exceptions:
        if isinstance(failure, BaseExceptionGroup):
            return _first(failure)
        return failure
    return failures
