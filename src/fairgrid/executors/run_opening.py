"""Where a run is and what is kept of it: a new one, or one that an earlier process left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fairgrid.client.job_options import parse_days
from fairgrid.errors import UsageError
from fairgrid.executors.environment import resolve_environment
from fairgrid.executors.kept_environments import environment_facts, find_environment, is_lock_hash
from fairgrid.executors.places import Place, Trust, find_place, verification_of
from fairgrid.executors.receipt import parse_budget
from fairgrid.executors.record import RunRecord, new_run_id

__all__ = ["new_run", "reopened_run"]

_HERE: Final = "here"


def new_run(
    network: str | Path | Place,
    *,
    budget: str | int,
    trust: Trust | None,
    verify: str | None,
    workers_at_least: int,
    key_folder: Path | None,
    patience_s: float,
    runtime: str,
    environment: str | Path | Sequence[str],
    wheelhouse: str | Path | None,
    reach: Sequence[str],
    private: bool,
    secrets: Sequence[str],
    keep: str | int | None,
) -> tuple[Place, RunRecord]:
    """The place of a run and its record, for the options of `Executor`; its packages are kept there.

    Raises:
        UsageError: no such network, or a budget, trust, time to keep or environment that is none.
    """
    nrlc = parse_budget(budget)
    keep_days = None if keep is None else parse_days(keep, "keep")
    asked = verification_of(trust, verify, workers_at_least=workers_at_least)
    place = find_place(
        network,
        verification=asked,
        key_folder=key_folder,
        patience_s=patience_s,
        runtime=runtime,
        reach=reach,
        private=private,
        secrets=secrets,
        keep_days=keep_days,
    )
    declared = (
        find_environment(place.runs, str(environment))
        if is_lock_hash(environment)
        else resolve_environment(environment, wheelhouse=wheelhouse, provided=place.packages)
    )
    record = RunRecord.make(
        place.runs,
        new_run_id(),
        wheels=[wheel.name for wheel in declared.wheels],
        packages=sorted(declared.packages),
        environment=environment_facts(declared),
        budget=nrlc,
        trust=asked.confidence,
        verify=verify,
        workersAtLeast=asked.replicas,
        runtime=runtime,
        reach=list(reach),
        private=private,
        secrets=list(secrets),
        keepDays=keep_days,
        at=time.time(),
    )
    for wheel in declared.wheels:
        record.keep(wheel.name, wheel.content)
    if declared.wheels:
        record.keep(declared.lock_name, declared.lock.encode())
    return place, record


def reopened_run(
    run_id: str, network: str | Path | Place | None, *, key_folder: Path | None, patience_s: float
) -> tuple[Place, RunRecord]:
    """The place and the record of a run whose process ended; without ``network``, on the local one or this machine.

    Raises:
        UsageError: there is no such run, or another process works on it.
    """
    for name in ("local", _HERE) if network is None else (network,):
        try:
            record = RunRecord.open(find_place(name, key_folder=key_folder).runs, run_id)
            break
        except UsageError:
            if name == _HERE or network is not None:
                raise
    facts = record.facts
    place = find_place(
        name,
        verification=verification_of(facts["trust"], None, workers_at_least=facts["workersAtLeast"])
        if facts.get("verify") is None
        else verification_of(None, facts["verify"]),
        key_folder=key_folder,
        patience_s=patience_s,
        runtime=facts.get("runtime", "python"),
        reach=facts.get("reach", ()),
        private=facts.get("private", False),
        secrets=facts.get("secrets", ()),
        keep_days=facts.get("keepDays"),
    )
    return place, record
