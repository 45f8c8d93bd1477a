"""Kubernetes: a Job for each cell, through the official client; the worker's folder is on a volume that both see."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fairgrid.errors import HostFailure, UsageError
from fairgrid.runtime.engines.interface import Cell
from fairgrid.runtime.engines.kubernetes_manifest import WORKER_LABEL, job_manifest
from fairgrid.runtime.engines.options import EngineOptions
from fairgrid.runtime.engines.queue_engine import CellQueue, Seen, SeenState

try:
    import kubernetes
    from urllib3.exceptions import HTTPError
except ImportError as error:
    raise UsageError("The engine kubernetes needs its package: pip install 'fairgrid[kubernetes]'") from error

__all__ = ["KubernetesQueue", "make_queue"]

_ANSWER_S: Final = 30
_GONE_S: Final = 60.0
_PAGE: Final = 500
_NOT_FOUND, _CONFLICT = 404, 409


class KubernetesQueue:
    """Implements `CellQueue`."""

    def __init__(self, options: EngineOptions, *, prefix: str, python: str, client: Any = None) -> None:
        """``client`` is a `kubernetes.client.ApiClient`; None: that of the kubeconfig, or of the pod that this is.

        Raises:
            HostFailure: there is neither.
        """
        self._options = options
        self._prefix = prefix
        self._python = python
        self._client = client if client is not None else _client(options)
        self._jobs = kubernetes.client.BatchV1Api(self._client)
        self._pods = kubernetes.client.CoreV1Api(self._client)

    @property
    def name(self) -> str:
        """What people call it."""
        return "kubernetes"

    def refusal(self, cell: Cell) -> str | None:
        """Why a cell cannot be seen from a pod; None when it can."""
        if not cell.folder.is_relative_to(Path(self._options.volume_path)):
            return f"its folder {cell.folder} is not below volume_path {self._options.volume_path}"
        return None

    async def submit(self, cells: Sequence[Cell]) -> list[str]:
        """A Job for each; see `CellQueue`."""
        made: dict[str, Cell] = {}
        try:
            for cell in cells:
                manifest = job_manifest(cell, self._options, prefix=self._prefix, python=self._python)
                made[cell.name] = cell
                await self._call(self._jobs.create_namespaced_job, self._options.namespace, manifest, allow=_CONFLICT)
        except HostFailure:
            await self.end(made)
            raise
        return [cell.name for cell in cells]

    async def look(self, cells: Mapping[str, Cell]) -> Mapping[str, Seen]:
        """Two lists for all; see `CellQueue`."""
        jobs, pods = await asyncio.gather(
            self._all(self._jobs.list_namespaced_job), self._all(self._pods.list_namespaced_pod)
        )
        pod_of = {(pod.metadata.labels or {}).get("job-name", ""): pod for pod in pods}
        return {
            job.metadata.name: _seen(job, pod_of.get(job.metadata.name)) for job in jobs if job.metadata.name in cells
        }

    async def end(self, cells: Mapping[str, Cell]) -> None:
        """Delete their Jobs and pods; see `CellQueue`."""
        for name in cells:
            await self._call(
                self._jobs.delete_namespaced_job,
                name,
                self._options.namespace,
                propagation_policy="Foreground",
                grace_period_seconds=20,
                allow=_NOT_FOUND,
            )

    async def sweep(self) -> int:
        """Delete what a killed worker left, and wait until it is gone; see `CellQueue`."""
        left = await self._all(self._jobs.list_namespaced_job)
        if not left:
            return 0
        await self._call(
            self._jobs.delete_collection_namespaced_job,
            self._options.namespace,
            label_selector=f"{WORKER_LABEL}={self._prefix}",
            propagation_policy="Foreground",
        )
        try:
            async with asyncio.timeout(_GONE_S):
                while await self._all(self._jobs.list_namespaced_job):  # noqa: ASYNC110 - nobody calls back
                    await asyncio.sleep(min(self._options.poll_s, 1.0))
        except TimeoutError:
            raise HostFailure(f"Kubernetes does not delete the Jobs labelled {WORKER_LABEL}={self._prefix}.") from None
        return len(left)

    async def close(self) -> None:
        """Let go of the connections."""
        await asyncio.to_thread(self._client.close)

    async def _all(self, listing: Any) -> list[Any]:
        """Everything of one kind that bears this worker's label, page by page."""
        found: list[Any] = []
        more: str | None = None
        while True:
            named: dict[str, Any] = {"label_selector": f"{WORKER_LABEL}={self._prefix}", "limit": _PAGE}
            if more:
                named["_continue"] = more
            page = await self._call(listing, self._options.namespace, **named)
            found += page.items
            more = page.metadata._continue
            if not more:
                return found

    async def _call(self, function: Any, *words: Any, allow: int = 0, **named: Any) -> Any:
        try:
            return await asyncio.to_thread(function, *words, _request_timeout=_ANSWER_S, **named)
        except kubernetes.client.ApiException as error:
            if error.status == allow:
                return None
            raise HostFailure(
                f"Kubernetes answered {error.status} {error.reason}: {str(error.body or '')[:400]}"
            ) from error
        except (HTTPError, OSError) as error:
            raise HostFailure(f"Kubernetes does not answer: {error}.") from error


def _seen(job: Any, pod: Any) -> Seen:
    node = (pod.spec.node_name or "") if pod is not None else ""
    status = job.status
    for condition in (status.conditions or ()) if status is not None else ():
        if condition.status == "True" and condition.type == "Failed":
            return Seen(SeenState.LOST, node, _why(condition, pod))
        if condition.status == "True" and condition.type == "Complete":
            return Seen(SeenState.ENDED, node)
    phase = pod.status.phase if pod is not None and pod.status is not None else "Pending"
    if phase == "Running":
        return Seen(SeenState.RUNNING, node)
    reasons = [condition.message for condition in (pod.status.conditions or ()) if condition.message] if pod else []
    return Seen(SeenState.WAITING, node, str(reasons[0])[:300] if reasons else "its pod does not run yet")


def _why(condition: Any, pod: Any) -> str:
    words = [str(condition.reason or "Failed"), str(condition.message or "")]
    for container in (pod.status.container_statuses or ()) if pod is not None and pod.status is not None else ():
        ended = container.state.terminated if container.state is not None else None
        if ended is not None:
            words.append(f"container: {ended.reason or 'ended'}, status {ended.exit_code}")
    return "; ".join(word for word in words if word)[:400]


def _client(options: EngineOptions) -> Any:
    try:
        if not options.context:
            try:
                kubernetes.config.load_incluster_config()
                return kubernetes.client.ApiClient()
            except kubernetes.config.ConfigException:
                pass
        return kubernetes.config.new_client_from_config(context=options.context or None)
    except (kubernetes.config.ConfigException, OSError) as error:
        raise HostFailure(
            f"There is no way to Kubernetes from here: {error}. Set KUBECONFIG, or start the worker in a pod of the "
            f"cluster whose service account may make Jobs (docs/engines.md)."
        ) from error


def make_queue(options: EngineOptions, *, prefix: str, python: str) -> CellQueue:
    """The queue; see `fairgrid.runtime.engines.opening`."""
    return KubernetesQueue(options, prefix=prefix, python=python)
