"""What both stores promise."""

from __future__ import annotations

import asyncio

import pytest

from fairgrid.errors import UsageError
from fairgrid.protocol.cid import CHUNK_BYTES, cid_of
from fairgrid.storage.store import BlobMissing, BlobStore, BlobTooLarge, StoreFull, StoreLimits
from tests.storage.helpers import LIMITS, content, get, put

NOWHERE = cid_of(b"nobody stored this")


@pytest.mark.parametrize("size", [0, 1, 4096, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES + 3])
async def test_a_stored_blob_comes_back_under_its_cid(store: BlobStore, size: int) -> None:
    data = content(size)
    blob = await put(store, data)
    assert blob.cid == cid_of(data)
    assert (blob.size, await store.size(blob.cid)) == (size, size)
    assert await get(store, blob.cid) == data


async def test_a_blob_that_nobody_stored_is_missing(store: BlobStore) -> None:
    assert await store.size(NOWHERE) is None
    with pytest.raises(BlobMissing):
        await get(store, NOWHERE)
    with pytest.raises(BlobMissing):
        await store.verify(NOWHERE)


@pytest.mark.parametrize(
    ("start", "length"),
    [
        (0, 1),
        (CHUNK_BYTES - 1, 2),
        (CHUNK_BYTES, CHUNK_BYTES),
        (3, 2 * CHUNK_BYTES),
        (6 * CHUNK_BYTES, 99),
        (6 * CHUNK_BYTES + 8, None),
        (10**9, 5),
        (7, 0),
    ],
)
async def test_a_range_gives_exactly_its_bytes(store: BlobStore, start: int, length: int | None) -> None:
    data = content(6 * CHUNK_BYTES + 9)
    blob = await put(store, data)
    stop = len(data) if length is None else start + length
    assert await get(store, blob.cid, start=start, length=length) == data[start:stop]


async def test_the_same_content_is_kept_and_counted_once(store: BlobStore) -> None:
    for _ in range(3):
        await put(store, content(5000))
    assert (store.usage.blobs, store.usage.used_bytes) == (1, 8192)


async def test_the_same_content_written_many_times_at_once_is_counted_once(store: BlobStore) -> None:
    blobs = await asyncio.gather(*(put(store, content(300_000)) for _ in range(8)))
    assert len({blob.cid for blob in blobs}) == 1
    assert store.usage.blobs == 1
    assert await get(store, blobs[0].cid) == content(300_000)


async def test_an_aborted_blob_leaves_nothing_and_its_space_is_free_again(store: BlobStore) -> None:
    for attempt in range(5):
        writer = await store.begin()
        await writer.write(content(1_900_000, seed=attempt))
        await writer.abort()
        await writer.abort()
    assert (store.usage.blobs, store.usage.used_bytes) == (0, 0)
    assert await store.size((await put(store, content(1_900_000))).cid) == 1_900_000


async def test_abort_after_commit_changes_nothing(store: BlobStore) -> None:
    writer = await store.begin()
    await writer.write(b"kept")
    blob = await writer.commit()
    await writer.abort()
    assert await get(store, blob.cid) == b"kept"
    assert store.usage.used_bytes == 4096


async def test_a_blob_of_the_largest_size_is_kept_and_one_byte_more_is_refused(store: BlobStore) -> None:
    writer = await store.begin()
    await writer.write(content(LIMITS.max_blob_bytes))
    with pytest.raises(BlobTooLarge, match="2000000 bytes"):
        await writer.write(b"x")
    await writer.abort()
    assert (await put(store, content(LIMITS.max_blob_bytes))).size == LIMITS.max_blob_bytes


async def test_unfinished_uploads_count_against_the_quota(store: BlobStore) -> None:
    first, second = await store.begin(), await store.begin()
    await first.write(content(1_900_000))
    with pytest.raises(StoreFull, match="quota"):
        await second.write(content(1_900_000, seed=1))
    await second.abort()
    blob = await first.commit()
    assert await store.size(blob.cid) == 1_900_000


async def test_a_full_store_still_takes_what_it_has_only_if_there_is_room_to_receive_it(store: BlobStore) -> None:
    await put(store, content(1_900_000))
    with pytest.raises(StoreFull):
        await put(store, content(1_900_000))
    assert store.usage.blobs == 1


async def test_tiny_blobs_count_a_whole_block_each(store: BlobStore) -> None:
    for number in range(10):
        await put(store, bytes([number]))
    assert store.usage.used_bytes == 10 * 4096


@pytest.mark.parametrize(("max_blob", "quota"), [(0, 4096), (1, 4095)])
def test_limits_that_allow_nothing_are_refused(max_blob: int, quota: int) -> None:
    with pytest.raises(UsageError, match="at least"):
        StoreLimits(max_blob_bytes=max_blob, quota_bytes=quota)
