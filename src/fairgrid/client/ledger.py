"""What became of each task of a bag, by the hub's events alone: which run settled it, or that it was refunded.

Events may come twice, and be undone by a reorganisation: what is derived is derived from those that stand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fairgrid.chain.interface import ChainEvent
from fairgrid.client.settlement import Payment
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.views import Deal

__all__ = ["Bag", "BagLedger", "SettledRun"]

_OF_RUNS = ("RunOpen", "RunSplit", "RunFinalize", "TaskContribute", "TaskReveal", "TaskReopen", "TaskClaimed")
_OF_TASKS = ("TaskInitialize", "TaskContribute", "TaskReveal", "TaskReopen", "TaskFinalize", "TaskClaimed")
_MONEY = ("Reward", "Seize")


@dataclass(frozen=True, slots=True)
class SettledRun:
    """A run that was finalized: tasks ``first`` to ``first + count - 1``, settled as one."""

    run_id: str
    first: int
    count: int
    root: str
    results: bytes
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bag:
    """How far a bag is. Indexes are those of the deal; ``open_runs`` are (run id, first, count)."""

    size: int
    runs: tuple[SettledRun, ...]
    tasks: tuple[int, ...]
    """Indexes that were finalized one by one, in the classic lane."""
    refunded: tuple[int, ...]
    open_runs: tuple[tuple[str, int, int], ...]

    @property
    def completed(self) -> int:
        """How many tasks have a result."""
        return sum(run.count for run in self.runs) + len(self.tasks)

    @property
    def is_over(self) -> bool:
        """Nothing more will happen to it."""
        return self.completed + len(self.refunded) >= self.size

    def run_of(self, index: int) -> SettledRun | None:
        """The settled run that holds a task; None if there is none."""
        return next((run for run in self.runs if run.first <= index < run.first + run.count), None)


_FUNCTIONS = {
    "RunSplit": "splitRun",
    "RunFinalize": "finalizeRun",
    "RunOpen": "openRun",
    "TaskInitialize": "initialize",
    "TaskContribute": "contribute",
    "TaskReveal": "reveal",
    "TaskReopen": "reopen",
    "TaskFinalize": "finalize",
    "TaskClaimed": "claim",
    "DealRefund": "refundRest",
}


def _function(names: set[str]) -> str:
    if {"RunOpen", "RunFinalize"} <= names:
        return "settleRun"
    return next(function for event, function in _FUNCTIONS.items() if event in names)


class BagLedger:
    """Takes the hub's events from the block of the deal on."""

    def __init__(self, deal_id: str, deal: Deal) -> None:
        self._deal_id = deal_id
        self._indexes = {
            task_id(deal_id, index): index for index in range(deal.bot_first, deal.bot_first + deal.bot_size)
        }
        self._events: dict[tuple[str, int], ChainEvent] = {}
        self._bag: Bag | None = None

    def take(self, event: ChainEvent) -> None:
        """Take one event, or the undoing of one."""
        if event.name not in (*_OF_RUNS, *_OF_TASKS, *_MONEY, "DealRefund"):
            return
        key = (event.block_hash, event.log_index)
        if event.removed:
            self._events.pop(key, None)
        else:
            self._events[key] = event
        self._bag = None

    def bag(self) -> Bag:
        """What stands now."""
        if self._bag is None:
            self._bag = self._derive()
        return self._bag

    def payments(self) -> list[Payment]:
        """Money that each account gained and lost by the bag."""
        refs = {self._deal_id, *self._indexes, *self._opened()}
        rewarded: dict[str, int] = {}
        seized: dict[str, int] = {}
        for event in self._events.values():
            if event.name in _MONEY and event.arguments["ref"] in refs:
                book = rewarded if event.name == "Reward" else seized
                owner = event.arguments["owner"]
                book[owner] = book.get(owner, 0) + event.arguments["amount"]
        accounts = dict.fromkeys([*seized, *rewarded])
        return [Payment(account, rewarded.get(account, 0), seized.get(account, 0)) for account in accounts]

    def transactions(self) -> dict[str, str]:
        """The transactions of the bag's life by hash, each with the function that it called."""
        runs = self._opened()
        found: dict[str, set[str]] = {}
        for event in self._events.values():
            given = event.arguments
            unit = given.get("runid") or given.get("taskid")
            if given.get("dealid") == self._deal_id or unit in runs or unit in self._indexes:
                found.setdefault(event.tx_hash, set()).add(event.name)
        return {tx_hash: _function(names) for tx_hash, names in found.items()}

    def _opened(self) -> dict[str, tuple[int, int]]:
        return {
            event.arguments["runid"]: (event.arguments["first"], event.arguments["count"])
            for event in self._named("RunOpen")
            if event.arguments["dealid"] == self._deal_id
        }

    def _derive(self) -> Bag:
        opened = self._opened()
        split = {event.arguments["runid"] for event in self._named("RunSplit")}
        claimed = {event.arguments["taskid"] for event in self._named("TaskClaimed")}
        runs = {
            event.arguments["runid"]: SettledRun(
                run_id=event.arguments["runid"],
                first=opened[event.arguments["runid"]][0],
                count=event.arguments["count"],
                root=event.arguments["root"],
                results=event.arguments["results"],
                workers=tuple(event.arguments["workers"]),
            )
            for event in self._named("RunFinalize")
            if event.arguments["runid"] in opened
        }
        refunded = {self._indexes[taskid] for taskid in claimed if taskid in self._indexes}
        for run_id, (first, count) in opened.items():
            if run_id in claimed:
                refunded.update(range(first, first + count))
        for event in self._named("DealRefund"):
            if event.arguments["dealid"] == self._deal_id:
                first = event.arguments["first"]
                refunded.update(range(first, first + event.arguments["count"]))
        finalized = {event.arguments["taskid"] for event in self._named("TaskFinalize")}
        return Bag(
            size=len(self._indexes),
            runs=tuple(sorted(runs.values(), key=lambda run: run.first)),
            tasks=tuple(sorted(self._indexes[taskid] for taskid in finalized if taskid in self._indexes)),
            refunded=tuple(sorted(refunded)),
            open_runs=tuple(
                (run_id, first, count)
                for run_id, (first, count) in opened.items()
                if run_id not in runs and run_id not in split and run_id not in claimed
            ),
        )

    def _named(self, name: str) -> Iterable[ChainEvent]:
        return (event for event in self._events.values() if event.name == name)
