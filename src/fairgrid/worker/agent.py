"""The worker's rim: feeds the machine with what the pool, the chain and this computer say, and does what it answers.

One task takes events in order; what an event changes is on disk before anything else of it is done. Everything slow
(computing, transactions, uploads) runs beside it and reports back as an event.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from fairgrid.chain.interface import Chain
from fairgrid.errors import FairgridError, ServiceUnavailable
from fairgrid.protocol.hexes import from_hex
from fairgrid.protocol.seals import seal_hash
from fairgrid.protocol.sponsorship import agreement_message
from fairgrid.protocol.views import Deal, Task, TaskStatus
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
from fairgrid.seams import tracing
from fairgrid.seams.clock import Clock
from fairgrid.wallet.signer import Signer
from fairgrid.worker import events as ev
from fairgrid.worker.availability import Availability
from fairgrid.worker.clock_check import clock_warning
from fairgrid.worker.heed import Heed
from fairgrid.worker.held import WORKING, HeldTask, InvalidTransition, Phase, Step
from fairgrid.worker.judge import Judge
from fairgrid.worker.link import LinkOptions, PoolLink
from fairgrid.worker.machine import WorkerMachine
from fairgrid.worker.misbehave import Misbehaviour
from fairgrid.worker.owner import OwnerWatch
from fairgrid.worker.ownership import Ownership
from fairgrid.worker.policy import WorkerPolicy
from fairgrid.worker.store import Finished, WorkerStore
from fairgrid.worker.transactions import Transactions
from fairgrid.worker.transfers import counting

__all__ = ["AgentOptions", "Announcer", "TaskWork", "WorkerAgent"]

_log = structlog.get_logger(__name__)
_OVER = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SPLIT)
_WHY_WITHIN_S = 5.0


class TaskWork(Protocol):
    """The parts of a task that run on this computer. Each raises a `FairgridError` when it cannot be done here."""

    async def check_app(self, deal: Deal) -> str | None:
        """Why the deal's app is not run here; None when it is."""
        ...

    async def download(self, held: HeldTask, deal: Deal) -> None:
        """Fetch manifest and inputs."""
        ...

    async def compute(self, held: HeldTask, deal: Deal, task: Task) -> ev.Computed:
        """Run the job; its result folder is on disk afterwards."""
        ...

    async def upload(self, held: HeldTask) -> str:
        """Archive the result, upload it; gives the CID."""
        ...

    async def check_run(self, held: HeldTask, deal: Deal, task: Task) -> str | None:
        """Why a run does not fit its deadline on this computer, as far as is known; None when it may."""
        ...

    def suspend(self) -> bool:
        """Let running jobs stand still; False where a sandbox cannot."""
        ...

    def resume(self) -> None:
        """Let them go on."""
        ...

    async def discard(self, held: HeldTask, outcome: str) -> None:
        """Remove the folder of a task that ended so."""
        ...

    async def sweep(self, held: Collection[HeldTask]) -> None:
        """Remove the folders of all tasks that are not ``held``: what a crash left behind."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """How an agent behaves; times in seconds."""

    slots: int = 1
    confirmations: int = 0
    """Blocks on top of a fact of the chain before anything is published because of it (decision 30)."""
    poll_s: float = 1.0
    """How often held tasks are read from the chain."""
    settled_poll_s: float = 30.0
    """How often those are read whose task is over."""
    receipt_poll_s: float = 0.3
    keep_s: int = 86_400
    """How long a finished result is kept when the pool never says that it is done (chain time)."""
    retry_for_s: float = 60.0
    """How long a lease waits for a chain or storage that does not answer before it is handed back."""
    stop_s: float = 4.0
    misbehaviour: Misbehaviour | None = None
    benchmark: bool = False
    """Measure the machine before the first enrolment, and tell the pool."""
    sponsor: bool = False
    """Ask the pool for coins and a stake to begin with."""


class Announcer(Protocol):
    """Whom the owner of the machine listens to."""

    def ready(self, url: str) -> None:
        """Enrolled at this pool."""

    def waiting(self, reason: str) -> None:
        """Not enrolled, and why; said once per reason."""


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
        self._machine = WorkerMachine(slots=options.slots, confirmations=options.confirmations, keep_s=options.keep_s)
        self._worker = ownership.worker if ownership is not None else signer.address
        self._judge = Judge(chain, self._worker, store, policy, workerpool=link.workerpool)
        self._transactions = Transactions(
            chain,
            signer,
            clock=clock,
            poll_s=options.receipt_poll_s,
            worker=self._worker,
            entry=ownership.entry(signer.address) if ownership is not None else chain.hub,
        )
        self._link = PoolLink(link, signer=signer, user=self, clock=clock, ownership=ownership)
        self._events: asyncio.Queue[ev.Event] = asyncio.Queue()
        self._stop = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._work_of: dict[str, asyncio.Task[None]] = {}
        self._looks: dict[str, asyncio.Lock] = {}
        self._next_look: dict[str, float] = {}
        self._earned: dict[str, int] = {}
        self._said = ""
        self._trouble = "It has not reached its pool yet."
        self._enrolled = False
        self._why: asyncio.Future[Why] | None = None
        self.tally = tally if tally is not None else Counter()
        """How often what happened, by the names that `fairgrid.worker.meter` reads."""
        self._owner = owner
        self.heed = Heed(owner, self, clock=clock, tally=self.tally) if owner is not None else None
        self.partials: Callable[[PartialRequest], Awaitable[PartialResult]] | None = None
        """Who answers when a requester asks for the files of a running job; None: nobody."""

    # --- life ---------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End `run` soon: leases not yet sealed are handed back, the rest stays on disk."""
        self._stop.set()

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
            asyncio.create_task(self._poll_for_ever(), name="chain poll"),
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
            everything: list[asyncio.Task[Any]] = [mind, stopping, *helpers, *self._running]
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
        self._start(self._check_clock(self._link.pool_time))
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
            self._start(self._answer_check(message))
            return
        if isinstance(message, Why):
            if self._why is not None and not self._why.done():
                self._why.set_result(message)
            return
        if isinstance(message, PartialRequest):
            self._start(self._show_partial(message))
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

    def _count(self, event: ev.Event) -> None:
        match event:
            case Lease():
                self.tally["leases"] += 1
            case ev.Computed():
                self.tally["jobs"] += 1
                self.tally["compute_ms"] += round(event.compute_s * 1000)
            case ev.WorkFailed():
                self.tally["job_failures"] += 1
            case ev.Uploaded():
                self.tally["uploads"] += 1
            case ev.UploadFailed():
                self.tally["upload_failures"] += 1
            case ev.PoolDisconnected():
                self.tally["disconnections"] += 1
            case _:
                pass

    def _count_end(self, outcome: str, earned: int | None) -> None:
        ends = {"aborted": "aborted", "handed back": "handed_back"}
        word = outcome.partition(":")[0]
        known = word if word in ("completed", "failed", "split") else ends.get(word, "other")
        self.tally[f"ended/{known}"] += 1
        self.tally["earned_nrlc"] += earned or 0

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
            "held": held,
        }

    async def pool_why(self) -> tuple[Why | None, str]:
        """Ask the pool why it gives no work; None with the reason where it does not answer."""
        if self._why is None or self._why.done():
            self._why = asyncio.get_running_loop().create_future()
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
            self._count(event)
            try:
                try:
                    instructions = self._machine.handle(event)
                except InvalidTransition as error:
                    _log.error("event refused", event_type=type(event).__name__, reason=str(error))
                    continue
                await self._persist(instructions)
                for instruction in instructions:
                    await self._follow(instruction)
            finally:
                self._events.task_done()

    async def _persist(self, instructions: list[ev.Instruction]) -> None:
        saves = [instruction.held for instruction in instructions if isinstance(instruction, ev.Save)]
        forgets = [
            Finished(
                task_id=instruction.held.task_id,
                deal_id=instruction.held.deal_id,
                workerpool=instruction.held.workerpool,
                phase=instruction.held.phase,
                outcome=instruction.outcome,
                earned=self._earned.pop(instruction.held.task_id, None),
                finished_at=self._clock.now(),
            )
            for instruction in instructions
            if isinstance(instruction, ev.Forget)
        ]
        if not saves and not forgets:
            return
        while True:
            try:
                if await asyncio.to_thread(self._store.is_gone):
                    # Only the machine knows now what stakes hang on.
                    _log.error("the database was removed; what is held is written anew, the history is lost")
                    await asyncio.to_thread(self._store.recreate, self._machine.held)
                await asyncio.to_thread(self._store.apply, saves, forgets)
                for finished in forgets:
                    self._count_end(finished.outcome, finished.earned)
                return
            except (SQLAlchemyError, OSError) as error:
                # Nothing is promised, sent or signed meanwhile: that comes after this.
                self._wait_for(
                    f"The worker's database cannot be written ({getattr(error, 'orig', None) or error}). Make room on "
                    f"the disk, or give back its folder: the worker promises nothing until then, and goes on by itself."
                )
                await self._clock.sleep(self._options.poll_s)

    async def _follow(self, instruction: ev.Instruction) -> None:
        match instruction:
            case ev.Save():
                pass
            case ev.Send(message):
                self._link.send(message)
            case ev.Note(task_id, text):
                _log.info("note", task=task_id, text=text)
            case ev.Forget(held, outcome):
                _log.info("task forgotten", task=held.task_id, phase=held.phase.value, outcome=outcome)
                self._looks.pop(held.task_id, None)
                self._next_look.pop(held.task_id, None)
                await self._end_work(held.task_id)
                self._start(self._work.discard(held, outcome))
            case ev.Cancel(task_id):
                await self._end_work(task_id)
            case ev.Examine(task_id):
                self._start_work(task_id, self._examine)
            case ev.Download(task_id):
                self._start_work(task_id, self._download)
            case ev.Compute(task_id):
                self._start_work(task_id, self._compute)
            case ev.SignSeal(task_id):
                self._sign_seal(task_id)
            case ev.Contribute(task_id):
                self._start(self._contribute(task_id))
            case ev.Reveal(task_id):
                self._start(self._reveal(task_id))
            case ev.Broadcast(task_id, step):
                self._start(self._broadcast(task_id, step))
            case ev.Upload(task_id):
                self._start(self._upload(task_id))
            case ev.LookAtChain(task_id):
                self._start(self._look(task_id))

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._guarded(coroutine))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        # One that is cancelled before it began would never be awaited.
        task.add_done_callback(lambda _: coroutine.close())
        return task

    async def _guarded(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            await coroutine
        except ServiceUnavailable as error:
            # Only looks at the chain end so; the next one comes by itself.
            _log.warning("a service does not answer", reason=str(error))
        except Exception:
            _log.exception("a worker task failed")

    # --- computing ----------------------------------------------------------------------------------------------

    def _start_work(self, task_id: str, do: Callable[[HeldTask], Awaitable[ev.Event]]) -> None:
        held = self._machine.get(task_id)
        if held is not None:
            self._work_of[task_id] = self._start(self._worked(held, do))

    async def _end_work(self, task_id: str) -> None:
        task = self._work_of.pop(task_id, None)
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait((task,), timeout=self._options.stop_s / 2)

    async def _worked(self, held: HeldTask, do: Callable[[HeldTask], Awaitable[ev.Event]]) -> None:
        give_up = self._clock.now() + self._options.retry_for_s
        while True:
            try:
                self._events.put_nowait(await do(held))
            except ServiceUnavailable as error:
                if self._clock.now() < give_up:
                    _log.warning("work waits", task=held.task_id, reason=str(error))
                    await self._clock.sleep(self._options.poll_s)
                    continue
                self._events.put_nowait(ev.WorkFailed(held.task_id, str(error)))
            except FairgridError as error:
                self._events.put_nowait(ev.WorkFailed(held.task_id, str(error)))
            except OSError as error:
                text = f"This machine's disk or memory failed: {error.strerror or error}."
                self._events.put_nowait(ev.WorkFailed(held.task_id, text))
            except Exception as error:
                _log.exception("work failed", task=held.task_id)
                self._events.put_nowait(ev.WorkFailed(held.task_id, f"Internal error: {type(error).__name__}: {error}"))
            return

    async def _examine(self, held: HeldTask) -> ev.Event:
        deal, task, refusal = await self._judge.judged(held, reserved=self._machine.reserved_stake(held.task_id))
        refusal = refusal or await self._work.check_app(deal) or await self._work.check_run(held, deal, task)
        if refusal is not None:
            return ev.WorkFailed(held.task_id, refusal)
        return ev.Approved(
            held.task_id,
            deal.workerpool.pointer,
            deal.workerpool.owner,
            deal.worker_stake * held.units,
            task.final_deadline,
            max(deal.trust, 1),
        )

    async def _download(self, held: HeldTask) -> ev.Event:
        with counting() as moved, self._span("fetch", held):
            await self._work.download(held, await self._judge.deal(held))
        return ev.Downloaded(held.task_id, moved.bytes_in)

    async def _compute(self, held: HeldTask) -> ev.Event:
        deal, task = await self._judge.deal(held), await self._chain.view_task(held.task_id)
        with self._span("run", held):
            return await self._work.compute(held, deal, task)

    def _span(self, name: str, held: HeldTask) -> AbstractContextManager[tracing.Span]:
        place = tracing.lease_place(held.lease_id)
        return tracing.span(name, held.deal_id, place, task=held.task_id, worker=self._worker)

    def _sign_seal(self, task_id: str) -> None:
        held = self._machine.get(task_id)
        if held is None:
            return
        with self._span("seal", held):
            self._sign(held, task_id)

    def _sign(self, held: HeldTask, task_id: str) -> None:
        salt = "0x" + secrets.token_bytes(32).hex()
        seal = seal_hash(self._chain.chain_id, self._chain.hub, task_id, held.round, self._worker, held.digest, salt)
        signature = self._signer.sign_message(from_hex(seal))
        self._events.put_nowait(ev.SealSigned(task_id, salt, seal, signature))

    # --- the chain ----------------------------------------------------------------------------------------------

    async def _contribute(self, task_id: str) -> None:
        held = self._machine.get(task_id)
        if held is None:
            return
        try:
            deal, _, refusal = await self._judge.judged(held)
            refusal = refusal or await self._transactions.refusal(held, deal)
            if refusal is not None:
                self._events.put_nowait(ev.ContributionRefused(task_id, refusal, lasting=True))
                return
            transaction = await self._transactions.sign_contribution(held, deal, self._machine.held)
        except ServiceUnavailable as error:
            self._events.put_nowait(ev.ContributionRefused(task_id, str(error), lasting=False))
        except FairgridError as error:
            self._events.put_nowait(ev.ContributionRefused(task_id, str(error), lasting=True))
        except Exception as error:
            _log.exception("contribution failed", task=task_id)
            self._events.put_nowait(ev.ContributionRefused(task_id, f"Internal error: {error!r}", lasting=True))
        else:
            self._events.put_nowait(ev.TransactionSigned(task_id, Step.CONTRIBUTE, transaction))

    async def _reveal(self, task_id: str) -> None:
        held = self._machine.get(task_id)
        if held is None:
            return
        if self._options.misbehaviour is Misbehaviour.NO_REVEAL:
            _log.warning("misbehaves: does not reveal", task=task_id)
            return
        try:
            transaction = await self._transactions.sign_reveal(held, self._machine.held)
        except Exception as error:
            if not isinstance(error, FairgridError):
                _log.exception("reveal failed", task=task_id)
            self._events.put_nowait(ev.RevealRefused(task_id, str(error)))
        else:
            self._events.put_nowait(ev.TransactionSigned(task_id, Step.REVEAL, transaction))

    async def _broadcast(self, task_id: str, step: Step) -> None:
        held = self._machine.get(task_id)
        transaction = held.transaction(step) if held is not None else None
        if held is None or transaction is None:
            return
        waiting = Phase.CONTRIBUTING if step is Step.CONTRIBUTE else Phase.REVEALING

        def wanted() -> bool:
            current = self._machine.get(task_id)
            return current is not None and current.phase is waiting and current.transaction(step) == transaction

        with self._span(step.value, held) as told:
            told.transaction(transaction.hash)
            event = await self._transactions.deliver(task_id, step, transaction, wanted=wanted)
        if event is not None:
            self._events.put_nowait(event)

    async def _poll_for_ever(self) -> None:
        while True:
            now = self._clock.now()
            due = [held.task_id for held in self._machine.held if self._next_look.get(held.task_id, 0.0) <= now]
            for task_id in due:
                try:
                    await self._look(task_id)
                except ServiceUnavailable as error:
                    _log.warning("chain does not answer", reason=str(error))
                    break
                except Exception:
                    _log.exception("looking at the chain failed", task=task_id)
            await self._clock.sleep(self._options.poll_s)

    async def _look(self, task_id: str) -> None:
        async with self._looks.setdefault(task_id, asyncio.Lock()):
            held = self._machine.get(task_id)
            if held is None:
                self._looks.pop(task_id, None)
                return
            # In this order: what is newer may only make the worker more careful.
            head = await self._chain.head()
            task = await self._chain.view_task(task_id)
            mine = await self._chain.view_contribution(task_id, self._worker)
            if task.status in _OVER and held.phase not in WORKING:
                self._next_look[task_id] = self._clock.now() + self._options.settled_poll_s
                if task_id not in self._earned:
                    self._earned[task_id] = await self._judge.earnings(held, task)
            newest = (await self._chain.head()).number if self._options.confirmations else head.number
            self._events.put_nowait(ev.ChainSeen(task_id, head.number, head.timestamp, task, mine, newest))

    async def _upload(self, task_id: str) -> None:
        held = self._machine.get(task_id)
        if held is None:
            return
        try:
            with counting() as moved, self._span("upload", held):
                cid = await self._work.upload(held)
        except Exception as error:
            if not isinstance(error, FairgridError):
                _log.exception("upload failed", task=task_id)
            self._events.put_nowait(ev.UploadFailed(task_id, str(error)))
        else:
            self._events.put_nowait(ev.Uploaded(task_id, cid, moved.bytes_out))
