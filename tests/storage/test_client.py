"""`StorageClient` against a real service, and against services that lie, stall and break."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from fairgrid.errors import ServiceRefused, ServiceUnavailable, UsageError, VerificationError
from fairgrid.protocol.cid import CHUNK_BYTES, cid_of
from fairgrid.storage import client as client_module
from fairgrid.storage.app import storage_application
from fairgrid.storage.client import StorageClient
from fairgrid.storage.store import BlobStore, BlobTooLarge, MemoryStore
from tests.storage.helpers import LIMITS, content, put

BIG = 10**9


class ImpatientClock:
    """A clock whose sleeps take no time; it remembers them."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> float:
        return sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def store() -> BlobStore:
    return MemoryStore(LIMITS)


@pytest.fixture
async def client(url: str) -> AsyncIterator[StorageClient]:
    async with StorageClient(url) as opened:
        yield opened


def scripted(handler: Callable[[httpx.Request], httpx.Response]) -> StorageClient:
    """A client of a service that answers as ``handler`` says."""

    def streamed(request: httpx.Request) -> httpx.Response:
        response = handler(request)
        if not response.is_stream_consumed:
            return response

        async def pieces() -> AsyncIterator[bytes]:
            yield response.content

        return httpx.Response(response.status_code, headers=response.headers, content=pieces())

    return StorageClient("http://storage", transport=httpx.MockTransport(streamed), clock=ImpatientClock())


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES + 1, 1_000_000])
async def test_what_is_added_can_be_fetched(client: StorageClient, tmp_path: Path, size: int) -> None:
    data = content(size)
    (tmp_path / "in").write_bytes(data)
    cid = await client.add_file(tmp_path / "in")
    assert cid == cid_of(data) == await client.add_bytes(data)
    await client.fetch(cid, tmp_path / "out", max_bytes=size)
    assert (tmp_path / "out").read_bytes() == data
    assert await client.fetch_bytes(cid, max_bytes=size) == data
    assert await client.stat(cid) == size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


async def test_the_in_memory_service_is_a_twin_for_users_tests() -> None:
    transport = httpx.ASGITransport(storage_application(MemoryStore()))
    async with StorageClient("http://twin", transport=transport) as client:
        cid = await client.add_bytes(b"hello", name='odd "name"\r\nX: y')
        assert await client.fetch_bytes(cid, max_bytes=5) == b"hello"


async def test_a_file_that_is_not_there_has_no_size_and_cannot_be_fetched(
    client: StorageClient, tmp_path: Path
) -> None:
    cid = cid_of(b"never stored")
    assert await client.stat(cid) is None
    with pytest.raises(ServiceRefused, match="not in this store") as refused:
        await client.fetch(cid, tmp_path / "out", max_bytes=BIG)
    assert refused.value.status == 404
    assert list(tmp_path.iterdir()) == []


async def test_a_file_larger_than_allowed_is_not_fetched(client: StorageClient, tmp_path: Path) -> None:
    cid = await client.add_bytes(content(1000))
    with pytest.raises(BlobTooLarge, match="999 bytes"):
        await client.fetch(cid, tmp_path / "out", max_bytes=999)
    assert list(tmp_path.iterdir()) == []


async def test_a_body_that_grows_beyond_its_announced_length_is_cut(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1000)

    with pytest.raises(BlobTooLarge):
        async with scripted(lambda request: httpx.Response(200, content=endless())) as client:
            await client.fetch(cid_of(b"x"), tmp_path / "out", max_bytes=5000)
    assert list(tmp_path.iterdir()) == []


async def test_bytes_of_another_cid_are_refused_and_nothing_is_left_of_them(tmp_path: Path) -> None:
    async with scripted(lambda request: httpx.Response(200, content=b"another file")) as client:
        with pytest.raises(VerificationError, match="Nothing of it was kept"):
            await client.fetch(cid_of(b"the file"), tmp_path / "out", max_bytes=BIG)
        with pytest.raises(VerificationError):
            await client.fetch_bytes(cid_of(b"the file"), max_bytes=BIG)
    assert list(tmp_path.iterdir()) == []


