"""Engines that have a queue, and a folder that they share with the worker: submitted together, looked at together."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

import structlog

from fairgrid.errors import HostFailure
from fairgrid.runtime.engines.cell_files import has_outcome, read_place
from fairgrid.runtime.engines.interface import Cell, CellUse

__all__ = ["CellQueue", "QueueEngine", "Seen", "SeenState"]

_log = structlog.get_logger(__name__)
_GATHER_S: Final = 0.05
_TRIES: Final = 4
_OVERDUE_S: Final = 120.0
_END_S: Final = 30.0


class SeenState(StrEnum):
    """Where a cell is, as its queue says."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a queue says of one cell."""

    state: SeenState
    node: str = ""
    text: str = ""
    """For people: why it waits, or how it ended."""


class CellQueue(Protocol):
    """What is special to one kind of engine. Every method may raise `HostFailure` where the engine does not answer."""

    @property
    def name(self) -> str: ...

    def refusal(self, cell: Cell) -> str | None:
        """Why the cell can never run there; None where the engine itself is to say."""
        ...

    async def submit(self, cells: Sequence[Cell]) -> list[str]:
        """Queue them, with as few calls as can be; the engine's id of each, in order. All or none."""
        ...

    async def look(self, cells: Mapping[str, Cell]) -> Mapping[str, Seen]:
        """The state of all, by id, in one call; one that the engine does not know any more is left out."""
        ...

    async def end(self, cells: Mapping[str, Cell]) -> None:
        """End them, queued or running; one that is not there any more is no failure."""
        ...

    async def sweep(self) -> int:
        """End everything in the queue that bears this worker's name; how many."""
        ...

    async def close(self) -> None:
        """Let go."""
        ...


@dataclass(slots=True)
class _Running:
    cell: Cell
    answer: asyncio.Future[CellUse]
    asked: float = field(default_factory=time.monotonic)
    engine_id: str = ""
    began: float | None = None
    node: str = ""
    unknown_since: float | None = None


