"""The owner's words about the engine: table ``[engine]`` of a worker's ``policy.toml``. Nothing is guessed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

from fairgrid.errors import UsageError

__all__ = ["EngineKind", "EngineOptions", "SlurmMode", "engine_options"]


class EngineKind(StrEnum):
    """Where cells can run beside this machine."""

    SLURM = "slurm"
    RAY = "ray"
    DASK = "dask"
    HTCONDOR = "htcondor"
    KUBERNETES = "kubernetes"


class SlurmMode(StrEnum):
    """How cells reach Slurm's nodes."""

    JOBS = "jobs"
    ALLOCATION = "allocation"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """One engine; keys that are of one kind only are refused with the others. Read when the worker starts."""

    kind: EngineKind
    """``slurm``, ``ray``, ``dask``, ``htcondor`` or ``kubernetes``."""
    python: str = ""
    """Python on the nodes that has Fairgrid installed; empty: the path of the worker's own."""
    submit: tuple[str, ...] = ()
    """More lines for every cell, of those that the engine's page allows (``--qos=low``, ``nodeSelector.disk=ssd``)."""
    memory_overhead_bytes: int = 512 << 20
    """Memory that a cell is given on top of its job's limit: Python and the sandbox itself."""
    poll_s: float = 1.0
    """How often the queue is looked at, for all cells in one call."""
    max_queue_minutes: int | None = None
    """A cell that waited longer is taken out of the queue and its task handed back; None: as long as its lease."""
    gpus: int = 0
    """Graphics processors that all cells together may hold at once; 0: none. The worker's trial asks for one, too."""
    gpu_type: str = ""
    """Slurm: the type of them (``gpu:TYPE`` of its gres); empty: any."""
    partition: str = ""
    """Slurm: the partition; empty: the cluster's default."""
    account: str = ""
    """Slurm: the account that is charged; HTCondor: the accounting group."""
    mode: SlurmMode = SlurmMode.JOBS
    """Slurm: ``jobs`` (cells that wait together become one array) or ``allocation`` (one long job hosts many cells)."""
    allocation_minutes: int = 240
    """Slurm, mode ``allocation``: how long an allocation lives."""
    allocation_slots: int = 8
    """Slurm, mode ``allocation``: cells at once in the allocation."""
    allocation_slot_cpus: int = 1
    """Slurm, mode ``allocation``: processors of each."""
    allocation_slot_memory_bytes: int = 2 << 30
    """Slurm, mode ``allocation``: memory of each, overhead included."""
    allocation_idle_s: int = 300
    """Slurm, mode ``allocation``: an allocation without work for so long gives its nodes back."""
    address: str = ""
    """Ray, Dask: the cluster (``127.0.0.1:6379``, ``tcp://127.0.0.1:8786``). Needed."""
    shared_folder: bool = True
    """Ray, Dask: the nodes see the worker's folder under the same path. False: files travel with the cell as bytes."""
    max_carried_bytes: int = 64 << 20
    """Ray, Dask without a shared folder: most bytes of one cell's files, there or back."""
    namespace: str = "default"
    """Kubernetes: where Jobs are made."""
    context: str = ""
    """Kubernetes: context of the kubeconfig; empty: the current one, or the pod's own account inside a cluster."""
    image: str = ""
    """Kubernetes: image that has Python and Fairgrid, by digest (``NAME@sha256:…``). Needed."""
    volume_claim: str = ""
    """Kubernetes: the claim of the volume that holds the worker's folder. Needed."""
    volume_path: str = ""
    """Kubernetes: where that volume is mounted, here and in the cells. Needed."""


_ONLY: Final[Mapping[str, tuple[EngineKind, ...]]] = {
    "gpu_type": (EngineKind.SLURM,),
    "partition": (EngineKind.SLURM,),
    "account": (EngineKind.SLURM, EngineKind.HTCONDOR),
    "mode": (EngineKind.SLURM,),
    "allocation_minutes": (EngineKind.SLURM,),
    "allocation_slots": (EngineKind.SLURM,),
    "allocation_slot_cpus": (EngineKind.SLURM,),
    "allocation_slot_memory_bytes": (EngineKind.SLURM,),
    "allocation_idle_s": (EngineKind.SLURM,),
    "address": (EngineKind.RAY, EngineKind.DASK),
    "shared_folder": (EngineKind.RAY, EngineKind.DASK),
    "max_carried_bytes": (EngineKind.RAY, EngineKind.DASK),
    "namespace": (EngineKind.KUBERNETES,),
    "context": (EngineKind.KUBERNETES,),
    "image": (EngineKind.KUBERNETES,),
    "volume_claim": (EngineKind.KUBERNETES,),
    "volume_path": (EngineKind.KUBERNETES,),
}
_NEEDED: Final[Mapping[EngineKind, tuple[str, ...]]] = {
    EngineKind.RAY: ("address",),
    EngineKind.DASK: ("address",),
    EngineKind.KUBERNETES: ("image", "volume_claim", "volume_path"),
}
_NUMBERS: Final = {
    "gpus": (0, 64),
    "memory_overhead_bytes": (0, 64 << 30),
    "max_queue_minutes": (1, 10_080),
    "allocation_minutes": (2, 43_200),
    "allocation_slots": (1, 1024),
    "allocation_slot_cpus": (1, 1024),
    "allocation_slot_memory_bytes": (64 << 20, 1 << 44),
    "allocation_idle_s": (1, 86_400),
    "max_carried_bytes": (1 << 20, 1 << 30),
}
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_VALUE: Final = r"[A-Za-z0-9][A-Za-z0-9@%:.,/&|*\[\]_-]*"
_LABEL: Final = r"[A-Za-z0-9][A-Za-z0-9./_-]*"
_SUBMIT: Final[Mapping[EngineKind, tuple[str, ...]]] = {
    EngineKind.SLURM: (
        rf"--(constraint|prefer|qos|reservation|nodelist|exclude|licenses|wckey)={_VALUE}",
        rf"--(nice|priority|comment|hint|tmp|gpu-freq)={_VALUE}",
        r"--exclusive",
    ),
    EngineKind.RAY: (r"resources\.[A-Za-z0-9_:-]+=[0-9]+(\.[0-9]+)?",),
    EngineKind.DASK: (r"resources\.[A-Za-z0-9_:-]+=[0-9]+(\.[0-9]+)?", r"priority=-?[0-9]+"),
    EngineKind.HTCONDOR: (
        r"(requirements|rank) *= *[^\n]+",
        r"(priority|nice_user|concurrency_limits|request_disk) *= *[A-Za-z0-9_.,:-]+",
        r"\+[A-Za-z][A-Za-z0-9_]* *= *(\"[^\"\n]*\"|[A-Za-z0-9_.-]+)",
    ),
    EngineKind.KUBERNETES: (
        rf"nodeSelector\.{_LABEL}={_LABEL}",
        rf"(priorityClassName|runtimeClassName|schedulerName|imagePullSecret)={_LABEL}",
        rf"toleration\.{_LABEL}(={_LABEL})?(:(NoSchedule|PreferNoSchedule|NoExecute))?",
    ),
}
"""What an owner may add. Nothing here can change what runs, as whom, with which files, or how it is ended."""


