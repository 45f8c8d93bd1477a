"""The operator's REST API: what is listed, how it answers what cannot be asked or read, and who may ask at all."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from fairgrid.errors import UsageError
from fairgrid.pool.administration.administration import MAX_BODY_BYTES
from fairgrid.pool.administration.operator_access import authorisation
from fairgrid.protocol.machine import Machine
from fairgrid.protocol.views import TaskStatus
from fairgrid.seams.clock import SystemClock
from tests.pool.administration.desk import Desk, administered, until_joined
from tests.pool.grid import Grid, key
from tests.pool.scripted import Scripted


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


def _signature(desk: Desk, method: str, target: str, body: bytes) -> str:
    return authorisation(
        desk.grid.scheduler, desk.identity, method=method, target=target, body=body, now=SystemClock().now()
    )


async def _send(desk: Desk, method: str, target: str, body: bytes = b"") -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        headers = {"authorization": _signature(desk, method, target, body)}
        return await http.request(method, desk.url + target, content=body, headers=headers)
