"""What the tests of storage share."""

from __future__ import annotations

from fairgrid.storage.store import BlobStore, StoredBlob, StoreLimits

__all__ = ["LIMITS", "content", "get", "put"]

LIMITS = StoreLimits(max_blob_bytes=2_000_000, quota_bytes=3_000_000)


def content(size: int, *, seed: int = 0) -> bytes:
    """``size`` bytes that differ from chunk to chunk and from seed to seed."""
    return b"".join((seed * 1_000_003 + number).to_bytes(8, "big") for number in range(size // 8 + 1))[:size]


async def put(store: BlobStore, data: bytes) -> StoredBlob:
    writer = await store.begin()
    await writer.write(data)
    return await writer.commit()


async def get(store: BlobStore, cid: str, *, start: int = 0, length: int | None = None) -> bytes:
    return b"".join([piece async for piece in store.read(cid, start=start, length=length)])
