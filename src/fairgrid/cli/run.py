"""`fairgrid run`: a program goes out, a verified result comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from fairgrid.cli.bags import FinishedBag
from fairgrid.cli.burst import FinishedRun, burst_sentence, run_split
from fairgrid.cli.finishing import finish
from fairgrid.cli.live import live_progress
from fairgrid.cli.money_desk import MoneyDesk, money_command
from fairgrid.cli.output import run_async
from fairgrid.cli.run_quote import agree_to, not_above, quote_sentences, tell_quote
from fairgrid.cli.run_report import FinishedTask, report
from fairgrid.cli.shared_options import OutOption, read_address
from fairgrid.client.apps.fetching import fetch_app
from fairgrid.client.burst import RULES_NAME, load_burst_rules
from fairgrid.client.client import Client, LaneWish, Quote, TrustWish
from fairgrid.client.dependencies import parse_dependency
from fairgrid.client.job import Job
from fairgrid.client.job_options import parse_days, parse_gpus, parse_size, read_items
from fairgrid.client.private_runs import HONEST_WORDS, HONEST_WORDS_OF_SECRETS
from fairgrid.client.results import prepare_out
from fairgrid.errors import UsageError
from fairgrid.protocol.canonical import read_rule
from fairgrid.protocol.network import ANYWHERE
from fairgrid.runtime.catalogue import runtime_for_program
from fairgrid.runtime.companions import with_companions

__all__ = ["app"]

app = typer.Typer(add_completion=False)

_DEFAULT_MEMORY: Final = 1 << 30


@money_command(app, "run", spends=True, for_roles=False)
def run(
    desk: MoneyDesk,
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
    private: Annotated[
        bool,
        typer.Option(
            "--private",
            help="Encrypt program, inputs, names, arguments and results; the pool and the machines that run it read "
            "them.",
        ),
    ] = False,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            metavar="DAYS",
            help="Let storage remove the results so long after their upload, and the run's other files a week later, "
            "e.g. 7d or 4w. Default: they stay.",
        ),
    ] = None,
    secrets: Annotated[
        list[str] | None,
        typer.Option(
            "--secret",
            metavar="NAME",
            help="A secret of yours (`fairgrid secret set`), as $IEXEC_REQUESTER_SECRET_1 and so on, in order; sealed "
            "for the pool and the machines that run the job; may be given again.",
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option("--runtime", help="What it runs in, see `fairgrid runtime list`. Default: by the file's ending."),
    ] = None,
) -> None:
    """Run a program on the network and bring back its verified result.

    Nothing is paid before enough workers of different owners computed the same bits. What is signed, and its price, is
    said first; a terminal is asked, except on a local network, whose money is play money. Examples:

    fairgrid run my_script.py --input data.csv --arg 42 --trust 0.99 --out results

    fairgrid run my_script.py --each arguments.txt --out results

    fairgrid run --app 0x5FbDB2315678afecb367f032d93F642f64180aa3 --input data.csv
    """
    if (script is None) is (published is None):
        raise UsageError("Name a program, such as my_script.py, or with --app the address of a published app.")
    if published is not None and runtime is not None:
        raise UsageError("A published app says itself what it runs in: leave --runtime out.")
    app_address = read_address(published) if published is not None else ""

    def job_of(
        program: Path, files: Sequence[Path], runtime_id: str, memory_bytes: int, hosts: Sequence[str] = ()
    ) -> Job:
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
        job = job.connecting_to([*hosts, *([ANYWHERE] if internet else []), *(reach or [])])
        job = replace(job, canonicaliser=tuple(read_rule(text) for text in canonical or []), app=app_address)
        job = job.needing(parse_gpus(gpus) if gpus is not None else None).hidden(private=private)
        job = job.kept_for(parse_days(keep, "--keep") if keep is not None else None)
        if each is not None or tasks is not None:
            job = job.as_bag(read_items(each) if each is not None else (), tasks=tasks)
        return job

    if secrets and burst:
        raise UsageError("A run with secrets is for one pool alone. Nothing was signed. Leave --burst or --secret out.")
    if private and (burst or follow):
        raise UsageError(
            "A private run is for one pool alone, and nothing of it is shown while it runs. Nothing was signed. Leave "
            "--burst and --follow out."
        )
    own: Job | None = None
    if script is not None:
        runtime_id = runtime or runtime_for_program(script).runtime_id
        own = job_of(script, with_companions(runtime_id, script, inputs or []), runtime_id, _DEFAULT_MEMORY)
    wish = TrustWish(trust, workers_at_least)
    screen = desk.screen
    rules = load_burst_rules(burst_rules or desk.place.folder / RULES_NAME) if burst else None

    told: list[str] = []

    async def job_for(client: Client) -> Job:
        if own is not None:
            return own
        place = desk.place.folder / "apps"
        fetched = await fetch_app(client.chain, client.storage, app_address, place)
        files = [*fetched.inputs, *(inputs or [])]
        document = fetched.document
        if document.reach:
            hosts = ", ".join(document.reach)
            if reach or internet:
                raise UsageError(
                    f"The app {document.name!r} says itself what it connects to ({hosts}), and workers refuse it "
                    f"anything else. Nothing was signed; leave --reach and --internet out."
                )
            sentence = f"The app {document.name!r} connects to {hosts}: only workers whose owners allow that take it."
            if sentence not in told:
                screen.print(sentence, markup=False)
                told.append(sentence)
        return job_of(fetched.program, files, document.runtime, document.memory_bytes, document.reach)

    async def foresee() -> Quote:
        async with desk.client() as client:
            needed = [parse_dependency(text, client.journal) for text in after or []]
            job = (await job_for(client)).after(needed)
            return await client.quote(job, wish, lane=lane)

    def say(quote: Quote) -> None:
        words = [HONEST_WORDS] if private else [HONEST_WORDS_OF_SECRETS] if secrets else []
        desk.say([*words, *quote_sentences(quote)])

    accept: Callable[[Quote], None] = say

    async def main() -> FinishedTask | FinishedBag | FinishedRun:
        started = time.monotonic()
        async with desk.client() as client:
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
                job = job.hidden(private=private, secrets=client.secrets_named(secrets or ()))
                record = await client.sign(job.after(needed), wish, lane=lane, accept=accept, on_progress=on_progress)
                target = out or Path("results") / record.deal_id[:12]
                return await finish(client, record, target, on_progress, started, screen, follow=follow)

    if desk.dry_run:
        if rules is not None:
            raise UsageError("What --burst would buy is known only while it buys. Leave --dry-run or --burst out.")
        tell_quote(run_async(foresee), desk)
        return
    if rules is not None:
        desk.say([burst_sentence(rules)])
        if not desk.has_play_money:
            desk.agree()
    elif not (desk.yes or desk.has_play_money):
        quote = run_async(foresee)
        agree_to(quote, desk)
        accept = not_above(quote)
    report(run_async(main), as_json=desk.as_json, screen=screen)
