"""Blobs with an end: how long they stay, who can lengthen that, and what is said of them afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgrid.errors import ServiceRefused, UsageError
from fairgrid.protocol.cid import CHUNK_BYTES, cid_of
from fairgrid.storage.app import storage_application, sweeping
from fairgrid.storage.client import StorageClient
from fairgrid.storage.disk import DiskStore
from fairgrid.storage.mirrors import MirroredStorage
from fairgrid.storage.store import BlobStore, MemoryStore
from fairgrid.storage.terms import GONE_IS_SAID_S, MAX_KEEP_S, Terms, keep_of_query
from tests.storage.helpers import LIMITS, content, get

DATA = content(2 * CHUNK_BYTES + 5)
CID = cid_of(DATA)


class Watch:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture(params=["disk", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, watch: Watch) -> AsyncIterator[BlobStore]:
    opened: BlobStore
    if request.param == "disk":
        opened = await DiskStore.open(tmp_path / "store", LIMITS, now=watch)
    else:
        opened = MemoryStore(LIMITS, now=watch)
    yield opened
    await opened.close()


@pytest.fixture
async def client(store: BlobStore) -> AsyncIterator[StorageClient]:
    async with StorageClient("http://storage", transport=httpx.ASGITransport(storage_application(store))) as client:
        yield client


async def put(store: BlobStore, keep_s: int | None, data: bytes = DATA) -> str:
    writer = await store.begin(keep_s=keep_s)
    await writer.write(data)
    return (await writer.commit()).cid


async def test_a_blob_is_removed_after_its_end_and_its_room_is_free_again(store: BlobStore, watch: Watch) -> None:
    await put(store, None, b"other")
    before = store.usage
    await put(store, 100)
    watch.now += 99
    assert await store.sweep() == ()
    assert await get(store, CID) == DATA
    watch.now += 1
    assert await store.sweep() == (CID,)
    assert await store.size(CID) is None
    assert store.gone(CID)
    assert store.usage == before
    assert await store.sweep() == ()


@pytest.mark.parametrize(
    ("first", "second", "stays_s"),
    [(100, 300, 300), (300, 100, 300), (100, None, None), (None, 100, None), (None, None, None)],
)
@pytest.mark.parametrize("again", ["upload", "keep"])
async def test_what_somebody_keeps_longer_stays(
    store: BlobStore, watch: Watch, first: int | None, second: int | None, stays_s: int | None, again: str
) -> None:
    await put(store, first)
    if again == "upload":
        await put(store, second)
    else:
        assert await store.keep(CID, keep_s=second) == len(DATA)
    watch.now += MAX_KEEP_S if stays_s is None else stays_s - 1
    assert await store.sweep() == ()
    assert await store.size(CID) == len(DATA)
    watch.now += 1
    assert await store.sweep() == (() if stays_s is None else (CID,))


async def test_what_was_removed_can_be_uploaded_again_and_then_has_its_new_time(store: BlobStore, watch: Watch) -> None:
    await put(store, 100)
    watch.now += 100
    await store.sweep()
    assert await store.keep(CID, keep_s=50) is None
    await put(store, 10)
    assert not store.gone(CID)
    watch.now += 10
    assert await store.sweep() == (CID,)
    await put(store, None)
    watch.now += MAX_KEEP_S
    assert await store.sweep() == ()
    assert await get(store, CID) == DATA


async def test_a_removed_blob_is_forgotten_in_time(store: BlobStore, watch: Watch) -> None:
    await put(store, 100)
    watch.now += 100
    await store.sweep()
    watch.now += GONE_IS_SAID_S - 1
    await store.sweep()
    assert store.gone(CID)
    watch.now += 1
    await store.sweep()
    assert not store.gone(CID)


async def test_a_store_that_was_off_for_long_removes_what_ended_meanwhile(store: BlobStore, watch: Watch) -> None:
    await put(store, 100)
    watch.now += 100 + 2 * GONE_IS_SAID_S
    assert await store.sweep() == (CID,)
    assert await store.size(CID) is None


async def test_ends_survive_a_restart_and_nothing_of_a_removed_blob_stays_on_disk(tmp_path: Path, watch: Watch) -> None:
    folder = tmp_path / "store"
    store = await DiskStore.open(folder, LIMITS, now=watch)
    await put(store, 100)
    await store.close()
    watch.now += 100
    store = await DiskStore.open(folder, LIMITS, now=watch)
    assert await store.sweep() == (CID,)
    await store.close()
    store = await DiskStore.open(folder, LIMITS, now=watch)
    assert store.gone(CID)
    assert store.usage.blobs == 0
    watch.now += GONE_IS_SAID_S
    await store.sweep()
    await store.close()
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["lock"]


async def test_an_end_that_cannot_be_read_removes_nothing(tmp_path: Path, watch: Watch) -> None:
    folder = tmp_path / "store"
    store = await DiskStore.open(folder, LIMITS, now=watch)
    await put(store, 100)
    await store.close()
    (end,) = (path for path in (folder / "ends").rglob("*") if path.is_file())
    end.write_bytes(b"\xff")
    store = await DiskStore.open(folder, LIMITS, now=watch)
    watch.now += 100
    assert await store.sweep() == ()
    assert await get(store, CID) == DATA
    await store.close()


async def is_gone(store: BlobStore) -> None:
    while await store.size(CID) is not None:  # noqa: ASYNC110 - a store has no event to wait for
        await asyncio.sleep(0.01)


async def test_the_service_sweeps_by_itself(store: BlobStore, watch: Watch) -> None:
    await put(store, 1)
    watch.now += 1
    async with sweeping(store, every_s=0.01), asyncio.timeout(10):
        await is_gone(store)
        await put(store, 1)
        watch.now += 1
        await is_gone(store)


@pytest.mark.parametrize("size", [5, 3 * CHUNK_BYTES, 1_100_000])
async def test_a_client_uploads_for_a_time_and_is_told_that_it_is_over(
    client: StorageClient, store: BlobStore, watch: Watch, tmp_path: Path, size: int
) -> None:
    """Whether the file goes whole or in parts; and bytes alike."""
    file = tmp_path / "file"
    file.write_bytes(content(size))
    cid = await client.add_file(file, keep_s=100)
    other = await client.add_bytes(b"bytes", keep_s=100)
    watch.now += 100
    assert set(await store.sweep()) == {cid, other}
    assert await client.stat(cid) is None
    assert await client.kept(cid) is None
    with pytest.raises(ServiceRefused, match=r"the time for which it was uploaded is over.*\(status 410\)"):
        await client.fetch_bytes(cid, max_bytes=1 << 21)
    assert await client.leaves(cid) is None
    mirrored = MirroredStorage([client], partial_folder=tmp_path / "partial")
    with pytest.raises(ServiceRefused, match="410"):
        await mirrored.fetch_bytes(cid, max_bytes=1 << 21)
    assert await mirrored.add_file(file, keep_s=100) == cid
    assert await mirrored.add_bytes(b"bytes", keep_s=100) == other
    watch.now += 100
    assert set(await store.sweep()) == {cid, other}


async def test_a_large_file_that_is_there_for_a_time_stays_for_who_uploads_it_without_end(
    client: StorageClient, store: BlobStore, watch: Watch, tmp_path: Path
) -> None:
    """It is not sent again, and must not vanish with the other's time."""
    file = tmp_path / "file"
    file.write_bytes(content(1_100_000))
    await client.add_file(file, keep_s=100)
    cid = await client.add_file(file)
    watch.now += 100
    assert await store.sweep() == ()
    assert await client.stat(cid) == 1_100_000


