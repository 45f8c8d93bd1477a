"""What operators ask of a pool at work and tell it: over its REST API with signatures, and by the commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairgrid.errors import ServiceRefused, ServiceUnavailable, UsageError
from fairgrid.pool.administration.administration import MAX_BODY_BYTES, administration
from fairgrid.pool.administration.operating import LATER, PoolOperator, policy_in_force
from fairgrid.pool.administration.operations import Operations
from fairgrid.pool.administration.operator_access import OperatorAccess, authorisation
from fairgrid.pool.administration.operator_client import OperatorClient, Reach, note_reach, reaches_of
from fairgrid.pool.app import pool_application
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.records.task_lists import TaskLists
from fairgrid.protocol import pool_messages, wire
from fairgrid.protocol.machine import Machine
from fairgrid.protocol.views import TaskStatus
from fairgrid.seams.clock import SystemClock
from fairgrid.seams.service import serving
from fairgrid.wallet.keystore import KEYSTORE_NAME, PASSWORD_NAME, save_keystore
from tests.pool.grid import Grid, Scripted, key

PASSWORD = "pool"


@dataclass
class Desk:
    """A pool at work with its operator's rim, and clients of operators."""

    grid: Grid
    operator: PoolOperator
    client: OperatorClient
    url: str
    opened: list[OperatorClient] = field(default_factory=list)

    @property
    def identity(self) -> PoolIdentity:
        return self.grid.service.identity

    def as_(self, name: str) -> OperatorClient:
        self.opened.append(OperatorClient([self.url], self.identity, key(name)))
        return self.opened[-1]


@contextlib.asynccontextmanager
async def administered(grid: Grid) -> AsyncIterator[Desk]:
    base = grid.policy
    async with grid.pool():
        engine = grid.service._store.engine
        operations, lists = Operations(engine), TaskLists(engine, catch_up=grid.service._store.catch_up)
        grid.service.use_policy(policy_in_force(base, operations.settings()))
        operator = PoolOperator(grid.service, operations, lists, base=base)
        await operator.begin()
        access = OperatorAccess(grid.service.identity, operator.is_operator, SystemClock().now)
        application = pool_application(grid.service, administration=administration(operator, operations, lists, access))
        async with serving(application, ws_max_size=wire.MAX_FRAME_BYTES) as grid.url:
            async with OperatorClient([grid.url], grid.service.identity, grid.scheduler) as client:
                desk = Desk(grid, operator, client, grid.url)
                yield desk
                for opened in desk.opened:
                    await opened.__aexit__(None, None, None)


async def until_joined(grid: Grid, count: int = 1) -> None:
    async def joined() -> bool:
        return sum(worker.ready for worker in grid.service.machine.workers.values()) == count

    await grid.until(joined, what=f"{count} worker(s) at work")


# --- drain --------------------------------------------------------------------------------------------------------


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


# --- ban ----------------------------------------------------------------------------------------------------------


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


# --- labels -------------------------------------------------------------------------------------------------------


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


# --- policy -------------------------------------------------------------------------------------------------------


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


# --- lists --------------------------------------------------------------------------------------------------------


