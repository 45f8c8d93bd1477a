"""`fairgrid run`, `result` and `claim`: a script goes out, a verified result comes back, or the money does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from fairgrid.chain.network_names import find_network
from fairgrid.cli.bags import FinishedBag, finish_bag
from fairgrid.cli.burst import FinishedRun, run_split
from fairgrid.cli.live import live_progress
from fairgrid.cli.output import console, emit_json, rlc, run_async
from fairgrid.cli.run_quote import foresee_claim, tell_claim, tell_quote
from fairgrid.cli.run_report import FinishedTask, report
from fairgrid.cli.shared_options import (
    DryRunOption,
    JsonOption,
    KeyFolderOption,
    PlaceOption,
    read_address,
    signer_of,
)
from fairgrid.client.apps.fetching import fetch_app
from fairgrid.client.burst import RULES_NAME, load_burst_rules
from fairgrid.client.client import Client, LaneWish, TrustWish
from fairgrid.client.dependencies import parse_dependency
from fairgrid.client.follow import Ending
from fairgrid.client.job import Job
from fairgrid.client.job_options import parse_gpus, parse_size, read_items
from fairgrid.client.journal import DealRecord
from fairgrid.client.live import watching
from fairgrid.client.progress import OnProgress
from fairgrid.client.results import prepare_out
from fairgrid.errors import ServiceError, TransactionFailed, UsageError
from fairgrid.protocol.canonical import read_rule
from fairgrid.protocol.network import ANYWHERE
from fairgrid.runtime.catalogue import runtime_for_program
from fairgrid.runtime.companions import with_companions
from fairgrid.seams.tracing import start_tracing

__all__ = ["app", "connected"]

app = typer.Typer(no_args_is_help=True, add_completion=False)

_DEFAULT_MEMORY: Final = 1 << 30

OutOption = Annotated[Path | None, typer.Option("--out", help="Folder for the result. Default: results/<deal>.")]


@app.command()
def run(
    script: Annotated[
        Path | None,
        typer.Argument(help="The program, a Python file for one. It reads $IEXEC_IN and writes $IEXEC_OUT."),
    ] = None,
    published: Annotated[
        str | None,
        typer.Option("--app", metavar="ADDRESS", help="Instead of a program: an app that somebody published."),
    ] = None,
    inputs: Annotated[
        list[Path] | None, typer.Option("--input", help="A file that the script needs; may be given again.")
    ] = None,
    arguments: Annotated[
        list[str] | None, typer.Option("--arg", help="An argument of the script; may be given again.")
    ] = None,
    after: Annotated[
        list[str] | None,
        typer.Option(
            "--after",
            metavar="NAME=TASK",
            help="Wait for another task and read its result in $IEXEC_IN/NAME. TASK is a task id, the beginning of "
            "one of your deals, or `last`; may be given again.",
        ),
    ] = None,
    trust: Annotated[str, typer.Option("--trust", help="How sure the result must be: 0 ≤ P < 1.")] = "0.9",
    workers_at_least: Annotated[
        int, typer.Option("--workers-at-least", min=1, help="How many different owners must agree, at least.")
    ] = 1,
    out: OutOption = None,
    directory: PlaceOption = None,
    key_folder: KeyFolderOption = None,
    fuel: Annotated[
        int | None,
        typer.Option("--fuel", min=1, help="Limit of work, in units of fuel. Default: 10^9 a second of its category."),
    ] = None,
    memory: Annotated[
        str | None, typer.Option("--memory", help="Limit of memory, e.g. 512M or 2G. Default: 1G, or the app's own.")
    ] = None,
    output_limit: Annotated[str, typer.Option("--output-limit", help="Limit of all output files, e.g. 64M.")] = "256M",
    gpus: Annotated[
        str | None,
        typer.Option(
            "--gpus",
            metavar="COUNT[:MEMORY[:MODEL]]",
            help="Graphics processors that each task needs, e.g. 1, 2:16G or 1:40G:a100; for OCI images.",
        ),
    ] = None,
    canonical: Annotated[
        list[str] | None,
        typer.Option(
            "--canonical",
            metavar="RULE",
            help="Hash files in a canonical form: json:*.json, rows:out.csv:header=1 or "
            "round:*.csv:decimals=6:edge=3 (edge failures per million); may be given again.",
        ),
    ] = None,
    each: Annotated[
        Path | None,
        typer.Option("--each", help="A bag: one line of arguments for each task, put after those of --arg."),
    ] = None,
    tasks: Annotated[
        int | None, typer.Option("--tasks", min=1, help="A bag of N tasks alike; $IEXEC_TASK_INDEX tells them apart.")
    ] = None,
    lane: Annotated[
        LaneWish,
        typer.Option(
            "--lane", help="How a bag is settled: in runs for nearly no gas (batch), or task by task (classic)."
        ),
    ] = LaneWish.AUTO,
    checkpoint: Annotated[
        bool,
        typer.Option("--checkpoint", help="Give the script a folder that survives a restart of its worker."),
    ] = False,
    internet: Annotated[
        bool,
        typer.Option(
            "--internet",
            help="Let the job connect to any public host at ports 80 and 443, on workers whose owners allow it.",
        ),
    ] = False,
    reach: Annotated[
        list[str] | None,
        typer.Option(
            "--reach",
            metavar="HOST[:PORT]",
            help="Let the job connect to this host only, or to all below it (*.example.org); may be given again.",
        ),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", help="Show what the job prints while it runs: on stderr, unverified, at trust 1 only."
        ),
    ] = False,
    burst: Annotated[
        bool,
        typer.Option(
            "--burst", help="When the own pool is full, buy the rest from others on the market, under your own caps."
        ),
    ] = False,
    burst_rules: Annotated[
        Path | None,
        typer.Option("--burst-rules", help="The caps, a TOML file. Default: burst.toml in the network's folder."),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option("--runtime", help="What it runs in, see `fairgrid runtime list`. Default: by the file's ending."),
    ] = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a program on the network and bring back its verified result.

    Nothing is paid before enough workers of different owners computed the same bits. Examples:

    fairgrid run my_script.py --input data.csv --arg 42 --trust 0.99 --out results

    fairgrid run my_script.py --each arguments.txt --out results

    fairgrid run --app 0x5FbDB2315678afecb367f032d93F642f64180aa3 --input data.csv
    """
    if (script is None) is (published is None):
        raise UsageError("Name either a program or, with --app, the address of a published app.")
    if published is not None and runtime is not None:
        raise UsageError("A published app says itself what it runs in: leave --runtime out.")
    app_address = read_address(published) if published is not None else ""

    def job_of(program: Path, files: Sequence[Path], runtime_id: str, memory_bytes: int) -> Job:
        job = Job.from_files(
            program,
            files,
            arguments or [],
            runtime_id=runtime_id,
            fuel=fuel,
            memory_bytes=parse_size(memory, "--memory") if memory is not None else memory_bytes,
            output_bytes=parse_size(output_limit, "--output-limit"),
            checkpoint=checkpoint,
        )
        job = job.connecting_to([*([ANYWHERE] if internet else []), *(reach or [])])
        job = replace(job, canonicaliser=tuple(read_rule(text) for text in canonical or []), app=app_address)
        job = job.needing(parse_gpus(gpus) if gpus is not None else None)
        if each is not None or tasks is not None:
            job = job.as_bag(read_items(each) if each is not None else (), tasks=tasks)
        return job

    own: Job | None = None
    if script is not None:
        runtime_id = runtime or runtime_for_program(script).runtime_id
        own = job_of(script, with_companions(runtime_id, script, inputs or []), runtime_id, _DEFAULT_MEMORY)
    wish = TrustWish(trust, workers_at_least)
    screen = console()
    rules = load_burst_rules(burst_rules or find_network(directory).folder / RULES_NAME) if burst else None

    async def job_for(client: Client) -> Job:
        if own is not None:
            return own
        place = find_network(directory).folder / "apps"
        fetched = await fetch_app(client.chain, client.storage, app_address, place)
        files = [*fetched.inputs, *(inputs or [])]
        return job_of(fetched.program, files, fetched.document.runtime, fetched.document.memory_bytes)

    async def foresee() -> None:
        async with connected(directory, key_folder) as client:
            needed = [parse_dependency(text, client.journal) for text in after or []]
            job = (await job_for(client)).after(needed)
            tell_quote(await client.quote(job, wish, lane=lane), client, as_json=as_json)

    async def main() -> FinishedTask | FinishedBag | FinishedRun:
        started = time.monotonic()
        async with connected(directory, key_folder) as client:
            job = await job_for(client)
            with live_progress(screen) as on_progress:
                if rules is not None:
                    needed = [parse_dependency(text, client.journal) for text in after or []]
                    return await run_split(
                        client,
                        job.after(needed),
                        wish,
                        rules,
                        lane=lane,
                        out=out,
                        on_progress=on_progress,
                        screen=screen,
                    )
                if out is not None:
                    prepare_out(out)
                needed = [parse_dependency(text, client.journal) for text in after or []]
                record = await client.sign(job.after(needed), wish, lane=lane, on_progress=on_progress)
                target = out or Path("results") / record.deal_id[:12]
                return await _finish(client, record, target, on_progress, started, screen, follow=follow)

    if dry_run:
        if rules is not None:
            raise UsageError("What --burst would buy is known only while it buys. Leave --dry-run or --burst out.")
        run_async(foresee)
        return
    report(run_async(main), as_json=as_json, screen=screen)


