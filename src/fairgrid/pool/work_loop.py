"""The scheduler's heartbeat: events are handled in groups, written in one transaction each, and only then acted upon.

While one group is written, on a thread, the next one is handled: what came meanwhile is one group again. Of what came
while nobody wrote, half is one group and the rest the next, so that neither the interpreter nor the disk waits for the
other. What a group led to is released when the commit that holds it is done, in order; should a commit fail, nothing of
it or after it was released, and the process ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Protocol

import structlog

from fairgrid.pool.commits import commit_of
from fairgrid.pool.core.accounts import Account, Correction
from fairgrid.pool.core.events import Event, WorkerReady
from fairgrid.pool.core.instructions import Instruction
from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.phases import InvalidTransition
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.onchain.watcher import Position
from fairgrid.pool.records.rows import Commit

__all__ = ["MOST_EVENTS", "WorkLoop"]

_log = structlog.get_logger(__name__)

MOST_EVENTS = 500
"""Events of one group: they are handled without letting anybody else on."""
_LEAST_EVENTS = 50
"""So many are handled at once before anything is written, however little else is to be done meanwhile."""
_ATTEMPTS = 100


class _Store(Protocol):
    def commit(self, commit: Commit, *, handed: Callable[[], None]) -> None: ...


class WorkLoop:
    """One queue of events for one machine and one store."""

    def __init__(
        self,
        *,
        machine: PoolMachine,
        store: _Store,
        now: Callable[[], float],
        act: Callable[[Sequence[Instruction]], None],
        invalid: Callable[[str], None],
        offended: Callable[[Event], bool],
        handled: Callable[[Sequence[Event], Commit], None],
        committing: Callable[[], AbstractContextManager[None]] = nullcontext,
        account: Callable[[TaskState], Iterable[Account]] | None = None,
        corrected: Callable[[Correction], None] | None = None,
    ) -> None:
        """``act`` does what was decided. ``invalid`` has a task compared with the chain. ``offended`` is told of an
        event that could not be taken at all, and says False if it was nobody's word: then the loop ends. ``handled`` is
        told of all events of a group and of what they led to, before it is written; ``committing`` goes around that.
        ``account`` gives what a task that is over adds to the accounts, ``corrected`` is told of what it adds no more.
        """
        self._machine = machine
        self._store = store
        self._now = now
        self._act = act
        self._invalid = invalid
        self._offended = offended
        self._told = handled
        self._committing = committing
        self._account = account
        self._corrected = corrected
        self._batch: list[Event] = []
        self._queue: deque[Event | Position] = deque()
        self._unfinished = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stirred = asyncio.Event()
        self._events: list[Event] = []
        self._position: int | None = None
        self._handled = 0
        self._began = 0.0

    @property
    def queued(self) -> int:
        """How much nobody has looked at yet."""
        return len(self._queue)

    def feed(self, event: Event | Position) -> None:
        """Queue an event, or the word that every event of the chain up to a block was queued."""
        self._queue.append(event)
        self._unfinished += 1
        self._idle.clear()
        self._stirred.set()

    async def join(self) -> None:
        """Wait until everything queued was taken, written and acted upon."""
        await self._idle.wait()

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            Exception: what the store raised; nothing that was not written has happened.
        """
        writing: asyncio.Task[None] | None = None
        try:
            while True:
                await self._stirred.wait()
                self._stirred.clear()
                if writing is not None and writing.done():
                    writing.result()
                    writing = None
                if writing is None and not self._handled:
                    # Half of it goes to the database at once; the other half is handled while that is written.
                    self._handle_some(max(len(self._queue) // 2, _LEAST_EVENTS))
                if writing is None and self._handled:
                    commit, count = self._group()
                    if commit.is_empty:  # Most heartbeats and ticks lead to nothing.
                        self._finish(commit, count)
                    else:
                        handed = asyncio.Event()
                        writing = asyncio.create_task(self._write(commit, count, handed))
                        writing.add_done_callback(partial(self._wrote, handed))
                        # The thread needs the interpreter for the database's statements; for its word that all is on
                        # the disk it does not: only then the next events are handled.
                        await handed.wait()
                elif writing is not None:
                    self._handle_some(MOST_EVENTS)
                if self._handled < MOST_EVENTS and self._queue:
                    self._stirred.set()
                # Others have their turn, however much is queued.
                await asyncio.sleep(0)
        finally:
            if writing is not None:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)

    def _wrote(self, handed: asyncio.Event, _: object) -> None:
        handed.set()
        self._stirred.set()

    def _handle_some(self, most: int) -> None:
        """Handle what is queued, as far as there is room in this group for ``most``, and for `MOST_EVENTS`."""
        now, before = self._now(), self._handled
        if not before:
            self._began = now
        most = min(most, MOST_EVENTS)
        while self._handled < most and self._queue:
            item = self._queue.popleft()
            self._handled += 1
            if isinstance(item, Position):
                self._position = item.block_number
            else:
                self._batch.append(item)
                self._take(item, now)
        if self._handled == before:
            return
        for _ in range(_ATTEMPTS):
            try:
                self._machine.settle(now=now)
                return
            except InvalidTransition as error:
                self._misfit(error)

    def _take(self, event: Event, now: float) -> None:
        try:
            led_to_something = self._machine.take(event, now=now)
        except InvalidTransition as error:
            self._misfit(error)
        except Exception:
            if not self._offended(event):
                raise
        else:
            # Who is ready may get work when the group is settled.
            if led_to_something or isinstance(event, WorkerReady):
                self._events.append(event)

    def _misfit(self, error: InvalidTransition) -> None:
        _log.warning("an event does not fit; the task is compared with the chain", reason=str(error))
        self._invalid(error.task_id)

    def _group(self) -> tuple[Commit, int]:
        """All that was handled since the last group, as one commit; and of how many items of the queue."""
        commit = commit_of(
            self._machine.outcome(),
            self._events,
            at=self._began,
            position=self._position,
            account=self._account,
            corrected=self._corrected,
        )
        self._told(self._batch, commit)
        count = self._handled
        self._batch = []
        self._events, self._position, self._handled = [], None, 0
        return commit, count

    async def _write(self, commit: Commit, count: int, handed: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()

        def tell() -> None:
            # If nobody waits any more: what is being written is written all the same.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(handed.set)

        with self._committing():
            await asyncio.to_thread(self._store.commit, commit, handed=tell)
        self._finish(commit, count)

    def _finish(self, commit: Commit, count: int) -> None:
        self._act(commit.instructions)
        self._unfinished -= count
        if not self._unfinished:
            self._idle.set()