async def test_tasks_are_listed_by_what_is_asked_for_page_by_page(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "worker")
    async with administered(grid) as desk, worker.connected():
        done = await grid.task(1)
        await grid.until_phase(done, "completed")
        waiting = await grid.task(10)
        await grid.until_phase(waiting, "sealing")

        async def listed(**query: str | int) -> list[str]:
            return [row.task_id for row in (await desk.client.tasks(**query)).tasks]

        assert await listed() == [waiting, done]
        assert await listed(phase="completed") == [done]
        first = await desk.client.tasks(limit=1)
        assert [row.task_id for row in first.tasks] == [waiting] and first.next == 1
        last = await desk.client.tasks(limit=1, offset=1)
        assert [row.task_id for row in last.tasks] == [done] and last.next is None
        deal = first.tasks[0].deal_id
        assert await listed(deal=deal) == [waiting]
        assert await listed(requester=grid.requester.address.lower()) == [waiting, done]
        assert await listed(requester=worker.address) == []
        assert await listed(app=grid.app) == [waiting, done] and await listed(app=worker.address) == []
        assert await listed(worker=worker.address) == [waiting, done]
        assert await listed(worker=grid.requester.address) == []

        story = await desk.client.story(done)
        kinds = {event.kind for event in story.events}
        assert story.phase == "completed" and kinds == {"task", "transaction"}
        assert [event.at for event in story.events] == sorted(event.at for event in story.events)
        text = " ".join(event.text for event in story.events)
        assert "initialize" in text and "finalize" in text and "mined, block" in text
        assert any(event.worker == worker.address for event in story.events)
        assert (await desk.client.why_task(done)).waits_for == "nothing: it is over"
        sealing = await desk.client.why_task(waiting)
        assert sealing.waits_for in ("more workers", "the seals of the workers that compute it")
        assert sealing.kept_away in ({"its owner has a replica": 1}, {})

        status = await desk.client.status()
        assert status.tasks == {"completed": 1, "sealing": 1} and status.owners == 1 and status.epoch == 0
        assert sum(status.workers.values()) == 1 and status.gas.transactions_last_day >= 2


