"""Deals come, come again after a reorganisation, are taken back; and runs of them are opened."""

from __future__ import annotations

from msgspec.structs import replace

from fairgrid.pool.core import bags as bags_of
from fairgrid.pool.core import chain_facts, progress, runs, settlement, unopened
from fairgrid.pool.core.book import Book
from fairgrid.pool.core.burdens import DealRecord
from fairgrid.pool.core.deal_terms import Bag
from fairgrid.pool.core.events import (
    DealMatched,
    DealUndone,
    RunOpened,
    RunSettledAtOnce,
    TaskInitialized,
    TaskSettledAtOnce,
)
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.task_facts import ChainFacts
from fairgrid.pool.core.task_state import TaskState
from fairgrid.protocol.views import TaskStatus

__all__ = ["matched", "run_opened", "run_settled", "undone"]


def matched(book: Book, event: DealMatched) -> None:
    """A deal may come twice, or again after a reorganisation, then with other deadlines."""
    bag = book.bags.get(event.deal.deal_id)
    if bag is None:
        bag = Bag(event.deal, event.bot_first, event.bot_size, book.now)
        book.bags[event.deal.deal_id] = bag
        book.deals.setdefault(event.deal.deal_id, DealRecord())
        book.touch_bag(bag)
    else:
        bags_of.matched_again(book, bag, event)
        for task_id in list(book.deals[bag.deal.deal_id].tasks):
            _matched_again(book, book.tasks[task_id], bag)
    bags_of.enqueue(book, bag)


def run_opened(book: Book, event: RunOpened) -> None:
    task = _run_of(book, event)
    if task is None:
        return
    chain_facts.take(book, task, TaskInitialized(event.task_id))
    progress.advance(book, task)


def run_settled(book: Book, event: RunSettledAtOnce) -> None:
    task = _run_of(book, event)
    if task is None:
        return
    chain_facts.take(book, task, TaskSettledAtOnce(event.task_id, event.worker, event.result_hash, event.digest))
    progress.advance(book, task)


def _run_of(book: Book, event: RunOpened | RunSettledAtOnce) -> TaskState | None:
    """The run that the chain opened; it may be one that the pool did not mean to open."""
    bag = book.bags.get(event.deal_id)
    task = book.tasks.get(event.task_id)
    if bag is not None:
        for other in unopened.displaced(book, bag, event.task_id, event.first, event.count):
            settlement.finish(book, other, Phase.FAILED)
        if task is None:
            task = runs.opened(book, bag, event.first, event.count)
        bags_of.enqueue(book, bag)
    if task is None:
        return None
    if task.parent and task.phase is Phase.ABANDONED and task.facts.status is TaskStatus.UNSET:
        book.reconciling = True
        book.enter(task, Phase.RECEIVED, "The split is back.")
    elif task.phase is Phase.FAILED and task.facts.status is TaskStatus.UNSET:
        # The deadline passed while its opening was under way: it was mined after all, and is refunded on its own.
        book.reconciling = True
        book.enter(task, Phase.RECEIVED, "The chain opened it.")
    return task


def _matched_again(book: Book, task: TaskState, bag: Bag) -> None:
    deal = bag.deal if task.index < bag.first + bag.size else replace(bag.deal, undone=True)
    if task.deal == deal or task.is_final:
        return
    revived = task.deal.undone and not deal.undone
    book.replace_deal(task, deal)
    book.tell(task, "Its deal was matched again after a reorganisation.")
    if revived and task.phase is Phase.ABANDONED:
        book.reconciling = True
        book.enter(task, Phase.RECEIVED, "The deal is back.")
        if deal.waits and not task.is_rest and book.chain_time < deal.final_deadline:
            book.hold(task)
    progress.advance(book, task)


def undone(book: Book, event: DealUndone) -> None:
    bag, record = book.bags.get(event.deal_id), book.deals.get(event.deal_id)
    if bag is not None:
        bags_of.undone(book, bag)
    for task_id in list(record.tasks) if record else ():
        task = book.tasks[task_id]
        if not task.is_final:
            book.replace_deal(task, replace(task.deal, undone=True))
            task.facts = ChainFacts()
            book.forget_step(task, "initialize", "openrun")
            book.tell(task, "A reorganisation took its deal back.")
            progress.advance(book, task)
