"""`fairgrid app`: try a program on this machine as a worker would run it, and see whether its results are the same."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from fairgrid.cli.app_build import build
from fairgrid.cli.app_init import init
from fairgrid.cli.app_publish import add_publish
from fairgrid.cli.app_shelf import add_shelf
from fairgrid.cli.assets import add_app_commands
from fairgrid.cli.output import console, emit_json, run_async
from fairgrid.cli.shared_options import JsonOption
from fairgrid.client.apps.building import build_program, is_built
from fairgrid.client.apps.project import AppProject, find_project, read_project
from fairgrid.client.apps.trial import ResultUnexpected, accept_result, differences, project_inputs
from fairgrid.client.job import Job
from fairgrid.client.job_options import parse_size
from fairgrid.client.prepared_job import local_files, manifest_of, run_locally
from fairgrid.client.results import prepare_out
from fairgrid.errors import FairgridError, HostFailure, JobError, UsageError
from fairgrid.protocol.canonical import read_rule
from fairgrid.protocol.terminal import sanitise_terminal
from fairgrid.runtime.catalogue import runtime_for_program, runtime_info
from fairgrid.runtime.companions import with_companions
from fairgrid.runtime.determinism.check import CheckReport, check_determinism
from fairgrid.runtime.determinism.conditions import CONDITIONS
from fairgrid.runtime.interface import Sandbox
from fairgrid.runtime.job_result import JobResult
from fairgrid.runtime.levels import RuntimeInfo
from fairgrid.runtime.network.grant import NetworkGrant
from fairgrid.runtime.providers import provider_of

__all__ = ["ResultsDiffer", "app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Make and try programs for the network.")

app.command("init")(init)
app.command("build")(build)
add_publish(app)
add_shelf(app)
add_app_commands(app)

ProgramArgument = Annotated[
    Path | None,
    typer.Argument(
        help="The program: a script, a module, an image; or the folder of a project. Default: the project here."
    ),
]
InputsOption = Annotated[list[Path] | None, typer.Option("--input", help="A file that it needs; may be given again.")]
ArgumentsOption = Annotated[list[str] | None, typer.Option("--arg", help="An argument; may be given again.")]
RuntimeOption = Annotated[
    str | None, typer.Option("--runtime", help="What it runs in (`fairgrid runtime list`). Default: by its ending.")
]
MemoryOption = Annotated[
    str | None, typer.Option("--memory", help="Limit of memory, e.g. 512M or 2G. Default: the project's, or 1G.")
]
SecondsOption = Annotated[
    int | None,
    typer.Option(
        "--seconds",
        min=1,
        help="The category's time: limit of one run. Default: the project's, or the 300 s of category 0.",
    ),
]
CanonicalOption = Annotated[
    list[str] | None,
    typer.Option(
        "--canonical",
        metavar="RULE",
        help="Hash files in a canonical form, as `fairgrid run --canonical` does: json:*.json, rows:out.csv:header=1 "
        "or round:*.csv:decimals=6:edge=3; may be given again.",
    ),
]


_CATEGORY_0_S = 300


class ResultsDiffer(FairgridError):
    """A program gave other results under other conditions of the host."""

    exit_code = 5


@app.command("check")
def check(
    program: ProgramArgument = None,
    inputs: InputsOption = None,
    arguments: ArgumentsOption = None,
    runtime: RuntimeOption = None,
    memory: MemoryOption = None,
    seconds: SecondsOption = None,
    canonical: CanonicalOption = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help=f"Only this condition ({', '.join(c.name for c in CONDITIONS)}); may be repeated."),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="Keep the results of all runs in this new folder, to look at them.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a program several times while the host changes, and say where results differ first, and why probably.

    Workers of different owners are paid only if their results agree to the last bit, so check before you pay.
    Exit code 0: every run agreed. 5: they differ. Example:

    fairgrid app check simulate.py --arg 42

    fairgrid app check model.sh --canonical round:scores.csv:decimals=6:edge=3
    """
    job, info, project = _job(program, inputs, arguments, runtime, memory)
    job = replace(job, canonicaliser=tuple(read_rule(text) for text in canonical or []))
    timeref = seconds or (project.test.seconds if project is not None else _CATEGORY_0_S)
    conditions = [condition for condition in CONDITIONS if not only or condition.name in only]
    if not conditions:
        known = ", ".join(condition.name for condition in CONDITIONS)
        raise UsageError(f"No condition is named {', '.join(only or [])}. There are {known}.")
    if keep is not None:
        prepare_out(keep)
    screen = console()
    folder = keep or Path(tempfile.mkdtemp(prefix="fairgrid-check-"))

    async def main() -> CheckReport:
        return await check_determinism(
            manifest_of(job, timeref=timeref),
            local_files(job, timeref=timeref),
            folder,
            wall_s=float(timeref),
            conditions=conditions,
            on_trial=lambda text: screen.print(f"Running with {text}", markup=False),
        )

    try:
        report = run_async(main)
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        emit_json(_report_row(report, info))
    else:
        _show(report, info)
    if not report.is_deterministic:
        raise typer.Exit(ResultsDiffer.exit_code)


