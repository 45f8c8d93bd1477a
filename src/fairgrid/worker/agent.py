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
from fairgrid.protocol.pool_messages import Why
from fairgrid.seams.clock import Clock
from fairgrid.wallet.signer import Signer
from fairgrid.worker.connection.link import LinkOptions
from fairgrid.worker.connection.pool_talk import PoolTalk
from fairgrid.worker.core import events as ev
from fairgrid.worker.core import instructions as to_do
from fairgrid.worker.core.debts import Repay
from fairgrid.worker.core.held import WORKING, InvalidTransition, Phase
from fairgrid.worker.core.machine import WorkerMachine
from fairgrid.worker.errands import Errands
from fairgrid.worker.interface import AgentOptions, Announcer, TaskWork
from fairgrid.worker.observability.tally import count_end, count_event
from fairgrid.worker.onchain.chain_watch import ChainWatch
from fairgrid.worker.onchain.judge import Judge
from fairgrid.worker.onchain.ownership import Ownership
from fairgrid.worker.onchain.repaying import Repayer
from fairgrid.worker.onchain.transactions import Transactions
from fairgrid.worker.owner.availability import Availability
from fairgrid.worker.owner.heed import Heed
from fairgrid.worker.owner.owner_watch import OwnerWatch
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.records.recorder import Recorder
from fairgrid.worker.records.store import WorkerStore

__all__ = ["AgentOptions", "Announcer", "TaskWork", "WorkerAgent"]

