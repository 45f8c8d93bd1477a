"""Pure: how far a run is, for people and programs."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass

from fairgrid.executors.receipt import Receipt
from fairgrid.protocol.amounts import format_amount

__all__ = ["OnRunProgress", "RunProgress", "progress_of"]


@dataclass(frozen=True, slots=True)
class RunProgress:
    """One look at a run. Amounts are nRLC, times seconds."""

    run_id: str
    calls: int
    """That were made so far."""
    done: int
    """That have a result, an exception, or were cancelled."""
    failed: int
    """Those of them with an exception."""
    tasks: int
    """In signed deals."""
    tasks_done: int
    budget: int
    spent: int
    locked: int
    """In deals that go on."""
    elapsed_s: float
    """Since the first call."""
    eta_s: float | None
    """About how long until all calls of now are done, by the pace so far; None while nothing is done."""
    over: bool = False
    """The last look: nothing happens any more."""

    @property
    def fraction(self) -> float:
        """Between 0 and 1."""
        return self.done / self.calls if self.calls else 0.0

    def __str__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        rest = "" if self.eta_s is None or self.done == self.calls else f", about {_time(self.eta_s)} left"
        return (
            f"{self.done} of {self.calls} calls{failed}; {self.tasks_done} of {self.tasks} tasks; "
            f"{format_amount(self.spent)} spent, {format_amount(self.locked)} locked of {format_amount(self.budget)}; "
            f"{_time(self.elapsed_s)}{rest}"
        )

    def _repr_html_(self) -> str:
        return (
            f"<div><b>{html.escape(self.run_id)}</b><br>"
            f'<progress value="{self.done}" max="{max(self.calls, 1)}"></progress> {html.escape(str(self))}</div>'
        )


OnRunProgress = Callable[[RunProgress], None]
"""Is told when something changed, and once at the end. Called from the executor's own thread: return soon."""


def progress_of(
    receipt: Receipt, calls: int, done: int, failed: int, *, elapsed_s: float, over: bool = False
) -> RunProgress:
    """How far a run is by its money and its calls."""
    return RunProgress(
        receipt.run_id,
        calls,
        done,
        failed,
        tasks=sum(deal.tasks for deal in receipt.deals),
        tasks_done=sum(deal.completed + deal.refunded for deal in receipt.deals),
        budget=receipt.budget,
        spent=receipt.spent,
        locked=receipt.open,
        elapsed_s=elapsed_s,
        eta_s=elapsed_s / done * (calls - done) if done else None,
        over=over,
    )


def _time(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3_600} h {whole % 3_600 // 60} min"
