"""Looks at the chain for every task that is held, and whether it was rewritten below those that are over."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from fairgrid.chain.interface import Block, Chain, Wanted
from fairgrid.errors import ServiceUnavailable
from fairgrid.protocol.views import NO_CONTRIBUTION, Contribution, Task, TaskStatus
from fairgrid.seams.clock import Clock
from fairgrid.worker.core import events as ev
from fairgrid.worker.core.held import WORKING, HeldTask
from fairgrid.worker.core.machine import WorkerMachine
from fairgrid.worker.interface import AgentOptions
from fairgrid.worker.onchain.judge import Judge
from fairgrid.worker.onchain.rewrites import Rewrites

__all__ = ["ChainWatch"]

_log = structlog.get_logger(__name__)
_OVER: Final = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.SPLIT)


@dataclass(frozen=True, slots=True)
class _Known:
    """What the chain said of a task as of a block. ``contribution`` None: not asked, nothing was signed."""

    block_hash: str
    task: Task
    contribution: Contribution | None


class ChainWatch:
    """``report`` takes what was seen; `run` looks for ever.

    All tasks that are due are read together, as of one block. While no new block comes nothing of them can change: only
    the newest block is asked for, once for all.
    """

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
        self._turn = asyncio.Lock()
        self._asked: dict[str, None] = {}
        """Tasks that are read with the next look."""
        self._looked: dict[str, float] = {}
        """When a task was looked at last, or first seen."""
        self._known: dict[str, _Known] = {}
        self._settled: set[str] = set()
        """Tasks that are held and over on chain."""
        self._next_head = 0.0
        self._unseen: dict[str, None] = {}
        """Tasks that are over and were to be looked at, until the chain answers."""
        self._earned: dict[str, int] = {}

    def forget(self, task_id: str) -> None:
        """Drop what is remembered of a task's looks."""
        self._looked.pop(task_id, None)
        self._known.pop(task_id, None)
        self._settled.discard(task_id)

    def take_earnings(self, task_id: str) -> int | None:
        """What a task that is over earned, in nRLC; None where that was not read."""
        return self._earned.pop(task_id, None)

    async def run(self) -> None:
        """Look for ever; ends only by cancellation."""
        while True:
            now = self._clock.now()
            for gone in self._looked.keys() - {held.task_id for held in self._machine.held}:
                self.forget(gone)
            due = [held.task_id for held in self._machine.held if self._is_due(held, now)]
            if due or self._unseen:
                try:
                    await self.look(*due, *self._unseen)
                except ServiceUnavailable as error:
                    _log.warning("chain does not answer", reason=str(error))
                except Exception:
                    _log.exception("looking at the chain failed", tasks=due)
            if self._machine.kept and self._next_head <= now:
                await self._look_for_rewrites()
            await self._clock.sleep(self._options.poll_s)

    def _is_due(self, held: HeldTask, now: float) -> bool:
        pause_s = self._options.poll_s * self._options.calm_looks
        if held.task_id in self._settled:
            pause_s = self._options.settled_poll_s
        elif held.may_follow_the_chain:
            pause_s = 0.0
        return self._looked.setdefault(held.task_id, now) + pause_s <= now

    async def look(self, *task_ids: str) -> None:
        """Read tasks, and this worker's part in them; looks that wait for one another become one.

        Raises:
            ServiceUnavailable: the chain does not answer; what was to be read is read at the next look.
        """
        self._asked.update(dict.fromkeys(task_ids))
        async with self._turn:
            asked, self._asked = self._asked, {}
            try:
                await self._read([held for task_id in asked if (held := self._find(task_id)) is not None])
            except ServiceUnavailable:
                for task_id in asked:
                    if self._machine.get(task_id) is not None:
                        self._looked[task_id] = -math.inf
                raise

    def _find(self, task_id: str) -> HeldTask | None:
        held = self._machine.find(task_id)
        if held is None:
            self._unseen.pop(task_id, None)
        elif held.is_over:
            self._unseen[task_id] = None
        return held

    async def _read(self, records: Sequence[HeldTask]) -> None:
        if not records:
            return
        # Who has signed nothing has contributed nothing.
        pairs = tuple((held.task_id, self._worker) for held in records if held.contribution is not None)
        known = {held.task_id: self._known.get(held.task_id) for held in records}
        hashes = {
            "" if told is None or (told.contribution is None and (task_id, self._worker) in pairs) else told.block_hash
            for task_id, told in known.items()
        }
        seen = await self._chain.snapshot(
            Wanted(tasks=tuple(known), contributions=pairs), since=hashes.pop() if len(hashes) == 1 else ""
        )
        for held in records:
            told = known[held.task_id]
            if held.task_id in seen.tasks:
                mine = seen.contributions.get((held.task_id, self._worker))
                told = self._known[held.task_id] = _Known(seen.block.hash, seen.tasks[held.task_id], mine)
            assert told is not None, "nothing is left out of what was not known as of this block"
            await self._seen(held, told, seen.block)

    async def _seen(self, held: HeldTask, known: _Known, block: Block) -> None:
        task_id, task = held.task_id, known.task
        if task.status in _OVER and held.phase not in WORKING:
            self._rewrites.note(block)
            self._settled.add(task_id)
            if task_id not in self._earned and not held.is_over:
                self._earned[task_id] = await self._judge.earnings(held, task)
        else:
            self._settled.discard(task_id)
            self._earned.pop(task_id, None)
        self._looked[task_id] = self._clock.now()
        self._unseen.pop(task_id, None)
        mine = known.contribution or NO_CONTRIBUTION
        self._report(ev.ChainSeen(task_id, block.number, block.timestamp, task, mine))

    async def _look_for_rewrites(self) -> None:
        try:
            head, rewritten = await self._rewrites.look()
        except ServiceUnavailable as error:
            _log.warning("chain does not answer", reason=str(error))
            return
        self._next_head = self._clock.now() + self._options.settled_poll_s
        self._report(ev.HeadSeen(head.number, rewritten))
