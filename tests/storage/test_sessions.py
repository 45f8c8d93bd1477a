"""Uploads in parts go on after lost connections and killed senders; sending twice changes nothing."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from fairgrid.errors import ServiceRefused, ServiceUnavailable, UsageError, VerificationError
from fairgrid.protocol.cid import cid_of
from fairgrid.seams.service import serving
from fairgrid.storage.app import storage_application
from fairgrid.storage.client import StorageClient
from fairgrid.storage.sessions import SessionConflict, SessionMissing, UploadSessions
from fairgrid.storage.store import BlobStore, BlobTooLarge, MemoryStore, StoreFull, StoreLimits
from tests.storage.helpers import LIMITS, content, get
from tests.storage.test_client import ImpatientClock
from tests.storage.toxic import Toxic, toxic_proxy

DATA = content(1_900_000)
CID = cid_of(DATA)


async def body(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def broken(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    raise ConnectionError


async def test_parts_that_overlap_make_the_file_once(store: BlobStore) -> None:
    sessions = UploadSessions(store)
    upload = await sessions.begin(CID, len(DATA))
    with pytest.raises(ConnectionError):
        await sessions.append(upload.name, 0, broken(DATA[:400_000], DATA[400_000:700_001]))
    assert (await sessions.state(upload.name)).offset == 700_001
    # The sender does not know how much came through: it begins earlier.
    state = await sessions.append(upload.name, 300_000, body(DATA[300_000:900_000]))
    assert (state.offset, state.done) == (900_000, False)
    assert await store.size(CID) is None
    state = await sessions.append(upload.name, 900_000, body(DATA[900_000:]))
    assert state.done
    assert await get(store, CID) == DATA
    again = await sessions.append(upload.name, 0, body(DATA))
    assert again.done
    assert store.usage.blobs == 1


async def test_part_that_leaves_a_gap_or_goes_beyond_the_end_is_refused(store: BlobStore) -> None:
    sessions = UploadSessions(store)
    upload = await sessions.begin(cid_of(b"12345"), 5)
    with pytest.raises(SessionConflict, match="Go on at offset 0") as gap:
        await sessions.append(upload.name, 1, body(b"2345"))
    assert gap.value.offset == 0
    with pytest.raises(SessionConflict, match="5 bytes; more came"):
        await sessions.append(upload.name, 0, body(b"123456"))
    assert (await sessions.append(upload.name, 0, body(b"12345"))).done


async def test_older_connection_that_hangs_gives_way_to_the_newer(store: BlobStore) -> None:
    sessions = UploadSessions(store)
    upload = await sessions.begin(cid_of(b"abcdef"), 6)
    go_on = asyncio.Event()

    async def hanging() -> AsyncIterator[bytes]:
        yield b"ab"
        await go_on.wait()
        yield b"XX"

    older = asyncio.create_task(sessions.append(upload.name, 0, hanging()))
    while (await sessions.state(upload.name)).offset < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    newer = asyncio.create_task(sessions.append(upload.name, 2, body(b"cd")))
    await newer
    go_on.set()
    with pytest.raises(SessionConflict, match="Another connection"):
        await older
    assert (await sessions.append(upload.name, 4, body(b"ef"))).done


async def test_content_of_another_cid_is_refused_when_it_is_whole(store: BlobStore) -> None:
    sessions = UploadSessions(store)
    upload = await sessions.begin(cid_of(b"promised"), 5)
    with pytest.raises(VerificationError, match="Send the file again"):
        await sessions.append(upload.name, 0, body(b"other"))
    assert await store.size(cid_of(b"promised")) is None
    with pytest.raises(SessionMissing):
        await sessions.state(upload.name)


async def test_what_cannot_be_kept_is_refused_before_it_is_sent(store: BlobStore) -> None:
    sessions = UploadSessions(store)
    with pytest.raises(BlobTooLarge):
        await sessions.begin(CID, LIMITS.max_blob_bytes + 1)
    with pytest.raises(UsageError):
        await sessions.begin("nonsense", 1)
    with pytest.raises(UsageError):
        await sessions.begin(CID, -1)
    assert (await sessions.begin(cid_of(b""), 0)).done


async def test_upload_that_nobody_goes_on_with_gives_its_room_back() -> None:
    now = 0.0
    store = MemoryStore(StoreLimits(max_blob_bytes=100_000, quota_bytes=100_000))
    sessions = UploadSessions(store, now=lambda: now)
    given_up = await sessions.begin(cid_of(bytes(90_000)), 90_000)
    await sessions.append(given_up.name, 0, body(bytes(80_000)))
    other = content(50_000)
    waiting = await sessions.begin(cid_of(other), len(other))
    with pytest.raises(StoreFull):
        await sessions.append(waiting.name, 0, body(other))
    now = 601.0
    fresh = await sessions.begin(cid_of(other), len(other))
    assert (await sessions.append(fresh.name, 0, body(other))).done
    with pytest.raises(SessionMissing, match="Begin anew"):
        await sessions.state(given_up.name)


async def test_dropped_upload_leaves_nothing(store: BlobStore) -> None:
    sessions = UploadSessions(store)
    upload = await sessions.begin(CID, len(DATA))
    await sessions.append(upload.name, 0, body(DATA[:1000]))
    await sessions.drop(upload.name)
    await sessions.drop(upload.name)
    with pytest.raises(SessionMissing):
        await sessions.state(upload.name)


# --- over the network -------------------------------------------------------------------------------------------


async def test_upload_whose_connection_breaks_goes_on_where_the_store_is(
    url: str, store: BlobStore, tmp_path: Path
) -> None:
    (tmp_path / "in").write_bytes(DATA)
    async with (
        toxic_proxy(url, Toxic(cut_upload_after=600_000)) as toxic,
        StorageClient(toxic.url, clock=ImpatientClock()) as client,
    ):
        assert await client.add_file(tmp_path / "in", ticket=tmp_path / "ticket") == CID
    assert await get(store, CID) == DATA
    offsets = [request for request in toxic.requests if request.startswith("PATCH")]
    assert len(offsets) >= 3
    assert len(set(offsets)) == len(offsets), "every part began where the one before had ended"
    assert not (tmp_path / "ticket").exists()


async def test_file_that_is_there_is_not_sent_again(url: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(DATA)
    async with toxic_proxy(url) as toxic, StorageClient(toxic.url) as client:
        await client.add_file(tmp_path / "in")
        toxic.requests.clear()
        assert await client.add_file(tmp_path / "in") == CID
        assert [request.split()[0] for request in toxic.requests] == ["HEAD", "POST"]
        assert not any("/uploads" in request or "/add" in request for request in toxic.requests)


async def test_store_that_never_takes_a_byte_is_unavailable(url: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(DATA)
    async with toxic_proxy(url) as toxic, StorageClient(toxic.url, clock=ImpatientClock()) as client:
        begun = await client._begin_upload(CID, len(DATA))
        assert begun is not None
        (tmp_path / "ticket").write_text(json.dumps({"url": toxic.url, "cid": CID, "id": begun["id"]}))
        toxic.cut_upload_after = 0
        with pytest.raises(ServiceUnavailable):
            await client.add_file(tmp_path / "in", ticket=tmp_path / "ticket")
        toxic.cut_upload_after = None
        assert await client.add_file(tmp_path / "in", ticket=tmp_path / "ticket") == CID


async def test_restarted_service_gets_the_whole_file_anew(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(DATA)
    store = MemoryStore()
    async with serving(storage_application(store)) as url, StorageClient(url) as client:
        begun = await client._begin_upload(CID, len(DATA))
        assert begun is not None
        port = int(url.rsplit(":", 1)[1])
    ticket = tmp_path / "ticket"
    ticket.write_text(json.dumps({"url": url, "cid": CID, "id": begun["id"]}))
    async with serving(storage_application(store), port=port) as url, StorageClient(url) as client:
        assert await client.add_file(tmp_path / "in", ticket=ticket) == CID
    assert not ticket.exists()


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"url": 1, "cid": 2, "id": 3}', '{"url": "URL", "cid": "CID", "id": "../x"}']
)
async def test_ticket_that_says_nothing_is_ignored(url: str, tmp_path: Path, text: str) -> None:
    (tmp_path / "in").write_bytes(DATA)
    (tmp_path / "ticket").write_text(text.replace("URL", url).replace("CID", CID))
    async with StorageClient(url) as client:
        assert await client.add_file(tmp_path / "in", ticket=tmp_path / "ticket") == CID


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("POST", "/uploads", b"nonsense", 400),
        ("POST", "/uploads", b"[" * 10_000, 400),
        ("POST", "/uploads", b'{"cid": "x", "size": 1}', 400),
        ("POST", "/uploads", json.dumps({"cid": CID, "size": 10**12}).encode(), 413),
        ("GET", "/uploads/nobody", b"", 404),
        ("PATCH", "/uploads/nobody?offset=0", b"x", 404),
        ("PATCH", "/uploads/nobody?offset=-1", b"x", 400),
        ("PATCH", "/uploads/nobody", b"x", 400),
        ("DELETE", "/uploads/nobody", b"", 204),
    ],
)
async def test_request_that_makes_no_sense_is_answered_with_its_reason(
    url: str, method: str, path: str, sent: bytes, status: int
) -> None:
    async with httpx.AsyncClient(base_url=url) as http:
        answer = await http.request(method, path, content=sent)
    assert answer.status_code == status
    if status >= 400:
        assert answer.json()["Message"]


async def test_web_page_may_not_upload_in_parts_either(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, headers={"origin": "http://evil.example"}) as http:
        assert (await http.post("/uploads", json={"cid": CID, "size": 1})).status_code == 403
        assert (await http.patch("/uploads/x?offset=0", content=b"x")).status_code == 403


async def test_leaves_of_a_file_are_proven_by_its_cid(url: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(DATA)
    async with StorageClient(url) as client:
        assert await client.leaves(CID) is None
        await client.add_file(tmp_path / "in")
        leaves = await client.leaves(CID)
        assert leaves is not None
        assert (leaves.size, len(leaves.digests)) == (len(DATA), 8)


async def test_leaves_that_the_cid_does_not_prove_are_not_believed(url: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(DATA)
    async with StorageClient(url) as client:
        await client.add_file(tmp_path / "in")
        leaves = await client.leaves(CID)
        assert leaves is not None
        async with (
            toxic_proxy(url, Toxic(swap={leaves.digests[3]: bytes(32)})) as toxic,
            StorageClient(toxic.url) as other,
        ):
            assert await other.leaves(CID) is None


SEND = """
import asyncio, sys
from pathlib import Path
from fairgrid.storage.client import StorageClient

