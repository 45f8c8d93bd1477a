"""The worker's rim: feeds the machine with what the pool, the chain and this computer say, and does what it answers.

One task takes events in order; what an event changes is on disk before anything else of it is done. Everything slow
(computing, transactions, uploads) runs beside it and reports back as an event.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import structlog

from fairgrid.chain.interface import Chain
from fairgrid.errors import FairgridError, ServiceUnavailable
from fairgrid.protocol.sponsorship import agreement_message
from fairgrid.protocol.views import TaskStatus
from fairgrid.protocol.wire import (
    HeldLease,
    Lease,
    PartialRequest,
    PartialResult,
    PoolMessage,
    Sponsored,
    SponsorRequest,
    SpotAnswer,
    SpotCheck,
    Why,
    WhyRequest,
    WorkerMessage,
)
from fairgrid.seams.clock import Clock
from fairgrid.wallet.signer import Signer
from fairgrid.worker import events as ev
from fairgrid.worker.availability import Availability
from fairgrid.worker.cache_report import CacheReporter
from fairgrid.worker.chain_watch import ChainWatch
from fairgrid.worker.clock_check import clock_warning
from fairgrid.worker.errands import Errands
from fairgrid.worker.heed import Heed
from fairgrid.worker.held import WORKING, InvalidTransition, Phase
from fairgrid.worker.interface import AgentOptions, Announcer, TaskWork
from fairgrid.worker.judge import Judge
from fairgrid.worker.link import LinkOptions, PoolLink
from fairgrid.worker.machine import WorkerMachine
from fairgrid.worker.owner import OwnerWatch
from fairgrid.worker.ownership import Ownership
from fairgrid.worker.policy import WorkerPolicy
from fairgrid.worker.recorder import Recorder
from fairgrid.worker.store import WorkerStore
from fairgrid.worker.tally import count_end, count_event
from fairgrid.worker.transactions import Transactions

__all__ = ["AgentOptions", "Announcer", "TaskWork", "WorkerAgent"]

_log = structlog.get_logger(__name__)
_OVER = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SPLIT)
_WHY_WITHIN_S = 5.0


class WorkerAgent:
    """One worker: `run` until `stop`."""

    def __init__(
        self,
        *,
        link: LinkOptions,
        chain: Chain,
        signer: Signer,
        store: WorkerStore,
        work: TaskWork,
        policy: Callable[[], WorkerPolicy],
        clock: Clock,
        announcer: Announcer,
        options: AgentOptions,
        owner: OwnerWatch | None = None,
        ownership: Ownership | None = None,
        check: Callable[[int, int], Awaitable[int]] | None = None,
        tally: Counter[str] | None = None,
    ) -> None:
        """``owner`` None: no rules of when it may work; ``ownership`` None: the key is its own owner and worker.

        ``check`` answers a pool's test of speed, of seed and rounds; None: it is not answered.
        ``tally`` counts what happens, together with those that it is shared with.
        """
        self._check = check
        self._checking = False
        self._clock_warning = ""
        self._options = options
        self._pool = link
        self._chain = chain
        self._signer = signer
        self._store = store
        self._work = work
        self._clock = clock
        self._announcer = announcer
        self._machine = WorkerMachine(
            slots=options.slots,
            confirmations=options.confirmations,
            keep_s=options.keep_s,
            keep_blocks=options.keep_blocks,
        )
        self._worker = ownership.worker if ownership is not None else signer.address
        judge = Judge(chain, self._worker, store, policy, workerpool=link.workerpool)
        transactions = Transactions(
            chain,
            signer,
            clock=clock,
            poll_s=options.receipt_poll_s,
            replace_after_s=options.replace_after_s,
            worker=self._worker,
            entry=ownership.entry(signer.address) if ownership is not None else chain.hub,
        )
        self._link = PoolLink(link, signer=signer, user=self, clock=clock, ownership=ownership)
        self._events: asyncio.Queue[ev.Event] = asyncio.Queue()
        self._errands = Errands(
            self._machine,
            chain=chain,
            signer=signer,
            worker=self._worker,
            work=work,
            judge=judge,
            transactions=transactions,
            clock=clock,
            options=options,
            report=self._events.put_nowait,
        )
        self._watch = ChainWatch(
            self._machine,
            chain=chain,
            worker=self._worker,
            judge=judge,
            clock=clock,
            options=options,
            report=self._events.put_nowait,
        )
        self.tally = tally if tally is not None else Counter()
        """How often what happened, by the names that `fairgrid.worker.meter` reads."""
        self._recorder = Recorder(
            store,
            self._machine,
            clock=clock,
            retry_s=options.poll_s,
            earned=self._watch.take_earnings,
            ended=partial(count_end, self.tally),
            waits=self._wait_for,
        )
        self._stop = asyncio.Event()
        self._policy = policy
        self._is_ending = False
        self._said = ""
        self._trouble = "It has not reached its pool yet."
        self._enrolled = False
        self._why: asyncio.Future[Why] | None = None
        self._owner = owner
        self.heed = Heed(owner, self, clock=clock, tally=self.tally) if owner is not None else None
        self.partials: Callable[[PartialRequest], Awaitable[PartialResult]] | None = None
        """Who answers when a requester asks for the files of a running job; None: nobody."""
        self.cache: CacheReporter | None = None
        """Who tells the pool which inputs lie here; None: nobody."""

    # --- life ---------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End `run` soon: leases not yet sealed are handed back, the rest stays on disk."""
        self._stop.set()

    def end(self) -> None:
        """As `stop`, but within the owner's ``stop_within_s`` what is held is finished first; asked twice: at once."""
        patience_s = self._policy().stop_within_s
        if patience_s <= 0 or self._is_ending or self.heed is None or not self.holds_anything():
            self.stop()
            return
        self._is_ending = True
        _log.info("finishes what it holds before it ends", within_s=patience_s)
        self.heed.drain()
        self._errands.start(self._stop_after(patience_s))

    async def _stop_after(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        _log.warning("what is not finished is handed back", after_s=seconds)
        self.stop()

    async def run(self) -> None:
        """Work until `stop`.

        A database that cannot be written is waited for; nothing is promised until what it means is stored.
        """
        held = await asyncio.to_thread(self._store.load)
        await self._work.sweep(held)
        self._events.put_nowait(ev.Restored(held))
        if self.heed is not None:
            # Known before the first lease can come.
            await self.heed.follow()
        mind = asyncio.create_task(self._think(), name="worker mind")
        helpers = [
            asyncio.create_task(self._enrol_for_ever(), name="pool link"),
            asyncio.create_task(self._watch.run(), name="chain poll"),
        ]
        if self.heed is not None:
            helpers.append(asyncio.create_task(self.heed.run(), name="owner's rules"))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((mind, stopping, *helpers), return_when=asyncio.FIRST_COMPLETED)
            if stopping.done() and not mind.done():
                self._events.put_nowait(ev.Stopping())
                for flush in (self._events.join, self._link.flush):
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._options.stop_s / 4):
                            await flush()
            for task in (mind, *helpers):
                if task.done():
                    task.result()
        finally:
            everything: list[asyncio.Task[Any]] = [mind, stopping, *helpers, *self._errands.running]
            for task in everything:
                task.cancel()
            await asyncio.wait(everything, timeout=self._options.stop_s / 2)

    async def _enrol_for_ever(self) -> None:
        while True:
            try:
                gas = await self._chain.balance_wei(self._signer.address)
            except ServiceUnavailable as error:
                self._wait_for(str(error))
            else:
                if gas > 0 or self._options.sponsor:
                    break
                self._wait_for(
                    f"{self._signer.address} has no coin of chain {self._chain.chain_id} to pay gas with. "
                    f"Send it some; this worker goes on by itself then."
                )
            await self._clock.sleep(min(2.0, self._options.poll_s * 2))
        await self._link.run()

    def _wait_for(self, reason: str) -> None:
        self._trouble = reason
        if reason != self._said:
            self._said = reason
            self._announcer.waiting(reason)

    # --- what the link tells ------------------------------------------------------------------------------------

    def enrolled(self) -> None:
        self._said = ""
        self._enrolled = True
        self._events.put_nowait(ev.PoolConnected())
        self._announcer.ready(self._pool.url)
        self._errands.start(self._check_clock(self._link.pool_time))
        if self.cache is not None:
            self.cache.connected()
            self._errands.start(self.cache.report())
        if self._options.sponsor:
            self._link.send(self._sponsor_request())

    async def _check_clock(self, pool_time: float | None) -> None:
        local = self._clock.now()
        try:
            chain_time: float | None = (await self._chain.head()).timestamp
        except ServiceUnavailable:
            chain_time = None
        self._clock_warning, sure = clock_warning(local, chain=chain_time, pool=pool_time)
        if sure:
            self._announcer.waiting(self._clock_warning)
        elif self._clock_warning:
            _log.warning("clock", reason=self._clock_warning)

    async def _answer_check(self, check: SpotCheck) -> None:
        if self._check is None or self._checking:
            return
        self._checking = True
        try:
            self._link.send(SpotAnswer(check_id=check.check_id, answer=await self._check(check.seed, check.rounds)))
        except FairgridError as error:
            _log.warning("a check of the pool was not answered", reason=str(error))
        finally:
            self._checking = False

    def _sponsor_request(self) -> SponsorRequest:
        message = agreement_message(self._pool.chain_id, self._pool.hub, self._pool.workerpool, self._worker)
        return SponsorRequest(agreement=self._signer.sign_message(message))

    def disconnected(self, reason: str) -> None:
        self._enrolled = False
        self._trouble = reason
        self._events.put_nowait(ev.PoolDisconnected())
        _log.warning("pool connection lost", reason=reason)

    def rejected(self, reason: str) -> None:
        self._wait_for(reason)

    def received(self, message: PoolMessage) -> None:
        if isinstance(message, Sponsored):
            _log.info("sponsored", stake_nrlc=message.stake_nrlc, coins_wei=message.coins_wei, reason=message.reason)
            self._announcer.waiting(
                f"The pool sponsors this worker with {message.stake_nrlc} nRLC of deposit and {message.coins_wei} wei "
                f"for gas. {message.reason}".strip()
            )
            return
        if isinstance(message, SpotCheck):
            self._errands.start(self._answer_check(message))
            return
        if isinstance(message, Why):
            if self._why is not None and not self._why.done():
                self._why.set_result(message)
            return
        if isinstance(message, PartialRequest):
            self._errands.start(self._show_partial(message))
            return
        if isinstance(message, Lease) and self.heed is not None:
            self.heed.leased(message)
        self._events.put_nowait(message)  # type: ignore[arg-type]

    def tell(self, message: WorkerMessage) -> bool:
        """Send a message that nothing depends on; False (and dropped) while the pool is not connected."""
        return self._link.send(message)

    async def _show_partial(self, request: PartialRequest) -> None:
        if self.partials is not None:
            self._link.send(await self.partials(request))

    # --- what it is measured by ---------------------------------------------------------------------------------

    @property
    def held_phases(self) -> tuple[Phase, ...]:
        """The phase of every task that is held."""
        return tuple(held.phase for held in self._machine.held)

    @property
    def is_enrolled(self) -> bool:
        return self._enrolled

    @property
    def free_slots(self) -> int:
        """Tasks that it could take now."""
        return self._machine.free_slots

    @property
    def verdict(self) -> Availability | None:
        """What the owner's rules said last; None without rules."""
        return self._owner.verdict if self._owner is not None else None

    @property
    def is_suspended(self) -> bool:
        return self.heed is not None and self.heed.is_suspended

    def status(self) -> tuple[tuple[HeldLease, ...], int]:
        return self._machine.leases(), self._machine.free_slots

    # --- what the owner asks ------------------------------------------------------------------------------------

    def owner_said(self, *, takes_work: bool, reason: str, slots: int | None) -> None:
        self._events.put_nowait(ev.OwnerSaid(takes_work, reason, slots))
        self._link.set_slots(slots or self._options.slots)

    def suspend_jobs(self) -> bool:
        return self._work.suspend()

    def resume_jobs(self) -> None:
        self._work.resume()

    def working(self) -> tuple[str, ...]:
        return tuple(held.task_id for held in self._machine.held if held.phase in WORKING)

    def holds_anything(self) -> bool:
        return bool(self._machine.held) or not self._events.empty()

    def hand_back(self, task_id: str, reason: str) -> None:
        self._events.put_nowait(ev.WorkFailed(task_id, reason))

    def snapshot(self) -> dict[str, Any]:
        """Who this is, where it is enrolled and what it holds, as JSON values."""
        held = [
            {"taskId": held.task_id, "phase": held.phase.value, "last": held.story[-1] if held.story else ""}
            for held in self._machine.held
        ]
        return {
            "worker": self._worker,
            "pool": self._pool.url,
            "workerpool": self._pool.workerpool,
            "enrolled": self._enrolled,
            "waitsFor": "" if self._enrolled else self._trouble,
            "freeSlots": self._machine.free_slots,
            "clockWarning": self._clock_warning,
            "notUnderstood": list(self._link.not_understood),
            "held": held,
        }

    async def pool_why(self) -> tuple[Why | None, str]:
        """Ask the pool why it gives no work; None with the reason where it does not answer."""
        if self._why is None or self._why.done():
            self._why = asyncio.get_running_loop().create_future()
        if "why_request" in self._link.not_understood:
            return None, "This pool is of an older release, which does not say why."
        if not self._link.send(WhyRequest()):
            return None, self._trouble
        try:
            async with asyncio.timeout(_WHY_WITHIN_S):
                return await asyncio.shield(self._why), ""
        except TimeoutError:
            return None, f"The pool did not answer within {_WHY_WITHIN_S:.0f} s."

    # --- the mind -----------------------------------------------------------------------------------------------

    async def _think(self) -> None:
        while True:
            event = await self._events.get()
            count_event(self.tally, event)
            try:
                try:
                    instructions = self._machine.handle(event)
                except InvalidTransition as error:
                    _log.error("event refused", event_type=type(event).__name__, reason=str(error))
                    continue
                await self._recorder.store(instructions)
                for instruction in instructions:
                    await self._follow(instruction)
            finally:
                self._events.task_done()

    async def _follow(self, instruction: ev.Instruction) -> None:
        match instruction:
            case ev.Save() | ev.TakeUp():
                pass
            case ev.Send(message):
                self._link.send(message)
            case ev.Note(task_id, text):
                _log.info("note", task=task_id, text=text)
            case ev.Forget(held, outcome):
                _log.info("task forgotten", task=held.task_id, phase=held.phase.value, outcome=outcome)
                self._watch.forget(held.task_id)
                await self._errands.end_work(held.task_id)
                self._errands.start(self._work.discard(held, outcome))
            case ev.Retire(held):
                _log.info("task is over", task=held.task_id, phase=held.phase.value, outcome=held.outcome)
                self._watch.forget(held.task_id)
            case ev.Drop(held):
                self._errands.start(self._work.discard(held, held.outcome))
            case ev.Cancel(task_id):
                await self._errands.end_work(task_id)
            case ev.Examine(task_id):
                self._errands.start_work(task_id, self._errands.examine)
            case ev.Download(task_id):
                self._errands.start_work(task_id, self._errands.download)
            case ev.Compute(task_id):
                self._errands.start_work(task_id, self._errands.compute)
                if self.cache is not None:
                    self._errands.start(self.cache.report())
            case ev.SignSeal(task_id):
                self._errands.sign_seal(task_id)
            case ev.Contribute(task_id):
                self._errands.start(self._errands.contribute(task_id))
            case ev.Reveal(task_id):
                self._errands.start(self._errands.reveal(task_id))
            case ev.Broadcast(task_id, step):
                self._errands.start(self._errands.broadcast(task_id, step))
            case ev.Upload(task_id):
                self._errands.start(self._errands.upload(task_id))
            case ev.LookAtChain(task_id):
                self._errands.start(self._watch.look(task_id))
