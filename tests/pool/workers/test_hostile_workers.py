"""Whatever strangers send over the real socket: they are cut with a reason, and the others go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from fairgrid.protocol import pool_messages, wire
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.views import TaskStatus
from tests.hostile import hostile_frames
from tests.pool.grid import Grid
from tests.pool.scripted import Scripted, at_the_door

SESSIONS = 40
FRAMES = 12
MOST_BYTES = 24 * 1024 * 1024
"""What the pool may hold more than before, after all that was thrown at it."""


def words(task: str, lease: str) -> list[dict[str, Any]]:
    """One valid message of each kind that a worker may send, about a task and lease of somebody else."""
    hex32, signature = "0x" + "5e" * 32, "0x" + "11" * 65
    held = ({"lease_id": lease, "task_id": task, "phase": "computing"},)
    about = {"lease_id": lease, "task_id": task}
    return [
        {"kind": "ready", "held": held, "free_slots": 1},
        {"kind": "heartbeat", "held": held, "free_slots": 1_000},
        {"kind": "phase", **about, "phase": "uploading"},
        {"kind": "seal", **about, "round": 0, "seal": hex32, "signature": signature, "compute_s": 0.1},
        {"kind": "contributed", **about, "tx_hash": hex32},
        {"kind": "revealed", **about, "tx_hash": hex32},
        {"kind": "opening", **about, "digest": hex32, "salt": hex32},
        {"kind": "uploaded", **about, "cid": "bafy", "callback_data": "0x"},
        {"kind": "lease_failed", **about, "reason": "because"},
    ]


async def last_words(connection: ClientConnection) -> str:
    """Why the pool cut the connection; '' if it did not within a second."""
    reason = ""
    with contextlib.suppress(ConnectionClosed, TimeoutError):
        async with asyncio.timeout(1.0):
            while True:
                message = wire.decode_pool_message(await connection.recv())
                if isinstance(message, pool_messages.Refused):
                    reason = message.reason
    return reason


async def throw(connection: ClientConnection, frames: list[str]) -> str:
    with contextlib.suppress(ConnectionClosed):
        for frame in frames:
            await connection.send(frame)
    return await last_words(connection)


async def test_hostile_frames_of_enrolled_strangers_cut_them_and_an_honest_worker_goes_on(tmp_path: Path) -> None:
    grid, rng = Grid(tmp_path), random.Random("hostile workers")
    honest = Scripted(grid, "honest")
    async with grid.pool():
        deal = await grid.deal(4)
        task = task_id(deal, 0)
        async with honest.connected():
            await grid.until_phase(task, "sealing")
            state = grid.service.machine.tasks[task]
            lease = state.replicas[0].lease_id if state.replicas else "none"
            tracemalloc.start()
            before, _ = tracemalloc.get_traced_memory()
            reasons = []
            for number in range(SESSIONS):
                stranger = Scripted(grid, f"stranger {number}")
                async with at_the_door(grid) as connection:
                    stranger.connection = connection
                    assert isinstance(await stranger.enrol(), pool_messages.Welcome)
                    frames = hostile_frames(words(task, lease), rng, FRAMES)
                    reasons.append(await throw(connection, frames))
            after, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            helpers = [Scripted(grid, f"helper {number}") for number in range(2)]
            async with helpers[0].connected(), helpers[1].connected():
                await grid.until_status(task, TaskStatus.COMPLETED)
    cut = [reason for reason in reasons if reason]
    assert len(cut) >= SESSIONS * 0.9
    assert all(len(reason) <= 500 for reason in cut)
    assert after - before < MOST_BYTES
    assert honest.address not in grid.service.machine.bans


async def test_hostile_first_frames_are_turned_away_with_a_reason(tmp_path: Path) -> None:
    grid, rng = Grid(tmp_path), random.Random("hostile enrolments")
    stranger = Scripted(grid, "stranger")
    hex65 = "0x" + "22" * 65
    enrol = {
        "kind": "enrol",
        "owner": stranger.address,
        "worker": stranger.address,
        "owner_signature": hex65,
        "nonce_signature": hex65,
        "runtimes": [],
        "slots": 1,
        "version": wire.PROTOCOL_VERSION,
    }
    async with grid.pool():
        for frame in hostile_frames([enrol], rng, 60):
            async with at_the_door(grid) as connection:
                challenge = json.loads(await connection.recv())
                assert challenge["kind"] == "challenge"
                assert await throw(connection, [frame]), f"not refused: {frame[:200]!r}"
        assert not grid.service.machine.workers
