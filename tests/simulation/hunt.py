"""Hunt for the planted bugs: which seed finds each? ``.venv/bin/python -m tests.simulation.hunt [--most 1000]``.

A seed finds a bug when something is violated with the bug planted, and nothing without it. What is found is written
into `found.txt`, so that every run of the suite can check it cheaply.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.simulation.bugs import BUGS, planted
from tests.simulation.run import Report, on_all_cores, run_seed

__all__ = ["FOUND", "hunt", "recorded", "write_recorded"]

FOUND = Path(__file__).with_name("found.txt")
_HEADING = """\
# Which seed finds which planted bug; without the bug the seed is clean. Written by `python -m tests.simulation.hunt`.
"""


def recorded() -> dict[str, int]:
    """The seed that finds each bug, as far as it is known, by the bug's name."""
    lines = (line.split("#")[0].strip() for line in FOUND.read_text().splitlines())
    pairs = (line.split(maxsplit=1) for line in lines if line)
    return {name: int(seed) for seed, name in pairs}


def write_recorded(found: dict[str, int]) -> None:
    """Write the table anew."""
    FOUND.write_text(_HEADING + "".join(f"{seed} {name}\n" for name, seed in sorted(found.items())))


def hunt(
    names: Iterable[str], *, most: int, first: int = 0, tell: Callable[[str, Report], None] = lambda name, report: None
) -> dict[str, int]:
    """Simulate seeds on all cores with each bug that is not found yet; gives the seeds that found one.

    The recorded seed of a bug is tried first, then ``most`` seeds from ``first`` on.
    """
    known = recorded()
    left = dict.fromkeys(names)
    found: dict[str, int] = {}

    def try_seed(seed: int, bugs: list[str]) -> None:
        if not bugs or run_seed(seed).violations:
            return
        for name, report in on_all_cores(functools.partial(_with_bug, seed), bugs):
            if report.violations:
                found[name] = seed
                del left[name]
                tell(name, report)

    for seed in sorted(set(known.values())):
        try_seed(seed, [name for name in left if known.get(name) == seed])
    for seed in range(first, first + most):
        try_seed(seed, list(left))
    return found


def _with_bug(seed: int, name: str) -> tuple[str, Report]:
    with planted(name):
        return name, run_seed(seed)


def main() -> int:
    """Exit code 1 if a bug was not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.hunt", description="Hunt for the planted bugs.")
    parser.add_argument("--most", type=int, default=1_000, help="seeds to try")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--new", action="store_true", help="only bugs that are not in the table")
    options = parser.parse_args()
    table = {name: seed for name, seed in recorded().items() if name in BUGS}
    names = [name for name in BUGS if not (options.new and name in table)]

    def tell(name: str, report: Report) -> None:
        sys.stdout.write(f"{report.seed:5} {name}: {report.violations[0]}\n")
        sys.stdout.flush()
        table[name] = report.seed
        write_recorded(table)

    found = hunt(names, most=options.most, first=options.first, tell=tell)
    missing = [name for name in names if name not in found]
    for name in missing:
        sys.stdout.write(f"NOT FOUND {name}\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
