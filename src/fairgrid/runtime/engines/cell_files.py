"""What passes between a worker and a cell on another machine: ``job.json`` there, ``outcome.json`` back."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from fairgrid.errors import HostFailure
from fairgrid.runtime.interface import Limits, Outcome, SandboxJob
from fairgrid.runtime.outcome_json import outcome_from_json, outcome_to_json
from fairgrid.runtime.watch import JobWatch

__all__ = ["read_job", "read_outcome", "write_job", "write_outcome"]

_JOB: Final = "job.json"
_OUTCOME: Final = "outcome.json"


def write_job(folder: Path, runtime_id: str, job: SandboxJob) -> None:
    """Lay a job down in a cell's folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    wire = {
        "runtime": runtime_id,
        "script": str(job.script.resolve()),
        "arguments": list(job.arguments),
        "input_folder": str(job.input_folder.resolve()),
        "output_folder": str(job.output_folder.resolve()),
        "environment": job.environment,
        "seed": job.seed.hex(),
        "limits": asdict(job.limits),
        "checkpoint": job.checkpoint,
        "checkpoint_folder": _text(job.checkpoint_folder),
        "watch_folder": _text(job.watch.folder if job.watch is not None else None),
        "gpus": list(job.gpus),
        "network": job.network,
    }
    _write(folder / _JOB, json.dumps(wire).encode())


def read_job(folder: Path) -> tuple[str, SandboxJob]:
    """The runtime id and the job of a cell.

    Raises:
        HostFailure: there is none that can be read.
    """
    try:
        wire: dict[str, Any] = json.loads((folder / _JOB).read_bytes())
        watched = _path(wire["watch_folder"])
        return str(wire["runtime"]), SandboxJob(
            script=Path(wire["script"]),
            arguments=tuple(wire["arguments"]),
            input_folder=Path(wire["input_folder"]),
            output_folder=Path(wire["output_folder"]),
            environment=dict(wire["environment"]),
            seed=bytes.fromhex(wire["seed"]),
            limits=Limits(**wire["limits"]),
            checkpoint=bool(wire["checkpoint"]),
            checkpoint_folder=_path(wire["checkpoint_folder"]),
            watch=JobWatch(watched) if watched is not None else None,
            gpus=tuple(wire["gpus"]),
            network=bool(wire["network"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HostFailure(
            f"The cell {folder} holds no job that can be read here ({error}). Is the folder on a file system that "
            f"this machine shares with the worker's?"
        ) from error


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Lay the outcome down, all of it or nothing."""
    _write(folder / _OUTCOME, outcome_to_json(outcome))


def read_outcome(folder: Path) -> Outcome | None:
    """The outcome of a cell; None if it left none."""
    try:
        return outcome_from_json((folder / _OUTCOME).read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _text(path: Path | None) -> str:
    return str(path.resolve()) if path is not None else ""


def _path(text: str) -> Path | None:
    return Path(text) if text else None
