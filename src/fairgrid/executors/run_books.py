"""What a run signed, what came of it, and what may still be signed. No I/O; for any thread."""

from __future__ import annotations

import threading

from fairgrid.executors.backend import SignedDeal, TaskEnding
from fairgrid.executors.receipt import DealLine, Purse, Receipt
from fairgrid.executors.record import DealPlan, RunRecord

__all__ = ["RunBooks"]


class RunBooks:
    """The purse of a run and the tasks that settled, under one lock."""

    def __init__(self, record: RunRecord, budget: int) -> None:
        environment = (record.facts.get("environment") or {}).get("hash", "")
        self._lock = threading.Lock()
        self._purse = Purse(record.run_id, budget, environment=environment)
        self._places: dict[tuple[str, int], None] = {}

    def receipt(self) -> Receipt:
        """What the run cost so far."""
        with self._lock:
            return self._purse.receipt()

    def settled_tasks(self) -> list[tuple[str, int]]:
        """Deal and index, from the deal's first, of every task that ended with an agreed result, so far."""
        with self._lock:
            return sorted(self._places)

    @property
    def left(self) -> int:
        """What may still be signed (nRLC)."""
        with self._lock:
            return self._purse.left

    def affordable(self, price: int) -> int:
        """How many tasks of this price may still be signed."""
        with self._lock:
            return self._purse.affordable(price)

    def check(self, price: int) -> None:
        """Make sure that a task of this price can be signed.

        Raises:
            BudgetExceeded: it cannot.
        """
        with self._lock:
            self._purse.check(price)

    def signed(self, plan: DealPlan, deal: SignedDeal) -> None:
        """The deal of a plan was signed: its price is locked."""
        line = DealLine(deal.job_name, deal.deal_id, tasks=deal.tasks, calls=plan.calls, price=deal.price)
        with self._lock:
            self._purse.signed(line)

    def void(self, plan: DealPlan) -> None:
        """The signed deal of a plan never came to be."""
        with self._lock:
            self._purse.void(plan.job.job_name)

    def ended(self, plan: DealPlan, ending: TaskEnding) -> tuple[str, int] | None:
        """A task ended: it is paid, or its money is back. Gives its deal and index if it has an agreed result."""
        name = plan.job.job_name
        with self._lock:
            (self._purse.refunded if ending.refunded else self._purse.completed)(name)
            if ending.refunded or ending.failure is not None:
                return None
            place = (self._purse.deal_id(name), ending.index)
            self._places[place] = None
            return place
