"""The calls of a run that have no end yet: who waits for which, and what ends it. No I/O; for any thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

from fairgrid.errors import RunInterrupted
from fairgrid.executors.calls import Call
from fairgrid.executors.capture import Captured
from fairgrid.executors.futures import CallFuture
from fairgrid.executors.packing import Task
from fairgrid.executors.record import DealPlan
from fairgrid.executors.results import CallResults
from fairgrid.protocol.certificate import Certificate

__all__ = ["CallCounts", "Intake", "OpenCalls"]


class Intake(Enum):
    """Whether there is something to do."""

    WAITING = auto()
    """Calls wait for a deal."""
    EMPTY = auto()
    """None does, and more may come: whoever adds one has to wake the dispatcher."""
    CLOSED = auto()
    """None does, and none will come."""


@dataclass(frozen=True, slots=True)
class CallCounts:
    """How many calls a run took, how many have an end, and how many of these are failures."""

    taken: int
    done: int
    failed: int
    elapsed_s: float
    """Since the first was taken."""


class OpenCalls:
    """Futures by the numbers of their calls, from the moment that a call is taken until its future is resolved."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._lock = threading.Lock()
        self._closed = False
        self._woken = False
        self._waiting: list[Call] = []
        self._futures: dict[int, CallFuture[Any]] = {}
        self._latest: dict[int, str] = {}
        self._parked: dict[int, tuple[CallResults, bytes, Call] | None] = {}
        self._captured: dict[int, Captured | None] = {}
        self._begun: float | None = None
        self._taken = 0
        self._failed = 0

    def recover(self, plans: Sequence[DealPlan]) -> dict[int, CallFuture[Any]]:
        """Take the calls of an earlier process, whose results are kept until they are claimed; gives their futures."""
        recovered: dict[int, CallFuture[Any]] = {}
        for plan in plans:
            for task in plan.tasks:
                for call in task:
                    self._latest[call.number] = plan.job.job_name
                    if call.number not in recovered:
                        future = recovered[call.number] = CallFuture[Any]()
                        future.set_running_or_notify_cancel()
                        self._parked[call.number] = None
        self._futures |= recovered
        self._taken = len(recovered)
        self._begun = time.monotonic() if recovered else None
        return recovered

    def add(self, call: Call, future: CallFuture[Any]) -> bool:
        """Take a call. True: the dispatcher must be woken; False: somebody did that already.

        Raises:
            RuntimeError: the executor was shut down.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._waiting.append(call)
            self._taken += 1
            self._begun = self._begun or time.monotonic()
            self._futures[call.number] = future
            wake = not self._woken
            self._woken = True
        return wake

    def claim(self, number: int, captured: Captured | None) -> None:
        """Somebody wants the result of a call of an earlier process; ``captured`` knows the classes in it."""
        with self._lock:
            parked = self._parked.pop(number, None)
            if parked is None:
                self._captured[number] = captured
                return
        results, line, call = parked
        self._resolve(number, *results.ending(line, replace(call, captured=captured)))

    def counts(self) -> CallCounts:
        """How far the calls are."""
        with self._lock:
            elapsed = 0.0 if self._begun is None else time.monotonic() - self._begun
            return CallCounts(self._taken, self._taken - len(self._futures), self._failed, elapsed)

    def close(self, *, cancel: bool) -> int:
        """Take no more; ``cancel`` drops what waits for a deal. Gives how many calls were dropped now."""
        with self._lock:
            self._closed = True
            dropped = [self._futures[call.number] for call in self._waiting] if cancel else []
        return sum(not future.cancelled() and future.cancel() for future in dropped)

    def abandon(self) -> int:
        """Take no more; gives how many have no end yet."""
        with self._lock:
            self._closed = True
            return sum(not future.done() for future in self._futures.values())

    def end(self, reason: str) -> None:
        """Nobody resolves futures any more: those that have no end yet get one, for this ``reason``."""
        with self._lock:
            self._closed = True
            left = list(self._futures.values())
            self._futures.clear()
            self._waiting.clear()
        for future in left:
            if future.cancel():
                # Else who waits for it would wait for ever: being cancelled is told only by this.
                future.set_running_or_notify_cancel()
            elif not future.done():
                future.set_exception(RunInterrupted(self._run_id, reason))

    # --- on their way into deals --------------------------------------------------------------------------------

    def intake(self) -> Intake:
        """Whether calls wait, or may come."""
        with self._lock:
            if self._waiting:
                return Intake.WAITING
            self._woken = False
            return Intake.CLOSED if self._closed else Intake.EMPTY

    @property
    def waiting(self) -> int:
        """How many calls wait for a deal."""
        return len(self._waiting)

    def take(self) -> list[Call]:
        """The calls that wait: from here on they are the dispatcher's."""
        with self._lock:
            calls, self._waiting = self._waiting, []
        return calls

    def begin(self, calls: Sequence[Call]) -> list[Call]:
        """Those of them that nobody cancelled; from here on nobody can."""
        return [call for call in calls if self._begins(call)]

    def _begins(self, call: Call) -> bool:
        with self._lock:
            begins = self._futures[call.number].set_running_or_notify_cancel()
            if not begins:
                del self._futures[call.number]
            return begins

    def plan(self, plan: DealPlan) -> None:
        """The calls of a plan are its own, but for those that a later plan has."""
        for task in plan.tasks:
            for call in task:
                self._latest.setdefault(call.number, plan.job.job_name)

    def owns(self, plan: DealPlan, task: Task) -> bool:
        """Whether no later plan has any call of this task."""
        return all(self._latest.get(call.number) == plan.job.job_name for call in task)

    def release(self, task: Task) -> None:
        """Another plan will have these calls."""
        for call in task:
            self._latest.pop(call.number, None)

    # --- to their ends ------------------------------------------------------------------------------------------

    def settled(self, task: Task, certify: Callable[[], Certificate]) -> None:
        """The network agreed on the task of these calls; ``certify`` proves it."""
        with self._lock:
            for call in task:
                future = self._futures.get(call.number)
                if future is not None:
                    future.settled(certify)

    def park(self, task: Task, results: CallResults, lines: Sequence[bytes]) -> list[tuple[bytes, Call]]:
        """Keep the results of calls that nobody claimed yet; gives the others, each with the line of its result."""
        with self._lock:
            parked = {call.number for call in task} & self._parked.keys()
            for call, line in zip(task, lines, strict=True):
                if call.number in parked:
                    self._parked[call.number] = (results, line, call)
            return [
                (line, replace(call, captured=self._captured[call.number]) if call.number in self._captured else call)
                for call, line in zip(task, lines, strict=True)
                if call.number not in parked
            ]

    def resolve(self, rest: Sequence[tuple[bytes, Call]], endings: Sequence[tuple[Any, BaseException | None]]) -> None:
        """Give calls that were claimed, or come from this process, their ends."""
        for (_, call), (value, error) in zip(rest, endings, strict=True):
            self._resolve(call.number, value, error)

    def _resolve(self, number: int, value: Any, error: BaseException | None) -> None:
        with self._lock:
            future = self._futures.pop(number, None)
        if future is None:
            return
        if error is not None:
            self._failed += 1
            future.set_exception(error)
        else:
            future.set_result(value)

    def fail(self, calls: Sequence[Call], error: BaseException, *, of: DealPlan | None = None) -> None:
        """Give calls an exception; of those of a plan, only to the ones that no later plan has."""
        for call in calls:
            if of is None or self._latest.get(call.number) == of.job.job_name:
                with self._lock:
                    future = self._futures.pop(call.number, None)
                if future is not None and (future.running() or future.set_running_or_notify_cancel()):
                    self._failed += 1
                    future.set_exception(error)
