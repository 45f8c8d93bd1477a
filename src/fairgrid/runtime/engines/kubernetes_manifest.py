"""A cell as a Kubernetes Job: limits, no privileges, no account, no second try, gone by itself after a while."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from fairgrid.runtime.engines.interface import Cell, cell_command
from fairgrid.runtime.engines.options import EngineOptions

__all__ = ["CELL_LABEL", "WORKER_LABEL", "job_manifest"]

WORKER_LABEL: Final = "fairgrid.worker"
CELL_LABEL: Final = "fairgrid.cell"
_KEPT_S: Final = 600
_USER: Final = 65_532
_SCRATCH: Final = "1Gi"


def job_manifest(cell: Cell, options: EngineOptions, *, prefix: str, python: str) -> dict[str, Any]:
    """The Job of one cell; ``prefix`` labels all Jobs of this worker."""
    memory = math.ceil((cell.memory_bytes + options.memory_overhead_bytes) / (1 << 20))
    amounts: dict[str, str] = {"cpu": str(cell.cpus), "memory": f"{memory}Mi", "ephemeral-storage": _SCRATCH}
    if cell.gpus:
        amounts["nvidia.com/gpu"] = str(cell.gpus)
    labels = {WORKER_LABEL: prefix, CELL_LABEL: cell.name}
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostNetwork": False,
        "hostPID": False,
        "hostIPC": False,
        "terminationGracePeriodSeconds": 20,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "cell",
                "image": options.image,
                "command": cell_command(python, cell.folder),
                "env": [{"name": "HOME", "value": "/tmp"}, {"name": "LANG", "value": "C.UTF-8"}],
                "resources": {"requests": dict(amounts), "limits": dict(amounts)},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": "shared", "mountPath": options.volume_path},
                    {"name": "scratch", "mountPath": "/tmp"},
                ],
            }
        ],
        "volumes": [
            {"name": "shared", "persistentVolumeClaim": {"claimName": options.volume_claim}},
            {"name": "scratch", "emptyDir": {"sizeLimit": _SCRATCH}},
        ],
    }
    _add(pod, options.submit)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": cell.name, "namespace": options.namespace, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "activeDeadlineSeconds": _deadline(cell, options),
            "ttlSecondsAfterFinished": _KEPT_S,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _deadline(cell: Cell, options: EngineOptions) -> int:
    """Kubernetes counts from the Job's start, the wait for a node included: the worker itself ends what runs longer."""
    queue_s = (options.max_queue_minutes if options.max_queue_minutes is not None else 24 * 60) * 60
    return math.ceil(cell.limit_s) + queue_s


def _add(pod: dict[str, Any], lines: tuple[str, ...]) -> None:
    for line in lines:
        name, _, value = line.partition("=")
        if name.startswith("nodeSelector."):
            pod.setdefault("nodeSelector", {})[name.removeprefix("nodeSelector.")] = value
        elif name.startswith("toleration."):
            pod.setdefault("tolerations", []).append(_toleration(line.removeprefix("toleration.")))
        elif name == "imagePullSecret":
            pod.setdefault("imagePullSecrets", []).append({"name": value})
        else:
            pod[name] = value


def _toleration(text: str) -> Mapping[str, str]:
    rest, _, effect = text.partition(":")
    key, has_value, value = rest.partition("=")
    toleration = {"key": key, "operator": "Equal" if has_value else "Exists"}
    if has_value:
        toleration["value"] = value
    if effect:
        toleration["effect"] = effect
    return toleration
