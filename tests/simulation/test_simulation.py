"""Nothing is lost and nothing is paid twice, whatever goes wrong in between."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.run import (
    Report,
    open_seeds,
    regression_seeds,
    replay_command,
    run_seed,
    run_seeds,
    table_of_faults,
)

ROOT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("FAIRGRID_SEEDS", "1000"))
PROGRESS = 50
LEAST_SHARE = 0.05
"""Each kind of fault, and each part of the program that is not in all seeds, happens in at least so many of them."""


def explain(report: Report) -> str:
    return "\n".join([f"Seed {report.seed}. Replay it: {replay_command(report.seed)}", *report.violations])


@pytest.mark.parametrize("seed", regression_seeds())
def test_a_seed_that_found_a_bug_once_passes(seed: int) -> None:
    report = run_seed(seed)
    assert not report.violations, explain(report)


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = run_seed(352, trace=True), run_seed(352, trace=True)
    assert len(first.trace) > 50
    assert first.trace == second.trace


@pytest.mark.timeout(300)
def test_the_same_seed_gives_the_same_run_whatever_python_hashes() -> None:
    def digest(hash_seed: int) -> str:
        command = [sys.executable, "-m", "tests.simulation", "104", "--digest"]
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
        return subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    first, second = digest(1), digest(2)
    assert len(first.strip()) == 64
    assert first == second == f"{run_seed(104).digest}\n", "and in a process that ran other seeds before"


def test_a_run_that_is_traced_is_the_same_run() -> None:
    assert run_seed(4).digest == run_seed(4, trace=True).digest


def test_another_seed_gives_another_run() -> None:
    assert run_seed(2, trace=True).trace != run_seed(3, trace=True).trace


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_every_seed_keeps_every_promise_and_every_fault_happens(capsys: pytest.CaptureFixture[str]) -> None:
    reports = []
    for report in run_seeds(range(SEEDS)):
        reports.append(report)
        if report.violations:  # at once: a run that is cut short must not lose what it found
            with capsys.disabled():
                sys.stdout.write(f"\n{explain(report)}")
        if len(reports) % PROGRESS == 0:
            with capsys.disabled():
                sys.stdout.write(f"\n{len(reports)} of {SEEDS} seeds")
                sys.stdout.flush()
    table, shares = table_of_faults(reports)
    ended = [status for report in reports for status in report.statuses]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(reports)} seeds, {len(ended)} tasks: {ended.count('COMPLETED')} completed, "
            f"{ended.count('FAILED')} failed and refunded\n{table}"
            "\n"
        )
    known = {seed for seed in open_seeds() if seed < SEEDS}
    failed = [report for report in reports if report.violations and report.seed not in known]
    assert not failed, "\n\n".join(explain(report) for report in failed[:10])
    mended = known - {report.seed for report in reports if report.violations}
    assert not mended, f"Take these seeds out of open.txt, they pass: {sorted(mended)}"
    assert len(reports) == SEEDS
    rare = [kind for kind, share in shares.items() if share < LEAST_SHARE]
    assert not rare, f"These are too rare to prove anything: {', '.join(rare)}"
