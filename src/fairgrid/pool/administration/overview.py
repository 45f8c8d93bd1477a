"""The pool in numbers, worker by worker, and what an operator should look at: pure, from what the scheduler knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fairgrid.pool.administration.operations import WHOLE_POOL, Drain
from fairgrid.pool.administration.operator_views import Alert, PoolStatus, WorkerRow
from fairgrid.pool.core.book import Book
from fairgrid.pool.core.phases import ReplicaPhase
from fairgrid.pool.core.sponsoring import Debt
from fairgrid.pool.core.standing import Standing
from fairgrid.protocol.hexes import ZERO_ADDRESS

__all__ = ["WORKER_SORTS", "WORKER_STATES", "WorkerFilter", "alerts", "oldest_wait", "worker_page", "worker_states"]

WORKER_STATES = ("ready", "busy", "joining", "drained", "quarantined", "out_of_quota", "banned", "away")
WORKER_SORTS = ("worker", "owner", "state", "running", "faults", "valid", "score", "deposit", "heard")

_SILENT_CHAIN_S = 30.0
_OLD_BLOCK_S = 120.0
_LONG_WAIT_S = 600.0
_MANY_DISPROVED = 0.2
_NO_DEBT = Debt(0, 0)
_NO_DEBTS: Mapping[str, Debt] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFilter:
    """Which workers, in which order: one of `WORKER_SORTS`, the most of a number first; empty: all."""

    state: str = ""
    owner: str = ""
    label: str = ""
    sort: str = "worker"


def worker_states(book: Book, drains: Mapping[str, Drain]) -> Counter[str]:
    """How many known workers are in which of `WORKER_STATES`."""
    return Counter(_state(book, worker, drained=worker in drains) for worker in _known(book, drains))


def worker_page(
    book: Book,
    wanted: WorkerFilter,
    *,
    drains: Mapping[str, Drain],
    heard: Mapping[str, float],
    now: float,
    limit: int,
    offset: int,
    debts: Mapping[str, Debt] = _NO_DEBTS,
) -> tuple[int, list[WorkerRow]]:
    """How many workers the filter leaves of all that are connected, banned, sponsored, or have a record; and a page of
    them.

    ``heard`` is when each connected worker spoke last, ``now`` the same clock, in seconds. Rows are made for the page
    only: with ten thousand workers an answer must not hold the scheduler up.
    """
    found = [
        worker
        for worker in _known(book, drains) | dict.fromkeys(debts)
        if (not wanted.state or _state(book, worker, drained=worker in drains) == wanted.state)
        and (not wanted.owner or _owner(book, worker) == wanted.owner)
        and (not wanted.label or wanted.label in _labels(book, worker))
    ]
    key = _order(book, wanted.sort, drains, heard)
    found.sort(key=lambda worker: (key(worker), worker))
    page = found[offset : offset + limit]
    return len(found), [
        _row(book, worker, drains.get(worker), heard.get(worker), now, debts.get(worker, _NO_DEBT)) for worker in page
    ]


def _known(book: Book, drains: Mapping[str, Drain]) -> dict[str, None]:
    known = dict.fromkeys((*book.workers, *book.standings.standings, *drains, *book.labels))
    known |= dict.fromkeys(ban.worker for ban in book.bans.values())
    known.pop(WHOLE_POOL, None)
    return known


def _order(book: Book, by: str, drains: Mapping[str, Drain], heard: Mapping[str, float]) -> Callable[[str], Any]:
    workers, records = book.workers, book.standings.standings
    match by:
        case "owner":
            return lambda worker: _owner(book, worker)
        case "state":
            return lambda worker: _state(book, worker, drained=worker in drains)
        case "running":
            return lambda worker: -len(book.burden(worker).leased)
        case "faults":
            return lambda worker: -records[worker].faults if worker in records else 0
        case "valid":
            return lambda worker: -records[worker].valid if worker in records else 0
        case "score":
            return lambda worker: -workers[worker].score if worker in workers else 0
        case "deposit":
            return lambda worker: -workers[worker].stake if worker in workers else 0
        case "heard":
            return lambda worker: -heard.get(worker, 0.0)
        case _:
            return lambda worker: ""


def _owner(book: Book, name: str) -> str:
    known = book.workers.get(name) or book.standings.standings.get(name) or book.bans.get(name)
    return known.owner if known is not None else ""


def _labels(book: Book, name: str) -> tuple[str, ...]:
    worker = book.workers.get(name)
    machine = worker.machine if worker is not None else None
    return machine.labels if machine is not None else book.labels.get(name, ())


def _row(book: Book, name: str, drain: Drain | None, heard_at: float | None, now: float, debt: Debt) -> WorkerRow:
    worker = book.workers.get(name)
    standing = book.standings.standings.get(name)
    ban = book.bans.get(name)
    owner = _owner(book, name)
    ban = ban or book.bans.get(owner)
    machine = worker.machine if worker else None
    record = standing or Standing(name, owner)
    leased = book.burden(name).leased
    return WorkerRow(
        worker=name,
        owner=owner or ZERO_ADDRESS,
        state=_state(book, name, drained=drain is not None),
        last_heard_s=round(max(now - heard_at, 0.0), 1) if heard_at else None,
        slots=worker.slots if worker else 0,
        free_slots=worker.free_slots if worker else 0,
        running=len(leased),
        levels=list(machine.levels) if machine else [],
        runtimes=list((machine.runtimes if machine else ()) or (worker.runtimes if worker else ())),
        cpus=machine.cpus if machine else 0,
        memory_bytes=machine.memory_bytes if machine else 0,
        disk_bytes=machine.disk_bytes if machine else 0,
        gpus=[gpu.model for gpu in machine.gpus] if machine else [],
        system="/".join(filter(None, (machine.os, machine.arch))) if machine else "",
        labels=list(_labels(book, name)),
        given_labels=list(book.labels.get(name, ())),
        score=worker.score if worker else 0,
        weight=worker.weight if worker else 0,
        deposit_nrlc=str(worker.stake if worker else 0),
        given_nrlc=str(debt.given_nrlc),
        repaid_nrlc=str(debt.repaid_nrlc),
        valid=record.valid,
        valid_in_a_row=record.valid_in_a_row,
        disproved=record.disproved,
        faults=record.faults,
        strikes=book.strikes.get(name, 0),
        quota_left=record.quota_left(book.now, book.policy.quota_window_s),
        quarantined_s=round(max(record.quarantined_until - book.now, 0.0), 1),
        reason=ban.reason if ban else drain.reason if drain else "",
    )


def _state(book: Book, name: str, *, drained: bool) -> str:
    worker = book.workers.get(name)
    if name in book.bans or _owner(book, name) in book.bans:
        return "banned"
    if worker is None:
        return "away"
    if drained:
        return "drained"
    standing = book.standings.standings.get(name)
    if standing is not None and standing.is_quarantined(book.now):
        return "quarantined"
    if not book.standings.may_lease(name, worker.owner, book.now):
        return "out_of_quota"
    if not worker.ready:
        return "joining"
    return "ready" if worker.free_slots > 0 else "busy"


def oldest_wait(book: Book) -> float:
    """Seconds since the oldest task came that no worker has yet; 0 if none waits.

    The bags of deals are in the order of their coming; of a bag only what has not begun counts.
    """
    waiting = [
        task.created_at
        for task_id, task in book.tasks.items()
        if task_id in book.waiting and not any(replica.phase is ReplicaPhase.LEASED for replica in task.replicas)
    ]
    waiting += [bag.created_at for bag in book.bags.values() if bag.left and not bag.deal.refusal]
    return max(book.now - min(waiting), 0.0) if waiting else 0.0


def alerts(status: PoolStatus, *, several: bool) -> list[Alert]:
    """What an operator should look at, the worst first; ``several``: the pool could have processes that stand by."""
    found: list[Alert] = []

    def add(name: str, severity: str, text: str, remedy: str) -> None:
        found.append(Alert(name=name, severity=severity, text=text, remedy=remedy))

    chain, gas = status.chain, status.gas
    waits = status.waiting_for_workers + status.not_begun
    connected = Counter({state: count for state, count in status.workers.items() if state not in ("away", "banned")})
    if chain.silence_s > _SILENT_CHAIN_S:
        add("chain_silent", "critical", f"The node has not answered for {chain.silence_s:.0f} s.", "Look at the node.")
    elif chain.lag_s > _OLD_BLOCK_S:
        add("chain_behind", "warning", f"The newest block is {chain.lag_s:.0f} s old.", "Is the node synchronised?")
    if chain.to_read:
        text = f"{chain.to_read} block(s) of the time before its start are still to be read; nothing is given out."
        add("reading_chain", "warning", text, "Wait; it ends by itself.")
    if gas.transactions_left == 0:
        add("gas_empty", "critical", "The pool cannot pay for a transaction.", f"Send coins to {gas.address}.")
    elif gas.low:
        days = f", about {gas.days_left:.1f} day(s)" if gas.days_left is not None else ""
        text = f"The coins pay about {gas.transactions_left} transaction(s){days}."
        add("gas_low", "warning", text, f"Send coins to {gas.address}.")
    if waits and not connected:
        add("no_workers", "critical", f"{waits} task(s) wait and no worker is connected.", "Ask owners of machines.")
    elif status.oldest_wait_s > _LONG_WAIT_S:
        text = f"The oldest task waits for a worker for {status.oldest_wait_s / 60:.0f} min."
        add("long_wait", "warning", text, "See `fairgrid pool tasks --phase sealing` and `fairgrid pool why TASK`.")
    if several and not any(process.fit for process in status.standby):
        add("no_standby", "warning", "No process stands by to take over.", "Start another on the same database.")
    if status.draining is not None:
        text = f"The pool takes nothing new: {status.draining.reason.rstrip('.')}."
        add("drained", "warning", text, "`fairgrid pool undrain` when it may work again.")
    known = sum(connected.values())
    shut_out = connected["quarantined"] + connected["out_of_quota"]
    if known and shut_out / known > _MANY_DISPROVED:
        text = f"{shut_out} of {known} connected worker(s) are in quarantine or out of quota."
        add("many_faults", "warning", text, "See `fairgrid pool workers --sort faults`.")
    return sorted(found, key=lambda alert: alert.severity)
