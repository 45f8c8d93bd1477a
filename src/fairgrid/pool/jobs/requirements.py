"""What a deal's tasks ask of a machine: read from its manifest, without keeping the deal back for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from fairgrid.errors import ServiceUnavailable
from fairgrid.pool.core.matching import NO_REQUIREMENTS, Requirements
from fairgrid.pool.jobs.manifests import ManifestReader
from fairgrid.protocol.manifest import Manifest
from fairgrid.protocol.private_job import is_private
from fairgrid.protocol.views import Deal

__all__ = ["RequirementsReader", "requirements_of_manifest"]

_log = structlog.get_logger(__name__)
_MOST_INPUTS = 16


def requirements_of_manifest(manifest: Manifest) -> Requirements:
    """What every task of the manifest asks: its needs, its runtime, its memory limit, its largest common inputs."""
    files = sorted((manifest.script, *manifest.inputs), key=lambda reference: -reference.size)
    return Requirements(
        needs=manifest.needs,
        runtime=manifest.runtime,
        memory_limit_bytes=manifest.resources.memory_bytes,
        sealed=manifest.sealed is not None,
        private=is_private(manifest),
        inputs=tuple((reference.cid, reference.size) for reference in files[:_MOST_INPUTS]),
    )


class RequirementsReader:
    """Asks storage for a deal's manifest; one that cannot be read in time asks for nothing, and workers refuse it."""

    def __init__(
        self,
        manifests: ManifestReader,
        *,
        patience_s: float = 3.0,
        labels_of_app: Callable[[str], tuple[str, ...]] = lambda _app: (),
    ) -> None:
        """``labels_of_app``: what the operator asks of machines for an app, whatever its jobs ask."""
        self._manifests = manifests
        self._labels_of_app = labels_of_app
        self._patience_s = patience_s

    async def requirements_of(self, deal: Deal) -> Requirements:
        """Never raises."""
        asked = await self._of_manifest(deal)
        labels = self._labels_of_app(deal.app.pointer)
        return replace(asked, labels=labels) if labels else asked

    async def _of_manifest(self, deal: Deal) -> Requirements:
        try:
            async with asyncio.timeout(self._patience_s):
                manifest = await self._manifests.manifest_of(deal.params)
        except (ServiceUnavailable, TimeoutError) as error:
            _log.warning("a manifest cannot be read; its tasks are matched without needs", reason=str(error))
            return NO_REQUIREMENTS
        return NO_REQUIREMENTS if manifest is None else requirements_of_manifest(manifest)
