"""Strangers at the door: what breaks the protocol ends its own connection, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from fairgrid.pool.core.policy import Policy
from fairgrid.protocol import pool_messages, wire, worker_messages
from fairgrid.protocol.typed_data import Domain, enrolment_typed_data
from fairgrid.protocol.views import TaskStatus
from tests.pool.grid import Grid, key
from tests.pool.scripted import Script, Scripted, at_the_door


async def _last_word(connection: ClientConnection) -> str:
    """The reason that the pool gives before it closes; '' if it just closes."""
    reason = ""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionClosed):
            while True:
                message = wire.decode_pool_message(await connection.recv())
                if isinstance(message, pool_messages.Refused):
                    reason = message.reason
    assert connection.close_code is not None
    return reason


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("not json", "breaks protocol version 1"),
        ("{}", "breaks protocol version 1"),
        ('{"kind":"no such message"}', "breaks protocol version 1"),
        ('{"kind":"ready","held":[],"free_slots":1}', "must be 'enrol'"),
        ('{"kind":"ready","held":[],"free_slots":-1}', "breaks protocol version 1"),
        ('{"kind":"ready","held":[],"free_slots":1,"surprise":1}', "breaks protocol version 1"),
        (b"\x00\x01", "binary frame"),
        ("[" * 10_000, "breaks protocol version 1"),
    ],
)
async def test_a_first_frame_that_is_no_enrolment_is_refused_with_the_reason(
    tmp_path: Path, frame: str | bytes, reason: str
) -> None:
    grid = Grid(tmp_path)
    async with grid.pool(), at_the_door(grid) as connection:
        await connection.recv()
        await connection.send(frame)
        assert reason in await _last_word(connection)


async def test_a_frame_that_is_too_large_closes_the_connection(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool(), at_the_door(grid) as connection:
        await connection.recv()
        with contextlib.suppress(ConnectionClosed):
            await connection.send("x" * (wire.MAX_FRAME_BYTES + 1))
        await _last_word(connection)
        assert connection.close_code == 1009


async def test_who_says_nothing_after_the_challenge_is_sent_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairgrid.pool.workers.enrolment._ENROL_WITHIN_S", 0.2)
    grid = Grid(tmp_path)
    async with grid.pool(), at_the_door(grid) as connection:
        assert "No enrolment" in await _last_word(connection)


async def _answer(grid: Grid, name: str, **changes: object) -> pool_messages.PoolMessage:
    worker = Scripted(grid, name)
    async with at_the_door(grid) as worker.connection:
        return await worker.enrol(**changes)


async def test_an_honest_enrolment_is_welcomed_with_the_heartbeat(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool():
        answer = await _answer(grid, "worker")
    assert isinstance(answer, pool_messages.Welcome)
    assert answer.heartbeat_s == 5.0 and answer.now is not None


async def test_another_protocol_version_is_refused_and_both_are_named(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool():
        answer = await _answer(grid, "worker", version=99)
    assert isinstance(answer, pool_messages.Refused) and "99" in answer.reason and "version 1" in answer.reason


@pytest.mark.parametrize("wrong", ["pool", "chain", "hub", "worker", "signer"])
async def test_an_owners_signature_for_something_else_is_refused(tmp_path: Path, wrong: str) -> None:
    grid = Grid(tmp_path)
    worker, stranger = key("worker"), key("stranger")
    pool = stranger.address if wrong == "pool" else grid.workerpool
    domain = grid.domain
    if wrong == "chain":
        domain = Domain(1, domain.verifying_contract)
    if wrong == "hub":
        domain = replace(domain, verifying_contract=stranger.address)
    named = stranger.address if wrong == "worker" else worker.address
    signer = stranger if wrong == "signer" else worker
    signature = signer.sign_typed_data(enrolment_typed_data(worker.address, named, pool, domain))
    async with grid.pool():
        answer = await _answer(grid, "worker", owner_signature=signature)
    assert isinstance(answer, pool_messages.Refused) and "not signed by the owner" in answer.reason


async def test_a_replayed_answer_to_another_challenge_is_refused(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool():
        answer = await _answer(grid, "worker", nonce_signature=key("worker").sign_message(b"\x07" * 32))
    assert isinstance(answer, pool_messages.Refused) and "challenge was not signed" in answer.reason


async def test_an_address_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    address = key("worker").address
    mistyped = address[:2] + address[2:].swapcase()
    async with grid.pool():
        answer = await _answer(grid, "worker", owner=mistyped)
    assert isinstance(answer, pool_messages.Refused) and "malformed" in answer.reason


async def test_a_full_pool_says_so(tmp_path: Path) -> None:
    grid = Grid(tmp_path, policy=Policy(max_workers=1))
    first = Scripted(grid, "first")
    async with grid.pool(), first.connected():
        answer = await _answer(grid, "second")
    assert isinstance(answer, pool_messages.Refused) and "as many workers as it takes" in answer.reason


async def test_a_worker_that_connects_again_takes_the_place_of_its_old_connection(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    old, new = Scripted(grid, "worker"), Scripted(grid, "worker")
    async with grid.pool(), old.connected(), new.connected():

        async def is_gone() -> bool:
            return "refused" in old.kinds()

        await grid.until(is_gone, what="the end of the old connection")
        task = await grid.task(1)
        await grid.until_status(task, TaskStatus.COMPLETED)
        assert "lease" in new.kinds() and "lease" not in old.kinds()


async def test_a_silent_worker_is_cut_off_after_three_heartbeats(tmp_path: Path) -> None:
    grid = Grid(tmp_path, policy=Policy(heartbeat_s=0.1))
    worker = Scripted(grid, "worker")
    async with grid.pool(), at_the_door(grid) as worker.connection:
        await worker.enrol()
        assert "No heartbeat within 0.3 s" in await _last_word(worker.connection)

        async def is_gone() -> bool:
            return not grid.service.machine.workers

        await grid.until(is_gone)


async def test_a_worker_that_floods_is_cut_off_and_the_others_go_on(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    flooder, honest = Scripted(grid, "flooder"), Scripted(grid, "honest")
    async with grid.pool(), honest.connected():
        async with at_the_door(grid) as flooder.connection:
            await flooder.enrol()
            with contextlib.suppress(ConnectionClosed):
                for _ in range(400):
                    await flooder.say(worker_messages.Heartbeat(held=(), free_slots=0))
            assert "messages a second" in await _last_word(flooder.connection)
        task = await grid.task(1)
        await grid.until_status(task, TaskStatus.COMPLETED)


async def test_a_seal_signed_by_another_key_ends_the_connection(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "worker")
    async with grid.pool(), at_the_door(grid) as worker.connection:
        await worker.enrol()
        await worker.say(
            worker_messages.Seal(
                lease_id="x",
                task_id="0x" + "11" * 32,
                round=0,
                seal="0x" + "22" * 32,
                signature=key("stranger").sign_message(b"\x22" * 32),
                compute_s=1.0,
            )
        )
        assert "not signed by the worker" in await _last_word(worker.connection)


async def test_enrolling_twice_ends_the_connection(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "worker")
    async with grid.pool(), at_the_door(grid) as worker.connection:
        await worker.enrol()
        signature = "0x" + "11" * 65
        await worker.say(
            worker_messages.Enrol(
                owner=worker.address,
                worker=worker.address,
                owner_signature=signature,
                nonce_signature=signature,
                runtimes=(),
                slots=1,
                version=1,
            )
        )
        assert "enrolled already" in await _last_word(worker.connection)


async def test_words_about_others_leases_and_unknown_tasks_are_answered_with_abort_and_harm_nobody(
    tmp_path: Path,
) -> None:
    grid = Grid(tmp_path, policy=Policy(first_round_replicas=2, fill_wait_s=1_000, lease_ttl_s=1_000))
    victim, thief = Scripted(grid, "victim"), Scripted(grid, "thief")
    async with grid.pool(), victim.connected():
        task = await grid.task(1)

        async def leased() -> bool:
            return "lease" in victim.kinds()

        await grid.until(leased)
        lease = next(message for message in victim.received if isinstance(message, pool_messages.Lease))
        async with at_the_door(grid) as thief.connection:
            await thief.enrol()
            await thief.say(worker_messages.LeaseFailed(lease_id=lease.lease_id, task_id=task, reason="sabotage"))
            await thief.say(worker_messages.Uploaded(lease_id="?", task_id="0x" + "11" * 32, cid="?"))
            answers = [await thief.hear(), await thief.hear()]
        assert {message.kind for message in answers} == {"abort"}
        part = grid.service.machine.tasks[task].replica_of(victim.address)
        assert part is not None and not part.ended


async def test_a_worker_that_does_not_read_is_cut_off_and_not_waited_for(
    tmp_path: Path,
) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "worker", Script(contributes_at_all=False))
    async with grid.pool(), worker.connected():
        session = grid.service._sessions[worker.address]
        for _ in range(2_000):
            session.send(pool_messages.TaskDone(task_id="0x" + "11" * 32))

        async def is_gone() -> bool:
            return worker.address not in grid.service._sessions and "refused" in worker.kinds()

        await grid.until(is_gone, what="the end of the connection")


async def test_held_leases_that_the_pool_does_not_know_are_aborted_and_settled_tasks_are_done(tmp_path: Path) -> None:
    grid = Grid(tmp_path, policy=Policy(keep_finished_s=0))
    worker = Scripted(grid, "worker")
    async with grid.pool():
        async with worker.connected():
            task = await grid.task(1)
            await grid.until_phase(task, "completed")

            async def settled() -> bool:
                forgotten = task not in grid.service.machine.tasks
                return forgotten and await grid.service.finished_among([task]) == {task}

            await grid.until(settled)
        async with at_the_door(grid) as worker.connection:
            await worker.enrol()
            unknown = "0x" + "11" * 32
            held = tuple(
                worker_messages.HeldLease(lease_id="old", task_id=held, phase="uploading") for held in (task, unknown)
            )
            await worker.say(worker_messages.Ready(held=held, free_slots=0))
            answers = {message.kind: message for message in [await worker.hear(), await worker.hear()]}
    assert json.loads(wire.encode(answers["task_done"]))["task_id"] == task
    assert json.loads(wire.encode(answers["abort"]))["task_id"] == unknown
