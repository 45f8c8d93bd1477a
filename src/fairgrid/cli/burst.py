"""`fairgrid run --burst`: several deals, one run, one report."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from fairgrid.cli.bags import FinishedBag, finish_bag
from fairgrid.cli.output import emit_json, rlc
from fairgrid.client.burst import BurstRules
from fairgrid.client.burst_run import SplitRun, buy_run
from fairgrid.client.client import Client, LaneWish, TrustWish
from fairgrid.client.job import Job
from fairgrid.client.progress import OnProgress, Progress
from fairgrid.client.results import prepare_out

__all__ = ["FinishedRun", "burst_sentence", "report_run", "run_split"]


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """All parts of a run, and where its results lie."""

    run: SplitRun
    parts: tuple[FinishedBag, ...]
    out: Path
    seconds: float

    @property
    def exit_code(self) -> int:
        """The gravest of its parts: 4 if tasks came to no result, 1 if some failed, else 0."""
        return max(part.exit_code for part in self.parts)

    @property
    def completed(self) -> int:
        """Tasks whose result was verified."""
        return sum(part.bag.completed for part in self.parts)


def burst_sentence(rules: BurstRules) -> str:
    """What `fairgrid run --burst` may sign under these rules."""
    pools = "any pool of the market" if not rules.pools else f"the pools {', '.join(rules.pools)}"
    return (
        f"Make a deal of what your own pool has room for, at its price; and of the rest deals on {pools}, at "
        f"{rlc(rules.max_price_nrlc)} a task and {rlc(rules.daily_cap_nrlc)} a day at most, with deposits for them."
    )


async def run_split(
    client: Client,
    job: Job,
    wish: TrustWish,
    rules: BurstRules,
    *,
    lane: LaneWish,
    out: Path | None,
    on_progress: OnProgress,
    screen: Console,
) -> FinishedRun:
    """Buy every part, wait for all of them together, and collect each into the same folder.

    Raises:
        everything of `buy_run` and of collecting a bag; deals that were made go on.
    """
    started = time.monotonic()
    run = await buy_run(client, job, wish, rules, lane=lane, on_progress=on_progress)
    target = out or Path("results") / run.records[0].deal_id[:12]
    prepare_out(target)
    notes = [""] * len(run.records)

    def teller(place: int) -> OnProgress:
        def tell(progress: Progress) -> None:
            notes[place] = progress.note
            on_progress(Progress(progress.phase, " · ".join(note for note in notes if note)))

        return tell

    try:
        parts = await asyncio.gather(
            *(finish_bag(client, record, target, teller(place), started) for place, record in enumerate(run.records))
        )
    except BaseException:
        for record in run.records:
            screen.print(f"Deal {record.deal_id} goes on: `fairgrid result {record.deal_id[:12]}`.", markup=False)
        raise
    return FinishedRun(run, tuple(parts), target, time.monotonic() - started)


def report_run(finished: FinishedRun, *, as_json: bool, screen: Console) -> None:
    """Show a split run, or print it as one JSON object; ends the command with its exit code."""
    if as_json:
        emit_json(_document(finished))
    else:
        total = sum(part.bag.size for part in finished.parts)
        screen.print(
            f"[green]✓ {finished.completed} of {total} tasks verified[/], {finished.seconds:.1f} s, "
            f"{rlc(finished.run.price)}: {finished.run.plan.why}",
            highlight=False,
        )
        for part in finished.parts:
            where = "elsewhere" if part.record.burst else "own pool"
            last = part.record.first + part.bag.size - 1
            screen.print(
                f"  tasks {part.record.first} to {last}: {where}, {rlc(part.record.price)}, deal {part.record.deal_id}",
                markup=False,
            )
        screen.print(f"[dim]files[/]  {finished.out}/<index>", highlight=False)
    if finished.exit_code:
        raise typer.Exit(finished.exit_code)


def _document(finished: FinishedRun) -> dict[str, Any]:
    return {
        "status": {0: "ok", 1: "job_error"}.get(finished.exit_code, "incomplete"),
        "tasks": sum(part.bag.size for part in finished.parts),
        "completed": finished.completed,
        "why": finished.run.plan.why,
        "price": finished.run.price,
        "priceElsewhere": sum(part.record.price for part in finished.parts if part.record.burst),
        "outDir": str(finished.out),
        "deals": [
            {
                "dealId": part.record.deal_id,
                "elsewhere": part.record.burst,
                "first": part.record.first,
                "tasks": part.bag.size,
                "completed": part.bag.completed,
                "refunded": len(part.bag.refunded),
                "price": part.record.price,
            }
            for part in finished.parts
        ],
        "results": [outcome.to_json() for part in finished.parts for outcome in part.outcomes],
        "seconds": round(finished.seconds, 3),
        "exitCode": finished.exit_code,
    }