_log = structlog.get_logger(__name__)


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
        self._options = options
        self._pool = link
        self._store = store
        self._work = work
        self._clock = clock
        self._machine = WorkerMachine(
            slots=options.slots,
            confirmations=options.confirmations,
            keep_s=options.keep_s,
            keep_blocks=options.keep_blocks,
            tasks=options.tasks,
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
        self.talk = PoolTalk(
            link,
            self._machine,
            chain=chain,
            signer=signer,
            worker=self._worker,
            ownership=ownership,
            clock=clock,
            announcer=announcer,
            options=options,
            check=check,
            report=self._events.put_nowait,
            start=self._errands.start,
        )
        self._repayer = Repayer(
            chain=chain,
            signer=signer,
            worker=self._worker,
            workerpool=link.workerpool,
            machine=self._machine,
            transactions=transactions,
            store=store,
            how=lambda: Repay(policy().repay),
            clock=clock,
            options=options,
            say=announcer.waiting,
        )
        transactions.beside = self._repayer.unmined
        self.talk.debts = self._repayer
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
        """How often what happened, by the names that `fairgrid.worker.observability.meter` reads."""
        self._recorder = Recorder(
            store,
            self._machine,
            clock=clock,
            retry_s=options.poll_s,
            earned=self._watch.take_earnings,
            ended=partial(count_end, self.tally),
            waits=self.talk.wait_for,
        )
        self._stop = asyncio.Event()
        self._policy = policy
        self._is_ending = False
        self._owner = owner
        self.heed = Heed(owner, self, clock=clock, tally=self.tally) if owner is not None else None
        if self.heed is not None:
            self.talk.leased = self.heed.leased

    # --- life ---------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End `run` soon: leases not yet sealed are handed back, the rest stays on disk."""
        self._stop.set()

    def end(self, *, within_s: float | None = None) -> None:
        """As `stop`, but within ``within_s`` what is held is finished first; asked twice: at once.

        None: the owner's ``stop_within_s``.
        """
        patience_s = within_s if within_s is not None else self._policy().stop_within_s
        if patience_s <= 0 or self._is_ending or self.heed is None or not self.holds_anything():
            self.stop()
            return
        self._is_ending = True
        _log.info("finishes what it holds before it ends", within_s=patience_s)
        self.heed.drain()
        self._errands.start(self._stop_after(patience_s))

    def _end_by_itself(self) -> None:
        if self.heed is None:
            if not self._machine.held:
                self.stop()
        elif not self.heed.is_draining:
            _log.info("has done the tasks that it was started for, and finishes them", tasks=self._options.tasks)
            self.heed.drain()

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
        await self._repayer.begin()
        if self.heed is not None:
            # Known before the first lease can come.
            await self.heed.follow()
        mind = asyncio.create_task(self._think(), name="worker mind")
        helpers = [
            asyncio.create_task(self.talk.run(), name="pool link"),
            asyncio.create_task(self._watch.run(), name="chain poll"),
            asyncio.create_task(self._repayer.run(), name="repayment"),
        ]
        if self.heed is not None:
            helpers.append(asyncio.create_task(self.heed.run(), name="owner's rules"))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((mind, stopping, *helpers), return_when=asyncio.FIRST_COMPLETED)
            if stopping.done() and not mind.done():
                self._events.put_nowait(ev.Stopping())
                for flush in (self._events.join, self.talk.flush):
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

    # --- what it is measured by ---------------------------------------------------------------------------------

    @property
    def held_phases(self) -> tuple[Phase, ...]:
        """The phase of every task that is held."""
        return tuple(held.phase for held in self._machine.held)

    @property
    def is_enrolled(self) -> bool:
        return self.talk.is_enrolled

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

    # --- what the owner asks ------------------------------------------------------------------------------------

    def owner_said(self, *, takes_work: bool, reason: str, slots: int | None) -> None:
        self._events.put_nowait(ev.OwnerSaid(takes_work, reason, slots))
        self.talk.set_slots(slots or self._options.slots)
        self.talk.tell_changes()

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
            "enrolled": self.talk.is_enrolled,
            "waitsFor": "" if self.talk.is_enrolled else self.talk.trouble,
            "freeSlots": self._machine.free_slots,
            "clockWarning": self.talk.clock_warning,
            "notUnderstood": list(self.talk.not_understood),
            "held": held,
            "notRepaying": self._repayer.snapshot(),
        }

    async def pool_why(self) -> tuple[Why | None, str]:
        """Ask the pool why it gives no work; None with the reason where it does not answer."""
        return await self.talk.pool_why()

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
                if self._machine.has_done_all:
                    self._end_by_itself()
            finally:
                self._events.task_done()

    async def _follow(self, instruction: to_do.Instruction) -> None:
        match instruction:
            case to_do.Save() | to_do.TakeUp():
                pass
            case to_do.Send(message):
                self.talk.tell(message)
            case to_do.Note(task_id, text):
                _log.info("note", task=task_id, text=text)
            case to_do.Forget(held, outcome):
                _log.info("task forgotten", task=held.task_id, phase=held.phase.value, outcome=outcome)
                self._watch.forget(held.task_id)
                await self._errands.end_work(held.task_id)
                self._errands.start(self._work.discard(held, outcome))
            case to_do.Retire(held):
                _log.info("task is over", task=held.task_id, phase=held.phase.value, outcome=held.outcome)
                self._watch.forget(held.task_id)
            case to_do.Drop(held):
                self._errands.start(self._work.discard(held, held.outcome))
            case to_do.Cancel(task_id):
                await self._errands.end_work(task_id)
            case to_do.Examine(task_id):
                self._errands.start_work(task_id, self._errands.examine)
            case to_do.Download(task_id):
                self._errands.start_work(task_id, self._errands.download)
            case to_do.Compute(task_id):
                self._errands.start_work(task_id, self._errands.compute)
                self.talk.report_cache()
            case to_do.SignSeal(task_id):
                self._errands.sign_seal(task_id)
            case to_do.Contribute(task_id):
                self._errands.start(self._errands.contribute(task_id))
            case to_do.Reveal(task_id):
                self._errands.start(self._errands.reveal(task_id))
            case to_do.Broadcast(task_id, step):
                self._errands.start(self._errands.broadcast(task_id, step))
            case to_do.Upload(task_id):
                self._errands.start(self._errands.upload(task_id))
            case to_do.LookAtChain(task_id):
                self._errands.start(self._watch.look(task_id))
