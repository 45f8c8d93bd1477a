"""Follows deals that are on their way, each in a task of the event loop, and gives their calls their ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fairgrid.errors import FairgridError, JobError, RunInterrupted, ServiceError
from fairgrid.executors.apps import AppResults
from fairgrid.executors.backend import Backend, SignedDeal, TaskEnding
from fairgrid.executors.open_calls import OpenCalls
from fairgrid.executors.packing import Task, halves
from fairgrid.executors.record import DealPlan
from fairgrid.executors.results import CallResults, TaskResults, limit_reached
from fairgrid.executors.run_books import RunBooks
from fairgrid.protocol.certificate import Certificate

__all__ = ["FollowedDeals"]


class FollowedDeals:
    """The deals of a run that go on. Belongs to the run's event loop.

    ``certify`` makes the certificate of a deal's settled task, from any thread. ``wake`` is called when a deal is over,
    and when tasks are to be dealt again.
    """

    def __init__(
        self,
        run_id: str,
        backend: Backend,
        calls: OpenCalls,
        books: RunBooks,
        *,
        certify: Callable[[str, int], Certificate],
        wake: Callable[[], None],
    ) -> None:
        self._run_id = run_id
        self._backend = backend
        self._calls = calls
        self._books = books
        self._certify = certify
        self._wake = wake
        self._following: set[asyncio.Task[None]] = set()
        self._again: list[Task] = []

    @property
    def going_on(self) -> bool:
        """Whether any deal is followed."""
        return bool(self._following)

    @property
    def wants_again(self) -> bool:
        """Whether tasks are to be dealt again."""
        return bool(self._again)

    def take_again(self) -> list[Task]:
        """The tasks that are to be dealt again: from here on they are the caller's."""
        again, self._again = self._again, []
        return again

    def follow(self, plan: DealPlan, deal: SignedDeal) -> None:
        """Begin to follow a deal that is matched."""
        task = asyncio.ensure_future(self._follow(plan, deal))
        self._following.add(task)
        task.add_done_callback(self._followed)

    async def stop(self) -> None:
        """Follow no deal any longer; they go on without."""
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)

    def _followed(self, task: asyncio.Task[None]) -> None:
        self._following.discard(task)
        self._wake()

    async def _follow(self, plan: DealPlan, deal: SignedDeal) -> None:
        try:
            async for ending in self._backend.endings(deal, plan.out):
                await self._ended(plan, ending)
        except Exception as error:
            reason = str(error) if isinstance(error, FairgridError) else f"{type(error).__name__}: {error}"
            calls = [call for task in plan.tasks for call in task]
            self._calls.fail(calls, RunInterrupted(self._run_id, reason), of=plan)

    async def _ended(self, plan: DealPlan, ending: TaskEnding) -> None:
        task = plan.tasks[ending.index]
        settled = self._books.ended(plan, ending)
        if settled is not None:
            self._calls.settled(task, partial(self._certify, *settled))
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
                self._wake()
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
