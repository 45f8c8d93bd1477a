"""How many cases of each isolation level and engine ran (decision 36): printed at the end of every test run.

A case belongs to a suite by the folder or the parameters in its id.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

import pytest

__all__ = ["SUITES", "suite_of", "suite_table"]

SUITES: Final[Sequence[tuple[str, re.Pattern[str]]]] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("podman", r"(?:runtime/container|sandbox)/.*\[.*podman|test_podman"),
        ("docker", r"(?:runtime/container|sandbox)/.*\[.*docker|test_docker"),
        ("gVisor", r"(?:runtime/container|sandbox)/.*\[.*(?:gvisor|runsc)|test_gvisor"),
        ("container", r"runtime/container/|sandbox/.*\[.*container|e2e/test_container"),
        ("QEMU", r"runtime/vm/test_machine|sandbox/.*\[.*vm|e2e/test_virtual_image"),
        ("process", r"runtime/process/|sandbox/.*\[.*process|e2e/test_native"),
        ("Slurm", r"slurm"),
        ("Ray", r"engines/.*(?:test_ray|\[.*ray)"),
        ("Dask", r"engines/.*(?:test_dask|\[.*dask)"),
        ("wasm", r"tests/runtime/(?:wasm/|test_)|sandbox/.*\[.*wasm"),
    )
)
"""The first that fits counts."""


def suite_of(node_id: str) -> str | None:
    """The suite of a case; None if it is of no level or engine."""
    return next((name for name, pattern in SUITES if pattern.search(node_id)), None)


def suite_table(reports: Sequence[pytest.TestReport]) -> list[str]:
    """A line for each suite that had cases."""
    passed: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for report in reports:
        suite = suite_of(report.nodeid)
        if suite is not None:
            (skipped if report.skipped else passed)[suite] += 1
    names = [name for name, _ in SUITES if passed[name] or skipped[name]]
    return [f"{name:10} {passed[name]:5} ran {skipped[name]:5} skipped" for name in names]
