"""Counts what happens to a worker, by the names that `fairgrid.worker.observability.meter` reads."""

from __future__ import annotations

from collections import Counter

from fairgrid.protocol.pool_messages import Lease
from fairgrid.worker.core import events as ev
from fairgrid.worker.records.store import Finished

__all__ = ["count_end", "count_event"]


def count_event(tally: Counter[str], event: ev.Event) -> None:
    """One event of the machine."""
    match event:
        case Lease():
            tally["leases"] += 1
        case ev.Computed():
            tally["jobs"] += 1
            tally["compute_ms"] += round(event.compute_s * 1000)
        case ev.WorkFailed():
            tally["job_failures"] += 1
        case ev.Uploaded():
            tally["uploads"] += 1
        case ev.UploadFailed():
            tally["upload_failures"] += 1
        case ev.PoolDisconnected():
            tally["disconnections"] += 1
        case _:
            pass


def count_end(tally: Counter[str], finished: Finished) -> None:
    """One task that ended."""
    ends = {"aborted": "aborted", "handed back": "handed_back"}
    word = finished.outcome.partition(":")[0]
    known = word if word in ("completed", "failed", "split") else ends.get(word, "other")
    tally[f"ended/{known}"] += 1
    tally["earned_nrlc"] += finished.earned or 0