def engine_options(table: object) -> EngineOptions:
    """Read the table ``[engine]``.

    Raises:
        UsageError: it has an unknown key, a value out of range, a key of another kind, or lacks one.
    """
    if not isinstance(table, dict):
        raise UsageError(f"engine must be a table, [engine], not {table!r}.")
    known = {field.name for field in fields(EngineOptions)}
    unknown = sorted(set(table) - known)
    if unknown:
        raise UsageError(f"[engine] has unknown keys: {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")
    try:
        kind = EngineKind(table.get("kind", ""))
    except ValueError:
        kinds = ", ".join(EngineKind)
        raise UsageError(f"[engine] kind must be one of {kinds}, not {table.get('kind', '')!r}.") from None
    for name in table:
        owners = _ONLY.get(name, ())
        if owners and kind not in owners:
            raise UsageError(f"[engine] {name} is a key of {' and '.join(owners)}, not of {kind}. Remove it.")
    for name in _NEEDED.get(kind, ()):
        if not table.get(name):
            raise UsageError(f"[engine] of kind {kind} needs {name}; docs/engines.md shows whole tables.")
    values = {name: _checked(kind, name, value) for name, value in table.items() if name != "kind"}
    options = EngineOptions(kind=kind, **values)
    if options.gpus and options.mode is SlurmMode.ALLOCATION:
        raise UsageError("[engine] gpus: an allocation's slots have no graphics processors. Use mode = 'jobs'.")
    if options.gpus and kind is EngineKind.KUBERNETES:
        raise UsageError(
            "[engine] gpus: only OCI images reach graphics processors, and a pod without privileges starts no "
            "containers. Run a worker on a machine that has some, or use another engine."
        )
    return options


def _checked(kind: EngineKind, name: str, value: object) -> Any:
    if name in _NUMBERS:
        low, high = _NUMBERS[name]
        if type(value) is not int or not low <= value <= high:
            raise UsageError(f"[engine] {name} must be a whole number from {low} to {high}, not {value!r}.")
        return value
    return _OTHERS.get(name, _name)(kind, name, value)


def _switch(kind: EngineKind, name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"[engine] {name} must be true or false, not {value!r}.")
    return value


def _seconds(kind: EngineKind, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.1 <= value <= 60:
        raise UsageError(f"[engine] {name} must be a number of seconds from 0.1 to 60, not {value!r}.")
    return float(value)


def _mode(kind: EngineKind, name: str, value: object) -> SlurmMode:
    try:
        return SlurmMode(str(value))
    except ValueError:
        raise UsageError(f"[engine] mode must be one of {', '.join(SlurmMode)}, not {value!r}.") from None


def _path(kind: EngineKind, name: str, value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/") or not value.isprintable():
        raise UsageError(f"[engine] {name} must be a whole path like '/shared/venv/bin/python', not {value!r}.")
    return value


def _text(kind: EngineKind, name: str, value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable() or value.startswith("-") or " " in value:
        raise UsageError(f"[engine] {name} must be a text without blanks, not {value!r}.")
    return value


def _image(kind: EngineKind, name: str, value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9][A-Za-z0-9./:_-]*@sha256:[0-9a-f]{64}", value):
        raise UsageError(f"[engine] image must name an image by digest, NAME@sha256:…, not {value!r}.")
    return value


def _name(kind: EngineKind, name: str, value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise UsageError(f"[engine] {name} must be a name of letters, digits, '.', '_' and '-', not {value!r}.")
    return value


def _lines(kind: EngineKind, name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"[engine] submit must be a list of texts, not {value!r}.")
    for line in value:
        if not any(re.fullmatch(pattern, line) for pattern in _SUBMIT[kind]):
            raise UsageError(
                f"[engine] submit may not hold {line!r} for {kind}; what it may hold is listed in docs/engines.md."
            )
    return tuple(value)


_OTHERS: Final[Mapping[str, Callable[[EngineKind, str, object], Any]]] = {
    "shared_folder": _switch,
    "poll_s": _seconds,
    "mode": _mode,
    "python": _path,
    "volume_path": _path,
    "address": _text,
    "image": _image,
    "submit": _lines,
}
