"""The blob store seam: content in, CID out; what comes out again is verified. `MemoryStore` is its twin."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from fairgrid.errors import ServiceError, UsageError, VerificationError
from fairgrid.protocol.cid import CidBuilder, cid_of
from fairgrid.storage.terms import Terms

__all__ = [
    "BlobDamaged",
    "BlobMissing",
    "BlobStore",
    "BlobTooLarge",
    "BlobWriter",
    "MemoryStore",
    "Space",
    "StoreFull",
    "StoreLimits",
    "StoredBlob",
    "Usage",
]

_BLOCK_BYTES = 4096


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """What a store accepts, in bytes."""

    max_blob_bytes: int = 4 * 1024**3
    """The largest single blob."""

    quota_bytes: int = 64 * 1024**3
    """All blobs together; each counts in whole blocks of 4096 bytes, at least one. Unfinished uploads count too."""

    def __post_init__(self) -> None:
        if self.max_blob_bytes < 1 or self.quota_bytes < _BLOCK_BYTES:
            raise UsageError(
                f"A store needs a largest blob of at least 1 byte and a quota of at least {_BLOCK_BYTES} bytes; "
                f"{self.max_blob_bytes} and {self.quota_bytes} were given."
            )


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob that is in the store. ``dag_size`` is the size of all its blocks, as IPFS counts it."""

    cid: str
    size: int
    dag_size: int


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a store is; ``used_bytes`` as the quota counts, without unfinished uploads."""

    blobs: int
    used_bytes: int


class BlobTooLarge(UsageError):
    """A blob exceeds what is accepted; ``limit_bytes`` is the limit."""

    def __init__(self, limit_bytes: int, *, subject: str = "This blob", remedy: str) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(f"{subject} is larger than the {limit_bytes} bytes that are accepted. {remedy}")


class StoreFull(ServiceError):
    """The store's quota or its disk is used up."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The store is full ({reason}). Its owner must raise --quota or make room; nothing was kept.")


class BlobMissing(ServiceError):
    """The store does not have this CID."""

    def __init__(self, cid: str) -> None:
        self.cid = cid
        super().__init__(f"{cid} is not in this store. Upload it first, or ask the store that has it.")


class BlobDamaged(VerificationError):
    """What the disk holds no longer has this CID: it is not served."""

    def __init__(self, cid: str) -> None:
        self.cid = cid
        super().__init__(
            f"The stored bytes of {cid} are damaged and are not served. Uploading the file again heals it."
        )


class BlobWriter(Protocol):
    """One blob on its way in. Nothing of it counts until `commit`."""

    async def write(self, data: bytes) -> None:
        """Append.

        Raises:
            BlobTooLarge: the blob passes the limit for one blob.
            StoreFull: the quota or the disk is used up.
        """
        ...

    async def commit(self) -> StoredBlob:
        """Keep the blob, at once and whole; it survives a crash from here on."""
        ...

    async def abort(self) -> None:
        """Forget the blob; does nothing after `commit`."""
        ...


