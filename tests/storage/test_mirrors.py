"""Downloads through gateways that cut, drip, lie and vanish, and by processes that are killed; all on real ports."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure, ServiceRefused, ServiceUnavailable, VerificationError
from fairgrid.protocol.cid import CHUNK_BYTES, cid_of
from fairgrid.seams.service import serving
from fairgrid.storage.app import storage_application
from fairgrid.storage.client import StorageClient
from fairgrid.storage.download import Tempo
from fairgrid.storage.mirrors import DiskFull, MirroredStorage
from fairgrid.storage.store import BlobTooLarge, MemoryStore
from tests.storage.helpers import content, put
from tests.storage.test_client import ImpatientClock
from tests.storage.toxic import Toxic, toxic_proxy

DATA = content(6 * CHUNK_BYTES + 1234)
CID = cid_of(DATA)
SMALL = content(1000)
BIG = 10**9
LIE = {number.to_bytes(8, "big"): b"\xff" * 8 for number in range(100, 110)}
"""Other bytes for some that are in the first chunk of both."""


@asynccontextmanager
async def storage_at(*blobs: bytes) -> AsyncIterator[str]:
    """A storage service with these blobs, on a free port."""
    store = MemoryStore()
    for blob in blobs:
        await put(store, blob)
    async with serving(storage_application(store)) as url:
        yield url


@asynccontextmanager
async def mirrored(folder: Path, *urls: str, tempo: Tempo | None = None) -> AsyncIterator[MirroredStorage]:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(StorageClient(url, clock=ImpatientClock())) for url in urls]
        yield MirroredStorage(clients, partial_folder=folder / "partial", tempo=tempo)


async def test_download_whose_connection_breaks_again_and_again_goes_on_each_time(tmp_path: Path) -> None:
    async with (
        storage_at(DATA) as url,
        toxic_proxy(url, Toxic(cut_after=CHUNK_BYTES + 9_000)) as toxic,
        mirrored(tmp_path, toxic.url) as storage,
    ):
        await storage.fetch(CID, tmp_path / "out", max_bytes=BIG)
    assert (tmp_path / "out").read_bytes() == DATA
    assert toxic.connections >= 6, "each connection gave one chunk and broke"
    assert list((tmp_path / "partial").iterdir()) == []


async def test_mirror_gives_what_the_first_storage_does_not_have(tmp_path: Path) -> None:
    async with storage_at() as empty, storage_at(DATA, SMALL) as full, mirrored(tmp_path, empty, full) as storage:
        assert await storage.stat(CID) == len(DATA)
        await storage.fetch(CID, tmp_path / "out", max_bytes=BIG)
        assert await storage.fetch_bytes(cid_of(SMALL), max_bytes=BIG) == SMALL
        assert await storage.stat(cid_of(b"nobody's")) is None
        with pytest.raises(ServiceRefused, match="404"):
            await storage.fetch(cid_of(b"nobody's"), tmp_path / "none", max_bytes=BIG)
    assert (tmp_path / "out").read_bytes() == DATA
    assert not (tmp_path / "none").exists()


async def test_mirror_goes_on_where_a_storage_vanished(tmp_path: Path) -> None:
    async with (
        storage_at(DATA) as url,
        toxic_proxy(url, Toxic(cut_after=3 * CHUNK_BYTES)) as vanishing,
        toxic_proxy(url) as second,
        mirrored(tmp_path, vanishing.url, second.url) as storage,
    ):

        async def vanish() -> None:
            await vanishing.content_asked.wait()
            vanishing.cut_after = 0

        vanisher = asyncio.create_task(vanish())
        await storage.fetch(CID, tmp_path / "out", max_bytes=BIG)
        await vanisher
    assert (tmp_path / "out").read_bytes() == DATA
    assert any("/ipfs/" in request for request in second.requests)


@pytest.mark.parametrize("data", [DATA, SMALL], ids=["large", "small"])
async def test_mirror_that_serves_wrong_bytes_is_dropped_and_not_asked_again(tmp_path: Path, data: bytes) -> None:
    async with (
        storage_at(data) as url,
        toxic_proxy(url, Toxic(swap=LIE)) as lying,
        mirrored(tmp_path, lying.url, url) as storage,
    ):
        for turn in range(2):
            await storage.fetch(cid_of(data), tmp_path / f"out{turn}", max_bytes=BIG)
            asked = len(lying.requests)
        assert list(storage.dropped) == [lying.url]
        assert cid_of(data) in storage.dropped[lying.url]
        assert (tmp_path / "out1").read_bytes() == data
        await storage.fetch_bytes(cid_of(data), max_bytes=BIG)
        assert len(lying.requests) == asked


async def test_wrong_chunk_is_seen_before_the_rest_is_fetched(tmp_path: Path) -> None:
    async with (
        storage_at(DATA) as url,
        toxic_proxy(url, Toxic(swap=LIE)) as lying,
        mirrored(tmp_path, lying.url, url) as storage,
    ):
        await storage.fetch(CID, tmp_path / "out", max_bytes=BIG)
        assert "is wrong between bytes 0 and" in storage.dropped[lying.url]
    assert (tmp_path / "out").read_bytes() == DATA


async def test_only_a_liar_left_is_a_failed_verification_and_leaves_nothing(tmp_path: Path) -> None:
    async with (
        storage_at(SMALL) as url,
        toxic_proxy(url, Toxic(swap=LIE)) as lying,
        mirrored(tmp_path, lying.url) as storage,
    ):
        for _ in range(2):
            with pytest.raises(VerificationError):
                await storage.fetch(cid_of(SMALL), tmp_path / "out", max_bytes=BIG)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_slow_storage_is_left_for_a_faster_one(tmp_path: Path) -> None:
    tempo = Tempo(bytes_per_s=10_000_000, patience_s=0.2)
    async with (
        storage_at(DATA) as url,
        toxic_proxy(url, Toxic(pause_s=0.05)) as slow,
        mirrored(tmp_path, slow.url, url, tempo=tempo) as storage,
    ):
        async with asyncio.timeout(20):
            await storage.fetch(CID, tmp_path / "out", max_bytes=BIG)
    assert (tmp_path / "out").read_bytes() == DATA


async def test_what_arrived_waits_for_the_next_try(tmp_path: Path) -> None:
    async with storage_at(DATA) as url, toxic_proxy(url, Toxic(cut_after=3 * CHUNK_BYTES)) as toxic:
        async with mirrored(tmp_path, toxic.url) as storage:
            task = asyncio.create_task(storage.fetch(CID, tmp_path / "out", max_bytes=BIG))
            await toxic.content_asked.wait()
            toxic.cut_after = 0
            with pytest.raises(ServiceUnavailable):
                await task
        kept = (tmp_path / "partial" / CID).stat().st_size
        toxic.cut_after = None
        toxic.requests.clear()
        async with mirrored(tmp_path, toxic.url) as storage:
            await storage.fetch(CID, tmp_path / "out", max_bytes=BIG)
    assert (tmp_path / "out").read_bytes() == DATA
    assert kept % CHUNK_BYTES == 0


async def test_partial_file_that_rotted_is_believed_up_to_its_first_wrong_chunk(tmp_path: Path) -> None:
    (tmp_path / "partial").mkdir()
    rotten = bytearray(DATA[: 4 * CHUNK_BYTES + 77])
    rotten[2 * CHUNK_BYTES + 5] ^= 1
    (tmp_path / "partial" / CID).write_bytes(rotten)
    async with storage_at(DATA) as url, toxic_proxy(url) as toxic, mirrored(tmp_path, toxic.url) as storage:
        await storage.fetch(CID, tmp_path / "out", max_bytes=BIG)
    assert (tmp_path / "out").read_bytes() == DATA


async def test_partial_file_of_foreign_content_does_no_harm_without_leaves(tmp_path: Path) -> None:
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / cid_of(SMALL)).write_bytes(b"foreign" * 20)
    async with storage_at(SMALL) as url, mirrored(tmp_path, url) as storage:
        await storage.fetch(cid_of(SMALL), tmp_path / "out", max_bytes=BIG)
        assert storage.dropped == {}, "the storage sent the right bytes"
    assert (tmp_path / "out").read_bytes() == SMALL


async def test_file_larger_than_allowed_is_not_fetched(tmp_path: Path) -> None:
    async with storage_at(DATA) as url, toxic_proxy(url) as toxic, mirrored(tmp_path, toxic.url) as storage:
        with pytest.raises(BlobTooLarge):
            await storage.fetch(CID, tmp_path / "out", max_bytes=len(DATA) - 1)
        assert not any("/ipfs/" in request for request in toxic.requests)
        await storage.fetch(CID, tmp_path / "out", max_bytes=len(DATA))


async def test_full_disk_is_a_clear_error_that_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with storage_at(DATA) as url, mirrored(tmp_path, url) as storage:
        with monkeypatch.context() as patched:

            def full(descriptor: int) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            patched.setattr("fairgrid.storage.mirrors.os.fsync", full)
            with pytest.raises(DiskFull, match="Make room") as raised:
                await storage.fetch(CID, tmp_path / "out", max_bytes=BIG)
        assert isinstance(raised.value, HostFailure)
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []
        await storage.fetch(CID, tmp_path / "out", max_bytes=BIG)


FETCH = """
import asyncio, sys
from pathlib import Path
from fairgrid.storage.client import StorageClient
from fairgrid.storage.mirrors import MirroredStorage

