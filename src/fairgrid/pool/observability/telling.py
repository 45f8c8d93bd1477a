"""What is told of each group of events: counted, added to the accounts, traced, and logged for who looks closely."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import structlog

from fairgrid.pool.core.accounts import Account, Correction, accounts_of
from fairgrid.pool.core.events import Event, SealReceived
from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.observability.dashboard import Totals
from fairgrid.pool.observability.meter import PoolMeter
from fairgrid.pool.observability.task_trace import keys_of_trace, trace_task
from fairgrid.pool.records.rows import Commit
from fairgrid.seams import tracing

__all__ = ["GroupTeller"]

_log = structlog.get_logger(__name__)
_debug_log = logging.getLogger(__name__)


class GroupTeller:
    """Told of each group before it is written, and of each task when nothing more is expected of it."""

    def __init__(
        self,
        *,
        machine: PoolMachine,
        meter: PoolMeter,
        workerpool: str,
        sealed: Callable[[SealReceived], None],
        start: Callable[[Coroutine[Any, Any, None]], None],
        hashes: Callable[[Sequence[str]], Coroutine[Any, Any, Mapping[str, str]]],
    ) -> None:
        """``sealed`` is told of each seal. ``start`` has something done beside the loop; ``hashes`` gives those of the
        transactions that carried out what these keys name.
        """
        self._machine = machine
        self._meter = meter
        self._workerpool = workerpool
        self._sealed = sealed
        self._start = start
        self._hashes = hashes
        self._untold: list[TaskState] = []
        self.totals = Totals()

    def account(self, task: TaskState) -> list[Account]:
        """What a task that is over adds to the accounts."""
        if tracing.active():
            self._untold.append(task)
        accounts = accounts_of(task, self._workerpool)
        self.totals.add(accounts)
        return accounts

    def corrected(self, correction: Correction) -> None:
        """A task adds no more what it added."""
        self.totals.add(account.negated() for account in correction.accounts)

    def handled(self, events: Sequence[Event], commit: Commit) -> None:
        """Tell of a group, and of what it led to."""
        for event in events:
            if isinstance(event, SealReceived):
                self._sealed(event)
        self._meter.took(events, commit, self._machine.tasks)
        if self._untold:
            self._start(self._trace(self._untold))
            self._untold = []
        if commit.lines and _debug_log.isEnabledFor(logging.DEBUG):
            for line in commit.lines:
                task = self._machine.tasks.get(line.task_id)
                deal_id = task.deal.deal_id if task else ""
                _log.debug(line.text, task=line.task_id, deal=deal_id, worker=line.worker)

    async def _trace(self, tasks: Sequence[TaskState]) -> None:
        hashes = await self._hashes([key for task in tasks for key in keys_of_trace(task)])
        for task in tasks:
            trace_task(task, hashes)