async def main() -> None:
    url, folder = sys.argv[1], Path(sys.argv[2])
    class Slow:
        async def take(self, count): await asyncio.sleep(0.12)
    async with StorageClient(url, up=Slow()) as client:
        cid = await client.add_file(folder / "in", ticket=folder / "ticket")
        (folder / "cid").write_text(cid)

asyncio.run(main())
"""


async def test_sender_killed_at_random_moments_goes_on_where_the_store_is(
    url: str, store: BlobStore, tmp_path: Path
) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    (tmp_path / "in").write_bytes(DATA)
    kills = 0
    async with toxic_proxy(url) as toxic:
        while not (tmp_path / "cid").exists():
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", SEND, toxic.url, str(tmp_path))
            try:
                await asyncio.wait_for(process.wait(), chance.uniform(0.5, 1.3) if kills < 6 else 50)
            except TimeoutError:
                process.send_signal(signal.SIGKILL)
                await process.wait()
                kills += 1
    assert (tmp_path / "cid").read_text() == CID
    assert await get(store, CID) == DATA
    assert kills >= 1, f"seed {seed}"
    assert sum(request.startswith("POST") for request in toxic.requests) <= 2, f"seed {seed}: it began anew"


async def test_service_without_uploads_in_parts_gets_the_file_as_ipfs_nodes_do(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(DATA)
    asked: list[str] = []

    async def node(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        await request.aread()
        if request.url.path == "/api/v0/add":
            return httpx.Response(200, content=_stream(json.dumps({"Hash": CID}).encode()))
        return httpx.Response(404, content=_stream(b"no"))

    async with StorageClient("http://node", transport=httpx.MockTransport(node)) as client:
        assert await client.add_file(tmp_path / "in") == CID
    assert asked == [f"/ipfs/{CID}", "/uploads", "/api/v0/add"]


async def _stream(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_full_store_says_so_and_the_upload_can_go_on_later(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(DATA)
    store = MemoryStore(StoreLimits(max_blob_bytes=2_000_000, quota_bytes=1_000_000))
    async with serving(storage_application(store)) as url, StorageClient(url, clock=ImpatientClock()) as client:
        with pytest.raises(ServiceRefused, match="full"):
            await client.add_file(tmp_path / "in")
