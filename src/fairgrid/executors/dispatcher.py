"""The thread behind an executor: gathers calls for deals, and ends when every call has its end.

Deals are made by `deal_maker` and followed by `followed_deals`, on this thread's event loop; what they cost stands in
`run_books`, futures are resolved by `open_calls`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from fairgrid.errors import FairgridError
from fairgrid.executors.asking import ask
from fairgrid.executors.backend import Backend
from fairgrid.executors.calls import Call
from fairgrid.executors.cancelling import Cancelled
from fairgrid.executors.capture import Captured
from fairgrid.executors.deal_maker import DealMaker
from fairgrid.executors.followed_deals import FollowedDeals
from fairgrid.executors.futures import CallFuture
from fairgrid.executors.leaving import leave_at_exit
from fairgrid.executors.open_calls import Intake, OpenCalls
from fairgrid.executors.packing import Packing
from fairgrid.executors.progress import OnRunProgress, RunProgress, progress_of
from fairgrid.executors.receipt import Receipt
from fairgrid.executors.record import DealPlan, RunRecord
from fairgrid.executors.run_books import RunBooks
from fairgrid.executors.timing import Timing
from fairgrid.executors.watch import Watch
from fairgrid.protocol.certificate import Certificate

__all__ = ["Dispatcher"]

_T = TypeVar("_T")
_EXIT_S: Final = 10.0
_SLICE_S: Final = 0.5


class Dispatcher:
    """Owns a thread with an event loop. Its public methods may be called from any thread."""

    def __init__(self, backend: Backend, record: RunRecord, budget: int, packing: Packing, timing: Timing) -> None:
        self.run_id = record.run_id
        self._backend = backend
        self._record = record
        self._timing = timing
        self._books = RunBooks(record, budget)
        self._calls = OpenCalls(record.run_id)
        self._deals = FollowedDeals(
            record.run_id, backend, self._calls, self._books, certify=self.certificate, wake=self._set_wake
        )
        self._maker = DealMaker(
            backend, record, self._calls, self._books, self._deals, packing=packing, patience=timing.patience
        )
        self._reason = "it was shut down"
        self._wake: asyncio.Event | None = None
        self._hurry: asyncio.Event | None = None
        self._main: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._plans: list[DealPlan] = []
        self._opened: Future[None] = Future()
        self._watch = Watch(self.progress)
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
        return self._books.receipt()

    def listen(self, listener: OnRunProgress) -> None:
        """Tell somebody of the progress; before `start`."""
        self._watch.listeners.append(listener)

    def progress(self, *, over: bool = False) -> RunProgress:
        """How far the run is."""
        receipt, counts = self.receipt(), self._calls.counts()
        return progress_of(receipt, counts.taken, counts.done, counts.failed, elapsed_s=counts.elapsed_s, over=over)

    def settled_tasks(self) -> list[tuple[str, int]]:
        """Deal and index, from the deal's first, of every task that ended with an agreed result, so far."""
        return self._books.settled_tasks()

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
                self._books.check(price)
            self._opened.set_result(None)
            watching = asyncio.ensure_future(self._watch.run())
            await self._resume()
            while not await self._is_over():
                await self._next_deal()
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            await self._deals.stop()
            await self._backend.close()

    async def _is_over(self) -> bool:
        """Wait for calls; True when there will be none any more."""
        assert self._wake is not None
        while True:
            intake = self._calls.intake()
            if intake is Intake.WAITING or self._deals.wants_again:
                return False
            if intake is Intake.CLOSED and not self._deals.going_on:
                return True
            await self._wake.wait()
            self._wake.clear()

    async def _resume(self) -> None:
        for plan in self._plans:
            deal = await self._backend.find(plan.job)
            if deal is not None:
                self._books.signed(plan, deal)
        for plan in self._plans:
            await self._maker.carry_out(plan, await self._backend.find(plan.job))

    async def _next_deal(self) -> None:
        """Gather calls and deal them; deals are followed beside it."""
        assert self._hurry is not None
        seen, waited = -1, 0.0
        while self._calls.waiting != seen and waited < self._timing.longest_window and not self._hurry.is_set():
            seen = self._calls.waiting
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), self._timing.window)
            waited += self._timing.window
        calls = self._calls.take()
        await self._maker.deal([call for call in calls if not call.app], self._deals.take_again())
        for app in dict.fromkeys(call.app for call in calls if call.app):
            await self._maker.deal([call for call in calls if call.app == app], (), app)
