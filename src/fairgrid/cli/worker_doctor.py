"""`fairgrid worker doctor`: which isolation levels work here, how fast they start, and how to get the rest."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from fairgrid.cli.output import console, emit_json
from fairgrid.cli.shared_options import JsonOption
from fairgrid.errors import UsageError
from fairgrid.runtime.catalogue import CATALOGUE
from fairgrid.runtime.levels import Probe
from fairgrid.runtime.providers import PROBE_S, probe_all
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.owner.policy_file import PolicyFile
from fairgrid.worker.setup.containers import container_settings
from fairgrid.worker.setup.opening import POLICY_NAME

__all__ = ["doctor"]


def doctor(
    directory: Annotated[
        Path | None, typer.Option("--dir", help="The worker's folder; its policy says what is allowed.")
    ] = None,
    within_s: Annotated[
        float,
        typer.Option("--within", min=1, help="Seconds after which one that does not answer is dead."),
    ] = PROBE_S,
    json: JsonOption = False,
) -> None:
    """Try every runtime on this machine: does it work, how long does a job that does nothing take, what is missing?

    Exit code 0 if at least one works. Example: fairgrid worker doctor
    """
    policy = PolicyFile(directory / POLICY_NAME).current() if directory is not None else WorkerPolicy()
    tried = asyncio.run(probe_all(within_s=within_s, containers=container_settings(policy)))
    rows = [_row(name, probe, policy) for name, (_, probe) in tried.items()]
    if json:
        emit_json({"status": "ok" if any(row["works"] for row in rows) else "nothing works", "runtimes": rows})
    else:
        _show(rows)
    if not any(row["works"] for row in rows):
        raise UsageError("No runtime works on this machine; a worker could not compute anything.")


def _row(runtime_id: str, probe: Probe, policy: WorkerPolicy) -> dict[str, Any]:
    info = CATALOGUE[runtime_id]
    by_level = not policy.levels or info.level in policy.levels
    return {
        "runtime": runtime_id,
        "level": info.level.value,
        "works": probe.works,
        "startMs": round(probe.start_ms, 1),
        "allowed": by_level and (not policy.runtimes or runtime_id in policy.runtimes),
        "detail": probe.detail,
        "remedy": probe.remedy,
    }


def _show(rows: list[dict[str, Any]]) -> None:
    table = Table("runtime", "level", "works", "start", "policy", "what was found")
    for row in rows:
        start = f"{row['startMs']:.0f} ms" if row["works"] else ""
        found = row["detail"] + (f"\n→ {row['remedy']}" if row["remedy"] else "")
        allowed = "allowed" if row["allowed"] else "not allowed"
        table.add_row(row["runtime"], row["level"], "yes" if row["works"] else "NO", start, allowed, found)
    screen = console()
    screen.print(table)
    text = "Allow levels with `levels = [...]` in the worker's policy.toml; [] allows all that work."
    screen.print(text, markup=False)
