"""`fairgrid result` and `claim`: of a deal that was made before, the result or the money."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from fairgrid.cli.bags import FinishedBag
from fairgrid.cli.finishing import finish
from fairgrid.cli.live import live_progress
from fairgrid.cli.money_desk import MoneyDesk, money_command
from fairgrid.cli.output import emit_json, rlc, run_async
from fairgrid.cli.run_quote import claim_sentence, foresee_claim, tell_claim
from fairgrid.cli.run_report import FinishedTask, report
from fairgrid.cli.shared_options import OutOption
from fairgrid.client.client import Client
from fairgrid.client.journal import DealRecord

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False)


@money_command(app, "result")
def result(
    desk: MoneyDesk,
    deal: Annotated[
        str, typer.Argument(help="Beginning of a deal or task id, or `last`; without it, all are listed.")
    ] = "",
    out: OutOption = None,
) -> None:
    """Fetch and verify the result of a deal that was made before, waiting for it if it still runs.

    It signs no new deal: it sends the one that was signed again if it was lost, and takes the money back when its
    deadline has passed without a result. Example: `fairgrid result last --out results`.
    """
    screen = desk.screen

    async def main() -> FinishedTask | FinishedBag | None:
        started = time.monotonic()
        async with desk.client() as client:
            if not deal:
                await _list_deals(client, screen, as_json=desk.as_json)
                return None
            record = client.journal.find(deal)
            with live_progress(screen) as on_progress:
                target = out or Path("results") / record.deal_id[:12]
                return await finish(client, record, target, on_progress, started, screen)

    finished = run_async(main)
    if finished is not None:
        report(finished, as_json=desk.as_json, screen=screen)


@money_command(app, "claim", spends=True, for_roles=False)
def claim(
    desk: MoneyDesk,
    deal: Annotated[str, typer.Argument(help="Beginning of a deal or task id, or `last`.")],
) -> None:
    """Take the money of a deal back when its deadline has passed without a result.

    On a local network nothing is asked. Example: `fairgrid claim last --dry-run`.
    """
    screen = desk.screen

    async def foresee() -> dict[str, Any]:
        async with desk.client() as client:
            return await foresee_claim(client.chain, client.journal.find(deal))

    foreseen = run_async(foresee)
    if desk.dry_run:
        tell_claim(foreseen, desk)
        return
    desk.say([claim_sentence(foreseen)])
    if not desk.has_play_money:
        desk.agree()

    async def main() -> tuple[DealRecord, int]:
        async with desk.client() as client:
            record = client.journal.find(deal)
            with live_progress(screen) as on_progress:
                if record.is_bag:
                    async with client.bag(record) as follower:
                        bag = await client.claim_bag(record, follower, on_progress=on_progress)
                        return record, len(bag.refunded)
                await client.claim(record, on_progress=on_progress)
            return record, 1

    record, refunded = run_async(main)
    if desk.as_json:
        ids = list(record.task_ids)
        emit_json(
            {"status": "refunded", "dealId": record.deal_id, "taskIds": ids, "refundedTasks": refunded, "exitCode": 0}
        )
    else:
        back = rlc(record.price // record.tasks * refunded)
        screen.print(f"Claimed: {back} of deal {record.deal_id} is back in your escrow.")


async def _status_of(client: Client, record: DealRecord) -> str:
    return (await client.chain.view_task(record.task_ids[0])).status.name


async def _list_deals(client: Client, screen: Console, *, as_json: bool) -> None:
    records = client.journal.all()
    rows = [
        (record, f"{record.tasks} tasks" if record.is_bag else await _status_of(client, record)) for record in records
    ]
    if as_json:
        emit_json(
            {
                "status": "ok",
                "deals": [
                    {"dealId": r.deal_id, "job": r.job_name, "task": status, "price": r.price} for r, status in rows
                ],
                "exitCode": 0,
            }
        )
    elif not rows:
        screen.print("No deals yet. Make one with `fairgrid run my_script.py`.")
    for record, status in [] if as_json else rows:
        screen.print(f"{record.deal_id[:12]}…  {status:<10} {record.job_name}  {rlc(record.price)}", markup=False)
