"""What `fairgrid run` and `result` tell in the end: to people, or as one JSON object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import typer
from rich.console import Console

from fairgrid.cli.bags import FinishedBag, report_bag
from fairgrid.cli.burst import FinishedRun, report_run
from fairgrid.cli.output import emit_json, rlc
from fairgrid.client.journal import DealRecord
from fairgrid.client.results import CollectedResult
from fairgrid.client.settlement import Settlement
from fairgrid.errors import JobError
from fairgrid.protocol.results import describe_error
from fairgrid.protocol.terminal import sanitise_terminal

__all__ = ["FinishedTask", "report", "show_job_error"]


@dataclass(frozen=True, slots=True)
class FinishedTask:
    """One task whose result is here, verified."""

    record: DealRecord
    result: CollectedResult
    settlement: Settlement
    seconds: float


def report(finished: FinishedTask | FinishedBag | FinishedRun, *, as_json: bool, screen: Console) -> None:
    """Tell the end of a task, of a bag, or of a run over several pools.

    Raises:
        typer.Exit: the job failed, and the network agreed that it did.
    """
    if isinstance(finished, FinishedRun):
        report_run(finished, as_json=as_json, screen=screen)
        return
    if isinstance(finished, FinishedBag):
        report_bag(finished, as_json=as_json, screen=screen)
        return
    record, result_, settled = finished.record, finished.result, finished.settlement
    exit_code = 0 if result_.error is None else JobError.exit_code
    if as_json:
        emit_json(
            {
                "status": "ok" if result_.error is None else "job_error",
                "dealId": record.deal_id,
                "taskIds": list(record.task_ids),
                "resultDigest": result_.digest,
                "resultCid": result_.cid,
                "outDir": str(result_.folder),
                "files": [entry.path for entry in result_.entries],
                "jobError": result_.error,
                "trust": record.trust,
                "price": record.price,
                "contributions": [line.to_json() for line in settled.contributions],
                "payments": [line.to_json() for line in settled.payments],
                "gas": {"total": settled.gas_used, "transactions": [line.to_json() for line in settled.gas]},
                "seconds": round(finished.seconds, 3),
                "exitCode": exit_code,
            }
        )
    else:
        _show(finished, screen)
    if exit_code:
        raise typer.Exit(exit_code)


def _show(finished: FinishedTask, screen: Console) -> None:
    result_, settled = finished.result, finished.settlement
    agreed = sum(line.agreed for line in settled.contributions)
    if result_.error is None:
        screen.print(
            f"[green]✓ verified[/] by {agreed} worker(s), {finished.seconds:.1f} s, {rlc(finished.record.price)}"
        )
        _show_log("stdout", result_.log("stdout.txt"), screen)
        _show_log("stderr", result_.log("stderr.txt"), screen)
    else:
        show_job_error(result_.error, agreed, screen)
    screen.print(f"[dim]deal[/]   {finished.record.deal_id}\n[dim]digest[/] {result_.digest}")
    screen.print(f"[dim]cid[/]    {result_.cid}\n[dim]files[/]  {result_.folder}", highlight=False)
    for entry in result_.entries:
        screen.print(f"         {entry.path}  [dim]{entry.size} bytes[/]", highlight=False)


def show_job_error(error: dict[str, Any], agreed: int, screen: Console) -> None:
    """What failed and what it printed; nothing of it can command the terminal."""
    screen.print(f"[bold red]✗ the job failed[/], and {agreed} worker(s) agree:", highlight=False)
    screen.print(sanitise_terminal(describe_error(error)), markup=False, highlight=False)
    for stream in ("stdout", "stderr"):
        _show_log(stream, sanitise_terminal(error.get(stream, "")), screen)


def _show_log(stream: str, text: str, screen: Console) -> None:
    """What the job printed, on the stream that it printed to; ``text`` is safe for a terminal."""
    if not text:
        return
    screen.print(f"[dim]── {stream} of the job[/]")
    typer.echo(text, err=stream == "stderr", nl=not text.endswith("\n"))