class BlobStore(Protocol):
    """Blobs by CID. The same content is kept once, however often it is written."""

    @property
    def limits(self) -> StoreLimits: ...
    @property
    def usage(self) -> Usage: ...

    async def begin(self, *, keep_s: int | None = None) -> BlobWriter:
        """Start to write a blob that is to stay for ``keep_s`` seconds from its commit, or without end (None).

        Content that is here already stays as long as the longest that anybody asked for.
        """
        ...

    async def keep(self, cid: str, *, keep_s: int | None = None) -> int | None:
        """Let a blob stay as long as a new upload would make it stay; gives its size, None when it is not here."""
        ...

    async def sweep(self) -> tuple[str, ...]:
        """Remove the blobs whose time is over; gives their CIDs."""
        ...

    def left_s(self, cid: str) -> int:
        """Seconds until the end of a blob; a very large number if it has none."""
        ...

    def gone(self, cid: str) -> bool:
        """Whether the blob is not here because its time was over."""
        ...

    async def size(self, cid: str) -> int | None:
        """Bytes of a blob, or None when it is not here."""
        ...

    async def verify(self, cid: str, *, start: int = 0, length: int | None = None) -> None:
        """Check the chunks that this range touches, without giving them.

        Raises:
            BlobMissing: it is not here.
            BlobDamaged: these bytes are no longer those of the CID.
        """
        ...

    def read(self, cid: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes of a range (by default all), in pieces; every piece is verified before it is given.

        Raises:
            BlobMissing: it is not here.
            BlobDamaged: the next bytes are no longer those of the CID; what was given before is right.
        """
        ...

    async def leaves(self, cid: str) -> tuple[int, tuple[bytes, ...]]:
        """Size of a blob and the SHA-256 of each of its chunks, which its CID proves.

        Raises:
            BlobMissing: it is not here.
            BlobDamaged: it has no digests that its CID proves.
        """
        ...

    async def close(self) -> None:
        """Release what the store holds; the blobs stay."""
        ...


class Space:
    """The books of a quota: what is kept, and what unfinished uploads have reserved. Not thread-safe."""

    def __init__(self, limits: StoreLimits) -> None:
        self.limits = limits
        self.kept_bytes = 0
        self.reserved_bytes = 0

    @staticmethod
    def footprint(size: int) -> int:
        """What a blob of ``size`` bytes counts."""
        return max(1, -(-size // _BLOCK_BYTES)) * _BLOCK_BYTES

    def reserve(self, held: int, size: int) -> int:
        """Let a reservation of ``held`` grow to hold a blob of ``size`` bytes; gives the new reservation.

        Raises:
            BlobTooLarge, StoreFull: as `BlobWriter.write`; the reservation is unchanged.
        """
        if size > self.limits.max_blob_bytes:
            raise BlobTooLarge(
                self.limits.max_blob_bytes, remedy="Split it, or ask the store's owner to raise --max-blob."
            )
        needed = self.footprint(size)
        if self.kept_bytes + self.reserved_bytes - held + needed > self.limits.quota_bytes:
            raise StoreFull(f"quota of {self.limits.quota_bytes} bytes")
        self.reserved_bytes += needed - held
        return needed

    def release(self, held: int) -> None:
        """Give a reservation back."""
        self.reserved_bytes -= held

    def keep(self, held: int, *, replaced: int) -> None:
        """Turn a reservation into kept bytes, in place of ``replaced`` kept ones (the same content, already there)."""
        self.reserved_bytes -= held
        self.kept_bytes += held - replaced

    def drop(self, size: int) -> None:
        """A kept blob of ``size`` bytes is removed."""
        self.kept_bytes -= self.footprint(size)


class MemoryStore:
    """Blobs in memory, behind the same promises: for tests and for throw-away networks."""

    def __init__(self, limits: StoreLimits | None = None, *, now: Callable[[], float] = time.time) -> None:
        self._space = Space(limits or StoreLimits())
        self._blobs: dict[str, bytes] = {}
        self._terms = Terms(now)

    @property
    def limits(self) -> StoreLimits:
        return self._space.limits

    @property
    def usage(self) -> Usage:
        return Usage(blobs=len(self._blobs), used_bytes=self._space.kept_bytes)

    async def begin(self, *, keep_s: int | None = None) -> BlobWriter:
        return _MemoryWriter(self._space, self._blobs, self._terms, keep_s)

    async def keep(self, cid: str, *, keep_s: int | None = None) -> int | None:
        if cid not in self._blobs:
            return None
        self._terms.agree(cid, keep_s, held=True)
        return len(self._blobs[cid])

    async def sweep(self) -> tuple[str, ...]:
        over = tuple(cid for cid in self._terms.over() if cid in self._blobs)
        for cid in over:
            self._space.drop(len(self._blobs.pop(cid)))
        self._terms.forget()
        return over

    def left_s(self, cid: str) -> int:
        return self._terms.left_s(cid)

    def gone(self, cid: str) -> bool:
        return cid not in self._blobs and self._terms.is_over(cid)

    async def size(self, cid: str) -> int | None:
        blob = self._blobs.get(cid)
        return None if blob is None else len(blob)

    async def verify(self, cid: str, *, start: int = 0, length: int | None = None) -> None:
        if cid not in self._blobs:
            raise BlobMissing(cid)
        if cid_of(self._blobs[cid]) != cid:
            raise BlobDamaged(cid)

    async def read(self, cid: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        await self.verify(cid)
        blob = self._blobs[cid]
        piece = blob[start : len(blob) if length is None else start + length]
        if piece:
            yield piece

    async def leaves(self, cid: str) -> tuple[int, tuple[bytes, ...]]:
        await self.verify(cid)
        builder = CidBuilder()
        builder.update(self._blobs[cid])
        builder.finish()
        return builder.size, tuple(builder.leaf_digests)

    async def close(self) -> None:
        """Nothing to release."""

    def overwrite(self, cid: str, data: bytes) -> None:
        """Put other bytes under a CID, as a failing disk would: for tests of what must then happen."""
        self._blobs[cid] = data


class _MemoryWriter:
    def __init__(self, space: Space, blobs: dict[str, bytes], terms: Terms, keep_s: int | None) -> None:
        self._space = space
        self._blobs = blobs
        self._terms = terms
        self._keep_s = keep_s
        self._content = bytearray()
        self._builder = CidBuilder()
        self._held = space.reserve(0, 0)
        self._open = True

    async def write(self, data: bytes) -> None:
        self._held = self._space.reserve(self._held, len(self._content) + len(data))
        self._content += data
        self._builder.update(data)

    async def commit(self) -> StoredBlob:
        cid = self._builder.finish()
        self._open = False
        before = self._blobs.get(cid)
        self._space.keep(self._held, replaced=0 if before is None else Space.footprint(len(before)))
        self._terms.agree(cid, self._keep_s, held=before is not None)
        self._blobs[cid] = bytes(self._content)
        return StoredBlob(cid=cid, size=self._builder.size, dag_size=self._builder.dag_size)

    async def abort(self) -> None:
        if self._open:
            self._open = False
            self._space.release(self._held)
