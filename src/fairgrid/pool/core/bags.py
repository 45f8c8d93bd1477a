"""Bags of tasks: a deal is one record with a cursor, and a task begins when there is room to work on it.

A deal that cannot be worked on (the pool cannot serve it, or it is too late) keeps its tasks as numbers until its final
deadline; then they begin, a bounded number at a time, only to be refunded.
"""

from __future__ import annotations

from msgspec.structs import replace

from fairgrid.pool.core import runs
from fairgrid.pool.core.book import Book
from fairgrid.pool.core.deal_terms import Bag
from fairgrid.pool.core.events import DealMatched
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.task_state import TaskState
from fairgrid.protocol.ids import task_id as id_of_task

__all__ = ["begin_next", "bring_back", "enqueue", "first_line", "matched_again", "undone"]


def first_line(bag: Bag) -> str:
    """What the story of each of its tasks begins with."""
    return f"{Phase.RECEIVED.value}: Its deal was matched with trust {bag.deal.trust}."


def enqueue(book: Book, bag: Bag) -> None:
    """Put a deal where it belongs now: among those with tasks to work on, or to refund, or aside until a deadline."""
    deal = bag.deal
    book.open_bags.remove(deal.deal_id)
    book.overdue_bags.remove(deal.deal_id)
    book.aside.pop(deal.deal_id, None)
    if not bag.left:
        return
    # While the past is read a deal's time is over for those tasks only of which nothing more is read.
    time = 0 if book.behind else book.chain_time
    if time >= deal.final_deadline:
        if deal.undone:
            # There is nothing to refund: its tasks never came to be.
            bag.size = bag.begun
            book.touch_bag(bag)
            book.settle_bag(deal.deal_id)
        else:
            book.overdue_bags.put(deal.deal_id, (deal.final_deadline,))
    elif deal.undone or time >= deal.contribution_deadline or (deal.refusal and bag.begun):
        book.bag_timers.set(deal.deal_id, deal.final_deadline)
    elif deal.in_batch_lane and not deal.refusal:
        book.bag_timers.set(deal.deal_id, deal.contribution_deadline)
        if time and runs.next_count(book, bag):
            book.open_bags.put(deal.deal_id, book.matcher.bag_urgency(deal, bag.begun, now=book.now))
    else:
        # The first task of a deal that is refused begins as well: its story says why.
        book.bag_timers.set(deal.deal_id, deal.contribution_deadline)
        book.open_bags.put(deal.deal_id, book.matcher.bag_urgency(deal, bag.begun, now=book.now))


def begin_next(book: Book) -> TaskState | None:
    """Begin the most urgent task for which there is room; None if there is no room, or none left."""
    has_room = book.active < book.policy.max_active_tasks and not book.draining
    deal_id = _next_open(book) if has_room else None
    if deal_id is None and book.claiming < book.policy.max_claims and not book.behind:
        deal_id = book.overdue_bags.first()
    if deal_id is None:
        return None
    bag = book.bags[deal_id]
    if bag.deal.in_batch_lane:
        return _begin_in_batch_lane(book, bag)
    index = bag.first + bag.begun
    bag.begun += 1
    book.touch_bag(bag)
    if not bag.left or bag.deal.refusal:
        enqueue(book, bag)
    elif deal_id in book.open_bags:
        book.open_bags.put(deal_id, book.matcher.bag_urgency(bag.deal, bag.begun, now=book.now))
    task = TaskState(task_id=id_of_task(deal_id, index), index=index, deal=bag.deal, created_at=bag.created_at)
    known = book.tasks.get(task.task_id)
    if known is not None:
        return known
    task.waiting = bag.deal.waits and book.chain_time < bag.deal.final_deadline
    book.add_task(task)
    book.tell(task, first_line(bag))
    if task.waiting:
        book.tell(task, "It waits for the results that it reads.")
    return task


def _begin_in_batch_lane(book: Book, bag: Bag) -> TaskState | None:
    """The next run; or, of a deal that cannot be worked on, what stands for the rest of it."""
    deal = bag.deal
    if deal.refusal or book.chain_time >= deal.final_deadline:
        task = runs.begin_rest(book, bag)
    else:
        count = runs.next_count(book, bag)
        if not count:
            enqueue(book, bag)
            return begin_next(book)
        task = runs.begin_run(book, bag, count)
    enqueue(book, bag)
    return task


def bring_back(book: Book) -> None:
    """Let deals whose tasks wait for others go on when fewer of these wait."""
    if book.aside and len(book.dependents) < book.policy.max_waiting_tasks:
        for deal_id in list(book.aside):
            del book.aside[deal_id]
            if deal_id in book.bags:
                enqueue(book, book.bags[deal_id])


def _next_open(book: Book) -> str | None:
    while (deal_id := book.open_bags.first()) is not None:
        if not book.bags[deal_id].deal.waits or len(book.dependents) < book.policy.max_waiting_tasks:
            return deal_id
        book.open_bags.remove(deal_id)
        book.aside[deal_id] = None
    return None


def matched_again(book: Book, bag: Bag, event: DealMatched) -> None:
    """A deal that was taken back may come again in another block, with other deadlines or another number of tasks."""
    if (bag.deal, bag.first, bag.size) == (event.deal, event.bot_first, event.bot_size):
        return
    bag.deal, bag.first, bag.size = event.deal, event.bot_first, event.bot_size
    bag.begun = min(bag.begun, bag.size)
    book.touch_bag(bag)


def undone(book: Book, bag: Bag) -> None:
    """A reorganisation took the deal back: none of its tasks begins any more."""
    bag.deal = replace(bag.deal, undone=True)
    book.touch_bag(bag)
    enqueue(book, bag)
