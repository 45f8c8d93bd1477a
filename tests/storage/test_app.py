"""The storage service over HTTP, on a real port, as foreign clients speak to it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from fairgrid.protocol.cid import CHUNK_BYTES, cid_of
from fairgrid.seams.service import serving
from fairgrid.storage import app as app_module
from fairgrid.storage.app import storage_application
from fairgrid.storage.disk import DiskStore
from fairgrid.storage.store import BlobStore, MemoryStore, StoreLimits
from tests.storage.helpers import LIMITS, content, put


@pytest.fixture
def store() -> BlobStore:
    return MemoryStore(LIMITS)


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url) as client:
        yield client


async def add(http: httpx.AsyncClient, data: bytes, name: str = "file.bin") -> httpx.Response:
    return await http.post("/api/v0/add", params={"cid-version": "1"}, files={"file": (name, data)})


async def test_an_upload_is_answered_as_an_ipfs_node_does(http: httpx.AsyncClient) -> None:
    data = content(CHUNK_BYTES + 1)
    response = await add(http, data, "näme.bin")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    (line,) = response.text.splitlines()
    assert json.loads(line) == {"Name": "näme.bin", "Hash": cid_of(data), "Size": str(len(data) + 104)}


async def test_what_a_published_client_sends_without_a_cid_version_is_accepted(http: httpx.AsyncClient) -> None:
    response = await http.post(
        "/api/v0/add?stream-channels=true&progress=false", files={"file": ("", b"[]", "application/octet-stream")}
    )
    assert response.status_code in (200, 400)
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"\r\nContent-Type: application/octet-stream\r\n\r\n[]\r\n'
        b"--x--\r\n"
    )
    response = await http.post(
        "/api/v0/add?stream-channels=true&progress=false",
        content=body,
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    assert response.json()["Hash"] == cid_of(b"[]")


async def test_several_files_of_one_form_give_one_line_each(http: httpx.AsyncClient) -> None:
    response = await http.post(
        "/api/v0/add",
        files=[("file", ("a", b"one")), ("file", ("b", b"")), ("file", ("c", content(300_000)))],
        data={"comment": "not a file"},
    )
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert [(line["Name"], line["Hash"]) for line in lines] == [
        ("a", cid_of(b"one")),
        ("b", cid_of(b"")),
        ("c", cid_of(content(300_000))),
    ]


async def test_a_stored_file_is_served_with_headers_that_keep_it_harmless(http: httpx.AsyncClient) -> None:
    page = b"<script>alert(1)</script>"
    await add(http, page)
    response = await http.get(f"/ipfs/{cid_of(page)}")
    assert (response.status_code, response.content) == (200, page)
    assert response.headers["etag"] == f'"{cid_of(page)}"'
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in response.headers["content-security-policy"]
    assert response.headers["content-disposition"] == "attachment"
    assert "immutable" in response.headers["cache-control"]
    assert response.headers["accept-ranges"] == "bytes"


async def test_head_gives_the_same_headers_and_no_body(http: httpx.AsyncClient) -> None:
    await add(http, content(5000))
    got = await http.get(f"/ipfs/{cid_of(content(5000))}")
    head = await http.head(f"/ipfs/{cid_of(content(5000))}")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == "5000"
    assert {**got.headers, "date": ""} == {**head.headers, "date": ""}


async def test_an_empty_file_is_stored_and_served(http: httpx.AsyncClient) -> None:
    assert (await add(http, b"")).json()["Hash"] == cid_of(b"")
    response = await http.get(f"/ipfs/{cid_of(b'')}")
    assert (response.status_code, response.content, response.headers["content-length"]) == (200, b"", "0")
    assert (await http.get(f"/ipfs/{cid_of(b'')}", headers={"range": "bytes=0-"})).status_code == 416


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=262143-262144", 262143, 262145),
        ("bytes=599999-", 599_999, 600_000),
        ("bytes=-5", 599_995, 600_000),
        ("bytes=-999999999", 0, 600_000),
        ("bytes=5-999999999", 5, 600_000),
        ("bytes=0-", 0, 600_000),
    ],
)
async def test_a_range_is_answered_206_with_exactly_these_bytes(
    http: httpx.AsyncClient, asked: str, start: int, stop: int
) -> None:
    data = content(600_000)
    await add(http, data)
    response = await http.get(f"/ipfs/{cid_of(data)}", headers={"range": asked})
    assert response.status_code == 206
    assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/600000"
    assert response.content == data[start:stop]


@pytest.mark.parametrize("asked", ["bytes=600000-", "bytes=600000-600001", "bytes=-0", "bytes=9999999999999999999-"])
async def test_a_range_beyond_the_end_is_answered_416(http: httpx.AsyncClient, asked: str) -> None:
    data = content(600_000)
    await add(http, data)
    response = await http.get(f"/ipfs/{cid_of(data)}", headers={"range": asked})
    assert response.status_code == 416
    assert response.headers["content-range"] == "bytes */600000"


@pytest.mark.parametrize(
    "asked", ["bytes=5-1", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=0-1,3-4", "bytes=" + "9" * 40]
)
async def test_a_range_that_makes_no_sense_is_ignored(http: httpx.AsyncClient, asked: str) -> None:
    await add(http, b"content")
    response = await http.get(f"/ipfs/{cid_of(b'content')}", headers={"range": asked})
    assert (response.status_code, response.content) == (200, b"content")


async def test_if_range_with_another_tag_gives_the_whole_file(http: httpx.AsyncClient) -> None:
    await add(http, b"content")
    url = f"/ipfs/{cid_of(b'content')}"
    other = await http.get(url, headers={"range": "bytes=1-2", "if-range": '"other"'})
    same = await http.get(url, headers={"range": "bytes=1-2", "if-range": f'"{cid_of(b"content")}"'})
    assert (other.status_code, same.status_code, same.content) == (200, 206, b"on")


async def test_a_file_that_the_client_has_is_not_sent_again(http: httpx.AsyncClient) -> None:
    await add(http, b"content")
    url = f"/ipfs/{cid_of(b'content')}"
    tag = (await http.get(url)).headers["etag"]
    assert (await http.get(url, headers={"if-none-match": tag})).status_code == 304
    assert (await http.get(url, headers={"if-none-match": f'W/{tag}, "x"'})).status_code == 304
    assert (await http.get(url, headers={"if-none-match": '"x"'})).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/ipfs/{cid_of(b'never stored')}", 404),
        ("/ipfs/nonsense", 400),
        ("/ipfs/..%2F..%2Fetc%2Fpasswd", 404),
        ("/ipfs/", 404),
        (f"/ipfs/{cid_of(b'x')}/inside", 404),
        ("/", 404),
    ],
)
async def test_what_is_not_there_is_said_in_plain_text(http: httpx.AsyncClient, path: str, status: int) -> None:
    response = await http.get(path)
    assert response.status_code == status
    assert response.headers["content-type"].startswith("text/plain")


async def test_a_block_format_is_not_served_as_if_it_were_the_file(http: httpx.AsyncClient) -> None:
    await add(http, b"content")
    assert (await http.get(f"/ipfs/{cid_of(b'content')}?format=car")).status_code == 406


async def test_another_method_is_refused(http: httpx.AsyncClient) -> None:
    assert (await http.delete(f"/ipfs/{cid_of(b'x')}")).status_code == 405
    assert (await http.get("/api/v0/add")).status_code == 405


@pytest.mark.parametrize("announce", [True, False])
async def test_a_file_above_the_largest_size_is_answered_413(http: httpx.AsyncClient, announce: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        for number in range(60):
            yield content(100_000, seed=number)
        yield b"\r\n--x--\r\n"

    if announce:
        response = await add(http, content(6_000_000))
    else:
        response = await http.post(
            "/api/v0/add", content=pieces(), headers={"content-type": "multipart/form-data; boundary=x"}
        )
    assert response.status_code == 413
    assert str(LIMITS.max_blob_bytes) in response.json()["Message"]
    assert (await http.get("/health")).json()["usedBytes"] == 0


async def test_a_file_beyond_the_quota_is_answered_507(http: httpx.AsyncClient) -> None:
    assert (await add(http, content(1_900_000))).status_code == 200
    response = await add(http, content(1_900_000, seed=1))
    assert response.status_code == 507
    assert "quota" in response.json()["Message"]
    assert (await http.get("/health")).json()["blobs"] == 1


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"no boundary here"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nhalf',
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="t"\r\n\r\ntext\r\n--x--\r\n',
        ),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A" * 100_000 + b": b\r\n\r\nz\r\n--x--\r\n"),
        ("multipart/form-data; boundary=" + "x" * 2000, b"--x"),
    ],
)
async def test_a_body_that_is_no_form_with_a_file_is_answered_400_and_leaves_nothing(
    http: httpx.AsyncClient, content_type: str, body: bytes
) -> None:
    response = await http.post("/api/v0/add", content=body, headers={"content-type": content_type})
    assert response.status_code == 400
    assert response.json()["Type"] == "error"
    assert (await http.get("/health")).json()["blobs"] == 0


@pytest.mark.parametrize("query", ["cid-version=0", "wrap-with-directory=true"])
async def test_options_that_would_give_another_cid_are_refused(http: httpx.AsyncClient, query: str) -> None:
    response = await http.post(f"/api/v0/add?{query}", files={"file": b"x"})
    assert response.status_code == 400


async def test_a_web_page_cannot_fill_the_store_unless_it_is_allowed(store: BlobStore) -> None:
    application = storage_application(store, allowed_origins=frozenset({"https://grid.example"}))
    async with (
        serving(application) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        refused = await http.post("/api/v0/add", files={"file": b"x"}, headers={"origin": "https://evil.example"})
        allowed = await http.post("/api/v0/add", files={"file": b"x"}, headers={"origin": "https://grid.example"})
        read = await http.get(f"/ipfs/{cid_of(b'x')}", headers={"origin": "https://evil.example"})
    assert (refused.status_code, allowed.status_code, read.status_code) == (403, 200, 200)
    assert allowed.headers["access-control-allow-origin"] == "https://grid.example"


async def test_an_upload_that_stalls_is_given_up_and_its_space_is_free_again(url: str, http: httpx.AsyncClient) -> None:
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(
        b"POST /api/v0/add HTTP/1.1\r\nHost: x\r\nContent-Length: 1900000\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + bytes(1_500_000)
    )
    await writer.drain()
    answer = await reader.readline()
    writer.close()
    assert b" 408 " in answer
    assert (await add(http, content(1_900_000))).status_code == 200


async def test_an_upload_whose_sender_goes_away_leaves_nothing(url: str, http: httpx.AsyncClient) -> None:
    place = urlsplit(url)
    for _ in range(3):
        _reader, writer = await asyncio.open_connection(place.hostname, place.port)
        writer.write(
            b"POST /api/v0/add HTTP/1.1\r\nHost: x\r\nContent-Length: 1900000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
            b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + bytes(1_500_000)
        )
        await writer.drain()
        writer.close()
    deadline = time.monotonic() + 30
    while (answer := await add(http, content(1_900_000))).status_code == 507:  # until the server saw them go
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert answer.status_code == 200
    assert (await http.get("/health")).json()["blobs"] == 1


async def test_concurrent_uploads_of_the_same_content_all_get_its_cid(http: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(add(http, content(300_000)) for _ in range(6)))
    assert {answer.json()["Hash"] for answer in answers} == {cid_of(content(300_000))}
    assert (await http.get("/health")).json()["blobs"] == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_damaged_blob_is_a_clear_500_and_never_served(tmp_path: Path, method: str) -> None:
    store = await DiskStore.open(tmp_path)
    data = content(700_000)
    blob = await put(store, data)
    (path,) = (tmp_path / "blobs").rglob(blob.cid)
    path.write_bytes(data[:-1] + b"!")
    async with serving(storage_application(store)) as url, httpx.AsyncClient(base_url=url) as http:
        response = await http.request(method, f"/ipfs/{blob.cid}")
        assert response.status_code == 500
        if method == "GET":
            assert "damaged" in response.text
        sound = await http.get(f"/ipfs/{blob.cid}", headers={"range": "bytes=0-99"})
        assert (sound.status_code, sound.content) == (206, data[:100])
        await add(http, data)
        assert (await http.get(f"/ipfs/{blob.cid}")).content == data
    await store.close()


async def test_damage_beyond_what_is_verified_first_ends_the_connection_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "VERIFIED_BEFORE_ANSWER_BYTES", CHUNK_BYTES)
    store = await DiskStore.open(tmp_path)
    data = content(40 * CHUNK_BYTES)
    blob = await put(store, data)
    (path,) = (tmp_path / "blobs").rglob(blob.cid)
    path.write_bytes(data[:-1] + b"!")
    received = bytearray()
    async with serving(storage_application(store)) as url, httpx.AsyncClient(base_url=url) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            async with http.stream("GET", f"/ipfs/{blob.cid}") as response:
                assert response.headers["content-length"] == str(len(data))
                async for piece in response.aiter_raw():
                    received += piece
    assert data.startswith(bytes(received))
    assert len(received) < len(data)
    await store.close()


async def test_health_tells_limits_and_use(http: httpx.AsyncClient) -> None:
    await add(http, content(5000))
    document = (await http.get("/health")).json()
    assert document["ok"] is True
    assert (document["blobs"], document["usedBytes"]) == (1, 8192)
    assert (document["maxBlobBytes"], document["quotaBytes"]) == (LIMITS.max_blob_bytes, LIMITS.quota_bytes)


async def test_a_cidv0_of_a_tree_finds_the_same_file() -> None:
    store = MemoryStore(StoreLimits())
    blob = await put(store, content(CHUNK_BYTES + 1))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(storage_application(store)), base_url="http://storage"
    ) as http:
        response = await http.get(f"/ipfs/{_as_cidv0(blob.cid)}")
    assert response.content == content(CHUNK_BYTES + 1)


def _as_cidv0(cid: str) -> str:
    import base64

    multihash = base64.b32decode(cid[1:].upper() + "=" * (-(len(cid) - 1) % 8))[2:]
    number, text = int.from_bytes(multihash, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"[digit] + text
    return text
