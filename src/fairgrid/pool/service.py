"""The scheduler's rim: one queue of events; events and effects are stored together, and only then acted on."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from fairgrid.chain.interface import Chain
from fairgrid.pool.administration.access import AccessGate
from fairgrid.pool.core.events import Event, PolicyChanged
from fairgrid.pool.core.fair_matcher import FairMatcher
from fairgrid.pool.core.identity import PoolIdentity
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
from fairgrid.pool.errands import Errands
from fairgrid.pool.housekeeping import Housekeeping
from fairgrid.pool.inquiries import Inquiries
from fairgrid.pool.jobs.dependencies import DependencyKeeper
from fairgrid.pool.jobs.manifests import ManifestReader
from fairgrid.pool.jobs.requirements import RequirementsReader
from fairgrid.pool.jobs.task_keys import PrivateKeys, TaskKeyKeeper
from fairgrid.pool.observability.dashboard import Dashboard
from fairgrid.pool.observability.figures import PoolFigures
from fairgrid.pool.observability.meter import PoolMeter
from fairgrid.pool.observability.telling import GroupTeller
from fairgrid.pool.onchain.effects import ChainEffects
from fairgrid.pool.onchain.keeper import Keeper
from fairgrid.pool.onchain.outbox import SendingRules
from fairgrid.pool.onchain.ownership import check_ownership
from fairgrid.pool.onchain.repayments import Repayments
from fairgrid.pool.onchain.sponsor import Sponsor
from fairgrid.pool.onchain.watcher import ChainWatcher
from fairgrid.pool.processes.key_lock import key_lock
from fairgrid.pool.records.repayment_store import RepaymentStore
from fairgrid.pool.records.rows import BagRow, Commit
from fairgrid.pool.records.store import PoolStore
from fairgrid.pool.work_loop import WorkLoop
from fairgrid.pool.workers.desk import WorkerDesk
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.views import Deal
from fairgrid.seams.clock import Clock
from fairgrid.storage.client import StorageClient
from fairgrid.wallet.signer import Signer

__all__ = ["PoolService"]

_log = structlog.get_logger(__name__)

_RECONCILED_AT_ONCE = 500


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
        manifests = ManifestReader(storage)
        super().__init__(
            identity=identity,
            policy=policy,
            machine=PoolMachine(identity, policy, matcher, secret=secret),
            chain=chain,
            store=store,
            clock=clock,
            signer=signer,
            sponsor=sponsor,
            task_keys=TaskKeyKeeper(identity, chain=chain, manifests=manifests, signer=signer),
            access=access,
        )
        self.scheduler = signer.address
        self._scratch = scratch
        self._loop = WorkLoop(
            machine=self.machine,
            store=store,
            now=clock.now,
            act=self._do,
            invalid=lambda task_id: self._errands.misfit(task_id),
            offended=self._offended,
            handled=lambda events, commit: self._teller.handled(events, commit),
            committing=self.meter.committing,
            account=lambda task: self._teller.account(task),
            corrected=lambda correction: self._teller.corrected(correction),
        )
        self.inquiries = Inquiries(self.machine, store)
        self._dependencies = DependencyKeeper(
            chain=chain,
            manifests=manifests,
            clock=clock,
            feed=self.feed,
            waits=lambda task_id: task_id in self.machine.tasks and self.machine.tasks[task_id].waiting,
        )
        self._repayments = Repayments(
            chain=chain,
            store=RepaymentStore(store.engine),
            clock=clock,
            sponsor=sponsor.address if sponsor is not None else "",
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
            transferred=self._repayments.take,
        )
        self._effects = ChainEffects(
            chain=chain,
            signer=signer,
            store=store,
            clock=clock,
            callback_of=self._callback_of,
            failed=lambda event: self._errands.effect_failed(event),
            check=self._watcher.check_genesis,
            rules=SendingRules.of(policy),
        )
        self._errands = Errands(
            storage=storage,
            scratch=scratch,
            clock=clock,
            policy=lambda: self.policy,
            feed=self.feed,
            reconcile=self._watcher.reconcile,
            pay_auditors=lambda: self._effects.try_again(PayAuditor),
            private_keys=self._private_keys_of,
        )
        self._teller = GroupTeller(
            machine=self.machine,
            meter=self.meter,
            workerpool=workerpool,
            sealed=self._speed_tests.timed,
            start=self._errands.start,
            hashes=self._effects.hashes,
        )
        self.figures = PoolFigures(
            machine=self.machine,
            loop=self._loop,
            teller=self._teller,
            effects=self._effects,
            watcher=self._watcher,
            repayments=self._repayments,
            chain=chain,
            sessions=self._sessions,
            refusals=self.refusals,
            clock=clock,
        )
        self.dashboard = Dashboard(self.figures, sleep=clock.sleep)
        self._housekeeping = Housekeeping(
            machine=self.machine,
            store=store,
            clock=clock,
            policy=lambda: self.policy,
            purge_transactions=self._effects.purge,
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
                self._errands.within(group)
                loops = [group.create_task(loop, name=name) for name, loop in (await self._start()).items()]
                try:
                    with self.meter.measuring(self.figures):
                        yield
                finally:
                    self._send_away("The pool is stopping; come back later.")
                    for task in loops:
                        task.cancel()
                    self._errands.cancel()
        except BaseExceptionGroup as failures:
            # One loop failed and took the others along: its error is the one to tell.
            raise _first(failures) from failures
        finally:
            self._errands.within(None)

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
        await self._repayments.begin()
        await self._watcher.begin()
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
            "purge": self._housekeeping.purge(),
            "dashboard": self.dashboard.keep(),
            "rows": self._housekeeping.write_rows(),
            "dependencies": self._dependencies.keep(),
            "spot check": self._speed_tests.keep(),
            "repayments": self._repayments.keep(),
            **({"access": self._keep_access()} if self.access is not None else {}),
            **({"sponsor": self._pay_newcomers()} if self._sponsor is not None else {}),
        }

    async def _deal_refusal(self, deal: Deal) -> str:
        return "" if self.access is None else await self.access.deal_refusal(deal.requester)

    async def drain(self) -> None:
        """Send the workers elsewhere and take what is queued: another process is to go on."""
        self._send_away("The pool hands over to another of its processes; connect again.")
        await self._loop.join()

    # --- the loop -------------------------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Queue an event."""
        self._loop.feed(event)

    def _do(self, instructions: Sequence[Instruction]) -> None:
        for instruction in instructions:
            if isinstance(instruction, ChainInstruction):
                self._effects.submit(instruction)
            elif isinstance(instruction, VerifyUpload):
                self._errands.start(self._errands.verify(instruction))
            elif isinstance(instruction, AwaitDependencies):
                waits = (instruction.task_id, instruction.deal_id, instruction.index)
                self._dependencies.await_for(*waits, count=instruction.count)
            elif isinstance(instruction, BanWorker):
                _log.warning("worker banned", worker=instruction.worker, reason=instruction.reason)
                self._send_away(f"This pool bans this worker: {instruction.reason}.", owner=instruction.owner)
            else:
                self._write_to(instruction)

    def _private_keys_of(self, task_id: str) -> PrivateKeys:
        task = self.machine.tasks.get(task_id)
        if task is None:
            return PrivateKeys(self.task_keys, "")
        return PrivateKeys(self.task_keys, task.deal.deal_id, task.index, task.deal.requirements.private)

    def _callback_of(self, task_id: str) -> str:
        task = self.machine.tasks.get(task_id)
        return task.deal.callback if task else ZERO_ADDRESS

    # --- the operator ---------------------------------------------------------------------------------------------

    def use_policy(self, policy: Policy) -> None:
        """Let another policy count from now on; what a term begins with (`operating.LATER`) stays as it is."""
        self.policy = policy
        self._effects.use_rules(SendingRules.of(policy))
        self.feed(PolicyChanged(policy))


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    for failure in failures.exceptions:
        if isinstance(failure, BaseExceptionGroup):
            return _first(failure)
        return failure
    return failures
