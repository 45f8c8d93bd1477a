"""The disk store: restarts, crashes, damage."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairgrid.errors import UsageError
from fairgrid.protocol.cid import CHUNK_BYTES, cid_of
from fairgrid.storage.disk import DiskStore
from fairgrid.storage.store import BlobDamaged, StoreFull, StoreLimits
from tests.storage.helpers import LIMITS, content, get, put


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[DiskStore]:
    opened = await DiskStore.open(folder, LIMITS)
    yield opened
    await opened.close()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_a_restart_keeps_blobs_and_books(folder: Path) -> None:
    store = await DiskStore.open(folder, LIMITS)
    small, large = await put(store, b"small"), await put(store, content(900_000))
    usage = store.usage
    await store.close()
    again = await DiskStore.open(folder, LIMITS)
    assert again.usage == usage
    assert await get(again, small.cid) == b"small"
    assert await get(again, large.cid) == content(900_000)
    await again.close()


async def test_a_process_killed_in_mid_upload_leaves_nothing_that_counts(folder: Path) -> None:
    program = f"""
import asyncio, pathlib
from fairgrid.storage.disk import DiskStore
async def main():
    store = await DiskStore.open(pathlib.Path({str(folder)!r}))
    writer = await store.begin()
    await writer.write(bytes(1_500_000))
    print("written", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"written\n"
    assert any(name.startswith("partial/") for name in files(folder))
    process.kill()
    await process.communicate()
    store = await DiskStore.open(folder, LIMITS)
    assert (store.usage.blobs, store.usage.used_bytes) == (0, 0)
    assert files(folder) == ["lock"]
    await store.close()


async def test_a_folder_is_open_in_one_process_at_a_time(store: DiskStore, folder: Path) -> None:
    with pytest.raises(UsageError, match="Another storage service"):
        await DiskStore.open(folder)


async def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--dir"):
        await DiskStore.open(tmp_path / "file" / "store")


def blob_path(folder: Path, cid: str) -> Path:
    (path,) = (folder / "blobs").rglob(cid)
    return path


@pytest.mark.parametrize("size", [1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES])
async def test_a_flipped_bit_is_never_served_and_another_upload_heals_it(
    store: DiskStore, folder: Path, size: int
) -> None:
    data = content(size)
    blob = await put(store, data)
    path = blob_path(folder, blob.cid)
    rotten = bytearray(data)
    rotten[-1] ^= 4
    path.write_bytes(rotten)
    with pytest.raises(BlobDamaged, match="damaged"):
        await get(store, blob.cid)
    with pytest.raises(BlobDamaged):
        await store.verify(blob.cid)
    await put(store, data)
    assert await get(store, blob.cid) == data
    assert store.usage.blobs == 1


async def test_damage_elsewhere_does_not_keep_a_sound_range_from_being_served(store: DiskStore, folder: Path) -> None:
    data = content(5 * CHUNK_BYTES)
    blob = await put(store, data)
    path = blob_path(folder, blob.cid)
    rotten = bytearray(data)
    rotten[4 * CHUNK_BYTES] ^= 1
    path.write_bytes(rotten)
    assert await get(store, blob.cid, start=5, length=CHUNK_BYTES) == data[5 : 5 + CHUNK_BYTES]
    with pytest.raises(BlobDamaged):
        await get(store, blob.cid, start=4 * CHUNK_BYTES + 100, length=1)


@pytest.mark.parametrize("size_after", [0, 100, CHUNK_BYTES, 3 * CHUNK_BYTES - 1, 3 * CHUNK_BYTES + 1])
async def test_a_blob_of_another_length_than_its_cid_says_is_damaged(
    store: DiskStore, folder: Path, size_after: int
) -> None:
    data = content(3 * CHUNK_BYTES)
    blob = await put(store, data)
    blob_path(folder, blob.cid).write_bytes((data + b"more")[:size_after])
    with pytest.raises(BlobDamaged):
        await get(store, blob.cid, length=10)


@pytest.mark.parametrize("damage", ["removed", "cut", "flipped"])
async def test_lost_leaf_digests_are_made_again_from_a_sound_blob(store: DiskStore, folder: Path, damage: str) -> None:
    data = content(3 * CHUNK_BYTES)
    blob = await put(store, data)
    (leaves,) = (folder / "leaves").rglob(blob.cid)
    before = leaves.read_bytes()
    if damage == "removed":
        leaves.unlink()
    else:
        leaves.write_bytes(before[:-1] if damage == "cut" else bytes([before[0] ^ 1]) + before[1:])
    assert await get(store, blob.cid, start=300_000, length=10) == data[300_000:300_010]
    assert leaves.read_bytes() == before


async def test_a_full_disk_is_a_clear_error_and_leaves_nothing(
    store: DiskStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = await store.begin()
    await writer.write(content(100_000))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", no_space)
        with pytest.raises(StoreFull, match="disk"):
            await writer.commit()
    await writer.abort()
    assert (store.usage.blobs, store.usage.used_bytes) == (0, 0)
    assert files(folder) == ["lock"]
    await put(store, content(1_900_000))


async def test_a_cancelled_commit_keeps_books_and_disk_together(folder: Path) -> None:
    store = await DiskStore.open(folder, StoreLimits(max_blob_bytes=10_000, quota_bytes=60_000))
    for number in range(10):
        writer = await store.begin()
        await writer.write(content(2000, seed=number))
        commit = asyncio.create_task(writer.commit())
        for _ in range(number):
            await asyncio.sleep(0.0005)
        commit.cancel()
        await asyncio.wait((commit,))
        await writer.abort()
    deadline = time.monotonic() + 30
    while True:  # a commit that had begun ends by itself
        kept = [name for name in files(folder) if name.startswith("blobs/")]
        unfinished = [name for name in files(folder) if name.startswith("partial/")]
        if not unfinished and store.usage.blobs == len(kept):
            break
        assert time.monotonic() < deadline, (unfinished, kept, store.usage)
        await asyncio.sleep(0.05)
    assert store.usage.used_bytes == 4096 * len(kept)
    await store.close()
    reopened = await DiskStore.open(folder, StoreLimits(max_blob_bytes=10_000, quota_bytes=60_000))
    assert reopened.usage.blobs == len(kept)
    await reopened.close()


async def test_a_reader_goes_on_undisturbed_while_the_same_content_is_stored_again(store: DiskStore) -> None:
    data = content(5 * CHUNK_BYTES)
    blob = await put(store, data)
    reading = store.read(blob.cid)
    first = await anext(reading)
    await put(store, data)
    rest = b"".join([piece async for piece in reading])
    assert cid_of(first + rest) == blob.cid