async def test_workers_are_listed_with_machine_record_and_what_they_compute(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    one, two = Scripted(grid, "one"), Scripted(grid, "two")
    machine = Machine(cpus=4, memory_bytes=8 << 30, os="linux", arch="x86_64", levels=("wasm",), labels=("eu",))
    async with administered(grid) as desk, one.connected(machine=machine), two.connected(slots=1):
        await until_joined(grid, 2)
        rows = {row.worker: row for row in (await desk.client.workers()).workers}
        first = rows[one.address]
        assert (first.cpus, first.memory_bytes, first.system, first.levels) == (4, 8 << 30, "linux/x86_64", ["wasm"])
        assert first.state == "ready" and first.last_heard_s is not None and first.slots == first.free_slots == 1
        task = await grid.task(1)
        await grid.until_status(task, TaskStatus.COMPLETED)
        best = (await desk.client.workers(sort="valid", limit=1)).workers[0]
        assert best.valid == 1 and best.faults == 0
        assert (await desk.client.workers(owner=two.address)).count == 1
        assert (await desk.client.workers(state="away")).count == 0
    async with administered(grid) as desk:
        away = (await desk.client.workers(state="away")).workers
        assert [row.worker for row in away] == [best.worker] and away[0].last_heard_s is None


UNANSWERABLE = [
    ("/admin/tasks?phase=ready", 400, "phase"),
    ("/admin/tasks?worker=0x12", 400, "worker"),
    ("/admin/tasks?limit=0", 400, "limit"),
    ("/admin/tasks?limit=2000", 400, "limit"),
    ("/admin/tasks?colour=red", 400, "colour"),
    ("/admin/workers?state=happy", 400, "state"),
    ("/admin/workers?sort=size", 400, "sort"),
    ("/admin/tasks/0x" + "ab" * 32 + "/story", 404, "no task"),
    ("/admin/tasks/0x" + "ab" * 32 + "/why", 404, "no task"),
    ("/admin/tasks/0x12/why", 400, "task_id"),
    ("/admin/workers/nobody/why", 400, "worker"),
    ("/admin/nothing", 404, "openapi.json"),
]


async def test_what_cannot_be_asked_is_answered_with_what_is_wrong(tmp_path: Path) -> None:
    async with administered(Grid(tmp_path)) as desk:
        for target, status, why in UNANSWERABLE:
            answer = await _send(desk, "GET", target)
            assert answer.status_code == status and why in answer.json()["error"], (target, answer.text)


UNREADABLE = [
    ("POST", "/drain", b"{}", "reason"),
    ("POST", "/drain", b'{"reason": ""}', "reason"),
    ("POST", "/drain", b"not json", "JSON"),
    ("POST", "/drain", b'{"reason": "x", "force": true}', "force"),
    ("PUT", f"/workers/{key('w').address}/labels", b'{"labels": ["no spaces"]}', "labels"),
    ("PUT", f"/workers/{key('w').address}/labels", b'{"labels": "word"}', "labels"),
    ("POST", f"/workers/{key('w').address}/ban", b'{"reason": "x", "owner": "0x12"}', "0x12"),
]


async def test_a_body_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    async with administered(Grid(tmp_path)) as desk:
        for method, path, body, why in UNREADABLE:
            answer = await _send(desk, method, "/admin" + path, body)
            assert answer.status_code == 400 and why in answer.json()["error"], (path, body, answer.text)
        assert (await desk.client.acts()).acts == []


async def test_a_body_beyond_the_limit_is_refused_and_the_pool_goes_on(tmp_path: Path) -> None:
    async with administered(Grid(tmp_path)) as desk:
        body = json.dumps({"reason": "x" * MAX_BODY_BYTES}).encode()
        answer = await _send(desk, "POST", "/admin/drain", body)
        assert answer.status_code == 413
        assert (await desk.client.status()).draining is None


async def test_a_request_that_comes_again_acts_once_also_after_a_restart(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    body = b'{"reason": "disks"}'
    async with administered(grid) as desk, httpx.AsyncClient(trust_env=False) as http:
        headers = {"authorization": _signature(desk, "POST", "/admin/drain", body)}
        assert (await http.post(f"{desk.url}/admin/drain", content=body, headers=headers)).status_code == 200
        again = await http.post(f"{desk.url}/admin/drain", content=body, headers=headers)
        assert again.status_code == 401 and "came before" in again.json()["error"]
        await desk.client.undrain()
    async with administered(grid) as desk, httpx.AsyncClient(trust_env=False) as http:
        # This process never saw the nonce; the database did.
        again = await http.post(f"{desk.url}/admin/drain", content=body, headers=headers)
        assert again.status_code == 401 and "carried out before" in again.json()["error"]
        assert (await desk.client.status()).draining is None


async def test_without_a_signature_nothing_is_told_but_the_openapi_document(tmp_path: Path) -> None:
    async with administered(Grid(tmp_path)) as desk, httpx.AsyncClient(trust_env=False) as http:
        document = (await http.get(f"{desk.url}/admin/openapi.json")).json()
        assert len(document["paths"]) >= 17
        for path, methods in list(document["paths"].items())[:8]:
            for method in methods:
                where = f"{desk.url}/admin{path}".replace("{task_id}", "0x" + "ab" * 32)
                answer = await http.request(method, where.replace("{worker}", key("w").address))
                assert answer.status_code == 401 and "error" in answer.json()


async def test_the_openapi_document_has_every_route_with_its_errors(tmp_path: Path) -> None:
    async with administered(Grid(tmp_path)) as desk, httpx.AsyncClient(trust_env=False) as http:
        document = (await http.get(f"{desk.url}/admin/openapi.json")).json()
    listed = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert listed == {
        ("GET", "/status"),
        ("GET", "/workers"),
        ("GET", "/workers/{worker}/why"),
        ("POST", "/workers/{worker}/drain"),
        ("POST", "/workers/{worker}/undrain"),
        ("POST", "/workers/{worker}/ban"),
        ("POST", "/workers/{worker}/unban"),
        ("PUT", "/workers/{worker}/labels"),
        ("GET", "/bans"),
        ("GET", "/tasks"),
        ("GET", "/tasks/{task_id}/story"),
        ("GET", "/tasks/{task_id}/why"),
        ("POST", "/drain"),
        ("POST", "/undrain"),
        ("GET", "/policy"),
        ("POST", "/policy"),
        ("GET", "/acts"),
        ("GET", "/usage"),
        ("POST", "/handover"),
    }
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation["summary"] and operation["security"] == [{"operator": []}]
            answers = operation["responses"]
            assert {"200", "400", "401", "403", "413", "429", "503"} <= set(answers) and "422" not in answers
            assert all("$ref" in next(iter(answer["content"].values()))["schema"] for answer in answers.values())
    assert set(document["components"]["schemas"]) >= {"PoolStatus", "WorkerRow", "TaskRow", "Error"}


async def test_usage_is_told_to_operators_by_subject_and_days(tmp_path: Path) -> None:
    async with administered(Grid(tmp_path)) as desk:
        grid = desk.grid
        worker = Scripted(grid, "worker")
        async with worker.connected():
            task = await grid.task(1)
            await grid.until_phase(task, "completed")

            async def told() -> bool:
                return (await desk.client.usage()).total == 1

            await grid.until(told, what="the task's accounts")
        (requester,) = (await desk.client.usage(by="requester")).accounts
        (earner,) = (await desk.client.usage(by="worker")).accounts
        assert (requester.subject, requester.completed) == (grid.requester.address, 1)
        assert earner.subject == worker.address and 0 < int(earner.nrlc) <= int(requester.nrlc)
        assert (await desk.client.usage(until="2000-01-01")).accounts == []
        with pytest.raises(UsageError, match="since"):
            await desk.client.usage(since="yesterday")


# --- the commands -------------------------------------------------------------------------------------------------


async def _fairgrid(*arguments: str) -> tuple[int, dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fairgrid", "pool", *arguments, "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert output, errors.decode()
    return process.returncode or 0, json.loads(output)


@pytest.mark.timeout(180)  # six programs one after the other
async def test_the_commands_find_the_pool_and_sign_with_its_key(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    (tmp_path / PASSWORD_NAME).write_text(PASSWORD + "\n")
    (tmp_path / PASSWORD_NAME).chmod(0o600)
    save_keystore(grid.scheduler, tmp_path / KEYSTORE_NAME, PASSWORD, scrypt_n=2)
    where = ("--dir", str(tmp_path))
    code, answer = await _fairgrid("status", *where)
    assert code == 2 and "ever ran" in answer["message"]
    async with administered(grid) as desk:
        note_reach(tmp_path, Reach("http://127.0.0.1:1", desk.identity))
        note_reach(tmp_path, Reach(desk.url, desk.identity))
        worker = key("w").address
        answers = [
            await _fairgrid(*arguments, *where)
            for arguments in (
                ("label", worker, "lab-2", "eu"),
                ("policy", "set", "max_fee_gwei=80"),
                ("why", "0x" + "ab" * 32),
                ("handover",),
            )
        ]
        acts = (await desk.client.acts(subject=worker)).acts
    codes = [code for code, _ in answers]
    documents = [document for _, document in answers]
    assert codes == [0, 0, 4, 2]
    assert documents[0]["answer"]["labels"] == ["lab-2", "eu"]
    assert documents[1]["answer"]["waiting"] == []
    assert "no task" in documents[2]["message"]
    assert "one process only" in documents[3]["message"]
    assert [(act.act, act.detail) for act in acts] == [("label", "lab-2 eu")]
    code, answer = await _fairgrid("status", *where)
    assert code == 4 and desk.url in answer["message"]


def test_processes_that_start_at_once_are_all_remembered_and_old_ones_forgotten(tmp_path: Path) -> None:
    identity = PoolIdentity(1, key("hub").address, key("pool").address)
    for number in range(12):
        note_reach(tmp_path, Reach(f"http://127.0.0.1:{number}", identity))
    note_reach(tmp_path, Reach("http://127.0.0.1:7", identity))
    urls = [reach.url for reach in reaches_of(tmp_path)]
    assert urls[0] == "http://127.0.0.1:7" and len(urls) == 8 and "http://127.0.0.1:0" not in urls
    (tmp_path / "reach" / "broken.json").write_text("{")
    assert len(reaches_of(tmp_path)) == 7 or len(reaches_of(tmp_path)) == 8


async def test_a_pool_that_is_away_is_named_with_its_addresses(tmp_path: Path) -> None:
    identity = PoolIdentity(1, key("hub").address, key("pool").address)
    async with OperatorClient(["http://127.0.0.1:1", "http://127.0.0.1:2"], identity, key("owner")) as client:
        with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1:1 or http://127\.0\.0\.1:2"):
            await client.status()


def _signature(desk: Desk, method: str, target: str, body: bytes) -> str:
    return authorisation(
        desk.grid.scheduler, desk.identity, method=method, target=target, body=body, now=SystemClock().now()
    )


async def _send(desk: Desk, method: str, target: str, body: bytes = b"") -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        headers = {"authorization": _signature(desk, method, target, body)}
        return await http.request(method, desk.url + target, content=body, headers=headers)
