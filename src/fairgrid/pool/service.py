"""The scheduler's rim: one queue of events; events and effects are stored together, and only then acted on."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from fairgrid.chain.fees import FeeCaps
from fairgrid.chain.interface import Chain
from fairgrid.errors import ServiceUnavailable, TransactionFailed, UsageError
from fairgrid.pool.commits import gather
from fairgrid.pool.dependencies import DependencyKeeper
from fairgrid.pool.effects import ChainEffects
from fairgrid.pool.events import EffectFailed, Event, PolicyChanged, SealReceived, WorkerFacts, WorkerLost
from fairgrid.pool.fair_matcher import FairMatcher
from fairgrid.pool.finder import TaskFinder
from fairgrid.pool.gas_money import GasMoney
from fairgrid.pool.instructions import (
    AwaitDependencies,
    BanWorker,
    Claim,
    Finalize,
    FinalizeRun,
    Initialize,
    Instruction,
    OpenRun,
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
    WorkerInstruction,
)
from fairgrid.pool.keeper import Keeper
from fairgrid.pool.key_lock import key_lock
from fairgrid.pool.live import LiveBoard
from fairgrid.pool.machine import Outcome, PoolMachine
from fairgrid.pool.manifests import ManifestReader
from fairgrid.pool.outbox import SendingRules
from fairgrid.pool.phases import InvalidTransition, ReplicaPhase
from fairgrid.pool.policy import Policy
from fairgrid.pool.requirements import RequirementsReader
from fairgrid.pool.run_uploads import verify_run_upload
from fairgrid.pool.sessions import Session
from fairgrid.pool.sponsor import Sponsor
from fairgrid.pool.sponsoring import Newcomer
from fairgrid.pool.spot_checks import SpotChecks, Timing, Verdict, implausible
from fairgrid.pool.state import PoolIdentity, StoryLine, WorkerState
from fairgrid.pool.store import BagRow, Commit, PoolStore, StoredTask
from fairgrid.pool.uploads import verify_upload
from fairgrid.pool.watcher import ChainWatcher, Position
from fairgrid.pool.why import why
from fairgrid.protocol import wire
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.ids import authorisation_message
from fairgrid.protocol.views import RoleAccount, WorkerpoolInfo
from fairgrid.seams.clock import Clock
from fairgrid.seams.http import one_line
from fairgrid.storage.client import StorageClient
from fairgrid.wallet.signer import Signer

__all__ = ["PoolService", "check_ownership"]

_log = structlog.get_logger(__name__)

_BATCH = 500
_REFRESH_S = 10.0
_SPONSOR_EVERY_S = 5.0
_SPOT_CHECK_PAUSE_S = 2.0
_TIMINGS = 50
_CHECKS_AT_ONCE = 16
_RECONCILED_AT_ONCE = 500
_DAY_S = 86_400.0
_PURGE_STEP = 200
_PURGE_PAUSE_S = 0.1
_PURGE_EVERY_S = 600.0


async def check_ownership(chain: Chain, workerpool: str, signer: Signer) -> WorkerpoolInfo:
    """Make sure that this key may authorise and finalize for the workerpool; gives the workerpool's terms.

    Raises:
        UsageError: there is no such workerpool, or another account owns it.
        ServiceUnavailable: the chain does not answer.
    """
    if not await chain.is_registered("workerpool", workerpool):
        raise UsageError(
            f"There is no workerpool at {workerpool} on the hub {chain.hub}. Register one, and name it in the network "
            f"file as poolAddress."
        )
    info = await chain.view_workerpool(workerpool)
    if info.owner != signer.address:
        raise UsageError(
            f"The workerpool {workerpool} belongs to {info.owner}, but the key in this pool's folder is "
            f"{signer.address}. Put the owner's keystore into --dir, or name a workerpool of {signer.address} in the "
            f"network file."
        )
    return info


class PoolService:
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
    ) -> None:
        """``scratch`` is a folder for uploads that are being checked; ``epoch`` that of this process's lead;
        ``sponsor`` helps newcomers (None: nobody does).

        The caller opens and closes what it gives.
        """
        self.epoch = epoch
        self._sponsor = sponsor
        self._spot_checks = SpotChecks(policy.spot_check_every_s)
        self.spot_verdicts: dict[str, Verdict] = {}
        """How the last test of each worker's speed ended."""
        self._timings: dict[str, deque[Timing]] = {}
        self.identity = PoolIdentity(chain.chain_id, chain.hub, workerpool)
        self.policy = policy
        secret = secrets.token_bytes(32)
        matcher = FairMatcher(secret, lambda worker, owner: self.machine.is_newcomer(worker, owner))
        self.machine = PoolMachine(self.identity, policy, matcher, secret=secret)
        self.scheduler = signer.address
        self._chain = chain
        self._signer = signer
        self._store = store
        self._storage = storage
        self._clock = clock
        self._scratch = scratch
        self._queue: asyncio.Queue[Event | Position] = asyncio.Queue()
        self._finder = TaskFinder(self.machine)
        self._sessions: dict[str, Session] = {}
        self.live = LiveBoard(holds=self._speaks_for, now=clock.now)
        self._stake_ratio = 0
        self._group: asyncio.TaskGroup | None = None
        self._errands: set[asyncio.Task[None]] = set()
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
            feed=self._queue.put_nowait,
            taken=self._queue.join,
            tasks=lambda: self.machine.tasks,
            waits=self._dependencies.may_wait,
            requirements=RequirementsReader(
                manifests, labels_of_app=lambda app: self.policy.labels_of_app(app)
            ).requirements_of,
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
        under_way = await self._effects.resume()
        tasks, bags, bans, standings = await asyncio.to_thread(
            lambda: (self._store.live_tasks(), self._store.live_bags(), self._store.bans(), self._store.standings())
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
            "work": self._work(),
            "follow": self._watcher.follow(),
            "time": self._watcher.keep_time(),
            "compare": self._watcher.compare(),
            "send": self._effects.send(),
            "watch": self._effects.watch(),
            "strangers": self._keeper.follow(),
            "keeper": self._keeper.keep(),
            "refresh": self._refresh(),
            "purge": self._purge(),
            "dependencies": self._dependencies.keep(),
            "spot check": self._spot_check(),
            **({"sponsor": self._pay_newcomers()} if self._sponsor is not None else {}),
        }

    async def drain(self) -> None:
        """Send the workers elsewhere and take what is queued: another process is to go on."""
        for session in list(self._sessions.values()):
            session.end("The pool hands over to another of its processes; connect again.")
        await self._queue.join()

    # --- the loop -------------------------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Queue an event."""
        self._queue.put_nowait(event)

    async def _work(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._take(batch)
            for _ in batch:
                self._queue.task_done()

    async def _take(self, batch: list[Event | Position]) -> None:
        position = next((item for item in reversed(batch) if isinstance(item, Position)), None)
        events = (item for item in batch if not isinstance(item, Position))
        commit = gather(events, self._handle, at=self._clock.now())
        if not commit.is_empty:
            await asyncio.to_thread(self._store.commit, commit)
        if position is not None:
            await asyncio.to_thread(self._store.set_position, position.block_number)
        self._do(tuple(commit.instructions))

    def _handle(self, event: Event) -> Outcome | None:
        try:
            outcome = self.machine.handle(event, now=self._clock.now())
        except InvalidTransition as error:
            _log.warning("an event does not fit; the task is compared with the chain", reason=str(error))
            self._spawn(self._reconcile_patiently(error.task_id))
            return None
        except Exception:
            session = self._sessions.get(getattr(event, "worker", ""))
            if session is None:
                raise
            # Whatever a stranger managed to say, the others go on.
            _log.exception("a worker's message could not be taken", worker=session.worker)
            session.end("The pool cannot take this message.")
            return None
        if isinstance(event, SealReceived):
            self._timed(event)
        return outcome

    def _do(self, instructions: tuple[Instruction, ...]) -> None:
        for instruction in instructions:
            match instruction:
                case (
                    Initialize()
                    | Finalize()
                    | Claim()
                    | Reopen()
                    | OpenRun()
                    | SplitRun()
                    | FinalizeRun()
                    | RefundRest()
                ):
                    self._effects.submit(instruction)
                case VerifyUpload():
                    self._spawn(self._verify(instruction))
                case AwaitDependencies():
                    self._dependencies.await_for(instruction.task_id, instruction.deal_id, instruction.index)
                case BanWorker():
                    _log.warning("worker banned", worker=instruction.worker, reason=instruction.reason)
                    for session in list(self._sessions.values()):
                        if session.owner == instruction.owner:
                            session.end(f"This pool bans this worker: {instruction.reason}.")
                case _:
                    session_or_none = self._sessions.get(instruction.worker)
                    if session_or_none is not None:
                        session_or_none.send(self._message(instruction))

    def _message(self, instruction: WorkerInstruction) -> wire.PoolMessage:
        match instruction:
            case SendLease():
                return wire.Lease(
                    lease_id=instruction.lease_id,
                    deal_id=instruction.deal_id,
                    task_id=instruction.task_id,
                    index=instruction.index,
                    round=instruction.round,
                    seal_window_s=instruction.seal_window_s,
                    count=instruction.count,
                )
            case SendAuthorisation():
                message = authorisation_message(instruction.worker, instruction.task_id)
                return wire.Authorisation(
                    lease_id=instruction.lease_id,
                    task_id=instruction.task_id,
                    enclave_challenge=ZERO_ADDRESS,
                    signature=self._signer.sign_message(message),
                )
            case SendRevealNotice():
                return wire.RevealNotice(task_id=instruction.task_id)
            case RequestOpening():
                return wire.OpeningRequest(lease_id=instruction.lease_id, task_id=instruction.task_id)
            case RequestUpload():
                return wire.UploadRequest(lease_id=instruction.lease_id, task_id=instruction.task_id)
            case SendAbort():
                return wire.Abort(lease_id=instruction.lease_id, task_id=instruction.task_id, reason=instruction.reason)
            case SendDone():
                return wire.TaskDone(task_id=instruction.task_id)

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
        await self._reconcile_patiently(event.task_id)
        self.feed(event)

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

    async def _refresh(self) -> None:
        """Read scores and deposits of connected workers again, round and round."""
        while True:
            with contextlib.suppress(ServiceUnavailable):
                self._stake_ratio = (await self._chain.view_workerpool(self.identity.workerpool)).worker_stake_ratio
            workers = list(self.machine.workers)
            for worker in workers:
                await self._clock.sleep(max(_REFRESH_S / len(workers), 0.01))
                try:
                    score, stake = await self.worker_facts(worker)
                except ServiceUnavailable:
                    continue
                self.feed(WorkerFacts(worker, score, stake))
            if not workers:
                await self._clock.sleep(_REFRESH_S)

    async def _purge(self) -> None:
        """Delete rows that are older than the policy keeps them, in small steps."""
        while self.policy.keep_rows_days:
            before = self._clock.now() - self.policy.keep_rows_days * _DAY_S
            gone = await asyncio.to_thread(self._store.purge, before, limit=_PURGE_STEP)
            await self._clock.sleep(_PURGE_PAUSE_S if gone else _PURGE_EVERY_S)

    # --- workers --------------------------------------------------------------------------------------------------

    def now(self) -> float:
        return self._clock.now()

    def is_banned(self, worker: str, owner: str) -> bool:
        return self.machine.is_banned(worker, owner)

    def ban_reason(self, worker: str, owner: str) -> str:
        """Why one of them is banned; empty if none is."""
        bans = self.machine.bans
        ban = bans.get(worker) or bans.get(owner)
        return one_line(ban.reason) if ban is not None else ""

    def has_room(self) -> bool:
        return len(self._sessions) < self.policy.max_workers

    def send_to(self, worker: str, message: wire.PoolMessage) -> None:
        """Send a message to a worker; dropped when it is not connected."""
        session = self._sessions.get(worker)
        if session is not None:
            session.send(message)

    def _speaks_for(self, task_id: str, worker: str) -> bool:
        """True if a worker computes a task whose output may be seen: of trust 1, not over (decision 3)."""
        task = self.machine.tasks.get(task_id)
        if task is None or task.deal.trust > 1 or task.is_final:
            return False
        replica = task.replica_of(worker)
        return replica is not None and replica.phase is ReplicaPhase.LEASED

    def why(self, worker: str) -> wire.Why:
        """Which rules of this pool keep work from a connected worker."""
        state = self.machine.workers.get(worker)
        if state is None:
            text = "The pool has not taken this worker in yet."
            return wire.Why(waiting_tasks=0, reasons=(wire.WhyReason("joined", False, text),))
        answer = why(
            state,
            self.machine.tasks.values(),
            banned=self.machine.is_banned(worker, state.owner),
            standing=self.machine.standings.get(worker),
            policy=self.policy,
            now=self._clock.now(),
        )
        verdict = self.spot_verdicts.get(worker)
        if verdict is None:
            return answer
        return replace(answer, reasons=(*answer.reasons, wire.WhyReason("benchmark", verdict.passed, verdict.text)))

    async def spot_answered(self, worker: str, check_id: str, answer: int) -> None:
        verdict = await asyncio.to_thread(self._spot_checks.judge, worker, check_id, answer, self._clock.now())
        if verdict is not None:
            self._judged(verdict)

    def _timed(self, event: SealReceived) -> None:
        """Compare how long the worker took with how long others took for the same task, if all claim a speed."""
        task = self.machine.tasks.get(event.task_id)
        own = task.replica(event.lease_id) if task is not None else None
        if task is None or own is None or own.worker != event.worker or not own.sealed_at:
            return
        timings = self._timings.setdefault(event.worker, deque(maxlen=_TIMINGS))
        for other in task.replicas:
            if other.worker != own.worker and other.sealed_at:
                timings.append(
                    Timing(
                        own_s=own.sealed_at - own.leased_at,
                        other_s=other.sealed_at - other.leased_at,
                        own_claim=self._claim_of(own.worker),
                        other_claim=self._claim_of(other.worker),
                    )
                )
        text = implausible(list(timings))
        if text and self._claim_of(own.worker):
            self._judged(Verdict(own.worker, passed=False, text=text))

    def _claim_of(self, worker: str) -> int:
        session = self._sessions.get(worker)
        return session.fuel_per_s if session is not None else 0

    def _judged(self, verdict: Verdict) -> None:
        self.spot_verdicts[verdict.worker] = verdict
        state = self.machine.workers.get(verdict.worker)
        if verdict.passed or state is None:
            return
        _log.warning("a worker's benchmark fell", worker=verdict.worker, reason=verdict.text)
        session = self._sessions.get(verdict.worker)
        if session is not None:
            session.fuel_per_s = 0
        self.feed(WorkerFacts(verdict.worker, state.score, state.stake, benchmark_fell=True))

    async def _spot_check(self) -> None:
        """Test what idle workers claim of their speed, one after the other, for ever."""
        while self.policy.spot_check_every_s > 0:
            await self._clock.sleep(_SPOT_CHECK_PAUSE_S)
            now = self._clock.now()
            for verdict in self._spot_checks.overdue(now):
                self._judged(verdict)
            for worker, session in list(self._sessions.items()):
                state = self.machine.workers.get(worker)
                idle = state is not None and state.ready and state.free_slots == state.slots
                if idle and session.fuel_per_s > 0 and self._spot_checks.due(worker, now):
                    check = self._spot_checks.ask(worker, session.fuel_per_s, now)
                    session.send(wire.SpotCheck(check_id=check.check_id, seed=check.seed, rounds=check.rounds))
                    break

    async def sponsor(self, session: Session, agreement: str) -> wire.Sponsored:
        if self._sponsor is None:
            return wire.Sponsored(stake_nrlc=0, coins_wei=0, reason="This pool does not sponsor newcomers.")
        account = await self._chain.view_account(session.worker)
        newcomer = Newcomer(
            worker=session.worker,
            key=session.key,
            owner=session.owner,
            network=session.network,
            deposit_nrlc=account.stake + account.locked,
            key_wei=await self._chain.balance_wei(session.key),
            fuel_per_s=session.fuel_per_s,
            agreement=agreement,
        )
        grant, reason = await self._sponsor.help(newcomer)
        if grant is None:
            return wire.Sponsored(stake_nrlc=0, coins_wei=0, reason=reason)
        return wire.Sponsored(stake_nrlc=grant.stake_nrlc, coins_wei=grant.coins_wei, reason=reason)

    async def _pay_newcomers(self) -> None:
        """Send what newcomers were granted until it is mined, for ever."""
        while self._sponsor is not None:
            with contextlib.suppress(ServiceUnavailable):
                await self._sponsor.look()
            await self._clock.sleep(_SPONSOR_EVERY_S)

    async def role_account(self, address: str) -> RoleAccount | None:
        return await self._chain.view_role_account(address)

    async def signed_by_contract(self, owner: str, digest: str, signature: str) -> bool:
        try:
            return await self._chain.verify_signature(owner, digest, signature)
        except TransactionFailed:
            return False

    async def worker_facts(self, worker: str) -> tuple[int, int]:
        return await self._chain.view_score(worker), (await self._chain.view_account(worker)).stake

    async def finished_among(self, task_ids: list[str]) -> frozenset[str]:
        if not task_ids:
            return frozenset()
        known = await asyncio.to_thread(self._store.known_tasks, task_ids)
        return frozenset(task_id for task_id, settled in known.items() if settled)

    async def attach(self, session: Session) -> None:
        older = self._sessions.get(session.worker)
        if older is not None:
            self.detach(older)
            older.end("This worker connected again.")
        self._sessions[session.worker] = session
        _log.info("worker enrolled", worker=session.worker, owner=session.owner)

    def detach(self, session: Session) -> None:
        if self._sessions.get(session.worker) is session:
            del self._sessions[session.worker]
            self._spot_checks.forget(session.worker)
            self._timings.pop(session.worker, None)
            self.feed(WorkerLost(session.worker))

    # --- the operator ---------------------------------------------------------------------------------------------

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Connections of enrolled workers."""
        return tuple(self._sessions.values())

    def use_policy(self, policy: Policy) -> None:
        """Let another policy count from now on; what a term begins with (`operating.LATER`) stays as it is."""
        self.policy = policy
        self._effects.use_rules(_sending_rules(policy))
        self.feed(PolicyChanged(policy))

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

    def owners(self) -> dict[str, WorkerState]:
        """Of each owner that could get a task now, its lightest worker: any of them may get it.

        Owners without a deposit are left out while the workerpool asks workers for a stake.
        """
        lightest: dict[str, WorkerState] = {}
        for worker in self.machine.workers.values():
            if worker.ready and (worker.stake or not self._stake_ratio):
                known = lightest.get(worker.owner)
                if known is None or worker.weight < known.weight:
                    lightest[worker.owner] = worker
        return lightest

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
