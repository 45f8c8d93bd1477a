"""Replay a seed and print all that happens: ``.venv/bin/python -m tests.simulation SEED [--bug NAME]``."""

from __future__ import annotations

import argparse
import sys

from tests.simulation.bugs import BUGS, planted
from tests.simulation.plan import plan_of
from tests.simulation.run import run_seed


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main() -> int:
    """Exit code 1 if something was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Replay one seed.")
    parser.add_argument("seed", type=int)
    parser.add_argument("--bug", choices=sorted(BUGS), default="", help="with this bug planted")
    parser.add_argument("--digest", action="store_true", help="only the digest of all that happens")
    parser.add_argument("--quiet", action="store_true", help="only plan and violations")
    options = parser.parse_args()
    if options.digest:
        with planted(options.bug):
            say(run_seed(options.seed).digest)
        return 0
    plan = plan_of(options.seed)
    say(f"seed {plan.seed}: timeref {plan.timeref_s} s, block {plan.block_s} s, {plan.confirmations} confirmations")
    for worker in plan.workers:
        say(f"  {worker.name}: {worker.lie or 'honest'}, {worker.slots} slot(s), clock {worker.skew_s:+.0f} s")
    for deal in plan.deals:
        say(f"  deal at {deal.at_s:.1f} s: trust {deal.trust}, {deal.volume} task(s)")
    for incident in plan.incidents:
        say(f"  {incident.at_s:7.1f} s: {incident.fault} {incident.target}")
    with planted(options.bug):
        report = run_seed(options.seed, trace=not options.quiet)
    for line in report.trace:
        say(f"{line.at_s:9.2f} {line.who:10} {line.text}")
    say(f"tasks: {', '.join(report.statuses)}; {report.virtual_s:.0f} s in {report.seconds:.2f} s")
    for violation in report.violations:
        say(f"VIOLATION {violation}")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