@app.command("test")
def test(
    program: ProgramArgument = None,
    inputs: InputsOption = None,
    arguments: ArgumentsOption = None,
    runtime: RuntimeOption = None,
    memory: MemoryOption = None,
    seconds: SecondsOption = None,
    canonical: CanonicalOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="New folder for the result. Default: it is not kept.")
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Make this result the one that the project expects from now on.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a program once on this machine, exactly as a worker would, and show its result, digest and use.

    A project is built if its sources are younger, runs its own test, and its result must be what the project expects.
    Nothing is signed or paid. Exit code 1 if the program fails, 5 if the result is not the expected one. Examples:

    fairgrid app test

    fairgrid app test simulate.py --input data.csv --out result
    """
    job, info, project = _job(program, inputs, arguments, runtime, memory)
    job = replace(job, canonicaliser=tuple(read_rule(text) for text in canonical or []))
    timeref = seconds or (project.test.seconds if project is not None else _CATEGORY_0_S)
    # Other inputs or arguments than the project's test has give another result than it expects.
    expected = project.test.expected if project is not None and not inputs and not arguments else None
    if accept and expected is None:
        raise UsageError("--accept is for a project's own test: app.toml must say where [test] expected lies.")
    if out is not None:
        prepare_out(out)
    folder = Path(tempfile.mkdtemp(prefix="fairgrid-test-"))

    async def main() -> JobResult:
        sandbox = await _sandbox(info)
        try:
            return await run_locally(
                job,
                timeref=timeref,
                index=0,
                workdir=folder / "job",
                sandbox=sandbox,
                network=NetworkGrant(job.network) if job.network else None,
            )
        finally:
            await sandbox.close()

    try:
        result = run_async(main)
        files = sorted(path.relative_to(result.result_folder).as_posix() for path in _plain(result.result_folder))
        if accept and expected is not None and result.error is None:
            accept_result(result.result_folder, expected)
        told = differences(result.result_folder, expected) if expected is not None and result.error is None else None
        if as_json:
            emit_json(_result_row(result, info, files, told))
        else:
            _show_result(result, info, files)
            _show_differences(told, expected)
        if out is not None:
            shutil.copytree(result.result_folder, out, dirs_exist_ok=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if result.error is not None:
        raise typer.Exit(JobError.exit_code)
    if told:
        raise typer.Exit(ResultUnexpected.exit_code)


def _job(
    given: Path | None,
    inputs: Sequence[Path] | None,
    arguments: Sequence[str] | None,
    runtime: str | None,
    memory: str | None,
) -> tuple[Job, RuntimeInfo, AppProject | None]:
    """What is to be run; of a project its own test, but with the inputs or arguments that the command names."""
    folder = find_project(given)
    project = read_project(folder) if folder is not None else None
    if project is not None:
        if not is_built(project):
            screen = console()
            build_program(project, lambda text: screen.print(text, markup=False))
        program, info = project.program, project.runtime
        files = [*project_inputs(project), *(inputs or (project.test.inputs if not arguments else ()))]
        words: Sequence[str] = arguments or (project.test.arguments if not inputs else ())
        limit = parse_size(memory, "--memory") if memory is not None else project.memory_bytes
    else:
        assert given is not None
        program, info = given, runtime_for_program(given) if runtime is None else runtime_info(runtime)
        files = with_companions(info.runtime_id, program, inputs or [])
        words, limit = arguments or (), parse_size(memory or "1G", "--memory")
    if runtime is not None:
        info = runtime_info(runtime)
    job = Job.from_files(program, files, words, runtime_id=info.runtime_id, memory_bytes=limit)
    return job.connecting_to(project.reach if project is not None else ()), info, project


async def _sandbox(info: RuntimeInfo) -> Sandbox:
    provider = provider_of(info)
    probe = await provider.probe()
    if not probe.works:
        raise HostFailure(f"The runtime {info.runtime_id} does not work here: {probe.detail} {probe.remedy}".rstrip())
    return provider.sandbox()


def _report_row(report: CheckReport, info: RuntimeInfo) -> dict[str, Any]:
    found, cause = report.difference, report.cause
    return {
        "status": "ok" if report.is_deterministic else "differs",
        "runtime": info.runtime_id,
        "deterministic": report.is_deterministic,
        "digest": report.first.digest,
        "exitCode": report.first.exit_code,
        "runs": [
            {
                "condition": trial.condition.name,
                "changed": trial.condition.text,
                "agrees": trial.difference is None,
                "digest": trial.result.digest,
                "notChanged": trial.result.unchanged,
            }
            for trial in report.trials
        ],
        "difference": None
        if found is None
        else {
            "file": found.path,
            "byte": found.offset,
            "line": found.line,
            "first": found.first.decode("utf-8", "backslashreplace"),
            "other": found.other.decode("utf-8", "backslashreplace"),
            "moreFiles": list(found.more),
        },
        "cause": None if cause is None else {"name": cause.name, "text": cause.text, "remedy": cause.remedy},
    }


def _show(report: CheckReport, info: RuntimeInfo) -> None:
    screen = console()
    table = Table("changed", "result")
    for trial in report.trials:
        text = "the same" if trial.difference is None else "DIFFERS"
        table.add_row(trial.condition.text, text + (f" ({trial.result.unchanged})" if trial.result.unchanged else ""))
    screen.print(table)
    found, cause = report.difference, report.cause
    if found is None or cause is None:
        runs = len(report.trials) + 1
        promise = "" if info.deterministic else " This runtime does not promise it: other machines may still differ."
        screen.print(f"All {runs} runs agree: {report.first.digest}.{promise}", markup=False)
        return
    where = f"byte {found.offset}" + (f", line {found.line}" if found.line is not None else "")
    screen.print(
        f"First difference: {found.path}, {where if found.offset is not None else 'only one has it'}", markup=False
    )
    for name, piece in (("first", found.first), ("other", found.other)):
        screen.print(f"  {name}: {sanitise_terminal(piece.decode('utf-8', 'backslashreplace'))!r}", markup=False)
    if found.more:
        screen.print(f"  and {len(found.more)} more file(s): {', '.join(found.more[:5])}", markup=False)
    screen.print(f"Probably: {cause.text}", markup=False, style="yellow")
    screen.print(f"Remedy: {cause.remedy}", markup=False)


def _show_differences(told: list[str] | None, expected: Path | None) -> None:
    if told is None:
        return
    screen = console()
    if told:
        screen.print(f"The result is not the expected one ({expected}):", markup=False, style="yellow")
        for sentence in told:
            screen.print(f"  {sanitise_terminal(sentence)}", markup=False)
        screen.print("Mend the program; or `fairgrid app test --accept`, if the new result is right.", markup=False)
    else:
        screen.print(f"The result is the expected one ({expected}).", markup=False)


def _result_row(result: JobResult, info: RuntimeInfo, files: list[str], told: list[str] | None) -> dict[str, Any]:
    status = "failed" if result.error is not None else "unexpected" if told else "ok"
    return {
        "status": status,
        "runtime": info.runtime_id,
        "digest": result.digest,
        "exitCode": result.exit_code,
        "error": result.error,
        "files": files,
        "expected": None if told is None else not told,
        "differences": told or [],
        "usage": {
            "fuel": result.usage.fuel,
            "wallS": round(result.usage.wall_s, 3),
            "cpuS": round(result.usage.cpu_s, 3),
            "peakMemoryBytes": result.usage.peak_memory_bytes,
        },
    }


def _show_result(result: JobResult, info: RuntimeInfo, files: list[str]) -> None:
    screen = console()
    for name in ("stdout.txt", "stderr.txt"):
        path = result.result_folder / name
        if path.is_file():
            typer.echo(
                sanitise_terminal(path.read_text(encoding="utf-8", errors="replace")),
                nl=False,
                err=name != "stdout.txt",
            )
    ended = "ok" if result.error is None else f"failed: {result.error.get('message') or result.error['kind']}"
    used = result.usage
    screen.print(f"{info.runtime_id}: {ended}; digest {result.digest}", markup=False)
    work = f"{used.fuel:,} units of fuel, " if used.fuel else ""
    memory = f"{used.peak_memory_bytes >> 20} MiB at most"
    screen.print(
        f"{len(files)} file(s); {work}{used.wall_s:.1f} s, {used.cpu_s:.1f} s of processor, {memory}", markup=False
    )


def _plain(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