async def test_a_file_that_was_there_before_stays_when_the_download_fails(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"precious")
    async with scripted(lambda request: httpx.Response(200, content=b"another file")) as client:
        with pytest.raises(VerificationError):
            await client.fetch(cid_of(b"the file"), tmp_path / "out", max_bytes=BIG)
    assert (tmp_path / "out").read_bytes() == b"precious"


async def test_a_service_that_claims_another_cid_for_an_upload_is_caught() -> None:
    answer = json.dumps({"Name": "x", "Hash": cid_of(b"something else"), "Size": "1"})

    async with scripted(lambda request: httpx.Response(200, text=answer)) as client:
        with pytest.raises(VerificationError, match="Use another storage service"):
            await client.add_bytes(b"x")


@pytest.mark.parametrize("answer", ["", "{}", "[]", "null", '{"Hash": 5}', '{"Hash": "nonsense"}', "<html>"])
async def test_an_answer_that_is_not_one_is_a_clear_refusal(answer: str) -> None:
    async with scripted(lambda request: httpx.Response(200, text=answer)) as client:
        with pytest.raises(ServiceRefused, match="cannot be understood"):
            await client.add_bytes(b"x")


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    def redirect(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "storage"
        return httpx.Response(302, headers={"location": "http://169.254.169.254/latest/meta-data"})

    async with scripted(redirect) as client:
        with pytest.raises(ServiceRefused) as refused:
            await client.fetch(cid_of(b"x"), tmp_path / "out", max_bytes=BIG)
    assert refused.value.status == 302


async def test_nobody_there_is_said_after_four_tries_with_growing_pauses() -> None:
    asked = 0

    def refuse(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        raise httpx.ConnectError("Connection refused")

    clock = ImpatientClock()
    async with StorageClient("http://storage", transport=httpx.MockTransport(refuse), clock=clock) as client:
        with pytest.raises(ServiceUnavailable, match="storage at http://storage does not answer"):
            await client.add_bytes(b"x")
    assert asked == 4
    assert clock.slept == sorted(clock.slept) and len(clock.slept) == 3


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_service_that_is_only_busy_is_asked_again(status: int) -> None:
    answers = iter([httpx.Response(status), httpx.Response(200, content=b"x")])
    async with scripted(lambda request: next(answers)) as client:
        assert await client.fetch_bytes(cid_of(b"x"), max_bytes=1) == b"x"


async def test_a_service_that_stays_busy_is_unavailable() -> None:
    async with scripted(lambda request: httpx.Response(503)) as client:
        with pytest.raises(ServiceUnavailable, match="503"):
            await client.stat(cid_of(b"x"))


async def test_a_refusal_keeps_its_status_and_reason_and_is_not_retried(client: StorageClient) -> None:
    with pytest.raises(ServiceRefused, match="2000000 bytes") as refused:
        await client.add_bytes(content(2_500_000))
    assert refused.value.status == 413
    await client.add_bytes(content(1_900_000))
    with pytest.raises(ServiceRefused, match="quota") as full:
        await client.add_bytes(content(1_900_000, seed=1))
    assert full.value.status == 507


async def test_a_large_file_that_would_be_refused_is_not_sent_at_all(
    client: StorageClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_ASK_FIRST_BYTES", 1_000_000)
    (tmp_path / "large").write_bytes(content(2_000_001))
    with pytest.raises(ServiceRefused, match="2000000 bytes") as refused:
        await client.add_file(tmp_path / "large")
    assert refused.value.status == 413
    (tmp_path / "fits").write_bytes(content(2_000_000))
    assert await client.add_file(tmp_path / "fits") == cid_of(content(2_000_000))


async def test_terminal_escapes_in_a_services_words_are_neutralised() -> None:
    async with scripted(lambda request: httpx.Response(400, text="\x1b[31mred\x07\nnext")) as client:
        with pytest.raises(ServiceRefused) as refused:
            await client.add_bytes(b"x")
    assert refused.value.message == "[31mred next"


@asynccontextmanager
async def breaking_server(answers: list[Callable[[bytes], bytes]]) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that gives one raw answer per connection and then hangs up; gives its URL and the requests it saw."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        seen.append(request)
        writer.write(answers[len(seen) - 1](request))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen


async def test_a_download_goes_on_where_the_connection_broke(tmp_path: Path) -> None:
    data = content(400_000)
    length = len(data)
    answers: list[Callable[[bytes], bytes]] = [
        lambda _: f"HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n".encode() + data[:150_000],
        lambda _: (
            (
                f"HTTP/1.1 206 Partial Content\r\ncontent-length: {length - 150_000}\r\n"
                f"content-range: bytes 150000-{length - 1}/{length}\r\n\r\n"
            ).encode()
            + data[150_000:]
        ),
    ]
    async with breaking_server(answers) as (url, seen), StorageClient(url, clock=ImpatientClock()) as client:
        await client.fetch(cid_of(data), tmp_path / "out", max_bytes=length)
    assert b"range: bytes=150000-" in seen[1].lower()
    assert (tmp_path / "out").read_bytes() == data


async def test_a_download_begins_anew_when_the_service_cannot_go_on(tmp_path: Path) -> None:
    data = content(400_000)
    whole = f"HTTP/1.1 200 OK\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data
    async with (
        breaking_server([lambda _: whole[:150_000], lambda _: whole]) as (url, _seen),
        StorageClient(url, clock=ImpatientClock()) as client,
    ):
        await client.fetch(cid_of(data), tmp_path / "out", max_bytes=len(data))
    assert (tmp_path / "out").read_bytes() == data


async def test_a_connection_that_breaks_every_time_is_unavailable_and_leaves_nothing(tmp_path: Path) -> None:
    cut = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nonly this"
    async with (
        breaking_server([lambda _: cut] * 4) as (url, seen),
        StorageClient(url, clock=ImpatientClock()) as client,
    ):
        with pytest.raises(ServiceUnavailable):
            await client.fetch(cid_of(b"x"), tmp_path / "out", max_bytes=BIG)
    assert len(seen) == 4
    assert list(tmp_path.iterdir()) == []


async def test_a_cancelled_download_leaves_nothing(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"first"
        started.set()
        await asyncio.sleep(60)

    async with scripted(lambda request: httpx.Response(200, content=slow())) as client:
        task = asyncio.create_task(client.fetch(cid_of(b"x"), tmp_path / "out", max_bytes=BIG))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda client, folder: client.stat("nonsense"),
        lambda client, folder: client.fetch("../etc/passwd", folder / "out", max_bytes=1),
        lambda client, folder: client.fetch_bytes("", max_bytes=1),
        lambda client, folder: client.add_file(folder / "missing"),
        lambda client, folder: client.add_file(folder),
        lambda client, folder: client.fetch(cid_of(b"x"), folder / "no" / "such" / "out", max_bytes=1),
    ],
)
async def test_what_cannot_be_used_is_said_before_anybody_is_asked(
    tmp_path: Path, call: Callable[[StorageClient, Path], Awaitable[object]]
) -> None:
    def nobody(request: httpx.Request) -> httpx.Response:
        raise AssertionError("no request was expected")

    async with scripted(nobody) as client:
        with pytest.raises(UsageError):
            await call(client, tmp_path)


async def test_a_file_that_shrinks_while_it_is_sent_is_a_clear_error(client: StorageClient, tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(content(1_000_000))
    size = path.stat().st_size + 1
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fstat", lambda descriptor: SimpleNamespace(st_size=size))
        with pytest.raises(UsageError, match="became shorter"):
            await client.add_file(path)


async def test_a_damaged_file_is_a_refusal_that_says_so(url: str, store: BlobStore, client: StorageClient) -> None:
    assert isinstance(store, MemoryStore)
    blob = await put(store, b"sound")
    store.overwrite(blob.cid, b"rotten")
    with pytest.raises(ServiceRefused, match="damaged") as refused:
        await client.fetch_bytes(blob.cid, max_bytes=100)
    assert refused.value.status == 500
