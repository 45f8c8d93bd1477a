"""The worker's side of one transaction instead of three: what leaves early, and what it falls back to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.protocol.pool_messages import TaskDone, UploadRequest
from fairgrid.protocol.results import results_text
from fairgrid.protocol.views import ContributionStatus, TaskStatus
from fairgrid.protocol.worker_messages import Contributed, Seal, Uploaded
from fairgrid.worker.core import events as ev
from fairgrid.worker.core import instructions as to_do
from fairgrid.worker.core.held import Phase, Step
from tests.worker.fake_pool import FakePool
from tests.worker.machine_kit import (
    APPROVED,
    AUTHORISATION,
    COMPUTED,
    CONTRIBUTION_MINED,
    CONTRIBUTION_SIGNED,
    DIGEST,
    LEASE,
    PROVED,
    SALT,
    SEAL_SIGNED,
    TASK,
    fed,
    kinds,
    only,
    record,
    seen,
    sent,
    task,
)
from tests.worker.world import DEPOSIT, WORKER, AgentSetting, new_world, running

EARLY = UploadRequest("l1", TASK, early=True)
FAST = replace(AUTHORISATION, fast=True)
TO_SEALED: tuple[ev.Event, ...] = (LEASE, replace(APPROVED, trust=1), ev.Downloaded(TASK), COMPUTED, SEAL_SIGNED)
OPENED = Uploaded("l1", TASK, cid="bafy", digest=DIGEST, salt=SALT)


def test_asked_early_it_uploads_and_opens_its_seal_then_ends_the_task_at_once() -> None:
    machine = fed(TO_SEALED)
    assert only(machine.handle(EARLY), to_do.Upload)
    assert record(machine).phase is Phase.SEALED
    assert sent(machine.handle(ev.Uploaded(TASK, "bafy"))) == [OPENED]
    assert only(machine.handle(FAST), to_do.Contribute)
    assert record(machine).fast
    machine.handle(CONTRIBUTION_SIGNED)
    machine.handle(CONTRIBUTION_MINED)
    completed = task(TaskStatus.COMPLETED)
    machine.handle(seen(completed, PROVED, block=11))
    assert record(machine).phase is Phase.REVEALED
    assert not only(machine.handle(seen(completed, PROVED, block=12)), to_do.Upload), "it lies there already"
    machine.handle(TaskDone(TASK))
    assert only(machine.handle(seen(completed, PROVED, block=12)), to_do.Retire)


@pytest.mark.parametrize("trust", [0, 2])
def test_above_trust_1_nothing_leaves_early_whatever_the_pool_asks(trust: int) -> None:
    machine = fed((LEASE, replace(APPROVED, trust=trust), ev.Downloaded(TASK), COMPUTED, SEAL_SIGNED))
    assert kinds(machine.handle(EARLY)) == ["Note"]
    machine.handle(FAST)
    assert not record(machine).fast


def test_a_run_is_not_ended_at_once_by_this_path() -> None:
    run = replace(LEASE, count=3)
    machine = fed((run, replace(APPROVED, trust=1), ev.Downloaded(TASK), COMPUTED, SEAL_SIGNED))
    assert kinds(machine.handle(EARLY)) == ["Note"]


def test_before_its_seal_it_uploads_nothing() -> None:
    machine = fed(TO_SEALED[:3])
    assert kinds(machine.handle(EARLY)) == ["Note"]


def test_authorised_for_both_without_an_upload_it_contributes_only() -> None:
    machine = fed(TO_SEALED)
    assert only(machine.handle(FAST), to_do.Contribute)
    assert not record(machine).fast


def test_an_early_upload_that_failed_is_tried_again_at_the_next_look() -> None:
    machine = fed((*TO_SEALED, EARLY))
    machine.handle(ev.UploadFailed(TASK, "storage is down"))
    assert only(machine.handle(seen(task())), to_do.Upload)


def test_an_upload_that_ends_after_the_authorisation_is_not_told() -> None:
    machine = fed((*TO_SEALED, EARLY, AUTHORISATION))
    assert not sent(machine.handle(ev.Uploaded(TASK, "bafy")))
    assert not record(machine).fast
    assert record(machine).phase is Phase.SEALED


def test_asked_again_it_answers_at_once_with_what_it_uploaded() -> None:
    machine = fed((*TO_SEALED, EARLY, ev.Uploaded(TASK, "bafy")))
    assert sent(machine.handle(EARLY)) == [OPENED]
    machine.handle(ev.PoolDisconnected())
    assert OPENED in sent(machine.handle(ev.PoolConnected()))


def test_refused_on_chain_it_contributes_with_the_same_authorisation() -> None:
    machine = fed((*TO_SEALED, EARLY, ev.Uploaded(TASK, "bafy"), FAST, CONTRIBUTION_SIGNED))
    machine.handle(replace(CONTRIBUTION_MINED, succeeded=False))
    held = record(machine)
    assert held.phase is Phase.SEALED and not held.fast and held.authorisation
    assert only(machine.handle(seen(task(), block=11)), to_do.Contribute)


def test_taken_back_by_a_reorganisation_the_same_bytes_are_sent_again() -> None:
    machine = fed((*TO_SEALED, EARLY, ev.Uploaded(TASK, "bafy"), FAST, CONTRIBUTION_SIGNED, CONTRIBUTION_MINED))
    again = machine.handle(seen(task(), block=12))
    assert only(again, to_do.Broadcast) == [to_do.Broadcast(TASK, Step.CONTRIBUTE)]
    assert record(machine).contribution == CONTRIBUTION_SIGNED.transaction


async def test_an_agent_is_paid_by_one_transaction_and_knows_what_it_earned(tmp_path: Path) -> None:
    async with (
        new_world() as world,
        FakePool(chain_id=world.chain.chain_id, hub=world.chain.hub, workerpool=world.workerpool) as pool,
    ):
        lease = await world.task(trust=1)
        setting = AgentSetting(folder=tmp_path, url=pool.url)
        async with running(world, setting) as agent:
            await pool.send(lease)
            await pool.expect(Seal)
            await pool.send(UploadRequest(lease.lease_id, lease.task_id, early=True))
            uploaded = await pool.expect(Uploaded)
            await pool.send(replace(world.authorisation(lease), fast=True))
            await pool.expect(Contributed)
            view = await world.chain.view_task(lease.task_id)
            assert view.status is TaskStatus.COMPLETED
            assert view.result_digest == uploaded.digest
            assert view.results == results_text(uploaded.cid)
            mine = await world.chain.view_contribution(lease.task_id, WORKER.address)
            assert mine.status is ContributionStatus.PROVED
            await pool.send(TaskDone(lease.task_id))
            await pool.until(lambda: not agent.holds_anything())
        earned = (await world.chain.view_account(WORKER.address)).stake - DEPOSIT
        store = setting.store.open(tmp_path / "worker.sqlite")
        try:
            (finished,) = store.finished()
        finally:
            store.close()
        assert (finished.outcome, finished.earned) == ("completed", earned)
        assert earned > 0
