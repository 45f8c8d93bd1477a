"""What passes between a worker and a cell on another machine: ``job.json`` there, ``outcome.json`` back.

``place.json`` says where the cell runs. A cell may also be a trial of runtimes: ``trial.json``, answered by
``tried.json``.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from fairgrid.errors import HostFailure
from fairgrid.runtime.container.settings import DEFAULT_SETTINGS, ContainerSettings
from fairgrid.runtime.engines.node import NodeFacts
from fairgrid.runtime.interface import Limits, Outcome, SandboxJob
from fairgrid.runtime.levels import Probe
from fairgrid.runtime.network.grant import grant_from_wire
from fairgrid.runtime.outcome_json import outcome_from_json, outcome_to_json
from fairgrid.runtime.watch import JobWatch

__all__ = [
    "Place",
    "Tried",
    "has_outcome",
    "read_containers",
    "read_job",
    "read_outcome",
    "read_place",
    "read_trial",
    "read_tried",
    "write_containers",
    "write_job",
    "write_outcome",
    "write_place",
    "write_trial",
    "write_tried",
]

_JOB: Final = "job.json"
_OUTCOME: Final = "outcome.json"
_PLACE: Final = "place.json"
_CONTAINERS: Final = "containers.json"
_TRIAL: Final = "trial.json"
_TRIED: Final = "tried.json"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cell runs, in its own words; ``ran_s`` is 0 until it ended."""

    node: str
    ran_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Tried:
    """What a trial found on the node that it ran on."""

    node: NodeFacts
    probes: Mapping[str, Probe]
    """By runtime id."""
    gpu_fault: str = ""
    """Why jobs there could not reach the node's graphics processors; empty where they can, or there are none."""


def write_job(folder: Path, runtime_id: str, job: SandboxJob) -> None:
    """Lay a job down in a cell's folder, which is made. It may hold secrets: others cannot read it."""
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
        "network": job.network.to_wire() if job.network is not None else None,
    }
    # Where the cell may be another user of the folder's group, as on Kubernetes, that group can write the folder, too.
    mode = 0o640 if folder.stat().st_mode & stat.S_IWGRP else 0o600
    _write(folder / _JOB, json.dumps(wire).encode(), mode=mode)


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
            network=grant_from_wire(wire["network"]) if wire["network"] is not None else None,
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


def write_containers(folder: Path, containers: ContainerSettings) -> None:
    """Lay down what the owner says of containers."""
    _write(folder / _CONTAINERS, json.dumps(asdict(containers)).encode())


def read_containers(folder: Path) -> ContainerSettings:
    """What the owner says of containers; the defaults, where the folder says nothing.

    Raises:
        HostFailure: it says something else.
    """
    try:
        wire = json.loads((folder / _CONTAINERS).read_bytes())
        return ContainerSettings(**wire | {"registries": tuple(wire["registries"])})
    except FileNotFoundError:
        return DEFAULT_SETTINGS
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HostFailure(f"The cell {folder} says nothing readable of containers ({error}).") from error


def has_outcome(folder: Path) -> bool:
    """Whether the cell is over: a job left its outcome, or a trial its findings."""
    return (folder / _OUTCOME).exists() or (folder / _TRIED).exists()


def write_place(folder: Path, place: Place) -> None:
    """Say where the cell runs."""
    _write(folder / _PLACE, json.dumps(asdict(place)).encode())


def read_place(folder: Path) -> Place | None:
    """Where the cell ran; None when it did not say, or what it said cannot be read."""
    try:
        wire = json.loads((folder / _PLACE).read_bytes())
        return Place(str(wire["node"])[:200], float(wire["ran_s"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_trial(folder: Path, runtime_ids: Sequence[str]) -> None:
    """Lay a trial of runtimes down in a cell's folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / _TRIAL, json.dumps(list(runtime_ids)).encode())


def read_trial(folder: Path) -> tuple[str, ...] | None:
    """The runtimes that a cell is to try; None when it is no trial."""
    try:
        return tuple(str(name) for name in json.loads((folder / _TRIAL).read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write_tried(folder: Path, tried: Tried) -> None:
    """Lay down what a trial found."""
    probes = {name: asdict(probe) for name, probe in tried.probes.items()}
    _write(
        folder / _TRIED,
        json.dumps({"node": asdict(tried.node), "probes": probes, "gpu_fault": tried.gpu_fault}).encode(),
    )


def read_tried(folder: Path) -> Tried | None:
    """What a trial found; None if it left nothing."""
    try:
        wire = json.loads((folder / _TRIED).read_bytes())
        probes = {name: Probe(**probe) for name, probe in wire["probes"].items()}
        return Tried(NodeFacts(**wire["node"]), probes, str(wire["gpu_fault"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    temporary = path.with_suffix(".new")
    with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _text(path: Path | None) -> str:
    return str(path.resolve()) if path is not None else ""


def _path(text: str) -> Path | None:
    return Path(text) if text else None
