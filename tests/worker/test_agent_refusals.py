"""The whole agent declines what it must not do: leases, authorisations and words of a pool that do not hold."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from fairgrid.protocol.app_document import AppDocument
from fairgrid.protocol.hexes import ZERO32
from fairgrid.protocol.needs import Needs
from fairgrid.protocol.pool_messages import Abort, OpeningRequest, RevealNotice, TaskDone, UploadRequest
from fairgrid.protocol.views import AppInfo
from fairgrid.protocol.worker_messages import Contributed, LeaseFailed, Ready, Revealed, Seal, Uploaded
from fairgrid.runtime.interface import Outcome, SandboxJob, Stop
from fairgrid.worker.owner.policy import WorkerPolicy
from tests.worker.fake_pool import FakePool
from tests.worker.world import (
    ADMIN,
    DEPOSIT,
    OTHER,
    REQUESTER,
    STAKE,
    WORKER,
    AgentSetting,
    World,
    honest,
    running,
)


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
    world.app, setting.function = tool, honest
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
