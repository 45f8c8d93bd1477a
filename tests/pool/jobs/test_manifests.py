"""Reading the manifests of deals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from fairgrid.errors import ServiceUnavailable
from fairgrid.pool.jobs.manifests import ManifestReader
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.manifest import FileRef, Manifest, Resources, params_for
from fairgrid.storage.app import storage_application
from fairgrid.storage.client import StorageClient
from fairgrid.storage.store import MemoryStore


class CountingClient(StorageClient):
    """Counts fetches; may be slow or down."""

    fetched = 0
    pause_s = 0.0
    down = False

    async def fetch_bytes(self, cid: str, *, max_bytes: int) -> bytes:
        self.fetched += 1
        await asyncio.sleep(self.pause_s)
        if self.down:
            raise ServiceUnavailable("storage", "http://storage", "down")
        return await super().fetch_bytes(cid, max_bytes=max_bytes)


@pytest.fixture
async def storage() -> AsyncIterator[CountingClient]:
    transport = httpx.ASGITransport(storage_application(MemoryStore()))
    client = CountingClient("http://storage", transport=transport)
    async with client:
        yield client


def manifest(*arguments: str) -> Manifest:
    script = FileRef("job.py", cid_of(b"x"), 1)
    return Manifest(script=script, runtime="wasm/py", resources=Resources(fuel=1), arguments=arguments)


def params(made: Manifest) -> str:
    return params_for("http://storage", made.cid())


async def test_manifest_is_read_once_for_all_that_ask(storage: CountingClient) -> None:
    made = manifest("a")
    await storage.add_bytes(made.to_bytes())
    reader = ManifestReader(storage)
    found = await asyncio.gather(*(reader.manifest_of(params(made)) for _ in range(5)))
    assert found == [made] * 5
    assert storage.fetched == 1


async def test_what_names_no_manifest_or_a_bad_one_is_none_and_asked_for_once(storage: CountingClient) -> None:
    reader = ManifestReader(storage)
    assert await reader.manifest_of("whatever the app takes") is None
    bad = params_for("http://storage", await storage.add_bytes(b"{}"))
    assert [await reader.manifest_of(bad) for _ in range(2)] == [None, None]
    assert storage.fetched == 1


async def test_manifest_that_storage_lacks_is_asked_for_again(storage: CountingClient) -> None:
    made, reader = manifest("late"), ManifestReader(storage)
    assert await reader.manifest_of(params(made)) is None
    await storage.add_bytes(made.to_bytes())
    assert await reader.manifest_of(params(made)) == made


async def test_storage_that_is_down_or_slow_is_told_and_asked_again(storage: CountingClient) -> None:
    made = manifest("patience")
    await storage.add_bytes(made.to_bytes())
    reader = ManifestReader(storage, timeout_s=0.05)
    storage.down = True
    with pytest.raises(ServiceUnavailable):
        await reader.manifest_of(params(made))
    storage.down, storage.pause_s = False, 10.0
    with pytest.raises(ServiceUnavailable, match="no manifest within"):
        await reader.manifest_of(params(made))
    storage.pause_s = 0.0
    assert await reader.manifest_of(params(made)) == made


async def test_what_is_remembered_is_bounded(storage: CountingClient) -> None:
    made = [manifest(str(number) * 100) for number in range(4)]
    for one in made:
        await storage.add_bytes(one.to_bytes())
    reader = ManifestReader(storage, keep_bytes=2 * len(made[0].to_bytes()))
    for one in (*made, made[3], made[0]):
        assert await reader.manifest_of(params(one)) == one
    assert storage.fetched == 5
