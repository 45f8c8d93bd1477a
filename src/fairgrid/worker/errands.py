"""Does for one task what the machine asks: computes, signs, sends, uploads; and reports what came of it as an event.

Each errand is a coroutine of its own, so that nothing waits for another.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any

import structlog

from fairgrid.chain.interface import Chain
from fairgrid.errors import FairgridError, ServiceUnavailable
from fairgrid.protocol.hexes import from_hex
from fairgrid.protocol.seals import seal_hash
from fairgrid.protocol.views import Deal, Task
from fairgrid.seams import tracing
from fairgrid.seams.clock import Clock
from fairgrid.wallet.signer import Signer
from fairgrid.worker.computing.misbehave import Misbehaviour
from fairgrid.worker.computing.transfers import counting
from fairgrid.worker.core import events as ev
from fairgrid.worker.core.held import HeldTask, Phase, Step
from fairgrid.worker.core.machine import WorkerMachine
from fairgrid.worker.interface import AgentOptions, TaskWork
from fairgrid.worker.onchain.judge import Judge
from fairgrid.worker.onchain.transactions import Transactions

__all__ = ["Errands"]

_log = structlog.get_logger(__name__)


class Errands:
    """All that runs beside the mind of one worker; ``report`` takes the events."""

    def __init__(
        self,
        machine: WorkerMachine,
        *,
        chain: Chain,
        signer: Signer,
        worker: str,
        work: TaskWork,
        judge: Judge,
        transactions: Transactions,
        clock: Clock,
        options: AgentOptions,
        report: Callable[[ev.Event], None],
    ) -> None:
        self._machine = machine
        self._chain = chain
        self._signer = signer
        self._worker = worker
        self._work = work
        self._judge = judge
        self._transactions = transactions
        self._clock = clock
        self._options = options
        self._report = report
        self._work_of: dict[str, asyncio.Task[None]] = {}
        self._examined: dict[str, tuple[Deal, Task]] = {}
        """Deal and task of what is computed. What computing takes of them is fixed by the deal's id (app, params,
        category, trust, callback) and its start; before anything is signed both are read again."""
        self.running: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run it beside everything else; what it raises is logged."""
        task = asyncio.create_task(self._guarded(coroutine))
        self.running.add(task)
        task.add_done_callback(self.running.discard)
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

    def start_work(self, task_id: str, do: Callable[[HeldTask], Awaitable[ev.Event]]) -> None:
        """Begin a part of a task's work."""
        held = self._machine.get(task_id)
        if held is not None:
            self._work_of[task_id] = self.start(self._worked(held, do))

    async def end_work(self, task_id: str) -> None:
        """End it, and wait until it has."""
        self._examined.pop(task_id, None)
        task = self._work_of.pop(task_id, None)
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait((task,), timeout=self._options.stop_s / 2)

    async def _worked(self, held: HeldTask, do: Callable[[HeldTask], Awaitable[ev.Event]]) -> None:
        give_up = self._clock.now() + self._options.retry_for_s
        while True:
            try:
                self._report(await do(held))
            except ServiceUnavailable as error:
                if self._clock.now() < give_up:
                    _log.warning("work waits", task=held.task_id, reason=str(error))
                    await self._clock.sleep(self._options.poll_s)
                    continue
                self._report(ev.WorkFailed(held.task_id, str(error)))
            except FairgridError as error:
                self._report(ev.WorkFailed(held.task_id, str(error)))
            except OSError as error:
                text = f"This machine's disk or memory failed: {error.strerror or error}."
                self._report(ev.WorkFailed(held.task_id, text))
            except Exception as error:
                _log.exception("work failed", task=held.task_id)
                self._report(ev.WorkFailed(held.task_id, f"Internal error: {type(error).__name__}: {error}"))
            return

    async def examine(self, held: HeldTask) -> ev.Event:
        """Hold deal and app against the owner's policy."""
        deal, task, refusal = await self._judge.judged(held, reserved=self._machine.reserved_stake(held.task_id))
        refusal = refusal or await self._work.check_app(deal) or await self._work.check_run(held, deal, task)
        if refusal is not None:
            return ev.WorkFailed(held.task_id, refusal)
        self._examined[held.task_id] = deal, task
        return ev.Approved(
            held.task_id,
            deal.workerpool.pointer,
            deal.workerpool.owner,
            deal.worker_stake * held.units,
            task.final_deadline,
            max(deal.trust, 1),
        )

    async def download(self, held: HeldTask) -> ev.Event:
        """Fetch what the task needs."""
        deal, _ = self._examined[held.task_id]
        with counting() as moved, self._span("fetch", held):
            await self._work.download(held, deal, lambda text: self._report(ev.MadeReady(held.task_id, text)))
        return ev.Downloaded(held.task_id, moved.bytes_in)

    async def compute(self, held: HeldTask) -> ev.Event:
        """Run the job."""
        deal, task = self._examined[held.task_id]
        with self._span("run", held):
            computed = await self._work.compute(held, deal, task)
        self._examined.pop(held.task_id, None)
        return computed

    def _span(self, name: str, held: HeldTask) -> AbstractContextManager[tracing.Span]:
        place = tracing.lease_place(held.lease_id)
        return tracing.span(name, held.deal_id, place, task=held.task_id, worker=self._worker)

    def sign_seal(self, task_id: str) -> None:
        """Choose a salt, unless there is one; sign the seal."""
        held = self._machine.get(task_id)
        if held is None:
            return
        # The seal of another lease of the same task hides the same digest: should that one be asked for, it opens too.
        salt = held.salt or "0x" + secrets.token_bytes(32).hex()
        chain = self._chain
        with self._span("seal", held):
            seal = seal_hash(chain.chain_id, chain.hub, task_id, held.round, self._worker, held.digest, salt)
            signature = self._signer.sign_message(from_hex(seal))
        self._report(ev.SealSigned(task_id, salt, seal, signature))

    # --- the chain ----------------------------------------------------------------------------------------------

    async def contribute(self, task_id: str) -> None:
        """Check what the authorisation is worth, sign the contribution."""
        held = self._machine.get(task_id)
        if held is None:
            return
        try:
            deal, _, refusal = await self._judge.judged(held)
            refusal = refusal or await self._transactions.refusal(held, deal)
            if refusal is not None:
                self._report(ev.ContributionRefused(task_id, refusal, lasting=True))
                return
            transaction = await self._transactions.sign_contribution(held, deal, self._machine.held)
        except ServiceUnavailable as error:
            self._report(ev.ContributionRefused(task_id, str(error), lasting=False))
        except FairgridError as error:
            self._report(ev.ContributionRefused(task_id, str(error), lasting=True))
        except Exception as error:
            _log.exception("contribution failed", task=task_id)
            self._report(ev.ContributionRefused(task_id, f"Internal error: {error!r}", lasting=True))
        else:
            self._report(ev.TransactionSigned(task_id, Step.CONTRIBUTE, transaction))

    async def reveal(self, task_id: str) -> None:
        """Sign the reveal."""
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
            self._report(ev.RevealRefused(task_id, str(error)))
        else:
            self._report(ev.TransactionSigned(task_id, Step.REVEAL, transaction))

    async def broadcast(self, task_id: str, step: Step) -> None:
        """Send a stored transaction until it is mined, or not wanted any more."""
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
            event = await self._transactions.deliver(task_id, step, held.versions(step), wanted=wanted)
        if event is not None:
            self._report(event)

    async def upload(self, task_id: str) -> None:
        """Upload the result."""
        held = self._machine.get(task_id)
        if held is None:
            return
        try:
            with counting() as moved, self._span("upload", held):
                cid = await self._work.upload(held)
        except Exception as error:
            if not isinstance(error, FairgridError):
                _log.exception("upload failed", task=task_id)
            self._report(ev.UploadFailed(task_id, str(error)))
        else:
            self._report(ev.Uploaded(task_id, cid, moved.bytes_out))
