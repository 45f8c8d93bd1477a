"""`fairgrid worker doctor`: which isolation levels work here, how fast they start, and how to get the rest."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from fairgrid.cli.output import console, emit_json
from fairgrid.cli.shared_options import JsonOption
from fairgrid.errors import HostFailure, UsageError
from fairgrid.runtime.catalogue import CATALOGUE
from fairgrid.runtime.container.settings import ContainerSettings
from fairgrid.runtime.engines.opening import opened_engine
from fairgrid.runtime.engines.options import EngineOptions
from fairgrid.runtime.engines.trial import TRIAL_S, tried_on
from fairgrid.runtime.levels import Probe
from fairgrid.runtime.providers import PROBE_S, probe_all
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.owner.policy_file import PolicyFile
from fairgrid.worker.setup.containers import container_settings

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

    With --dir of a worker whose policy names an engine, they are tried on a node of that engine, in a cell that goes
    through its queue. Exit code 0 if at least one works. Example: fairgrid worker doctor
    """
    from fairgrid.worker.setup.opening import POLICY_NAME

    policy = PolicyFile(directory / POLICY_NAME).current() if directory is not None else WorkerPolicy()
    engine: dict[str, Any] | None = None
    containers = container_settings(policy)
    if policy.engine is None or directory is None:
        probes = {
            name: probe for name, (_, probe) in asyncio.run(probe_all(within_s=within_s, containers=containers)).items()
        }
    else:
        engine, probes = asyncio.run(
            _on_engine(policy.engine, directory.expanduser(), containers, max(within_s, TRIAL_S))
        )
    rows = [_row(name, probe, policy) for name, probe in probes.items()]
    works = any(row["works"] for row in rows)
    if json:
        emit_json({"status": "ok" if works else "nothing works", "engine": engine, "runtimes": rows})
    else:
        _show(rows, engine, policy)
    if not works:
        where = f"the engine ({engine['detail']})" if engine is not None else "this machine"
        raise UsageError(f"No runtime works on {where}; a worker could not compute anything.")


async def _on_engine(
    options: EngineOptions, folder: Path, containers: ContainerSettings, within_s: float
) -> tuple[dict[str, Any], dict[str, Probe]]:
    """What a trial through the engine's queue says of it, and of the runtimes on its nodes."""
    from fairgrid.worker.setup.offering import ENGINE_FOLDER

    began = time.monotonic()
    answer: dict[str, Any] = {"kind": options.kind.value, "works": False, "node": "", "seconds": 0.0, "detail": ""}
    # A name of its own: the worker of this folder may run, and its cells are not to be touched.
    prefix = f"fairgrid-doctor-{secrets.token_hex(4)}"
    place = folder / f"{ENGINE_FOLDER}-doctor"
    try:
        async with opened_engine(options, place, prefix=prefix) as opened:
            tried = await tried_on(
                opened, list(CATALOGUE), place, prefix=prefix, within_s=within_s, containers=containers
            )
    except HostFailure as error:
        return {**answer, "detail": str(error)}, {}
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
    node, seconds = tried.node, round(time.monotonic() - began, 1)
    detail = f"{node.cpus} processors, {node.memory_bytes / (1 << 30):.1f} GiB, {node.system} {node.arch}"
    return {**answer, "works": True, "node": node.name, "seconds": seconds, "detail": detail}, dict(tried.probes)


def _row(runtime_id: str, probe: Probe, policy: WorkerPolicy) -> dict[str, Any]:
    info = CATALOGUE[runtime_id]
    by_level = not policy.levels or info.level in policy.levels
    return {
        "runtime": runtime_id,
        "level": info.level.value,
        "works": probe.works,
        "startMs": round(probe.start_ms, 1),
        "allowed": by_level and (not policy.runtimes or runtime_id in policy.runtimes),
        "network": probe.network,
        "detail": probe.detail,
        "remedy": probe.remedy,
    }


def _show(rows: list[dict[str, Any]], engine: dict[str, Any] | None, policy: WorkerPolicy) -> None:
    table = Table("runtime", "level", "works", "start", "policy", "what was found")
    for row in rows:
        start = f"{row['startMs']:.0f} ms" if row["works"] else ""
        found = row["detail"] + (f"\n→ {row['remedy']}" if row["remedy"] else "")
        allowed = "allowed" if row["allowed"] else "not allowed"
        table.add_row(row["runtime"], row["level"], "yes" if row["works"] else "NO", start, allowed, found)
    screen = console()
    if engine is not None:
        answered = f"node {engine['node']} after {engine['seconds']} s: " if engine["works"] else "does not work: "
        screen.print(f"Engine {engine['kind']}: {answered}{engine['detail']}", style="bold", markup=False)
    screen.print(table)
    screen.print(_network_words(rows, policy), markup=False)
    text = "Allow levels with `levels = [...]` in the worker's policy.toml; [] allows all that work."
    screen.print(text, markup=False)


def _network_words(rows: list[dict[str, Any]], policy: WorkerPolicy) -> str:
    """Which runtimes could give a job the network, and whether the owner lets them."""
    able = [row["runtime"] for row in rows if row["network"]]
    if not able:
        return "Network: no runtime here can give it to a job safely, so jobs that ask for it do not come."
    names = ", ".join(able)
    if not policy.allow_network:
        return (
            f"Network: {names} could give it to jobs that ask for it; `allow_network = true` in policy.toml lets them."
        )
    return f"Network: {names} give it to jobs that ask for it, to {', '.join(policy.network_hosts) or 'no host'}."
