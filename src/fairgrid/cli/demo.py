"""`fairgrid demo`: from nothing to a verified, paid result, with one worker that lies."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fairgrid.cli.live import live_progress
from fairgrid.cli.output import console, emit_json, rlc, run_async
from fairgrid.cli.shared_options import JsonOption
from fairgrid.client.client import Client
from fairgrid.client.job import Job
from fairgrid.client.progress import OnProgress, Phase, Progress
from fairgrid.errors import UsageError, VerificationError
from fairgrid.localnet.accounts import REQUESTER
from fairgrid.localnet.demo import LIAR, DemoReport, run_demo
from fairgrid.localnet.network import LocalNetwork
from fairgrid.localnet.options import LocalNetworkOptions, WorkerSpec, honest_workers
from fairgrid.runtime.wasm.interpreters import default_runtime_id

__all__ = ["app"]

app = typer.Typer(add_completion=False)

_HONEST = 5
_RESAMPLES = "60"
_EXCERPT_LINES = 6


@app.command()
def demo(
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Keep the network's folder here. Default: a temporary one, removed.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the result.")] = Path("results/demo"),
    script: Annotated[Path | None, typer.Option("--script", help="Another script than the CO2 example.")] = None,
    inputs: Annotated[list[Path] | None, typer.Option("--input", help="Its input files.")] = None,
    arguments: Annotated[list[str] | None, typer.Option("--arg", help="Its arguments.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a real job on a throw-away local network: five honest workers, and one that lies.

    Starts a chain, contracts, market, storage, pool and six workers of different owners, each a process of its own;
    ends with who computed what, who was paid, and what the liar lost. Exit code 0 only if every check holds.

    Example: `fairgrid demo`.
    """
    screen = console()
    job = _job(script, inputs or [], arguments or [])

    async def main() -> DemoReport:
        started = time.monotonic()
        scratch = Path(tempfile.mkdtemp(prefix="fairgrid-demo-"))
        folder = directory or scratch / "network"
        try:
            names: dict[str, str] = {}
            with live_progress(screen, names) as on_progress:
                async with _network(folder, on_progress) as network:
                    accounts = {role: signer.address for role, signer in network.accounts.items()}
                    names.update({address: role for role, address in accounts.items()})
                    signer = network.accounts[REQUESTER]
                    async with Client.connect(network.network, signer, journal_folder=folder / "deals") as client:
                        return await run_demo(
                            client,
                            job,
                            accounts=accounts,
                            out=out,
                            workdir=scratch / "local-run",
                            on_progress=on_progress,
                            start_seconds=time.monotonic() - started,
                        )
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    report = run_async(main)
    if as_json:
        emit_json(_as_json(report))
    else:
        _show(report, screen)
    if not report.holds:
        failed = "; ".join(check.claim for check in report.checks if not check.holds)
        raise VerificationError(f"The demo did not show what it must: {failed}.")


def _job(script: Path | None, inputs: list[Path], arguments: list[str]) -> Job:
    if script is None:
        example = Path(__file__).resolve().parents[3] / "examples" / "co2_trend"
        if not example.is_dir():
            example = Path(__file__).resolve().parents[1] / "examples" / "co2_trend"
        if inputs or arguments:
            raise UsageError("--input and --arg belong to a --script of your own.")
        script, inputs, arguments = example / "trend.py", [example / "co2.csv"], [_RESAMPLES]
    return Job.from_files(script, inputs, arguments, runtime_id=default_runtime_id())


def _network(folder: Path, on_progress: OnProgress) -> LocalNetwork:
    return LocalNetwork(
        folder,
        workers=[*honest_workers(_HONEST), WorkerSpec(LIAR, misbehave="flip-byte")],
        options=LocalNetworkOptions(
            pool_policy={"first_round_replicas": _HONEST + 1, "authorisation_order": [LIAR]},
        ),
        progress=lambda note: on_progress(Progress(Phase.PREPARING, note)),
    )


def _as_json(report: DemoReport) -> dict[str, object]:
    settled = report.settlement
    return {
        "status": "ok" if report.holds else "failed",
        "dealId": report.record.deal_id,
        "taskIds": list(report.record.task_ids),
        "resultDigest": report.result.digest,
        "resultCid": report.result.cid,
        "outDir": str(report.result.folder),
        "files": [entry.path for entry in report.result.entries],
        "stdout": report.result.log("stdout.txt"),
        "trust": report.record.trust,
        "price": report.record.price,
        "checks": [check.to_json() for check in report.checks],
        "contributions": [line.to_json() | {"name": report.names.get(line.worker)} for line in settled.contributions],
        "payments": [line.to_json() | {"name": report.names.get(line.account)} for line in settled.payments],
        "gas": {"total": settled.gas_used, "transactions": [line.to_json() for line in settled.gas]},
        "startSeconds": round(report.start_seconds, 3),
        "seconds": round(report.seconds, 3),
        "exitCode": 0 if report.holds else VerificationError.exit_code,
    }


def _show(report: DemoReport, screen: Console) -> None:
    screen.print(_result_table(report))
    screen.print(_contributions_table(report))
    screen.print(_payments_table(report))
    checks = Table(title="Checks", title_justify="left", box=None, show_header=False, pad_edge=False)
    for check in report.checks:
        checks.add_row("[green]✓[/]" if check.holds else "[red]✗[/]", check.claim, f"[dim]{check.detail}[/]")
    screen.print(checks)


def _result_table(report: DemoReport) -> Table:
    settled = report.settlement
    table = Table(title="Result", title_justify="left", show_header=False)
    excerpt = "\n".join(report.result.log("stdout.txt").splitlines()[:_EXCERPT_LINES])
    table.add_row("says", excerpt)
    table.add_row(
        "files", f"{report.result.folder}{os.sep}: " + ", ".join(entry.path for entry in report.result.entries)
    )
    table.add_row("cid", report.result.cid)
    table.add_row("digest", report.result.digest)
    table.add_row("deal", report.record.deal_id)
    table.add_row("task", report.record.task_ids[0])
    table.add_row("paid", f"{rlc(report.record.price)} for trust {report.record.trust}")
    table.add_row("gas", f"{settled.gas_used:,} in {len(settled.gas)} transactions")
    table.add_row("time", f"{report.seconds:.1f} s, and {report.start_seconds:.1f} s to start the network")
    return table


def _contributions_table(report: DemoReport) -> Table:
    table = Table(title="Who contributed what", title_justify="left")
    for column in ("worker", "address", "digest", "verdict"):
        table.add_column(column)
    for line in report.settlement.contributions:
        verdict = "[green]agreed[/]" if line.agreed else "[red]lied[/]"
        digest = f"{line.digest[:18]}…" if line.digest else "not opened"
        table.add_row(report.names.get(line.worker, ""), line.worker, digest, verdict)
    return table


def _payments_table(report: DemoReport) -> Table:
    table = Table(title="Who was paid (nRLC)", title_justify="left")
    table.add_column("account")
    for column in ("gain", "loss", "balance", "score"):
        table.add_column(column, justify="right")
    for payment in report.settlement.payments:
        before, after = report.before.get(payment.account), report.after.get(payment.account)
        if before is None or after is None:
            continue
        table.add_row(
            report.names.get(payment.account, payment.account),
            f"[green]+{payment.rewarded:,}[/]" if payment.rewarded else "",
            f"[red]-{payment.seized:,}[/]" if payment.seized else "",
            f"{after.total:,}",
            f"{before.score} → {after.score}",
        )
    return table