@app.command()
def result(
    deal: Annotated[
        str, typer.Argument(help="Beginning of a deal or task id, or `last`; without it, all are listed.")
    ] = "",
    out: OutOption = None,
    directory: PlaceOption = None,
    key_folder: KeyFolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch and verify the result of a deal that was made before, waiting for it if it still runs."""
    screen = console()

    async def main() -> FinishedTask | FinishedBag | None:
        started = time.monotonic()
        async with connected(directory, key_folder) as client:
            if not deal:
                await _list_deals(client, screen, as_json=as_json)
                return None
            record = client.journal.find(deal)
            with live_progress(screen) as on_progress:
                target = out or Path("results") / record.deal_id[:12]
                return await _finish(client, record, target, on_progress, started, screen)

    finished = run_async(main)
    if finished is not None:
        report(finished, as_json=as_json, screen=screen)


@app.command()
def claim(
    deal: Annotated[str, typer.Argument(help="Beginning of a deal or task id, or `last`.")],
    directory: PlaceOption = None,
    key_folder: KeyFolderOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take the money of a deal back when its deadline has passed without a result."""
    screen = console()

    async def foresee() -> None:
        async with connected(directory, key_folder) as client:
            found = await foresee_claim(client.chain, client.journal.find(deal))
            tell_claim(found, client, as_json=as_json)

    if dry_run:
        run_async(foresee)
        return

    async def main() -> tuple[DealRecord, int]:
        async with connected(directory, key_folder) as client:
            record = client.journal.find(deal)
            with live_progress(screen) as on_progress:
                if record.is_bag:
                    async with client.bag(record) as follower:
                        bag = await client.claim_bag(record, follower, on_progress=on_progress)
                        return record, len(bag.refunded)
                await client.claim(record, on_progress=on_progress)
            return record, 1

    record, refunded = run_async(main)
    if as_json:
        ids = list(record.task_ids)
        emit_json(
            {"status": "refunded", "dealId": record.deal_id, "taskIds": ids, "refundedTasks": refunded, "exitCode": 0}
        )
    else:
        back = rlc(record.price // record.tasks * refunded)
        screen.print(f"Claimed: {back} of deal {record.deal_id} is back in your escrow.")


def connected(directory: Path | None, key_folder: Path | None) -> AbstractAsyncContextManager[Client]:
    """A client of the network in ``directory``, with the requester's key."""
    start_tracing("client")
    place = find_network(directory)
    signer = signer_of(place, key_folder)
    return Client.connect(place.network, signer, journal_folder=place.folder / "deals" / signer.address)


async def _finish(
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
