"""The pool's side that workers speak to: who is connected, what they are told and answered, what keeps them current."""

from __future__ import annotations

import abc
import asyncio
import contextlib
from collections import Counter
from dataclasses import replace

import structlog

from fairgrid.chain.interface import Chain
from fairgrid.errors import ServiceUnavailable, TransactionFailed, UsageError
from fairgrid.pool.administration.access import AccessGate, Role
from fairgrid.pool.core.events import Event, WorkerFacts, WorkerLost
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.core.instructions import WorkerInstruction
from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.phases import ReplicaPhase
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.sponsoring import Newcomer
from fairgrid.pool.core.spot_checks import Verdict
from fairgrid.pool.core.why import why
from fairgrid.pool.core.worker_state import WorkerState
from fairgrid.pool.jobs.live import LiveBoard
from fairgrid.pool.jobs.task_keys import TaskKeyKeeper
from fairgrid.pool.onchain.sponsor import Sponsor
from fairgrid.pool.records.store import PoolStore
from fairgrid.pool.workers.interface import Session
from fairgrid.pool.workers.letters import letter_of
from fairgrid.pool.workers.returning import Absences, Return
from fairgrid.pool.workers.speed_tests import SpeedTests
from fairgrid.protocol import pool_messages, worker_messages
from fairgrid.protocol.views import RoleAccount
from fairgrid.seams.clock import Clock
from fairgrid.seams.http import one_line
from fairgrid.wallet.signer import Signer

__all__ = ["WorkerDesk"]

_log = structlog.get_logger(__name__)

_REFRESH_S = 10.0
_ACCESS_READ_S = 1.0
_ACCESS_LOOK_S = 30.0
"""Groups change on chain without a word to the pool: all workers are looked at again so often."""
_LIST_CHANGED = "The access list of this pool changed; connect again."
_SPONSOR_EVERY_S = 5.0
_STAKE_ON_ITS_WAY_S = 1.0


