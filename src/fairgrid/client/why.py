"""Why a task has no result yet, what happens next and when, and how the money comes back.

`explain` is pure: it takes what chain, pool and journal say (`Facts`) and makes sentences of it. The chain's word
counts; the pool only tells how far it is. `gather` asks them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from fairgrid.client.journal import DealRecord
from fairgrid.client.ledger import Bag
from fairgrid.client.live import bar
from fairgrid.errors import ServiceError, ServiceRefused, UsageError
from fairgrid.pool.client import LiveProgress, PoolRoom, StoryEntry, TaskView, TrustListing
from fairgrid.protocol.deadlines import contribution_deadline, final_deadline
from fairgrid.protocol.ids import task_id as task_id_of
from fairgrid.protocol.terminal import sanitise_terminal
from fairgrid.protocol.views import Deal, Task, TaskStatus

if TYPE_CHECKING:
    from fairgrid.client.client import Client

__all__ = ["Facts", "PoolState", "Step", "Why", "explain", "gather", "place_of"]

_NOT_FOUND: Final = 404
_LISTEN_S: Final = 2.0
_MORE_S: Final = 0.2
_WORKING: Final = {
    "accepted": "looks at the deal",
    "downloading": "fetches what the task needs, and compiles a program that is new to it",
    "computing": "computes",
}
"""What a worker does in a coarse phase before its seal (decision 3)."""
_AT_WORK: Final = frozenset({*_WORKING, "leased", "sealed", "contributing", "contributed", "auditing"})
_PHASES: Final = {
    "received": "The pool knows the deal and has not begun the task on chain yet.",
    "initializing": "The pool's transaction that begins the task is on its way.",
    "sealing": "A round is open: workers compute, and hand in sealed results.",
    "contributing": "The results of this round are in; workers put them on chain one after the other.",
    "revealing": "Enough workers agree. They reveal their results now.",
    "uploading": "The result is agreed. A worker uploads it, and the pool checks what it uploaded.",
    "finalizing": "The result is there and checked; the pool's last transaction is on its way.",
    "reopening": "Nobody revealed in time. The pool opens the task anew, for other workers.",
    "abandoned": "The pool has given the task up: it cannot end well any more.",
    "claiming": "The pool is claiming the refund for you.",
}


class PoolState(StrEnum):
    """What the pool says."""

    ANSWERS = "answers"
    UNKNOWN = "unknown"
    """It has not seen the deal."""
    SILENT = "silent"
    """It does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that an explanation is made of. Times are chain time in seconds, amounts nRLC."""

    record: DealRecord
    index: int
    task_id: str
    now: int
    deal: Deal | None = None
    task: Task | None = None
    timeref: int = 0
    pool: PoolState = PoolState.SILENT
    pool_error: str = ""
    view: TaskView | None = None
    story: tuple[StoryEntry, ...] = ()
    said: str = ""
    """What the worker says of its progress now; only at trust 1 (decision 3), and unverified."""
    trust: TrustListing | None = None
    room: PoolRoom | None = None
    bag: Bag | None = None
    """Of a deal in the batch lane, whose tasks are settled in runs: the chain says little of each by itself."""


@dataclass(frozen=True, slots=True)
class Step:
    """What happens then, ``at`` in seconds of chain time; 0: as soon as it can."""

    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Why:
    """An explanation for people."""

    state: str
    """One word: ``signed``, ``waiting``, ``running``, ``overdue``, ``refunded`` or ``done``."""
    summary: str
    reasons: tuple[str, ...]
    next: tuple[Step, ...]
    locked_nrlc: int
    """Of this task, at the hub."""
    money: str
    command: str
    """What to type next."""


def explain(facts: Facts) -> Why:
    """Make sense of the facts."""
    each, short = facts.record.price // facts.record.tasks, facts.record.deal_id[:12]
    if facts.deal is None or facts.task is None:
        return Why(
            "signed",
            "The deal is signed and not on chain.",
            ("Its transaction was not mined: it was never sent, or its node forgot it, or it is still waiting.",),
            (Step(0, "When you ask for the result, the same bytes are sent again; it cannot be paid twice."),),
            0,
            "Nothing is locked and nothing was paid.",
            f"fairgrid result {short}",
        )
    status, final = _status(facts, facts.task), final_deadline(facts.deal.start_time, facts.timeref)
    if status is TaskStatus.COMPLETED:
        return Why(
            "done",
            "The task is done: its workers agreed on a result.",
            (),
            (),
            0,
            f"Its price of {each} nRLC was paid to workers, pool and app.",
            f"fairgrid result {short}",
        )
    if status is TaskStatus.FAILED:
        return Why(
            "refunded",
            "The task came to no result before its deadline, and was refunded.",
            _last_words(facts),
            (),
            0,
            f"{each} nRLC are back in your account at the hub, free to spend.",
            f"fairgrid task story {short}",
        )
    if facts.now >= final:
        return Why(
            "overdue",
            "The task's final deadline has passed without a result.",
            (*_last_words(facts), *_pool_trouble(facts)),
            (Step(0, "Anybody may claim the refund now; the pool does it for its tasks, and you can."),),
            each,
            f"{each} nRLC are locked until somebody claims; then they are back in your account at the hub.",
            f"fairgrid claim {short}",
        )
    return _running(facts, each, short, final)


def _running(facts: Facts, each: int, short: str, final: int) -> Why:
    assert facts.deal is not None and facts.task is not None
    task, contributions = facts.task, contribution_deadline(facts.deal.start_time, facts.timeref)
    reasons = [*_pool_trouble(facts), *_reach(facts)]
    begun = facts.view is not None and any(replica.phase in _AT_WORK for replica in facts.view.replicas)
    if facts.bag is not None:
        running = sum(count for _, _, count in facts.bag.open_runs)
        begun = begun or running > 0
        settled = f"{facts.bag.completed} of {facts.bag.size} are settled, {running} are in open runs"
        reasons.append(f"Tasks are settled in runs: {settled}.")
    waiting = not begun and task.status is not TaskStatus.REVEALING
    if facts.view is not None:
        reasons.append(_PHASES.get(facts.view.phase, f"The pool says: {facts.view.phase}."))
        reasons += _workers(facts.view)
    if facts.said:
        reasons.append(f"Its worker says: {sanitise_terminal(facts.said)}")
    if waiting and facts.room is not None and facts.room.admitted:
        reasons += _queue(facts.room)
    reasons += _last_words(facts)
    steps = []
    if task.status is TaskStatus.REVEALING:
        summary = "The workers agree; the result is being brought in."
        steps.append(Step(task.reveal_deadline, "Winners have revealed, or the pool goes on without the missing ones."))
    elif facts.now >= contributions:
        summary = "It is too late for results of this task; it can only be refunded."
        reasons.append("The time for workers' results has passed, and not enough of them agreed.")
    else:
        summary = "The task is waiting to be computed." if waiting else "The task is being computed."
        steps.append(Step(contributions, "Until then workers may hand in results; later ones do not count."))
    steps.append(Step(final, "Without a result until then, the money can be taken back; the pool claims it for you."))
    return Why(
        "waiting" if waiting else "running",
        summary,
        tuple(reasons),
        tuple(steps),
        each,
        f"{each} nRLC are locked at the hub. They pay for the result, or come back to your account there after the "
        f"final deadline; nobody can take them otherwise.",
        f"fairgrid task logs -f {short}" if facts.record.trust <= 1 else f"fairgrid result {short}",
    )


def _status(facts: Facts, task: Task) -> TaskStatus:
    if facts.bag is None or facts.deal is None:
        return task.status
    place = facts.index - facts.record.first + facts.deal.bot_first
    if facts.bag.run_of(place) is not None or place in facts.bag.tasks:
        return TaskStatus.COMPLETED
    return TaskStatus.FAILED if place in facts.bag.refunded else task.status


def _pool_trouble(facts: Facts) -> list[str]:
    if facts.pool is PoolState.SILENT:
        told = f" ({facts.pool_error})" if facts.pool_error else ""
        return [f"The pool does not answer{told}. Your deal stays on chain, and your money is safe from it."]
    if facts.pool is PoolState.UNKNOWN:
        return ["The pool has not seen the deal yet. It waits until the block is deep enough, or is behind the chain."]
    if facts.room is not None and not facts.room.admitted:
        return [f"The pool does not serve you: {sanitise_terminal(facts.room.reason)}"]
    return []


def _reach(facts: Facts) -> list[str]:
    listing = facts.trust
    if listing is None or facts.record.trust <= max(listing.reachable, 1):
        return [] if listing is None or listing.owners else ["No worker is connected to the pool."]
    reached = (
        f"{len(listing.owners)} owner(s) that are connected to the pool reach trust {listing.reachable} if all agree"
    )
    return [f"The {reached}; the task wants {facts.record.trust}. It goes on when more of them come."]


def _workers(view: TaskView) -> list[str]:
    """What those do that have not sealed a result yet."""
    doing = Counter(replica.phase for replica in view.replicas)
    return [f"{doing[phase]} worker(s): {words}." for phase, words in _WORKING.items() if doing[phase]]


def _queue(room: PoolRoom) -> list[str]:
    if room.room > 0:
        return [f"The pool has room for {room.room} task(s) of this trust, so it should begin soon."]
    queue = f"{room.waiting} task(s) wait, the oldest for {room.oldest_wait_s:.0f} s"
    return [f"The pool is full for this trust: {queue}. They begin as workers become free."]


def _last_words(facts: Facts) -> tuple[str, ...]:
    return (f"The last thing that happened: {sanitise_terminal(facts.story[-1].text)}",) if facts.story else ()


def place_of(record: DealRecord, index: int | None) -> tuple[int, int]:
    """The index of a task in its run, and its place in its deal; without an ``index`` the deal's first.

    Raises:
        UsageError: the deal has no such task.
    """
    wanted = record.first if index is None and record.part else index or 0
    place = wanted - record.first if record.part else wanted
    if not 0 <= place < record.tasks:
        raise UsageError(f"Deal {record.deal_id} has {record.tasks} task(s), and none with index {wanted}.")
    return wanted, place


async def gather(client: Client, record: DealRecord, *, index: int | None = None) -> Facts:
    """Ask chain and pool about one task of a deal; of a bag the first, unless ``index`` names another.

    Raises:
        UsageError: the deal has no such task.
        ServiceUnavailable: the chain does not answer.
    """
    wanted, place = place_of(record, index)
    head = await client.chain.head()
    deal = await client.chain.view_deal(record.deal_id)
    if deal is None:
        return Facts(record=record, index=wanted, task_id=record.task_ids[0], now=head.timestamp)
    task_id = task_id_of(record.deal_id, deal.bot_first + place)
    task = await client.chain.view_task(task_id)
    timeref = (await client.chain.view_category(deal.category)).timeref
    known = Facts(
        record=record,
        index=wanted,
        task_id=task_id,
        now=head.timestamp,
        deal=deal,
        task=task,
        timeref=timeref,
    )
    if record.batch:
        async with client.bag(record) as follower:
            known = replace(known, bag=await follower.read())
    return await _with_pool(client, known)


async def _with_pool(client: Client, facts: Facts) -> Facts:
    try:
        trust = await client.pool.trust()
        room = await client.pool.room(trust=facts.record.trust, requester=client.address)
    except ServiceError as error:
        return replace(facts, pool=PoolState.SILENT, pool_error=str(error))
    try:
        view = await client.pool.task(facts.task_id)
        story = tuple(await client.pool.story(facts.task_id))
    except ServiceRefused as error:
        state = PoolState.UNKNOWN if error.status == _NOT_FOUND else PoolState.SILENT
        return replace(facts, pool=state, pool_error=str(error), trust=trust, room=room)
    except ServiceError as error:
        return replace(facts, pool=PoolState.SILENT, pool_error=str(error))
    answered = replace(facts, pool=PoolState.ANSWERS, view=view, story=story, trust=trust, room=room)
    return replace(answered, said=await _said(client, answered))


async def _said(client: Client, facts: Facts) -> str:
    """The last that a running task said of its progress; empty when it says nothing, or nothing may be seen."""
    assert facts.view is not None
    if facts.record.trust > 1 or not any(replica.phase in _WORKING for replica in facts.view.replicas):
        return ""
    said = ""
    with contextlib.suppress(TimeoutError, ServiceError):
        async with asyncio.timeout(_LISTEN_S) as listening:
            async for event in client.live(facts.task_id):
                # What is known comes at once; nobody waits for what is new.
                listening.reschedule(asyncio.get_running_loop().time() + _MORE_S)
                if isinstance(event, LiveProgress):
                    said = bar(event)
    return said
