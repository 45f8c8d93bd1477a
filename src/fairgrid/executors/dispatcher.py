"""The thread behind an executor: gathers calls, signs deals, follows them. All I/O is here.

What to do is decided in `packing` and `receipt`, futures are resolved by `open_calls`; every deal is planned on disk
before it is signed.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from fairgrid.errors import BudgetExceeded, FairgridError, JobError, RunInterrupted, ServiceError, ServiceUnavailable
from fairgrid.executors.apps import AppResults, name_clash
from fairgrid.executors.asking import ask
from fairgrid.executors.backend import AppProgram, Backend, DealVoid, SignedDeal, TaskEnding
from fairgrid.executors.calls import Call
from fairgrid.executors.cancelling import Cancelled
from fairgrid.executors.capture import Captured
from fairgrid.executors.futures import CallFuture
from fairgrid.executors.leaving import leave_at_exit
from fairgrid.executors.open_calls import Intake, OpenCalls
from fairgrid.executors.packing import Packing, Task, deals_of, halves, pack
from fairgrid.executors.progress import OnRunProgress, RunProgress, progress_of
from fairgrid.executors.receipt import DealLine, Purse, Receipt
from fairgrid.executors.record import DealPlan, RunRecord
from fairgrid.executors.results import CallResults, TaskResults, limit_reached
from fairgrid.executors.watch import Watch
from fairgrid.protocol.certificate import Certificate

__all__ = ["Dispatcher", "Timing"]

_T = TypeVar("_T")
_RETRY_S: Final = 1.0
_SIGNATURES: Final = 5
_EXIT_S: Final = 10.0
_SLICE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Timing:
    """How long is waited for what (seconds)."""

    window: float = 0.05
    """Calls are gathered until none came for so long,"""
    longest_window: float = 2.0
    """but no longer than this."""
    patience: float = 600.0
    """How long chain, pool, market or storage may be away."""


class Dispatcher:
    """Owns a thread with an event loop. Its public methods may be called from any thread."""

    def __init__(self, backend: Backend, record: RunRecord, budget: int, packing: Packing, timing: Timing) -> None:
        self.run_id = record.run_id
        self._backend = backend
        self._record = record
        self._packing = packing
        self._timing = timing
        environment = (record.facts.get("environment") or {}).get("hash", "")
        self._purse = Purse(record.run_id, budget, environment=environment)
        self._lock = threading.Lock()
        self._calls = OpenCalls(record.run_id)
        self._again: list[Task] = []
        self._reason = "it was shut down"
        self._wake: asyncio.Event | None = None
        self._hurry: asyncio.Event | None = None
        self._main: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._following: set[asyncio.Task[None]] = set()
        self._plans: list[DealPlan] = []
        self._opened: Future[None] = Future()
        self._watch = Watch(self.progress)
        self._places: dict[tuple[str, int], None] = {}
        self._thread = threading.Thread(target=self._work, name=f"fairgrid-{record.run_id}", daemon=True)

    def start(self, plans: Sequence[DealPlan] = ()) -> dict[int, CallFuture[Any]]:
        """Connect; ``plans`` of an earlier process go on. Gives the futures of their calls by number.

        Raises:
            FairgridError: the backend cannot be used; the thread has ended.
        """
        recovered = self._calls.recover(plans)
        self._plans = list(plans)
        self._thread.start()
        try:
            self._opened.result()
        except BaseException:
            self._thread.join(_EXIT_S)
            raise
        leave_at_exit(self)
        return recovered

    def add(self, call: Call, future: CallFuture[Any]) -> None:
        """Take a call.

        Raises:
            RuntimeError: the executor was shut down.
        """
        if self._calls.add(call, future):
            self._call(self._set_wake)

    def claim(self, number: int, captured: Captured | None) -> None:
        """Somebody wants the result of a call of an earlier process; ``captured`` knows the classes in it."""
        self._calls.claim(number, captured)

    def receipt(self) -> Receipt:
        """What the run cost so far."""
        with self._lock:
            return self._purse.receipt()

    def listen(self, listener: OnRunProgress) -> None:
        """Tell somebody of the progress; before `start`."""
        self._watch.listeners.append(listener)

    def progress(self, *, over: bool = False) -> RunProgress:
        """How far the run is."""
        receipt, counts = self.receipt(), self._calls.counts()
        return progress_of(receipt, counts.taken, counts.done, counts.failed, elapsed_s=counts.elapsed_s, over=over)

    def settled_tasks(self) -> list[tuple[str, int]]:
        """Deal and index, from the deal's first, of every task that ended with an agreed result, so far."""
        with self._lock:
            return sorted(self._places)

    def certificate(self, deal_id: str, index: int) -> Certificate:
        """The certificate of a settled task.

        Raises:
            as `Backend.certificate`.
        """
        return self.ask(lambda: self._backend.certificate(deal_id, index))

    def ask(self, question: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Ask the backend something from another thread, also when the run is over; as `fairgrid.executors.asking`."""
        return ask(question, backend=self._backend, thread=self._thread, loop=self._loop)

    def close(self, *, wait: bool, cancel: bool) -> None:
        """Take no more calls; the thread ends when all are done. ``cancel`` drops what is not signed yet."""
        self._calls.close(cancel=cancel)
        self._call(self._set_wake)
        self._call(lambda: self._hurry.set() if self._hurry is not None else None)
        while wait and self._thread.is_alive():
            # In slices, so that a Ctrl-C that reached another thread is seen.
            self._thread.join(_SLICE_S)

    def cancel(self) -> Cancelled:
        """Take no more calls, drop what is not signed yet, and tell what goes on.

        Raises:
            ServiceUnavailable: the chain does not answer.
        """
        dropped = self._calls.close(cancel=True)
        self.close(wait=False, cancel=True)
        receipt = self.receipt()
        going = [deal for deal in receipt.deals if deal.open_nrlc or deal.completed + deal.refunded < deal.tasks]

        async def last() -> float | None:
            ends = [await self._backend.deadline(deal.deal_id) for deal in going]
            return max((end for end in ends if end is not None), default=None)

        tasks = sum(deal.tasks - deal.completed - deal.refunded for deal in going)
        return Cancelled(self.run_id, dropped, tasks, receipt.open, self.ask(last) if going else None)

    def abandon(self, reason: str, *, within_s: float = _EXIT_S) -> int:
        """Stop waiting for anything; deals go on without. Gives how many calls had no end yet."""
        self._reason = reason
        left = self._calls.abandon()
        self._call(lambda: self._main.cancel() if self._main is not None else None)
        self._thread.join(within_s)
        return left

    @property
    def is_alive(self) -> bool:
        """Whether the thread still works."""
        return self._thread.is_alive()

    def _call(self, function: Callable[[], Any]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(function)
            except RuntimeError:
                # It was closed this very moment.
                return

    def _set_wake(self) -> None:
        if self._wake is not None:
            self._wake.set()

    def _work(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            if not self._opened.done():
                self._opened.set_exception(error)
            elif not isinstance(error, asyncio.CancelledError | FairgridError):
                self._reason = f"{type(error).__name__}: {error}"
        finally:
            self._end()

    def _end(self) -> None:
        """Nobody resolves futures any more."""
        self._record.close()
        self._calls.end(self._reason)
        if self._opened.done() and self._opened.exception() is None:
            self._watch.tell(self.progress(over=True))

    async def _run(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        self._wake, self._hurry = asyncio.Event(), asyncio.Event()
        await self._backend.open()
        watching: asyncio.Task[None] | None = None
        try:
            price = await self._backend.price()
            if not self._plans:
                self._purse.check(price)
            self._opened.set_result(None)
            watching = asyncio.ensure_future(self._watch.run())
            await self._resume()
            while not await self._is_over():
                await self._next_deal()
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            for task in self._following:
                task.cancel()
            await asyncio.gather(*self._following, return_exceptions=True)
            await self._backend.close()

    async def _is_over(self) -> bool:
        """Wait for calls; True when there will be none any more."""
        assert self._wake is not None
        while True:
            intake = self._calls.intake()
            if intake is Intake.WAITING or self._again:
                return False
            if intake is Intake.CLOSED and not self._following:
                return True
            await self._wake.wait()
            self._wake.clear()

    async def _resume(self) -> None:
        for plan in self._plans:
            deal = await self._backend.find(plan.job)
            if deal is not None:
                self._signed(plan, deal)
        for plan in self._plans:
            deal = await self._backend.find(plan.job)
            await self._guarded(plan, deal)

    async def _next_deal(self) -> None:
        """Gather, pack, plan, sign; following goes on beside it."""
        assert self._hurry is not None
        seen, waited = -1, 0.0
        while self._calls.waiting != seen and waited < self._timing.longest_window and not self._hurry.is_set():
            seen = self._calls.waiting
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), self._timing.window)
            waited += self._timing.window
        calls = self._calls.take()
        again, self._again = self._again, []
        await self._deal([call for call in calls if not call.app], again)
        for app in dict.fromkeys(call.app for call in calls if call.app):
            await self._deal([call for call in calls if call.app == app], (), app)

    async def _deal(self, calls: Sequence[Call], again: Sequence[Task], app: str = "") -> None:
        """Deal Python calls, or calls of one published app; ``again`` are tasks that were dealt before."""
        if not calls and not again:
            return
        program: AppProgram | None = None
        try:
            if app:
                program = await self._patiently(partial(self._backend.app, app))
            price = await self._patiently(partial(self._backend.price, app))
        except FairgridError as unreachable:
            self._calls.fail([*calls, *(call for task in again for call in task)], unreachable)
            return
        started = self._calls.begin(calls)
        if program is not None:
            started = self._without_clashes(started, program)
        affordable = self._purse.affordable(price)
        tasks = (*again, *pack(started, self._packing, most_tasks=affordable - len(again)))
        if len(tasks) > affordable:
            receipt = self.receipt()
            too_dear = BudgetExceeded(needed=price * len(tasks), left=receipt.left, budget=receipt.budget)
            self._calls.fail([call for task in tasks[affordable:] for call in task], too_dear)
        for some in deals_of(tasks[:affordable]):
            plan = await asyncio.to_thread(self._record.plan, some, self._packing, program)
            await self._guarded(plan, None)

    def _without_clashes(self, calls: Sequence[Call], program: AppProgram) -> list[Call]:
        """Those whose files have other names than the app's own; the rest fail."""
        fit = []
        for call in calls:
            fault = name_clash(call, program)
            if fault is None:
                fit.append(call)
            else:
                self._calls.fail([call], fault)
        return fit

    async def _guarded(self, plan: DealPlan, deal: SignedDeal | None) -> None:
        """Sign, match, and begin to follow; whatever fails is told to the calls."""
        calls = [call for task in plan.tasks for call in task]
        self._calls.plan(plan)
        signed = deal is not None
        try:
            for _ in range(_SIGNATURES):
                try:
                    if deal is None:
                        deal = await self._patiently(partial(self._sign, plan))
                        self._signed(plan, deal)
                        signed = True
                    await self._patiently(partial(self._backend.match, deal))
                    break
                except DealVoid:
                    # Another process with the same key was faster: its transaction has the place of ours.
                    with self._lock:
                        self._purse.void(plan.job.job_name)
                    deal, signed = None, False
            else:
                raise ServiceError(
                    f"{_SIGNATURES} signed deals were displaced by other transactions of the same account. "
                    f"Nothing is locked. Let one process at a time use this key."
                )
        except FairgridError as error:
            if signed:
                self._calls.fail(calls, RunInterrupted(self.run_id, str(error)), of=plan)
            else:
                await asyncio.to_thread(self._record.give_up, plan)
                self._calls.fail(calls, error, of=plan)
            return
        assert deal is not None
        task = asyncio.ensure_future(self._follow(plan, deal))
        self._following.add(task)
        task.add_done_callback(self._followed)

    async def _sign(self, plan: DealPlan) -> SignedDeal:
        return await self._backend.sign(plan.job, most=self._purse.left)

    def _signed(self, plan: DealPlan, deal: SignedDeal) -> None:
        with self._lock:
            self._purse.signed(
                DealLine(deal.job_name, deal.deal_id, tasks=deal.tasks, calls=plan.calls, price=deal.price)
            )

    def _followed(self, task: asyncio.Task[None]) -> None:
        self._following.discard(task)
        self._set_wake()

    async def _follow(self, plan: DealPlan, deal: SignedDeal) -> None:
        try:
            async for ending in self._backend.endings(deal, plan.out):
                await self._ended(plan, ending)
        except Exception as error:
            reason = str(error) if isinstance(error, FairgridError) else f"{type(error).__name__}: {error}"
            calls = [call for task in plan.tasks for call in task]
            self._calls.fail(calls, RunInterrupted(self.run_id, reason), of=plan)

    async def _ended(self, plan: DealPlan, ending: TaskEnding) -> None:
        name, task = plan.job.job_name, plan.tasks[ending.index]
        with self._lock:
            (self._purse.refunded if ending.refunded else self._purse.completed)(name)
            if not ending.refunded and ending.failure is None:
                deal_id = self._purse.deal_id(name)
                self._places[deal_id, ending.index] = None
                self._calls.settled(task, partial(self.certificate, deal_id, ending.index))
        if ending.refunded:
            error: Exception = ServiceError(
                "The network did not compute this call before its deadline. Its money is back. Call it again."
            )
        elif ending.failure is not None:
            error = ending.failure
        elif ending.error is not None:
            if parts := self._parts(plan, task):
                # One call may have ended its neighbours: they get another chance without it.
                self._again += parts
                self._set_wake()
                return
            error = limit_reached(ending.error)
        else:
            assert ending.folder is not None
            await self._deliver(plan, task, ending.folder)
            return
        self._calls.fail(task, error, of=plan)

    def _parts(self, plan: DealPlan, task: Task) -> tuple[Task, ...]:
        parts = halves(task) if self._calls.owns(plan, task) else ()
        for part in parts:
            self._calls.release(part)
        return parts

    async def _deliver(self, plan: DealPlan, task: Task, folder: Path) -> None:
        results: CallResults = AppResults(folder) if task[0].app else TaskResults(folder)
        try:
            lines = await asyncio.to_thread(results.read, len(task))
        except JobError as unreadable:
            self._calls.fail(task, unreadable, of=plan)
            return
        rest = self._calls.park(task, results, lines)
        self._calls.resolve(rest, await asyncio.to_thread(lambda: [results.ending(line, call) for line, call in rest]))

    async def _patiently(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        waited = 0.0
        while True:
            try:
                return await ask()
            except ServiceUnavailable:
                if waited >= self._timing.patience:
                    raise
            await asyncio.sleep(_RETRY_S)
            waited += _RETRY_S
