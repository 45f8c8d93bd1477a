"""The pool in numbers, worker by worker, and what an operator should look at: pure, from what the scheduler knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from fairgrid.pool.book import Book
from fairgrid.pool.operations import WHOLE_POOL, Drain
from fairgrid.pool.operator_views import Alert, PoolStatus, WorkerRow
from fairgrid.pool.phases import ReplicaPhase
from fairgrid.pool.standing import Standing
from fairgrid.pool.state import WorkerState
from fairgrid.protocol.hexes import ZERO_ADDRESS

__all__ = ["WORKER_SORTS", "WORKER_STATES", "alerts", "oldest_wait", "sorted_workers", "worker_rows"]

WORKER_STATES = ("ready", "busy", "joining", "drained", "quarantined", "out_of_quota", "banned", "away")
WORKER_SORTS = ("worker", "owner", "state", "running", "faults", "valid", "score", "deposit", "heard")

_SILENT_CHAIN_S = 30.0
_OLD_BLOCK_S = 120.0
_LONG_WAIT_S = 600.0
_MANY_DISPROVED = 0.2


def worker_rows(book: Book, *, drains: Mapping[str, Drain], heard: Mapping[str, float], now: float) -> list[WorkerRow]:
    """Every worker that is connected, banned, or has a record here, by address.

    ``heard`` is when each connected worker spoke last, ``now`` the same clock, in seconds.
    """
    known = dict.fromkeys((*book.workers, *book.standings.standings, *drains, *book.labels))
    known |= dict.fromkeys(ban.worker for ban in book.bans.values())
    known.pop(WHOLE_POOL, None)
    return [_row(book, worker, drains.get(worker), heard.get(worker), now) for worker in sorted(known)]


def sorted_workers(rows: Iterable[WorkerRow], by: str) -> list[WorkerRow]:
    """Rows by one of `WORKER_SORTS`, the most of a number first."""
    match by:
        case "owner" | "state" | "worker":
            return sorted(rows, key=lambda row: (getattr(row, by), row.worker))
        case "deposit":
            return sorted(rows, key=lambda row: (-int(row.deposit_nrlc), row.worker))
        case "heard":
            return sorted(rows, key=lambda row: (row.last_heard_s is None, row.last_heard_s or 0.0, row.worker))
        case _:
            return sorted(rows, key=lambda row: (-getattr(row, by), row.worker))


def _row(book: Book, name: str, drain: Drain | None, heard_at: float | None, now: float) -> WorkerRow:
    worker = book.workers.get(name)
    standing = book.standings.standings.get(name)
    ban = book.bans.get(name)
    owner = worker.owner if worker else standing.owner if standing else ban.owner if ban else ""
    ban = ban or book.bans.get(owner)
    machine = worker.machine if worker else None
    record = standing or Standing(name, owner)
    leased = book.burden(name).leased
    labels = machine.labels if machine else book.labels.get(name, ())
    return WorkerRow(
        worker=name,
        owner=owner or ZERO_ADDRESS,
        state=_state(book, name, worker, standing, banned=ban is not None, drained=drain is not None),
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
        labels=list(labels),
        given_labels=list(book.labels.get(name, ())),
        score=worker.score if worker else 0,
        weight=worker.weight if worker else 0,
        deposit_nrlc=str(worker.stake if worker else 0),
        valid=record.valid,
        valid_in_a_row=record.valid_in_a_row,
        disproved=record.disproved,
        faults=record.faults,
        strikes=book.strikes.get(name, 0),
        quota_left=record.quota_left(book.now, book.policy.quota_window_s),
        quarantined_s=round(max(record.quarantined_until - book.now, 0.0), 1),
        reason=ban.reason if ban else drain.reason if drain else "",
    )


def _state(
    book: Book, name: str, worker: WorkerState | None, standing: Standing | None, *, banned: bool, drained: bool
) -> str:
    if banned:
        return "banned"
    if worker is None:
        return "away"
    if drained:
        return "drained"
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
        text = f"The pool takes nothing new: {status.draining.reason}"
        add("drained", "warning", text, "`fairgrid pool undrain` when it may work again.")
    known = sum(connected.values())
    shut_out = connected["quarantined"] + connected["out_of_quota"]
    if known and shut_out / known > _MANY_DISPROVED:
        text = f"{shut_out} of {known} connected worker(s) are in quarantine or out of quota."
        add("many_faults", "warning", text, "See `fairgrid pool workers --sort faults`.")
    return sorted(found, key=lambda alert: alert.severity)
