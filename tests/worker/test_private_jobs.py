"""The agent computes a private job: plain only in the task's own folder, encrypted wherever else it lies."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fairgrid.protocol.archive import archive_digest, extract_archive
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.data_keys import DataKey
from fairgrid.protocol.digest import tree_digest_of_folder
from fairgrid.protocol.encrypted_files import Purpose, decrypt_file, encrypt_bytes
from fairgrid.protocol.hexes import checksum, from_hex, to_hex
from fairgrid.protocol.manifest import FileRef, Item, Manifest
from fairgrid.protocol.pool_messages import Lease, TaskKey, UploadRequest
from fairgrid.protocol.private_job import (
    SealingPlace,
    blind_of,
    private_document,
    public_manifest,
    result_key,
    seal_data_key,
    sealed_secrets,
)
from fairgrid.protocol.results import BLIND_FILE
from fairgrid.protocol.sealed_part import Hides, SealedPart
from fairgrid.protocol.sealing import EncryptionKey, seal_for, worker_key_message
from fairgrid.protocol.seals import recover_message_signer
from fairgrid.protocol.worker_messages import LeaseFailed, LiveOutput, Opening, Seal, TaskKeyRequest, Uploaded
from fairgrid.runtime.interface import SandboxJob
from fairgrid.storage.client import StorageClient
from tests.worker.fake_pool import FakePool
from tests.worker.world import INPUT, REQUESTER, SCRIPT, WORKER, AgentSetting, World, running

KEY = DataKey(b"k" * 32)
ANYBODY = EncryptionKey.from_seed(b"x" * 32).public


async def private_manifest(
    world: World, *, secrets: tuple[str, ...] = (), items: int = 0, pool: str = "", spoilt: bool = False
) -> Manifest:
    """The world's job as a private one; everything it needs lies in storage."""
    plain = replace(await world.manifest(), retention_days=7, deleted_after=True)
    if items:
        plain = replace(plain, items=tuple(Item(arguments=(f"item {number}",)) for number in range(items)))
    places: dict[tuple[str, int | None], str] = {}
    for content in (SCRIPT, INPUT):
        data = encrypt_bytes(KEY.shared, content[:-1] + b"!" if spoilt else content, Purpose.INPUT)
        places[cid_of(content), None] = await world.storage.add_bytes(data)
    document = private_document(plain, KEY, places, secrets)
    part = SealedPart(checksum(pool or world.workerpool), checksum(world.app), Hides.EVERYTHING)
    public = public_manifest(
        plain, FileRef("private", await world.storage.add_bytes(document), len(document)), places, part
    )
    return sealed_for(world, public)


def sealed_for(world: World, manifest: Manifest) -> Manifest:
    assert manifest.sealed is not None
    place = SealingPlace(
        world.chain.chain_id, world.chain.hub, manifest.sealed.pool, manifest.sealed.app, REQUESTER.address
    )
    return seal_data_key(manifest, KEY, place, pool_key=ANYBODY, requester_key=ANYBODY)


async def answer(world: World, pool: FakePool, lease: Lease, *, key: DataKey = KEY) -> TaskKeyRequest:
    """Answer the worker's request for the key, as a pool does."""
    asked = await pool.expect(TaskKeyRequest)
    public = from_hex(asked.public_key)
    context = worker_key_message(
        world.chain.chain_id, world.chain.hub, world.workerpool, WORKER.address, lease.task_id, public
    )
    assert recover_message_signer(context, asked.signature) == WORKER.address
    keys = key.keys_for(lease.index, max(lease.count, 1)).to_bytes()
    await pool.send(TaskKey(lease.task_id, sealed=to_hex(seal_for(public, keys, context))))
    return asked


def files_with(folder: Path, content: bytes) -> list[str]:
    found = [path for path in folder.rglob("*") if path.is_file() and content in path.read_bytes()]
    return sorted(path.relative_to(folder).as_posix() for path in found)


async def test_a_private_job_is_computed_blinded_and_uploaded_encrypted(
    world: World, pool: FakePool, setting: AgentSetting, tmp_path: Path
) -> None:
    seen: dict[str, str] = {}

    def function(job: SandboxJob) -> bytes:
        seen.update(job.environment)
        (job.output_folder / "out.txt").write_bytes((job.input_folder / "data.csv").read_bytes() + b" secret result")
        return b"printed\n"

    setting = replace(setting, function=function)
    lease = await world.task(manifest=await private_manifest(world, secrets=("one", "two")))
    async with running(world, setting):
        await pool.send(lease)
        asked = await answer(world, pool, lease)
        assert asked.lease_id == lease.lease_id
        await pool.expect(Seal)
        assert (seen["IEXEC_REQUESTER_SECRET_1"], seen["IEXEC_REQUESTER_SECRET_2"]) == ("one", "two")
        folder = setting.folder / "tasks" / lease.task_id
        assert folder.stat().st_mode & 0o777 == 0o700
        assert files_with(setting.folder, SCRIPT) == [], "inputs are gone once it is computed"
        assert files_with(setting.folder, b"secret result") == [f"tasks/{lease.task_id}/result/out.txt"]
        digest = tree_digest_of_folder(folder / "result")
        assert (folder / "result" / BLIND_FILE).read_bytes() == blind_of(KEY.of(0))
        await pool.send(UploadRequest(lease.lease_id, lease.task_id, early=True))
        uploaded = await pool.expect(Uploaded)
        assert uploaded.digest == digest
        cipher, archive = tmp_path / "cipher", tmp_path / "archive.zip"
        await world.storage.fetch(uploaded.cid, cipher, max_bytes=1 << 20)
        assert b"secret result" not in cipher.read_bytes()
        decrypt_file(result_key(KEY.of(0)), cipher, archive, Purpose.RESULT)
        assert archive_digest(archive) == digest
        extract_archive(archive, tmp_path / "out", max_bytes=1 << 20, max_files=10)
        assert (tmp_path / "out" / "out.txt").read_bytes().endswith(b"secret result")
        assert not pool.seen(LiveOutput), "nothing of a private job is shown while it runs"


