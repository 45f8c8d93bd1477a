"""The whole agent, with a real websocket, against a chain and a storage in memory."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fairgrid.protocol.app_document import AppDocument
from fairgrid.protocol.archive import archive_digest, extract_archive
from fairgrid.protocol.hexes import ZERO32, keccak, to_hex, to_hex32
from fairgrid.protocol.ids import result_hash
from fairgrid.protocol.needs import Needs
from fairgrid.protocol.pool_messages import Abort, OpeningRequest, RevealNotice, TaskDone, UploadRequest
from fairgrid.protocol.results import results_text
from fairgrid.protocol.seals import recover_message_signer, seal_hash
from fairgrid.protocol.views import AppInfo, ContributionStatus, TaskStatus
from fairgrid.protocol.worker_messages import Contributed, LeaseFailed, Opening, Ready, Revealed, Seal, Uploaded
from fairgrid.runtime.interface import Outcome, SandboxJob, Stop
from fairgrid.runtime.network.grant import NetworkGrant
from fairgrid.worker.computing.misbehave import Misbehaviour
from fairgrid.worker.owner.policy import WorkerPolicy
from tests.worker.fake_pool import FakePool
from tests.worker.world import (
    ADMIN,
    DEPOSIT,
    INPUT,
    OTHER,
    REQUESTER,
    STAKE,
    THIRD,
    WORKER,
    AgentSetting,
    World,
    bag,
    honest,
    running,
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
        digest = next(iter(await _stored(setting))).digest
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
    assert await _stored(setting) == ()
    assert (await world.chain.view_account(WORKER.address)).stake > DEPOSIT
    (finished,) = await _finished(setting)
    earned = (await world.chain.view_account(WORKER.address)).stake - DEPOSIT
    assert (finished.outcome, finished.earned) == ("completed", earned)
    assert pool.phases == ["accepted", "downloading", "computing", "contributing", "revealing", "uploading"]


async def _stored(setting: AgentSetting) -> Any:
    store = setting.store.open(setting.folder / "worker.sqlite")
    try:
        return await asyncio.to_thread(store.load)
    finally:
        store.close()


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
        (held,) = await _stored(setting)
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


# --- what is not contributed ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [Stop.WALL_CLOCK, Stop.HOST])
async def test_a_host_failure_hands_the_lease_back_and_contributes_nothing(
    world: World, pool: FakePool, setting: AgentSetting, stop: Stop
) -> None:
    setting.function = lambda _: Outcome(stop, 0, b"", b"", 0, 0.0, 0, "broken machine")
    lease = await world.task()
    async with running(world, setting):
        await pool.send(lease)
        failed = await pool.expect(LeaseFailed)
        assert (failed.lease_id, failed.task_id) == (lease.lease_id, lease.task_id)
        await pool.send(world.authorisation(lease))
        await asyncio.sleep(0.1)
    assert (await world.chain.view_task(lease.task_id)).contributors == ()
    assert not (setting.folder / "tasks" / lease.task_id).exists()


async def _refusal_of(world: World, pool: FakePool, setting: AgentSetting, lease: Any) -> str:
    def never(_: SandboxJob) -> bytes:
        raise AssertionError("it must not be computed")

    setting.function = never
    async with running(world, setting):
        await pool.send(lease)
        failed = await pool.expect(LeaseFailed)
    assert not pool.seen(Seal)
    return failed.reason


@pytest.mark.parametrize(
    ("policy", "word"),
    [
        (WorkerPolicy(max_stake=STAKE - 1), "policy allows"),
        (WorkerPolicy(min_worker_share=91), "policy asks"),
        (WorkerPolicy(apps=(REQUESTER.address,)), "does not list app"),
        (WorkerPolicy(refused_requesters=(REQUESTER.address,)), "refuses requester"),
        (WorkerPolicy(max_input_bytes=5), "larger than the 5 bytes"),
    ],
)
async def test_a_deal_against_the_owners_policy_is_handed_back_uncomputed(
    world: World, pool: FakePool, setting: AgentSetting, policy: WorkerPolicy, word: str
) -> None:
    setting.policy = policy
    assert word in await _refusal_of(world, pool, setting, await world.task())


async def test_a_deal_whose_stake_the_deposit_does_not_cover_is_handed_back(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    from fairgrid.chain import calls

    await world.chain.transact(calls.withdraw(world.chain.hub, DEPOSIT - STAKE + 1), WORKER)
    assert "Deposit more" in await _refusal_of(world, pool, setting, await world.task())


async def test_a_job_that_asks_for_the_network_is_handed_back_where_the_owner_gives_none(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    manifest = await world.manifest(needs=Needs(network=("data.example.org",)))
    lease = await world.task(manifest=manifest)
    assert "gives none (allow_network)" in await _refusal_of(world, pool, setting, lease)
    setting.policy = WorkerPolicy(allow_network=True, network_hosts=("other.example.org",))
    lease = await world.task(manifest=manifest)
    assert "asks for data.example.org" in await _refusal_of(world, pool, setting, lease)


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


async def test_params_and_manifests_that_are_not_of_this_app_are_handed_back(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task(params='{"iexec_args":"x"}')
    assert "do not name a manifest" in await _refusal_of(world, pool, setting, lease)
    lease = await world.task(manifest=await world.manifest(runtime="wasmtime-1/py2/none"))
    assert "asks for runtime" in await _refusal_of(world, pool, setting, lease)
    lease = await world.task(manifest_bytes=b"{}")
    assert "manifest" in await _refusal_of(world, pool, setting, lease)


async def test_a_published_app_is_computed_and_a_job_with_another_program_is_not_it(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    manifest = await world.manifest()
    document = AppDocument("tool", manifest.runtime, manifest.script)
    entry = AppInfo(ADMIN.address, "tool", "WASM", f"/ipfs/{document.cid()}".encode(), document.checksum(), b"")
    world.app = tool = world.chain.model.registries.apps.create(entry)
    lease = await world.task(manifest=manifest)
    assert "does not have" in await _refusal_of(world, pool, setting, lease), "its document is not there yet"
    await world.storage.add_bytes(document.to_bytes())
    script = replace(manifest.script, cid=manifest.inputs[0].cid, size=manifest.inputs[0].size)
    lease = await world.task(manifest=replace(manifest, script=script))
    assert "program is not that of the app 'tool'" in await _refusal_of(world, pool, setting, lease)
    world.app = world.chain.model.registries.apps.create(replace(entry, checksum=ZERO32))
    lease = await world.task(manifest=manifest)
    assert "not the one whose checksum is on chain" in await _refusal_of(world, pool, setting, lease)
    world.app = world.chain.model.registries.apps.create(replace(entry, multiaddr=b"/somewhere"))
    lease = await world.task(manifest=manifest)
    assert "names no document of its program" in await _refusal_of(world, pool, setting, lease)
    world.app = tool
    async with running(world, setting):
        await pool.send(await world.task(manifest=manifest))
        await pool.expect(Seal)


async def test_a_lease_whose_task_is_of_another_deal_is_handed_back(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    mine, other = await world.task(), await world.task()
    assert "task id" in await _refusal_of(world, pool, setting, replace(mine, deal_id=other.deal_id))


async def test_a_lease_of_an_unknown_deal_is_handed_back_after_a_while(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = replace(await world.task(), deal_id="0x" + "00" * 31 + "01")
    setting.options = replace(setting.options, retry_for_s=0.1)
    assert "does not know deal" in await _refusal_of(world, pool, setting, lease)


async def test_a_missing_input_is_handed_back(world: World, pool: FakePool, setting: AgentSetting) -> None:
    manifest = await world.manifest()
    missing = replace(manifest.inputs[0], cid="bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e")
    lease = await world.task(manifest=replace(manifest, inputs=(missing,)))
    assert "does not have input" in await _refusal_of(world, pool, setting, lease)


@pytest.mark.parametrize("forger", [WORKER, OTHER, REQUESTER], ids=["worker", "stranger", "requester"])
async def test_a_forged_authorisation_is_refused_and_costs_nothing(
    world: World, pool: FakePool, setting: AgentSetting, forger: Any
) -> None:
    lease = await world.task()
    async with running(world, setting):
        await pool.send(lease)
        await pool.expect(Seal)
        await pool.send(world.authorisation(lease, by=forger))
        assert "not signed by the pool's owner" in (await pool.expect(LeaseFailed)).reason
        assert (await world.chain.view_task(lease.task_id)).contributors == ()
        await pool.send(world.authorisation(lease))
        await pool.expect(Contributed)


async def test_an_authorisation_for_another_worker_or_task_is_refused(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease, other = await world.task(), await world.task()
    async with running(world, setting):
        await pool.send(lease)
        await pool.expect(Seal)
        await pool.send(world.authorisation(lease, OTHER))
        assert "not signed" in (await pool.expect(LeaseFailed)).reason
        await pool.send(replace(world.authorisation(other), lease_id=lease.lease_id, task_id=lease.task_id))
        assert "not signed" in (await pool.expect(LeaseFailed)).reason


async def test_the_policy_is_asked_again_before_contributing(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task()
    async with running(world, setting):
        await pool.send(lease)
        await pool.expect(Seal)
        setting.policy = WorkerPolicy(max_stake=0)
        await pool.send(world.authorisation(lease))
        assert "policy allows 0" in (await pool.expect(LeaseFailed)).reason
    assert (await world.chain.view_task(lease.task_id)).contributors == ()


async def test_without_gas_nothing_is_contributed_and_the_reason_is_told(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task()
    async with running(world, setting):
        await pool.send(lease)
        await pool.expect(Seal)
        world.chain.set_balance(WORKER.address, 5)
        await pool.send(world.authorisation(lease))
        assert "cannot pay the gas" in (await pool.expect(LeaseFailed)).reason


async def test_a_worker_without_gas_says_so_and_enrols_when_it_has_some(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    world.chain.set_balance(WORKER.address, 0)
    async with running(world, setting):
        await pool.until(lambda: setting.announced.reasons)
        assert "to pay gas" in setting.announced.reasons[0] and pool.enrolments == []
        world.chain.set_balance(WORKER.address, 10**18)
        await pool.expect(Ready)
        assert setting.announced.ready_urls == [pool.url]


async def test_a_refusing_pool_is_named_once_and_asked_again(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    pool.refusal = "your deposit does not cover the stake"
    async with running(world, setting):
        await pool.until(lambda: len(pool.enrolments) >= 3)
        assert len(setting.announced.reasons) == 1 and "does not cover the stake" in setting.announced.reasons[0]
        pool.refusal = ""
        await pool.expect(Ready)


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


async def test_hostile_messages_about_unknown_tasks_change_nothing(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task()
    async with running(world, setting):
        await pool.expect(Ready)
        for message in (
            world.authorisation(lease),
            RevealNotice(lease.task_id),
            OpeningRequest("x", lease.task_id),
            UploadRequest("x", lease.task_id),
            Abort("x", lease.task_id, "y"),
            TaskDone(lease.task_id),
            replace(lease, index=-1),
            replace(lease, index=2**300),
            replace(lease, round=2**70),
        ):
            await pool.send(message)
        await pool.send(lease)
        await pool.expect(Seal)
    assert pool.connections == 1


async def test_an_abort_kills_the_work_and_frees_the_slot(world: World, pool: FakePool, setting: AgentSetting) -> None:
    started, release = threading.Event(), threading.Event()

    def slow(_: SandboxJob) -> bytes:
        started.set()
        release.wait(10)
        return b"late"

    setting.function = slow
    lease, other = await world.task(), await world.task()
    async with running(world, setting):
        await pool.send(lease)
        await pool.until(started.is_set)
        await pool.send(Abort(lease.lease_id, lease.task_id, "not needed"))
        await pool.until(lambda: pool.heartbeats and pool.heartbeats[-1].held == ())
        assert pool.heartbeats[-1].free_slots == 1
        release.set()
        await pool.send(other)
        assert (await pool.expect(Seal)).task_id == other.task_id


# --- services that go away --------------------------------------------------------------------------------------


async def test_a_chain_that_goes_away_before_the_contribution_delays_it_only(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task()
    async with running(world, setting):
        await pool.send(lease)
        await pool.expect(Seal)
        world.chain.down = True
        await pool.send(world.authorisation(lease))
        await asyncio.sleep(0.2)
        world.chain.down = False
        await pool.expect(Contributed)


async def test_a_lost_connection_is_made_anew_and_the_seal_sent_again(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task()
    async with running(world, setting):
        await pool.expect(Ready)
        await pool.send(lease)
        first = await pool.expect(Seal)
        await pool.drop()
        ready = await pool.expect(Ready)
        assert [(held.lease_id, held.phase) for held in ready.held] == [(lease.lease_id, "sealed")]
        assert await pool.expect(Seal) == first
        await pool.send(world.authorisation(lease))
        await pool.expect(Contributed)


async def test_a_result_changed_on_disk_is_not_uploaded(world: World, pool: FakePool, setting: AgentSetting) -> None:
    lease = await world.task()
    async with running(world, setting):
        await pool.send(lease)
        await pool.expect(Seal)
        await pool.send(world.authorisation(lease))
        await pool.expect(Revealed)
        (setting.folder / "tasks" / lease.task_id / "result" / "out.txt").write_text("changed")
        await pool.send(UploadRequest(lease.lease_id, lease.task_id))
        await asyncio.sleep(0.2)
        assert not pool.seen(Uploaded)


# --- misbehaviour -----------------------------------------------------------------------------------------------


async def _honest_digest(world: World, pool: FakePool, setting: AgentSetting, lease: Any) -> str:
    """The digest that another, honest worker has for the task."""
    honest = AgentSetting(folder=setting.folder / "honest", url=pool.url, signer=THIRD)
    honest.folder.mkdir()
    async with running(world, honest):
        await pool.send(lease)
        await pool.expect(Seal)
        (held,) = await _stored(honest)
    return str(held.digest)


async def test_flip_byte_contributes_and_stands_by_a_wrong_digest(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task()
    honest = await _honest_digest(world, pool, setting, lease)
    setting.options = replace(setting.options, misbehaviour=Misbehaviour.FLIP_BYTE)
    async with running(world, setting):
        await pool.send(lease)
        await pool.expect(Seal)
        await pool.send(world.authorisation(lease))
        await pool.expect(Revealed)
        digest = (await world.chain.view_task(lease.task_id)).result_digest
        assert digest != honest
        await pool.send(UploadRequest(lease.lease_id, lease.task_id))
        data = await world.storage.fetch_bytes((await pool.expect(Uploaded)).cid, max_bytes=1 << 20)
    archive = setting.folder / "a.zip"
    archive.write_bytes(data)
    assert archive_digest(archive) == digest


async def test_upload_other_contributes_honestly_and_uploads_something_else(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task()
    honest = await _honest_digest(world, pool, setting, lease)
    setting.options = replace(setting.options, misbehaviour=Misbehaviour.UPLOAD_OTHER)
    async with running(world, setting):
        await pool.send(lease)
        await pool.expect(Seal)
        await pool.send(world.authorisation(lease))
        await pool.expect(Revealed)
        assert (await world.chain.view_task(lease.task_id)).result_digest == honest
        await pool.send(UploadRequest(lease.lease_id, lease.task_id))
        data = await world.storage.fetch_bytes((await pool.expect(Uploaded)).cid, max_bytes=1 << 20)
    archive = setting.folder / "a.zip"
    archive.write_bytes(data)
    assert archive_digest(archive) != honest


async def test_no_reveal_contributes_and_stays_silent(world: World, pool: FakePool, setting: AgentSetting) -> None:
    lease = await world.task()
    setting.options = replace(setting.options, misbehaviour=Misbehaviour.NO_REVEAL)
    async with running(world, setting):
        await pool.send(lease)
        await pool.expect(Seal)
        await pool.send(world.authorisation(lease))
        await pool.expect(Contributed)
        await pool.send(RevealNotice(lease.task_id))
        await asyncio.sleep(0.3)
        view = await world.chain.view_task(lease.task_id)
    assert (view.status, view.reveal_counter) == (TaskStatus.REVEALING, 0)


# --- stopping ---------------------------------------------------------------------------------------------------


async def test_stopping_hands_back_what_is_computed_and_keeps_what_is_sealed(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    started, release = threading.Event(), threading.Event()

    def first_fast(job: SandboxJob) -> bytes:
        if job.arguments == ("go",):
            return b"fast"
        started.set()
        release.wait(10)
        return b"slow"

    setting.function = first_fast
    sealed = await world.task()
    computed = await world.task(manifest=await world.manifest(arguments=("slow",)))
    async with running(world, setting):
        await pool.send(sealed)
        await pool.expect(Seal)
        await pool.send(computed)
        await pool.until(started.is_set)
        release.set()
        began = time.monotonic()
    assert time.monotonic() - began < 5
    failed = await pool.expect(LeaseFailed)
    assert failed.task_id == computed.task_id and "stopped" in failed.reason
    assert [held.task_id for held in await _stored(setting)] == [sealed.task_id]


async def test_contributions_name_the_result_hash_that_the_digest_gives(
    world: World, pool: FakePool, setting: AgentSetting
) -> None:
    lease = await world.task(trust=4)
    async with running(world, setting):
        await pool.send(lease)
        await pool.expect(Seal)
        await pool.send(world.authorisation(lease))
        await pool.expect(Contributed)
        (held,) = await _stored(setting)
        mine = await world.chain.view_contribution(lease.task_id, WORKER.address)
        assert mine.result_hash == result_hash(lease.task_id, held.digest)
        assert held.contribution is not None and to_hex(held.contribution.raw).startswith("0x02")