class WorkerDesk(abc.ABC):
    """What a connection needs of its pool (`interface.Desk`); the loops that keep what is known of workers fresh."""

    def __init__(
        self,
        *,
        identity: PoolIdentity,
        policy: Policy,
        machine: PoolMachine,
        chain: Chain,
        store: PoolStore,
        clock: Clock,
        signer: Signer,
        sponsor: Sponsor | None,
        task_keys: TaskKeyKeeper,
        access: AccessGate | None = None,
    ) -> None:
        """``sponsor`` helps newcomers (None: nobody does); ``access`` says who may come (None: everybody)."""
        self.task_keys = task_keys
        self.identity = identity
        self.policy = policy
        self.machine = machine
        self._chain = chain
        self._store = store
        self._clock = clock
        self._signer = signer
        self._sponsor = sponsor
        self.access = access
        self._sessions: dict[str, Session] = {}
        self._stake_ratio = 0
        self._await_stake: set[str] = set()
        """Workers whose stake is on its way: they can take work as soon as it is there."""
        self.refusals: Counter[str] = Counter()
        self._absences = Absences(clock.now())
        self.live = LiveBoard(holds=self._speaks_for, now=clock.now)
        self._speed_tests = SpeedTests(
            every_s=policy.spot_check_every_s,
            machine=machine,
            sessions=self._sessions,
            clock=clock,
            feed=self.feed,
        )

    @abc.abstractmethod
    def feed(self, event: Event) -> None:
        """Queue an event."""

    @property
    def spot_verdicts(self) -> dict[str, Verdict]:
        """How the last test of each worker's speed ended; read only."""
        return self._speed_tests.verdicts

    def now(self) -> float:
        return self._clock.now()

    def is_banned(self, worker: str, owner: str) -> bool:
        return self.machine.is_banned(worker, owner)

    def is_busy(self, worker: str) -> bool:
        return self.machine.is_busy(worker)

    async def refusal(self, worker: str, owner: str) -> str:
        return "" if self.access is None else await self.access.refusal(Role.WORKER, worker, owner)

    def ban_reason(self, worker: str, owner: str) -> str:
        """Why one of them is banned; empty if none is."""
        bans = self.machine.bans
        ban = bans.get(worker) or bans.get(owner)
        return one_line(ban.reason) if ban is not None else ""

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Connections of enrolled workers."""
        return tuple(self._sessions.values())

    def has_room(self) -> bool:
        return len(self._sessions) < self.policy.max_workers

    def send_to(self, worker: str, message: pool_messages.PoolMessage) -> None:
        """Send a message to a worker; dropped when it is not connected."""
        session = self._sessions.get(worker)
        if session is not None:
            session.send(message)

    def _write_to(self, instruction: WorkerInstruction) -> None:
        """Tell a worker what the scheduler decided; one that is not connected is told when it comes back."""
        session = self._sessions.get(instruction.worker)
        if session is not None:
            session.send(letter_of(instruction, self._signer))

    def _send_away(self, reason: str, *, owner: str = "") -> None:
        """End every connection, or those of the workers of one owner."""
        for session in list(self._sessions.values()):
            if not owner or session.owner == owner:
                session.end(reason)

    def _offended(self, event: Event) -> bool:
        """Whatever a stranger managed to say, the others go on; False if nobody said it."""
        session = self._sessions.get(getattr(event, "worker", ""))
        if session is None:
            return False
        _log.exception("a worker's message could not be taken", worker=session.worker)
        session.end("The pool cannot take this message.")
        return True

    def _speaks_for(self, task_id: str, worker: str) -> bool:
        """True if a worker computes a task whose output may be seen: of trust 1, not over (decision 3)."""
        task = self.machine.tasks.get(task_id)
        if task is None or task.deal.trust > 1 or task.is_final:
            return False
        replica = task.replica_of(worker)
        return replica is not None and replica.phase is ReplicaPhase.LEASED

    def why(self, worker: str) -> pool_messages.Why:
        """Which rules of this pool keep work from a connected worker."""
        state = self.machine.workers.get(worker)
        if state is None:
            text = "The pool has not taken this worker in yet."
            return pool_messages.Why(waiting_tasks=0, reasons=(pool_messages.WhyReason("joined", False, text),))
        answer = why(
            state,
            self.machine.tasks.values(),
            banned=self.machine.is_banned(worker, state.owner),
            standing=self.machine.standings.get(worker),
            policy=self.policy,
            now=self._clock.now(),
            behind=self.machine.book.behind,
        )
        verdict = self.spot_verdicts.get(worker)
        if verdict is None:
            return answer
        return replace(
            answer, reasons=(*answer.reasons, pool_messages.WhyReason("benchmark", verdict.passed, verdict.text))
        )

    async def sponsor(self, session: Session, agreement: str, *, repays: bool) -> pool_messages.Sponsored:
        if self._sponsor is None:
            return pool_messages.Sponsored(stake_nrlc=0, coins_wei=0, reason="This pool does not sponsor newcomers.")
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
            repays=repays,
        )
        grant, reason = await self._sponsor.help(newcomer)
        if grant is None:
            return pool_messages.Sponsored(stake_nrlc=0, coins_wei=0, reason=reason)
        if grant.stake_nrlc:
            self._await_stake.add(session.worker)
        owes = await self._sponsor.to_repay(session.worker) if repays else None
        if owes is None:
            return pool_messages.Sponsored(stake_nrlc=grant.stake_nrlc, coins_wei=grant.coins_wei, reason=reason)
        return pool_messages.Sponsored(
            stake_nrlc=grant.stake_nrlc,
            coins_wei=grant.coins_wei,
            reason=reason,
            sponsor=owes.sponsor,
            owed_nrlc=owes.debt.given_nrlc,
            repaid_nrlc=owes.debt.repaid_nrlc,
            deposit_tx=owes.deposit_tx,
        )

    async def spot_answered(self, worker: str, check_id: str, answer: int) -> None:
        await self._speed_tests.answered(worker, check_id, answer)

    async def role_account(self, address: str) -> RoleAccount | None:
        return await self._chain.view_role_account(address)

    async def signed_by_contract(self, owner: str, digest: str, signature: str) -> bool:
        try:
            return await self._chain.verify_signature(owner, digest, signature)
        except TransactionFailed:
            return False

    async def task_key(self, worker: str, request: worker_messages.TaskKeyRequest, *, context: bytes) -> str:
        task = self.machine.tasks.get(request.task_id)
        replica = task.replica_of(worker) if task is not None else None
        if task is None or replica is None or replica.ended or task.is_final:
            raise UsageError(
                "This worker has no lease of that task now, and only who computes it gets its key. It was not given."
            )
        return await self.task_keys.sealed_for(request.public_key, context, task.deal.deal_id, task.index, task.count)

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
            known = self.machine.workers.get(session.worker)
            if known is not None:
                self._absences.lost(known.owner, known.weight, self._clock.now())
            self._speed_tests.forget(session.worker)
            self.feed(WorkerLost(session.worker))

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

    def returning(self) -> Return:
        """Who is not connected, and may be soon."""
        return self._absences.expected(self.owners(), self._clock.now())

    # --- what keeps it current ---------------------------------------------------------------------------------------

    async def _pay_newcomers(self) -> None:
        """Send what newcomers were granted until it is mined, for ever."""
        while self._sponsor is not None:
            with contextlib.suppress(ServiceUnavailable):
                await self._sponsor.look()
                for worker in list(self._await_stake):
                    await self._look_for_stake(worker)
            await self._clock.sleep(_STAKE_ON_ITS_WAY_S if self._await_stake else _SPONSOR_EVERY_S)

    async def _look_for_stake(self, worker: str) -> None:
        if worker in self.machine.workers:
            score, stake = await self.worker_facts(worker)
            if not stake:
                return
            self.feed(WorkerFacts(worker, score, stake))
        elif worker in self._sessions:
            return
        self._await_stake.discard(worker)

    async def _keep_access(self) -> None:
        """Look at the access list every second, and turn away whom it does not admit any more."""
        assert self.access is not None
        looked_at = 0.0
        while True:
            changed = await self.access.read()
            if changed or self._clock.now() >= looked_at + _ACCESS_LOOK_S:
                looked_at = self._clock.now()
                with contextlib.suppress(ServiceUnavailable):
                    for session in list(self._sessions.values()):
                        await self._check_access(session)
            for session in list(self._sessions.values()):
                if session.unwelcome and not self.machine.is_busy(session.worker):
                    session.end(await self.refusal(session.worker, session.owner) or _LIST_CHANGED)
            await self._clock.sleep(_ACCESS_READ_S)

    async def _check_access(self, session: Session) -> None:
        refusal = await self.refusal(session.worker, session.owner)
        state = self.machine.workers.get(session.worker)
        if refusal and not session.unwelcome and state is not None:
            _log.info("a worker is not on the access list any more", worker=session.worker)
            session.unwelcome = True
            self.feed(WorkerFacts(session.worker, state.score, state.stake, unwelcome=True))
        elif session.unwelcome and not refusal:
            session.end(_LIST_CHANGED)

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
