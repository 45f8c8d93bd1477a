"""Looks at the chain for every task that is held, and whether it was rewritten below those that are over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from fairgrid.chain.interface import Chain
from fairgrid.errors import ServiceUnavailable
from fairgrid.protocol.views import TaskStatus
from fairgrid.seams.clock import Clock
from fairgrid.worker.core import events as ev
from fairgrid.worker.core.held import WORKING
from fairgrid.worker.core.machine import WorkerMachine
from fairgrid.worker.interface import AgentOptions
from fairgrid.worker.onchain.judge import Judge
from fairgrid.worker.onchain.rewrites import Rewrites

__all__ = ["ChainWatch"]

_log = structlog.get_logger(__name__)
_OVER: Final = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SPLIT)


class ChainWatch:
    """``report`` takes what was seen; `run` looks for ever."""

    def __init__(
        self,
        machine: WorkerMachine,
        *,
        chain: Chain,
        worker: str,
        judge: Judge,
        clock: Clock,
        options: AgentOptions,
        report: Callable[[ev.Event], None],
    ) -> None:
        self._machine = machine
        self._chain = chain
        self._worker = worker
        self._judge = judge
        self._clock = clock
        self._options = options
        self._report = report
        self._rewrites = Rewrites(chain)
        self._looks: dict[str, asyncio.Lock] = {}
        self._next_look: dict[str, float] = {}
        self._next_head = 0.0
        self._unseen: dict[str, None] = {}
        """Tasks that are over and were to be looked at, until the chain answers."""
        self._earned: dict[str, int] = {}

    def forget(self, task_id: str) -> None:
        """Drop what is remembered of a task's looks."""
        self._looks.pop(task_id, None)
        self._next_look.pop(task_id, None)

    def take_earnings(self, task_id: str) -> int | None:
        """What a task that is over earned, in nRLC; None where that was not read."""
        return self._earned.pop(task_id, None)

    async def run(self) -> None:
        """Look for ever; ends only by cancellation."""
        while True:
            now = self._clock.now()
            due = [held.task_id for held in self._machine.held if self._next_look.get(held.task_id, 0.0) <= now]
            for task_id in (*due, *self._unseen):
                try:
                    await self.look(task_id)
                except ServiceUnavailable as error:
                    _log.warning("chain does not answer", reason=str(error))
                    break
                except Exception:
                    _log.exception("looking at the chain failed", task=task_id)
            if self._machine.kept and self._next_head <= now:
                await self._look_for_rewrites()
            await self._clock.sleep(self._options.poll_s)

    async def look(self, task_id: str) -> None:
        """Read one task, and this worker's part in it.

        Raises:
            ServiceUnavailable: the chain does not answer.
        """
        async with self._looks.setdefault(task_id, asyncio.Lock()):
            held = self._machine.find(task_id)
            if held is None:
                self._looks.pop(task_id, None)
                self._unseen.pop(task_id, None)
                return
            if held.is_over:
                self._unseen[task_id] = None
            # In this order: what is newer may only make the worker more careful.
            head = await self._chain.head()
            task = await self._chain.view_task(task_id)
            mine = await self._chain.view_contribution(task_id, self._worker)
            if task.status in _OVER and held.phase not in WORKING:
                self._rewrites.note(head)
                self._next_look[task_id] = self._clock.now() + self._options.settled_poll_s
                if task_id not in self._earned and not held.is_over:
                    self._earned[task_id] = await self._judge.earnings(held, task)
            else:
                self._earned.pop(task_id, None)
            newest = (await self._chain.head()).number if self._options.confirmations else head.number
            self._unseen.pop(task_id, None)
            self._report(ev.ChainSeen(task_id, head.number, head.timestamp, task, mine, newest))

    async def _look_for_rewrites(self) -> None:
        try:
            head, rewritten = await self._rewrites.look()
        except ServiceUnavailable as error:
            _log.warning("chain does not answer", reason=str(error))
            return
        self._next_head = self._clock.now() + self._options.settled_poll_s
        self._report(ev.HeadSeen(head.number, rewritten))
