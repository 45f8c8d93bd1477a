"""Bags on the command line: what `run`, `result` and `task materialise` do with many tasks, and how they report it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from fairgrid.cli.money_desk import Act, MoneyDesk, Plan, money_command
from fairgrid.cli.output import emit_json, rlc
from fairgrid.client.bags import BagFollower, TaskOutcome
from fairgrid.client.claims import plan_materialise
from fairgrid.client.client import Client
from fairgrid.client.follow import Ending
from fairgrid.client.journal import DealRecord, Journal
from fairgrid.client.ledger import Bag
from fairgrid.client.progress import OnProgress
from fairgrid.client.settlement import Settlement
from fairgrid.errors import JobError, ServiceError
from fairgrid.protocol.results import describe_error
from fairgrid.protocol.terminal import sanitise_terminal
from fairgrid.storage.client import StorageClient

if TYPE_CHECKING:
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.chain.interface import Receipt
    from fairgrid.wallet.signer import Signer

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


@money_command(task_app, "materialise", spends=True, for_roles=False)
def materialise(
    desk: MoneyDesk,
    deal: Annotated[str, typer.Argument(help="Beginning of the deal's id, or `last`.")],
    index: Annotated[int, typer.Argument(min=0, help="Index of the task.")],
) -> None:
    """Prove one task of a settled run on chain, so that contracts see its digest and the deal's callback comes.

    Example: `fairgrid task materialise last 7 --dry-run`.
    """
    record = Journal(desk.journal_folder).find(deal)

    async def plan(chain: JsonRpcChain) -> Plan:
        follower = await BagFollower.open(chain, record)
        try:
            async with StorageClient(desk.place.network.storage) as storage:
                call, made = await plan_materialise(chain, storage, record, follower, index)
        finally:
            await follower.close()
        sentence = (
            f"Give task {index} of deal {record.deal_id} a place of its own on chain, as {made.task_id} with digest "
            f"{made.digest}; the deal's callback, if it has one, is called. You pay the gas."
        )

        async def then(chain: JsonRpcChain, signer: Signer, receipts: list[Receipt]) -> dict[str, Any]:
            return {"txHash": receipts[0].tx_hash}

        facts = {"taskId": made.task_id, "runId": made.run_id, "digest": made.digest, "exitCode": 0}
        text = f"Task {index} is {made.task_id} on chain now, with digest {made.digest}."
        return Plan([Act(sentence, call)], facts, then, lambda _: text)

    desk.carry_out(plan)
