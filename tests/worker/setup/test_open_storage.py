"""From where a worker fetches: the addresses of its network file, where the rule of decision 15 allows them."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route

from fairgrid.chain.network import Network, load_network, save_network
from fairgrid.errors import UsageError
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.seams.addresses import AddressRefused
from fairgrid.seams.service import serving
from fairgrid.worker.owner.policy import WorkerPolicy
from fairgrid.worker.setup.opening import open_storage
from tests.storage.helpers import content
from tests.storage.test_mirrors import storage_at

DATA = b"some input"
CID = cid_of(DATA)
LOCAL = Network(
    "local",
    31337,
    "http://127.0.0.1:8545",
    ZERO_ADDRESS,
    ZERO32,
    ZERO_ADDRESS,
    "http://127.0.0.1:1",
    "http://127.0.0.1:1",
    "http://127.0.0.1:1",
    ZERO_ADDRESS,
)
REAL = replace(LOCAL, chain_id=42161)


async def test_local_network_may_be_on_this_machine_and_a_real_one_may_not(tmp_path: Path) -> None:
    async with storage_at(DATA) as url:
        async with open_storage(replace(LOCAL, storage=url), tmp_path, WorkerPolicy) as storage:
            assert await storage.fetch_bytes(CID, max_bytes=100) == DATA
        async with open_storage(replace(REAL, storage=url), tmp_path, WorkerPolicy) as storage:
            with pytest.raises(AddressRefused, match="this machine itself"):
                await storage.fetch_bytes(CID, max_bytes=100)
            with pytest.raises(AddressRefused):
                await storage.stat(CID)
            with pytest.raises(AddressRefused):
                await storage.fetch(CID, tmp_path / "out", max_bytes=100)
            with pytest.raises(AddressRefused):
                await storage.add_bytes(DATA)


async def test_owner_may_name_a_private_network(tmp_path: Path) -> None:
    policy = WorkerPolicy(private_networks=("127.0.0.0/8",))
    async with storage_at(DATA) as url, open_storage(replace(REAL, storage=url), tmp_path, lambda: policy) as storage:
        assert await storage.fetch_bytes(CID, max_bytes=100) == DATA
    with pytest.raises(UsageError, match="Not a network"):
        async with open_storage(LOCAL, tmp_path, lambda: WorkerPolicy(private_networks=("nonsense",))):
            pytest.fail("nothing may run")


async def test_redirect_of_a_gateway_into_the_owners_network_is_refused(tmp_path: Path) -> None:
    async def away(request: Request) -> RedirectResponse:
        return RedirectResponse("http://169.254.169.254/latest/meta-data/iam/")

    gateway = Starlette(routes=[Route("/{path:path}", away)])
    async with serving(gateway) as url, storage_at(DATA) as mirror:
        async with open_storage(replace(LOCAL, storage=url), tmp_path, WorkerPolicy) as storage:
            with pytest.raises(AddressRefused, match="metadata service"):
                await storage.fetch(CID, tmp_path / "out", max_bytes=100)
        # A mirror of the network file, or of the owner's policy, helps out.
        mirrored = replace(LOCAL, storage=url, storage_mirrors=(mirror,))
        async with open_storage(mirrored, tmp_path, WorkerPolicy) as storage:
            await storage.fetch(CID, tmp_path / "out", max_bytes=100)
        policy = WorkerPolicy(storage_mirrors=(mirror + "/",))
        async with open_storage(replace(LOCAL, storage=url), tmp_path, lambda: policy) as storage:
            assert await storage.fetch_bytes(CID, max_bytes=100) == DATA


async def test_gateway_may_redirect_to_an_allowed_address(tmp_path: Path) -> None:
    async with storage_at(DATA) as mirror:

        async def there(request: Request) -> RedirectResponse:
            return RedirectResponse(f"{mirror}{request.url.path}")

        async def nowhere(request: Request) -> RedirectResponse:
            return RedirectResponse(str(request.url))

        async with serving(Starlette(routes=[Route("/{path:path}", there)])) as url:
            async with open_storage(replace(LOCAL, storage=url), tmp_path, WorkerPolicy) as storage:
                assert await storage.fetch_bytes(CID, max_bytes=100) == DATA
        async with serving(Starlette(routes=[Route("/{path:path}", nowhere)])) as url:
            mirrored = replace(LOCAL, storage=url, storage_mirrors=(mirror,))
            async with open_storage(mirrored, tmp_path, WorkerPolicy) as storage:
                assert await storage.fetch_bytes(CID, max_bytes=100) == DATA


def test_mirrors_stand_in_the_network_file_and_older_files_have_none(tmp_path: Path) -> None:
    save_network(replace(LOCAL, storage_mirrors=("https://gateway.example",)), tmp_path / "network.json")
    assert load_network(tmp_path).storage_mirrors == ("https://gateway.example",)
    text = (tmp_path / "network.json").read_text()
    (tmp_path / "network.json").write_text(text.replace('"storageMirrors"', '"unknown"'))
    assert load_network(tmp_path).storage_mirrors == ()
    (tmp_path / "network.json").write_text(text.replace('"https://gateway.example"', "1"))
    with pytest.raises(UsageError, match="storageMirrors"):
        load_network(tmp_path)


async def test_owners_bandwidth_limits_what_is_fetched_and_may_change_meanwhile(tmp_path: Path) -> None:
    rate: list[int | None] = [200_000]
    data = content(600_000)
    async with (
        storage_at(data) as url,
        open_storage(
            replace(LOCAL, storage=url), tmp_path, lambda: WorkerPolicy(download_bytes_per_s=rate[0])
        ) as storage,
    ):
        started = time.monotonic()
        await storage.fetch_bytes(cid_of(data), max_bytes=10**6)
        # A second's worth passes at once, the last block's debt is nobody's any more.
        assert time.monotonic() - started >= 1.0
        rate[0] = None
        started = time.monotonic()
        await storage.fetch_bytes(cid_of(data), max_bytes=10**6)
        assert time.monotonic() - started < 1.0


@pytest.mark.parametrize("size", [600_000, 3 * (1 << 20)], ids=["in one piece", "in parts"])
async def test_owners_bandwidth_limits_what_is_sent(tmp_path: Path, size: int) -> None:
    rate: list[int | None] = [size // 3]
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(content(size, seed=1))
    second.write_bytes(content(size, seed=2))
    async with (
        storage_at() as url,
        open_storage(
            replace(LOCAL, storage=url), tmp_path / "w", lambda: WorkerPolicy(upload_bytes_per_s=rate[0])
        ) as storage,
    ):
        started = time.monotonic()
        cid = await storage.add_file(first)
        limited_s = time.monotonic() - started
        # A second's worth passes at once, the last block's debt is nobody's any more.
        assert limited_s >= 1.0
        assert cid == cid_of(first.read_bytes()) and await storage.stat(cid) == size
        rate[0] = None
        started = time.monotonic()
        await storage.add_file(second)
        assert time.monotonic() - started < limited_s
