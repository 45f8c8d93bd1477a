"""The same script on threads, processes, a sandbox of this machine, the local network or a market: by one argument."""

from __future__ import annotations

import concurrent.futures
import os
from pathlib import Path
from typing import Any

from fairgrid.errors import UsageError
from fairgrid.executors.executor import Executor

__all__ = ["executor"]


def executor(where: str | Path | None = None, **options: Any) -> concurrent.futures.Executor:
    """An executor on ``"threads"``, ``"processes"``, or a network as `Executor` names it.

    None takes ``$FAIRGRID_EXECUTOR``, or ``"local"``. On threads and processes only the option ``max_workers`` counts:
    nothing is paid there and nobody else computes, so that the other options of `Executor` are left aside.

    Raises:
        UsageError: an option is unknown.
        FairgridError: as `Executor`.
    """
    place = where if where is not None else os.environ.get("FAIRGRID_EXECUTOR") or "local"
    known = {
        "budget",
        "trust",
        "environment",
        "wheelhouse",
        "verify",
        "workers_at_least",
        "key_folder",
        "packing",
        "timing",
        "runtime",
        "reach",
        "progress",
        "on_progress",
        "max_workers",
    }
    if unknown := sorted(options.keys() - known):
        raise UsageError(f"An executor has no option {unknown[0]!r}. It has {', '.join(sorted(known))}.")
    workers = options.pop("max_workers", None)
    if place == "threads":
        return concurrent.futures.ThreadPoolExecutor(workers)
    if place == "processes":
        return concurrent.futures.ProcessPoolExecutor(workers)
    return Executor(place, **options)
