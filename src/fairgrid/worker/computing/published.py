"""Apps that their developers published: the document that says which program each of them is."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from fairgrid.errors import ManifestError
from fairgrid.protocol.app_document import (
    MAX_DOCUMENT_BYTES,
    AppDocument,
    document_cid,
    name_fault,
    parse_document,
)
from fairgrid.protocol.app_types import is_manifest_type
from fairgrid.protocol.views import AppInfo
from fairgrid.worker.computing.inputs import InputCache

__all__ = ["PublishedApps"]

_SIZE: Final = 256


class PublishedApps:
    """Reads each app's document once; the least recently used of more than 256 are read again."""

    def __init__(self, cache: InputCache) -> None:
        self._cache = cache
        self._known: OrderedDict[tuple[str, bytes, str], AppDocument] = OrderedDict()

    async def document_of(self, app: AppInfo) -> AppDocument | None:
        """The app's document; None if the app is a runtime, whose jobs bring any program.

        Raises:
            ManifestError: it names no document, or one that cannot be used.
            ServiceUnavailable, VerificationError: storage does not answer, or sends something else.
        """
        if not is_manifest_type(app.type) or name_fault(app.name) is not None:
            return None
        key = app.name, app.multiaddr, app.checksum
        if key not in self._known:
            cid = document_cid(app)
            if cid is None:
                raise ManifestError(f"The app {app.name!r} names no document of its program: its multiaddr is no CID.")
            async with self._cache.holding([cid], max_bytes=MAX_DOCUMENT_BYTES) as paths:
                data = await asyncio.to_thread(paths[cid].read_bytes)
            self._known[key] = parse_document(data, app)
            if len(self._known) > _SIZE:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]