async def test_a_file_is_kept_longer_without_sending_it(client: StorageClient, store: BlobStore, watch: Watch) -> None:
    cid = await client.add_bytes(DATA, keep_s=100)
    assert await client.kept(cid, keep_s=200) == len(DATA)
    watch.now += 199
    assert await store.sweep() == ()
    assert await client.kept(cid_of(b"nowhere")) is None
    assert await client.kept(cid) == len(DATA)
    watch.now += MAX_KEEP_S
    assert await store.sweep() == ()


async def test_a_service_that_knows_no_ends_is_asked_for_the_size() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "HEAD":
            return httpx.Response(200, headers={"content-length": "7"})
        return httpx.Response(405)

    async with StorageClient("http://storage", transport=httpx.MockTransport(answer)) as client:
        assert await client.kept(CID, keep_s=5) == 7


async def test_a_file_that_vanishes_while_it_is_asked_for_is_not_there() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-length": "7"}) if request.method == "HEAD" else httpx.Response(410)

    async with StorageClient("http://storage", transport=httpx.MockTransport(answer)) as client:
        assert await client.kept(CID, keep_s=5) is None


async def test_a_service_that_fails_to_keep_a_file_is_told_of() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-length": "7"}) if request.method == "HEAD" else httpx.Response(507)

    async with StorageClient("http://storage", transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(ServiceRefused, match="does not keep this file longer"):
            await client.kept(CID, keep_s=5)


async def test_caches_between_hold_a_file_no_longer_than_the_store(store: BlobStore, watch: Watch) -> None:
    await put(store, 100)
    endless = await put(store, None, b"endless")
    watch.now += 40
    transport = httpx.ASGITransport(storage_application(store))
    async with httpx.AsyncClient(transport=transport, base_url="http://storage") as http:
        assert (await http.head(f"/ipfs/{CID}")).headers["cache-control"] == "public, max-age=60, immutable"
        assert "max-age=29030400" in (await http.head(f"/ipfs/{endless}")).headers["cache-control"]


@pytest.mark.parametrize("text", ["", "s", "5", "-5s", "0s", "1.5s", "5 s", "5h", "٣s", f"{MAX_KEEP_S + 1}s", "9" * 99])
@pytest.mark.parametrize("path", ["/api/v0/add", "/uploads", f"/keep/{CID}"])
async def test_a_time_that_cannot_be_understood_is_refused_and_nothing_stored(path: str, text: str) -> None:
    store = MemoryStore(LIMITS)
    transport = httpx.ASGITransport(storage_application(store))
    async with httpx.AsyncClient(transport=transport, base_url="http://storage") as http:
        sent = {"files": {"file": ("a", DATA)}} if path == "/api/v0/add" else {"json": {"cid": CID, "size": 0}}
        response = await http.post(path, params={"expire-in": text}, **sent)
        assert response.status_code == 400, response.text
    assert store.usage.blobs == 0


async def test_a_web_page_that_is_not_allowed_keeps_nothing_longer(store: BlobStore) -> None:
    await put(store, 100)
    transport = httpx.ASGITransport(storage_application(store))
    async with httpx.AsyncClient(transport=transport, base_url="http://storage") as http:
        response = await http.post(f"/keep/{CID}", headers={"origin": "https://evil.example"})
        assert response.status_code == 403
        assert (await http.post("/keep/nonsense")).status_code == 400
        assert (await http.post(f"/keep/{cid_of(b'nowhere')}")).status_code == 404
    assert store.left_s(CID) == 100


@given(st.integers(1, MAX_KEEP_S))
def test_seconds_are_read_back(seconds: int) -> None:
    assert keep_of_query(f"{seconds}s") == seconds


@given(st.text(max_size=20))
def test_any_other_text_is_refused_clearly(text: str) -> None:
    try:
        seconds = keep_of_query(text)
    except UsageError:
        return
    assert seconds is not None
    assert 1 <= seconds <= MAX_KEEP_S


@given(st.lists(st.tuples(st.integers(0, 50), st.none() | st.integers(1, 100)), max_size=12))
def test_a_blob_stays_as_long_as_the_longest_that_was_asked_for(asked: list[tuple[int, int | None]]) -> None:
    now = 0
    terms = Terms(lambda: now)
    ends: list[float] = []
    for later, keep_s in asked:
        now += later
        if ends and max(ends) <= now:
            ends = []
        held = bool(ends)
        terms.agree("cid", keep_s, held=held)
        ends.append(float("inf") if keep_s is None else now + keep_s)
        assert not terms.is_over("cid")
        end = max(ends)
        assert terms.left_s("cid") == (MAX_KEEP_S if end == float("inf") else end - now)
