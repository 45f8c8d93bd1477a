"""What leaves the requester's machine of a private run, and for whose key it is sealed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from fairgrid.client.job import WAITING_DAYS, Job, JobRuntime
from fairgrid.client.orders import Offer, offer_of
from fairgrid.client.prepared_job import PreparedJob
from fairgrid.client.private_runs import PrivateRuns
from fairgrid.errors import OrderError, ServiceRefused, UsageError, VerificationError
from fairgrid.pool.client import PoolKey
from fairgrid.protocol.encrypted_files import Purpose, decrypt_bytes
from fairgrid.protocol.hexes import ZERO_ADDRESS, checksum
from fairgrid.protocol.manifest import TaskRef, parse_manifest
from fairgrid.protocol.orders import AppOrder, WorkerpoolOrder
from fairgrid.protocol.private_job import SealingPlace, open_data_key, open_private_job, open_secrets
from fairgrid.protocol.sealing import encryption_key_of, pool_key_message
from fairgrid.runtime.wasm.interpreters import default_runtime_id
from fairgrid.storage.app import storage_application
from fairgrid.storage.client import StorageClient
from fairgrid.storage.store import MemoryStore
from fairgrid.wallet.keys import KeySigner, dev_signer

SCHEDULER, REQUESTER, STRANGER = dev_signer(1), dev_signer(2), dev_signer(3)
HUB, POOL, APP = (checksum("0x" + f"{number:02x}" * 20) for number in (0xA1, 0xB2, 0xC3))
OFFER = offer_of(AppOrder(APP, 0, 1), WorkerpoolOrder(POOL, 0, 1))
MARKER = b"marker-of-the-requester"


class _Chain:
    chain_id, hub = 31337, HUB

    def __init__(self) -> None:
        self.deal: Any = None

    async def view_workerpool(self, address: str) -> Any:
        return SimpleNamespace(owner=SCHEDULER.address)

    async def view_deal(self, deal_id: str) -> Any:
        return self.deal


class _Pool:
    def __init__(self, signer: KeySigner = SCHEDULER, *, workerpool: str = POOL) -> None:
        self._signer, self._workerpool = signer, workerpool

    async def encryption_key(self) -> PoolKey:
        public = encryption_key_of(self._signer.sign_message).public
        return PoolKey(public, self._signer.sign_message(pool_key_message(31337, HUB, self._workerpool, public)))


class _OldPool:
    async def encryption_key(self) -> PoolKey:
        raise ServiceRefused("pool", 404, "There is no such page.")


class _Recorded(StorageClient):
    """A storage that remembers what it was sent."""

    sent: list[bytes]

    async def add_file(self, path: Path, **options: Any) -> str:
        self.sent.append(path.read_bytes())
        return await super().add_file(path, **options)

    async def add_bytes(self, data: bytes, **options: Any) -> str:
        self.sent.append(data)
        return await super().add_bytes(data, **options)


@pytest.fixture
async def storage() -> AsyncIterator[_Recorded]:
    transport = httpx.ASGITransport(storage_application(MemoryStore()))
    async with _Recorded("http://storage", transport=transport) as client:
        client.sent = []
        yield client


def runs(storage: StorageClient, pool: object | None = None, *, signer: KeySigner = REQUESTER) -> PrivateRuns:
    return PrivateRuns(cast(Any, _Chain()), storage, cast(Any, pool or _Pool()), signer)


def job_in(folder: Path) -> Job:
    files = []
    for name in ("job.py", "data.csv", "own-0.csv", "own-1.csv"):
        (folder / name).write_bytes(b"# " + MARKER + b" " + name.encode())
        files.append(folder / name)
    job = Job(files[0], (files[1],), (MARKER.decode(),), JobRuntime.of(default_runtime_id()))
    return replace(job.as_bag([["a"], ["b"]]), item_inputs=((files[2],), (files[3],)))


async def prepared(storage: StorageClient, job: Job, offer: Offer = OFFER) -> PreparedJob:
    return await runs(storage).prepare(job, offer, timeref=60)


async def test_nothing_plain_leaves_and_pool_and_requester_open_it(storage: _Recorded, tmp_path: Path) -> None:
    job = job_in(tmp_path).hidden(private=True, secrets=[("token", "s3cret")])
    ready = await prepared(storage, job)
    assert ready.name == "job.py"
    assert not any(MARKER in data or b"s3cret" in data or b"own-0" in data for data in storage.sent)
    manifest = parse_manifest(await storage.fetch_bytes(ready.manifest_cid, max_bytes=1 << 20))
    place = SealingPlace(31337, HUB, POOL, APP, REQUESTER.address)
    keys = [
        open_data_key(manifest, encryption_key_of(signer.sign_message), place, of_pool=of_pool)
        for signer, of_pool in ((SCHEDULER, True), (REQUESTER, False))
    ]
    assert keys[0] == keys[1]
    for index in range(2):
        document = await storage.fetch_bytes(manifest.script.cid, max_bytes=1 << 20)
        opened = open_private_job(manifest, document, keys[0].keys_for(index, 1), [index])
        assert opened.secrets == ("s3cret",)
        assert opened.manifest.arguments_of(index) == (MARKER.decode(), "ab"[index])
        for file in opened.manifest.files_of(index):
            cid, key = opened.files[file.cid]
            assert cid in {one.cid for one in manifest.files_of(index)}
            data = await storage.fetch_bytes(cid, max_bytes=1 << 20)
            assert decrypt_bytes(key, data, Purpose.INPUT) == (tmp_path / file.name).read_bytes()


async def test_everything_of_a_private_run_with_an_end_is_removed_in_time(tmp_path: Path) -> None:
    now = 1_700_000_000.0
    store = MemoryStore(now=lambda: now)
    transport = httpx.ASGITransport(storage_application(store))
    async with StorageClient("http://storage", transport=transport) as storage:
        ready = await prepared(storage, job_in(tmp_path).hidden(private=True).kept_for(2))
    assert ready.manifest.keep_s == 2 * 86_400
    now += (2 + WAITING_DAYS) * 86_400
    assert len(await store.sweep()) == 6, "script, input, two inputs of tasks, the private document, the manifest"
    assert store.usage.blobs == 0


async def test_two_runs_of_one_job_share_no_key_and_no_file(storage: _Recorded, tmp_path: Path) -> None:
    job = job_in(tmp_path).hidden(private=True)
    one, other = await prepared(storage, job), await prepared(storage, job)
    assert one.manifest_cid != other.manifest_cid
    assert not {file.cid for file in one.manifest.inputs} & {file.cid for file in other.manifest.inputs}


async def test_secrets_alone_leave_the_job_plain(storage: _Recorded, tmp_path: Path) -> None:
    ready = await prepared(storage, job_in(tmp_path).hidden(private=False, secrets=[("token", "s3cret")]))
    assert any(MARKER in data for data in storage.sent) and not any(b"s3cret" in data for data in storage.sent)
    assert ready.manifest.sealed is not None and not any(b"token" in data for data in storage.sent)
    place = SealingPlace(31337, HUB, POOL, APP, REQUESTER.address)
    key = open_data_key(ready.manifest, encryption_key_of(SCHEDULER.sign_message), place, of_pool=True)
    assert open_secrets(ready.manifest.sealed, key.keys_for(0, 1)) == ("s3cret",)


@pytest.mark.parametrize(
    ("pool", "error", "told"),
    [
        (_Pool(STRANGER), VerificationError, "not signed by"),
        (_Pool(workerpool=HUB), VerificationError, "not signed by"),
        (_OldPool(), UsageError, "takes no private runs"),
    ],
)
async def test_a_pool_whose_key_its_owner_did_not_sign_gets_nothing(
    storage: _Recorded, tmp_path: Path, pool: object, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        await runs(storage, pool).prepare(job_in(tmp_path).hidden(private=True), OFFER, timeref=60)
    assert storage.sent == []


async def test_an_offer_for_any_app_is_refused(storage: _Recorded, tmp_path: Path) -> None:
    anything = offer_of(AppOrder(ZERO_ADDRESS, 0, 1), WorkerpoolOrder(POOL, 0, 1))
    with pytest.raises(OrderError, match="one pool and one app"):
        await prepared(storage, job_in(tmp_path).hidden(private=True), anything)
    assert storage.sent == []


def test_what_cannot_be_private_is_refused_when_it_is_said(tmp_path: Path) -> None:
    job = job_in(tmp_path)
    with pytest.raises(UsageError, match="no checkpoints"):
        replace(job, checkpoint=True).hidden(private=True)
    with pytest.raises(UsageError, match="other tasks"):
        job.after([TaskRef("before", "0x" + "01" * 32)]).hidden(private=True)
    with pytest.raises(UsageError, match="'token' is empty"):
        job.hidden(private=False, secrets=[("token", "")])
    assert "s3cret" not in repr(job.hidden(private=True, secrets=[("token", "s3cret")]))


async def test_the_key_of_a_result_is_for_its_requester_alone(storage: _Recorded, tmp_path: Path) -> None:
    ready = await prepared(storage, job_in(tmp_path).hidden(private=True))
    deal = SimpleNamespace(
        requester=REQUESTER.address,
        workerpool=SimpleNamespace(pointer=POOL),
        app=SimpleNamespace(pointer=APP),
        params=f'{{"iexec_input_files":["http://storage/ipfs/{ready.manifest_cid}"],'
        f'"iexec_result_storage_provider":"ipfs"}}',
    )
    own, other = runs(storage), runs(storage, signer=STRANGER)
    for one in (own, other):
        cast(Any, one)._chain.deal = deal
    assert len(await own.result_key("0x" + "01" * 32, 1)) == 32
    assert await own.result_key("0x" + "01" * 32, 0) != await own.result_key("0x" + "01" * 32, 1)
    with pytest.raises(UsageError, match="encrypted for its requester"):
        await other.result_key("0x" + "01" * 32, 0)