async def main() -> None:
    url, cid, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    async with StorageClient(url) as client:
        await MirroredStorage([client], partial_folder=folder / "partial").fetch(cid, folder / "out", max_bytes=10**9)

asyncio.run(main())
"""


async def test_process_killed_at_random_moments_goes_on_where_it_was(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    data = content(40 * CHUNK_BYTES + 17)
    cid, kills, passed = cid_of(data), 0, 0
    async with storage_at(data) as url, toxic_proxy(url, Toxic(pause_s=0.004)) as toxic:
        while not (tmp_path / "out").exists():
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", FETCH, toxic.url, cid, str(tmp_path))
            try:
                await asyncio.wait_for(process.wait(), chance.uniform(0.5, 1.6) if kills < 8 else 60)
            except TimeoutError:
                process.send_signal(signal.SIGKILL)
                await process.wait()
                kills += 1
            partial = tmp_path / "partial" / cid
            size = partial.stat().st_size if partial.exists() else 0
            assert size >= passed - CHUNK_BYTES * 8 or (tmp_path / "out").exists(), f"seed {seed}: lost what it had"
            passed = max(passed, size)
    assert (tmp_path / "out").read_bytes() == data, f"seed {seed}"
    assert kills >= 1, f"seed {seed}: it was never killed"
