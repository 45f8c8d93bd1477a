"""What a deal's job asks for: its manifest, fetched by CID from the network's storage. Bounded, patient, remembered."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import structlog

from fairgrid.errors import FairgridError, ServiceRefused, ServiceUnavailable
from fairgrid.protocol.manifest import MAX_MANIFEST_BYTES, Manifest, manifest_cid_of_params, parse_manifest
from fairgrid.storage.client import StorageClient

__all__ = ["ManifestReader"]

_log = structlog.get_logger(__name__)


class ManifestReader:
    """Reads manifests and keeps the last ones; two callers at once fetch one once."""

    def __init__(self, storage: StorageClient, *, keep_bytes: int = 64 << 20, timeout_s: float = 20.0) -> None:
        """``keep_bytes`` bounds what is remembered, as canonical bytes; ``timeout_s`` one fetch."""
        self._storage = storage
        self._keep_bytes = keep_bytes
        self._timeout_s = timeout_s
        self._kept: OrderedDict[str, tuple[int, Manifest | None]] = OrderedDict()
        self._kept_bytes = 0
        self._locks: dict[str, asyncio.Lock] = {}

    async def manifest_of(self, params: str) -> Manifest | None:
        """The manifest that a deal's ``params`` name; None if they name none, or one that no worker could use.

        Raises:
            ServiceUnavailable: storage does not answer, or not in time: ask again later.
        """
        cid = manifest_cid_of_params(params)
        if cid is None:
            return None
        async with self._locks.setdefault(cid, asyncio.Lock()):
            try:
                return await self._read(cid)
            finally:
                self._locks.pop(cid, None)

    async def _read(self, cid: str) -> Manifest | None:
        known = self._kept.get(cid)
        if known is not None:
            self._kept.move_to_end(cid)
            return known[1]
        manifest, size = None, 0
        try:
            async with asyncio.timeout(self._timeout_s):
                data = await self._storage.fetch_bytes(cid, max_bytes=MAX_MANIFEST_BYTES)
            size = len(data)
            manifest = await asyncio.to_thread(parse_manifest, data)
        except TimeoutError:
            raise ServiceUnavailable("storage", cid, f"no manifest within {self._timeout_s:.0f} s") from None
        except ServiceUnavailable:
            raise
        except ServiceRefused as error:
            _log.warning("storage does not have a manifest", cid=cid, reason=str(error))
            return None  # It may come yet.
        except FairgridError as error:
            # Workers refuse it as well: nothing is gained by asking again.
            _log.warning("a manifest cannot be used", cid=cid, reason=str(error))
        self._keep(cid, size, manifest)
        return manifest

    def _keep(self, cid: str, size: int, manifest: Manifest | None) -> None:
        self._kept[cid] = (size, manifest)
        self._kept_bytes += size
        while self._kept_bytes > self._keep_bytes and len(self._kept) > 1:
            _, (gone, _) = self._kept.popitem(last=False)
            self._kept_bytes -= gone