async def test_after_a_restart_the_key_is_asked_for_again_and_none_was_stored(
    world: World, pool: FakePool, setting: AgentSetting, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_file = StorageClient.add_file
    kept: list[object] = []

    async def noting(self: StorageClient, path: Path, **options: Any) -> str:
        kept.append(options.get("keep_s"))
        return await add_file(self, path, **options)

    monkeypatch.setattr(StorageClient, "add_file", noting)
    lease = await world.task(manifest=await private_manifest(world))
    async with running(world, setting):
        await pool.send(lease)
        await answer(world, pool, lease)
        await pool.expect(Seal)
    async with running(world, setting):
        await pool.send(UploadRequest(lease.lease_id, lease.task_id, early=True))
        await answer(world, pool, lease)
        uploaded = await pool.expect(Uploaded)
        digest = tree_digest_of_folder(setting.folder / "tasks" / lease.task_id / "result")
        assert uploaded.digest == digest
    assert kept == [7 * 86_400], "the manifest is gone by then, its retention is not"
    for key in (KEY.secret, KEY.shared, KEY.of(0)):
        assert files_with(setting.folder, key) == files_with(setting.folder, key.hex().encode()) == []


async def test_a_private_run_of_the_batch_lane_keeps_encrypted_archives_only(
    world: World, pool: FakePool, setting: AgentSetting, tmp_path: Path
) -> None:
    deal = await world.deal(manifest=await private_manifest(world, items=3), volume=3, lane=True)
    lease = await world.run(deal, 3)
    async with running(world, setting):
        await pool.send(lease)
        await answer(world, pool, lease)
        await pool.expect(Seal)
        assert files_with(setting.folder, INPUT.decode().upper().encode()) == []
        assert files_with(setting.folder, SCRIPT) == []
        archives = sorted((setting.folder / "finished" / deal).glob("*.zip"))
        assert len(archives) == 3
        for index, archive in enumerate(archives):
            plain = tmp_path / f"{index}.zip"
            decrypt_file(result_key(KEY.of(index)), archive, plain, Purpose.RESULT)
            extract_archive(plain, tmp_path / f"{index}", max_bytes=1 << 20, max_files=10)
            assert (tmp_path / f"{index}" / "out.txt").read_text() == INPUT.decode().upper() + f" item {index}"


async def test_a_job_that_was_sealed_for_another_pool_is_not_computed(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task(manifest=await private_manifest(world, pool="0x" + "77" * 20))
    async with running(world, setting):
        await pool.send(lease)
        failed = await pool.expect(LeaseFailed)
        assert "sealed this job for pool" in failed.reason
        assert not pool.seen(TaskKeyRequest)


@pytest.mark.parametrize("fault", ["other key", "spoilt file", "refused"])
async def test_what_cannot_be_opened_is_handed_back_and_leaves_nothing(
    world: World, pool: FakePool, setting: AgentSetting, fault: str
) -> None:
    lease = await world.task(manifest=await private_manifest(world, spoilt=fault == "spoilt file"))
    async with running(world, setting):
        await pool.send(lease)
        if fault == "refused":
            await pool.expect(TaskKeyRequest)
            await pool.send(TaskKey(lease.task_id, reason="no lease of yours", lasting=True))
        else:
            await answer(world, pool, lease, key=DataKey(bytes(32)) if fault == "other key" else KEY)
        failed = await pool.expect(LeaseFailed)
        told = {"other key": "not for this key", "spoilt file": "not the one", "refused": "no lease of yours"}
        assert told[fault] in failed.reason
        assert "data.csv" not in failed.reason
        await pool.until(lambda: not (setting.folder / "tasks" / lease.task_id).exists())
        assert files_with(setting.folder, INPUT) == []


async def test_secrets_of_a_plain_job_reach_its_environment_and_nothing_else(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    seen: dict[str, str] = {}

    def function(job: SandboxJob) -> bytes:
        seen.update(job.environment)
        (job.output_folder / "out.txt").write_text("done")
        return b""

    part = SealedPart(
        checksum(world.workerpool), checksum(world.app), Hides.SECRETS, secrets=sealed_secrets(KEY, ("pass-4711",))
    )
    manifest = sealed_for(world, await world.manifest(sealed=part))
    setting = replace(setting, function=function)
    lease = await world.task(manifest=manifest)
    async with running(world, setting):
        await pool.send(lease)
        await answer(world, pool, lease)
        await pool.expect(Seal)
        assert seen["IEXEC_REQUESTER_SECRET_1"] == "pass-4711"
        assert "IEXEC_REQUESTER_SECRET_2" not in seen and "pass-4711" not in os.environ.values()
        assert files_with(setting.folder, b"pass-4711") == []
        await pool.send(UploadRequest(lease.lease_id, lease.task_id, early=True))
        uploaded = await pool.expect(Uploaded)
        result = await world.storage.fetch_bytes(uploaded.cid, max_bytes=1 << 20)
        assert archive_digest(result) == uploaded.digest and BLIND_FILE.encode() not in result
        assert not pool.seen(Opening)
