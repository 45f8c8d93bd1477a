"""The whole agent does its work, with a real websocket, against a chain and a storage in memory."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fairgrid.protocol.archive import archive_digest, extract_archive
from fairgrid.protocol.hexes import keccak, to_hex, to_hex32
from fairgrid.protocol.ids import result_hash
from fairgrid.protocol.needs import Needs
from fairgrid.protocol.pool_messages import OpeningRequest, RevealNotice, TaskDone, UploadRequest
from fairgrid.protocol.results import results_text
from fairgrid.protocol.seals import recover_message_signer, seal_hash
from fairgrid.protocol.views import ContributionStatus
from fairgrid.protocol.worker_messages import Contributed, Opening, Ready, Revealed, Seal, Uploaded
from fairgrid.runtime.interface import SandboxJob
from fairgrid.runtime.network.grant import NetworkGrant
from fairgrid.storage.client import StorageClient
from fairgrid.worker.owner.policy import WorkerPolicy
from tests.worker.fake_pool import FakePool
from tests.worker.world import (
    DEPOSIT,
    INPUT,
    REQUESTER,
    WORKER,
    AgentSetting,
    World,
    bag,
    honest,
    running,
    stored,
)


def _opened_seal(world: World, lease: Any, opening: Opening) -> str:
    return seal_hash(
        world.chain.chain_id, world.chain.hub, lease.task_id, 0, WORKER.address, opening.digest, opening.salt
    )


async def test_a_task_is_computed_sealed_contributed_revealed_uploaded_and_paid(
    world: World, pool: FakePool, setting: AgentSetting, tmp_path: Path
) -> None:
    lease = await world.task(trust=4)
    async with running(world, setting) as agent:
        await pool.expect(Ready)
        await pool.send(lease)
        seal = await pool.expect(Seal)
        assert recover_message_signer(bytes.fromhex(seal.seal[2:]), seal.signature) == WORKER.address
        await pool.send(world.authorisation(lease))
        await pool.expect(Contributed)
        mine = await world.chain.view_contribution(lease.task_id, WORKER.address)
        assert mine.status is ContributionStatus.CONTRIBUTED
        await pool.send(OpeningRequest(lease.lease_id, lease.task_id))
        await asyncio.sleep(0.15)
        assert not pool.seen(Opening) and not pool.seen(Revealed), "nothing of the digest before consensus"
        digest = next(iter(await stored(setting))).digest
        await world.contribute(lease, digest)
        await pool.send(RevealNotice(lease.task_id))
        await pool.expect(Revealed)
        opening = await pool.expect(Opening)
        assert opening.digest == digest and _opened_seal(world, lease, opening) == seal.seal
        await pool.send(UploadRequest(lease.lease_id, lease.task_id))
        uploaded = await pool.expect(Uploaded)
        archive = tmp_path / "fetched.zip"
        await world.storage.fetch(uploaded.cid, archive, max_bytes=1 << 20)
        assert archive_digest(archive) == digest
        extract_archive(archive, tmp_path / "fetched", max_bytes=1 << 20, max_files=10)
        assert (tmp_path / "fetched" / "out.txt").read_text() == INPUT.decode().upper() + " go"
        assert (tmp_path / "fetched" / "stdout.txt").read_bytes() == b"done\n"
        world.chain.skip(601)
        await world.finalize(lease, results_text(uploaded.cid))
        await pool.send(TaskDone(lease.task_id))
        await pool.until(lambda: not agent.holds_anything())
        assert (tmp_path / "tasks" / lease.task_id / "result").exists(), "the chain may take the end back"
        for _ in range(setting.options.keep_blocks):
            world.chain.mine()
        await pool.until(lambda: not (tmp_path / "tasks" / lease.task_id).exists())
    assert await stored(setting) == ()
    assert (await world.chain.view_account(WORKER.address)).stake > DEPOSIT
    (finished,) = await _finished(setting)
    earned = (await world.chain.view_account(WORKER.address)).stake - DEPOSIT
    assert (finished.outcome, finished.earned) == ("completed", earned)
    assert pool.phases == ["accepted", "downloading", "computing", "contributing", "revealing", "uploading"]


async def _finished(setting: AgentSetting) -> Any:
    store = setting.store.open(setting.folder / "worker.sqlite")
    try:
        return await asyncio.to_thread(store.finished)
    finally:
        store.close()


async def test_the_record_is_on_disk_when_the_seal_arrives(world: World, pool: FakePool, setting: AgentSetting) -> None:
    lease = await world.task()
    async with running(world, setting):
        await pool.send(lease)
        seal = await pool.expect(Seal)
        (held,) = await stored(setting)
        assert (held.seal, held.seal_signature, held.phase) == (seal.seal, seal.signature, "sealed")
        assert held.digest and held.salt and (setting.folder / "tasks" / lease.task_id / "result" / "out.txt").exists()


async def test_the_worker_reveals_without_any_notice_of_the_pool(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task()
    async with running(world, setting):
        await pool.send(lease)
        await pool.expect(Seal)
        await pool.send(world.authorisation(lease))
        await pool.expect(Contributed)
        await pool.close()
        await pool.until(lambda: world.chain.model.view_contribution(lease.task_id, WORKER.address).status == 2)


async def test_a_bags_tasks_get_their_own_arguments_in_parallel_slots(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    deal = await world.deal(volume=3, manifest=bag(await world.manifest(), 3))
    leases = [await world.lease(deal, index) for index in range(3)]
    together = threading.Barrier(3)

    def meet(job: SandboxJob) -> bytes:
        together.wait(10)
        return " ".join(job.arguments).encode()

    setting.function = meet
    setting.options = replace(setting.options, slots=3)
    async with running(world, setting):
        for lease in leases:
            await pool.send(lease)
        for _ in leases:
            await pool.expect(Seal)
        texts = [(setting.folder / "tasks" / lease.task_id / "result" / "stdout.txt").read_text() for lease in leases]
        assert texts == ["0", "1", "2"]
        for lease in leases:
            await pool.send(world.authorisation(lease))
        for _ in leases:
            await pool.expect(Revealed)


async def test_a_callback_deal_hashes_and_hands_over_the_callback_data(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task(callback=REQUESTER.address)

    def callback(job: SandboxJob) -> bytes:
        (job.output_folder / "computed.json").write_text('{"callback-data": "0x00ff"}')
        return b"log"

    setting.function = callback
    async with running(world, setting):
        await pool.send(lease)
        await pool.expect(Seal)
        await pool.send(world.authorisation(lease))
        await pool.expect(Revealed)
        assert (await world.chain.view_task(lease.task_id)).result_digest == to_hex32(keccak(b"\x00\xff"))
        await pool.send(UploadRequest(lease.lease_id, lease.task_id))
        assert (await pool.expect(Uploaded)).callback_data == "0x00ff"


async def test_a_deterministic_error_is_a_result(world: World, pool: FakePool, setting: AgentSetting) -> None:
    def fail(_: SandboxJob) -> bytes:
        raise ValueError("typo")

    setting.function = fail
    lease = await world.task()
    async with running(world, setting):
        await pool.send(lease)
        await pool.expect(Seal)
        await pool.send(world.authorisation(lease))
        await pool.expect(Revealed)


async def test_a_job_gets_exactly_the_network_that_it_asks_for_and_the_owner_allows(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    seen: list[SandboxJob] = []

    def look(job: SandboxJob) -> Any:
        seen.append(job)
        return honest(job)

    setting.function = look
    setting.policy = WorkerPolicy(allow_network=True, network_bytes=77)
    asking = await world.task(manifest=await world.manifest(needs=Needs(network=("data.example.org",))))
    silent = await world.task()
    async with running(world, setting):
        for lease in (asking, silent):
            await pool.send(lease)
            await pool.expect(Seal)
    assert [job.network for job in seen] == [NetworkGrant(("data.example.org",), max_bytes=77), None]


async def test_an_outvoted_worker_does_not_reveal_but_opens_its_seal(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task(trust=2)
    async with running(world, setting):
        await pool.send(lease)
        seal = await pool.expect(Seal)
        await world.contribute(lease, "0x" + "66" * 32)
        await pool.send(OpeningRequest(lease.lease_id, lease.task_id))
        opening = await pool.expect(Opening)
        assert _opened_seal(world, lease, opening) == seal.seal
        assert (await world.chain.view_contribution(lease.task_id, WORKER.address)).status == 0


async def test_contributions_name_the_result_hash_that_the_digest_gives(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task(trust=4)
    async with running(world, setting):
        await pool.send(lease)
        await pool.expect(Seal)
        await pool.send(world.authorisation(lease))
        await pool.expect(Contributed)
        (held,) = await stored(setting)
        mine = await world.chain.view_contribution(lease.task_id, WORKER.address)
        assert mine.result_hash == result_hash(lease.task_id, held.digest)
        assert held.contribution is not None and to_hex(held.contribution.raw).startswith("0x02")


@pytest.mark.parametrize("lane", [False, True])
@pytest.mark.parametrize("deleted", [False, True])
async def test_results_are_uploaded_for_as_long_as_the_manifest_says(
    world: World,
    pool: FakePool,
    setting: AgentSetting,
    monkeypatch: pytest.MonkeyPatch,
    lane: bool,
    deleted: bool,
) -> None:
    manifest = replace(await world.manifest(), retention_days=5, deleted_after=deleted)
    deal_id = await world.deal(lane=lane, manifest=manifest)
    lease = await (world.run(deal_id, 1) if lane else world.lease(deal_id))
    kept: list[tuple[str, int | None]] = []
    for name in ("add_file", "add_bytes"):
        upload = getattr(StorageClient, name)

        async def recorded(self: StorageClient, what: Any, _upload: Any = upload, **options: Any) -> str:
            kept.append((cid := await _upload(self, what, **options), options.get("keep_s")))
            return str(cid)

        monkeypatch.setattr(StorageClient, name, recorded)
    async with running(world, setting):
        await pool.expect(Ready)
        await pool.send(lease)
        await pool.expect(Seal)
        await pool.send(world.authorisation(lease))
        await pool.expect(Revealed)
        await pool.send(UploadRequest(lease.lease_id, lease.task_id))
        uploaded = await pool.expect(Uploaded)
    assert kept[-1][0] == uploaded.cid
    assert len(kept) == (2 if lane else 1), "archive, and in the lane the list of results"
    assert {keep_s for _, keep_s in kept} == {5 * 86_400 if deleted else None}
