"""Everything between a signed deal and its verified result, with what to do next whatever ends it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from rich.console import Console

from fairgrid.cli.bags import FinishedBag, finish_bag
from fairgrid.cli.run_report import FinishedTask
from fairgrid.client.client import Client
from fairgrid.client.follow import Ending
from fairgrid.client.journal import DealRecord
from fairgrid.client.live import watching
from fairgrid.client.progress import OnProgress
from fairgrid.errors import ServiceError, TransactionFailed, UsageError

__all__ = ["finish"]


async def finish(
    client: Client,
    record: DealRecord,
    out: Path,
    on_progress: OnProgress,
    started: float,
    screen: Console,
    *,
    follow: bool = False,
) -> FinishedTask | FinishedBag:
    """Everything after the signature: the deal is in the journal, so whatever ends this leaves a hint how to go on."""
    short = record.deal_id[:12]
    try:
        record = await client.match(record, on_progress)
        if record.is_bag:
            return await finish_bag(client, record, out, on_progress, started)
        ending = await _follow(client, record, on_progress, screen if follow else None)
        if ending is Ending.OVERDUE:
            await client.claim(record, on_progress=on_progress)
        if ending is not Ending.COMPLETED:
            raise ServiceError(
                f"The pool did not finish deal {record.deal_id} before its deadline. Your {record.price} nRLC are "
                f"back in your escrow. `fairgrid story {record.task_ids[0]}` tells what happened; run it again."
            )
        collected = await client.collect(record, out, on_progress=on_progress)
        settlement = await client.settlement(record)
    except asyncio.CancelledError:
        stopped = (
            f"You stopped waiting; deal {record.deal_id} goes on without you. "
            f"`fairgrid result {short}` fetches its result"
            if record.mined
            else f"You stopped while deal {record.deal_id} was being matched, and it may go on without you. "
            f"`fairgrid result {short}` sends it again if it was lost, and fetches its result"
        )
        screen.print(f"\n{stopped}, `fairgrid claim {short}` takes the money back after its deadline.", markup=False)
        raise
    except TransactionFailed:
        if record.mined:
            _hint_at_result(record, screen)
        raise
    except (ServiceError, UsageError):
        _hint_at_result(record, screen)
        raise
    return FinishedTask(record, collected, settlement, time.monotonic() - started)


async def _follow(client: Client, record: DealRecord, on_progress: OnProgress, screen: Console | None) -> Ending:
    """Wait for the end; at trust 1 with the job's own progress, and its unverified output on stderr if ``screen``."""
    if record.trust > 1:
        if screen is not None:
            screen.print("The trust is above 1: nothing of the job is shown before its workers agreed.", markup=False)
        return await client.follow(record, on_progress=on_progress)

    def show(stream: str, line: str) -> None:
        if screen is not None:
            screen.print(f"{stream}| {line}", markup=False, highlight=False, style="dim")

    async with watching(client, record.task_ids[0], on_progress, show) as tell:
        return await client.follow(record, on_progress=tell)


def _hint_at_result(record: DealRecord, screen: Console) -> None:
    where = "stays on chain" if record.mined else "is signed and kept"
    screen.print(
        f"Deal {record.deal_id} {where}: `fairgrid result {record.deal_id[:12]}` goes on from here.", markup=False
    )
