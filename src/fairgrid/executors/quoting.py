"""Pure: what a whole sweep will cost, before anything is signed."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from fairgrid.executors.backend import Terms
from fairgrid.executors.packing import MAX_DEAL_TASKS, Packing, Task
from fairgrid.executors.verification import explain
from fairgrid.protocol.amounts import format_amount

__all__ = ["SweepQuote", "quote_of", "workers_for_trust"]


@dataclass(frozen=True, slots=True)
class SweepQuote:
    """The price of some calls at this moment's orders. Nothing was signed, and orders may change until it is.

    Amounts are nRLC. ``runtime`` names the interpreter that the calls are computed in.
    """

    calls: int
    tasks: int
    deals: int
    price_per_task: int
    budget_left: int
    """What the run may still sign."""
    escrow: int
    """What the account has in escrow, free to spend."""
    trust: int
    """The integer that the deals carry: a wrong result is agreed on with a chance of at most 1 in so many."""
    workers_per_task: int
    """At least so many workers of different owners agree on each task, at the weights of those connected now."""
    workers: int
    """Connected to the pool now."""
    batch: bool
    """Whether tasks are settled in runs, in the batch lane."""
    compute_seconds: float
    """What all calls compute together, once each, as far as somebody said (`remote(seconds=)`, `Packing`)."""
    wall_seconds: float
    """About how long the computing takes with the workers of now; settling comes on top."""
    runtime: str
    explanation: str = ""
    """What a result is worth, and by whom; as `Executor.explain`."""

    @property
    def total(self) -> int:
        """All tasks together."""
        return self.price_per_task * self.tasks

    @property
    def deposit(self) -> int:
        """What goes from the wallet into escrow before the deals are made."""
        return max(0, self.total - self.escrow)

    @property
    def is_covered(self) -> bool:
        """Whether the budget covers it; calls beyond the budget would get `BudgetExceeded`."""
        return self.total <= self.budget_left

    def rows(self) -> tuple[tuple[str, str], ...]:
        """What is said of it, line by line."""
        lane = ", in runs" if self.batch else ""
        after = f"leaves {format_amount(self.budget_left - self.total)}" if self.is_covered else "is NOT covered by"
        left = f"{after} of the {format_amount(self.budget_left)} that may be signed"
        if self.trust > 1:
            sure = f"1 in {self.trust} at most that a wrong result is agreed on; "
        else:
            sure = "none asked for: one worker's word counts; "
        return (
            ("calls", f"{self.calls} in {self.tasks} tasks of {self.deals} deals{lane}"),
            ("price", f"{format_amount(self.price_per_task)} a task, {format_amount(self.total)} together; {left}"),
            ("escrow", f"{format_amount(self.escrow)} there, {format_amount(self.deposit)} to be deposited first"),
            ("trust", f"{sure}{self.workers_per_task} or more workers a task, {self.workers} are connected"),
            ("time", f"about {self.wall_seconds:.0f} s of computing, {self.compute_seconds:.0f} s if one machine did"),
            ("runtime", self.runtime),
        )

    def __str__(self) -> str:
        return "\n".join(f"{name + ':':9} {text}" for name, text in self.rows())

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in self.rows())
        return f"<table>{rows}</table>"


def workers_for_trust(weights: Sequence[int], trust: int) -> int:
    """The fewest workers of these weights that reach a trust if they agree; all of them if not even all do."""
    reached = 1
    for count, weight in enumerate(sorted(weights, reverse=True), 1):
        reached *= weight
        if reached >= trust:
            return count
    return max(1, len(weights))


def quote_of(tasks: tuple[Task, ...], terms: Terms, packing: Packing, *, budget_left: int) -> SweepQuote:
    """Price the tasks of a sweep by the terms of one of them."""
    seconds = [sum(call.seconds or packing.call_seconds for call in task) for task in tasks]
    at_once = max(1, terms.workers // max(1, terms.workers_per_task))
    return SweepQuote(
        calls=sum(len(task) for task in tasks),
        tasks=len(tasks),
        deals=math.ceil(len(tasks) / MAX_DEAL_TASKS),
        price_per_task=terms.price,
        budget_left=budget_left,
        escrow=terms.escrow,
        trust=terms.trust,
        workers_per_task=terms.workers_per_task,
        workers=terms.workers,
        batch=terms.batch,
        compute_seconds=sum(seconds),
        wall_seconds=max(max(seconds, default=0.0), sum(seconds) / at_once),
        runtime=terms.runtime,
        explanation=explain(terms),
    )