class QueueEngine:
    """Implements `Engine` on a `CellQueue`. One task submits what waits, one looks; each call is for many cells."""

    def __init__(
        self, queue: CellQueue, *, poll_s: float = 1.0, max_queue_s: float | None = None, batch: int = 500
    ) -> None:
        """``max_queue_s``: a cell that waited longer is given up. ``batch``: most cells of one submission."""
        self._queue = queue
        self._poll_s = poll_s
        self._max_queue_s = max_queue_s
        self._settle_s = max(10 * poll_s, 10.0)
        self._batch = batch
        self._waiting: list[_Running] = []
        self._running: dict[str, _Running] = {}
        self._wake = asyncio.Event()
        self._helpers: list[asyncio.Task[None]] = []
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        """What people call it."""
        return self._queue.name

    async def sweep(self) -> int:
        """End what a worker of this name left; see `Engine`."""
        return await self._queue.sweep()

    async def run(self, cell: Cell) -> CellUse:
        """Have the cell run; see `Engine`."""
        refusal = self._queue.refusal(cell)
        if refusal is not None:
            raise HostFailure(f"The cell cannot run on {self.name}: {refusal}.")
        if not self._helpers:
            self._helpers = [
                asyncio.create_task(self._submit_for_ever(), name=f"{self.name} submits"),
                asyncio.create_task(self._look_for_ever(), name=f"{self.name} looks"),
            ]
        running = _Running(cell, asyncio.get_running_loop().create_future())
        self._waiting.append(running)
        self._wake.set()
        try:
            return await running.answer
        finally:
            if running in self._waiting:
                self._waiting.remove(running)
            if self._running.pop(running.engine_id, None) is not None and not _answered(running):
                await self._end({running.engine_id: cell})

    async def close(self) -> None:
        """End every cell that is left; see `Engine`."""
        for task in self._helpers:
            task.cancel()
        await asyncio.gather(*self._helpers, return_exceptions=True)
        self._helpers = []
        left = {engine_id: running.cell for engine_id, running in self._running.items()}
        for running in (*self._waiting, *self._running.values()):
            if not running.answer.done():
                running.answer.set_exception(HostFailure(f"The engine {self.name} is closed."))
                running.answer.exception()
        self._waiting, self._running = [], {}
        if left:
            await self._end(left)
        if self._ending:
            await asyncio.wait(self._ending, timeout=_END_S)
        try:
            # What was just being submitted has no id here yet.
            await self._queue.sweep()
        except HostFailure as error:
            _log.warning("the queue cannot be swept", engine=self.name, reason=str(error))
        await self._queue.close()

    # --- submitting ---------------------------------------------------------------------------------------------

    async def _submit_for_ever(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(_GATHER_S)
            self._wake.clear()
            while self._waiting:
                taken, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
                try:
                    ids = await self._submitted([running.cell for running in taken])
                except Exception as error:
                    if not isinstance(error, HostFailure):
                        _log.exception("submitting failed", engine=self.name)
                    for running in taken:
                        _fail(running, f"{self.name} did not take the cell: {error}")
                    continue
                gone: dict[str, Cell] = {}
                for engine_id, running in zip(ids, taken, strict=True):
                    running.engine_id = engine_id
                    if running.answer.done():
                        gone[engine_id] = running.cell  # Cancelled while it was submitted.
                    else:
                        self._running[engine_id] = running
                if gone:
                    self._end_later(gone)

    async def _submitted(self, cells: Sequence[Cell]) -> list[str]:
        for attempt in itertools.count(1):
            try:
                return await self._queue.submit(cells)
            except HostFailure as error:
                if attempt == _TRIES:
                    raise
                _log.warning("submitting failed", engine=self.name, attempt=attempt, reason=str(error))
                await asyncio.sleep(attempt * self._poll_s)
        raise AssertionError

    # --- looking ------------------------------------------------------------------------------------------------

    async def _look_for_ever(self) -> None:
        silent = ""
        while True:
            await asyncio.sleep(self._poll_s)
            if not self._running:
                continue
            try:
                await self._look()
                silent = ""
            except Exception as error:
                # The engine's head restarts, or the network is away: cells go on without us, and so do we.
                if str(error) != silent:
                    silent = str(error)
                    _log.warning("the queue cannot be looked at", engine=self.name, reason=silent)

    async def _look(self) -> None:
        looked = dict(self._running)
        finished = await asyncio.to_thread(_with_outcome, looked)
        for engine_id in finished:
            self._done(engine_id)
        cells = {engine_id: running.cell for engine_id, running in looked.items() if engine_id not in finished}
        if not cells:
            return
        seen = await self._queue.look(cells)
        over = {}
        for engine_id in cells:
            running = self._running.get(engine_id)
            if running is not None:
                reason = self._judge(running, seen.get(engine_id))
                if reason is not None:
                    over[engine_id] = reason
        if not over:
            return
        # What the engine calls ended may have written its outcome since we looked.
        late = await asyncio.to_thread(_with_outcome, {name: looked[name] for name in over})
        for engine_id, reason in over.items():
            if engine_id in late:
                self._done(engine_id)
            else:
                running = self._running.pop(engine_id)
                _fail(running, reason)
                self._end_later({engine_id: running.cell})

    def _judge(self, running: _Running, seen: Seen | None) -> str | None:
        """Why a cell without an outcome is over; None while it may go on."""
        now, cell = time.monotonic(), running.cell
        where = f"{self.name} {running.engine_id}"
        if seen is not None and seen.state is SeenState.RUNNING:
            running.unknown_since = None
            running.began = running.began if running.began is not None else now
            running.node = seen.node or running.node
            longest = cell.limit_s + _OVERDUE_S
            return f"The cell ({where}) was not ended in time." if now > running.began + longest else None
        if seen is not None and seen.state is SeenState.WAITING:
            running.unknown_since = None
            if self._max_queue_s is not None and now > running.asked + self._max_queue_s:
                why = seen.text or "the engine gives no reason"
                return f"The cell ({where}) waited longer than {self._max_queue_s:.0f} s: {why}."
            return None
        if seen is not None and seen.state is SeenState.LOST:
            on = f" on {seen.node}" if seen.node else ""
            return f"The cell ({where}){on} ended without an outcome: {seen.text}. It can be run again."
        # Ended, or not known any more: its outcome may still be on its way through the shared file system.
        running.unknown_since = running.unknown_since if running.unknown_since is not None else now
        if now < running.unknown_since + self._settle_s:
            return None
        return (
            f"The cell ({where}) ended and left no outcome in {cell.folder}: the node was lost, or does not share the "
            f"worker's folder. It can be run again."
        )

    def _done(self, engine_id: str) -> None:
        running = self._running.pop(engine_id, None)
        if running is None or running.answer.done():
            return
        now, place = time.monotonic(), read_place(running.cell.folder)
        ran_s = place.ran_s if place is not None else now - (running.began or now)
        queued_s = max((running.began if running.began is not None else now - ran_s) - running.asked, 0.0)
        node = place.node if place is not None else running.node
        running.answer.set_result(CellUse(engine_id, node, queued_s, ran_s))

    # --- ending -------------------------------------------------------------------------------------------------

    async def _end(self, cells: Mapping[str, Cell]) -> None:
        task = self._end_later(cells)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(task), _END_S)

    def _end_later(self, cells: Mapping[str, Cell]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._ended(cells))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def _ended(self, cells: Mapping[str, Cell]) -> None:
        for attempt in range(1, _TRIES + 1):
            try:
                return await self._queue.end(cells)
            except Exception as error:
                _log.warning("cells not ended", engine=self.name, attempt=attempt, reason=str(error))
            await asyncio.sleep(attempt * self._poll_s)


def _answered(running: _Running) -> bool:
    return running.answer.done() and not running.answer.cancelled()


def _fail(running: _Running, reason: str) -> None:
    if not running.answer.done():
        running.answer.set_exception(HostFailure(reason))


def _with_outcome(running: Mapping[str, _Running]) -> Collection[str]:
    return {engine_id for engine_id, one in running.items() if has_outcome(one.cell.folder)}
