"""Whatever a pool sends over the real socket: the worker signs nothing, keeps what it holds, and connects again."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed

from tests.hostile import hostile_frames
from tests.worker.fake_pool import FakePool
from tests.worker.world import AgentSetting, new_world, running

FRAMES = 60


def words(task: str, lease: str) -> list[dict[str, Any]]:
    """One valid message of each kind that a pool may send an enrolled worker."""
    about = {"lease_id": lease, "task_id": task}
    address, signature = "0x" + "ab" * 20, "0x" + "11" * 65
    return [
        {"kind": "lease", **about, "deal_id": "0x" + "de" * 32, "index": 0, "round": 0, "seal_window_s": 30.0},
        {"kind": "authorisation", **about, "enclave_challenge": address, "signature": signature},
        {"kind": "reveal_notice", "task_id": task},
        {"kind": "opening_request", **about},
        {"kind": "upload_request", **about},
        {"kind": "abort", **about, "reason": "because"},
        {"kind": "task_done", "task_id": task},
        {"kind": "welcome", "heartbeat_s": 1.0},
        {"kind": "refused", "reason": "go away"},
    ]


async def test_hostile_frames_of_a_pool_neither_stop_the_worker_nor_make_it_sign_anything(tmp_path: Path) -> None:
    rng = random.Random("hostile pool")
    async with new_world() as world:
        chain = world.chain
        async with FakePool(chain_id=chain.chain_id, hub=chain.hub, workerpool=world.workerpool) as pool:
            setting = AgentSetting(tmp_path, pool.url)
            nonces = dict(chain._nonces)
            async with running(world, setting) as agent:
                for frame in hostile_frames(words("0x" + "7a" * 32, "l1"), rng, FRAMES):
                    with contextlib.suppress(ConnectionClosed):
                        await pool.send_raw(frame)
                    await asyncio.sleep(0.03)
                connections = pool.connections
                await pool.drop()
                await pool.until(lambda: pool.connections > connections)
                await pool.until(lambda: pool._current is not None)
                heartbeats = len(pool.heartbeats)
                await pool.until(lambda: len(pool.heartbeats) > heartbeats + 1)
                assert all(held.task_id for held in agent._machine.held)
            assert chain._nonces == nonces, "the worker sent a transaction"
    assert connections > 1, "no frame ended the connection"
