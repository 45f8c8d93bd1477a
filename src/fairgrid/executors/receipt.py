"""Pure: what a run may spend, has spent and gets back. Amounts are whole nRLC; 1 RLC is 1,000,000,000 nRLC."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from typing import Final

from fairgrid.errors import BudgetExceeded, UsageError
from fairgrid.protocol.amounts import format_amount, parse_rlc

__all__ = ["DealLine", "Purse", "Receipt", "parse_budget"]


def parse_budget(amount: str | int) -> int:
    """The nRLC of a budget: an amount as `parse_rlc` reads it, or a whole number of nRLC.

    Raises:
        UsageError: it is none of these.
    """
    if isinstance(amount, int) and not isinstance(amount, bool) and amount >= 0:
        return amount
    if isinstance(amount, str):
        return parse_rlc(amount, "The budget")
    raise UsageError(f"{amount!r} is not a budget. Give one such as '2 RLC' or '500 nRLC', or a whole number of nRLC.")


@dataclass(frozen=True, slots=True)
class DealLine:
    """One deal of a run. Of ``tasks``, some are ``completed`` (paid for), some ``refunded``, the rest still open."""

    job_name: str
    deal_id: str
    tasks: int
    calls: int
    price: int
    """Of all its tasks together (nRLC)."""
    completed: int = 0
    refunded: int = 0

    @property
    def spent_nrlc(self) -> int:
        """What was paid for results."""
        return self.price // self.tasks * self.completed

    @property
    def refunded_nrlc(self) -> int:
        """What came back."""
        return self.price // self.tasks * self.refunded

    @property
    def open_nrlc(self) -> int:
        """What is locked."""
        return self.price - self.spent_nrlc - self.refunded_nrlc


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a run cost. ``signed = spent + refunded + open``, and ``budget = spent + open + left``, to the nRLC."""

    run_id: str
    budget: int
    deals: tuple[DealLine, ...]
    environment: str = ""
    """Hash of the lock of the packages that travelled along (`Environment.lock_hash`); empty: there were none."""

    @property
    def signed(self) -> int:
        """All that was ever locked."""
        return sum(deal.price for deal in self.deals)

    @property
    def spent(self) -> int:
        """What was paid for results."""
        return sum(deal.spent_nrlc for deal in self.deals)

    @property
    def refunded(self) -> int:
        """What came back."""
        return sum(deal.refunded_nrlc for deal in self.deals)

    @property
    def open(self) -> int:
        """What is locked in deals that go on."""
        return sum(deal.open_nrlc for deal in self.deals)

    @property
    def left(self) -> int:
        """What may still be signed."""
        return self.budget - self.spent - self.open

    def to_csv(self) -> str:
        """A line for each deal, and their sum; the last column has the environment."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = ("tasks", "calls", "price", "completed", "refunded", "spent_nrlc", "refunded_nrlc", "open_nrlc")
        writer.writerow(("run_id", "job_name", "deal_id", *names, "environment"))
        rows = [[getattr(deal, name) for name in names] for deal in self.deals]
        for deal, row in zip(self.deals, rows, strict=True):
            writer.writerow((self.run_id, deal.job_name, deal.deal_id, *row, self.environment))
        sums = [sum(column) for column in zip(*rows, strict=True)] or [0] * len(names)
        writer.writerow((self.run_id, "total", "", *sums, self.environment))
        return text.getvalue()

    def __str__(self) -> str:
        tasks = sum(deal.tasks for deal in self.deals)
        calls = sum(deal.calls for deal in self.deals)
        return (
            f"run {self.run_id}: {calls} calls in {tasks} tasks of {len(self.deals)} deals; "
            f"{format_amount(self.spent)} spent, {format_amount(self.refunded)} back, "
            f"{format_amount(self.open)} locked, {format_amount(self.left)} of {format_amount(self.budget)} left"
            f"{f'; environment {self.environment}' if self.environment else ''}"
        )


class Purse:
    """A hard cap: nothing is signed that it does not cover."""

    def __init__(self, run_id: str, budget: int, *, environment: str = "") -> None:
        self._run_id = run_id
        self._environment = environment
        self._budget = budget
        self._deals: dict[str, DealLine] = {}

    @property
    def left(self) -> int:
        """What may still be signed (nRLC)."""
        return self.receipt().left

    def affordable(self, price: int) -> int:
        """How many tasks of this price."""
        return self.left // price if price else MANY

    def check(self, needed: int) -> None:
        """Make sure that a price can be signed.

        Raises:
            BudgetExceeded: it cannot.
        """
        if needed > self.left:
            raise BudgetExceeded(needed=needed, left=self.left, budget=self._budget)

    def deal_id(self, job_name: str) -> str:
        """Of a signed deal."""
        return self._deals[job_name].deal_id

    def signed(self, line: DealLine) -> None:
        """A deal was signed."""
        self._deals[line.job_name] = line

    def void(self, job_name: str) -> None:
        """A signed deal never came to be: nothing was locked, and nothing ever will be."""
        self._deals.pop(job_name, None)

    def completed(self, job_name: str, tasks: int = 1) -> None:
        """Tasks were paid for."""
        line = self._deals[job_name]
        self._deals[job_name] = replace(line, completed=line.completed + tasks)

    def refunded(self, job_name: str, tasks: int = 1) -> None:
        """The money of tasks came back."""
        line = self._deals[job_name]
        self._deals[job_name] = replace(line, refunded=line.refunded + tasks)

    def receipt(self) -> Receipt:
        """What stands now."""
        return Receipt(self._run_id, self._budget, tuple(self._deals.values()), self._environment)


MANY: Final = 1 << 62
"""Tasks that cost nothing can be had without end."""
