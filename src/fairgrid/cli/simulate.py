"""`fairgrid simulate`: what a trust policy costs and guarantees against adversaries, before real money hangs on it."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from fairgrid.cli.output import console, emit_json
from fairgrid.cli.shared_options import JsonOption
from fairgrid.errors import UsageError
from fairgrid.pool.core.trust_policy import TrustPolicy
from fairgrid.protocol.trust import FRESH_WEIGHT, replicas_to_request
from fairgrid.simulation import chart, sarmenta
from fairgrid.simulation.experiment import TARGETS, Experiment, Measured, run, ways_for
from fairgrid.simulation.population import Adversaries, Behaviour

__all__ = ["app"]

app = typer.Typer(no_args_is_help=False, add_completion=False, help="Try a trust policy on a simulated pool.")
_CHOICES = {
    "pool": ("established", "fresh"),
    "mode": ("independent", "colluding"),
    "behaviour": tuple(item.value for item in Behaviour),
}


@app.command("simulate")
def simulate(
    adversaries: Annotated[str, typer.Option(help="Shares of workers that lie, in percent, with commas.")] = "5,20,33",
    mode: Annotated[str, typer.Option(help="How they lie: independent, colluding or both.")] = "both",
    behaviour: Annotated[
        str, typer.Option(help="When: always, sleeper (only once the pool believes them) or both.")
    ] = "both",
    lie_rate: Annotated[float, typer.Option(help="Share of its tasks about which an adversary lies.")] = 1.0,
    rejoin: Annotated[bool, typer.Option("--rejoin", help="Who was caught comes back under a new name.")] = False,
    pool: Annotated[str, typer.Option(help="The pool: established, fresh or both.")] = "both",
    trust: Annotated[str, typer.Option(help="Deals' trusts to compare with (fresh workers), with commas.")] = "4,8",
    audit_share: Annotated[float, typer.Option(help="The policy's audit_share.")] = 0.05,
    proven_after: Annotated[int, typer.Option(help="The policy's proven_after.")] = 10,
    quarantine: Annotated[float, typer.Option(help="The policy's first_quarantine_s.")] = 3_600.0,
    volatility: Annotated[float, typer.Option(help="Chance that a worker leaves for good after a task.")] = 0.001,
    workers: Annotated[int, typer.Option(help="Workers of the pool.")] = 200,
    tasks: Annotated[int, typer.Option(help="Tasks in an established pool; a fresh one has a fifth.")] = 20_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same numbers.")] = 1,
    published: Annotated[
        bool, typer.Option("--published", help="Instead: trials of the formulas of Sarmenta's paper.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw a picture (.png or .svg); needs fairgrid[plots].")] = None,
    json: JsonOption = False,
) -> None:
    """Let adversaries attack a simulated pool, and show how many wrong results each way of checking lets through.

    Compared are this pool's audits (the scheduler's own classes), BOINC's adaptive replication, and replication until
    as many fresh workers agree as a deal's trust needs.

    Example: `fairgrid simulate --plot trust.png`.
    """
    if plot is not None:
        chart.need_plots()
    if published:
        _show_published(_published(seed), as_json=json)
        return
    policy = replace(
        TrustPolicy(),
        audit_share=audit_share,
        proven_after=proven_after,
        first_quarantine_s=quarantine,
        longest_quarantine_s=max(TrustPolicy().longest_quarantine_s, quarantine),
    )
    base = Experiment(workers=workers, tasks=tasks, volatility=volatility, seed=seed)
    cells = [
        replace(
            base,
            established=which == "established",
            tasks=tasks if which == "established" else max(tasks // 5, 1),
            adversaries=Adversaries(
                share=share,
                colluding=how == "colluding",
                behaviour=Behaviour(when),
                lie_rate=lie_rate,
                rejoins=rejoin,
            ),
        )
        for which, share, how, when in itertools.product(
            _chosen("pool", pool), _shares(adversaries), _chosen("mode", mode), _chosen("behaviour", behaviour)
        )
    ]
    ways = ways_for(policy, _quorums(trust))
    started, rows = time.monotonic(), []
    total = sum((cell.tasks + (50 * cell.workers if cell.established else 0)) * len(ways) for cell in cells)
    with _progress(total, quiet=json) as tick:
        for cell, way in itertools.product(cells, ways):
            rows.append((cell, run(cell, way, policy, tick)))
    if plot is not None:
        chart.draw([(_pool(cell), _mode(cell), cell.adversaries.share, got) for cell, got in rows], plot)
    if json:
        emit_json(
            {
                "status": "ok",
                "seed": seed,
                "seconds": round(time.monotonic() - started, 3),
                "targets": TARGETS,
                "plot": None if plot is None else str(plot),
                "cells": [_facts(cell, measured) for cell, measured in rows],
            }
        )
        return
    _show(rows)
    if plot is not None:
        console().print(f"Picture: {plot}", markup=False)


# --- reading options ------------------------------------------------------------------------------------------------


def _chosen(option: str, value: str) -> tuple[str, ...]:
    choices = _CHOICES[option]
    if value == "both":
        return choices
    if value not in choices:
        raise UsageError(f"--{option} is {value!r}; give {', '.join(choices)} or both.")
    return (value,)


def _shares(text: str) -> list[float]:
    try:
        return [float(part) / 100 for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--adversaries is {text!r}; give percentages with commas, such as 5,20,33.") from None


def _quorums(text: str) -> tuple[int, ...]:
    """How many fresh workers must agree for each trust, without dissent."""
    try:
        trusts = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--trust is {text!r}; give whole numbers with commas, such as 4,8.") from None
    if any(not 1 <= trust <= 1 << 20 for trust in trusts):
        raise UsageError(f"--trust is {text!r}; a trust to simulate is from 1 to {1 << 20}.")
    return tuple(dict.fromkeys(max(replicas_to_request({}, [], [FRESH_WEIGHT] * 40, trust), 1) for trust in trusts))


@contextlib.contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    with Progress(console=console(quiet=quiet), transient=True) as bar:
        work = bar.add_task("tasks", total=total)
        yield lambda done: bar.advance(work, done)


# --- showing --------------------------------------------------------------------------------------------------------


def _pool(cell: Experiment) -> str:
    return "established" if cell.established else "fresh"


def _mode(cell: Experiment) -> str:
    return "colluding" if cell.adversaries.colluding else "independent"


def _target(cell: Experiment, measured: Measured) -> float | None:
    """The most executions that are promised for this cell; None where only the cost is published."""
    promised = measured.way == "audits" and not cell.adversaries.colluding and cell.adversaries.share <= 0.05
    return TARGETS[_pool(cell)] if promised else None


def _facts(cell: Experiment, measured: Measured) -> dict[str, Any]:
    target = _target(cell, measured)
    return {
        "pool": _pool(cell),
        "adversaries": cell.adversaries.share,
        "mode": _mode(cell),
        "behaviour": cell.adversaries.behaviour.value,
        "way": measured.way,
        "tasks": measured.tasks,
        "wrong": measured.wrong,
        "wrongRate": measured.wrong_rate,
        "wrongRateAtMost": measured.wrong_at_most,
        "refusedRate": measured.refused_rate,
        "overhead": measured.overhead,
        "target": target,
        "targetMet": None if target is None else measured.overhead <= target,
    }


def _show(rows: list[tuple[Experiment, Measured]]) -> None:
    table = Table("pool", "adversaries", "mode", "behaviour", "way", "wrong", "refused", "overhead", "target")
    before: Experiment | None = None
    for cell, measured in rows:
        if before is not None and cell is not before:
            table.add_section()
        before, target = cell, _target(cell, measured)
        told = "" if target is None else f"≤ {target:.2f} {'met' if measured.overhead <= target else 'missed'}"
        wrong = f"{measured.wrong_rate:.2e}" if measured.wrong else f"none (≤ {measured.wrong_at_most:.0e})"
        table.add_row(
            _pool(cell),
            f"{cell.adversaries.share:.0%}",
            _mode(cell),
            cell.adversaries.behaviour.value,
            measured.way,
            wrong,
            f"{measured.refused_rate:.1e}" if measured.refused_rate else "",
            f"{measured.overhead:.3f}",
            told,
        )
    console().print(table)


def _published(seed: int) -> list[dict[str, Any]]:
    """Each formula of the paper beside a trial of it."""
    found: list[dict[str, Any]] = []

    def add(what: str, setting: str, formula: float, trial: float, *, bound: bool = False) -> None:
        holds = trial <= formula * 1.05 if bound else abs(trial - formula) <= 0.1 * formula + 2e-4
        found.append(
            {"what": what, "setting": setting, "formula": formula, "trial": trial, "isBound": bound, "holds": holds}
        )

    for f, m in itertools.product((0.05, 0.1, 0.2), (2, 3, 4)):
        error, slowdown = sarmenta.majority_trial(f, m, 200_000, seed)
        add("majority voting, error", f"f={f} m={m}", sarmenta.majority_error(f, m), error)
        add("majority voting, bound", f"f={f} m={m}", sarmenta.majority_bound(f, m), error, bound=True)
        add("voting, redundancy m/(1-f)", f"f={f} m={m}", sarmenta.voting_redundancy(f, m), slowdown, bound=True)
    for f, n in itertools.product((0.05, 0.2, 0.5), (50, 200)):
        q, s = 0.1, 1 / (0.1 * n)
        trial = sarmenta.spot_check_trial(f, q, n, s, 20_000, seed)
        add("spot checks, blacklisting", f"f={f} q={q} n={n} s={s:g}", sarmenta.spot_check_error(f, q, n, s), trial)
        add("spot checks, worst lie rate", f"f={f} q={q} n={n}", sarmenta.spot_check_bound(f, q, n), trial, bound=True)
        trial = sarmenta.spot_check_trial(f, q, n, s, 20_000, seed, rejoins=True)
        bound = sarmenta.spot_check_no_blacklist_bound(f, q, n)
        add("spot checks, no blacklist", f"f={f} q={q} l={n} s={s:g}", bound, trial, bound=True)
    for f, accept in itertools.product((0.05, 0.2), (0.99, 0.999)):
        for s in (0.05, 0.2, 1.0):
            got = sarmenta.credibility_trial(f=f, q=0.1, s=s, accept=accept, workers=200, tasks=10_000, seed=seed)
            setting = f"f={f} q=0.1 s={s} θ={accept} (slowdown {got.slowdown:.2f})"
            add("credibility voting, error", setting, 1 - accept, got.error, bound=True)
    return found


def _show_published(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        emit_json({"status": "ok", "figures": found})
        return
    table = Table("what", "setting", "paper", "trial", "")
    for row in found:
        sign = "≤" if row["isBound"] else "="
        table.add_row(
            row["what"],
            row["setting"],
            f"{sign} {row['formula']:.3g}",
            f"{row['trial']:.3g}",
            "holds" if row["holds"] else "does not hold",
        )
    console().print(table)
