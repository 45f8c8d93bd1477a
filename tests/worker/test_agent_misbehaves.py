"""The whole agent misbehaves when it is told to, so that networks can be tested: just as far as its name says."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from fairgrid.protocol.archive import archive_digest
from fairgrid.protocol.pool_messages import RevealNotice, UploadRequest
from fairgrid.protocol.views import TaskStatus
from fairgrid.protocol.worker_messages import Contributed, Revealed, Seal, Uploaded
from fairgrid.worker.computing.misbehave import Misbehaviour
from tests.worker.fake_pool import FakePool
from tests.worker.world import (
    THIRD,
    AgentSetting,
    World,
    running,
    stored,
)


async def _honest_digest(world: World, pool: FakePool, setting: AgentSetting, lease: Any) -> str:
    """The digest that another, honest worker has for the task."""
    honest = AgentSetting(folder=setting.folder / "honest", url=pool.url, signer=THIRD)
    honest.folder.mkdir()
    async with running(world, honest):
        await pool.send(lease)
        await pool.expect(Seal)
        (held,) = await stored(honest)
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
