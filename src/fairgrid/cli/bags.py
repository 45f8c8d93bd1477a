"""Bags on the command line: what `run`, `result` and `task materialise` do with many tasks, and how they report it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fairgrid.chain.network_names import find_network
from fairgrid.cli.live import live_progress
from fairgrid.cli.output import console, emit_json, rlc, run_async
from fairgrid.cli.shared_options import JsonOption, KeyFolderOption, PlaceOption, signer_of
from fairgrid.client.bags import TaskOutcome
from fairgrid.client.claims import Materialised
from fairgrid.client.client import Client
from fairgrid.client.follow import Ending
from fairgrid.client.journal import DealRecord
from fairgrid.client.ledger import Bag
from fairgrid.client.progress import OnProgress
from fairgrid.client.settlement import Settlement
from fairgrid.errors import JobError, ServiceError
from fairgrid.protocol.results import describe_error
from fairgrid.protocol.terminal import sanitise_terminal

__all__ = ["FinishedBag", "finish_bag", "report_bag", "task_app"]

_SHOWN_TASKS = 10

task_app = typer.Typer(no_args_is_help=True, add_completion=False, help="One task of a bag.")


@dataclass(frozen=True, slots=True)
class FinishedBag:
    """All that is reported of a bag."""

    record: DealRecord
    bag: Bag
    outcomes: tuple[TaskOutcome, ...]
    settlement: Settlement
    out: Path
    seconds: float

    @property
    def price_each(self) -> int:
        """What one task costs (nRLC)."""
        return self.record.price // self.record.tasks

    @property
    def failed(self) -> tuple[TaskOutcome, ...]:
        """Tasks whose agreed result is an error."""
        return tuple(outcome for outcome in self.outcomes if outcome.error is not None)

    @property
    def exit_code(self) -> int:
        """4 if tasks came to no result, 1 if some have an error as theirs, else 0."""
        if self.bag.refunded:
            return ServiceError.exit_code
        return JobError.exit_code if self.failed else 0


async def finish_bag(
    client: Client, record: DealRecord, out: Path, on_progress: OnProgress, started: float
) -> FinishedBag:
    """Everything after the match of a bag: wait, take back what is overdue, fetch and verify what is settled."""
    async with client.bag(record) as follower:
        ending = await follower.wait(on_progress)
        if ending is Ending.OVERDUE:
            await client.claim_bag(record, follower, on_progress=on_progress)
        outcomes = await client.collect_bag(record, follower, out, on_progress=on_progress)
        settlement = await client.bag_settlement(record, follower)
        bag = follower.ledger.bag()
    return FinishedBag(record, bag, outcomes, settlement, out, time.monotonic() - started)


def report_bag(finished: FinishedBag, *, as_json: bool, screen: Console) -> None:
    """Show a bag, or print it as one JSON object; ends the command with its exit code."""
    if as_json:
        emit_json(_document(finished))
    else:
        _show(finished, screen)
    if finished.exit_code:
        raise typer.Exit(finished.exit_code)


def _document(finished: FinishedBag) -> dict[str, Any]:
    record, bag, settled = finished.record, finished.bag, finished.settlement
    status = {0: "ok", JobError.exit_code: "job_error"}.get(finished.exit_code, "incomplete")
    return {
        "status": status,
        "dealId": record.deal_id,
        "lane": "batch" if record.batch else "classic",
        "tasks": bag.size,
        "completed": bag.completed,
        "failed": len(finished.failed),
        "refunded": list(bag.refunded),
        "refundedNrlc": len(bag.refunded) * finished.price_each,
        "outDir": str(finished.out),
        "results": [outcome.to_json() for outcome in finished.outcomes],
        "runs": [
            {
                "runId": run.run_id,
                "first": run.first,
                "count": run.count,
                "root": run.root,
                "results": run.results.decode(errors="replace"),
                "workers": list(run.workers),
            }
            for run in bag.runs
        ],
        "trust": record.trust,
        "price": record.price,
        "payments": [line.to_json() for line in settled.payments],
        "gas": {
            "total": settled.gas_used,
            "perTask": settled.gas_used // max(bag.size, 1),
            "transactions": [line.to_json() for line in settled.gas],
        },
        "seconds": round(finished.seconds, 3),
        "exitCode": finished.exit_code,
    }


def _show(finished: FinishedBag, screen: Console) -> None:
    record, bag, settled = finished.record, finished.bag, finished.settlement
    lane = f"{len(bag.runs)} run(s)" if record.batch else "one by one"
    screen.print(
        f"[green]✓ {bag.completed} of {bag.size} tasks verified[/], {lane}, {finished.seconds:.1f} s, "
        f"{rlc(bag.completed * finished.price_each)}, {settled.gas_used // max(bag.size, 1)} gas a task",
        highlight=False,
    )
    for outcome in finished.failed[:_SHOWN_TASKS]:
        assert outcome.error is not None
        text = sanitise_terminal(describe_error(outcome.error))
        screen.print(f"[red]✗ task {outcome.index}[/]: all workers agree:", highlight=False, end=" ")
        screen.print(text, markup=False, highlight=False)
    if len(finished.failed) > _SHOWN_TASKS:
        screen.print(f"  and {len(finished.failed) - _SHOWN_TASKS} more tasks failed")
    if bag.refunded:
        screen.print(
            f"[red]{len(bag.refunded)} tasks came to no result[/] before the deadline; "
            f"{rlc(len(bag.refunded) * finished.price_each)} of them are back in your escrow."
        )
    screen.print(f"[dim]deal[/]   {record.deal_id}\n[dim]files[/]  {finished.out}/<index>", highlight=False)


@task_app.callback()
def _task() -> None:
    """One task of a bag."""


@task_app.command()
def materialise(
    deal: Annotated[str, typer.Argument(help="Beginning of the deal's id, or `last`.")],
    index: Annotated[int, typer.Argument(min=0, help="Index of the task.")],
    directory: PlaceOption = None,
    key_folder: KeyFolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove one task of a settled run on chain, so that contracts see its digest and the deal's callback comes."""
    screen = console()

    async def main() -> Materialised:
        place = find_network(directory)
        signer = signer_of(place, key_folder)
        journal = place.folder / "deals" / signer.address
        async with Client.connect(place.network, signer, journal_folder=journal) as client:
            with live_progress(screen) as on_progress:
                return await client.materialise(client.journal.find(deal), index, on_progress=on_progress)

    made = run_async(main)
    if as_json:
        emit_json(
            {
                "status": "ok",
                "taskId": made.task_id,
                "runId": made.run_id,
                "digest": made.digest,
                "txHash": made.tx_hash,
                "exitCode": 0,
            }
        )
    else:
        screen.print(f"Task {index} is {made.task_id} on chain now, with digest {made.digest}.", highlight=False)
