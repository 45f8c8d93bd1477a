"""What operators tell a pool at work, and what it then does: drains, bans, labels, another policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairgrid.errors import ServiceRefused, UsageError
from fairgrid.pool.administration.operating import LATER
from fairgrid.pool.core.policy import Policy
from fairgrid.protocol import pool_messages
from fairgrid.protocol.machine import Machine
from fairgrid.protocol.views import TaskStatus
from tests.pool.administration.desk import administered, until_joined
from tests.pool.grid import Grid, key
from tests.pool.scripted import Scripted


async def test_a_drained_pool_begins_nothing_until_it_is_undrained_also_over_a_restart(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "worker")
    async with administered(grid) as desk, worker.connected():
        await until_joined(grid)
        running = await grid.task(10)  # wants more than one worker, so that it goes on while the pool is drained
        await grid.until_phase(running, "sealing")
        assert (await desk.client.drain("new disks")).reason == "new disks"
        await desk.client.why_task(running)
        assert (await grid.chain.view_task(running)).status is TaskStatus.ACTIVE
    async with administered(grid) as desk, worker.connected():
        await until_joined(grid)
        task = await grid.task(1)

        async def known() -> bool:
            return await grid.service.inquiries.task(task) is not None

        await grid.until(known, what="the deal")
        why = await desk.client.why_task(task)
        assert why.waits_for == "its turn: the operator drains the pool"
        assert {rule.rule: rule.allowed for rule in why.rules}["pool_drained"] is False
        assert (await grid.chain.view_task(task)).status is TaskStatus.UNSET
        status = await desk.client.status()
        assert status.draining is not None and status.draining.who == grid.scheduler.address
        assert status.not_begun == 1 and "drained" in {alert.name for alert in status.alerts}
        assert (await desk.client.undrain()).draining is None
        await grid.until_status(task, TaskStatus.COMPLETED)
        with pytest.raises(UsageError, match="not drained"):
            await desk.client.undrain()
        acts = (await desk.client.acts()).acts
        assert [(act.act, act.subject, act.detail) for act in acts] == [
            ("undrain", "pool", ""),
            ("drain", "pool", "new disks"),
        ]
        assert all(act.who == grid.scheduler.address and act.at > 0 for act in acts)


async def test_a_drained_worker_finishes_what_it_has_and_gets_nothing_new(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "worker")
    worker.script.seals = False
    async with administered(grid) as desk, worker.connected():
        task = await grid.task(1)

        async def leased() -> bool:
            return "lease" in worker.kinds()

        await grid.until(leased, what="a lease")
        mark = await desk.client.drain_worker(worker.address, "it gets hot")
        assert mark.drained and not mark.banned
        lease = next(message for message in worker.received if isinstance(message, pool_messages.Lease))
        worker.script.seals = True
        await worker.say(worker.seal(lease))
        await grid.until_status(task, TaskStatus.COMPLETED)
        later = await grid.task(1)
        await grid.until_phase(later, "sealing")
        row = (await desk.client.workers(state="drained")).workers[0]
        assert (row.worker, row.reason) == (worker.address, "it gets hot")
        why = await desk.client.why_task(later)
        assert why.kept_away == {"drained by the operator": 1} and why.suitable == 0
        reasons = {rule.rule: rule.allowed for rule in (await desk.client.why_worker(worker.address)).rules}
        assert reasons["drained_worker"] is False and reasons["drained_pool"] is True
        assert worker.kinds().count("lease") == 1
        await desk.client.undrain_worker(worker.address)
        await grid.until_status(later, TaskStatus.COMPLETED)


async def test_a_banned_worker_is_told_why_and_its_task_goes_to_another_at_once(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    slow, good = Scripted(grid, "slow"), Scripted(grid, "good")
    slow.script.seals = False
    async with administered(grid) as desk:
        async with slow.connected():
            task = await grid.task(1)

            async def leased() -> bool:
                return "lease" in slow.kinds()

            await grid.until(leased, what="a lease")
            mark = await desk.client.ban(slow.address, "too slow for us")
            assert mark.banned
            async with good.connected():
                await grid.until_status(task, TaskStatus.COMPLETED)
        assert any("too slow for us" in getattr(message, "reason", "") for message in slow.received)
        slow.received.clear()
        async with slow.connected():
            assert slow.kinds()[-1] == "refused" and "too slow for us" in slow.received[-1].reason  # type: ignore[union-attr]
        with pytest.raises(UsageError, match="banned already"):
            await desk.client.ban(slow.address, "again")
        ban = (await desk.client.bans()).bans[0]
        assert (ban.worker, ban.owner, ban.reason) == (slow.address, slow.address, "too slow for us")
    async with administered(grid) as desk:
        assert (await desk.client.workers(state="banned")).workers[0].reason == "too slow for us"
        assert not (await desk.client.unban(slow.address)).banned
        with pytest.raises(UsageError, match="is not banned"):
            await desk.client.unban(slow.address)
        async with slow.connected():
            await until_joined(grid)
    async with administered(grid):
        assert not grid.service.machine.bans


async def test_labels_of_operator_and_owner_count_for_what_the_policy_asks_of_an_app(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    plain, gold = Scripted(grid, "plain"), Scripted(grid, "gold")
    async with administered(grid) as desk:
        await desk.client.change_policy({"app_labels": {grid.app: ["gold", "eu"]}})
        async with plain.connected(), gold.connected(machine=Machine(labels=("eu",))):
            await until_joined(grid, 2)
            task = await grid.task(1)
            await grid.until_phase(task, "sealing")
            why = await desk.client.why_task(task)
            assert why.kept_away == {"labels: gold, eu wanted": 2}
            mark = await desk.client.label(gold.address, ["gold"])
            assert mark.labels == ["gold"]
            await grid.until_status(task, TaskStatus.COMPLETED)
            assert "lease" in gold.kinds() and "lease" not in plain.kinds()
            rows = (await desk.client.workers(label="gold")).workers
            assert [(row.worker, row.labels, row.given_labels) for row in rows] == [
                (gold.address, ["eu", "gold"], ["gold"])
            ]
            await desk.client.label(gold.address, [])
            other = await grid.task(1)
            await grid.until_phase(other, "sealing")
            assert (await desk.client.why_task(other)).kept_away == {"labels: gold, eu wanted": 2}
            await desk.client.label(gold.address, ["gold"])
            await grid.until_status(other, TaskStatus.COMPLETED)
    async with administered(grid) as desk, gold.connected(machine=Machine(labels=("eu",))):
        await until_joined(grid)
        assert (await desk.client.workers(state="ready")).workers[0].labels == ["eu", "gold"]


async def test_a_changed_policy_counts_at_once_and_over_a_restart_until_it_is_unset(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with administered(grid) as desk:
        before = {known.name: known for known in (await desk.client.policy()).keys}
        assert before["seal_window_min_s"].source == "file" and before["max_fee_gwei"].source == "default"
        answer = await desk.client.change_policy({"max_active_tasks": 0, "max_fee_gwei": 80})
        assert answer.waiting == []
        changed = {known.name: known for known in answer.keys}
        assert (changed["max_fee_gwei"].value, changed["max_fee_gwei"].source) == (80.0, "set")
        assert changed["max_fee_gwei"].who == grid.scheduler.address
        assert grid.service._effects._outbox._rules.caps.max_fee_wei == 80 * 10**9
        task = await grid.task(1)

        async def known_there() -> bool:
            return await grid.service.inquiries.task(task) is not None

        await grid.until(known_there, what="the deal")
        rules = {rule.rule: rule for rule in (await desk.client.why_task(task)).rules}
        assert not rules["active_tasks"].allowed and "0 of max_active_tasks 0" in rules["active_tasks"].text
        later = await desk.client.change_policy({"confirmations": 3})
        assert later.waiting == ["confirmations"] and grid.service.policy.confirmations == 0
    async with administered(grid) as desk:
        assert grid.service.policy.confirmations == 3 and grid.service.policy.max_active_tasks == 0
        await desk.client.change_policy({}, ["max_active_tasks", "confirmations"])
        assert grid.service.policy.max_active_tasks == Policy().max_active_tasks
        await grid.until_phase(task, "sealing")


IMPOSSIBLE: list[tuple[dict[str, Any], list[str], str]] = [
    ({"max_fee": 80}, [], "unknown key 'max_fee'"),
    ({"max_active_tasks": "many"}, [], "must be a number"),
    ({"heartbeat_s": 0}, [], "heartbeat_s must be more than 0"),
    ({"operators": ["0x12"]}, [], "operators names no address"),
    ({"app_labels": {"0x12": ["gold"]}}, [], "names no app"),
    ({}, ["max_fee"], "no key 'max_fee'"),
    ({}, [], "at least one key"),
]


async def test_a_policy_that_cannot_be_changes_nothing(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with administered(grid) as desk:
        before = grid.service.policy
        for values, unset, why in IMPOSSIBLE:
            with pytest.raises(UsageError, match=why):
                await desk.client.change_policy(values, unset)
        assert grid.service.policy == before and (await desk.client.acts()).acts == []


def test_every_key_that_counts_later_is_a_key() -> None:
    assert LATER <= set(Policy.__dataclass_fields__)


async def test_an_operator_that_the_policy_names_may_act_and_is_named_for_it(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with administered(grid) as desk:
        with pytest.raises(UsageError, match="phase"):
            await desk.client.tasks(phase="ready")
        helper = desk.as_("helper")
        with pytest.raises(ServiceRefused, match="no operator of this pool"):
            await helper.status()
        await desk.client.change_policy({"operators": [key("helper").address]})
        await helper.drain("night")
        assert (await helper.acts(limit=1)).acts[0].who == key("helper").address
        await desk.client.change_policy({}, ["operators"])
        with pytest.raises(ServiceRefused, match="no operator of this pool"):
            await helper.undrain()
        assert desk.operator._drains
